//! The room core in virtual time, with scripted media cores: what clients, webhooks and callers are
//! told, and when.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod calls;
mod data;
mod hall;
mod hostile;
mod joining;
mod lifetime;
mod moves;
mod quality;
mod resume;
mod standing;
mod tail;
mod thaw;
mod updates;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use media::types::{Fingerprint, LocalCandidate, Protocol};
use protocol::grants::{Claims, VideoGrant};
use protocol::ids::{ParticipantSid, TrackSid};
use protocol::proto;
use protocol::proto::participant_info::State;
use protocol::proto::signal_request::Message as SignalRequest;
use protocol::proto::signal_response::Message;
use protocol::token::Keys;

use super::contract::{CallId, SessionId};
use super::*;
use crate::participant::Published;

/// What a test says through a participant's media core, and what that core heard.
#[derive(Default)]
struct Script {
    number: u16,
    /// What the client may be offered.
    candidates: Arc<[LocalCandidate]>,
    heard: Vec<MediaInput>,
    says: VecDeque<MediaOutput>,
    subscribes: BTreeSet<String>,
    tracks: BTreeMap<String, Arc<proto::TrackInfo>>,
}

struct ScriptedMedia(Arc<Mutex<Script>>);

impl MediaCore for ScriptedMedia {
    fn handle(&mut self, _: Instant, input: MediaInput) {
        self.0.lock().unwrap().heard.push(input);
    }

    fn poll(&mut self) -> Option<MediaOutput> {
        self.0.lock().unwrap().says.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn track(&self, sid: &TrackSid) -> Option<Arc<proto::TrackInfo>> {
        self.0.lock().unwrap().tracks.get(sid.as_str()).cloned()
    }

    fn subscribed(&self) -> crate::participant::contract::Kinds {
        Default::default()
    }

    fn published(&self) -> Vec<Published> {
        Vec::new()
    }

    fn transports(&self) -> Vec<(media::TransportKey, bool)> {
        Vec::new()
    }

    fn image(&self, _: &WallClock) -> Option<crate::participant::image::records::MediaRecord> {
        None
    }

    fn publishers(&self) -> BTreeSet<ParticipantSid> {
        let script = self.0.lock().unwrap();
        let sids = script.subscribes.iter();
        sids.map(|sid| ParticipantSid(sid.clone())).collect()
    }

    fn subscribes_to(&self, publisher: &ParticipantSid) -> bool {
        self.0
            .lock()
            .unwrap()
            .subscribes
            .contains(publisher.as_str())
    }
}

fn both_protocols() -> Arc<[LocalCandidate]> {
    let candidate = |protocol| LocalCandidate {
        protocol,
        address: "192.0.2.1:7".parse().unwrap(),
        priority: 1,
        foundation: "1".into(),
    };
    Arc::new([Protocol::Udp, Protocol::Tcp].map(candidate))
}

/// Scripts by sid, newest session of each.
type Scripts = Arc<Mutex<BTreeMap<String, Arc<Mutex<Script>>>>>;

/// A room, its clock, and everything it said.
struct House {
    room: Room,
    now: Instant,
    scripts: Scripts,
    next_session: u64,
    /// What each WebSocket was told; `None` = it was closed.
    told: BTreeMap<SessionId, Vec<Option<Message>>>,
    refused: Vec<AttachError>,
    webhooks: Vec<proto::WebhookEvent>,
    replies: Vec<Result<RoomReply, RoomError>>,
    launched: Vec<proto::Job>,
    terminated: Vec<String>,
    ended: bool,
}

impl House {
    fn new() -> Self {
        Self::with(|_| {}, |_| {})
    }

    fn with(config: impl FnOnce(&mut RoomsConfig), options: impl FnOnce(&mut RoomOptions)) -> Self {
        let mut values = RoomsConfig {
            seed: [7; 32],
            data_blobs: true,
            ..Default::default()
        };
        config(&mut values);
        let wanted = proto::CreateRoomRequest {
            name: "house".into(),
            ..Default::default()
        };
        let mut chosen = RoomOptions::from_request(&wanted, &values).unwrap();
        options(&mut chosen);
        let scripts = Scripts::default();
        let made = scripts.clone();
        let media: MediaFactory = Arc::new(move |settings, environment, _| {
            let number = KeySpace::participant_of(environment.keys.transport().0);
            let script = Arc::new(Mutex::new(Script {
                number,
                candidates: environment.candidates,
                ..Default::default()
            }));
            made.lock().unwrap().insert(settings.sid.0, script.clone());
            Box::new(ScriptedMedia(script))
        });
        let services = Services {
            config: values,
            shards: Arc::new(Endpoint {
                candidates: both_protocols(),
                fingerprint: Fingerprint {
                    algorithm: "sha-256".into(),
                    digest: vec![0; 32],
                },
                ufrag_prefix: 'a',
                spare: None,
            }),
            relay_ids: Default::default(),
            media,
            keys: Keys::new([(
                "key".to_owned(),
                "secret-secret-secret-secret-1234".to_owned(),
            )]),
        };
        let now = Instant::now();
        let wall = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let mut house = Self {
            room: Room::new(now, wall, 3, chosen, Arc::new(services)),
            now,
            scripts,
            next_session: 0,
            told: BTreeMap::new(),
            refused: Vec::new(),
            webhooks: Vec::new(),
            replies: Vec::new(),
            launched: Vec::new(),
            terminated: Vec::new(),
            ended: false,
        };
        house.drain();
        house
    }

    fn input(&mut self, input: RoomInput) {
        self.room.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        self.check_deadlines();
        while let Some(output) = self.room.poll() {
            match output {
                RoomOutput::Session {
                    session,
                    message: SessionMessage::Signal(signal),
                } => {
                    self.told.entry(session).or_default().push(signal.message);
                }
                RoomOutput::Session {
                    session,
                    message: _,
                } => {
                    self.told.entry(session).or_default().push(None);
                }
                RoomOutput::Refused { error, .. } => self.refused.push(error),
                RoomOutput::Reply { result, .. } => self.replies.push(result),
                RoomOutput::Shard { .. } | RoomOutput::LastWords => {}
                RoomOutput::Webhook(event) => self.webhooks.push(*event),
                RoomOutput::LaunchJob(request) => self.launched.push(request.job),
                RoomOutput::TerminateJob { job_id } => self.terminated.push(job_id),
                RoomOutput::Ended => self.ended = true,
            }
        }
    }

    /// The earliest deadline that the room keeps is the one found by looking at everybody.
    fn check_deadlines(&self) {
        let roster = &self.room.roster;
        let slow = roster.iter().filter_map(member::Member::deadline).min();
        assert_eq!(roster.deadline(), slow);
    }

    /// Lets time pass, waking the room whenever it asked for it.
    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.room.deadline().filter(|at| *at <= until) {
            assert!(
                at >= self.now || self.now - at < Duration::from_millis(1),
                "a stale deadline"
            );
            self.now = self.now.max(at);
            self.input(RoomInput::Timeout);
        }
        self.now = until;
    }

    fn attach(&mut self, identity: &str, change: impl FnOnce(&mut Attach)) -> SessionId {
        self.next_session += 1;
        let session = SessionId(self.next_session);
        let mut attach = Attach {
            asked: self.now,
            session,
            room: "house".into(),
            claims: Claims {
                identity: identity.into(),
                kind: "standard".into(),
                video: Some(VideoGrant {
                    room_join: true,
                    room: "house".into(),
                    ..Default::default()
                }),
                ..Default::default()
            },
            kind: AttachKind::Join,
            client: proto::ClientInfo {
                protocol: 17,
                ..Default::default()
            },
            auto_subscribe: true,
            auto_subscribe_data_track: false,
            adaptive_stream: false,
            subscriber_allow_pause: None,
            disable_ice_lite: false,
            single_peer_connection: false,
            attributes: Default::default(),
            publisher_offer: None,
            add_tracks: Vec::new(),
        };
        change(&mut attach);
        self.input(RoomInput::Attach(Box::new(attach)));
        session
    }

    fn join(&mut self, identity: &str) -> SessionId {
        self.attach(identity, |_| {})
    }

    fn resume(&mut self, identity: &str) -> SessionId {
        let number = self.room.roster.of_identity(identity);
        let member = number.and_then(|number| self.room.roster.get(number));
        let known = member.map(|member| member.sid.0.clone());
        let participant_sid = known.unwrap_or_else(|| "PA_any".into());
        let kind = AttachKind::Resume {
            participant_sid,
            reason: 1,
        };
        self.attach(identity, |attach| attach.kind = kind)
    }

    /// Joins and connects media and data.
    fn enter(&mut self, identity: &str) -> SessionId {
        let session = self.join(identity);
        self.media(identity, MediaOutput::Connected);
        self.media(identity, MediaOutput::DataReady);
        session
    }

    fn signal(&mut self, session: SessionId, message: SignalRequest) {
        self.input(RoomInput::Signal {
            session,
            message: Box::new(message),
        });
    }

    fn call(&mut self, request: RoomCall) -> Result<RoomReply, RoomError> {
        self.input(RoomInput::Call {
            call: CallId(1),
            request,
        });
        self.replies.pop().expect("a reply")
    }

    fn sid(&self, identity: &str) -> String {
        self.member(identity).sid.0.clone()
    }

    fn member(&self, identity: &str) -> &member::Member {
        let number = self
            .room
            .roster
            .of_identity(identity)
            .expect("a participant");
        self.room.roster.get(number).expect("a member")
    }

    fn script(&self, identity: &str) -> Arc<Mutex<Script>> {
        self.scripts.lock().unwrap()[&self.sid(identity)].clone()
    }

    /// Makes a participant's media core say something.
    fn media(&mut self, identity: &str, output: MediaOutput) {
        let script = self.script(identity);
        let number = {
            let mut script = script.lock().unwrap();
            script.says.push_back(output);
            script.number
        };
        let transport = KeySpace::new(3, number).allocator().transport();
        let label = "any".to_owned();
        self.input(RoomInput::Shard(media::Event::ChannelOpen {
            transport,
            label,
        }));
    }

    fn publish(&mut self, identity: &str, sid: &str) {
        let info = Arc::new(proto::TrackInfo {
            sid: sid.into(),
            ..Default::default()
        });
        self.script(identity)
            .lock()
            .unwrap()
            .tracks
            .insert(sid.into(), info.clone());
        self.media(
            identity,
            MediaOutput::Published(Published {
                info,
                codecs: Vec::new(),
            }),
        );
    }

    /// Messages a WebSocket got since this was asked last.
    fn heard(&mut self, session: SessionId) -> Vec<Message> {
        self.told
            .remove(&session)
            .unwrap_or_default()
            .into_iter()
            .flatten()
            .collect()
    }

    fn is_closed(&self, session: SessionId) -> bool {
        self.told
            .get(&session)
            .is_some_and(|told| matches!(told.last(), Some(None)))
    }

    /// Infos about an identity a WebSocket got since this was asked last.
    fn infos(&mut self, session: SessionId, identity: &str) -> Vec<proto::ParticipantInfo> {
        self.heard(session)
            .into_iter()
            .filter_map(|message| match message {
                Message::Update(update) => Some(update.participants),
                _ => None,
            })
            .flatten()
            .filter(|info| info.identity == identity)
            .collect()
    }

    /// Payloads sent to a participant on a channel since this was asked last.
    fn sent_data(&mut self, identity: &str, channel: &str) -> Vec<Bytes> {
        let script = self.script(identity);
        let heard = std::mem::take(&mut script.lock().unwrap().heard);
        heard
            .into_iter()
            .flat_map(|input| match input {
                MediaInput::SendData { label, payload } if label == channel => vec![payload],
                MediaInput::SendAgain(payloads) if channel == "_reliable" => payloads,
                _ => Vec::new(),
            })
            .collect()
    }

    fn events(&self) -> Vec<&str> {
        self.webhooks
            .iter()
            .map(|webhook| webhook.event.as_str())
            .collect()
    }
}

fn kinds(messages: &[Message]) -> Vec<&'static str> {
    messages
        .iter()
        .map(|message| match message {
            Message::Join(_) => "join",
            Message::Update(_) => "update",
            Message::Leave(_) => "leave",
            Message::RoomUpdate(_) => "room_update",
            Message::RefreshToken(_) => "refresh_token",
            Message::Reconnect(_) => "reconnect",
            Message::RequestResponse(_) => "request_response",
            Message::SpeakersChanged(_) => "speakers_changed",
            _ => "other",
        })
        .collect()
}

fn leave_of(messages: &[Message]) -> proto::LeaveRequest {
    messages
        .iter()
        .find_map(|message| match message {
            Message::Leave(leave) => Some(leave.clone()),
            _ => None,
        })
        .expect("a leave")
}

const S: Duration = Duration::from_secs(1);
