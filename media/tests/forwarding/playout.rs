//! The playout delay of a room, as packets tell it to subscribers that know the extension.

use std::time::Duration;

use skein_media::command::Command;
use skein_media::ids::TrackKey;
use skein_media::rtcp::{ReportBlock, write};
use skein_media::rtp::RtpHeader;
use skein_media::types::{MediaKind, PlayoutDelay};

use crate::publisher::Video;
use crate::world::{Seen, World, config, send_section, video_section};

const TRACK: TrackKey = TrackKey(1);
const SSRC: u32 = 7000;
const PLAYOUT_DELAY: u8 = 5;

/// Bounds a packet tells, milliseconds.
fn told(seen: &Seen) -> Option<(u32, u32)> {
    let header: &RtpHeader = &seen.header;
    let mut elements = header.extension.of(&seen.packet);
    while let Some((&first, rest)) = elements.split_first() {
        let len = usize::from(first & 0x0f) + 1;
        match first >> 4 {
            0 => elements = rest,
            PLAYOUT_DELAY => {
                let word = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]);
                return Some(((word >> 12) * 10, (word & 0xfff) * 10));
            }
            _ => elements = &rest[len..],
        }
    }
    None
}

#[test]
fn subscribers_are_told_the_rooms_delay_until_they_know_it() {
    let mut world = World::new(90);
    let publisher = world.connect();
    let section = video_section(TRACK, &[]);
    world.publish(publisher, TRACK, section, config(MediaKind::Video, &[]));
    let (knows, plain) = (world.connect(), world.connect());
    for (client, id) in [(knows, Some(PLAYOUT_DELAY)), (plain, None)] {
        let bounds = PlayoutDelay {
            min_ms: 200,
            max_ms: 1_000,
        };
        let transport = world.clients[client].key;
        world.command(Command::SetPlayoutDelay { transport, bounds });
        let mut to = send_section(MediaKind::Video, SSRC);
        to.extensions.playout_delay = id;
        world.subscribe(client, TRACK, to);
    }
    let mut video = Video::new(&world, publisher, &[]);
    video.frames(&mut world, 60);
    let seen = world.clients[knows].of(SSRC);
    assert!(
        seen[..100]
            .iter()
            .all(|seen| told(seen) == Some((200, 1_000)))
    );
    assert!(seen[100..].iter().all(|seen| told(seen).is_none()));
    let others = world.clients[plain].of(SSRC);
    assert!(others.iter().all(|seen| told(seen).is_none()));

    // Uneven arrival: hold back longer.
    let before = seen.len();
    for _ in 0..5 {
        let block = ReportBlock {
            ssrc: SSRC,
            jitter: 90 * 50,
            ..ReportBlock::default()
        };
        let mut out = Vec::new();
        write::receiver_report(&mut out, 1, &[block]);
        world.send_rtcp(knows, &out);
        video.frames(&mut world, 30);
    }
    world.run(Duration::from_millis(100));
    let seen = world.clients[knows].of(SSRC);
    let last = seen[before..].iter().rev().find_map(|seen| told(seen));
    assert_eq!(last, Some((500, 1_000)));
}
