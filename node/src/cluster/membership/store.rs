//! Opens what a node keeps on disk, or makes it: who it is, the log, the snapshots. A store that
//! cannot be trusted is given up, and the node comes back under a new id, as long as others have
//! what it acknowledged.

use std::sync::Arc;

use consensus::cluster::{Cluster, ClusterOptions};
use consensus::disk::DiskError;
use consensus::ids::NodeId;
use consensus::limits::NODE_ID_MAX;
use consensus::peers::Peers;
use consensus::store::{Disks, Found, Identity, Store, StoreError};
use consensus::wal::WalOptions;
use rand::{Rng, RngExt};

/// Opens the node's directories; again after they were given up.
pub type OpenDisks = Box<dyn FnMut() -> Result<Disks, DiskError> + Send>;

/// Why the node cannot take part.
#[derive(Debug, thiserror::Error)]
pub enum StoreProblem {
    #[error("the log of the cluster: {0}")]
    Disk(#[from] DiskError),
    #[error("the log of the cluster: {0}")]
    Store(#[from] StoreError),
    #[error(
        "this node's log belongs to another cluster: cluster.directory is that of another node, or \
         cluster.token was changed at once. To exchange it, let every node accept the new one in \
         cluster.accepted_tokens first"
    )]
    OtherCluster,
    #[error(
        "{0}; no other master is in cluster.join that could have a copy. Restore \
         cluster.directory from a backup, or delete it to begin anew"
    )]
    CorruptAndAlone(String),
}

pub(crate) struct StoreParts<'a> {
    pub(crate) open_disks: OpenDisks,
    pub(crate) wal: WalOptions,
    pub(crate) options: ClusterOptions,
    pub(crate) cluster_id: u64,
    /// Those its store may carry from before the secret was exchanged.
    pub(crate) former_ids: Vec<u64>,
    pub(crate) peers: Arc<dyn Peers>,
    /// Others are listed that have what this node acknowledged.
    pub(crate) others: bool,
    pub(crate) rng: &'a mut rand_chacha::ChaCha12Rng,
}

/// Raft on what the disks hold.
pub(crate) async fn open(mut parts: StoreParts<'_>) -> Result<Cluster, StoreProblem> {
    // Twice: the second time on an empty store.
    for _ in 0..2 {
        let mut store = match open_store(&mut parts) {
            Ok(store) => store,
            Err(StoreProblem::Store(StoreError::Corrupt(reason))) => {
                abandon(&mut parts, reason)?;
                continue;
            }
            Err(problem) => return Err(problem),
        };
        if store.identity.cluster != parts.cluster_id {
            if !parts.former_ids.contains(&store.identity.cluster) {
                return Err(StoreProblem::OtherCluster);
            }
            tracing::info!("the secret of the cluster was exchanged: its log is kept");
            store.rename_cluster(parts.cluster_id)?;
        }
        let (options, peers) = (parts.options.clone(), Arc::clone(&parts.peers));
        match Cluster::start(options, store, peers, parts.rng.next_u64()).await {
            Ok(cluster) => return Ok(cluster),
            Err(StoreError::Corrupt(reason)) => abandon(&mut parts, reason)?,
            Err(error) => return Err(error.into()),
        }
    }
    let reason = "a store that was just made is corrupt".to_owned();
    Err(StoreError::Other(reason).into())
}

fn open_store(parts: &mut StoreParts<'_>) -> Result<Store, StoreProblem> {
    match Store::open((parts.open_disks)()?, parts.wal)? {
        Found::Ready(store) => Ok(*store),
        Found::Nothing(disks) => {
            let identity = Identity {
                cluster: parts.cluster_id,
                node: NodeId(parts.rng.random_range(1..=NODE_ID_MAX)),
            };
            let wal_id = parts.rng.next_u64();
            Ok(Store::create(disks, parts.wal, identity, wal_id)?)
        }
    }
}

fn abandon(parts: &mut StoreParts<'_>, reason: String) -> Result<(), StoreProblem> {
    if !parts.others {
        return Err(StoreProblem::CorruptAndAlone(reason));
    }
    tracing::error!(
        reason,
        "the log of this node is corrupt: it is given up, and the node joins under a new id"
    );
    Ok(Store::abandon(&mut (parts.open_disks)()?)?)
}
