//! The VP8 payload descriptor (RFC 7741 §4.2): read on the way in, rewritten in place on the way
//! out. It is in clear even where the frame is end-to-end encrypted.

/// A descriptor; offsets are relative to the payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vp8Descriptor {
    /// First packet of the frame's first partition.
    pub frame_start: bool,
    pub key_frame: bool,
    /// 0 = no picture id, 7 or 15 bits.
    pub picture_id_bits: u8,
    pub picture_id: u16,
    pub tl0_picture_index: Option<u8>,
    pub temporal: Option<u8>,
    /// Depends on the base layer only: a decoder may step up to this temporal layer here.
    pub layer_sync: bool,
    pub key_index: Option<u8>,
    pub(crate) picture_id_at: u8,
    pub(crate) tl0_at: u8,
    pub(crate) tid_key_at: u8,
    pub len: u8,
}

impl Vp8Descriptor {
    pub fn parse(payload: &[u8]) -> Option<Vp8Descriptor> {
        let first = *payload.first()?;
        let mut found = Vp8Descriptor {
            frame_start: first & 0x10 != 0 && first & 0x07 == 0,
            ..Vp8Descriptor::default()
        };
        let mut at: u8 = 1;
        let read = |at: u8| payload.get(usize::from(at)).copied();
        if first & 0x80 != 0 {
            let flags = read(at)?;
            at += 1;
            if flags & 0x80 != 0 {
                found.picture_id_at = at;
                let high = read(at)?;
                if high & 0x80 != 0 {
                    found.picture_id_bits = 15;
                    found.picture_id = u16::from_be_bytes([high & 0x7f, read(at + 1)?]);
                    at += 2;
                } else {
                    found.picture_id_bits = 7;
                    found.picture_id = u16::from(high);
                    at += 1;
                }
            }
            if flags & 0x40 != 0 {
                found.tl0_at = at;
                found.tl0_picture_index = Some(read(at)?);
                at += 1;
            }
            if flags & 0x30 != 0 {
                found.tid_key_at = at;
                let byte = read(at)?;
                if flags & 0x20 != 0 {
                    found.temporal = Some(byte >> 6);
                    found.layer_sync = byte & 0x20 != 0;
                }
                if flags & 0x10 != 0 {
                    found.key_index = Some(byte & 0x1f);
                }
                at += 1;
            }
        }
        found.len = at;
        // RFC 7741 §4.3: the inverse key-frame flag is bit 0 of the frame's first byte.
        found.key_frame = found.frame_start && read(at)? & 0x01 == 0;
        Some(found)
    }

    /// Overwrites the fields this descriptor has; widths stay as they were.
    pub fn rewrite(&self, payload: &mut [u8], picture_id: u16, tl0: u8, key_index: u8) {
        let at = usize::from(self.picture_id_at);
        match (self.picture_id_bits, payload.get_mut(at..at + 2)) {
            (15, Some(bytes)) => {
                bytes.copy_from_slice(&(0x8000 | (picture_id & 0x7fff)).to_be_bytes());
            }
            (7, Some(bytes)) => bytes[0] = (picture_id & 0x7f) as u8,
            _ => {}
        }
        if self.tl0_picture_index.is_some()
            && let Some(byte) = payload.get_mut(usize::from(self.tl0_at))
        {
            *byte = tl0;
        }
        if self.key_index.is_some()
            && let Some(byte) = payload.get_mut(usize::from(self.tid_key_at))
        {
            *byte = (*byte & 0xe0) | (key_index & 0x1f);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_full_descriptor_is_read_and_rewritten() {
        let mut payload = [0x90, 0xf0, 0x92, 0x34, 17, 0x65, 0x00, 0xaa];
        let found = Vp8Descriptor::parse(&payload).unwrap();
        assert!(found.frame_start && found.key_frame && found.layer_sync);
        assert_eq!(found.picture_id, 0x1234);
        assert_eq!(found.tl0_picture_index, Some(17));
        assert_eq!(found.temporal, Some(1));
        assert_eq!(found.key_index, Some(5));
        assert_eq!(found.len, 6);
        found.rewrite(&mut payload, 0x7fff, 200, 9);
        assert_eq!(payload, [0x90, 0xf0, 0xff, 0xff, 200, 0x69, 0x00, 0xaa]);
    }

    #[test]
    fn a_delta_frame_and_a_later_packet_are_not_key_frames() {
        assert!(!Vp8Descriptor::parse(&[0x10, 0x01]).unwrap().key_frame);
        assert!(!Vp8Descriptor::parse(&[0x00, 0x00]).unwrap().key_frame);
    }

    #[test]
    fn short_picture_ids_stay_short() {
        let mut payload = [0x90, 0x80, 0x12, 0x01];
        let found = Vp8Descriptor::parse(&payload).unwrap();
        assert_eq!(found.picture_id_bits, 7);
        found.rewrite(&mut payload, 0x1ff, 0, 0);
        assert_eq!(payload, [0x90, 0x80, 0x7f, 0x01]);
    }

    #[test]
    fn truncated_descriptors_are_refused() {
        let payload = [0x90, 0xf0, 0x92, 0x34, 17, 0x65, 0x00];
        for end in 0..payload.len() {
            assert_eq!(Vp8Descriptor::parse(&payload[..end]), None);
        }
    }
}
