//! The actix shell of one `Room`: hands it what arrives, carries out what it says, wakes it up in
//! time. Started by `rooms`. Decides nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, Recipient};
use protocol::proto;
use tokio::sync::oneshot;

use super::Room;
use super::contract::{
    Attach, CallId, RoomCall, RoomError, RoomInput, RoomOutput, RoomReply, SessionId,
    SessionMessage, ToSession,
};
use super::environment::{Follower, Sinks};
use crate::alarm::{Alarm, Alarmed};
use crate::auth::unix_ms;
use crate::rooms::{self, Registry};
use crate::telemetry::room_events;

/// Everything the registry forwards to a room.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum ToRoom {
    Attach {
        attach: Box<Attach>,
        recipient: Recipient<ToSession>,
    },
    Call {
        request: RoomCall,
        reply: oneshot::Sender<Result<RoomReply, RoomError>>,
    },
    /// Creates a room that exists already: it describes itself.
    Create {
        request: Box<proto::CreateRoomRequest>,
        reply: oneshot::Sender<Result<RoomReply, RoomError>>,
    },
    /// Inputs that need no answer channel: signals, closings, facts of shards, jobs, `Stop`.
    Input(RoomInput),
    /// From now on this one is told what changes, everything first; `None`: nobody.
    Follow(Option<Arc<dyn Follower>>),
    /// Says what changed so far, and that it has.
    Flush(oneshot::Sender<bool>),
    /// The registry has forgotten the room: nothing arrives any more.
    Forgotten,
}

pub(crate) struct RoomActor {
    room: Room,
    key: media::RoomKey,
    name: String,
    registry: Addr<Registry>,
    sinks: Sinks,
    sessions: HashMap<SessionId, Recipient<ToSession>>,
    calls: HashMap<CallId, oneshot::Sender<Result<RoomReply, RoomError>>>,
    next_call: u64,
    alarm: Alarm,
    ended: bool,
    follower: Option<Arc<dyn Follower>>,
    /// When its follower may be told something next.
    tell_from: Instant,
    /// It will be told then.
    will_tell: bool,
    /// Shards that stood by for the room, and forget what it does not go on with.
    stood_by: usize,
}

/// A follower is told at most this often: what follows one change belongs together.
const JOURNAL_INTERVAL: Duration = Duration::from_millis(20);

impl RoomActor {
    pub(crate) fn new(
        room: Room,
        key: media::RoomKey,
        name: String,
        registry: Addr<Registry>,
        sinks: Sinks,
    ) -> Self {
        Self {
            room,
            key,
            name,
            registry,
            sinks,
            sessions: HashMap::new(),
            calls: HashMap::new(),
            next_call: 0,
            alarm: Alarm::default(),
            ended: false,
            follower: None,
            tell_from: Instant::now(),
            will_tell: false,
            stood_by: 0,
        }
    }

    /// So many shards stood by for it: what it has not taken over by its first words is dropped.
    pub(crate) fn stood_by_on(mut self, shards: usize) -> Self {
        self.stood_by = shards;
        self
    }

    fn step(&mut self, input: Option<RoomInput>, ctx: &mut Context<Self>) {
        if let Some(input) = input {
            let now = Instant::now();
            self.room.set_clock(now, SystemTime::now());
            self.room.handle(now, input);
        }
        while let Some(output) = self.room.poll() {
            self.carry_out(output);
        }
        self.set_alarm(ctx);
        self.write_journal(ctx);
        self.write_media();
    }

    /// Tells the follower what changed: at once, unless it was told something just now.
    fn write_journal(&mut self, ctx: &mut Context<Self>) {
        if self.follower.is_none() || self.will_tell || self.ended || self.room.hands_over() {
            return;
        }
        let wait = self.tell_from.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            self.flush_journal();
            return;
        }
        self.will_tell = true;
        ctx.run_later(wait, |actor, _| {
            actor.will_tell = false;
            actor.flush_journal();
        });
    }

    /// Leases wait for its acknowledgements: at once.
    fn write_media(&mut self) {
        let Some(follower) = self.follower.as_ref().filter(|_| !self.ended) else {
            return;
        };
        let entries = self.room.media_journal();
        if !entries.is_empty() {
            follower.media(entries);
        }
        if self.room.take_silence() {
            follower.silent();
        }
    }

    fn flush_journal(&mut self) {
        if self.room.hands_over() {
            // It was said when that began; what it is since is not what goes on.
            return;
        }
        let Some(follower) = self.follower.as_ref().filter(|_| !self.ended) else {
            return;
        };
        let entries = self.room.journal();
        if !entries.is_empty() {
            self.tell_from = Instant::now() + JOURNAL_INTERVAL;
            follower.changed(entries);
        }
    }

    fn follow(&mut self, follower: Option<Arc<dyn Follower>>, ctx: &mut Context<Self>) {
        let mandate = |follower: &Option<Arc<dyn Follower>>| follower.as_ref().map(|f| f.mandate());
        if follower.is_none() || mandate(&self.follower) != mandate(&follower) {
            // What the last one had leased is free.
            self.room.follow(false);
        }
        if follower.is_some() {
            self.room.follow(true);
        }
        self.follower = follower;
        self.flush_journal();
        self.step(None, ctx);
    }

    fn call(
        &mut self,
        request: RoomCall,
        reply: oneshot::Sender<Result<RoomReply, RoomError>>,
        ctx: &mut Context<Self>,
    ) {
        let call = CallId(self.next_call);
        self.next_call += 1;
        self.calls.insert(call, reply);
        self.step(Some(RoomInput::Call { call, request }), ctx);
    }

    fn carry_out(&mut self, output: RoomOutput) {
        room_events::observe(&output, unix_ms());
        match output {
            RoomOutput::Session { session, message } => {
                let last = matches!(message, SessionMessage::Close | SessionMessage::Restart);
                self.tell(session, Ok(message), last);
            }
            RoomOutput::Refused { session, error } => self.tell(session, Err(error), true),
            RoomOutput::Reply { call, result } => {
                if let Some(reply) = self.calls.remove(&call) {
                    // The caller may have gone away: its answer is nobody's then.
                    let _ = reply.send(result);
                }
            }
            RoomOutput::Shard { shard, command } => {
                self.sinks.shards.send(&self.name, shard, command);
            }
            RoomOutput::Webhook(event) => self.sinks.webhooks.publish(*event),
            RoomOutput::LaunchJob(job) => self.sinks.jobs.launch(*job),
            RoomOutput::TerminateJob { job_id } => self.sinks.jobs.terminate(&job_id),
            RoomOutput::LastWords => {
                self.write_media();
                if let Some(follower) = &self.follower {
                    follower.finished();
                }
            }
            RoomOutput::Ended => {
                self.ended = true;
                self.registry.do_send(rooms::Ended { key: self.key });
            }
        }
    }

    fn tell(
        &mut self,
        session: SessionId,
        message: Result<SessionMessage, super::AttachError>,
        last: bool,
    ) {
        if let Some(recipient) = self.sessions.get(&session) {
            recipient.do_send(ToSession(message));
        }
        if last {
            self.sessions.remove(&session);
        }
    }

    fn set_alarm(&mut self, ctx: &mut Context<Self>) {
        let ended = self.ended;
        self.alarm.set(self.room.deadline().filter(|_| !ended), ctx);
    }

    /// The room is over but its name was looked up before the registry knew: joiners and whoever
    /// creates go back to the registry, which makes a new room; other calls learn that it is gone.
    fn bounce(&mut self, message: ToRoom) {
        match message {
            ToRoom::Attach { attach, recipient } => {
                self.registry
                    .do_send(rooms::AttachSession { attach, recipient });
            }
            ToRoom::Create { request, reply } => {
                let request = *request;
                self.registry.do_send(rooms::Create { request, reply });
            }
            ToRoom::Call {
                request: request @ RoomCall::CreateDispatch(_),
                reply,
            } => {
                let room = self.name.clone();
                self.registry.do_send(rooms::Call {
                    room,
                    request,
                    reply,
                });
            }
            ToRoom::Call { reply, .. } => {
                let _ = reply.send(Err(RoomError::NotFound(rooms::NO_SUCH_ROOM.into())));
            }
            ToRoom::Flush(flushed) => {
                // Whoever asked may be gone.
                let _ = flushed.send(false);
            }
            ToRoom::Input(RoomInput::Signal { session, message }) => {
                // Whoever follows the room to another node says it again there.
                self.tell(session, Ok(SessionMessage::Unheard(message)), false);
            }
            ToRoom::Input(_) | ToRoom::Follow(_) | ToRoom::Forgotten => {}
        }
    }
}

impl Alarmed for RoomActor {
    fn alarm(&mut self) -> &mut Alarm {
        &mut self.alarm
    }

    fn wake(&mut self, ctx: &mut Context<Self>) {
        self.step(Some(RoomInput::Timeout), ctx);
    }
}

impl Actor for RoomActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.step(None, ctx);
        for shard in 0..self.stood_by {
            let room = crate::participant::KeySpace::room_on(self.key, shard);
            let command = media::Command::DropStandbys { room };
            self.sinks.shards.send(&self.name, shard, command);
        }
    }
}

impl Handler<ToRoom> for RoomActor {
    type Result = ();

    fn handle(&mut self, message: ToRoom, ctx: &mut Self::Context) {
        if let ToRoom::Forgotten = message {
            ctx.stop();
            return;
        }
        if self.ended {
            self.bounce(message);
            return;
        }
        match message {
            ToRoom::Attach { attach, recipient } => {
                self.sessions.insert(attach.session, recipient);
                self.step(Some(RoomInput::Attach(attach)), ctx);
            }
            ToRoom::Call { request, reply } => self.call(request, reply, ctx),
            ToRoom::Create { reply, .. } => self.call(RoomCall::Describe, reply, ctx),
            ToRoom::Input(input) => {
                match &input {
                    RoomInput::SessionClosed(session) | RoomInput::SessionLost(session) => {
                        self.sessions.remove(session);
                    }
                    // As it is now, it goes on elsewhere.
                    RoomInput::Fence { .. } => self.flush_journal(),
                    _ => {}
                }
                self.step(Some(input), ctx);
            }
            ToRoom::Follow(_) if self.room.hands_over() => {}
            ToRoom::Follow(follower) => self.follow(follower, ctx),
            ToRoom::Flush(flushed) => {
                self.flush_journal();
                let _ = flushed.send(self.room.is_unready());
            }
            ToRoom::Forgotten => {}
        }
    }
}

impl Message for ToSession {
    type Result = ();
}
