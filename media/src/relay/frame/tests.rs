//! Golden bytes of every frame: nodes of two versions speak them to each other.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;

const RELAY: RelayId = RelayId(0x0a00_0000_0102_0304);

fn written(write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Vec<u8> {
    let mut out = [0u8; 256];
    let len = write(&mut out).unwrap();
    out[..len].to_vec()
}

fn head() -> MediaHead {
    MediaHead {
        relay: RELAY,
        layer: 2,
        fresh: true,
        priority: Priority::KeyFrame,
        generation: 7,
        age: Age(0x1122),
        cycle: 0x3344,
    }
}

fn state() -> State {
    let mut layers = [None; LAYERS_MAX];
    layers[0] = Some(LayerState {
        generation: 1,
        kbps: [100, 150, 200, u16::MAX],
    });
    layers[2] = Some(LayerState {
        generation: 9,
        kbps: [1_700; RATES],
    });
    State {
        relay: RELAY,
        muted: true,
        layers,
    }
}

const CLOCK_OF_ONE: Clock = Clock {
    relay: RELAY,
    layer: 1,
    age: Age(10),
    ntp: 0x0011_2233_4455_6677,
    rtp_timestamp: 0x8899_aabb,
};

const WANTS_TWO: Wants = Wants {
    relay: RELAY,
    layers: 0b101,
    asks: true,
};

#[test]
fn media_heads_keep_their_bytes() {
    let mut bytes = written(|out| head().write(out));
    assert_eq!(
        bytes,
        [
            0x11, 10, 0, 0, 0, 1, 2, 3, 4, 0x1a, 7, 0x11, 0x22, 0x33, 0x44
        ],
        "version and kind, relay, priority-fresh-layer, generation, age, cycle"
    );
    assert_eq!(bytes.len(), MEDIA_HEAD_BYTES);
    assert_eq!(priority_of(&bytes), Priority::KeyFrame);
    assert_eq!(priority_of(&[0x14]), Priority::Audio);
    bytes.extend([0x80, 96]);
    assert_eq!(
        Frame::parse(&bytes),
        Some(Frame::Media(head(), &[0x80, 96]))
    );
}

#[test]
fn clocks_keep_their_bytes() {
    let bytes = written(|out| CLOCK_OF_ONE.write(out));
    let golden = [
        0x12, 10, 0, 0, 0, 1, 2, 3, 4, 1, 0, 10, 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,
        0x99, 0xaa, 0xbb,
    ];
    assert_eq!(bytes, golden);
    assert_eq!(Frame::parse(&bytes), Some(Frame::Clock(CLOCK_OF_ONE)));
}

#[test]
fn states_keep_their_bytes() {
    let bytes = written(|out| state().write(out));
    let golden = [
        0x13, 10, 0, 0, 0, 1, 2, 3, 4, 1, 0b101, 1, 0, 100, 0, 150, 0, 200, 0xff, 0xff, 9, 6, 164,
        6, 164, 6, 164, 6, 164,
    ];
    assert_eq!(bytes, golden);
    assert_eq!(Frame::parse(&bytes), Some(Frame::State(state())));
}

#[test]
fn what_travels_back_keeps_its_bytes() {
    let bytes = written(|out| WANTS_TWO.write(out));
    assert_eq!(bytes, [0x14, 10, 0, 0, 0, 1, 2, 3, 4, 0b101, 1]);
    assert_eq!(Frame::parse(&bytes), Some(Frame::Wants(WANTS_TWO)));

    let bytes = written(|out| write_key_frame(out, RELAY, 2));
    assert_eq!(bytes, [0x15, 10, 0, 0, 0, 1, 2, 3, 4, 2]);
    let (relay, layer) = (RELAY, 2);
    assert_eq!(Frame::parse(&bytes), Some(Frame::KeyFrame { relay, layer }));

    let bytes = written(|out| write_nack(out, RELAY, 2, &[65_535, 1]));
    assert_eq!(bytes, [0x16, 10, 0, 0, 0, 1, 2, 3, 4, 2, 0xff, 0xff, 0, 1]);
    let Some(Frame::Nack { numbers, .. }) = Frame::parse(&bytes) else {
        panic!("a NACK");
    };
    assert_eq!(numbers.iter().collect::<Vec<_>>(), [65_535, 1]);
}

#[test]
fn foreign_frames_are_refused() {
    let mut whole = written(|out| state().write(out));
    for end in 0..whole.len() {
        assert_eq!(Frame::parse(&whole[..end]), None, "cut at {end}");
    }
    whole[0] = 0x23;
    assert_eq!(Frame::parse(&whole), None, "another version");
    whole[0] = 0x1f;
    assert_eq!(Frame::parse(&whole), None, "an unknown kind");
    let mut media = written(|out| head().write(out));
    media[9] |= LAYER_BITS;
    assert_eq!(Frame::parse(&media), None, "a layer nobody has");
}

#[test]
fn ages_are_kept_to_a_tenth_of_a_millisecond_and_end_at_seconds() {
    use std::time::Duration;
    let kept = |age| Age::new(age).duration();
    assert_eq!(
        kept(Duration::from_micros(12_345)),
        Duration::from_micros(12_300)
    );
    assert_eq!(
        kept(Duration::from_secs(60)),
        Duration::from_micros(6_553_500)
    );
}
