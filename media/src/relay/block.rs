//! Frames of one link laid end to end: what one turn of a shard has to say to another. A worker
//! passes whole blocks on and gives them back empty, so that no packet costs an allocation. What
//! carries them to another node takes them apart into datagrams where they lie, and puts together
//! what arrives.

use std::ops::Range;

use crate::limits::{RELAY_BLOCK_BYTES, RELAY_FRAME_BYTES_MAX};

/// Bytes before each frame: its length, or what the block was marked with.
pub const MARK_BYTES: usize = 2;
const LENGTH_BYTES: usize = MARK_BYTES;

/// See the file header.
#[derive(Debug, Default)]
pub struct Block {
    /// Empty until the first frame: most links never carry one.
    bytes: Vec<u8>,
    used: usize,
}

impl Block {
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// The frames in the order they were written.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes.get(..self.used).unwrap_or_default();
        std::iter::from_fn(move || {
            let (length, tail) = rest.split_first_chunk::<LENGTH_BYTES>()?;
            let (frame, tail) = tail.split_at_checked(u16::from_be_bytes(*length).into())?;
            rest = tail;
            Some(frame)
        })
    }

    /// Writes `mark` over the length before each frame, and says where the frames with their marks
    /// are in `bytes`. The block has no frames from then on, until it is cleared.
    pub fn mark(&mut self, mark: [u8; MARK_BYTES], spans: &mut Vec<Range<usize>>) {
        spans.clear();
        let mut at = 0;
        for length in self.frames().map(<[u8]>::len) {
            let end = at + MARK_BYTES + length;
            spans.push(at..end);
            at = end;
        }
        for span in spans.iter() {
            if let Some(head) = self.bytes.get_mut(span.start..span.start + MARK_BYTES) {
                head.copy_from_slice(&mark);
            }
        }
        self.used = 0;
    }

    /// All of its memory.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds a frame that arrived; false when it does not fit.
    pub fn push_frame(&mut self, frame: &[u8]) -> bool {
        self.has_room()
            && self.push(|out| {
                out.get_mut(..frame.len())?.copy_from_slice(frame);
                Some(frame.len())
            })
    }

    /// Whether a frame of any size fits.
    pub(crate) fn has_room(&self) -> bool {
        self.used + LENGTH_BYTES + RELAY_FRAME_BYTES_MAX <= RELAY_BLOCK_BYTES
    }

    /// Adds what `write` lays into the buffer it is given and says the length of; false when that
    /// did not fit, or nothing was written.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
        if self.bytes.is_empty() {
            self.bytes.resize(RELAY_BLOCK_BYTES, 0);
        }
        let start = self.used + LENGTH_BYTES;
        let Some(room) = self.bytes.get_mut(start..) else {
            return false;
        };
        let end = room.len().min(RELAY_FRAME_BYTES_MAX);
        let written = room.get_mut(..end).and_then(write);
        let Some((len, short)) = written.and_then(|len| Some((len, u16::try_from(len).ok()?)))
        else {
            return false;
        };
        if let Some(length) = self.bytes.get_mut(self.used..start) {
            length.copy_from_slice(&short.to_be_bytes());
        }
        self.used = start + len;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_until_the_block_is_full() {
        let mut block = Block::default();
        assert_eq!(block.frames().count(), 0);
        let mut count = 0u8;
        while block.push(|out| {
            let frame = out.get_mut(..1_200)?;
            frame.fill(count);
            Some(1_200)
        }) {
            count += 1;
        }
        assert_eq!(usize::from(count), RELAY_BLOCK_BYTES / 1_202);
        for (number, frame) in block.frames().enumerate() {
            assert_eq!(frame, [number as u8; 1_200]);
        }
        assert_eq!(block.frames().count(), usize::from(count));
        block.clear();
        assert!(block.is_empty() && block.has_room());
    }

    #[test]
    fn a_marked_block_is_its_datagrams() {
        let mut block = Block::default();
        assert!(block.push_frame(b"one") && block.push_frame(b"three"));
        let mut spans = Vec::new();
        block.mark([7, 9], &mut spans);
        let datagrams: Vec<_> = spans.into_iter().map(|span| &block.bytes()[span]).collect();
        assert_eq!(datagrams, [&b"\x07\x09one"[..], b"\x07\x09three"]);
        assert!(block.is_empty() && block.frames().next().is_none());
    }

    #[test]
    fn a_frame_that_cannot_be_written_leaves_no_trace() {
        let mut block = Block::default();
        assert!(!block.push(|_| None));
        assert!(block.is_empty());
    }
}
