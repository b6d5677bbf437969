//! Whole groups of voters in one process and in virtual time: real raft, real log, simulated disks
//! and peers. What is checked is what the cluster promises: nothing acknowledged is lost, whoever
//! dies; everybody ends with the same state; a disk that lies is found out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::*;
use crate::command::{Action, Outcome};
use crate::disk::{DiskFaults, SimDisk};
use crate::ids::{RequestId, ValueKey};
use crate::splitmix::SplitMix;
use crate::store::{Disks, Found, Identity};
use crate::testing::Hub;
use crate::wal::WalOptions;

const WAL: WalOptions = WalOptions {
    segment_bytes: 128 * 1024,
    record_bytes_max: 16 * 1024,
};

struct Machine {
    log: SimDisk,
    snapshots: SimDisk,
}

impl Machine {
    fn new(seed: u64) -> Self {
        Self {
            log: SimDisk::new(seed),
            snapshots: SimDisk::new(seed ^ 0xff),
        }
    }

    fn disks(&self) -> Disks {
        Disks {
            log: Box::new(self.log.reopen()),
            snapshots: Box::new(self.snapshots.reopen()),
        }
    }

    fn lose_power(&self) {
        self.log.crash();
        self.snapshots.crash();
    }

    fn kill(&self) {
        self.log.kill();
        self.snapshots.kill();
    }
}

struct World {
    seed: u64,
    hub: Hub,
    machines: BTreeMap<NodeId, Machine>,
    options: ClusterOptions,
    /// Every process draws its own number, as in production.
    starts: u64,
    /// Value of every key whose write was acknowledged.
    acked: BTreeMap<u64, u64>,
}

impl World {
    fn new(seed: u64) -> Self {
        let hub = Hub::new();
        hub.set_latency(Duration::from_micros(300));
        Self {
            seed,
            hub,
            machines: BTreeMap::new(),
            options: ClusterOptions {
                lanes: Lanes::Tasks,
                ..ClusterOptions::default()
            },
            starts: 0,
            acked: BTreeMap::new(),
        }
    }

    /// Voters 1 to `voters`.
    async fn with_voters(seed: u64, voters: u64) -> Self {
        let mut world = Self::new(seed);
        let first = world.start(NodeId(1)).await.unwrap();
        first.bootstrap("node1").await.unwrap();
        first.wait_for(|s| s.role == Role::Leader).await;
        for id in 2..=voters {
            world.start(NodeId(id)).await.unwrap();
            first
                .add_learner(NodeId(id), &format!("node{id}"))
                .await
                .unwrap();
        }
        let all = (1..=voters).map(NodeId).collect();
        first.set_voters(all, true).await.unwrap();
        world
    }

    async fn start(&mut self, node: NodeId) -> Result<Cluster, StoreError> {
        let seed = self.seed * 1_000 + node.0;
        let machine = self
            .machines
            .entry(node)
            .or_insert_with(|| Machine::new(seed));
        let store = match Store::open(machine.disks(), WAL)? {
            Found::Ready(store) => *store,
            Found::Nothing(disks) => {
                let identity = Identity { cluster: 7, node };
                Store::create(disks, WAL, identity, seed)?
            }
        };
        let peers = self.hub.peers(node);
        self.starts += 1;
        let process = seed * 1_000 + self.starts;
        let cluster = Cluster::start(self.options.clone(), store, peers, process).await?;
        self.hub.put(cluster.clone());
        Ok(cluster)
    }

    /// The process dies; `power`: the machine with it.
    fn die(&self, node: NodeId, power: bool) {
        let machine = &self.machines[&node];
        if power {
            machine.lose_power();
        } else {
            machine.kill();
        }
        if let Some(cluster) = self.hub.take(node) {
            tokio::spawn(async move { cluster.shutdown().await });
        }
    }

    fn live(&self) -> Vec<Cluster> {
        self.hub.clusters()
    }

    async fn leader(&self) -> Cluster {
        loop {
            let leads = |c: &Cluster| c.status().role == Role::Leader;
            // After a partition an old leader may not know yet: the newest term counts.
            let newest = self
                .live()
                .into_iter()
                .filter(leads)
                .max_by_key(|c| c.status().term);
            match newest {
                Some(cluster) => return cluster,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    async fn write(&mut self, through: &Cluster, key: u64, value: u64) -> bool {
        let set = Action::SetValue {
            key: name(key),
            value: value.to_le_bytes().to_vec(),
            expected: None,
        };
        let acked = through.propose(set).await.is_ok();
        if acked {
            self.acked.insert(key, value);
        }
        acked
    }

    async fn write_some(&mut self, through: &Cluster, keys: std::ops::Range<u64>) {
        for key in keys {
            assert!(self.write(through, key, key * 10).await, "key {key}");
        }
    }

    fn check_acked(&self, cluster: &Cluster) {
        for (key, value) in &self.acked {
            let found = cluster.read(|state| state.value(&name(*key)).cloned());
            let found = found.unwrap_or_else(|| {
                panic!(
                    "seed {}: {} lacks acknowledged key {key}",
                    self.seed,
                    cluster.node()
                )
            });
            let bytes = value.to_le_bytes();
            assert_eq!(found.bytes, bytes, "seed {}: key {key}", self.seed);
        }
    }

    /// Every living node catches up and has what was acknowledged, and the same of everything.
    async fn check_all(&self) {
        let nodes = self.live();
        for node in &nodes {
            node.catch_up().await.unwrap_or_else(|e| {
                panic!("seed {}: {} cannot catch up: {e}", self.seed, node.node())
            });
            self.check_acked(node);
        }
        let last = self.leader().await.catch_up().await.unwrap();
        for node in &nodes {
            let mut applied = node.inner.replica.applied.subscribe();
            applied.wait_for(|next| *next >= last.0).await.unwrap();
        }
        let states: Vec<State> = nodes.iter().map(|n| n.read(State::clone)).collect();
        for (node, state) in nodes.iter().zip(&states) {
            assert_eq!(
                state,
                &states[0],
                "seed {}: {} differs",
                self.seed,
                node.node()
            );
        }
    }
}

fn name(key: u64) -> ValueKey {
    ValueKey(format!("key{key}"))
}

#[tokio::test(start_paused = true)]
async fn a_single_voter_keeps_what_it_acknowledged_through_power_loss() {
    let mut world = World::with_voters(1, 1).await;
    let node = world.leader().await;
    world.write_some(&node, 0..50).await;
    world.die(NodeId(1), true);
    let node = world.start(NodeId(1)).await.unwrap();
    node.wait_for(|s| s.role == Role::Leader).await;
    world.write_some(&node, 50..60).await;
    world.check_all().await;
}

#[tokio::test(start_paused = true)]
async fn followers_forward_and_everybody_reads_the_same() {
    let mut world = World::with_voters(2, 4).await;
    let leader = world.leader().await.node();
    for (at, node) in world.live().into_iter().enumerate() {
        let keys = at as u64 * 10..at as u64 * 10 + 10;
        world.write_some(&node, keys).await;
        let status = node.status();
        assert_eq!(status.leader, Some(leader));
        assert_eq!(status.voters.len(), 4);
    }
    world.check_all().await;
}

#[tokio::test(start_paused = true)]
async fn two_of_five_die_with_the_leader_and_writing_goes_on_within_a_second() {
    for seed in 0..5 {
        let mut world = World::with_voters(seed, 5).await;
        let leader = world.leader().await;
        world.write_some(&leader, 0..20).await;
        let other = NodeId(leader.node().0 % 5 + 1);
        world.die(leader.node(), true);
        world.die(other, true);
        let survivor = world.live().pop().unwrap();
        let start = Instant::now();
        world.write_some(&survivor, 20..21).await;
        let gap = start.elapsed();
        assert!(gap < Duration::from_millis(1_500), "seed {seed}: {gap:?}");
        for node in [leader.node(), other] {
            world.start(node).await.unwrap();
        }
        world.check_all().await;
    }
}

#[tokio::test(start_paused = true)]
async fn power_loss_of_the_whole_cluster_loses_nothing_acknowledged() {
    for seed in 0..5 {
        let mut world = World::with_voters(seed, 3).await;
        for round in 0..3 {
            let leader = world.leader().await;
            world.write_some(&leader, round * 30..round * 30 + 30).await;
            for node in 1..=3 {
                world.die(NodeId(node), true);
            }
            for node in 1..=3 {
                world.start(NodeId(node)).await.unwrap();
            }
        }
        world.check_all().await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_away_too_long_gets_a_snapshot() {
    let mut world = World::new(3);
    world.options.snapshot_entries = 50;
    world.options.log_entries_kept = 10;
    let first = world.start(NodeId(1)).await.unwrap();
    first.bootstrap("node1").await.unwrap();
    first.wait_for(|s| s.role == Role::Leader).await;
    for id in [2, 3] {
        world.start(NodeId(id)).await.unwrap();
        first.add_learner(NodeId(id), "").await.unwrap();
    }
    let all = [1, 2, 3].map(NodeId).into_iter().collect();
    first.set_voters(all, true).await.unwrap();
    world.write_some(&first, 0..20).await;
    world.die(NodeId(3), false);
    world.write_some(&first, 20..300).await;
    let first = world.leader().await;
    first
        .wait_for(|s| s.snapshot.is_some_and(|index| index > 200))
        .await;
    let back = world.start(NodeId(3)).await.unwrap();
    let mut changes = back.changes();
    world.check_all().await;
    assert!(back.status().snapshot.is_some_and(|index| index > 200));
    let mut replaced = false;
    while let Ok(change) = changes.try_recv() {
        replaced |= matches!(change, Change::Replaced { .. });
    }
    assert!(
        replaced,
        "who follows changes is told to read everything again"
    );
    // And it comes back from its own disk with that snapshot.
    world.die(NodeId(3), true);
    world.start(NodeId(3)).await.unwrap();
    world.check_all().await;
}

/// The disk of a voter rots. It says so, comes back under a new id as learner, votes again later,
/// and nothing acknowledged is lost.
#[tokio::test(start_paused = true)]
async fn a_voter_with_a_corrupt_disk_comes_back_under_a_new_id() {
    let mut world = World::with_voters(4, 3).await;
    let leader = world.leader().await;
    world.write_some(&leader, 0..40).await;
    let broken = NodeId(if leader.node() == NodeId(3) { 2 } else { 3 });
    // Idle for a moment: the log seals itself.
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.die(broken, false);
    let log = &world.machines[&broken].log;
    // In the fourth batch: each lies in blocks of its own, behind five blocks of marks.
    assert!(log.corrupt("log-0000000000000001", 8 * 4_096 + 20, 0x10));
    match world.start(broken).await {
        Err(StoreError::Corrupt(reason)) => assert!(reason.contains("log-"), "{reason}"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the damage went unnoticed"),
    }
    Store::abandon(&mut world.machines[&broken].disks()).unwrap();
    let fresh = match leader
        .propose(Action::AllocateIds { count: 1 })
        .await
        .unwrap()
        .outcome
    {
        Outcome::Ids(id) => NodeId(id + 100),
        other => panic!("{other:?}"),
    };
    let machine = world.machines.remove(&broken).unwrap();
    world.machines.insert(fresh, machine);
    world.start(fresh).await.unwrap();
    leader.add_learner(fresh, "new").await.unwrap();
    world.write_some(&leader, 40..50).await;
    let mut voters = leader.status().voters;
    voters.remove(&broken);
    voters.insert(fresh);
    leader.set_voters(voters.clone(), false).await.unwrap();
    let status = leader.wait_for(|s| !s.changing).await;
    assert_eq!(status.voters, voters);
    assert!(!status.learners.contains(&broken), "forgotten");
    world.check_all().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_commits_nothing_and_follows_when_it_is_back() {
    let mut world = World::with_voters(5, 3).await;
    let old = world.leader().await;
    world.write_some(&old, 0..10).await;
    world.hub.isolate(old.node());
    let lost = RequestId {
        client: 99,
        number: 1,
    };
    let set = Action::SetValue {
        key: name(77),
        value: vec![1],
        expected: None,
    };
    let refused = old.propose_as(lost, set).await;
    assert!(
        matches!(refused, Err(ProposeError::Unavailable { .. })),
        "{refused:?}"
    );
    assert!(matches!(
        old.catch_up().await,
        Err(ClusterError::NoQuorum(_))
    ));
    let others = world
        .live()
        .into_iter()
        .find(|c| c.node() != old.node())
        .unwrap();
    world.write_some(&others, 10..20).await;
    let new = world.leader().await;
    assert_ne!(new.node(), old.node());
    world.hub.heal();
    world.check_all().await;
    assert_eq!(old.status().role, Role::Follower);
}

#[tokio::test(start_paused = true)]
async fn leadership_goes_where_it_is_asked_to_go() {
    let mut world = World::with_voters(6, 3).await;
    let leader = world.leader().await;
    world.write_some(&leader, 0..10).await;
    let to = NodeId(leader.node().0 % 3 + 1);
    leader.transfer_leadership(to).await.unwrap();
    leader.wait_for(|s| s.leader == Some(to)).await;
    world.write_some(&leader, 10..20).await;
    world.check_all().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_disk_fails_stops_and_the_others_go_on() {
    let mut world = World::with_voters(7, 3).await;
    let leader = world.leader().await;
    world.write_some(&leader, 0..10).await;
    world.machines[&leader.node()].log.set_faults(DiskFaults {
        sync_failure_one_in: 1,
        ..DiskFaults::default()
    });
    let other = world
        .live()
        .into_iter()
        .find(|c| c.node() != leader.node())
        .unwrap();
    world.write_some(&other, 10..20).await;
    let status = leader.wait_for(|s| s.role == Role::Stopped).await;
    assert!(status.stopped.is_some());
    world.die(leader.node(), true);
    world.machines[&leader.node()]
        .log
        .set_faults(DiskFaults::default());
    world.start(leader.node()).await.unwrap();
    world.check_all().await;
}

#[tokio::test(start_paused = true)]
async fn the_same_request_is_applied_once_however_often_it_is_proposed() {
    let world = World::with_voters(8, 3).await;
    let request = RequestId {
        client: 5,
        number: 1,
    };
    let mut answers = Vec::new();
    for node in world.live() {
        let allocate = Action::AllocateIds { count: 1 };
        answers.push(node.propose_as(request, allocate).await.unwrap().outcome);
    }
    assert!(answers.iter().all(|a| *a == answers[0]), "{answers:?}");
}

/// What the log remembers of commands is bounded: one that may have been applied, and is forgotten,
/// must not be applied a second time.
#[tokio::test(start_paused = true)]
async fn a_command_is_not_tried_again_once_its_first_try_may_be_forgotten() {
    let mut world = World::new(9);
    world.options.propose_entries = 20;
    world.options.patience = Duration::from_secs(2);
    let leader = world.start(NodeId(1)).await.unwrap();
    leader.bootstrap("node1").await.unwrap();
    leader.wait_for(|s| s.role == Role::Leader).await;
    let learner = world.start(NodeId(2)).await.unwrap();
    leader.add_learner(NodeId(2), "node2").await.unwrap();
    learner.catch_up().await.unwrap();

    // The command arrives, and nothing comes back.
    world.hub.cut(NodeId(1), NodeId(2));
    let proposer = learner.clone();
    let allocate = Action::AllocateIds { count: 1 };
    let proposed = tokio::spawn(async move { proposer.propose(allocate).await });
    world.write_some(&leader, 0..30).await;
    world.hub.heal();
    let refused = proposed.await.unwrap();
    let Err(ProposeError::Unavailable { last, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(last.contains("went on"), "{last}");

    // Whose own log is behind has not tried anything yet.
    world.hub.isolate(NodeId(2));
    world.write_some(&leader, 30..60).await;
    world.hub.heal();
    let allocate = Action::AllocateIds { count: 1 };
    learner.propose(allocate).await.unwrap();
}

/// Nobody is dead, so nobody is given up; the node can ask and place all the same.
#[tokio::test(start_paused = true)]
async fn who_cannot_reach_the_leader_proposes_over_another_voter() {
    let mut world = World::with_voters(10, 3).await;
    let leader = world.leader().await;
    let learner = world.start(NodeId(7)).await.unwrap();
    leader.add_learner(NodeId(7), "node7").await.unwrap();
    learner.catch_up().await.unwrap();
    world.hub.cut(NodeId(7), leader.node());
    world.hub.cut(leader.node(), NodeId(7));
    for first in 0..3 {
        let began = Instant::now();
        let proposed = learner.propose(Action::AllocateIds { count: 1 }).await;
        let outcome = proposed.unwrap().outcome;
        assert!(matches!(outcome, Outcome::Ids(_)), "{outcome:?}");
        let taken = began.elapsed();
        assert!(
            first == 0 || taken < Duration::from_millis(100),
            "{taken:?}"
        );
    }
    assert!(matches!(learner.read_index().await, Ok(Some(_))));
    // The one asked first is gone as well.
    let others: Vec<NodeId> = (1..=3)
        .map(NodeId)
        .filter(|n| *n != leader.node())
        .collect();
    world.hub.cut(NodeId(7), others[0]);
    learner
        .propose(Action::AllocateIds { count: 1 })
        .await
        .unwrap();
}

/// Five voters, slow disks, power losses, partitions (also of one direction), restarts, all from a
/// seed, while somebody writes; then everything heals, and what was acknowledged must be there.
#[tokio::test(start_paused = true)]
async fn five_voters_under_random_troubles_lose_nothing_acknowledged() {
    for seed in 0..4 {
        println!("seed {seed}");
        let mut world = World::with_voters(seed, 5).await;
        world.options.snapshot_entries = 60;
        world.options.log_entries_kept = 20;
        world.options.patience = Duration::from_millis(1_500);
        let mut random = SplitMix(seed);
        for machine in world.machines.values() {
            machine.log.set_faults(DiskFaults {
                sync_delay_max: Duration::from_millis(8),
                ..DiskFaults::default()
            });
        }
        let mut key = 0;
        for _ in 0..30 {
            trouble(&mut world, &mut random).await;
            for _ in 0..random.below(8) {
                let live = world.live();
                let through = live[random.below(live.len() as u64) as usize].clone();
                world.write(&through, key, seed).await;
                key += 1;
            }
        }
        world.hub.heal();
        for node in (1..=5).map(NodeId) {
            if !world.live().iter().any(|c| c.node() == node) {
                world.start(node).await.unwrap();
            }
        }
        let leader = world.leader().await;
        while !world.write(&leader, key, seed).await {}
        assert!(world.acked.len() > 20, "seed {seed}: {}", world.acked.len());
        world.check_all().await;
    }
}

async fn trouble(world: &mut World, random: &mut SplitMix) {
    let node = NodeId(random.below(5) + 1);
    let up = world.live().iter().any(|c| c.node() == node);
    match random.below(6) {
        // At most two are down: a majority can always go on.
        0 | 1 if up && world.live().len() > 3 => world.die(node, random.below(2) == 0),
        0..=2 if !up => {
            world.start(node).await.unwrap();
        }
        3 => world.hub.cut(node, NodeId(random.below(5) + 1)),
        4 => world.hub.heal(),
        _ => tokio::time::sleep(Duration::from_millis(random.below(600))).await,
    }
}
