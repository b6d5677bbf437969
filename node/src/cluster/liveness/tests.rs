//! Nodes of one process that watch each other: real raft on simulated disks, links and lines of the
//! process, virtual time. What ends must be dead in the log, in time, and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use consensus::cluster::Role;
use tokio::task::JoinHandle;

use super::*;
use crate::cluster::lifeline::{Caller, Line};
use crate::cluster::links::registry::Registry;
use crate::cluster::testing::{Group, name};

type Knocker = mpsc::UnboundedSender<Box<dyn Line>>;

/// What stands for TCP: lines between addresses, refused where nobody listens.
#[derive(Clone, Default)]
struct Lines(
    Arc<Mutex<BTreeMap<String, Knocker>>>,
    /// Hosts without power.
    Arc<Mutex<BTreeSet<String>>>,
);

struct Door(mpsc::UnboundedReceiver<Box<dyn Line>>);

impl Lines {
    fn listen(&self, address: &str) -> Door {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.0.lock().unwrap().insert(address.to_owned(), sender);
        Door(receiver)
    }
}

impl Dial for Lines {
    fn dial(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Line>>> {
        let door = self.0.lock().unwrap().get(&address).cloned();
        let unplugged = self.1.lock().unwrap().contains(&address);
        Box::pin(async move {
            if unplugged {
                return std::future::pending().await;
            }
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let (here, there) = tokio::io::duplex(1_024);
            let sent = door.ok_or_else(refused)?.send(Box::new(there));
            sent.map_err(|_| refused())?;
            Ok(Box::new(here) as Box<dyn Line>)
        })
    }
}

impl Listen for Door {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Caller>> {
        Box::pin(async {
            let line = self.0.recv().await;
            let line = line.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
            Ok((line, None))
        })
    }
}

struct World {
    group: Group,
    lines: Lines,
    liveness: BTreeMap<u64, Liveness>,
    processes: BTreeMap<u64, JoinHandle<()>>,
}

impl World {
    /// `masters` voters, then media nodes that follow; all of them watching.
    async fn new(masters: u64, media: u64) -> Self {
        let mut world = Self {
            group: Group::new(masters, media).await,
            lines: Lines::default(),
            liveness: BTreeMap::new(),
            processes: BTreeMap::new(),
        };
        for id in 1..=masters + media {
            world.start(id);
        }
        world
    }

    /// A process that watches.
    fn start(&mut self, id: u64) {
        let registry = Registry::default();
        let (liveness, inbox) = Liveness::new(LivenessParts {
            cluster: self.group.clusters[&id].clone(),
            links: self.group.link(id, &registry),
            dial: Arc::new(self.lines.clone()),
            seed: [id as u8; 32],
        });
        registry.add(Service::Liveness, Arc::new(liveness.clone()));
        let door = self.lines.listen(&name(id));
        self.liveness.insert(id, liveness.clone());
        self.processes
            .insert(id, tokio::spawn(liveness.run(inbox, door)));
    }

    /// `kill -9`.
    fn kill(&mut self, id: u64) {
        self.group.kill(id);
        self.processes[&id].abort();
    }

    /// The power fails: no kernel says anything.
    fn unplug(&mut self, id: u64) {
        for other in self.group.clusters.keys().filter(|other| **other != id) {
            self.group.hub.cut(NodeId(*other), NodeId(id));
        }
        self.group.voters.isolate(NodeId(id));
        self.lines.1.lock().unwrap().insert(name(id));
    }

    fn dead(&self, at: u64) -> Vec<u64> {
        self.group.clusters[&at].read(|state| {
            let dead = state.nodes().filter(|(_, n)| n.state == NodeState::Dead);
            dead.map(|(id, _)| id.0).collect()
        })
    }

    /// How long it takes until `at` reads in its log that somebody is dead.
    async fn until_dead(&self, at: u64) -> Duration {
        let began = Instant::now();
        while self.dead(at).is_empty() {
            assert!(began.elapsed() < Duration::from_secs(30), "nobody noticed");
            sleep(Duration::from_millis(1)).await;
        }
        began.elapsed()
    }

    async fn settle(&self) {
        sleep(Duration::from_secs(7)).await;
        assert_eq!(self.dead(1), [0; 0], "nobody died");
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_process_is_dead_in_the_log_at_once() {
    let mut world = World::new(3, 2).await;
    world.settle().await;
    world.kill(5);
    let took = world.until_dead(2).await;
    assert!(took <= Duration::from_millis(80), "{took:?}");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(world.dead(2), [5]);
}

#[tokio::test(start_paused = true)]
async fn a_host_without_power_is_dead_in_the_log_soon() {
    let mut world = World::new(1, 3).await;
    world.settle().await;
    world.unplug(3);
    let took = world.until_dead(1).await;
    assert!(took <= Duration::from_millis(450), "{took:?}");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(world.dead(1), [3]);
}

#[tokio::test(start_paused = true)]
async fn a_killed_leader_is_declared_dead_by_the_next() {
    let mut world = World::new(3, 2).await;
    world.settle().await;
    let leader = world.group.clusters[&1]
        .wait_for(|s| s.leader.is_some())
        .await;
    let leader = leader.leader.unwrap().0;
    world.kill(leader);
    let other = (1..=3).find(|id| *id != leader).unwrap();
    let took = world.until_dead(other).await;
    assert!(took <= Duration::from_millis(1_300), "{took:?}");
    assert_eq!(world.dead(other), [leader]);
    let status = world.group.clusters[&other].status();
    assert!(matches!(status.role, Role::Leader | Role::Follower));
}

#[tokio::test(start_paused = true)]
async fn who_restarts_and_said_so_is_not_declared_dead() {
    let mut world = World::new(1, 2).await;
    world.settle().await;
    world.liveness[&2].say_farewell().await;
    world.group.hub.take(NodeId(2));
    world.processes[&2].abort();
    sleep(Duration::from_secs(5)).await;
    world.start(2);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(world.dead(1), [0; 0]);
    // It lives on, and is watched as before.
    world.kill(2);
    let took = world.until_dead(1).await;
    assert!(took <= Duration::from_millis(80), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_does_nothing_any_more_is_not_answered_for() {
    let group = Group::new(1, 0).await;
    let registry = Registry::default();
    let (liveness, _inbox) = Liveness::new(LivenessParts {
        cluster: group.clusters[&1].clone(),
        links: group.link(1, &registry),
        dial: Arc::new(Lines::default()),
        seed: [1; 32],
    });
    let ask = || {
        let question = Bytes::from(Message::Ask.encode());
        timeout(LIVENESS_PATIENCE, liveness.call(NodeId(2), question))
    };
    assert!(ask().await.is_ok(), "its network answers");
    tokio::time::advance(WEDGED).await;
    assert!(ask().await.is_err());
    // A question holds a stream, and there are only so many.
    let question = Bytes::from(Message::Ask.encode());
    let late = liveness.call(NodeId(2), question);
    let late = timeout(LIVENESS_PATIENCE * 3, late).await;
    assert!(late.expect("it ends").is_err());
}
