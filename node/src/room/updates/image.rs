//! What participants were told of each other, as records and back: who left lately, and what waits
//! for the next batch. Each change that waits is remembered with its time in the record of whom it
//! is about; the room's says when the last batch was told.

use std::time::Instant;

use protocol::proto::participant_info::State;

use super::Updates;
use crate::participant::WallClock;
use crate::room::Room;
use crate::room::image::records::{DepartedRecord, RoomRecord};
use crate::room::limits::{DEPARTED_MAX, DEPARTED_RECORDED_AGE_MAX, DEPARTED_RECORDED_MAX};

impl Updates {
    /// Of departures as many as those need whose WebSocket dies with the node.
    pub(in crate::room) fn image(&self, now: Instant, record: &mut RoomRecord, clock: &WallClock) {
        let recent = |at: Instant| now.saturating_duration_since(at) <= DEPARTED_RECORDED_AGE_MAX;
        let too_many = self.departed.len().saturating_sub(DEPARTED_RECORDED_MAX);
        let old = self.departed.iter().filter(|(at, _)| !recent(*at)).count();
        let left_out = old.max(too_many);
        let newest = left_out
            .checked_sub(1)
            .and_then(|last| self.departed.get(last));
        let forgotten = newest.map(|(at, _)| *at).or(self.forgotten);
        record.forgotten = forgotten.map(|at| clock.unix_micros_of(at));
        let kept = self.departed.iter().skip(left_out);
        record.departed = kept
            .map(|(at, info)| DepartedRecord {
                at: clock.unix_micros_of(*at),
                info: Some(info.clone()),
                pending: self.waits(&info.identity, &info.sid),
            })
            .collect();
        record.flush_at = self.flush_at.map(|at| clock.unix_micros_of(at));
        record.flushed_at = self.flushed_at.map(|at| clock.unix_micros_of(at));
    }

    /// Since when a change of a participant waits for the batch, if one does.
    pub(in crate::room) fn deferred_at(&self, identity: &str) -> Option<Instant> {
        self.pending.get(identity).map(|(at, _)| *at)
    }

    fn waits(&self, identity: &str, sid: &str) -> bool {
        let pending = self.pending.get(identity);
        pending.is_some_and(|(_, info)| info.sid == sid && info.state() == State::Disconnected)
    }

    pub(in crate::room) fn thaw(now: Instant, record: &RoomRecord, clock: &WallClock) -> Self {
        let mut updates = Self {
            forgotten: record.forgotten.map(|at| clock.instant_of(at)),
            flush_at: record.flush_at.map(|at| clock.instant_of(at)),
            flushed_at: record.flushed_at.map(|at| clock.instant_of(at)),
            ..Self::default()
        };
        for one in record.departed.iter().take(DEPARTED_MAX) {
            let Some(info) = one.info.clone() else {
                continue;
            };
            if one.pending {
                updates.defer(now, info.clone());
            }
            updates.departed.push_back((clock.instant_of(one.at), info));
        }
        updates
    }
}

impl Room {
    /// After a thaw: a change of a participant waited for the batch since then.
    pub(in crate::room) fn defer_again(&mut self, number: u16, since: Instant) {
        let told = self.updates.flushed_at.is_some_and(|at| at >= since);
        let Some(member) = self.roster.get(number).filter(|_| !told) else {
            return;
        };
        if !member.is_hidden() {
            let info = member.info.clone();
            self.updates.defer(since, info);
        }
    }
}
