//! How voters reach each other. `node` implements it over QUIC, `testing` in one process; this
//! crate sees bytes in and bytes out.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::ids::NodeId;

/// What [`Peers::call`] returns.
pub type Call<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, PeerError>> + Send + 'a>>;

pub trait Peers: Send + Sync + 'static {
    /// Hands `request` to [`crate::cluster::Cluster::serve`] of another node and brings its answer
    /// back. `address` is what that node registered. Gives up after `within`.
    fn call(&self, to: NodeId, address: &str, request: Vec<u8>, within: Duration) -> Call<'_>;
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot reach {node}: {reason}")]
pub struct PeerError {
    pub node: NodeId,
    pub reason: String,
}
