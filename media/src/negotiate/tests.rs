//! Behaviour of the negotiator against descriptions recorded from real clients.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::types::{Codec, DtlsRole, Fingerprint, Protocol};

mod answering;
mod hostile;
mod offering;
mod single;

const CHROMIUM_DUAL: &str = include_str!("tests/chromium_156_dual.sdp");
const CHROMIUM_SINGLE: &str = include_str!("tests/chromium_156_single.sdp");
const AIORTC: &str = include_str!("tests/aiortc_1.sdp");

fn codecs() -> Vec<EnabledCodec> {
    [
        Codec::Pcmu,
        Codec::Pcma,
        Codec::Opus,
        Codec::Red,
        Codec::Vp8,
        Codec::H264,
        Codec::Vp9,
        Codec::Av1,
        Codec::H265,
    ]
    .map(EnabledCodec::from)
    .to_vec()
}

fn config(role: PeerRole) -> NegotiatorConfig {
    NegotiatorConfig {
        role,
        publish_codecs: codecs(),
        subscribe_codecs: codecs(),
        retransmission: true,
        send_side_bandwidth: false,
        playout_delay: false,
        fingerprint: Fingerprint {
            algorithm: "sha-256".into(),
            digest: vec![0xAB; 32],
        },
        candidates: vec![
            LocalCandidate {
                protocol: Protocol::Udp,
                address: "127.0.0.1:7882".parse().unwrap(),
                priority: 2_130_706_431,
                foundation: "1".into(),
            },
            LocalCandidate {
                protocol: Protocol::Tcp,
                address: "127.0.0.1:7881".parse().unwrap(),
                priority: 1_671_430_143,
                foundation: "2".into(),
            },
        ],
        quirks: ClientQuirks::default(),
        ufrag_prefix: None,
        seed: [7; 32],
    }
}

fn negotiator(role: PeerRole) -> Negotiator {
    Negotiator::new(config(role))
}

fn sender(id: u64, codecs: &[Codec]) -> SenderConfig {
    SenderConfig {
        id: DownTrackKey(id),
        kind: codecs[0].kind(),
        codecs: codecs.to_vec(),
        stream_id: format!("PA_x|TR_{id}"),
        track_id: format!("TR_{id}"),
        stereo: false,
    }
}

/// Session lines first, then one list a section.
fn split(sdp: &str) -> Vec<Vec<&str>> {
    let mut parts = vec![Vec::new()];
    for line in sdp.lines() {
        if line.starts_with("m=") {
            parts.push(Vec::new());
        }
        parts.last_mut().unwrap().push(line);
    }
    parts
}

fn payload_list(section: &[&str]) -> Vec<u8> {
    let formats = section[0].splitn(4, ' ').nth(3).unwrap();
    formats.split(' ').map(|pt| pt.parse().unwrap()).collect()
}

fn contains(section: &[&str], line: &str) -> bool {
    section.contains(&line)
}
