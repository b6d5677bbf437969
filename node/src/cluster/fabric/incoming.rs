//! Connections others make, and the streams they open: proves who it is, then lets the service
//! answer. Whoever shows a certificate of another cluster is refused and counted.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use consensus::ids::NodeId;
use quinn::{Connection, Incoming, RecvStream, SendStream, VarInt};
use tokio::time::{Instant, timeout};

use super::framing::{self, Kind, Writer};
use super::identity::node_of;
use super::{Fabric, Plane};
use crate::cluster::limits::{
    DIAL_TIMEOUT, HANDSHAKES_MAX, HANDSHAKES_UNPROVEN_MAX, LIVE_STREAMS_MAX, RAFT_STREAMS_MAX,
    REFUSAL_LOG, STREAMS_AT_FIRST, STREAMS_MAX,
};
use crate::cluster::links::Service;
use crate::net::gate::Visitor;

/// Why a connection was closed by this side.
const STRANGER: VarInt = VarInt::from_u32(1);

/// What becomes of a stranger's first packet.
enum Door {
    /// Let in, and counted until its certificate is seen.
    Open(Option<Visitor>),
    /// It shows first that its address is its own: a packet, not a handshake.
    Prove,
    Shut,
}

/// How many streams a peer may have open on one connection.
struct Allowance {
    open: Arc<()>,
    now: u32,
    most: u32,
}

impl Allowance {
    fn of(plane: Plane) -> Self {
        let most = match plane {
            Plane::Raft => RAFT_STREAMS_MAX,
            Plane::Rpc => STREAMS_MAX,
            Plane::Live => LIVE_STREAMS_MAX,
            Plane::Relay => 0,
        };
        let (open, now) = (Arc::new(()), STREAMS_AT_FIRST);
        Self { open, now, most }
    }

    /// A stream is open for as long as the result lives.
    fn hold(&self) -> Arc<()> {
        Arc::clone(&self.open)
    }

    /// The new allowance, when half of the last one is in use.
    fn raised(&mut self) -> Option<u32> {
        let open = Arc::strong_count(&self.open).saturating_sub(1);
        let half = usize::try_from(self.now / 2).unwrap_or(usize::MAX);
        if open < half || self.now >= self.most {
            return None;
        }
        self.now = self.now.saturating_mul(2).min(self.most);
        Some(self.now)
    }
}

impl Fabric {
    /// Takes connections until the endpoint is closed.
    pub(super) async fn accept(self) {
        while let Some(incoming) = self.inner.endpoint.accept().await {
            let visitor = match self.door(&incoming) {
                Door::Open(visitor) => visitor,
                Door::Prove => {
                    let _ = incoming.retry();
                    continue;
                }
                Door::Shut => {
                    // Not even told: whoever has business here tries again.
                    metrics::counter!("skein_cluster_ignored_handshakes_total").increment(1);
                    incoming.ignore();
                    continue;
                }
            };
            self.inner.shaking.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(self.clone().shake(incoming, visitor));
        }
    }

    /// A network has its bucket, but only what surely comes from it is taken out of that: whoever
    /// forges a node's address would shut the node out.
    fn door(&self, incoming: &Incoming) -> Door {
        let under_way = self.inner.shaking.load(Ordering::Relaxed);
        let now = Instant::now().into_std();
        if under_way >= HANDSHAKES_MAX {
            return Door::Shut;
        }
        if incoming.remote_address_validated() || !incoming.may_retry() {
            let from = incoming.remote_address().ip();
            return self
                .inner
                .gate
                .admit(now, from)
                .map_or(Door::Shut, Door::Open);
        }
        if under_way >= HANDSHAKES_UNPROVEN_MAX {
            return Door::Prove;
        }
        let anybody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let unproven = self.inner.unproven.admit(now, anybody);
        unproven.map_or(Door::Prove, Door::Open)
    }

    async fn shake(self, incoming: Incoming, visitor: Option<Visitor>) {
        let from = incoming.remote_address();
        let connected = async { incoming.accept()?.await };
        let connected = timeout(DIAL_TIMEOUT, connected).await;
        self.inner.shaking.fetch_sub(1, Ordering::Relaxed);
        match connected {
            Ok(Ok(connection)) => self.welcome(connection, visitor.as_ref()),
            Ok(Err(error)) => self.refuse(&from.to_string(), &error.to_string()),
            Err(_) => self.refuse(&from.to_string(), "no handshake in time"),
        }
    }

    fn welcome(self, connection: Connection, visitor: Option<&Visitor>) {
        let node = peer_of(&connection, self.inner.cluster);
        let (Some(node), Some(plane)) = (node, Plane::of_connection(&connection)) else {
            connection.close(STRANGER, b"no certificate of a node");
            let from = connection.remote_address().to_string();
            return self.refuse(&from, "its certificate names no node");
        };
        // Whoever has a certificate of this cluster may come as often as it likes.
        if let Some(visitor) = visitor {
            visitor.vouch();
        }
        if plane == Plane::Relay && self.is_removed(node) {
            return connection.close(STRANGER, b"removed from the cluster");
        }
        if plane == Plane::Relay {
            self.hear(node, &connection);
            return self.read_datagrams(node, connection);
        }
        self.adopt(node, plane, &connection);
    }

    /// Not of this cluster: a wrong token, or somebody who has no business here.
    fn refuse(&self, from: &str, reason: &str) {
        self.inner.refused.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("skein_cluster_refused_connections_total").increment(1);
        let now = Instant::now();
        let said = &self.inner.refusal_said;
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|at| now.duration_since(at) >= REFUSAL_LOG) {
            *said = Some(now);
            tracing::warn!(from, reason, "refused a connection to the cluster endpoint");
        }
    }

    fn is_removed(&self, node: NodeId) -> bool {
        self.removed().contains(&node)
    }

    /// Answers what the peer opens for as long as the connection lives.
    pub(super) async fn serve(self, node: NodeId, plane: Plane, connection: Connection) {
        let mut allowance = Allowance::of(plane);
        while let Ok((send, recv)) = connection.accept_bi().await {
            let fabric = self.clone();
            let held = allowance.hold();
            if let Some(more) = allowance.raised() {
                connection.set_max_concurrent_bi_streams(VarInt::from_u32(more));
            }
            tokio::spawn(async move {
                fabric.answer(node, plane, send, recv).await;
                drop(held);
            });
        }
        self.forget(node, plane, &connection);
    }

    async fn answer(self, from: NodeId, plane: Plane, mut send: SendStream, mut recv: RecvStream) {
        let Some((service, kind)) = framing::read_head(&mut recv).await else {
            let reason = "this node does not know what was asked for".to_owned();
            return framing::write_answer(&mut send, Err(reason)).await;
        };
        // The log itself tells it that it was removed.
        let told = matches!(service, Service::Membership | Service::Raft);
        if !told && self.is_removed(from) {
            let reason = format!("{from} was removed from the cluster");
            return framing::write_answer(&mut send, Err(reason)).await;
        }
        let offered = (Plane::of(service) == plane)
            .then(|| (self.inner.services)(service))
            .flatten();
        let Some(serve) = offered else {
            let reason = format!("{service:?} is not offered");
            return framing::write_answer(&mut send, Err(reason)).await;
        };
        match kind {
            Kind::Call => {
                let Some(request) = framing::read_request(&mut recv, service).await else {
                    return;
                };
                let answer = fitting(serve.call(from, request).await, service);
                framing::write_answer(&mut send, answer).await;
            }
            Kind::Stream => {
                if framing::write_taken(&mut send).await {
                    let writer = Writer::new(send);
                    serve.stream(from, framing::duplex(writer, recv)).await;
                }
            }
        }
    }
}

/// An answer the other side would not read is not sent.
pub(super) fn fitting(answer: Result<Bytes, String>, service: Service) -> Result<Bytes, String> {
    let max = framing::bytes_max(service);
    answer.and_then(|bytes| match bytes.len() <= max {
        true => Ok(bytes),
        false => Err(format!("an answer of {} bytes; at most {max}", bytes.len())),
    })
}

pub(super) fn peer_of(connection: &Connection, cluster: u64) -> Option<NodeId> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>();
    node_of(chain.ok()?.first()?, cluster)
}
