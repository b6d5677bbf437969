//! RTP on the wire (RFC 3550, RFC 8285) and what forwarding must know of the payloads it carries.
//! Called with bytes of strangers: every read is checked, a bad packet is `None`.

pub mod av1;
pub mod dependency_descriptor;
pub mod dependency_structure;
pub mod extensions;
pub mod frame;
pub mod h264;
pub mod h265;
pub mod red;
pub mod sequence;
pub mod vp8;
pub mod vp9;
pub mod writer;

pub use extensions::{ExtensionMap, HeaderExtensions, Span};
pub use frame::FrameInfo;

/// Length of the fixed header, bytes.
pub const FIXED_HEADER_BYTES: usize = 12;

/// A parsed header; offsets are relative to the packet it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    pub marker: bool,
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    /// The 16 bits that say how extension elements are laid out; 0 = no extension.
    pub extension_profile: u16,
    pub extension: Span,
    /// Payload without padding.
    pub payload: Span,
}

impl RtpHeader {
    pub fn parse(packet: &[u8]) -> Option<RtpHeader> {
        let fixed: &[u8; FIXED_HEADER_BYTES] = packet.first_chunk()?;
        if fixed[0] >> 6 != 2 {
            return None;
        }
        let mut at = FIXED_HEADER_BYTES + 4 * usize::from(fixed[0] & 0x0f);
        let mut extension_profile = 0;
        let mut extension = Span::default();
        if fixed[0] & 0x10 != 0 {
            let head: &[u8; 4] = packet.get(at..)?.first_chunk()?;
            extension_profile = u16::from_be_bytes([head[0], head[1]]);
            let len = 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
            extension = Span::new(at + 4, len)?;
            at += 4 + len;
        }
        let mut end = packet.len();
        if fixed[0] & 0x20 != 0 {
            let padding = usize::from(*packet.last()?);
            if padding == 0 {
                return None;
            }
            end = end.checked_sub(padding)?;
        }
        let payload = Span::new(at, end.checked_sub(at)?)?;
        Some(RtpHeader {
            marker: fixed[1] & 0x80 != 0,
            payload_type: fixed[1] & 0x7f,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            extension_profile,
            extension,
            payload,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_with_csrc_extension_and_padding_is_taken_apart() {
        let mut packet = vec![0xb1, 0x80 | 96, 0x12, 0x34, 0, 0, 0, 9, 1, 2, 3, 4];
        packet.extend([9, 9, 9, 9]); // one CSRC
        packet.extend([0xbe, 0xde, 0, 1, 0x10, b'a', 0, 0]);
        packet.extend([7, 7, 7, 0, 2]); // three bytes of payload, two of padding
        let header = RtpHeader::parse(&packet).unwrap();
        assert!(header.marker);
        assert_eq!(header.payload_type, 96);
        assert_eq!(header.sequence, 0x1234);
        assert_eq!(header.timestamp, 9);
        assert_eq!(header.ssrc, 0x0102_0304);
        assert_eq!(header.payload.of(&packet), [7, 7, 7]);
        assert_eq!(header.extension.of(&packet), [0x10, b'a', 0, 0]);
    }

    #[test]
    fn truncated_or_lying_packets_are_refused() {
        assert_eq!(RtpHeader::parse(&[0x80; 11]), None);
        assert_eq!(RtpHeader::parse(&[0x40; 20]), None, "version 1");
        let mut lying_extension = vec![0x90; 16];
        lying_extension[14..16].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(RtpHeader::parse(&lying_extension), None);
        let mut lying_padding = vec![0u8; 14];
        lying_padding[0] = 0xa0;
        lying_padding[13] = 200;
        assert_eq!(RtpHeader::parse(&lying_padding), None);
    }

    #[test]
    fn no_prefix_of_a_packet_panics() {
        let packet: Vec<u8> = (0..=255).map(|b: u8| b | 0x80).collect();
        for end in 0..packet.len() {
            let _ = RtpHeader::parse(&packet[..end]);
        }
    }
}
