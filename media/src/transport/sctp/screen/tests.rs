//! Packets as a hostile peer builds them.

use super::*;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const EMPTY: u32 = 1_000_000;

fn packet(chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut packet = vec![0; COMMON_HEADER_BYTES];
    for chunk in chunks {
        packet.extend_from_slice(chunk);
        packet.resize(packet.len().next_multiple_of(4), 0);
    }
    packet
}

fn chunk(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut chunk = vec![kind, 3];
    chunk.extend_from_slice(&(body.len() as u16 + 4).to_be_bytes());
    chunk.extend_from_slice(body);
    chunk
}

fn words(values: &[u32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_be_bytes())
        .collect()
}

fn data(tsn: u32, stream: u16, bytes: usize) -> Vec<u8> {
    let mut body = words(&[tsn, u32::from(stream) << 16, 51]);
    body.resize(12 + bytes, 7);
    chunk(DATA, &body)
}

fn sack(cumulative: u32, window: u32, gaps: &[(u16, u16)]) -> Vec<u8> {
    let mut body = words(&[cumulative, window, (gaps.len() as u32) << 16]);
    for (start, end) in gaps {
        body.extend_from_slice(&start.to_be_bytes());
        body.extend_from_slice(&end.to_be_bytes());
    }
    chunk(SACK, &body)
}

fn reset(number: u32, last_tsn: u32) -> Vec<u8> {
    let mut parameter = vec![0, 13, 0, 18];
    parameter.extend_from_slice(&words(&[number, 0, last_tsn]));
    parameter.extend_from_slice(&[0, 1]);
    chunk(RE_CONFIG, &parameter)
}

fn opened() -> Screen {
    let mut screen = Screen::default();
    screen.opened(&packet(&[chunk(
        INIT,
        &words(&[1, EMPTY, 0x0400_0400, 1_000]),
    )]));
    screen
}

fn judge(screen: &mut Screen, chunks: &[Vec<u8>]) -> Verdict {
    screen.judge(&packet(chunks), 1, |stream| stream == 0)
}

#[test]
fn a_tsn_far_ahead_is_dropped_and_the_window_moves_with_our_sacks() {
    let mut screen = opened();
    let window = SCTP_TSN_WINDOW as u32;
    let forward = |tsn: u32| chunk(FORWARD_TSN, &words(&[tsn]));
    for far in [999 + window + 1, 999 + (1 << 30)] {
        assert_eq!(judge(&mut screen, &[forward(far)]), Verdict::Drop);
        assert_eq!(judge(&mut screen, &[data(far, 0, 5)]), Verdict::Drop);
        assert_eq!(judge(&mut screen, &[reset(1, far)]), Verdict::Drop);
    }
    assert_eq!(judge(&mut screen, &[forward(999 + window)]), Verdict::Pass);
    screen.sent(&packet(&[sack(5_000, EMPTY, &[])]), EMPTY);
    assert_eq!(
        judge(&mut screen, &[forward(5_000 + window)]),
        Verdict::Pass
    );
    assert_eq!(judge(&mut screen, &[data(5_001, 0, 5)]), Verdict::Pass);
}

#[test]
fn streams_fragments_and_waiting_resets_are_bounded() {
    let mut screen = opened();
    let many: Vec<Vec<u8>> = (0..SCTP_MAX_STREAMS as u16 + 1)
        .map(|stream| data(1_000 + u32::from(stream), stream, 1))
        .collect();
    assert_eq!(judge(&mut screen, &many), Verdict::Drop);
    let resets = (0..10_000).filter(|n| judge(&mut screen, &[reset(*n, 1_100)]) == Verdict::Pass);
    assert_eq!(resets.count(), SCTP_MAX_RESETS);

    let piece = [data(1_000, 0, 1)];
    for _ in 0..SCTP_MAX_FRAGMENTS {
        assert_eq!(judge(&mut screen, &piece), Verdict::Pass);
    }
    assert_eq!(judge(&mut screen, &piece), Verdict::GiveUp);
    screen.sent(&packet(&[sack(1_000, EMPTY, &[])]), EMPTY);
    assert_eq!(judge(&mut screen, &piece), Verdict::Pass);
}

#[test]
fn chunks_that_are_not_what_they_say_are_dropped() {
    for bad in [
        data(1_000, 0, 0),
        sack(1, 1, &[(1, 9), (1, 9)]),
        sack(1, 1, &[(9, 3)]),
        chunk(SACK, &[0; 20]),
        chunk(INIT, &[0; 16]),
        chunk(COOKIE_ACK, &[0; 4]),
        chunk(RE_CONFIG, &[0, 13, 0, 90]),
        chunk(HEARTBEAT, &[0, 1, 0, 4, 0, 0, 0, 0]),
    ] {
        assert_eq!(judge(&mut opened(), &[bad]), Verdict::Drop);
    }
    let hidden = [chunk(9, &[0; 8]), data(1_000, 0, 5)];
    assert_eq!(judge(&mut opened(), &hidden), Verdict::Drop);
    let usual = [sack(1, 1, &[(2, 3), (5, 5)]), data(1_000, 0, 5)];
    assert_eq!(judge(&mut opened(), &usual), Verdict::Pass);
}

#[test]
fn anything_is_judged() {
    let mut rng = ChaCha12Rng::seed_from_u64(46);
    let mut screen = opened();
    for _ in 0..20_000 {
        let mut bytes = vec![0u8; (rng.next_u32() % 120) as usize];
        rng.fill_bytes(&mut bytes);
        if let Some(kind) = bytes.get_mut(COMMON_HEADER_BYTES) {
            *kind = [0, 3, 130, 192][usize::from(*kind % 4)];
        }
        let _ = screen.judge(&bytes, 3, |stream| stream < 9);
        screen.sent(&bytes, EMPTY);
    }
}
