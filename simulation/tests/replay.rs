//! The simulator as a program: a seed repeats itself, and each deliberate mistake is found.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{Command, Output};

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_skein-sim"))
        .args(arguments)
        .output()
        .expect("skein-sim runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_seed_gives_the_same_trace_byte_for_byte() {
    for seed in ["3", "7"] {
        let (first, second) = (sim(&["--seed", seed]), sim(&["--seed", seed]));
        assert!(first.status.success(), "seed {seed}: {}", text(&first));
        assert!(text(&first).lines().count() > 100, "seed {seed} did little");
        assert!(first.stdout == second.stdout, "seed {seed} differs");
    }
}

#[test]
fn different_seeds_give_different_runs() {
    let [one, other] = ["3", "7"].map(|seed| sim(&["--quiet", "--seed", seed]));
    assert_ne!(text(&one), text(&other));
}

/// Deliberate mistakes, each with a ring and a seed that find it, and what the checkers say of it.
const FOUND: [(&str, &str, &str, &str); 8] = [
    ("stale-epoch", "voters", "1", "was let through"),
    ("early-ack", "voters", "551", "is one thing on"),
    ("applied-twice", "voters", "1", "was applied again"),
    ("stale-read", "voters", "1", "had been told before it began"),
    ("unfenced-death", "voters", "1", "not above"),
    ("lost-webhook", "nodes", "4", "nobody was told"),
    ("unleased", "nodes", "3", " of secret "),
    ("lost-word", "nodes", "4", "did not hear"),
];

#[test]
fn the_checkers_find_deliberate_mistakes() {
    for (mutation, ring, seed, what) in FOUND {
        let run = ["--quiet", "--ring", ring, "--seed", seed];
        let output = sim(&[&run[..], &["--mutation", mutation]].concat());
        assert!(!output.status.success(), "{mutation}: nothing found");
        let text = text(&output);
        let verdict = text.lines().last().unwrap_or_default();
        assert!(verdict.contains(what), "{mutation}: {verdict}");
    }
}
