//! What the registry is asked and told: by `Rooms`, by rooms, by shards, by the cluster.

use std::sync::Arc;

use actix::{Addr, Message, Recipient};
use protocol::proto;
use tokio::sync::oneshot;

use crate::room::contract::{Attach, RoomCall, RoomError, RoomInput, RoomReply, ToSession};
use crate::room::environment::{Follower, Hosting};
use crate::room::room_actor::RoomActor;

pub(crate) type CallReply = oneshot::Sender<Result<RoomReply, RoomError>>;

#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Create {
    pub(crate) request: proto::CreateRoomRequest,
    pub(crate) reply: CallReply,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::rooms) struct Find {
    pub(in crate::rooms) names: Vec<String>,
    pub(in crate::rooms) reply: oneshot::Sender<Vec<Addr<RoomActor>>>,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Call {
    pub(crate) room: String,
    pub(crate) request: RoomCall,
    pub(crate) reply: CallReply,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AttachSession {
    pub(crate) attach: Box<Attach>,
    pub(crate) recipient: Recipient<ToSession>,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::rooms) struct Forward {
    pub(in crate::rooms) room: String,
    pub(in crate::rooms) input: RoomInput,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::rooms) struct ShardEvent(pub(in crate::rooms) media::Event);

/// A room says that it is over: its name is free.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Ended {
    pub(crate) key: media::RoomKey,
}

/// The cluster is asked before a room is opened from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::rooms) struct HostWith(pub(in crate::rooms) Arc<dyn Hosting>);

/// The room lives elsewhere.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::rooms) struct Fence {
    pub(in crate::rooms) name: String,
    pub(in crate::rooms) epoch: u64,
    /// Its clients can go on there.
    pub(in crate::rooms) resume: bool,
}

/// The room lives here from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::rooms) struct Revive {
    pub(in crate::rooms) name: String,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::rooms) struct Follow {
    pub(in crate::rooms) name: String,
    pub(in crate::rooms) follower: Option<Arc<dyn Follower>>,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::rooms) struct Flush {
    pub(in crate::rooms) name: String,
    pub(in crate::rooms) reply: oneshot::Sender<bool>,
}

/// Hears what shards say of transports they stand by for.
pub(crate) type StandInEvents = Arc<dyn Fn(media::Event) + Send + Sync>;

/// A number is kept for a room that may be opened here.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::rooms) struct Reserve {
    pub(in crate::rooms) name: String,
    pub(in crate::rooms) told: StandInEvents,
    pub(in crate::rooms) reply: oneshot::Sender<Option<Reservation>>,
}

/// A number that is kept, and by whom: a later one for the same room takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    pub(crate) number: u32,
    pub(crate) turn: u64,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::rooms) struct Release {
    pub(in crate::rooms) name: String,
    /// Unless it was reserved again since.
    pub(in crate::rooms) turn: u64,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::rooms) struct Drain;

#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::rooms) struct Stop;
