//! What a leader remembers between two decisions: since when it has known each life of a node, what
//! was ordered and when anything changed. A new leader remembers nothing and therefore waits.

use std::collections::BTreeMap;
use std::time::Duration;

use consensus::ids::{Epoch, NodeId};

use super::Step;
use crate::limits::LAUNCH_OVERDUE;

/// Time is the caller's, from any fixed beginning.
#[derive(Clone, Debug)]
pub struct Memory {
    known: BTreeMap<NodeId, (Epoch, Duration)>,
    /// When each machine was ordered that has not joined yet.
    ordered: Vec<Duration>,
    out: Duration,
    gone: Duration,
}

impl Memory {
    /// Begins to lead at `now`, with these nodes there.
    pub fn new(now: Duration, nodes: impl IntoIterator<Item = (NodeId, Epoch)>) -> Self {
        let known = nodes.into_iter().map(|(node, life)| (node, (life, now)));
        Self {
            known: known.collect(),
            ordered: Vec::new(),
            out: now,
            gone: now,
        }
    }

    /// These are there now. One that is new was ordered, if any was.
    pub fn see(&mut self, now: Duration, nodes: &BTreeMap<NodeId, Epoch>) {
        self.known.retain(|node, _| nodes.contains_key(node));
        self.ordered
            .retain(|at| now.saturating_sub(*at) < LAUNCH_OVERDUE);
        for (node, life) in nodes {
            match self.known.get_mut(node) {
                Some((known, _)) if known == life => {}
                Some(known) => *known = (*life, now),
                None => {
                    self.known.insert(*node, (*life, now));
                    if !self.ordered.is_empty() {
                        self.ordered.remove(0);
                    }
                }
            }
        }
    }

    /// It was carried out.
    pub fn did(&mut self, now: Duration, step: &Step) {
        match step {
            Step::Launch { count, .. } => {
                self.out = now;
                self.ordered.extend((0..*count).map(|_| now));
            }
            Step::Remove { .. } => self.gone = now,
            Step::Keep { .. } => self.out = now,
            Step::Nothing => {}
        }
    }

    pub fn age(&self, now: Duration, node: NodeId) -> Duration {
        let known = self.known.get(&node);
        known.map_or(Duration::ZERO, |(_, since)| now.saturating_sub(*since))
    }

    pub fn launching(&self) -> u32 {
        u32::try_from(self.ordered.len()).unwrap_or(u32::MAX)
    }

    pub fn since_out(&self, now: Duration) -> Duration {
        now.saturating_sub(self.out)
    }

    pub fn since_in(&self, now: Duration) -> Duration {
        now.saturating_sub(self.gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_ordered_joins_or_is_given_up() {
        let at = Duration::from_secs;
        let nodes = |ids: &[u64]| ids.iter().map(|id| (NodeId(*id), Epoch(*id))).collect();
        let mut memory = Memory::new(at(0), [(NodeId(1), Epoch(1))]);
        let launch = Step::Launch {
            count: 3,
            zone: None,
        };
        memory.did(at(10), &launch);
        assert_eq!(memory.launching(), 3);
        memory.see(at(100), &nodes(&[1, 2]));
        assert_eq!(memory.launching(), 2);
        assert_eq!(memory.age(at(130), NodeId(2)), at(30));
        // A node that starts again was not ordered, and is young.
        let again = BTreeMap::from([(NodeId(1), Epoch(9)), (NodeId(2), Epoch(2))]);
        memory.see(at(200), &again);
        assert_eq!(memory.launching(), 2);
        assert_eq!(memory.age(at(200), NodeId(1)), at(0));
        memory.see(at(700), &again);
        assert_eq!(memory.launching(), 0);
    }
}
