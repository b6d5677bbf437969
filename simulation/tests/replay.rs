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

/// Deliberate mistakes, each with a seed that finds it, and what the checkers say of it.
const FOUND: [(&str, &str, &str); 5] = [
    ("stale-epoch", "1", "was let through"),
    ("early-ack", "551", "is one thing on"),
    ("applied-twice", "1", "was applied again"),
    ("stale-read", "1", "had been told before it began"),
    ("unfenced-death", "1", "not above"),
];

#[test]
fn the_checkers_find_deliberate_mistakes() {
    for (mutation, seed, what) in FOUND {
        let output = sim(&["--quiet", "--seed", seed, "--mutation", mutation]);
        assert!(!output.status.success(), "{mutation}: nothing found");
        let text = text(&output);
        let verdict = text.lines().last().unwrap_or_default();
        assert!(verdict.contains(what), "{mutation}: {verdict}");
    }
}
