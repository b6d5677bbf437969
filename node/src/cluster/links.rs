//! How the parts of a node speak with the same part of another node: a question and its answer, or
//! a stream both ways, addressed by node id. The fabric implements it over QUIC; tests do it in one
//! process. Knows nothing of what is said.

pub mod pipe;
pub mod registry;
#[cfg(test)]
pub mod testing;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus::ids::NodeId;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// Which part of a node is meant. The numbers are on the wire: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Service {
    /// `consensus::cluster::Cluster::serve`.
    Raft = 1,
    /// Becoming a member, leaving, what `skein cluster status` asks.
    Membership = 2,
    /// Figures of a node, every second.
    Heartbeat = 3,
    /// Where a room shall be.
    Placement = 4,
    /// A client's signalling session, from the gateway that has its WebSocket.
    Session = 5,
    /// A call of the server API that another node's room answers.
    Api = 6,
    /// Agent workers and their jobs.
    Agent = 7,
    /// What the standby of a room follows.
    Journal = 8,
    /// Control of media that crosses nodes.
    Relay = 9,
    /// Whether a node lives: questions, opinions, tickets of lifelines.
    Liveness = 10,
    /// Drains: who is in rooms that must go, how far they are.
    Operator = 11,
    /// Requests about a WHIP session that is another node's.
    Whip = 12,
}

impl Service {
    const ALL: [Self; 12] = [
        Self::Raft,
        Self::Membership,
        Self::Heartbeat,
        Self::Placement,
        Self::Session,
        Self::Api,
        Self::Agent,
        Self::Journal,
        Self::Relay,
        Self::Liveness,
        Self::Operator,
        Self::Whip,
    ];

    /// `None`: of a newer node.
    pub fn from_wire(number: u8) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|service| *service as u8 == number)
    }
}

/// Both directions of one stream. Dropping the writer without shutting it down resets it: the
/// other side sees an error, not an end.
pub struct Duplex {
    pub send: Box<dyn AsyncWrite + Send + Unpin>,
    pub recv: Box<dyn AsyncRead + Send + Unpin>,
}

/// Why another node could not be reached, or what it said instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Nobody knows where it is.
    #[error("no address of {0} is known")]
    Unknown(NodeId),
    /// Nothing was delivered.
    #[error("cannot reach {node}: {reason}")]
    Unreachable { node: NodeId, reason: String },
    /// It may have been delivered.
    #[error("{node} did not answer: {reason}")]
    Lost { node: NodeId, reason: String },
    /// It does not offer this service, or refused.
    #[error("{node} refused: {reason}")]
    Refused { node: NodeId, reason: String },
}

/// The way to other nodes. Asking one's own id is answered in the process.
pub trait Links: Send + Sync + 'static {
    fn call(
        &self,
        to: NodeId,
        service: Service,
        request: Bytes,
        within: Duration,
    ) -> BoxFuture<'_, Result<Bytes, LinkError>>;

    fn open(&self, to: NodeId, service: Service) -> BoxFuture<'_, Result<Duplex, LinkError>>;
}

/// A link is gone; what was given to it last may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Datagrams to one other node: they may get lost and overtake each other.
pub trait Datagrams: Send + Sync {
    /// The largest that is carried.
    fn bytes_max(&self) -> usize;

    /// Bytes that are taken now without pushing out what waits.
    fn room(&self) -> usize;

    fn send(&self, datagram: Bytes) -> Result<(), Broken>;

    /// Waits for room.
    fn send_when_possible(&self, datagram: Bytes) -> BoxFuture<'_, Result<(), Broken>>;

    /// One that is larger than datagrams are; rare, so it may cost more. May wait.
    fn send_large(&self, datagram: Bytes) -> BoxFuture<'_, Result<(), Broken>>;

    /// Returns when the link is gone.
    fn broken(&self) -> BoxFuture<'_, ()>;
}

/// The way to other nodes for datagrams.
pub trait DatagramLinks: Send + Sync + 'static {
    fn datagrams(&self, to: NodeId) -> BoxFuture<'_, Result<Arc<dyn Datagrams>, LinkError>>;
}

/// Takes what other nodes send, several at a time. Never blocks. `from` is proven.
pub trait TakeDatagrams: Send + Sync + 'static {
    fn take(&self, from: NodeId, datagrams: &[Bytes]);
}

/// What answers for one service. `from` is proven by the caller's certificate.
pub trait Serve: Send + Sync + 'static {
    /// `Err` is told to the caller as `LinkError::Refused`.
    fn call(&self, from: NodeId, request: Bytes) -> BoxFuture<'_, Result<Bytes, String>>;

    /// Owns the stream until it is dropped.
    fn stream(&self, from: NodeId, stream: Duplex) -> BoxFuture<'_, ()>;
}

/// Answers of a node, by service. What is not in it is refused.
pub type Services = Arc<dyn Fn(Service) -> Option<Arc<dyn Serve>> + Send + Sync>;
