//! What a client notices of its session, in virtual time.
#![allow(clippy::unwrap_used, clippy::panic)]

use prost::Message;

use super::*;

const UNIX_MS: i64 = 1_760_000_000_000;

struct World {
    now: Instant,
    session: Session,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let mut world = Self {
            now,
            session: Session::new(now, UNIX_MS),
        };
        world.tell(SessionInput::Written);
        world
    }

    fn tell(&mut self, input: SessionInput) {
        self.session.handle(self.now, input);
    }

    fn say(&mut self, request: Request) {
        let message = Some(request);
        let bytes = proto::SignalRequest { message }.encode_to_vec();
        self.tell(SessionInput::Frame(DataFrame::Binary(bytes.into())));
    }

    fn room_says(&mut self, response: Response) {
        let message = Some(response);
        let response = Box::new(proto::SignalResponse { message });
        self.tell(SessionInput::Room(SessionMessage::Signal(response)));
    }

    /// Everything the session wants done, with a socket that takes every frame at once.
    fn drain(&mut self) -> Vec<SessionOutput> {
        let mut outputs = Vec::new();
        while let Some(output) = self.session.poll() {
            let wrote = matches!(output, SessionOutput::Write(_));
            outputs.push(output);
            if wrote {
                self.tell(SessionInput::Written);
            }
        }
        outputs
    }

    /// Lets time pass up to the next deadline.
    fn wait(&mut self) {
        self.now = self.session.deadline().unwrap();
        self.tell(SessionInput::Timeout);
    }
}

fn decoded(output: &SessionOutput) -> Response {
    let SessionOutput::Write(SocketFrame::Data(frame)) = output else {
        panic!("expected a data frame, got {output:?}");
    };
    let response = match frame {
        DataFrame::Binary(bytes) => proto::SignalResponse::decode(bytes.as_ref()).unwrap(),
        DataFrame::Text(text) => serde_json::from_str(text).unwrap(),
    };
    response.message.unwrap()
}

fn close(close: Close) -> SessionOutput {
    SessionOutput::Write(SocketFrame::Close(close))
}

fn ended(by_room: bool, cause: EndCause) -> SessionOutput {
    SessionOutput::Ended { by_room, cause }
}

#[test]
fn pings_are_answered_with_the_wall_clock_in_milliseconds() {
    let mut world = World::new();
    world.now += Duration::from_secs(2);
    world.say(Request::Ping(7));
    world.say(Request::PingReq(proto::Ping {
        timestamp: 4711,
        rtt: 20,
    }));
    let out = world.drain();
    assert_eq!(decoded(&out[0]), Response::Pong(UNIX_MS + 2000));
    let pong = proto::Pong {
        last_ping_timestamp: 4711,
        timestamp: UNIX_MS + 2000,
    };
    assert_eq!(decoded(&out[1]), Response::PongResp(pong));
    assert_eq!(out.len(), 2, "the room does not hear of pings");
}

#[test]
fn answers_mirror_the_kind_of_the_last_frame_of_the_client() {
    let mut world = World::new();
    let is_text = |world: &mut World| {
        world.room_says(Response::RefreshToken("t".into()));
        let out = world.drain();
        let frame = out.last().unwrap();
        matches!(
            frame,
            SessionOutput::Write(SocketFrame::Data(DataFrame::Text(_)))
        )
    };
    assert!(!is_text(&mut world), "binary until the client spoke");
    world.tell(SessionInput::Frame(DataFrame::Text("{}".into())));
    assert!(is_text(&mut world));
    world.tell(SessionInput::Frame(DataFrame::Binary(Bytes::new())));
    assert!(!is_text(&mut world));
}

#[test]
fn requests_reach_the_room_in_order_and_unknown_ones_do_not_matter() {
    let mut world = World::new();
    world.say(Request::Leave(proto::LeaveRequest::default()));
    world.tell(SessionInput::Frame(DataFrame::Binary(Bytes::new())));
    world.say(Request::Mute(proto::MuteTrackRequest::default()));
    let out = world.drain();
    assert!(matches!(&out[0], SessionOutput::Request(r) if matches!(**r, Request::Leave(_))));
    assert!(matches!(&out[1], SessionOutput::Request(r) if matches!(**r, Request::Mute(_))));
    assert_eq!(out.len(), 2);
}

#[test]
fn what_the_room_said_before_the_upgrade_is_sent_after_it() {
    let now = Instant::now();
    let mut world = World {
        now,
        session: Session::new(now, UNIX_MS),
    };
    world.room_says(Response::RefreshToken("t".into()));
    assert_eq!(world.drain(), []);
    world.tell(SessionInput::Written);
    let out = world.drain();
    assert_eq!(decoded(&out[0]), Response::RefreshToken("t".into()));
}

#[test]
fn a_leave_is_flushed_before_the_normal_close() {
    let mut world = World::new();
    world.room_says(Response::Leave(proto::LeaveRequest::default()));
    world.tell(SessionInput::Room(SessionMessage::Close));
    world.room_says(Response::RefreshToken("too late".into()));
    let out = world.drain();
    assert!(matches!(decoded(&out[0]), Response::Leave(_)));
    let expected = [close(Close::Normal), ended(true, EndCause::Room)];
    assert_eq!(out[1..], expected);
}

#[test]
fn whoever_shall_resume_sees_a_close_that_is_not_normal() {
    let mut world = World::new();
    world.tell(SessionInput::Room(SessionMessage::Restart));
    let expected = [close(Close::Restart), ended(true, EndCause::Room)];
    assert_eq!(world.drain(), expected);
}

#[test]
fn a_frame_that_cannot_be_decoded_closes_the_socket_without_a_leave() {
    let mut world = World::new();
    world.tell(SessionInput::Frame(DataFrame::Text("not json".into())));
    world.say(Request::Leave(proto::LeaveRequest::default()));
    let expected = [
        close(Close::Undecodable),
        ended(false, EndCause::Undecodable),
    ];
    assert_eq!(world.drain(), expected);
}

#[test]
fn a_socket_that_goes_away_ends_the_session_once() {
    let mut world = World::new();
    world.tell(SessionInput::SocketClosed);
    world.tell(SessionInput::SocketClosed);
    world.tell(SessionInput::Room(SessionMessage::Close));
    assert_eq!(world.drain(), [ended(false, EndCause::Client)]);
    assert_eq!(world.session.deadline(), None);
}

#[test]
fn the_server_pings_every_ten_seconds_and_gives_up_on_silence() {
    let mut world = World::new();
    let started = world.now;
    for number in 1..=3 {
        world.wait();
        assert_eq!(world.now - started, SOCKET_PING_INTERVAL * number);
        assert_eq!(world.drain(), [SessionOutput::Write(SocketFrame::Ping)]);
    }
    world.wait();
    assert_eq!(world.now - started, SOCKET_IDLE_TIMEOUT);
    assert_eq!(world.drain(), [ended(false, EndCause::Idle)]);
}

#[test]
fn a_pong_keeps_the_session() {
    let mut world = World::new();
    for _ in 0..20 {
        world.wait();
        assert_eq!(world.drain(), [SessionOutput::Write(SocketFrame::Ping)]);
        world.tell(SessionInput::Pong);
    }
}

#[test]
fn a_client_that_does_not_read_is_let_go() {
    let mut world = World::new();
    let token = "t".repeat(1 << 20);
    world.room_says(Response::RefreshToken(token.clone()));
    assert!(matches!(
        world.session.poll(),
        Some(SessionOutput::Write(_))
    ));
    for _ in 0..OUTBOX_BYTES_MAX >> 20 {
        world.room_says(Response::RefreshToken(token.clone()));
    }
    assert_eq!(world.drain(), [ended(false, EndCause::SlowReader)]);

    let mut world = World::new();
    world.room_says(Response::Pong(0));
    world.session.poll().unwrap();
    for _ in 0..OUTBOX_MESSAGES_MAX {
        world.room_says(Response::Pong(0));
    }
    assert_eq!(world.session.poll(), None, "just within the limit");
    world.room_says(Response::Pong(0));
    assert_eq!(world.drain(), [ended(false, EndCause::SlowReader)]);
}

#[test]
fn a_close_that_cannot_be_flushed_is_given_up() {
    let mut world = World::new();
    world.room_says(Response::Pong(0));
    world.session.poll().unwrap();
    world.tell(SessionInput::Room(SessionMessage::Close));
    assert_eq!(world.session.poll(), None);
    world.wait();
    assert_eq!(world.drain(), [ended(true, EndCause::FlushTimeout)]);
}

#[test]
fn a_flood_is_read_more_slowly_and_nothing_of_it_is_lost() {
    let mut world = World::new();
    for _ in 0..INBOX_BURST_MESSAGES {
        assert!(world.session.wants_input());
        world.say(Request::Ping(1));
    }
    assert!(!world.session.wants_input());
    assert_eq!(world.drain().len(), INBOX_BURST_MESSAGES as usize);
    let before = world.now;
    world.wait();
    assert!(world.session.wants_input());
    assert_eq!(world.now - before, GAIN);
}

#[test]
fn messages_too_large_close_with_their_own_code() {
    let mut world = World::new();
    world.tell(SessionInput::Closing(Close::TooLarge));
    let expected = [close(Close::TooLarge), ended(false, EndCause::TooLarge)];
    assert_eq!(world.drain(), expected);
}

#[test]
fn a_leave_that_the_room_does_not_answer_closes_all_the_same() {
    let mut world = World::new();
    world.say(Request::Leave(proto::LeaveRequest::default()));
    world.drain();
    world.wait();
    let expected = [close(Close::Normal), ended(false, EndCause::Client)];
    assert_eq!(world.drain(), expected);
}
