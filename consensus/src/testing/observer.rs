//! A view of every entry as a node applies it, for checkers that compare nodes with each other.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::command::{Effect, Outcome, Refusal};
use crate::ids::{LogIndex, NodeId};
use crate::state::State;

/// What a node just did to its copy of the state.
#[derive(Clone, Debug)]
pub enum Seen<'a> {
    /// A command in its envelope, and what came of it.
    Command {
        index: LogIndex,
        term: u64,
        leader: NodeId,
        bytes: &'a [u8],
        answer: &'a Result<Outcome, Refusal>,
        effects: &'a [Effect],
        state: &'a State,
    },
    /// Nothing, by which a new leader finds out what is committed.
    Blank {
        index: LogIndex,
        term: u64,
        leader: NodeId,
    },
    /// Who votes from now on: one set, or two while one gives way to the other.
    Membership {
        index: LogIndex,
        term: u64,
        leader: NodeId,
        voters: Vec<BTreeSet<NodeId>>,
        learners: BTreeSet<NodeId>,
    },
    /// A snapshot took the place of everything up to here; at a start, the one on disk.
    Installed { index: LogIndex, state: &'a State },
}

/// Called in the order of the log, while the state is locked: it must not read the cluster.
#[derive(Clone)]
pub struct Observer(pub Arc<dyn Fn(Seen<'_>) + Send + Sync>);

impl Observer {
    pub(crate) fn see(&self, seen: Seen<'_>) {
        (self.0)(seen);
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
