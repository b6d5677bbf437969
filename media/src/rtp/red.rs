//! RFC 2198 redundancy around Opus: finding the primary block for subscribers without RED.

use crate::rtp::Span;

/// The primary block of a RED payload: its payload type and where it lies within `payload`.
pub fn primary(payload: &[u8]) -> Option<(u8, Span)> {
    let mut at = 0;
    let mut redundant = 0;
    loop {
        let first = *payload.get(at)?;
        if first & 0x80 == 0 {
            let start = at + 1 + redundant;
            let len = payload.len().checked_sub(start)?;
            return Some((first & 0x7f, Span::new(start, len)?));
        }
        let header: &[u8; 4] = payload.get(at..)?.first_chunk()?;
        redundant += usize::from(u16::from_be_bytes([header[2] & 0x03, header[3]]));
        at += 4;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_primary_block_follows_the_redundant_ones() {
        // One redundant block of three bytes, then the primary.
        let payload = [0x80 | 111, 0x0f, 0x00, 3, 111, 1, 2, 3, 9, 8];
        let (pt, span) = primary(&payload).unwrap();
        assert_eq!(pt, 111);
        assert_eq!(span.of(&payload), [9, 8]);
    }

    #[test]
    fn lengths_beyond_the_payload_are_refused() {
        assert_eq!(primary(&[0x80 | 111, 0, 0, 200, 111, 1]), None);
        assert_eq!(primary(&[0x80 | 111, 0]), None);
        assert_eq!(primary(&[]), None);
    }
}
