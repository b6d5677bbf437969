//! RTCP on the wire (RFC 3550, RFC 4585, RFC 5104, REMB, transport-wide feedback): a compound
//! packet is read as borrowed views; writers append to a buffer. Nothing here allocates per packet.

pub mod arrivals;
pub mod reports;
pub mod transport_feedback;
pub mod write;

pub use reports::{ReportBlock, SenderInfo};

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const BYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;

const FMT_NACK: u8 = 1;
const FMT_TRANSPORT_CC: u8 = 15;
const FMT_PLI: u8 = 1;
const FMT_FIR: u8 = 4;
const FMT_APPLICATION: u8 = 15;

/// One packet of a compound, as far as this crate cares. Others (SDES, XR, APP) are skipped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Packet<'a> {
    SenderReport {
        ssrc: u32,
        info: SenderInfo,
        blocks: Blocks<'a>,
    },
    ReceiverReport {
        ssrc: u32,
        blocks: Blocks<'a>,
    },
    Bye {
        ssrcs: Words<'a>,
    },
    Nack {
        media_ssrc: u32,
        pairs: Words<'a>,
    },
    PictureLoss {
        media_ssrc: u32,
    },
    FullIntraRequest {
        entries: &'a [u8],
    },
    /// Receiver's estimate of the bandwidth towards it, bits per second.
    Remb {
        bitrate_bps: u64,
    },
    TransportFeedback {
        body: &'a [u8],
    },
}

/// Report blocks of a sender or receiver report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Blocks<'a>(&'a [u8]);

impl Blocks<'_> {
    pub fn iter(&self) -> impl Iterator<Item = ReportBlock> {
        self.0
            .chunks_exact(reports::BLOCK_BYTES)
            .filter_map(ReportBlock::parse)
    }
}

/// 32-bit words: SSRCs of a BYE, id and bitmap pairs of a NACK.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Words<'a>(&'a [u8]);

impl Words<'_> {
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0
            .chunks_exact(4)
            .filter_map(|word| word.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)))
    }

    /// Sequence numbers a NACK asks for (RFC 4585 §6.2.1).
    pub fn nacked(&self) -> impl Iterator<Item = u16> {
        self.iter().flat_map(|word| {
            let [id_high, id_low, mask_high, mask_low] = word.to_be_bytes();
            let id = u16::from_be_bytes([id_high, id_low]);
            let mask = u16::from_be_bytes([mask_high, mask_low]);
            (0..=16u16)
                .filter(move |bit| *bit == 0 || mask >> (bit - 1) & 1 == 1)
                .map(move |bit| id.wrapping_add(bit))
        })
    }
}

/// SSRCs a FIR asks key frames of.
pub fn fir_targets(entries: &[u8]) -> impl Iterator<Item = u32> {
    entries
        .chunks_exact(8)
        .filter_map(|entry| entry.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)))
}

/// Walks a compound packet; stops at the first packet whose length lies.
pub fn packets(compound: &[u8]) -> Packets<'_> {
    Packets { rest: compound }
}

#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Packet<'a>> {
        loop {
            let head: &[u8; 4] = self.rest.first_chunk()?;
            if head[0] >> 6 != 2 {
                return None;
            }
            let len = 4 + 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
            let mut body = self.rest.get(4..len)?;
            self.rest = self.rest.get(len..)?;
            if head[0] & 0x20 != 0 {
                let padding = usize::from(*body.last()?);
                body = body.get(..body.len().checked_sub(padding)?)?;
            }
            if let Some(packet) = parse_one(head[1], head[0] & 0x1f, body) {
                return Some(packet);
            }
        }
    }
}

fn word(body: &[u8], index: usize) -> Option<u32> {
    let bytes: &[u8; 4] = body.get(index * 4..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

fn parse_one(packet_type: u8, count: u8, body: &[u8]) -> Option<Packet<'_>> {
    let blocks = |start: usize| {
        let rest = body.get(start..).unwrap_or_default();
        let len = rest.len().min(usize::from(count) * reports::BLOCK_BYTES);
        Blocks(rest.get(..len).unwrap_or_default())
    };
    Some(match (packet_type, count) {
        (SENDER_REPORT, _) => Packet::SenderReport {
            ssrc: word(body, 0)?,
            info: SenderInfo::parse(body.get(4..)?)?,
            blocks: blocks(4 + reports::SENDER_INFO_BYTES),
        },
        (RECEIVER_REPORT, _) => Packet::ReceiverReport {
            ssrc: word(body, 0)?,
            blocks: blocks(4),
        },
        (BYE, _) => Packet::Bye {
            ssrcs: Words(body.get(..(usize::from(count) * 4).min(body.len()))?),
        },
        (TRANSPORT_FEEDBACK, FMT_NACK) => Packet::Nack {
            media_ssrc: word(body, 1)?,
            pairs: Words(body.get(8..)?),
        },
        (TRANSPORT_FEEDBACK, FMT_TRANSPORT_CC) => Packet::TransportFeedback {
            body: body.get(8..)?,
        },
        (PAYLOAD_FEEDBACK, FMT_PLI) => Packet::PictureLoss {
            media_ssrc: word(body, 1)?,
        },
        (PAYLOAD_FEEDBACK, FMT_FIR) => Packet::FullIntraRequest {
            entries: body.get(8..)?,
        },
        (PAYLOAD_FEEDBACK, FMT_APPLICATION) => Packet::Remb {
            bitrate_bps: parse_remb(body.get(8..)?)?,
        },
        _ => return None,
    })
}

/// draft-alvestrand-rmcat-remb §2.2: "REMB", SSRC count, 6-bit exponent, 18-bit mantissa.
fn parse_remb(body: &[u8]) -> Option<u64> {
    if body.first_chunk::<4>()? != b"REMB" {
        return None;
    }
    let fields: &[u8; 4] = body.get(4..)?.first_chunk()?;
    let exponent = u32::from(fields[1] >> 2);
    let mantissa = u64::from(u32::from_be_bytes([
        0,
        fields[1] & 0x03,
        fields[2],
        fields[3],
    ]));
    mantissa
        .checked_shl(exponent)
        .filter(|bps| bps >> exponent == mantissa)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
