//! The log's worker: takes what waits, makes it durable with one flush, then tells everybody whose
//! work was in it. The order of jobs is the order of the log.

use std::io;
use std::time::Duration;

use tokio::sync::oneshot;

use super::lane::Worker;
use crate::disk::Disk;
use crate::wal::{Mark, Wal, WalError};

/// Called once the flush that covers the job has returned.
pub(crate) type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

pub(crate) enum Job {
    Append {
        entries: Vec<(u64, Vec<u8>)>,
        done: Done,
    },
    Vote {
        vote: Vec<u8>,
        done: Done,
    },
    /// Goes along with the next flush.
    Committed(Mark),
    Truncate {
        next: u64,
        done: Done,
    },
    Purge {
        mark: Mark,
        done: Done,
    },
    /// Entries from the first index up to the second, as many as there are.
    Read {
        from: u64,
        to: u64,
        done: oneshot::Sender<io::Result<Vec<Vec<u8>>>>,
    },
    /// From time to time: seals the log if nothing happened since the last time.
    Tick,
}

pub(crate) struct LogWorker {
    wal: Wal<Box<dyn Disk>>,
    waiting: Vec<Done>,
    failed: Option<String>,
    /// Work since the last tick.
    busy: bool,
}

impl LogWorker {
    pub(crate) fn new(wal: Wal<Box<dyn Disk>>) -> Self {
        Self {
            wal,
            waiting: Vec::new(),
            failed: None,
            busy: true,
        }
    }

    fn note(&mut self, result: Result<(), WalError>) {
        if let Err(error) = result {
            tracing::error!(%error, "the log cannot be written");
            self.failed.get_or_insert_with(|| error.to_string());
        }
    }

    fn read(&mut self, from: u64, to: u64) -> io::Result<Vec<Vec<u8>>> {
        let from = from.max(self.wal.first());
        let to = to.min(self.wal.next());
        (from..to)
            .map(|index| self.wal.read(index).map_err(io::Error::other))
            .collect()
    }

    fn tick(&mut self) {
        if let Err(error) = self.wal.prepare() {
            // The log goes on as long as its segment has room; tried again at the next tick.
            tracing::warn!(%error, "the log's next segment cannot be reserved");
        }
        if !std::mem::replace(&mut self.busy, false) {
            let sealed = self.wal.seal();
            self.note(sealed);
        }
    }
}

impl Worker for LogWorker {
    type Job = Job;

    fn take(&mut self, job: Job) {
        self.busy |= !matches!(job, Job::Tick | Job::Read { .. });
        match job {
            Job::Append { entries, done } => {
                for (index, payload) in entries {
                    let pushed = self.wal.push_entry(index, &payload);
                    self.note(pushed);
                }
                if mutated!(EarlyAck) {
                    done(Ok(()));
                    self.waiting.push(Box::new(|_| {}));
                } else {
                    self.waiting.push(done);
                }
            }
            Job::Vote { vote, done } => {
                let pushed = self.wal.push_vote(&vote);
                self.note(pushed);
                self.waiting.push(done);
            }
            Job::Committed((index, log_id)) => {
                let pushed = self.wal.push_committed(index, &log_id);
                self.note(pushed);
            }
            Job::Truncate { next, done } => {
                let pushed = self.wal.push_truncate(next);
                self.note(pushed);
                self.waiting.push(done);
            }
            Job::Purge { mark, done } => {
                let purged = self.wal.purge(mark.0, &mark.1);
                self.note(purged);
                self.waiting.push(done);
            }
            Job::Read { from, to, done } => {
                let _ = done.send(self.read(from, to));
            }
            Job::Tick => self.tick(),
        }
    }

    fn finish(&mut self) -> Duration {
        // A commit mark alone is worth no flush: it goes with the next.
        if !self.waiting.is_empty() {
            let flushed = self.wal.flush();
            self.note(flushed);
        }
        self.wal.disk().take_delay()
    }

    fn tell(&mut self) {
        for done in self.waiting.drain(..) {
            done(match &self.failed {
                None => Ok(()),
                Some(reason) => Err(io::Error::other(reason.clone())),
            });
        }
    }

    /// A log that was closed can tell all damage from a torn write.
    fn end(&mut self) {
        if let Err(error) = self.wal.seal() {
            tracing::debug!(%error, "the log was closed without a seal");
        }
    }
}
