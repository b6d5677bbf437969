//! RED where one side lacks it: made for subscribers whose publisher sends plain Opus, taken apart
//! for subscribers without it, and what both save of a lossy path.

use std::collections::BTreeMap;
use std::time::Duration;

use skein_media::command::Command;
use skein_media::ids::TrackKey;
use skein_media::rtp::red::{self, Red};
use skein_media::rtp::writer::{Element, Head};
use skein_media::types::{Codec, MediaKind, SendSection};

use crate::publisher::packet;
use crate::world::{
    AUDIO_LEVEL, MID, Seen, World, audio_section, config, payload_type, prefer, send_section,
};

const TRACK: TrackKey = TrackKey(1);
const SSRC: u32 = 7000;
const FRAME: u32 = 960;

/// Frame `number`, of a size that varies like that of speech.
fn frame(number: u32) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.resize(40 + (number * 31 % 80) as usize, number as u8);
    bytes
}

/// Sends 20 ms of audio at a time, as Opus or as RED of Opus.
struct Speaker {
    client: usize,
    /// Redundant blocks in each packet; 0 = plain Opus.
    redundant: u32,
    next: u32,
}

impl Speaker {
    fn send(&mut self, world: &mut World) {
        let number = self.next;
        self.next += 1;
        let mut buffer = [0u8; 1500];
        let primary = frame(number);
        let before: Vec<(u32, Vec<u8>)> = (1..=self.redundant.min(number))
            .rev()
            .map(|back| (back * FRAME, frame(number - back)))
            .collect();
        let blocks: Vec<(u32, &[u8])> = before.iter().map(|(at, b)| (*at, b.as_slice())).collect();
        let (payload_type, payload) = match self.redundant {
            0 => (111, primary.as_slice()),
            _ => {
                let end = red::write(&mut buffer, 0, 111, &blocks, &primary).unwrap();
                (63, &buffer[..end])
            }
        };
        let head = Head {
            marker: false,
            payload_type,
            sequence: (number as u16).wrapping_add(65_500),
            timestamp: (number * FRAME).wrapping_sub(7 * FRAME),
            ssrc: 555,
        };
        let elements: [Element<'_>; 2] = [(MID, b"0"), (AUDIO_LEVEL, &[30])];
        world.send_rtp(self.client, &packet(&head, &elements, payload));
        world.run(Duration::from_millis(20));
    }

    fn send_many(&mut self, world: &mut World, count: usize) {
        (0..count).for_each(|_| self.send(world));
    }
}

fn with_red() -> SendSection {
    let mut section = send_section(MediaKind::Audio, SSRC);
    let red = payload_type(Codec::Red, 60, None);
    prefer(&mut section, red);
    section
}

struct Call {
    world: World,
    speaker: Speaker,
    plain: usize,
    red: usize,
}

fn call(seed: u64, redundant: u32, build_red: bool, encrypted: bool) -> Call {
    let mut world = World::new(seed);
    let publisher = world.connect();
    let (plain, red) = (world.connect(), world.connect());
    let mut track = config(MediaKind::Audio, &[]);
    (track.build_red, track.encrypted) = (build_red, encrypted);
    world.publish(publisher, TRACK, audio_section(TRACK), track);
    world.subscribe(plain, TRACK, send_section(MediaKind::Audio, SSRC));
    world.subscribe(red, TRACK, with_red());
    let speaker = Speaker {
        client: publisher,
        redundant,
        next: 0,
    };
    Call {
        world,
        speaker,
        plain,
        red,
    }
}

/// Frames a decoder gets, by timestamp relative to the first one's packet.
fn frames(seen: &[&Seen]) -> BTreeMap<i32, Vec<u8>> {
    let origin = seen[0].header.timestamp;
    let mut found = BTreeMap::new();
    for packet in seen {
        let at = packet.header.timestamp.wrapping_sub(origin) as i32;
        let payload = packet.payload();
        match packet.header.payload_type {
            60 => {
                let red = Red::parse(payload).unwrap();
                assert_eq!(red.payload_type, 109, "the subscriber's number for Opus");
                for block in red.blocks() {
                    let at = at - block.timestamp_offset as i32;
                    found.insert(at, block.payload.of(payload).to_vec());
                }
                found.insert(at, red.primary.of(payload).to_vec());
            }
            109 => {
                found.insert(at, payload.to_vec());
            }
            other => panic!("payload type {other}"),
        }
    }
    found
}

/// Frames between the first and the last that never came; fails when one has wrong content.
fn missing(seen: &[&Seen]) -> usize {
    let found = frames(seen);
    let number = |bytes: &[u8]| u32::from_be_bytes(*bytes.first_chunk().unwrap());
    let (first_at, first) = found.first_key_value().unwrap();
    for (at, bytes) in &found {
        let expected = number(first) + ((at - first_at) as u32) / FRAME;
        assert_eq!(*bytes, frame(expected), "the frame of its time");
    }
    let (last_at, _) = found.last_key_value().unwrap();
    ((last_at - first_at) as u32 / FRAME) as usize + 1 - found.len()
}

#[test]
fn opus_is_sent_as_red_to_those_who_take_it() {
    let mut call = call(60, 0, true, false);
    call.speaker.send_many(&mut call.world, 50);
    let seen = call.world.clients[call.red].of(SSRC);
    assert_eq!(seen.len(), 50);
    for (index, packet) in seen.iter().enumerate() {
        assert_eq!(packet.header.payload_type, 60);
        let red = Red::parse(packet.payload()).unwrap();
        assert_eq!(red.redundant, index.min(2), "packet {index}");
    }
    assert_eq!(missing(&seen), 0);
    let plain = call.world.clients[call.plain].of(SSRC);
    assert!(plain.len() == 50 && plain.iter().all(|s| s.header.payload_type == 109));
}

#[test]
fn opus_stays_opus_unless_asked_for_or_when_encrypted() {
    for (build_red, encrypted) in [(false, false), (true, true)] {
        let mut call = call(61, 0, build_red, encrypted);
        call.speaker.send_many(&mut call.world, 20);
        let seen = call.world.clients[call.red].of(SSRC);
        assert!(seen.len() == 20 && seen.iter().all(|s| s.header.payload_type == 109));
    }
}

#[test]
fn no_frame_is_missing_at_five_percent_loss_towards_a_subscriber_with_red() {
    let mut call = call(62, 0, true, false);
    call.world.clients[call.red].loss = 5;
    call.world.clients[call.plain].loss = 5;
    call.speaker.send_many(&mut call.world, 1_500);
    let seen = call.world.clients[call.red].of(SSRC);
    let lost = 1_500 - seen.len();
    assert!((40..120).contains(&lost), "{lost} packets were lost");
    let gaps = missing(&seen);
    assert!(
        gaps <= 1,
        "{gaps} frames are missing of {lost} lost packets"
    );
    let plain = missing(&call.world.clients[call.plain].of(SSRC));
    assert!(plain > 40, "without RED {plain} are");
}

#[test]
fn what_a_red_publishers_path_loses_is_recovered_for_everybody() {
    for redundant in [1, 2] {
        let mut call = call(63, redundant, false, false);
        call.world.clients[call.speaker.client].loss = 5;
        call.speaker.send_many(&mut call.world, 1_500);
        for (client, name) in [(call.plain, "plain"), (call.red, "red")] {
            let seen = call.world.clients[client].of(SSRC);
            let gaps = missing(&seen);
            let bound = if redundant == 1 { 12 } else { 2 };
            assert!(
                gaps <= bound,
                "{gaps} frames missing, {redundant} blocks, {name}"
            );
            let mut sequences: Vec<u16> = seen.iter().map(|s| s.header.sequence).collect();
            sequences.dedup();
            assert_eq!(sequences.len(), seen.len(), "no number twice");
        }
        let plain = call.world.clients[call.plain].of(SSRC);
        assert!(plain.iter().all(|s| s.header.payload_type == 109));
        let red = call.world.clients[call.red].of(SSRC);
        assert!(red.iter().all(|s| s.header.payload_type == 60));
    }
}

#[test]
fn a_late_packet_is_not_sent_again_after_its_recovery() {
    let mut call = call(64, 2, false, false);
    call.world.jitter_ms = 50;
    call.speaker.send_many(&mut call.world, 300);
    let seen = call.world.clients[call.plain].of(SSRC);
    let mut sequences: Vec<u16> = seen.iter().map(|s| s.header.sequence).collect();
    sequences.sort_unstable();
    let before = sequences.len();
    sequences.dedup();
    assert_eq!(sequences.len(), before, "no number twice");
    assert_eq!(missing(&seen), 0);
}

#[test]
fn red_never_repeats_what_was_said_while_muted() {
    let mut call = call(65, 0, true, false);
    call.speaker.send_many(&mut call.world, 10);
    for muted in [true, false] {
        let track = TRACK;
        call.world.command(Command::SetTrackMuted { track, muted });
        call.speaker.send_many(&mut call.world, 10);
    }
    call.world.run(Duration::from_millis(100));
    let seen = call.world.clients[call.red].of(SSRC);
    let number = |bytes: &[u8]| u32::from_be_bytes(*bytes.first_chunk().unwrap());
    for packet in &seen {
        let payload = packet.payload();
        let red = Red::parse(payload).unwrap();
        let blocks = red.blocks().map(|block| number(block.payload.of(payload)));
        for heard in blocks.chain([number(red.primary.of(payload))]) {
            assert!(
                !(10..20).contains(&heard),
                "frame {heard} was said while muted"
            );
        }
    }
    assert_eq!(seen.len(), 20);
}

#[test]
fn a_silence_longer_than_an_offset_can_tell_has_no_redundancy() {
    let mut call = call(66, 0, true, false);
    call.speaker.send_many(&mut call.world, 5);
    // Discontinuous transmission: numbers go on, the clock jumps.
    let head = Head {
        marker: true,
        payload_type: 111,
        sequence: 65_505,
        timestamp: (5 * FRAME).wrapping_sub(7 * FRAME).wrapping_add(20 * FRAME),
        ssrc: 555,
    };
    let elements: [Element<'_>; 2] = [(MID, b"0"), (AUDIO_LEVEL, &[30])];
    let spoken = packet(&head, &elements, &frame(25));
    call.world.send_rtp(call.speaker.client, &spoken);
    call.world.run(Duration::from_millis(100));
    let seen = call.world.clients[call.red].of(SSRC);
    let last = Red::parse(seen.last().unwrap().payload()).unwrap();
    assert_eq!((seen.len(), last.redundant), (6, 0));
}
