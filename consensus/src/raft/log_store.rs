//! openraft's log on our write-ahead log: keeps the recent entries in memory, hands all writing to
//! the log's worker and reports back when it is durable.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::{LogState, OptionalSend};
use tokio::sync::{mpsc, oneshot};

use super::lane::{self, Lanes};
use super::log_lane::{Done, Job, LogWorker};
use super::wire::{WireEntry, WireLogId, WireVote};
use super::{Entry, LogId, Types, Vote};
use crate::disk::Disk;
use crate::encoding::{Content, EncodingError, decode, encode};
use crate::limits::{LOG_BATCH_JOBS_MAX, LOG_CACHE_BYTES_MAX, LOG_JOBS_MAX, LOG_SEAL_INTERVAL_MS};
use crate::wal::{Wal, WalError};

/// Why a log cannot serve raft.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogOpenError {
    #[error(transparent)]
    Wal(#[from] WalError),
    #[error("a record of the log cannot be read: {0}")]
    Encoding(#[from] EncodingError),
    #[error("cannot start the log's thread: {0}")]
    Lane(#[from] io::Error),
}

#[derive(Default)]
struct Cache {
    entries: BTreeMap<u64, (Entry, usize)>,
    bytes: usize,
    first: u64,
    next: u64,
    last: Option<LogId>,
    purged: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
}

impl Cache {
    fn insert(&mut self, entry: Entry, bytes: usize) {
        self.next = entry.log_id.index + 1;
        self.last = Some(entry.log_id);
        self.bytes += bytes;
        self.entries.insert(entry.log_id.index, (entry, bytes));
        while self.bytes > LOG_CACHE_BYTES_MAX && self.entries.len() > 1 {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, (_, bytes))) = self.entries.pop_first() {
            self.bytes -= bytes;
        }
    }

    fn truncate(&mut self, last: Option<LogId>) {
        let next = last.map_or(0, |id| id.index + 1);
        for (_, (_, bytes)) in self.entries.split_off(&next) {
            self.bytes -= bytes;
        }
        self.next = next;
        self.last = last;
    }

    fn purge(&mut self, last: LogId) {
        while self
            .entries
            .first_key_value()
            .is_some_and(|(i, _)| *i <= last.index)
        {
            self.forget_first();
        }
        self.first = self.first.max(last.index + 1);
        self.next = self.next.max(self.first);
        self.purged = Some(last);
        if self.last.is_none_or(|id| id.index <= last.index) {
            self.last = Some(last);
        }
    }
}

#[derive(Clone)]
pub(crate) struct LogStore {
    cache: Arc<Mutex<Cache>>,
    jobs: mpsc::Sender<Job>,
}

impl LogStore {
    pub(crate) fn open(mut wal: Wal<Box<dyn Disk>>, lanes: Lanes) -> Result<Self, LogOpenError> {
        let mut cache = Cache {
            first: wal.first(),
            next: wal.next(),
            ..Cache::default()
        };
        if let Some(vote) = wal.vote() {
            cache.vote = Some(decode::<WireVote>(Content::Vote, vote)?.into());
        }
        let log_id =
            |mark: &(u64, Vec<u8>)| decode::<WireLogId>(Content::LogId, &mark.1).map(LogId::from);
        cache.purged = wal.purged().map(log_id).transpose()?;
        cache.committed = wal.committed().map(log_id).transpose()?;
        cache.last = cache.purged;
        if cache.next > cache.first {
            let bytes = wal.read(cache.next - 1)?;
            cache.last = Some(decode::<WireEntry>(Content::Entry, &bytes)?.log_id.into());
        }
        // Written lazily, it may name an entry that was lost with a torn tail.
        cache.committed = cache.committed.min(cache.last);
        let worker = LogWorker::new(wal);
        let jobs = lane::start(worker, lanes, "skein-log", LOG_JOBS_MAX, LOG_BATCH_JOBS_MAX)?;
        tokio::spawn(tick(jobs.downgrade()));
        Ok(Self {
            cache: Arc::new(Mutex::new(cache)),
            jobs,
        })
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, job: Job) -> io::Result<()> {
        let stopped = |_| io::Error::other("the log's worker has ended");
        self.jobs.send(job).await.map_err(stopped)
    }

    /// Sends a job and waits until it is durable.
    async fn durable(&self, job: impl FnOnce(Done) -> Job) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        let done: Done = Box::new(move |result| {
            let _ = sender.send(result);
        });
        self.send(job(done)).await?;
        receiver
            .await
            .map_err(|_| io::Error::other("the log's worker has ended"))?
    }
}

async fn tick(jobs: mpsc::WeakSender<Job>) {
    loop {
        tokio::time::sleep(Duration::from_millis(LOG_SEAL_INTERVAL_MS)).await;
        let Some(jobs) = jobs.upgrade() else {
            return;
        };
        // overflow: DROPS; a full queue is not idle, and the next tick comes.
        let _ = jobs.try_send(Job::Tick);
    }
}

fn invalid(error: EncodingError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn bounds(range: &impl RangeBounds<u64>, first: u64, next: u64) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(i) => *i,
        Bound::Excluded(i) => i + 1,
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(i) => i + 1,
        Bound::Excluded(i) => *i,
        Bound::Unbounded => u64::MAX,
    };
    (from.max(first), to.min(next))
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (from, to) = {
            let cache = self.cache();
            let (from, to) = bounds(&range, cache.first, cache.next);
            if from >= to {
                return Ok(Vec::new());
            }
            let cached = cache.entries.range(from..to);
            let entries: Vec<Entry> = cached.map(|(_, (entry, _))| entry.clone()).collect();
            if entries.len() as u64 == to - from {
                return Ok(entries);
            }
            (from, to)
        };
        let (done, answer) = oneshot::channel();
        self.send(Job::Read { from, to, done }).await?;
        let records = answer
            .await
            .map_err(|_| io::Error::other("the log's worker has ended"))??;
        // Of a log that stopped: fewer entries than are asked for would pass for all of them.
        if records.len() as u64 != to - from {
            return Err(io::Error::other(
                "the log lacks entries that were given to it",
            ));
        }
        let decoded = records.iter().map(|bytes| {
            let entry = decode::<WireEntry>(Content::Entry, bytes);
            entry.and_then(WireEntry::into_entry).map_err(invalid)
        });
        decoded.collect()
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.cache().vote)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let cache = self.cache();
        Ok(LogState {
            last_purged_log_id: cache.purged,
            last_log_id: cache.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let bytes = encode(Content::Vote, &WireVote::from(*vote)).map_err(invalid)?;
        self.cache().vote = Some(*vote);
        if mutated!(EarlyVote) {
            let done: Done = Box::new(|_| {});
            return self.send(Job::Vote { vote: bytes, done }).await;
        }
        self.durable(|done| Job::Vote { vote: bytes, done }).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let Some(committed) = committed else {
            return Ok(());
        };
        let bytes = encode(Content::LogId, &WireLogId::from(committed)).map_err(invalid)?;
        self.cache().committed = Some(committed);
        self.send(Job::Committed((committed.index, bytes))).await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.cache().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut records = Vec::new();
        for entry in entries {
            let bytes = encode(Content::Entry, &WireEntry::from(&entry)).map_err(invalid)?;
            self.cache().insert(entry.clone(), bytes.len());
            records.push((entry.log_id.index, bytes));
        }
        self.send(Job::Append {
            entries: records,
            done: Box::new(move |result| callback.io_completed(result)),
        })
        .await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.cache().truncate(last);
        let next = last.map_or(0, |id| id.index + 1);
        self.durable(|done| Job::Truncate { next, done }).await
    }

    async fn purge(&mut self, last: LogId) -> Result<(), io::Error> {
        let bytes = encode(Content::LogId, &WireLogId::from(last)).map_err(invalid)?;
        self.cache().purge(last);
        let mark = (last.index, bytes);
        self.durable(|done| Job::Purge { mark, done }).await
    }
}
