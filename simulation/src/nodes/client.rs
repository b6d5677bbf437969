//! Somebody who uses the cluster: goes into a room through any node, stays, leaves, comes back when
//! told to or when the line breaks, as LiveKit's SDKs do (resume first, then from the beginning).
//! Checks what it is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use consensus::ids::Epoch;
use consensus::splitmix::SplitMix;
use futures_util::{Stream, StreamExt};
use node::cluster::session_wire::{ToGateway, ToHome, WireError, frames};
use node::room::contract::{Attach, AttachKind, SessionId};
use protocol::grants::{Claims, VideoGrant};
use protocol::proto::leave_request::Action;
use protocol::proto::signal_response::Message;
use protocol::proto::{self, signal_request};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::consent::ufrag;
use super::grid::{DOOR, Grid};
use super::lines::connect;
use super::scenario::PEOPLE;
use super::sdp;
use crate::limits::WORD_GAP_MS;
use crate::scenario::Host;

const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// As the JavaScript SDK waits for its first message.
const FIRST_WORD_PATIENCE: Duration = Duration::from_secs(10);
const PING_EVERY: Duration = Duration::from_secs(1);
/// A line that says nothing for so long is dead.
const SILENCE_MAX: Duration = Duration::from_secs(3);
const FAREWELL_PATIENCE: Duration = Duration::from_secs(3);
/// Between tries, the last one again and again.
const RETRIES_MS: [u64; 5] = [0, 300, 600, 1_200, 2_000];

/// How a session ended.
enum End {
    Left,
    /// The line broke, or the client was told to resume.
    Resume,
    Reconnect,
    Failed(String),
}

struct Client {
    grid: Arc<Grid>,
    number: u64,
    dice: SplitMix,
    room: String,
    /// To be named in a resume.
    participant: Option<String>,
    /// It said that it goes after it was let in last.
    said_farewell: bool,
    /// When it wants to go.
    until: Instant,
    /// Its microphone is known to the room.
    published: bool,
    /// Of its ends of connections.
    generation: u64,
    /// To be said.
    words: Vec<signal_request::Message>,
    /// Who else is there, as it was told: sids by identity. A new sid of an identity is all that is
    /// heard of the end of the old one (protocol 12 and above).
    others: BTreeMap<String, String>,
}

pub(crate) fn room_name(number: u64) -> String {
    format!("room{number}")
}

/// Comes and goes for ever.
pub(crate) async fn run(grid: Arc<Grid>, number: u64) {
    let mut client = Client {
        dice: SplitMix(grid.scenario.seed ^ (number << 32)),
        grid,
        number,
        room: String::new(),
        participant: None,
        said_farewell: false,
        until: Instant::now(),
        published: false,
        generation: 0,
        words: Vec::new(),
        others: BTreeMap::new(),
    };
    while !client.grid.plan().open {
        sleep(Duration::from_millis(100)).await;
    }
    loop {
        let pause = client.dice.below(2_000);
        sleep(Duration::from_millis(pause)).await;
        client.stay().await;
    }
}

impl Client {
    fn tell(&self, what: impl std::fmt::Display) {
        let who = format!("c{}", self.number);
        self.grid.trace.line(who, what);
    }

    fn accuse(&self, what: String) {
        let text = format!("c{} in {}: {what}", self.number, self.room);
        self.grid.judge().accuse(text);
    }

    fn identity(&self) -> String {
        format!("c{}.{}", self.number, self.room)
    }

    async fn stay(&mut self) {
        self.room = room_name(1 + self.dice.below(self.grid.scenario.rooms));
        self.participant = None;
        let wish = Duration::from_millis(2_000 + self.dice.below(18_000));
        self.until = Instant::now() + wish;
        let mut tries = 0;
        loop {
            let gateway = Host(1 + self.dice.below(self.grid.scenario.hosts));
            let entries = self.grid.judge().entries;
            let end = self.session(gateway).await;
            let now = self.grid.now();
            self.grid.judge().is_out(self.number);
            if self.grid.judge().entries != entries && self.participant.is_some() {
                tries = 0;
            }
            match end {
                End::Left => {
                    let mut judge = self.grid.judge();
                    judge.leaves(self.number, now);
                    judge.consent.left(self.number, self.generation, now);
                    drop(judge);
                    return self.tell("left");
                }
                End::Resume => self.tell("comes back"),
                End::Reconnect => {
                    self.participant = None;
                    self.tell("starts over");
                    let mut judge = self.grid.judge();
                    judge.starts_over(self.number, "it was told to start over", now);
                }
                End::Failed(why) => {
                    self.tell(format!("cannot come in at {}: {why}", gateway.name()))
                }
            }
            // An SDK resumes a few times, then starts over.
            if tries >= 3 && self.participant.take().is_some() {
                let mut judge = self.grid.judge();
                judge.starts_over(self.number, "it could not resume", now);
            }
            let wait = RETRIES_MS[tries.min(RETRIES_MS.len() - 1)];
            tries += 1;
            sleep(Duration::from_millis(wait)).await;
        }
    }

    fn attach(&self) -> Attach {
        let kind = match &self.participant {
            Some(sid) => AttachKind::Resume {
                participant_sid: sid.clone(),
                reason: 0,
            },
            None => AttachKind::Join,
        };
        Attach {
            asked: std::time::Instant::now(),
            session: SessionId(0),
            room: self.room.clone(),
            claims: Claims {
                identity: self.identity(),
                video: Some(VideoGrant {
                    room_join: true,
                    room: self.room.clone(),
                    ..VideoGrant::default()
                }),
                ..Claims::default()
            },
            kind,
            client: proto::ClientInfo {
                protocol: 16,
                ..proto::ClientInfo::default()
            },
            auto_subscribe: true,
            auto_subscribe_data_track: true,
            adaptive_stream: false,
            subscriber_allow_pause: None,
            disable_ice_lite: false,
            single_peer_connection: false,
            attributes: BTreeMap::new(),
            publisher_offer: None,
            add_tracks: Vec::new(),
        }
    }

    /// One line, from its beginning to its end.
    async fn session(&mut self, gateway: Host) -> End {
        let dialled = timeout(CONNECT_PATIENCE, connect(&self.grid, PEOPLE, gateway, DOOR));
        let line = match dialled.await {
            Ok(Ok(line)) => line,
            Ok(Err(error)) => return End::Failed(error.kind().to_string()),
            Err(_) => return End::Failed("no connection in time".into()),
        };
        let (read, mut write) = line.into_split();
        let mut heard = std::pin::pin!(frames(read));
        let attach = Box::new(self.attach());
        let epoch = Epoch(0);
        let hello = ToHome::Hello { epoch, attach };
        if write.write_all(&hello.encode()).await.is_err() {
            return End::Failed("the line broke".into());
        }
        let first = timeout(FIRST_WORD_PATIENCE, heard.next()).await;
        let message = match first.map(decoded) {
            Ok(Ok(ToGateway::Signal(message))) => message.message,
            Ok(Ok(ToGateway::Refused(error))) => return End::Failed(error.to_string()),
            Ok(Ok(_) | Err(_)) => return End::Failed("the line broke".into()),
            Err(_) => return End::Failed("nothing was said in time".into()),
        };
        match message {
            Some(Message::Join(join)) => self.admitted(gateway, &join),
            Some(Message::Reconnect(again)) => {
                // Whatever it said on the line before was not heard, and never will be.
                self.said_farewell = false;
                self.comes_in(gateway, "again");
                self.generation += 1;
                self.publish();
                if self.grid.scenario.words {
                    self.syncs(again.last_message_seq);
                }
            }
            Some(Message::Leave(leave)) => return self.told_to_leave(&leave),
            other => {
                self.accuse(format!("the first word is {other:?}"));
                return End::Failed("an odd first word".into());
            }
        }
        self.converse(&mut write, &mut heard).await
    }

    async fn converse(
        &mut self,
        write: &mut (impl AsyncWrite + Unpin),
        heard: &mut (impl Stream<Item = Result<(u8, bytes::Bytes), WireError>> + Unpin),
    ) -> End {
        let mut last = Instant::now();
        let mut next_ping = last + PING_EVERY;
        let mut going: Option<Instant> = None;
        let mut next_word = last;
        loop {
            for word in std::mem::take(&mut self.words) {
                if write.write_all(&said(word)).await.is_err() {
                    return End::Resume;
                }
            }
            let staying = self.grid.plan().quiet;
            if going.is_none() && !staying && Instant::now() >= self.until {
                going = Some(Instant::now());
                let leave = signal_request::Message::Leave(proto::LeaveRequest::default());
                if write.write_all(&said(leave)).await.is_err() {
                    return End::Resume;
                }
                self.said_farewell = true;
            }
            tokio::select! {
                biased;
                frame = heard.next() => match decoded(frame) {
                    Ok(ToGateway::Signal(message)) => {
                        last = Instant::now();
                        match message.message {
                            Some(Message::Leave(leave)) => return self.told_to_leave(&leave),
                            Some(message) => self.listen(&message),
                            None => self.accuse("an empty message".into()),
                        }
                    }
                    Ok(ToGateway::Close) if going.is_some() => return End::Left,
                    Ok(_) | Err(_) => return End::Resume,
                },
                () = sleep_until(next_word), if self.grid.scenario.words => {
                    next_word += Duration::from_millis(50 + self.dice.below(WORD_GAP_MS));
                    self.grid.judge().mail.says(self.number);
                }
                () = sleep_until(next_ping) => {
                    next_ping += PING_EVERY;
                    let silent = last.elapsed() > SILENCE_MAX;
                    // Nobody heard the farewell: it is said again on another line.
                    let unheard = going.is_some_and(|at| at.elapsed() > FAREWELL_PATIENCE);
                    let ping = said(signal_request::Message::Ping(0));
                    if silent || unheard || write.write_all(&ping).await.is_err() {
                        return End::Resume;
                    }
                }
            }
        }
    }

    fn admitted(&mut self, gateway: Host, join: &proto::JoinResponse) {
        let own = join.participant.clone().unwrap_or_default();
        let room = join.room.clone().unwrap_or_default();
        if room.name != self.room || own.identity != self.identity() {
            let (room, identity) = (room.name, own.identity);
            self.accuse(format!("let into {room} as {identity}"));
        }
        self.others.clear();
        self.said_farewell = false;
        self.participant = Some(own.sid);
        self.listen_about(&join.other_participants);
        self.comes_in(gateway, "anew");
        self.published = false;
        self.generation += 1;
        let (sid, generation) = (self.participant.as_deref(), self.generation);
        let (mut judge, sid) = (self.grid.judge(), sid.unwrap_or_default());
        judge.mail.begins(self.number, &self.room, sid, generation);
        drop(judge);
        self.publish();
    }

    /// Of its end of a connection.
    fn ufrag(&self) -> String {
        ufrag(self.number, self.generation)
    }

    fn cid(&self) -> String {
        format!("microphone{}", self.number)
    }

    /// Makes its microphone known, then offers it.
    fn publish(&mut self) {
        self.words.clear();
        let cid = self.cid();
        self.words.push(if self.published {
            let offer = sdp::offer(&cid, &self.ufrag());
            signal_request::Message::Offer(sdp::described("offer", offer, self.generation))
        } else {
            signal_request::Message::AddTrack(proto::AddTrackRequest {
                cid,
                name: "microphone".into(),
                r#type: proto::TrackType::Audio.into(),
                source: proto::TrackSource::Microphone.into(),
                ..proto::AddTrackRequest::default()
            })
        });
    }

    /// It has what it got, and lacks the rest.
    fn syncs(&mut self, last: u32) {
        let states = self.grid.judge().mail.resumes(self.number, last);
        let state = signal_request::Message::SyncState(proto::SyncState {
            datachannel_receive_states: states,
            ..proto::SyncState::default()
        });
        self.words.insert(0, state);
    }

    fn comes_in(&self, gateway: Host, how: &str) {
        let (room, at) = (&self.room, gateway.name());
        self.tell(format!("in {room} {how} through {at}"));
        let now = self.grid.now();
        let sid = self.participant.as_deref().unwrap_or_default();
        self.grid.judge().comes_in(self.number, room, sid, now);
    }

    fn told_to_leave(&self, leave: &proto::LeaveRequest) -> End {
        self.tell(format!(
            "told to go: {:?} {:?}",
            leave.action(),
            leave.reason()
        ));
        // Its farewell was heard, and the answer was lost with the line: nobody knows it any more,
        // as it wished. `Told` checks that an app heard that it left, and why.
        let unknown = leave.reason() == proto::DisconnectReason::StateMismatch;
        let said = self.said_farewell && self.participant.is_some();
        if said && unknown && leave.action() == Action::Reconnect {
            return End::Left;
        }
        match leave.action() {
            Action::Resume => End::Resume,
            Action::Reconnect => End::Reconnect,
            Action::Disconnect => {
                self.accuse(format!("sent away: {:?}", leave.reason()));
                End::Left
            }
        }
    }

    fn listen(&mut self, message: &Message) {
        match message {
            Message::Update(update) => self.listen_about(&update.participants),
            Message::RoomUpdate(update) => {
                let name = update.room.as_ref().map(|room| room.name.as_str());
                if name != Some(self.room.as_str()) {
                    self.accuse(format!("told of the room {name:?}"));
                }
            }
            Message::TrackPublished(published)
                if published.cid == self.cid() && !self.published =>
            {
                self.published = true;
                self.publish();
            }
            Message::Offer(offer) => {
                let answer = sdp::answer(&offer.sdp, &self.ufrag());
                let mut answer = sdp::described("answer", answer, 0);
                answer.id = offer.id;
                let answer = signal_request::Message::Answer(answer);
                self.words.push(answer);
            }
            _ => {}
        }
    }

    /// Only of people of its own room.
    fn listen_about(&mut self, people: &[proto::ParticipantInfo]) {
        let of_here = format!(".{}", self.room);
        let stranger = people.iter().find(|one| !one.identity.ends_with(&of_here));
        if let Some(stranger) = stranger {
            self.accuse(format!("told of {}", stranger.identity));
        }
        for one in people {
            if Some(&one.sid) == self.participant.as_ref() {
                continue;
            }
            let gone = one.state() == proto::participant_info::State::Disconnected;
            if one.identity == self.identity() && !gone {
                // An SDK takes every word on its identity for one on itself.
                let known = self.participant.as_deref().unwrap_or_default();
                self.accuse(format!("it is {known}, and told to be {}", one.sid));
            }
            if !gone {
                self.others.insert(one.identity.clone(), one.sid.clone());
            } else if self.others.get(&one.identity) == Some(&one.sid) {
                self.others.remove(&one.identity);
            }
        }
        let others = self.others.keys().cloned().collect();
        self.grid.judge().sees(self.number, others);
    }
}

fn said(message: signal_request::Message) -> bytes::Bytes {
    ToHome::Signal(Box::new(message)).encode()
}

fn decoded(frame: Option<Result<(u8, bytes::Bytes), WireError>>) -> Result<ToGateway, WireError> {
    let (kind, body) = frame.ok_or(WireError::Malformed)??;
    ToGateway::decode(kind, &body)
}
