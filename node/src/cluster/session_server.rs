//! The home's side of sessions whose WebSocket is on another node: lets them into this node's rooms
//! and carries what is said. A gateway that knew the room to be here is waited for, or told that it
//! is not. Decides nothing about rooms.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use actix::dev::channel::channel;
use actix::{Actor, ActorContext, Addr, ArbiterHandle, Context, Handler};
use bytes::Bytes;
use consensus::ids::NodeId;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::hosting::Homes;
use super::limits::{OUTLET_BYTES_MAX, OUTLET_MAILBOX_MAX, OUTLET_MESSAGES_MAX};
use super::links::{Duplex, Serve};
use super::session_wire::{ToGateway, ToHome, WireError, first_frame, frames};
use crate::room::contract::{Attach, SessionId, SessionMessage, ToSession};
use crate::rooms::Rooms;

/// Ids of these sessions begin here; those of this node's own gateway count from 1.
const FIRST_SESSION: u64 = 1 << 63;

/// Runs something where actors may start: a task of the fabric is no place for that.
pub type Stage = Arc<dyn Fn(Box<dyn FnOnce() + Send>) + Send + Sync>;

/// The program's; a simulation has one within each of its hosts.
pub fn stage_of(arbiter: ArbiterHandle) -> Stage {
    Arc::new(move |begin| {
        // `false`: the program ends, and the session with it.
        arbiter.spawn_fn(begin);
    })
}

pub struct SessionServer {
    homes: Homes,
    rooms: Rooms,
    /// Where the outlets live.
    stage: Stage,
    next_session: AtomicU64,
}

impl SessionServer {
    pub fn new(homes: Homes, rooms: Rooms, stage: Stage) -> Self {
        Self {
            homes,
            rooms,
            stage,
            next_session: AtomicU64::new(FIRST_SESSION),
        }
    }

    async fn serve(&self, from: NodeId, stream: Duplex) -> Result<(), WireError> {
        let session = SessionId(self.next_session.fetch_add(1, Ordering::Relaxed));
        let Duplex { mut send, recv } = stream;
        let mut said = std::pin::pin!(frames(recv).peekable());
        let Some((kind, body)) = first_frame(&mut said).await? else {
            return Ok(());
        };
        let ToHome::Hello { epoch, attach } = ToHome::decode(kind, &body, session)? else {
            return Err(WireError::Malformed);
        };
        if self.homes.enter(&attach.room, epoch).await.is_err() {
            tracing::debug!(room = attach.room, %from, %epoch, "a client for a room not here");
            send.write_all(&ToGateway::NotHere.encode()).await?;
            return Ok(send.shutdown().await?);
        }
        if let Some(None | Some(Err(_))) = said.as_mut().peek().now_or_never() {
            // Its gateway is gone, and its client perhaps in by another.
            return Ok(());
        }
        let room = attach.room.clone();
        let outgoing = self.attach(*attach);
        let outcome = tokio::select! {
            written = write(send, outgoing) => written,
            read = self.read(&room, session, said) => read,
        };
        // A room that closed the session knows it already.
        match outcome {
            Err(WireError::Io(_)) => self.rooms.session_lost(&room, session),
            _ => self.rooms.session_closed(&room, session),
        }
        outcome
    }

    fn attach(&self, attach: Attach) -> Outgoing {
        let (frames, queued) = mpsc::channel(OUTLET_MESSAGES_MAX);
        let bytes = Arc::new(AtomicUsize::new(0));
        let outlet = Outlet {
            frames,
            bytes: Arc::clone(&bytes),
        };
        let (mailbox, letters) = channel(OUTLET_MAILBOX_MAX);
        (self.stage)(Box::new(move || {
            let context = Context::with_receiver(letters);
            actix::spawn(context.into_future(outlet));
        }));
        let outlet = Addr::new(mailbox);
        self.rooms.attach(attach, outlet.recipient());
        Outgoing { queued, bytes }
    }

    /// Until the gateway says no more.
    async fn read(
        &self,
        room: &str,
        session: SessionId,
        mut said: impl Stream<Item = Result<(u8, Bytes), WireError>> + Unpin,
    ) -> Result<(), WireError> {
        while let Some(frame) = said.next().await {
            let (kind, body) = frame?;
            match ToHome::decode(kind, &body, session)? {
                ToHome::Signal(message) => self.rooms.signal(room, session, *message),
                ToHome::Hello { .. } => return Err(WireError::Malformed),
            }
        }
        Ok(())
    }
}

/// What a room said and the stream has not taken yet.
struct Outgoing {
    queued: mpsc::Receiver<Bytes>,
    bytes: Arc<AtomicUsize>,
}

/// Until the room has said its last, or the gateway does not take it.
async fn write(
    mut send: Box<dyn AsyncWrite + Send + Unpin>,
    mut outgoing: Outgoing,
) -> Result<(), WireError> {
    while let Some(frame) = outgoing.queued.recv().await {
        outgoing.bytes.fetch_sub(frame.len(), Ordering::Relaxed);
        send.write_all(&frame).await?;
    }
    Ok(send.shutdown().await?)
}

/// What the room speaks to. Ends with the session's last word; a queue that is full ends it early.
struct Outlet {
    frames: mpsc::Sender<Bytes>,
    bytes: Arc<AtomicUsize>,
}

impl Actor for Outlet {
    type Context = Context<Self>;
}

impl Handler<ToSession> for Outlet {
    type Result = ();

    fn handle(&mut self, ToSession(message): ToSession, ctx: &mut Self::Context) {
        let (message, last) = match message {
            Ok(SessionMessage::Signal(message)) => (ToGateway::Signal(message), false),
            Ok(SessionMessage::Close) => (ToGateway::Close, true),
            Ok(SessionMessage::Restart) => (ToGateway::Restart, true),
            // The stream ends without a word: the gateway looks where the room is.
            Ok(SessionMessage::Elsewhere(_)) => return ctx.stop(),
            // Of what it said last the gateway keeps a list.
            Ok(SessionMessage::Unheard(_)) => return,
            Err(error) => (ToGateway::Refused(error), true),
        };
        let frame = message.encode();
        let length = frame.len();
        let waiting = self.bytes.fetch_add(length, Ordering::Relaxed) + length;
        let full = waiting > OUTLET_BYTES_MAX || self.frames.try_send(frame).is_err();
        if full && !self.frames.is_closed() {
            tracing::warn!("a gateway does not take what a room says to its client");
        }
        if full || last {
            ctx.stop();
        }
    }
}

impl Serve for SessionServer {
    fn call(&self, _: NodeId, _: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async { Err("a session is a stream".to_owned()) })
    }

    fn stream(&self, from: NodeId, stream: Duplex) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Err(error) = self.serve(from, stream).await {
                tracing::debug!(%from, %error, "a session's stream ended");
            }
        })
    }
}
