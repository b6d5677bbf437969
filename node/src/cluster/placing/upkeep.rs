//! What the leader does about rooms that nobody asks for: those without a standby get one, and
//! those whose home died with nobody standing by are closed once it is clear that nobody comes
//! back. And where rooms of a draining node go.

use std::collections::BTreeMap;
use std::sync::Arc;

use consensus::cluster::Role;
use consensus::command::Action;
use consensus::ids::{Epoch, NodeId, RoomName};
use consensus::placement::choose_standby;
use consensus::state::Node;
use tokio::time::{Instant, MissedTickBehavior};

use super::Placing;
use crate::cluster::directory::lives;
use crate::cluster::drain::Choose;
use crate::cluster::limits::{ORPHAN_LASTS, SWEEP_INTERVAL, UPKEEP_ROOMS_MAX};

/// For as long as the cluster runs; idle where this node does not lead.
pub(crate) async fn keep(placing: Arc<Placing>) {
    let mut tick = tokio::time::interval(SWEEP_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut orphans = BTreeMap::new();
    loop {
        tick.tick().await;
        if placing.cluster.status().role != Role::Leader {
            orphans.clear();
            continue;
        }
        placing.find_standbys().await;
        placing.close_orphans(&mut orphans).await;
    }
}

impl Placing {
    async fn find_standbys(&self) {
        let (alone, candidates) = self.cluster.read(|state| {
            let rooms = state.rooms();
            let alone = rooms.filter(|(_, room)| room.standby.is_none() && lives(state, room.home));
            let alone = alone.take(UPKEEP_ROOMS_MAX);
            let alone: Vec<_> = alone.map(|(n, r)| (n.clone(), r.clone())).collect();
            (alone, self.candidates(state))
        });
        for (name, room) in alone {
            let seed = self.seed();
            let (standby, _) = choose_standby(&candidates, room.home, &self.selector, "", seed);
            if standby.is_none() {
                continue;
            }
            let action = Action::SetStandby {
                name,
                epoch: room.epoch,
                standby,
            };
            if let Err(error) = self.cluster.propose(action).await {
                // The next round sees what became of it.
                tracing::debug!(%error, "a room got no standby");
                return;
            }
        }
    }

    /// `seen`: since when which orphan has been seen.
    async fn close_orphans(&self, seen: &mut BTreeMap<RoomName, (Epoch, Instant)>) {
        let now = Instant::now();
        let orphans: BTreeMap<RoomName, Epoch> = self.cluster.read(|state| {
            let rooms = state.rooms().filter(|(_, room)| !lives(state, room.home));
            let rooms = rooms.take(UPKEEP_ROOMS_MAX);
            rooms.map(|(n, room)| (n.clone(), room.epoch)).collect()
        });
        seen.retain(|name, (epoch, _)| orphans.get(name) == Some(epoch));
        for (name, epoch) in orphans {
            let (_, since) = *seen.entry(name.clone()).or_insert((epoch, now));
            if now.duration_since(since) < ORPHAN_LASTS {
                continue;
            }
            tracing::info!(
                room = name.0,
                "closing a room whose home died and nobody needs"
            );
            if let Err(error) = self
                .cluster
                .propose(Action::CloseRoom { name, epoch })
                .await
            {
                tracing::debug!(%error, "an orphaned room was not closed");
                return;
            }
        }
    }
}

impl Choose for Placing {
    fn elsewhere(&self, from: NodeId) -> Option<(NodeId, Option<NodeId>)> {
        let (placement, _) = self.choose("").ok()?;
        let takes = |node| {
            self.cluster
                .read(|s| s.node(node).is_some_and(Node::takes_work))
        };
        let better = placement.home != from && takes(placement.home);
        better.then_some((placement.home, placement.standby))
    }
}
