//! What a packet says about the frame it belongs to, whatever its codec. Only headers that stay in
//! clear under end-to-end encryption are read: payload descriptors, NAL headers, the first byte of
//! a VP8 frame (LiveKit's clients leave 10 / 3 bytes of it), header extensions.

use crate::rtp::dependency_descriptor::DependencyDescriptor;
use crate::rtp::vp8::Vp8Descriptor;
use crate::rtp::vp9::Vp9Descriptor;
use crate::rtp::{av1, h264, h265};
use crate::types::Codec;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameInfo {
    /// First packet of something a decoder can start from. Always true for audio.
    pub key_frame: bool,
    pub temporal: u8,
    /// Present for VP8: it is rewritten on the way out.
    pub vp8: Option<Vp8Descriptor>,
}

impl FrameInfo {
    /// `None`: the payload contradicts its codec. `descriptor` = the dependency descriptor's bytes.
    pub fn parse(codec: Codec, payload: &[u8], descriptor: &[u8]) -> Option<FrameInfo> {
        let described = DependencyDescriptor::parse(descriptor);
        let mut info = FrameInfo::default();
        match codec {
            Codec::Opus | Codec::Red | Codec::Pcmu | Codec::Pcma => info.key_frame = true,
            Codec::Vp8 => {
                let vp8 = Vp8Descriptor::parse(payload)?;
                info.key_frame = vp8.key_frame;
                info.temporal = vp8.temporal.unwrap_or(0);
                info.vp8 = Some(vp8);
            }
            Codec::Vp9 => {
                let vp9 = Vp9Descriptor::parse(payload)?;
                info.key_frame = vp9.key_frame;
                info.temporal = vp9.temporal;
            }
            Codec::Av1 => {
                info.key_frame = described.map_or_else(
                    || av1::starts_key_frame(payload),
                    |found| found.frame_start && found.has_structure,
                );
            }
            Codec::H264 => info.key_frame = h264::starts_key_frame(payload),
            Codec::H265 => info.key_frame = h265::starts_key_frame(payload),
        }
        Some(info)
    }
}
