//! Who may go on with a room, and on what grounds: a standby holds what it knows under a mandate,
//! and takes over with that only if the log says that this very mandate made it the home. A standby
//! that was dismissed and appointed again has another one, though the epoch is the same.

use rkyv::{Archive, Deserialize, Serialize};

use super::State;
use crate::command::{Effect, Room};
use crate::ids::{Epoch, LogIndex, NodeId, RoomName};

/// One appointment of a standby.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mandate {
    /// Under whom, with which epoch.
    pub home: NodeId,
    pub epoch: Epoch,
    pub standby: NodeId,
    /// The entry that appointed it: no two appointments for a room share one.
    pub since: LogIndex,
}

/// Of one room.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mandates {
    /// In force.
    current: Option<Mandate>,
    /// In force just before the room came to its home, if that was the standby then.
    inherited: Option<Mandate>,
}

fn mandate(index: LogIndex, room: &Room) -> Option<Mandate> {
    let Room { home, epoch, .. } = *room;
    room.standby.map(|standby| Mandate {
        home,
        epoch,
        standby,
        since: index,
    })
}

impl State {
    /// Under which its standby follows the room; `None`: it has none.
    pub fn mandate(&self, room: &RoomName) -> Option<Mandate> {
        self.mandates.get(room)?.current
    }

    /// Under which its home followed the room before; `None`: it did not.
    pub fn inherited(&self, room: &RoomName) -> Option<Mandate> {
        self.mandates.get(room)?.inherited
    }

    /// What the entry at `index` did to them.
    pub(super) fn note_mandates(&mut self, index: LogIndex, effects: &[Effect]) {
        for effect in effects {
            let (name, room) = match effect {
                Effect::RoomPlaced { name, room }
                | Effect::RoomMoved { name, room, .. }
                | Effect::RoomOrphaned { name, room }
                | Effect::StandbyChanged { name, room } => (name, room),
                Effect::RoomClosed { name, .. } => {
                    self.mandates.remove(name);
                    continue;
                }
                _ => continue,
            };
            let before = self.mandates.get(name).copied().unwrap_or_default();
            let inherited = match effect {
                Effect::RoomMoved { .. } => before.current.filter(|was| was.standby == room.home),
                Effect::StandbyChanged { .. } => before.inherited,
                _ => None,
            };
            let current = mandate(index, room);
            let now = Mandates { current, inherited };
            if now == Mandates::default() {
                self.mandates.remove(name);
            } else {
                self.mandates.insert(name.clone(), now);
            }
        }
    }
}
