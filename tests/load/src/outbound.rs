//! One stream a publisher sends: frames of a fixed-seed trace cut into packets, paced within their
//! frame, key frames when asked, a history for retransmissions. It writes plain RTP; sealing and
//! sending are `peer`'s.

use std::time::{Duration, Instant};

use media::rtp::writer::{Element, Head, write_head};
use media::types::MediaKind;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

use crate::clock;
use crate::payload::{self, FramePart, Tail, VIDEO_BYTES_MIN};

/// Packets kept for retransmission.
const HISTORY_PACKETS: usize = 1_024;
/// A frame's packets leave at so many times the stream's rate.
const PACING_FACTOR: f64 = 2.5;
const TRACE_FRAMES: usize = 256;
/// Frames of a trace differ from the mean by up to this share.
const TRACE_SPREAD: f64 = 0.5;
/// A key frame of a varying trace is so many times the mean frame.
const KEY_FRAME_FACTOR: usize = 4;
/// -dBov told with every audio packet: somebody talks.
const TALKING_LEVEL: u8 = 0x80 | 20;

/// What a stream sends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    pub(crate) frame_interval: Duration,
    /// Payload bytes of a mean frame.
    pub(crate) frame_bytes: usize,
    /// Payload bytes of a full packet.
    pub(crate) packet_bytes: usize,
    /// A frame's packets are spread over time; else they leave back to back.
    pub(crate) paced: bool,
    /// Frame sizes vary and key frames are larger; else every frame is alike.
    pub(crate) varies: bool,
    pub(crate) width: u16,
    pub(crate) height: u16,
}

/// Header-extension numbers the answer accepted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SendExtensions {
    pub(crate) mid: Option<u8>,
    pub(crate) rid: Option<u8>,
    pub(crate) repaired_rid: Option<u8>,
    pub(crate) audio_level: Option<u8>,
    pub(crate) transport_cc: Option<u8>,
}

#[derive(Clone, Debug)]
pub(crate) struct StreamPlan {
    pub(crate) kind: MediaKind,
    pub(crate) publisher: u32,
    pub(crate) layer: u8,
    pub(crate) ssrc: u32,
    /// Retransmissions: SSRC and payload type.
    pub(crate) rtx: Option<(u32, u8)>,
    pub(crate) payload_type: u8,
    pub(crate) mid: String,
    pub(crate) rid: Option<String>,
    pub(crate) extensions: SendExtensions,
    pub(crate) rate: Rate,
}

struct Kept {
    sequence: u16,
    timestamp: u32,
    marker: bool,
    payload: Vec<u8>,
}

/// A frame on its way.
struct Frame {
    started: Instant,
    parts: usize,
    sent: usize,
    bytes: usize,
    key: bool,
}

pub(crate) struct OutStream {
    pub(crate) plan: StreamPlan,
    trace: Vec<usize>,
    frames: usize,
    frame: Option<Frame>,
    next_frame: Instant,
    key_wanted: bool,
    sequence: u16,
    rtx_sequence: u16,
    timestamp: u32,
    picture: u16,
    history: Vec<Kept>,
    pub(crate) packets: u32,
    pub(crate) octets: u32,
    pub(crate) key_frames: u32,
}

impl OutStream {
    pub(crate) fn new(plan: StreamPlan, start: Instant) -> OutStream {
        let mut rng = ChaCha12Rng::seed_from_u64(u64::from(plan.ssrc));
        OutStream {
            trace: trace(&plan.rate, &mut rng),
            frames: 0,
            frame: None,
            next_frame: start,
            key_wanted: true,
            sequence: rng.random(),
            rtx_sequence: rng.random(),
            timestamp: rng.random(),
            picture: rng.random(),
            history: Vec::new(),
            packets: 0,
            octets: 0,
            key_frames: 0,
            plan,
        }
    }

    pub(crate) fn want_key_frame(&mut self) {
        self.key_wanted = true;
    }

    pub(crate) fn set_rate(&mut self, rate: Rate) {
        self.plan.rate = rate;
        let mut rng = ChaCha12Rng::seed_from_u64(u64::from(self.plan.ssrc));
        self.trace = trace(&rate, &mut rng);
    }

    pub(crate) fn resume(&mut self, now: Instant) {
        self.next_frame = self.next_frame.max(now);
    }

    /// When the next packet leaves.
    pub(crate) fn due(&self) -> Instant {
        match &self.frame {
            Some(frame) => frame.started + self.gap(frame.parts) * frame.sent as u32,
            None => self.next_frame,
        }
    }

    fn gap(&self, parts: usize) -> Duration {
        if !self.plan.rate.paced {
            return Duration::ZERO;
        }
        self.plan
            .rate
            .frame_interval
            .div_f64(PACING_FACTOR * parts as f64)
    }

    pub(crate) fn timestamp(&self) -> u32 {
        self.timestamp
    }

    fn clock_hz(&self) -> f64 {
        match self.plan.kind {
            MediaKind::Audio => 48_000.0,
            MediaKind::Video => 90_000.0,
        }
    }

    fn begin_frame(&mut self) {
        let rate = self.plan.rate;
        let key = self.plan.kind == MediaKind::Video && std::mem::take(&mut self.key_wanted);
        let mut bytes = self.trace[self.frames % self.trace.len()];
        if key {
            self.key_frames += 1;
            if rate.varies {
                bytes = rate.frame_bytes * KEY_FRAME_FACTOR;
            }
        }
        self.frames += 1;
        self.picture = self.picture.wrapping_add(1);
        let ticks = rate.frame_interval.as_secs_f64() * self.clock_hz();
        self.timestamp = self.timestamp.wrapping_add(ticks as u32);
        self.frame = Some(Frame {
            started: self.next_frame,
            parts: bytes.div_ceil(rate.packet_bytes).max(1),
            sent: 0,
            bytes,
            key,
        });
        self.next_frame += rate.frame_interval;
    }

    /// Writes the packet that is due; returns its length.
    pub(crate) fn next(&mut self, buffer: &mut [u8], transport_sequence: u16) -> Option<usize> {
        if self.frame.is_none() {
            self.begin_frame();
        }
        let rate = self.plan.rate;
        let frame = self.frame.as_mut()?;
        let left = frame.bytes - (frame.sent * rate.packet_bytes).min(frame.bytes);
        let first = frame.sent == 0;
        frame.sent += 1;
        let (key, last) = (frame.key, frame.sent == frame.parts);
        let length = left.min(rate.packet_bytes).max(match self.plan.kind {
            MediaKind::Video => VIDEO_BYTES_MIN,
            MediaKind::Audio => payload::TAIL_BYTES,
        });
        let head = Head {
            marker: last && self.plan.kind == MediaKind::Video,
            payload_type: self.plan.payload_type,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.plan.ssrc,
        };
        let start = self.write_head(buffer, &head, false, transport_sequence)?;
        let body = buffer.get_mut(start..start + length)?;
        let tail = Tail {
            publisher: self.plan.publisher,
            layer: self.plan.layer,
            key: first && key,
            counter: self.packets,
            sent_ns: clock::monotonic_ns(),
        };
        let part = FramePart {
            first,
            key,
            picture: self.picture,
            width: rate.width,
            height: rate.height,
        };
        match self.plan.kind {
            MediaKind::Video => payload::write_video(body, part, tail),
            MediaKind::Audio => payload::write_audio(body, tail),
        }
        self.keep(&head, start..start + length, buffer);
        if last {
            self.frame = None;
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.packets += 1;
        self.octets = self.octets.wrapping_add(length as u32);
        Some(start + length)
    }

    fn keep(&mut self, head: &Head, payload: std::ops::Range<usize>, buffer: &[u8]) {
        if self.plan.rtx.is_none() {
            return;
        }
        if self.history.len() < HISTORY_PACKETS {
            self.history.push(Kept {
                sequence: 0,
                timestamp: 0,
                marker: false,
                payload: Vec::new(),
            });
        }
        let at = self.packets as usize % HISTORY_PACKETS;
        if let Some(kept) = self.history.get_mut(at) {
            kept.sequence = head.sequence;
            kept.timestamp = head.timestamp;
            kept.marker = head.marker;
            kept.payload.clear();
            kept.payload.extend_from_slice(&buffer[payload]);
        }
    }

    /// Writes the retransmission of `sequence` (RFC 4588), if it is still known.
    pub(crate) fn retransmit(
        &mut self,
        sequence: u16,
        buffer: &mut [u8],
        transport_sequence: u16,
    ) -> Option<usize> {
        let (ssrc, payload_type) = self.plan.rtx?;
        let at = self.history.iter().position(|k| k.sequence == sequence)?;
        let (timestamp, marker) = (self.history[at].timestamp, self.history[at].marker);
        let head = Head {
            marker,
            payload_type,
            sequence: self.rtx_sequence,
            timestamp,
            ssrc,
        };
        let start = self.write_head(buffer, &head, true, transport_sequence)?;
        let body = &self.history[at].payload;
        let end = start + 2 + body.len();
        let out = buffer.get_mut(start..end)?;
        out[..2].copy_from_slice(&sequence.to_be_bytes());
        out[2..].copy_from_slice(body);
        self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
        Some(end)
    }

    fn write_head(
        &self,
        buffer: &mut [u8],
        head: &Head,
        repair: bool,
        transport_sequence: u16,
    ) -> Option<usize> {
        let number = transport_sequence.to_be_bytes();
        let ids = &self.plan.extensions;
        let rid_id = if repair { ids.repaired_rid } else { ids.rid };
        let mut elements: [Element<'_>; 4] = [(0, &[]); 4];
        let mut count = 0;
        let mut add = |id: Option<u8>, value| {
            if let Some(id) = id {
                elements[count] = (id, value);
                count += 1;
            }
        };
        add(ids.mid, self.plan.mid.as_bytes());
        if let Some(rid) = &self.plan.rid {
            add(rid_id, rid.as_bytes());
        }
        if self.plan.kind == MediaKind::Audio {
            add(ids.audio_level, &[TALKING_LEVEL]);
        }
        add(ids.transport_cc, &number);
        write_head(buffer, head, &elements[..count])
    }
}

/// Payload bytes of successive frames.
fn trace(rate: &Rate, rng: &mut ChaCha12Rng) -> Vec<usize> {
    if !rate.varies {
        return vec![rate.frame_bytes];
    }
    let mean = rate.frame_bytes as f64;
    let size = |_| (mean * rng.random_range(1.0 - TRACE_SPREAD..1.0 + TRACE_SPREAD)) as usize;
    (0..TRACE_FRAMES).map(size).collect()
}
