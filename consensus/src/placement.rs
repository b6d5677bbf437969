//! Which node a room goes to, and which one stands by: pure functions of one immutable view. Uses
//! `node_selector` with LiveKit's and OpenVidu's kinds, keys and limits, but never fails while one
//! media node lives: what is preferred is given up step by step, and the explanation says so.

mod explain;
mod selector;

use std::collections::BTreeSet;

pub use explain::{Concession, Explanation, StandbyReason, Verdict};
pub use selector::{Algorithm, Kind, Region, Selector, SelectorError, SortBy};

use crate::command::NodeState;
use crate::ids::NodeId;
use crate::splitmix::SplitMix;

/// Figures of a node are believed for this long (LiveKit, `pkg/routing/selector/utils.go`:
/// `AvailableSeconds`).
pub const STATS_AGE_MS_MAX: u64 = 5_000;

/// What a node last said of itself, once a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Share of all CPUs in use, 0 to 1.
    pub cpu: f64,
    /// Load average of the last minute.
    pub average_1min: f64,
    pub cpus: u32,
    pub rooms: u32,
    pub clients: u32,
    /// In and out.
    pub tracks: u32,
    /// In and out.
    pub bytes_per_second: f64,
}

impl Load {
    /// Load average per CPU (LiveKit: `GetNodeSysload`).
    pub fn system(&self) -> f64 {
        self.average_1min / f64::from(self.cpus.max(1))
    }
}

/// One node as placement sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    pub node: NodeId,
    pub host: String,
    pub zone: String,
    pub region: String,
    pub media: bool,
    pub state: NodeState,
    /// Since its last figures arrived; `None`: never.
    pub stats_age_ms: Option<u64>,
    pub load: Load,
    /// `limit.num_tracks` or `limit.bytes_per_sec` of the node is reached.
    pub full: bool,
}

impl Candidate {
    fn is_fresh(&self) -> bool {
        self.stats_age_ms.is_some_and(|age| age < STATS_AGE_MS_MAX)
    }

    /// Could run a room at all.
    fn is_possible(&self) -> bool {
        self.media && matches!(self.state, NodeState::Active | NodeState::Draining)
    }
}

/// Where a room goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    pub home: NodeId,
    pub standby: Option<NodeId>,
    pub explanation: Explanation,
}

/// The only way to fail.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("no media node lives")]
pub struct NoMediaNode {
    pub explanation: Box<Explanation>,
}

/// Places a room. `here` is the region of the node that asks; `seed` decides between equals.
pub fn place(
    candidates: &[Candidate],
    selector: &Selector,
    here: &str,
    seed: u64,
) -> Result<Placement, NoMediaNode> {
    let mut random = Random(SplitMix(seed));
    let mut explanation = Explanation::new(candidates, selector);
    let home = choose(
        candidates,
        selector,
        here,
        &mut random,
        &mut explanation,
        |_| true,
    );
    let Some(home) = home else {
        return Err(NoMediaNode {
            explanation: Box::new(explanation),
        });
    };
    explanation.verdicts.insert(home.node, Verdict::Home);
    let standby = stand_by(
        candidates,
        home,
        selector,
        here,
        &mut random,
        &mut explanation,
    );
    Ok(Placement {
        home: home.node,
        standby,
        explanation,
    })
}

/// A standby for a room whose home is settled; `None` if there is no other node.
pub fn choose_standby(
    candidates: &[Candidate],
    home: NodeId,
    selector: &Selector,
    here: &str,
    seed: u64,
) -> (Option<NodeId>, Explanation) {
    let mut explanation = Explanation::new(candidates, selector);
    let mut random = Random(SplitMix(seed));
    let standby = match candidates.iter().find(|c| c.node == home) {
        Some(home) => stand_by(
            candidates,
            home,
            selector,
            here,
            &mut random,
            &mut explanation,
        ),
        None => None,
    };
    (standby, explanation)
}

/// Another zone if there is one, else another machine, else another process; of those first that
/// are heard and have room, as one that is about to be found dead stands by for nobody.
fn stand_by(
    candidates: &[Candidate],
    home: &Candidate,
    selector: &Selector,
    here: &str,
    random: &mut Random,
    explanation: &mut Explanation,
) -> Option<NodeId> {
    // What nobody said is no difference.
    let differ = |one: &str, other: &str| one != other && !one.is_empty() && !other.is_empty();
    let other_host = |c: &Candidate| differ(&c.host, &home.host);
    let other_zone = |c: &Candidate| differ(&c.zone, &home.zone) && other_host(c);
    let anywhere = |_: &Candidate| true;
    type Rule<'a> = &'a dyn Fn(&Candidate) -> bool;
    let rules: [(Rule<'_>, StandbyReason); 3] = [
        (&other_zone, StandbyReason::OtherZone),
        (&other_host, StandbyReason::OtherHost),
        (&anywhere, StandbyReason::SameHost),
    ];
    let well = |c: &Candidate| c.is_fresh() && !c.full;
    for (healthy, (rule, reason)) in [true, false].iter().flat_map(|h| rules.map(|r| (*h, r))) {
        let mut scratch = explanation.clone();
        let stands = |c: &Candidate| c.node != home.node && c.state == NodeState::Active;
        let fits = |c: &Candidate| stands(c) && (well(c) || !healthy) && rule(c);
        let chosen = choose(candidates, selector, here, random, &mut scratch, fits);
        if let Some(chosen) = chosen {
            explanation.verdicts.insert(chosen.node, Verdict::Standby);
            explanation.standby = reason;
            return Some(chosen.node);
        }
    }
    explanation.standby = StandbyReason::NoOther;
    None
}

/// The best node of those that `fits` admits, giving up preferences one after the other.
fn choose<'a>(
    candidates: &'a [Candidate],
    selector: &Selector,
    here: &str,
    random: &mut Random,
    explanation: &mut Explanation,
    fits: impl Fn(&Candidate) -> bool,
) -> Option<&'a Candidate> {
    let possible: Vec<&Candidate> = candidates
        .iter()
        .filter(|c| c.is_possible() && fits(c))
        .collect();
    type Rule<'a> = &'a dyn Fn(&Candidate) -> bool;
    let serving = |c: &Candidate| c.state == NodeState::Active && c.is_fresh();
    let below = |c: &Candidate| serving(c) && !c.full && selector.is_below_limit(&c.load);
    let room_left = |c: &Candidate| serving(c) && !c.full;
    let active = |c: &Candidate| c.state == NodeState::Active;
    let steps: [(Rule<'_>, Concession); 5] = [
        (&below, Concession::None),
        (&room_left, Concession::LoadLimits),
        (&serving, Concession::NodeLimits),
        (&active, Concession::OldFigures),
        (&|_| true, Concession::Draining),
    ];
    for (rule, concession) in steps {
        let pool: Vec<&Candidate> = possible.iter().copied().filter(|c| rule(c)).collect();
        if let Some(chosen) = selector.select(&pool, here, random) {
            explanation.note(&pool, concession);
            return Some(chosen);
        }
    }
    None
}

/// The same choice from the same seed on every node.
struct Random(SplitMix);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.0.below(bound as u64)).unwrap_or(0)
    }

    /// Two different ones of `bound`.
    fn two(&mut self, bound: usize) -> BTreeSet<usize> {
        let first = self.below(bound);
        let second = self.below(bound - 1);
        BTreeSet::from([first, if second >= first { second + 1 } else { second }])
    }
}

#[cfg(test)]
mod tests;
