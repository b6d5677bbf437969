//! One client's signalling session: frames in, requests to the room out, and back. Answers pings
//! itself, bounds what waits for a slow reader, flushes before it closes. A core: the participant
//! actor drives it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use actix_web::web::Bytes;
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;

use super::frames::{self, DataFrame, Encoding};
use super::limits::{
    FLUSH_TIMEOUT, INBOX_BURST_MESSAGES, INBOX_MESSAGES_PER_SECOND, LEAVE_TIMEOUT,
    OUTBOX_BYTES_MAX, OUTBOX_MESSAGES_MAX, SOCKET_IDLE_TIMEOUT, SOCKET_PING_INTERVAL,
};
use crate::room::contract::SessionMessage;

#[derive(Debug)]
pub(super) enum SessionInput {
    /// A message of the client, whole.
    Frame(DataFrame),
    /// A WebSocket ping of the client.
    Ping(Bytes),
    /// A WebSocket pong of the client.
    Pong,
    /// The client closed the WebSocket, or the line is dead.
    SocketClosed,
    /// The client closes the WebSocket, or what came is no message: too large, or no frame at all.
    /// Answered with this code.
    Closing(Close),
    Room(SessionMessage),
    /// The socket took the frame it was given last; it can take another.
    Written,
    Timeout,
}

#[derive(Debug, PartialEq)]
pub(super) enum SessionOutput {
    /// To the socket. At most one is outstanding until `Written`.
    Write(SocketFrame),
    /// To the room.
    Request(Box<Request>),
    /// The socket is to be dropped. `by_room`: the room knows that the session is over.
    Ended { by_room: bool, cause: EndCause },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SocketFrame {
    Data(DataFrame),
    Ping,
    Pong(Bytes),
    Close(Close),
}

impl SocketFrame {
    fn bytes(&self) -> usize {
        match self {
            Self::Data(frame) => frame.bytes(),
            Self::Pong(bytes) => bytes.len(),
            Self::Ping | Self::Close(_) => 0,
        }
    }
}

/// What a close frame says. JS treats 1000 as wanted and reconnects at once after any other code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// 1000
    Normal,
    /// 1012
    Restart,
    /// 1007
    Undecodable,
    /// 1009
    TooLarge,
    /// 1002
    Protocol,
}

/// Why a session ended, for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndCause {
    Room,
    Client,
    Undecodable,
    TooLarge,
    Protocol,
    SlowReader,
    Idle,
    FlushTimeout,
}

impl EndCause {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Room => "room",
            Self::Client => "client",
            Self::Undecodable => "undecodable",
            Self::TooLarge => "too_large",
            Self::Protocol => "protocol",
            Self::SlowReader => "slow_reader",
            Self::Idle => "idle",
            Self::FlushTimeout => "flush_timeout",
        }
    }
}

impl From<Close> for EndCause {
    fn from(close: Close) -> Self {
        match close {
            Close::Normal => Self::Client,
            Close::Restart => Self::Room,
            Close::Undecodable => Self::Undecodable,
            Close::TooLarge => Self::TooLarge,
            Close::Protocol => Self::Protocol,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// A close frame is queued; the client is no longer listened to.
    Closing {
        deadline: Instant,
        by_room: bool,
        cause: EndCause,
    },
    Ended,
}

/// See the module's header.
#[derive(Debug)]
pub(super) struct Session {
    state: State,
    /// The kind of frame the client spoke last.
    encoding: Encoding,
    outbox: VecDeque<SocketFrame>,
    outbox_bytes: usize,
    /// The socket exists and waits for a frame.
    writable: bool,
    /// What to do for the room, or with the socket, in order.
    outputs: VecDeque<SessionOutput>,
    /// Clock of pongs: wall time in milliseconds at `started`.
    started: Instant,
    started_unix_ms: i64,
    next_ping: Instant,
    idle_deadline: Instant,
    /// The client said goodbye: the room has until then to close.
    leave_deadline: Option<Instant>,
    allowance: Allowance,
}

impl Session {
    /// A session whose socket does not exist yet: what the room says waits for the upgrade.
    pub(super) fn new(now: Instant, unix_ms: i64) -> Self {
        Self {
            state: State::Open,
            encoding: Encoding::Binary,
            outbox: VecDeque::new(),
            outbox_bytes: 0,
            writable: false,
            outputs: VecDeque::new(),
            started: now,
            started_unix_ms: unix_ms,
            next_ping: now + SOCKET_PING_INTERVAL,
            idle_deadline: now + SOCKET_IDLE_TIMEOUT,
            leave_deadline: None,
            allowance: Allowance::new(now),
        }
    }

    pub(super) fn handle(&mut self, now: Instant, input: SessionInput) {
        if self.state == State::Ended {
            return;
        }
        match input {
            SessionInput::Written => self.writable = true,
            SessionInput::SocketClosed => self.socket_closed(),
            SessionInput::Timeout => self.timeout(now),
            SessionInput::Room(message) => self.room_said(now, message),
            said => {
                self.idle_deadline = now + SOCKET_IDLE_TIMEOUT;
                if self.state == State::Open {
                    self.client_said(now, said);
                }
            }
        }
    }

    pub(super) fn poll(&mut self) -> Option<SessionOutput> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if !self.writable || self.state == State::Ended {
            return None;
        }
        if let Some(frame) = self.outbox.pop_front() {
            self.writable = false;
            self.outbox_bytes -= frame.bytes();
            return Some(SessionOutput::Write(frame));
        }
        // Writable again with nothing left to write: the close frame is on its way.
        let State::Closing { by_room, cause, .. } = self.state else {
            return None;
        };
        self.state = State::Ended;
        Some(SessionOutput::Ended { by_room, cause })
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Open => {
                let deadline = self.next_ping.min(self.idle_deadline);
                let others = [self.allowance.empty_until(), self.leave_deadline];
                others.into_iter().flatten().chain([deadline]).min()
            }
            State::Closing { deadline, .. } => Some(deadline),
            State::Ended => None,
        }
    }

    /// Whether the socket shall be read now. Not reading is how a flood is slowed down.
    pub(super) fn wants_input(&self) -> bool {
        self.state != State::Ended && self.allowance.empty_until().is_none()
    }

    fn client_said(&mut self, now: Instant, input: SessionInput) {
        match input {
            SessionInput::Frame(frame) => {
                self.allowance.take(now);
                self.encoding = frame.encoding();
                match frames::decode(&frame) {
                    Ok(Some(request)) => self.request(now, request),
                    Ok(None) => {}
                    Err(_) => self.close(now, Close::Undecodable, false),
                }
            }
            SessionInput::Ping(payload) => {
                self.allowance.take(now);
                self.enqueue(SocketFrame::Pong(payload));
            }
            SessionInput::Pong => self.allowance.take(now),
            SessionInput::Closing(close) => self.close(now, close, false),
            _ => {}
        }
    }

    /// Pings are answered here: the round trip a client measures is that of its signalling.
    fn request(&mut self, now: Instant, request: Request) {
        let unix_ms = self.unix_ms(now);
        match request {
            Request::Ping(_) => self.respond(Response::Pong(unix_ms)),
            Request::PingReq(ping) => self.respond(Response::PongResp(proto::Pong {
                last_ping_timestamp: ping.timestamp,
                timestamp: unix_ms,
            })),
            request => {
                if matches!(request, Request::Leave(_)) {
                    self.leave_deadline = Some(now + LEAVE_TIMEOUT);
                }
                let output = SessionOutput::Request(Box::new(request));
                self.outputs.push_back(output);
            }
        }
    }

    fn room_said(&mut self, now: Instant, message: SessionMessage) {
        if self.state != State::Open {
            return;
        }
        match message {
            SessionMessage::Signal(response) => self.send(&response),
            SessionMessage::Close => self.close(now, Close::Normal, true),
            SessionMessage::Restart | SessionMessage::Elsewhere(_) => {
                self.close(now, Close::Restart, true);
            }
            // The shell says it again.
            SessionMessage::Unheard(_) => {}
        }
    }

    fn respond(&mut self, message: Response) {
        let message = Some(message);
        self.send(&proto::SignalResponse { message });
    }

    fn send(&mut self, response: &proto::SignalResponse) {
        match frames::encode(response, self.encoding) {
            Ok(frame) => self.enqueue(SocketFrame::Data(frame)),
            Err(error) => tracing::error!(%error, "a signal response cannot be encoded"),
        }
    }

    fn enqueue(&mut self, frame: SocketFrame) {
        let bytes = self.outbox_bytes + frame.bytes();
        if self.outbox.len() >= OUTBOX_MESSAGES_MAX || bytes > OUTBOX_BYTES_MAX {
            self.end(false, EndCause::SlowReader);
            return;
        }
        self.outbox_bytes = bytes;
        self.outbox.push_back(frame);
    }

    fn close(&mut self, now: Instant, close: Close, by_room: bool) {
        let cause = if by_room {
            EndCause::Room
        } else {
            close.into()
        };
        self.enqueue(SocketFrame::Close(close));
        if self.state == State::Open {
            let deadline = now + FLUSH_TIMEOUT;
            self.state = State::Closing {
                deadline,
                by_room,
                cause,
            };
        }
    }

    fn socket_closed(&mut self) {
        match self.state {
            State::Closing { by_room, cause, .. } => self.end(by_room, cause),
            _ => self.end(false, EndCause::Client),
        }
    }

    fn timeout(&mut self, now: Instant) {
        self.allowance.refill(now);
        match self.state {
            State::Closing {
                deadline, by_room, ..
            } if now >= deadline => {
                self.end(by_room, EndCause::FlushTimeout);
            }
            State::Open if now >= self.idle_deadline => self.end(false, EndCause::Idle),
            State::Open if self.leave_deadline.is_some_and(|deadline| now >= deadline) => {
                self.close(now, Close::Normal, false);
            }
            State::Open if now >= self.next_ping => {
                self.next_ping = now + SOCKET_PING_INTERVAL;
                self.enqueue(SocketFrame::Ping);
            }
            _ => {}
        }
    }

    fn end(&mut self, by_room: bool, cause: EndCause) {
        self.state = State::Ended;
        self.outbox.clear();
        self.outputs
            .push_back(SessionOutput::Ended { by_room, cause });
    }

    fn unix_ms(&self, now: Instant) -> i64 {
        let since = now.saturating_duration_since(self.started).as_millis();
        let since = i64::try_from(since).unwrap_or(i64::MAX);
        self.started_unix_ms.saturating_add(since)
    }
}

/// How many messages a client may send right now: a token bucket.
#[derive(Debug)]
struct Allowance {
    messages: u32,
    refilled: Instant,
}

/// Time in which the bucket gains one message.
const GAIN: Duration = Duration::from_nanos(1_000_000_000 / INBOX_MESSAGES_PER_SECOND as u64);

impl Allowance {
    fn new(now: Instant) -> Self {
        Self {
            messages: INBOX_BURST_MESSAGES,
            refilled: now,
        }
    }

    fn take(&mut self, now: Instant) {
        self.refill(now);
        self.messages = self.messages.saturating_sub(1);
    }

    fn refill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.refilled);
        let gained = since.as_nanos() / GAIN.as_nanos();
        let gained = u32::try_from(gained).unwrap_or(u32::MAX);
        self.refilled += GAIN.saturating_mul(gained);
        self.messages = INBOX_BURST_MESSAGES.min(self.messages.saturating_add(gained));
    }

    fn empty_until(&self) -> Option<Instant> {
        (self.messages == 0).then(|| self.refilled + GAIN)
    }
}

#[cfg(test)]
mod tests;
