//! Whether a subscriber can play sound and picture together: its clocks, mapped to the publisher's
//! by the sender reports it gets, must tell when each frame was captured, over every layer switch.

use skein_media::command::Command;
use skein_media::ids::TrackKey;
use skein_media::rtcp::{self, Packet, SenderInfo};
use skein_media::types::{LayerLimit, MediaKind};

use crate::publisher::Video;
use crate::world::{World, config, send_section, video_section};

const TRACK: TrackKey = TrackKey(1);
const SSRC: u32 = 7000;
const RIDS: [&str; 3] = ["q", "h", "f"];
/// The publisher's clock when its media begins, seconds.
const EPOCH_S: i128 = 1_000;

/// When the publisher captured what has this timestamp, microseconds since its media began.
fn captured_us(report: &SenderInfo, timestamp: u32) -> i64 {
    let ntp_us = (i128::from(report.ntp) * 1_000_000) >> 32;
    let since = timestamp.wrapping_sub(report.rtp_timestamp) as i32;
    (ntp_us - EPOCH_S * 1_000_000) as i64 + i64::from(since) * 1_000_000 / 90_000
}

/// How far off the capture time each packet's mapping was, by the newest report before it, ms.
fn errors_ms(world: &World, subscriber: usize) -> Vec<f64> {
    let client = &world.clients[subscriber];
    let reports: Vec<_> = client
        .rtcp
        .iter()
        .flat_map(|(at, compound)| rtcp::packets(compound).map(move |packet| (*at, packet)))
        .filter_map(|(at, packet)| match packet {
            Packet::SenderReport {
                ssrc: SSRC, info, ..
            } => Some((at, info)),
            _ => None,
        })
        .collect();
    let mut errors = Vec::new();
    for seen in client.of(SSRC) {
        let report = reports.iter().rev().find(|(at, _)| *at <= seen.at);
        let Some((_, report)) = report else { continue };
        let told = captured_us(report, seen.header.timestamp);
        let bytes: [u8; 8] = seen.payload()[9..17].try_into().unwrap();
        let truth = u64::from_be_bytes(bytes) as i64;
        errors.push((told - truth) as f64 / 1_000.0);
    }
    errors
}

#[test]
fn sound_and_picture_stay_within_forty_milliseconds_over_layer_switches() {
    for (seed, jitter_ms) in [(95, 0), (96, 25)] {
        let mut world = World::new(seed);
        let publisher = world.connect();
        let subscriber = world.connect();
        let section = video_section(TRACK, &RIDS);
        world.publish(publisher, TRACK, section, config(MediaKind::Video, &RIDS));
        let down_track = world.subscribe(subscriber, TRACK, send_section(MediaKind::Video, SSRC));
        let mut video = Video::new(&world, publisher, &RIDS);
        video.packets_per_frame = 1; // jitter must not take frames apart
        world.jitter_ms = jitter_ms;
        let mut switches = 0;
        for max_spatial in [2, 0, 1, 2, 1, 0, 2, 0, 2, 1, 2, 0] {
            world.command(Command::UpdateDownTrack {
                down_track,
                limit: LayerLimit {
                    max_spatial,
                    max_temporal: 3,
                },
                paused: false,
            });
            for _ in 0..3 {
                video.frames(&mut world, 30);
                video.sender_reports(&mut world);
            }
            switches += 1;
        }
        let errors = errors_ms(&world, subscriber);
        let worst = errors
            .iter()
            .fold(0.0f64, |worst, error| worst.max(error.abs()));
        println!(
            "jitter {jitter_ms} ms: worst {worst:.1} ms of {} frames",
            errors.len()
        );
        assert!(
            errors.len() > 800,
            "{} frames over {switches} switches",
            errors.len()
        );
        assert!(
            worst <= 40.0,
            "off by {worst} ms with {jitter_ms} ms of jitter"
        );
    }
}
