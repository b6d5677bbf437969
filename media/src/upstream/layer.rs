//! One stream of a published track: a simulcast layer, or the whole track. Takes its packets in any
//! order, keeps them for forwarding, and knows what to ask the publisher for.

use std::time::{Duration, Instant};

use crate::limits::{FORWARDED_OVERHEAD_BYTES, RED_RECOVERED_MAX, SEQUENCE_JUMP_MAX};
use crate::rtp::dependency_structure::StructureState;
use crate::rtp::red::{self, Red};
use crate::rtp::sequence::SequenceExtender;
use crate::rtp::{FrameInfo, HeaderExtensions, RtpHeader, Span};
use crate::types::Codec;
use crate::upstream::key_frame_throttle::RequestThrottle;
use crate::upstream::layer_rates::LayerRates;
use crate::upstream::nack_generator::NackGenerator;
use crate::upstream::packet_cache::{PacketCache, PacketInfo};
use crate::upstream::receive_stats::ReceiveStats;

/// What became of a packet of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// New: forward it (or, when its payload is empty, close the gap it leaves).
    Packet { sequence: u64, key_frame: bool },
    /// Seen before, too old, or not what its codec says.
    Dropped,
}

#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) ssrc: u32,
    pub(crate) codec: Codec,
    /// Changes with every replacement or restart of the stream.
    pub(crate) generation: u8,
    pub(crate) cache: PacketCache,
    pub(crate) stats: ReceiveStats,
    pub(crate) rates: LayerRates,
    pub(crate) nack: NackGenerator,
    pub(crate) key_frames: RequestThrottle,
    /// What the dependency descriptors of the stream refer to.
    pub(crate) structure: StructureState,
    extender: SequenceExtender,
    /// The successor of a number far off the highest: a second one in line means a restart.
    restart_at: Option<u16>,
    last_packet: Instant,
    /// How long it may send nothing and still count as live.
    silence: Duration,
    pub(crate) active: bool,
}

impl Layer {
    pub(crate) fn new(
        now: Instant,
        ssrc: u32,
        codec: Codec,
        packets_max: usize,
        key_frame_interval: Duration,
        silence: Duration,
        generation: u8,
    ) -> Layer {
        Layer {
            ssrc,
            codec,
            generation,
            cache: PacketCache::new(packets_max),
            stats: ReceiveStats::default(),
            rates: LayerRates::default(),
            nack: NackGenerator::default(),
            key_frames: RequestThrottle::new(key_frame_interval),
            structure: StructureState::default(),
            extender: SequenceExtender::default(),
            restart_at: None,
            last_packet: now,
            silence,
            active: false,
        }
    }

    pub(crate) fn last_packet(&self) -> Instant {
        self.last_packet
    }

    /// `packet` is the whole packet in clear that `header` was parsed from.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        header: &RtpHeader,
        extensions: &HeaderExtensions,
        codec: Codec,
        nack: bool,
        packet: &[u8],
    ) -> Accepted {
        match self.place(header.sequence) {
            Some(sequence) => self.accept(now, sequence, header, extensions, codec, nack, packet),
            None => Accepted::Dropped,
        }
    }

    /// The same for a packet that another shard or node has numbered; `sequence`: the lower half
    /// of that number.
    pub(crate) fn receive_relayed(
        &mut self,
        now: Instant,
        sequence: u32,
        header: &RtpHeader,
        extensions: &HeaderExtensions,
        codec: Codec,
        packet: &[u8],
    ) -> Accepted {
        let sequence = self.extender.follow(sequence);
        self.accept(now, sequence, header, extensions, codec, true, packet)
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "two call sites, all of them facts of a packet"
    )]
    fn accept(
        &mut self,
        now: Instant,
        sequence: u64,
        header: &RtpHeader,
        extensions: &HeaderExtensions,
        codec: Codec,
        nack: bool,
        packet: &[u8],
    ) -> Accepted {
        if let Some((known, _)) = self.cache.get(sequence) {
            if known.recovered {
                // Late, not lost.
                let hz = codec.clock_rate_hz();
                self.stats.received(now, sequence, header.timestamp, hz);
            }
            return Accepted::Dropped;
        }
        let payload = header.payload.of(packet);
        let descriptor = extensions.dependency_descriptor.of(packet);
        let frame = if payload.is_empty() {
            Some(FrameInfo::default())
        } else {
            let described = self.structure.read(descriptor);
            FrameInfo::parse(codec, payload, descriptor, described)
        };
        let Some(frame) = frame else {
            return Accepted::Dropped;
        };
        self.codec = codec;
        self.last_packet = now;
        self.stats
            .received(now, sequence, header.timestamp, codec.clock_rate_hz());
        let (spatial, temporal) = frame
            .layered
            .map_or((0, frame.temporal), |l| (l.spatial, l.temporal));
        let bytes = packet.len() + FORWARDED_OVERHEAD_BYTES;
        self.rates.count(spatial, temporal, bytes);
        if nack {
            self.nack.received(now, sequence);
        }
        if frame.key_frame {
            self.key_frames.satisfied();
        }
        let info = PacketInfo {
            sequence,
            timestamp: header.timestamp,
            arrival: now,
            payload_type: header.payload_type,
            codec,
            marker: header.marker,
            generation: self.generation,
            recovered: false,
            payload: header.payload,
            frame,
            abs_capture_time: extensions.abs_capture_time,
            dependency_descriptor: extensions.dependency_descriptor,
            video_orientation: extensions.video_orientation,
        };
        self.cache.insert(info, packet);
        Accepted::Packet {
            sequence,
            key_frame: frame.key_frame && !payload.is_empty(),
        }
    }

    /// Highest number so far.
    pub(crate) fn highest(&self) -> Option<u64> {
        self.extender.highest()
    }

    /// Puts what was lost between `before` and a RED packet into the cache, as far as the packet
    /// repeats it (LiveKit: sfu/redprimaryreceiver.go). Bit k: the packet k before it is there now.
    pub(crate) fn recover(&mut self, before: u64, sequence: u64, packet: &[u8], opus_pt: u8) -> u8 {
        let Some(info) = self.cache.get(sequence).map(|(info, _)| *info) else {
            return 0;
        };
        let payload = info.payload.of(packet);
        let Some(red) = Red::parse(payload) else {
            return 0;
        };
        let mut recovered = 0;
        for (index, block) in red.blocks().enumerate() {
            let back = red.redundant - index;
            let lost = sequence.saturating_sub(back as u64);
            let bytes = block.payload.of(payload);
            let usable = back <= RED_RECOVERED_MAX && red::fits(bytes, block.timestamp_offset);
            if !usable || lost <= before || self.cache.contains(lost) {
                continue;
            }
            let Some(whole) = Span::new(0, bytes.len()) else {
                continue;
            };
            let repaired = PacketInfo {
                sequence: lost,
                timestamp: info.timestamp.wrapping_sub(block.timestamp_offset),
                payload_type: opus_pt,
                codec: Codec::Opus,
                marker: false,
                recovered: true,
                payload: whole,
                abs_capture_time: Span::default(),
                dependency_descriptor: Span::default(),
                video_orientation: Span::default(),
                ..info
            };
            self.cache.insert(repaired, bytes);
            self.nack.found(lost);
            recovered |= 1 << back;
        }
        recovered
    }

    /// Nothing came for a while by intention: what is missing before the next packet is not lost.
    pub(crate) fn forget_missing(&mut self) {
        self.nack = NackGenerator::default();
    }

    /// The extended number somebody means.
    pub(crate) fn extended(&self, sequence: u16) -> u64 {
        self.extender.peek(sequence)
    }

    /// Extends the sequence number; far jumps are believed when they go on (RFC 3550 A.1).
    fn place(&mut self, sequence: u16) -> Option<u64> {
        let peeked = self.extender.peek(sequence);
        let far = self
            .extender
            .highest()
            .is_some_and(|highest| highest.abs_diff(peeked) > SEQUENCE_JUMP_MAX);
        if !far {
            self.restart_at = None;
            return Some(self.extender.extend(sequence));
        }
        if self.restart_at.replace(sequence.wrapping_add(1)) != Some(sequence) {
            return None;
        }
        self.restart_at = None;
        self.generation = self.generation.wrapping_add(1);
        self.nack = NackGenerator::default();
        self.stats = ReceiveStats::default();
        Some(self.extender.restart(sequence))
    }

    /// Packets came lately.
    pub(crate) fn is_live(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last_packet) < self.silence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opus(sequence: u16) -> RtpHeader {
        RtpHeader {
            marker: false,
            payload_type: 111,
            sequence,
            timestamp: 0,
            ssrc: 1,
            extension_profile: 0,
            extension: Span::default(),
            payload: Span { start: 12, len: 4 },
        }
    }

    fn layer() -> Layer {
        let second = Duration::from_secs(1);
        Layer::new(Instant::now(), 1, Codec::Opus, 200, second, second, 0)
    }

    fn receive(layer: &mut Layer, sequence: u16) -> Option<u64> {
        let extensions = HeaderExtensions::default();
        let now = Instant::now();
        match layer.receive(
            now,
            &opus(sequence),
            &extensions,
            Codec::Opus,
            true,
            &[0; 16],
        ) {
            Accepted::Packet { sequence, .. } => Some(sequence),
            Accepted::Dropped => None,
        }
    }

    #[test]
    fn duplicates_are_dropped_and_late_packets_are_not() {
        let mut layer = layer();
        let first = receive(&mut layer, 65_535).unwrap_or(0);
        assert_eq!(receive(&mut layer, 65_535), None);
        assert_eq!(receive(&mut layer, 1), Some(first + 2));
        assert_eq!(receive(&mut layer, 0), Some(first + 1));
    }

    #[test]
    fn a_stream_that_starts_over_is_followed_after_two_packets() {
        let mut layer = layer();
        let first = receive(&mut layer, 10_000).unwrap_or(0);
        assert_eq!(
            receive(&mut layer, 500),
            None,
            "one stray packet proves nothing"
        );
        let restarted = receive(&mut layer, 501);
        assert!(restarted.is_some_and(|sequence| sequence > first));
        assert_eq!(layer.generation, 1);
        assert_eq!(
            receive(&mut layer, 502),
            restarted.map(|sequence| sequence + 1)
        );
    }
}
