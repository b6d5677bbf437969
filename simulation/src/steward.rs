//! What a node does about the cluster besides following: as leader it makes who shall vote vote; as
//! a node it registers, and again when it was declared dead.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use consensus::cluster::{Cluster, ClusterError, Role};
use consensus::command::{Action, NodeInfo, NodeState, Outcome, Roles};
use consensus::encoding::VERSION;
use consensus::ids::NodeId;

use crate::limits::LAG_ENTRIES_MAX;
use crate::ring::Ring;
use crate::scenario::Host;

const INTERVAL: Duration = Duration::from_millis(250);
/// A change of voters that takes longer is given up by who waits for it.
const PATIENCE: Duration = Duration::from_millis(3_000);

/// The leader's part.
pub(crate) async fn run(ring: Arc<Ring>, cluster: Cluster) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        if cluster.status().role == Role::Leader {
            let done = tokio::time::timeout(PATIENCE, step(&ring, &cluster)).await;
            if let Ok(Err(error)) = done {
                let node = cluster.node();
                ring.trace.line(node, format!("steward: {error}"));
            }
        }
    }
}

/// One change, if one is due.
async fn step(ring: &Ring, cluster: &Cluster) -> Result<(), ClusterError> {
    let status = cluster.status();
    let present: Vec<(Host, NodeId)> = ring
        .scenario
        .hosts()
        .filter(|host| ring.plan().running.contains(host))
        .map(|host| (host, ring.node(host)))
        .collect();
    let known: BTreeSet<NodeId> = status.voters.union(&status.learners).copied().collect();
    if let Some((host, node)) = present.iter().find(|(_, node)| !known.contains(node)) {
        return cluster.add_learner(*node, &host.name()).await;
    }
    let wanted: BTreeSet<NodeId> = ring
        .plan()
        .voters
        .iter()
        .map(|host| ring.node(*host))
        .collect();
    let ready = |node: &NodeId| {
        let lag = status.progress.get(node).and_then(|progress| progress.lag);
        status.voters.contains(node) || lag.is_some_and(|lag| lag <= LAG_ENTRIES_MAX)
    };
    // A change whose beginner died is ended by changing again.
    if (wanted != status.voters || status.changing) && wanted.iter().all(ready) {
        return cluster.set_voters(wanted, true).await;
    }
    // Who somebody was before its disk was found corrupt.
    let gone: BTreeSet<NodeId> = status
        .learners
        .iter()
        .copied()
        .filter(|node| ring.host_of(*node).is_none())
        .collect();
    if !gone.is_empty() && wanted == status.voters {
        return cluster.remove_learners(gone).await;
    }
    Ok(())
}

/// A process becomes its node, and again after it was declared dead.
pub(crate) async fn attend(ring: Arc<Ring>, cluster: Cluster, host: Host) {
    let node = cluster.node();
    let mut life = None;
    loop {
        let here = cluster.read(|state| state.node(node).map(|n| (n.incarnation, n.state)));
        let alive = here.is_some_and(|(incarnation, state)| {
            life == Some(incarnation) && matches!(state, NodeState::Active | NodeState::Draining)
        });
        if !alive && !ring.plan().quiet {
            life = register(&cluster, host).await;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn register(cluster: &Cluster, host: Host) -> Option<consensus::ids::Epoch> {
    let node = cluster.node();
    let info = NodeInfo {
        roles: Roles {
            master: true,
            media: true,
        },
        address: host.name(),
        host: host.name(),
        zone: String::new(),
        region: String::new(),
        version_max: VERSION,
    };
    let registered = cluster.propose(Action::RegisterNode { node, info }).await;
    let Outcome::Epoch(incarnation) = registered.ok()?.outcome else {
        return None;
    };
    let active = Action::ActivateNode { node, incarnation };
    cluster.propose(active).await.ok().map(|_| incarnation)
}
