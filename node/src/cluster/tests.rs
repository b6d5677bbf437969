//! Rooms over several nodes of one process: real consensus, real rooms without media, real bytes
//! between the nodes. What clients and callers see when they come to the wrong node, and when nodes
//! die.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod calls;
mod clients;
mod jobs;
mod late;
mod repeating;
mod spanning;
mod stopping;
mod takeover;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Context, Handler};
use consensus::cluster::{Cluster, ClusterOptions, Lanes, Role};
use consensus::command::{Action, NodeInfo, Outcome, Roles};
use consensus::disk::SimDisk;
use consensus::ids::{Epoch, NodeId, RoomName};
use consensus::placement::{Load, Selector};
use consensus::store::{Disks, Found, Identity, Store};
use consensus::testing::Hub as Peers;
use consensus::wal::WalOptions;
use protocol::grants::{Claims, VideoGrant};
use protocol::proto;
use protocol::proto::leave_request::Action as LeaveAction;
use protocol::proto::signal_response::Message;
use protocol::twirp::{Code, Error, Method};
use tokio::sync::{mpsc, watch};

use super::directory::Directory;
use super::links::registry::Registry;
use super::links::testing::Hub as LinkHub;
use super::membership::Phase;
use super::placing::{Figures, Heard};
use super::relay::plane::{self as relay, RelayPlane, Span};
use super::room_plane::{Parts, RoomPlane};
use super::session_server::stage_of;
use crate::agent::{Agents, Settings};
use crate::api::{Api, Forward};
use crate::auth::Caller;
use crate::room::contract::{
    Attach, AttachError, AttachKind, JobRequest, SessionId, SessionMessage, ToSession,
};
use crate::room::environment::{RoomsConfig, ShardSink, Shards};
use crate::rooms::Rooms;
use crate::rooms::testing::{self, keys};
use crate::signal::Lobby;

/// Upper bound of any wait; elections take half a second.
const PATIENCE: Duration = Duration::from_secs(20);
const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);

/// What heartbeats would have said: the least loaded node gets the next room.
#[derive(Default)]
struct Scripted(Mutex<BTreeMap<NodeId, f64>>);

impl Figures for Scripted {
    fn of(&self, node: NodeId) -> Option<Heard> {
        let cpu = self.0.lock().unwrap().get(&node).copied().unwrap_or(0.5);
        let load = Load {
            cpu,
            cpus: 4,
            ..Load::default()
        };
        Some(Heard {
            load,
            age_ms: 100,
            full: false,
        })
    }
}

struct Node {
    cluster: Cluster,
    plane: RoomPlane,
    agents: Agents,
    rooms: Rooms,
    /// How far its process is as a member.
    membership: watch::Sender<Phase>,
    span: Span,
    told: Arc<Told>,
    next_session: u64,
}

struct Stage {
    peers: Peers,
    links: LinkHub,
    figures: Arc<Scripted>,
    nodes: BTreeMap<NodeId, Node>,
}

/// What a node's shards were told.
#[derive(Default)]
struct Told(Mutex<Vec<media::Command>>);

impl ShardSink for Told {
    fn send(&self, _: &str, _: usize, command: media::Command) {
        self.0.lock().unwrap().push(command);
    }
}

/// `spread`: of a room on one node, `cluster.room_node_participants`.
#[derive(Clone, Copy)]
struct Options {
    auto_create: bool,
    spread: u32,
}

fn rooms(options: Options, span: &Span) -> Rooms {
    let config = RoomsConfig {
        auto_create: options.auto_create,
        node_participants: options.spread,
        empty_timeout_s: 300,
        departure_timeout_s: 20,
        ..RoomsConfig::default()
    };
    let span = Arc::new(span.clone());
    testing::rooms_on(config, false, span.clone(), span)
}

fn agents() -> Agents {
    Agents::start(Settings {
        keys: keys(),
        server_info: proto::ServerInfo::default(),
        target_load: 0.7,
        message_bytes_max: 0,
        seed: 1,
    })
}

async fn consensus(peers: &Peers, node: NodeId) -> Cluster {
    let disks = Disks {
        log: Box::new(SimDisk::new(node.0)),
        snapshots: Box::new(SimDisk::new(node.0 ^ 0xff)),
    };
    let wal = WalOptions::default();
    let Ok(Found::Nothing(disks)) = Store::open(disks, wal) else {
        panic!("a new disk holds something");
    };
    let store = Store::create(disks, wal, Identity { cluster: 7, node }, node.0).unwrap();
    let options = ClusterOptions {
        lanes: Lanes::Tasks,
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start(options, store, peers.peers(node), node.0);
    let cluster = cluster.await.unwrap();
    peers.put(cluster.clone());
    cluster
}

impl Stage {
    /// Nodes A, B and C, all of them masters with media.
    async fn start() -> Self {
        Self::start_with(true).await
    }

    /// `room.auto_create`
    async fn start_with(auto_create: bool) -> Self {
        let spread = 0;
        Self::start_as(Options {
            auto_create,
            spread,
        })
        .await
    }

    async fn start_as(options: Options) -> Self {
        let mut stage = Self {
            peers: Peers::new(),
            links: LinkHub::new(),
            figures: Arc::default(),
            nodes: BTreeMap::new(),
        };
        let first = consensus(&stage.peers, A).await;
        first.bootstrap("a").await.unwrap();
        for node in [A, B, C] {
            let cluster = if node == A {
                first.clone()
            } else {
                let cluster = consensus(&stage.peers, node).await;
                first.add_learner(node, "x").await.unwrap();
                cluster
            };
            let incarnation = stage.admit(&first, node).await;
            let (membership, phase) = watch::channel(Phase::Member(incarnation));
            let registry = Registry::default();
            let links = stage.links.join(node, registry.services());
            let told = Arc::new(Told::default());
            let span = Span::new(Arc::new(testing::endpoint()), told.clone());
            let (rooms, agents) = (rooms(options, &span), agents());
            let parts = Parts {
                cluster: cluster.clone(),
                links: Arc::clone(&links),
                membership: phase,
                figures: stage.figures.clone(),
                selector: Selector::default(),
                region: String::new(),
                seed: node.0,
                api: Api::new(rooms.clone(), keys(), 0),
                agents: agents.clone(),
                rooms: rooms.clone(),
                auto_create: options.auto_create,
                stage: stage_of(actix::Arbiter::current()),
                endpoints: span.near().0,
                shards: span.near().1,
            };
            let plane = RoomPlane::start(parts, &registry, drop);
            let relay = relay::Parts {
                directory: Directory::new(cluster.clone(), links, String::new()),
                homes: plane.homes.clone(),
                rooms: rooms.clone(),
                shards: span.near().0,
                sink: span.near().1,
                is_full: Arc::new(|| false),
                spans: options.spread > 0,
            };
            span.join(RelayPlane::start(relay, &registry, drop));
            let next_session = 1;
            let node_ = Node {
                cluster,
                plane,
                agents,
                rooms,
                membership,
                span,
                told,
                next_session,
            };
            stage.nodes.insert(node, node_);
        }
        // A busy machine may cost the first its lead for a moment.
        let vote = async {
            while stage
                .leader()
                .await
                .set_voters([A, B, C].into(), true)
                .await
                .is_err()
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, vote).await.unwrap();
        for node in stage.nodes.values() {
            node.cluster.catch_up().await.unwrap();
        }
        stage
    }

    async fn admit(&self, first: &Cluster, node: NodeId) -> Epoch {
        let info = NodeInfo {
            roles: Roles {
                master: true,
                media: true,
            },
            address: format!("node{node}"),
            host: format!("host{node}"),
            zone: String::new(),
            region: String::new(),
            version_max: consensus::encoding::VERSION,
        };
        let registered = first.propose(Action::RegisterNode { node, info }).await;
        let Outcome::Epoch(incarnation) = registered.unwrap().outcome else {
            panic!("no incarnation");
        };
        let activate = Action::ActivateNode { node, incarnation };
        first.propose(activate).await.unwrap();
        incarnation
    }

    /// The next room goes to this node.
    fn prefer(&self, node: NodeId) {
        let cpu = |n: NodeId| if n == node { 0.0 } else { 0.5 };
        *self.figures.0.lock().unwrap() = [A, B, C].map(|n| (n, cpu(n))).into();
    }

    async fn leader(&self) -> Cluster {
        loop {
            let lead = self
                .nodes
                .values()
                .find(|n| n.cluster.status().role == Role::Leader);
            match lead {
                Some(node) => return node.cluster.clone(),
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// A client comes to `at` and wants into `room`.
    fn attach(&mut self, at: NodeId, room: &str, identity: &str, kind: AttachKind) -> Client {
        let node = self.nodes.get_mut(&at).unwrap();
        let session = SessionId(node.next_session);
        node.next_session += 1;
        let attach = attach(session, room, identity, kind);
        let (told, heard) = mpsc::unbounded_channel();
        let ear = Ear(told).start();
        node.plane.lobby.attach(attach, ear.recipient());
        Client {
            lobby: Arc::new(node.plane.lobby.clone()),
            room: room.to_owned(),
            session,
            heard,
        }
    }

    async fn join(
        &mut self,
        at: NodeId,
        room: &str,
        identity: &str,
    ) -> (Client, proto::JoinResponse) {
        let mut client = self.attach(at, room, identity, AttachKind::Join);
        match client.signal().await {
            Message::Join(join) => (client, join),
            other => panic!("{identity} in {room}: {other:?}"),
        }
    }

    async fn call<M: prost::Message + Default>(
        &self,
        at: NodeId,
        method: &str,
        request: &impl prost::Message,
    ) -> Result<M, Error> {
        self.call_as(at, method, request, &admin()).await
    }

    async fn call_as<M: prost::Message + Default>(
        &self,
        at: NodeId,
        method: &str,
        request: &impl prost::Message,
        caller: &Caller,
    ) -> Result<M, Error> {
        let method = Method::find("livekit.RoomService", method).unwrap();
        let api = &self.nodes[&at].plane.api;
        let bytes = request.encode_to_vec();
        let answer = Forward::call(&**api, caller, &method, &bytes);
        let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap()?;
        Ok(M::decode(&answer[..]).unwrap())
    }

    async fn list(&self, at: NodeId) -> Vec<(String, u32)> {
        let request = proto::ListRoomsRequest::default();
        let listed = self.call::<proto::ListRoomsResponse>(at, "ListRooms", &request);
        let rooms = listed.await.unwrap().rooms;
        rooms
            .into_iter()
            .map(|r| (r.name, r.num_participants))
            .collect()
    }

    fn home(&self, at: NodeId, room: &str) -> Option<(NodeId, Epoch)> {
        let name = RoomName::from(room);
        let cluster = &self.nodes[&at].cluster;
        cluster.read(|state| state.room(&name).map(|room| (room.home, room.epoch)))
    }

    /// The room has no standby, and nobody who could be one.
    async fn alone(&self, room: &str) {
        let leader = self.leader().await;
        leader.catch_up().await.unwrap();
        let (home, epoch) = self.home(leader.node(), room).unwrap();
        for node in [A, B, C].into_iter().filter(|node| *node != home) {
            leader.propose(Action::DrainNode { node }).await.unwrap();
        }
        let name = room.into();
        let standby = None;
        let action = Action::SetStandby {
            name,
            epoch,
            standby,
        };
        leader.propose(action).await.unwrap();
        for node in self.nodes.values() {
            node.cluster.catch_up().await.unwrap();
        }
    }

    /// The standby of a room, once it knows as much as `members` of it.
    async fn standby(&self, room: &str, members: usize) -> NodeId {
        let name = RoomName::from(room);
        let found = async {
            loop {
                for node in self.nodes.values() {
                    let at = node.cluster.node();
                    let standby = node.cluster.read(|state| state.room(&name)?.standby);
                    if standby == Some(at) && node.plane.images.members(room) == Some(members) {
                        return at;
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.expect("a standby that knows the room")
    }

    /// The process of `node` is gone.
    fn kill(&mut self, node: NodeId) {
        self.links.take(node);
        self.peers.take(node);
        self.nodes.remove(&node);
    }

    async fn declare_dead(&self, node: NodeId) {
        let leader = self.leader().await;
        let incarnation = leader.read(|state| state.node(node).unwrap().incarnation);
        let action = Action::DeclareDead { node, incarnation };
        leader.propose(action).await.unwrap();
    }
}

fn attach(session: SessionId, room: &str, identity: &str, kind: AttachKind) -> Attach {
    Attach {
        asked: std::time::Instant::now(),
        session,
        room: room.to_owned(),
        claims: Claims {
            identity: identity.to_owned(),
            video: Some(VideoGrant {
                room_join: true,
                room: room.to_owned(),
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

/// May everything, in the rooms these tests use.
fn admin() -> Caller {
    caller(|video| {
        video.room_create = true;
        video.room_list = true;
        video.room_admin = true;
        video.room = "daily".into();
    })
}

fn caller(grant: impl FnOnce(&mut VideoGrant)) -> Caller {
    let mut video = VideoGrant::default();
    grant(&mut video);
    Caller(Some(Claims {
        video: Some(video),
        ..Claims::default()
    }))
}

/// Hears what a session is told.
struct Ear(mpsc::UnboundedSender<Result<SessionMessage, AttachError>>);

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<ToSession> for Ear {
    type Result = ();

    fn handle(&mut self, ToSession(message): ToSession, _: &mut Self::Context) {
        let _ = self.0.send(message);
    }
}

struct Client {
    lobby: Arc<dyn Lobby>,
    room: String,
    session: SessionId,
    heard: mpsc::UnboundedReceiver<Result<SessionMessage, AttachError>>,
}

impl Client {
    async fn hear(&mut self) -> Result<SessionMessage, AttachError> {
        let heard = tokio::time::timeout(PATIENCE, self.heard.recv()).await;
        heard
            .expect("something in time")
            .expect("the session says more")
    }

    async fn signal(&mut self) -> Message {
        match self.hear().await {
            Ok(SessionMessage::Signal(response)) => response.message.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    async fn hear_leave(&mut self) -> proto::LeaveRequest {
        loop {
            match self.signal().await {
                Message::Leave(leave) => break leave,
                _ => continue,
            }
        }
    }

    /// To begin anew.
    async fn is_sent_back(&mut self) {
        let leave = self.hear_leave().await;
        assert_eq!(leave.action(), LeaveAction::Reconnect);
        assert!(matches!(self.hear().await, Ok(SessionMessage::Close)));
    }

    /// To resume: nobody says that it has to leave.
    async fn is_restarted(&mut self) {
        loop {
            match self.hear().await {
                Ok(SessionMessage::Signal(said)) => {
                    assert!(!matches!(said.message, Some(Message::Leave(_))));
                }
                Ok(SessionMessage::Restart) => break,
                other => panic!("{other:?}"),
            }
        }
    }

    fn say(&self, message: proto::signal_request::Message) {
        self.lobby.signal(&self.room, self.session, message);
    }

    fn hang_up(&self) {
        self.lobby.session_closed(&self.room, self.session);
    }
}
