//! The arrows between the crates: what may depend on what, and what a core may never touch. A
//! forbidden arrow fails here by name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::process::Command;

use skein_tests::{root, rust_sources};

/// crate -> the workspace crates it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("skein-protocol", &[]),
    ("skein-media", &[]),
    ("skein-consensus", &["skein-protocol"]),
    ("skein-operator", &["skein-consensus", "skein-protocol"]),
    (
        "skein-node",
        &[
            "skein-consensus",
            "skein-media",
            "skein-operator",
            "skein-protocol",
        ],
    ),
    (
        "skein-simulation",
        &[
            "skein-consensus",
            "skein-media",
            "skein-node",
            "skein-protocol",
        ],
    ),
    ("skein-tests", &["skein-protocol"]),
    ("skein-load", &["skein-media", "skein-protocol"]),
];

/// crate -> outside crates that would break its boundary.
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "skein-media",
        &[
            "tokio",
            "actix",
            "actix-web",
            "mio",
            "socket2",
            "prost",
            "livekit-protocol",
            "quinn-udp",
        ],
    ),
    (
        "skein-consensus",
        &["actix", "actix-web", "mio", "socket2", "quinn", "reqwest"],
    ),
    (
        "skein-operator",
        &["actix", "actix-web", "mio", "socket2", "quinn", "openraft"],
    ),
    (
        "skein-protocol",
        &["tokio", "actix", "actix-web", "mio", "reqwest"],
    ),
];

fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

#[test]
fn crates_depend_only_along_the_allowed_arrows() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<&str> = packages
        .iter()
        .map(|p| p["name"].as_str().unwrap())
        .collect();
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let allowed = ARROWS.iter().find(|(n, _)| *n == name).map(|(_, a)| *a);
        let Some(allowed) = allowed else {
            wrong.push(format!("{name} has no line in ARROWS"));
            continue;
        };
        let forbidden = FORBIDDEN
            .iter()
            .find(|(n, _)| *n == name)
            .map_or(&[][..], |(_, f)| *f);
        for dependency in package["dependencies"].as_array().unwrap() {
            let other = dependency["name"].as_str().unwrap();
            // Itself, with other features, for its tests.
            if ours.contains(other) && other != name && !allowed.contains(&other) {
                wrong.push(format!("{name} must not depend on {other}"));
            }
            if dependency["kind"].is_null() && forbidden.contains(&other) {
                wrong.push(format!("{name} must not depend on the crate {other}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `.await` is a keyword; `.awaiting` is a field.
fn mentions(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let rest = line[at + word.len()..].chars().next();
        word != ".await" || !rest.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// The adapter to openraft and what is built on it; the rest of `consensus` is pure.
const CONSENSUS_SHELLS: &[&str] = &["src/raft", "src/cluster", "src/testing"];

/// A core takes time and randomness as arguments and never awaits.
#[test]
fn cores_have_no_clock_no_await_and_no_socket() {
    const BANNED: &[&str] = &[
        "Instant::now(",
        "SystemTime::now(",
        "tokio::",
        "actix::",
        "async fn",
        ".await",
        "std::net::UdpSocket",
        "std::net::TcpStream",
        "rand::rng()",
        "rand::random",
    ];
    let mut wrong = Vec::new();
    for path in rust_sources() {
        let name = path.to_string_lossy().to_string();
        let core = name.starts_with("media/src/")
            || name.starts_with("node/src/participant")
            || name.starts_with("node/src/room/")
            || name.starts_with("node/src/cluster/detector")
            || name.starts_with("node/protocol/src/")
            || name.starts_with("operator/src/autoscale")
            || name.starts_with("operator/src/drain")
            || name.starts_with("operator/src/cloud/sigv4")
            || (name.starts_with("consensus/src/")
                && !CONSENSUS_SHELLS.iter().any(|shell| name.contains(shell)));
        if !core || name.ends_with("_actor.rs") || name.contains("test") {
            continue;
        }
        let text = std::fs::read_to_string(root().join(&path)).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or(&text);
        for (number, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap_or(line);
            for word in BANNED.iter().filter(|w| mentions(line, w)) {
                wrong.push(format!("{name}:{}: a core must not use {word}", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
