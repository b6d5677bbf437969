//! openraft's network on [`Peers`]: requests to bytes, bytes to replies, and the serving side.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, v2::RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};

use super::wire::{Reply, Request, WireEntry};
use super::{Entry, PeerAddress, Raft, Snapshot, SnapshotData, SnapshotMeta, Types, Vote};
use crate::encoding::{Content, decode, encode};
use crate::ids::NodeId;
use crate::limits::APPEND_PATIENCE_MS;
use crate::peers::Peers;

/// Sends one request and reads its reply; any failure is a text, that which is told too.
pub(crate) async fn call(
    peers: &dyn Peers,
    to: NodeId,
    address: &str,
    request: &Request,
    within: Duration,
) -> Result<Reply, String> {
    match exchange(peers, to, address, request, within).await? {
        Reply::Failed(reason) => Err(format!("{to}: {reason}")),
        reply => Ok(reply),
    }
}

/// Sends one request and reads its reply, whatever that says.
pub(crate) async fn exchange(
    peers: &dyn Peers,
    to: NodeId,
    address: &str,
    request: &Request,
    within: Duration,
) -> Result<Reply, String> {
    let bytes = encode(Content::Message, request).map_err(|e| e.to_string())?;
    let answered = tokio::time::timeout(within, peers.call(to, address, bytes, within)).await;
    let reply = match answered {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("{to} did not answer within {within:?}")),
    };
    decode(Content::Message, &reply).map_err(|e| e.to_string())
}

pub(crate) struct Network {
    pub(crate) peers: Arc<dyn Peers>,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: NodeId, node: &PeerAddress) -> Connection {
        Connection {
            peers: self.peers.clone(),
            to: target,
            address: node.0.clone(),
        }
    }
}

pub(crate) struct Connection {
    peers: Arc<dyn Peers>,
    to: NodeId,
    address: String,
}

impl Connection {
    async fn call(&self, request: &Request, within: Duration) -> Result<Reply, RPCError<Types>> {
        let reply = call(&*self.peers, self.to, &self.address, request, within).await;
        reply.map_err(|reason| RPCError::Unreachable(Unreachable::new(&io::Error::other(reason))))
    }

    async fn ask_vote(
        &self,
        request: Request,
        option: &RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.call(&request, option.soft_ttl()).await? {
            Reply::Voted {
                vote,
                granted,
                last,
            } => Ok(VoteResponse::new(
                Vote::from(vote),
                last.map(Into::into),
                granted,
            )),
            other => Err(unexpected(&other)),
        }
    }
}

fn unexpected(reply: &Reply) -> RPCError<Types> {
    let error = io::Error::other(format!("an unexpected reply: {reply:?}"));
    RPCError::Network(NetworkError::new(&error))
}

impl RaftNetworkV2<Types> for Connection {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let request = Request::Append {
            vote: rpc.vote.into(),
            previous: rpc.prev_log_id.map(Into::into),
            entries: rpc.entries.iter().map(WireEntry::from).collect(),
            commit: rpc.leader_commit.map(Into::into),
        };
        // A heartbeat late is a heartbeat lost; entries wait for the other's disk.
        let within = match rpc.entries.is_empty() {
            true => option.soft_ttl(),
            false => option
                .soft_ttl()
                .max(Duration::from_millis(APPEND_PATIENCE_MS)),
        };
        match self.call(&request, within).await? {
            Reply::Appended => Ok(AppendEntriesResponse::Success),
            Reply::AppendedUpTo(last) => {
                Ok(AppendEntriesResponse::PartialSuccess(last.map(Into::into)))
            }
            Reply::Conflict => Ok(AppendEntriesResponse::Conflict),
            Reply::HigherVote(vote) => Ok(AppendEntriesResponse::HigherVote(vote.into())),
            other => Err(unexpected(&other)),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let request = Request::Vote {
            vote: rpc.vote.into(),
            last: rpc.last_log_id.map(Into::into),
            transfer: rpc.leadership_transfer,
        };
        self.ask_vote(request, &option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let request = Request::PreVote {
            vote: rpc.vote.into(),
            last: rpc.last_log_id.map(Into::into),
            transfer: rpc.leadership_transfer,
        };
        self.ask_vote(request, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let request = Request::Snapshot {
            vote: vote.into(),
            meta: (&snapshot.meta).into(),
            state: snapshot.snapshot.to_vec(),
        };
        let failed = |reason: String| {
            StreamingError::Unreachable(Unreachable::new(&io::Error::other(reason)))
        };
        let sent = call(
            &*self.peers,
            self.to,
            &self.address,
            &request,
            option.hard_ttl(),
        );
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            reply = sent => match reply.map_err(failed)? {
                Reply::Installed { vote } => Ok(SnapshotResponse::new(vote.into())),
                other => Err(failed(format!("an unexpected reply: {other:?}"))),
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let request = Request::TransferLeader {
            from: (*rpc.from_leader()).into(),
            to: *rpc.to_node_id(),
            last: rpc.last_log_id().map(|id| (*id).into()),
        };
        match self.call(&request, option.soft_ttl()).await? {
            Reply::Transferred => Ok(Ok(())),
            Reply::TransferVoteChanged { expected, actual } => {
                Ok(Err(TransferLeaderError::VoteChanged {
                    expected: expected.into(),
                    actual: actual.into(),
                }))
            }
            Reply::TransferNotFlushed { expected, actual } => {
                Ok(Err(TransferLeaderError::LogNotFlushed {
                    expected: expected.map(Into::into),
                    actual: actual.map(Into::into),
                }))
            }
            other => Err(unexpected(&other)),
        }
    }
}

/// The serving side of what openraft itself asks; the rest is `cluster.rs`'s.
pub(crate) async fn serve(raft: &Raft, request: Request) -> Reply {
    match request {
        Request::Append {
            vote,
            previous,
            entries,
            commit,
        } => {
            let entries: Result<Vec<Entry>, _> =
                entries.into_iter().map(WireEntry::into_entry).collect();
            let entries = match entries {
                Ok(entries) => entries,
                Err(error) => return Reply::Failed(error.to_string()),
            };
            let rpc = AppendEntriesRequest {
                vote: vote.into(),
                prev_log_id: previous.map(Into::into),
                entries,
                leader_commit: commit.map(Into::into),
            };
            appended(raft.append_entries(rpc).await)
        }
        Request::Vote {
            vote,
            last,
            transfer,
        } => voted(raft.vote(vote_request(vote.into(), last, transfer)).await),
        Request::PreVote {
            vote,
            last,
            transfer,
        } => voted(
            raft.pre_vote(vote_request(vote.into(), last, transfer))
                .await,
        ),
        Request::Snapshot { vote, meta, state } => {
            let meta = match SnapshotMeta::try_from(meta) {
                Ok(meta) => meta,
                Err(error) => return Reply::Failed(error.to_string()),
            };
            let snapshot = Snapshot {
                meta,
                snapshot: Arc::new(state),
            };
            match raft.install_full_snapshot(vote.into(), snapshot).await {
                Ok(response) => Reply::Installed {
                    vote: response.vote.into(),
                },
                Err(error) => Reply::Failed(error.to_string()),
            }
        }
        Request::TransferLeader { from, to, last } => {
            let rpc = TransferLeaderRequest::new(from.into(), to, last.map(Into::into));
            transferred(raft.handle_transfer_leader(rpc).await)
        }
        Request::Propose { .. }
        | Request::ProposeAfter { .. }
        | Request::ReadIndex
        | Request::HandOn { .. } => Reply::NotLeader,
    }
}

fn appended<E: std::fmt::Display>(response: Result<AppendEntriesResponse<Types>, E>) -> Reply {
    match response {
        Ok(AppendEntriesResponse::Success) => Reply::Appended,
        Ok(AppendEntriesResponse::PartialSuccess(last)) => {
            Reply::AppendedUpTo(last.map(Into::into))
        }
        Ok(AppendEntriesResponse::Conflict) => Reply::Conflict,
        Ok(AppendEntriesResponse::HigherVote(vote)) => Reply::HigherVote(vote.into()),
        Err(error) => Reply::Failed(error.to_string()),
    }
}

fn transferred<E: std::fmt::Display>(response: Result<TransferLeaderResponse<Types>, E>) -> Reply {
    match response {
        Ok(Ok(())) => Reply::Transferred,
        Ok(Err(TransferLeaderError::VoteChanged { expected, actual })) => {
            Reply::TransferVoteChanged {
                expected: expected.into(),
                actual: actual.into(),
            }
        }
        Ok(Err(TransferLeaderError::LogNotFlushed { expected, actual })) => {
            Reply::TransferNotFlushed {
                expected: expected.map(Into::into),
                actual: actual.map(Into::into),
            }
        }
        Err(error) => Reply::Failed(error.to_string()),
    }
}

fn vote_request(
    vote: Vote,
    last: Option<super::wire::WireLogId>,
    transfer: bool,
) -> VoteRequest<Types> {
    VoteRequest {
        leadership_transfer: transfer,
        ..VoteRequest::new(vote, last.map(Into::into))
    }
}

fn voted<E: std::fmt::Display>(response: Result<VoteResponse<Types>, E>) -> Reply {
    match response {
        Ok(response) => Reply::Voted {
            vote: response.vote.into(),
            granted: response.vote_granted,
            last: response.last_log_id.map(Into::into),
        },
        Err(error) => Reply::Failed(error.to_string()),
    }
}
