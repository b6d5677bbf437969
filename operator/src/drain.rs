//! Emptying nodes: a core that looks at the log and says which room moves next, what a drain waits
//! for and when it is over. All that must outlive a leader is in the log (`record`); the rest is
//! pace. Used by `node`'s drain shell, which carries moves out and reports how they ended.

mod progress;
mod record;
#[cfg(test)]
mod tests;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use consensus::command::NodeState;
use consensus::ids::{Epoch, NodeId, RoomName};

pub use progress::{Phase, Progress};
pub use record::{Cause, Record, RecordError, Then, cancel, request};

use crate::limits::{
    FINISH_RETRY, MOVE_RETRY, MOVES_AT_ONCE_MAX, MOVES_PER_SECOND_DEFAULT, UNREADY_PATIENCE,
    UNREADY_RETRY,
};

/// Nobody said how many are in a room: it is not among the empty ones.
pub const UNCOUNTED: u32 = u32::MAX;

/// One room that has its home on a node that drains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomLeft {
    pub name: RoomName,
    pub epoch: Epoch,
    pub home: NodeId,
    /// As its home last said, or `UNCOUNTED`.
    pub participants: u32,
}

/// One node that drains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    pub state: NodeState,
    /// `None`: somebody drained it without saying more.
    pub record: Option<Record>,
    pub jobs: u32,
    pub votes: bool,
    /// The quorum keeper would let its vote go.
    pub vote_may_go: bool,
}

impl Leaving {
    /// It is to go and still votes. One that stays may vote on: where there is nobody to vote in
    /// its place, two of three suffice while it is restarted.
    fn keeps_vote(&self) -> bool {
        let goes = self.record.as_ref().is_some_and(|r| r.then != Then::Stay);
        self.votes && goes
    }
}

/// All that the core sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub nodes: BTreeMap<NodeId, Leaving>,
    pub rooms: Vec<RoomLeft>,
    /// Media nodes that take rooms.
    pub takers: u32,
    pub quorum: bool,
}

/// What should be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To a node of placement's choice.
    Move {
        name: RoomName,
        epoch: Epoch,
        /// Not yet, if its people would notice now and not a little later.
        patient: bool,
    },
    /// Time is up and nobody takes it.
    Close { name: RoomName, epoch: Epoch },
    /// Nothing is left on it, or its time is up.
    Finish {
        node: NodeId,
        record: Record,
        forced: bool,
    },
}

/// How a move or a close ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub name: RoomName,
    pub end: End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Done,
    /// Of a patient move: the people would notice, and a little later perhaps not.
    Unready,
    Failed(String),
}

/// See the file header.
#[derive(Debug)]
pub struct Drains {
    pace: Duration,
    view: View,
    /// When it was seen, by everybody's clock, in milliseconds since 1970.
    wall_ms: u64,
    next_move: Duration,
    moving: BTreeMap<RoomName, Epoch>,
    failed: BTreeMap<RoomName, (String, Duration)>,
    /// Rooms that wait for their people to be protected, since when.
    unready: BTreeMap<RoomName, Duration>,
    finished: BTreeMap<NodeId, (u64, Duration)>,
    outputs: VecDeque<Output>,
}

impl Default for Drains {
    fn default() -> Self {
        Self::new(MOVES_PER_SECOND_DEFAULT)
    }
}

impl Drains {
    pub fn new(moves_per_second: f64) -> Self {
        let pace = Duration::from_secs_f64(1.0 / moves_per_second.clamp(0.01, 1_000.0));
        Self {
            pace,
            view: View::default(),
            wall_ms: 0,
            next_move: Duration::ZERO,
            moving: BTreeMap::new(),
            failed: BTreeMap::new(),
            unready: BTreeMap::new(),
            finished: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    /// `now` is this process's clock, `wall_ms` everybody's: deadlines survive a leader.
    pub fn look(&mut self, now: Duration, wall_ms: u64, view: View) {
        self.view = view;
        self.wall_ms = wall_ms;
        let here = |name: &RoomName| self.view.rooms.iter().any(|room| room.name == *name);
        self.failed.retain(|name, _| here(name));
        self.unready.retain(|name, _| here(name));
        let leaving = &self.view.nodes;
        self.finished.retain(|node, _| leaving.contains_key(node));
        self.act(now);
    }

    /// What came of a move or a close.
    pub fn moved(&mut self, now: Duration, moved: Moved) {
        let Moved { name, end } = moved;
        self.moving.remove(&name);
        match end {
            End::Done => {
                self.failed.remove(&name);
                self.view.rooms.retain(|room| room.name != name);
            }
            End::Unready => {
                if let Entry::Vacant(first) = self.unready.entry(name.clone()) {
                    first.insert(now);
                    // Asking was no move; asking again and again takes its turns.
                    self.next_move = self.next_move.min(now);
                }
                let why = "not everybody in it is protected yet".to_owned();
                self.failed.insert(name, (why, now + UNREADY_RETRY));
            }
            End::Failed(why) => _ = self.failed.insert(name, (why, now + MOVE_RETRY)),
        }
        self.act(now);
    }

    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to look again although nothing happened.
    pub fn deadline(&self) -> Option<Duration> {
        if self.view.takers == 0 || self.moving.len() >= MOVES_AT_ONCE_MAX {
            return None;
        }
        let rooms = self.view.rooms.iter().map(|room| &room.name);
        let waiting = rooms.filter(|name| !self.moving.contains_key(*name));
        let again = waiting.map(|name| self.failed.get(name).map_or(Duration::ZERO, |one| one.1));
        Some(again.min()?.max(self.next_move))
    }

    fn is_forced(&self, node: NodeId) -> bool {
        let record = self.view.nodes.get(&node).and_then(|n| n.record.as_ref());
        let deadline = record.and_then(|record| record.deadline_ms);
        deadline.is_some_and(|deadline| deadline <= self.wall_ms)
    }

    fn act(&mut self, now: Duration) {
        if !self.view.quorum {
            return;
        }
        self.move_rooms(now);
        self.finish(now);
    }

    /// Those whose time is up at once, then empty ones, then the smallest, at the pace; what was
    /// put off after all others.
    fn move_rooms(&mut self, now: Duration) {
        let mut due: Vec<&RoomLeft> = self
            .view
            .rooms
            .iter()
            .filter(|room| !self.moving.contains_key(&room.name))
            .filter(|room| {
                let failed = self.failed.get(&room.name);
                failed.is_none_or(|(_, again)| *again <= now)
            })
            .collect();
        due.sort_by_key(|room| {
            let forced = self.is_forced(room.home);
            let put_off = self.unready.contains_key(&room.name);
            (!forced, put_off, room.participants, room.name.clone())
        });
        let mut chosen = Vec::new();
        for room in due {
            let forced = self.is_forced(room.home);
            if self.view.takers == 0 {
                if forced {
                    let (name, epoch) = (room.name.clone(), room.epoch);
                    chosen.push(Output::Close { name, epoch });
                }
                continue;
            }
            if !forced {
                let full = self.moving.len() + chosen.len() >= MOVES_AT_ONCE_MAX;
                if self.next_move > now || full {
                    break;
                }
                self.next_move = now + self.pace;
            }
            let waited = self.unready.get(&room.name);
            let waited = waited.map(|since| now.saturating_sub(*since));
            chosen.push(Output::Move {
                name: room.name.clone(),
                epoch: room.epoch,
                patient: !forced && waited.is_none_or(|waited| waited < UNREADY_PATIENCE),
            });
        }
        for output in chosen {
            if let Output::Move { name, epoch, .. } | Output::Close { name, epoch } = &output {
                self.moving.insert(name.clone(), *epoch);
            }
            self.outputs.push_back(output);
        }
    }

    fn finish(&mut self, now: Duration) {
        for (node, leaving) in &self.view.nodes {
            let Some(record) = &leaving.record else {
                continue;
            };
            let rooms = self.view.rooms.iter().any(|room| room.home == *node);
            let forced = leaving.jobs > 0 && self.is_forced(*node);
            let empty = !rooms && (leaving.jobs == 0 || forced);
            // A vote is never taken by force: the quorum outlives a node's deadline.
            if !empty || leaving.keeps_vote() || record.done_ms.is_some() {
                continue;
            }
            let told = self.finished.get(node);
            let again =
                told.is_none_or(|(started, again)| *started != record.started_ms || *again <= now);
            if again {
                let wait = now + FINISH_RETRY;
                self.finished.insert(*node, (record.started_ms, wait));
                let (node, record) = (*node, record.clone());
                self.outputs.push_back(Output::Finish {
                    node,
                    record,
                    forced,
                });
            }
        }
    }
}
