//! A publisher's camera: VP8 in three simulcast layers with three temporal layers each, at given
//! bit rates, with frames of uneven size and large key frames on request, as an encoder makes them.

use std::time::{Duration, Instant};

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use skein_media::ids::TrackKey;
use skein_media::rtcp::{self, Packet, SenderInfo, write};
use skein_media::rtp::writer::{Element, Head};
use skein_media::types::MediaKind;

use crate::publisher::packet;
use crate::world::{MID, RID, World, config, video_section};

pub(crate) const RIDS: [&str; 3] = ["q", "h", "f"];
pub(crate) const KBPS: [u64; 3] = [150, 500, 1_700];
const FRAME: Duration = Duration::from_micros(33_333);
const PAYLOAD_MAX: usize = 1_150;
/// A key frame is as large as this many others.
const KEY_FRAME: u64 = 6;
/// From a request to the key frame: capture, encoder.
const KEY_FRAME_DELAY: Duration = Duration::from_millis(40);

struct Layer {
    ssrc: u32,
    sequence: u16,
    picture: u16,
    tl0: u8,
    frames: u32,
    key_due: Option<Instant>,
    packets: u32,
}

pub(crate) struct Camera {
    client: usize,
    kbps: [u64; 3],
    layers: [Layer; 3],
    rng: ChaCha12Rng,
    began: Instant,
    next: Instant,
    next_report: Instant,
    read: usize,
    pub(crate) key_frames: usize,
}

impl Camera {
    pub(crate) fn new(world: &mut World, track: TrackKey, kbps: [u64; 3], seed: u64) -> Camera {
        let client = world.connect();
        let section = video_section(track, &RIDS);
        world.publish(client, track, section, config(MediaKind::Video, &RIDS));
        let layer = |index: u32| Layer {
            ssrc: 10_000 * (client as u32 + 1) + index,
            sequence: 65_000,
            picture: 1,
            tl0: 0,
            frames: 0,
            key_due: Some(world.now),
            packets: 0,
        };
        Camera {
            client,
            kbps,
            layers: [layer(0), layer(1), layer(2)],
            rng: ChaCha12Rng::seed_from_u64(seed * 1_000 + track.0),
            began: world.now,
            next: world.now + Duration::from_millis(7 * client as u64),
            next_report: world.now,
            read: 0,
            key_frames: 0,
        }
    }

    /// Sends what is due now.
    pub(crate) fn run(&mut self, world: &mut World) {
        self.listen(world);
        if world.now >= self.next_report {
            self.next_report = world.now + Duration::from_secs(1);
            self.report(world);
        }
        if world.now < self.next {
            return;
        }
        self.next += FRAME;
        for index in 0..3 {
            self.frame(world, index);
        }
    }

    fn listen(&mut self, world: &World) {
        let compounds = &world.clients[self.client].rtcp;
        for (_, compound) in compounds.iter().skip(self.read) {
            for packet in rtcp::packets(compound) {
                if let Packet::PictureLoss { media_ssrc } = packet
                    && let Some(layer) = self.layers.iter_mut().find(|l| l.ssrc == media_ssrc)
                {
                    layer.key_due.get_or_insert(world.now + KEY_FRAME_DELAY);
                }
            }
        }
        self.read = compounds.len();
    }

    fn clock(&self, now: Instant) -> u32 {
        ((now - self.began).as_micros() as u64 * 9 / 100) as u32
    }

    fn report(&self, world: &mut World) {
        let mut out = Vec::new();
        let since = world.now - self.began;
        for layer in &self.layers {
            let info = SenderInfo {
                ntp: (1_000u64 << 32) + ((since.as_micros() as u64) << 32) / 1_000_000,
                rtp_timestamp: self.clock(world.now),
                packets: layer.packets,
                octets: 0,
            };
            write::sender_report(&mut out, layer.ssrc, &info, &[]);
        }
        world.send_rtcp(self.client, &out);
    }

    fn frame(&mut self, world: &mut World, index: usize) {
        let timestamp = self.clock(world.now);
        let noise = 75 + u64::from(self.rng.next_u32() % 50);
        let layer = &mut self.layers[index];
        let key = layer.key_due.is_some_and(|due| due <= world.now);
        if key {
            (layer.key_due, layer.frames) = (None, 0);
            self.key_frames += 1;
        }
        // L1T3: the base layer's frames are the largest.
        let (tid, share) = match layer.frames % 4 {
            0 => (0u8, 160),
            2 => (1, 90),
            _ => (2, 75),
        };
        let mean = self.kbps[index] * 1_000 / 8 / 30;
        let size = match key {
            true => mean * KEY_FRAME,
            false => mean * share / 100 * noise / 100,
        } as usize;
        layer.frames += 1;
        layer.picture = (layer.picture + 1) & 0x7fff;
        layer.tl0 = layer.tl0.wrapping_add(u8::from(tid == 0));
        let count = size.div_ceil(PAYLOAD_MAX).max(1);
        let mut packets = Vec::new();
        for part in 0..count {
            let [high, low] = (0x8000 | layer.picture).to_be_bytes();
            let start = if part == 0 { 0x10 } else { 0 };
            let sync = u8::from(tid > 0) << 5;
            let inter = u8::from(!key);
            let mut payload = vec![
                0x80 | start,
                0xf0,
                high,
                low,
                layer.tl0,
                tid << 6 | sync,
                inter,
            ];
            payload.push(index as u8);
            payload.resize((size / count).max(20), 0xaa);
            let head = Head {
                marker: part + 1 == count,
                payload_type: 96,
                sequence: layer.sequence,
                timestamp,
                ssrc: layer.ssrc,
            };
            let elements: [Element<'_>; 2] = [(MID, b"1"), (RID, RIDS[index].as_bytes())];
            packets.push(packet(&head, &elements, &payload));
            layer.sequence = layer.sequence.wrapping_add(1);
            layer.packets += 1;
        }
        for packet in packets {
            world.send_rtp(self.client, &packet);
        }
    }
}
