//! A node whose machine is taken, over real consensus in virtual time: its cloud is a test double
//! that says what the test says and notes what it is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Mutex;

use consensus::command::NodeState;
use consensus::ids::NodeId;
use futures_util::future::BoxFuture;
use operator::cloud::CloudError;
use tokio::time::sleep;

use super::*;
use crate::cluster::drain::{self, Census, Choose, DrainParts};
use crate::cluster::links::Service;
use crate::cluster::links::registry::Registry;
use crate::cluster::testing::Group;

#[derive(Default)]
struct Sky {
    says: Mutex<Option<Notice>>,
    told: Mutex<Vec<String>>,
}

impl Sky {
    fn say(&self, id: &str, within: Option<Duration>) {
        *self.says.lock().unwrap() = Some(Notice {
            within,
            id: id.into(),
            reason: "a test".into(),
        });
    }

    fn note(&self, what: &str, notice: &Notice) -> BoxFuture<'_, Result<(), CloudError>> {
        let note = format!("{what} {}", notice.id);
        self.told.lock().unwrap().push(note);
        Box::pin(async { Ok(()) })
    }
}

impl Notices for Sky {
    fn poll(&self) -> BoxFuture<'_, Result<Option<Notice>, CloudError>> {
        Box::pin(async { Ok(self.says.lock().unwrap().clone()) })
    }

    fn hold<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), CloudError>> {
        self.note("hold", notice)
    }

    fn release<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), CloudError>> {
        self.note("release", notice)
    }
}

/// One room that nobody else takes, as long as it is here.
struct Home {
    cluster: Cluster,
}

impl Census for Home {
    fn count(&self) -> BoxFuture<'_, Vec<(String, u32)>> {
        Box::pin(async { vec![("daily".to_owned(), 3)] })
    }
}

impl Choose for Home {
    fn elsewhere(&self, _: NodeId, _: Option<NodeId>) -> Option<(NodeId, Option<NodeId>)> {
        None
    }
}

struct World {
    _nodes: Group,
    cluster: Cluster,
    sky: Arc<Sky>,
}

impl World {
    /// A master that is a media node, and another media node; the first one's machine is watched.
    async fn new() -> Self {
        let nodes = Group::new(1, 1).await;
        let cluster = nodes.clusters[&1].clone();
        let registry = Registry::default();
        let home = Arc::new(Home {
            cluster: cluster.clone(),
        });
        let drainage = Drainage::new(DrainParts {
            cluster: home.cluster.clone(),
            links: nodes.link(1, &registry),
            census: home.clone(),
            choose: home,
            machines: None,
            wall_ms: || 1_000,
            moves_per_second: 50.0,
        });
        registry.add(Service::Operator, Arc::new(drainage.clone()));
        tokio::spawn(drain::run(drainage.clone(), || None));
        let sky = Arc::new(Sky::default());
        let parts = NoticesParts {
            cluster: cluster.clone(),
            drainage,
            notices: sky.clone(),
        };
        tokio::spawn(run(parts));
        Self {
            _nodes: nodes,
            cluster,
            sky,
        }
    }

    async fn spend(&self, seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
    }

    async fn place(&self) {
        let place = consensus::command::Action::PlaceRoom {
            name: "daily".into(),
            sid: consensus::ids::RoomSid("RM_daily".into()),
            home: self.cluster.node(),
            standby: None,
        };
        self.cluster.propose(place).await.unwrap();
    }

    async fn close(&self) {
        let name = consensus::ids::RoomName::from("daily");
        let epoch = self.cluster.read(|s| s.room(&name).unwrap().epoch);
        let close = consensus::command::Action::CloseRoom { name, epoch };
        self.cluster.propose(close).await.unwrap();
    }

    fn state(&self) -> NodeState {
        let me = self.cluster.node();
        self.cluster.read(|state| state.node(me).unwrap().state)
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.sky.told.lock().unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_is_held_until_its_node_is_empty_and_then_let_go() {
    let world = World::new().await;
    world.place().await;
    world.spend(6).await;
    assert_eq!(world.state(), NodeState::Active);
    world.sky.say("i-1", None);
    world.spend(70).await;
    assert_eq!(world.state(), NodeState::Draining);
    assert_eq!(world.told(), ["hold i-1"]);
    world.close().await;
    world.spend(12).await;
    assert_eq!(world.told(), ["release i-1"], "once");
}

#[tokio::test(start_paused = true)]
async fn who_is_left_when_the_machine_goes_is_sent_away_before() {
    let world = World::new().await;
    world.place().await;
    world.sky.say("spot", Some(Duration::from_secs(120)));
    world.spend(10).await;
    let deadline = || {
        let me = world.cluster.node();
        let record = world.cluster.read(|state| drain_record(state, me));
        record.and_then(|record| record.deadline_ms)
    };
    assert_eq!(deadline(), Some(1_000 + 110_000));
}

#[tokio::test(start_paused = true)]
async fn what_is_called_off_is_undone_and_what_a_person_wanted_is_not() {
    let world = World::new().await;
    world.place().await;
    world.sky.say("event", None);
    world.spend(10).await;
    assert_eq!(world.state(), NodeState::Draining);
    *world.sky.says.lock().unwrap() = None;
    world.spend(10).await;
    assert_eq!(world.state(), NodeState::Active);
    let node = world.cluster.node();
    let drain = consensus::command::Action::DrainNode { node };
    world.cluster.propose(drain).await.unwrap();
    world.spend(11).await;
    assert_eq!(world.state(), NodeState::Draining);
}
