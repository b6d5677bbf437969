//! Loss, reordering, stalls and silence: what got lost is repaired, nobody else notices.

use std::time::Duration;

use skein_media::event::Event;
use skein_media::ids::TrackKey;
use skein_media::rtcp::{self, Packet};
use skein_media::types::MediaKind;

use crate::publisher::Video;
use crate::subscriber::{Stream, nack_missing, receiver_report};
use crate::world::{World, config, send_section, video_section};

const TRACK: TrackKey = TrackKey(1);
const SSRC: u32 = 7000;

fn call(seed: u64, subscribers: usize) -> (World, Video, Vec<usize>) {
    let mut world = World::new(seed);
    let publisher = world.connect();
    world.publish(
        publisher,
        TRACK,
        video_section(TRACK, &[]),
        config(MediaKind::Video, &[]),
    );
    let subscribers: Vec<usize> = (0..subscribers).map(|_| world.connect()).collect();
    for subscriber in &subscribers {
        world.subscribe(*subscriber, TRACK, send_section(MediaKind::Video, SSRC));
    }
    let video = Video::new(&world, publisher, &[]);
    (world, video, subscribers)
}

#[test]
fn what_the_publisher_lost_is_asked_for_and_forwarded() {
    let (mut world, mut video, subscribers) = call(20, 1);
    video.frames(&mut world, 10);
    world.clients[video.client].loss = 10;
    video.frames(&mut world, 200);
    world.clients[video.client].loss = 0;
    video.frames(&mut world, 30);
    let stream = Stream::of(&world, subscribers[0], SSRC);
    assert_eq!(stream.duplicates, 0);
    assert!(stream.packets.len() > 600);
    assert_eq!(stream.missing(), [0u16; 0]);
}

#[test]
fn what_a_subscriber_lost_is_repeated_on_rtx() {
    let (mut world, mut video, subscribers) = call(21, 2);
    let lossy = subscribers[0];
    video.frames(&mut world, 10);
    world.clients[lossy].loss = 20;
    for _ in 0..100 {
        video.frames(&mut world, 1);
        nack_missing(&mut world, lossy, SSRC);
    }
    world.clients[lossy].loss = 0;
    for _ in 0..10 {
        video.frames(&mut world, 1);
        nack_missing(&mut world, lossy, SSRC);
    }
    assert!(
        !world.clients[lossy].of(SSRC + 1).is_empty(),
        "repeats have their own SSRC"
    );
    let stream = Stream::of(&world, lossy, SSRC);
    let missing = stream.missing().len();
    assert!(
        missing * 100 <= stream.packets.len(),
        "{missing} of {}",
        stream.packets.len()
    );
    for packet in stream.packets.values() {
        assert_eq!(packet.payload_type, 120);
    }
    // A repeat carries the numbers of the first time.
    Stream::of(&world, subscribers[1], SSRC).assert_decodable();
    assert!(
        world.clients[subscribers[1]].of(SSRC + 1).is_empty(),
        "nobody else gets repeats"
    );
}

#[test]
fn repeated_nacks_do_not_multiply_traffic() {
    let (mut world, mut video, subscribers) = call(22, 1);
    video.frames(&mut world, 20);
    let sequence = world.clients[subscribers[0]]
        .of(SSRC)
        .last()
        .unwrap()
        .header
        .sequence;
    let mut nack = Vec::new();
    rtcp::write::nack(&mut nack, 1, SSRC, &[sequence]);
    for _ in 0..1_000 {
        world.send_rtcp(subscribers[0], &nack);
        world.run(Duration::from_millis(2));
    }
    let repeats = world.clients[subscribers[0]].of(SSRC + 1).len();
    assert_eq!(repeats, 3, "LiveKit's bound");
}

#[test]
fn a_room_survives_thirty_percent_loss_and_reordering() {
    for seed in 30..34 {
        let (mut world, mut video, subscribers) = call(seed, 3);
        video.frames(&mut world, 10);
        world.jitter_ms = 40;
        world.clients.iter_mut().for_each(|client| client.loss = 30);
        for round in 0..150 {
            video.frames(&mut world, 1);
            for subscriber in &subscribers {
                nack_missing(&mut world, *subscriber, SSRC);
                if round % 30 == 0 {
                    receiver_report(&mut world, *subscriber, SSRC, 77);
                }
            }
        }
        world.jitter_ms = 0;
        world.clients.iter_mut().for_each(|client| client.loss = 0);
        let before = world.clients[subscribers[0]].of(SSRC).len();
        video.frames(&mut world, 90);
        for subscriber in &subscribers {
            let stream = Stream::of(&world, *subscriber, SSRC);
            assert!(
                stream.packets.len() > 350,
                "seed {seed}: {}",
                stream.packets.len()
            );
        }
        let after = world.clients[subscribers[0]].of(SSRC).len();
        assert!(
            after - before >= 260,
            "seed {seed}: the call goes on, {}",
            after - before
        );
    }
}

#[test]
fn a_publisher_that_stalls_disturbs_nobody_and_may_come_back() {
    let (mut world, mut video, subscribers) = call(40, 2);
    let second = world.connect();
    let other = TrackKey(2);
    world.publish(
        second,
        other,
        video_section(other, &[]),
        config(MediaKind::Video, &[]),
    );
    world.subscribe(subscribers[0], other, send_section(MediaKind::Video, 8000));
    let mut steady = Video::new(&world, second, &[]);
    for _ in 0..20 {
        video.frames(&mut world, 1);
        steady.frames(&mut world, 1);
    }
    steady.frames(&mut world, 300);
    Stream::of(&world, subscribers[0], 8000).assert_decodable();
    video.frames(&mut world, 60);
    let stream = Stream::of(&world, subscribers[0], SSRC);
    stream.assert_decodable();
    assert!(stream.packets.len() >= 3 * 70);
}

#[test]
fn a_subscriber_that_never_answers_still_gets_media() {
    let (mut world, mut video, subscribers) = call(41, 1);
    video.frames(&mut world, 600);
    let stream = Stream::of(&world, subscribers[0], SSRC);
    stream.assert_decodable();
    assert_eq!(stream.packets.len(), 1_800);
}

#[test]
fn publishers_are_told_arrivals_and_losses() {
    let (mut world, mut video, _) = call(42, 1);
    video.frames(&mut world, 60);
    let (mut feedback, mut reports) = (0, 0);
    for (_, compound) in &world.clients[video.client].rtcp {
        for packet in rtcp::packets(compound) {
            match packet {
                Packet::TransportFeedback { .. } => feedback += 1,
                Packet::ReceiverReport { blocks, .. } => {
                    reports += blocks
                        .iter()
                        .filter(|b| b.ssrc == video.layers[0].ssrc)
                        .count();
                }
                _ => {}
            }
        }
    }
    assert!((15..=25).contains(&feedback), "{feedback} in two seconds");
    assert!((1..=3).contains(&reports), "{reports} in two seconds");
}

#[test]
fn subscribers_get_the_publishers_clock() {
    let (mut world, mut video, subscribers) = call(43, 1);
    for _ in 0..4 {
        video.sender_reports(&mut world);
        video.frames(&mut world, 30);
    }
    let mut told = Vec::new();
    for (at, compound) in &world.clients[subscribers[0]].rtcp {
        for packet in rtcp::packets(compound) {
            if let Packet::SenderReport {
                ssrc: SSRC, info, ..
            } = packet
            {
                told.push((*at, info));
            }
        }
    }
    assert!(told.len() >= 2, "{} sender reports", told.len());
    for pair in told.windows(2) {
        let [(_, a), (_, b)] = pair else {
            unreachable!()
        };
        let seconds = b.ntp.wrapping_sub(a.ntp) as f64 / 2f64.powi(32);
        let units = f64::from(b.rtp_timestamp.wrapping_sub(a.rtp_timestamp));
        assert!(
            (units / seconds - 90_000.0).abs() < 90.0,
            "{units} units in {seconds} s"
        );
    }
    // The report lies on the same line as the packets.
    let (at, info) = told[told.len() - 1];
    let seen = world.clients[subscribers[0]].of(SSRC);
    let near = seen.iter().min_by_key(|seen| {
        if seen.at > at {
            seen.at - at
        } else {
            at - seen.at
        }
    });
    let off = near
        .unwrap()
        .header
        .timestamp
        .wrapping_sub(info.rtp_timestamp) as i32;
    assert!(off.abs() < 9_000, "{off} units apart");
}

#[test]
fn figures_are_told_once_a_second() {
    let (mut world, mut video, subscribers) = call(44, 1);
    for _ in 0..3 {
        receiver_report(&mut world, subscribers[0], SSRC, 128);
        video.frames(&mut world, 30);
    }
    let key = world.clients[subscribers[0]].key;
    let figures: Vec<_> = world
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Stats { transport, stats } if *transport == key => Some(*stats),
            _ => None,
        })
        .collect();
    assert!((2..=5).contains(&figures.len()), "{}", figures.len());
    let last = figures[figures.len() - 1];
    assert!(last.packets_out > 100);
    assert!((last.loss_out - 0.5).abs() < 0.01);
}
