//! The relay protocol on the wire: one frame is one datagram. Media frames carry an RTP packet in
//! clear behind a head of fifteen bytes; the others are a few bytes each. Bytes of another node are
//! foreign: every read is checked, a bad frame is `None`. Numbers are big-endian.

use crate::limits::{LAYERS_MAX, RELAY_NACKED_MAX};
use crate::rtcp::SenderInfo;

/// First half of a frame's first byte; frames of another version are not read.
pub const VERSION: u8 = 1;
/// Bytes before the RTP packet of a media frame.
pub const MEDIA_HEAD_BYTES: usize = 15;
/// Temporal layers whose rates a state frame tells.
pub const RATES: usize = 4;
/// Longest frame that is not media.
pub const SMALL_FRAME_BYTES_MAX: usize = 11 + 2 * RELAY_NACKED_MAX;

const MEDIA: u8 = 1;
const CLOCK: u8 = 2;
const STATE: u8 = 3;
const WANTS: u8 = 4;
const KEY_FRAME: u8 = 5;
const NACK: u8 = 6;

/// Where the flags of a media frame are: behind version and relay.
const FLAGS_AT: usize = 9;
const LAYER_BITS: u8 = 0b111;
const FRESH: u8 = 0b1000;
const MUTED: u8 = 1;
const ASKS: u8 = 1;

/// A track's name on one link, agreed on by both ends; never used twice on it, whoever gives it
/// out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayId(pub u64);

/// What goes first where a link is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    Audio = 0,
    KeyFrame = 1,
    BaseLayer = 2,
    UpperLayer = 3,
}

impl Priority {
    fn from_bits(bits: u8) -> Priority {
        match bits & 3 {
            0 => Priority::Audio,
            1 => Priority::KeyFrame,
            2 => Priority::BaseLayer,
            _ => Priority::UpperLayer,
        }
    }
}

/// Time a frame's content had spent on its way before the frame was written, in steps of 100 µs:
/// the ends of a link need no common clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Age(pub u16);

impl Age {
    const STEP_US: u64 = 100;

    pub fn new(age: std::time::Duration) -> Age {
        let steps = age.as_micros() / u128::from(Age::STEP_US);
        Age(u16::try_from(steps).unwrap_or(u16::MAX))
    }

    pub fn duration(self) -> std::time::Duration {
        std::time::Duration::from_micros(u64::from(self.0) * Age::STEP_US)
    }
}

/// What stands before the RTP packet of a media frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaHead {
    pub relay: RelayId,
    pub layer: u8,
    /// The link carried nothing of this layer lately: what is missing before is not lost.
    pub fresh: bool,
    pub priority: Priority,
    /// Changes when the layer's stream is replaced or restarted.
    pub generation: u8,
    pub age: Age,
    /// Upper half of the extended sequence number whose lower half is the RTP packet's.
    pub cycle: u16,
}

/// The clocks of a layer as its publisher told them in a sender report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    pub relay: RelayId,
    pub layer: u8,
    pub age: Age,
    pub ntp: u64,
    pub rtp_timestamp: u32,
}

impl Clock {
    pub fn info(&self) -> SenderInfo {
        SenderInfo {
            ntp: self.ntp,
            rtp_timestamp: self.rtp_timestamp,
            ..SenderInfo::default()
        }
    }
}

/// What is to be known of a layer whether or not it is relayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerState {
    pub generation: u8,
    /// Cost up to each temporal layer, kbit/s; `u16::MAX` = not known.
    pub kbps: [u16; RATES],
}

/// The track as its publisher sends it; repeated, as any frame may get lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub relay: RelayId,
    pub muted: bool,
    /// `None` = nothing arrives on that layer.
    pub layers: [Option<LayerState>; LAYERS_MAX],
}

/// Which layers the watching side wants; repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants {
    pub relay: RelayId,
    /// Bit per layer.
    pub layers: u8,
    /// Nothing is known of the track yet: tell its state.
    pub asks: bool,
}

/// Numbers a NACK asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0
            .chunks_exact(2)
            .take(RELAY_NACKED_MAX)
            .filter_map(|pair| pair.first_chunk().map(|bytes| u16::from_be_bytes(*bytes)))
    }
}

/// One frame, borrowed from the bytes it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The RTP packet's header extensions have the ids of `link::EXTENSIONS`.
    Media(MediaHead, &'a [u8]),
    Clock(Clock),
    State(State),
    Wants(Wants),
    KeyFrame {
        relay: RelayId,
        layer: u8,
    },
    Nack {
        relay: RelayId,
        layer: u8,
        numbers: Numbers<'a>,
    },
}

/// How urgent a frame is, without parsing it: what is not media is small and waited for.
pub fn priority_of(frame: &[u8]) -> Priority {
    match (frame.first(), frame.get(FLAGS_AT)) {
        (Some(first), Some(flags)) if first & 0x0f == MEDIA => Priority::from_bits(flags >> 4),
        _ => Priority::Audio,
    }
}

impl<'a> Frame<'a> {
    pub fn parse(bytes: &'a [u8]) -> Option<Frame<'a>> {
        let mut reader = Reader(bytes);
        let first = reader.u8()?;
        if first >> 4 != VERSION {
            return None;
        }
        let relay = RelayId(reader.u64()?);
        Some(match first & 0x0f {
            MEDIA => {
                let flags = reader.u8()?;
                let head = MediaHead {
                    relay,
                    layer: layer(flags & LAYER_BITS)?,
                    fresh: flags & FRESH != 0,
                    priority: Priority::from_bits(flags >> 4),
                    generation: reader.u8()?,
                    age: Age(reader.u16()?),
                    cycle: reader.u16()?,
                };
                Frame::Media(head, reader.0)
            }
            CLOCK => Frame::Clock(Clock {
                relay,
                layer: layer(reader.u8()?)?,
                age: Age(reader.u16()?),
                ntp: reader.u64()?,
                rtp_timestamp: reader.u32()?,
            }),
            STATE => Frame::State(reader.state(relay)?),
            WANTS => Frame::Wants(Wants {
                relay,
                layers: reader.u8()?,
                asks: reader.u8()? & ASKS != 0,
            }),
            KEY_FRAME => Frame::KeyFrame {
                relay,
                layer: layer(reader.u8()?)?,
            },
            NACK => Frame::Nack {
                relay,
                layer: layer(reader.u8()?)?,
                numbers: Numbers(reader.0),
            },
            _ => return None,
        })
    }
}

fn layer(value: u8) -> Option<u8> {
    (usize::from(value) < LAYERS_MAX).then_some(value)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn state(&mut self, relay: RelayId) -> Option<State> {
        let muted = self.u8()? & MUTED != 0;
        let live = self.u8()?;
        let mut layers = [None; LAYERS_MAX];
        for (index, slot) in layers.iter_mut().enumerate() {
            if live & 1 << index == 0 {
                continue;
            }
            let mut state = LayerState {
                generation: self.u8()?,
                ..LayerState::default()
            };
            for kbps in &mut state.kbps {
                *kbps = self.u16()?;
            }
            *slot = Some(state);
        }
        Some(State {
            relay,
            muted,
            layers,
        })
    }
}

/// Lays a frame into a buffer; `None` where it does not fit.
struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    fn begin(out: &'a mut [u8], kind: u8, relay: RelayId) -> Option<Writer<'a>> {
        let mut writer = Writer { out, at: 0 };
        writer.put(&[VERSION << 4 | kind])?;
        writer.put(&relay.0.to_be_bytes())?;
        Some(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.at + bytes.len();
        self.out.get_mut(self.at..end)?.copy_from_slice(bytes);
        self.at = end;
        Some(())
    }
}

impl MediaHead {
    /// Writes the head; the RTP packet follows it. Returns its length.
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let mut writer = Writer::begin(out, MEDIA, self.relay)?;
        let fresh = if self.fresh { FRESH } else { 0 };
        let flags = self.layer & LAYER_BITS | fresh | (self.priority as u8) << 4;
        writer.put(&[flags, self.generation])?;
        writer.put(&self.age.0.to_be_bytes())?;
        writer.put(&self.cycle.to_be_bytes())?;
        Some(writer.at)
    }
}

impl Clock {
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let mut writer = Writer::begin(out, CLOCK, self.relay)?;
        writer.put(&[self.layer])?;
        writer.put(&self.age.0.to_be_bytes())?;
        writer.put(&self.ntp.to_be_bytes())?;
        writer.put(&self.rtp_timestamp.to_be_bytes())?;
        Some(writer.at)
    }
}

impl State {
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let mut writer = Writer::begin(out, STATE, self.relay)?;
        let live = (0..).zip(&self.layers).fold(0u8, |mask, (index, layer)| {
            mask | u8::from(layer.is_some()) << index
        });
        writer.put(&[if self.muted { MUTED } else { 0 }, live])?;
        for layer in self.layers.iter().flatten() {
            writer.put(&[layer.generation])?;
            for kbps in layer.kbps {
                writer.put(&kbps.to_be_bytes())?;
            }
        }
        Some(writer.at)
    }
}

impl Wants {
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let mut writer = Writer::begin(out, WANTS, self.relay)?;
        writer.put(&[self.layers, if self.asks { ASKS } else { 0 }])?;
        Some(writer.at)
    }
}

/// Asks the publishing side for a key frame of a layer.
pub fn write_key_frame(out: &mut [u8], relay: RelayId, layer: u8) -> Option<usize> {
    let mut writer = Writer::begin(out, KEY_FRAME, relay)?;
    writer.put(&[layer])?;
    Some(writer.at)
}

/// Asks the publishing side for packets again.
pub fn write_nack(out: &mut [u8], relay: RelayId, layer: u8, numbers: &[u16]) -> Option<usize> {
    let mut writer = Writer::begin(out, NACK, relay)?;
    writer.put(&[layer])?;
    for number in numbers.iter().take(RELAY_NACKED_MAX) {
        writer.put(&number.to_be_bytes())?;
    }
    Some(writer.at)
}

#[cfg(test)]
mod tests;
