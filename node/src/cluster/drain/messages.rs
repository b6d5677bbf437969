//! What nodes ask each other about drains, and what a person asks of one, as JSON.

use bytes::Bytes;
use operator::drain::{Cause, Record, Then};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Question {
    /// Names of this node's rooms and how many participants each has.
    Rooms,
    /// Of all drains; only the leader knows.
    Progress,
}

/// How a node shall be drained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Terms {
    pub cause: Cause,
    pub then: Then,
    /// What is not over then is cut short; without it the node waits.
    pub deadline_seconds: Option<u64>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            cause: Cause::Operator,
            then: Then::Stay,
            deadline_seconds: None,
        }
    }
}

impl Terms {
    pub(in crate::cluster) fn record(&self, now_ms: u64, rooms: u32) -> Record {
        let after = |seconds: u64| now_ms.saturating_add(seconds.saturating_mul(1_000));
        Record {
            cause: self.cause,
            then: self.then,
            started_ms: now_ms,
            deadline_ms: self.deadline_seconds.map(after),
            rooms,
            done_ms: None,
            forced: false,
        }
    }
}

pub(super) fn encode(message: &impl Serialize) -> Bytes {
    // Plain structs cannot fail; an empty message is refused by whoever reads it.
    serde_json::to_vec(message).unwrap_or_default().into()
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("not understood: {error}"))
}
