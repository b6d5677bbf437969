//! Finds the room of a name: a registry actor owns the table, `Rooms` is the handle the gateway,
//! the server API, the agent service and the shards' threads hold. Creates rooms; keeps no state of
//! theirs.

mod registry;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use actix::{Actor, Addr, Recipient};
use protocol::proto;
use tokio::sync::oneshot;

pub(crate) use self::registry::{
    AttachSession, Call, Create, Ended, Registry, Reservation, StandInEvents,
};
use self::registry::{
    Drain, Fence, Find, Flush, Follow, Forward, HostWith, Release, Reserve, Revive, ShardEvent,
    Stop,
};
use crate::room::contract::{
    Attach, Figures, JobUpdate, RoomCall, RoomError, RoomInput, RoomReply, SessionId, ToSession,
};
use crate::room::environment::{Follower, Hosting, IsFull, Services, Sinks};
use crate::room::journal::StandbyWord;
use crate::room::room_actor::ToRoom;

/// Rooms a node can hold at a time: half the width of the room's number in a key. Above are the
/// parts of other nodes' rooms.
pub(crate) const ROOM_NUMBERS: u32 = 1 << 23;

/// What every call about an absent room is told.
pub(crate) const NO_SUCH_ROOM: &str = "requested room does not exist";
const NO_SUCH_PARTICIPANT: &str = "participant does not exist";

/// A handle to all rooms of this node.
#[derive(Clone)]
pub struct Rooms {
    registry: Addr<Registry>,
}

impl Rooms {
    /// Starts the registry; must be called within a running actix system.
    /// While `is_full` says so, nobody new is let in.
    pub fn start(services: Arc<Services>, sinks: Sinks, is_full: IsFull) -> Self {
        Self {
            registry: Registry::new(services, sinks, is_full).start(),
        }
    }

    /// From now on the cluster is asked before a room is opened, and told when one is over.
    pub fn host_with(&self, hosting: Arc<dyn Hosting>) {
        self.registry.do_send(HostWith(hosting));
    }

    /// The room lives on another node from now on: it is stopped here, and its clients come back to
    /// there; `resume`: as the participants they are.
    /// Only the life of it that was opened under `epoch`.
    pub fn fence(&self, room: &str, epoch: u64, resume: bool) {
        let name = room.to_owned();
        self.registry.do_send(Fence {
            name,
            epoch,
            resume,
        });
    }

    /// Opens a room that the cluster remembers, if it is not open.
    pub fn revive(&self, room: &str) {
        let name = room.to_owned();
        self.registry.do_send(Revive { name });
    }

    /// The room says everything to `follower`, and then what changes; `None`: to nobody any more.
    pub fn follow(&self, room: &str, follower: Option<Arc<dyn Follower>>) {
        let name = room.to_owned();
        self.registry.do_send(Follow { name, follower });
    }

    /// What a room's standby said of one of its transports.
    pub(crate) fn standby_said(&self, room: &str, transport: u64, word: StandbyWord) {
        let input = RoomInput::StandbySaid { transport, word };
        let room = room.to_owned();
        self.registry.do_send(Forward { room, input });
    }

    /// A number for the room that this node may open one day; until then `told` hears what shards
    /// say under it. Again: the same number, in another's name. `None`: there is none, or the room
    /// is open here.
    pub(crate) async fn reserve(&self, room: &str, told: StandInEvents) -> Option<Reservation> {
        let (reply, number) = oneshot::channel();
        let name = room.to_owned();
        self.registry.do_send(Reserve { name, told, reply });
        number.await.ok().flatten()
    }

    /// It will not be opened here, unless it was reserved again.
    pub(crate) fn release(&self, room: &str, reservation: Reservation) {
        let (name, turn) = (room.to_owned(), reservation.turn);
        self.registry.do_send(Release { name, turn });
    }

    /// Resolves when the room has told its follower everything that was asked of it before. `true`:
    /// not everybody is protected, and some may be soon.
    pub fn flush_journal(&self, room: &str) -> impl Future<Output = bool> + Send + use<> {
        let (reply, flushed) = oneshot::channel();
        let name = room.to_owned();
        self.registry.do_send(Flush { name, reply });
        async move {
            // A room that is gone has nothing to say.
            flushed.await.unwrap_or_default()
        }
    }

    /// Creates the room, or returns the existing one unchanged (1.13.5 ignores the rest of the
    /// request then).
    pub async fn create(
        &self,
        request: proto::CreateRoomRequest,
    ) -> Result<proto::Room, RoomError> {
        let (reply, answer) = oneshot::channel();
        self.registry.do_send(Create { request, reply });
        match answered(answer).await? {
            RoomReply::Room(room) => Ok(room),
            other => Err(RoomError::Internal(format!("unexpected reply {other:?}"))),
        }
    }

    /// The live rooms, all of them or those named, oldest first. Each room is asked, so the answer
    /// is never stale.
    pub async fn list(&self, names: &[String]) -> Vec<proto::Room> {
        let replies = self.ask(names, || RoomCall::Describe).await;
        let described = replies.into_iter().filter_map(|reply| match reply {
            RoomReply::Room(room) => Some(room),
            _ => None,
        });
        let mut rooms: Vec<_> = described.collect();
        sort_oldest_first(&mut rooms);
        rooms
    }

    /// How much every room has of everything, in no order.
    pub async fn figures(&self) -> Vec<Figures> {
        let replies = self.ask(&[], || RoomCall::Figures).await;
        let figures = replies.into_iter().filter_map(|reply| match reply {
            RoomReply::Figures(figures) => Some(figures),
            _ => None,
        });
        figures.collect()
    }

    /// The replies of all rooms, or of those named; a room that ended meanwhile has none.
    async fn ask(&self, names: &[String], request: impl Fn() -> RoomCall) -> Vec<RoomReply> {
        let (reply, answer) = oneshot::channel();
        self.registry.do_send(Find {
            names: names.to_vec(),
            reply,
        });
        // All are asked before the first has answered: they work side by side.
        let asked = answer.await.unwrap_or_default().into_iter().map(|room| {
            let (reply, answer) = oneshot::channel();
            let request = request();
            room.do_send(ToRoom::Call { request, reply });
            answer
        });
        let mut replies = Vec::new();
        for answer in asked.collect::<Vec<_>>() {
            replies.extend(answered(answer).await);
        }
        replies
    }

    /// Asks the room; an absent one answers at once. `CreateDispatch` creates the room if the
    /// configuration allows.
    pub async fn call(&self, room: &str, request: RoomCall) -> Result<RoomReply, RoomError> {
        let (reply, answer) = oneshot::channel();
        self.registry.do_send(Call {
            room: room.to_owned(),
            request,
            reply,
        });
        answered(answer).await
    }

    /// Lets a client in, or back in. The first message, or the refusal, goes to `recipient`.
    pub fn attach(&self, attach: Attach, recipient: Recipient<ToSession>) {
        self.registry.do_send(AttachSession {
            attach: Box::new(attach),
            recipient,
        });
    }

    /// What the client of a session said.
    pub fn signal(&self, room: &str, session: SessionId, message: proto::signal_request::Message) {
        let message = Box::new(message);
        self.forward(room, RoomInput::Signal { session, message });
    }

    /// The WebSocket is gone, for whatever reason.
    pub fn session_closed(&self, room: &str, session: SessionId) {
        self.forward(room, RoomInput::SessionClosed(session));
    }

    /// The way to its gateway broke.
    pub fn session_lost(&self, room: &str, session: SessionId) {
        self.forward(room, RoomInput::SessionLost(session));
    }

    fn forward(&self, room: &str, input: RoomInput) {
        self.registry.do_send(Forward {
            room: room.to_owned(),
            input,
        });
    }

    /// A fact of a shard; its keys name the room.
    pub fn shard_event(&self, event: media::Event) {
        self.registry.do_send(ShardEvent(event));
    }

    /// A shard of another node is out of reach for a room.
    pub fn shard_lost(&self, room: &str, shard: usize) {
        self.forward(room, RoomInput::ShardLost(shard));
    }

    /// What a worker said about a job.
    pub fn job_update(&self, update: JobUpdate) {
        let room = update.room.clone();
        self.registry.do_send(Forward {
            room,
            input: RoomInput::Job(update),
        });
    }

    /// From now on no room is created; those that run go on.
    pub fn drain(&self) {
        self.registry.do_send(Drain);
    }

    /// Tells everybody in every room to go, in a cluster to come back to another node; no room is
    /// created afterwards. Resolves when the rooms have been told.
    pub async fn stop(&self) {
        // The registry may be gone already: then there is nobody to tell.
        let _ = self.registry.send(Stop).await;
    }
}

/// The order of every list of rooms.
pub(crate) fn sort_oldest_first(rooms: &mut [proto::Room]) {
    rooms.sort_by(|a, b| (a.creation_time_ms, &a.name).cmp(&(b.creation_time_ms, &b.name)));
}

async fn answered(
    answer: oneshot::Receiver<Result<RoomReply, RoomError>>,
) -> Result<RoomReply, RoomError> {
    // A dropped sender means that the room ended with the call in its mailbox.
    answer
        .await
        .unwrap_or_else(|_| Err(RoomError::NotFound(NO_SUCH_ROOM.into())))
}
