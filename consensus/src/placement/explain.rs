//! Why a room is where it is: kept with each decision and printed by `skein room explain`.

use std::collections::BTreeMap;
use std::fmt;

use super::{Candidate, Load, STATS_AGE_MS_MAX, Selector};
use crate::command::NodeState;
use crate::ids::NodeId;

/// What a node was to one decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Home,
    Standby,
    /// Was in the choice and came later in the order.
    Considered,
    NoMedia,
    Joining,
    Dead,
    Draining,
    /// No figures for longer than [`STATS_AGE_MS_MAX`].
    Silent,
    /// A limit of the node itself.
    Full,
    OverLoadLimit,
}

/// What had to be given up to find a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concession {
    None,
    /// All are over `cpu_load_limit` or `sysload_limit`.
    LoadLimits,
    /// All reached `limit.num_tracks` or `limit.bytes_per_sec`.
    NodeLimits,
    /// Nobody's figures are fresh.
    OldFigures,
    /// All are leaving.
    Draining,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandbyReason {
    /// Not asked yet.
    Unknown,
    OtherZone,
    OtherHost,
    /// Survives the process, not the machine.
    SameHost,
    NoOther,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    pub selector: Selector,
    pub concession: Concession,
    pub standby: StandbyReason,
    pub verdicts: BTreeMap<NodeId, Verdict>,
    pub loads: BTreeMap<NodeId, Load>,
}

impl Explanation {
    pub(super) fn new(candidates: &[Candidate], selector: &Selector) -> Self {
        let verdict = |c: &Candidate| match c.state {
            _ if !c.media => Verdict::NoMedia,
            NodeState::Joining => Verdict::Joining,
            NodeState::Dead => Verdict::Dead,
            NodeState::Draining => Verdict::Draining,
            NodeState::Active if !c.is_fresh() => Verdict::Silent,
            NodeState::Active if c.full => Verdict::Full,
            NodeState::Active if !selector.is_below_limit(&c.load) => Verdict::OverLoadLimit,
            NodeState::Active => Verdict::Considered,
        };
        Self {
            selector: selector.clone(),
            concession: Concession::None,
            standby: StandbyReason::Unknown,
            verdicts: candidates.iter().map(|c| (c.node, verdict(c))).collect(),
            loads: candidates.iter().map(|c| (c.node, c.load)).collect(),
        }
    }

    pub(super) fn note(&mut self, pool: &[&Candidate], concession: Concession) {
        self.concession = concession;
        for candidate in pool {
            self.verdicts.insert(candidate.node, Verdict::Considered);
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Home => f.write_str("home"),
            Self::Standby => f.write_str("standby"),
            Self::Considered => f.write_str("considered, not chosen"),
            Self::NoMedia => f.write_str("runs no media"),
            Self::Joining => f.write_str("is still joining"),
            Self::Dead => f.write_str("is dead"),
            Self::Draining => f.write_str("is draining"),
            Self::Silent => write!(f, "sent no figures for {} s", STATS_AGE_MS_MAX / 1_000),
            Self::Full => f.write_str("reached a limit of its own"),
            Self::OverLoadLimit => f.write_str("is over the load limit"),
        }
    }
}

impl fmt::Display for Concession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "within all limits",
            Self::LoadLimits => "all nodes are over the load limit; it was ignored",
            Self::NodeLimits => "all nodes reached their own limits; they were ignored",
            Self::OldFigures => "no node's figures are fresh; old ones were used",
            Self::Draining => "all nodes are draining; one of them was used",
        })
    }
}

impl fmt::Display for StandbyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "no standby was asked for",
            Self::OtherZone => "the standby is in another zone",
            Self::OtherHost => "the standby is on another machine (no other zone)",
            Self::SameHost => "the standby is on the same machine (no other machine)",
            Self::NoOther => "no standby: no other media node",
        })
    }
}

impl fmt::Display for Explanation {
    /// One line of reasons, then one per node.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Selector {
            kind,
            sort_by,
            algorithm,
            ..
        } = &self.selector;
        writeln!(
            f,
            "{kind:?}, lowest {sort_by:?} ({algorithm:?}): {}; {}",
            self.concession, self.standby
        )?;
        for (node, verdict) in &self.verdicts {
            let load = self.loads.get(node).copied().unwrap_or_default();
            writeln!(
                f,
                "  {node}: {verdict} (cpu {:.2}, load {:.2}, rooms {}, clients {}, tracks {}, {:.0} B/s)",
                load.cpu,
                load.system(),
                load.rooms,
                load.clients,
                load.tracks,
                load.bytes_per_second
            )?;
        }
        Ok(())
    }
}
