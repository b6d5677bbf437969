//! Which of a peer's DTLS records reach the library. It collects handshake fragments by recursion
//! and without a bound, and keeps whatever comes before it has keys: what no real handshake holds
//! is dropped here. Used by `dtls` on every datagram.

use bytes::BytesMut;

use crate::limits::{
    DTLS_MAX_EARLY_BYTES, DTLS_MAX_EARLY_RECORDS, DTLS_MAX_FINISHED_BYTES,
    DTLS_MAX_HANDSHAKE_BYTES, DTLS_MAX_MESSAGE_FRAGMENTS, DTLS_MAX_MESSAGES,
};

const RECORD_HEADER_BYTES: usize = 13;
const HANDSHAKE_HEADER_BYTES: usize = 12;
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// One past the highest record number in a datagram of ours that is under a key; 0 without one.
pub(super) fn end_of_numbers(datagram: &[u8]) -> u64 {
    let (mut end, mut rest) = (0, datagram);
    while let Some(header) = rest.first_chunk::<RECORD_HEADER_BYTES>() {
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let number = [5, 7, 9]
            .map(word)
            .iter()
            .fold(0, |n, part| n << 16 | u64::from(*part));
        if word(3) > 0 {
            end = end.max(number + 1);
        }
        let record = RECORD_HEADER_BYTES + usize::from(word(11));
        rest = rest.get(record..).unwrap_or_default();
    }
    end
}

/// What one association has been given so far.
#[derive(Debug, Default)]
pub(super) struct RecordFilter {
    /// Fragments per message number.
    fragments: [u16; DTLS_MAX_MESSAGES],
    /// Records the library may have to keep until it has keys, and their bytes.
    early: usize,
    early_bytes: usize,
    /// Encrypted handshake records: repeats of the peer's last flight.
    finished: usize,
}

impl RecordFilter {
    /// The records of `datagram` that may pass; `done`: the handshake is over.
    pub(super) fn pass(&mut self, datagram: &[u8], done: bool) -> BytesMut {
        let mut kept = BytesMut::with_capacity(datagram.len());
        let mut rest = datagram;
        while let Some(header) = rest.get(..RECORD_HEADER_BYTES) {
            let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
            let end = RECORD_HEADER_BYTES + length;
            let Some(record) = rest.get(..end) else {
                break;
            };
            let passes = if done {
                self.passes_after(record)
            } else {
                self.passes_before(record)
            };
            if passes {
                kept.extend_from_slice(record);
            }
            rest = &rest[end..];
        }
        kept
    }

    fn passes_before(&mut self, record: &[u8]) -> bool {
        match (record[0], epoch(record)) {
            (HANDSHAKE, 0) => self.passes_fragments(&record[RECORD_HEADER_BYTES..]),
            (ALERT, 0) => true,
            (HANDSHAKE, 1) => self.passes_finished(record) && self.passes_early(record),
            (CHANGE_CIPHER_SPEC, 0) | (APPLICATION_DATA | ALERT, 1) => self.passes_early(record),
            _ => false,
        }
    }

    /// Records in clear cannot be told from forged ones any more. A close_notify must not end an
    /// association that may be about to move, and a dead peer shows in ICE. Of a repeated last
    /// flight the encrypted record alone makes the library repeat its own (RFC 6347 §4.2.4).
    fn passes_after(&mut self, record: &[u8]) -> bool {
        match (record[0], epoch(record)) {
            (APPLICATION_DATA, 1) => true,
            (HANDSHAKE, 1) => self.passes_finished(record),
            _ => false,
        }
    }

    fn passes_finished(&mut self, record: &[u8]) -> bool {
        self.finished += 1;
        record.len() <= RECORD_HEADER_BYTES + DTLS_MAX_FINISHED_BYTES
            && self.finished <= DTLS_MAX_EARLY_RECORDS
    }

    fn passes_early(&mut self, record: &[u8]) -> bool {
        if self.early >= DTLS_MAX_EARLY_RECORDS
            || self.early_bytes + record.len() > DTLS_MAX_EARLY_BYTES
        {
            return false;
        }
        self.early += 1;
        self.early_bytes += record.len();
        true
    }

    /// Checks every handshake fragment of a record in clear, then counts them.
    fn passes_fragments(&mut self, body: &[u8]) -> bool {
        let mut fragments = self.fragments;
        let mut rest = body;
        while !rest.is_empty() {
            let Some(header) = rest.get(..HANDSHAKE_HEADER_BYTES) else {
                return false;
            };
            let number = |at: usize| {
                usize::from(header[at]) << 16
                    | usize::from(header[at + 1]) << 8
                    | usize::from(header[at + 2])
            };
            let (total, offset, length) = (number(1), number(6), number(9));
            let end = HANDSHAKE_HEADER_BYTES + length;
            let message = usize::from(u16::from_be_bytes([header[4], header[5]]));
            let Some(count) = fragments.get_mut(message) else {
                return false;
            };
            *count += 1;
            let sound = total <= DTLS_MAX_HANDSHAKE_BYTES
                && offset + length <= total
                && (length > 0 || total == 0)
                && *count <= DTLS_MAX_MESSAGE_FRAGMENTS;
            let Some(next) = rest.get(end..).filter(|_| sound) else {
                return false;
            };
            rest = next;
        }
        self.fragments = fragments;
        !body.is_empty()
    }
}

fn epoch(record: &[u8]) -> u16 {
    u16::from_be_bytes([record[3], record[4]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
        let mut record = vec![kind, 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 0, 0];
        record.extend_from_slice(&(body.len() as u16).to_be_bytes());
        record.extend_from_slice(body);
        record
    }

    fn fragment(message: u8, total: u32, offset: u32, bytes: &[u8]) -> Vec<u8> {
        let mut body = vec![1];
        body.extend_from_slice(&total.to_be_bytes()[1..]);
        body.extend_from_slice(&[0, message]);
        body.extend_from_slice(&offset.to_be_bytes()[1..]);
        body.extend_from_slice(&(bytes.len() as u32).to_be_bytes()[1..]);
        body.extend_from_slice(bytes);
        record(HANDSHAKE, 0, &body)
    }

    #[test]
    fn handshake_fragments_pass_until_there_are_too_many_of_a_message() {
        let mut filter = RecordFilter::default();
        for offset in 0..u32::from(DTLS_MAX_MESSAGE_FRAGMENTS) {
            let record = fragment(3, 9_000, offset, &[1]);
            assert_eq!(filter.pass(&record, false), record);
        }
        assert!(filter.pass(&fragment(3, 9_000, 0, &[1]), false).is_empty());
        let other = fragment(4, 1, 0, &[1]);
        assert_eq!(filter.pass(&other, false), other);
    }

    #[test]
    fn impossible_fragments_are_dropped() {
        let mut filter = RecordFilter::default();
        let too_long = fragment(0, DTLS_MAX_HANDSHAKE_BYTES as u32 + 1, 0, &[1]);
        let beyond = fragment(0, 4, 4, &[1]);
        let empty = fragment(0, 4, 0, &[]);
        let late_message = fragment(DTLS_MAX_MESSAGES as u8, 1, 0, &[1]);
        let cut = record(HANDSHAKE, 0, &[1, 0, 0]);
        for bad in [too_long, beyond, empty, late_message, cut] {
            assert!(filter.pass(&bad, false).is_empty());
        }
    }

    #[test]
    fn what_waits_for_keys_is_bounded() {
        let mut filter = RecordFilter::default();
        let data = record(APPLICATION_DATA, 1, &[0; 1_200]);
        let passed = (0..1_000).filter(|_| !filter.pass(&data, false).is_empty());
        assert!(passed.count() * data.len() <= DTLS_MAX_EARLY_BYTES);
        let mut filter = RecordFilter::default();
        let change = record(CHANGE_CIPHER_SPEC, 0, &[1]);
        let passed = (0..1_000).filter(|_| !filter.pass(&change, false).is_empty());
        assert_eq!(passed.count(), DTLS_MAX_EARLY_RECORDS);
    }

    #[test]
    fn records_in_clear_end_with_the_handshake() {
        let mut filter = RecordFilter::default();
        let clear = fragment(9, 5, 0, &[1]);
        let change = record(CHANGE_CIPHER_SPEC, 0, &[1]);
        let alert = record(ALERT, 1, &[0; 26]);
        let huge = record(HANDSHAKE, 1, &[0; 1_000]);
        for bad in [clear, change, alert, huge] {
            assert!(filter.pass(&bad, true).is_empty());
        }
        for good in [
            record(APPLICATION_DATA, 1, &[0; 99]),
            record(HANDSHAKE, 1, &[0; 48]),
        ] {
            assert_eq!(filter.pass(&good, true), good);
        }
    }
}
