//! Finds the room of a name: a registry actor owns the table, `Rooms` is the handle the gateway,
//! the server API, the agent service and the shards' threads hold. Creates rooms; keeps no state of
//! theirs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Recipient};
use protocol::proto;
use tokio::sync::oneshot;

use crate::participant::KeySpace;
use crate::room::contract::{
    Attach, AttachError, AttachKind, JobUpdate, RoomCall, RoomError, RoomInput, RoomReply,
    SessionId, SessionMessage, ToSession,
};
use crate::room::environment::{Services, Sinks};
use crate::room::room_actor::{RoomActor, ToRoom};
use crate::room::{Room, RoomOptions, leave};

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
    pub fn start(services: Arc<Services>, sinks: Sinks) -> Self {
        let registry = Registry {
            services,
            sinks,
            by_name: HashMap::new(),
            by_number: HashMap::new(),
            next_number: 0,
            draining: false,
            stopping: false,
        };
        Self {
            registry: registry.start(),
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
        let (reply, answer) = oneshot::channel();
        self.registry.do_send(Find {
            names: names.to_vec(),
            reply,
        });
        let mut rooms = Vec::new();
        for room in answer.await.unwrap_or_default() {
            let (reply, answer) = oneshot::channel();
            room.do_send(ToRoom::Call {
                request: RoomCall::Describe,
                reply,
            });
            if let Ok(RoomReply::Room(room)) = answered(answer).await {
                rooms.push(room);
            }
        }
        rooms.sort_by(|a, b| (a.creation_time_ms, &a.name).cmp(&(b.creation_time_ms, &b.name)));
        rooms
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
        let input = RoomInput::Signal {
            session,
            message: Box::new(message),
        };
        self.registry.do_send(Forward {
            room: room.to_owned(),
            input,
        });
    }

    /// The WebSocket is gone, for whatever reason.
    pub fn session_closed(&self, room: &str, session: SessionId) {
        let input = RoomInput::SessionClosed(session);
        self.registry.do_send(Forward {
            room: room.to_owned(),
            input,
        });
    }

    /// A fact of a shard; its keys name the room.
    pub fn shard_event(&self, event: media::Event) {
        self.registry.do_send(ShardEvent(event));
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

    /// Tells everybody in every room to go; no room is created afterwards. Resolves when the rooms
    /// have been told.
    pub async fn stop(&self) {
        // The registry may be gone already: then there is nobody to tell.
        let _ = self.registry.send(Stop).await;
    }
}

async fn answered(
    answer: oneshot::Receiver<Result<RoomReply, RoomError>>,
) -> Result<RoomReply, RoomError> {
    // A dropped sender means that the room ended with the call in its mailbox.
    answer
        .await
        .unwrap_or_else(|_| Err(RoomError::NotFound(NO_SUCH_ROOM.into())))
}

type CallReply = oneshot::Sender<Result<RoomReply, RoomError>>;

#[derive(Message)]
#[rtype(result = "()")]
struct Create {
    request: proto::CreateRoomRequest,
    reply: CallReply,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Find {
    names: Vec<String>,
    reply: oneshot::Sender<Vec<Addr<RoomActor>>>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Call {
    room: String,
    request: RoomCall,
    reply: CallReply,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AttachSession {
    pub(crate) attach: Box<Attach>,
    pub(crate) recipient: Recipient<ToSession>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Forward {
    room: String,
    input: RoomInput,
}

#[derive(Message)]
#[rtype(result = "()")]
struct ShardEvent(media::Event);

/// A room says that it is over: its name is free.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Ended {
    pub(crate) key: media::RoomKey,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Drain;

#[derive(Message)]
#[rtype(result = "()")]
struct Stop;

/// Owns the table of rooms.
pub(crate) struct Registry {
    services: Arc<Services>,
    sinks: Sinks,
    by_name: HashMap<String, (u32, Addr<RoomActor>)>,
    by_number: HashMap<u32, (String, Addr<RoomActor>)>,
    next_number: u32,
    /// No new rooms.
    draining: bool,
    /// Nobody is let in.
    stopping: bool,
}

/// Rooms a node can hold at a time: the width of the room's number in a key.
const ROOM_NUMBERS: u32 = 1 << 24;

impl Registry {
    fn room(&self, name: &str) -> Option<&Addr<RoomActor>> {
        self.by_name.get(name).map(|(_, room)| room)
    }

    fn open(&mut self, options: RoomOptions, ctx: &mut Context<Self>) -> Addr<RoomActor> {
        while self.by_number.contains_key(&self.next_number) {
            self.next_number = (self.next_number + 1) % ROOM_NUMBERS;
        }
        let number = self.next_number;
        self.next_number = (self.next_number + 1) % ROOM_NUMBERS;
        let name = options.name.clone();
        let key = KeySpace::new(number, 0).room;
        let room = Room::new(
            Instant::now(),
            SystemTime::now(),
            number,
            options,
            self.services.clone(),
        );
        let actor = RoomActor::new(room, key, name.clone(), ctx.address(), self.sinks.clone());
        let addr = actor.start();
        self.by_name.insert(name.clone(), (number, addr.clone()));
        self.by_number.insert(number, (name, addr.clone()));
        addr
    }

    /// The room a joining client means, created from its token where that is allowed.
    fn room_to_join(
        &mut self,
        attach: &Attach,
        ctx: &mut Context<Self>,
    ) -> Result<Addr<RoomActor>, AttachError> {
        if let Some(room) = self.room(&attach.room) {
            return Ok(room.clone());
        }
        let may_create = attach
            .claims
            .video
            .as_ref()
            .is_some_and(|video| video.room_create);
        if !self.services.config.auto_create && !may_create {
            return Err(AttachError::RoomNotFound);
        }
        if self.draining {
            return Err(AttachError::ShuttingDown);
        }
        let options = RoomOptions::from_claims(&attach.room, &attach.claims, &self.services.config)
            .map_err(|error| AttachError::Invalid(error.to_string()))?;
        Ok(self.open(options, ctx))
    }
}

impl Actor for Registry {
    type Context = Context<Self>;
}

impl Handler<Create> for Registry {
    type Result = ();

    fn handle(&mut self, Create { request, reply }: Create, ctx: &mut Self::Context) {
        let room = match self.room(&request.name) {
            Some(room) => room.clone(),
            None if self.draining => {
                let error = RoomError::Unavailable(AttachError::ShuttingDown.to_string());
                let _ = reply.send(Err(error));
                return;
            }
            None => match RoomOptions::from_request(&request, &self.services.config) {
                Ok(options) => self.open(options, ctx),
                Err(error) => {
                    let _ = reply.send(Err(error));
                    return;
                }
            },
        };
        room.do_send(ToRoom::Call {
            request: RoomCall::Describe,
            reply,
        });
    }
}

impl Handler<Find> for Registry {
    type Result = ();

    fn handle(&mut self, Find { names, reply }: Find, _: &mut Self::Context) {
        let rooms = if names.is_empty() {
            self.by_name
                .values()
                .map(|(_, room)| room.clone())
                .collect()
        } else {
            names
                .iter()
                .filter_map(|name| self.room(name).cloned())
                .collect()
        };
        let _ = reply.send(rooms);
    }
}

impl Handler<Call> for Registry {
    type Result = ();

    fn handle(
        &mut self,
        Call {
            room: name,
            request,
            reply,
        }: Call,
        ctx: &mut Self::Context,
    ) {
        let create = matches!(request, RoomCall::CreateDispatch(_))
            && self.services.config.auto_create
            && !self.draining;
        let room = match self.room(&name) {
            Some(room) => room.clone(),
            None if create => {
                let wanted = proto::CreateRoomRequest {
                    name,
                    ..Default::default()
                };
                match RoomOptions::from_request(&wanted, &self.services.config) {
                    Ok(options) => self.open(options, ctx),
                    Err(error) => {
                        let _ = reply.send(Err(error));
                        return;
                    }
                }
            }
            None => {
                let _ = reply.send(answer_of_absent_room(&request));
                return;
            }
        };
        room.do_send(ToRoom::Call { request, reply });
    }
}

/// What 1.13.5 says about rooms that do not exist, save that nobody waits 3 s for `unavailable`.
fn answer_of_absent_room(request: &RoomCall) -> Result<RoomReply, RoomError> {
    match request {
        RoomCall::ListParticipants => Ok(RoomReply::Participants(Vec::new())),
        RoomCall::ListDispatch(_) => Ok(RoomReply::Dispatches(Vec::new())),
        RoomCall::GetParticipant { .. }
        | RoomCall::RemoveParticipant { .. }
        | RoomCall::UpdateParticipant(_) => Err(RoomError::NotFound(NO_SUCH_PARTICIPANT.into())),
        RoomCall::PerformRpc(request) if request.destination_identity.is_empty() => Err(
            RoomError::InvalidArgument("destination identity is required".into()),
        ),
        _ => Err(RoomError::NotFound(NO_SUCH_ROOM.into())),
    }
}

impl Handler<AttachSession> for Registry {
    type Result = ();

    fn handle(&mut self, message: AttachSession, ctx: &mut Self::Context) {
        let AttachSession { attach, recipient } = message;
        if self.stopping {
            recipient.do_send(ToSession(Err(AttachError::ShuttingDown)));
            return;
        }
        if matches!(attach.kind, AttachKind::Resume { .. }) && self.room(&attach.room).is_none() {
            let leave = leave::state_mismatch(attach.client.protocol);
            recipient.do_send(ToSession(Ok(SessionMessage::Signal(Box::new(leave)))));
            recipient.do_send(ToSession(Ok(SessionMessage::Close)));
            return;
        }
        match self.room_to_join(&attach, ctx) {
            Ok(room) => room.do_send(ToRoom::Attach { attach, recipient }),
            Err(error) => recipient.do_send(ToSession(Err(error))),
        }
    }
}

impl Handler<Forward> for Registry {
    type Result = ();

    fn handle(&mut self, Forward { room, input }: Forward, _: &mut Self::Context) {
        if let Some(room) = self.room(&room) {
            room.do_send(ToRoom::Input(input));
        }
    }
}

impl Handler<ShardEvent> for Registry {
    type Result = ();

    fn handle(&mut self, ShardEvent(event): ShardEvent, _: &mut Self::Context) {
        let number = KeySpace::room_of(key_of(&event));
        if let Some((_, room)) = self.by_number.get(&number) {
            room.do_send(ToRoom::Input(RoomInput::Shard(event)));
        }
    }
}

/// The key of an event; its upper bits name room and participant.
pub(crate) fn key_of(event: &media::Event) -> u64 {
    use media::Event;
    match event {
        Event::Transport { transport, .. }
        | Event::PathSelected { transport, .. }
        | Event::ChannelOpen { transport, .. }
        | Event::ChannelClosed { transport, .. }
        | Event::Data { transport, .. }
        | Event::Stats { transport, .. }
        | Event::Frozen { transport, .. } => transport.0,
        Event::TrackStarted { track, .. } | Event::LayerActive { track, .. } => track.0,
        Event::LayerSelected { down_track, .. } => down_track.0,
        Event::Speakers { room, .. } => room.0,
    }
}

impl Handler<Ended> for Registry {
    type Result = ();

    fn handle(&mut self, Ended { key }: Ended, _: &mut Self::Context) {
        let number = KeySpace::room_of(key.0);
        if let Some((name, room)) = self.by_number.remove(&number) {
            self.by_name.remove(&name);
            room.do_send(ToRoom::Forgotten);
        }
    }
}

impl Handler<Drain> for Registry {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.draining = true;
    }
}

impl Handler<Stop> for Registry {
    type Result = ();

    fn handle(&mut self, _: Stop, _: &mut Self::Context) {
        self.draining = true;
        self.stopping = true;
        for (_, room) in self.by_name.values() {
            room.do_send(ToRoom::Input(RoomInput::Stop));
        }
    }
}
