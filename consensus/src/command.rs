//! What can be asked of the cluster, what it answers, and what others are told of it. These types
//! are the log: a change here is a new version in `encoding.rs`, and golden bytes notice it.

use rkyv::{Archive, Deserialize, Serialize};

use crate::ids::{
    Epoch, JobId, LeaseName, LogIndex, NodeId, RequestId, RoomName, RoomSid, ValueKey,
};

/// One entry of the log.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub request: RequestId,
    pub action: Action,
}

#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    pub master: bool,
    pub media: bool,
}

/// What the operator wants of a node's vote; the quorum keeper decides within it.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VoterWish {
    /// A master votes; a media node may be a witness.
    #[default]
    Auto,
    Never,
}

/// What a node says of itself when it joins or starts again.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    pub roles: Roles,
    /// Where its cluster endpoint answers.
    pub address: String,
    /// The machine: two nodes of one host die together.
    pub host: String,
    /// What fails together beyond a machine; empty if nobody said.
    pub zone: String,
    /// Of `node_selector.regions`.
    pub region: String,
    /// The newest encoding it understands.
    pub version_max: u16,
}

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum JobKind {
    Egress,
    Ingress,
    Agent,
}

#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    Waiting,
    Running,
    Ending,
    Complete,
    Failed,
}

impl JobState {
    pub fn is_over(self) -> bool {
        matches!(self, Self::Complete | Self::Failed)
    }
}

/// `epoch` is always the one the caller believes to hold; an older one is refused.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A process begins to be this node. Answers with its incarnation, a new epoch; whatever an
    /// earlier process of the node held ends as if that had been found dead. A drain lasts.
    RegisterNode {
        node: NodeId,
        info: NodeInfo,
    },
    /// This life of the node takes part: rooms and jobs may come. Neither ends a drain nor brings a
    /// life back that was declared dead: that one registers anew.
    ActivateNode {
        node: NodeId,
        incarnation: Epoch,
    },
    /// Gets nothing new; what it has moves away.
    DrainNode {
        node: NodeId,
    },
    /// This life of the node was found dead: its rooms go to their standbys in one step, its leases
    /// end. Refused if another has begun since.
    DeclareDead {
        node: NodeId,
        incarnation: Epoch,
    },
    /// Only when nothing is left on it.
    RemoveNode {
        node: NodeId,
    },
    WishVote {
        node: NodeId,
        wish: VoterWish,
    },

    /// The room of that name, or this one if there is none.
    PlaceRoom {
        name: RoomName,
        sid: RoomSid,
        home: NodeId,
        standby: Option<NodeId>,
    },
    /// A new home, and with it a new epoch.
    MoveRoom {
        name: RoomName,
        epoch: Epoch,
        home: NodeId,
        standby: Option<NodeId>,
    },
    SetStandby {
        name: RoomName,
        epoch: Epoch,
        standby: Option<NodeId>,
    },
    CloseRoom {
        name: RoomName,
        epoch: Epoch,
    },

    /// Free, or held by nobody else; `over` names the epoch of an owner found dead.
    AcquireLease {
        name: LeaseName,
        owner: NodeId,
        over: Option<Epoch>,
    },
    ReleaseLease {
        name: LeaseName,
        epoch: Epoch,
    },

    CreateJob {
        job: JobId,
        kind: JobKind,
        room: Option<RoomName>,
        detail: Vec<u8>,
    },
    /// Gives it to a node, with a new epoch; `epoch` is the current one (0: nobody's).
    AssignJob {
        job: JobId,
        epoch: Epoch,
        owner: NodeId,
    },
    /// By its owner.
    UpdateJob {
        job: JobId,
        epoch: Epoch,
        state: JobState,
        detail: Option<Vec<u8>>,
    },
    /// By its owner, or by whoever names the epoch of a job nobody has.
    RemoveJob {
        job: JobId,
        epoch: Epoch,
    },

    /// `expected`: the version the caller saw (0: none); without it the last writer wins.
    SetValue {
        key: ValueKey,
        value: Vec<u8>,
        expected: Option<u64>,
    },
    RemoveValue {
        key: ValueKey,
        expected: Option<u64>,
    },

    /// Numbers nobody else gets.
    AllocateIds {
        count: u64,
    },
    /// A write that owners make before they act: refused once the room is somebody else's. The
    /// owner may be paused between the answer and the act, so who takes the act compares epochs.
    AssertHome {
        name: RoomName,
        home: NodeId,
        epoch: Epoch,
    },
    /// As `AssertHome`, for a lease.
    AssertLease {
        name: LeaseName,
        owner: NodeId,
        epoch: Epoch,
    },
    /// By the operator: a draining node gets work again.
    EndDrain {
        node: NodeId,
    },
    /// Its standby becomes its home, if it still is that under the mandate of `since`: whoever was
    /// appointed meanwhile knows nothing of the room. `standby`: the next one.
    MoveToStandby {
        name: RoomName,
        epoch: Epoch,
        since: LogIndex,
        standby: Option<NodeId>,
    },
}

impl Action {
    /// The version that brought `MoveToStandby`.
    pub const TO_STANDBY_SINCE: u16 = 3;

    /// The oldest version of the log that has it: what it is written as, so that a new program
    /// among old ones can say everything they know.
    pub fn since(&self) -> u16 {
        match self {
            Self::MoveToStandby { .. } => Self::TO_STANDBY_SINCE,
            _ => crate::encoding::COMMON,
        }
    }
}

/// Where a room is.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Room {
    pub sid: RoomSid,
    pub home: NodeId,
    pub standby: Option<NodeId>,
    pub epoch: Epoch,
}

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// `created` is false if the room was there already.
    Room {
        room: Room,
        created: bool,
    },
    Epoch(Epoch),
    Version(u64),
    /// The first of them.
    Ids(u64),
}

/// Why a command changed nothing.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("epoch {presented} is old; {current} is in force")]
    StaleEpoch { presented: Epoch, current: Epoch },
    #[error("no node {0}")]
    NoNode(NodeId),
    #[error("node {0} was removed; its id is not used again")]
    NodeRemoved(NodeId),
    #[error("node {node} cannot: it is {state:?}")]
    NodeState { node: NodeId, state: NodeState },
    #[error("node {node} still has {rooms} rooms and {jobs} jobs")]
    NodeInUse { node: NodeId, rooms: u64, jobs: u64 },
    #[error("no such room")]
    NoRoom,
    #[error("no such job")]
    NoJob,
    #[error("the job is over")]
    JobOver,
    #[error("nobody has the job")]
    JobWithoutOwner,
    #[error("nobody holds the lease")]
    NoLease,
    #[error("the lease is held by {owner} with {epoch}")]
    LeaseHeld { owner: NodeId, epoch: Epoch },
    #[error("version {expected} was expected, {found} is there")]
    Conflict { expected: u64, found: u64 },
    #[error("home and standby are the same node")]
    SameNode,
    #[error("too many {what}: at most {max}")]
    Full { what: String, max: u64 },
    #[error("{what} is {bytes} bytes long; at most {max}")]
    TooLong { what: String, bytes: u64, max: u64 },
    #[error("node {0} can have no room: it is no media node")]
    NoMediaNode(NodeId),
}

#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    Joining,
    Active,
    Draining,
    /// Declared dead. Fenced until it registers again, as a new incarnation.
    Dead,
}

/// What changed, for those who act on it: gateways, room homes, the operator, webhooks. Derived on
/// every node from the same log; not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    NodeChanged {
        node: NodeId,
        state: NodeState,
    },
    NodeRemoved {
        node: NodeId,
    },
    RoomPlaced {
        name: RoomName,
        room: Room,
    },
    RoomMoved {
        name: RoomName,
        from: NodeId,
        room: Room,
    },
    /// Its home is dead and it has no live standby: placement must choose.
    RoomOrphaned {
        name: RoomName,
        room: Room,
    },
    StandbyChanged {
        name: RoomName,
        room: Room,
    },
    RoomClosed {
        name: RoomName,
        room: Room,
    },
    LeaseChanged {
        name: LeaseName,
        owner: Option<NodeId>,
        epoch: Epoch,
    },
    JobChanged {
        job: JobId,
        owner: Option<NodeId>,
        epoch: Epoch,
        state: JobState,
    },
    /// Its owner is dead: somebody must take it.
    JobOrphaned {
        job: JobId,
    },
    JobRemoved {
        job: JobId,
    },
    ValueChanged {
        key: ValueKey,
        version: u64,
    },
    ValueRemoved {
        key: ValueKey,
    },
}
