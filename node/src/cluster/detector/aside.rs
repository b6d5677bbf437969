//! A leader that hears nothing of a node that nobody else misses: it gives that node neither the
//! log nor an answer, and no verdict either. Another master may lead instead.

use std::time::Duration;

use consensus::ids::NodeId;

use super::limits::{ASIDE_AGAIN, BLIND_FOR, TOLD_FRESH};
use super::{Cause, Detector, Output};

impl Detector {
    /// Says who may lead instead if this leader has been the only one for long that misses a node.
    pub(super) fn step_aside(&mut self, now: Duration, interval: Duration) {
        let lately = |at: Duration| now.saturating_sub(at) < ASIDE_AGAIN;
        if !self.leads() || self.aside.is_some_and(lately) || !self.is_blind(now, interval) {
            return;
        }
        let hears = |node: &NodeId| {
            let peer = self.peers.get(node);
            peer.is_some_and(|peer| !peer.is_doubted(now, interval))
        };
        let masters = self.roster.iter().filter(|(_, life)| life.master);
        let heirs = masters.map(|(node, _)| *node).filter(hears);
        // Whoever misses others itself is no better.
        let heirs: Vec<NodeId> = heirs
            .filter(|node| !self.misses_somebody(now, *node))
            .collect();
        if !heirs.is_empty() {
            self.aside = Some(now);
            self.outputs.push_back(Output::StepAside { to: heirs });
        }
    }

    fn is_blind(&self, now: Duration, interval: Duration) -> bool {
        self.peers.iter().any(|(node, peer)| {
            peer.suspicion(now, interval) == Some(Cause::Silence)
                && peer.silent_for(now) >= BLIND_FOR
                && !self.is_seconded(now, *node)
        })
    }

    /// Somebody else, lately, suspects it too.
    pub(super) fn is_seconded(&self, now: Duration, node: NodeId) -> bool {
        let of = (node, NodeId(0))..=(node, NodeId(u64::MAX));
        self.told
            .range(of)
            .any(|(_, (_, at))| now.saturating_sub(*at) <= TOLD_FRESH)
    }

    /// It told of anybody lately.
    fn misses_somebody(&self, now: Duration, by: NodeId) -> bool {
        let fresh = |at: &Duration| now.saturating_sub(*at) <= TOLD_FRESH;
        let mut told = self.told.iter();
        told.any(|((_, from), (_, at))| *from == by && fresh(at))
    }
}
