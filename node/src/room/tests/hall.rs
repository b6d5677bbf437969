//! Rooms with real media cores, clients that answer, and shards that remember what they were told:
//! a hall can be thawed at any moment, and two halls can be compared.

mod shards;
mod transcript;

use std::collections::{BTreeMap, BTreeSet};

use media::event::TransportState;
use media::types::RemoteTransport;
use media::{Command, Event, TransportKey};
use prost::Message as _;
use protocol::proto::signal_response::Message;

pub(super) use self::shards::ShardModel;
pub(super) use self::transcript::transcript;
use super::*;
use crate::participant::tests::stage;
use crate::room::journal::RoomImage;

/// A client with media: it answers what it is offered.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// `None`: its WebSocket is gone.
    pub(super) session: Option<SessionId>,
    pub(super) single: bool,
    pub(super) sections: Vec<String>,
    pub(super) offers: u32,
    /// Its credentials: a restart has others.
    pub(super) generation: u32,
    pub(super) heard: Vec<Message>,
    pub(super) closed: bool,
}

impl Client {
    fn next_offer(&mut self) -> proto::SessionDescription {
        self.offers += 1;
        let sdp = stage::description("actpass", &self.sections);
        proto::SessionDescription {
            r#type: "offer".into(),
            sdp: renewed(sdp, self.generation),
            id: self.offers,
            ..Default::default()
        }
    }
}

/// A video section the client only receives on.
fn free_video(mid: u32) -> String {
    let sending = ["a=msid", "a=rid", "a=simulcast"];
    let section = stage::video(mid, "none").replace("a=sendonly", "a=recvonly");
    let lines = section.lines();
    let lines = lines.filter(|line| !sending.iter().any(|start| line.starts_with(start)));
    lines.map(|line| format!("{line}\r\n")).collect()
}

pub(super) struct Hall {
    pub(super) room: Room,
    pub(super) image: RoomImage,
    pub(super) now: Instant,
    start: Instant,
    number: u32,
    services: Arc<Services>,
    sessions: u64,
    pub(super) clients: BTreeMap<String, Client>,
    pub(super) shards: ShardModel,
    pub(super) webhooks: Vec<String>,
    pub(super) launched: Vec<proto::Job>,
    /// Records said, and their bytes.
    pub(super) records: Vec<(journal::RecordKey, usize)>,
    /// What sessions were told of where the room goes on.
    pub(super) moved: Vec<SessionMessage>,
    /// How often the room said that it has said everything.
    pub(super) last_words: usize,
    pub(super) replies: Vec<Result<RoomReply, RoomError>>,
    /// Channels of each transport; a standby opens them again once the client has answered it.
    channels: BTreeSet<(u64, String)>,
    pub(super) channels_come_up: bool,
    /// Who was sent a reliable packet, and its sequence number.
    pub(super) packets_sent: Vec<(u16, u32)>,
    /// Facts the network answers with.
    reactions: VecDeque<RoomInput>,
    /// Whose each sid is.
    pub(super) names: BTreeMap<String, String>,
    pub(super) answers: bool,
}

fn wall(start: Instant, now: Instant) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000) + (now - start)
}

fn services(seed: u8) -> Arc<Services> {
    let values = RoomsConfig {
        seed: [seed; 32],
        enabled_codecs: stage::settings(false).enabled_codecs,
        ..Default::default()
    };
    let endpoint = Endpoint {
        candidates: both_protocols(),
        fingerprint: Fingerprint {
            algorithm: "sha-256".into(),
            digest: vec![seed; 32],
        },
        ufrag_prefix: 'A',
        spare: None,
    };
    let secret = "secret-secret-secret-secret-1234".to_owned();
    let keys = Keys::new([("key".to_owned(), secret)]);
    Arc::new(Services::new(values, Arc::new(endpoint), keys))
}

impl Hall {
    pub(super) fn new() -> Self {
        let (start, services) = (Instant::now(), services(1));
        let wanted = proto::CreateRoomRequest {
            name: "hall".into(),
            ..Default::default()
        };
        let options = RoomOptions::from_request(&wanted, &services.config).unwrap();
        let mut room = Room::new(start, wall(start, start), 3, options, services.clone());
        room.follow(true);
        let mut hall = Self {
            room,
            image: RoomImage::default(),
            now: start,
            start,
            number: 3,
            services,
            sessions: 0,
            clients: BTreeMap::new(),
            shards: ShardModel::default(),
            webhooks: Vec::new(),
            launched: Vec::new(),
            records: Vec::new(),
            moved: Vec::new(),
            last_words: 0,
            replies: Vec::new(),
            channels: BTreeSet::new(),
            channels_come_up: true,
            packets_sent: Vec::new(),
            reactions: VecDeque::new(),
            names: BTreeMap::new(),
            answers: true,
        };
        hall.drain();
        hall
    }

    pub(super) fn input(&mut self, input: RoomInput) {
        self.step(input);
        while let Some(reaction) = self.reactions.pop_front() {
            self.step(reaction);
        }
    }

    fn step(&mut self, input: RoomInput) {
        self.room.set_clock(self.now, wall(self.start, self.now));
        self.room.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.room.poll() {
            match output {
                RoomOutput::Session { message, .. } if is_of_a_move(&message) => {
                    self.moved.push(message);
                }
                RoomOutput::Session { session, message } => self.told(session, message),
                RoomOutput::Shard { command, .. } => self.command(&command),
                RoomOutput::Webhook(event) => self.webhooks.push(event.event),
                RoomOutput::LaunchJob(request) => self.launched.push(request.job),
                RoomOutput::Reply { result, .. } => self.replies.push(result),
                RoomOutput::Refused { error, .. } => panic!("refused: {error}"),
                RoomOutput::LastWords => self.last_words += 1,
                RoomOutput::TerminateJob { .. } | RoomOutput::Ended => {}
            }
        }
        for member in self.room.roster.iter() {
            let identity = member.identity();
            self.names.insert(member.sid.0.clone(), identity.to_owned());
            for track in &member.info.tracks {
                let name = format!("{identity}/{:?}", track.source());
                self.names.insert(track.sid.clone(), name);
            }
            for track in &member.info.data_tracks {
                self.names.insert(track.sid.clone(), track.name.clone());
            }
        }
        for entry in self.room.journal() {
            let bytes = entry.record.as_ref().map_or(0, Bytes::len);
            self.records.push((entry.key, bytes));
            self.image.apply(entry);
        }
    }

    fn told(&mut self, session: SessionId, message: SessionMessage) {
        let mut clients = self.clients.values_mut();
        let Some(client) = clients.find(|client| client.session == Some(session)) else {
            return;
        };
        let SessionMessage::Signal(response) = message else {
            client.closed = true;
            return;
        };
        let message = response.message.unwrap();
        if let (Message::Offer(offer), true) = (&message, self.answers) {
            let answer = proto::SessionDescription {
                r#type: "answer".into(),
                sdp: renewed(stage::answer_to(&offer.sdp), client.generation),
                id: offer.id,
                ..Default::default()
            };
            let message = Box::new(SignalRequest::Answer(answer));
            self.reactions
                .push_back(RoomInput::Signal { session, message });
        }
        if let Message::MediaSectionsRequirement(wanted) = &message {
            for _ in 0..wanted.num_audios {
                let mid = u32::try_from(client.sections.len()).unwrap();
                client.sections.push(stage::free_audio(mid));
            }
            for _ in 0..wanted.num_videos {
                let mid = u32::try_from(client.sections.len()).unwrap();
                client.sections.push(free_video(mid));
            }
            let message = Box::new(SignalRequest::Offer(client.next_offer()));
            self.reactions
                .push_back(RoomInput::Signal { session, message });
        }
        client.heard.push(message);
    }

    /// Transports connect as soon as both sides know each other, and channels open.
    fn command(&mut self, command: &Command) {
        self.shards.hear(command);
        let opened = |transport: TransportKey, label: &str| {
            RoomInput::Shard(Event::ChannelOpen {
                transport,
                label: label.to_owned(),
            })
        };
        match command {
            Command::SetRemote { transport, remote } => {
                let RemoteTransport { sctp, .. } = remote;
                let transport = *transport;
                let state = TransportState::Connected;
                let connected = Event::Transport { transport, state };
                self.reactions.push_back(RoomInput::Shard(connected));
                if sctp.is_some() {
                    for label in ["_reliable", "_lossy"] {
                        self.note_channel(transport, label);
                        self.reactions.push_back(opened(transport, label));
                    }
                }
            }
            Command::OpenChannel {
                transport, label, ..
            }
            | Command::AdoptChannel {
                transport, label, ..
            } => {
                self.note_channel(*transport, label);
                self.reactions.push_back(opened(*transport, label));
            }
            Command::TakeOver { transport } if self.channels_come_up => {
                let reactions = self.channels_of(*transport);
                self.reactions.extend(reactions);
            }
            Command::SendData {
                transport, payload, ..
            } => {
                let packet = proto::DataPacket::decode(&payload[..]).expect("a packet");
                let number = KeySpace::participant_of(transport.0);
                self.packets_sent.push((number, packet.sequence));
            }
            _ => {}
        }
    }

    fn note_channel(&mut self, transport: TransportKey, label: &str) {
        let key = KeySpace::within_room(transport.0);
        self.channels.insert((key, label.to_owned()));
    }

    fn channels_of(&self, transport: TransportKey) -> Vec<RoomInput> {
        let key = KeySpace::within_room(transport.0);
        let here = self.channels.iter().filter(|(of, _)| *of == key);
        let opened = |(_, label): &(u64, String)| {
            let label = label.clone();
            RoomInput::Shard(Event::ChannelOpen { transport, label })
        };
        here.map(opened).collect()
    }

    /// What `channels_come_up` held back.
    pub(super) fn channels_are_up(&mut self) {
        let room = KeySpace::new(self.number, 0).room.0;
        let transports: Vec<u64> = self.shards.transports.keys().copied().collect();
        for transport in transports {
            for input in self.channels_of(TransportKey(room | transport)) {
                self.input(input);
            }
        }
    }

    pub(super) fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.room.deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.input(RoomInput::Timeout);
        }
        self.now = until;
    }

    pub(super) fn attach(&mut self, identity: &str, kind: AttachKind) {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        let client = self.clients.entry(identity.to_owned()).or_default();
        client.session = Some(session);
        client.closed = false;
        let attach = Attach {
            asked: self.now,
            session,
            room: "hall".into(),
            claims: Claims {
                issuer: "key".into(),
                identity: identity.into(),
                name: identity.to_uppercase(),
                metadata: "{\"colour\":\"green\"}".into(),
                video: Some(VideoGrant {
                    room_join: true,
                    room: "hall".into(),
                    can_update_own_metadata: Some(true),
                    ..Default::default()
                }),
                ..Default::default()
            },
            kind,
            client: proto::ClientInfo {
                sdk: proto::client_info::Sdk::Js as i32,
                version: "2.15.0".into(),
                protocol: 17,
                browser: "Chrome".into(),
                browser_version: "140.0".into(),
                ..Default::default()
            },
            auto_subscribe: true,
            auto_subscribe_data_track: false,
            adaptive_stream: true,
            subscriber_allow_pause: None,
            disable_ice_lite: false,
            single_peer_connection: client.single,
            attributes: Default::default(),
            publisher_offer: None,
            add_tracks: Vec::new(),
        };
        self.input(RoomInput::Attach(Box::new(attach)));
    }

    pub(super) fn join(&mut self, identity: &str, single: bool) {
        let client = self.clients.entry(identity.to_owned()).or_default();
        client.single = single;
        client.sections = vec![stage::data(0)];
        self.attach(identity, AttachKind::Join);
    }

    pub(super) fn signal(&mut self, identity: &str, message: SignalRequest) {
        let session = self.clients[identity].session.expect("a session");
        let message = Box::new(message);
        self.input(RoomInput::Signal { session, message });
    }

    pub(super) fn call(&mut self, request: RoomCall) {
        let call = CallId(1);
        self.input(RoomInput::Call { call, request });
    }

    /// The client offers its sections, with new credentials after a restart.
    pub(super) fn offer(&mut self, identity: &str) {
        let client = self.clients.get_mut(identity).expect("a client");
        let offer = client.next_offer();
        self.signal(identity, SignalRequest::Offer(offer));
    }

    pub(super) fn publish(&mut self, identity: &str, cid: &str, source: proto::TrackSource) {
        let mut request = stage::request(cid, source);
        if source == proto::TrackSource::Camera {
            (request.width, request.height) = (1280, 720);
            request.layers = [(0, 180), (1, 360), (2, 720)].map(layer).to_vec();
            request.simulcast_codecs = vec![proto::SimulcastCodec {
                codec: "vp8".into(),
                cid: cid.into(),
                layers: request.layers.clone(),
                ..Default::default()
            }];
        }
        self.signal(identity, SignalRequest::AddTrack(request));
        let client = self.clients.get_mut(identity).expect("a client");
        let mid = u32::try_from(client.sections.len()).unwrap();
        client.sections.push(match source {
            proto::TrackSource::Camera => stage::video(mid, cid),
            _ => stage::audio(mid, cid),
        });
        self.offer(identity);
    }

    pub(super) fn member(&self, identity: &str) -> &member::Member {
        let number = self.room.roster.of_identity(identity).expect("somebody");
        self.room.roster.get(number).expect("a member")
    }

    /// Sid of somebody's track of a source.
    pub(super) fn track(&self, identity: &str, source: proto::TrackSource) -> String {
        let tracks = &self.member(identity).info.tracks;
        let track = tracks.iter().find(|track| track.source() == source);
        track.expect("a track").sid.clone()
    }

    /// The first packets of everything anybody publishes.
    pub(super) fn packets(&mut self, identity: &str) {
        let tracks = self.member(identity).tracks.clone();
        for (track, codec) in tracks.into_iter().flat_map(|track| track.codecs) {
            self.input(RoomInput::Shard(Event::TrackStarted {
                track,
                codec,
                layer: 0,
                ssrc: 5,
            }));
        }
    }

    /// Another node makes the room from what it was told; sessions are gone.
    pub(super) fn thaw(&mut self, warm: bool) {
        self.number += 1;
        self.services = services(u8::try_from(self.number).unwrap());
        let transports = self.shards.transports.keys().copied();
        let transports: WarmTransports = transports.filter(|_| warm).collect();
        self.shards = ShardModel::default();
        let (now, number) = (self.now, self.number);
        let wall = wall(self.start, now);
        let services = self.services.clone();
        let thawed = Room::thaw(now, wall, number, &self.image, &transports, services);
        self.room = thawed.unwrap();
        self.room.follow(true);
        self.drain();
        while let Some(reaction) = self.reactions.pop_front() {
            self.step(reaction);
        }
    }

    /// Gateways kept the WebSockets.
    pub(super) fn rebind(&mut self) {
        let here: Vec<(String, String)> = self
            .room
            .roster
            .iter()
            .map(|member| (member.identity().to_owned(), member.sid.0.clone()))
            .collect();
        for (identity, participant_sid) in here {
            let kind = AttachKind::Rebind {
                participant_sid,
                missed: false,
            };
            self.attach(&identity, kind);
        }
    }
}

#[allow(deprecated)]
fn layer((quality, height): (i32, u32)) -> proto::VideoLayer {
    proto::VideoLayer {
        quality,
        width: height * 16 / 9,
        height,
        bitrate: height * 1000,
        ..Default::default()
    }
}

/// A description of the client with the credentials of an ICE generation.
fn renewed(sdp: String, generation: u32) -> String {
    sdp.replace("a=ice-ufrag:abcd", &format!("a=ice-ufrag:abcd{generation}"))
}

fn is_of_a_move(message: &SessionMessage) -> bool {
    matches!(
        message,
        SessionMessage::Elsewhere(_) | SessionMessage::Unheard(_)
    )
}
