//! One process of the node ring, composed as `run` composes the program: the cluster node over the
//! simulated network and disks, its detector, rooms without media, the room plane, drains, and a
//! door for people. Ends when the node does, or when it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use consensus::cluster::{ClusterOptions, Lanes, Role};
use consensus::command::{NodeInfo, Roles, VoterWish};
use consensus::ids::NodeId;
use consensus::placement::Selector;
use consensus::testing::Observer;
use futures_util::FutureExt;
use node::agent::{Agents, Settings as AgentSettings};
use node::api::{Api, Forward};
use node::auth::Caller;
use node::cluster::drain;
use node::cluster::fabric::ClusterSecret;
use node::cluster::heartbeat::{Beat, Pulse};
use node::cluster::leaving::Leaving;
use node::cluster::links::registry::Registry;
use node::cluster::liveness;
use node::cluster::membership::Settings;
use node::cluster::node::{ClusterNode, NodeParts};
use node::cluster::room_plane::{Parts, RoomPlane};
use node::cluster::session_server::Stage;
use node::limits::STOP_GRACE;
use node::rooms::Rooms;
use prost::Message;
use protocol::grants::{Claims, VideoGrant};
use protocol::proto;
use protocol::twirp::{Code, Method};
use quinn::TokioRuntime;
use tokio::sync::{Notify, mpsc};

use super::client::room_name;
use super::door;
use super::grid::{Grid, PORT, View};
use super::lines::{Dialler, Lifelines};
use super::machine::WAL;
use super::operators::follow_orders;
use super::shards::{self, Carried};
use super::socket::Socket;
use super::watched::Watched;
use crate::limits::STARTS_MAX;
use crate::scenario::Host;

const TOKEN: &str = "the secret of a cluster that exists in a simulation only";
/// Between two looks at how things are.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Runs until the node ends; the simulator takes what is left away and starts the next process.
pub(crate) async fn run(grid: Arc<Grid>, host: Host) -> turmoil::Result {
    if let Err(error) = live(&grid, host).await {
        grid.trace.line(host.name(), format!("ends: {error}"));
    }
    grid.plan().exited.insert(host);
    std::future::pending().await
}

async fn live(grid: &Arc<Grid>, host: Host) -> turmoil::Result {
    let life = grid.machines().get_mut(&host).map_or(0, |machine| {
        machine.lives += 1;
        machine.lives
    });
    grid.trace.line(host.name(), format!("boot: life {life}"));
    // What the checkers call a process: the id of its node is not known yet.
    grid.judge().begins(host);
    let (socket, _unbind) = Socket::bind(grid.clone(), host).await?;
    let lifelines = Lifelines::bind().await?;
    let carried = shards::rooms(grid, host);
    let node = ClusterNode::start(NodeParts {
        settings: settings(grid, host),
        secret: ClusterSecret::new(TOKEN)?,
        open_disks: Box::new({
            let grid = grid.clone();
            move || {
                let machines = grid.machines();
                let machine = machines.get(&host);
                machine
                    .map(|m| m.disks())
                    .ok_or_else(|| unreachable_disk(host))
            }
        }),
        wal: WAL,
        options: options(grid, host),
        socket,
        runtime: Arc::new(TokioRuntime),
        resolve: Arc::new(|name| {
            let found = resolve(&name);
            async move { found }.boxed()
        }),
        pulse: pulse(grid, host),
        seed: grid.seed(),
    })
    .await?;
    let _silence = Silence(node.registry().clone());
    let dialler = Dialler {
        grid: grid.clone(),
        host,
    };
    let liveness = liveness::attach(&node, Arc::new(dialler), lifelines, grid.seed());
    let plane = join(grid, host, &node, &carried);
    let leaving = Leaving {
        node: node.clone(),
        liveness,
        lobby: plane.lobby.clone(),
        homes: plane.homes.clone(),
    };
    let rooms = carried.rooms.clone();
    let drainage = drain::attach(&node, Arc::new(carried.rooms), plane.placing.clone(), None);
    grid.plan().ids.insert(host, node.id());
    grid.plan().clusters.insert(host, node.cluster().clone());
    grid.trace.line(host.name(), format!("is {}", node.id()));
    tokio::task::spawn_local(door::serve(plane.lobby.clone()));
    tokio::spawn(watch(grid.clone(), host, node.clone()));
    tokio::spawn(look(grid.clone(), host, node.clone(), plane));
    let stopped = Arc::new(Notify::new());
    let orders = grid.take_orders(host);
    let (ended, operated) = (stopped.clone(), grid.clone());
    tokio::spawn(async move {
        follow_orders(operated, drainage, orders).await;
        leave(&leaving, &rooms).await;
        ended.notify_one();
    });
    tokio::select! {
        why = node.failed() => Err(why.into()),
        () = stopped.notified() => Ok(()),
    }
}

fn unreachable_disk(host: Host) -> consensus::disk::DiskError {
    consensus::disk::DiskError::Missing { name: host.name() }
}

fn resolve(name: &str) -> std::io::Result<Vec<std::net::SocketAddr>> {
    let host = name.split(':').next().unwrap_or_default();
    let known = Host::parse(host).ok_or_else(|| std::io::Error::other("no such host"))?;
    Ok(vec![(turmoil::lookup(known.name().as_str()), PORT).into()])
}

/// Services know the cluster and the fabric, which know them: nobody would let go.
struct Silence(Registry);

impl Drop for Silence {
    fn drop(&mut self) {
        self.0.clear();
    }
}

fn address(host: Host) -> String {
    format!("{}:{PORT}", host.name())
}

fn settings(grid: &Grid, host: Host) -> Settings {
    let master = grid.scenario.is_master(host);
    let masters = grid
        .scenario
        .hosts()
        .filter(|h| grid.scenario.is_master(*h));
    Settings {
        info: NodeInfo {
            roles: Roles {
                master,
                media: !master,
            },
            address: address(host),
            host: host.name(),
            zone: String::new(),
            region: String::new(),
            version_max: consensus::encoding::VERSION,
        },
        join: masters.map(address).collect(),
        wish: VoterWish::Auto,
        long_lived: true,
    }
}

fn options(grid: &Arc<Grid>, host: Host) -> ClusterOptions {
    let watching = grid.clone();
    ClusterOptions {
        lanes: Lanes::Tasks,
        observer: Some(Observer(Arc::new(move |seen| {
            let innocent = |node| watching.is_innocent(node);
            let now = watching.now();
            let told = watching
                .judge()
                .seen((NodeId(host.0), now), &seen, innocent);
            if let Some(told) = told {
                watching.trace.line(host.name(), told);
            }
        }))),
        ..ClusterOptions::default()
    }
}

fn pulse(grid: &Arc<Grid>, host: Host) -> Pulse {
    let grid = grid.clone();
    Arc::new(move || {
        let rooms = grid.judge().rooms_of(host);
        Beat {
            cpu: 0.1 + 0.05 * f64::from(rooms),
            average_1min: 0.5,
            cpus: 4,
            rooms,
            long_lived: true,
            version: env!("CARGO_PKG_VERSION").into(),
            ..Beat::default()
        }
    })
}

/// As `run` does it.
fn join(grid: &Arc<Grid>, host: Host, node: &ClusterNode, carried: &Carried) -> RoomPlane {
    let rooms = &carried.rooms;
    let agents = Agents::start(AgentSettings {
        keys: shards::keys(),
        server_info: proto::ServerInfo::default(),
        target_load: 0.7,
        message_bytes_max: 0,
        seed: grid.dice().next(),
    });
    agents.report_to(rooms.clone());
    let parts = Parts {
        cluster: node.cluster().clone(),
        membership: node.phase(),
        links: node.links(),
        figures: Arc::new(node.heartbeats().clone()),
        selector: Selector::default(),
        region: String::new(),
        seed: grid.dice().next(),
        rooms: rooms.clone(),
        api: Api::new(rooms.clone(), shards::keys(), 0),
        agents,
        auto_create: true,
        endpoints: Arc::clone(&carried.shards),
        shards: Arc::clone(&carried.sink),
        stage: stage(),
    };
    let plane = RoomPlane::start(parts, node.registry(), |task| node.keep(task));
    rooms.host_with(Arc::new(Watched {
        grid: grid.clone(),
        host,
        homes: plane.homes.clone(),
    }));
    plane
}

/// Where actors may start: this host's own set of tasks.
fn stage() -> Stage {
    // overflow: DROPS the session, which its gateway notices
    let (sender, mut starts) = mpsc::channel::<Box<dyn FnOnce() + Send>>(STARTS_MAX);
    tokio::task::spawn_local(async move {
        while let Some(begin) = starts.recv().await {
            begin();
        }
    });
    Arc::new(move |begin| {
        let _ = sender.try_send(begin);
    })
}

/// Tells what raft becomes.
async fn watch(grid: Arc<Grid>, host: Host, node: ClusterNode) {
    let cluster = node.cluster();
    let mut last = None;
    loop {
        let status = cluster
            .wait_for(|s| last != Some((s.role, s.term, s.leader)))
            .await;
        last = Some((status.role, status.term, status.leader));
        let (role, term) = (status.role, status.term);
        let leader = status.leader.and_then(|leader| grid.host_of(leader));
        let leader = leader.map_or_else(|| "nobody".to_owned(), Host::name);
        grid.trace.line(
            host.name(),
            format!("raft {role:?} in term {term}, {leader} leads"),
        );
        match role {
            Role::Leader => grid.judge().log.leads(term, status.node),
            Role::Stopped => return,
            _ => {}
        }
    }
}

/// Says how things are while the simulator wants to know.
async fn look(grid: Arc<Grid>, host: Host, node: ClusterNode, plane: RoomPlane) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if !grid.plan().looking {
            continue;
        }
        let at = grid.now();
        let report = node.report().await;
        let problems = report.problems.into_iter().map(|problem| problem.what);
        let mut view = View {
            at,
            problems: problems.collect(),
            is_led: report.leader.is_some(),
            rooms: BTreeMap::new(),
        };
        if !view.is_led {
            view.problems.push("nobody leads".into());
        }
        for number in 1..=grid.scenario.rooms {
            let room = room_name(number);
            match people(&plane, &room).await {
                Ok(there) => {
                    view.rooms.insert(room, there);
                }
                Err(error) => view.problems.push(format!("who is in {room}: {error}")),
            }
        }
        grid.plan().views.insert(host, view);
    }
}

/// Who is in a room, as this node's API tells.
async fn people(plane: &RoomPlane, room: &str) -> Result<BTreeSet<String>, String> {
    let method = Method::find("livekit.RoomService", "ListParticipants");
    let method = method.ok_or("no such method")?;
    let caller = Caller(Some(Claims {
        video: Some(VideoGrant {
            room_admin: true,
            room: room.to_owned(),
            ..VideoGrant::default()
        }),
        ..Claims::default()
    }));
    let request = proto::ListParticipantsRequest { room: room.into() };
    let bytes = request.encode_to_vec();
    match Forward::call(&*plane.api, &caller, &method, &bytes).await {
        Ok(answer) => {
            let answer = proto::ListParticipantsResponse::decode(&answer[..]);
            let answer = answer.map_err(|error| error.to_string())?;
            let names = answer.participants.into_iter().map(|one| one.identity);
            Ok(names.collect())
        }
        Err(error) if error.code == Code::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(format!("{error:?}")),
    }
}

/// As `shutdown` does it when it is forced to.
async fn leave(leaving: &Leaving, rooms: &Rooms) {
    leaving.begin().await;
    rooms.drain();
    tokio::join!(leaving.end(false), leaving.send_clients_away());
    let none_left = async {
        while !rooms.list(&[]).await.is_empty() {
            tokio::time::sleep(STOP_GRACE / 10).await;
        }
    };
    let _ = tokio::time::timeout(STOP_GRACE, none_left).await;
    rooms.stop().await;
    tokio::time::sleep(STOP_GRACE).await;
    leaving.node.stop().await;
}
