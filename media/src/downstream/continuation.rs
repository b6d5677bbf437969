//! Where a down track stands, so that another node goes on with it: what its source's clock and
//! codec numbers are shifted by. Written on the primary, read where a standby takes over. Sequence
//! numbers are not in it: they are leased with the transport.

use std::time::{Duration, Instant};

use crate::downstream::DownTrack;
use crate::downstream::vp8_munger::{Vp8Place, Vp8Values};
use crate::transport::SnapshotError;
use crate::transport::delta::{Reader, put_number, put_u32};

/// See the file header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Continuation {
    pub(crate) ssrc: u32,
    /// Of the source.
    pub(crate) layer: u8,
    /// Added to the timestamps of that layer.
    pub(crate) timestamp_offset: u32,
    /// Timestamp of the last packet as the subscriber saw it, and when that had arrived.
    pub(crate) timestamp: u32,
    pub(crate) at: Instant,
    pub(crate) vp8: Option<Vp8Place>,
    /// Added to frame numbers of dependency descriptors, and the last one sent.
    pub(crate) frames: Option<(u16, u16)>,
}

const HAS_VP8: u8 = 0x40;
const HAS_FRAMES: u8 = 0x80;
const LAYER: u8 = 0x0f;

impl Continuation {
    /// Whether somebody who knows `told` would go on otherwise than this says.
    pub(crate) fn differs(&self, told: &Continuation) -> bool {
        let shifts = |of: &Continuation| {
            let vp8 = of.vp8.map(|vp8| (vp8.tl0_offset, vp8.key_offset));
            let frames = of.frames.map(|(offset, _)| offset);
            (of.layer, of.timestamp_offset, vp8, frames)
        };
        shifts(self) != shifts(told)
    }

    pub(crate) fn write(&self, now: Instant, out: &mut Vec<u8>) {
        put_u32(out, self.ssrc);
        let vp8 = self.vp8.map_or(0, |_| HAS_VP8);
        let frames = self.frames.map_or(0, |_| HAS_FRAMES);
        out.push(self.layer & LAYER | vp8 | frames);
        put_u32(out, self.timestamp_offset);
        put_u32(out, self.timestamp);
        // An age, not a time: the nodes need no common clock.
        let age = now.saturating_duration_since(self.at);
        put_number(out, age.as_millis() as u64);
        if let Some(vp8) = &self.vp8 {
            for number in [vp8.picture_offset, vp8.last.picture_id] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend([
                vp8.tl0_offset,
                vp8.key_offset,
                vp8.last.tl0,
                vp8.last.key_index,
            ]);
        }
        if let Some((offset, last)) = self.frames {
            out.extend_from_slice(&offset.to_le_bytes());
            out.extend_from_slice(&last.to_le_bytes());
        }
    }

    pub(crate) fn read(now: Instant, reader: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let ssrc = reader.u32()?;
        let flags = reader.byte()?;
        let (timestamp_offset, timestamp) = (reader.u32()?, reader.u32()?);
        let age = Duration::from_millis(u64::from(reader.number()? as u32));
        let vp8 = match flags & HAS_VP8 != 0 {
            true => Some(read_vp8(reader)?),
            false => None,
        };
        let frames = match flags & HAS_FRAMES != 0 {
            true => Some((reader.u16()?, reader.u16()?)),
            false => None,
        };
        Ok(Continuation {
            ssrc,
            layer: flags & LAYER,
            timestamp_offset,
            timestamp,
            at: now.checked_sub(age).unwrap_or(now),
            vp8,
            frames,
        })
    }
}

fn read_vp8(reader: &mut Reader<'_>) -> Result<Vp8Place, SnapshotError> {
    let (picture_offset, picture_id) = (reader.u16()?, reader.u16()?);
    let (tl0_offset, key_offset) = (reader.byte()?, reader.byte()?);
    let last = Vp8Values {
        picture_id,
        tl0: reader.byte()?,
        key_index: reader.byte()?,
    };
    Ok(Vp8Place {
        picture_offset,
        tl0_offset,
        key_offset,
        last,
    })
}

impl DownTrack {
    /// Where it stands; `None` until something was sent.
    pub(crate) fn continuation(&self) -> Option<Continuation> {
        let place = self.munger.place()?;
        Some(Continuation {
            ssrc: self.ssrc,
            layer: place.layer,
            timestamp_offset: place.timestamp_offset,
            timestamp: place.timestamp,
            at: place.arrival,
            vp8: self.vp8.place(),
            frames: self.frames.place(),
        })
    }

    /// Goes on where another node stood.
    pub(crate) fn go_on(&mut self, from: Continuation) {
        self.munger
            .go_on(from.layer, from.timestamp_offset, from.timestamp, from.at);
        if let Some(vp8) = &from.vp8 {
            self.vp8.go_on(vp8);
        }
        if let Some((_, last)) = from.frames {
            self.frames.go_on(last);
        }
        self.resumed = Some(Box::new(from));
    }

    /// The first packet after `go_on` begins a source: if it is the layer that was sent last, its
    /// numbers are shifted as before. Returns whether codec numbers have to begin anew.
    pub(super) fn begins_anew(&mut self, layer: u8, vp8_picture: Option<u16>) -> bool {
        let Some(from) = self.resumed.take().filter(|from| from.layer == layer) else {
            return true;
        };
        if let (Some(place), Some(picture)) = (&from.vp8, vp8_picture) {
            self.vp8.shift_as(place, picture);
        }
        if let Some((offset, _)) = from.frames {
            self.frames.shift_by(offset);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn continuations_are_read_as_written() {
        let now = Instant::now() + Duration::from_secs(60);
        let last = Vp8Values {
            picture_id: 32_000,
            tl0: 200,
            key_index: 9,
        };
        let vp8 = Vp8Place {
            picture_offset: 5,
            tl0_offset: 7,
            key_offset: 1,
            last,
        };
        for (vp8, frames) in [
            (None, None),
            (Some(vp8), None),
            (Some(vp8), Some((9, 60_000))),
        ] {
            let written = Continuation {
                ssrc: 7_000,
                layer: 2,
                timestamp_offset: u32::MAX,
                timestamp: 90_000,
                at: now - Duration::from_millis(1_500),
                vp8,
                frames,
            };
            let mut raw = Vec::new();
            written.write(now, &mut raw);
            assert!(raw.len() <= 27, "{}", raw.len());
            let read = Continuation::read(now, &mut Reader(&raw)).unwrap();
            assert_eq!(read, written);
            for length in 0..raw.len() {
                assert!(Continuation::read(now, &mut Reader(&raw[..length])).is_err());
            }
        }
    }
}
