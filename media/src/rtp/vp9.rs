//! The VP9 payload descriptor (RFC 9628 §4.2), as far as choosing layers needs it.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vp9Descriptor {
    pub frame_start: bool,
    /// Last packet of its layer's frame.
    pub layer_end: bool,
    /// The stream says which layers packets belong to.
    pub has_layers: bool,
    pub key_frame: bool,
    pub spatial: u8,
    pub temporal: u8,
}

impl Vp9Descriptor {
    pub fn parse(payload: &[u8]) -> Option<Vp9Descriptor> {
        let first = *payload.first()?;
        let (has_id, inter, has_layers) = (first & 0x80 != 0, first & 0x40 != 0, first & 0x20 != 0);
        let begins = first & 0x08 != 0;
        let mut at = 1;
        if has_id {
            at += if payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
        }
        let (mut spatial, mut temporal) = (0, 0);
        if has_layers {
            let layers = *payload.get(at)?;
            spatial = (layers >> 1) & 0x07;
            temporal = layers >> 5;
        }
        Some(Vp9Descriptor {
            frame_start: begins && spatial == 0,
            layer_end: first & 0x04 != 0,
            has_layers,
            key_frame: begins && !inter && spatial == 0,
            spatial,
            temporal,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_the_base_layer_starts_a_key_frame() {
        let base = Vp9Descriptor::parse(&[0xa8, 0x81, 0x00, 0x00, 0x11]).unwrap();
        assert!(base.key_frame && base.frame_start);
        let upper = Vp9Descriptor::parse(&[0xa8, 0x81, 0x00, 0x22, 0x11]).unwrap();
        assert!(!upper.key_frame);
        assert_eq!((upper.spatial, upper.temporal), (1, 1));
        let delta = Vp9Descriptor::parse(&[0xe8, 0x81, 0x00, 0x00]).unwrap();
        assert!(!delta.key_frame && delta.frame_start);
        assert_eq!(Vp9Descriptor::parse(&[0xa8, 0x81, 0x00]), None);
    }
}
