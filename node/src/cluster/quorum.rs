//! The quorum keeper's hands: while this node leads, once a second it shows `consensus::keeper`
//! what it sees and does what that decides. Also lets go of learners that are nobody's any more.

mod observe;

use std::collections::{BTreeMap, BTreeSet};

use consensus::cluster::{Cluster, ClusterError, Role, Status};
use consensus::command::{Action, NodeInfo, NodeState};
use consensus::ids::NodeId;
use consensus::keeper::{self, Decision};
use metrics::gauge;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::heartbeat::Heartbeats;
use super::limits::{
    DEAD_KEPT, KEEPER_INTERVAL, KEEPER_PATIENCE, NODES_CROWDED, STRANGER_LEARNER_AGE,
};
pub(crate) use observe::Observer;

/// Keeps the quorum for as long as the cluster runs.
pub(crate) async fn keep(cluster: Cluster, heard: Heartbeats) {
    let mut tick = interval(KEEPER_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut observer = Observer::default();
    let mut forgotten = Forgotten::default();
    loop {
        tick.tick().await;
        let status = cluster.status();
        publish(&status);
        if status.role != Role::Leader {
            observer.clear();
            forgotten = Forgotten::default();
            continue;
        }
        let now = Instant::now();
        forgotten.look(&cluster, now);
        let long_lived = |node| heard.of(node).is_some_and(|heard| heard.beat.long_lived);
        let view = cluster.read(|state| observer.view(now, &status, state, long_lived));
        match keeper::decide(&view) {
            Some(decision) => {
                if let Decision::TransferLeadership(heir) = decision {
                    observer.asked(heir, now);
                }
                carry_out(&cluster, &status, decision).await;
            }
            None => {
                tidy(&cluster, &status, &observer, now).await;
                if let Some(node) = forgotten.next(&cluster, &status, now) {
                    remove(
                        &cluster,
                        node,
                        "it was dead for long, and the table is nearly full",
                    )
                    .await;
                }
            }
        }
    }
}

fn publish(status: &Status) {
    let leads = status.role == Role::Leader;
    gauge!("skein_cluster_leader").set(f64::from(u8::from(leads)));
    gauge!("skein_cluster_has_leader").set(f64::from(u8::from(status.leader.is_some())));
    gauge!("skein_cluster_voters").set(status.voters.len() as f64);
    gauge!("skein_cluster_learners").set(status.learners.len() as f64);
    gauge!("skein_cluster_term").set(status.term as f64);
    gauge!("skein_cluster_applied_index").set(status.applied.unwrap_or(0) as f64);
}

async fn carry_out(cluster: &Cluster, status: &Status, decision: Decision) {
    let done = match decision {
        Decision::SetVoters(voters) => {
            let names = |of: &BTreeSet<NodeId>| {
                let names: Vec<String> = of.iter().map(ToString::to_string).collect();
                names.join(" ")
            };
            let (from, to) = (names(&status.voters), names(&voters));
            tracing::info!(from, to, "changing who votes");
            bounded(cluster.set_voters(voters, true)).await
        }
        Decision::TransferLeadership(heir) => {
            tracing::info!(heir = heir.0, "handing leadership over");
            bounded(cluster.transfer_leadership(heir)).await
        }
    };
    if let Err(reason) = done {
        // It is decided anew in a second.
        tracing::warn!(reason, "the quorum was not changed");
    }
}

async fn bounded(change: impl Future<Output = Result<(), ClusterError>>) -> Result<(), String> {
    match timeout(KEEPER_PATIENCE, change).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("no quorum answered in time".into()),
    }
}

/// Removes what nothing will come of: learners that never registered or were removed, and nodes
/// found dead whose address another has by now (their disk was lost).
async fn tidy(cluster: &Cluster, status: &Status, observer: &Observer, now: Instant) {
    let (strangers, replaced) = cluster.read(|state| {
        let stranger = |node: &&NodeId| {
            state.node(**node).is_none() && observer.known_for(**node, now) > STRANGER_LEARNER_AGE
        };
        let strangers: BTreeSet<NodeId> =
            status.learners.iter().filter(stranger).copied().collect();
        // On the same machine: addresses wander, above all where they are handed out.
        let successor = |dead: &NodeInfo| {
            let alive = |n: &consensus::state::Node| n.state == NodeState::Active;
            let same = |n: &NodeInfo| n.address == dead.address && n.host == dead.host;
            state.nodes().any(|(_, n)| alive(n) && same(&n.info))
        };
        let replaced = state.nodes().find(|(node, known)| {
            known.state == NodeState::Dead
                && !status.voters.contains(node)
                && successor(&known.info)
        });
        (strangers, replaced.map(|(node, _)| node))
    });
    if !strangers.is_empty() {
        tracing::info!(?strangers, "letting go of learners that are not registered");
        if let Err(reason) = bounded(cluster.remove_learners(strangers)).await {
            tracing::warn!(reason, "learners were not removed");
        }
    }
    if let Some(node) = replaced {
        remove(cluster, node, "another node of its machine has its address").await;
    }
}

/// Refused while it still has something; then it is tried again.
async fn remove(cluster: &Cluster, node: NodeId, why: &str) {
    let removed = cluster.propose(Action::RemoveNode { node }).await;
    tracing::info!(node = node.0, why, ?removed, "removing a dead node");
}

/// Media nodes that died and never came back: machines that a cloud took away. They are kept for
/// whoever looks, until the table of nodes fills.
#[derive(Default)]
struct Forgotten {
    since: BTreeMap<NodeId, Instant>,
}

impl Forgotten {
    fn look(&mut self, cluster: &Cluster, now: Instant) {
        let dead: BTreeSet<NodeId> = cluster.read(|state| {
            let dead =
                |n: &consensus::state::Node| n.state == NodeState::Dead && !n.info.roles.master;
            let dead = state.nodes().filter(|(_, known)| dead(known));
            dead.map(|(node, _)| node).collect()
        });
        self.since.retain(|node, _| dead.contains(node));
        for node in dead {
            self.since.entry(node).or_insert(now);
        }
    }

    /// The one that is longest gone, if there is need.
    fn next(&self, cluster: &Cluster, status: &Status, now: Instant) -> Option<NodeId> {
        if cluster.read(|state| state.nodes().count()) < NODES_CROWDED {
            return None;
        }
        let gone = |(node, since): &(&NodeId, &Instant)| {
            now.duration_since(**since) >= DEAD_KEPT && !status.voters.contains(node)
        };
        let gone = self.since.iter().filter(gone);
        gone.min_by_key(|(_, since)| **since).map(|(node, _)| *node)
    }
}
