//! Audio: forwarded at once, RED unwrapped for those without it, speakers told.

use skein_media::event::Event;
use skein_media::ids::TrackKey;
use skein_media::types::{Codec, MediaKind};

use crate::publisher::Audio;
use crate::world::{World, audio_section, config, payload_type, prefer, send_section};

const TRACK: TrackKey = TrackKey(1);
const SSRC: u32 = 7000;

fn call(seed: u64) -> (World, Audio, usize) {
    let mut world = World::new(seed);
    let publisher = world.connect();
    let subscriber = world.connect();
    world.publish(
        publisher,
        TRACK,
        audio_section(TRACK),
        config(MediaKind::Audio, &[]),
    );
    world.subscribe(subscriber, TRACK, send_section(MediaKind::Audio, SSRC));
    (world, Audio::new(publisher), subscriber)
}

#[test]
fn opus_arrives_with_the_subscribers_numbers() {
    let (mut world, mut audio, subscriber) = call(50);
    audio.packets(&mut world, 50, 30, b"opus");
    let seen = world.clients[subscriber].of(SSRC);
    assert_eq!(seen.len(), 50);
    for pair in seen.windows(2) {
        assert_eq!(
            pair[1]
                .header
                .sequence
                .wrapping_sub(pair[0].header.sequence),
            1
        );
        assert_eq!(
            pair[1]
                .header
                .timestamp
                .wrapping_sub(pair[0].header.timestamp),
            960
        );
    }
    assert!(
        seen.iter()
            .all(|seen| seen.header.payload_type == 109 && seen.payload() == b"opus")
    );
}

#[test]
fn red_is_unwrapped_only_for_those_without_it() {
    let (mut world, mut audio, plain) = call(51);
    let with_red = world.connect();
    let mut section = send_section(MediaKind::Audio, SSRC);
    prefer(&mut section, payload_type(Codec::Red, 60, None));
    world.subscribe(with_red, TRACK, section);
    audio.payload_type = 63;
    // One redundant block of three bytes, then the primary.
    let red = [0x80 | 111, 0x0f, 0x00, 3, 111, 1, 2, 3, 9, 8];
    audio.packets(&mut world, 10, 30, &red);
    let plain = world.clients[plain].of(SSRC);
    assert_eq!(plain.len(), 10);
    assert!(
        plain
            .iter()
            .all(|s| s.header.payload_type == 109 && s.payload() == [9, 8])
    );
    // The blocks are named by the subscriber's numbers.
    let mut red = red;
    (red[0], red[4]) = (0x80 | 109, 109);
    let whole = world.clients[with_red].of(SSRC);
    assert!(
        whole
            .iter()
            .all(|s| s.header.payload_type == 60 && s.payload() == red)
    );
}

fn told(world: &World) -> Vec<Vec<(TrackKey, f32)>> {
    let levels = |event: &Event| match event {
        Event::Speakers { levels, .. } => Some(levels.clone()),
        _ => None,
    };
    world.events.iter().filter_map(levels).collect()
}

#[test]
fn a_speaker_is_named_while_speaking_and_silence_is_told_once() {
    let (mut world, mut audio, _) = call(52);
    audio.packets(&mut world, 100, 90, b"quiet");
    assert!(told(&world).is_empty());
    audio.packets(&mut world, 100, 20, b"loud");
    let speaking = told(&world);
    assert!(speaking.len() >= 3, "{speaking:?}");
    assert!(
        speaking
            .iter()
            .all(|levels| levels.len() == 1 && levels[0].0 == TRACK)
    );
    audio.packets(&mut world, 150, 127, b"quiet");
    let all = told(&world);
    assert!(all.last().unwrap().is_empty());
    assert_eq!(all.iter().filter(|levels| levels.is_empty()).count(), 1);
}
