//! The actor that owns the table of rooms. Creates rooms, forwards to them, forgets them; the only
//! state it has is who is where.

mod absent;
mod hosting;
mod messages;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use actix::{Actor, Addr, AsyncContext, Context, Handler, ResponseFuture};
use metrics::counter;
use protocol::proto;

use self::absent::answer_of_absent_room;
pub(crate) use self::messages::{AttachSession, Call, Create, Ended, Reservation, StandInEvents};
pub(super) use self::messages::{
    Drain, Fence, Find, Flush, Follow, Forward, HostWith, Release, Reserve, Revive, ShardEvent,
    Stop,
};
use super::ROOM_NUMBERS;
use crate::participant::KeySpace;
use crate::room::contract::{
    Attach, AttachError, RoomCall, RoomError, RoomInput, SessionMessage, ToSession,
};
use crate::room::environment::{Hosting, IsFull, Services, Sinks};
use crate::room::journal::RoomImage;
use crate::room::room_actor::{RoomActor, ToRoom};
use crate::room::{Room, RoomOptions, WarmTransports, leave};

/// Owns the table of rooms.
pub(crate) struct Registry {
    services: Arc<Services>,
    sinks: Sinks,
    is_full: IsFull,
    hosting: Option<Arc<dyn Hosting>>,
    by_name: HashMap<String, Entry>,
    by_number: HashMap<u32, (String, Addr<RoomActor>)>,
    /// Of rooms this node stands by for.
    reserved: HashMap<String, Reservation>,
    /// Of the newest of them.
    turn: u64,
    standing_in: HashMap<u32, StandInEvents>,
    next_number: u32,
    /// No new rooms.
    draining: bool,
    /// Nobody is let in.
    stopping: bool,
}

/// One room that runs.
struct Entry {
    room: Addr<RoomActor>,
    /// Under which the cluster let it be opened; 0 without a cluster.
    epoch: u64,
}

impl Registry {
    pub(super) fn new(services: Arc<Services>, sinks: Sinks, is_full: IsFull) -> Self {
        Self {
            services,
            sinks,
            is_full,
            hosting: None,
            by_name: HashMap::new(),
            by_number: HashMap::new(),
            reserved: HashMap::new(),
            turn: 0,
            standing_in: HashMap::new(),
            next_number: 0,
            draining: false,
            stopping: false,
        }
    }

    fn room(&self, name: &str) -> Option<&Addr<RoomActor>> {
        self.by_name.get(name).map(|entry| &entry.room)
    }

    /// A room that is not here is not taken: another node may, if there is one.
    fn decline(&self, name: &str, otherwise: AttachError) -> AttachError {
        match &self.hosting {
            Some(hosting) => {
                hosting.decline(name);
                AttachError::Elsewhere
            }
            None => otherwise,
        }
    }

    /// `None`: the cluster says that the room is not here.
    fn open(
        &mut self,
        mut options: RoomOptions,
        ctx: &mut Context<Self>,
    ) -> Option<Addr<RoomActor>> {
        let (mut epoch, mut image, mut warm) = (0, None, WarmTransports::new());
        let mut arrival = None;
        if let Some(hosting) = &self.hosting {
            let opening = hosting.begin(&options.name)?;
            options.sid = Some(opening.sid);
            (epoch, image, warm) = (opening.epoch, opening.image, opening.warm);
            arrival = opening.arrival;
        }
        let reserved = self.release(&options.name);
        let stood_by = reserved.map_or(0, |_| self.services.shards.count());
        let number = reserved.unwrap_or_else(|| self.free_number());
        let name = options.name.clone();
        let key = KeySpace::new(number, 0).room;
        let mut thawed = image.and_then(|image| self.thaw(number, &name, &image, &warm));
        if let (Some(room), Some(arrival)) = (&mut thawed, arrival) {
            room.arrived(arrival);
        }
        let room = thawed.unwrap_or_else(|| {
            let (now, wall) = (Instant::now(), SystemTime::now());
            Room::new(now, wall, number, options, self.services.clone())
        });
        let actor = RoomActor::new(room, key, name.clone(), ctx.address(), self.sinks.clone());
        let addr = actor.stood_by_on(stood_by).start();
        let room = addr.clone();
        self.by_name.insert(name.clone(), Entry { room, epoch });
        self.by_number.insert(number, (name, addr.clone()));
        Some(addr)
    }

    /// The number that was kept for the room; its shards' facts are its own from now on.
    fn release(&mut self, name: &str) -> Option<u32> {
        let number = self.reserved.remove(name)?.number;
        self.standing_in.remove(&number);
        Some(number)
    }

    fn free_number(&mut self) -> u32 {
        let taken = |number: &u32| {
            self.by_number.contains_key(number) || self.standing_in.contains_key(number)
        };
        while taken(&self.next_number) {
            self.next_number = (self.next_number + 1) % ROOM_NUMBERS;
        }
        let number = self.next_number;
        self.next_number = (self.next_number + 1) % ROOM_NUMBERS;
        number
    }

    /// The room as it was at its last home; its clients come back and go on.
    fn thaw(
        &self,
        number: u32,
        name: &str,
        image: &RoomImage,
        warm: &WarmTransports,
    ) -> Option<Room> {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let members = image.members();
        match Room::thaw(now, wall, number, image, warm, self.services.clone()) {
            Ok(room) => {
                let warm = warm.len();
                tracing::info!(room = name, members, warm, "the room goes on here");
                counter!("skein_rooms_revived_total", "outcome" => "thawed").increment(1);
                Some(room)
            }
            Err(error) => {
                tracing::warn!(room = name, members, %error, "the room begins anew here");
                counter!("skein_rooms_revived_total", "outcome" => "failed").increment(1);
                None
            }
        }
    }

    /// Opens a room that lives, though nothing of it runs here yet.
    fn revive(&mut self, name: &str, ctx: &mut Context<Self>) {
        let lives = |hosting: &Arc<dyn Hosting>| hosting.remembers(name);
        if self.stopping || self.room(name).is_some() || !self.hosting.as_ref().is_some_and(lives) {
            return;
        }
        let request = proto::CreateRoomRequest {
            name: name.to_owned(),
            ..Default::default()
        };
        if let Ok(options) = RoomOptions::from_request(&request, &self.services.config) {
            // `None`: it went on to another node meanwhile.
            self.open(options, ctx);
        }
    }

    /// The room a joining client means, created from its token where that is allowed.
    fn room_to_join(
        &mut self,
        attach: &Attach,
        ctx: &mut Context<Self>,
    ) -> Result<Addr<RoomActor>, AttachError> {
        let is_full = !attach.kind.comes_back() && (self.is_full)();
        match self.room(&attach.room) {
            Some(_) if is_full => return Err(AttachError::NodeFull),
            Some(room) => return Ok(room.clone()),
            None if is_full => return Err(self.decline(&attach.room, AttachError::NodeFull)),
            None => {}
        }
        let may_create = attach
            .claims
            .video
            .as_ref()
            .is_some_and(|video| video.room_create);
        // In a cluster a room that the log knows exists, also while it has no actor after a move;
        // who may bring a new one about was judged before it was placed.
        let is_placed = self.hosting.is_some();
        if !is_placed && !self.services.config.auto_create && !may_create {
            return Err(AttachError::RoomNotFound);
        }
        if self.draining {
            return Err(self.decline(&attach.room, AttachError::ShuttingDown));
        }
        let options = RoomOptions::from_claims(&attach.room, &attach.claims, &self.services.config);
        match options {
            Ok(options) => self.open(options, ctx).ok_or(AttachError::Elsewhere),
            Err(error) => {
                // It was placed for this client, and nobody else may want it.
                self.decline(&attach.room, AttachError::Elsewhere);
                Err(AttachError::Invalid(error.to_string()))
            }
        }
    }

    /// The room that an API call means, made if there is none.
    fn room_to_create(
        &mut self,
        request: &proto::CreateRoomRequest,
        ctx: &mut Context<Self>,
    ) -> Result<Addr<RoomActor>, RoomError> {
        if let Some(room) = self.room(&request.name) {
            return Ok(room.clone());
        }
        let refusal = match (self.draining, (self.is_full)()) {
            (true, _) => Some(AttachError::ShuttingDown),
            (false, true) => Some(AttachError::NodeFull),
            (false, false) => None,
        };
        if let Some(refusal) = refusal {
            return Err(match self.decline(&request.name, refusal) {
                AttachError::Elsewhere => RoomError::Elsewhere,
                full @ AttachError::NodeFull => RoomError::ResourceExhausted(full.to_string()),
                other => RoomError::Unavailable(other.to_string()),
            });
        }
        match RoomOptions::from_request(request, &self.services.config) {
            Ok(options) => self.open(options, ctx).ok_or(RoomError::Elsewhere),
            Err(error) => {
                self.decline(&request.name, AttachError::Elsewhere);
                Err(error)
            }
        }
    }
}

impl Actor for Registry {
    type Context = Context<Self>;
}

impl Handler<Create> for Registry {
    type Result = ();

    fn handle(&mut self, Create { request, reply }: Create, ctx: &mut Self::Context) {
        self.revive(&request.name, ctx);
        match self.room_to_create(&request, ctx) {
            Ok(room) => {
                let request = Box::new(request);
                room.do_send(ToRoom::Create { request, reply });
            }
            Err(error) => _ = reply.send(Err(error)),
        }
    }
}

impl Handler<Find> for Registry {
    type Result = ();

    fn handle(&mut self, Find { names, reply }: Find, ctx: &mut Self::Context) {
        for name in &names {
            self.revive(name, ctx);
        }
        let rooms = if names.is_empty() {
            self.by_name
                .values()
                .map(|entry| entry.room.clone())
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
        self.revive(&name, ctx);
        let create = matches!(request, RoomCall::CreateDispatch(_))
            && self.services.config.auto_create
            && (!self.draining || self.hosting.is_some());
        let room = match self.room(&name) {
            Some(room) => room.clone(),
            None if create => {
                let wanted = proto::CreateRoomRequest {
                    name,
                    ..Default::default()
                };
                match self.room_to_create(&wanted, ctx) {
                    Ok(room) => room,
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

impl Handler<AttachSession> for Registry {
    type Result = ();

    fn handle(&mut self, message: AttachSession, ctx: &mut Self::Context) {
        let AttachSession { attach, recipient } = message;
        if self.stopping {
            recipient.do_send(ToSession(Err(AttachError::ShuttingDown)));
            return;
        }
        self.revive(&attach.room, ctx);
        if attach.kind.comes_back() && self.room(&attach.room).is_none() {
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
        let number = KeySpace::room_of(event.subject().key());
        if let Some(told) = self.standing_in.get(&number) {
            told(event);
        } else if let Some((_, room)) = self.by_number.get(&number) {
            room.do_send(ToRoom::Input(RoomInput::Shard(event)));
        }
    }
}

impl Handler<Ended> for Registry {
    type Result = ();

    fn handle(&mut self, Ended { key }: Ended, _: &mut Self::Context) {
        let number = KeySpace::room_of(key.0);
        if let Some((name, room)) = self.by_number.remove(&number) {
            let entry = self.by_name.remove(&name);
            if let (Some(hosting), Some(entry)) = (&self.hosting, entry) {
                hosting.ended(&name, entry.epoch);
            }
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
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Stop, _: &mut Self::Context) -> Self::Result {
        self.draining = true;
        self.stopping = true;
        let in_cluster = self.hosting.is_some();
        let stop = || match in_cluster {
            // Others go on with them.
            true => RoomInput::Fence { resume: false },
            false => RoomInput::Stop,
        };
        let told: Vec<_> = self
            .by_name
            .values()
            .map(|entry| entry.room.send(ToRoom::Input(stop())))
            .collect();
        Box::pin(async move {
            for told in told {
                // A room that ended meanwhile has nobody left to tell.
                let _ = told.await;
            }
        })
    }
}
