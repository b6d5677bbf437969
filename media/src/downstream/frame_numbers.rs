//! Frame numbers of the dependency descriptor (AV1 RTP specification, appendix A.2) as one
//! subscriber sees them: they go on where the last source stopped, or a decoder takes new frames
//! for old ones.

use smallvec::SmallVec;

use crate::limits::CONTINUATION_RENEWED;

/// Room for a copy of an element: its length has eight bits.
pub(crate) type Room = SmallVec<[u8; 256]>;

/// Frames another node may have sent since it told where it stood: three layers of 60 a second.
const FRAMES_UNTOLD: u16 = 180 * CONTINUATION_RENEWED.as_secs() as u16;

#[derive(Debug, Default)]
pub(crate) struct FrameNumbers {
    /// Added to the numbers of the current source.
    offset: u16,
    /// Highest number sent.
    last: Option<u16>,
}

impl FrameNumbers {
    /// What to add to the number of a packet with this descriptor. `anchored`: it begins a source.
    pub(crate) fn offset(&mut self, element: &[u8], anchored: bool) -> u16 {
        let Some(number) = number(element) else {
            return 0;
        };
        if let Some(last) = self.last.filter(|_| anchored) {
            self.offset = last.wrapping_add(1).wrapping_sub(number);
        }
        let sent = number.wrapping_add(self.offset);
        let newer = |last: u16| (sent.wrapping_sub(last) as i16) > 0;
        if self.last.is_none_or(newer) {
            self.last = Some(sent);
        }
        self.offset
    }

    /// What is added, and the last number sent; `None` without descriptors.
    pub(crate) fn place(&self) -> Option<(u16, u16)> {
        Some((self.offset, self.last?))
    }

    /// Goes on behind what another node may have sent since `last` was told.
    pub(crate) fn go_on(&mut self, last: u16) {
        self.last = Some(last.wrapping_add(FRAMES_UNTOLD));
    }

    /// The source of before goes on, shifted as it was.
    pub(crate) fn shift_by(&mut self, offset: u16) {
        (self.offset, self.last) = (offset, None);
    }
}

/// The element with its number moved on.
pub(crate) fn moved<'a>(element: &'a [u8], offset: u16, room: &'a mut Room) -> &'a [u8] {
    let Some(number) = number(element).filter(|_| offset != 0) else {
        return element;
    };
    room.clear();
    room.extend_from_slice(element);
    if let Some(field) = room.get_mut(1..3) {
        field.copy_from_slice(&number.wrapping_add(offset).to_be_bytes());
    }
    room
}

fn number(element: &[u8]) -> Option<u16> {
    let head: &[u8; 3] = element.first_chunk()?;
    Some(u16::from_be_bytes([head[1], head[2]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(number: u16) -> [u8; 4] {
        let [high, low] = number.to_be_bytes();
        [0xc0, high, low, 7]
    }

    #[test]
    fn numbers_go_on_over_a_change_of_source() {
        let mut frames = FrameNumbers::default();
        let mut room = Room::new();
        let mut sent = |number: u16, anchored: bool| {
            let element = element(number);
            let offset = frames.offset(&element, anchored);
            let moved = moved(&element, offset, &mut room);
            assert_eq!((moved[0], moved[3]), (0xc0, 7), "the rest stays");
            u16::from_be_bytes([moved[1], moved[2]])
        };
        assert_eq!(sent(65_534, true), 65_534);
        assert_eq!(sent(65_535, false), 65_535);
        assert_eq!(
            sent(300, true),
            0,
            "the next number, whatever the new source says"
        );
        assert_eq!(sent(302, false), 2);
        assert_eq!(sent(301, false), 1, "a late packet finds its number");
        assert_eq!(sent(9_000, true), 3);
    }
}
