//! The network between nodes: one QUIC endpoint a node, mutual TLS under the cluster's own
//! authority, a protocol name (ALPN) a plane so that raft never waits behind sessions. Implements
//! `Links`. Socket, runtime, names and randomness are handed in; knows nothing of what is said.

mod book;
mod datagrams;
mod dial;
mod framing;
mod identity;
mod incoming;
mod peers;
#[cfg(test)]
mod tests;
mod transport;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use consensus::ids::NodeId;
use futures_util::future::BoxFuture;
use quinn::crypto::rustls::HandshakeData;
use quinn::{AsyncUdpSocket, ClientConfig, Connection, Endpoint, Runtime, VarInt};
use tokio::time::{Instant, timeout, timeout_at};

pub use book::AddressBook;
pub use identity::{ClusterSecret, Identity, IdentityError};
pub use peers::{RaftPeers, RaftService};

use crate::cluster::limits::{
    HANDSHAKES_BURST, HANDSHAKES_PER_SECOND, OPEN_PATIENCE, UNPROVEN_PER_SECOND,
};
use crate::cluster::links::{Duplex, LinkError, Links, Service, Services, TakeDatagrams, pipe};
use crate::net::gate::{Gate, Terms};
use dial::Slot;
use framing::{FrameError, Kind, Writer};
use incoming::fitting;

/// Traffic that must not wait for each other has connections of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Plane {
    Raft = 0,
    Rpc = 1,
    /// Datagrams, one way: from who dialled.
    Relay = 2,
    /// Whether nodes live: never behind what they carry.
    Live = 3,
}

impl Plane {
    const ALL: [Plane; 4] = [Plane::Raft, Plane::Rpc, Plane::Relay, Plane::Live];

    fn alpn(self) -> &'static [u8] {
        match self {
            Plane::Raft => b"skein/raft",
            Plane::Rpc => b"skein/rpc",
            Plane::Relay => b"skein/relay",
            Plane::Live => b"skein/live",
        }
    }

    fn of(service: Service) -> Self {
        match service {
            Service::Raft => Plane::Raft,
            Service::Liveness => Plane::Live,
            _ => Plane::Rpc,
        }
    }

    fn of_connection(connection: &Connection) -> Option<Self> {
        let data = connection.handshake_data()?;
        let protocol = data.downcast::<HandshakeData>().ok()?.protocol?;
        Plane::ALL.into_iter().find(|p| p.alpn() == protocol)
    }
}

/// Finds the addresses of `host:port`.
pub type Resolve =
    Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// What a fabric is made of.
pub struct FabricParts {
    pub identity: Identity,
    pub socket: Arc<dyn AsyncUdpSocket>,
    pub runtime: Arc<dyn Runtime>,
    pub resolve: Resolve,
    pub services: Services,
    /// Random; in a simulation it is the seed.
    pub seed: [u8; 32],
}

/// Why there is no network between nodes.
#[derive(Debug, thiserror::Error)]
pub enum FabricError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the cluster endpoint: {0}")]
    Io(#[from] io::Error),
}

/// A handle; clones are equal. `stop` ends it.
#[derive(Clone)]
pub struct Fabric {
    inner: Arc<Inner>,
}

struct Inner {
    node: NodeId,
    cluster: u64,
    endpoint: Endpoint,
    /// By plane.
    clients: [ClientConfig; 4],
    /// Where the network's own tasks run.
    runtime: Arc<dyn Runtime>,
    /// Nodes that were taken out of the cluster: they are told so and nothing else. As many as the
    /// log remembers.
    removed: Mutex<BTreeSet<NodeId>>,
    /// Of datagrams, once there is one.
    taker: OnceLock<Arc<dyn TakeDatagrams>>,
    book: AddressBook,
    resolve: Resolve,
    services: Services,
    slots: Mutex<Slots>,
    /// Connections of others that were not let in.
    refused: AtomicU64,
    refusal_said: Mutex<Option<Instant>>,
    /// Handshakes of others that are under way.
    shaking: AtomicUsize,
    /// How often strangers may begin one: those of one network,
    gate: Gate,
    /// and all together that have not shown that their address is their own.
    unproven: Gate,
}

fn gate(connects_per_second: u32, burst: u32) -> Gate {
    Gate::new(Terms {
        connects_per_second,
        burst,
        trusted: Vec::new(),
    })
}

#[derive(Default)]
struct Slots {
    /// The one that is used.
    by_peer: BTreeMap<(NodeId, Plane), Slot>,
    /// Everything that lives, as it came: quinn's numbers are addresses of memory, and what happens
    /// in their order happens in another order the next time.
    all: Vec<(NodeId, Connection)>,
}

impl Slots {
    fn add(&mut self, node: NodeId, connection: &Connection) {
        self.remove(connection);
        self.all.push((node, connection.clone()));
    }

    fn remove(&mut self, connection: &Connection) {
        let number = connection.stable_id();
        self.all.retain(|(_, other)| other.stable_id() != number);
    }
}

impl Fabric {
    /// Whoever was removed and still has the secret is heard no further.
    pub(crate) fn shut_out(&self, removed: impl IntoIterator<Item = NodeId>) {
        let mut known = self.removed();
        known.clear();
        known.extend(removed);
    }

    fn removed(&self) -> MutexGuard<'_, BTreeSet<NodeId>> {
        let removed = &self.inner.removed;
        removed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn start(parts: FabricParts) -> Result<Self, FabricError> {
        let identity = &parts.identity;
        let entropy = transport::Entropy::new(parts.seed);
        let endpoint = Endpoint::new_with_abstract_socket(
            transport::endpoint(identity, &entropy),
            Some(transport::server(identity, &entropy)?),
            parts.socket,
            Arc::clone(&parts.runtime),
        )?;
        let client = |plane| transport::client(identity, &entropy, plane);
        let fabric = Self {
            inner: Arc::new(Inner {
                node: identity.node,
                cluster: identity.cluster,
                endpoint,
                clients: [
                    client(Plane::Raft)?,
                    client(Plane::Rpc)?,
                    client(Plane::Relay)?,
                    client(Plane::Live)?,
                ],
                runtime: parts.runtime,
                removed: Mutex::default(),
                taker: OnceLock::new(),
                book: AddressBook::default(),
                resolve: parts.resolve,
                services: parts.services,
                slots: Mutex::default(),
                refused: AtomicU64::new(0),
                refusal_said: Mutex::new(None),
                shaking: AtomicUsize::new(0),
                gate: gate(HANDSHAKES_PER_SECOND, HANDSHAKES_BURST),
                unproven: gate(UNPROVEN_PER_SECOND, UNPROVEN_PER_SECOND),
            }),
        };
        tokio::spawn(fabric.clone().accept());
        Ok(fabric)
    }

    /// Runs something where the network's own tasks run.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.runtime.spawn(Box::pin(task));
    }

    pub fn node(&self) -> NodeId {
        self.inner.node
    }

    /// Where it listens.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.inner.endpoint.local_addr()
    }

    pub fn book(&self) -> &AddressBook {
        &self.inner.book
    }

    /// Connections of others that were not let in: no certificate of this cluster.
    pub fn refused(&self) -> u64 {
        self.inner.refused.load(Ordering::Relaxed)
    }

    /// Says goodbye, so that others need not wait for silence, and ends.
    pub async fn stop(&self, within: Duration) {
        let endpoint = &self.inner.endpoint;
        endpoint.close(VarInt::from_u32(0), b"stopping");
        let _ = timeout(within, endpoint.wait_idle()).await;
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        let slots = &self.inner.slots;
        slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection of another node that is only heard.
    fn hear(&self, node: NodeId, connection: &Connection) {
        self.slots().add(node, connection);
    }

    /// The newest connection is used: an older one may be of a process that is gone.
    fn keep(&self, node: NodeId, plane: Plane, connection: &Connection) {
        let mut slots = self.slots();
        let slot = Slot::Up(connection.clone());
        slots.by_peer.insert((node, plane), slot);
        slots.add(node, connection);
    }

    fn forget(&self, node: NodeId, plane: Plane, connection: &Connection) {
        let mut slots = self.slots();
        let number = connection.stable_id();
        slots.remove(connection);
        let used = slots.by_peer.get(&(node, plane));
        if matches!(used, Some(Slot::Up(used)) if used.stable_id() == number) {
            slots.by_peer.remove(&(node, plane));
        }
    }

    /// A new stream to `to`. A connection that turns out to be dead is dialled anew once.
    async fn stream_to(
        &self,
        to: NodeId,
        service: Service,
    ) -> Result<(Writer, quinn::RecvStream), LinkError> {
        let plane = Plane::of(service);
        let connection = self.connection(to, plane).await?;
        if let Ok((send, recv)) = connection.open_bi().await {
            return Ok((Writer::new(send), recv));
        }
        self.forget(to, plane, &connection);
        let opened = self.connection(to, plane).await?.open_bi().await;
        let (send, recv) = opened.map_err(|error| LinkError::Unreachable {
            node: to,
            reason: error.to_string(),
        })?;
        Ok((Writer::new(send), recv))
    }

    fn own(&self, service: Service) -> Result<Arc<dyn crate::cluster::links::Serve>, LinkError> {
        (self.inner.services)(service).ok_or_else(|| LinkError::Refused {
            node: self.inner.node,
            reason: format!("{service:?} is not offered"),
        })
    }

    async fn ask(
        &self,
        to: NodeId,
        service: Service,
        request: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, LinkError> {
        let late = |_| LinkError::Unreachable {
            node: to,
            reason: "no connection in time".into(),
        };
        let stream = timeout_at(deadline, self.stream_to(to, service)).await;
        let (mut send, mut recv) = stream.map_err(late)??;
        let exchange = async {
            framing::write_head(&mut send, service, Kind::Call).await?;
            framing::write_request(&mut send, request).await?;
            framing::read_answer(&mut recv, service).await
        };
        match timeout_at(deadline, exchange).await {
            Ok(answer) => answer.map_err(|error| failed(to, error)),
            Err(_) => Err(LinkError::Lost {
                node: to,
                reason: "no answer in time".into(),
            }),
        }
    }
}

fn failed(node: NodeId, error: FrameError) -> LinkError {
    match error {
        FrameError::Refused(reason) => LinkError::Refused { node, reason },
        FrameError::Broken(reason) => LinkError::Lost { node, reason },
    }
}

impl Links for Fabric {
    fn call(
        &self,
        to: NodeId,
        service: Service,
        request: Bytes,
        within: Duration,
    ) -> BoxFuture<'_, Result<Bytes, LinkError>> {
        Box::pin(async move {
            let deadline = Instant::now() + within;
            let (bytes, max) = (request.len(), framing::bytes_max(service));
            if bytes > max {
                let reason = format!("a message of {bytes} bytes; at most {max}");
                return Err(LinkError::Refused { node: to, reason });
            }
            if to != self.inner.node {
                return self.ask(to, service, request, deadline).await;
            }
            let serve = self.own(service)?;
            match timeout_at(deadline, serve.call(to, request)).await {
                Ok(answer) => fitting(answer, service)
                    .map_err(|reason| LinkError::Refused { node: to, reason }),
                Err(_) => Err(LinkError::Lost {
                    node: to,
                    reason: "no answer in time".into(),
                }),
            }
        })
    }

    fn open(&self, to: NodeId, service: Service) -> BoxFuture<'_, Result<Duplex, LinkError>> {
        Box::pin(async move {
            if to == self.inner.node {
                let serve = self.own(service)?;
                let (here, there) = pipe::pair();
                tokio::spawn(async move { serve.stream(to, there).await });
                return Ok(here);
            }
            let opened = async {
                let (mut send, mut recv) = self.stream_to(to, service).await?;
                let head = framing::write_head(&mut send, service, Kind::Stream).await;
                head.map_err(|error| failed(to, error))?;
                let taken = framing::read_taken(&mut recv).await;
                taken.map_err(|error| failed(to, error))?;
                Ok(framing::duplex(send, recv))
            };
            let late = |_| LinkError::Lost {
                node: to,
                reason: "the stream was not taken in time".into(),
            };
            timeout(OPEN_PATIENCE, opened).await.map_err(late)?
        })
    }
}
