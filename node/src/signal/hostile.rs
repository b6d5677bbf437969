//! Everything a client's WebSocket and its join parameters make the node parse and do, as functions
//! from bytes to nothing: for the fuzz targets in `fuzz/` and their stable twin
//! `tests/hostile_frames.rs`. A panic, a hang or a room that never rests is the only failure.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix_web::web::Bytes;
use media::types::{Fingerprint, LocalCandidate, Protocol};
use protocol::grants::{Claims, VideoGrant};
use protocol::proto;
use protocol::proto::signal_response::Message;
use protocol::token::Keys;

use super::frames::DataFrame;
use super::session::{Session, SessionInput, SessionOutput};
use super::{GatewaySettings, join_params, validate};
use crate::room::contract::{Attach, AttachKind, RoomInput, RoomOutput, SessionId, SessionMessage};
use crate::room::environment::{Endpoint, RoomsConfig, Services};
use crate::room::{Room, RoomOptions};

/// Frames taken from one input: enough for publishing, restarting and leaving.
const FRAMES_MAX: usize = 32;
/// Times a room may ask to be woken up before half a minute of silence is over: each of its timers
/// some dozen times.
const WAKES_MAX: usize = 2_000;

/// What one client says, to the sessions of two: one with two connections, one with a single.
/// Input that begins with `{` is text, a frame a line; other is binary, each frame behind its
/// length as two bytes.
pub fn signal(data: &[u8]) {
    let _ = heard_by(data);
}

/// The house after half a minute.
fn heard_by(data: &[u8]) -> House {
    let mut house = House::new();
    for frame in frames(data).into_iter().take(FRAMES_MAX) {
        for client in 0..house.clients.len() {
            house.hear(client, frame.clone());
        }
    }
    house.rest();
    house
}

/// The query of a join, with `join_request` and without.
pub fn join(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for required in [false, true] {
        let Ok(params) = join_params::parse(&text, required) else {
            continue;
        };
        let settings = GatewaySettings::new(&crate::config::Config::default(), Keys::new([]));
        let _ = validate::attach(
            (SessionId(1), Instant::now()),
            claims("stranger"),
            params,
            &settings,
        );
    }
}

fn frames(data: &[u8]) -> Vec<DataFrame> {
    if data.first() == Some(&b'{') {
        let lines = String::from_utf8_lossy(data);
        return lines.lines().map(|l| DataFrame::Text(l.into())).collect();
    }
    let mut frames = Vec::new();
    let mut rest = data;
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(behind.len());
        let (frame, next) = behind.split_at(length);
        frames.push(DataFrame::Binary(Bytes::copy_from_slice(frame)));
        rest = next;
    }
    frames
}

fn claims(identity: &str) -> Claims {
    Claims {
        identity: identity.to_owned(),
        kind: "standard".to_owned(),
        video: Some(VideoGrant {
            room_join: true,
            room: "house".to_owned(),
            can_update_own_metadata: Some(true),
            ..VideoGrant::default()
        }),
        ..Claims::default()
    }
}

/// A room with real media cores and the sessions of its participants; time is its own.
struct House {
    room: Room,
    now: Instant,
    clients: Vec<(SessionId, Session)>,
    /// Answers to offers, as a sign that the corpus gets past the parsers.
    answers: usize,
}

impl House {
    fn new() -> House {
        let now = Instant::now();
        let config = RoomsConfig {
            seed: [7; 32],
            data_blobs: true,
            ..RoomsConfig::default()
        };
        let options = RoomOptions {
            name: "house".to_owned(),
            ..RoomOptions::default()
        };
        let services = Services::new(config, Arc::new(endpoint()), Keys::new([]));
        let room = Room::new(now, SystemTime::UNIX_EPOCH, 3, options, Arc::new(services));
        let mut house = House {
            room,
            now,
            clients: Vec::new(),
            answers: 0,
        };
        for (number, single) in [(1, false), (2, true)] {
            let session = SessionId(number);
            house.clients.push((session, Session::new(now, 0)));
            let attach = attach(session, &format!("client {number}"), single);
            house.tell(RoomInput::Attach(Box::new(attach)));
        }
        for client in 0..house.clients.len() {
            house.act(client, SessionInput::Written);
        }
        house
    }

    fn hear(&mut self, client: usize, frame: DataFrame) {
        self.act(client, SessionInput::Frame(frame));
    }

    /// Hands something to a session and does what it and the room say, until both are silent.
    fn act(&mut self, client: usize, input: SessionInput) {
        let Some((id, session)) = self.clients.get_mut(client) else {
            return;
        };
        let id = *id;
        session.handle(self.now, input);
        let mut said = Vec::new();
        while let Some(output) = session.poll() {
            match output {
                SessionOutput::Write(_) => session.handle(self.now, SessionInput::Written),
                SessionOutput::Request(message) => said.push(RoomInput::Signal {
                    session: id,
                    message,
                }),
                SessionOutput::Ended { .. } => said.push(RoomInput::SessionClosed(id)),
            }
        }
        for input in said {
            self.tell(input);
        }
    }

    fn tell(&mut self, input: RoomInput) {
        self.room.handle(self.now, input);
        let mut heard: Vec<(SessionId, SessionMessage)> = Vec::new();
        while let Some(output) = self.room.poll() {
            if let RoomOutput::Session { session, message } = output {
                self.answers += usize::from(is_answer(&message));
                heard.push((session, message));
            }
        }
        for (to, message) in heard {
            if let Some(client) = self.clients.iter().position(|(id, _)| *id == to) {
                self.act(client, SessionInput::Room(message));
            }
        }
    }

    /// Half a minute passes.
    fn rest(&mut self) {
        let until = self.now + Duration::from_secs(30);
        let mut wakes = 0;
        while let Some(at) = self.room.deadline().filter(|at| *at <= until) {
            wakes += 1;
            assert!(wakes < WAKES_MAX, "the room never rests");
            self.now = self.now.max(at);
            self.tell(RoomInput::Timeout);
        }
    }
}

fn is_answer(message: &SessionMessage) -> bool {
    let SessionMessage::Signal(signal) = message else {
        return false;
    };
    matches!(&signal.message, Some(Message::Answer(_)))
}

fn endpoint() -> Endpoint {
    Endpoint {
        candidates: Arc::new([LocalCandidate {
            protocol: Protocol::Udp,
            address: ([127, 0, 0, 1], 7882).into(),
            priority: 1,
            foundation: "1".to_owned(),
        }]),
        fingerprint: Fingerprint {
            algorithm: "sha-256".to_owned(),
            digest: vec![0xab; 32],
        },
        ufrag_prefix: 'a',
        spare: None,
    }
}

fn attach(session: SessionId, identity: &str, single: bool) -> Attach {
    Attach {
        asked: Instant::now(),
        session,
        room: "house".to_owned(),
        claims: claims(identity),
        kind: AttachKind::Join,
        client: proto::ClientInfo {
            protocol: 17,
            ..proto::ClientInfo::default()
        },
        auto_subscribe: true,
        auto_subscribe_data_track: true,
        adaptive_stream: true,
        subscriber_allow_pause: None,
        disable_ice_lite: false,
        single_peer_connection: single,
        attributes: Default::default(),
        publisher_offer: None,
        add_tracks: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_of_offers_is_understood_in_both_kinds_of_frames() {
        let binary = include_bytes!("../../fuzz/corpus/signal/publish_dual.bin");
        let json = include_bytes!("../../fuzz/corpus/signal/publish_dual.json");
        assert_eq!(heard_by(binary).answers, 2);
        assert_eq!(heard_by(json).answers, 2);
    }
}
