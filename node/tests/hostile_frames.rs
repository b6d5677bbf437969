//! What strangers send over a WebSocket or in a join never makes the node panic or hang: the fuzz
//! targets on stable Rust, over the committed corpus and mutations of it from one printed seed
//! (SKEIN_SEED chooses another).
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use skein_node::signal::hostile;

fn check(target: &str, mutations_per_file: usize, run: fn(&[u8])) {
    let seed = std::env::var("SKEIN_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("{target}: SKEIN_SEED={seed}");
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let files = std::fs::read_dir(corpus.join(target)).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{target} has no corpus");
    for file in files {
        let original = std::fs::read(&file).unwrap();
        run(&original);
        for _ in 0..mutations_per_file {
            run(&mutated(&original, &mut rng));
        }
    }
}

/// Flips, overwrites with extremes, cuts, doubles: what a byte-level fuzzer does first.
fn mutated(original: &[u8], rng: &mut ChaCha12Rng) -> Vec<u8> {
    const EXTREMES: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'}', b'\n'];
    let mut bytes = original.to_vec();
    for _ in 0..rng.random_range(1..8) {
        let at = rng.random_range(0..=bytes.len().saturating_sub(1));
        match rng.random_range(0..6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 if !bytes.is_empty() => bytes[at] = rng.random(),
            2 if !bytes.is_empty() => bytes[at] = EXTREMES[rng.random_range(0..EXTREMES.len())],
            3 if !bytes.is_empty() => {
                let end = rng.random_range(at..bytes.len());
                bytes.drain(at..end);
            }
            4 => bytes.insert(at, rng.random()),
            _ => bytes.extend_from_within(at.min(bytes.len())..),
        }
        bytes.truncate(1 << 16);
    }
    bytes
}

#[test]
fn signal_frames_and_what_rooms_make_of_them() {
    check("signal", 500, hostile::signal);
}

#[test]
fn join_parameters() {
    check("join", 3_000, hostile::join);
}
