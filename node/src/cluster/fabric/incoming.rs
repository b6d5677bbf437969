//! Connections others make, and the streams they open: proves who it is, then lets the service
//! answer. Whoever shows a certificate of another cluster is refused and counted.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use consensus::ids::NodeId;
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::time::{Instant, timeout};

use super::framing::{self, Kind, Writer};
use super::identity::node_of;
use super::{Fabric, Plane};
use crate::cluster::limits::{DIAL_TIMEOUT, HANDSHAKES_MAX, HANDSHAKES_UNPROVEN_MAX, REFUSAL_LOG};
use crate::cluster::links::Service;

/// Why a connection was closed by this side.
const STRANGER: VarInt = VarInt::from_u32(1);

impl Fabric {
    /// Takes connections until the endpoint is closed.
    pub(super) async fn accept(self) {
        while let Some(incoming) = self.inner.endpoint.accept().await {
            let shaking = &self.inner.shaking;
            let under_way = shaking.load(Ordering::Relaxed);
            let proven = incoming.remote_address_validated();
            if under_way >= HANDSHAKES_UNPROVEN_MAX && incoming.may_retry() && !proven {
                // A flood from forged addresses costs a packet each, not a handshake.
                let _ = incoming.retry();
                continue;
            }
            let from = incoming.remote_address().ip();
            let visitor = self.inner.gate.admit(Instant::now().into_std(), from);
            let (Ok(visitor), true) = (visitor, under_way < HANDSHAKES_MAX) else {
                // Not even told: whoever has business here tries again.
                metrics::counter!("skein_cluster_ignored_handshakes_total").increment(1);
                incoming.ignore();
                continue;
            };
            shaking.fetch_add(1, Ordering::Relaxed);
            let fabric = self.clone();
            tokio::spawn(async move {
                let from = incoming.remote_address();
                let connected = async { incoming.accept()?.await };
                let connected = timeout(DIAL_TIMEOUT, connected).await;
                fabric.inner.shaking.fetch_sub(1, Ordering::Relaxed);
                match connected {
                    Ok(Ok(connection)) => {
                        // Whoever has a certificate of this cluster may come as often as it likes.
                        if let Some(visitor) = visitor {
                            visitor.vouch();
                        }
                        fabric.welcome(connection).await;
                    }
                    Ok(Err(error)) => fabric.refuse(&from.to_string(), &error.to_string()),
                    Err(_) => fabric.refuse(&from.to_string(), "no handshake in time"),
                }
            });
        }
    }

    async fn welcome(self, connection: Connection) {
        let node = peer_of(&connection, self.inner.cluster);
        let (Some(node), Some(plane)) = (node, Plane::of_connection(&connection)) else {
            connection.close(STRANGER, b"no certificate of a node");
            let from = connection.remote_address().to_string();
            return self.refuse(&from, "its certificate names no node");
        };
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

    /// Answers what the peer opens for as long as the connection lives.
    pub(super) async fn serve(self, node: NodeId, plane: Plane, connection: Connection) {
        while let Ok((send, recv)) = connection.accept_bi().await {
            let fabric = self.clone();
            tokio::spawn(async move { fabric.answer(node, plane, send, recv).await });
        }
        self.forget(node, plane, &connection);
    }

    async fn answer(self, from: NodeId, plane: Plane, mut send: SendStream, mut recv: RecvStream) {
        let Some((service, kind)) = framing::read_head(&mut recv).await else {
            let reason = "this node does not know what was asked for".to_owned();
            return framing::write_answer(&mut send, Err(reason)).await;
        };
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
