//! What goes in and out of a room core, and what the gateway and the server API say to a room.

use std::collections::BTreeMap;
use std::time::Instant;

use protocol::grants::Claims;
use protocol::proto;

use super::journal::StandbyWord;
use crate::participant::contract::Kinds;

/// One WebSocket of one client. A resume brings a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// A client that wants in, or back in.
#[derive(Clone, Debug)]
pub struct Attach {
    pub session: SessionId,
    /// When its gateway heard of it, by this node's clock. It may have waited for the room since,
    /// and its client have come in by another door.
    pub asked: Instant,
    pub room: String,
    /// Verified claims; `claims.identity` is the participant's identity.
    pub claims: Claims,
    pub kind: AttachKind,
    pub client: proto::ClientInfo,
    pub auto_subscribe: bool,
    pub auto_subscribe_data_track: bool,
    pub adaptive_stream: bool,
    /// `None` = the server's `rtc.congestion_control.allow_pause`.
    pub subscriber_allow_pause: Option<bool>,
    pub disable_ice_lite: bool,
    pub single_peer_connection: bool,
    /// Attributes of the connect request; need `canUpdateOwnMetadata`.
    pub attributes: BTreeMap<String, String>,
    /// Publisher offer and tracks carried inside a `join_request`; of a rebind, those the former
    /// home left unanswered.
    pub publisher_offer: Option<proto::SessionDescription>,
    pub add_tracks: Vec<proto::AddTrackRequest>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachKind {
    Join,
    /// A join whose signalling is single requests (WHIP): it restarts ICE by itself and resumes
    /// nothing.
    OneShot,
    Resume {
        participant_sid: String,
        reason: i32,
    },
    /// The client's WebSocket is as it was: its room lives on another node from now on, with the
    /// client's transports, and the client is not to notice.
    Rebind {
        participant_sid: String,
        /// Messages of the old node may have been lost: who is here is told anew.
        missed: bool,
    },
}

impl AttachKind {
    /// It is somebody the room has to know already.
    pub fn comes_back(&self) -> bool {
        self.participant_sid().is_some()
    }

    /// Who it says to be.
    pub fn participant_sid(&self) -> Option<&str> {
        match self {
            Self::Resume {
                participant_sid, ..
            }
            | Self::Rebind {
                participant_sid, ..
            } => Some(participant_sid),
            Self::Join | Self::OneShot => None,
        }
    }
}

/// Why a client cannot be let in; the gateway turns it into an HTTP status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    #[error("requested room does not exist")]
    RoomNotFound,
    /// A full room, or oversized token metadata: upstream's gateway only sees its end.
    #[error("connection closed by media")]
    ClosedByMedia,
    #[error("node has exceeded its configured limit")]
    NodeFull,
    #[error("the node is shutting down")]
    ShuttingDown,
    #[error("{0}")]
    Invalid(String),
    /// The cluster says that the room is not here (any more): whoever asked asks again.
    #[error("the room is on another node")]
    Elsewhere,
    /// The cluster cannot say where the room is, or cannot reach it now; a later try may succeed.
    #[error("{0}")]
    Unreachable(String),
}

/// What a room tells one WebSocket.
#[derive(Clone, Debug)]
pub enum SessionMessage {
    Signal(Box<proto::SignalResponse>),
    /// Flush, then close: the session is over for the room.
    Close,
    /// Flush, then close so that the client resumes at once, wherever its room is by then. There is
    /// no `Leave` before: the SDKs on Rust take it and the close for two failures, and start over.
    Restart,
    /// The room goes on elsewhere, and with it the participant's media: the WebSocket is attached
    /// there, with this on the room's own node, and the client is told nothing.
    Elsewhere(Box<Attach>),
    /// Follows `Elsewhere`: the client said it too late for the room to hear it here.
    Unheard(Box<proto::signal_request::Message>),
}

/// What arrives at a session: the first is a `JoinResponse`, a `ReconnectResponse`, a `Leave` or
/// the reason why there is none.
#[derive(Debug)]
pub struct ToSession(pub Result<SessionMessage, AttachError>);

/// A request of the server API to a live room. Grants were checked before.
#[derive(Clone, Debug)]
pub enum RoomCall {
    Describe,
    Delete,
    ListParticipants,
    GetParticipant {
        identity: String,
    },
    RemoveParticipant {
        identity: String,
    },
    MutePublishedTrack(proto::MuteRoomTrackRequest),
    UpdateParticipant(proto::UpdateParticipantRequest),
    UpdateSubscriptions(proto::UpdateSubscriptionsRequest),
    SendData(proto::SendDataRequest),
    UpdateRoomMetadata {
        metadata: String,
    },
    PerformRpc(proto::PerformRpcRequest),
    CreateDispatch(proto::CreateAgentDispatchRequest),
    DeleteDispatch(proto::DeleteAgentDispatchRequest),
    ListDispatch(proto::ListAgentDispatchRequest),
    /// How much it has of everything.
    Figures,
    /// Everything an operator wants to see, for `skein room inspect`.
    Inspect,
    /// Of it, how the room went from node to node: for whoever may join.
    Moves,
}

#[derive(Clone, Debug)]
pub enum RoomReply {
    Done,
    Room(proto::Room),
    Participant(proto::ParticipantInfo),
    Participants(Vec<proto::ParticipantInfo>),
    /// `MutePublishedTrack`: `None` when the track is unknown (upstream answers `{"track": null}`).
    Track(Option<proto::TrackInfo>),
    Rpc(proto::PerformRpcResponse),
    Dispatch(proto::AgentDispatch),
    Dispatches(Vec<proto::AgentDispatch>),
    Figures(Figures),
    Inspection(serde_json::Value),
}

/// How much a room has; sums over all rooms are the node's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub participants: u32,
    pub published: Kinds,
    pub subscribed: Kinds,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Figures) {
        self.participants = self.participants.saturating_add(other.participants);
        self.published += other.published;
        self.subscribed += other.subscribed;
    }
}

/// Failure of a `RoomCall`; each variant is a Twirp code. Messages come without the prefix
/// `twirp error unknown: ` that upstream's API puts before errors of a room's node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoomError {
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    InvalidArgument(String),
    #[error("{0}")]
    FailedPrecondition(String),
    #[error("{0}")]
    PermissionDenied(String),
    #[error("{0}")]
    Canceled(String),
    #[error("{0}")]
    DeadlineExceeded(String),
    #[error("{0}")]
    ResourceExhausted(String),
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    Internal(String),
    /// The cluster says that the room is not here (any more): whoever asked asks again.
    #[error("the room is on another node")]
    Elsewhere,
}

/// Identifies an API call until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

#[derive(Debug)]
pub enum RoomInput {
    Attach(Box<Attach>),
    Signal {
        session: SessionId,
        message: Box<proto::signal_request::Message>,
    },
    /// The WebSocket is gone without a `leave`.
    SessionClosed(SessionId),
    /// The way to its gateway broke: the WebSocket may be well, and come back here or elsewhere.
    SessionLost(SessionId),
    Call {
        call: CallId,
        request: RoomCall,
    },
    Shard(media::Event),
    /// What the agent service reports about a job of this room.
    Job(JobUpdate),
    /// The node drains or stops: everybody is told to go.
    Stop,
    /// The room lives on another node from now on: everybody is told to come back, to there.
    Fence {
        /// That node knows everybody: who comes back goes on.
        resume: bool,
    },
    /// What the standby says of a transport, named as in a `MediaEntry`.
    StandbySaid {
        transport: u64,
        word: StandbyWord,
    },
    /// A shard of another node that carried participants is out of reach: they come back, to
    /// elsewhere.
    ShardLost(usize),
    Timeout,
}

#[derive(Debug)]
pub enum RoomOutput {
    Session {
        session: SessionId,
        message: SessionMessage,
    },
    Refused {
        session: SessionId,
        error: AttachError,
    },
    Reply {
        call: CallId,
        result: Result<RoomReply, RoomError>,
    },
    Shard {
        shard: usize,
        command: media::Command,
    },
    /// `id` and `created_at` are filled; delivery order is the order of these.
    Webhook(Box<proto::WebhookEvent>),
    /// A job wants a worker.
    LaunchJob(Box<JobRequest>),
    /// The room or its participant is gone, or the dispatch was deleted: end its jobs.
    TerminateJob { job_id: String },
    /// Nothing more is said to the standby: it goes on with the room.
    LastWords,
    /// The room is over; its actor stops and its name is free.
    Ended,
}

/// A job the agent service shall place on a worker.
#[derive(Clone, Debug)]
pub struct JobRequest {
    pub job: proto::Job,
    pub deployment: String,
}

/// The state of a job as its worker reports it. `JS_FAILED` without a `worker_id` = no worker took
/// the job: it never was, and upstream's dispatch does not list it.
#[derive(Clone, Debug)]
pub struct JobUpdate {
    /// Name of the room the job belongs to.
    pub room: String,
    pub job_id: String,
    pub dispatch_id: String,
    pub state: proto::JobState,
}
