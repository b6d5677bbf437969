//! A publishing client: VP8 simulcast by RID with retransmissions, and Opus with audio levels.
//! Answers NACKs and key-frame requests as libwebrtc does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use skein_media::rtcp::{self, Packet, SenderInfo, fir_targets, write};
use skein_media::rtp::writer::{Element, Head, write_head};

use crate::world::{AUDIO_LEVEL, MID, REPAIRED_RID, RID, TRANSPORT_CC, World};

/// One simulcast layer, or a single stream.
pub(crate) struct Layer {
    pub(crate) rid: Option<&'static str>,
    pub(crate) ssrc: u32,
    pub(crate) on: bool,
    pub(crate) want_key: bool,
    pub(crate) key_frames: usize,
    pub(crate) plis: Vec<Instant>,
    pub(crate) sequence: u16,
    rtx_sequence: u16,
    pub(crate) timestamp_base: u32,
    picture: u16,
    tl0: u8,
    frames: u32,
    sent: BTreeMap<u16, Vec<u8>>,
    packets: u32,
}

pub(crate) struct Video {
    pub(crate) client: usize,
    pub(crate) layers: Vec<Layer>,
    pub(crate) packets_per_frame: usize,
    /// Three temporal layers instead of one.
    pub(crate) temporal: bool,
    /// The other end knows which layer is which: packets do not say it any more.
    pub(crate) silent: bool,
    transport_sequence: u16,
    read: usize,
    started: Instant,
}

pub(crate) const FRAME: Duration = Duration::from_millis(33);

impl Video {
    pub(crate) fn new(world: &World, client: usize, rids: &[&'static str]) -> Video {
        let single = [None];
        let many: Vec<_> = rids.iter().map(|rid| Some(*rid)).collect();
        let names = if rids.is_empty() { &single[..] } else { &many };
        let layer = |(index, rid): (usize, &Option<&'static str>)| Layer {
            rid: *rid,
            ssrc: 1000 * (client as u32 + 1) + 10 * index as u32,
            on: true,
            want_key: true,
            key_frames: 0,
            plis: Vec::new(),
            // Close to the wraps, and nothing in common between layers.
            sequence: 65_500 + 7 * index as u16,
            rtx_sequence: 9,
            timestamp_base: (index as u32 + 1).wrapping_mul(0x5555_1234),
            picture: 32_750 + 5 * index as u16,
            tl0: 250 - 40 * index as u8,
            frames: 0,
            sent: BTreeMap::new(),
            packets: 0,
        };
        Video {
            client,
            layers: names.iter().enumerate().map(layer).collect(),
            packets_per_frame: 3,
            temporal: false,
            silent: false,
            transport_sequence: 0,
            read: 0,
            started: world.now,
        }
    }

    /// Media time of all layers' common capture clock, 90 kHz.
    fn media_time(&self, now: Instant) -> u32 {
        ((now - self.started).as_micros() as u64 * 9 / 100) as u32
    }

    /// Sends `count` frames on every layer that is on, one per 33 ms, answering feedback between.
    pub(crate) fn frames(&mut self, world: &mut World, count: usize) {
        for _ in 0..count {
            self.answer(world);
            for index in 0..self.layers.len() {
                if self.layers[index].on {
                    self.frame(world, index);
                }
            }
            world.run(FRAME);
        }
        self.answer(world);
    }

    pub(crate) fn sender_reports(&mut self, world: &mut World) {
        let mut out = Vec::new();
        let since = world.now - self.started;
        let ntp = (1_000u64 << 32) + ((since.as_micros() as u64) << 32) / 1_000_000;
        for layer in self.layers.iter().filter(|layer| layer.on) {
            let info = SenderInfo {
                ntp,
                rtp_timestamp: layer
                    .timestamp_base
                    .wrapping_add(self.media_time(world.now)),
                packets: layer.packets,
                octets: 0,
            };
            write::sender_report(&mut out, layer.ssrc, &info, &[]);
        }
        world.send_rtcp(self.client, &out);
    }

    fn frame(&mut self, world: &mut World, index: usize) {
        let media_time = self.media_time(world.now);
        let captured_us = (world.now - self.started).as_micros() as u64;
        let count = self.packets_per_frame;
        for part in 0..count {
            let temporal = self.temporal;
            let transport_sequence = self.transport_sequence;
            self.transport_sequence = transport_sequence.wrapping_add(1);
            let layer = &mut self.layers[index];
            let key = part == 0 && std::mem::take(&mut layer.want_key);
            if key {
                layer.frames = 0;
                layer.key_frames += 1;
            }
            let tid = match (temporal, layer.frames % 4) {
                (false, _) | (true, 0) => 0u8,
                (true, 2) => 1,
                _ => 2,
            };
            if part == 0 {
                layer.picture = (layer.picture + 1) & 0x7fff;
                if tid == 0 {
                    layer.tl0 = layer.tl0.wrapping_add(1);
                }
            }
            let is_key = layer.frames == 0;
            let [high, low] = (0x8000 | layer.picture).to_be_bytes();
            let sync = u8::from(tid > 0) << 5;
            let start = if part == 0 { 0x10 } else { 0 };
            let mut payload = vec![
                0x80 | start,
                0xf0,
                high,
                low,
                layer.tl0,
                tid << 6 | sync,
                u8::from(!is_key),
            ];
            payload.extend([index as u8, part as u8]);
            payload.extend(captured_us.to_be_bytes());
            payload.resize(200 + 100 * index, 0xaa);
            let transport = transport_sequence.to_be_bytes();
            let mut elements: Vec<Element<'_>> = vec![(TRANSPORT_CC, &transport)];
            if !self.silent {
                elements.push((MID, b"1"));
            }
            if let Some(rid) = layer.rid.filter(|_| !self.silent) {
                elements.push((RID, rid.as_bytes()));
            }
            let head = Head {
                marker: part + 1 == count,
                payload_type: 96,
                sequence: layer.sequence,
                timestamp: layer.timestamp_base.wrapping_add(media_time),
                ssrc: layer.ssrc,
            };
            let packet = packet(&head, &elements, &payload);
            layer.sequence = layer.sequence.wrapping_add(1);
            layer.packets += 1;
            layer.sent.insert(head.sequence, payload);
            if part + 1 == count {
                layer.frames += 1;
            }
            world.send_rtp(self.client, &packet);
        }
    }

    /// Reads RTCP that came since: repeats packets, remembers wishes for key frames.
    pub(crate) fn answer(&mut self, world: &mut World) {
        let compounds = world.clients[self.client].rtcp.split_off(self.read);
        for (at, compound) in &compounds {
            for packet in rtcp::packets(compound) {
                match packet {
                    Packet::PictureLoss { media_ssrc } => self.key_frame(*at, media_ssrc),
                    Packet::FullIntraRequest { entries } => {
                        fir_targets(entries).for_each(|ssrc| self.key_frame(*at, ssrc));
                    }
                    Packet::Nack { media_ssrc, pairs } => {
                        let asked: Vec<u16> = pairs.nacked().collect();
                        self.repeat(world, media_ssrc, &asked);
                    }
                    _ => {}
                }
            }
        }
        world.clients[self.client].rtcp.extend(compounds);
        self.read = world.clients[self.client].rtcp.len();
    }

    fn key_frame(&mut self, at: Instant, ssrc: u32) {
        if let Some(layer) = self.layers.iter_mut().find(|layer| layer.ssrc == ssrc) {
            layer.want_key = true;
            layer.plis.push(at);
        }
    }

    fn repeat(&mut self, world: &mut World, ssrc: u32, asked: &[u16]) {
        let media_time = self.media_time(world.now);
        let Some(layer) = self.layers.iter_mut().find(|layer| layer.ssrc == ssrc) else {
            return;
        };
        let mut packets = Vec::new();
        for sequence in asked {
            let Some(original) = layer.sent.get(sequence) else {
                continue;
            };
            let mut payload = sequence.to_be_bytes().to_vec();
            payload.extend(original);
            let mut elements: Vec<Element<'_>> = vec![(MID, b"1")];
            if let Some(rid) = layer.rid {
                elements.push((REPAIRED_RID, rid.as_bytes()));
            }
            let head = Head {
                marker: false,
                payload_type: 97,
                sequence: layer.rtx_sequence,
                timestamp: layer.timestamp_base.wrapping_add(media_time),
                ssrc: layer.ssrc + 1,
            };
            layer.rtx_sequence = layer.rtx_sequence.wrapping_add(1);
            packets.push(packet(&head, &elements, &payload));
        }
        for packet in packets {
            world.send_rtp(self.client, &packet);
        }
    }
}

/// 20 ms of Opus (or RED) per call.
pub(crate) struct Audio {
    pub(crate) client: usize,
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) payload_type: u8,
}

impl Audio {
    pub(crate) fn new(client: usize) -> Audio {
        Audio {
            client,
            ssrc: 500 + client as u32,
            sequence: 65_530,
            timestamp: u32::MAX - 5_000,
            payload_type: 111,
        }
    }

    pub(crate) fn packets(
        &mut self,
        world: &mut World,
        count: usize,
        level_dbov: u8,
        payload: &[u8],
    ) {
        for _ in 0..count {
            let head = Head {
                marker: false,
                payload_type: self.payload_type,
                sequence: self.sequence,
                timestamp: self.timestamp,
                ssrc: self.ssrc,
            };
            let level = [level_dbov];
            let elements: [Element<'_>; 2] = [(MID, b"0"), (AUDIO_LEVEL, &level)];
            world.send_rtp(self.client, &packet(&head, &elements, payload));
            self.sequence = self.sequence.wrapping_add(1);
            self.timestamp = self.timestamp.wrapping_add(960);
            world.run(Duration::from_millis(20));
        }
    }
}

impl Audio {
    /// Numbered packets at once, for tests that keep time themselves.
    #[allow(dead_code, reason = "not every binary has sound beside pictures")]
    pub(crate) fn packets_at_once(&mut self, world: &mut World, count: u32) {
        for _ in 0..count {
            let number = u32::from(self.sequence.wrapping_sub(60_000));
            let head = Head {
                marker: false,
                payload_type: self.payload_type,
                sequence: self.sequence,
                timestamp: self.timestamp,
                ssrc: self.ssrc,
            };
            let elements: [Element<'_>; 2] = [(MID, b"0"), (AUDIO_LEVEL, &[30])];
            let packet = packet(&head, &elements, &number.to_be_bytes());
            world.send_rtp(self.client, &packet);
            self.sequence = self.sequence.wrapping_add(1);
            self.timestamp = self.timestamp.wrapping_add(960);
        }
    }
}

pub(crate) fn packet(head: &Head, elements: &[Element<'_>], payload: &[u8]) -> Vec<u8> {
    let mut buf = [0u8; 128];
    let len = write_head(&mut buf, head, elements).unwrap();
    let mut packet = buf[..len].to_vec();
    packet.extend(payload);
    packet
}
