//! Sender information and report blocks (RFC 3550 §6.4).

pub const SENDER_INFO_BYTES: usize = 20;
pub const BLOCK_BYTES: usize = 24;

/// The sender's clock beside its media clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderInfo {
    /// 32.32 fixed-point seconds since 1900.
    pub ntp: u64,
    pub rtp_timestamp: u32,
    pub packets: u32,
    pub octets: u32,
}

impl SenderInfo {
    pub(crate) fn parse(bytes: &[u8]) -> Option<SenderInfo> {
        let b: &[u8; SENDER_INFO_BYTES] = bytes.first_chunk()?;
        Some(SenderInfo {
            ntp: u64::from_be_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
            rtp_timestamp: u32::from_be_bytes([b[8], b[9], b[10], b[11]]),
            packets: u32::from_be_bytes([b[12], b[13], b[14], b[15]]),
            octets: u32::from_be_bytes([b[16], b[17], b[18], b[19]]),
        })
    }
}

/// What a receiver says about one SSRC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    pub ssrc: u32,
    /// Lost share since the last report, 1/256ths.
    pub fraction_lost: u8,
    /// Signed 24 bits.
    pub cumulative_lost: i32,
    pub highest_sequence: u32,
    /// In units of the media clock.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report; 0 = none yet.
    pub last_sr: u32,
    /// Since that report arrived, 1/65536 s.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    pub(crate) fn parse(bytes: &[u8]) -> Option<ReportBlock> {
        let b: &[u8; BLOCK_BYTES] = bytes.first_chunk()?;
        Some(ReportBlock {
            ssrc: u32::from_be_bytes([b[0], b[1], b[2], b[3]]),
            fraction_lost: b[4],
            // Sign-extends the 24 bits.
            cumulative_lost: i32::from_be_bytes([b[5], b[6], b[7], 0]) >> 8,
            highest_sequence: u32::from_be_bytes([b[8], b[9], b[10], b[11]]),
            jitter: u32::from_be_bytes([b[12], b[13], b[14], b[15]]),
            last_sr: u32::from_be_bytes([b[16], b[17], b[18], b[19]]),
            delay_since_last_sr: u32::from_be_bytes([b[20], b[21], b[22], b[23]]),
        })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        let lost = self.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff);
        let [_, a, b, c] = lost.to_be_bytes();
        out.extend_from_slice(&[self.fraction_lost, a, b, c]);
        out.extend_from_slice(&self.highest_sequence.to_be_bytes());
        out.extend_from_slice(&self.jitter.to_be_bytes());
        out.extend_from_slice(&self.last_sr.to_be_bytes());
        out.extend_from_slice(&self.delay_since_last_sr.to_be_bytes());
    }
}
