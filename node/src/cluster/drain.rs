//! Drains carried out: where this node leads and holds the duty, it shows `operator::drain` the
//! log, moves rooms where placement wants them, and notes in the log what is over. Any node may be
//! asked for a drain and how far it is. Decides nothing.

mod duty;
mod messages;
mod view;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use consensus::cluster::{Cluster, ProposeError, Role};
use consensus::command::{Action, Refusal};
use consensus::ids::NodeId;
use consensus::keeper;
use consensus::state::State;
use futures_util::future::BoxFuture;
use operator::cloud::Group;
use operator::drain::{Progress, Record, cancel, request};
use operator::limits::MOVES_PER_SECOND_DEFAULT;

use super::limits::{DRAIN_PATIENCE, DRAIN_TRIES_MAX};
use super::links::{Duplex, Links, Serve, Service};
use super::node::ClusterNode;
use super::quorum::Observer;
pub use duty::run;
pub use messages::Terms;
use messages::{Question, decode, encode};

/// Who is in the rooms of this node.
pub trait Census: Send + Sync + 'static {
    /// Rooms and how many participants each has.
    fn count(&self) -> BoxFuture<'_, Vec<(String, u32)>>;
}

impl Census for crate::rooms::Rooms {
    fn count(&self) -> BoxFuture<'_, Vec<(String, u32)>> {
        Box::pin(async move {
            let rooms = self.list(&[]).await;
            let count = |room: protocol::proto::Room| (room.name, room.num_participants);
            rooms.into_iter().map(count).collect()
        })
    }
}

/// Where a room goes that must leave its home.
pub trait Choose: Send + Sync + 'static {
    /// Home and standby, the home being `standby` where that takes it, as it knows the room;
    /// `None`: nobody takes it.
    fn elsewhere(&self, from: NodeId, standby: Option<NodeId>) -> Option<(NodeId, Option<NodeId>)>;
}

/// What it is made of.
pub struct DrainParts {
    pub cluster: Cluster,
    pub links: Arc<dyn Links>,
    pub census: Arc<dyn Census>,
    pub choose: Arc<dyn Choose>,
    /// Where machines go back to, if anywhere.
    pub machines: Option<Arc<dyn Group>>,
    /// Milliseconds since 1970.
    pub wall_ms: fn() -> u64,
    pub moves_per_second: f64,
}

/// A handle, and what answers `Service::Operator`. Clones are equal.
#[derive(Clone)]
pub struct Drainage {
    parts: Arc<DrainParts>,
    /// As the duty last saw it.
    progress: Arc<Mutex<Vec<Progress>>>,
}

/// Why a node is not drained, or not any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrainError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("{0}")]
    Unavailable(String),
}

impl From<ProposeError> for DrainError {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::Refused(refusal) => Self::Refused(refusal),
            error => Self::Unavailable(error.to_string()),
        }
    }
}

/// What the log says of a node's drain, if it drains.
pub(super) fn drain_record(state: &State, node: NodeId) -> Option<Record> {
    view::record(state, node).map(|(record, _)| record)
}

/// Lets drains be asked for at this node, and carried out where it leads, until it stops.
pub fn attach(
    node: &ClusterNode,
    census: Arc<dyn Census>,
    choose: Arc<dyn Choose>,
    machines: Option<Arc<dyn Group>>,
) -> Drainage {
    let drainage = Drainage::new(DrainParts {
        cluster: node.cluster().clone(),
        links: node.links(),
        census,
        choose,
        machines,
        wall_ms,
        moves_per_second: MOVES_PER_SECOND_DEFAULT,
    });
    let registry = node.registry();
    registry.add(Service::Operator, Arc::new(drainage.clone()));
    node.keep(tokio::spawn(run(drainage.clone(), voters(node))));
    drainage
}

/// What the quorum keeper sees, at each call.
pub(super) fn voters(node: &ClusterNode) -> impl FnMut() -> Option<keeper::View> + Send + use<> {
    let (cluster, heard) = (node.cluster().clone(), node.heartbeats().clone());
    let mut observer = Observer::default();
    move || {
        let long_lived = |node| heard.of(node).is_some_and(|h| h.beat.long_lived);
        let (now, status) = (tokio::time::Instant::now(), cluster.status());
        Some(cluster.read(|state| observer.view(now, &status, state, long_lived)))
    }
}

fn wall_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

impl Drainage {
    pub fn new(parts: DrainParts) -> Self {
        Self {
            parts: Arc::new(parts),
            progress: Arc::default(),
        }
    }

    /// Asked again, it is one drain under the stricter terms of both.
    pub async fn drain(&self, node: NodeId, terms: &Terms) -> Result<(), DrainError> {
        let cluster = &self.parts.cluster;
        for _ in 0..DRAIN_TRIES_MAX {
            // Somebody else may have asked just now, on another node.
            let _ = cluster.catch_up().await;
            let (before, rooms, known) = cluster.read(|state| {
                let record = view::record(state, node);
                let rooms = state.rooms().filter(|(_, room)| room.home == node);
                (record, rooms.count(), state.node(node).is_some())
            });
            if !known {
                return Err(Refusal::NoNode(node).into());
            }
            let rooms = u32::try_from(rooms).unwrap_or(u32::MAX);
            let record = terms.record((self.parts.wall_ms)(), rooms);
            let [note, drain] = request(node, record, before);
            match cluster.propose(note).await {
                Ok(_) => {}
                Err(ProposeError::Refused(Refusal::Conflict { .. })) => continue,
                Err(error) => return Err(error.into()),
            }
            cluster.propose(drain).await?;
            return Ok(());
        }
        Err(DrainError::Unavailable(
            "others change it all the time".into(),
        ))
    }

    /// It serves again.
    pub async fn undrain(&self, node: NodeId) -> Result<(), DrainError> {
        for action in cancel(node) {
            self.parts.cluster.propose(action).await?;
        }
        Ok(())
    }

    /// Of all nodes that drain, as the leader sees it.
    pub async fn progress(&self) -> Result<Vec<serde_json::Value>, DrainError> {
        let unavailable = |reason: String| DrainError::Unavailable(reason);
        let leader = self.parts.cluster.status().leader;
        let leader = leader.ok_or_else(|| unavailable("nobody leads the cluster now".into()))?;
        let question = encode(&Question::Progress);
        let asked = self
            .parts
            .links
            .call(leader, Service::Operator, question, DRAIN_PATIENCE);
        let answer = asked
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        decode(&answer).map_err(unavailable)
    }

    async fn answer(&self, question: Question) -> Result<Bytes, String> {
        match question {
            Question::Rooms => Ok(encode(&self.parts.census.count().await)),
            Question::Progress if self.parts.cluster.status().role != Role::Leader => {
                Err("another node leads by now".into())
            }
            Question::Progress => {
                let progress = self.progress.lock();
                Ok(encode(&*progress.unwrap_or_else(PoisonError::into_inner)))
            }
        }
    }

    fn publish(&self, progress: Vec<Progress>) {
        let mut shown = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        *shown = progress;
    }

    /// What is over stays written down until the next drain, or its end.
    async fn note_done(&self, node: NodeId, record: Record, forced: bool) -> Result<(), String> {
        let cluster = &self.parts.cluster;
        let now = cluster.read(|state| view::record(state, node));
        let Some((now, version)) = now.filter(|(now, _)| now.started_ms == record.started_ms)
        else {
            return Ok(());
        };
        let action = Action::SetValue {
            key: Record::key(node),
            value: now.done((self.parts.wall_ms)(), forced).encode(),
            expected: Some(version),
        };
        let noted = cluster.propose(action).await;
        noted.map(|_| ()).map_err(|error| error.to_string())
    }
}

impl Serve for Drainage {
    fn call(&self, _: NodeId, request: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move { self.answer(decode(&request)?).await })
    }

    fn stream(&self, _: NodeId, _: Duplex) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

#[cfg(test)]
mod tests;
