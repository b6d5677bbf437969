//! How many media nodes there should be, and which one goes: a pure decision on an immutable view,
//! with its reason in words. Never below the minimum, never without a quorum, one scale-in at a
//! time, and never a node whose load the others could not take.

mod average;
mod memory;
#[cfg(test)]
mod tests;
mod victim;

use std::time::Duration;

use consensus::command::NodeState;
use consensus::ids::NodeId;

pub use average::Averages;
pub use memory::Memory;

use crate::limits::{
    COOL_DOWN_IN_DEFAULT, COOL_DOWN_OUT_DEFAULT, LAUNCH_MAX, SCALE_IN_HEADROOM, TARGET_BAND,
    TARGET_CPU_DEFAULT, WARM_UP_DEFAULT,
};

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    pub nodes_min: u32,
    pub nodes_max: u32,
    /// Share of all CPUs, 0 to 1.
    pub target_cpu: f64,
    pub warm_up: Duration,
    pub cool_down_out: Duration,
    pub cool_down_in: Duration,
}

impl Default for Settings {
    /// OpenVidu's template: 1, 5, 50 %.
    fn default() -> Self {
        Self {
            nodes_min: 1,
            nodes_max: 5,
            target_cpu: TARGET_CPU_DEFAULT,
            warm_up: WARM_UP_DEFAULT,
            cool_down_out: COOL_DOWN_OUT_DEFAULT,
            cool_down_in: COOL_DOWN_IN_DEFAULT,
        }
    }
}

/// Why a node drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draining {
    /// Somebody wants it, or the cloud takes the machine.
    ForGood,
    /// Only because there were too many.
    ToScaleIn,
}

/// One media node.
#[derive(Clone, Debug, PartialEq)]
pub struct MediaNode {
    pub node: NodeId,
    pub zone: String,
    pub state: NodeState,
    pub draining: Option<Draining>,
    /// Since it joined.
    pub age: Duration,
    /// Averaged share of its CPUs; `None`: no fresh figures.
    pub cpu: Option<f64>,
    pub cpus: u32,
    pub rooms: u32,
    pub jobs: u32,
    /// It may be taken away: it belongs to the group, is no master and the quorum does without it.
    pub removable: bool,
}

/// All that the decision sees.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub nodes: Vec<MediaNode>,
    /// The leader can commit.
    pub quorum: bool,
    /// Machines that were ordered and have not joined, and are not overdue.
    pub launching: u32,
    /// Since the last launch; `None`: never.
    pub since_out: Option<Duration>,
    /// Since the last node was taken away.
    pub since_in: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Nothing,
    /// So many more machines, in this zone if there is a choice.
    Launch {
        count: u32,
        zone: Option<String>,
    },
    /// Empty it, then take it away.
    Remove {
        node: NodeId,
    },
    /// It was to go, and is needed after all.
    Keep {
        node: NodeId,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub step: Step,
    /// For people: in the log, in `skein cluster status`.
    pub reason: String,
}

impl Decision {
    fn nothing(reason: impl Into<String>) -> Self {
        Self {
            step: Step::Nothing,
            reason: reason.into(),
        }
    }
}

/// The sum of it, in CPUs.
struct Totals {
    /// Active nodes.
    active: u32,
    /// Those and the ones that will be: joining, launching.
    coming: u32,
    /// CPUs in use on nodes whose figures are fresh, and on draining ones, whose load must go
    /// somewhere.
    used: f64,
    /// CPUs of one node, on average.
    each: f64,
    silent: u32,
}

/// The next step.
pub fn decide(settings: &Settings, view: &View) -> Decision {
    if !view.quorum {
        return Decision::nothing("no quorum: nothing is changed without one");
    }
    let totals = totals(view);
    let wanted = wanted(settings, &totals);
    let (min, max) = (
        settings.nodes_min,
        settings.nodes_max.max(settings.nodes_min),
    );
    if totals.coming < wanted || totals.coming < min {
        return grow(settings, view, &totals, wanted.clamp(min, max));
    }
    shrink(settings, view, &totals, wanted.max(min), max)
}

fn totals(view: &View) -> Totals {
    let counted = |n: &&MediaNode| matches!(n.state, NodeState::Active | NodeState::Draining);
    let fresh: Vec<&MediaNode> = view.nodes.iter().filter(counted).collect();
    let of = |state| view.nodes.iter().filter(|n| n.state == state).count();
    let to_u32 = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let active = to_u32(of(NodeState::Active));
    let joining = to_u32(of(NodeState::Joining));
    let cpus: u32 = fresh.iter().map(|n| n.cpus.max(1)).sum();
    let used = |n: &&&MediaNode| n.cpu.unwrap_or(0.0).clamp(0.0, 1.0) * f64::from(n.cpus.max(1));
    let silent = |n: &&&MediaNode| n.cpu.is_none() && n.state == NodeState::Active;
    Totals {
        active,
        coming: active + joining + view.launching,
        used: fresh.iter().map(|n| used(&n)).sum(),
        each: f64::from(cpus.max(1)) / f64::from(to_u32(fresh.len()).max(1)),
        silent: to_u32(fresh.iter().filter(silent).count()),
    }
}

/// Nodes that bring the average to the target, once it is beyond the band.
fn wanted(settings: &Settings, totals: &Totals) -> u32 {
    let target = settings.target_cpu.clamp(0.05, 1.0);
    let nodes = totals.used / (target * totals.each);
    let known = f64::from(totals.coming.max(1));
    if nodes <= known * (1.0 + TARGET_BAND) {
        // Within the band, or less than there is: shrinking is judged by itself.
        return (nodes.ceil() as u32).min(totals.coming);
    }
    nodes.ceil() as u32
}

fn grow(settings: &Settings, view: &View, totals: &Totals, wanted: u32) -> Decision {
    let lacking = wanted.saturating_sub(totals.coming);
    let why = format!(
        "{:.1} CPUs are in use, for {:.0} % of each {} nodes are needed and {} are there or coming",
        totals.used,
        settings.target_cpu * 100.0,
        wanted,
        totals.coming,
    );
    if lacking == 0 {
        return Decision::nothing(format!("{why}; the maximum is {}", settings.nodes_max));
    }
    // One that was to go is there already.
    let leaving = |n: &&MediaNode| n.draining == Some(Draining::ToScaleIn);
    let back = view.nodes.iter().filter(leaving).min_by_key(|n| n.node);
    if let Some(back) = back.filter(|n| n.state == NodeState::Draining) {
        let node = back.node;
        return Decision {
            step: Step::Keep { node },
            reason: format!("{why}; {node} was about to go and stays"),
        };
    }
    let below_min = totals.coming < settings.nodes_min;
    if !below_min
        && view
            .since_out
            .is_some_and(|since| since < settings.cool_down_out)
    {
        return Decision::nothing(format!("{why}; the last launch has yet to show"));
    }
    let count = lacking.min(totals.coming.max(1)).min(LAUNCH_MAX);
    Decision {
        step: Step::Launch {
            count,
            zone: victim::emptiest_zone(&view.nodes),
        },
        reason: why,
    }
}

fn shrink(settings: &Settings, view: &View, totals: &Totals, floor: u32, max: u32) -> Decision {
    if let Some(going) = view.nodes.iter().find(|n| n.state == NodeState::Draining) {
        return Decision::nothing(format!("{} is draining: one at a time", going.node));
    }
    if totals.coming > totals.active {
        return Decision::nothing("machines are on their way");
    }
    let above_max = totals.active > max;
    if totals.active <= floor.max(1) && !above_max {
        return Decision::nothing(format!("{} nodes are what is needed", totals.active));
    }
    if totals.silent > 0 {
        return Decision::nothing(format!("{} nodes sent no figures lately", totals.silent));
    }
    let rested = |since: Option<Duration>| since.is_none_or(|s| s >= settings.cool_down_in);
    let rested = rested(view.since_out) && rested(view.since_in);
    if !above_max && !rested {
        return Decision::nothing("a change was made lately");
    }
    let warm = |n: &MediaNode| n.state != NodeState::Active || n.age >= settings.warm_up;
    if !above_max && !view.nodes.iter().all(warm) {
        return Decision::nothing("a node has yet to get its share of rooms");
    }
    let room = settings.target_cpu * SCALE_IN_HEADROOM;
    let limit = if above_max { 1.0 } else { room };
    match victim::choose(&view.nodes, totals.used, limit) {
        Ok(node) => Decision {
            step: Step::Remove { node: node.node },
            reason: format!(
                "{:.1} CPUs are in use on {} nodes, {} do; {} goes ({} rooms, zone {:?})",
                totals.used,
                totals.active,
                totals.active - 1,
                node.node,
                node.rooms,
                node.zone,
            ),
        },
        Err(reason) => Decision::nothing(reason),
    }
}
