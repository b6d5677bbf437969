//! What voters write to their disks and send to each other, as values of our own with an encoding
//! of our own: openraft's types may change under us, released bytes may not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openraft::EntryPayload;
use openraft::type_config::alias::LeaderIdOf;
use openraft::vote::RaftLeaderId;
use rkyv::{Archive, Deserialize, Serialize};

use super::{CommandBytes, Entry, LogId, Membership, PeerAddress, SnapshotMeta};
use super::{StoredMembership, Types, Vote};
use crate::command::{Outcome, Refusal};
use crate::encoding::EncodingError;
use crate::ids::NodeId;

#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WireVote {
    pub(crate) term: u64,
    pub(crate) node: NodeId,
    pub(crate) committed: bool,
}

#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WireLogId {
    pub(crate) term: u64,
    pub(crate) node: NodeId,
    pub(crate) index: u64,
}

/// One set of voters, or two while the cluster goes from one to the other.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WireMembership {
    pub(crate) voters: Vec<Vec<NodeId>>,
    pub(crate) nodes: Vec<(NodeId, String)>,
}

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) enum WirePayload {
    Blank,
    Command(Vec<u8>),
    Membership(WireMembership),
}

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) struct WireEntry {
    pub(crate) log_id: WireLogId,
    pub(crate) payload: WirePayload,
}

#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WireSnapshotMeta {
    pub(crate) last: Option<WireLogId>,
    pub(crate) membership_at: Option<WireLogId>,
    pub(crate) membership: WireMembership,
}

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Append {
        vote: WireVote,
        previous: Option<WireLogId>,
        entries: Vec<WireEntry>,
        commit: Option<WireLogId>,
    },
    Vote {
        vote: WireVote,
        last: Option<WireLogId>,
        transfer: bool,
    },
    PreVote {
        vote: WireVote,
        last: Option<WireLogId>,
        transfer: bool,
    },
    Snapshot {
        vote: WireVote,
        meta: WireSnapshotMeta,
        state: Vec<u8>,
    },
    TransferLeader {
        from: WireVote,
        to: NodeId,
        last: Option<WireLogId>,
    },
    /// A command in its envelope, for the leader. Of programs that do not say when it was first
    /// tried.
    Propose { command: Vec<u8> },
    /// How far the leader's log is committed, confirmed by a quorum.
    ReadIndex,
    /// As `Propose`; up to index `after` nobody can have written it.
    ProposeAfter { command: Vec<u8>, after: u64 },
    /// Another request, for the leader, which whoever asks cannot reach.
    HandOn { request: Vec<u8> },
}

impl Request {
    /// The versions of nodes that understand these; those before do not.
    pub(crate) const PROPOSE_AFTER_SINCE: u16 = 2;
    pub(crate) const HAND_ON_SINCE: u16 = 2;

    /// Only the leader answers it.
    pub(crate) fn is_for_leader(&self) -> bool {
        matches!(
            self,
            Self::Propose { .. } | Self::ProposeAfter { .. } | Self::ReadIndex
        )
    }
}

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Appended,
    AppendedUpTo(Option<WireLogId>),
    Conflict,
    HigherVote(WireVote),
    Voted {
        vote: WireVote,
        granted: bool,
        last: Option<WireLogId>,
    },
    Installed {
        vote: WireVote,
    },
    Transferred,
    TransferVoteChanged {
        expected: WireVote,
        actual: WireVote,
    },
    TransferNotFlushed {
        expected: Option<WireLogId>,
        actual: Option<WireLogId>,
    },
    Proposed {
        index: u64,
        answer: Result<Outcome, Refusal>,
    },
    ReadAt(Option<u64>),
    NotLeader,
    Failed(String),
    /// Not written: the log is at this index, too far from where the command was first tried.
    Late(u64),
}

impl From<Vote> for WireVote {
    fn from(vote: Vote) -> Self {
        Self {
            term: vote.leader_id.term,
            node: vote.leader_id.node_id,
            committed: vote.committed,
        }
    }
}

impl From<WireVote> for Vote {
    fn from(vote: WireVote) -> Self {
        if vote.committed {
            Self::new_committed(vote.term, vote.node)
        } else {
            Self::new(vote.term, vote.node)
        }
    }
}

impl From<LogId> for WireLogId {
    fn from(log_id: LogId) -> Self {
        Self {
            term: log_id.leader_id.term,
            node: log_id.leader_id.node_id,
            index: log_id.index,
        }
    }
}

impl From<WireLogId> for LogId {
    fn from(log_id: WireLogId) -> Self {
        let leader = LeaderIdOf::<Types>::new(log_id.term, log_id.node);
        Self::new(leader, log_id.index)
    }
}

impl From<&Membership> for WireMembership {
    fn from(membership: &Membership) -> Self {
        let voters = membership.get_joint_config().iter();
        Self {
            voters: voters.map(|set| set.iter().copied().collect()).collect(),
            nodes: membership
                .nodes()
                .map(|(node, address)| (*node, address.0.clone()))
                .collect(),
        }
    }
}

impl TryFrom<WireMembership> for Membership {
    type Error = EncodingError;

    fn try_from(membership: WireMembership) -> Result<Self, EncodingError> {
        let voters: Vec<BTreeSet<NodeId>> = membership
            .voters
            .into_iter()
            .map(|set| set.into_iter().collect())
            .collect();
        let nodes: BTreeMap<NodeId, PeerAddress> = membership
            .nodes
            .into_iter()
            .map(|(node, address)| (node, PeerAddress(address)))
            .collect();
        Self::new(voters, nodes).map_err(|error| EncodingError::Damaged(error.to_string()))
    }
}

impl From<&Entry> for WireEntry {
    fn from(entry: &Entry) -> Self {
        let payload = match &entry.payload {
            EntryPayload::Blank => WirePayload::Blank,
            EntryPayload::Normal(command) => WirePayload::Command(command.0.to_vec()),
            EntryPayload::Membership(membership) => WirePayload::Membership(membership.into()),
        };
        Self {
            log_id: entry.log_id.into(),
            payload,
        }
    }
}

impl WireEntry {
    /// Not `TryFrom`: the compiler sees a conflict in openraft's generic entry.
    pub(crate) fn into_entry(self) -> Result<Entry, EncodingError> {
        let payload = match self.payload {
            WirePayload::Blank => EntryPayload::Blank,
            WirePayload::Command(bytes) => EntryPayload::Normal(CommandBytes(Arc::from(bytes))),
            WirePayload::Membership(membership) => EntryPayload::Membership(membership.try_into()?),
        };
        Ok(Entry {
            log_id: self.log_id.into(),
            payload,
        })
    }
}

impl From<&SnapshotMeta> for WireSnapshotMeta {
    fn from(meta: &SnapshotMeta) -> Self {
        Self {
            last: meta.last_log_id.map(Into::into),
            membership_at: meta.last_membership.log_id().map(Into::into),
            membership: meta.last_membership.membership().into(),
        }
    }
}

impl TryFrom<WireSnapshotMeta> for SnapshotMeta {
    type Error = EncodingError;

    fn try_from(meta: WireSnapshotMeta) -> Result<Self, EncodingError> {
        let membership_at = meta.membership_at.map(Into::into);
        Ok(Self {
            last_log_id: meta.last.map(Into::into),
            last_membership: StoredMembership::new(membership_at, meta.membership.try_into()?),
        })
    }
}
