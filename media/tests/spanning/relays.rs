//! What relays do themselves: send once, only what is wanted, and again what a link lost.

use std::time::Duration;

use skein_media::command::Command;
use skein_media::event::Event;
use skein_media::ids::{DownTrackKey, TrackKey};
use skein_media::types::MediaKind;

use crate::layers::limit;
use crate::publisher::Video;
use crate::subscriber::{Stream, picture_loss};
use crate::world::{World, config, send_section, video_section};

const TRACK: TrackKey = TrackKey(1);
const SSRC: u32 = 7000;
const RIDS: [&str; 3] = ["q", "h", "f"];

/// A publisher with three layers on one shard and subscribers on the other.
fn watched(seed: u64, subscribers: usize) -> (World, Video, Vec<(usize, DownTrackKey)>) {
    let mut world = World::new(seed);
    let publisher = world.connect();
    world.publish(
        publisher,
        TRACK,
        video_section(TRACK, &RIDS),
        config(MediaKind::Video, &RIDS),
    );
    let mut watching = Vec::new();
    while watching.len() < subscribers {
        let client = world.connect();
        if client % 2 == 1 {
            let section = send_section(MediaKind::Video, SSRC);
            watching.push((client, world.subscribe(client, TRACK, section)));
        }
    }
    let video = Video::new(&world, publisher, &RIDS);
    (world, video, watching)
}

/// Packets handed from shard to shard so far.
fn relayed(world: &World) -> u64 {
    world.shard.counters().relay_out
}

#[test]
fn a_track_is_sent_once_however_many_watch_it_and_only_the_layer_they_want() {
    let (mut world, mut video, watching) = watched(1, 8);
    video.frames(&mut world, 60);
    let before = relayed(&world);
    video.frames(&mut world, 30);
    assert_eq!(relayed(&world) - before, 30 * 3, "one layer, once");
    for (client, _) in &watching {
        let stream = Stream::of(&world, *client, SSRC);
        stream.assert_decodable();
        assert_eq!(stream.layers().last(), Some(&2));
    }
    // One of them is content with less: two layers from now on.
    limit(&mut world, watching[0].1, 0, false);
    video.frames(&mut world, 30);
    let before = relayed(&world);
    video.frames(&mut world, 30);
    assert_eq!(relayed(&world) - before, 2 * 30 * 3);
    for (_, down) in &watching {
        limit(&mut world, *down, 2, true);
    }
    video.frames(&mut world, 3);
    let before = relayed(&world);
    video.frames(&mut world, 30);
    assert_eq!(relayed(&world), before, "nobody looks");
}

#[test]
fn the_wish_for_a_key_frame_travels_back_and_a_late_subscriber_gets_one() {
    let (mut world, mut video, watching) = watched(2, 1);
    video.frames(&mut world, 60);
    let asked = |video: &Video| video.layers.iter().map(|layer| layer.plis.len()).sum();
    let before: usize = asked(&video);
    picture_loss(&mut world, watching[0].0, SSRC);
    video.frames(&mut world, 30);
    let after: usize = asked(&video);
    assert_eq!(after - before, 1);
    world.connect();
    let late = world.connect();
    assert_eq!(late % 2, 1);
    world.subscribe(late, TRACK, send_section(MediaKind::Video, SSRC));
    let sent = world.now;
    video.frames(&mut world, 30);
    Stream::of(&world, late, SSRC).assert_decodable();
    let first = world.clients[late].of(SSRC)[0].at - sent;
    assert!(first < Duration::from_millis(150), "first after {first:?}");
}

#[test]
fn what_a_link_loses_is_sent_again() {
    for (seed, loss) in [(3, 1), (4, 5), (5, 20)] {
        let (mut world, mut video, watching) = watched(seed, 2);
        world.link_loss = loss;
        video.frames(&mut world, 300);
        world.link_loss = 0;
        video.frames(&mut world, 60);
        for (client, _) in &watching {
            let stream = Stream::of(&world, *client, SSRC);
            // Every fifth frame in both directions: a packet is asked for five times.
            let hopeless = if loss < 20 { 0 } else { 5 };
            let missing = stream.missing().len();
            assert!(missing <= hopeless, "seed {seed}: {missing} at {loss} %");
            let packets = stream.packets.len();
            assert!(packets > 300 * 3, "{packets} packets at {loss} %");
        }
    }
}

#[test]
fn nothing_is_relayed_of_a_muted_track_and_nothing_of_then_afterwards() {
    let (mut world, mut video, watching) = watched(6, 1);
    video.frames(&mut world, 60);
    let mute = |muted| Command::SetTrackMuted {
        track: TRACK,
        muted,
    };
    world.command(mute(true));
    let before = relayed(&world);
    video.frames(&mut world, 60);
    assert_eq!(relayed(&world), before);
    world.command(mute(false));
    video.frames(&mut world, 60);
    Stream::of(&world, watching[0].0, SSRC).assert_decodable();
    let sent = relayed(&world) - before;
    // Until its key frame is there, the smaller ones come too.
    assert!(sent <= 60 * 3 + 30, "{sent} packets of 180");
}

#[test]
fn relays_end_with_their_last_subscriber_and_with_their_track() {
    let (mut world, mut video, watching) = watched(7, 2);
    video.frames(&mut world, 30);
    for (_, down_track) in &watching {
        world.command(Command::RemoveDownTrack {
            down_track: *down_track,
        });
    }
    let before = relayed(&world);
    video.frames(&mut world, 30);
    assert_eq!(relayed(&world), before);

    let (client, _) = watching[0];
    world.subscribe(client, TRACK, send_section(MediaKind::Video, SSRC));
    video.frames(&mut world, 30);
    assert!(relayed(&world) > before, "and begin again");
    world.command(Command::RemoveTrack { track: TRACK });
    let arrived = world.clients[client].rtp.len();
    video.frames(&mut world, 30);
    assert_eq!(world.clients[client].rtp.len(), arrived);
    let ignored = world.shard_at(1).counters().commands_ignored;
    assert_eq!(ignored, 0);
}

#[test]
fn a_subscriber_is_told_the_layers_that_nobody_has_relayed() {
    let (mut world, mut video, watching) = watched(8, 1);
    limit(&mut world, watching[0].1, 0, false);
    video.frames(&mut world, 90);
    video.layers[0].on = false;
    video.frames(&mut world, 60);
    let stream = Stream::of(&world, watching[0].0, SSRC);
    stream.assert_decodable();
    assert_eq!(stream.layers(), [0, 1], "the next better than nothing");
}

#[test]
fn facts_about_a_track_come_from_the_shard_it_is_published_on() {
    let (mut world, mut video, _) = watched(9, 3);
    video.frames(&mut world, 30);
    let started = world.events.iter().filter(|event| {
        let Event::TrackStarted { track, .. } = event else {
            return false;
        };
        *track == TRACK
    });
    assert_eq!(started.count(), 3, "one for each layer");
}

#[test]
fn frames_that_lie_harm_nobody_and_are_forgotten_when_they_stop() {
    let (mut world, mut video, watching) = watched(10, 2);
    video.frames(&mut world, 30);
    world.link_noise = 30;
    video.frames(&mut world, 300);
    world.link_noise = 0;
    // A change of layer is a new start.
    for (_, down) in &watching {
        limit(&mut world, *down, 0, false);
    }
    video.frames(&mut world, 120);
    let arrived = world.clients[watching[0].0].of(SSRC).len();
    video.frames(&mut world, 30);
    let later = world.clients[watching[0].0].of(SSRC).len();
    assert_eq!(later - arrived, 30 * 3);
    assert!(world.shard_at(1).counters().relay_refused > 0);
}

#[test]
fn a_transport_goes_on_on_the_other_shard() {
    let (mut world, mut video, watching) = watched(11, 1);
    let (client, down_track) = watching[0];
    video.frames(&mut world, 60);
    let key = world.clients[client].key;
    world.command(Command::Freeze { transport: key });
    let snapshot = world.events.iter().rev().find_map(|event| match event {
        Event::Frozen { snapshot, .. } => Some(snapshot.clone()),
        _ => None,
    });
    world.command(Command::RemoveDownTrack { down_track });
    world.command(Command::CloseTransport { transport: key });
    // Under a key of the other shard: there the track is at home.
    let moved = skein_media::TransportKey(key.0 + 1001);
    world.clients[client].key = moved;
    world.command(Command::Thaw {
        transport: moved,
        room: crate::world::ROOM,
        snapshot: snapshot.unwrap(),
    });
    world.subscribe(client, TRACK, send_section(MediaKind::Video, SSRC));
    // Its client's next check finds the way: one comes every two seconds and a half at least.
    video.frames(&mut world, 90);
    let before = world.clients[client].of(SSRC).len();
    video.frames(&mut world, 30);
    let after = world.clients[client].of(SSRC).len();
    assert_eq!(after - before, 30 * 3);
    let relayed_before = relayed(&world);
    video.frames(&mut world, 30);
    assert_eq!(relayed(&world), relayed_before);
}
