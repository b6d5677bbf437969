//! For tests and for `simulation`: a cluster's peers in one process (messages are real bytes, and
//! the hub can cut any direction between any two nodes and take time for each message), a view of
//! every entry as it is applied, and mistakes that can be switched on to see that they are found.

mod mutation;
mod observer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) use mutation::mutated;
pub use mutation::{Mutation, mutate};
pub use observer::{Observer, Seen};

use crate::cluster::Cluster;
use crate::ids::NodeId;
use crate::peers::{Call, PeerError, Peers};

#[derive(Default)]
struct Inner {
    nodes: BTreeMap<NodeId, Cluster>,
    /// Lives of each node so far: what a dead process still sends goes nowhere.
    lives: BTreeMap<NodeId, u64>,
    /// From, to.
    cut: BTreeSet<(NodeId, NodeId)>,
    latency: Duration,
    messages: u64,
    bytes: u64,
}

/// Connects the clusters that were put into it.
#[derive(Clone, Default)]
pub struct Hub {
    inner: Arc<Mutex<Inner>>,
}

impl Hub {
    pub fn new() -> Self {
        Self::default()
    }

    /// What `node` uses to reach the others, until it is taken out.
    pub fn peers(&self, node: NodeId) -> Arc<dyn Peers> {
        let life = self.lock().lives.get(&node).copied().unwrap_or(0);
        Arc::new(HubPeers {
            hub: self.clone(),
            node,
            life,
        })
    }

    /// From now on others reach it.
    pub fn put(&self, cluster: Cluster) {
        self.lock().nodes.insert(cluster.node(), cluster);
    }

    /// Gone: others get errors at once, as from a closed port.
    pub fn take(&self, node: NodeId) -> Option<Cluster> {
        let mut inner = self.lock();
        *inner.lives.entry(node).or_default() += 1;
        inner.nodes.remove(&node)
    }

    /// Who can be reached, in order.
    pub fn clusters(&self) -> Vec<Cluster> {
        self.lock().nodes.values().cloned().collect()
    }

    /// Messages from one node to the other vanish; their senders wait until they give up.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.lock().cut.insert((from, to));
    }

    /// Cuts a node off in both directions.
    pub fn isolate(&self, node: NodeId) {
        let mut inner = self.lock();
        let others: Vec<NodeId> = inner.nodes.keys().copied().collect();
        for other in others {
            inner.cut.insert((node, other));
            inner.cut.insert((other, node));
        }
    }

    pub fn heal(&self) {
        self.lock().cut.clear();
    }

    /// One way.
    pub fn set_latency(&self, latency: Duration) {
        self.lock().latency = latency;
    }

    /// Messages and their bytes so far, both ways.
    pub fn traffic(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.messages, inner.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lives(&self, node: NodeId, life: u64) -> bool {
        self.lock().lives.get(&node).copied().unwrap_or(0) == life
    }

    /// How long a message takes; `None`: it is lost.
    fn pass(&self, from: NodeId, to: NodeId, bytes: usize) -> Option<Duration> {
        let mut inner = self.lock();
        inner.messages += 1;
        inner.bytes += bytes as u64;
        (!inner.cut.contains(&(from, to))).then_some(inner.latency)
    }
}

struct HubPeers {
    hub: Hub,
    node: NodeId,
    life: u64,
}

impl HubPeers {
    async fn travel(&self, from: NodeId, to: NodeId, bytes: usize) {
        match self.hub.pass(from, to, bytes) {
            Some(latency) if latency.is_zero() => {}
            Some(latency) => tokio::time::sleep(latency).await,
            None => std::future::pending().await,
        }
    }
}

impl Peers for HubPeers {
    fn call(&self, to: NodeId, _address: &str, request: Vec<u8>, within: Duration) -> Call<'_> {
        Box::pin(async move {
            let failed = |reason: &str| PeerError {
                node: to,
                reason: reason.to_string(),
            };
            let answered = tokio::time::timeout(within, async {
                self.travel(self.node, to, request.len()).await;
                if !self.hub.lives(self.node, self.life) {
                    return Err(failed("the sender is dead"));
                }
                let there = self.hub.lock().nodes.get(&to).cloned();
                let there = there.ok_or_else(|| failed("nobody listens"))?;
                let reply = there.serve(&request).await;
                self.travel(to, self.node, reply.len()).await;
                Ok(reply)
            });
            answered
                .await
                .unwrap_or_else(|_| Err(failed("no answer in time")))
        })
    }
}
