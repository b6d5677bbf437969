//! One process of the ring: opens its machine's disks, starts the real cluster on them, answers the
//! others, and ends when its raft does. Everything it decides by itself is in `steward` and
//! `client`.

use std::sync::Arc;
use std::time::Duration;

use consensus::cluster::{Cluster, ClusterOptions, Lanes, Role, Status};
use consensus::store::{Store, StoreError};
use consensus::testing::Observer;
use tokio::sync::mpsc;

use crate::air::Wire;
use crate::client;
use crate::machine::Started;
use crate::ring::{Order, Ring};
use crate::scenario::Host;
use crate::steward;

/// How long a process tries before it tells a client that it does not know.
const PATIENCE: Duration = Duration::from_millis(2_000);

/// Runs until raft stops; the simulator takes what is left away and starts the next process.
pub(crate) async fn run(ring: Arc<Ring>, host: Host) -> turmoil::Result {
    live(&ring, host).await?;
    ring.plan().exited.insert(host);
    std::future::pending().await
}

async fn live(ring: &Arc<Ring>, host: Host) -> turmoil::Result {
    let Some((store, fresh)) = open(ring, host) else {
        return Ok(());
    };
    let node = store.identity.node;
    let seed = ring.dice().next();
    let life = ring
        .machines()
        .get(&host)
        .map_or(0, |machine| machine.lives);
    let wire = Wire::bind(ring.clone(), host, node, life).await?;
    ring.oracle().begins(node);
    let cluster = match Cluster::start(options(ring, host), store, wire.clone(), seed).await {
        Ok(cluster) => cluster,
        Err(error) => {
            found_wrong(ring, host, &error);
            return Ok(());
        }
    };
    ring.plan().clusters.insert(host, cluster.clone());
    tokio::spawn(wire.serve(cluster.clone()));
    let orders = ring.take_orders(host);
    tokio::spawn(follow_orders(ring.clone(), cluster.clone(), orders));
    if host == Host(1) && fresh && !ring.plan().bootstrapped {
        match cluster.bootstrap(&host.name()).await {
            Ok(()) => ring.plan().bootstrapped = true,
            Err(error) => ring.trace.line(node, format!("boot: no cluster: {error}")),
        }
    }
    tokio::spawn(steward::run(ring.clone(), cluster.clone()));
    tokio::spawn(steward::attend(ring.clone(), cluster.clone(), host));
    for number in 0..ring.scenario.clients_per_host {
        tokio::spawn(client::run(ring.clone(), cluster.clone(), number));
    }
    watch(ring, &cluster).await;
    Ok(())
}

/// `None`: this process cannot begin; the next one finds what it left.
fn open(ring: &Ring, host: Host) -> Option<(Store, bool)> {
    let mut machines = ring.machines();
    let machine = machines.get_mut(&host)?;
    let node = machine.node();
    let started = machine.start(&mut ring.dice());
    let life = machine.lives;
    drop(machines);
    match started {
        Ok(Started::Fresh(store)) => {
            ring.trace
                .line(node, format!("boot: life {life}, new disks"));
            Some((store, true))
        }
        Ok(Started::Known(store)) => {
            ring.trace.line(node, format!("boot: life {life}"));
            Some((store, false))
        }
        Err(error) => {
            found_wrong(ring, host, &error);
            None
        }
    }
}

/// A corrupt disk is given up, and the machine becomes somebody else; anything else is tried again.
fn found_wrong(ring: &Ring, host: Host, error: &StoreError) {
    let mut machines = ring.machines();
    let Some(machine) = machines.get_mut(&host) else {
        return;
    };
    let node = machine.node();
    ring.trace.line(node, format!("boot: {error}"));
    match error {
        StoreError::Corrupt(reason) => {
            if !machine.rotten {
                ring.oracle()
                    .accuse(format!("{node} found damage that nobody did: {reason}"));
            }
            if let Err(error) = machine.abandon() {
                ring.trace
                    .line(node, format!("boot: cannot start over: {error}"));
            }
        }
        StoreError::Disk(_) | StoreError::Storage(_) => {}
        error => ring.oracle().accuse(format!("{node}: {error}")),
    }
}

fn options(ring: &Arc<Ring>, host: Host) -> ClusterOptions {
    let scenario = &ring.scenario;
    let usual = ClusterOptions::default();
    // A fast clock counts more of its own milliseconds: its times are shorter in truth.
    let clock = |time: Duration| time.mul_f64(1_000.0 / scenario.clock(host) as f64);
    let node = ring.node(host);
    let watching = ring.clone();
    ClusterOptions {
        heartbeat: clock(usual.heartbeat),
        election_timeout_min: clock(usual.election_timeout_min),
        election_timeout_max: clock(usual.election_timeout_max),
        snapshot_entries: scenario.snapshot_entries,
        log_entries_kept: scenario.log_entries_kept,
        patience: PATIENCE,
        lanes: Lanes::Tasks,
        observer: Some(Observer(Arc::new(move |seen| {
            let told = watching.oracle().seen(node, &seen);
            if let Some(told) = told {
                watching.trace.line(node, told);
            }
        }))),
        ..usual
    }
}

/// Tells what raft becomes, until it stops.
async fn watch(ring: &Ring, cluster: &Cluster) {
    let key = |s: &Status| (s.role, s.term, s.leader);
    let mut last = None;
    loop {
        let status = cluster.wait_for(|s| last != Some(key(s))).await;
        last = Some(key(&status));
        let node = status.node;
        let leader = status
            .leader
            .map_or_else(|| "nobody".to_string(), |leader| leader.to_string());
        let role = status.role;
        let told = format!("raft {role:?} in term {}, {leader} leads", status.term);
        ring.trace.line(node, told);
        match role {
            Role::Leader => ring.oracle().leads(status.term, node),
            Role::Stopped => {
                let why = status.stopped.unwrap_or_default();
                ring.trace.line(node, format!("raft stopped: {why}"));
                return;
            }
            _ => {}
        }
    }
}

async fn follow_orders(ring: Arc<Ring>, cluster: Cluster, mut orders: mpsc::Receiver<Order>) {
    while let Some(order) = orders.recv().await {
        let done = match order {
            Order::TakeSnapshot => cluster.snapshot().await,
            Order::TransferLeadership(to) => cluster.transfer_leadership(ring.node(to)).await,
        };
        if let Err(error) = done {
            ring.trace
                .line(cluster.node(), format!("{order:?}: {error}"));
        }
    }
}
