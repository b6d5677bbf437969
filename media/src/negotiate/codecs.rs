//! Payload types: which of the client's formats we take in each direction, and the ones we offer
//! (LiveKit: protocol/codecs, rtc/mediaengine.go). Numbers are always those of the offerer.

use crate::types::{Codec, MediaKind, PayloadType};

use super::contract::EnabledCodec;
use super::fmtp;

/// One `a=rtpmap` with what else is said about its payload type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) pt: u8,
    /// Encoding name as written.
    pub(super) name: String,
    pub(super) clock_rate_hz: u32,
    pub(super) channels: u8,
    /// `a=fmtp` parameters without the payload type.
    pub(super) fmtp: String,
    /// `a=rtcp-fb` values without the payload type.
    pub(super) feedback: Vec<&'static str>,
}

/// A format both sides take, with its retransmissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) codec: Codec,
    pub(super) rtx_pt: Option<u8>,
    pub(super) format: Format,
}

impl Payload {
    pub(super) fn payload_type(&self) -> PayloadType {
        PayloadType {
            codec: self.codec,
            pt: self.format.pt,
            rtx_pt: self.rtx_pt,
            fmtp: self.format.fmtp.clone(),
            nack: self.format.feedback.contains(&"nack"),
        }
    }
}

/// Which way the payload goes, as seen from us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Receive,
    Send,
}

impl Format {
    pub(super) fn codec(&self) -> Option<Codec> {
        let codec = Codec::from_mime(&self.name)?;
        (codec.clock_rate_hz() == self.clock_rate_hz).then_some(codec)
    }

    pub(super) fn is_rtx(&self) -> bool {
        self.name.eq_ignore_ascii_case("rtx")
    }

    /// A profile the packet plane forwards in this direction.
    fn is_supported(&self, codec: Codec, way: Way) -> bool {
        let number = |key: &str| fmtp::get(&self.fmtp, key).map(|value| value.parse::<u8>().ok());
        match codec {
            // 10 bit and 4:4:4 are nobody's camera, and many decoders fail on them.
            Codec::Vp9 => matches!(number("profile-id"), None | Some(Some(0 | 1))),
            Codec::Av1 => matches!(number("profile"), None | Some(Some(0))),
            Codec::H265 => matches!(number("profile-id"), None | Some(Some(1))),
            Codec::H264 => {
                // Baseline, Main; High only where a publisher insists: not every decoder has it.
                match h264_profile(&self.fmtp) {
                    None | Some(0x42 | 0x4d) => true,
                    Some(0x58 | 0x64) => way == Way::Receive,
                    Some(_) => false,
                }
            }
            _ => true,
        }
    }

    /// The room's configuration allows the format.
    fn is_enabled(&self, codec: Codec, enabled: &[EnabledCodec]) -> bool {
        enabled.iter().any(|e| {
            e.codec == codec && (e.fmtp.is_empty() || same_format(codec, &e.fmtp, &self.fmtp))
        })
    }
}

/// Two parameter strings describe the same format (RFC 6184 §8.2.2 and alike): only what makes
/// bitstreams incompatible counts.
fn same_format(codec: Codec, a: &str, b: &str) -> bool {
    let same = |key: &str, default: &str| {
        let value = |fmtp| fmtp::get(fmtp, key).unwrap_or(default);
        value(a).eq_ignore_ascii_case(value(b))
    };
    match codec {
        Codec::H264 => h264_profile(a) == h264_profile(b) && same("packetization-mode", "0"),
        Codec::Vp9 => same("profile-id", "0"),
        Codec::Av1 => same("profile", "0"),
        Codec::H265 => same("profile-id", "1"),
        _ => true,
    }
}

/// `profile_idc`, the first byte of `profile-level-id`.
fn h264_profile(parameters: &str) -> Option<u8> {
    let id = fmtp::get(parameters, "profile-level-id")?;
    u8::from_str_radix(id.get(0..2)?, 16).ok()
}

/// The client's formats we take, in its order, with their retransmissions.
pub(super) fn accept(
    offered: &[Format],
    enabled: &[EnabledCodec],
    way: Way,
    retransmission: bool,
) -> Vec<Payload> {
    let mut accepted: Vec<Payload> = offered
        .iter()
        .filter_map(|format| {
            let codec = format.codec()?;
            let fits = format.is_enabled(codec, enabled) && format.is_supported(codec, way);
            fits.then(|| Payload {
                codec,
                rtx_pt: retransmission.then(|| rtx_of(offered, format.pt)).flatten(),
                format: format.clone(),
            })
        })
        .collect();
    // RED is only readable with the Opus it wraps (RFC 2198: `a=fmtp:63 111/111`).
    let opus: Vec<u8> = accepted
        .iter()
        .filter(|p| p.codec == Codec::Opus)
        .map(|p| p.format.pt)
        .collect();
    accepted.retain(|p| p.codec != Codec::Red || red_wraps(&p.format.fmtp, &opus));
    accepted
}

fn rtx_of(offered: &[Format], pt: u8) -> Option<u8> {
    offered
        .iter()
        .find(|f| {
            f.is_rtx() && fmtp::get(&f.fmtp, "apt").and_then(|apt| apt.parse().ok()) == Some(pt)
        })
        .map(|f| f.pt)
}

fn red_wraps(parameters: &str, opus: &[u8]) -> bool {
    let mut blocks = parameters.split('/').peekable();
    blocks.peek().is_some()
        && blocks.all(|block| block.trim().parse().is_ok_and(|pt: u8| opus.contains(&pt)))
}

/// Moves the payloads of `codec` to the front, otherwise keeping the order.
pub(super) fn prefer(payloads: &mut [Payload], codec: Codec) {
    payloads.sort_by_key(|payload| payload.codec != codec);
}

/// Orders by the source's codecs; within H264 the packetisation everybody decodes first.
pub(super) fn order_for_source(payloads: &mut [Payload], source: &[Codec]) {
    let rank = |payload: &Payload| {
        let known = source.iter().position(|codec| *codec == payload.codec);
        let mode = fmtp::get(&payload.format.fmtp, "packetization-mode").unwrap_or("0");
        let single_nal = payload.codec == Codec::H264 && mode == "0";
        (known.unwrap_or(usize::MAX), single_nal)
    };
    payloads.sort_by_key(rank);
}

/// Feedback messages we know; what else a description has is not kept.
pub(super) const FEEDBACK: [&str; 5] = ["transport-cc", "goog-remb", "ccm fir", "nack", "nack pli"];

/// Feedback messages worth negotiating, of those the client offered.
pub(super) fn feedback(
    kind: MediaKind,
    way: Way,
    single: bool,
    send_side: bool,
) -> Vec<&'static str> {
    match (kind, way) {
        (MediaKind::Audio, _) => vec!["nack"],
        (MediaKind::Video, Way::Receive) => {
            let mut list = vec!["transport-cc", "ccm fir", "nack", "nack pli"];
            if single {
                list.push("goog-remb");
            }
            list
        }
        (MediaKind::Video, Way::Send) => {
            let mut list = vec!["goog-remb", "ccm fir", "nack", "nack pli"];
            if send_side {
                // Clients that know both report on numbered packets and keep REMB to themselves.
                list.insert(1, "transport-cc");
            }
            list
        }
    }
}

/// Everything we offer to send of one kind, with the numbers LiveKit uses.
pub(super) fn offered(
    kind: MediaKind,
    enabled: &[EnabledCodec],
    retransmission: bool,
    send_side_bandwidth: bool,
) -> Vec<Payload> {
    let feedback = feedback(kind, Way::Send, false, send_side_bandwidth);
    let table = TABLE.iter().filter(|(codec, ..)| codec.kind() == kind);
    let mut formats: Vec<Format> = Vec::new();
    for &(codec, pt, parameters) in table {
        let name = codec.mime().rsplit('/').next().unwrap_or_default();
        formats.push(Format {
            pt,
            name: if codec == Codec::Opus || codec == Codec::Red {
                name.to_ascii_lowercase()
            } else {
                name.to_owned()
            },
            clock_rate_hz: codec.clock_rate_hz(),
            channels: if matches!(codec, Codec::Opus | Codec::Red) {
                2
            } else {
                1
            },
            fmtp: parameters.to_owned(),
            feedback: match codec {
                // Redundancy replaces retransmission.
                Codec::Red => Vec::new(),
                _ => feedback.clone(),
            },
        });
        if kind == MediaKind::Video {
            formats.push(rtx_format(pt + 1, pt));
        }
    }
    accept(&formats, enabled, Way::Send, retransmission)
}

pub(super) fn rtx_format(pt: u8, apt: u8) -> Format {
    Format {
        pt,
        name: "rtx".to_owned(),
        clock_rate_hz: 90_000,
        channels: 1,
        fmtp: format!("apt={apt}"),
        feedback: Vec::new(),
    }
}

/// Codec, payload type and parameters of what we offer; retransmissions have the next number.
const TABLE: &[(Codec, u8, &str)] = &[
    (Codec::Opus, 111, "minptime=10;useinbandfec=1"),
    (Codec::Red, 63, "111/111"),
    (Codec::Pcmu, 0, ""),
    (Codec::Pcma, 8, ""),
    (Codec::Vp8, 96, ""),
    (
        Codec::H264,
        108,
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    ),
    (
        Codec::H264,
        102,
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f",
    ),
    (
        Codec::H264,
        106,
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f",
    ),
    (
        Codec::H264,
        125,
        "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f",
    ),
    (
        Codec::H264,
        104,
        "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f",
    ),
    (
        Codec::H264,
        39,
        "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=4d001f",
    ),
    (Codec::Vp9, 98, "profile-id=0"),
    (Codec::Vp9, 100, "profile-id=1"),
    (Codec::Av1, 35, ""),
    (
        Codec::H265,
        116,
        "level-id=180;profile-id=1;tier-flag=0;tx-mode=SRST",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn format(pt: u8, name: &str, clock: u32, fmtp: &str) -> Format {
        Format {
            pt,
            name: name.into(),
            clock_rate_hz: clock,
            channels: 1,
            fmtp: fmtp.into(),
            feedback: vec!["nack"],
        }
    }

    fn all() -> Vec<EnabledCodec> {
        TABLE.iter().map(|(codec, ..)| (*codec).into()).collect()
    }

    #[test]
    fn high_profile_is_received_but_not_sent() {
        let formats = [
            format(
                102,
                "H264",
                90_000,
                "packetization-mode=1;profile-level-id=42e01f",
            ),
            format(103, "rtx", 90_000, "apt=102"),
            format(
                123,
                "H264",
                90_000,
                "packetization-mode=1;profile-level-id=640032",
            ),
            format(
                41,
                "H264",
                90_000,
                "packetization-mode=1;profile-level-id=f4001f",
            ),
        ];
        let received = accept(&formats, &all(), Way::Receive, true);
        assert_eq!(received.len(), 2);
        assert_eq!(received[0].rtx_pt, Some(103));
        let sent = accept(&formats, &all(), Way::Send, false);
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].rtx_pt, None);
    }

    #[test]
    fn profiles_nobody_forwards_are_left_out() {
        let formats = [
            format(98, "VP9", 90_000, "profile-id=0"),
            format(100, "VP9", 90_000, "profile-id=2"),
            format(45, "AV1", 90_000, "level-idx=5;profile=0;tier=0"),
            format(46, "AV1", 90_000, "profile=1"),
            format(49, "H265", 90_000, "level-id=93;profile-id=1"),
            format(51, "H265", 90_000, "profile-id=2"),
            format(9, "G722", 8_000, ""),
            format(97, "VP8", 48_000, ""),
        ];
        let pts: Vec<u8> = accept(&formats, &all(), Way::Receive, true)
            .iter()
            .map(|p| p.format.pt)
            .collect();
        assert_eq!(pts, [98, 45, 49]);
    }

    #[test]
    fn a_configured_format_narrows_h264() {
        let enabled = [EnabledCodec {
            codec: Codec::H264,
            fmtp: "profile-level-id=42e01f;packetization-mode=1".into(),
        }];
        let formats = [
            format(
                102,
                "H264",
                90_000,
                "packetization-mode=1;profile-level-id=4d001f",
            ),
            format(
                106,
                "H264",
                90_000,
                "packetization-mode=0;profile-level-id=42e01f",
            ),
            format(
                108,
                "H264",
                90_000,
                "packetization-mode=1;profile-level-id=42e034",
            ),
        ];
        let accepted = accept(&formats, &enabled, Way::Receive, true);
        assert_eq!(accepted.len(), 1);
        assert_eq!(accepted[0].format.pt, 108);
    }

    #[test]
    fn red_needs_the_opus_it_wraps() {
        let opus = format(111, "opus", 48_000, "");
        for (parameters, expected) in [("111/111", 2), ("112/112", 1), ("", 1), ("x", 1)] {
            let formats = [opus.clone(), format(63, "red", 48_000, parameters)];
            let accepted = accept(&formats, &all(), Way::Receive, true);
            assert_eq!(accepted.len(), expected, "{parameters}");
        }
    }

    #[test]
    fn what_we_offer_has_distinct_numbers() {
        let mut numbers = Vec::new();
        for kind in [MediaKind::Audio, MediaKind::Video] {
            for payload in offered(kind, &all(), true, false) {
                numbers.push(payload.format.pt);
                numbers.extend(payload.rtx_pt);
            }
        }
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count);
        assert!(numbers.iter().all(|pt| *pt < 128 && !(64..96).contains(pt)));
    }
}
