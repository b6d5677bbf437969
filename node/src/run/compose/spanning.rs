//! Rooms over several nodes, put together: this node's shards for others, and theirs for its rooms.

use std::sync::Arc;

use super::Node;
use crate::cluster::directory::Directory;
use crate::cluster::node::ClusterNode;
use crate::cluster::relay::plane::{self, RelayPlane, Span, Ways};
use crate::cluster::room_plane::RoomPlane;
use crate::config::Config;
use crate::shards::Shards;

impl Node {
    /// From now on rooms may span to other nodes, and theirs to this one.
    pub(super) fn span_nodes(
        &self,
        config: &Config,
        cluster: &ClusterNode,
        plane: &RoomPlane,
        shards: &Shards,
    ) {
        let (near, sink) = self.span.near();
        let links = cluster.links();
        let capacity = Arc::clone(&self.capacity);
        let parts = plane::Parts {
            directory: Directory::new(cluster.cluster().clone(), links, config.region.clone()),
            homes: plane.homes.clone(),
            rooms: self.rooms.clone(),
            shards: near,
            sink,
            is_full: Arc::new(move || capacity.is_full()),
            spans: config.cluster.room_node_participants > 0,
        };
        let relay = RelayPlane::start(parts, cluster.registry(), |task| cluster.keep(task));
        if let Some(far) = shards.far() {
            let (arrivals, carry) = relay.carry(Ways {
                workers: shards.workers(),
                far,
                links: Arc::new(cluster.fabric().clone()),
            });
            cluster.fabric().take_datagrams(arrivals);
            cluster.fabric().spawn(carry);
        }
        self.span.join(relay);
        let (ids, mut phase) = (self.relay_ids.clone(), cluster.phase());
        cluster.keep(tokio::spawn(async move {
            let entered = phase.wait_for(|phase| phase.incarnation().is_some()).await;
            let life = entered.ok().and_then(|phase| phase.incarnation());
            // One life after the other: the lower half of an epoch is as unique for ages.
            ids.live(life.map_or(0, |life| life.0 as u32));
        }));
    }

    /// Takes facts about parts of other nodes' rooms; gives back those about this node's.
    pub fn span(&self) -> Span {
        self.span.clone()
    }
}
