//! What a packet says about the frame it belongs to, whatever its codec. Only headers that stay in
//! clear under end-to-end encryption are read: payload descriptors, NAL headers, the first byte of
//! a VP8 frame (LiveKit's clients leave 10 / 3 bytes of it), header extensions.

use crate::rtp::dependency_descriptor::DependencyDescriptor;
use crate::rtp::dependency_structure::Described;
use crate::rtp::vp8::Vp8Descriptor;
use crate::rtp::vp9::Vp9Descriptor;
use crate::rtp::{av1, h264, h265};
use crate::types::Codec;

/// Which layers of a stream that carries several a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layered {
    pub spatial: u8,
    pub temporal: u8,
    /// Bit per decode target that uses it; `None` without dependency descriptor.
    pub used_by: Option<u32>,
    /// Last packet of its layer's frame.
    pub ends_frame: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameInfo {
    /// First packet of something a decoder can start from. Always true for audio.
    pub key_frame: bool,
    pub temporal: u8,
    /// Present for VP8: it is rewritten on the way out.
    pub vp8: Option<Vp8Descriptor>,
    /// Present for VP9 and AV1 when the stream tells.
    pub layered: Option<Layered>,
}

impl FrameInfo {
    /// `None`: the payload contradicts its codec. `descriptor` = the dependency descriptor's bytes.
    /// `described`: the same, read with the structure in force on the stream.
    pub fn parse(
        codec: Codec,
        payload: &[u8],
        descriptor: &[u8],
        described: Option<Described>,
    ) -> Option<FrameInfo> {
        let fixed = DependencyDescriptor::parse(descriptor);
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
                info.layered = vp9.has_layers.then_some(Layered {
                    spatial: vp9.spatial,
                    temporal: vp9.temporal,
                    used_by: None,
                    ends_frame: vp9.layer_end,
                });
            }
            Codec::Av1 => {
                info.key_frame = fixed.map_or_else(
                    || av1::starts_key_frame(payload),
                    |found| found.frame_start && found.has_structure,
                );
            }
            Codec::H264 => info.key_frame = h264::starts_key_frame(payload),
            Codec::H265 => info.key_frame = h265::starts_key_frame(payload),
        }
        if let (Codec::Vp9 | Codec::Av1, Some(found)) = (codec, described) {
            info.layered = Some(Layered {
                spatial: found.spatial,
                temporal: found.temporal,
                used_by: Some(found.used_by),
                ends_frame: fixed.is_some_and(|fixed| fixed.frame_end),
            });
        }
        Some(info)
    }
}
