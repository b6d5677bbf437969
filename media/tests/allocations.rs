//! The packet path allocates nothing once its buffers have grown: counted by a global allocator, so
//! this is a test binary of its own with one test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(dead_code, reason = "the world is shared with the forwarding tests")]

use std::alloc::System;
use std::time::Duration;

use skein_media::ids::{LinkKey, TrackKey};
use skein_media::relay::Block;
use skein_media::rtp::writer::Head;
use skein_media::shard::{Input, Output};
use skein_media::transport::SRTP_TAIL_BYTES;
use skein_media::types::{Codec, MediaKind, Path, Protocol};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[path = "forwarding/publisher.rs"]
mod publisher;
#[path = "forwarding/world.rs"]
mod world;

use publisher::{Audio, Video, packet};
use world::{
    AUDIO_LEVEL, MID, TRANSPORT_CC, World, audio_section, config, payload_type, prefer,
    send_section, server_address, video_section,
};

/// Half of the subscribers get what is relayed to the other shard.
const SHARDS: usize = 2;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn forwarding_allocates_nothing_per_packet_on_either_shard_of_a_room() {
    let track = TrackKey(1);
    let mut world = World::new(1);
    let publisher = world.connect();
    world.publish(
        publisher,
        track,
        video_section(track, &[]),
        config(MediaKind::Video, &[]),
    );
    for _ in 0..8 {
        let subscriber = world.connect();
        let mut section = send_section(MediaKind::Video, 7000);
        section.extensions.transport_cc = Some(TRANSPORT_CC);
        world.subscribe(subscriber, track, section);
    }
    let mut video = Video::new(&world, publisher, &[]);
    video.packets_per_frame = 8;
    video.frames(&mut world, 200);

    let batches = batches(&mut world, &video);
    let (forwarded, allocations) = measure(&mut world, publisher, batches);
    assert_eq!(forwarded, 10 * 8 * 8);
    assert_eq!(allocations, 0, "for {forwarded} packets");
    making_red_allocates_nothing();
}

/// The same for audio whose redundancy is made here.
fn making_red_allocates_nothing() {
    let track = TrackKey(1);
    let mut world = World::new(2);
    let publisher = world.connect();
    let mut opus = config(MediaKind::Audio, &[]);
    opus.build_red = true;
    world.publish(publisher, track, audio_section(track), opus);
    for _ in 0..8 {
        let subscriber = world.connect();
        let mut section = send_section(MediaKind::Audio, 7000);
        prefer(&mut section, payload_type(Codec::Red, 60, None));
        world.subscribe(subscriber, track, section);
    }
    Audio::new(publisher).packets(&mut world, 200, 30, &[7; 120]);
    let mut batches = Vec::new();
    for number in 0..50u16 {
        let head = Head {
            marker: false,
            payload_type: 111,
            sequence: 65_530u16.wrapping_add(200 + number),
            timestamp: u32::from(number) * 960,
            ssrc: 500 + publisher as u32,
        };
        let packet = packet(&head, &[(MID, b"0"), (AUDIO_LEVEL, &[30])], &[7; 120]);
        batches.push(vec![seal(&mut world, publisher, packet)]);
    }
    let (forwarded, allocations) = measure(&mut world, publisher, batches);
    assert_eq!(forwarded, 10 * 8);
    assert_eq!(allocations, 0, "for {forwarded} packets of RED");
}

/// Packets sent and allocations made for the last batches; the first ones may still grow a cache
/// to this bit rate.
fn measure(world: &mut World, publisher: usize, batches: Vec<Vec<Vec<u8>>>) -> (usize, usize) {
    let path = Path {
        protocol: Protocol::Udp,
        local: server_address(),
        remote: world.clients[publisher].address,
    };
    let mut travelling = Block::default();
    let (mut forwarded, mut allocations) = (0, 0);
    let mut now = world.now;
    for (number, mut batch) in batches.into_iter().enumerate() {
        let region = Region::new(ALLOCATOR);
        now += Duration::from_millis(33);
        for payload in &mut batch {
            world.shard.handle(now, Input::Datagram { path, payload });
        }
        let mut segments = 0;
        for index in 0..SHARDS {
            let shard = world.shard_at(index);
            shard.flush(now);
            while let Some(output) = shard.poll() {
                match output {
                    Output::Transmit(transmit) => segments += transmit.segments().count(),
                    // As a worker does: the block travels, an empty one takes its place.
                    Output::Relay { block, .. } => std::mem::swap(block, &mut travelling),
                    Output::Event(_) => {}
                }
            }
            for frame in travelling.frames() {
                let link = LinkKey(index as u64);
                let shard = world.shard_at(1 - index);
                shard.handle(now, Input::Relay { link, frame });
            }
            travelling.clear();
        }
        let change = region.change();
        if number >= 40 {
            forwarded += segments;
            allocations += change.allocations + change.reallocations;
        }
    }
    (forwarded, allocations)
}

fn seal(world: &mut World, client: usize, mut packet: Vec<u8>) -> Vec<u8> {
    let len = packet.len();
    packet.resize(len + SRTP_TAIL_BYTES, 0);
    let transport = &mut world.clients[client].transport;
    let len = transport.seal_rtp(&mut packet, len).unwrap();
    packet.truncate(len);
    packet
}

/// Batches as a worker hands them in, sealed beforehand; media timers are not part of it.
fn batches(world: &mut World, video: &Video) -> Vec<Vec<Vec<u8>>> {
    let layer = &video.layers[0];
    let (ssrc, mut sequence) = (layer.ssrc, layer.sequence);
    let mut batches = Vec::new();
    for frame in 0..50u32 {
        let mut batch = Vec::new();
        for _ in 0..8 {
            let head = Head {
                marker: false,
                payload_type: 96,
                sequence,
                timestamp: layer.timestamp_base.wrapping_add(1_000_000 + frame * 3_000),
                ssrc,
            };
            let number = sequence.to_be_bytes();
            let mut payload = vec![0x10, 0x01];
            payload.resize(1_150, 0x55);
            let packet = packet(&head, &[(MID, b"1"), (TRANSPORT_CC, &number)], &payload);
            batch.push(seal(world, video.client, packet));
            sequence = sequence.wrapping_add(1);
        }
        batches.push(batch);
    }
    batches
}
