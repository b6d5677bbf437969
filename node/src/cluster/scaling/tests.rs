//! A group that is scaled, over real consensus in virtual time: its cloud is a test double that
//! only notes what it is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Mutex;

use consensus::command::Action;
use consensus::ids::{RoomName, RoomSid};
use futures_util::future::BoxFuture;
use operator::cloud::CloudError;
use tokio::time::sleep;

use super::*;
use crate::cluster::drain::{self, Census, Choose, DrainParts};
use crate::cluster::heartbeat::Beat;
use crate::cluster::links::Service;
use crate::cluster::links::registry::Registry;
use crate::cluster::testing::{Group as Nodes, name};

/// Notes what it is told; launches nothing.
#[derive(Default)]
struct Notebook(Mutex<Vec<String>>);

impl Group for Notebook {
    fn grow<'a>(&'a self, growth: &'a Growth) -> BoxFuture<'a, Result<(), CloudError>> {
        let note = format!("grow by {} to {}", growth.by, growth.to);
        Box::pin(async move {
            self.0.lock().unwrap().push(note);
            Ok(())
        })
    }

    fn terminate<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<(), CloudError>> {
        Box::pin(async move {
            self.0.lock().unwrap().push(format!("terminate {host}"));
            Ok(())
        })
    }
}

struct Nobody;

impl Census for Nobody {
    fn count(&self) -> BoxFuture<'_, Vec<(String, u32)>> {
        Box::pin(async { Vec::new() })
    }
}

struct First(Cluster);

impl Choose for First {
    fn elsewhere(&self, from: NodeId, _: Option<NodeId>) -> Option<(NodeId, Option<NodeId>)> {
        self.0.read(|state| {
            let takes = |n: &Node| n.info.roles.media && n.takes_work();
            let mut fit = state.nodes().filter(|(id, n)| takes(n) && *id != from);
            fit.next().map(|(id, _)| (id, None))
        })
    }
}

struct World {
    nodes: Nodes,
    heartbeats: Heartbeats,
    notebook: Arc<Notebook>,
}

impl World {
    /// One master, which is a media node too, and three of a group.
    async fn new() -> Self {
        let nodes = Nodes::new(1, 3).await;
        let cluster = nodes.clusters[&1].clone();
        let (heartbeats, notebook) = (Heartbeats::default(), Arc::new(Notebook::default()));
        let registry = Registry::default();
        for id in 2..=4 {
            // They are there, and say nothing of their rooms.
            nodes.link(id, &Registry::default());
        }
        let drainage = Drainage::new(DrainParts {
            cluster: cluster.clone(),
            links: nodes.link(1, &registry),
            census: Arc::new(Nobody),
            choose: Arc::new(First(cluster.clone())),
            machines: Some(notebook.clone()),
            wall_ms: || 1_000,
            moves_per_second: 50.0,
        });
        registry.add(Service::Operator, Arc::new(drainage.clone()));
        tokio::spawn(drain::run(drainage.clone(), || None));
        let parts = ScalingParts {
            cluster,
            heartbeats: heartbeats.clone(),
            drainage,
            group: notebook.clone(),
            settings: Settings {
                nodes_min: 2,
                nodes_max: 6,
                warm_up: Duration::from_secs(10),
                cool_down_out: Duration::from_secs(20),
                cool_down_in: Duration::from_secs(30),
                ..Settings::default()
            },
        };
        tokio::spawn(run(parts, || None));
        Self {
            nodes,
            heartbeats,
            notebook,
        }
    }

    /// So many seconds in which every node says that its CPUs are this busy.
    async fn spend(&self, seconds: u64, cpu: f64) {
        for _ in 0..seconds {
            for id in 1..=4 {
                let beat = Beat {
                    cpu,
                    cpus: 4,
                    ..Beat::default()
                };
                self.heartbeats.note(NodeId(id), beat);
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    fn notes(&self) -> Vec<String> {
        self.notebook.0.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_group_grows_and_waits_for_what_was_ordered() {
    let world = World::new().await;
    world.spend(25, 0.9).await;
    assert!(world.notes().is_empty(), "a new leader waits first");
    world.spend(40, 0.9).await;
    // Four nodes at 90 % of four CPUs each: eight would do; the maximum is six.
    assert_eq!(world.notes(), ["grow by 2 to 6"]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_group_gives_a_node_back_when_its_rooms_have_moved() {
    let world = World::new().await;
    let master = &world.nodes.clusters[&1];
    for (number, home) in [(1, 2), (2, 3), (3, 4), (4, 4)] {
        let action = Action::PlaceRoom {
            name: RoomName(format!("room{number}")),
            sid: RoomSid(format!("RM_{number}")),
            home: NodeId(home),
            standby: None,
        };
        master.propose(action).await.unwrap();
    }
    world.spend(35, 0.05).await;
    assert!(world.notes().is_empty(), "a new leader waits first");
    world.spend(20, 0.05).await;
    let notes = world.notes();
    assert_eq!(notes.len(), 1, "{notes:?}");
    let gone = (2..=4).find(|id| notes[0] == format!("terminate {}", name(*id)));
    let gone = NodeId(gone.unwrap());
    assert_ne!(gone, NodeId(4), "it has more rooms than the others");
    master.read(|state| {
        assert!(state.node(gone).is_none());
        assert!(state.rooms().all(|(_, room)| room.home != gone));
    });
    world.spend(120, 0.05).await;
    let left = master.read(|state| state.nodes().count());
    assert_eq!(left, 2, "the minimum");
}
