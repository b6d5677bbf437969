//! One participant's signalling: joins with a token, answers the server's offers, publishes,
//! changes settings, keeps the session alive. A task of the signalling thread; media goes to the
//! loop as orders.

use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc as std_mpsc};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use media::types::{IceCredentials, MediaKind};
use nix::sys::socket::{setsockopt, sockopt};
use prost::Message as _;
use protocol::proto::{self, signal_request, signal_response};
use rand::RngExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::media_loop::{LoopHandle, NewPeer, Order, PeerKey};
use crate::outbound::{Rate, StreamPlan};
use crate::sdp::{self, Local, OfferedTrack, Remote};

const PATIENCE: Duration = Duration::from_secs(30);
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// A track to publish: one rate a layer, lowest first.
#[derive(Clone, Debug)]
pub(crate) struct TrackPlan {
    pub(crate) kind: MediaKind,
    pub(crate) layers: Vec<Rate>,
}

#[derive(Clone)]
pub(crate) struct ParticipantPlan {
    pub(crate) number: u32,
    pub(crate) url: String,
    pub(crate) bind: IpAddr,
    pub(crate) tracks: Vec<TrackPlan>,
    /// Streams it will receive once everybody publishes.
    pub(crate) flows_expected: usize,
    /// Its connections go with its session, as if it had never been.
    pub(crate) forget: bool,
}

pub(crate) enum Wish {
    Publish,
    /// Quality of every subscribed video track: 0 low, 1 medium, 2 high.
    Quality(u8),
    /// All its tracks.
    Mute(bool),
    /// To every video track it knows.
    Subscribe(bool),
    /// Says good-bye.
    Leave,
}

/// What the orchestrator is told.
pub(crate) enum Fact {
    Joined {
        answered_after: Duration,
        version: String,
    },
    Published,
    /// Something an app would see.
    Told(String),
    Failed(String),
}

/// What all participants share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) media: LoopHandle,
    pub(crate) facts: std_mpsc::Sender<Fact>,
    pub(crate) peers: Arc<AtomicU32>,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

struct Connection {
    key: PeerKey,
    ice: IceCredentials,
    address: std::net::SocketAddr,
}

struct Participant {
    plan: ParticipantPlan,
    shared: Shared,
    socket: Socket,
    began: Instant,
    subscriber: Option<Connection>,
    publisher: Option<Connection>,
    joined: bool,
    published: Vec<String>,
    offered: Vec<OfferedTrack>,
    video_sids: Vec<String>,
    offer_id: u32,
}

/// Runs until the server ends the session or the task is dropped.
pub(crate) async fn participate(
    plan: ParticipantPlan,
    shared: Shared,
    wishes: mpsc::UnboundedReceiver<Wish>,
) {
    let facts = shared.facts.clone();
    let number = plan.number;
    if let Err(error) = session(plan, shared, wishes).await {
        let _ = facts.send(Fact::Failed(format!("participant {number}: {error}")));
    }
}

async fn session(
    plan: ParticipantPlan,
    shared: Shared,
    mut wishes: mpsc::UnboundedReceiver<Wish>,
) -> Result<(), String> {
    let began = Instant::now();
    let connecting = tokio::time::timeout(PATIENCE, connect_async(plan.url.as_str()));
    let connected = connecting.await.map_err(|_| "no answer in time")?;
    let (socket, _) = connected.map_err(|error| format!("join: {error}"))?;
    let mut participant = Participant {
        plan,
        shared,
        socket,
        began,
        subscriber: None,
        publisher: None,
        joined: false,
        published: Vec::new(),
        offered: Vec::new(),
        video_sids: Vec::new(),
        offer_id: 0,
    };
    let answered = tokio::time::sleep(PATIENCE);
    tokio::pin!(answered);
    let mut pings = tokio::time::interval(Duration::from_secs(5));
    loop {
        tokio::select! {
            message = participant.socket.next() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    let response = proto::SignalResponse::decode(bytes.as_ref());
                    let response = response.map_err(|error| error.to_string())?;
                    if let Some(message) = response.message {
                        participant.hear(message).await?;
                    }
                }
                Some(Ok(Message::Close(frame))) => return Err(format!("closed: {frame:?}")),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("the server hung up".into()),
            },
            wish = wishes.recv() => match wish {
                Some(Wish::Publish) => participant.publish().await?,
                Some(Wish::Quality(quality)) => participant.set_quality(quality).await?,
                Some(Wish::Mute(muted)) => participant.mute(muted).await?,
                Some(Wish::Subscribe(subscribe)) => participant.subscribe(subscribe).await?,
                Some(Wish::Leave) => return participant.leave().await,
                None => return Ok(()),
            },
            _ = pings.tick() => participant.ping().await?,
            () = &mut answered, if !participant.joined => return Err("no JoinResponse".into()),
        }
    }
}

impl Participant {
    async fn say(&mut self, message: signal_request::Message) -> Result<(), String> {
        let request = proto::SignalRequest {
            message: Some(message),
        };
        let bytes = request.encode_to_vec();
        let sent = self.socket.send(Message::Binary(bytes.into())).await;
        sent.map_err(|error| error.to_string())
    }

    async fn ping(&mut self) -> Result<(), String> {
        let ping = proto::Ping {
            timestamp: crate::clock::realtime_ns() / 1_000_000,
            rtt: 1,
        };
        self.say(signal_request::Message::PingReq(ping)).await
    }

    async fn hear(&mut self, message: signal_response::Message) -> Result<(), String> {
        use signal_response::Message as Heard;
        match message {
            Heard::Join(join) => {
                let info = join.server_info.unwrap_or_default();
                let fact = Fact::Joined {
                    answered_after: self.began.elapsed(),
                    version: info.version,
                };
                self.tell(fact);
                self.joined = true;
                self.learn_tracks(&join.other_participants);
            }
            Heard::Update(update) => {
                let gone = |one: &&proto::ParticipantInfo| {
                    one.state() == proto::participant_info::State::Disconnected
                };
                for _ in update.participants.iter().filter(gone) {
                    self.tell(Fact::Told("somebody left".into()));
                }
                self.learn_tracks(&update.participants);
            }
            Heard::TrackUnpublished(_) => self.tell(Fact::Told("a track is gone".into())),
            Heard::Offer(offer) => self.answer(offer).await?,
            Heard::Answer(answer) => self.apply_answer(&answer.sdp),
            Heard::Trickle(trickle) => self.trickle(&trickle),
            Heard::TrackPublished(published) => {
                let sid = published.track.unwrap_or_default().sid;
                self.published.push(sid);
                if self.published.len() == self.plan.tracks.len() {
                    self.offer().await?;
                }
            }
            Heard::Leave(leave) => return Err(format!("told to leave: {:?}", leave.reason())),
            _ => {}
        }
        Ok(())
    }

    fn tell(&self, fact: Fact) {
        let _ = self.shared.facts.send(fact);
    }

    fn learn_tracks(&mut self, participants: &[proto::ParticipantInfo]) {
        let tracks = participants.iter().flat_map(|p| &p.tracks);
        for track in tracks.filter(|t| t.r#type() == proto::TrackType::Video) {
            if !self.video_sids.contains(&track.sid) {
                self.video_sids.push(track.sid.clone());
            }
        }
    }

    fn connection(&self, controlling: bool, flows_expected: usize) -> Result<Connection, String> {
        let socket = UdpSocket::bind((self.plan.bind, 0)).map_err(|e| e.to_string())?;
        // One thread reads for all clients: while it serves others, a burst waits here. The system
        // may grant less.
        let _ = setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER_BYTES);
        let address = socket.local_addr().map_err(|e| e.to_string())?;
        let key = PeerKey(self.shared.peers.fetch_add(1, Ordering::Relaxed));
        let text = |length: usize| -> String {
            let sample = rand::rng().sample_iter(rand::distr::Alphanumeric);
            sample.take(length).map(char::from).collect()
        };
        let ice = IceCredentials {
            ufrag: text(8),
            pwd: text(24),
        };
        self.shared.media.order(Order::AddPeer(Box::new(NewPeer {
            key,
            socket,
            local: ice.clone(),
            controlling,
            began: self.began,
            flows_expected,
        })));
        Ok(Connection { key, ice, address })
    }

    async fn answer(&mut self, offer: proto::SessionDescription) -> Result<(), String> {
        let remote = Remote::read(&offer.sdp);
        let connection = match self.subscriber.take() {
            Some(connection) => connection,
            // The offerer controls, unless it is lite.
            None => self.connection(offer.sdp.contains("a=ice-lite"), self.plan.flows_expected)?,
        };
        let media = &self.shared.media;
        let transport = remote.transport().ok_or("an offer without a transport")?;
        media.order(Order::Announce {
            key: connection.key,
            streams: remote.announced,
            remb: remote.remb,
        });
        media.order(Order::SetRemote(connection.key, Box::new(transport)));
        let local = Local {
            ice: &connection.ice,
            fingerprint: media.identity.fingerprint(),
            address: connection.address,
        };
        let answer = proto::SessionDescription {
            r#type: "answer".into(),
            sdp: sdp::answer(&local, &offer.sdp),
            id: offer.id,
            ..Default::default()
        };
        self.subscriber = Some(connection);
        self.say(signal_request::Message::Answer(answer)).await
    }

    fn trickle(&self, trickle: &proto::TrickleRequest) {
        let connection = match trickle.target() {
            proto::SignalTarget::Publisher => &self.publisher,
            proto::SignalTarget::Subscriber => &self.subscriber,
        };
        let init: serde_json::Value =
            serde_json::from_str(&trickle.candidate_init).unwrap_or_default();
        let line = init["candidate"].as_str().unwrap_or_default();
        if let (Some(connection), Some(candidate)) = (connection, sdp::candidate(line)) {
            let order = Order::AddCandidate(connection.key, candidate);
            self.shared.media.order(order);
        }
    }

    async fn publish(&mut self) -> Result<(), String> {
        let plans = self.plan.tracks.clone();
        for (index, track) in plans.iter().enumerate() {
            let cid = format!("load-{}-{index}", self.plan.number);
            let base = 0x1000_0000 | self.plan.number << 8 | (index as u32) << 4;
            self.offered.push(OfferedTrack {
                kind: track.kind,
                cid: cid.clone(),
                ssrc: base,
                rtx_ssrc: base | 8,
                layers: track.layers.len(),
            });
            self.say(signal_request::Message::AddTrack(add_track(cid, track)))
                .await?;
        }
        Ok(())
    }

    async fn offer(&mut self) -> Result<(), String> {
        let connection = self.connection(true, 0)?;
        let local = Local {
            ice: &connection.ice,
            fingerprint: self.shared.media.identity.fingerprint(),
            address: connection.address,
        };
        self.offer_id += 1;
        let offer = proto::SessionDescription {
            r#type: "offer".into(),
            sdp: sdp::offer(&local, &self.offered),
            id: self.offer_id,
            ..Default::default()
        };
        self.publisher = Some(connection);
        self.say(signal_request::Message::Offer(offer)).await
    }

    fn apply_answer(&mut self, sdp: &str) {
        let remote = Remote::read(sdp);
        let (Some(connection), Some(transport)) = (&self.publisher, remote.transport()) else {
            self.tell(Fact::Failed("an answer without a transport".into()));
            return;
        };
        let media = &self.shared.media;
        for (mid, (track, plan)) in self.offered.iter().zip(&self.plan.tracks).enumerate() {
            let extensions = remote.extensions.get(mid).copied().unwrap_or_default();
            let rtx = remote.rtx.get(mid).copied().unwrap_or_default();
            for (layer, rate) in plan.layers.iter().enumerate() {
                let layer = layer as u8;
                let simulcast = plan.layers.len() > 1;
                let retransmits = rtx && plan.kind == MediaKind::Video;
                let ssrc = track.ssrc + u32::from(layer);
                media.order(Order::AddStream(
                    connection.key,
                    Box::new(StreamPlan {
                        kind: plan.kind,
                        publisher: self.plan.number,
                        layer,
                        ssrc,
                        rtx: retransmits.then_some((ssrc | 8, sdp::VP8_RTX)),
                        payload_type: match plan.kind {
                            MediaKind::Audio => sdp::OPUS,
                            MediaKind::Video => sdp::VP8,
                        },
                        mid: mid.to_string(),
                        rid: simulcast.then(|| sdp::RIDS[usize::from(layer)].to_owned()),
                        extensions,
                        rate: *rate,
                    }),
                ));
            }
        }
        media.order(Order::SetRemote(connection.key, Box::new(transport)));
        self.tell(Fact::Published);
    }

    async fn mute(&mut self, muted: bool) -> Result<(), String> {
        if let Some(connection) = &self.publisher {
            let order = Order::Silence(connection.key, muted);
            self.shared.media.order(order);
        }
        for sid in self.published.clone() {
            let request = proto::MuteTrackRequest { sid, muted };
            self.say(signal_request::Message::Mute(request)).await?;
        }
        Ok(())
    }

    async fn subscribe(&mut self, subscribe: bool) -> Result<(), String> {
        let request = proto::UpdateSubscription {
            track_sids: self.video_sids.clone(),
            subscribe,
            ..Default::default()
        };
        self.say(signal_request::Message::Subscription(request))
            .await
    }

    async fn leave(&mut self) -> Result<(), String> {
        let request = proto::LeaveRequest {
            reason: proto::DisconnectReason::ClientInitiated.into(),
            ..Default::default()
        };
        self.say(signal_request::Message::Leave(request)).await?;
        self.socket.close(None).await.map_err(|e| e.to_string())
    }

    async fn set_quality(&mut self, quality: u8) -> Result<(), String> {
        if let Some(connection) = &self.subscriber {
            let order = Order::WishLayer(connection.key, quality);
            self.shared.media.order(order);
        }
        let settings = proto::UpdateTrackSettings {
            track_sids: self.video_sids.clone(),
            quality: i32::from(quality),
            ..Default::default()
        };
        self.say(signal_request::Message::TrackSetting(settings))
            .await
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        if !self.plan.forget {
            return;
        }
        for connection in [&self.subscriber, &self.publisher].into_iter().flatten() {
            let order = Order::RemovePeer(connection.key);
            self.shared.media.order(order);
        }
    }
}

fn add_track(cid: String, track: &TrackPlan) -> proto::AddTrackRequest {
    let top = track.layers.last();
    let (width, height) = top.map_or((0, 0), |r| (u32::from(r.width), u32::from(r.height)));
    let simulcast = track.layers.len() > 1;
    let layers = track.layers.iter().enumerate().map(|(index, rate)| {
        let second = rate.frame_interval.as_secs_f64();
        proto::VideoLayer {
            // A track with a single layer has it as HIGH.
            quality: if simulcast { index as i32 } else { 2 },
            width: u32::from(rate.width),
            height: u32::from(rate.height),
            bitrate: (rate.frame_bytes as f64 * 8.0 / second) as u32,
            ..Default::default()
        }
    });
    let video = track.kind == MediaKind::Video;
    let source = match track.kind {
        MediaKind::Audio => proto::TrackSource::Microphone,
        MediaKind::Video => proto::TrackSource::Camera,
    };
    proto::AddTrackRequest {
        name: cid.clone(),
        cid,
        r#type: i32::from(video),
        width,
        height,
        source: source.into(),
        layers: if video { layers.collect() } else { Vec::new() },
        disable_red: true,
        ..Default::default()
    }
}
