//! Bytes of strangers never make a parser panic or hang: the fuzz targets on stable Rust, over the
//! committed corpus and mutations of it from one printed seed (SKEIN_SEED chooses another).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::path::Path;
use std::time::Instant;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use skein_media::hostile;

const MUTATIONS_PER_FILE: usize = 3_000;

fn check(target: &str, run: fn(&[u8])) {
    let seed = std::env::var("SKEIN_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(1);
    println!("{target}: SKEIN_SEED={seed}");
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{target} has no corpus");
    for file in files {
        let seed_bytes = std::fs::read(&file).unwrap();
        run(&seed_bytes);
        for _ in 0..MUTATIONS_PER_FILE {
            run(&mutated(&seed_bytes, &mut rng));
        }
    }
}

/// Flips, overwrites with extremes, cuts, doubles: what a byte-level fuzzer does first.
fn mutated(original: &[u8], rng: &mut ChaCha12Rng) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..rng.random_range(1..8) {
        let at = if bytes.is_empty() {
            0
        } else {
            rng.random_range(0..bytes.len())
        };
        match rng.random_range(0..6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 if !bytes.is_empty() => bytes[at] = rng.random(),
            2 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.random_range(0..5)],
            3 => bytes.truncate(at),
            4 => bytes.insert(at, rng.random()),
            _ => bytes.extend_from_within(at..),
        }
        bytes.truncate(4096);
    }
    bytes
}

#[test]
fn stun_and_demux() {
    check("stun", hostile::stun);
}

#[test]
fn turn_messages_and_frames() {
    check("turn", hostile::turn);
}

#[test]
fn rtp_headers_extensions_and_payload_descriptors() {
    check("rtp", hostile::rtp);
}

#[test]
fn rtcp_compounds() {
    check("rtcp", hostile::rtcp);
}

#[test]
fn relay_frames() {
    check("relay", hostile::relay);
}

#[test]
fn ice_tcp_framing() {
    check("tcp_framing", hostile::tcp_framing);
}

#[test]
fn session_descriptions() {
    check("sdp", hostile::sdp);
}

#[test]
fn sctp_packets_of_a_peer() {
    check("sctp", |data| hostile::sctp(Instant::now(), data));
}

#[test]
fn dtls_datagrams_of_a_stranger() {
    check("dtls", |data| hostile::dtls(Instant::now(), data));
}
