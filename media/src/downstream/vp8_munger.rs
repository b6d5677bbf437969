//! Keeps VP8 picture ids, TL0PICIDX and KEYIDX continuous over layer switches and dropped temporal
//! layers: decoders take a gap in picture ids for a lost frame and wait for it.

use crate::downstream::offset_map::OffsetMap;
use crate::rtp::sequence::Extender;
use crate::rtp::vp8::Vp8Descriptor;

/// Values of an outgoing descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vp8Values {
    pub(crate) picture_id: u16,
    pub(crate) tl0: u8,
    pub(crate) key_index: u8,
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
