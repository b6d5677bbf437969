//! The actor of one participant's session: moves frames between the WebSocket, the `Session` core
//! and the room. Starts before the HTTP upgrade, because the room's first word decides whether
//! there is one. Decides nothing.

use std::sync::Arc;
use std::time::Instant;

use actix::fut::wrap_future;
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler};
use actix_web::error::PayloadError;
use actix_ws::{
    AggregatedMessage, AggregatedMessageStream, CloseCode, CloseReason, Closed, ProtocolError,
};
use metrics::counter;
use tokio::sync::oneshot;

use super::Lobby;
use super::frames::DataFrame;
use super::session::{Close, EndCause, Session, SessionInput, SessionOutput, SocketFrame};
use crate::alarm::{Alarm, Alarmed};
use crate::auth::unix_ms;
use crate::limits::ATTACH_TRIES_MAX;
use crate::room::contract::{Attach, AttachError, SessionId, SessionMessage, ToSession};

/// Both halves of an upgraded connection.
pub(super) struct Socket {
    pub(super) sender: actix_ws::Session,
    pub(super) receiver: AggregatedMessageStream,
}

/// What the HTTP handler keeps of a starting session.
pub(super) struct Starting {
    /// The room let the client in, or why not.
    pub(super) admitted: oneshot::Receiver<Result<(), AttachError>>,
    /// Takes the upgraded socket; dropping it abandons the session.
    pub(super) upgraded: oneshot::Sender<Socket>,
}

pub(super) struct ParticipantActor {
    rooms: Arc<dyn Lobby>,
    room: String,
    id: SessionId,
    session: Session,
    /// Kept until the room has spoken: it may move while it is being asked.
    attach: Option<Attach>,
    tries: u8,
    upgrade: Option<oneshot::Receiver<Socket>>,
    /// Taken by the first word of the room.
    admit: Option<oneshot::Sender<Result<(), AttachError>>>,
    /// Here while no frame is being written.
    sender: Option<actix_ws::Session>,
    /// Here while nothing is being read.
    receiver: Option<AggregatedMessageStream>,
    /// The stream of the client's messages has not ended.
    hears: bool,
    alarm: Alarm,
}

impl ParticipantActor {
    /// Asks the room to let the client in. Runs on the thread of the HTTP worker that calls.
    pub(super) fn begin(attach: Attach, rooms: Arc<dyn Lobby>) -> Starting {
        let (admit, admitted) = oneshot::channel();
        let (upgraded, upgrade) = oneshot::channel();
        let actor = Self {
            rooms,
            room: attach.room.clone(),
            id: attach.session,
            session: Session::new(Instant::now(), unix_ms()),
            attach: Some(attach),
            tries: 0,
            upgrade: Some(upgrade),
            admit: Some(admit),
            sender: None,
            receiver: None,
            hears: false,
            alarm: Alarm::default(),
        };
        actor.start();
        Starting { admitted, upgraded }
    }

    /// Says whether there was somebody to ask, and patience left.
    fn ask_room(&mut self, ctx: &mut Context<Self>) -> bool {
        let attach = self.attach.clone();
        let attach = attach.filter(|_| self.tries < ATTACH_TRIES_MAX);
        self.tries = self.tries.saturating_add(1);
        let asked = attach.map(|attach| self.rooms.attach(attach, ctx.address().recipient()));
        asked.is_some()
    }

    fn feed(&mut self, input: SessionInput, ctx: &mut Context<Self>) {
        self.session.handle(Instant::now(), input);
        while let Some(output) = self.session.poll() {
            self.act(output, ctx);
        }
        self.read(ctx);
        self.alarm.set(self.session.deadline(), ctx);
    }

    fn act(&mut self, output: SessionOutput, ctx: &mut Context<Self>) {
        match output {
            SessionOutput::Write(frame) => self.write(frame, ctx),
            SessionOutput::Request(request) => {
                count("incoming");
                self.rooms.signal(&self.room, self.id, *request);
            }
            SessionOutput::Ended { by_room, cause } => {
                counter!("skein_session_end_total", "cause" => cause.label()).increment(1);
                if cause == EndCause::SlowReader {
                    tracing::warn!(room = self.room, "a client does not read its messages");
                }
                if !by_room {
                    self.rooms.session_closed(&self.room, self.id);
                }
                ctx.stop();
            }
        }
    }

    fn write(&mut self, frame: SocketFrame, ctx: &mut Context<Self>) {
        let Some(sender) = self.sender.take() else {
            return;
        };
        if matches!(frame, SocketFrame::Data(_)) {
            count("outgoing");
        }
        let written = wrap_future::<_, Self>(send(sender, frame));
        ctx.spawn(written.map(|(sender, result), actor, ctx| {
            actor.sender = sender;
            match result {
                Ok(()) => actor.feed(SessionInput::Written, ctx),
                // The reader has the last word: a leave may have come before the line was cut.
                Err(Closed) if actor.hears => {}
                Err(Closed) => actor.feed(SessionInput::SocketClosed, ctx),
            }
        }));
    }

    /// Waits for the next message unless that is being done or the session wants none.
    fn read(&mut self, ctx: &mut Context<Self>) {
        if !self.session.wants_input() {
            return;
        }
        let Some(mut receiver) = self.receiver.take() else {
            return;
        };
        let received = wrap_future::<_, Self>(async move {
            let item = receiver.recv().await;
            (receiver, item)
        });
        ctx.spawn(received.map(|(receiver, item), actor, ctx| {
            let input = match item {
                Some(Ok(message)) => {
                    actor.receiver = Some(receiver);
                    input_of(message)
                }
                // What came before the line was cut is still in the stream: often a leave.
                Some(Err(error)) if is_line_cut(&error) => {
                    actor.receiver = Some(receiver);
                    actor.read(ctx);
                    return;
                }
                Some(Err(error)) => {
                    actor.hears = false;
                    failure_of(&error)
                }
                None => {
                    actor.hears = false;
                    SessionInput::SocketClosed
                }
            };
            actor.feed(input, ctx);
        }));
    }
}

impl Alarmed for ParticipantActor {
    fn alarm(&mut self) -> &mut Alarm {
        &mut self.alarm
    }

    fn wake(&mut self, ctx: &mut Context<Self>) {
        self.feed(SessionInput::Timeout, ctx);
    }
}

impl Actor for ParticipantActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.ask_room(ctx);
        if let Some(upgrade) = self.upgrade.take() {
            let upgraded = wrap_future::<_, Self>(upgrade);
            ctx.spawn(upgraded.map(|socket, actor, ctx| match socket {
                Ok(socket) => {
                    actor.sender = Some(socket.sender);
                    actor.receiver = Some(socket.receiver);
                    actor.hears = true;
                    actor.feed(SessionInput::Written, ctx);
                }
                // The client did not wait, or the room took too long.
                Err(_) => actor.feed(SessionInput::SocketClosed, ctx),
            }));
        }
        self.alarm.set(self.session.deadline(), ctx);
    }
}

impl Handler<ToSession> for ParticipantActor {
    type Result = ();

    fn handle(&mut self, ToSession(result): ToSession, ctx: &mut Self::Context) {
        let message = match result {
            Ok(message) => message,
            Err(AttachError::Elsewhere) if self.ask_room(ctx) => return,
            Err(error) => {
                let Some(admit) = self.admit.take() else {
                    // Its room went elsewhere, and nobody takes it there from here.
                    return self.feed(SessionInput::Room(SessionMessage::Restart), ctx);
                };
                // A handler that is gone needs no answer.
                let _ = admit.send(Err(error));
                return ctx.stop();
            }
        };
        match message {
            SessionMessage::Elsewhere(attach) if self.admit.is_none() => {
                self.attach = Some(*attach);
                self.tries = 0;
                self.ask_room(ctx);
                return;
            }
            // It is on its way to where the room is now.
            SessionMessage::Unheard(request) => {
                return self.rooms.signal(&self.room, self.id, *request);
            }
            _ => {}
        }
        self.attach = None;
        if let Some(admit) = self.admit.take() {
            let answer = match &message {
                SessionMessage::Signal(_) => Ok(()),
                _ => Err(AttachError::ClosedByMedia),
            };
            let _ = admit.send(answer);
        }
        self.feed(SessionInput::Room(message), ctx);
    }
}

async fn send(
    mut sender: actix_ws::Session,
    frame: SocketFrame,
) -> (Option<actix_ws::Session>, Result<(), Closed>) {
    let result = match frame {
        SocketFrame::Data(DataFrame::Binary(bytes)) => sender.binary(bytes).await,
        SocketFrame::Data(DataFrame::Text(text)) => sender.text(text).await,
        SocketFrame::Ping => sender.ping(b"").await,
        SocketFrame::Pong(payload) => sender.pong(&payload).await,
        SocketFrame::Close(close) => return (None, sender.close(Some(reason_of(close))).await),
    };
    (Some(sender), result)
}

fn reason_of(close: Close) -> CloseReason {
    let (code, text) = match close {
        Close::Normal => return CloseCode::Normal.into(),
        Close::Restart => (CloseCode::Restart, "the room has moved"),
        Close::Undecodable => (CloseCode::Invalid, "message cannot be decoded"),
        Close::TooLarge => (CloseCode::Size, "message too large"),
        Close::Protocol => (CloseCode::Protocol, "invalid frame"),
    };
    CloseReason::from((code, text))
}

fn input_of(message: AggregatedMessage) -> SessionInput {
    match message {
        AggregatedMessage::Binary(bytes) => SessionInput::Frame(DataFrame::Binary(bytes)),
        AggregatedMessage::Text(text) => {
            let text: &str = &text;
            SessionInput::Frame(DataFrame::Text(text.to_owned()))
        }
        AggregatedMessage::Ping(payload) => SessionInput::Ping(payload),
        AggregatedMessage::Pong(_) => SessionInput::Pong,
        AggregatedMessage::Close(_) => SessionInput::Closing(Close::Normal),
    }
}

fn is_line_cut(error: &ProtocolError) -> bool {
    let ProtocolError::Io(error) = error else {
        return false;
    };
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<PayloadError>())
}

fn failure_of(error: &ProtocolError) -> SessionInput {
    let close = match error {
        ProtocolError::Overflow => Close::TooLarge,
        ProtocolError::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Close::Undecodable
        }
        // The only other failure of the stream: fragments that add up to too much.
        ProtocolError::Io(_) => Close::TooLarge,
        _ => Close::Protocol,
    };
    SessionInput::Closing(close)
}

fn count(direction: &'static str) {
    let labels = [
        ("type", "signal"),
        ("status", "success"),
        ("direction", direction),
    ];
    counter!("livekit_node_messages", &labels).increment(1);
}
