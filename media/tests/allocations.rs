//! The packet path allocates nothing once its buffers have grown: counted by a global allocator, so
//! this is a test binary of its own with one test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(dead_code, reason = "the world is shared with the forwarding tests")]

use std::alloc::System;
use std::time::Duration;

use skein_media::ids::TrackKey;
use skein_media::rtp::writer::Head;
use skein_media::shard::{Input, Output};
use skein_media::transport::SRTP_TAIL_BYTES;
use skein_media::types::{MediaKind, Path, Protocol};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[path = "forwarding/publisher.rs"]
mod publisher;
#[path = "forwarding/world.rs"]
mod world;

use publisher::{Video, packet};
use world::{MID, TRANSPORT_CC, World, config, send_section, server_address, video_section};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn forwarding_allocates_nothing_per_packet() {
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

    let mut batches = batches(&mut world, &video);
    let path = Path {
        protocol: Protocol::Udp,
        local: server_address(),
        remote: world.clients[publisher].address,
    };
    let (mut forwarded, mut allocations) = (0, 0);
    let mut now = world.now;
    for (number, batch) in batches.iter_mut().enumerate() {
        let region = Region::new(ALLOCATOR);
        now += Duration::from_millis(33);
        for payload in batch {
            world.shard.handle(now, Input::Datagram { path, payload });
        }
        world.shard.flush(now);
        let mut segments = 0;
        while let Some(output) = world.shard.poll() {
            if let Output::Transmit(transmit) = output {
                segments += transmit.segments().count();
            }
        }
        let change = region.change();
        // The first batches may still grow a cache to this bit rate.
        if number >= 40 {
            forwarded += segments;
            allocations += change.allocations + change.reallocations;
        }
    }
    assert_eq!(forwarded, 10 * 8 * 8);
    assert_eq!(allocations, 0, "for {forwarded} packets");
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
            let mut sealed = packet(&head, &[(MID, b"1"), (TRANSPORT_CC, &number)], &payload);
            let len = sealed.len();
            sealed.resize(len + SRTP_TAIL_BYTES, 0);
            let transport = &mut world.clients[video.client].transport;
            let len = transport.seal_rtp(&mut sealed, len).unwrap();
            sealed.truncate(len);
            batch.push(sealed);
            sequence = sequence.wrapping_add(1);
        }
        batches.push(batch);
    }
    batches
}
