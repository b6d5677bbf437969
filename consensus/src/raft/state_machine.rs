//! openraft's state machine on the pure state: applies, tells who listens, takes and installs
//! snapshots. Reading goes through [`Replica`], which others share.

use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use futures_util::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::lane::{self, Lanes, Worker};
use super::wire::WireSnapshotMeta;
use super::{Answer, LogId, Snapshot, SnapshotData, SnapshotMeta, StoredMembership, Types};
use crate::command::{Command, Effect};
use crate::disk::Disk;
use crate::encoding::{Content, EncodingError, decode, decode_command, encode};
use crate::ids::LogIndex;
use crate::limits::{CHANGES_MAX, SNAPSHOT_JOBS_MAX};
use crate::snapshot::{SnapshotError, SnapshotStore, StoredSnapshot};
use crate::state::{State, apply, decode_state, encode_state};
#[cfg(any(test, feature = "testing"))]
use crate::testing::{Observer, Seen};

/// Why a snapshot cannot be served from.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotOpenError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("a snapshot cannot be read: {0}")]
    Encoding(#[from] EncodingError),
    #[error("cannot start the snapshots' thread: {0}")]
    Lane(#[from] io::Error),
}

/// What changed in the state, in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Effect {
        index: LogIndex,
        effect: Effect,
    },
    /// A snapshot took the place of everything: read again what you need.
    Replaced {
        index: LogIndex,
    },
}

#[derive(Default)]
struct Inner {
    state: State,
    applied: Option<LogId>,
    membership: StoredMembership,
}

/// The applied state of this node, for reading.
pub(crate) struct Replica {
    inner: RwLock<Inner>,
    /// One behind the last applied index.
    pub(crate) applied: watch::Sender<u64>,
    pub(crate) changes: broadcast::Sender<Change>,
    #[cfg(any(test, feature = "testing"))]
    observer: Option<Observer>,
}

impl Replica {
    fn read_lock(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_lock(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read<T>(&self, f: impl FnOnce(&State) -> T) -> T {
        f(&self.read_lock().state)
    }

    /// What raft itself put into the log.
    #[cfg(any(test, feature = "testing"))]
    fn observe_raft(&self, log_id: LogId, membership: Option<&super::Membership>) {
        let Some(observer) = &self.observer else {
            return;
        };
        let (index, term) = (LogIndex(log_id.index), log_id.leader_id.term);
        let leader = log_id.leader_id.node_id;
        observer.see(match membership {
            None => Seen::Blank {
                index,
                term,
                leader,
            },
            Some(membership) => Seen::Membership {
                index,
                term,
                leader,
                voters: membership.get_joint_config().to_vec(),
                learners: membership.learner_ids().collect(),
            },
        });
    }

    fn install(&self, meta: &SnapshotMeta, state: State) {
        {
            let mut inner = self.write_lock();
            inner.state = state;
            inner.applied = meta.last_log_id;
            inner.membership = meta.last_membership.clone();
        }
        let next = meta.last_log_id.map_or(0, |id| id.index + 1);
        self.applied.send_replace(next);
        let index = LogIndex(next.saturating_sub(1));
        #[cfg(any(test, feature = "testing"))]
        if let Some(observer) = self.observer.as_ref().filter(|_| next > 0) {
            let state = &self.read_lock().state;
            observer.see(Seen::Installed { index, state });
        }
        // overflow: DROPS the oldest; who lags is told and reads everything again.
        let _ = self.changes.send(Change::Replaced { index });
    }
}

#[derive(Clone)]
pub(crate) struct StateMachine {
    replica: Arc<Replica>,
    snapshots: mpsc::Sender<SnapshotJob>,
}

impl StateMachine {
    pub(crate) fn open(
        mut store: SnapshotStore<Box<dyn Disk>>,
        lanes: Lanes,
        #[cfg(any(test, feature = "testing"))] observer: Option<Observer>,
    ) -> Result<Self, SnapshotOpenError> {
        let replica = Replica {
            inner: RwLock::new(Inner::default()),
            applied: watch::Sender::new(0),
            changes: broadcast::Sender::new(CHANGES_MAX),
            #[cfg(any(test, feature = "testing"))]
            observer,
        };
        if let Some(stored) = store.read()? {
            let meta: WireSnapshotMeta = decode(Content::SnapshotMeta, &stored.meta)?;
            replica.install(&meta.try_into()?, decode_state(&stored.data)?);
        }
        let worker = SnapshotWorker {
            store,
            done: Vec::new(),
        };
        let jobs = SNAPSHOT_JOBS_MAX;
        let snapshots = lane::start(worker, lanes, "skein-snapshot", jobs, jobs)?;
        Ok(Self {
            replica: Arc::new(replica),
            snapshots,
        })
    }

    pub(crate) fn replica(&self) -> Arc<Replica> {
        self.replica.clone()
    }

    async fn ask(&self, work: Work) -> io::Result<Option<StoredSnapshot>> {
        let gone = || io::Error::other("the snapshots' worker has ended");
        let (done, answer) = oneshot::channel();
        let job = SnapshotJob { work, done };
        self.snapshots.send(job).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    fn apply_command(&self, log_id: LogId, bytes: &[u8]) -> io::Result<Answer> {
        let command: Command = decode_command(bytes).map_err(invalid)?;
        let index = LogIndex(log_id.index);
        let applied = {
            let mut inner = self.replica.write_lock();
            inner.applied = Some(log_id);
            let applied = apply(&mut inner.state, index, command);
            #[cfg(any(test, feature = "testing"))]
            if let Some(observer) = &self.replica.observer {
                observer.see(Seen::Command {
                    index,
                    term: log_id.leader_id.term,
                    leader: log_id.leader_id.node_id,
                    bytes,
                    answer: &applied.answer,
                    effects: &applied.effects,
                    state: &inner.state,
                });
            }
            applied
        };
        for effect in applied.effects {
            // overflow: DROPS the oldest; who lags is told and reads everything again.
            let _ = self.replica.changes.send(Change::Effect { index, effect });
        }
        Ok(Answer(Some(applied.answer)))
    }
}

fn invalid(error: EncodingError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let inner = self.replica.read_lock();
        Ok((inner.applied, inner.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let log_id = entry.log_id;
            let answer = match entry.payload {
                EntryPayload::Normal(command) => self.apply_command(log_id, &command.0)?,
                EntryPayload::Blank => {
                    self.replica.write_lock().applied = Some(log_id);
                    #[cfg(any(test, feature = "testing"))]
                    self.replica.observe_raft(log_id, None);
                    Answer(None)
                }
                EntryPayload::Membership(membership) => {
                    #[cfg(any(test, feature = "testing"))]
                    self.replica.observe_raft(log_id, Some(&membership));
                    let mut inner = self.replica.write_lock();
                    inner.applied = Some(log_id);
                    inner.membership = StoredMembership::new(Some(log_id), membership);
                    Answer(None)
                }
            };
            self.replica.applied.send_replace(log_id.index + 1);
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let inner = self.replica.read_lock();
        Builder {
            machine: self.clone(),
            state: inner.state.clone(),
            meta: SnapshotMeta {
                last_log_id: inner.applied,
                last_membership: inner.membership.clone(),
            },
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        let state = decode_state(&snapshot).map_err(invalid)?;
        let meta_bytes = encode(Content::SnapshotMeta, &WireSnapshotMeta::from(meta));
        // Durable first: raft purges the log behind it.
        self.ask(Work::Write(StoredSnapshot {
            meta: meta_bytes.map_err(invalid)?,
            data: snapshot.to_vec(),
        }))
        .await?;
        self.replica.install(meta, state);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let Some(stored) = self.ask(Work::Read).await? else {
            return Ok(None);
        };
        let meta: WireSnapshotMeta =
            decode(Content::SnapshotMeta, &stored.meta).map_err(invalid)?;
        Ok(Some(Snapshot {
            meta: meta.try_into().map_err(invalid)?,
            snapshot: Arc::new(stored.data),
        }))
    }
}

/// A copy of the state to be written while the log goes on.
pub(crate) struct Builder {
    machine: StateMachine,
    state: State,
    meta: SnapshotMeta,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let state = std::mem::take(&mut self.state);
        let meta = WireSnapshotMeta::from(&self.meta);
        let stored = self
            .machine
            .ask(Work::Encode(Box::new(state), meta))
            .await?;
        let stored = stored.ok_or_else(|| io::Error::other("the snapshot was not written"))?;
        Ok(Snapshot {
            meta: self.meta.clone(),
            snapshot: Arc::new(stored.data),
        })
    }
}

enum Work {
    /// Encodes, writes, and gives back what it wrote.
    Encode(Box<State>, WireSnapshotMeta),
    Write(StoredSnapshot),
    Read,
}

pub(crate) struct SnapshotJob {
    work: Work,
    done: oneshot::Sender<io::Result<Option<StoredSnapshot>>>,
}

type Told = (
    oneshot::Sender<io::Result<Option<StoredSnapshot>>>,
    io::Result<Option<StoredSnapshot>>,
);

struct SnapshotWorker {
    store: SnapshotStore<Box<dyn Disk>>,
    done: Vec<Told>,
}

impl SnapshotWorker {
    fn work(&mut self, work: Work) -> io::Result<Option<StoredSnapshot>> {
        match work {
            Work::Read => self.store.read().map_err(io::Error::other),
            Work::Write(stored) => {
                let written = self.store.write(&stored.meta, &stored.data);
                written.map_err(io::Error::other)?;
                Ok(None)
            }
            Work::Encode(state, meta) => {
                let stored = StoredSnapshot {
                    meta: encode(Content::SnapshotMeta, &meta).map_err(invalid)?,
                    data: encode_state(&state).map_err(invalid)?,
                };
                let written = self.store.write(&stored.meta, &stored.data);
                written.map_err(io::Error::other)?;
                Ok(Some(stored))
            }
        }
    }
}

impl Worker for SnapshotWorker {
    type Job = SnapshotJob;

    fn take(&mut self, job: SnapshotJob) {
        let result = self.work(job.work);
        if let Err(error) = &result {
            tracing::error!(%error, "a snapshot cannot be written or read");
        }
        self.done.push((job.done, result));
    }

    fn finish(&mut self) -> Duration {
        self.store.disk().take_delay()
    }

    fn tell(&mut self) {
        for (done, result) in self.done.drain(..) {
            let _ = done.send(result);
        }
    }
}
