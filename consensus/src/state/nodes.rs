//! Nodes: who is there, what they may get, what happens to what they had.

use rkyv::{Archive, Deserialize, Serialize};

use super::{Answer, State, check_epoch, check_length, full};
use crate::command::{Effect, NodeInfo, NodeState, Outcome, Refusal, Room, VoterWish};
use crate::ids::{Epoch, NodeId, RoomName};
use crate::limits::{LABEL_BYTES_MAX, NODE_ID_MAX, NODES_MAX, REMOVED_NODES_MAX};
use crate::splitmix::SplitMix;

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub info: NodeInfo,
    pub state: NodeState,
    /// Which process it is: drawn when that registered.
    pub incarnation: Epoch,
    pub wish: VoterWish,
}

impl Node {
    /// May get rooms and jobs now.
    pub fn takes_work(&self) -> bool {
        self.state == NodeState::Active
    }
}

impl State {
    pub(super) fn register_node(
        &mut self,
        node: NodeId,
        info: NodeInfo,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        for (what, text) in [
            ("the address", &info.address),
            ("the host", &info.host),
            ("the zone", &info.zone),
            ("the region", &info.region),
        ] {
            check_length(what, text.len(), LABEL_BYTES_MAX)?;
        }
        if self.nodes.contains_key(&node) {
            return self.begin_life(node, info, effects);
        }
        if self.was_removed(node) {
            return Err(Refusal::NodeRemoved(node));
        }
        if self.nodes.len() >= NODES_MAX {
            return Err(full("nodes", NODES_MAX));
        }
        // Applied on every node: an id at the end of the numbers must not end them all.
        if node.0 > NODE_ID_MAX {
            return Err(full("ids of nodes", NODE_ID_MAX as usize));
        }
        let state = NodeState::Joining;
        let incarnation = self.next_epoch();
        let new = Node {
            info,
            state,
            incarnation,
            wish: VoterWish::default(),
        };
        self.nodes.insert(node, new);
        self.next_id = self.next_id.max(node.0 + 1);
        effects.push(Effect::NodeChanged { node, state });
        Ok(Outcome::Epoch(incarnation))
    }

    /// A known node starts again: what its last process held is nobody's, or its standby's.
    fn begin_life(&mut self, node: NodeId, info: NodeInfo, effects: &mut Vec<Effect>) -> Answer {
        self.end_all_of(node, effects);
        let incarnation = self.next_epoch();
        let known = self.nodes.get_mut(&node).ok_or(Refusal::NoNode(node))?;
        known.info = info;
        known.incarnation = incarnation;
        if known.state != NodeState::Draining {
            known.state = NodeState::Joining;
        }
        let state = known.state;
        effects.push(Effect::NodeChanged { node, state });
        Ok(Outcome::Epoch(incarnation))
    }

    pub(super) fn activate_node(
        &mut self,
        node: NodeId,
        incarnation: Epoch,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let known = self.known_node(node)?;
        check_epoch(incarnation, known.incarnation)?;
        match known.state {
            NodeState::Dead => Err(Refusal::NodeState {
                node,
                state: NodeState::Dead,
            }),
            NodeState::Draining => Ok(Outcome::Done),
            NodeState::Joining | NodeState::Active => {
                self.set_node_state(node, NodeState::Active, effects)
            }
        }
    }

    pub(super) fn end_drain(&mut self, node: NodeId, effects: &mut Vec<Effect>) -> Answer {
        match self.known_node(node)?.state {
            NodeState::Draining => self.set_node_state(node, NodeState::Active, effects),
            NodeState::Active => Ok(Outcome::Done),
            state => Err(Refusal::NodeState { node, state }),
        }
    }

    pub(super) fn drain_node(&mut self, node: NodeId, effects: &mut Vec<Effect>) -> Answer {
        let state = self.known_node(node)?.state;
        if state == NodeState::Dead {
            return Err(Refusal::NodeState { node, state });
        }
        self.set_node_state(node, NodeState::Draining, effects)
    }

    /// One entry, however many rooms: their standbys take over with new epochs.
    pub(super) fn declare_dead(
        &mut self,
        node: NodeId,
        incarnation: Epoch,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let known = self.known_node(node)?;
        check_epoch(incarnation, known.incarnation)?;
        if known.state == NodeState::Dead {
            return Ok(Outcome::Done);
        }
        self.set_node_state(node, NodeState::Dead, effects)?;
        self.end_all_of(node, effects);
        Ok(Outcome::Done)
    }

    /// Rooms go to their standbys, leases end, jobs wait for another: each with a new epoch.
    fn end_all_of(&mut self, node: NodeId, effects: &mut Vec<Effect>) {
        let touched: Vec<RoomName> = self
            .rooms
            .iter()
            .filter(|(_, room)| room.home == node || room.standby == Some(node))
            .map(|(name, _)| name.clone())
            .collect();
        for name in touched {
            self.leave_room_of_dead(&name, node, effects);
        }
        self.end_leases_of(node, effects);
        self.orphan_jobs_of(node, effects);
    }

    fn leave_room_of_dead(&mut self, name: &RoomName, dead: NodeId, effects: &mut Vec<Effect>) {
        let Some(old) = self.rooms.get(name).cloned() else {
            return;
        };
        let mut room = old.clone();
        let live = |id: &NodeId| {
            self.nodes
                .get(id)
                .is_some_and(|n| n.state != NodeState::Dead)
        };
        let heir = old.standby.filter(live);
        let effect: fn(RoomName, NodeId, Room) -> Effect;
        if old.home != dead {
            room.standby = None;
            effect = |name, _, room| Effect::StandbyChanged { name, room };
        } else if let Some(heir) = heir {
            room.home = heir;
            room.standby = None;
            if !mutated!(UnfencedDeath) {
                room.epoch = self.next_epoch();
            }
            effect = |name, from, room| Effect::RoomMoved { name, from, room };
        } else {
            // The epoch moves all the same: the dead node is fenced from now on.
            room.standby = None;
            room.epoch = self.next_epoch();
            effect = |name, _, room| Effect::RoomOrphaned { name, room };
        }
        effects.push(effect(name.clone(), dead, room.clone()));
        self.rooms.insert(name.clone(), room);
    }

    pub(super) fn remove_node(&mut self, node: NodeId, effects: &mut Vec<Effect>) -> Answer {
        let Some(known) = self.nodes.get(&node) else {
            // Asked twice.
            return if self.was_removed(node) {
                Ok(Outcome::Done)
            } else {
                Err(Refusal::NoNode(node))
            };
        };
        let state = known.state;
        // Whoever wants it gone drains it first; what it does is not ended by the way.
        if state == NodeState::Active {
            return Err(Refusal::NodeState { node, state });
        }
        let rooms = self.rooms.values().filter(|room| room.home == node).count() as u64;
        let jobs = self.jobs_of(node);
        if rooms + jobs > 0 {
            return Err(Refusal::NodeInUse { node, rooms, jobs });
        }
        let watched: Vec<RoomName> = self
            .rooms
            .iter()
            .filter(|(_, room)| room.standby == Some(node))
            .map(|(name, _)| name.clone())
            .collect();
        for name in watched {
            self.leave_room_of_dead(&name, node, effects);
        }
        self.end_leases_of(node, effects);
        self.nodes.remove(&node);
        while self.removed_nodes.len() >= REMOVED_NODES_MAX {
            self.forget_one_removed();
        }
        self.removed_nodes.insert(node);
        effects.push(Effect::NodeRemoved { node });
        Ok(Outcome::Done)
    }

    pub(super) fn wish_vote(
        &mut self,
        node: NodeId,
        wish: VoterWish,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let known = self.nodes.get_mut(&node).ok_or(Refusal::NoNode(node))?;
        known.wish = wish;
        let state = known.state;
        effects.push(Effect::NodeChanged { node, state });
        Ok(Outcome::Done)
    }

    /// Any of them, as ids are random: no range of them may come to be refused, and which one is
    /// forgotten is the same everywhere.
    fn forget_one_removed(&mut self) {
        let from = NodeId(SplitMix(self.next_id ^ self.epoch).below(NODE_ID_MAX));
        let next = self.removed_nodes.range(from..).next();
        let chosen = next.or_else(|| self.removed_nodes.first()).copied();
        if let Some(chosen) = chosen {
            self.removed_nodes.remove(&chosen);
        }
    }

    /// Ids that do not come back, as far as they are remembered.
    pub fn removed_nodes(&self) -> impl Iterator<Item = NodeId> {
        self.removed_nodes.iter().copied()
    }

    fn was_removed(&self, node: NodeId) -> bool {
        node.0 < self.removed_below || self.removed_nodes.contains(&node)
    }

    pub(super) fn known_node(&self, node: NodeId) -> Result<&Node, Refusal> {
        self.nodes.get(&node).ok_or(Refusal::NoNode(node))
    }

    /// A node that may get something new.
    pub(super) fn working_node(&self, node: NodeId) -> Result<(), Refusal> {
        let state = self.known_node(node)?.state;
        match state {
            // A draining one only if placement found nothing else.
            NodeState::Active | NodeState::Draining => Ok(()),
            NodeState::Joining | NodeState::Dead => Err(Refusal::NodeState { node, state }),
        }
    }

    /// A node that may get a room, or stand by for one.
    pub(super) fn media_node(&self, node: NodeId) -> Result<(), Refusal> {
        self.working_node(node)?;
        match self.known_node(node)?.info.roles.media {
            true => Ok(()),
            false => Err(Refusal::NoMediaNode(node)),
        }
    }

    fn set_node_state(
        &mut self,
        node: NodeId,
        state: NodeState,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let known = self.nodes.get_mut(&node).ok_or(Refusal::NoNode(node))?;
        if known.state != state {
            known.state = state;
            effects.push(Effect::NodeChanged { node, state });
        }
        Ok(Outcome::Done)
    }
}
