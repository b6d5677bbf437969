//! Bytes of strangers and of clients that misbehave: dropped, counted, and nobody else notices.

use std::time::Duration;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use skein_media::command::Command;
use skein_media::event::Event;
use skein_media::ids::{DownTrackKey, TrackKey, TransportKey};
use skein_media::limits::PACKET_BYTES_MAX;
use skein_media::rtp::writer::Head;
use skein_media::shard::Input;
use skein_media::transport::stun::{Builder, Class, TransactionId, integrity_key};
use skein_media::types::{LayerLimit, MediaKind, Path, Protocol};

use crate::publisher::{Video, packet};
use crate::subscriber::Stream;
use crate::world::{
    MID, ROOM, World, config, credentials, send_section, server_address, video_section,
};

const TRACK: TrackKey = TrackKey(1);
const SSRC: u32 = 7000;

fn call(seed: u64) -> (World, Video, usize) {
    let mut world = World::new(seed);
    let publisher = world.connect();
    let subscriber = world.connect();
    world.publish(
        publisher,
        TRACK,
        video_section(TRACK, &[]),
        config(MediaKind::Video, &[]),
    );
    world.subscribe(subscriber, TRACK, send_section(MediaKind::Video, SSRC));
    let video = Video::new(&world, publisher, &[]);
    (world, video, subscriber)
}

fn junk(rng: &mut ChaCha12Rng, len_max: u32) -> Vec<u8> {
    let mut bytes = vec![0; (rng.next_u32() % len_max) as usize];
    rng.fill_bytes(&mut bytes);
    bytes
}

#[test]
fn noise_from_strangers_and_from_a_clients_address_is_counted() {
    let (mut world, mut video, subscriber) = call(60);
    let mut rng = ChaCha12Rng::seed_from_u64(60);
    for round in 0..3_000u32 {
        let mut bytes = junk(&mut rng, 1_500);
        if let Some(first) = bytes.first_mut() {
            *first = [0, 22, 0x80, 0x90, 0xb1][round as usize % 5];
        }
        let remote = match round % 2 {
            0 => "192.0.2.9:4242".parse().unwrap(),
            _ => world.clients[video.client].address,
        };
        let path = Path {
            protocol: Protocol::Udp,
            local: server_address(),
            remote,
        };
        world.shard.handle(
            world.now,
            Input::Datagram {
                path,
                payload: &mut bytes,
            },
        );
    }
    video.frames(&mut world, 30);
    Stream::of(&world, subscriber, SSRC).assert_decodable();
    let counters = world.shard.counters();
    assert!(
        counters.unknown_path > 1_000 && counters.refused > 1_000,
        "{counters:?}"
    );
}

#[test]
fn authenticated_nonsense_harms_only_its_sender() {
    let (mut world, mut video, subscriber) = call(61);
    let other = world.connect();
    video.frames(&mut world, 10);
    let mut rng = ChaCha12Rng::seed_from_u64(61);
    for round in 0..4_000u32 {
        // RTP with valid framing and random everything else, and random RTCP.
        let mut bytes = junk(&mut rng, 300);
        bytes.resize(bytes.len().max(24), 0);
        bytes[0] = 0x80 | (bytes[0] & 0x3f);
        let client = if round % 2 == 0 { other } else { subscriber };
        if round % 4 < 2 {
            bytes[1] &= 0x7f;
            if (64..96).contains(&bytes[1]) {
                bytes[1] = 96;
            }
            world.send_rtp(client, &bytes);
        } else {
            bytes[1] = 200 + bytes[1] % 8;
            bytes[2] = 0;
            bytes[3] %= 6;
            world.send_rtcp(client, &bytes);
        }
        if round % 100 == 0 {
            video.frames(&mut world, 1);
        }
    }
    world.run(Duration::from_millis(200));
    let before = world.clients[subscriber].of(SSRC).len();
    video.frames(&mut world, 30);
    assert!(world.clients[subscriber].of(SSRC).len() >= before + 85);
}

#[test]
fn a_packet_too_large_for_a_datagram_is_dropped_and_counted() {
    let (mut world, mut video, subscriber) = call(64);
    video.frames(&mut world, 10);
    let head = Head {
        marker: false,
        payload_type: 96,
        sequence: 1,
        timestamp: 0,
        ssrc: video.layers[0].ssrc + 5,
    };
    let large = packet(&head, &[(MID, b"1")], &[0x10; PACKET_BYTES_MAX]);
    world.send_rtp(video.client, &large);
    video.frames(&mut world, 10);
    Stream::of(&world, subscriber, SSRC).assert_decodable();
    assert_eq!(world.shard.counters().rtp_too_large, 1);
}

#[test]
fn commands_for_what_is_gone_are_counted_and_harmless() {
    let (mut world, mut video, subscriber) = call(62);
    let gone = (TrackKey(99), DownTrackKey(99), TransportKey(99));
    let limit = LayerLimit::HIGHEST;
    for command in [
        Command::RemoveTrack { track: gone.0 },
        Command::SetTrackMuted {
            track: gone.0,
            muted: true,
        },
        Command::RequestKeyFrame { track: gone.0 },
        Command::RemoveDownTrack { down_track: gone.1 },
        Command::UpdateDownTrack {
            down_track: gone.1,
            limit,
            paused: true,
        },
        Command::SwitchDownTrack {
            down_track: gone.1,
            track: gone.0,
        },
        Command::CloseTransport { transport: gone.2 },
        Command::Freeze { transport: gone.2 },
        Command::SetReceive {
            transport: gone.2,
            sections: Vec::new(),
        },
        Command::AddTrack {
            track: TRACK,
            room: ROOM,
            transport: world.clients[subscriber].key,
            config: config(MediaKind::Video, &[]),
        },
        Command::AddDownTrack {
            down_track: DownTrackKey(5),
            track: gone.0,
            transport: gone.2,
            section: send_section(MediaKind::Video, 1),
            limit,
            paused: false,
        },
    ] {
        world.command(command);
    }
    assert_eq!(world.shard.counters().commands_ignored, 11);
    video.frames(&mut world, 30);
    Stream::of(&world, subscriber, SSRC).assert_decodable();
}

/// A check of `client`, with its own credentials, that seems to come from `remote`.
fn check_from(world: &mut World, client: usize, remote: std::net::SocketAddr) {
    let server = credentials(&format!("server{client}"));
    let own = credentials(&format!("client{client}"));
    let mut check = Builder::new(Class::Request, TransactionId::default())
        .username(&format!("{}:{}", server.ufrag, own.ufrag))
        .priority(1)
        .role(true, 7)
        .finish(&integrity_key(&server.pwd));
    let path = Path {
        protocol: Protocol::Udp,
        local: server_address(),
        remote,
    };
    let payload = &mut check;
    world
        .shard
        .handle(world.now, Input::Datagram { path, payload });
    world.shard.flush(world.now);
}

#[test]
fn nobody_takes_an_address_from_a_client_by_naming_it() {
    let (mut world, mut video, subscriber) = call(63);
    let thief = world.connect();
    video.frames(&mut world, 10);
    let victim = world.clients[video.client].address;
    for _ in 0..10 {
        check_from(&mut world, thief, victim);
        video.frames(&mut world, 3);
    }
    Stream::of(&world, subscriber, SSRC).assert_decodable();
    let refused = world.shard.counters().refused;
    assert!(
        refused < 40,
        "{refused} datagrams of the victim went elsewhere"
    );
}

#[test]
fn a_client_that_roams_without_end_keeps_a_bounded_number_of_addresses() {
    let (mut world, mut video, subscriber) = call(64);
    for port in 1_000..3_000u16 {
        let remote = std::net::SocketAddr::from(([10, 0, 9, 9], port));
        check_from(&mut world, video.client, remote);
    }
    video.frames(&mut world, 30);
    Stream::of(&world, subscriber, SSRC).assert_decodable();
}

#[test]
fn two_senders_on_one_layer_do_not_restart_it_with_every_packet() {
    let (mut world, mut video, _) = call(65);
    video.frames(&mut world, 10);
    let started = |world: &World| {
        let is_start = |event: &&Event| matches!(event, Event::TrackStarted { .. });
        world.events.iter().filter(is_start).count()
    };
    let before = started(&world);
    let mut other = Video::new(&world, video.client, &[]);
    other.layers[0].ssrc += 5;
    for _ in 0..20 {
        other.frames(&mut world, 1);
        video.frames(&mut world, 1);
    }
    assert_eq!(started(&world), before);
}
