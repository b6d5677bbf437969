//! Drains over real consensus in virtual time: rooms leave in order and at their pace, a leader
//! that dies is followed by one that goes on, and what is asked for at any node happens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use consensus::command::{Effect, NodeState};
use consensus::ids::{RoomName, RoomSid};
use operator::drain::Then;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::*;
use crate::cluster::journal;
use crate::cluster::links::registry::Registry;
use crate::cluster::links::{Duplex, Serve};
use crate::cluster::testing::Group;

/// Every third room is empty.
struct Rooms(Cluster);

impl Census for Rooms {
    fn count(&self) -> BoxFuture<'_, Vec<(String, u32)>> {
        Box::pin(async move {
            let me = self.0.node();
            let rooms = self.0.read(|state| {
                let mine = state.rooms().filter(|(_, room)| room.home == me);
                mine.map(|(name, _)| name.0.clone()).collect::<Vec<_>>()
            });
            let people = |name: &str| name[4..].parse::<u32>().unwrap() % 3;
            rooms.into_iter().map(|n| (n.clone(), people(&n))).collect()
        })
    }
}

/// The active media node with the lowest id.
struct First(Cluster);

impl Choose for First {
    fn elsewhere(&self, from: NodeId, _: Option<NodeId>) -> Option<(NodeId, Option<NodeId>)> {
        self.0.read(|state| {
            let takes = |n: &consensus::state::Node| n.info.roles.media && n.takes_work();
            let mut fit = state.nodes().filter(|(id, n)| takes(n) && *id != from);
            fit.next().map(|(id, _)| (id, None))
        })
    }
}

struct World {
    group: Group,
    drainage: BTreeMap<u64, Drainage>,
    processes: BTreeMap<u64, JoinHandle<()>>,
}

/// Virtual time stands still for wall clocks.
fn wall_ms() -> u64 {
    use std::sync::LazyLock;
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    1_000_000 + BEGAN.elapsed().as_millis() as u64
}

impl World {
    async fn new(masters: u64, media: u64, moves_per_second: f64) -> Self {
        let _ = wall_ms();
        let group = Group::new(masters, media).await;
        let (mut drainage, mut processes) = (BTreeMap::new(), BTreeMap::new());
        for (id, cluster) in &group.clusters {
            let registry = Registry::default();
            let node = Drainage::new(DrainParts {
                cluster: cluster.clone(),
                links: group.link(*id, &registry),
                census: Arc::new(Rooms(cluster.clone())),
                choose: Arc::new(First(cluster.clone())),
                machines: None,
                wall_ms,
                moves_per_second,
            });
            registry.add(Service::Operator, Arc::new(node.clone()));
            drainage.insert(*id, node.clone());
            processes.insert(*id, tokio::spawn(run(node, || None)));
        }
        Self {
            group,
            drainage,
            processes,
        }
    }

    async fn place(&self, home: u64, count: u32) {
        for number in 0..count {
            let action = Action::PlaceRoom {
                name: RoomName(format!("room{number}")),
                sid: RoomSid(format!("RM_{number}")),
                home: NodeId(home),
                standby: None,
            };
            self.group.clusters[&1].propose(action).await.unwrap();
        }
    }

    fn rooms_of(&self, at: u64, home: u64) -> usize {
        self.group.clusters[&at].read(|state| {
            let rooms = state.rooms().filter(|(_, room)| room.home == NodeId(home));
            rooms.count()
        })
    }

    fn state_of(&self, at: u64, node: u64) -> NodeState {
        self.group.clusters[&at].read(|state| state.node(NodeId(node)).unwrap().state)
    }

    async fn until(&self, what: &str, done: impl Fn() -> bool) -> Duration {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < Duration::from_secs(60), "{what}");
            sleep(Duration::from_millis(5)).await;
        }
        began.elapsed()
    }

    /// As any node tells it.
    async fn progress(&self, at: u64) -> serde_json::Value {
        sleep(Duration::from_secs(1)).await;
        let all = self.drainage[&at].progress().await.unwrap();
        all.into_iter().next().unwrap_or_default()
    }
}

#[tokio::test(start_paused = true)]
async fn rooms_leave_at_their_pace_and_the_end_is_told_at_any_node() {
    let world = World::new(1, 2, 10.0).await;
    world.place(2, 30).await;
    let mut changes = world.group.clusters[&1].changes();
    world.drainage[&3]
        .drain(NodeId(2), &Terms::default())
        .await
        .unwrap();
    let took = world.until("moved", || world.rooms_of(1, 2) == 0).await;
    let expected = Duration::from_millis(2_900)..Duration::from_millis(4_000);
    assert!(expected.contains(&took), "{took:?}");
    let mut order = Vec::new();
    while let Ok(change) = changes.try_recv() {
        if let consensus::cluster::Change::Effect { effect, .. } = change
            && let Effect::RoomMoved { name, .. } = effect
        {
            order.push(name.0[4..].parse::<u32>().unwrap() % 3);
        }
    }
    assert_eq!(order.len(), 30);
    assert!(order.is_sorted(), "empty rooms first: {order:?}");
    let told = world.progress(3).await;
    assert_eq!(told["phase"], "done", "{told}");
    assert_eq!(
        (&told["rooms_total"], &told["rooms_left"]),
        (&30.into(), &0.into())
    );
    assert_eq!(world.state_of(1, 2), NodeState::Draining);
    world.drainage[&2].undrain(NodeId(2)).await.unwrap();
    assert_eq!(world.state_of(1, 2), NodeState::Active);
    assert!(world.progress(1).await.is_null());
}

#[tokio::test(start_paused = true)]
async fn a_drain_outlives_the_leader_that_began_it() {
    let world = World::new(3, 2, 10.0).await;
    world.place(4, 40).await;
    let terms = Terms {
        deadline_seconds: Some(600),
        ..Terms::default()
    };
    world.drainage[&5].drain(NodeId(4), &terms).await.unwrap();
    world.until("begun", || world.rooms_of(5, 4) < 30).await;
    let leader = world.group.clusters[&5].status().leader.unwrap();
    world.processes[&leader.0].abort();
    world.group.kill(leader.0);
    world.until("moved", || world.rooms_of(5, 4) == 0).await;
    let told = world.progress(5).await;
    assert_eq!(told["rooms_total"], 40, "{told}");
    assert_eq!(told["phase"], "done", "{told}");
}

#[tokio::test(start_paused = true)]
async fn without_another_node_it_waits_with_a_reason_until_the_deadline() {
    let world = World::new(3, 1, 10.0).await;
    world.place(4, 5).await;
    let terms = Terms {
        deadline_seconds: Some(20),
        ..Terms::default()
    };
    world.drainage[&1].drain(NodeId(4), &terms).await.unwrap();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(world.rooms_of(1, 4), 5);
    let told = world.progress(2).await;
    assert_eq!(
        told["stuck"][0], "no other media node takes rooms",
        "{told}"
    );
    assert_eq!(told["participants_left"], 4, "{told}");
    world.until("closed", || world.rooms_of(1, 4) == 0).await;
    let told = world.progress(2).await;
    assert_eq!(
        (&told["phase"], &told["forced"]),
        (&"done".into(), &true.into())
    );
}

#[tokio::test(start_paused = true)]
async fn asked_twice_is_one_drain_and_then_it_is_removed() {
    let world = World::new(1, 2, 100.0).await;
    world.place(3, 10).await;
    let first = Terms::default();
    let second = Terms {
        then: Then::Remove,
        ..Terms::default()
    };
    let (one, other) = (&world.drainage[&2], &world.drainage[&3]);
    let both = tokio::join!(
        one.drain(NodeId(3), &first),
        other.drain(NodeId(3), &second)
    );
    assert_eq!(both, (Ok(()), Ok(())));
    let gone = || {
        let cluster = &world.group.clusters[&1];
        cluster.read(|state| state.node(NodeId(3)).is_none())
    };
    world.until("removed", gone).await;
    assert_eq!(world.rooms_of(1, 1), 10);
    let unknown = world.drainage[&1].drain(NodeId(99), &first).await;
    assert_eq!(unknown, Err(Refusal::NoNode(NodeId(99)).into()));
}

/// A home that is asked to tell its standby everything, while another one is appointed.
struct Meddler {
    cluster: Cluster,
    other: Mutex<Option<NodeId>>,
}

impl Serve for Meddler {
    fn call(&self, _: NodeId, _: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        let other = self.other.lock().unwrap().take();
        Box::pin(async move {
            let name = RoomName::from("room0");
            let epoch = self.cluster.read(|s| s.room(&name).unwrap().epoch);
            if other.is_some() {
                let standby = other;
                let action = Action::SetStandby {
                    name,
                    epoch,
                    standby,
                };
                self.cluster.propose(action).await.unwrap();
            }
            Ok(journal::testing::flushed_reply())
        })
    }

    fn stream(&self, _: NodeId, _: Duplex) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_room_goes_only_to_who_has_stood_by_ever_since_it_was_told_everything() {
    let world = World::new(1, 3, 10.0).await;
    world.place(2, 1).await;
    let cluster = world.group.clusters[&1].clone();
    let meddler = Arc::new(Meddler {
        cluster: cluster.clone(),
        other: Mutex::new(Some(NodeId(4))),
    });
    world.group.hub.replace(NodeId(2), |services| {
        Arc::new(move |service| match service {
            Service::Journal => Some(Arc::clone(&meddler) as Arc<dyn Serve>),
            service => services(service),
        })
    });
    let terms = Terms::default();
    world.drainage[&1].drain(NodeId(2), &terms).await.unwrap();
    world
        .until("all rooms left", || world.rooms_of(1, 2) == 0)
        .await;
    let name = RoomName::from("room0");
    let (home, mandate) = cluster.read(|s| (s.room(&name).unwrap().home, s.inherited(&name)));
    assert_eq!(mandate.map(|mandate| mandate.standby), Some(home));
}
