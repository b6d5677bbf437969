//! The snapshot's bytes are a wire format: a change needs a new version.
#![allow(clippy::unwrap_used)]

use aws_lc_rs::digest;

use super::*;

const VERSION_3_SHA_256: &str = "0025b544d7972d9437fbb2e62ec0507845315b797f01b2121274d71d4fc1cf57";

fn sample() -> TransportSnapshot {
    TransportSnapshot {
        local_ufrag: "lu".into(),
        local_pwd: "lp".into(),
        remote_ufrag: "ru".into(),
        remote_pwd: "rp".into(),
        nomination: 3,
        led: true,
        client: Some(SocketAddr::from(([10, 0, 0, 2], 5_000))),
        dtls: Some(DtlsSnapshot {
            local_epoch: 1,
            remote_epoch: 1,
            local_random: [1; 32],
            remote_random: [2; 32],
            cipher_suite_id: 0xC02B,
            master_secret: vec![3; 48],
            sequence_number: 70_000,
            srtp_protection_profile: 7,
            peer_certificates: vec![vec![4; 300]],
            identity_hint: vec![],
            is_client: false,
        }),
        fingerprint_algorithm: "sha-256".into(),
        fingerprint: vec![5; 32],
        rtp_in: vec![StreamSnapshot {
            ssrc: 6,
            highest: 1 << 20,
        }],
        rtp_out: vec![StreamSnapshot {
            ssrc: 7,
            highest: 1 << 21,
        }],
        unknown_first: 8_192,
        rtcp_out: 1_024,
        sctp: true,
        max_message_bytes: 65_535,
        channels: vec![ChannelSnapshot {
            stream: 1,
            label: "_reliable".into(),
            ordered: true,
            limit_kind: 0,
            limit: 0,
            open: true,
        }],
    }
}

#[test]
fn snapshots_are_read_as_written() {
    let decoded = TransportSnapshot::decode(&sample().encode()).unwrap();
    assert!(decoded == sample());
    // At any alignment.
    let mut shifted = vec![0];
    shifted.extend_from_slice(&sample().encode());
    assert!(TransportSnapshot::decode(&shifted[1..]).unwrap() == sample());
}

#[test]
fn version_3_has_these_bytes() {
    let raw = sample().encode();
    assert_eq!(&raw[..8], b"skein\0\x03\0");
    let hash = digest::digest(&digest::SHA256, &raw);
    let hex: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!((raw.len(), hex.as_str()), (736, VERSION_3_SHA_256));
}
