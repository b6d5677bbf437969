//! Scores of connections: each side of a call is judged by what its own path does.

use std::time::Duration;

use skein_media::command::Command;
use skein_media::event::Event;
use skein_media::ids::TrackKey;
use skein_media::rtcp::{ReportBlock, SenderInfo, write};
use skein_media::types::{LayerLimit, MediaKind};

use crate::publisher::{Audio, Video};
use crate::world::{World, audio_section, config, send_section, video_section};

const TRACK: TrackKey = TrackKey(1);
const SSRC: u32 = 7000;

struct Call {
    world: World,
    audio: Audio,
    subscriber: usize,
}

fn call(seed: u64) -> Call {
    let mut world = World::new(seed);
    let publisher = world.connect();
    let subscriber = world.connect();
    let section = audio_section(TRACK);
    world.publish(publisher, TRACK, section, config(MediaKind::Audio, &[]));
    world.subscribe(subscriber, TRACK, send_section(MediaKind::Audio, SSRC));
    Call {
        audio: Audio::new(publisher),
        world,
        subscriber,
    }
}

/// The last score of a client's connection.
fn score(world: &World, client: usize) -> f32 {
    let key = world.clients[client].key;
    let scores = world.events.iter().rev().find_map(|event| match event {
        Event::Stats { transport, stats } if *transport == key => stats.score,
        _ => None,
    });
    scores.expect("it has a stream")
}

/// What a receiver reports of what it got.
fn report(world: &mut World, client: usize, ssrc: u32) {
    let seen = world.clients[client].of(ssrc);
    let (Some(first), Some(last)) = (seen.first(), seen.last()) else {
        return;
    };
    let span = last.header.sequence.wrapping_sub(first.header.sequence);
    let block = ReportBlock {
        ssrc,
        cumulative_lost: i32::from(span) + 1 - seen.len() as i32,
        highest_sequence: u32::from(last.header.sequence),
        ..ReportBlock::default()
    };
    let mut out = Vec::new();
    write::receiver_report(&mut out, 1, &[block]);
    world.send_rtcp(client, &out);
}

impl Call {
    fn seconds(&mut self, seconds: usize) {
        for _ in 0..seconds {
            self.audio
                .packets(&mut self.world, 50, 30, b"some opus frame");
            let mut out = Vec::new();
            let info = SenderInfo::default();
            write::sender_report(&mut out, self.audio.ssrc, &info, &[]);
            self.world.send_rtcp(self.audio.client, &out);
            report(&mut self.world, self.subscriber, SSRC);
        }
    }

    fn scores(&self) -> (f32, f32) {
        (
            score(&self.world, self.audio.client),
            score(&self.world, self.subscriber),
        )
    }
}

#[test]
fn a_good_call_is_excellent_for_both() {
    let mut call = call(80);
    call.seconds(20);
    let (publisher, subscriber) = call.scores();
    assert!(
        publisher > 95.0 && subscriber > 95.0,
        "{publisher} {subscriber}"
    );
}

#[test]
fn loss_is_blamed_on_the_path_that_has_it() {
    let mut up = call(81);
    up.seconds(10);
    up.world.clients[up.audio.client].loss = 10;
    up.seconds(30);
    let (publisher, subscriber) = up.scores();
    assert!(publisher < 60.0, "its packets are lost: {publisher}");
    assert!(subscriber > 80.0, "nothing of its own is: {subscriber}");

    let mut down = call(82);
    down.seconds(10);
    down.world.clients[down.subscriber].loss = 10;
    down.seconds(30);
    let (publisher, subscriber) = down.scores();
    assert!(publisher > 95.0, "{publisher}");
    assert!(subscriber < 60.0, "{subscriber}");
    down.world.clients[down.subscriber].loss = 0;
    down.seconds(40);
    assert!(down.scores().1 > 80.0, "and it recovers");
}

#[test]
fn who_falls_silent_is_poor_then_lost_and_who_mutes_is_not() {
    let mut call = call(83);
    call.seconds(10);
    call.world.run(Duration::from_secs(30));
    let (publisher, _) = call.scores();
    assert!(
        publisher <= 20.0,
        "neither packets nor reports: {publisher}"
    );
    call.seconds(40);
    assert!(call.scores().0 > 80.0);
    let track = TRACK;
    call.world
        .command(Command::SetTrackMuted { track, muted: true });
    call.world.run(Duration::from_secs(30));
    assert!(call.scores().0 > 95.0);
}

#[test]
fn a_smaller_picture_than_wanted_is_not_excellent() {
    let mut world = World::new(84);
    let publisher = world.connect();
    let subscriber = world.connect();
    let rids = ["q", "h", "f"];
    let section = video_section(TRACK, &rids);
    world.publish(publisher, TRACK, section, config(MediaKind::Video, &rids));
    let down_track = world.subscribe(subscriber, TRACK, send_section(MediaKind::Video, SSRC));
    let mut video = Video::new(&world, publisher, &rids);
    let seconds = |world: &mut World, video: &mut Video, seconds: usize| {
        for _ in 0..seconds {
            video.frames(world, 30);
            video.sender_reports(world);
            report(world, subscriber, SSRC);
        }
    };
    seconds(&mut world, &mut video, 15);
    assert!(score(&world, publisher) > 95.0 && score(&world, subscriber) > 95.0);
    // The encoder gives its largest picture up.
    video.layers[2].on = false;
    seconds(&mut world, &mut video, 30);
    let missing = score(&world, publisher);
    assert!((40.0..=80.0).contains(&missing), "a layer less: {missing}");
    // Nobody wants it any more: that is no fault.
    world.command(Command::UpdateDownTrack {
        down_track,
        limit: LayerLimit {
            max_spatial: 1,
            max_temporal: 3,
        },
        paused: false,
    });
    seconds(&mut world, &mut video, 40);
    assert!(score(&world, publisher) > 80.0);
}
