//! Raft's way over the fabric, and its answers: bytes of `consensus`, on a plane of their own.

use std::time::Duration;

use bytes::Bytes;
use consensus::cluster::Cluster;
use consensus::ids::NodeId;
use consensus::peers::{Call, PeerError, Peers};
use futures_util::future::BoxFuture;

use super::Fabric;
use crate::cluster::links::{Duplex, Links, Serve, Service};

/// What `consensus` reaches other nodes with.
pub struct RaftPeers(pub Fabric);

impl Peers for RaftPeers {
    fn call(&self, to: NodeId, address: &str, request: Vec<u8>, within: Duration) -> Call<'_> {
        // What raft's membership says may be older than what the node registered since.
        self.0.book().suggest(to, address);
        Box::pin(async move {
            let answered = self.0.call(to, Service::Raft, request.into(), within).await;
            answered.map(Into::into).map_err(|error| PeerError {
                node: to,
                reason: error.to_string(),
            })
        })
    }
}

/// What answers for raft.
pub struct RaftService(pub Cluster);

impl Serve for RaftService {
    fn call(&self, _: NodeId, request: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move { Ok(self.0.serve(&request).await.into()) })
    }

    fn stream(&self, _: NodeId, _: Duplex) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
