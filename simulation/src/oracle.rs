//! The checkers, which see every entry that any node applies and everything clients are told. What
//! they hold to be right is written down here a second time, in terms of what can be observed, and
//! never asks the code under test.

mod owners;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use consensus::command::{Action, Command, Outcome, Refusal};
use consensus::encoding::decode_command;
use consensus::ids::{LogIndex, NodeId, RequestId, ValueKey};
use consensus::state::{State, encode_state};
use consensus::testing::Seen;

use crate::limits::STATE_COMPARED_EVERY;
use crate::oracle::owners::Owners;
use crate::oracle::values::Values;
use crate::trace::Digest;

struct Entry {
    /// openraft orders leaders by term, then node: a term may have several, one after the other.
    led: (u64, NodeId),
    digest: Digest,
    by: NodeId,
}

#[derive(Default)]
pub(crate) struct Oracle {
    /// As it was first applied anywhere.
    log: BTreeMap<u64, Entry>,
    /// Of the whole state, behind some indexes.
    states: BTreeMap<u64, (Digest, NodeId)>,
    leaders: BTreeSet<(u64, NodeId)>,
    /// One behind the last index each process has applied.
    applied: BTreeMap<NodeId, u64>,
    requests: BTreeMap<RequestId, (u64, Result<Outcome, Refusal>)>,
    owners: Owners,
    values: Values,
    /// The last sets of voters that were committed.
    voters: Vec<BTreeSet<NodeId>>,
    ids: BTreeMap<u64, u64>,
    acked: u64,
    last_acked: u64,
    /// When the operation that was acknowledged last began.
    last_begun: Option<Duration>,
    wrong: Vec<String>,
}

/// What a client knows when it begins an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Floor {
    /// The highest index acknowledged to anybody before.
    pub(crate) index: u64,
    pub(crate) begun: Duration,
}

impl Oracle {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn wrong(&self) -> &[String] {
        &self.wrong
    }

    pub(crate) fn accuse(&mut self, what: String) {
        self.wrong.push(what);
    }

    /// A process begins: it applies from its snapshot or from the beginning on.
    pub(crate) fn begins(&mut self, node: NodeId) {
        self.applied.insert(node, 0);
    }

    pub(crate) fn leads(&mut self, term: u64, node: NodeId) {
        self.leaders.insert((term, node));
    }

    pub(crate) fn terms(&self) -> usize {
        self.leaders.len()
    }

    pub(crate) fn last_leader(&self) -> Option<NodeId> {
        self.leaders.last().map(|(_, node)| *node)
    }

    pub(crate) fn end_of_log(&self) -> u64 {
        self.log.last_key_value().map_or(0, |(index, _)| index + 1)
    }

    pub(crate) fn applied(&self, node: NodeId) -> u64 {
        self.applied.get(&node).copied().unwrap_or(0)
    }

    pub(crate) fn acked(&self) -> u64 {
        self.acked
    }

    pub(crate) fn last_begun(&self) -> Option<Duration> {
        self.last_begun
    }

    pub(crate) fn voters(&self) -> &[BTreeSet<NodeId>] {
        &self.voters
    }

    /// `Some`: what is to be traced, as nobody applied it before.
    pub(crate) fn seen(&mut self, node: NodeId, seen: &Seen<'_>) -> Option<String> {
        match seen {
            Seen::Installed { index, state } => {
                self.installed(node, *index, state);
                None
            }
            Seen::Blank {
                index,
                term,
                leader,
            } => {
                let digest = Digest::new().number(*term).number(1);
                let new = self.entry(node, *index, (*term, *leader), digest);
                new.then(|| format!("#{} t{term} blank", index.0))
            }
            Seen::Membership {
                index,
                term,
                leader,
                voters,
                learners,
            } => {
                let digest = Digest::new().number(*term).number(2);
                let digest = digest.debug(voters).debug(learners);
                if !self.entry(node, *index, (*term, *leader), digest) {
                    return None;
                }
                self.voters.clone_from(voters);
                let told = format!("voters {voters:?}, learners {learners:?}");
                Some(format!("#{} t{term} {told}", index.0))
            }
            Seen::Command {
                index,
                term,
                leader,
                bytes,
                answer,
                effects,
                state,
            } => {
                let digest = Digest::new().number(*term).number(3).bytes(bytes);
                let digest = digest.debug(answer).debug(effects);
                let new = self.entry(node, *index, (*term, *leader), digest);
                self.state(node, *index, state);
                if !new {
                    return None;
                }
                let Ok(command) = decode_command(bytes) else {
                    self.accuse(format!("entry {} cannot be decoded", index.0));
                    return None;
                };
                let told = format!("#{} t{term} {}", index.0, tell(&command.action, answer));
                self.command(*index, command, answer, effects);
                Some(told)
            }
        }
    }

    /// Whether it is the first time that anybody applies this index.
    fn entry(&mut self, node: NodeId, index: LogIndex, led: (u64, NodeId), digest: Digest) -> bool {
        let digest = digest.debug(&led);
        let expected = self.applied.insert(node, index.0 + 1).unwrap_or(0);
        if expected != index.0 {
            let found = index.0;
            self.accuse(format!("{node} applied {found} when {expected} was due"));
        }
        if let Some(first) = self.log.get(&index.0) {
            if first.digest.0 != digest.0 {
                self.accuse(format!(
                    "index {} is one thing on {} (of {:?}) and another on {node} (of {led:?})",
                    index.0, first.by, first.led
                ));
            }
            return false;
        }
        let before = self.log.last_key_value().map(|(_, entry)| entry.led);
        if before > Some(led) {
            self.accuse(format!("index {} went back to {led:?}", index.0));
        }
        let by = node;
        self.log.insert(index.0, Entry { led, digest, by });
        true
    }

    fn state(&mut self, node: NodeId, index: LogIndex, state: &State) {
        if !index.0.is_multiple_of(STATE_COMPARED_EVERY) {
            return;
        }
        let Ok(bytes) = encode_state(state) else {
            self.accuse(format!("the state of {node} cannot be encoded"));
            return;
        };
        let digest = Digest::new().bytes(&bytes);
        let (first, by) = *self.states.entry(index.0).or_insert((digest, node));
        if first.0 != digest.0 {
            let index = index.0;
            self.accuse(format!("{node} and {by} differ behind index {index}"));
        }
    }

    fn installed(&mut self, node: NodeId, index: LogIndex, state: &State) {
        let before = self.applied(node);
        if index.0 + 1 < before {
            let index = index.0;
            self.accuse(format!("{node} went back from {before} to {index}"));
        }
        if index.0 >= self.end_of_log() {
            let index = index.0;
            self.accuse(format!(
                "{node} has a snapshot of {index}, which nobody applied"
            ));
        }
        self.applied.insert(node, index.0 + 1);
        self.state(node, index, state);
    }

    fn command(
        &mut self,
        index: LogIndex,
        command: Command,
        answer: &Result<Outcome, Refusal>,
        effects: &[consensus::command::Effect],
    ) {
        let Command { request, action } = command;
        if let Some((first, told)) = self.requests.get(&request) {
            if told != answer || !effects.is_empty() {
                let text = format!(
                    "{request:?} of index {first} was applied again at {}",
                    index.0
                );
                self.accuse(text);
            }
            return;
        }
        self.requests.insert(request, (index.0, answer.clone()));
        let found = self.owners.apply(&action, answer, effects);
        let found = found.or_else(|| self.values.apply(index, &action, answer));
        let found = found.or_else(|| self.take_ids(&action, answer));
        if let Some(what) = found {
            self.accuse(format!("index {}: {what}", index.0));
        }
    }

    /// Ids are nobody else's.
    fn take_ids(&mut self, action: &Action, answer: &Result<Outcome, Refusal>) -> Option<String> {
        let (Action::AllocateIds { count }, Ok(Outcome::Ids(first))) = (action, answer) else {
            return None;
        };
        let end = first + count.max(&1);
        let before = self.ids.range(..end).next_back();
        let taken = before.is_some_and(|(_, other)| other > first);
        self.ids.insert(*first, end);
        taken.then(|| format!("ids {first} to {end} were given out before"))
    }

    pub(crate) fn floor(&self, begun: Duration) -> Floor {
        let index = self.last_acked;
        Floor { index, begun }
    }

    /// A client was told that its command is committed.
    pub(crate) fn told(
        &mut self,
        request: RequestId,
        floor: Floor,
        answer: &Result<Outcome, Refusal>,
    ) {
        let Some((index, first)) = self.requests.get(&request).cloned() else {
            self.accuse(format!("{request:?} was acknowledged and is in no log"));
            return;
        };
        if first != *answer {
            let text = format!("{request:?} was answered {answer:?}, the log says {first:?}");
            self.accuse(text);
        }
        if index <= floor.index && floor.index > 0 {
            let floor = floor.index;
            self.accuse(format!(
                "{request:?} began after {floor} was told, and is {index}"
            ));
        }
        self.acked += 1;
        self.last_acked = self.last_acked.max(index);
        self.last_begun = self.last_begun.max(Some(floor.begun));
    }

    /// A client read what is committed, at a node that has applied up to `applied(node)`.
    pub(crate) fn read(
        &mut self,
        node: NodeId,
        floor: Floor,
        key: &ValueKey,
        value: Option<&[u8]>,
    ) {
        let applied = self.applied(node);
        if applied <= floor.index && floor.index > 0 {
            let told = floor.index;
            self.accuse(format!(
                "{node} answered a read from {applied}; {told} had been told before it began"
            ));
        }
        let expected = self.values.before(key, applied);
        if expected != value {
            let expected = expected.map(<[u8]>::len);
            self.accuse(format!(
                "{node} read {key} at {applied} and did not find what the log says ({expected:?} bytes)"
            ));
        }
    }
}

/// Short enough for a line.
fn tell(action: &Action, answer: &Result<Outcome, Refusal>) -> String {
    let action = match action {
        Action::SetValue {
            key,
            value,
            expected,
        } => format!("set {key} ({} bytes, expects {expected:?})", value.len()),
        Action::RegisterNode { node, .. } => format!("register {node}"),
        Action::CreateJob { job, kind, .. } => format!("create {kind:?} {job}"),
        action => format!("{action:?}"),
    };
    match answer {
        Ok(Outcome::Room { room, created }) => format!(
            "{action} -> {} {} {} {created}",
            room.sid, room.home, room.epoch
        ),
        Ok(outcome) => format!("{action} -> {outcome:?}"),
        Err(refusal) => format!("{action} -> no: {refusal}"),
    }
}
