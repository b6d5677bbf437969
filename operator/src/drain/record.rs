//! What the log keeps of a drain, as a value beside the node's state: who wanted it, until when and
//! what comes after. Any node can ask for one; asking twice changes nothing but the deadline.

use consensus::command::Action;
use consensus::ids::{NodeId, ValueKey};
use serde::{Deserialize, Serialize};

use crate::limits::RECORD_BYTES_MAX;

const PREFIX: &str = "operator/drain/";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A person, or a program of theirs.
    Operator,
    /// There were more nodes than needed.
    ScaleIn,
    /// The cloud takes the machine.
    Cloud,
}

/// What happens when the node is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// It waits for `undrain`, or for being stopped.
    Stay,
    /// It leaves the cluster.
    Remove,
    /// It leaves the cluster, and the cloud its machine.
    Terminate,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub cause: Cause,
    pub then: Then,
    /// Milliseconds since 1970, by the clock of the node that was asked.
    pub started_ms: u64,
    /// When it ends in any case; `None`: it waits as long as it takes.
    pub deadline_ms: Option<u64>,
    /// Rooms when it began, for progress.
    pub rooms: u32,
    #[serde(default)]
    pub done_ms: Option<u64>,
    /// Something was cut short at the deadline.
    #[serde(default)]
    pub forced: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the record of a drain cannot be read: {0}")]
pub struct RecordError(String);

impl Record {
    pub fn key(node: NodeId) -> ValueKey {
        ValueKey(format!("{PREFIX}{}", node.0))
    }

    pub fn encode(&self) -> Vec<u8> {
        // Numbers and words: it has a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(RecordError(format!("{} bytes", bytes.len())));
        }
        serde_json::from_slice(bytes).map_err(|error| RecordError(error.to_string()))
    }

    /// Asked again: what was begun goes on, under the stricter terms of both.
    fn merged(self, before: Option<Record>) -> Record {
        let Some(before) = before.filter(|before| before.done_ms.is_none()) else {
            return self;
        };
        let earlier = match (before.deadline_ms, self.deadline_ms) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let weight = |then: Then| match then {
            Then::Stay => 0,
            Then::Remove => 1,
            Then::Terminate => 2,
        };
        let stricter = weight(self.then) > weight(before.then);
        Record {
            deadline_ms: earlier,
            then: if stricter { self.then } else { before.then },
            // A scale-in may be called off; what somebody wants may not.
            cause: match before.cause {
                Cause::ScaleIn => self.cause,
                cause => cause,
            },
            ..before
        }
    }

    /// The record of a finished drain.
    pub fn done(mut self, at_ms: u64, forced: bool) -> Record {
        self.done_ms = Some(at_ms);
        self.forced |= forced;
        self
    }
}

/// What to propose, in this order, so that `node` drains. `before` and its version are what the log
/// says now.
pub fn request(node: NodeId, record: Record, before: Option<(Record, u64)>) -> [Action; 2] {
    let expected = before.as_ref().map_or(0, |(_, version)| *version);
    let record = record.merged(before.map(|(record, _)| record));
    [
        Action::SetValue {
            key: Record::key(node),
            value: record.encode(),
            expected: Some(expected),
        },
        Action::DrainNode { node },
    ]
}

/// What to propose so that `node` serves again.
pub fn cancel(node: NodeId) -> [Action; 2] {
    // The record first: what is left of a drain that was called off must not be taken for the terms
    // of a later one.
    [
        Action::RemoveValue {
            key: Record::key(node),
            expected: None,
        },
        Action::EndDrain { node },
    ]
}
