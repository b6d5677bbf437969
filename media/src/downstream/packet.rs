//! The bytes of a packet as one subscriber gets it: header, extension elements, payload. Decides
//! nothing; `downstream` says which numbers they carry.

use smallvec::SmallVec;

use crate::downstream::frame_numbers::{Room, moved};
use crate::downstream::payload_map::{RedRule, Target};
use crate::downstream::vp8_munger::Vp8Values;
use crate::downstream::{Cached, DownTrack, Stamp};
use crate::limits::MID_PACKETS;
use crate::rtp::red::{Red, renumber};
use crate::rtp::writer::{Element, Head, write_head};
use crate::upstream::packet_cache::PacketInfo;

/// What of a packet goes into header extensions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passed<'a> {
    pub(super) cached: Cached<'a>,
    /// Added to the frame number of its dependency descriptor.
    pub(super) frame_offset: u16,
    pub(super) playout_delay: Option<[u8; 3]>,
}

impl DownTrack {
    pub(super) fn write_head(
        &self,
        out: &mut [u8],
        head: &Head,
        stamp: &Stamp,
        transport_cc: u16,
        passed: Option<Passed<'_>>,
    ) -> Option<usize> {
        let ids = &self.extensions;
        let transport_cc = transport_cc.to_be_bytes();
        let mut room = Room::new();
        let mut elements: SmallVec<[Element<'_>; 6]> = SmallVec::new();
        let mut add = |id: Option<u8>, bytes| {
            if let Some(id) = id {
                elements.push((id, bytes));
            }
        };
        if self.reports.packets() < MID_PACKETS && !self.mid.is_empty() {
            add(ids.mid, &*self.mid);
        }
        match ids.transport_cc {
            Some(_) => add(ids.transport_cc, &transport_cc),
            None => add(ids.abs_send_time, &stamp.abs_send_time),
        }
        if let Some(passed) = &passed {
            let Cached { info, packet, .. } = passed.cached;
            if let Some(element) = &passed.playout_delay {
                add(ids.playout_delay, element);
            }
            let descriptor = info.dependency_descriptor.of(packet);
            let elements = [
                (
                    ids.dependency_descriptor,
                    moved(descriptor, passed.frame_offset, &mut room),
                ),
                (ids.abs_capture_time, info.abs_capture_time.of(packet)),
                (ids.video_orientation, info.video_orientation.of(packet)),
            ];
            for (id, bytes) in elements {
                if !bytes.is_empty() {
                    add(id, bytes);
                }
            }
        }
        write_head(out, head, &elements)
    }
}

/// What of a payload the subscriber gets; nothing of RED that cannot be taken apart.
pub(super) fn payload_for(target: Option<Target>, payload: &[u8]) -> &[u8] {
    match target {
        Some(target) if target.red == RedRule::Unwrap => {
            Red::parse(payload).map_or(&[][..], |red| red.primary.of(payload))
        }
        _ => payload,
    }
}

/// Copies the payload to `at` and puts codec values in; returns the packet's length.
pub(super) fn put_payload(
    out: &mut [u8],
    at: usize,
    payload: &[u8],
    info: &PacketInfo,
    vp8: &Vp8Values,
    red: RedRule,
) -> Option<usize> {
    let end = at + payload.len();
    let target = out.get_mut(at..end)?;
    target.copy_from_slice(payload);
    if let RedRule::Renumber { opus_pt } = red {
        renumber(target, opus_pt);
    }
    if let Some(descriptor) = &info.frame.vp8 {
        descriptor.rewrite(target, vp8.picture_id, vp8.tl0, vp8.key_index);
    }
    Some(end)
}
