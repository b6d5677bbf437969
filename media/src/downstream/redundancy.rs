//! RED made here: a plain Opus packet with the frames before it, for subscribers that take RED. The
//! frames are in the track's cache already, so nothing is kept and nothing is allocated.

use smallvec::SmallVec;

use crate::downstream::Cached;
use crate::limits::RED_BLOCKS_MAX;
use crate::rtp::red;
use crate::types::Codec;
use crate::upstream::packet_cache::PacketCache;

/// Writes the payload at `at`; returns the packet's length. Only frames from `first` on go along:
/// what was sent before (a mute, another source) was not for this subscriber. A frame that is
/// missing, or a silence longer than an offset can tell, ends the line.
pub(crate) fn put(
    out: &mut [u8],
    at: usize,
    opus_pt: u8,
    cache: &PacketCache,
    cached: Cached<'_>,
    first: u64,
) -> Option<usize> {
    let info = cached.info;
    let mut blocks: SmallVec<[(u32, &[u8]); RED_BLOCKS_MAX]> = SmallVec::new();
    for sequence in (first..info.sequence).rev().take(RED_BLOCKS_MAX) {
        let Some((before, packet)) = cache.get(sequence) else {
            break;
        };
        let offset = info.timestamp.wrapping_sub(before.timestamp);
        let bytes = before.payload.of(packet);
        let alike = before.generation == info.generation && before.codec == Codec::Opus;
        if !alike || !red::fits(bytes, offset) {
            break;
        }
        blocks.push((offset, bytes));
    }
    blocks.reverse();
    red::write(out, at, opus_pt, &blocks, info.payload.of(cached.packet))
}
