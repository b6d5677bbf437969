//! Keeps one subscriber's stream continuous whatever happens upstream: layer switches, drops,
//! mutes, another source. Sequence numbers have no gap but real losses; timestamps follow the media
//! clock.

use std::time::{Duration, Instant};

use crate::downstream::offset_map::OffsetMap;
use crate::limits::{SEQUENCE_JUMP_MAX, TIMESTAMP_DRIFT_MAX};
use crate::upstream::packet_cache::PacketInfo;
use crate::upstream::receive_stats::ClockReference;

/// The stream packets currently come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Source {
    layer: u8,
    generation: u8,
    /// Added to the source's timestamps.
    timestamp_offset: u32,
    highest: u64,
}

/// The last packet that was sent, in the numbers the subscriber saw.
#[derive(Clone, Copy, Debug)]
struct Last {
    sequence: u64,
    timestamp: u32,
    /// When that packet had arrived here.
    arrival: Instant,
}

/// What another node needs to go on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) layer: u8,
    pub(crate) timestamp_offset: u32,
    /// Of the last packet sent, and when it had arrived.
    pub(crate) timestamp: u32,
    pub(crate) arrival: Instant,
}

/// Numbers of an outgoing packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) sequence: u64,
    pub(crate) timestamp: u32,
    /// The packet begins a new source: codec state starts over with it.
    pub(crate) anchored: bool,
}

#[derive(Debug)]
pub(crate) struct Munger {
    first_sequence: u64,
    source: Option<Source>,
    /// Packets since were not forwarded: sequence numbers are anchored anew.
    interrupted: bool,
    sequences: OffsetMap,
    last: Option<Last>,
}

impl Munger {
    pub(crate) fn new(first_sequence: u16) -> Munger {
        Munger {
            // One cycle up, so that extended numbers never go below zero.
            first_sequence: 0x1_0000 + u64::from(first_sequence),
            source: None,
            interrupted: false,
            sequences: OffsetMap::default(),
            last: None,
        }
    }

    /// Forwarding pauses; the next packet continues right after the last one sent.
    pub(crate) fn interrupt(&mut self) {
        self.interrupted = true;
    }

    /// The next packet comes from another track: clocks have nothing in common.
    pub(crate) fn forget_source(&mut self) {
        self.source = None;
    }

    /// Where it stands, for another node to go on from.
    pub(crate) fn place(&self) -> Option<Place> {
        let (source, last) = (self.source?, self.last?);
        Some(Place {
            layer: source.layer,
            timestamp_offset: source.timestamp_offset,
            timestamp: last.timestamp,
            arrival: last.arrival,
        })
    }

    /// Goes on from another node's place: the next packet follows `first_sequence`, on the media
    /// clock of before.
    pub(crate) fn go_on(&mut self, layer: u8, offset: u32, timestamp: u32, arrival: Instant) {
        self.last = Some(Last {
            sequence: self.first_sequence - 1,
            timestamp,
            arrival,
        });
        // Here, the first stream of the layer is the one that was forwarded there.
        self.source = Some(Source {
            layer,
            generation: 0,
            timestamp_offset: offset,
            highest: 0,
        });
        self.interrupted = true;
    }

    /// Layer packets come from; used to relate its clock to the next one's.
    pub(crate) fn layer(&self) -> Option<u8> {
        self.source.map(|source| source.layer)
    }

    /// Added to timestamps of the current source.
    pub(crate) fn timestamp_offset(&self) -> Option<u32> {
        self.source.map(|source| source.timestamp_offset)
    }

    pub(crate) fn continues(&self, layer: u8, info: &PacketInfo) -> bool {
        !self.interrupted
            && self.source.is_some_and(|source| {
                source.layer == layer
                    && source.generation == info.generation
                    && source.highest.abs_diff(info.sequence) <= SEQUENCE_JUMP_MAX
            })
    }

    /// Maps a packet. `clock_delta` relates the clocks of the current and the packet's layer: what
    /// to add to the packet's timestamp to have it on the current layer's clock.
    pub(crate) fn map(
        &mut self,
        layer: u8,
        info: &PacketInfo,
        clock_delta: impl FnOnce() -> Option<u32>,
    ) -> Option<Mapped> {
        let anchored = !self.continues(layer, info);
        if anchored {
            self.anchor(layer, info, clock_delta);
        }
        let sequence = self.sequences.map(info.sequence)?;
        let source = self.source.as_mut()?;
        source.highest = source.highest.max(info.sequence);
        let timestamp = info.timestamp.wrapping_add(source.timestamp_offset);
        if self.last.is_none_or(|last| sequence > last.sequence) {
            self.last = Some(Last {
                sequence,
                timestamp,
                arrival: info.arrival,
            });
        }
        Some(Mapped {
            sequence,
            timestamp,
            anchored,
        })
    }

    /// The first packet of the current source that was sent.
    pub(crate) fn first_of_source(&self) -> u64 {
        self.sequences.first()
    }

    /// Numbers up to the last one sent, whether or not there was a packet for them.
    pub(crate) fn numbers(&self) -> u64 {
        let last = self.last.map(|last| last.sequence + 1);
        last.map_or(0, |next| next.saturating_sub(self.first_sequence))
    }

    /// Timestamp of the last packet in the subscriber's numbers.
    pub(crate) fn last_timestamp(&self) -> Option<u32> {
        Some(self.last?.timestamp)
    }

    /// A packet of the current source that is not sent.
    pub(crate) fn skip(&mut self, layer: u8, info: &PacketInfo) {
        if self.continues(layer, info) {
            self.sequences.skip(info.sequence);
        }
    }

    fn anchor(&mut self, layer: u8, info: &PacketInfo, delta: impl FnOnce() -> Option<u32>) {
        let next = self
            .last
            .map_or(self.first_sequence, |last| last.sequence + 1);
        self.sequences.anchor(info.sequence, next);
        let same = self
            .source
            .filter(|source| source.layer == layer && source.generation == info.generation);
        let by_clock = match (same, self.source) {
            (Some(source), _) => Some(info.timestamp.wrapping_add(source.timestamp_offset)),
            (None, Some(source)) => delta().map(|delta| {
                let on_old = info.timestamp.wrapping_add(delta);
                on_old.wrapping_add(source.timestamp_offset)
            }),
            (None, None) => None,
        };
        let timestamp = self.choose_timestamp(info, by_clock);
        self.source = Some(Source {
            layer,
            generation: info.generation,
            timestamp_offset: timestamp.wrapping_sub(info.timestamp),
            highest: info.sequence,
        });
        self.interrupted = false;
    }

    /// The media clock's word if it is plausible, else what the time between arrivals says; never
    /// backwards.
    fn choose_timestamp(&self, info: &PacketInfo, by_clock: Option<u32>) -> u32 {
        let Some(last) = self.last else {
            return info.timestamp;
        };
        let clock_hz = info.codec.clock_rate_hz();
        let elapsed = units(
            info.arrival.saturating_duration_since(last.arrival),
            clock_hz,
        );
        let by_arrival = last.timestamp.wrapping_add(elapsed);
        let drift_max = units(TIMESTAMP_DRIFT_MAX, clock_hz);
        let chosen = by_clock
            .filter(|clock| (clock.wrapping_sub(by_arrival) as i32).unsigned_abs() <= drift_max)
            .unwrap_or(by_arrival);
        if (chosen.wrapping_sub(last.timestamp) as i32) > 0 {
            chosen
        } else {
            last.timestamp.wrapping_add(1)
        }
    }
}

/// What to add to timestamps of `new` to have them on the clock of `old`, by their sender reports.
pub(crate) fn clock_delta(
    old: Option<ClockReference>,
    new: Option<ClockReference>,
    clock_hz: u32,
) -> Option<u32> {
    let (old, new) = (old?.info, new?.info);
    // From new's report to old's, in 32.32 seconds.
    let apart = old.ntp.wrapping_sub(new.ntp) as i64;
    let apart = (i128::from(apart) * i128::from(clock_hz)) >> 32;
    Some(
        old.rtp_timestamp
            .wrapping_sub(new.rtp_timestamp)
            .wrapping_sub(apart as u32),
    )
}

pub(crate) fn units(duration: Duration, clock_hz: u32) -> u32 {
    (duration.as_micros() as u64 * u64::from(clock_hz) / 1_000_000) as u32
}
