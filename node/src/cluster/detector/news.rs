//! Whom this node suspects, as news: each suspicion is said when it begins and when it ends,
//! however often the leader is told of it meanwhile. For logs and figures.

use std::collections::BTreeMap;
use std::time::Duration;

use consensus::ids::NodeId;

use super::{Cause, Detector, Output, Suspicion};

impl Detector {
    pub(super) fn note_news(&mut self, now: Duration, interval: Duration) {
        let opinions = self.peers.iter().filter_map(|(node, peer)| {
            let suspicion = Suspicion {
                node: *node,
                incarnation: peer.incarnation,
                cause: peer.suspicion(now, interval)?,
            };
            Some((*node, suspicion))
        });
        let suspected: BTreeMap<NodeId, Suspicion> = opinions.collect();
        if suspected == self.suspected {
            return;
        }
        let before = std::mem::replace(&mut self.suspected, suspected);
        for (node, was) in &before {
            if !self.suspected.contains_key(node) {
                let peer = self.peers.get(node);
                let heard = peer.is_some_and(|peer| peer.incarnation == was.incarnation);
                self.outputs
                    .push_back(Output::Relieved { node: *node, heard });
            }
        }
        for (node, suspicion) in &self.suspected {
            if before.get(node) != Some(suspicion) {
                self.outputs.push_back(Output::Suspected(*suspicion));
            }
        }
    }

    /// Those this node suspects, and why, as it said last.
    pub fn suspects(&self) -> BTreeMap<NodeId, Cause> {
        let known = self.suspected.iter();
        known.map(|(node, known)| (*node, known.cause)).collect()
    }
}
