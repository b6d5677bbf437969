//! H.265 NAL units in RTP (RFC 7798): where a decoder can start.

const VPS: u8 = 32;
const SPS: u8 = 33;
const AGGREGATION: u8 = 48;
const FRAGMENTATION: u8 = 49;

/// The packet begins a video or sequence parameter set.
pub fn starts_key_frame(payload: &[u8]) -> bool {
    match nal_type(payload) {
        Some(VPS | SPS) => true,
        Some(AGGREGATION) => aggregated(payload.get(2..).unwrap_or_default()),
        Some(FRAGMENTATION) => payload
            .get(2)
            .is_some_and(|fu| fu & 0x80 != 0 && matches!(fu & 0x3f, VPS | SPS)),
        _ => false,
    }
}

fn nal_type(unit: &[u8]) -> Option<u8> {
    unit.first().map(|byte| (byte >> 1) & 0x3f)
}

fn aggregated(mut units: &[u8]) -> bool {
    while let Some((len, rest)) = units.split_first_chunk::<2>() {
        if matches!(nal_type(rest), Some(VPS | SPS)) {
            return true;
        }
        let len = usize::from(u16::from_be_bytes(*len));
        units = rest.get(len..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_sets_mark_key_frames_in_every_packetisation() {
        assert!(starts_key_frame(&[VPS << 1, 1]));
        assert!(starts_key_frame(&[
            AGGREGATION << 1,
            1,
            0,
            2,
            0x44,
            1,
            0,
            2,
            SPS << 1,
            1
        ]));
        assert!(starts_key_frame(&[FRAGMENTATION << 1, 1, 0x80 | SPS]));
        assert!(!starts_key_frame(&[FRAGMENTATION << 1, 1, 0x80 | 1]));
        assert!(!starts_key_frame(&[1 << 1, 1]));
        assert!(!starts_key_frame(&[]));
    }
}
