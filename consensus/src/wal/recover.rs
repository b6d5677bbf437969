//! Opening a log: find its segments, verify every byte that was ever flushed, forget the torn
//! tail, refuse anything else that is damaged, and make durable what may only be visible. A torn
//! tail is an unfinished last batch of the last segment; it was never acknowledged.

use std::collections::VecDeque;

use super::record;
use super::replay::{Position, Replay};
use super::segment::{self, BLOCK_BYTES, Decoded, PREFIX_BYTES, Scan, SegmentHeader};
use super::{
    Corruption, PREAMBLE_BYTES, PURGE_BYTES, Segment, Wal, WalError, WalOptions, file_name,
    mark_successor,
};
use crate::disk::{Disk, DiskError};
use crate::limits::{DISK_READ_TRIES, WAL_RECORD_BYTES_MAX};

/// What [`Wal::open`] found.
#[derive(Debug)]
pub enum Opened<D> {
    Ready(Wal<D>),
    /// No log was ever created here; the disk comes back.
    Missing(D),
}

impl<D: Disk> Wal<D> {
    /// A new, empty log. `wal_id` is random: it tells this log's records from any other's.
    pub fn create(mut disk: D, options: WalOptions, wal_id: u64) -> Result<Self, WalError> {
        let record_bytes = record::size(options.record_bytes_max).next_multiple_of(BLOCK_BYTES);
        let needed = PREFIX_BYTES + PREAMBLE_BYTES + record_bytes + PURGE_BYTES;
        if options.record_bytes_max > WAL_RECORD_BYTES_MAX {
            return Err(WalError::Misuse("records larger than a recovery reads"));
        }
        if needed as u64 > options.segment_bytes {
            return Err(WalError::Misuse("a record does not fit a segment"));
        }
        if !segment_numbers(&mut disk)?.is_empty() {
            return Err(WalError::Misuse("there is a log already"));
        }
        let header = SegmentHeader {
            wal_id,
            number: 0,
            previous_batch: 0,
        };
        let mut wal = Self::assemble(disk, options, header, Replay::default());
        wal.guarded(Self::rotate)?;
        Ok(wal)
    }

    /// Opens what is there.
    pub fn open(mut disk: D, options: WalOptions) -> Result<Opened<D>, WalError> {
        let numbers = segment_numbers(&mut disk)?;
        // A name that is seen may not be durable: the process before may have died between the
        // renaming of a segment and the sync of the directory.
        disk.sync_directory()?;
        let (Some(oldest), Some(newest)) = (numbers.first(), numbers.last()) else {
            return Ok(Opened::Missing(disk));
        };
        let mut recovery = Recovery {
            replay: Replay::default(),
            segments: VecDeque::new(),
            wal_id: None,
        };
        // All headers first: each says where the segment before it ended.
        let headers = read_headers(&mut disk, *oldest, *newest)?;
        let mut end = None;
        for (at, header) in headers.iter().enumerate() {
            let next = headers.get(at + 1).map(|next| next.previous_batch);
            let found = recovery.segment(&mut disk, *header, next)?;
            // The newest predecessor's mark may be seen and not be durable.
            if next.is_some() && (!found.has_successor || at + 2 == headers.len()) {
                mark_successor(&mut disk, *header)?;
            }
            end = Some(found);
        }
        let (Some(end), Some(header)) = (end, headers.last()) else {
            return Ok(Opened::Missing(disk));
        };
        if !recovery.replay.begins_after_purged() {
            return Err(corrupt(*oldest, 0, "the log does not begin where it was purged").into());
        }
        write_again(&mut disk, *header, &end)?;
        let mut wal = Self::assemble(disk, options, *header, recovery.replay);
        wal.segments = recovery.segments;
        wal.tail = end.tail;
        wal.batch = end.batch;
        // A seal that is seen may not be durable: the next one is written in any case.
        wal.sealed_batch = header.previous_batch;
        wal.seals = end.next_seal;
        // First, as it may be what makes room.
        wal.remove_purged()?;
        if !end.clean {
            wal.guarded(Self::rotate)?;
        }
        Ok(Opened::Ready(wal))
    }

    fn assemble(disk: D, options: WalOptions, header: SegmentHeader, replay: Replay) -> Self {
        Self {
            disk,
            options,
            header,
            segments: VecDeque::new(),
            replay,
            tail: 0,
            batch: header.previous_batch,
            sealed_batch: 0,
            seals: 0,
            pending: Vec::new(),
            pending_last: 0,
            spare: false,
            stopped: false,
        }
    }
}

/// Where the last segment ends.
struct End {
    tail: usize,
    batch: u64,
    next_seal: u64,
    clean: bool,
    has_successor: bool,
    /// Where the batches begin that nothing says were flushed, and their bytes.
    doubtful: (usize, Vec<u8>),
}

struct Recovery {
    replay: Replay,
    segments: VecDeque<Segment>,
    wal_id: Option<u64>,
}

impl Recovery {
    /// Replays one segment; `ends_at` is the last batch its successor says it has.
    fn segment<D: Disk>(
        &mut self,
        disk: &mut D,
        header: SegmentHeader,
        ends_at: Option<u64>,
    ) -> Result<End, WalError> {
        let number = header.number;
        if *self.wal_id.get_or_insert(header.wal_id) != header.wal_id {
            return Err(corrupt(number, 0, "a segment of another log").into());
        }
        let name = file_name(number);
        let size = usize::try_from(disk.size(&name)?).unwrap_or(usize::MAX);
        let bytes = read(disk, number, size)?;
        let seals = segment::read_seals(&bytes, header.salt())
            .ok_or_else(|| corrupt(number, 0, "both seals are damaged"))?;
        let sealed_batch = required_batch(&bytes, &header, seals.batch, ends_at)?;
        let scan = segment::scan(&bytes, &header);
        if let Some(kind) = scan.too_new {
            return Err(too_new(number, "records of kind", u32::from(kind)));
        }
        check_scan(&scan, number, sealed_batch, ends_at)?;
        let mut next_index = 0;
        for (record, payload, offset) in &scan.records {
            let position = Position {
                segment: number,
                offset: *offset as u64,
                payload_bytes: payload.len(),
            };
            self.replay
                .apply(*record, payload, position)
                .map_err(|what| corrupt(number, *offset, what))?;
            next_index = next_index.max(match record.kind {
                record::Kind::Entry => record.argument + 1,
                _ => 0,
            });
        }
        self.segments.push_back(Segment { number, next_index });
        let sealed = usize::try_from(sealed_batch - header.previous_batch).unwrap_or(usize::MAX);
        let doubtful = scan.starts.get(sealed).copied().unwrap_or(scan.tail);
        Ok(End {
            tail: scan.tail,
            batch: scan.batch,
            next_seal: seals.next_turn,
            clean: scan.clean,
            has_successor: segment::has_successor(&bytes, header.salt()),
            doubtful: (
                doubtful,
                bytes.get(doubtful..scan.tail).unwrap_or_default().to_vec(),
            ),
        })
    }
}

/// The batch this segment must reach: its first batch was durable before it got its name, the seals
/// say what was flushed later, its successor where it ended.
fn required_batch(
    bytes: &[u8],
    header: &SegmentHeader,
    sealed: u64,
    ends_at: Option<u64>,
) -> Result<u64, Corruption> {
    let number = header.number;
    if ends_at.is_none() && segment::has_successor(bytes, header.salt()) {
        let what = "the segment after this one is gone";
        return Err(corrupt(number, segment::SUCCESSOR_OFFSET, what));
    }
    let first = header.previous_batch + 1;
    Ok(sealed.max(first).max(ends_at.unwrap_or(0)))
}

fn check_scan(
    scan: &Scan<'_>,
    number: u64,
    sealed_batch: u64,
    ends_at: Option<u64>,
) -> Result<(), Corruption> {
    if scan.batch < sealed_batch {
        let what = "a batch that had been flushed does not verify";
        return Err(corrupt(number, scan.tail, what));
    }
    if let Some(later) = scan.later_batch {
        let what = "a batch does not verify although a later one does";
        debug_assert!(later >= scan.tail, "scans go forward");
        return Err(corrupt(number, scan.tail, what));
    }
    if ends_at.is_some_and(|end| scan.batch > end) {
        let what = "a batch behind the end its successor knows";
        return Err(corrupt(number, scan.tail, what));
    }
    Ok(())
}

fn read_headers<D: Disk>(
    disk: &mut D,
    oldest: u64,
    newest: u64,
) -> Result<Vec<SegmentHeader>, WalError> {
    let mut headers: Vec<SegmentHeader> = Vec::new();
    for number in oldest..=newest {
        let bytes = match read(disk, number, BLOCK_BYTES) {
            Err(WalError::Disk(DiskError::Missing { .. })) => {
                return Err(corrupt(number, 0, "a segment is missing").into());
            }
            read => read?,
        };
        match SegmentHeader::decode(&bytes) {
            Some(Decoded::Header(header)) if header.number == number => headers.push(header),
            Some(Decoded::OtherVersion(found)) => {
                return Err(too_new(number, "a segment of version", found));
            }
            _ => return Err(corrupt(number, 0, "the header does not verify").into()),
        }
    }
    Ok(headers)
}

/// The batches nothing says were flushed are written once more, and synced: a sync that failed in
/// an earlier process left them in the page cache, where they look durable and are not (the next
/// sync has nothing to do, "fsyncgate"). The same bytes at the same place: a crash in between
/// changes nothing.
fn write_again<D: Disk>(disk: &mut D, header: SegmentHeader, end: &End) -> Result<(), WalError> {
    let name = file_name(header.number);
    let (start, bytes) = &end.doubtful;
    if !bytes.is_empty() {
        disk.write(&name, *start as u64, bytes)?;
    }
    Ok(disk.sync(&name)?)
}

/// A segment from its beginning. Only what cannot be read again and again is damage; a lack of
/// handles, memory or permission says nothing about the medium.
fn read<D: Disk>(disk: &mut D, number: u64, bytes: usize) -> Result<Vec<u8>, WalError> {
    let name = file_name(number);
    for _ in 1..DISK_READ_TRIES {
        match disk.read(&name, 0, bytes) {
            Err(error) if error.is_medium() => {}
            read => return Ok(read?),
        }
    }
    match disk.read(&name, 0, bytes) {
        Err(error) if error.is_medium() => {
            Err(corrupt(number, 0, "the medium cannot be read").into())
        }
        read => Ok(read?),
    }
}

fn too_new(number: u64, what: &'static str, found: u32) -> WalError {
    WalError::TooNew {
        file: file_name(number),
        what,
        found,
    }
}

/// In order; removes what a crash left half-made.
fn segment_numbers<D: Disk>(disk: &mut D) -> Result<Vec<u64>, WalError> {
    let mut numbers = Vec::new();
    for name in disk.list()? {
        let Some(rest) = name.strip_prefix("log-") else {
            continue;
        };
        if rest.ends_with(".new") {
            disk.remove(&name)?;
        } else if let Ok(number) = u64::from_str_radix(rest, 16) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn corrupt(number: u64, offset: usize, what: &'static str) -> Corruption {
    Corruption {
        file: file_name(number),
        offset: offset as u64,
        what,
    }
}
