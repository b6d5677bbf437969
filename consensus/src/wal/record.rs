//! The bytes of one log record: a fixed header, the payload, zeros up to the next multiple of
//! eight. The checksum covers all of it and is salted with the segment's identity, so that a
//! record that strayed into another file does not verify; in its own file its batch number tells
//! that it is not in its place. No I/O.
//!
//! ```text
//! 0 crc u32 · 4 payload length u32 · 8 batch u64 · 16 argument u64 · 24 kind u8 · 25 last u8
//! 26 zeros · 32 payload
//! ```

use crate::limits::WAL_RECORD_BYTES_MAX;

pub(super) const HEADER_BYTES: usize = 32;
const ALIGN_BYTES: usize = 8;

/// What a record does to the log when it is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Argument: its index. Payload: the entry.
    Entry,
    /// Payload: the vote.
    Vote,
    /// Argument: the first index that goes.
    Truncate,
    /// Argument: the last index that goes. Payload: its log id.
    Purge,
    /// Argument: an index known to be committed. Payload: its log id.
    Committed,
    /// Last record of a segment's first batch. Argument: the index of the next entry.
    Base,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Entry,
            2 => Self::Vote,
            3 => Self::Truncate,
            4 => Self::Purge,
            5 => Self::Committed,
            6 => Self::Base,
            _ => return None,
        })
    }

    fn byte(self) -> u8 {
        match self {
            Self::Entry => 1,
            Self::Vote => 2,
            Self::Truncate => 3,
            Self::Purge => 4,
            Self::Committed => 5,
            Self::Base => 6,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) argument: u64,
    /// All records of a batch were made durable by the same flush.
    pub(super) batch: u64,
    /// A batch counts only when the record that closes it is there.
    pub(super) closes_batch: bool,
    pub(super) payload_bytes: usize,
}

/// Header + payload + padding.
pub(super) fn size(payload_bytes: usize) -> usize {
    (HEADER_BYTES + payload_bytes).next_multiple_of(ALIGN_BYTES)
}

/// Appends a record that does not close its batch.
pub(super) fn push(out: &mut Vec<u8>, salt: u32, header: Header, payload: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&header.batch.to_le_bytes());
    out.extend_from_slice(&header.argument.to_le_bytes());
    out.extend_from_slice(&[header.kind.byte(), u8::from(header.closes_batch)]);
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(payload);
    out.resize(start + size(payload.len()), 0);
    seal(out, start, salt);
}

/// Marks the record at `start` as the last of its batch.
pub(super) fn close_batch(out: &mut [u8], start: usize, salt: u32) {
    if let Some(flag) = out.get_mut(start + 25) {
        *flag = 1;
    }
    seal(out, start, salt);
}

fn seal(out: &mut [u8], start: usize, salt: u32) {
    let length = out
        .get(start + 4..start + 8)
        .and_then(|b| b.try_into().ok());
    let payload_bytes = length.map_or(0, u32::from_le_bytes) as usize;
    let end = start + size(payload_bytes);
    if let Some(covered) = out.get(start + 4..end) {
        let crc = checksum(salt, covered);
        out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    }
}

pub(super) fn checksum(salt: u32, covered: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(covered);
    // Never zero: a record of zeros must not verify.
    hasher.finalize().max(1)
}

/// A record every byte of which is right.
pub(super) enum Parsed<'a> {
    Known(Header, &'a [u8]),
    /// Of a kind only a newer program writes: nothing is damaged.
    TooNew {
        kind: u8,
        batch: u64,
    },
}

/// The record at `start`, if there is one and this program knows its kind.
pub(super) fn parse(bytes: &[u8], start: usize, salt: u32) -> Option<(Header, &[u8])> {
    match parse_any(bytes, start, salt)? {
        Parsed::Known(header, payload) => Some((header, payload)),
        Parsed::TooNew { .. } => None,
    }
}

/// The record at `start`, if there is one and every byte of it is right.
pub(super) fn parse_any(bytes: &[u8], start: usize, salt: u32) -> Option<Parsed<'_>> {
    let head = bytes.get(start..start.checked_add(HEADER_BYTES)?)?;
    let payload_bytes = u32_at(head, 4)? as usize;
    // Before the checksum: payloads are users' bytes, and what they claim must not cost CPU.
    if payload_bytes > WAL_RECORD_BYTES_MAX {
        return None;
    }
    let end = start.checked_add(size(payload_bytes))?;
    let covered = bytes.get(start + 4..end)?;
    if u32_at(head, 0)? != checksum(salt, covered) {
        return None;
    }
    let (kind, batch) = (*head.get(24)?, u64_at(head, 8)?);
    let Some(kind) = Kind::from_byte(kind) else {
        return Some(Parsed::TooNew { kind, batch });
    };
    let header = Header {
        kind,
        argument: u64_at(head, 16)?,
        batch,
        closes_batch: *head.get(25)? == 1,
        payload_bytes,
    };
    let payload = start + HEADER_BYTES;
    let payload = bytes.get(payload..payload + payload_bytes)?;
    Some(Parsed::Known(header, payload))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
