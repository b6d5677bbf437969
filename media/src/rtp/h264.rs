//! H.264 NAL units in RTP (RFC 6184): where a decoder can start. NAL headers stay in clear under
//! LiveKit's end-to-end encryption.

const SPS: u8 = 7;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const FU_B: u8 = 29;

/// The packet begins a sequence parameter set; encoders for WebRTC put one before every IDR.
pub fn starts_key_frame(payload: &[u8]) -> bool {
    let Some(&first) = payload.first() else {
        return false;
    };
    match first & 0x1f {
        SPS => true,
        STAP_A => aggregated(payload.get(1..).unwrap_or_default()),
        FU_A | FU_B => payload
            .get(1)
            .is_some_and(|fu| fu & 0x80 != 0 && fu & 0x1f == SPS),
        _ => false,
    }
}

fn aggregated(mut units: &[u8]) -> bool {
    while let Some((len, rest)) = units.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes(*len));
        if rest.first().is_some_and(|nal| nal & 0x1f == SPS) && len > 0 {
            return true;
        }
        units = rest.get(len..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_sets_mark_key_frames_in_every_packetisation() {
        assert!(starts_key_frame(&[0x67, 0x42]));
        assert!(starts_key_frame(&[0x78, 0, 2, 0x68, 1, 0, 2, 0x67, 1]));
        assert!(starts_key_frame(&[0x7c, 0x87]));
        assert!(!starts_key_frame(&[0x7c, 0x85]), "IDR without parameters");
        assert!(!starts_key_frame(&[0x41, 0x9a]));
        assert!(!starts_key_frame(&[]));
    }
}
