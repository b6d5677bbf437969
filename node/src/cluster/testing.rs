//! Clusters of one process, for tests of what is built on the log: real raft on simulated disks,
//! peers of `consensus::testing`, links of `links::testing`, nodes registered but doing nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use consensus::cluster::{Cluster, ClusterOptions, Lanes};
use consensus::command::{Action, NodeInfo, Outcome, Roles};
use consensus::disk::SimDisk;
use consensus::ids::NodeId;
use consensus::store::{Disks, Found, Identity, Store};
use consensus::testing::Hub as Voters;
use consensus::wal::WalOptions;

use super::links::Links;
use super::links::registry::Registry;
use super::links::testing::Hub;

const WAL: WalOptions = WalOptions {
    segment_bytes: 128 * 1024,
    record_bytes_max: 16 * 1024,
};

/// Nodes 1 to `masters` vote, the others follow.
pub(crate) struct Group {
    pub(crate) voters: Voters,
    pub(crate) hub: Hub,
    pub(crate) clusters: BTreeMap<u64, Cluster>,
    disks: Vec<SimDisk>,
}

pub(crate) fn name(id: u64) -> String {
    format!("node{id}")
}

impl Group {
    pub(crate) async fn new(masters: u64, media: u64) -> Self {
        let mut group = Self {
            voters: Voters::new(),
            hub: Hub::new(),
            clusters: BTreeMap::new(),
            disks: Vec::new(),
        };
        group.voters.set_latency(Duration::from_micros(300));
        let first = group.start_raft(1).await;
        first.bootstrap(&name(1)).await.unwrap();
        for id in 2..=masters + media {
            group.start_raft(id).await;
            first.add_learner(NodeId(id), &name(id)).await.unwrap();
        }
        let all = (1..=masters).map(NodeId).collect();
        first.set_voters(all, true).await.unwrap();
        for id in 1..=masters + media {
            let info = NodeInfo {
                roles: Roles {
                    master: id <= masters,
                    media: masters == 1 || id > masters,
                },
                address: name(id),
                host: name(id),
                zone: String::new(),
                region: String::new(),
                version_max: consensus::encoding::VERSION,
            };
            group.register(NodeId(id), info).await;
        }
        group
    }

    async fn register(&self, node: NodeId, info: NodeInfo) {
        let first = &self.clusters[&1];
        let register = Action::RegisterNode { node, info };
        let registered = first.propose(register).await.unwrap();
        let Outcome::Epoch(incarnation) = registered.outcome else {
            panic!("{registered:?}");
        };
        let activate = Action::ActivateNode { node, incarnation };
        first.propose(activate).await.unwrap();
    }

    async fn start_raft(&mut self, id: u64) -> Cluster {
        let (log, snapshots) = (SimDisk::new(id), SimDisk::new(id + 100));
        let disks = Disks {
            log: Box::new(log.reopen()),
            snapshots: Box::new(snapshots.reopen()),
        };
        self.disks.extend([log, snapshots]);
        let Found::Nothing(disks) = Store::open(disks, WAL).unwrap() else {
            panic!("a new disk is empty");
        };
        let node = NodeId(id);
        let store = Store::create(disks, WAL, Identity { cluster: 7, node }, id).unwrap();
        let options = ClusterOptions {
            lanes: Lanes::Tasks,
            ..ClusterOptions::default()
        };
        let peers = self.voters.peers(node);
        let cluster = Cluster::start(options, store, peers, id).await.unwrap();
        self.voters.put(cluster.clone());
        self.clusters.insert(id, cluster.clone());
        cluster
    }

    /// From now on others reach it under what the registry holds.
    pub(crate) fn link(&self, id: u64, registry: &Registry) -> Arc<dyn Links> {
        self.hub.join(NodeId(id), registry.services())
    }

    /// The process ends; nobody reaches its raft or its services.
    pub(crate) fn kill(&self, id: u64) {
        self.hub.take(NodeId(id));
        if let Some(cluster) = self.voters.take(NodeId(id)) {
            tokio::spawn(async move { cluster.shutdown().await });
        }
    }
}
