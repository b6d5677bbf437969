//! Keeps VP8 picture ids, TL0PICIDX and KEYIDX continuous over layer switches and dropped temporal
//! layers: decoders take a gap in picture ids for a lost frame and wait for it.

use crate::downstream::offset_map::OffsetMap;
use crate::limits::CONTINUATION_RENEWED;
use crate::rtp::sequence::Extender;
use crate::rtp::vp8::Vp8Descriptor;

/// Pictures another node may have sent since it told where it stood: 60 a second until it has to
/// tell again.
const PICTURES_UNTOLD: u64 = 60 * CONTINUATION_RENEWED.as_secs();

/// Values of an outgoing descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vp8Values {
    pub(crate) picture_id: u16,
    pub(crate) tl0: u8,
    pub(crate) key_index: u8,
}

/// What another node needs to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vp8Place {
    /// What outgoing values are less than the source's.
    pub(crate) picture_offset: u16,
    pub(crate) tl0_offset: u8,
    pub(crate) key_offset: u8,
    pub(crate) last: Vp8Values,
}

#[derive(Debug, Default)]
pub(crate) struct Vp8Munger {
    incoming: Extender<15>,
    pictures: OffsetMap,
    tl0_offset: u8,
    key_offset: u8,
    /// Highest picture sent, extended, and its other values.
    last: Option<(u64, Vp8Values)>,
}

impl Vp8Munger {
    /// `anchored`: the packet is the first of a new source.
    pub(crate) fn map(&mut self, vp8: &Vp8Descriptor, anchored: bool) -> Option<Vp8Values> {
        if anchored || !self.pictures.is_anchored() {
            self.anchor(vp8);
        }
        let input = self.incoming.extend(vp8.picture_id);
        let picture = self.pictures.map(input)?;
        let values = Vp8Values {
            picture_id: (picture & 0x7fff) as u16,
            tl0: vp8
                .tl0_picture_index
                .unwrap_or(0)
                .wrapping_sub(self.tl0_offset),
            key_index: vp8.key_index.unwrap_or(0).wrapping_sub(self.key_offset) & 0x1f,
        };
        if self.last.is_none_or(|(highest, _)| picture >= highest) {
            self.last = Some((picture, values));
        }
        Some(values)
    }

    /// A packet of a picture that is not sent. All packets of a picture share its fate.
    pub(crate) fn skip(&mut self, vp8: &Vp8Descriptor) {
        if self.pictures.is_anchored() {
            let input = self.incoming.extend(vp8.picture_id);
            self.pictures.skip(input);
        }
    }

    /// Where it stands; `None` until something was sent.
    pub(crate) fn place(&self) -> Option<Vp8Place> {
        let (_, last) = self.last?;
        Some(Vp8Place {
            picture_offset: (self.pictures.offset() & 0x7fff) as u16,
            tl0_offset: self.tl0_offset,
            key_offset: self.key_offset,
            last,
        })
    }

    /// Goes on behind what another node may have sent since `place` was told.
    pub(crate) fn go_on(&mut self, place: &Vp8Place) {
        // One cycle up, so that extended values never go below zero.
        let picture = 0x8000 + u64::from(place.last.picture_id) + PICTURES_UNTOLD;
        self.last = Some((picture, place.last));
    }

    /// The source that `place` tells of goes on with `picture`: values are shifted as they were.
    /// Pictures left out since may leave a gap, never a repeat.
    pub(crate) fn shift_as(&mut self, place: &Vp8Place, picture: u16) {
        self.incoming = Extender::default();
        let input = self.incoming.extend(picture);
        let output = picture.wrapping_sub(place.picture_offset) & 0x7fff;
        self.pictures.anchor(input, 0x8000 + u64::from(output));
        (self.tl0_offset, self.key_offset) = (place.tl0_offset, place.key_offset);
        self.last = None;
    }

    fn anchor(&mut self, vp8: &Vp8Descriptor) {
        self.incoming = Extender::default();
        let input = self.incoming.extend(vp8.picture_id);
        let tl0 = vp8.tl0_picture_index.unwrap_or(0);
        let key = vp8.key_index.unwrap_or(0);
        match self.last {
            None => {
                self.pictures.anchor(input, input);
                (self.tl0_offset, self.key_offset) = (0, 0);
            }
            Some((picture, last)) => {
                self.pictures.anchor(input, picture + 1);
                self.tl0_offset = tl0.wrapping_sub(last.tl0.wrapping_add(1));
                self.key_offset = key.wrapping_sub(last.key_index.wrapping_add(1));
            }
        }
    }
}
