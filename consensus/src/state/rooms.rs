//! Rooms: where each one is. An owner writes with its epoch and is refused once there is a newer.

use super::{Answer, State, check_epoch, check_length, full};
use crate::command::{Effect, NodeState, Outcome, Refusal, Room};
use crate::ids::{Epoch, LogIndex, NodeId, RoomName, RoomSid};
use crate::limits::{NAME_BYTES_MAX, ROOMS_MAX};

impl State {
    pub(super) fn place_room(
        &mut self,
        name: RoomName,
        sid: RoomSid,
        home: NodeId,
        standby: Option<NodeId>,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        check_length("the room's name", name.0.len(), NAME_BYTES_MAX)?;
        check_length("the room's sid", sid.0.len(), NAME_BYTES_MAX)?;
        if let Some(room) = self.rooms.get(&name) {
            return Ok(Outcome::Room {
                room: room.clone(),
                created: false,
            });
        }
        if self.rooms.len() >= ROOMS_MAX {
            return Err(full("rooms", ROOMS_MAX));
        }
        self.check_places(home, standby)?;
        let room = Room {
            sid,
            home,
            standby,
            epoch: self.next_epoch(),
        };
        self.rooms.insert(name.clone(), room.clone());
        effects.push(Effect::RoomPlaced {
            name,
            room: room.clone(),
        });
        Ok(Outcome::Room {
            room,
            created: true,
        })
    }

    pub(super) fn move_room(
        &mut self,
        name: RoomName,
        epoch: Epoch,
        home: NodeId,
        standby: Option<NodeId>,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let old = self.owned_room(&name, epoch)?.clone();
        self.check_places(home, standby)?;
        let room = Room {
            home,
            standby,
            epoch: self.next_epoch(),
            sid: old.sid,
        };
        self.rooms.insert(name.clone(), room.clone());
        effects.push(Effect::RoomMoved {
            name,
            from: old.home,
            room: room.clone(),
        });
        Ok(Outcome::Room {
            room,
            created: false,
        })
    }

    pub(super) fn move_to_standby(
        &mut self,
        name: RoomName,
        epoch: Epoch,
        since: LogIndex,
        standby: Option<NodeId>,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        self.owned_room(&name, epoch)?;
        let current = self.mandate(&name);
        let Some(mandate) = current.filter(|mandate| mandate.since == since) else {
            return Err(Refusal::Conflict {
                expected: since.0,
                found: current.map_or(0, |mandate| mandate.since.0),
            });
        };
        self.move_room(name, epoch, mandate.standby, standby, effects)
    }

    pub(super) fn set_standby(
        &mut self,
        name: RoomName,
        epoch: Epoch,
        standby: Option<NodeId>,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let mut room = self.owned_room(&name, epoch)?.clone();
        if standby == Some(room.home) {
            return Err(Refusal::SameNode);
        }
        if let Some(standby) = standby {
            self.media_node(standby)?;
        }
        if room.standby != standby {
            room.standby = standby;
            self.rooms.insert(name.clone(), room.clone());
            effects.push(Effect::StandbyChanged { name, room });
        }
        Ok(Outcome::Done)
    }

    pub(super) fn close_room(
        &mut self,
        name: RoomName,
        epoch: Epoch,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let room = self.owned_room(&name, epoch)?.clone();
        self.rooms.remove(&name);
        effects.push(Effect::RoomClosed { name, room });
        Ok(Outcome::Done)
    }

    /// Answers whether this is still the room's home, in the order of all other commands.
    pub(super) fn assert_home(&self, name: &RoomName, home: NodeId, epoch: Epoch) -> Answer {
        let room = self.owned_room(name, epoch)?;
        let state = self.known_node(home)?.state;
        if room.home != home || state == NodeState::Dead {
            return Err(Refusal::NodeState { node: home, state });
        }
        Ok(Outcome::Epoch(room.epoch))
    }

    fn owned_room(&self, name: &RoomName, epoch: Epoch) -> Result<&Room, Refusal> {
        let room = self.rooms.get(name).ok_or(Refusal::NoRoom)?;
        check_epoch(epoch, room.epoch)?;
        Ok(room)
    }

    fn check_places(&self, home: NodeId, standby: Option<NodeId>) -> Result<(), Refusal> {
        self.media_node(home)?;
        if standby == Some(home) {
            return Err(Refusal::SameNode);
        }
        standby.map_or(Ok(()), |standby| self.media_node(standby))
    }
}
