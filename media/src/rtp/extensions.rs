//! Header extensions (RFC 8285), one-byte and two-byte form: which ids mean what on a connection,
//! and the elements a received packet carried.

use crate::rtp::RtpHeader;
use crate::types::Extensions;

/// A range of bytes inside one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: u16,
    pub len: u16,
}

impl Span {
    pub fn new(start: usize, len: usize) -> Option<Span> {
        Some(Span {
            start: u16::try_from(start).ok()?,
            len: u16::try_from(len).ok()?,
        })
    }

    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    pub fn end(self) -> usize {
        usize::from(self.start) + usize::from(self.len)
    }

    /// The bytes, or nothing when the packet is shorter than the one this was made from.
    pub fn of(self, packet: &[u8]) -> &[u8] {
        packet
            .get(usize::from(self.start)..self.end())
            .unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unknown,
    Mid,
    Rid,
    RepairedRid,
    AudioLevel,
    TransportCc,
    AbsSendTime,
    AbsCaptureTime,
    DependencyDescriptor,
    VideoOrientation,
}

/// Ids a map can hold; larger ones exist in the two-byte form but nobody assigns them.
pub const IDS_MAX: usize = 32;

/// Extension ids of one connection. Within a bundle an id has one meaning, so the maps of all
/// sections are merged.
#[derive(Clone, Debug)]
pub struct ExtensionMap {
    kinds: [Kind; IDS_MAX],
}

impl Default for ExtensionMap {
    fn default() -> Self {
        ExtensionMap {
            kinds: [Kind::Unknown; IDS_MAX],
        }
    }
}

impl ExtensionMap {
    pub fn merge(&mut self, ids: &Extensions) {
        let pairs = [
            (ids.mid, Kind::Mid),
            (ids.rid, Kind::Rid),
            (ids.repaired_rid, Kind::RepairedRid),
            (ids.audio_level, Kind::AudioLevel),
            (ids.transport_cc, Kind::TransportCc),
            (ids.abs_send_time, Kind::AbsSendTime),
            (ids.abs_capture_time, Kind::AbsCaptureTime),
            (ids.dependency_descriptor, Kind::DependencyDescriptor),
            (ids.video_orientation, Kind::VideoOrientation),
        ];
        for (id, kind) in pairs {
            let slot = id.and_then(|id| self.kinds.get_mut(usize::from(id)));
            if let Some(slot) = slot {
                *slot = kind;
            }
        }
    }

    /// Reads the elements of a packet whose header was parsed from the same bytes.
    pub fn read(&self, header: &RtpHeader, packet: &[u8]) -> HeaderExtensions {
        let mut found = HeaderExtensions::default();
        let two_byte = match header.extension_profile {
            0xbede => false,
            profile if profile & 0xfff0 == 0x1000 => true,
            _ => return found,
        };
        let mut at = usize::from(header.extension.start);
        let end = header.extension.end();
        while let Some(&first) = packet.get(at).filter(|_| at < end) {
            if first == 0 {
                at += 1; // padding between elements
                continue;
            }
            let (id, len, head) = if two_byte {
                let Some(&len) = packet.get(at + 1) else {
                    break;
                };
                (first, usize::from(len), 2)
            } else {
                (first >> 4, usize::from(first & 0x0f) + 1, 1)
            };
            if !two_byte && id == 15 {
                break; // RFC 8285 §4.2: processing stops here
            }
            at += head;
            if at + len > end {
                break;
            }
            if let Some(span) = Span::new(at, len) {
                found.take(self.kind(id), span, packet);
            }
            at += len;
        }
        found
    }

    fn kind(&self, id: u8) -> Kind {
        self.kinds
            .get(usize::from(id))
            .copied()
            .unwrap_or(Kind::Unknown)
    }
}

/// The elements one packet carried. Empty span = absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeaderExtensions {
    pub mid: Span,
    pub rid: Span,
    pub repaired_rid: Span,
    pub abs_capture_time: Span,
    pub dependency_descriptor: Span,
    pub video_orientation: Span,
    /// RFC 6464: bit 7 voice activity, bits 0–6 −dBov.
    pub audio_level: Option<u8>,
    pub transport_cc: Option<u16>,
    /// 6.18 fixed-point seconds.
    pub abs_send_time: Option<u32>,
}

impl HeaderExtensions {
    fn take(&mut self, kind: Kind, span: Span, packet: &[u8]) {
        let bytes = span.of(packet);
        match kind {
            Kind::Unknown => {}
            Kind::Mid => self.mid = span,
            Kind::Rid => self.rid = span,
            Kind::RepairedRid => self.repaired_rid = span,
            Kind::AbsCaptureTime => self.abs_capture_time = span,
            Kind::DependencyDescriptor => self.dependency_descriptor = span,
            Kind::VideoOrientation => self.video_orientation = span,
            Kind::AudioLevel => self.audio_level = bytes.first().copied(),
            Kind::TransportCc => {
                self.transport_cc = bytes.first_chunk().map(|b| u16::from_be_bytes(*b));
            }
            Kind::AbsSendTime => {
                self.abs_send_time = bytes
                    .first_chunk::<3>()
                    .map(|b| u32::from_be_bytes([0, b[0], b[1], b[2]]));
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn map() -> ExtensionMap {
        let mut map = ExtensionMap::default();
        map.merge(&Extensions {
            mid: Some(4),
            rid: Some(10),
            audio_level: Some(1),
            transport_cc: Some(3),
            dependency_descriptor: Some(12),
            ..Extensions::default()
        });
        map
    }

    fn packet(profile: [u8; 2], elements: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x90, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        packet.extend(profile);
        packet.extend(u16::try_from(elements.len() / 4).unwrap().to_be_bytes());
        packet.extend(elements);
        packet
    }

    #[test]
    fn one_byte_elements_are_read() {
        let bytes = packet(
            [0xbe, 0xde],
            &[
                0x10, 0x85, 0x31, 0xab, 0xcd, 0x40, b'0', 0, 0xa0, b'q', 0, 0,
            ],
        );
        let header = RtpHeader::parse(&bytes).unwrap();
        let found = map().read(&header, &bytes);
        assert_eq!(found.audio_level, Some(0x85));
        assert_eq!(found.transport_cc, Some(0xabcd));
        assert_eq!(found.mid.of(&bytes), b"0");
        assert_eq!(found.rid.of(&bytes), b"q");
    }

    #[test]
    fn two_byte_elements_are_read() {
        let mut elements = vec![12, 20];
        elements.extend([0x55; 20]);
        elements.extend([4, 1, b'7', 0, 0, 0]);
        let bytes = packet([0x10, 0x00], &elements);
        let header = RtpHeader::parse(&bytes).unwrap();
        let found = map().read(&header, &bytes);
        assert_eq!(found.dependency_descriptor.of(&bytes), [0x55; 20]);
        assert_eq!(found.mid.of(&bytes), b"7");
    }

    #[test]
    fn an_element_that_overruns_the_block_is_ignored() {
        let bytes = packet([0xbe, 0xde], &[0x1f, 1, 2, 3]);
        let header = RtpHeader::parse(&bytes).unwrap();
        assert_eq!(map().read(&header, &bytes), HeaderExtensions::default());
    }
}
