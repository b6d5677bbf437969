//! What the records of the log add up to: the vote, what was purged, where each entry stands. The
//! same rules serve a running log and a recovery. No I/O.

use std::collections::VecDeque;

use super::record::{Header, Kind};

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) payload_bytes: usize,
}

/// An index and the bytes of its log id.
pub type Mark = (u64, Vec<u8>);

#[derive(Clone, Debug, Default)]
pub(super) struct Replay {
    pub(super) vote: Option<Vec<u8>>,
    pub(super) purged: Option<Mark>,
    pub(super) committed: Option<Mark>,
    /// Index of `positions[0]`, or of the next entry.
    pub(super) first: u64,
    pub(super) positions: VecDeque<Position>,
    /// Whether a `Base` was seen: only then `first` means something.
    based: bool,
}

impl Replay {
    /// Index of the next entry.
    pub(super) fn next(&self) -> u64 {
        self.first + self.positions.len() as u64
    }

    pub(super) fn position(&self, index: u64) -> Option<Position> {
        let offset = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.positions.get(offset).copied()
    }

    /// One record in the order of the log. The error says which rule it breaks.
    pub(super) fn apply(
        &mut self,
        header: Header,
        payload: &[u8],
        position: Position,
    ) -> Result<(), &'static str> {
        let argument = header.argument;
        match header.kind {
            Kind::Base => self.base(argument)?,
            Kind::Entry if argument == self.next() => self.positions.push_back(position),
            Kind::Entry => return Err("an entry does not follow the one before it"),
            Kind::Vote => self.vote = Some(payload.to_vec()),
            Kind::Committed => self.committed = Some((argument, payload.to_vec())),
            Kind::Truncate => self.truncate(argument)?,
            Kind::Purge => self.purge((argument, payload.to_vec())),
        }
        Ok(())
    }

    /// The first segment that still exists sets where the log begins; later ones must agree.
    fn base(&mut self, next: u64) -> Result<(), &'static str> {
        if !self.based {
            self.based = true;
            self.first = next;
            return Ok(());
        }
        if next == self.next() {
            return Ok(());
        }
        Err("a segment does not begin where the one before it ended")
    }

    fn truncate(&mut self, next: u64) -> Result<(), &'static str> {
        if next > self.next() {
            return Err("a truncation beyond the end");
        }
        if self.purged.as_ref().is_some_and(|(last, _)| next <= *last) {
            return Err("a truncation of purged entries");
        }
        // Only while the segments that held these entries are already deleted.
        self.first = self.first.min(next);
        let kept = usize::try_from(next - self.first).unwrap_or(usize::MAX);
        self.positions.truncate(kept);
        Ok(())
    }

    fn purge(&mut self, mark: Mark) {
        let last = mark.0;
        // What is purged stays purged: a late purge of less says nothing new.
        if self
            .purged
            .as_ref()
            .is_some_and(|(purged, _)| last <= *purged)
        {
            return;
        }
        if last >= self.next() {
            self.positions.clear();
            self.first = last + 1;
        }
        while self.first <= last {
            self.positions.pop_front();
            self.first += 1;
        }
        self.purged = Some(mark);
    }

    /// After all segments: is anything missing between what was purged and what is there?
    pub(super) fn begins_after_purged(&self) -> bool {
        self.first == self.purged.as_ref().map_or(0, |(last, _)| last + 1)
    }
}
