//! The adapter to openraft: the only place that names its types. `cluster.rs` is what others see.

pub(crate) mod lane;
pub(crate) mod log_lane;
pub(crate) mod log_store;
pub(crate) mod network;
pub(crate) mod state_machine;
pub(crate) mod wire;

use std::fmt;
use std::sync::Arc;

use openraft::rt::deterministic_rng::DeterministicRng;
use openraft::type_config::alias;

use crate::command::{Outcome, Refusal};
use crate::ids::NodeId;

/// Draws election timeouts from the seed it was started with, so that a simulation repeats.
pub(crate) type Runtime = DeterministicRng<openraft::TokioRuntime>;

openraft::declare_raft_types!(
    pub(crate) Types:
        D = CommandBytes,
        R = Answer,
        NodeId = NodeId,
        Node = PeerAddress,
        AsyncRuntime = Runtime,
);

pub(crate) type Raft = openraft::Raft<Types, state_machine::StateMachine>;
pub(crate) type Vote = alias::VoteOf<Types>;
pub(crate) type LogId = alias::LogIdOf<Types>;
pub(crate) type Entry = alias::EntryOf<Types>;
pub(crate) type Membership = openraft::Membership<NodeId, PeerAddress>;
pub(crate) type StoredMembership = alias::StoredMembershipOf<Types>;
pub(crate) type SnapshotMeta = alias::SnapshotMetaOf<Types>;
pub(crate) type SnapshotData = Arc<Vec<u8>>;
pub(crate) type Snapshot = alias::SnapshotOf<Types, SnapshotData>;

/// A command in its envelope; decoded once, when it is applied.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CommandBytes(pub(crate) Arc<[u8]>);

impl fmt::Debug for CommandBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command of {} bytes", self.0.len())
    }
}

impl fmt::Display for CommandBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Where a voter's cluster endpoint answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PeerAddress(pub(crate) String);

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What applying an entry gives its proposer; `None` for entries that are no commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer(pub(crate) Option<Result<Outcome, Refusal>>);
