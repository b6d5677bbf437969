//! CPU of each node, averaged so that a meeting that begins is not mistaken for a trend: an
//! exponential average that knows how long ago it was fed.

use std::collections::BTreeMap;
use std::time::Duration;

use consensus::ids::NodeId;

use crate::limits::{AVERAGES_MAX, CPU_AVERAGE_OVER};

/// Time is the caller's, from any fixed beginning.
#[derive(Clone, Debug, Default)]
pub struct Averages {
    nodes: BTreeMap<NodeId, (f64, Duration)>,
}

impl Averages {
    /// What a node says of itself at `now`.
    pub fn feed(&mut self, now: Duration, node: NodeId, cpu: f64) {
        if self.nodes.len() >= AVERAGES_MAX && !self.nodes.contains_key(&node) {
            return;
        }
        let (average, last) = self.nodes.entry(node).or_insert((cpu, now));
        let passed = now.saturating_sub(*last).as_secs_f64();
        let weight = 1.0 - (-passed / CPU_AVERAGE_OVER.as_secs_f64()).exp();
        *average += (cpu - *average) * weight;
        *last = now;
    }

    /// `None`: nothing for longer than `age_max`.
    pub fn get(&self, now: Duration, node: NodeId, age_max: Duration) -> Option<f64> {
        let (average, last) = self.nodes.get(&node)?;
        (now.saturating_sub(*last) <= age_max).then_some(*average)
    }

    /// Forgets nodes that are gone.
    pub fn retain(&mut self, keep: impl Fn(NodeId) -> bool) {
        self.nodes.retain(|node, _| keep(*node));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_hardly_counts_and_a_trend_does() {
        let mut averages = Averages::default();
        let node = NodeId(1);
        let at = Duration::from_secs;
        let age = at(5);
        for second in 0..60 {
            averages.feed(at(second), node, 0.2);
        }
        for second in 60..65 {
            averages.feed(at(second), node, 1.0);
        }
        let burst = averages.get(at(65), node, age).unwrap_or_default();
        assert!((0.2..0.3).contains(&burst), "{burst}");
        for second in 65..245 {
            averages.feed(at(second), node, 1.0);
        }
        let trend = averages.get(at(245), node, age).unwrap_or_default();
        assert!(trend > 0.9, "{trend}");
        assert_eq!(averages.get(at(300), node, age), None);
    }
}
