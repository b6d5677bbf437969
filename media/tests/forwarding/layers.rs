//! Which layer a subscriber gets, and that a change of it is seamless.

use std::time::Duration;

use skein_media::command::Command;
use skein_media::event::Event;
use skein_media::ids::TrackKey;
use skein_media::types::{LayerLimit, LayerMode, MediaKind};

use crate::publisher::Video;
use crate::subscriber::{Stream, picture_loss};
use crate::world::{World, config, send_section, video_section};

const TRACK: TrackKey = TrackKey(1);
const SSRC: u32 = 7000;
const RIDS: [&str; 3] = ["q", "h", "f"];

/// A publisher with three layers and one subscriber, after a second of media.
fn simulcast(seed: u64) -> (World, Video, usize, skein_media::DownTrackKey) {
    let mut world = World::new(seed);
    let publisher = world.connect();
    let subscriber = world.connect();
    world.publish(
        publisher,
        TRACK,
        video_section(TRACK, &RIDS),
        config(MediaKind::Video, &RIDS),
    );
    let down = world.subscribe(subscriber, TRACK, send_section(MediaKind::Video, SSRC));
    let mut video = Video::new(&world, publisher, &RIDS);
    video.frames(&mut world, 2);
    video.sender_reports(&mut world);
    video.frames(&mut world, 28);
    (world, video, subscriber, down)
}

/// What a subscriber asks of a track: its highest layer, or nothing for now.
pub(crate) fn limit(
    world: &mut World,
    down_track: skein_media::DownTrackKey,
    max_spatial: u8,
    paused: bool,
) {
    let limit = LayerLimit {
        max_spatial,
        max_temporal: 3,
    };
    world.command(Command::UpdateDownTrack {
        down_track,
        limit,
        paused,
    });
}

#[test]
fn the_best_layer_arrives_and_is_decodable() {
    let (world, _, subscriber, _) = simulcast(1);
    let stream = Stream::of(&world, subscriber, SSRC);
    stream.assert_decodable();
    assert_eq!(stream.layers().last(), Some(&2));
    assert!(
        stream
            .packets
            .values()
            .all(|packet| packet.payload_type == 120)
    );
    for layer in 0..3 {
        let started = world
            .events
            .iter()
            .any(|event| matches!(event, Event::TrackStarted { layer: l, .. } if *l == layer));
        assert!(started, "layer {layer} was announced");
    }
}

#[test]
fn switching_down_and_up_keeps_every_number_continuous() {
    let (mut world, mut video, subscriber, down) = simulcast(2);
    for max in [0, 2, 1, 0, 1, 2] {
        limit(&mut world, down, max, false);
        video.frames(&mut world, 60);
        let stream = Stream::of(&world, subscriber, SSRC);
        stream.assert_decodable();
        assert_eq!(stream.layers().last(), Some(&max));
    }
    // The subscriber's clock followed the capture clock: 33 ms a frame, less only where the new
    // layer's key frame shows the picture that the old layer showed just before.
    let stream = Stream::of(&world, subscriber, SSRC);
    let frames: Vec<_> = stream
        .packets
        .values()
        .filter(|packet| packet.marker)
        .collect();
    let mut elapsed = 0;
    for pair in frames.windows(2) {
        let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
        let least = if pair[0].layer() == pair[1].layer() {
            2_900
        } else {
            1
        };
        assert!((least..=3_100).contains(&step), "a frame of {step} units");
        elapsed += step;
    }
    let captured = 30 + 6 * 60;
    assert!(
        elapsed.abs_diff(captured * 2_970) < 2 * 2_970,
        "{elapsed} units"
    );
}

#[test]
fn a_layer_that_stops_is_replaced_and_comes_back() {
    let (mut world, mut video, subscriber, _) = simulcast(3);
    video.layers[2].on = false;
    video.frames(&mut world, 90);
    let stream = Stream::of(&world, subscriber, SSRC);
    stream.assert_decodable();
    assert_eq!(stream.layers().last(), Some(&1));
    video.layers[2].on = true;
    video.frames(&mut world, 60);
    let stream = Stream::of(&world, subscriber, SSRC);
    stream.assert_decodable();
    assert_eq!(stream.layers().last(), Some(&2));
    let silent = |active| {
        world.events.iter().any(
            |event| matches!(event, Event::LayerActive { layer: 2, active: a, .. } if *a == active),
        )
    };
    assert!(silent(false) && silent(true));
}

#[test]
fn pause_and_mute_leave_no_gap() {
    let (mut world, mut video, subscriber, down) = simulcast(4);
    limit(&mut world, down, 2, true);
    video.frames(&mut world, 30);
    let paused = world.clients[subscriber].of(SSRC).len();
    video.frames(&mut world, 30);
    assert_eq!(
        world.clients[subscriber].of(SSRC).len(),
        paused,
        "nothing while paused"
    );
    limit(&mut world, down, 2, false);
    video.frames(&mut world, 45);
    Stream::of(&world, subscriber, SSRC).assert_decodable();

    world.command(Command::SetTrackMuted {
        track: TRACK,
        muted: true,
    });
    video.frames(&mut world, 10);
    let muted = world.clients[subscriber].of(SSRC).len();
    video.frames(&mut world, 30);
    assert_eq!(
        world.clients[subscriber].of(SSRC).len(),
        muted,
        "nothing while muted"
    );
    world.command(Command::SetTrackMuted {
        track: TRACK,
        muted: false,
    });
    video.frames(&mut world, 45);
    let stream = Stream::of(&world, subscriber, SSRC);
    stream.assert_decodable();
    assert_eq!(stream.layers().last(), Some(&2));
}

#[test]
fn another_source_goes_on_where_the_first_stopped() {
    let (mut world, mut video, subscriber, down) = simulcast(5);
    let second = world.connect();
    let other = TrackKey(2);
    world.publish(
        second,
        other,
        video_section(other, &[]),
        config(MediaKind::Video, &[]),
    );
    let mut replacement = Video::new(&world, second, &[]);
    replacement.frames(&mut world, 10);
    world.command(Command::SwitchDownTrack {
        down_track: down,
        track: other,
    });
    for _ in 0..60 {
        video.frames(&mut world, 1);
        replacement.frames(&mut world, 1);
    }
    let stream = Stream::of(&world, subscriber, SSRC);
    stream.assert_decodable();
    let arrived = world.clients[subscriber].of(SSRC).len();
    world.command(Command::RemoveTrack { track: TRACK });
    replacement.frames(&mut world, 10);
    assert_eq!(
        world.clients[subscriber].of(SSRC).len(),
        arrived + 30,
        "the old track is not missed"
    );
}

#[test]
fn upper_temporal_layers_are_dropped_without_a_trace() {
    let (mut world, mut video, subscriber, down_track) = simulcast(6);
    video.temporal = true;
    video.frames(&mut world, 40);
    let before = world.clients[subscriber].of(SSRC).len();
    let lowest = LayerLimit {
        max_spatial: 2,
        max_temporal: 0,
    };
    world.command(Command::UpdateDownTrack {
        down_track,
        limit: lowest,
        paused: false,
    });
    video.frames(&mut world, 40);
    let arrived = world.clients[subscriber].of(SSRC).len() - before;
    assert!(
        (27..=36).contains(&arrived),
        "a quarter of 120 packets, not {arrived}"
    );
    Stream::of(&world, subscriber, SSRC).assert_decodable();
    let all = LayerLimit {
        max_spatial: 2,
        max_temporal: 3,
    };
    world.command(Command::UpdateDownTrack {
        down_track,
        limit: all,
        paused: false,
    });
    video.frames(&mut world, 40);
    Stream::of(&world, subscriber, SSRC).assert_decodable();
}

#[test]
fn many_subscribers_cost_the_publisher_one_key_frame() {
    let mut world = World::new(7);
    let publisher = world.connect();
    world.publish(
        publisher,
        TRACK,
        video_section(TRACK, &RIDS),
        config(MediaKind::Video, &RIDS),
    );
    let mut video = Video::new(&world, publisher, &RIDS);
    video.frames(&mut world, 60);
    let asked = |video: &Video| {
        video
            .layers
            .iter()
            .map(|layer| layer.plis.len())
            .sum::<usize>()
    };
    assert_eq!(asked(&video), 0, "nobody watches");
    let subscribers: Vec<usize> = (0..8).map(|_| world.connect()).collect();
    for subscriber in &subscribers {
        world.subscribe(*subscriber, TRACK, send_section(MediaKind::Video, SSRC));
    }
    video.frames(&mut world, 30);
    assert_eq!(asked(&video), 1, "one request for all of them");
    for subscriber in &subscribers {
        Stream::of(&world, *subscriber, SSRC).assert_decodable();
    }
    // Nervous subscribers do not get more than the throttle allows: one a second.
    for _ in 0..60 {
        subscribers
            .iter()
            .for_each(|s| picture_loss(&mut world, *s, SSRC));
        video.frames(&mut world, 1);
    }
    assert!(asked(&video) <= 4, "{} requests", asked(&video));
}

#[test]
fn packets_that_overtake_their_announcement_are_kept() {
    let mut world = World::new(8);
    let publisher = world.connect();
    let subscriber = world.connect();
    let mut video = Video::new(&world, publisher, &[]);
    video.frames(&mut world, 5);
    world.publish(
        publisher,
        TRACK,
        video_section(TRACK, &[]),
        config(MediaKind::Video, &[]),
    );
    let started = |world: &World| {
        world
            .events
            .iter()
            .any(|event| matches!(event, Event::TrackStarted { .. }))
    };
    assert!(started(&world), "the parked packets were delivered");
    world.subscribe(subscriber, TRACK, send_section(MediaKind::Video, SSRC));
    video.frames(&mut world, 30);
    Stream::of(&world, subscriber, SSRC).assert_decodable();
}

#[test]
fn equal_packets_of_a_batch_leave_in_one_run() {
    let (world, ..) = simulcast(9);
    assert!(world.runs.contains(&3), "a frame is a run of three");
    assert!(world.runs.iter().all(|segments| *segments <= 8));
}

#[test]
fn silence_after_everyone_left_is_complete() {
    let (mut world, _, subscriber, _) = simulcast(10);
    let keys: Vec<_> = world.clients.iter().map(|client| client.key).collect();
    for transport in keys {
        world.command(Command::CloseTransport { transport });
    }
    world.run(Duration::from_secs(5));
    let before = world.clients[subscriber].rtp.len();
    world.run(Duration::from_secs(5));
    assert_eq!(world.clients[subscriber].rtp.len(), before);
    assert_eq!(world.shard.deadline(), None, "an empty shard sleeps");
}

#[test]
fn a_subscription_made_before_its_transport_is_up_starts_with_a_key_frame() {
    let mut world = World::new(11);
    let publisher = world.connect();
    world.publish(
        publisher,
        TRACK,
        video_section(TRACK, &[]),
        config(MediaKind::Video, &[]),
    );
    let mut video = Video::new(&world, publisher, &[]);
    video.frames(&mut world, 5);
    let subscriber = world.invite();
    world.subscribe(subscriber, TRACK, send_section(MediaKind::Video, SSRC));
    video.layers[0].want_key = true;
    for _ in 0..30 {
        video.frames(&mut world, 1);
    }
    Stream::of(&world, subscriber, SSRC).assert_decodable();
}

#[test]
fn one_stream_with_all_layers_is_taken_whatever_its_rid_says() {
    let mut world = World::new(12);
    let publisher = world.connect();
    let subscriber = world.connect();
    let mut one = config(MediaKind::Video, &RIDS);
    one.layer_mode = LayerMode::OneStream;
    world.publish(publisher, TRACK, video_section(TRACK, &RIDS), one);
    world.subscribe(subscriber, TRACK, send_section(MediaKind::Video, SSRC));
    // What libwebrtc does for SVC: one encoding, called by the name of the highest layer.
    let mut video = Video::new(&world, publisher, &["f"]);
    video.frames(&mut world, 30);
    Stream::of(&world, subscriber, SSRC).assert_decodable();
}
