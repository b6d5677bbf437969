//! One link: the names of tracks on it, what waits to be sent, and the header extensions its RTP
//! packets carry. Which tracks travel over it is the control plane's business.

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::fast_hash::FastMap;
use crate::ids::LinkKey;
use crate::limits::{RELAY_LINKS_MAX, RELAY_QUEUE_PACKETS_MAX};
use crate::relay::block::Block;
use crate::relay::frame::RelayId;
use crate::rtp::writer::{Element, Head, write_head};
use crate::rtp::{ExtensionMap, Span};
use crate::types::Extensions;
use crate::upstream::packet_cache::PacketInfo;

/// Ids of header extensions on every link, whatever publisher and subscriber agreed on.
pub(crate) const EXTENSIONS: Extensions = Extensions {
    mid: None,
    rid: None,
    repaired_rid: None,
    audio_level: Some(1),
    transport_cc: None,
    abs_send_time: None,
    abs_capture_time: Some(2),
    playout_delay: Some(3),
    dependency_descriptor: Some(4),
    frame_marking: None,
    video_orientation: Some(5),
};

/// A packet of a track's cache that is to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) track: u32,
    pub(crate) relay: RelayId,
    pub(crate) layer: u8,
    pub(crate) fresh: bool,
    pub(crate) sequence: u64,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) key: LinkKey,
    /// Tracks that arrive over the link, and those that leave over it, by their names.
    pub(crate) arriving: FastMap<u64, u32>,
    pub(crate) leaving: FastMap<u64, u32>,
    pub(crate) block: Block,
    pub(crate) queue: VecDeque<Waiting>,
}

/// All links of a shard.
#[derive(Debug)]
pub(crate) struct Relays {
    pub(crate) links: Vec<Link>,
    /// Their places in `links`.
    by_key: FastMap<LinkKey, u32>,
    pub(crate) extensions: ExtensionMap,
    /// The block last handed out by `poll`, and where it goes.
    pub(crate) handed: Block,
    pub(crate) handed_to: LinkKey,
    /// Some link has something to send.
    ready: bool,
    /// Packets a full queue refused.
    pub(crate) dropped: u64,
}

impl Default for Relays {
    fn default() -> Self {
        let mut extensions = ExtensionMap::default();
        extensions.merge(&EXTENSIONS);
        Relays {
            links: Vec::new(),
            by_key: FastMap::default(),
            extensions,
            handed: Block::default(),
            handed_to: LinkKey(0),
            ready: false,
            dropped: 0,
        }
    }
}

impl Relays {
    pub(crate) fn find(&self, key: LinkKey) -> Option<u32> {
        self.by_key.get(&key).copied()
    }

    /// The link of that name; made when it is not there yet.
    pub(crate) fn open(&mut self, key: LinkKey) -> Option<u32> {
        if let Some(index) = self.find(key) {
            return Some(index);
        }
        if self.links.len() >= RELAY_LINKS_MAX {
            return None;
        }
        self.links.push(Link {
            key,
            arriving: FastMap::default(),
            leaving: FastMap::default(),
            block: Block::default(),
            queue: VecDeque::new(),
        });
        let index = self.links.len() as u32 - 1;
        self.by_key.insert(key, index);
        Some(index)
    }

    pub(crate) fn link(&self, index: u32) -> Option<&Link> {
        self.links.get(index as usize)
    }

    pub(crate) fn link_mut(&mut self, index: u32) -> Option<&mut Link> {
        self.links.get_mut(index as usize)
    }

    /// Queues a packet. overflow: DROPS the newest, counted; the other end asks for it again.
    pub(crate) fn push(&mut self, index: u32, waiting: Waiting) {
        let Some(link) = self.links.get_mut(index as usize) else {
            return;
        };
        if link.queue.len() >= RELAY_QUEUE_PACKETS_MAX {
            self.dropped += 1;
            return;
        }
        link.queue.push_back(waiting);
        self.ready = true;
    }

    /// Adds a small frame. overflow: DROPS it, counted; those that matter are repeated.
    pub(crate) fn say(&mut self, index: u32, write: impl FnOnce(&mut [u8]) -> Option<usize>) {
        let Some(link) = self.links.get_mut(index as usize) else {
            return;
        };
        if link.block.has_room() && link.block.push(write) {
            self.ready = true;
        } else {
            self.dropped += 1;
        }
    }

    /// Makes the next block to hand out; `write` lays a waiting packet into it. False: nothing
    /// waits.
    pub(crate) fn fill(&mut self, mut write: impl FnMut(u32, &mut Block, &Waiting)) -> bool {
        if !self.ready {
            return false;
        }
        self.handed.clear();
        let full = (0..).zip(&mut self.links).find_map(|(index, link)| {
            while link.block.has_room()
                && let Some(waiting) = link.queue.pop_front()
            {
                write(index, &mut link.block, &waiting);
            }
            (!link.block.is_empty()).then_some(link)
        });
        let Some(link) = full else {
            self.ready = false;
            return false;
        };
        std::mem::swap(&mut link.block, &mut self.handed);
        self.handed_to = link.key;
        true
    }
}

/// Lays a cached packet into `out` as it travels on a link.
pub(crate) fn write_rtp(
    out: &mut [u8],
    ssrc: u32,
    info: &PacketInfo,
    packet: &[u8],
) -> Option<usize> {
    let head = Head {
        marker: info.marker,
        payload_type: info.payload_type,
        sequence: info.sequence as u16,
        timestamp: info.timestamp,
        ssrc,
    };
    let passed: [(Option<u8>, Span); 3] = [
        (EXTENSIONS.dependency_descriptor, info.dependency_descriptor),
        (EXTENSIONS.abs_capture_time, info.abs_capture_time),
        (EXTENSIONS.video_orientation, info.video_orientation),
    ];
    let elements: SmallVec<[Element<'_>; 6]> = passed
        .iter()
        .filter(|(_, span)| !span.is_empty())
        .filter_map(|(id, span)| Some(((*id)?, span.of(packet))))
        .collect();
    let at = write_head(out, &head, &elements)?;
    let payload = info.payload.of(packet);
    out.get_mut(at..at + payload.len())?
        .copy_from_slice(payload);
    Some(at + payload.len())
}
