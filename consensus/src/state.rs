//! The replicated state and the one function that changes it. Pure: the same entries in the same
//! order give the same bytes on every node; no clock, no randomness, no I/O, ordered maps only.
//! Every map is bounded in `limits.rs`; a command that would break a bound is refused.

mod encoding;
mod jobs;
mod leases;
mod mandates;
mod nodes;
mod rooms;
mod values;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rkyv::{Archive, Deserialize, Serialize};

pub use encoding::{decode_state, encode_state};
pub use jobs::Job;
pub use leases::Lease;
pub use mandates::Mandate;
pub use nodes::Node;
pub use values::Value;

use crate::command::{Action, Command, Effect, NodeState, Outcome, Refusal, Room};
use crate::ids::{Epoch, JobId, LeaseName, LogIndex, NodeId, RequestId, RoomName, ValueKey};
use crate::limits::{IDS_PER_COMMAND_MAX, REQUESTS_REMEMBERED, STATE_BYTES_MAX};

type Answer = Result<Outcome, Refusal>;

/// What came of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub answer: Result<Outcome, Refusal>,
    /// Empty if the command was refused or had been applied before.
    pub effects: Vec<Effect>,
}

#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) rooms: BTreeMap<RoomName, Room>,
    pub(crate) leases: BTreeMap<LeaseName, Lease>,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) values: BTreeMap<ValueKey, Value>,
    /// Bytes of all values and details, kept as they change.
    bytes: u64,
    epoch: u64,
    next_id: u64,
    /// Ids that may not come back: these, and all below `removed_below`, which early versions
    /// raised.
    removed_nodes: BTreeSet<NodeId>,
    removed_below: u64,
    answers: BTreeMap<RequestId, Result<Outcome, Refusal>>,
    /// The requests in `answers`, oldest first.
    remembered: VecDeque<RequestId>,
    /// Of rooms that have, or were taken over by, a standby.
    pub(crate) mandates: BTreeMap<RoomName, mandates::Mandates>,
}

/// The next state and what it means for others. A refused command changes nothing but what is
/// remembered of requests. A request id is looked up by itself: another action under the same one
/// gets the first one's answer, so whoever proposes never uses one for two.
pub fn apply(state: &mut State, index: LogIndex, command: Command) -> Applied {
    let known = state.answers.get(&command.request);
    if let Some(answer) = known.filter(|_| !mutated!(AppliedTwice)) {
        return Applied {
            answer: answer.clone(),
            effects: Vec::new(),
        };
    }
    let mut effects = Vec::new();
    let answer = state.act(index, command.action, &mut effects);
    debug_assert!(
        answer.is_ok() || effects.is_empty(),
        "a refused command must change nothing"
    );
    state.note_mandates(index, &effects);
    state.remember(command.request, answer.clone());
    Applied { answer, effects }
}

impl State {
    pub fn node(&self, node: NodeId) -> Option<&Node> {
        self.nodes.get(&node)
    }

    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().map(|(id, node)| (*id, node))
    }

    pub fn room(&self, name: &RoomName) -> Option<&Room> {
        self.rooms.get(name)
    }

    pub fn rooms(&self) -> impl Iterator<Item = (&RoomName, &Room)> {
        self.rooms.iter()
    }

    pub fn lease(&self, name: &LeaseName) -> Option<&Lease> {
        self.leases.get(name)
    }

    pub fn job(&self, job: &JobId) -> Option<&Job> {
        self.jobs.get(job)
    }

    pub fn jobs(&self) -> impl Iterator<Item = (&JobId, &Job)> {
        self.jobs.iter()
    }

    pub fn value(&self, key: &ValueKey) -> Option<&Value> {
        self.values.get(key)
    }

    /// All values whose key begins so, in order.
    pub fn values<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a ValueKey, &'a Value)> {
        self.values
            .range(ValueKey::from(prefix)..)
            .take_while(move |(key, _)| key.0.starts_with(prefix))
    }

    /// The newest encoding that every node understands: nothing newer may be proposed. The dead do
    /// not hold the living back: one that comes back with an old program is told to be upgraded.
    pub fn common_version(&self) -> u16 {
        let living = self.nodes.values();
        let living = living.filter(|node| node.state != NodeState::Dead);
        let versions = living.map(|node| node.info.version_max);
        versions.min().unwrap_or(crate::encoding::VERSION)
    }

    fn act(&mut self, index: LogIndex, action: Action, effects: &mut Vec<Effect>) -> Answer {
        match action {
            Action::RegisterNode { node, info } => self.register_node(node, info, effects),
            Action::ActivateNode { node, incarnation } => {
                self.activate_node(node, incarnation, effects)
            }
            Action::DrainNode { node } => self.drain_node(node, effects),
            Action::DeclareDead { node, incarnation } => {
                self.declare_dead(node, incarnation, effects)
            }
            Action::EndDrain { node } => self.end_drain(node, effects),
            Action::RemoveNode { node } => self.remove_node(node, effects),
            Action::WishVote { node, wish } => self.wish_vote(node, wish, effects),
            Action::PlaceRoom {
                name,
                sid,
                home,
                standby,
            } => self.place_room(name, sid, home, standby, effects),
            Action::MoveRoom {
                name,
                epoch,
                home,
                standby,
            } => self.move_room(name, epoch, home, standby, effects),
            Action::MoveToStandby {
                name,
                epoch,
                since,
                standby,
            } => self.move_to_standby(name, epoch, since, standby, effects),
            Action::SetStandby {
                name,
                epoch,
                standby,
            } => self.set_standby(name, epoch, standby, effects),
            Action::CloseRoom { name, epoch } => self.close_room(name, epoch, effects),
            Action::AssertHome { name, home, epoch } => self.assert_home(&name, home, epoch),
            Action::AcquireLease { name, owner, over } => {
                self.acquire_lease(name, owner, over, effects)
            }
            Action::AssertLease { name, owner, epoch } => self.assert_lease(&name, owner, epoch),
            Action::ReleaseLease { name, epoch } => self.release_lease(name, epoch, effects),
            Action::CreateJob {
                job,
                kind,
                room,
                detail,
            } => self.create_job(job, kind, room, detail, effects),
            Action::AssignJob { job, epoch, owner } => self.assign_job(job, epoch, owner, effects),
            Action::UpdateJob {
                job,
                epoch,
                state,
                detail,
            } => self.update_job(job, epoch, state, detail, effects),
            Action::RemoveJob { job, epoch } => self.remove_job(job, epoch, effects),
            Action::SetValue {
                key,
                value,
                expected,
            } => self.set_value(index, key, value, expected, effects),
            Action::RemoveValue { key, expected } => self.remove_value(key, expected, effects),
            Action::AllocateIds { count } => self.allocate_ids(count),
        }
    }

    fn remember(&mut self, request: RequestId, answer: Answer) {
        self.answers.insert(request, answer);
        self.remembered.push_back(request);
        while self.remembered.len() > REQUESTS_REMEMBERED {
            if let Some(oldest) = self.remembered.pop_front() {
                self.answers.remove(&oldest);
            }
        }
    }

    /// Higher than every epoch before.
    fn next_epoch(&mut self) -> Epoch {
        self.epoch += 1;
        Epoch(self.epoch)
    }

    fn allocate_ids(&mut self, count: u64) -> Answer {
        if count > IDS_PER_COMMAND_MAX {
            return Err(full("ids", IDS_PER_COMMAND_MAX as usize));
        }
        // 0 means nobody. At least one is taken: an id that is told is nobody else's.
        let first = self.next_id.max(1);
        let next = first.checked_add(count.max(1));
        self.next_id = next.ok_or_else(|| full("ids", usize::MAX))?;
        Ok(Outcome::Ids(first))
    }

    /// Books `new` bytes in place of `old`, or refuses.
    fn book_bytes(&mut self, old: usize, new: usize) -> Result<(), Refusal> {
        let booked = self.bytes.saturating_sub(old as u64) + new as u64;
        if new > old && booked > STATE_BYTES_MAX as u64 {
            return Err(full("bytes", STATE_BYTES_MAX));
        }
        self.bytes = booked;
        Ok(())
    }
}

fn full(what: &str, max: usize) -> Refusal {
    Refusal::Full {
        what: what.to_string(),
        max: max as u64,
    }
}

fn check_length(what: &str, bytes: usize, max: usize) -> Result<(), Refusal> {
    if bytes <= max {
        return Ok(());
    }
    Err(Refusal::TooLong {
        what: what.to_string(),
        bytes: bytes as u64,
        max: max as u64,
    })
}

fn check_epoch(presented: Epoch, current: Epoch) -> Result<(), Refusal> {
    let late = mutated!(StaleEpoch) && presented.0 + 1 >= current.0;
    if presented == current || late {
        return Ok(());
    }
    Err(Refusal::StaleEpoch { presented, current })
}

#[cfg(test)]
mod tests;
