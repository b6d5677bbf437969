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
