//! What the leader does about rooms that nobody asks for: those without a standby, or with one that
//! drains, get one, and those whose home died with nobody standing by are closed once it is clear
//! that nobody comes back. And where rooms of a draining node go.

use std::collections::BTreeMap;
use std::sync::Arc;

use consensus::cluster::{Change, Role};
use consensus::command::{Action, Effect, NodeState};
use consensus::ids::{Epoch, NodeId, RoomName};
use consensus::placement::{Candidate, choose_standby};
use consensus::state::Node;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior};

use super::Placing;
use crate::cluster::directory::serves;
use crate::cluster::drain::Choose;
use crate::cluster::limits::{ORPHAN_LASTS, STANDBY_PAUSE, SWEEP_INTERVAL, UPKEEP_ROOMS_MAX};

/// For as long as the cluster runs; idle where this node does not lead.
pub(crate) async fn keep(placing: Arc<Placing>) {
    let mut tick = tokio::time::interval(SWEEP_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut orphans = BTreeMap::new();
    let mut changes = placing.cluster.changes();
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = a_room_is_alone(&mut changes) => {
                tokio::time::sleep(STANDBY_PAUSE).await;
                changes = changes.resubscribe();
            }
        }
        if placing.cluster.status().role != Role::Leader {
            orphans.clear();
            continue;
        }
        placing.find_standbys().await;
        placing.close_orphans(&mut orphans).await;
    }
}

/// Returns when a room may lack a standby, or a node came that can be one.
async fn a_room_is_alone(changes: &mut broadcast::Receiver<Change>) {
    loop {
        let effect = match changes.recv().await {
            Ok(Change::Effect { effect, .. }) => effect,
            Ok(Change::Replaced { .. }) | Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        };
        match effect {
            Effect::RoomMoved { room, .. }
            | Effect::RoomPlaced { room, .. }
            | Effect::StandbyChanged { room, .. }
                if room.standby.is_none() =>
            {
                return;
            }
            Effect::NodeChanged {
                state: NodeState::Active | NodeState::Draining,
                ..
            } => return,
            _ => {}
        }
    }
}

impl Placing {
    async fn find_standbys(&self) {
        let (alone, candidates) = self.cluster.read(|state| {
            let rooms = state.rooms();
            let stands = |node| state.node(node).is_some_and(Node::takes_work);
            let alone = rooms.filter(|(_, room)| {
                serves(state, room.home, room.epoch) && !room.standby.is_some_and(stands)
            });
            let alone = alone.take(UPKEEP_ROOMS_MAX);
            let alone: Vec<_> = alone.map(|(n, r)| (n.clone(), r.clone())).collect();
            (alone, self.candidates(state))
        });
        let serves = |c: &Candidate| c.media && c.state == NodeState::Active;
        for (name, room) in alone {
            if !candidates.iter().any(|c| serves(c) && c.node != room.home) {
                continue;
            }
            // Others were seen to meanwhile, and it may be on its way to the one it got since.
            if self.cluster.read(|state| state.room(&name) != Some(&room)) {
                continue;
            }
            let seed = self.seed();
            let (standby, _) = choose_standby(&candidates, room.home, &self.selector, "", seed);
            if standby.is_none() || standby == room.standby {
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
            let rooms = state.rooms();
            let rooms = rooms.filter(|(_, room)| !serves(state, room.home, room.epoch));
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
    fn elsewhere(&self, from: NodeId, standby: Option<NodeId>) -> Option<(NodeId, Option<NodeId>)> {
        let takes = |node: &NodeId| {
            self.cluster
                .read(|s| s.node(*node).is_some_and(Node::takes_work))
        };
        if let Some(home) = standby.filter(takes) {
            let candidates = self.cluster.read(|state| self.candidates(state));
            let (next, _) = choose_standby(&candidates, home, &self.selector, "", self.seed());
            return Some((home, next));
        }
        let (placement, _) = self.choose("").ok()?;
        let better = placement.home != from && takes(&placement.home);
        better.then_some((placement.home, placement.standby))
    }
}
