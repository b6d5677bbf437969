//! RTCP packets written here are read back as they were meant, and foreign ones are understood.

use super::*;
use crate::rtcp::transport_feedback::ArrivalRecorder;
use std::time::{Duration, Instant};

#[test]
fn reports_survive_a_round_trip() {
    let info = SenderInfo {
        ntp: 0x0123_4567_89ab_cdef,
        rtp_timestamp: 7,
        packets: 8,
        octets: 9,
    };
    let block = ReportBlock {
        ssrc: 5,
        fraction_lost: 128,
        cumulative_lost: -3,
        highest_sequence: 0x0001_0002,
        jitter: 11,
        last_sr: 12,
        delay_since_last_sr: 13,
    };
    let mut out = Vec::new();
    write::sender_report(&mut out, 1, &info, &[block]);
    write::receiver_report(&mut out, 2, &[block, block]);
    let parsed: Vec<_> = packets(&out).collect();
    let Packet::SenderReport {
        ssrc: 1,
        info: got,
        blocks,
    } = parsed[0]
    else {
        panic!("{parsed:?}");
    };
    assert_eq!(got, info);
    assert_eq!(blocks.iter().collect::<Vec<_>>(), [block]);
    let Packet::ReceiverReport { ssrc: 2, blocks } = parsed[1] else {
        panic!("{parsed:?}");
    };
    assert_eq!(blocks.iter().count(), 2);
}

#[test]
fn nacks_share_bitmaps_and_cross_the_wrap() {
    let asked = [65_530, 65_535, 0, 10, 11, 500];
    let mut out = Vec::new();
    write::nack(&mut out, 1, 2, &asked);
    assert_eq!(out.len(), 12 + 2 * 4 + 4);
    let Some(Packet::Nack {
        media_ssrc: 2,
        pairs,
    }) = packets(&out).next()
    else {
        panic!("{out:?}");
    };
    assert_eq!(pairs.nacked().collect::<Vec<_>>(), asked);
}

#[test]
fn keyframe_requests_and_remb_survive_a_round_trip() {
    let mut out = Vec::new();
    write::picture_loss(&mut out, 1, 77);
    write::full_intra_request(&mut out, 1, 78, 3);
    write::remb(&mut out, 1, 2_500_000, &[77, 78]);
    write::remb(&mut out, 1, 100, &[]);
    let parsed: Vec<_> = packets(&out).collect();
    assert_eq!(parsed[0], Packet::PictureLoss { media_ssrc: 77 });
    let Packet::FullIntraRequest { entries } = parsed[1] else {
        panic!("{parsed:?}");
    };
    assert_eq!(fir_targets(entries).collect::<Vec<_>>(), [78]);
    let Packet::Remb { bitrate_bps } = parsed[2] else {
        panic!("{parsed:?}");
    };
    assert!(
        (2_499_900..=2_500_000).contains(&bitrate_bps),
        "{bitrate_bps}"
    );
    assert_eq!(parsed[3], Packet::Remb { bitrate_bps: 100 });
}

#[test]
fn truncated_and_random_compounds_do_not_panic() {
    let mut out = Vec::new();
    write::sender_report(
        &mut out,
        1,
        &SenderInfo::default(),
        &[ReportBlock::default()],
    );
    write::nack(&mut out, 1, 2, &[1, 2, 3]);
    for end in 0..out.len() {
        let _ = packets(&out[..end]).count();
    }
    let mut state = 1u32;
    for _ in 0..20_000 {
        let junk: Vec<u8> = (0..48)
            .map(|at| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                match at {
                    0 => 0x80 | (state >> 27) as u8,
                    1 => 200 + (state >> 29) as u8,
                    2 => 0,
                    3 => (state >> 28) as u8,
                    _ => (state >> 24) as u8,
                }
            })
            .collect();
        let _ = packets(&junk).count();
    }
}

/// Decodes feedback the way a sender does: `(sequence, delta in ticks)`, lost = `None`.
fn decode(body: &[u8]) -> Vec<(u16, Option<i64>)> {
    let base = u16::from_be_bytes([body[0], body[1]]);
    let count = usize::from(u16::from_be_bytes([body[2], body[3]]));
    let mut statuses = Vec::new();
    let mut at = 8;
    while statuses.len() < count {
        let chunk = u16::from_be_bytes([body[at], body[at + 1]]);
        at += 2;
        if chunk & 0x8000 == 0 {
            statuses.extend(vec![chunk >> 13; usize::from(chunk & 0x1fff)]);
        } else {
            assert_eq!(chunk & 0x4000, 0x4000, "two-bit symbols");
            statuses.extend((0..7).map(|index| chunk >> (12 - 2 * index) & 3));
        }
    }
    let mut time = i64::from(i32::from_be_bytes([0, body[4], body[5], body[6]])) * 256;
    let mut told = Vec::new();
    for (index, status) in statuses.into_iter().take(count).enumerate() {
        let arrival = match status {
            0 => None,
            1 => {
                time += i64::from(body[at]);
                at += 1;
                Some(time)
            }
            _ => {
                time += i64::from(i16::from_be_bytes([body[at], body[at + 1]]));
                at += 2;
                Some(time)
            }
        };
        told.push((base.wrapping_add(index as u16), arrival));
    }
    told
}

#[test]
fn transport_feedback_tells_every_arrival_and_loss() {
    let start = Instant::now();
    let mut recorder = ArrivalRecorder::new(start);
    let at = |ms: u64| start + Duration::from_millis(ms);
    // In order, with gaps, a late one, a long silence, and a wrap.
    let plan = [
        (65_530u16, 70u64),
        (65_531, 71),
        (65_533, 90),
        (65_532, 95),
        (0, 400),
        (1, 400),
    ];
    for (sequence, ms) in plan {
        recorder.record(at(ms), sequence);
    }
    for sequence in 2..40 {
        recorder.record(at(401), sequence);
    }
    let mut out = Vec::new();
    assert!(recorder.write(&mut out, 1, 2));
    assert!(!recorder.write(&mut out, 1, 2), "everything was told");
    let Some(Packet::TransportFeedback { body }) = packets(&out).next() else {
        panic!("{out:?}");
    };
    let told = decode(body);
    assert_eq!(told.len(), 46);
    for (sequence, ms) in plan {
        let (_, arrival) = told.iter().find(|(told, _)| *told == sequence).unwrap();
        assert_eq!(arrival.unwrap() / 4, ms as i64, "sequence {sequence}");
    }
    let lost: Vec<_> = told
        .iter()
        .filter(|(_, a)| a.is_none())
        .map(|(s, _)| *s)
        .collect();
    assert_eq!(lost, [65_534, 65_535]);
}

#[test]
fn the_next_feedback_starts_where_the_last_one_ended() {
    let start = Instant::now();
    let mut recorder = ArrivalRecorder::new(start);
    recorder.record(start, 10);
    let mut out = Vec::new();
    assert!(recorder.write(&mut out, 1, 2));
    recorder.record(start, 12);
    out.clear();
    assert!(recorder.write(&mut out, 1, 2));
    let Some(Packet::TransportFeedback { body }) = packets(&out).next() else {
        panic!("{out:?}");
    };
    let told: Vec<_> = decode(body)
        .iter()
        .map(|(s, a)| (*s, a.is_some()))
        .collect();
    assert_eq!(told, [(11, false), (12, true)]);
}
