//! What the rest of Skein sees of consensus: propose a command, read the state, follow changes,
//! manage voters. One voter or seven, the code is the same. No type of openraft leaves this file.

mod leader;
mod options;
mod propose;
mod status;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal, RaftError};
use tokio::sync::broadcast;

pub use options::ClusterOptions;
pub use propose::{Committed, ProposeError};
pub use status::{Role, Status, VoterProgress};

pub use crate::raft::lane::Lanes;
pub use crate::raft::state_machine::Change;

use crate::encoding::{Content, EncodingError, decode, encode};
use crate::ids::{LogIndex, NodeId};
use crate::peers::Peers;
use crate::raft::log_store::{LogOpenError, LogStore};
use crate::raft::network::{self, Network};
use crate::raft::state_machine::{Replica, SnapshotOpenError, StateMachine};
use crate::raft::wire::{Reply, Request};
use crate::raft::{PeerAddress, Raft, Runtime, Types};
use crate::state::State;
use crate::store::{Store, StoreError};
use crate::wal::WalError;

/// Why something about the cluster itself did not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    #[error("this node does not lead; {leader:?} does")]
    NotLeader { leader: Option<NodeId> },
    #[error("raft stopped: {0}")]
    Stopped(String),
    #[error("refused: {0}")]
    Refused(String),
    #[error("no quorum answered within {0:?}")]
    NoQuorum(Duration),
}

/// A handle; clones are cheap and equal.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    node: NodeId,
    raft: Raft,
    replica: Arc<Replica>,
    peers: Arc<dyn Peers>,
    options: ClusterOptions,
    /// This process as a client, and how many requests it has made.
    client: u64,
    requests: AtomicU64,
    /// Seeds of openraft's random numbers, one per call.
    seeds: AtomicU64,
    /// One behind the last term in which this process committed something as leader.
    confirmed_term: AtomicU64,
    detour: leader::Detour,
}

impl Cluster {
    /// Starts raft on what the store holds. `seed` is random; in a simulation it is the seed.
    pub async fn start(
        options: ClusterOptions,
        store: Store,
        peers: Arc<dyn Peers>,
        seed: u64,
    ) -> Result<Self, StoreError> {
        let node = store.identity.node;
        let log = LogStore::open(store.wal, options.lanes)?;
        let machine = StateMachine::open(
            store.snapshots,
            options.lanes,
            #[cfg(any(test, feature = "testing"))]
            options.observer.clone(),
        )?;
        let replica = machine.replica();
        let network = Network {
            peers: peers.clone(),
        };
        let config = options.raft_config().map_err(StoreError::Other)?;
        let started = Raft::new(node, Arc::new(config), network, log, machine);
        let raft = Runtime::scope(seed, started).await;
        let raft = raft.map_err(|error| match error {
            Fatal::StorageError(error) => StoreError::Storage(error.to_string()),
            error => StoreError::Other(error.to_string()),
        })?;
        Ok(Self {
            inner: Arc::new(Inner {
                node,
                raft,
                replica,
                peers,
                options,
                client: seed,
                requests: AtomicU64::new(0),
                seeds: AtomicU64::new(seed),
                confirmed_term: AtomicU64::new(0),
                detour: leader::Detour::default(),
            }),
        })
    }

    /// The first node of a new cluster: its only voter. Returns when it leads and can be told to
    /// take others in. Harmless if it is done already.
    pub async fn bootstrap(&self, address: &str) -> Result<(), ClusterError> {
        let members = [(self.inner.node, PeerAddress(address.to_string()))];
        let members = std::collections::BTreeMap::from(members);
        let inner = &self.inner;
        let initialized = inner.seeded(inner.raft.is_initialized()).await;
        if initialized.map_err(|e| ClusterError::Stopped(e.to_string()))? {
            return Ok(());
        }
        let done = inner.seeded(inner.raft.initialize(members)).await;
        done.map_err(|error| ClusterError::Refused(error.to_string()))?;
        self.catch_up().await.map(|_| ())
    }

    pub fn node(&self) -> NodeId {
        self.inner.node
    }

    /// Looks at the state as this node has applied it. Keep it short: applying waits.
    pub fn read<T>(&self, f: impl FnOnce(&State) -> T) -> T {
        self.inner.replica.read(f)
    }

    /// Everything that changes from now on. A reader that falls behind is told so and must read
    /// the state again.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.inner.replica.changes.subscribe()
    }

    /// Waits until this node has applied everything committed before the call anywhere.
    pub async fn catch_up(&self) -> Result<LogIndex, ClusterError> {
        let patience = self.inner.options.patience;
        let caught_up = async {
            loop {
                if let Some(next) = self.read_index().await? {
                    let mut applied = self.inner.replica.applied.subscribe();
                    let reached = applied.wait_for(|applied| *applied >= next).await;
                    let stopped = |_| ClusterError::Stopped("the state is gone".into());
                    return reached.map(|_| LogIndex(next)).map_err(stopped);
                }
                tokio::time::sleep(self.inner.options.retry).await;
            }
        };
        let late = |_| ClusterError::NoQuorum(patience);
        tokio::time::timeout(patience, caught_up)
            .await
            .map_err(late)?
    }

    /// Waits until this node has applied the entry at `index`.
    pub async fn applied(&self, index: LogIndex) {
        let mut applied = self.inner.replica.applied.subscribe();
        // The state is never gone: this is a handle to it.
        let _ = applied.wait_for(|next| *next > index.0).await;
    }

    /// One behind the last committed index, confirmed by a quorum; `None`: nobody leads now.
    async fn read_index(&self) -> Result<Option<u64>, ClusterError> {
        let inner = &self.inner;
        if let Some(next) = inner.confirm_leadership().await? {
            return Ok(Some(next));
        }
        let within = inner.options.election_timeout_max;
        match inner.ask_leader(&Request::ReadIndex, within).await {
            Ok(Reply::ReadAt(next)) => Ok(next),
            _ => Ok(None),
        }
    }

    /// Follows the log without a vote. Returns when it is in the membership; it catches up by
    /// itself, see [`Status::progress`].
    pub async fn add_learner(&self, node: NodeId, address: &str) -> Result<(), ClusterError> {
        let inner = &self.inner;
        let address = PeerAddress(address.to_string());
        let added = inner
            .seeded(inner.raft.add_learner(node, address, false))
            .await;
        added.map(|_| ()).map_err(cluster_error)
    }

    /// Exactly these vote (they must be learners or voters already); whoever does not any more is
    /// a learner if `keep`, gone otherwise.
    pub async fn set_voters(
        &self,
        voters: BTreeSet<NodeId>,
        keep: bool,
    ) -> Result<(), ClusterError> {
        let inner = &self.inner;
        let changed = inner
            .seeded(inner.raft.change_membership(voters, keep))
            .await;
        changed.map(|_| ()).map_err(cluster_error)
    }

    /// Forgets learners.
    pub async fn remove_learners(&self, nodes: BTreeSet<NodeId>) -> Result<(), ClusterError> {
        let inner = &self.inner;
        let change = openraft::ChangeMembers::RemoveNodes(nodes);
        let changed = inner
            .seeded(inner.raft.change_membership(change, true))
            .await;
        changed.map(|_| ()).map_err(cluster_error)
    }

    /// Asks `to` to lead. Returns when it was asked; the status says when it does. Until somebody
    /// does, this leader accepts nothing: only another voter may be asked.
    pub async fn transfer_leadership(&self, to: NodeId) -> Result<(), ClusterError> {
        let inner = &self.inner;
        if to == inner.node || !self.status().voters.contains(&to) {
            return Err(ClusterError::Refused(format!("{to} cannot take over")));
        }
        let asked = inner.seeded(inner.raft.trigger().transfer_leader(to)).await;
        asked.map_err(|error| ClusterError::Stopped(error.to_string()))
    }

    /// Takes a snapshot now, whatever the policy says.
    pub async fn snapshot(&self) -> Result<(), ClusterError> {
        let inner = &self.inner;
        let asked = inner.seeded(inner.raft.trigger().snapshot()).await;
        asked.map_err(|error| ClusterError::Stopped(error.to_string()))
    }

    /// Answers what another node's [`Peers::call`] brought. Never fails: what cannot be understood
    /// is answered by name.
    pub async fn serve(&self, request: &[u8]) -> Vec<u8> {
        let reply = match decode::<Request>(Content::Message, request) {
            Ok(Request::HandOn { request }) => match self.inner.hand_on(&request).await {
                Some(reply) => reply,
                None => self.answer(decode(Content::Message, &request)).await,
            },
            request => self.answer(request).await,
        };
        encode(Content::Message, &reply).unwrap_or_default()
    }

    async fn answer(&self, request: Result<Request, EncodingError>) -> Reply {
        match request {
            Ok(Request::Propose { command }) => self.propose_for(command, u64::MAX).await,
            Ok(Request::ProposeAfter { command, after }) => self.propose_for(command, after).await,
            Ok(Request::ReadIndex) => match self.inner.confirm_leadership().await {
                Ok(next) => Reply::ReadAt(next),
                Err(error) => Reply::Failed(error.to_string()),
            },
            Ok(request) => {
                let inner = &self.inner;
                inner.seeded(network::serve(&inner.raft, request)).await
            }
            Err(error) => Reply::Failed(error.to_string()),
        }
    }

    pub async fn shutdown(&self) {
        let _ = self.inner.seeded(self.inner.raft.shutdown()).await;
    }
}

impl Inner {
    /// Runs what may make openraft draw random numbers or spawn tasks.
    async fn seeded<F: Future>(&self, future: F) -> F::Output {
        let seed = self
            .seeds
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        Runtime::scope(seed, future).await
    }

    /// `None`: this node does not lead. Otherwise one behind what a read must have applied.
    async fn confirm_leadership(&self) -> Result<Option<u64>, ClusterError> {
        if !self.raft.is_leader() {
            return Ok(None);
        }
        if mutated!(StaleRead) {
            return Ok(Some(*self.replica.applied.borrow()));
        }
        // A leader that was restarted goes on leading in its old term, and what it knows to be
        // committed is what it noted lazily: only an entry of its own tells it the truth.
        let next_term = self.raft.metrics().borrow_watched().current_term + 1;
        if self.confirmed_term.load(Ordering::Relaxed) != next_term {
            return match self.seeded(self.raft.write_blank()).await {
                Ok(written) => {
                    let term = written.log_id.leader_id.term;
                    self.confirmed_term.store(term + 1, Ordering::Relaxed);
                    Ok(Some(written.log_id.index + 1))
                }
                Err(RaftError::Fatal(error)) => Err(ClusterError::Stopped(error.to_string())),
                Err(RaftError::APIError(_)) => Ok(None),
            };
        }
        let confirmed = self.seeded(self.raft.ensure_linearizable(ReadPolicy::ReadIndex));
        match confirmed.await {
            Ok(read) => Ok(Some(read.log_id().index + 1)),
            Err(RaftError::Fatal(error)) => Err(ClusterError::Stopped(error.to_string())),
            Err(RaftError::APIError(_)) => Ok(None),
        }
    }
}

fn cluster_error(error: RaftError<Types, ClientWriteError<Types>>) -> ClusterError {
    match error {
        RaftError::APIError(
            ClientWriteError::ForwardToLeader(to) | ClientWriteError::LogEntryDiscarded(to),
        ) => ClusterError::NotLeader {
            leader: to.leader_id,
        },
        RaftError::APIError(error) => ClusterError::Refused(error.to_string()),
        RaftError::Fatal(error) => ClusterError::Stopped(error.to_string()),
    }
}

impl From<LogOpenError> for StoreError {
    fn from(error: LogOpenError) -> Self {
        match error {
            LogOpenError::Wal(error @ (WalError::Corrupt(_) | WalError::Disk(_))) => error.into(),
            LogOpenError::Encoding(error) => encoding_error(&error),
            error => Self::Other(error.to_string()),
        }
    }
}

impl From<SnapshotOpenError> for StoreError {
    fn from(error: SnapshotOpenError) -> Self {
        match error {
            SnapshotOpenError::Snapshot(error) => error.into(),
            SnapshotOpenError::Encoding(error) => encoding_error(&error),
            error @ SnapshotOpenError::Lane(_) => Self::Other(error.to_string()),
        }
    }
}

fn encoding_error(error: &EncodingError) -> StoreError {
    match error {
        EncodingError::TooNew { .. } => StoreError::TooNew(error.to_string()),
        error => StoreError::Corrupt(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
