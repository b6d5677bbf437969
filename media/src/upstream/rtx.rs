//! Retransmissions on their own SSRC (RFC 4588): turns one back into the packet it repeats.

use crate::rtp::{RtpHeader, Span};

/// Bytes of the original sequence number in front of the payload.
pub(crate) const OSN_BYTES: usize = 2;

/// Rebuilds the original in place and returns where it begins in `packet` and its header. `None`:
/// padding only (bandwidth probes), or too short.
pub(crate) fn restore(
    packet: &mut [u8],
    header: &RtpHeader,
    ssrc: u32,
    payload_type: u8,
) -> Option<(usize, RtpHeader)> {
    let payload_at = usize::from(header.payload.start);
    let osn: [u8; OSN_BYTES] = *header.payload.of(packet).first_chunk()?;
    if usize::from(header.payload.len) == OSN_BYTES {
        return None;
    }
    // The header moves up against the payload, over the number.
    packet.copy_within(..payload_at, OSN_BYTES);
    let fixed = packet.get_mut(OSN_BYTES..OSN_BYTES + 12)?;
    fixed[1] = u8::from(header.marker) << 7 | payload_type;
    fixed[2..4].copy_from_slice(&osn);
    fixed[8..12].copy_from_slice(&ssrc.to_be_bytes());
    let restored = RtpHeader {
        payload_type,
        sequence: u16::from_be_bytes(osn),
        ssrc,
        payload: Span {
            start: header.payload.start,
            len: header.payload.len - OSN_BYTES as u16,
        },
        ..*header
    };
    Some((OSN_BYTES, restored))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_original_packet_comes_back() {
        let mut rtx = vec![0x90, 0x80 | 97, 0, 9, 0, 0, 0, 5, 0, 0, 0, 99];
        rtx.extend([0xbe, 0xde, 0, 1, 0x10, 1, 0, 0]);
        rtx.extend([0x12, 0x34, 7, 8, 9]);
        let header = RtpHeader::parse(&rtx).unwrap();
        let (start, restored) = restore(&mut rtx, &header, 42, 96).unwrap();
        let original = RtpHeader::parse(&rtx[start..]).unwrap();
        assert_eq!(original, restored);
        assert_eq!(original.sequence, 0x1234);
        assert_eq!((original.ssrc, original.payload_type), (42, 96));
        assert!(original.marker);
        assert_eq!(original.payload.of(&rtx[start..]), [7, 8, 9]);
        assert_eq!(original.extension.of(&rtx[start..]), [0x10, 1, 0, 0]);
    }

    #[test]
    fn probes_and_short_packets_are_refused() {
        let mut probe = vec![0x80, 97, 0, 9, 0, 0, 0, 5, 0, 0, 0, 99, 0x12, 0x34];
        let header = RtpHeader::parse(&probe).unwrap();
        assert_eq!(restore(&mut probe, &header, 42, 96), None);
        let mut short = vec![0x80, 97, 0, 9, 0, 0, 0, 5, 0, 0, 0, 99, 0x12];
        let header = RtpHeader::parse(&short).unwrap();
        assert_eq!(restore(&mut short, &header, 42, 96), None);
    }
}
