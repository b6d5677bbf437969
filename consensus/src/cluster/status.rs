//! What `skein cluster status` and the quorum keeper look at.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{Instant, RaftMetrics, ServerState};

use super::Cluster;
use crate::ids::NodeId;
use crate::raft::Types;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Leader,
    Candidate,
    Follower,
    Learner,
    /// Raft ended: an error of the disk, or a shutdown.
    Stopped,
}

/// How far the leader knows another voter or learner to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoterProgress {
    /// Entries it still lacks; `None`: it never answered.
    pub lag: Option<u64>,
    /// Since its last answer to a heartbeat; `None`: never, or it is the leader itself.
    pub silent_for: Option<Duration>,
}

/// One node's view at one moment; progress only where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub node: NodeId,
    pub role: Role,
    pub term: u64,
    pub leader: Option<NodeId>,
    pub voters: BTreeSet<NodeId>,
    pub learners: BTreeSet<NodeId>,
    /// While voters change, both the old and the new set must agree; and until that is committed,
    /// the others may still hold the old set.
    pub changing: bool,
    pub last_log: Option<u64>,
    pub committed: Option<u64>,
    pub applied: Option<u64>,
    pub snapshot: Option<u64>,
    pub progress: BTreeMap<NodeId, VoterProgress>,
    /// Why raft stopped.
    pub stopped: Option<String>,
}

impl Cluster {
    pub fn status(&self) -> Status {
        status(&self.inner.raft.metrics().borrow_watched())
    }

    /// Waits until the status is as wished and returns it.
    pub async fn wait_for(&self, wished: impl Fn(&Status) -> bool) -> Status {
        let mut metrics = self.inner.raft.metrics();
        loop {
            let now = status(&metrics.borrow_watched());
            if wished(&now) || metrics.changed().await.is_err() {
                return now;
            }
        }
    }
}

fn status(metrics: &RaftMetrics<Types>) -> Status {
    let stopped = metrics
        .running_state
        .as_ref()
        .err()
        .map(ToString::to_string);
    let role = match metrics.state {
        _ if stopped.is_some() => Role::Stopped,
        ServerState::Leader => Role::Leader,
        ServerState::Candidate => Role::Candidate,
        ServerState::Follower => Role::Follower,
        ServerState::Learner => Role::Learner,
        ServerState::Shutdown => Role::Stopped,
    };
    let membership = metrics.membership_config.membership();
    let since = metrics.membership_config.log_id().map(|id| id.index);
    let committed = metrics.local_committed.map(|id| id.index);
    Status {
        node: metrics.id,
        role,
        term: metrics.current_term,
        leader: metrics.current_leader,
        voters: membership.voter_ids().collect(),
        learners: membership.learner_ids().collect(),
        changing: membership.get_joint_config().len() > 1 || since > committed,
        last_log: metrics.last_log_index,
        committed,
        applied: metrics.last_applied.map(|id| id.index),
        snapshot: metrics.snapshot.map(|id| id.index),
        progress: progress(metrics),
        stopped,
    }
}

fn progress(metrics: &RaftMetrics<Types>) -> BTreeMap<NodeId, VoterProgress> {
    let Some(replication) = &metrics.replication else {
        return BTreeMap::new();
    };
    let next = metrics.last_log_index.map_or(0, |index| index + 1);
    let lag =
        |matched: &Option<crate::raft::LogId>| matched.map(|id| next.saturating_sub(id.index + 1));
    let silent_for = |node: &NodeId| {
        let heard = metrics.heartbeat.as_ref()?.get(node)?.as_ref()?;
        Some(heard.elapsed())
    };
    replication
        .iter()
        .map(|(node, matched)| {
            let progress = VoterProgress {
                lag: lag(matched),
                silent_for: silent_for(node),
            };
            (*node, progress)
        })
        .collect()
}
