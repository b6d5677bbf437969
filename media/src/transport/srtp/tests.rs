//! Our SRTP and SRTCP against rtc-srtp as the oracle, both profiles, both directions, across
//! roll-overs; and the promise that no index is sealed twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_srtp::context::Context;
use rtc_srtp::option::{srtcp_no_replay_protection, srtp_no_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;

use super::*;
use crate::transport::srtcp::{RtcpOpener, RtcpSealer};
use crate::transport::{SRTCP_TAIL_BYTES, SRTP_TAIL_BYTES};

const PROFILES: [(Profile, ProtectionProfile); 2] = [
    (Profile::AeadAes128Gcm, ProtectionProfile::AeadAes128Gcm),
    (
        Profile::Aes128CmSha1_80,
        ProtectionProfile::Aes128CmHmacSha1_80,
    ),
];

fn material(profile: Profile) -> Vec<u8> {
    (0..profile.material_bytes())
        .map(|i| (i * 7 + 3) as u8)
        .collect()
}

/// The oracle with the client's keys.
fn oracle(profile: Profile, theirs: ProtectionProfile) -> Context {
    let material = material(profile);
    let salt_at = 2 * MASTER_KEY_BYTES;
    Context::new(
        &material[..MASTER_KEY_BYTES],
        &material[salt_at..salt_at + profile.salt_bytes()],
        theirs,
        Some(srtp_no_replay_protection()),
        Some(srtcp_no_replay_protection()),
        AwsLcRsProvider::new().crypto(),
    )
    .unwrap()
}

/// Sealer of a client, opener of its server.
fn pair(profile: Profile) -> (RtpSealer, RtpOpener) {
    let material = material(profile);
    let (_, local) = MasterKey::split(profile, &material, true).unwrap();
    let (remote, _) = MasterKey::split(profile, &material, false).unwrap();
    (
        RtpSealer::new(&local).unwrap(),
        RtpOpener::new(&remote).unwrap(),
    )
}

fn packet(ssrc: u32, sequence: u16, extension: bool, payload: usize) -> Vec<u8> {
    let mut packet = vec![if extension { 0x91 } else { 0x80 }, 0x80 | 96];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&u32::from(sequence).to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    if extension {
        packet.extend_from_slice(&[1, 2, 3, 4]); // one CSRC
        packet.extend_from_slice(&[0xBE, 0xDE, 0, 2, 0x51, 1, 2, 0x30, 9, 0, 0, 0]);
    }
    packet.extend((0..payload).map(|i| i as u8 ^ sequence as u8));
    packet
}

fn seal(sealer: &mut RtpSealer, plain: &[u8]) -> Option<Vec<u8>> {
    let mut buf = plain.to_vec();
    buf.resize(plain.len() + SRTP_TAIL_BYTES, 0);
    let len = sealer.seal(&mut buf, plain.len())?;
    buf.truncate(len);
    Some(buf)
}

/// Sequence numbers that cross two roll-overs, with neighbours swapped.
fn sequences() -> impl Iterator<Item = u16> {
    let order = (0..2_000u32).map(|i| i * 97 + 60_000);
    order
        .collect::<Vec<u32>>()
        .chunks(2)
        .flat_map(|pair| pair.iter().rev().map(|&s| s as u16).collect::<Vec<u16>>())
        .collect::<Vec<u16>>()
        .into_iter()
        .skip(1)
}

#[test]
fn the_oracle_opens_what_we_seal_across_roll_overs() {
    for (profile, theirs) in PROFILES {
        let (mut sealer, _) = pair(profile);
        let mut oracle = oracle(profile, theirs);
        for (n, sequence) in sequences().enumerate() {
            let plain = packet(7, sequence, n % 2 == 0, n % 1_200);
            let sealed = seal(&mut sealer, &plain).unwrap();
            assert_eq!(sealed.len(), plain.len() + profile.tag_bytes());
            assert_eq!(
                oracle.decrypt_rtp(&sealed).unwrap(),
                plain,
                "{profile:?} {n}"
            );
        }
    }
}

#[test]
fn we_open_what_the_oracle_seals_across_roll_overs() {
    for (profile, theirs) in PROFILES {
        let (_, mut opener) = pair(profile);
        let mut oracle = oracle(profile, theirs);
        for (n, sequence) in sequences().enumerate() {
            let plain = packet(9, sequence, n % 3 == 0, n % 1_200);
            let mut sealed = oracle.encrypt_rtp(&plain).unwrap().to_vec();
            let (len, replayed) = opener.open(&mut sealed).unwrap();
            assert_eq!(&sealed[..len], plain, "{profile:?} {n}");
            assert!(!replayed);
        }
    }
}

#[test]
fn rtcp_agrees_with_the_oracle_both_ways() {
    for (profile, theirs) in PROFILES {
        let material = material(profile);
        let (_, local) = MasterKey::split(profile, &material, true).unwrap();
        let (remote, _) = MasterKey::split(profile, &material, false).unwrap();
        let mut sealer = RtcpSealer::new(&local, 0).unwrap();
        let mut opener = RtcpOpener::new(&remote).unwrap();
        let mut oracle = oracle(profile, theirs);
        for n in 0..100usize {
            let words = 1 + n % 40;
            let mut plain = vec![0x80, 200, 0, words as u8, 0, 0, 0, 5];
            plain.resize(4 + 4 * words, n as u8);
            plain[4..8].copy_from_slice(&[0, 0, 0, 5]);
            let mut buf = plain.clone();
            buf.resize(plain.len() + SRTCP_TAIL_BYTES, 0);
            let len = sealer.seal(&mut buf, plain.len()).unwrap();
            assert_eq!(oracle.decrypt_rtcp(&buf[..len]).unwrap(), plain);

            let mut sealed = oracle.encrypt_rtcp(&plain).unwrap().to_vec();
            let copy = sealed.clone();
            let len = opener.open(&mut sealed).unwrap();
            assert_eq!(&sealed[..len], plain);
            assert_eq!(opener.open(&mut copy.clone()), Err(DropReason::Replayed));
        }
    }
}

#[test]
fn an_index_is_sealed_once() {
    for (profile, _) in PROFILES {
        let (mut sealer, _) = pair(profile);
        let (first, second) = (packet(1, 100, false, 10), packet(1, 101, false, 10));
        assert!(seal(&mut sealer, &second).is_some());
        assert!(seal(&mut sealer, &first).is_some());
        assert!(seal(&mut sealer, &first).is_none());
        assert!(seal(&mut sealer, &second).is_none());
        for sequence in 102..1_400 {
            assert!(seal(&mut sealer, &packet(1, sequence, false, 10)).is_some());
        }
        // Too old to know.
        assert!(seal(&mut sealer, &packet(1, 99, false, 10)).is_none());
        assert_eq!(sealer.next_sequence(1, 0), 1_400);
        assert!(seal(&mut sealer, &packet(2, 100, false, 10)).is_some());
    }
}

#[test]
fn a_restored_sealer_goes_on_behind_what_was_used() {
    let (mut sealer, _) = pair(Profile::AeadAes128Gcm);
    for sequence in 65_000..=65_535 {
        seal(&mut sealer, &packet(1, sequence, false, 10)).unwrap();
    }
    let (mut restored, mut opener) = pair(Profile::AeadAes128Gcm);
    restored.restore(&sealer.indexes(), sealer.unknown_first());
    assert!(seal(&mut restored, &packet(1, 65_535, false, 1)).is_none());
    assert_eq!(restored.next_sequence(1, 0), 0);
    // The receiver follows over the roll-over.
    let mut old = seal(
        &mut pair(Profile::AeadAes128Gcm).0,
        &packet(1, 65_535, false, 5),
    )
    .unwrap();
    opener.open(&mut old).unwrap();
    let mut new = seal(&mut restored, &packet(1, 0, false, 5)).unwrap();
    assert!(opener.open(&mut new).is_ok());
}

#[test]
fn a_standby_begins_behind_the_leases_also_of_streams_it_does_not_know() {
    let now = std::time::Instant::now();
    let (mut primary, _) = pair(Profile::AeadAes128Gcm);
    seal(&mut primary, &packet(1, 65_300, false, 10)).unwrap();
    primary.follow(now);
    let (mut standby, mut opener) = pair(Profile::AeadAes128Gcm);
    standby.restore(&primary.indexes(), primary.unknown_first());
    // Each as far as it gets, the primary as if it woke up late.
    for (ssrc, first) in [(1, 65_301), (2, primary.next_sequence(2, 60_000))] {
        let mut last = first;
        while let Some(mut sealed) = seal(&mut primary, &packet(ssrc, last, false, 1)) {
            opener.open(&mut sealed).unwrap();
            assert!(seal(&mut standby, &packet(ssrc, last, false, 1)).is_none());
            last = last.wrapping_add(1);
        }
        assert!(last.wrapping_sub(first) > 500, "{ssrc}");
        assert_eq!(standby.next_sequence(ssrc, 7), last);
        let mut sealed = seal(&mut standby, &packet(ssrc, last, false, 1)).unwrap();
        assert!(opener.open(&mut sealed).is_ok(), "the roll-over is right");
    }
}

#[test]
fn every_changed_bit_is_noticed() {
    for (profile, _) in PROFILES {
        let (mut sealer, mut opener) = pair(profile);
        let sealed = seal(&mut sealer, &packet(1, 5, true, 60)).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(opener.open(&mut changed).is_err(), "{profile:?} byte {at}");
            assert!(opener.open(&mut sealed[..at].to_vec()).is_err());
        }
        assert!(opener.open(&mut sealed.clone()).is_ok());
    }
}

#[test]
fn streams_of_a_receiver_are_bounded() {
    let (mut sealer, mut opener) = pair(Profile::AeadAes128Gcm);
    for ssrc in 0..SRTP_MAX_STREAMS_IN as u32 + 50 {
        let mut sealed = seal(&mut sealer, &packet(ssrc, 1, false, 1)).unwrap();
        opener.open(&mut sealed).unwrap();
    }
    assert_eq!(opener.indexes().len(), SRTP_MAX_STREAMS_IN);
}
