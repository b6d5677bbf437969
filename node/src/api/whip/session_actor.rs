//! The actor of one WHIP session: moves messages between HTTP handlers, the `WhipSession` core and
//! the room. Decides nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use tokio::sync::oneshot;

use super::directory::{Directory, Owner};
use super::fragment::Fragment;
use super::session::{
    Created, PatchError, PatchId, Restarted, SessionInput, SessionOutput, Start, WhipSession,
};
use crate::alarm::{Alarm, Alarmed};
use crate::limits::ATTACH_TRIES_MAX;
use crate::room::contract::{Attach, AttachError, SessionId, SessionMessage, ToSession};
use crate::signal::Lobby;

type CreateReply = oneshot::Sender<Result<Created, AttachError>>;
type PatchReply = oneshot::Sender<Result<Option<Restarted>, PatchError>>;

pub(super) enum PatchKind {
    /// Candidates for the ICE generation with this ufrag of ours.
    Trickle {
        generation: String,
    },
    Restart,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Patch {
    pub(super) kind: PatchKind,
    pub(super) fragment: Fragment,
    pub(super) reply: PatchReply,
}

pub(super) struct SessionActor {
    lobby: Arc<dyn Lobby>,
    directory: Arc<Directory>,
    id: SessionId,
    owner: Owner,
    core: WhipSession,
    /// Kept until the room has spoken: it may move while it is being asked.
    attach: Option<Attach>,
    tries: u8,
    /// Taken by the answer, or by the refusal.
    reply: Option<CreateReply>,
    participant: Option<String>,
    patches: HashMap<u64, PatchReply>,
    next_patch: u64,
    alarm: Alarm,
}

impl SessionActor {
    /// Asks the room to let the encoder in. Runs on the thread of the HTTP worker that calls.
    pub(super) fn begin(
        attach: Attach,
        start: Start,
        lobby: Arc<dyn Lobby>,
        directory: Arc<Directory>,
    ) -> oneshot::Receiver<Result<Created, AttachError>> {
        let (reply, created) = oneshot::channel();
        let actor = Self {
            lobby,
            directory,
            id: attach.session,
            owner: Owner {
                room: attach.room.clone(),
                identity: attach.claims.identity.clone(),
            },
            core: WhipSession::new(Instant::now(), start),
            attach: Some(attach),
            tries: 0,
            reply: Some(reply),
            participant: None,
            patches: HashMap::new(),
            next_patch: 0,
            alarm: Alarm::default(),
        };
        actor.start();
        created
    }

    /// Says whether there was somebody to ask, and patience left.
    fn ask_room(&mut self, ctx: &mut Context<Self>) -> bool {
        let attach = self.attach.clone();
        let attach = attach.filter(|_| self.tries < ATTACH_TRIES_MAX);
        self.tries = self.tries.saturating_add(1);
        let asked = attach.map(|attach| self.lobby.attach(attach, ctx.address().recipient()));
        asked.is_some()
    }

    fn feed(&mut self, input: SessionInput, ctx: &mut Context<Self>) {
        self.core.handle(Instant::now(), input);
        while let Some(output) = self.core.poll() {
            self.act(output, ctx);
        }
        self.alarm.set(self.core.deadline(), ctx);
    }

    fn act(&mut self, output: SessionOutput, ctx: &mut Context<Self>) {
        match output {
            SessionOutput::Request(request) => {
                self.lobby.signal(&self.owner.room, self.id, *request);
            }
            SessionOutput::Created(created) => {
                let sid = created.participant.clone();
                let (owner, actor) = (self.owner.clone(), ctx.address());
                self.directory.insert(sid.clone(), owner, self.id, actor);
                self.participant = Some(sid);
                let reply = self.reply.take();
                if reply.is_none_or(|reply| reply.send(Ok(*created)).is_err()) {
                    ctx.notify(Abandoned);
                }
            }
            SessionOutput::Patched(PatchId(id), result) => {
                if let Some(reply) = self.patches.remove(&id) {
                    // A client that hung up needs no answer.
                    let _ = reply.send(result);
                }
            }
            SessionOutput::Ended { by_room } => {
                if !by_room {
                    self.lobby.session_closed(&self.owner.room, self.id);
                }
                ctx.stop();
            }
        }
    }
}

/// Nobody waits for the answer of the POST.
#[derive(Message)]
#[rtype(result = "()")]
struct Abandoned;

impl Handler<Abandoned> for SessionActor {
    type Result = ();

    fn handle(&mut self, _: Abandoned, ctx: &mut Self::Context) {
        self.feed(SessionInput::Abandoned, ctx);
    }
}

impl Alarmed for SessionActor {
    fn alarm(&mut self) -> &mut Alarm {
        &mut self.alarm
    }

    fn wake(&mut self, ctx: &mut Context<Self>) {
        self.feed(SessionInput::Timeout, ctx);
    }
}

impl Actor for SessionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.ask_room(ctx);
        self.alarm.set(self.core.deadline(), ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        if let Some(participant) = &self.participant {
            self.directory.forget(participant);
        }
    }
}

impl Handler<ToSession> for SessionActor {
    type Result = ();

    fn handle(&mut self, ToSession(result): ToSession, ctx: &mut Self::Context) {
        match result {
            Ok(SessionMessage::Elsewhere(attach)) if self.reply.is_none() => {
                self.attach = Some(*attach);
                self.tries = 0;
                self.ask_room(ctx);
            }
            Ok(SessionMessage::Unheard(request)) => {
                self.lobby.signal(&self.owner.room, self.id, *request);
            }
            Ok(message) => {
                self.attach = None;
                self.feed(SessionInput::Room(message), ctx);
            }
            Err(AttachError::Elsewhere) if self.ask_room(ctx) => {}
            Err(error) => {
                let Some(reply) = self.reply.take() else {
                    // Its room went elsewhere, and nobody takes it there from here.
                    return self.feed(SessionInput::Room(SessionMessage::Close), ctx);
                };
                // A handler that is gone needs no answer.
                let _ = reply.send(Err(error));
                ctx.stop();
            }
        }
    }
}

impl Handler<Patch> for SessionActor {
    type Result = ();

    fn handle(&mut self, patch: Patch, ctx: &mut Self::Context) {
        let id = PatchId(self.next_patch);
        self.next_patch += 1;
        self.patches.insert(id.0, patch.reply);
        let fragment = patch.fragment;
        let input = match patch.kind {
            PatchKind::Trickle { generation } => SessionInput::Trickle {
                id,
                generation,
                fragment,
            },
            PatchKind::Restart => SessionInput::Restart { id, fragment },
        };
        self.feed(input, ctx);
    }
}
