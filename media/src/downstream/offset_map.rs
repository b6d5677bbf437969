//! Renumbers a counter whose values are partly dropped so that what remains is continuous. Late
//! values are mapped as they would have been in time: a gap keeps its numbers reserved.

use smallvec::SmallVec;

use crate::limits::OFFSET_RANGES_MAX;

/// `output = input - offset` from `start` on.
#[derive(Clone, Copy, Debug)]
struct Range {
    start: u64,
    offset: u64,
}

#[derive(Debug, Default)]
pub(crate) struct OffsetMap {
    /// Ascending by start; empty = not anchored.
    ranges: SmallVec<[Range; 1]>,
    highest: u64,
}

impl OffsetMap {
    /// From `input` on, outputs start at `output`. Values before `input` are unknown.
    pub(crate) fn anchor(&mut self, input: u64, output: u64) {
        self.ranges.clear();
        self.ranges.push(Range {
            start: input,
            offset: input.wrapping_sub(output),
        });
        self.highest = input.wrapping_sub(1);
    }

    pub(crate) fn is_anchored(&self) -> bool {
        !self.ranges.is_empty()
    }

    /// Inputs before this are unknown.
    pub(crate) fn first(&self) -> u64 {
        self.ranges.first().map_or(u64::MAX, |range| range.start)
    }

    /// What outputs are less than inputs now.
    pub(crate) fn offset(&self) -> u64 {
        self.ranges.last().map_or(0, |range| range.offset)
    }

    pub(crate) fn map(&mut self, input: u64) -> Option<u64> {
        let range = self
            .ranges
            .iter()
            .rev()
            .find(|range| range.start <= input)?;
        self.highest = self.highest.max(input);
        Some(input.wrapping_sub(range.offset))
    }

    /// `input` will not be sent: everything after it moves up. Too late for a number that was
    /// already passed over.
    pub(crate) fn skip(&mut self, input: u64) {
        let Some(last) = self.ranges.last_mut() else {
            return;
        };
        if input <= self.highest {
            return;
        }
        self.highest = input;
        let next = Range {
            start: input + 1,
            offset: last.offset.wrapping_add(1),
        };
        if last.start == input {
            *last = next;
            return;
        }
        if self.ranges.len() == OFFSET_RANGES_MAX {
            self.ranges.remove(0);
        }
        self.ranges.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_numbers_leave_no_gap_and_missing_ones_keep_theirs() {
        let mut map = OffsetMap::default();
        map.anchor(100, 7);
        assert_eq!(map.map(100), Some(7));
        map.skip(101);
        map.skip(102);
        assert_eq!(map.map(103), Some(8));
        assert_eq!(map.map(105), Some(10), "104 may still come");
        map.skip(106);
        assert_eq!(map.map(104), Some(9));
        assert_eq!(map.map(107), Some(11));
        assert_eq!(map.map(99), None, "from before the anchor");
    }

    #[test]
    fn thousands_of_drops_stay_bounded() {
        let mut map = OffsetMap::default();
        map.anchor(1_000_000, 0);
        for index in 0..100_000u64 {
            let input = 1_000_000 + index;
            if index % 2 == 0 {
                assert_eq!(map.map(input), Some(index / 2));
            } else {
                map.skip(input);
            }
        }
        assert!(map.ranges.len() <= OFFSET_RANGES_MAX);
    }
}
