//! What a subscriber's decoder would complain about: gaps, repeats, clocks that run backwards, and
//! pictures that are missing. Also its side of RTCP.

use std::collections::BTreeMap;

use skein_media::rtcp::{ReportBlock, write};
use skein_media::rtp::vp8::Vp8Descriptor;

use crate::world::World;

/// Packets of one SSRC by extended sequence number, repeats on RTX folded in.
pub(crate) struct Stream {
    pub(crate) packets: BTreeMap<i64, Arrived>,
    pub(crate) duplicates: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) payload_type: u8,
    pub(crate) payload: Vec<u8>,
    pub(crate) vp8: Option<Vp8Descriptor>,
}

impl Arrived {
    /// Layer the test publisher put into the payload.
    pub(crate) fn layer(&self) -> u8 {
        self.payload[7]
    }
}

fn extend(last: Option<i64>, sequence: u16) -> i64 {
    let Some(last) = last else {
        return 0x10000 + i64::from(sequence);
    };
    last + i64::from(sequence.wrapping_sub(last as u16) as i16)
}

impl Stream {
    pub(crate) fn of(world: &World, client: usize, ssrc: u32) -> Stream {
        let mut stream = Stream {
            packets: BTreeMap::new(),
            duplicates: 0,
        };
        let mut last = None;
        for seen in &world.clients[client].rtp {
            let header = seen.header;
            let (sequence, payload_type, payload) = if header.ssrc == ssrc {
                (header.sequence, header.payload_type, seen.payload())
            } else if header.ssrc == ssrc + 1 {
                let (osn, rest) = seen.payload().split_at(2);
                (
                    u16::from_be_bytes([osn[0], osn[1]]),
                    header.payload_type - 1,
                    rest,
                )
            } else {
                continue;
            };
            let sequence = extend(last, sequence);
            last = Some(last.map_or(sequence, |last: i64| last.max(sequence)));
            let arrived = Arrived {
                timestamp: header.timestamp,
                marker: header.marker,
                payload_type,
                payload: payload.to_vec(),
                vp8: Vp8Descriptor::parse(payload),
            };
            if stream.packets.insert(sequence, arrived).is_some() {
                stream.duplicates += 1;
            }
        }
        stream
    }

    /// Numbers between the first and the last that never came.
    pub(crate) fn missing(&self) -> Vec<u16> {
        let (Some((first, _)), Some((last, _))) = (
            self.packets.first_key_value(),
            self.packets.last_key_value(),
        ) else {
            return Vec::new();
        };
        (*first..*last)
            .filter(|s| !self.packets.contains_key(s))
            .map(|s| s as u16)
            .collect()
    }

    /// Fails where a VP8 decoder would stumble.
    pub(crate) fn assert_decodable(&self) {
        assert!(!self.packets.is_empty(), "nothing arrived");
        assert_eq!(self.missing(), [0u16; 0], "sequence numbers have gaps");
        assert_eq!(self.duplicates, 0);
        let mut last: Option<&Arrived> = None;
        for (sequence, packet) in &self.packets {
            let vp8 = packet.vp8.expect("VP8");
            let Some(before) = last.replace(packet) else {
                assert!(vp8.key_frame, "it begins with a key frame");
                continue;
            };
            let old = before.vp8.expect("VP8");
            let pictures = vp8.picture_id.wrapping_sub(old.picture_id) & 0x7fff;
            assert_eq!(
                pictures,
                u16::from(before.marker),
                "picture ids at {sequence}"
            );
            let clock = packet.timestamp.wrapping_sub(before.timestamp);
            if before.marker {
                assert!(
                    (1..90_000 * 60).contains(&clock),
                    "clock ran {clock} at {sequence}"
                );
            } else {
                assert_eq!(clock, 0, "one frame, one timestamp at {sequence}");
            }
            if before.marker && packet.layer() != before.layer() {
                assert!(vp8.key_frame, "a switch without key frame at {sequence}");
            }
            let tl0 = vp8
                .tl0_picture_index
                .unwrap()
                .wrapping_sub(old.tl0_picture_index.unwrap());
            assert!(tl0 <= 1, "TL0PICIDX jumps by {tl0} at {sequence}");
        }
    }

    /// Layers in the order they were shown, repeats removed.
    pub(crate) fn layers(&self) -> Vec<u8> {
        let mut layers: Vec<u8> = self.packets.values().map(Arrived::layer).collect();
        layers.dedup();
        layers
    }
}

/// Asks for what is missing, as often as it is called.
pub(crate) fn nack_missing(world: &mut World, client: usize, ssrc: u32) -> usize {
    let missing = Stream::of(world, client, ssrc).missing();
    if !missing.is_empty() {
        let mut out = Vec::new();
        write::nack(&mut out, 1, ssrc, &missing);
        world.send_rtcp(client, &out);
    }
    missing.len()
}

pub(crate) fn receiver_report(world: &mut World, client: usize, ssrc: u32, fraction_lost: u8) {
    let block = ReportBlock {
        ssrc,
        fraction_lost,
        ..ReportBlock::default()
    };
    let mut out = Vec::new();
    write::receiver_report(&mut out, 1, &[block]);
    world.send_rtcp(client, &out);
}

pub(crate) fn picture_loss(world: &mut World, client: usize, ssrc: u32) {
    let mut out = Vec::new();
    write::picture_loss(&mut out, 1, ssrc);
    world.send_rtcp(client, &out);
}
