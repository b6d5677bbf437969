//! How far a drain is and what holds it up, for the API and the command line.

use consensus::command::NodeState;
use consensus::ids::{NodeId, RoomName};
use serde::Serialize;

use super::record::{Cause, Record, Then};
use super::{Drains, Leaving, RoomLeft, UNCOUNTED};
use crate::limits::STUCK_REASONS_MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Rooms move away.
    Moving,
    /// For jobs, for its vote.
    Waiting,
    /// It may be stopped.
    Done,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Progress {
    /// As text: JSON's numbers end at 2^53.
    pub node: String,
    pub phase: Phase,
    pub cause: Cause,
    pub then: Then,
    pub started_ms: u64,
    pub deadline_ms: Option<u64>,
    pub done_ms: Option<u64>,
    /// Something was, or will be, cut short at the deadline.
    pub forced: bool,
    pub rooms_total: u32,
    pub rooms_left: u32,
    pub participants_left: u32,
    pub jobs_left: u32,
    /// Of the rooms, at the pace they move with; `None` when none can.
    pub seconds_left: Option<u64>,
    /// Why it does not get on.
    pub stuck: Vec<String>,
}

/// People in rooms whose number is known.
fn counted(rooms: &[&RoomLeft]) -> u32 {
    let counts = rooms.iter().map(|room| room.participants);
    let known = counts.filter(|count| *count != UNCOUNTED);
    known.fold(0, u32::saturating_add)
}

impl Drains {
    /// Of every node that drains.
    pub fn progress(&self) -> Vec<Progress> {
        let nodes = self.view.nodes.iter();
        nodes
            .map(|(node, leaving)| self.of(*node, leaving))
            .collect()
    }

    fn of(&self, node: NodeId, leaving: &Leaving) -> Progress {
        let rooms: Vec<_> = self.view.rooms.iter().filter(|r| r.home == node).collect();
        let left = u32::try_from(rooms.len()).unwrap_or(u32::MAX);
        let assumed = Record {
            cause: Cause::Operator,
            then: Then::Stay,
            started_ms: 0,
            deadline_ms: None,
            rooms: left,
            done_ms: None,
            forced: false,
        };
        let record = leaving.record.as_ref().unwrap_or(&assumed);
        let empty = left == 0 && leaving.jobs == 0;
        let over = record.done_ms.is_some() || (empty && !leaving.keeps_vote());
        let phase = match (left, over) {
            (0, true) => Phase::Done,
            (0, false) => Phase::Waiting,
            _ => Phase::Moving,
        };
        let able = self.view.takers > 0 && self.view.quorum;
        let seconds = (self.pace * left).as_secs_f64().ceil() as u64;
        Progress {
            node: node.0.to_string(),
            phase,
            cause: record.cause,
            then: record.then,
            started_ms: record.started_ms,
            deadline_ms: record.deadline_ms,
            done_ms: record.done_ms,
            forced: record.forced || self.is_forced(node),
            rooms_total: record.rooms.max(left),
            rooms_left: left,
            participants_left: counted(&rooms),
            jobs_left: leaving.jobs,
            seconds_left: able.then_some(seconds),
            stuck: match phase {
                Phase::Done => Vec::new(),
                Phase::Moving | Phase::Waiting => self.stuck(node, leaving, left),
            },
        }
    }

    fn stuck(&self, node: NodeId, leaving: &Leaving, rooms: u32) -> Vec<String> {
        let mut why = Vec::new();
        if !self.view.quorum {
            why.push("no quorum: nothing moves without one".to_owned());
        }
        if leaving.state == NodeState::Dead {
            why.push("it is dead".to_owned());
        }
        if rooms > 0 && self.view.takers == 0 {
            why.push("no other media node takes rooms".to_owned());
        }
        if rooms == 0 && leaving.jobs > 0 {
            why.push(format!("{} jobs run on it", leaving.jobs));
        }
        if leaving.keeps_vote() && !leaving.vote_may_go {
            why.push("the quorum needs its vote".to_owned());
        } else if rooms == 0 && leaving.keeps_vote() {
            why.push("its vote goes to another".to_owned());
        }
        let here = |name: &RoomName| {
            self.view
                .rooms
                .iter()
                .any(|r| r.home == node && r.name == *name)
        };
        let failed = self.failed.iter().filter(|(name, _)| here(name));
        why.extend(failed.map(|(name, (reason, _))| format!("room {name}: {reason}")));
        why.truncate(STUCK_REASONS_MAX);
        why
    }
}
