//! RFC 2198 redundancy around Opus: taken apart for subscribers without RED and for what got lost,
//! put together for subscribers whose publisher sends plain Opus. Bytes only; which packets belong
//! together is the caller's business.

use crate::limits::{RED_BLOCK_BYTES_MAX, RED_PAYLOAD_BYTES_MAX};
use crate::rtp::Span;

/// Set in the header of every block but the last.
const FOLLOWED: u8 = 0x80;
const HEADER_BYTES: usize = 4;
/// Timestamp offsets have 14 bits: 341 ms of Opus.
pub const TIMESTAMP_OFFSET_MAX: u32 = (1 << 14) - 1;

/// A payload taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Red<'a> {
    payload: &'a [u8],
    /// How many redundant blocks precede the primary one.
    pub redundant: usize,
    pub payload_type: u8,
    pub primary: Span,
}

/// A redundant block, and how much earlier than the packet it was sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    pub timestamp_offset: u32,
    pub payload: Span,
}

impl<'a> Red<'a> {
    /// `None`: lengths reach beyond the payload.
    pub fn parse(payload: &'a [u8]) -> Option<Red<'a>> {
        let (mut at, mut redundant, mut bytes) = (0, 0, 0);
        loop {
            let first = *payload.get(at)?;
            if first & FOLLOWED == 0 {
                let start = at + 1 + bytes;
                let len = payload.len().checked_sub(start)?;
                return Some(Red {
                    payload,
                    redundant,
                    payload_type: first,
                    primary: Span::new(start, len)?,
                });
            }
            bytes += length(payload.get(at..)?.first_chunk()?);
            at += HEADER_BYTES;
            redundant += 1;
        }
    }

    /// Redundant blocks in the order they lie in: oldest first.
    pub fn blocks(&self) -> impl Iterator<Item = Block> + use<'a> {
        let headers = self.payload.chunks_exact(HEADER_BYTES);
        let mut start = self.redundant * HEADER_BYTES + 1;
        headers.take(self.redundant).filter_map(move |header| {
            let header: &[u8; HEADER_BYTES] = header.first_chunk()?;
            let payload = Span::new(start, length(header))?;
            start += length(header);
            let offset = u32::from_be_bytes(*header) >> 10 & TIMESTAMP_OFFSET_MAX;
            Some(Block {
                timestamp_offset: offset,
                payload,
            })
        })
    }
}

/// Bytes of the block a header announces: its lowest ten bits.
fn length(header: &[u8; HEADER_BYTES]) -> usize {
    usize::from(u16::from_be_bytes([header[2] & 0x03, header[3]]))
}

/// Whether a payload can be a redundant block.
pub fn fits(payload: &[u8], timestamp_offset: u32) -> bool {
    (1..=RED_BLOCK_BYTES_MAX).contains(&payload.len())
        && (1..=TIMESTAMP_OFFSET_MAX).contains(&timestamp_offset)
}

/// Writes blocks, oldest first, and the primary one; returns the end. Of blocks that do not fit
/// into a packet the oldest are left out.
pub fn write(
    out: &mut [u8],
    at: usize,
    payload_type: u8,
    redundant: &[(u32, &[u8])],
    primary: &[u8],
) -> Option<usize> {
    let size = |blocks: &[(u32, &[u8])]| -> usize {
        let sizes = blocks.iter().map(|(_, bytes)| HEADER_BYTES + bytes.len());
        sizes.sum::<usize>() + 1 + primary.len()
    };
    let mut redundant = redundant;
    while size(redundant) > RED_PAYLOAD_BYTES_MAX
        && let Some((_, rest)) = redundant.split_first()
    {
        redundant = rest;
    }
    let mut at = at;
    let mut put = |bytes: &[u8]| -> Option<usize> {
        out.get_mut(at..at + bytes.len())?.copy_from_slice(bytes);
        at += bytes.len();
        Some(at)
    };
    for (offset, bytes) in redundant {
        let word = u32::from(FOLLOWED | payload_type) << 24 | offset << 10 | bytes.len() as u32;
        put(&word.to_be_bytes())?;
    }
    put(&[payload_type & !FOLLOWED])?;
    for (_, bytes) in redundant {
        put(bytes)?;
    }
    put(primary)
}

/// Gives every block of a payload the number the receiver knows its codec by.
pub fn renumber(payload: &mut [u8], payload_type: u8) {
    let mut at = 0;
    while let Some(first) = payload.get_mut(at) {
        let followed = *first & FOLLOWED;
        *first = followed | payload_type & !FOLLOWED;
        if followed == 0 {
            return;
        }
        at += HEADER_BYTES;
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
        let red = Red::parse(&payload).unwrap();
        assert_eq!((red.payload_type, red.redundant), (111, 1));
        assert_eq!(red.primary.of(&payload), [9, 8]);
        let blocks: Vec<_> = red.blocks().collect();
        assert_eq!(blocks.len(), 1);
        assert_eq!(blocks[0].timestamp_offset, 960);
        assert_eq!(blocks[0].payload.of(&payload), [1, 2, 3]);
    }

    #[test]
    fn lengths_beyond_the_payload_are_refused() {
        assert_eq!(Red::parse(&[0x80 | 111, 0, 0, 200, 111, 1]), None);
        assert_eq!(Red::parse(&[0x80 | 111, 0]), None);
        assert_eq!(Red::parse(&[]), None);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut out = [0u8; 64];
        let blocks: [(u32, &[u8]); 2] = [(1920, &[1, 1]), (960, &[2, 2, 2])];
        let end = write(&mut out, 12, 111, &blocks, &[3; 4]).unwrap();
        let payload = &mut out[12..end];
        renumber(payload, 96);
        let red = Red::parse(payload).unwrap();
        assert_eq!(
            (red.payload_type, red.primary.of(payload)),
            (96, &[3; 4][..])
        );
        let read: Vec<_> = red
            .blocks()
            .map(|block| (block.timestamp_offset, block.payload.of(payload)))
            .collect();
        assert_eq!(read, blocks);
    }

    #[test]
    fn the_oldest_blocks_give_way_to_a_large_frame() {
        let (mut out, old, large) = ([0u8; 4096], [1u8; 600], vec![9u8; 500]);
        let blocks: [(u32, &[u8]); 2] = [(1920, &old), (960, &old[..300])];
        let end = write(&mut out, 0, 111, &blocks, &large).unwrap();
        assert!(end <= RED_PAYLOAD_BYTES_MAX);
        let red = Red::parse(&out[..end]).unwrap();
        assert_eq!(red.redundant, 1);
        assert_eq!(red.primary.of(&out[..end]), large);
    }
}
