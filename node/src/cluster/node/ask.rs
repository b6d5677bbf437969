//! What an operator asks of a node: the report of its cluster, made by the leader where there is
//! one, and whether a node may be taken out.

use std::collections::BTreeMap;

use bytes::Bytes;
use consensus::command::NodeState;
use consensus::ids::NodeId;
use futures_util::future::join_all;

use super::ClusterNode;
use crate::cluster::limits::{REPORT_PATIENCE, REPORT_PROBE};
use crate::cluster::links::{Links, Service};
use crate::cluster::membership::messages::{Question, decode, encode};
use crate::cluster::report::{Report, report};

impl ClusterNode {
    /// The state of the cluster as the leader sees it, else as this node does.
    pub async fn report(&self) -> Report {
        let inner = &self.inner;
        let leader = inner.cluster.status().leader;
        if let Some(leader) = leader.filter(|leader| *leader != self.id()) {
            let question = encode(&Question::Report);
            let asked = inner
                .fabric
                .call(leader, Service::Membership, question, REPORT_PATIENCE);
            if let Ok(report) = asked.await.map_err(|_| ()).and_then(parsed) {
                return report;
            }
        }
        let answers = match leader == Some(self.id()) {
            true => BTreeMap::new(),
            false => self.probe().await,
        };
        report(&inner.cluster, &inner.heartbeats, &answers)
    }

    /// Who answers at all, where nobody keeps watch over all.
    async fn probe(&self) -> BTreeMap<NodeId, bool> {
        let inner = &self.inner;
        let nodes: Vec<NodeId> = inner
            .cluster
            .read(|state| state.nodes().map(|(node, _)| node).collect());
        let asked = nodes.into_iter().map(|node| async move {
            let question = encode(&Question::Who);
            let answer = inner
                .fabric
                .call(node, Service::Membership, question, REPORT_PROBE);
            (node, answer.await.is_ok())
        });
        join_all(asked).await.into_iter().collect()
    }

    /// One that works is drained first, and the quorum keeper takes its vote; the log refuses one
    /// that still has rooms.
    pub fn may_be_removed(&self, node: NodeId) -> Result<(), String> {
        if self.cluster().status().voters.contains(&node) {
            return Err(format!(
                "{node} has a vote: drain it, or stop it, and wait until another votes instead; \
                 where the cluster needs every vote, add a node first"
            ));
        }
        let state = self
            .cluster()
            .read(|state| state.node(node).map(|known| known.state));
        match state {
            Some(NodeState::Active | NodeState::Joining) => Err(format!(
                "{node} is at work: drain it first, or stop it and wait until it is found dead"
            )),
            _ => Ok(()),
        }
    }
}

fn parsed(answer: Bytes) -> Result<Report, ()> {
    decode(&answer).map_err(|_| ())
}
