//! The send arena: sealed packets of one subscriber's turn, laid end to end, and the runs they form
//! for segmentation offload. Reused for ever; nothing is allocated per packet.

use crate::bandwidth::pacer::turn_packets_max;
use crate::limits::{PACKET_BYTES_MAX, RUN_SEGMENT_BYTES_MAX, RUN_SEGMENTS_MAX};
use crate::transport::SRTP_TAIL_BYTES;
use crate::types::Path;

/// A packet may grow by the extension elements a subscriber wants.
const SLOT_BYTES: usize = PACKET_BYTES_MAX + 64 + SRTP_TAIL_BYTES;

/// Equal-sized datagrams for one destination; the last may be shorter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) path: Path,
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) segment_size: usize,
}

impl Run {
    fn takes(&self, path: &Path, len: usize, segments_max: usize) -> bool {
        self.path == *path
            && len <= self.segment_size
            && self.segment_size <= RUN_SEGMENT_BYTES_MAX
            && self.len.is_multiple_of(self.segment_size)
            && self.len / self.segment_size < segments_max
    }
}

#[derive(Debug)]
pub(super) struct Arena {
    bytes: Vec<u8>,
    used: usize,
    runs: Vec<Run>,
    next_run: usize,
    /// Longest run of this turn.
    segments_max: usize,
}

impl Arena {
    pub(super) fn new() -> Arena {
        Arena {
            bytes: vec![0; SLOT_BYTES * turn_packets_max()],
            used: 0,
            runs: Vec::with_capacity(turn_packets_max()),
            next_run: 0,
            segments_max: RUN_SEGMENTS_MAX,
        }
    }

    pub(super) fn clear(&mut self) {
        (self.used, self.next_run) = (0, 0);
        self.runs.clear();
        self.segments_max = RUN_SEGMENTS_MAX;
    }

    /// Bounds the runs of this turn: a burst must be short at the pace of its path.
    pub(super) fn limit_runs(&mut self, segments_max: usize) {
        self.segments_max = segments_max.min(RUN_SEGMENTS_MAX);
    }

    /// Whether the run under construction, or one that begins now, takes just one more packet.
    pub(super) fn run_ends(&self) -> bool {
        let packets = self
            .runs
            .last()
            .map_or(0, |run| run.len.div_ceil(run.segment_size.max(1)));
        packets % self.segments_max + 1 == self.segments_max
    }

    /// Room for the next packet and its seal; `None` when the arena is full.
    pub(super) fn slot(&mut self) -> Option<&mut [u8]> {
        self.bytes.get_mut(self.used..self.used + SLOT_BYTES)
    }

    /// The slot now holds a sealed packet of `len` bytes: it joins the last run or begins one.
    pub(super) fn commit(&mut self, path: Path, len: usize) {
        match self.runs.last_mut() {
            Some(run) if run.takes(&path, len, self.segments_max) => run.len += len,
            _ => self.runs.push(Run {
                path,
                start: self.used,
                len,
                segment_size: len,
            }),
        }
        self.used += len;
    }

    pub(super) fn is_drained(&self) -> bool {
        self.next_run >= self.runs.len()
    }

    pub(super) fn next(&mut self) -> Option<Run> {
        let run = self.runs.get(self.next_run).copied()?;
        self.next_run += 1;
        Some(run)
    }

    pub(super) fn bytes(&self, run: &Run) -> &[u8] {
        self.bytes
            .get(run.start..run.start + run.len)
            .unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::types::Protocol;

    fn path(port: u16) -> Path {
        let at = |port| format!("127.0.0.1:{port}").parse().unwrap();
        Path {
            protocol: Protocol::Udp,
            local: at(1),
            remote: at(port),
        }
    }

    fn runs_of(lengths: &[usize]) -> Vec<(usize, usize)> {
        let mut arena = Arena::new();
        for len in lengths {
            assert!(arena.slot().is_some());
            arena.commit(path(2), *len);
        }
        std::iter::from_fn(|| arena.next())
            .map(|run| (run.len, run.segment_size))
            .collect()
    }

    #[test]
    fn equal_packets_form_runs_of_eight_and_a_shorter_one_ends_a_run() {
        assert_eq!(runs_of(&[100; 9]), [(800, 100), (100, 100)]);
        assert_eq!(runs_of(&[100, 100, 60, 60]), [(260, 100), (60, 60)]);
        assert_eq!(runs_of(&[60, 100]), [(60, 60), (100, 100)]);
    }

    #[test]
    fn what_may_exceed_a_paths_mtu_is_sent_alone() {
        let large = RUN_SEGMENT_BYTES_MAX + 1;
        assert_eq!(
            runs_of(&[large, large, 60, 60]),
            [(large, large), (large, large), (120, 60)]
        );
    }

    #[test]
    fn destinations_do_not_share_a_run() {
        let mut arena = Arena::new();
        arena.commit(path(2), 100);
        arena.commit(path(3), 100);
        assert_eq!(std::iter::from_fn(|| arena.next()).count(), 2);
        assert!(arena.is_drained());
    }
}
