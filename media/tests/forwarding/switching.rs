//! Changes of source and layer that come about in unusual ways: a codec that ends before its
//! successor is named, layers known by SSRC only, layers that appear inside a stream, frames that
//! arrive out of order.

use std::time::Duration;

use skein_media::command::Command;
use skein_media::ids::{DownTrackKey, TrackKey};
use skein_media::rtcp::{self, Packet};
use skein_media::rtp::ExtensionMap;
use skein_media::rtp::writer::{Element, Head};
use skein_media::types::{Codec, Extensions, LayerLimit, LayerMode, MediaKind, SsrcInfo};

use crate::publisher::{Video, packet};
use crate::subscriber::Stream;
use crate::world::{MID, World, config, payload_type, send_section, video_section};

const TRACK: TrackKey = TrackKey(1);
const SSRC: u32 = 7000;
const DESCRIPTOR: u8 = 12;

fn one_layer(seed: u64) -> (World, Video, usize, DownTrackKey) {
    let mut world = World::new(seed);
    let publisher = world.connect();
    let subscriber = world.connect();
    let section = video_section(TRACK, &[]);
    world.publish(publisher, TRACK, section, config(MediaKind::Video, &[]));
    let down = world.subscribe(subscriber, TRACK, send_section(MediaKind::Video, SSRC));
    let video = Video::new(&world, publisher, &[]);
    (world, video, subscriber, down)
}

#[test]
fn a_subscription_outlives_the_track_it_came_from() {
    let (mut world, mut video, subscriber, down_track) = one_layer(70);
    let second = world.connect();
    let other = TrackKey(2);
    let section = video_section(other, &[]);
    world.publish(second, other, section, config(MediaKind::Video, &[]));
    let mut replacement = Video::new(&world, second, &[]);
    for _ in 0..30 {
        video.frames(&mut world, 1);
        replacement.frames(&mut world, 1);
    }
    // The publisher gives the first codec up; only then the room names the other one.
    world.command(Command::RemoveTrack { track: TRACK });
    replacement.frames(&mut world, 10);
    let before = world.clients[subscriber].of(SSRC).len();
    let track = other;
    world.command(Command::SwitchDownTrack { down_track, track });
    replacement.frames(&mut world, 60);
    let stream = Stream::of(&world, subscriber, SSRC);
    stream.assert_decodable();
    let after = world.clients[subscriber].of(SSRC).len();
    assert!(after > before + 100, "{before} packets, then {after}");
}

#[test]
fn a_subscription_without_a_track_ends_as_any_other() {
    let (mut world, mut video, subscriber, down_track) = one_layer(71);
    video.frames(&mut world, 10);
    world.command(Command::RemoveTrack { track: TRACK });
    world.command(Command::RemoveDownTrack { down_track });
    let ignored = world.shard.counters().commands_ignored;
    assert_eq!(ignored, 0, "it was still there to be removed");
    let transport = world.clients[subscriber].key;
    world.command(Command::CloseTransport { transport });
    world.run(Duration::from_secs(1));
}

#[test]
fn simulcast_without_rids_reaches_its_best_layer() {
    let mut world = World::new(72);
    let publisher = world.connect();
    let subscriber = world.connect();
    let mut video = Video::new(&world, publisher, &["q", "h", "f"]);
    let mut section = video_section(TRACK, &[]);
    for (index, layer) in (0u8..).zip(&mut video.layers) {
        layer.rid = None;
        section.ssrcs.push(SsrcInfo {
            ssrc: layer.ssrc,
            repairs: None,
            layer: Some(index),
        });
    }
    world.publish(publisher, TRACK, section, config(MediaKind::Video, &[]));
    let down_track = world.subscribe(subscriber, TRACK, send_section(MediaKind::Video, SSRC));
    video.frames(&mut world, 60);
    let stream = Stream::of(&world, subscriber, SSRC);
    stream.assert_decodable();
    assert_eq!(stream.layers().last(), Some(&2));
    let limit = LayerLimit {
        max_spatial: 0,
        max_temporal: 3,
    };
    world.command(Command::UpdateDownTrack {
        down_track,
        limit,
        paused: false,
    });
    video.frames(&mut world, 60);
    let stream = Stream::of(&world, subscriber, SSRC);
    stream.assert_decodable();
    assert_eq!(stream.layers().last(), Some(&0));
}

/// A VP9 picture of `layers` spatial layers, one packet each.
struct Svc {
    client: usize,
    sequence: u16,
    picture: u16,
    layers: u8,
    want_key: bool,
    key_frames: usize,
    read: usize,
}

impl Svc {
    fn pictures(&mut self, world: &mut World, count: usize) {
        for _ in 0..count {
            self.answer(world);
            let key = std::mem::take(&mut self.want_key);
            self.key_frames += usize::from(key);
            self.picture = self.picture.wrapping_add(1);
            for spatial in 0..self.layers {
                let inter = if key { 0 } else { 0x40 };
                let [high, low] = (0x8000 | self.picture & 0x7fff).to_be_bytes();
                let mut payload = vec![0xac | inter, high, low, spatial << 1 | 1, 0];
                payload.resize(100, spatial);
                let head = Head {
                    marker: spatial + 1 == self.layers,
                    payload_type: 98,
                    sequence: self.sequence,
                    timestamp: u32::from(self.picture) * 3_000,
                    ssrc: 4321,
                };
                self.sequence = self.sequence.wrapping_add(1);
                world.send_rtp(self.client, &packet(&head, &[(MID, b"1")], &payload));
            }
            world.run(Duration::from_millis(33));
        }
    }

    fn answer(&mut self, world: &World) {
        let compounds = &world.clients[self.client].rtcp;
        for (_, compound) in &compounds[self.read..] {
            let mut packets = rtcp::packets(compound);
            self.want_key |= packets.any(|packet| matches!(packet, Packet::PictureLoss { .. }));
        }
        self.read = compounds.len();
    }
}

#[test]
fn a_subscriber_of_svc_gets_layers_that_appear_after_it_asked_for_them() {
    let mut world = World::new(73);
    let publisher = world.connect();
    let subscriber = world.connect();
    let mut section = video_section(TRACK, &[]);
    section.payload_types = [payload_type(Codec::Vp9, 98, None)].into();
    let mut track = config(MediaKind::Video, &[]);
    track.layer_mode = LayerMode::OneStream;
    world.publish(publisher, TRACK, section, track);
    let mut to = send_section(MediaKind::Video, SSRC);
    to.payload_types = [payload_type(Codec::Vp9, 99, None)].into();
    let down_track = world.subscribe(subscriber, TRACK, to);
    let limit = |max_spatial| Command::UpdateDownTrack {
        down_track,
        limit: LayerLimit {
            max_spatial,
            max_temporal: 3,
        },
        paused: false,
    };
    world.command(limit(0));
    let mut svc = Svc {
        client: publisher,
        sequence: 9,
        picture: 7,
        layers: 1,
        want_key: true,
        key_frames: 0,
        read: 0,
    };
    svc.pictures(&mut world, 30);
    // It wants more while there is no more; later there is.
    world.command(limit(2));
    svc.pictures(&mut world, 5);
    svc.layers = 3;
    svc.pictures(&mut world, 90);
    let seen = world.clients[subscriber].of(SSRC);
    let highest = |seen: &[&crate::world::Seen]| seen.iter().map(|s| s.payload()[50]).max();
    let count = seen.len();
    assert_eq!(highest(&seen[count - 30..]), Some(2), "{count} packets");
    let asked = svc.key_frames;
    svc.pictures(&mut world, 120);
    assert_eq!(svc.key_frames, asked, "no more key frames than it takes");
}

/// Frame numbers of the dependency descriptors a subscriber got.
fn frame_numbers(world: &World, subscriber: usize) -> Vec<u16> {
    let mut map = ExtensionMap::default();
    map.merge(&Extensions {
        dependency_descriptor: Some(DESCRIPTOR),
        ..Extensions::default()
    });
    let seen = world.clients[subscriber].of(SSRC);
    let numbers = seen.iter().filter_map(|seen| {
        let extensions = map.read(&seen.header, &seen.packet);
        let element = extensions.dependency_descriptor.of(&seen.packet);
        Some(u16::from_be_bytes([*element.get(1)?, *element.get(2)?]))
    });
    numbers.collect()
}

#[test]
fn frame_numbers_of_descriptors_go_on_over_a_change_of_source() {
    let mut world = World::new(74);
    let subscriber = world.connect();
    let tracks = [TRACK, TrackKey(2)];
    let publishers = tracks.map(|track| {
        let publisher = world.connect();
        let mut section = video_section(track, &[]);
        section.payload_types = [payload_type(Codec::H264, 98, None)].into();
        section.extensions.dependency_descriptor = Some(DESCRIPTOR);
        world.publish(publisher, track, section, config(MediaKind::Video, &[]));
        publisher
    });
    let mut to = send_section(MediaKind::Video, SSRC);
    to.payload_types = [payload_type(Codec::H264, 99, Some(100))].into();
    to.extensions.dependency_descriptor = Some(DESCRIPTOR);
    let down_track = world.subscribe(subscriber, TRACK, to);
    let mut sequence = 0u16;
    let mut frames = |world: &mut World, count: u16| {
        for _ in 0..count {
            sequence += 1;
            for (publisher, first) in publishers.iter().zip([60_000u16, 300]) {
                let number = first.wrapping_add(sequence).to_be_bytes();
                let descriptor = [0xc0, number[0], number[1]];
                let head = Head {
                    marker: true,
                    payload_type: 98,
                    sequence,
                    timestamp: u32::from(sequence) * 3_000,
                    ssrc: 9_000 + u32::from(first),
                };
                let elements: [Element<'_>; 2] = [(MID, b"1"), (DESCRIPTOR, &descriptor)];
                // Every picture is a parameter set: one can begin anywhere.
                world.send_rtp(*publisher, &packet(&head, &elements, &[0x67, 1, 2, 3]));
            }
            world.run(Duration::from_millis(33));
        }
    };
    frames(&mut world, 20);
    world.command(Command::SwitchDownTrack {
        down_track,
        track: tracks[1],
    });
    frames(&mut world, 20);
    let numbers = frame_numbers(&world, subscriber);
    assert!(numbers.len() > 30, "{} frames", numbers.len());
    for pair in numbers.windows(2) {
        assert_eq!(pair[1].wrapping_sub(pair[0]), 1, "{numbers:?}");
    }
}

/// A VP8 packet of a picture of three.
fn vp8(sequence: u16, part: u16, key: bool) -> Vec<u8> {
    let picture = sequence / 3;
    let [high, low] = (0x8000 | picture).to_be_bytes();
    let start = if part == 0 { 0x10 } else { 0 };
    let mut payload = vec![0x80 | start, 0xf0, high, low, 0, 0, u8::from(!key)];
    payload.extend([0, part as u8]);
    payload.resize(200, 0xaa);
    let head = Head {
        marker: part == 2,
        payload_type: 96,
        sequence,
        timestamp: u32::from(picture) * 3_000,
        ssrc: 1234,
    };
    packet(&head, &[(MID, b"1")], &payload)
}

#[test]
fn a_key_frame_whose_first_packet_comes_last_is_sent_whole() {
    let (mut world, video, subscriber, _) = one_layer(75);
    let client = video.client;
    for (picture, order) in [(10, [1, 2, 0]), (11, [0, 1, 2]), (12, [0, 1, 2])] {
        for part in order {
            let plain = vp8(picture * 3 + part, part, picture == 10);
            world.send_rtp(client, &plain);
            world.run(Duration::from_millis(1));
        }
        world.run(Duration::from_millis(30));
    }
    let stream = Stream::of(&world, subscriber, SSRC);
    assert_eq!(stream.missing(), [0u16; 0]);
    assert_eq!((stream.packets.len(), stream.duplicates), (9, 0));
}
