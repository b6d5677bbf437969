//! Proposing: on any node, tried again until it is committed or time is up. A command keeps its
//! request id over all tries, so that it is applied once whatever happened to the first.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::errors::{ClientWriteError, RaftError};

use super::{Cluster, Inner};
use crate::command::{Action, Command, Outcome, Refusal};
use crate::encoding::{Content, encode_as};
use crate::ids::{LogIndex, RequestId};
use crate::limits::WAL_RECORD_BYTES_MAX;
use crate::raft::CommandBytes;
use crate::raft::wire::{Reply, Request};
use crate::state::State;

/// A command in the log of a quorum, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub index: LogIndex,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// It was committed, and changed nothing.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nobody knows: it may still be committed. The same request id may be proposed again.
    #[error("not committed within {patience:?}: {last}")]
    Unavailable { patience: Duration, last: String },
    #[error("a command of {bytes} bytes; at most {max}")]
    TooLarge { bytes: usize, max: usize },
    #[error("some nodes only understand version {common} of the log; this needs {needed}")]
    TooNew { common: u16, needed: u16 },
    #[error("raft stopped: {0}")]
    Stopped(String),
}

/// What one try came to.
enum Try {
    Done(u64, Result<Outcome, Refusal>),
    /// Why it must be tried again.
    Again(String),
    /// Nothing was written: the leader's log is so far, and may not remember an earlier try.
    Late(u64),
    Stopped(String),
}

/// A command as it is tried.
struct Tried {
    bytes: Vec<u8>,
    /// Before this index nobody can have written it.
    after: u64,
}

impl Cluster {
    /// Proposes once; retries inside are one request.
    pub async fn propose(&self, action: Action) -> Result<Committed, ProposeError> {
        let request = RequestId {
            client: self.inner.client,
            number: self.inner.requests.fetch_add(1, Ordering::Relaxed),
        };
        self.propose_as(request, action).await
    }

    /// Proposes under a request id the caller keeps, to try again after
    /// [`ProposeError::Unavailable`].
    pub async fn propose_as(
        &self,
        request: RequestId,
        action: Action,
    ) -> Result<Committed, ProposeError> {
        let common = self.read(State::common_version);
        let needed = action.since();
        if common < needed {
            return Err(ProposeError::TooNew { common, needed });
        }
        // Nodes of the last version read everything that they know already.
        let bytes = encode_as(Content::Command, needed, &Command { request, action })
            .map_err(|error| ProposeError::Stopped(error.to_string()))?;
        // Room for the entry's own envelope and log id.
        let max = WAL_RECORD_BYTES_MAX - 1_024;
        if bytes.len() > max {
            let bytes = bytes.len();
            return Err(ProposeError::TooLarge { bytes, max });
        }
        let patience = self.inner.options.patience;
        let mut last = String::from("nobody leads");
        let after = self.status().applied.unwrap_or(0);
        let tries = self.inner.try_for_long(Tried { bytes, after }, &mut last);
        match tokio::time::timeout(patience, tries).await {
            Ok(Some(result)) => result,
            Ok(None) | Err(_) => Err(ProposeError::Unavailable { patience, last }),
        }
    }

    /// For another node: one try here, no further forwarding.
    pub(super) async fn propose_for(&self, bytes: Vec<u8>, after: u64) -> Reply {
        match self.inner.try_here(&Tried { bytes, after }).await {
            Some(Try::Done(index, answer)) => Reply::Proposed { index, answer },
            Some(Try::Late(at)) => Reply::Late(at),
            Some(Try::Again(reason) | Try::Stopped(reason)) => Reply::Failed(reason),
            None => Reply::NotLeader,
        }
    }
}

impl Inner {
    /// Until it is committed. `None`: an earlier try may have been, and the log forgets answers: it
    /// is not tried again, as it could be applied a second time.
    async fn try_for_long(
        &self,
        mut tried: Tried,
        last: &mut String,
    ) -> Option<Result<Committed, ProposeError>> {
        let mut sent = false;
        loop {
            match self.try_once(&tried).await {
                Try::Done(index, answer) => {
                    let index = LogIndex(index);
                    let committed = answer.map(|outcome| Committed { index, outcome });
                    return Some(committed.map_err(ProposeError::from));
                }
                Try::Stopped(reason) => return Some(Err(ProposeError::Stopped(reason))),
                Try::Late(_) if sent => {
                    *last = "the log went on too far since it was first tried".into();
                    return None;
                }
                // This node's own log is behind.
                Try::Late(at) => {
                    tried.after = at;
                    continue;
                }
                Try::Again(reason) => {
                    sent = true;
                    *last = reason;
                }
            }
            tokio::time::sleep(self.options.retry).await;
        }
    }

    async fn try_once(&self, tried: &Tried) -> Try {
        if let Some(done) = self.try_here(tried).await {
            return done;
        }
        let command = tried.bytes.clone();
        let request = match self.replica.read(State::common_version) {
            Request::PROPOSE_AFTER_SINCE.. => Request::ProposeAfter {
                command,
                after: tried.after,
            },
            _ => Request::Propose { command },
        };
        // Long enough for its disk, short enough to notice that it is gone.
        let within = self.options.election_timeout_max * 2;
        match self.ask_leader(&request, within).await {
            Ok(Reply::Proposed { index, answer }) => Try::Done(index, answer),
            Ok(Reply::Late(at)) => Try::Late(at),
            Ok(_) => Try::Again("who led does no longer".into()),
            Err(reason) => Try::Again(reason),
        }
    }

    /// `None`: this node does not lead.
    async fn try_here(&self, tried: &Tried) -> Option<Try> {
        if !self.raft.is_leader() {
            return self.stopped().map(Try::Stopped);
        }
        let written = self.last_index();
        if written.saturating_sub(tried.after) > self.options.propose_entries {
            return Some(Try::Late(written));
        }
        let command = CommandBytes(Arc::from(&tried.bytes[..]));
        match self.seeded(self.raft.client_write(command)).await {
            Ok(response) => match response.data.0 {
                Some(answer) => Some(Try::Done(response.log_id.index, answer)),
                None => Some(Try::Again("the entry was no command".into())),
            },
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => None,
            Err(RaftError::APIError(error)) => Some(Try::Again(error.to_string())),
            Err(RaftError::Fatal(error)) => Some(Try::Stopped(error.to_string())),
        }
    }

    fn last_index(&self) -> u64 {
        use openraft::async_runtime::WatchReceiver;
        let metrics = self.raft.metrics();
        let last = metrics.borrow_watched().last_log_index;
        last.unwrap_or(0)
    }

    fn stopped(&self) -> Option<String> {
        use openraft::async_runtime::WatchReceiver;
        let metrics = self.raft.metrics();
        let state = metrics.borrow_watched().running_state.clone();
        state.err().map(|error| error.to_string())
    }
}
