//! One file of the log: four blocks of 4 KiB, then batches of records, each from a new block on.
//! The first block says which log it belongs to and where its predecessor ended; the others hold
//! two seals (what had been flushed the last times the log was idle) and a mark that a successor
//! exists. A write never touches a block with something flushed in it. Encoding and scanning only.

use super::record::{self, Header, Parsed};

/// What may be lost as a whole when power fails while a part of it is written: a page of the page
/// cache, which is also the physical sector of most disks.
pub(super) const BLOCK_BYTES: usize = 4_096;
/// Records begin here.
pub(super) const PREFIX_BYTES: usize = 4 * BLOCK_BYTES;
/// The first blocks: header, seal, seal, successor.
const SEAL_OFFSETS: [usize; 2] = [BLOCK_BYTES, 2 * BLOCK_BYTES];
pub(super) const SUCCESSOR_OFFSET: usize = 3 * BLOCK_BYTES;
const MAGIC: &[u8; 8] = b"SKEINWAL";
const VERSION: u32 = 1;
const HEADER_END: usize = 40;
const SLOT_BYTES: usize = 16;

/// Of one segment, fixed when it is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Of the whole log, drawn when it was created.
    pub(super) wal_id: u64,
    /// From 1, without gaps.
    pub(super) number: u64,
    /// The last batch of the segment before.
    pub(super) previous_batch: u64,
}

impl SegmentHeader {
    /// What the checksums of this segment's records are salted with.
    pub(super) fn salt(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.wal_id.to_le_bytes());
        hasher.update(&self.number.to_le_bytes());
        hasher.finalize()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; PREFIX_BYTES];
        let mut body = Vec::with_capacity(HEADER_END);
        body.extend_from_slice(MAGIC);
        body.extend_from_slice(&VERSION.to_le_bytes());
        body.extend_from_slice(&self.wal_id.to_le_bytes());
        body.extend_from_slice(&self.number.to_le_bytes());
        body.extend_from_slice(&self.previous_batch.to_le_bytes());
        let crc = record::checksum(0, &body);
        body.extend_from_slice(&crc.to_le_bytes());
        out[..body.len()].copy_from_slice(&body);
        out
    }

    /// `None` if it does not verify.
    pub(super) fn decode(bytes: &[u8]) -> Option<Decoded> {
        let body = bytes.get(..HEADER_END - 4)?;
        let right = record::u32_at(bytes, HEADER_END - 4)? == record::checksum(0, body);
        (right && bytes.get(..8)? == MAGIC).then_some(())?;
        let found = record::u32_at(bytes, 8)?;
        if found != VERSION {
            return Some(Decoded::OtherVersion(found));
        }
        Some(Decoded::Header(Self {
            wal_id: record::u64_at(bytes, 12)?,
            number: record::u64_at(bytes, 20)?,
            previous_batch: record::u64_at(bytes, 28)?,
        }))
    }
}

/// A header that verifies. Its checksum stays at the same place in all versions.
pub(super) enum Decoded {
    Header(SegmentHeader),
    OtherVersion(u32),
}

/// Where the seal of this turn goes: two places in turn, so that a torn one leaves the other.
pub(super) fn seal_offset(turn: u64) -> u64 {
    SEAL_OFFSETS[usize::from(turn % 2 == 1)] as u64
}

/// A number that verifies: the flushed batch, or the successor's number.
pub(super) fn encode_slot(salt: u32, value: u64) -> Vec<u8> {
    let mut out = value.to_le_bytes().to_vec();
    let crc = record::checksum(salt, &out);
    out.extend_from_slice(&crc.to_le_bytes());
    out.resize(SLOT_BYTES, 0);
    out
}

enum Slot {
    Empty,
    Holds(u64),
    Damaged,
}

fn read_slot(block: &[u8], offset: usize, salt: u32) -> Slot {
    let Some(slot) = block.get(offset..offset + SLOT_BYTES) else {
        return Slot::Damaged;
    };
    if slot.iter().all(|b| *b == 0) {
        return Slot::Empty;
    }
    let value = record::u64_at(slot, 0);
    let crc = record::u32_at(slot, 8);
    match value.zip(crc) {
        Some((value, crc)) if crc == record::checksum(salt, &slot[..8]) => Slot::Holds(value),
        _ => Slot::Damaged,
    }
}

/// What the seals of a header block say.
pub(super) struct Seals {
    /// The newest flushed batch they know.
    pub(super) batch: u64,
    /// Which turn the next one takes: a damaged place first, so that torn seals never add up.
    pub(super) next_turn: u64,
}

/// `None`: both seals are damaged, which no torn write explains.
pub(super) fn read_seals(block: &[u8], salt: u32) -> Option<Seals> {
    let seals = |batch, next_turn| Some(Seals { batch, next_turn });
    match SEAL_OFFSETS.map(|offset| read_slot(block, offset, salt)) {
        [Slot::Damaged, Slot::Damaged] => None,
        [Slot::Holds(a), Slot::Holds(b)] => seals(a.max(b), u64::from(a > b)),
        [Slot::Holds(a), _] => seals(a, 1),
        [_, Slot::Holds(b)] => seals(b, 0),
        [Slot::Empty, Slot::Damaged] => seals(0, 1),
        [_, Slot::Empty] => seals(0, 0),
    }
}

/// Whether a following segment was ever begun. A damaged mark says yes: it is written only then.
pub(super) fn has_successor(block: &[u8], salt: u32) -> bool {
    !matches!(read_slot(block, SUCCESSOR_OFFSET, salt), Slot::Empty)
}

/// What a scan found.
pub(super) struct Scan<'a> {
    /// Records of complete batches, with where each begins.
    pub(super) records: Vec<(Header, &'a [u8], usize)>,
    /// The last complete batch.
    pub(super) batch: u64,
    /// Behind the last complete batch.
    pub(super) tail: usize,
    /// Nothing but zeros behind the tail.
    pub(super) clean: bool,
    /// Where a batch stands that was begun only after everything up to the damage was flushed.
    pub(super) later_batch: Option<usize>,
    /// A record that is whole, but of a kind this program does not know.
    pub(super) too_new: Option<u8>,
    /// Where each complete batch begins, from the first of the segment on.
    pub(super) starts: Vec<usize>,
}

/// Reads batches from `PREFIX_BYTES` on until one does not verify.
pub(super) fn scan<'a>(bytes: &'a [u8], header: &SegmentHeader) -> Scan<'a> {
    let salt = header.salt();
    let mut found = Scan {
        records: Vec::new(),
        batch: header.previous_batch,
        tail: PREFIX_BYTES,
        clean: true,
        later_batch: None,
        too_new: None,
        starts: Vec::new(),
    };
    let (mut at, mut complete) = (found.tail, 0);
    while let Some(parsed) = record::parse_any(bytes, at, salt) {
        let (header, payload) = match parsed {
            Parsed::Known(header, payload) => (header, payload),
            Parsed::TooNew { kind, batch } => {
                // An older one behind the tail is left over from a batch that was torn.
                found.too_new = (batch == found.batch + 1).then_some(kind);
                break;
            }
        };
        if header.batch != found.batch + 1 {
            break;
        }
        found.records.push((header, payload, at));
        at += record::size(header.payload_bytes);
        if header.closes_batch {
            found.starts.push(found.tail);
            at = at.next_multiple_of(BLOCK_BYTES);
            found.batch = header.batch;
            found.tail = at;
            complete = found.records.len();
        }
    }
    found.records.truncate(complete);
    let rest = bytes.get(found.tail..).unwrap_or_default();
    found.clean = rest.iter().all(|b| *b == 0);
    if !found.clean {
        // Batch n is written only after batch n - 1 was flushed. The damaged one is batch + 1; it
        // may be a torn write, unless something newer than itself stands behind it.
        let later = |at: &usize| match record::parse_any(bytes, *at, salt) {
            Some(Parsed::Known(Header { batch, .. }, _) | Parsed::TooNew { batch, .. }) => {
                batch > found.batch + 1
            }
            None => false,
        };
        found.later_batch = (found.tail..bytes.len()).step_by(BLOCK_BYTES).find(later);
    }
    found
}
