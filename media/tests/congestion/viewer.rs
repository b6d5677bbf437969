//! A viewer as libwebrtc behaves: transport-wide feedback every 50 to 250 ms, NACKs, receiver
//! reports, key-frame requests when its decoder is stuck. Notes when each frame could be shown.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use skein_media::rtcp::transport_feedback::ArrivalRecorder;
use skein_media::rtcp::{ReportBlock, write};
use skein_media::rtp::ExtensionMap;
use skein_media::rtp::vp8::Vp8Descriptor;
use skein_media::types::Extensions;

use crate::world::{TRANSPORT_CC, World};

#[derive(Clone, Copy)]
struct Part {
    timestamp: u32,
    marker: bool,
    key_frame: bool,
    frame_start: bool,
    layer: u8,
}

/// One video stream as its decoder sees it.
pub(crate) struct Stream {
    ssrc: u32,
    parts: BTreeMap<i64, Part>,
    /// Next number the decoder needs.
    next: Option<i64>,
    highest: i64,
    first: i64,
    received: u64,
    told: (i64, u64),
    frame: Option<Part>,
    broken: bool,
    missing: BTreeMap<i64, (Instant, Option<Instant>, u32)>,
    stuck_since: Option<Instant>,
    asked_at: Option<Instant>,
    /// When a frame could be shown, and its layer.
    pub(crate) shown: Vec<(Instant, u8)>,
    pub(crate) plis: usize,
}

pub(crate) struct Viewer {
    pub(crate) client: usize,
    pub(crate) streams: Vec<Stream>,
    recorder: ArrivalRecorder,
    extensions: ExtensionMap,
    read: usize,
    next_feedback: Instant,
    next_report: Instant,
    bytes: u64,
    rtt: Duration,
    pub(crate) padding: usize,
    pub(crate) repeats: usize,
}

impl Viewer {
    pub(crate) fn new(world: &World, client: usize, ssrcs: &[u32], rtt: Duration) -> Viewer {
        let mut extensions = ExtensionMap::default();
        extensions.merge(&Extensions {
            transport_cc: Some(TRANSPORT_CC),
            ..Extensions::default()
        });
        Viewer {
            client,
            streams: ssrcs.iter().map(|ssrc| Stream::new(*ssrc)).collect(),
            recorder: ArrivalRecorder::new(world.now),
            extensions,
            read: 0,
            next_feedback: world.now,
            next_report: world.now,
            bytes: 0,
            rtt,
            padding: 0,
            repeats: 0,
        }
    }

    pub(crate) fn run(&mut self, world: &mut World) {
        self.receive(world);
        let now = world.now;
        let mut out = Vec::new();
        for stream in &mut self.streams {
            stream.repair(now, self.rtt, &mut out);
        }
        if now >= self.next_report {
            self.next_report = now + Duration::from_secs(1);
            let blocks: Vec<ReportBlock> =
                self.streams.iter_mut().filter_map(Stream::report).collect();
            write::receiver_report(&mut out, 1, &blocks);
        }
        if now >= self.next_feedback {
            // 5 % of what arrives, within bounds, as libwebrtc sends it.
            let interval_us =
                (68 * 8 * 20 * 250_000 / (self.bytes * 8).max(1)).clamp(50_000, 250_000);
            self.next_feedback = now + Duration::from_micros(interval_us);
            self.bytes = self.bytes * 3 / 4;
            while self.recorder.write(&mut out, 1, 2) {}
        }
        if !out.is_empty() {
            world.send_rtcp(self.client, &out);
        }
    }

    fn receive(&mut self, world: &World) {
        let seen = &world.clients[self.client].rtp;
        for packet in seen.iter().skip(self.read) {
            let header = packet.header;
            self.bytes += packet.packet.len() as u64;
            if let Some(wide) = self.extensions.read(&header, &packet.packet).transport_cc {
                self.recorder.record(packet.at, wide);
            }
            let payload = packet.payload();
            for stream in &mut self.streams {
                if header.ssrc == stream.ssrc {
                    stream.arrived(
                        packet.at,
                        header.sequence,
                        header.timestamp,
                        header.marker,
                        payload,
                        false,
                    );
                } else if header.ssrc == stream.ssrc + 1 {
                    let Some((number, rest)) = payload.split_first_chunk() else {
                        self.padding += 1;
                        continue;
                    };
                    self.repeats += 1;
                    let number = u16::from_be_bytes(*number);
                    stream.arrived(
                        packet.at,
                        number,
                        header.timestamp,
                        header.marker,
                        rest,
                        true,
                    );
                }
            }
        }
        self.read = seen.len();
    }
}

impl Stream {
    fn new(ssrc: u32) -> Stream {
        Stream {
            ssrc,
            parts: BTreeMap::new(),
            next: None,
            highest: 0,
            first: 0,
            received: 0,
            told: (0, 0),
            frame: None,
            broken: true,
            missing: BTreeMap::new(),
            stuck_since: None,
            asked_at: None,
            shown: Vec::new(),
            plis: 0,
        }
    }

    fn arrived(
        &mut self,
        at: Instant,
        sequence: u16,
        timestamp: u32,
        marker: bool,
        payload: &[u8],
        repair: bool,
    ) {
        let Some(vp8) = Vp8Descriptor::parse(payload) else {
            return;
        };
        let sequence = match self.next {
            None => i64::from(sequence) + 0x1_0000,
            Some(_) => self.highest + i64::from(sequence.wrapping_sub(self.highest as u16) as i16),
        };
        if self.next.is_none() {
            (self.next, self.highest, self.first) = (Some(sequence), sequence, sequence);
        }
        if !repair {
            self.received += 1;
            for gap in self.highest + 1..sequence {
                self.missing.insert(gap, (at, None, 0));
            }
        }
        self.highest = self.highest.max(sequence);
        self.missing.remove(&sequence);
        if Some(sequence) < self.next {
            return;
        }
        self.parts.insert(
            sequence,
            Part {
                timestamp,
                marker,
                key_frame: vp8.key_frame,
                frame_start: vp8.frame_start,
                layer: payload[7],
            },
        );
        self.decode(at);
    }

    fn decode(&mut self, now: Instant) {
        loop {
            let Some(next) = self.next else { return };
            let Some(part) = self.parts.remove(&next) else {
                if !self.skip_to_key_frame(next) {
                    break;
                }
                continue;
            };
            self.next = Some(next + 1);
            let begins = self
                .frame
                .is_none_or(|frame| frame.timestamp != part.timestamp);
            if begins {
                if self.frame.is_some() {
                    self.broken = true; // the frame before was cut off
                }
                if part.key_frame && part.frame_start {
                    self.broken = false;
                }
                self.frame = Some(part);
            }
            if part.marker {
                self.frame = None;
                if !self.broken {
                    self.shown.push((now, part.layer));
                    self.stuck_since = None;
                }
            }
        }
        let stuck = self.broken || !self.parts.is_empty();
        match stuck {
            true => _ = self.stuck_since.get_or_insert(now),
            false => self.stuck_since = None,
        }
    }

    /// A whole key frame behind the hole makes what is missing pointless.
    fn skip_to_key_frame(&mut self, next: i64) -> bool {
        let starts = self
            .parts
            .range(next..)
            .filter(|(_, p)| p.key_frame && p.frame_start);
        let whole = |start: i64, timestamp: u32| {
            (start..)
                .map_while(|n| self.parts.get(&n).filter(|p| p.timestamp == timestamp))
                .any(|part| part.marker)
        };
        let found = starts
            .filter(|(start, part)| whole(**start, part.timestamp))
            .map(|(start, _)| *start)
            .next_back();
        let Some(start) = found else { return false };
        self.parts = self.parts.split_off(&start);
        self.missing = self.missing.split_off(&start);
        self.frame = None;
        self.next = Some(start);
        true
    }

    fn repair(&mut self, now: Instant, rtt: Duration, out: &mut Vec<u8>) {
        let mut asked = Vec::new();
        for (sequence, (since, last, tries)) in &mut self.missing {
            let waited = now - *since >= Duration::from_millis(10);
            let due = last.is_none_or(|last| now - last >= rtt.max(Duration::from_millis(20)));
            if waited && due && *tries < 10 {
                (*last, *tries) = (Some(now), *tries + 1);
                asked.push(*sequence as u16);
            }
        }
        self.missing
            .retain(|_, (since, ..)| now - *since < Duration::from_secs(1));
        if !asked.is_empty() {
            write::nack(out, 1, self.ssrc, &asked);
        }
        let stuck = self
            .stuck_since
            .is_some_and(|since| now - since > Duration::from_millis(300) + rtt);
        let rested = self
            .asked_at
            .is_none_or(|at| now - at > Duration::from_millis(500));
        if stuck && rested {
            self.asked_at = Some(now);
            self.plis += 1;
            write::picture_loss(out, 1, self.ssrc);
        }
    }

    fn report(&mut self) -> Option<ReportBlock> {
        self.next?;
        let expected = self.highest - self.first + 1;
        let (expected_now, received_now) = (expected - self.told.0, self.received - self.told.1);
        self.told = (expected, self.received);
        let lost = (expected_now - received_now as i64).max(0);
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: (lost * 256 / expected_now.max(1)).min(255) as u8,
            highest_sequence: self.highest as u32,
            ..ReportBlock::default()
        })
    }
}
