//! Who watches whom: masters watch everybody, and each node is watched by the next few media nodes
//! in the order of ids, so that a cluster with one master has more than one pair of eyes and a
//! large one does not ask the square of its nodes.

use std::collections::{BTreeMap, BTreeSet};

use consensus::ids::NodeId;

use super::Life;
use super::limits::RING_OBSERVERS;

pub(super) type Roster = BTreeMap<NodeId, Life>;

/// Those that watch `node`, whoever leads.
pub(super) fn observers(roster: &Roster, node: NodeId) -> BTreeSet<NodeId> {
    let masters = roster.iter().filter(|(_, life)| life.master);
    let mut watching: BTreeSet<NodeId> = masters.map(|(id, _)| *id).collect();
    let media = |(id, life): (&NodeId, &Life)| (!life.master && *id != node).then_some(*id);
    let after = roster.range((std::ops::Bound::Excluded(node), std::ops::Bound::Unbounded));
    let around = after
        .filter_map(media)
        .chain(roster.range(..node).filter_map(media));
    watching.extend(around.take(RING_OBSERVERS));
    watching.remove(&node);
    watching
}

/// Those that `me` watches; a leader watches all.
pub(super) fn watched(roster: &Roster, me: NodeId, leads: bool) -> BTreeSet<NodeId> {
    let all = leads || roster.get(&me).is_some_and(|life| life.master);
    let others = roster.keys().copied().filter(|node| *node != me);
    others
        .filter(|node| all || observers(roster, *node).contains(&me))
        .collect()
}
