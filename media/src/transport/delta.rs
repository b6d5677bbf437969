//! What changed in a followed transport since its image: leases, indexes, the nomination. A few
//! bytes, several a second at most; written by `follow`, read by a standby. Also the encoding of
//! numbers that the shard's part of images and deltas shares.

use super::SnapshotError;
use super::snapshot::{StreamSnapshot, TransportSnapshot};
use crate::limits::{SRTP_MAX_STREAMS_IN, SRTP_MAX_STREAMS_OUT};

/// Appends `number`, seven bits a byte, lowest first (LEB128).
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(crate) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Reads what the functions above wrote.
#[derive(Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn number(&mut self) -> Result<u64, SnapshotError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte, rest @ ..] = self.0 else {
                return Err(SnapshotError::Damaged);
            };
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(SnapshotError::Damaged)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, SnapshotError> {
        let bytes = self.bytes(4)?;
        let bytes = bytes.try_into().map_err(|_| SnapshotError::Damaged)?;
        Ok(u32::from_le_bytes(bytes))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, SnapshotError> {
        let bytes = self.bytes(2)?;
        let bytes = bytes.try_into().map_err(|_| SnapshotError::Damaged)?;
        Ok(u16::from_le_bytes(bytes))
    }

    pub(crate) fn byte(&mut self) -> Result<u8, SnapshotError> {
        let bytes = self.bytes(1)?;
        bytes.first().copied().ok_or(SnapshotError::Damaged)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], SnapshotError> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(SnapshotError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    /// How many of something follow, `most` at most.
    pub(crate) fn count(&mut self, most: usize) -> Result<usize, SnapshotError> {
        let count = self.number()? as usize;
        if count > most {
            return Err(SnapshotError::Damaged);
        }
        Ok(count)
    }
}

/// See the file header. Numbers that did not change are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TransportDelta {
    pub(super) rtp_out: Vec<StreamSnapshot>,
    pub(super) rtp_in: Vec<StreamSnapshot>,
    /// First index behind the lease.
    pub(super) rtcp_out: Option<u32>,
    /// The same of DTLS records.
    pub(super) dtls: Option<u64>,
    pub(super) nomination: Option<u32>,
}

impl TransportDelta {
    pub(super) fn is_empty(&self) -> bool {
        *self == TransportDelta::default()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for streams in [&self.rtp_out, &self.rtp_in] {
            put_number(out, streams.len() as u64);
            for stream in streams {
                put_u32(out, stream.ssrc);
                put_number(out, stream.highest);
            }
        }
        // 0 = absent.
        let plus_one = |number: Option<u64>| number.map_or(0, |number| number.saturating_add(1));
        put_number(out, plus_one(self.rtcp_out.map(u64::from)));
        put_number(out, plus_one(self.dtls));
        put_number(out, plus_one(self.nomination.map(u64::from)));
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<TransportDelta, SnapshotError> {
        let rtp_out = read_streams(reader, SRTP_MAX_STREAMS_OUT)?;
        let rtp_in = read_streams(reader, SRTP_MAX_STREAMS_IN)?;
        let mut numbers = [None; 3];
        for number in &mut numbers {
            *number = reader.number()?.checked_sub(1);
        }
        let small = |number: Option<u64>| {
            let number = number.map(u32::try_from).transpose();
            number.map_err(|_| SnapshotError::Damaged)
        };
        Ok(TransportDelta {
            rtp_out,
            rtp_in,
            rtcp_out: small(numbers[0])?,
            dtls: numbers[1],
            nomination: small(numbers[2])?,
        })
    }
}

fn read_streams(
    reader: &mut Reader<'_>,
    most: usize,
) -> Result<Vec<StreamSnapshot>, SnapshotError> {
    let count = reader.count(most)?;
    // A hostile count must not reserve memory: each takes five bytes at least.
    let mut streams = Vec::with_capacity(count.min(reader.0.len() / 5));
    for _ in 0..count {
        streams.push(StreamSnapshot {
            ssrc: reader.u32()?,
            highest: reader.number()?,
        });
    }
    Ok(streams)
}

impl TransportSnapshot {
    /// Numbers only ever grow.
    pub(super) fn apply(&mut self, delta: &TransportDelta) {
        merge(&mut self.rtp_out, &delta.rtp_out, SRTP_MAX_STREAMS_OUT);
        merge(&mut self.rtp_in, &delta.rtp_in, SRTP_MAX_STREAMS_IN);
        self.rtcp_out = self.rtcp_out.max(delta.rtcp_out.unwrap_or(0));
        if let (Some(dtls), Some(number)) = (&mut self.dtls, delta.dtls) {
            dtls.sequence_number = dtls.sequence_number.max(number);
        }
        self.nomination = self.nomination.max(delta.nomination.unwrap_or(0));
    }
}

fn merge(streams: &mut Vec<StreamSnapshot>, news: &[StreamSnapshot], most: usize) {
    for new in news {
        let full = streams.len() >= most;
        match streams.iter_mut().find(|known| known.ssrc == new.ssrc) {
            Some(known) => known.highest = known.highest.max(new.highest),
            None if full => {}
            None => streams.push(*new),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sample() -> TransportDelta {
        TransportDelta {
            rtp_out: vec![StreamSnapshot {
                ssrc: 7,
                highest: 70_000,
            }],
            rtp_in: Vec::new(),
            rtcp_out: Some(u32::MAX),
            dtls: None,
            nomination: Some(0),
        }
    }

    #[test]
    fn deltas_are_read_as_written_and_broken_ones_refused() {
        let mut raw = Vec::new();
        sample().write(&mut raw);
        assert_eq!(raw.len(), 1 + 4 + 3 + 1 + 5 + 1 + 1);
        let read = TransportDelta::read(&mut Reader(&raw)).unwrap();
        assert_eq!(read, sample());
        for length in 0..raw.len() {
            assert!(TransportDelta::read(&mut Reader(&raw[..length])).is_err());
        }
        assert!(TransportDelta::read(&mut Reader(&[0xff; 40])).is_err());
    }
}
