//! This node's part of the cluster, put together: store, raft, fabric, membership. Disks, socket,
//! runtime, names and randomness are handed in, so that a simulation runs it unchanged. Others take
//! links, log and registry from it.

mod ask;
#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use consensus::cluster::{Cluster, ClusterOptions, Role};
use consensus::ids::{Epoch, NodeId};
use consensus::peers::{Call, PeerError, Peers};
use consensus::wal::WalOptions;
use quinn::{AsyncUdpSocket, Runtime};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::fabric::{
    ClusterSecret, Fabric, FabricError, FabricParts, Identity, IdentityError, RaftPeers,
    RaftService, Resolve,
};
use super::heartbeat::{self, Heartbeats, Pulse};
use super::limits::{HANDOVER_PATIENCE, STOP_PATIENCE};
use super::links::registry::Registry;
use super::links::{Links, Service};
use super::membership::store::{self, StoreParts};
use super::membership::{Membership, OpenDisks, Phase, Settings, StoreProblem, follow_addresses};
use super::quorum;

/// What a node's part of the cluster is made of.
pub struct NodeParts {
    pub settings: Settings,
    pub secret: ClusterSecret,
    pub open_disks: OpenDisks,
    pub wal: WalOptions,
    pub options: ClusterOptions,
    pub socket: Arc<dyn AsyncUdpSocket>,
    pub runtime: Arc<dyn Runtime>,
    pub resolve: Resolve,
    /// What this node says of itself every second.
    pub pulse: Pulse,
    /// Random; in a simulation it is the seed.
    pub seed: [u8; 32],
}

/// Why the node cannot take part.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Fabric(#[from] FabricError),
    #[error(transparent)]
    Store(#[from] StoreProblem),
}

/// A handle; clones are equal. `stop` ends it.
#[derive(Clone)]
pub struct ClusterNode {
    inner: Arc<Inner>,
}

struct Inner {
    cluster: Cluster,
    fabric: Fabric,
    registry: Registry,
    heartbeats: Heartbeats,
    settings: Settings,
    membership: Arc<Membership>,
    phase: watch::Receiver<Phase>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl ClusterNode {
    /// Returns when raft and the network run; entering and registering go on by themselves.
    pub async fn start(parts: NodeParts) -> Result<Self, StartError> {
        let mut rng = ChaCha12Rng::from_seed(parts.seed);
        let settings = parts.settings;
        let roles = settings.info.roles;
        let peers = Arc::new(LatePeers::default());
        let cluster = store::open(StoreParts {
            open_disks: parts.open_disks,
            wal: parts.wal,
            options: match roles.master {
                true => parts.options,
                false => parts.options.witness(),
            },
            cluster_id: parts.secret.cluster_id()?,
            former_ids: parts.secret.accepted_ids()?,
            peers: Arc::clone(&peers) as Arc<dyn Peers>,
            others: settings.join.iter().any(|a| *a != settings.info.address),
            rng: &mut rng,
        })
        .await?;
        let registry = Registry::default();
        registry.add(Service::Raft, Arc::new(RaftService(cluster.clone())));
        let mut seed = || {
            let mut seed = [0; 32];
            rng.fill_bytes(&mut seed);
            seed
        };
        let fabric = Fabric::start(FabricParts {
            identity: Identity::new(&parts.secret, cluster.node(), &seed())?,
            socket: parts.socket,
            runtime: parts.runtime,
            resolve: parts.resolve,
            services: registry.services(),
            seed: seed(),
        })?;
        // Raft runs already, and could reach nobody until now.
        let _ = peers.0.set(RaftPeers(fabric.clone()));
        let heartbeats = Heartbeats::default();
        let membership = Membership::new(
            settings.clone(),
            cluster.clone(),
            fabric.clone(),
            heartbeats.clone(),
            rng.next_u64(),
        );
        registry.add(Service::Membership, Arc::clone(&membership) as Arc<_>);
        let phase = membership.phase.subscribe();
        registry.add(Service::Heartbeat, Arc::new(heartbeats.clone()));
        let told = phase.clone();
        let tasks = vec![
            tokio::spawn(follow_addresses(cluster.clone(), fabric.clone())),
            tokio::spawn(Arc::clone(&membership).run()),
            tokio::spawn(heartbeat::beat(
                cluster.clone(),
                Arc::new(fabric.clone()),
                heartbeats.clone(),
                move || told.borrow().incarnation(),
                parts.pulse,
            )),
            tokio::spawn(quorum::keep(cluster.clone(), heartbeats.clone())),
        ];
        Ok(Self {
            inner: Arc::new(Inner {
                cluster,
                fabric,
                registry,
                heartbeats,
                settings,
                membership,
                phase,
                tasks: Mutex::new(tasks),
            }),
        })
    }

    pub fn id(&self) -> NodeId {
        self.inner.cluster.node()
    }

    /// The log and the state of the cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.inner.cluster
    }

    /// The way to other nodes.
    pub fn links(&self) -> Arc<dyn Links> {
        Arc::new(self.inner.fabric.clone())
    }

    pub fn fabric(&self) -> &Fabric {
        &self.inner.fabric
    }

    /// Where what answers other nodes is added.
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// What nodes last said of themselves; on masters and where this node leads.
    pub fn heartbeats(&self) -> &Heartbeats {
        &self.inner.heartbeats
    }

    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// How far it is, as it changes.
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.inner.phase.clone()
    }

    /// The epoch of this life; `None` until it is registered.
    pub fn incarnation(&self) -> Option<Epoch> {
        self.inner.phase.borrow().incarnation()
    }

    /// The life that the log knows, if it is this process's.
    pub fn registered(&self) -> Option<Epoch> {
        let node = self.id();
        let known = self
            .cluster()
            .read(|state| state.node(node).map(|n| n.incarnation));
        known.filter(|known| self.incarnation().is_some_and(|life| life == *known))
    }

    /// The process ends: it begins no other life when the log says that this one is over.
    pub fn retire(&self) {
        let retiring = &self.inner.membership.retiring;
        retiring.store(true, Ordering::Relaxed);
    }

    /// Runs along until the node stops.
    pub fn keep(&self, task: JoinHandle<()>) {
        let tasks = &self.inner.tasks;
        let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.push(task);
    }

    /// Returns, with the reason, when the node can take part no longer.
    pub async fn failed(&self) -> String {
        let mut phase = self.phase();
        let over = phase.wait_for(|phase| matches!(phase, Phase::Removed | Phase::Replaced));
        tokio::select! {
            over = over => match over.map(|phase| phase.clone()) {
                Ok(Phase::Replaced) => "another process registered under this node's id: its \
                    cluster.directory was copied. Delete one of the copies, and never clone a \
                    machine with it".into(),
                _ => "this node was removed from the cluster; to let it join as a new one, \
                      delete cluster.directory".into(),
            },
            status = self.inner.cluster.wait_for(|status| status.stopped.is_some()) => {
                let reason = status.stopped.unwrap_or_default();
                format!("the log of the cluster: {reason}")
            }
        }
    }

    /// Hands leadership over if it has it, and ends.
    pub async fn stop(&self) {
        let cluster = &self.inner.cluster;
        let _ = timeout(HANDOVER_PATIENCE, self.hand_over()).await;
        let tasks = std::mem::take(
            &mut *self
                .inner
                .tasks
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for task in tasks {
            task.abort();
        }
        cluster.shutdown().await;
        // Services know the cluster and the fabric, which know them: nobody would let go.
        self.inner.registry.clear();
        self.inner.fabric.stop(STOP_PATIENCE).await;
    }

    /// To the voter that lacks least.
    pub(super) async fn hand_over(&self) {
        let cluster = &self.inner.cluster;
        let status = cluster.status();
        let heirs = status
            .progress
            .iter()
            .filter(|(node, _)| **node != status.node && status.voters.contains(node));
        let heir = heirs.min_by_key(|(_, p)| (p.silent_for > Some(HANDOVER_PATIENCE), p.lag));
        let (Role::Leader, Some((heir, _))) = (status.role, heir) else {
            return;
        };
        if cluster.transfer_leadership(*heir).await.is_ok() {
            cluster.wait_for(|status| status.role != Role::Leader).await;
        }
    }
}

/// Raft starts before the network does: who this node is stands in its store.
#[derive(Default)]
struct LatePeers(OnceLock<RaftPeers>);

impl Peers for LatePeers {
    fn call(&self, to: NodeId, address: &str, request: Vec<u8>, within: Duration) -> Call<'_> {
        match self.0.get() {
            Some(peers) => peers.call(to, address, request, within),
            None => Box::pin(async move {
                let reason = "the network is not up yet".to_owned();
                Err(PeerError { node: to, reason })
            }),
        }
    }
}
