//! The shards of all nodes as this process numbers them: links and parts of rooms are named by
//! these numbers. Its own come first; those of another node are numbered when first spoken of. On
//! the wire a place is its node and shard.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use consensus::ids::NodeId;
use media::LinkKey;

use crate::cluster::limits::PLACE_SLOTS_MAX;
use crate::limits::SHARDS_MAX;

/// One shard of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub node: NodeId,
    pub shard: u8,
}

/// Clones share one table.
#[derive(Clone, Debug)]
pub struct Places {
    own: NodeId,
    inner: Arc<RwLock<Slots>>,
}

#[derive(Debug, Default)]
struct Slots {
    by_node: BTreeMap<NodeId, usize>,
    /// The node of slot 1, 2, ….
    nodes: Vec<NodeId>,
}

impl Places {
    pub fn new(own: NodeId) -> Self {
        Self {
            own,
            inner: Arc::default(),
        }
    }

    pub fn own(&self) -> NodeId {
        self.own
    }

    /// `None`: this process has met more nodes than it can number, or no node has such a shard.
    pub fn index(&self, place: Place) -> Option<usize> {
        let shard = usize::from(place.shard);
        if shard >= SHARDS_MAX {
            return None;
        }
        if place.node == self.own {
            return Some(shard);
        }
        let read = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let known = read.by_node.get(&place.node).copied();
        drop(read);
        let slot = known.or_else(|| self.number(place.node))?;
        Some(slot * SHARDS_MAX + shard)
    }

    fn number(&self, node: NodeId) -> Option<usize> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = inner.by_node.get(&node) {
            return Some(*slot);
        }
        if inner.nodes.len() >= PLACE_SLOTS_MAX {
            return None;
        }
        inner.nodes.push(node);
        let slot = inner.nodes.len();
        inner.by_node.insert(node, slot);
        Some(slot)
    }

    pub fn place(&self, index: usize) -> Option<Place> {
        let (slot, shard) = (index / SHARDS_MAX, index % SHARDS_MAX);
        let shard = u8::try_from(shard).ok()?;
        let node = match slot.checked_sub(1) {
            None => self.own,
            Some(at) => {
                let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
                *inner.nodes.get(at)?
            }
        };
        Some(Place { node, shard })
    }

    pub fn link(&self, place: Place) -> Option<LinkKey> {
        self.index(place).map(|index| LinkKey(index as u64))
    }

    pub fn of_link(&self, link: LinkKey) -> Option<Place> {
        self.place(usize::try_from(link.0).ok()?)
    }
}

/// Whether a place of that number is a shard of this node.
pub fn is_near(index: usize) -> bool {
    index < SHARDS_MAX
}

/// Which of the nodes this process knows has the place of that number; 0 is this one.
pub fn slot_of(index: usize) -> usize {
    index / SHARDS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_keeps_its_number_and_ones_own_are_the_shards() {
        let places = Places::new(NodeId(9));
        let place = |node, shard| Place {
            node: NodeId(node),
            shard,
        };
        assert_eq!(places.index(place(9, 3)), Some(3));
        let far = places.index(place(7, 2)).unwrap_or_default();
        assert!(!is_near(far) && slot_of(far) == 1);
        assert_eq!(places.place(far), Some(place(7, 2)));
        assert_eq!(places.index(place(7, 2)), Some(far));
        assert_ne!(places.index(place(8, 2)), Some(far));
        assert_eq!(places.index(place(7, SHARDS_MAX as u8)), None);
        assert_eq!(places.place(1 << 20), None);
        for node in 100..100 + PLACE_SLOTS_MAX as u64 {
            places.index(place(node, 0));
        }
        assert_eq!(places.index(place(1_000_000, 0)), None);
    }
}
