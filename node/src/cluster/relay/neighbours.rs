//! What other media nodes say of their shards, for rooms of this node that may span to them: where
//! clients reach them and how busy they are, asked every second. Answers at once from what it knows.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use consensus::command::NodeState;
use consensus::ids::NodeId;
use consensus::state::Node;
use futures_util::future::join_all;
use prost::Message;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::places::{Place, Places};
use super::wire::Description;
use crate::cluster::directory::Directory;
use crate::cluster::limits::{NEIGHBOUR_AGE_MAX, NEIGHBOUR_INTERVAL, NEIGHBOUR_PATIENCE};
use crate::cluster::links::Service;
use crate::room::environment::{Endpoint, FarShard};

/// Of a node from a client's gateway.
const AT_THE_GATEWAY: u8 = 1;
const IN_ITS_ZONE: u8 = 2;
const ELSEWHERE: u8 = 3;

/// Clones share one table.
#[derive(Clone)]
pub struct Neighbours {
    places: Places,
    directory: Directory,
    known: Arc<RwLock<BTreeMap<NodeId, Known>>>,
}

struct Known {
    shards: Vec<(Endpoint, u16)>,
    full: bool,
    heard: Instant,
}

impl Neighbours {
    pub fn new(places: Places, directory: Directory) -> Self {
        Self {
            places,
            directory,
            known: Arc::default(),
        }
    }

    /// Asks until it is stopped.
    pub async fn ask(self) {
        let mut tick = interval(NEIGHBOUR_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let nodes = self.media_nodes();
            let asked = nodes.iter().map(|node| self.describe(*node));
            let told = join_all(asked).await;
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            for (node, description) in nodes.into_iter().zip(told) {
                let Some((full, shards)) = description else {
                    continue;
                };
                let heard = Instant::now();
                let told = Known {
                    shards,
                    full,
                    heard,
                };
                known.insert(node, told);
            }
        }
    }

    /// Those that take more.
    fn media_nodes(&self) -> Vec<NodeId> {
        let own = self.places.own();
        self.directory.cluster().read(|state| {
            let nodes = state.nodes().filter(|(id, node)| {
                *id != own && node.info.roles.media && node.state == NodeState::Active
            });
            nodes.map(|(id, _)| id).collect()
        })
    }

    async fn describe(&self, node: NodeId) -> Option<(bool, Vec<(Endpoint, u16)>)> {
        let links = self.directory.links();
        let asked = links.call(node, Service::Relay, Bytes::new(), NEIGHBOUR_PATIENCE);
        let told = Description::decode(asked.await.ok()?).ok()?;
        Some((told.full, told.read()?))
    }

    /// Shards that may take a participant now whose client came to `gateway`.
    pub fn shards(&self, gateway: Option<NodeId>) -> Vec<FarShard> {
        let active = self.media_nodes();
        let distances = self.distances(gateway.unwrap_or_else(|| self.places.own()));
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let taking = known.iter().filter(|(node, known)| {
            let fresh = known.heard.elapsed() <= NEIGHBOUR_AGE_MAX;
            fresh && !known.full && active.contains(node)
        });
        let shards = taking.flat_map(|(node, known)| {
            let distance = distances.get(node).copied().unwrap_or(ELSEWHERE);
            let shards = (0u8..).zip(&known.shards);
            shards.filter_map(move |(shard, (_, busy_permille))| {
                let place = Place { node: *node, shard };
                Some(FarShard {
                    index: self.places.index(place)?,
                    busy_permille: *busy_permille,
                    distance,
                })
            })
        });
        shards.collect()
    }

    /// How far every node is from `gateway`, by zones.
    fn distances(&self, gateway: NodeId) -> BTreeMap<NodeId, u8> {
        self.directory.cluster().read(|state| {
            let zone = state.node(gateway).map(|node| node.info.zone.as_str());
            let zone = zone.filter(|zone| !zone.is_empty());
            let distance = |(id, node): (NodeId, &Node)| match id == gateway {
                true => (id, AT_THE_GATEWAY),
                false if zone == Some(node.info.zone.as_str()) => (id, IN_ITS_ZONE),
                false => (id, ELSEWHERE),
            };
            state.nodes().map(distance).collect()
        })
    }

    /// As last told, however long ago.
    pub fn endpoint(&self, index: usize) -> Option<Endpoint> {
        let place = self.places.place(index)?;
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let shards = &known.get(&place.node)?.shards;
        let (endpoint, _) = shards.get(usize::from(place.shard))?;
        Some(endpoint.clone())
    }
}
