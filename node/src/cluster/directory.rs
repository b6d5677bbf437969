//! Where rooms are, as this node has applied the log: found without a quorum, placed with one. Asks
//! the leader to place (`placing` answers there). Used by gateways and the API's forwarding; opens
//! no room.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus::cluster::Cluster;
use consensus::command::{NodeState, Room};
use consensus::ids::{Epoch, NodeId, RoomName, RoomSid};
use consensus::state::State;
use prost::Message;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::limits::{LEADER_RETRY, PLACE_CALL_TIMEOUT, PLACE_PATIENCE};
use super::links::{Links, Service};
use super::wire::{PlaceReply, PlaceRequest, Reasons, place_reply};

/// A room's home and the epoch that makes it one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub home: NodeId,
    pub epoch: Epoch,
    pub sid: RoomSid,
}

impl From<&Room> for Place {
    fn from(room: &Room) -> Self {
        Self {
            home: room.home,
            epoch: room.epoch,
            sid: room.sid.clone(),
        }
    }
}

/// What this node knows of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Placed(Place),
    /// Its home is dead, or began anew, and nobody stood by: who needs it has it placed again.
    Orphaned,
    Absent,
}

/// For `skein room explain`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Explained {
    pub room: String,
    pub sid: String,
    pub home: String,
    pub standby: Option<String>,
    pub epoch: u64,
    /// `None`: it moved there when its former home died, or nobody remembers.
    pub why: Option<String>,
}

/// Why a room has no place now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    #[error("the cluster has no quorum: new rooms cannot be placed now")]
    NoQuorum,
    #[error("no media node is available")]
    NoMediaNode,
    /// For good: a name that is too long, a cluster that is full.
    #[error("{0}")]
    Refused(String),
}

#[derive(Clone)]
pub struct Directory {
    cluster: Cluster,
    links: Arc<dyn Links>,
    /// `region` of this node, for selectors that want the nearest.
    region: String,
}

impl Directory {
    pub fn new(cluster: Cluster, links: Arc<dyn Links>, region: String) -> Self {
        Self {
            cluster,
            links,
            region,
        }
    }

    pub fn node(&self) -> NodeId {
        self.cluster.node()
    }

    pub(super) fn links(&self) -> &Arc<dyn Links> {
        &self.links
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// As applied here: needs nobody, and may be some milliseconds old.
    pub fn find(&self, room: &str) -> Found {
        let name = RoomName::from(room);
        self.cluster.read(|state| found(state, &name))
    }

    /// What is certain: a name that is absent here is looked up again after everything committed
    /// before was applied. An absent room and no quorum: nobody knows.
    pub async fn find_surely(&self, room: &str) -> Result<Found, PlaceError> {
        match self.find(room) {
            Found::Absent => {
                let caught_up = self.cluster.catch_up().await;
                caught_up.map_err(|_| PlaceError::NoQuorum)?;
                Ok(self.find(room))
            }
            known => Ok(known),
        }
    }

    /// Returns when the room is not there any more: its node died, it moved, it was closed.
    pub(super) async fn until_moved(&self, room: &str, place: &Place) {
        let name = RoomName::from(room);
        let mut changes = self.cluster.changes();
        // Who placed it may know it before this node has applied it.
        let mut was_there = false;
        loop {
            let known = self.cluster.read(|state| {
                let epoch = state.room(&name).map(|room| room.epoch);
                serves(state, place.home, place.epoch).then_some(epoch)
            });
            match known {
                Some(Some(epoch)) if epoch == place.epoch => was_there = true,
                Some(Some(epoch)) if epoch < place.epoch => {}
                Some(None) if !was_there => {}
                _ => return,
            }
            // Whoever fell behind looks again too.
            if let Err(RecvError::Closed) = changes.recv().await {
                return std::future::pending().await;
            }
        }
    }

    /// What somebody else knew to be old was looked up here: brings this node up to date, if there
    /// is a quorum to say what that is.
    pub(super) async fn refresh(&self) {
        // Without a quorum nothing changes either.
        let _ = self.cluster.catch_up().await;
    }

    /// The room's place; a new one if it has none. Elections are waited for.
    pub async fn place(&self, room: &str) -> Result<Place, PlaceError> {
        let until = Instant::now() + PLACE_PATIENCE;
        let request = PlaceRequest {
            room: room.to_owned(),
            region: self.region.clone(),
            explain: false,
            hand_on: true,
        };
        let request = Bytes::from(request.encode_to_vec());
        let mut failure = PlaceError::NoQuorum;
        while Instant::now() < until {
            match self.ask_leader(request.clone()).await {
                Some(place_reply::Answer::Placed(placed)) => {
                    return Ok(Place {
                        home: NodeId(placed.home),
                        epoch: Epoch(placed.epoch),
                        sid: RoomSid(placed.sid),
                    });
                }
                Some(place_reply::Answer::Refused(why)) => return Err(PlaceError::Refused(why)),
                // Nodes may be about to come back.
                Some(place_reply::Answer::NoMediaNode(_)) => failure = PlaceError::NoMediaNode,
                Some(_) | None => failure = PlaceError::NoQuorum,
            }
            tokio::time::sleep(LEADER_RETRY).await;
        }
        Err(failure)
    }

    async fn ask_leader(&self, request: Bytes) -> Option<place_reply::Answer> {
        let leader = self.cluster.status().leader?;
        let answer = self.ask_placement(leader, request.clone()).await;
        if answer.is_some() {
            return answer;
        }
        // It may be that only the path between the two is broken.
        let others = self.nodes(|node| {
            node.info.roles.master && matches!(node.state, NodeState::Active | NodeState::Draining)
        });
        for other in others {
            if other == leader || other == self.node() {
                continue;
            }
            let answer = self.ask_placement(other, request.clone()).await;
            if answer.is_some() {
                return answer;
            }
        }
        None
    }

    async fn ask_placement(&self, node: NodeId, request: Bytes) -> Option<place_reply::Answer> {
        let (service, within) = (Service::Placement, PLACE_CALL_TIMEOUT);
        let asked = self.links.call(node, service, request, within);
        let answer = asked.await.ok()?;
        PlaceReply::decode(answer).ok()?.answer
    }

    /// Where a room is and why: what the log says, and what the master that placed it noted. One
    /// that restarted since has forgotten its reasons.
    pub async fn explain(&self, room: &str) -> Option<Explained> {
        let name = RoomName::from(room);
        let find = || self.cluster.read(|state| state.room(&name).cloned());
        let known = match find() {
            Some(known) => known,
            None => {
                self.refresh().await;
                find()?
            }
        };
        let reasons = self.ask_reasons(room).await;
        let current = reasons.into_iter().find(|told| told.epoch == known.epoch.0);
        Some(Explained {
            room: room.to_owned(),
            sid: known.sid.0,
            home: known.home.to_string(),
            standby: known.standby.map(|node| node.to_string()),
            epoch: known.epoch.0,
            why: current.map(|told| told.why),
        })
    }

    async fn ask_reasons(&self, room: &str) -> Vec<Reasons> {
        let request = PlaceRequest {
            room: room.to_owned(),
            region: self.region.clone(),
            explain: true,
            hand_on: false,
        };
        let request = Bytes::from(request.encode_to_vec());
        let masters = self.nodes(|node| node.info.roles.master);
        let asked = masters.into_iter().map(|node| {
            let request = request.clone();
            async move {
                let service = Service::Placement;
                let answer = self.links.call(node, service, request, EXPLAIN_TIMEOUT);
                match PlaceReply::decode(answer.await.ok()?).ok()?.answer? {
                    place_reply::Answer::Explanation(told) => Some(told),
                    _ => None,
                }
            }
        });
        let told = futures_util::future::join_all(asked).await;
        told.into_iter().flatten().collect()
    }

    /// Names and sids of rooms whose home died with nobody standing by.
    pub(super) fn orphans(&self) -> Vec<(String, String)> {
        self.cluster.read(|state| {
            let orphaned = |(_, room): &(&RoomName, &Room)| !serves(state, room.home, room.epoch);
            let orphans = state.rooms().filter(orphaned);
            let told = orphans.map(|(name, room)| (name.0.clone(), room.sid.0.clone()));
            told.collect()
        })
    }

    /// Nodes that may have rooms.
    pub fn media_nodes(&self) -> Vec<NodeId> {
        self.nodes(|node| {
            let works = matches!(node.state, NodeState::Active | NodeState::Draining);
            node.info.roles.media && works
        })
    }

    /// Nodes that may have agent workers.
    pub(super) fn living_nodes(&self) -> Vec<NodeId> {
        let works = [NodeState::Active, NodeState::Draining];
        self.nodes(|node| works.contains(&node.state))
    }

    fn nodes(&self, wanted: impl Fn(&consensus::state::Node) -> bool) -> Vec<NodeId> {
        self.cluster.read(|state| {
            let nodes = state.nodes().filter(|(_, node)| wanted(node));
            nodes.map(|(id, _)| id).collect()
        })
    }
}

/// An explanation is nice to have.
const EXPLAIN_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) fn found(state: &State, name: &RoomName) -> Found {
    match state.room(name) {
        None => Found::Absent,
        Some(room) if serves(state, room.home, room.epoch) => Found::Placed(room.into()),
        Some(_) => Found::Orphaned,
    }
}

/// Whether the life of `node` that runs now may have something since `epoch`: a process that
/// started anew has nothing of what the one before it had. Both numbers come from one counter.
pub(super) fn serves(state: &State, node: NodeId, epoch: Epoch) -> bool {
    let began = state.node(node).map(|node| node.incarnation);
    lives(state, node) && began.is_some_and(|began| epoch > began)
}

pub(super) fn lives(state: &State, node: NodeId) -> bool {
    let state = state.node(node).map(|node| node.state);
    matches!(state, Some(NodeState::Active | NodeState::Draining))
}
