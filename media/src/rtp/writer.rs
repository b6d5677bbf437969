//! Writes RTP packets for subscribers into a send buffer: header, extension elements, payload.

use crate::rtp::FIXED_HEADER_BYTES;

/// Header of an outgoing packet.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub marker: bool,
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
}

/// One header-extension element.
pub type Element<'a> = (u8, &'a [u8]);

/// Writes header and elements to the front of `buf` and returns their length; `None` = no room.
/// The two-byte form is used only where an id or a length needs it.
pub fn write_head(buf: &mut [u8], head: &Head, elements: &[Element<'_>]) -> Option<usize> {
    let fixed: &mut [u8; FIXED_HEADER_BYTES] = buf.first_chunk_mut()?;
    fixed[0] = 0x80 | u8::from(!elements.is_empty()) << 4;
    fixed[1] = u8::from(head.marker) << 7 | head.payload_type & 0x7f;
    fixed[2..4].copy_from_slice(&head.sequence.to_be_bytes());
    fixed[4..8].copy_from_slice(&head.timestamp.to_be_bytes());
    fixed[8..12].copy_from_slice(&head.ssrc.to_be_bytes());
    if elements.is_empty() {
        return Some(FIXED_HEADER_BYTES);
    }
    let two_byte = elements
        .iter()
        .any(|(id, bytes)| *id > 14 || bytes.is_empty() || bytes.len() > 16);
    let mut at = FIXED_HEADER_BYTES + 4;
    for (id, bytes) in elements {
        if two_byte {
            let len = u8::try_from(bytes.len()).ok()?;
            buf.get_mut(at..at + 2)?.copy_from_slice(&[*id, len]);
            at += 2;
        } else {
            *buf.get_mut(at)? = id << 4 | (bytes.len() as u8 - 1);
            at += 1;
        }
        buf.get_mut(at..at + bytes.len())?.copy_from_slice(bytes);
        at += bytes.len();
    }
    let end = at.next_multiple_of(4);
    buf.get_mut(at..end)?.fill(0);
    let words = u16::try_from((end - FIXED_HEADER_BYTES - 4) / 4).ok()?;
    let profile: u16 = if two_byte { 0x1000 } else { 0xbede };
    let block = buf.get_mut(FIXED_HEADER_BYTES..FIXED_HEADER_BYTES + 4)?;
    block[..2].copy_from_slice(&profile.to_be_bytes());
    block[2..].copy_from_slice(&words.to_be_bytes());
    Some(end)
}

/// The abs-send-time element: 6.18 fixed-point seconds of a clock that only has to be steady.
pub fn abs_send_time(since_start_us: u64) -> [u8; 3] {
    let fixed = ((since_start_us << 18) / 1_000_000) as u32;
    let [_, a, b, c] = fixed.to_be_bytes();
    [a, b, c]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::rtp::{ExtensionMap, RtpHeader};
    use crate::types::Extensions;

    const HEAD: Head = Head {
        marker: true,
        payload_type: 96,
        sequence: 0x1234,
        timestamp: 0xdead_beef,
        ssrc: 42,
    };

    fn read_back(elements: &[Element<'_>]) -> (Vec<u8>, RtpHeader) {
        let mut buf = [0xff; 128];
        let len = write_head(&mut buf, &HEAD, elements).unwrap();
        let packet = buf[..len].to_vec();
        let header = RtpHeader::parse(&packet).unwrap();
        (packet, header)
    }

    #[test]
    fn what_is_written_is_read_back_in_both_forms() {
        let mut map = ExtensionMap::default();
        map.merge(&Extensions {
            mid: Some(1),
            dependency_descriptor: Some(2),
            ..Extensions::default()
        });
        for descriptor in [vec![7; 3], vec![7; 40]] {
            let (packet, header) = read_back(&[(1, b"mid"), (2, &descriptor)]);
            assert_eq!(header.sequence, HEAD.sequence);
            assert_eq!(header.timestamp, HEAD.timestamp);
            assert!(header.marker && header.payload.is_empty());
            let found = map.read(&header, &packet);
            assert_eq!(found.mid.of(&packet), b"mid");
            assert_eq!(found.dependency_descriptor.of(&packet), descriptor);
        }
        assert_eq!(read_back(&[]).0.len(), FIXED_HEADER_BYTES);
    }

    #[test]
    fn a_buffer_without_room_is_refused() {
        for len in 0..20 {
            assert_eq!(write_head(&mut vec![0; len], &HEAD, &[(1, b"mid")]), None);
        }
    }
}
