//! Which node goes, and where the next one should come: zones stay balanced, empty and young nodes
//! go first, and nobody goes whose load the others could not take.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use consensus::command::NodeState;

use super::MediaNode;

/// `used` CPUs must fit into what is left at `limit` of each.
pub(super) fn choose(nodes: &[MediaNode], used: f64, limit: f64) -> Result<&MediaNode, String> {
    let active: Vec<&MediaNode> = nodes
        .iter()
        .filter(|n| n.state == NodeState::Active)
        .collect();
    let cpus = |n: &MediaNode| f64::from(n.cpus.max(1));
    let all: f64 = active.iter().map(|n| cpus(n)).sum();
    let crowd = zones(nodes);
    let removable: Vec<&MediaNode> = active.iter().copied().filter(|n| n.removable).collect();
    if removable.is_empty() {
        return Err(
            "no node may be taken away: masters, the quorum's last, or not of the group".into(),
        );
    }
    if active.len() < 2 {
        return Err("the last media node stays".into());
    }
    removable
        .into_iter()
        .filter(|n| used <= (all - cpus(n)) * limit)
        .min_by_key(|n| {
            let busy = n.rooms > 0 || n.jobs > 0;
            let crowd = crowd.get(n.zone.as_str()).copied().unwrap_or(0);
            (busy, Reverse(crowd), n.rooms, n.jobs, n.age, n.node)
        })
        .ok_or_else(|| "the others could not take its load".into())
}

/// The zone with the fewest nodes, if nodes have zones.
pub(super) fn emptiest_zone(nodes: &[MediaNode]) -> Option<String> {
    let zones = zones(nodes);
    let named = zones.into_iter().filter(|(zone, _)| !zone.is_empty());
    let emptiest = named.min_by_key(|(zone, count)| (*count, *zone));
    emptiest.map(|(zone, _)| zone.to_owned())
}

/// Nodes that will serve, by zone; a zone that lost its last is still known by its dead.
fn zones(nodes: &[MediaNode]) -> BTreeMap<&str, usize> {
    let mut zones = BTreeMap::new();
    for node in nodes {
        let serves = matches!(node.state, NodeState::Active | NodeState::Joining);
        *zones.entry(node.zone.as_str()).or_default() += usize::from(serves);
    }
    zones
}
