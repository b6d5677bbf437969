//! The write-ahead log: entries, vote and marks of one voter, in segments on a [`Disk`]. Payloads
//! are opaque. `push_*` collect a batch in memory, [`Wal::flush`] makes it durable with one sync.
//! After any error the log refuses everything until it is opened again: what a failed sync left on
//! the medium is unknown. Driven by `raft/log_lane.rs`; knows no clock, no thread, no raft.

mod record;
mod recover;
mod replay;
mod segment;

use std::collections::VecDeque;

pub use recover::Opened;
pub use replay::Mark;

use self::record::{Header, Kind};
use self::replay::{Position, Replay};
use self::segment::{BLOCK_BYTES, SegmentHeader};
use crate::disk::{Disk, DiskError};
use crate::limits::{
    WAL_BATCH_BYTES_MAX, WAL_RECORD_BYTES_MAX, WAL_SEGMENT_BYTES, WAL_SEGMENTS_MAX,
    WAL_SMALL_BYTES_MAX,
};

/// Room for the records every segment begins with.
const PREAMBLE_BYTES: usize =
    (4 * (record::HEADER_BYTES + WAL_SMALL_BYTES_MAX)).next_multiple_of(BLOCK_BYTES);

/// Room kept for one purge at the end of every segment.
const PURGE_BYTES: usize =
    (record::HEADER_BYTES + WAL_SMALL_BYTES_MAX).next_multiple_of(BLOCK_BYTES);

/// Sizes; the defaults are those of production.
#[derive(Clone, Copy, Debug)]
pub struct WalOptions {
    pub segment_bytes: u64,
    pub record_bytes_max: usize,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self {
            segment_bytes: WAL_SEGMENT_BYTES,
            record_bytes_max: WAL_RECORD_BYTES_MAX,
        }
    }
}

/// What was found where it must not be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} is corrupt at byte {offset}: {what}")]
pub struct Corruption {
    pub file: String,
    pub offset: u64,
    pub what: &'static str,
}

#[derive(Debug, thiserror::Error)]
pub enum WalError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Something that had been flushed is damaged: this disk must not vote any more.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
    #[error("a record of {bytes} bytes; at most {max} fit")]
    TooLarge { bytes: usize, max: usize },
    /// Written by a newer program: nothing is damaged, run that one.
    #[error("{file} holds {what} {found}, which this program does not know")]
    TooNew {
        file: String,
        what: &'static str,
        found: u32,
    },
    #[error("the caller broke a rule of the log: {0}")]
    Misuse(&'static str),
    #[error("the log stopped at an earlier error and must be opened again")]
    Stopped,
    #[error("{0} segments: nothing was purged for too long")]
    TooManySegments(usize),
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    number: u64,
    /// One behind the highest index of an entry in it.
    next_index: u64,
}

#[derive(Debug)]
pub struct Wal<D> {
    disk: D,
    options: WalOptions,
    header: SegmentHeader,
    segments: VecDeque<Segment>,
    replay: Replay,
    /// Where the next batch goes in the last segment.
    tail: usize,
    /// The last flushed batch.
    batch: u64,
    sealed_batch: u64,
    seals: u64,
    pending: Vec<u8>,
    pending_last: usize,
    /// The next segment's file is being prepared, or is.
    spare: bool,
    stopped: bool,
}

impl<D: Disk> Wal<D> {
    /// The vote written last.
    pub fn vote(&self) -> Option<&[u8]> {
        self.replay.vote.as_deref()
    }

    /// The last purged index and its log id.
    pub fn purged(&self) -> Option<&Mark> {
        self.replay.purged.as_ref()
    }

    /// An index that was known to be committed. Written lazily: it may be older than the truth.
    pub fn committed(&self) -> Option<&Mark> {
        self.replay.committed.as_ref()
    }

    /// Index of the first entry that is there, or of the next one.
    pub fn first(&self) -> u64 {
        self.replay.first
    }

    /// Index of the next entry.
    pub fn next(&self) -> u64 {
        self.replay.next()
    }

    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    pub fn disk(&mut self) -> &mut D {
        &mut self.disk
    }

    pub fn into_disk(self) -> D {
        self.disk
    }

    /// Bytes waiting for [`Self::flush`].
    pub fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    pub fn push_entry(&mut self, index: u64, payload: &[u8]) -> Result<(), WalError> {
        self.push(Kind::Entry, index, payload)
    }

    pub fn push_vote(&mut self, vote: &[u8]) -> Result<(), WalError> {
        self.push(Kind::Vote, 0, vote)
    }

    pub fn push_committed(&mut self, index: u64, log_id: &[u8]) -> Result<(), WalError> {
        self.push(Kind::Committed, index, log_id)
    }

    /// Entries from `next` on are gone.
    pub fn push_truncate(&mut self, next: u64) -> Result<(), WalError> {
        self.push(Kind::Truncate, next, &[])
    }

    /// Forgets entries up to `last` and deletes the segments nobody needs any more. A `last` behind
    /// the end leaves an empty log that goes on after it.
    pub fn purge(&mut self, last: u64, log_id: &[u8]) -> Result<(), WalError> {
        self.push(Kind::Purge, last, log_id)?;
        self.flush()?;
        self.remove_purged()
    }

    /// Deletes the segments that hold nothing but what the durable mark says is purged.
    fn remove_purged(&mut self) -> Result<(), WalError> {
        let Some((last, _)) = self.replay.purged else {
            return Ok(());
        };
        while let Some(oldest) = self.segments.front().copied() {
            if self.segments.len() < 2 || oldest.next_index > last + 1 {
                break;
            }
            self.guarded(|wal| {
                wal.disk.remove(&file_name(oldest.number))?;
                // One at a time: a crash must not leave a hole between two of them.
                Ok(wal.disk.sync_directory()?)
            })?;
            self.segments.pop_front();
        }
        Ok(())
    }

    /// Reserves the file of the next segment, so that nobody waits for it when this one is full,
    /// and the log can go on for a while on a full disk. To be called from time to time.
    pub fn prepare(&mut self) -> Result<(), WalError> {
        if self.spare || self.stopped {
            return Ok(());
        }
        let name = temporary_name(self.header.number + 1);
        self.disk.reserve(&name, self.options.segment_bytes)?;
        self.spare = true;
        Ok(())
    }

    /// Everything pushed so far is durable when this returns.
    pub fn flush(&mut self) -> Result<(), WalError> {
        if self.pending.is_empty() {
            return if self.stopped {
                Err(WalError::Stopped)
            } else {
                Ok(())
            };
        }
        self.guarded(Self::write_batch)
    }

    /// Notes what has been flushed apart from the records, so that later damage to the last batch
    /// cannot pass for a torn write. To be called when there is nothing else to do.
    pub fn seal(&mut self) -> Result<(), WalError> {
        self.flush()?;
        if self.sealed_batch == self.batch {
            return Ok(());
        }
        self.guarded(|wal| {
            let slot = segment::encode_slot(wal.header.salt(), wal.batch);
            let name = file_name(wal.header.number);
            wal.disk
                .write(&name, segment::seal_offset(wal.seals), &slot)?;
            wal.disk.sync(&name)?;
            wal.seals += 1;
            wal.sealed_batch = wal.batch;
            Ok(())
        })
    }

    /// The payload of one entry, verified again.
    pub fn read(&mut self, index: u64) -> Result<Vec<u8>, WalError> {
        let Some(position) = self.replay.position(index) else {
            return Err(WalError::Misuse("a read of an entry that is not there"));
        };
        let salt = SegmentHeader {
            number: position.segment,
            ..self.header
        }
        .salt();
        let size = record::size(position.payload_bytes);
        let flushed = position.segment != self.header.number || position.offset < self.tail as u64;
        let bytes = if flushed {
            let name = file_name(position.segment);
            self.disk.read(&name, position.offset, size)?
        } else {
            let start = usize::try_from(position.offset).unwrap_or(usize::MAX) - self.tail;
            self.pending
                .get(start..start + size)
                .unwrap_or_default()
                .to_vec()
        };
        match record::parse(&bytes, 0, salt) {
            Some((header, payload)) if header.kind == Kind::Entry && header.argument == index => {
                Ok(payload.to_vec())
            }
            _ => Err(Corruption {
                file: file_name(position.segment),
                offset: position.offset,
                what: "an entry no longer verifies",
            }
            .into()),
        }
    }

    fn push(&mut self, kind: Kind, argument: u64, payload: &[u8]) -> Result<(), WalError> {
        if self.stopped {
            return Err(WalError::Stopped);
        }
        let max = match kind {
            Kind::Entry => self.options.record_bytes_max,
            _ => WAL_SMALL_BYTES_MAX,
        };
        if payload.len() > max {
            let bytes = payload.len();
            return Err(WalError::TooLarge { bytes, max });
        }
        let size = record::size(payload.len());
        if !self.fits(kind, size) || self.pending.len() + size > WAL_BATCH_BYTES_MAX {
            self.flush()?;
        }
        if !self.fits(kind, size) {
            self.guarded(Self::rotate)?;
        }
        let header = Header {
            kind,
            argument,
            batch: self.batch + 1,
            closes_batch: false,
            payload_bytes: payload.len(),
        };
        let position = Position {
            segment: self.header.number,
            offset: (self.tail + self.pending.len()) as u64,
            payload_bytes: payload.len(),
        };
        self.replay
            .apply(header, payload, position)
            .map_err(WalError::Misuse)?;
        if let (Kind::Entry, Some(segment)) = (kind, self.segments.back_mut()) {
            segment.next_index = segment.next_index.max(argument + 1);
        }
        self.pending_last = self.pending.len();
        record::push(&mut self.pending, self.header.salt(), header, payload);
        Ok(())
    }

    /// Whether the segment has room for a record of this size behind what is pending. A purge
    /// always does: it is what makes room on a disk that has none for another segment.
    fn fits(&self, kind: Kind, size: usize) -> bool {
        let end = (self.tail + self.pending.len() + size).next_multiple_of(BLOCK_BYTES);
        let kept = match kind {
            Kind::Purge => 0,
            _ => PURGE_BYTES,
        };
        (end + kept) as u64 <= self.options.segment_bytes
    }

    fn write_batch(&mut self) -> Result<(), WalError> {
        let salt = self.header.salt();
        record::close_batch(&mut self.pending, self.pending_last, salt);
        // Whole blocks: the next batch must not be written into one that holds this one.
        let padded = self.pending.len().next_multiple_of(BLOCK_BYTES);
        self.pending.resize(padded, 0);
        let name = file_name(self.header.number);
        self.disk.write(&name, self.tail as u64, &self.pending)?;
        self.disk.sync(&name)?;
        self.tail += self.pending.len();
        self.batch += 1;
        self.pending.clear();
        Ok(())
    }

    /// Begins the next segment: complete under a temporary name first, so that a segment that has
    /// its name is whole.
    fn rotate(&mut self) -> Result<(), WalError> {
        if self.segments.len() >= WAL_SEGMENTS_MAX {
            return Err(WalError::TooManySegments(self.segments.len()));
        }
        let predecessor = self.header;
        let header = SegmentHeader {
            number: predecessor.number + 1,
            previous_batch: self.batch,
            ..predecessor
        };
        let temporary = temporary_name(header.number);
        // Whatever became of it, it is made anew if it is not whole.
        let ready = std::mem::take(&mut self.spare) && self.disk.reserved(&temporary).is_ok();
        if !ready {
            self.disk.create(&temporary, self.options.segment_bytes)?;
        }
        self.tail = begin_segment(&mut self.disk, header, &self.replay)?;
        if predecessor.number > 0 {
            mark_successor(&mut self.disk, predecessor)?;
        }
        self.header = header;
        self.batch += 1;
        self.sealed_batch = self.batch;
        self.seals = 0;
        self.segments.push_back(Segment {
            number: header.number,
            next_index: 0,
        });
        Ok(())
    }

    fn guarded(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), WalError>,
    ) -> Result<(), WalError> {
        if self.stopped {
            return Err(WalError::Stopped);
        }
        let result = work(self);
        self.stopped = result.is_err();
        result
    }
}

/// Tells a segment that another follows it, so that the loss of that one is noticed.
fn mark_successor<D: Disk>(disk: &mut D, header: SegmentHeader) -> Result<(), WalError> {
    let mark = segment::encode_slot(header.salt(), header.number + 1);
    let name = file_name(header.number);
    disk.write(&name, segment::SUCCESSOR_OFFSET as u64, &mark)?;
    Ok(disk.sync(&name)?)
}

/// Writes the first batch (what a recovery must know if all older segments are gone) into a file of
/// zeros, makes that a segment and returns where the next batch goes.
fn begin_segment<D: Disk>(
    disk: &mut D,
    header: SegmentHeader,
    replay: &Replay,
) -> Result<usize, WalError> {
    let small = |argument, payload_bytes, kind| Header {
        kind,
        argument,
        batch: header.previous_batch + 1,
        closes_batch: false,
        payload_bytes,
    };
    let salt = header.salt();
    let mut out = header.encode();
    if let Some(vote) = &replay.vote {
        record::push(&mut out, salt, small(0, vote.len(), Kind::Vote), vote);
    }
    let marks = [
        (Kind::Purge, &replay.purged),
        (Kind::Committed, &replay.committed),
    ];
    let base = small(replay.next(), 0, Kind::Base);
    for (kind, mark) in marks {
        if let Some((index, log_id)) = mark {
            let header = small(*index, log_id.len(), kind);
            record::push(&mut out, salt, header, log_id);
        }
    }
    let last = out.len();
    record::push(&mut out, salt, base, &[]);
    record::close_batch(&mut out, last, salt);
    out.resize(out.len().next_multiple_of(BLOCK_BYTES), 0);
    let temporary = temporary_name(header.number);
    disk.write(&temporary, 0, &out)?;
    disk.sync(&temporary)?;
    disk.rename(&temporary, &file_name(header.number))?;
    disk.sync_directory()?;
    Ok(out.len())
}

fn file_name(number: u64) -> String {
    format!("log-{number:016x}")
}

fn temporary_name(number: u64) -> String {
    format!("log-{number:016x}.new")
}

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod tests;
