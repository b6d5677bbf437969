//! How long a durable commit takes: the log alone, one node, four and five voters on this machine
//! with a log file each. Prints figures; asserts nothing. Budgets: one node p50 0.3 ms, four voters
//! on one machine p50 1 ms.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use skein_consensus::cluster::{Cluster, ClusterOptions, Role};
use skein_consensus::command::Action;
use skein_consensus::disk::RealDisk;
use skein_consensus::ids::{NodeId, ValueKey};
use skein_consensus::store::{Disks, Found, Identity, Store};
use skein_consensus::testing::Hub;
use skein_consensus::wal::{Wal, WalOptions};

/// Of one command.
const PAYLOAD_BYTES: usize = 1_024;
const WARM_UP: usize = 200;
const COMMITS: usize = 2_000;
const WRITERS: usize = 64;

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() - 1) * percent / 100;
    sorted[at].as_secs_f64() * 1_000.0
}

fn print(what: &str, mut latencies: Vec<Duration>) {
    latencies.sort();
    println!(
        "{what:<46} p50 {:7.3} ms   p99 {:7.3} ms   worst {:7.3} ms",
        percentile(&latencies, 50),
        percentile(&latencies, 99),
        percentile(&latencies, 100)
    );
}

fn log_alone(root: &Path) {
    let disk = RealDisk::open(&root.join("alone")).unwrap();
    let mut wal = Wal::create(disk, WalOptions::default(), 1).unwrap();
    let mut index = 0;
    let mut run = |entries: usize, rounds: usize| {
        let mut latencies = Vec::new();
        for _ in 0..rounds {
            let start = Instant::now();
            for _ in 0..entries {
                wal.push_entry(index, &[7; PAYLOAD_BYTES]).unwrap();
                index += 1;
            }
            wal.flush().unwrap();
            latencies.push(start.elapsed());
        }
        latencies
    };
    run(1, WARM_UP);
    print("log alone, 1 entry a flush", run(1, COMMITS));
    print("log alone, 32 entries a flush", run(32, COMMITS / 4));
}

async fn start(root: &Path, hub: &Hub, node: u64) -> Cluster {
    let open = |name: &str| {
        let path = root.join(format!("{node}-{name}"));
        Box::new(RealDisk::open(&path).unwrap())
    };
    let disks = Disks {
        log: open("log"),
        snapshots: open("snapshots"),
    };
    let node = NodeId(node);
    let Found::Nothing(disks) = Store::open(disks, WalOptions::default()).unwrap() else {
        panic!("the directory is not empty");
    };
    let identity = Identity { cluster: 1, node };
    let store = Store::create(disks, WalOptions::default(), identity, node.0).unwrap();
    let options = ClusterOptions::default();
    let cluster = Cluster::start(options, store, hub.peers(node), node.0)
        .await
        .unwrap();
    hub.put(cluster.clone());
    cluster
}

fn set(key: usize) -> Action {
    Action::SetValue {
        key: ValueKey(format!("key{}", key % 100)),
        value: vec![7; PAYLOAD_BYTES],
        expected: None,
    }
}

async fn commits(cluster: &Cluster, count: usize) -> Vec<Duration> {
    let mut latencies = Vec::new();
    for key in 0..count {
        let start = Instant::now();
        cluster.propose(set(key)).await.unwrap();
        latencies.push(start.elapsed());
    }
    latencies
}

async fn voters(root: &Path, count: u64) {
    let root = root.join(format!("voters{count}"));
    let hub = Hub::new();
    let leader = start(&root, &hub, 1).await;
    leader.bootstrap("1").await.unwrap();
    leader.wait_for(|s| s.role == Role::Leader).await;
    for node in 2..=count {
        start(&root, &hub, node).await;
        leader.add_learner(NodeId(node), "").await.unwrap();
    }
    let all: BTreeSet<NodeId> = (1..=count).map(NodeId).collect();
    leader.set_voters(all, true).await.unwrap();
    commits(&leader, WARM_UP).await;
    print(
        &format!("{count} voters, one writer"),
        commits(&leader, COMMITS).await,
    );
    let start = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let leader = leader.clone();
            tokio::spawn(async move { commits(&leader, COMMITS / 20).await })
        })
        .collect();
    let mut latencies = Vec::new();
    for writer in writers {
        latencies.extend(writer.await.unwrap());
    }
    let rate = latencies.len() as f64 / start.elapsed().as_secs_f64();
    print(
        &format!("{count} voters, {WRITERS} writers ({rate:.0} commits/s)"),
        latencies,
    );
    for cluster in hub.clusters() {
        cluster.shutdown().await;
    }
}

fn main() {
    // `cargo test --benches` passes this: then one look that it runs is enough.
    if std::env::args().any(|a| a == "--test" || a == "--list") {
        return;
    }
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    println!(
        "commands of {PAYLOAD_BYTES} bytes, durable on {}",
        root.path().display()
    );
    log_alone(root.path());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        for count in [1, 4, 5] {
            voters(root.path(), count).await;
        }
    });
}
