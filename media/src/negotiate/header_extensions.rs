//! RTP header extensions (RFC 8285): which ones each direction of a section may use, and their
//! numbers. Answers keep the client's numbers; offers have fixed ones of ours.

use crate::rtp::extensions::IDS_MAX;
use crate::types::{Extensions, MediaKind};

/// An extension the packet plane understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extension {
    Mid,
    Rid,
    RepairedRid,
    AudioLevel,
    TransportCc,
    AbsSendTime,
    AbsCaptureTime,
    PlayoutDelay,
    DependencyDescriptor,
    FrameMarking,
}

impl Extension {
    const ALL: [Extension; 10] = [
        Extension::Mid,
        Extension::Rid,
        Extension::RepairedRid,
        Extension::AudioLevel,
        Extension::TransportCc,
        Extension::AbsSendTime,
        Extension::AbsCaptureTime,
        Extension::PlayoutDelay,
        Extension::DependencyDescriptor,
        Extension::FrameMarking,
    ];

    pub(super) fn uri(self) -> &'static str {
        match self {
            Extension::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Extension::Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Extension::RepairedRid => "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            Extension::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Extension::TransportCc => {
                "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
            }
            Extension::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Extension::AbsCaptureTime => {
                "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time"
            }
            Extension::PlayoutDelay => "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
            Extension::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
            Extension::FrameMarking => "urn:ietf:params:rtp-hdrext:framemarking",
        }
    }

    pub(super) fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|extension| extension.uri() == uri)
    }

    /// Its place in the list of all, which never changes: images of negotiators have it.
    pub(super) fn place(self) -> u8 {
        let place = Self::ALL.iter().position(|known| *known == self);
        place.map_or(u8::MAX, |place| place as u8)
    }

    /// The one at a place; `None`: only a newer node knows it.
    pub(super) fn at(place: u8) -> Option<Self> {
        Self::ALL.get(usize::from(place)).copied()
    }

    /// Number in descriptions we offer; all fit one-byte headers.
    pub(super) fn offered_number(self) -> u8 {
        match self {
            Extension::DependencyDescriptor => 1,
            Extension::AbsCaptureTime => 2,
            Extension::AbsSendTime => 3,
            Extension::TransportCc => 4,
            Extension::PlayoutDelay => 5,
            Extension::Mid => 6,
            Extension::Rid => 7,
            Extension::RepairedRid => 8,
            Extension::AudioLevel => 9,
            Extension::FrameMarking => 10,
        }
    }
}

/// What decides about extensions besides kind and direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExtensionPolicy {
    /// One connection carries both directions: REMB needs `abs-send-time` from publishers too.
    pub(super) single: bool,
    pub(super) send_side_bandwidth: bool,
    pub(super) playout_delay: bool,
}

/// Extensions of media the client sends (LiveKit: rtc/config.go, publisher).
pub(super) fn receivable(kind: MediaKind, policy: ExtensionPolicy) -> Vec<Extension> {
    match kind {
        MediaKind::Audio => vec![
            Extension::Mid,
            Extension::Rid,
            Extension::AudioLevel,
            Extension::AbsCaptureTime,
        ],
        MediaKind::Video => {
            let mut list = vec![
                Extension::Mid,
                Extension::Rid,
                Extension::RepairedRid,
                Extension::TransportCc,
                Extension::FrameMarking,
                Extension::DependencyDescriptor,
                Extension::AbsCaptureTime,
            ];
            if policy.single {
                list.push(Extension::AbsSendTime);
            }
            list
        }
    }
}

/// Extensions of media we send (LiveKit: rtc/config.go, subscriber).
pub(super) fn sendable(kind: MediaKind, policy: ExtensionPolicy) -> Vec<Extension> {
    let mut list = vec![Extension::AbsCaptureTime];
    if policy.single {
        // The client numbers them anyway for its own media; mid costs nothing to accept.
        list.push(Extension::Mid);
    }
    if kind == MediaKind::Video {
        list.push(Extension::DependencyDescriptor);
        list.push(Extension::AbsSendTime);
        if policy.send_side_bandwidth {
            list.push(Extension::TransportCc);
        }
    }
    if policy.playout_delay {
        list.push(Extension::PlayoutDelay);
    }
    list
}

/// The packet plane's view of a section's numbers.
pub(super) fn numbers(list: &[(u8, Extension)]) -> Extensions {
    let mut numbers = Extensions::default();
    for &(number, extension) in list {
        let slot = match extension {
            Extension::Mid => &mut numbers.mid,
            Extension::Rid => &mut numbers.rid,
            Extension::RepairedRid => &mut numbers.repaired_rid,
            Extension::AudioLevel => &mut numbers.audio_level,
            Extension::TransportCc => &mut numbers.transport_cc,
            Extension::AbsSendTime => &mut numbers.abs_send_time,
            Extension::AbsCaptureTime => &mut numbers.abs_capture_time,
            Extension::PlayoutDelay => &mut numbers.playout_delay,
            Extension::DependencyDescriptor => &mut numbers.dependency_descriptor,
            Extension::FrameMarking => &mut numbers.frame_marking,
        };
        *slot = Some(number);
    }
    numbers
}

/// The offered extensions that are wanted here, with the client's numbers.
pub(super) fn accept(
    offered: &[(u8, Extension)],
    wanted: impl Fn(Extension) -> bool,
) -> Vec<(u8, Extension)> {
    offered
        .iter()
        .copied()
        .filter(|&(_, extension)| wanted(extension))
        .collect()
}

/// `a=extmap:4/recvonly urn:… attributes` → number and extension, if it is a known one.
pub(super) fn parse(value: &str) -> Option<(u8, Extension)> {
    let (number, rest) = value.split_once(' ')?;
    let number: u8 = number.split('/').next()?.parse().ok()?;
    // 0 is padding and 15 is reserved in one-byte headers (RFC 8285 §4.2).
    if matches!(number, 0 | 15) || usize::from(number) >= IDS_MAX {
        return None;
    }
    let extension = Extension::from_uri(rest.split_ascii_whitespace().next()?)?;
    Some((number, extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extmap_lines_are_read() {
        assert_eq!(
            parse("4 urn:ietf:params:rtp-hdrext:sdes:mid"),
            Some((4, Extension::Mid))
        );
        assert_eq!(
            parse("1/sendonly urn:ietf:params:rtp-hdrext:ssrc-audio-level vad=on"),
            Some((1, Extension::AudioLevel))
        );
        for line in [
            "",
            "4",
            "x urn:y",
            "15 urn:ietf:params:rtp-hdrext:sdes:mid",
            "4 urn:other",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn our_numbers_are_distinct_and_fit_one_byte_headers() {
        let mut numbers: Vec<u8> = Extension::ALL.map(Extension::offered_number).to_vec();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), Extension::ALL.len());
        assert!(numbers.iter().all(|n| (1..15).contains(n)));
    }
}
