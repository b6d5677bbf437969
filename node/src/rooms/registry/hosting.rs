//! The registry's part in a cluster: rooms that stop here, go on here, are followed by a standby,
//! or may be opened here one day.

use actix::Handler;

use super::messages::{Fence, Flush, Follow, HostWith, Release, Reserve, Revive};
use super::{ROOM_NUMBERS, Registry};
use crate::room::contract::RoomInput;
use crate::room::room_actor::ToRoom;

impl Handler<HostWith> for Registry {
    type Result = ();

    fn handle(&mut self, HostWith(hosting): HostWith, _: &mut Self::Context) {
        self.hosting = Some(hosting);
    }
}

impl Handler<Fence> for Registry {
    type Result = ();

    /// One that comes late is not meant for the room's next life.
    fn handle(&mut self, fence: Fence, _: &mut Self::Context) {
        let entry = self.by_name.get(&fence.name);
        if let Some(entry) = entry.filter(|entry| entry.epoch == fence.epoch) {
            let resume = fence.resume;
            let input = RoomInput::Fence { resume };
            entry.room.do_send(ToRoom::Input(input));
        }
    }
}

impl Handler<Revive> for Registry {
    type Result = ();

    fn handle(&mut self, Revive { name }: Revive, ctx: &mut Self::Context) {
        self.revive(&name, ctx);
    }
}

impl Handler<Follow> for Registry {
    type Result = ();

    fn handle(&mut self, Follow { name, follower }: Follow, _: &mut Self::Context) {
        if let Some(room) = self.room(&name) {
            room.do_send(ToRoom::Follow(follower));
        }
    }
}

impl Handler<Flush> for Registry {
    type Result = ();

    fn handle(&mut self, Flush { name, reply }: Flush, _: &mut Self::Context) {
        if let Some(room) = self.room(&name) {
            room.do_send(ToRoom::Flush(reply));
        }
    }
}

impl Handler<Reserve> for Registry {
    type Result = ();

    fn handle(&mut self, Reserve { name, told, reply }: Reserve, _: &mut Self::Context) {
        let open = self.by_name.contains_key(&name);
        let full = self.by_number.len() + self.standing_in.len() >= ROOM_NUMBERS as usize / 2;
        let known = self.reserved.get(&name).copied();
        let number = match known {
            Some(number) => Some(number),
            None if open || full => None,
            None => {
                let number = self.free_number();
                self.reserved.insert(name, number);
                Some(number)
            }
        };
        if let Some(number) = number {
            self.standing_in.insert(number, told);
        }
        // Whoever asked may have given up.
        let _ = reply.send(number);
    }
}

impl Handler<Release> for Registry {
    type Result = ();

    fn handle(&mut self, Release { name }: Release, _: &mut Self::Context) {
        self.release(&name);
    }
}
