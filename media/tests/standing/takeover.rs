//! A node dies in the middle of a call.

use std::time::Duration;

use skein_media::Command;
use skein_media::event::{Event, TransportState};
use skein_media::ids::TrackKey;
use skein_media::rtp::vp8::Vp8Descriptor;
use skein_media::types::{LayerLimit, MediaKind, Protocol, RemoteCandidate};

use crate::publisher::{Audio, FRAME, Video};
use crate::world::{
    ROOM, Seen, World, audio_section, config, second_home, send_section, video_section,
};

const VIDEO: TrackKey = TrackKey(1);
const SOUND: TrackKey = TrackKey(2);
const RIDS: [&str; 2] = ["q", "h"];

/// A publisher of video in two layers and of audio, and a subscriber of both.
pub(crate) struct Call {
    pub(crate) world: World,
    pub(crate) publisher: usize,
    pub(crate) subscriber: usize,
    video: Video,
    audio: Audio,
}

impl Call {
    pub(crate) fn new(seed: u64) -> Call {
        println!("seed {seed}");
        let mut world = World::with_standby(seed);
        let (publisher, subscriber) = (world.connect(), world.connect());
        let (video, audio) = (Video::new(&world, publisher, &RIDS), Audio::new(publisher));
        let mut call = Call {
            world,
            publisher,
            subscriber,
            video,
            audio,
        };
        for command in call.tracks() {
            call.world.command(command);
        }
        call
    }

    /// What a room tells a node about its tracks and subscriptions.
    fn tracks(&self) -> Vec<Command> {
        let transport = self.world.clients[self.publisher].key;
        let sections = vec![audio_section(SOUND), video_section(VIDEO, &RIDS)];
        let mut commands = vec![Command::SetReceive {
            transport,
            sections,
        }];
        for (track, kind, rids, ssrc) in [
            (VIDEO, MediaKind::Video, &RIDS[..], 7_000),
            (SOUND, MediaKind::Audio, &[], 8_000),
        ] {
            commands.push(Command::AddTrack {
                track,
                room: ROOM,
                transport,
                config: config(kind, rids),
            });
            commands.push(Command::AddDownTrack {
                down_track: skein_media::ids::DownTrackKey(track.0),
                track,
                transport: self.world.clients[self.subscriber].key,
                section: send_section(kind, ssrc),
                limit: LayerLimit::HIGHEST,
                paused: false,
            });
        }
        commands
    }

    pub(crate) fn follow(&mut self) {
        self.replicate();
        self.introduce();
    }

    pub(crate) fn replicate(&mut self) {
        for client in [self.publisher, self.subscriber] {
            let (transport, on) = (self.world.clients[client].key, true);
            self.world.command(Command::Replicate {
                transport,
                on,
                sought: false,
            });
        }
    }

    /// Clients hear where the standby is.
    pub(crate) fn introduce(&mut self) {
        for client in [self.publisher, self.subscriber] {
            let candidate = RemoteCandidate {
                protocol: Protocol::Udp,
                address: second_home(),
                priority: 2_130_706_432,
            };
            let now = self.world.now;
            let client = &mut self.world.clients[client].transport;
            client.add_remote_candidate(now, candidate);
        }
    }

    /// Frames of video with the sound that belongs to them.
    pub(crate) fn frames(&mut self, count: usize) {
        for _ in 0..count {
            // About three packets of 20 ms every two frames.
            self.audio.packets_at_once(&mut self.world, 2);
            self.video.frames(&mut self.world, 1);
        }
    }

    fn take_over(&mut self) {
        for client in [self.publisher, self.subscriber] {
            let transport = self.world.clients[client].key;
            self.world.command_second(Command::TakeOver { transport });
        }
    }

    fn rebuild(&mut self) {
        for command in self.tracks() {
            self.world.command_second(command);
        }
    }

    pub(crate) fn seen(&self, ssrc: u32) -> Vec<Seen> {
        let client = &self.world.clients[self.subscriber];
        client.of(ssrc).into_iter().cloned().collect()
    }

    pub(crate) fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.world
            .events
            .iter()
            .filter(|event| wanted(event))
            .count()
    }
}

#[test]
fn a_call_goes_on_at_the_standby_with_the_next_key_frame() {
    for seed in [1, 2, 3] {
        let mut call = Call::new(seed);
        call.frames(60);
        call.follow();
        call.frames(60);
        // From now on nothing in the packets says which layer is which.
        call.video.silent = true;
        call.frames(60);
        let ready = |event: &Event| matches!(event, Event::StandbyReady { ready: true, .. });
        assert_eq!(call.count(ready), 2);
        let before = (call.seen(7_000), call.seen(8_000));
        call.video
            .layers
            .iter_mut()
            .for_each(|layer| layer.plis.clear());
        let died = call.world.now;
        call.world.dead = true;
        call.frames(3);
        call.take_over();
        call.world.run(Duration::from_millis(5));
        call.rebuild();
        call.frames(90);

        let heard = |event: &Event| matches!(event, Event::TakenOver { heard: true, .. });
        assert_eq!(call.count(heard), 2);
        let gone = |event: &Event| {
            matches!(
                event,
                Event::Transport {
                    state: TransportState::Failed | TransportState::Closed,
                    ..
                }
            )
        };
        assert_eq!(call.count(gone), 0);
        let video = call.seen(7_000).split_off(before.0.len());
        let sound = call.seen(8_000).split_off(before.1.len());
        video_goes_on(before.0.last().unwrap(), &video);
        sound_goes_on(before.1.last().unwrap(), &sound);
        let first = video.first().unwrap().at - died;
        // Three frames of silence, then a request and its key frame.
        assert!(first <= FRAME * 3 + Duration::from_millis(120), "{first:?}");
        let gap = sound.first().unwrap().at - died;
        assert!(gap <= FRAME * 3 + Duration::from_millis(60), "{gap:?}");
        for layer in &call.video.layers {
            assert!((1..=3).contains(&layer.plis.len()), "{}", layer.plis.len());
        }
    }
}

fn vp8(seen: &Seen) -> Vp8Descriptor {
    Vp8Descriptor::parse(seen.payload()).unwrap()
}

/// What the subscriber's clock says minus when the picture was taken, in 90 kHz.
fn skew(seen: &Seen) -> u32 {
    let payload = seen.payload();
    let captured_us = u64::from_be_bytes(payload[9..17].try_into().unwrap());
    seen.header
        .timestamp
        .wrapping_sub((captured_us * 9 / 100) as u32)
}

fn video_goes_on(last: &Seen, after: &[Seen]) {
    assert!(after.len() > 3 * 80, "{} packets", after.len());
    let mut before = last;
    for (at, seen) in after.iter().enumerate() {
        let step = seen.header.sequence.wrapping_sub(before.header.sequence);
        match at {
            0 => assert!((1..8_000).contains(&step), "behind the lease: {step}"),
            _ => assert_eq!(step, 1, "at {at}"),
        }
        if at == 0 {
            assert!(vp8(seen).key_frame);
        }
        let pictures = vp8(seen).picture_id.wrapping_sub(vp8(before).picture_id) & 0x7fff;
        let same_frame = at > 0 && !before.header.marker;
        let fits = match same_frame {
            true => pictures == 0,
            false => (1..4_000).contains(&pictures),
        };
        assert!(fits, "picture ids step by {pictures} at {at}");
        let apart = skew(seen).wrapping_sub(skew(last)) as i32;
        assert!(apart.abs() < 900, "the clock is {apart} off at {at}");
        before = seen;
    }
}

fn sound_goes_on(last: &Seen, after: &[Seen]) {
    assert!(after.len() > 80);
    let number = |seen: &Seen| u32::from_be_bytes(seen.payload()[..4].try_into().unwrap());
    let mut before = last;
    for (at, seen) in after.iter().enumerate() {
        let lost = number(seen) - number(before) - 1;
        assert!(lost == 0 || at == 0, "{lost} lost at {at}");
        let clock = seen.header.timestamp.wrapping_sub(before.header.timestamp);
        assert_eq!(clock, 960 * (lost + 1), "at {at}");
        before = seen;
    }
}

#[test]
fn a_planned_move_leaves_no_gap_in_numbers() {
    let mut call = Call::new(5);
    call.follow();
    call.frames(90);
    call.world.run(Duration::from_millis(50));
    let before = (call.seen(7_000), call.seen(8_000));
    for client in [call.publisher, call.subscriber] {
        let transport = call.world.clients[client].key;
        call.world.command(Command::Freeze { transport });
    }
    call.take_over();
    call.rebuild();
    call.world.run(Duration::from_millis(50));
    call.frames(60);
    for (ssrc, before) in [(7_000, before.0), (8_000, before.1)] {
        let after = call.seen(ssrc).split_off(before.len());
        let (last, first) = (before.last().unwrap(), after.first().unwrap());
        let step = first.header.sequence.wrapping_sub(last.header.sequence);
        assert_eq!(step, 1, "{ssrc}");
        assert!(after.len() > 100);
    }
    let heard = |event: &Event| matches!(event, Event::TakenOver { heard: true, .. });
    assert_eq!(call.count(heard), 2);
}

#[test]
fn standing_by_costs_a_few_bytes() {
    let mut call = Call::new(7);
    call.frames(60);
    call.follow();
    call.frames(60);
    call.world.told = (0, 0);
    let start = call.world.now;
    call.frames(60 * 30);
    let seconds = (call.world.now - start).as_secs_f64();
    let (images, deltas) = call.world.told;
    let rate = (images + deltas) as f64 * 8.0 / seconds / 2.0;
    println!("{rate:.0} bit/s a transport, {images} bytes of images");
    assert!(rate < 500.0, "{rate} bit/s");
    assert_eq!(images, 0);
}

#[test]
fn a_lost_standby_holds_nothing_up_for_seconds_and_nothing_once_it_is_removed() {
    let mut call = Call::new(8);
    call.frames(30);
    call.follow();
    call.frames(60);
    call.world.follows = false;
    let before = call.seen(7_000).len();
    call.frames(90);
    assert_eq!(call.seen(7_000).len() - before, 270, "three seconds");
    for client in [call.publisher, call.subscriber] {
        let transport = call.world.clients[client].key;
        call.world.command(Command::Replicate {
            transport,
            on: false,
            sought: false,
        });
    }
    let before = call.seen(7_000).len();
    call.frames(600);
    assert_eq!(call.seen(7_000).len() - before, 1_800);
}

#[test]
fn a_standby_that_missed_something_says_so_and_takes_the_next_image() {
    let mut call = Call::new(9);
    call.frames(30);
    call.follow();
    call.frames(60);
    call.world.follows = false;
    call.frames(330);
    call.world.follows = true;
    call.frames(60);
    let stale = |event: &Event| matches!(event, Event::StandbyStale { .. });
    assert!(call.count(stale) >= 1);
    for client in [call.publisher, call.subscriber] {
        let transport = call.world.clients[client].key;
        call.world.command(Command::Replicate {
            transport,
            on: true,
            sought: false,
        });
    }
    let before = call.seen(7_000).len();
    call.frames(300);
    let sent = call.seen(7_000).len() - before;
    assert!(sent >= 890, "{sent}");
}

#[test]
fn a_client_that_never_comes_is_not_protected() {
    let mut call = Call::new(10);
    let transport = call.world.clients[call.subscriber].key;
    call.world.command(Command::Replicate {
        transport,
        on: true,
        sought: false,
    });
    call.world.run(Duration::from_secs(12));
    let ready = |event: &Event| matches!(event, Event::StandbyReady { ready: false, .. });
    assert_eq!(call.count(ready), 1);
    call.world.dead = true;
    call.world.command_second(Command::TakeOver { transport });
    let heard = |event: &Event| matches!(event, Event::TakenOver { heard: false, .. });
    assert_eq!(call.count(heard), 1);
}
