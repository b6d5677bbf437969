//! One track on its way to one subscriber: chooses what to send, renumbers it, writes packets with
//! the subscriber's payload types and extension ids, and repeats what got lost. The shard gives it
//! packets of the track's cache and a buffer; sealing and sending are not its business.

pub(crate) mod continuation;
pub(crate) mod frame_numbers;
pub(crate) mod history;
pub(crate) mod layer_selector;
pub(crate) mod munger;
pub(crate) mod offset_map;
mod packet;
pub(crate) mod payload_map;
pub(crate) mod playout_delay;
mod quality;
pub(crate) mod redundancy;
pub(crate) mod reports;
pub(crate) mod sender;
pub(crate) mod svc_selector;
pub(crate) mod temporal;
pub(crate) mod vp8_munger;

use std::time::{Duration, Instant};

use crate::downstream::continuation::Continuation;
use crate::downstream::frame_numbers::FrameNumbers;
use crate::downstream::history::{History, Sent};
use crate::downstream::layer_selector::LayerSelector;
use crate::downstream::munger::{Munger, clock_delta};
use crate::downstream::packet::{Passed, payload_for, put_payload};
use crate::downstream::payload_map::{PayloadMap, RedRule, Target};
use crate::downstream::playout_delay::Told;
use crate::downstream::reports::Reports;
use crate::downstream::svc_selector::Verdict;
use crate::downstream::temporal::TemporalFilter;
use crate::downstream::vp8_munger::{Vp8Munger, Vp8Values};
use crate::ids::DownTrackKey;
use crate::limits::{
    KEY_FRAME_RETRY_MAX, KEY_FRAME_RETRY_MIN, PADDING_BYTES_MAX, PLAYOUT_DELAY_PACKETS,
};
use crate::quality::Scorer;
use crate::rtp::sequence::SequenceExtender;
use crate::rtp::writer::Head;
use crate::types::{Extensions, LayerLimit, SendSection};
use crate::upstream::packet_cache::PacketInfo;
use crate::upstream::rtx::OSN_BYTES;
use crate::upstream::{TRACK_NONE, UpTrack};

/// What is the same for all packets of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) now: Instant,
    /// The abs-send-time element.
    pub(crate) abs_send_time: [u8; 3],
    pub(crate) playout_delay: Option<Told>,
}

/// A packet the track's cache still holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cached<'a> {
    pub(crate) layer: u8,
    pub(crate) info: &'a PacketInfo,
    pub(crate) packet: &'a [u8],
}

#[derive(Debug)]
pub(crate) struct DownTrack {
    pub(crate) key: DownTrackKey,
    /// Index of the track it forwards.
    pub(crate) track: u32,
    /// Position among the track's subscribers.
    pub(crate) slot: usize,
    /// Index of the subscriber's transport.
    pub(crate) transport: u32,
    pub(crate) ssrc: u32,
    pub(crate) rtx_ssrc: Option<u32>,
    pub(crate) selector: LayerSelector,
    pub(crate) reports: Reports,
    pub(crate) scorer: Scorer,
    /// Since when it waits for bandwidth.
    pub(crate) paused_at: Option<Instant>,
    /// Given by the client; 0 = the default of its kind.
    pub(crate) priority: u8,
    mid: Box<[u8]>,
    extensions: Extensions,
    payload_map: PayloadMap,
    munger: Munger,
    vp8: Vp8Munger,
    frames: FrameNumbers,
    temporal: TemporalFilter,
    history: History,
    /// For the 64-bit view of numbers in NACKs.
    sequences: SequenceExtender,
    rtx_sequence: u16,
    /// The playout delay told last, and on how many packets.
    delay_told: (u32, u32),
    /// When the subscriber last asked for a key frame and got its way.
    asked_at: Option<Instant>,
    /// When to ask for the missing key frame again; `None` = none is missing.
    key_frame_due: Option<Instant>,
    /// Where another node stood, until the first packet from here.
    resumed: Option<Box<Continuation>>,
}

impl DownTrack {
    #[allow(
        clippy::too_many_arguments,
        reason = "one call site, all of them facts of a command"
    )]
    pub(crate) fn new(
        key: DownTrackKey,
        track_index: u32,
        track: &UpTrack,
        transport: u32,
        section: SendSection,
        limit: LayerLimit,
        paused: bool,
        first_sequence: u16,
        first_rtx_sequence: u16,
    ) -> DownTrack {
        let mut payload_map = PayloadMap::new(section.payload_types);
        payload_map.bind(&track.payload_types, &track.config);
        DownTrack {
            key,
            track: track_index,
            slot: 0,
            transport,
            ssrc: section.ssrc,
            rtx_ssrc: section.rtx_ssrc,
            selector: LayerSelector::new(&track.config, limit, paused),
            reports: Reports::default(),
            scorer: Scorer::default(),
            paused_at: None,
            priority: 0,
            mid: section.mid.into_bytes().into_boxed_slice(),
            extensions: section.extensions,
            payload_map,
            munger: Munger::new(first_sequence),
            vp8: Vp8Munger::default(),
            frames: FrameNumbers::default(),
            temporal: TemporalFilter::default(),
            history: History::default(),
            sequences: SequenceExtender::default(),
            rtx_sequence: first_rtx_sequence,
            delay_told: (0, 0),
            asked_at: None,
            key_frame_due: None,
            resumed: None,
        }
    }

    /// The track's section changed: payload types may mean something else.
    pub(crate) fn rebind(&mut self, track: &UpTrack) {
        self.payload_map.bind(&track.payload_types, &track.config);
    }

    /// Goes on from another track with continuous numbers.
    pub(crate) fn switch_source(&mut self, index: u32, track: &UpTrack) {
        self.track = index;
        self.selector = self.selector.for_source(&track.config);
        self.munger.forget_source();
        self.history.clear();
        self.rebind(track);
    }

    /// The playout delay, while the subscriber may not know it yet.
    fn playout_delay(&mut self, stamp: &Stamp) -> Option<[u8; 3]> {
        let told = stamp.playout_delay?;
        if self.delay_told.0 != told.version {
            self.delay_told = (told.version, 0);
        }
        self.delay_told.1 += 1;
        (self.delay_told.1 <= PLAYOUT_DELAY_PACKETS).then_some(told.element)
    }

    /// Its track ended; the subscriber keeps its numbers for the next one.
    pub(crate) fn lose_source(&mut self) {
        self.track = TRACK_NONE;
        self.munger.forget_source();
        self.history.clear();
    }

    /// What was sent is of no use to the subscriber any more: nothing of it is repeated.
    pub(crate) fn forget_sent(&mut self) {
        self.history.clear();
    }

    /// Nothing was or will be forwarded for a while; the next packet follows the last one sent.
    pub(crate) fn interrupt(&mut self) {
        self.munger.interrupt();
    }

    pub(crate) fn wants_transport_cc(&self) -> bool {
        self.extensions.transport_cc.is_some()
    }

    /// Writes the packet as the subscriber gets it; `None`: it is not for it.
    pub(crate) fn forward(
        &mut self,
        stamp: &Stamp,
        transport_cc: u16,
        track: &UpTrack,
        cached: Cached<'_>,
        out: &mut [u8],
    ) -> Option<usize> {
        let info = cached.info;
        if info.recovered && self.payload_map.takes_red() {
            return None; // it is in the packet this was taken out of
        }
        let (target, ends_picture, payload) = self.choose(track, cached)?;
        let old = self.munger.layer();
        let mapped = self.munger.map(cached.layer, info, || {
            delta_between(track, old, cached.layer, info)
        })?;
        let picture = info.frame.vp8.map(|vp8| vp8.picture_id);
        let anew = mapped.anchored && self.begins_anew(cached.layer, picture);
        let vp8 = match &info.frame.vp8 {
            Some(vp8) => self.vp8.map(vp8, anew)?,
            None => Vp8Values::default(),
        };
        let descriptor = info.dependency_descriptor.of(cached.packet);
        let frame_offset = self.frames.offset(descriptor, anew);
        let playout_delay = self.playout_delay(stamp);
        let sent = Sent {
            sequence: mapped.sequence,
            source_sequence: info.sequence,
            timestamp: mapped.timestamp,
            marker: info.marker || ends_picture,
            layer: cached.layer,
            generation: info.generation,
            repeats: 0,
            frame_offset,
            vp8,
            at: stamp.now,
        };
        let head = Head {
            marker: sent.marker,
            payload_type: target.pt,
            sequence: mapped.sequence as u16,
            timestamp: mapped.timestamp,
            ssrc: self.ssrc,
        };
        let passed = Passed {
            cached,
            frame_offset,
            playout_delay,
        };
        let at = self.write_head(out, &head, stamp, transport_cc, Some(passed))?;
        let len = match target.red {
            RedRule::Wrap { opus_pt } => {
                let first = self.munger.first_of_source();
                let cache = &track.layer(cached.layer)?.cache;
                redundancy::put(out, at, opus_pt, cache, cached, first)?
            }
            red => put_payload(out, at, payload, info, &vp8, red)?,
        };
        self.reports.sent(len - at);
        self.sequences.extend(mapped.sequence as u16);
        if self.rtx_ssrc.is_some() && target.rtx_pt.is_some() {
            self.history.push(sent);
        }
        Some(len)
    }

    /// Whether the packet is for the subscriber: as what, whether it ends the picture, and what of
    /// its payload.
    fn choose<'a>(
        &mut self,
        track: &UpTrack,
        cached: Cached<'a>,
    ) -> Option<(Target, bool, &'a [u8])> {
        let info = cached.info;
        let target = self.payload_map.get(info.payload_type);
        let payload = payload_for(target, info.payload.of(cached.packet));
        let verdict = match track.layer(cached.layer) {
            Some(layer) if !payload.is_empty() => {
                self.selector.judge(&info.frame, &layer.structure)
            }
            _ => Verdict::Drop,
        };
        let highest = self.selector.max_temporal();
        let wanted = target.is_some() && self.temporal.passes(&info.frame, highest);
        match (target, wanted, verdict) {
            (Some(target), true, Verdict::Keep { ends_picture }) => {
                Some((target, ends_picture, payload))
            }
            _ => {
                self.skip(cached.layer, info);
                None
            }
        }
    }

    /// A packet that is dropped on purpose leaves no gap in what the subscriber sees.
    fn skip(&mut self, layer: u8, info: &PacketInfo) {
        if self.munger.continues(layer, info) {
            self.munger.skip(layer, info);
            if let Some(vp8) = &info.frame.vp8 {
                self.vp8.skip(vp8);
            }
        }
    }

    /// Whether a NACK for `sequence` is to be answered now. Marks it as answered.
    pub(crate) fn take_for_repeat(
        &mut self,
        now: Instant,
        sequence: u16,
        interval: Duration,
    ) -> Option<Sent> {
        let sequence = self.sequences.peek(sequence);
        self.history.take_for_repeat(now, sequence, interval)
    }

    /// What was sent under an extended number, if it is still remembered.
    pub(crate) fn sent(&self, sequence: u64) -> Option<Sent> {
        self.history.get(sequence).copied()
    }

    /// Writes a packet again, on the retransmission SSRC.
    pub(crate) fn repeat(
        &mut self,
        stamp: &Stamp,
        transport_cc: u16,
        sent: &Sent,
        cached: Cached<'_>,
        out: &mut [u8],
    ) -> Option<usize> {
        let info = cached.info;
        if info.generation != sent.generation {
            return None;
        }
        let target = self.payload_map.get(info.payload_type)?;
        let head = Head {
            marker: sent.marker,
            payload_type: target.rtx_pt?,
            sequence: self.rtx_sequence,
            timestamp: sent.timestamp,
            ssrc: self.rtx_ssrc?,
        };
        let passed = Passed {
            cached,
            frame_offset: sent.frame_offset,
            playout_delay: None,
        };
        let at = self.write_head(out, &head, stamp, transport_cc, Some(passed))?;
        out.get_mut(at..at + OSN_BYTES)?
            .copy_from_slice(&(sent.sequence as u16).to_be_bytes());
        let payload = payload_for(Some(target), info.payload.of(cached.packet));
        let len = put_payload(out, at + OSN_BYTES, payload, info, &sent.vp8, target.red)?;
        self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
        Some(len)
    }

    /// Writes a packet of nothing but padding on the retransmission SSRC: it moves no number that
    /// a decoder sees.
    pub(crate) fn pad(
        &mut self,
        stamp: &Stamp,
        transport_cc: u16,
        padding: usize,
        out: &mut [u8],
    ) -> Option<usize> {
        let padding = padding.clamp(1, PADDING_BYTES_MAX);
        let head = Head {
            marker: false,
            payload_type: self.payload_map.any_rtx()?,
            sequence: self.rtx_sequence,
            timestamp: self.munger.last_timestamp().unwrap_or(0),
            ssrc: self.rtx_ssrc?,
        };
        let at = self.write_head(out, &head, stamp, transport_cc, None)?;
        out.get_mut(at..at + padding)?.fill(0);
        *out.get_mut(at + padding - 1)? = padding as u8;
        *out.first_mut()? |= 0x20;
        self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
        Some(at + padding)
    }

    /// The layer to ask a key frame of, when it is time to ask (again).
    pub(crate) fn key_frame_wish(&mut self, now: Instant, rtt: Duration) -> Option<u8> {
        let Some(layer) = self.selector.wanted_key_frame() else {
            self.key_frame_due = None;
            return None;
        };
        if self.key_frame_due.is_some_and(|due| due > now) {
            return None;
        }
        let wait = (rtt * 2).clamp(KEY_FRAME_RETRY_MIN, KEY_FRAME_RETRY_MAX);
        self.key_frame_due = Some(now + wait);
        Some(layer)
    }

    /// Whether a key frame the subscriber asks for is to be asked of the publisher; `rest`: how
    /// long after the last one it is not.
    pub(crate) fn grants_key_frame(&mut self, now: Instant, rest: Duration) -> bool {
        let rested = |at| now.saturating_duration_since(at) >= rest;
        let grants = self.asked_at.is_none_or(rested);
        if grants {
            self.asked_at = Some(now);
        }
        grants
    }

    /// A change makes waiting for the next retry pointless.
    pub(crate) fn want_key_frame_now(&mut self) {
        self.key_frame_due = None;
    }

    /// Clock of the source and what its timestamps are shifted by, for sender reports.
    pub(crate) fn source(&self) -> Option<(u8, u32)> {
        Some((self.munger.layer()?, self.munger.timestamp_offset()?))
    }
}

fn delta_between(track: &UpTrack, old: Option<u8>, new: u8, info: &PacketInfo) -> Option<u32> {
    let clock = |layer: u8| track.layer(layer).and_then(|layer| layer.stats.clock());
    clock_delta(clock(old?), clock(new), info.codec.clock_rate_hz())
}
