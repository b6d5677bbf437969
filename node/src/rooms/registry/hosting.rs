//! The registry's part in a cluster: rooms that stop here, go on here, are followed by a standby,
//! or may be opened here one day.

use actix::Handler;

use super::messages::{Fence, Flush, Follow, HostWith, Release, Reservation, Reserve, Revive};
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
        let known = self.reserved.get(&name).map(|known| known.number);
        let number = match known {
            Some(number) => Some(number),
            None if open || full => None,
            None => Some(self.free_number()),
        };
        self.turn += 1;
        let turn = self.turn;
        let reservation = number.map(|number| Reservation { number, turn });
        if let Some(reservation) = reservation {
            self.standing_in.insert(reservation.number, told);
            self.reserved.insert(name.clone(), reservation);
        }
        if reply.send(reservation).is_err() && known.is_none() {
            // Whoever asked has given up.
            self.release(&name);
        }
    }
}

impl Handler<Release> for Registry {
    type Result = ();

    fn handle(&mut self, Release { name, turn }: Release, _: &mut Self::Context) {
        let reserved = self.reserved.get(&name);
        if reserved.is_some_and(|reserved| reserved.turn == turn) {
            self.release(&name);
        }
    }
}
