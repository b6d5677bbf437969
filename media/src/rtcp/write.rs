//! Appends RTCP packets to a compound under construction. Callers bound the counts they pass.

use crate::rtcp::reports::{ReportBlock, SenderInfo};
use crate::rtcp::{
    FMT_APPLICATION, FMT_FIR, FMT_NACK, FMT_PLI, PAYLOAD_FEEDBACK, RECEIVER_REPORT, SENDER_REPORT,
    TRANSPORT_FEEDBACK,
};

/// Report blocks that fit one packet's 5-bit count.
pub const BLOCKS_MAX: usize = 31;

/// Writes the common header and returns where it lies, for `finish`.
pub(super) fn begin(out: &mut Vec<u8>, packet_type: u8, count: u8) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0x80 | (count & 0x1f), packet_type, 0, 0]);
    at
}

/// Pads to a multiple of four and fills in the length of the packet begun at `at`.
pub(super) fn finish(out: &mut Vec<u8>, at: usize) {
    while !(out.len() - at).is_multiple_of(4) {
        out.push(0);
    }
    let words = u16::try_from((out.len() - at) / 4 - 1).unwrap_or(u16::MAX);
    if let Some(length) = out.get_mut(at + 2..at + 4) {
        length.copy_from_slice(&words.to_be_bytes());
    }
}

pub fn sender_report(out: &mut Vec<u8>, ssrc: u32, info: &SenderInfo, blocks: &[ReportBlock]) {
    let count = blocks.len().min(BLOCKS_MAX);
    let at = begin(out, SENDER_REPORT, count as u8);
    out.extend_from_slice(&ssrc.to_be_bytes());
    out.extend_from_slice(&info.ntp.to_be_bytes());
    out.extend_from_slice(&info.rtp_timestamp.to_be_bytes());
    out.extend_from_slice(&info.packets.to_be_bytes());
    out.extend_from_slice(&info.octets.to_be_bytes());
    blocks.iter().take(count).for_each(|block| block.write(out));
    finish(out, at);
}

pub fn receiver_report(out: &mut Vec<u8>, ssrc: u32, blocks: &[ReportBlock]) {
    let count = blocks.len().min(BLOCKS_MAX);
    let at = begin(out, RECEIVER_REPORT, count as u8);
    out.extend_from_slice(&ssrc.to_be_bytes());
    blocks.iter().take(count).for_each(|block| block.write(out));
    finish(out, at);
}

/// `sequences` in ascending order (modulo wrap); neighbours share a bitmap.
pub fn nack(out: &mut Vec<u8>, sender_ssrc: u32, media_ssrc: u32, sequences: &[u16]) {
    let at = begin(out, TRANSPORT_FEEDBACK, FMT_NACK);
    out.extend_from_slice(&sender_ssrc.to_be_bytes());
    out.extend_from_slice(&media_ssrc.to_be_bytes());
    let mut rest = sequences.iter().copied().peekable();
    while let Some(id) = rest.next() {
        let mut mask = 0u16;
        while let Some(bit) = rest.peek().map(|next| next.wrapping_sub(id)) {
            if !(1..=16).contains(&bit) {
                break;
            }
            mask |= 1 << (bit - 1);
            rest.next();
        }
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&mask.to_be_bytes());
    }
    finish(out, at);
}

pub fn picture_loss(out: &mut Vec<u8>, sender_ssrc: u32, media_ssrc: u32) {
    let at = begin(out, PAYLOAD_FEEDBACK, FMT_PLI);
    out.extend_from_slice(&sender_ssrc.to_be_bytes());
    out.extend_from_slice(&media_ssrc.to_be_bytes());
    finish(out, at);
}

pub fn full_intra_request(out: &mut Vec<u8>, sender_ssrc: u32, media_ssrc: u32, command: u8) {
    let at = begin(out, PAYLOAD_FEEDBACK, FMT_FIR);
    out.extend_from_slice(&sender_ssrc.to_be_bytes());
    out.extend_from_slice(&0u32.to_be_bytes());
    out.extend_from_slice(&media_ssrc.to_be_bytes());
    out.extend_from_slice(&[command, 0, 0, 0]);
    finish(out, at);
}

/// `ssrcs`: at most 255, the streams the estimate covers.
pub fn remb(out: &mut Vec<u8>, sender_ssrc: u32, bitrate_bps: u64, ssrcs: &[u32]) {
    let at = begin(out, PAYLOAD_FEEDBACK, FMT_APPLICATION);
    out.extend_from_slice(&sender_ssrc.to_be_bytes());
    out.extend_from_slice(&0u32.to_be_bytes());
    out.extend_from_slice(b"REMB");
    // 18 bits of mantissa; the exponent drops the rest.
    let exponent = 46u32.saturating_sub(bitrate_bps.leading_zeros());
    let [.., a, b, c] = (bitrate_bps >> exponent).to_be_bytes();
    let count = ssrcs.len().min(255);
    out.extend_from_slice(&[count as u8, (exponent as u8) << 2 | (a & 0x03), b, c]);
    for ssrc in ssrcs.iter().take(count) {
        out.extend_from_slice(&ssrc.to_be_bytes());
    }
    finish(out, at);
}
