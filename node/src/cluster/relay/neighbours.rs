//! What other media nodes say of their shards, for rooms of this node that may span to them: where
//! clients reach them and how busy they are, asked every second. Answers at once from what it
//! knows.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use consensus::command::NodeState;
use consensus::ids::NodeId;
use futures_util::future::join_all;
use prost::Message;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::places::{Place, Places};
use super::wire::Description;
use crate::cluster::directory::Directory;
use crate::cluster::limits::{NEIGHBOUR_AGE_MAX, NEIGHBOUR_INTERVAL, NEIGHBOUR_PATIENCE};
use crate::cluster::links::Service;
use crate::room::environment::{Endpoint, FarShard};

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

    /// Shards that may take a participant now.
    pub fn shards(&self) -> Vec<FarShard> {
        let active = self.media_nodes();
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let taking = known.iter().filter(|(node, known)| {
            let fresh = known.heard.elapsed() <= NEIGHBOUR_AGE_MAX;
            fresh && !known.full && active.contains(node)
        });
        let shards = taking.flat_map(|(node, known)| {
            let shards = (0u8..).zip(&known.shards);
            shards.filter_map(|(shard, (_, busy_permille))| {
                let place = Place { node: *node, shard };
                Some(FarShard {
                    index: self.places.index(place)?,
                    busy_permille: *busy_permille,
                })
            })
        });
        shards.collect()
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
