//! Images and deltas of followed transports as they travel between nodes: the transport's part, and
//! what the shard knows of its SSRCs and down tracks. No I/O; versions are checked by who reads.

use std::time::Instant;

use crate::downstream::continuation::Continuation;
use crate::limits::FOLLOWED_SSRCS_MAX;
use crate::transport::SnapshotError;
use crate::transport::delta::{Reader, put_number, put_u32};
use crate::upstream::receiver::Received;

/// Raised with every change of the layout below; the transport's part has a version of its own.
const FORMAT: u8 = 1;
const LAYER: u8 = 0x0f;
const REPAIR: u8 = 0x40;
const VIDEO: u8 = 0x80;

/// What the shard adds to a transport.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ShardPart {
    /// The next transport-wide number.
    pub(super) wire: u16,
    /// `None`: as told before.
    pub(super) received: Option<Vec<Received>>,
    /// Those that changed.
    pub(super) downs: Vec<Continuation>,
}

impl ShardPart {
    pub(super) fn write(&self, now: Instant, out: &mut Vec<u8>) {
        put_number(out, u64::from(self.wire));
        // 0 = absent.
        let received = self.received.as_ref();
        put_number(
            out,
            received.map_or(0, |received| received.len() as u64 + 1),
        );
        for known in received.into_iter().flatten() {
            put_u32(out, known.ssrc);
            let repair = if known.repair { REPAIR } else { 0 };
            let video = if known.video { VIDEO } else { 0 };
            out.push(known.layer & LAYER | repair | video);
            put_number(out, known.mid.len() as u64);
            out.extend_from_slice(known.mid.as_bytes());
        }
        put_number(out, self.downs.len() as u64);
        for down in &self.downs {
            down.write(now, out);
        }
    }

    pub(super) fn read(now: Instant, reader: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let wire = reader.number()? as u16;
        let received = match reader.count(FOLLOWED_SSRCS_MAX)?.checked_sub(1) {
            None => None,
            Some(count) => Some(read_received(reader, count)?),
        };
        let count = reader.count(FOLLOWED_SSRCS_MAX)?;
        let mut downs = Vec::new();
        for _ in 0..count {
            downs.push(Continuation::read(now, reader)?);
        }
        Ok(ShardPart {
            wire,
            received,
            downs,
        })
    }

    /// Takes in what changed.
    pub(super) fn apply(&mut self, news: ShardPart) {
        self.wire = news.wire;
        if news.received.is_some() {
            self.received = news.received;
        }
        for new in news.downs {
            let full = self.downs.len() >= FOLLOWED_SSRCS_MAX;
            match self.downs.iter_mut().find(|known| known.ssrc == new.ssrc) {
                Some(known) => *known = new,
                None if full => {}
                None => self.downs.push(new),
            }
        }
    }
}

fn read_received(reader: &mut Reader<'_>, count: usize) -> Result<Vec<Received>, SnapshotError> {
    let mut received = Vec::new();
    for _ in 0..count {
        let (ssrc, flags) = (reader.u32()?, reader.byte()?);
        let length = reader.count(usize::from(u8::MAX))?;
        let mid = std::str::from_utf8(reader.bytes(length)?);
        received.push(Received {
            ssrc,
            mid: mid.map_err(|_| SnapshotError::Damaged)?.to_owned(),
            layer: flags & LAYER,
            repair: flags & REPAIR != 0,
            video: flags & VIDEO != 0,
        });
    }
    Ok(received)
}

/// What an image or a delta begins with.
pub(super) fn put_head(out: &mut Vec<u8>, version: u32) {
    out.push(FORMAT);
    put_number(out, u64::from(version));
}

/// The version of an image or a delta.
pub(super) fn read_head(reader: &mut Reader<'_>) -> Result<u32, SnapshotError> {
    match reader.byte()? {
        FORMAT => u32::try_from(reader.number()?).map_err(|_| SnapshotError::Damaged),
        other => Err(SnapshotError::Version(u16::from(other))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn parts_are_read_as_written_and_broken_ones_refused() {
        let now = Instant::now();
        let part = ShardPart {
            wire: 60_000,
            received: Some(vec![Received {
                ssrc: 9,
                mid: "12".into(),
                layer: 2,
                repair: true,
                video: true,
            }]),
            downs: vec![Continuation {
                ssrc: 7_000,
                layer: 0,
                timestamp_offset: 5,
                timestamp: 6,
                at: now,
                vp8: None,
                frames: None,
            }],
        };
        let mut raw = Vec::new();
        put_head(&mut raw, 300);
        part.write(now, &mut raw);
        let mut reader = Reader(&raw);
        assert_eq!(read_head(&mut reader).unwrap(), 300);
        assert_eq!(ShardPart::read(now, &mut reader).unwrap(), part);
        for length in 0..raw.len() {
            let mut reader = Reader(&raw[..length]);
            let read = read_head(&mut reader).and_then(|_| ShardPart::read(now, &mut reader));
            assert!(read.is_err());
        }
        assert!(matches!(
            read_head(&mut Reader(&[9, 1])),
            Err(SnapshotError::Version(9))
        ));
        let mut known = ShardPart::default();
        known.apply(part.clone());
        known.apply(ShardPart {
            received: None,
            downs: Vec::new(),
            ..part.clone()
        });
        assert_eq!(known, part);
    }
}
