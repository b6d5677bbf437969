//! What a dormant transport costs: counted by a global allocator, so this is a test binary of its
//! own with one test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]
#![allow(dead_code, reason = "the world is shared with the forwarding tests")]

use std::alloc::System;
use std::time::Duration;

use skein_media::Command;
use skein_media::ids::{DownTrackKey, TrackKey};
use skein_media::types::{LayerLimit, MediaKind, Protocol, RemoteCandidate};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[path = "forwarding/publisher.rs"]
mod publisher;
#[path = "forwarding/world.rs"]
mod world;

use publisher::Video;
use world::{World, config, second_home, send_section, video_section};

const SHARDS: usize = 1;
const CLIENTS: usize = 24;
const DOWN_TRACKS: u64 = 14;
/// A participant has a subscribing and a publishing transport, of which the second is smaller.
const BYTES_MAX: usize = 5 * 1024;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn a_dormant_transport_with_fourteen_down_tracks_is_small() {
    let mut world = World::with_standby(1);
    let publisher = world.connect();
    let track = TrackKey(1);
    let section = video_section(track, &[]);
    world.publish(publisher, track, section, config(MediaKind::Video, &[]));
    for _ in 0..CLIENTS {
        let client = world.connect();
        for down in 0..DOWN_TRACKS {
            let command = Command::AddDownTrack {
                down_track: DownTrackKey(client as u64 * 100 + down),
                track,
                transport: world.clients[client].key,
                section: send_section(MediaKind::Video, 7_000 + 10 * down as u32),
                limit: LayerLimit::HIGHEST,
                paused: false,
            };
            world.command(command);
        }
    }
    let mut video = Video::new(&world, publisher, &[]);
    video.frames(&mut world, 60);
    let mut images = Vec::new();
    world.follows = false;
    for client in 1..=CLIENTS {
        let transport = world.clients[client].key;
        world.command(Command::Replicate {
            transport,
            on: true,
            sought: false,
        });
    }
    for event in &world.events {
        if let skein_media::Event::TransportImage {
            transport, image, ..
        } = event
        {
            images.push((*transport, image.clone()));
        }
    }
    assert_eq!(images.len(), CLIENTS);
    let bytes = images[0].1.len();
    println!("an image of {DOWN_TRACKS} down tracks has {bytes} bytes");
    assert!(bytes < 4 * 1024);
    world.events.clear();
    // Grow what is shared.
    let (first, rest) = images.split_at(8);
    first.iter().for_each(|image| add(&mut world, image));
    let region = Region::new(ALLOCATOR);
    rest.iter().for_each(|image| add(&mut world, image));
    let change = region.change();
    let each = (change.bytes_allocated - change.bytes_deallocated) / rest.len();
    println!("{each} bytes a dormant transport without a pair");
    for client in 1..=CLIENTS {
        let now = world.now;
        let candidate = RemoteCandidate {
            protocol: Protocol::Udp,
            address: second_home(),
            priority: 2_130_706_432,
        };
        world.clients[client]
            .transport
            .add_remote_candidate(now, candidate);
    }
    world.run(Duration::from_secs(5));
    // What goes with them is what they had: the clients' ends stay.
    let region = Region::new(ALLOCATOR);
    for (transport, _) in &images {
        let transport = *transport;
        world.command_second(Command::DropStandby { transport });
    }
    let change = region.change();
    let each = (change.bytes_deallocated - change.bytes_allocated) / images.len();
    println!("{each} bytes a dormant transport with a warm pair");
    assert!(each < BYTES_MAX, "{each} bytes");
}

fn add(world: &mut World, image: &(skein_media::ids::TransportKey, bytes::Bytes)) {
    let (transport, image) = image.clone();
    let room = world::ROOM;
    world.command_second(Command::AddStandby {
        transport,
        room,
        probe: false,
        image,
    });
}
