//! A room's facts and its life as a record and back.

use media::types::PlayoutDelay;
use protocol::proto;

use super::{Lifecycle, RoomFacts};
use crate::participant::WallClock;
use crate::room::image::records::RoomRecord;

impl RoomFacts {
    pub(in crate::room) fn image(&self, record: &mut RoomRecord, clock: &WallClock) {
        record.room = Some(self.room.clone());
        record.sync_streams = self.sync_streams;
        record.prefers_regression = self.prefers_regression;
        record.playout_min_ms = self.playout_delay.map(|delay| delay.min_ms);
        record.playout_max_ms = self.playout_delay.map_or(0, |delay| delay.max_ms);
        record.sif_trailer.clone_from(&self.sif_trailer);
        record.told_participants = self.told.num_participants;
        record.told_publishers = self.told.num_publishers;
        record.told_recording = self.told.active_recording;
        record.update_at = self.update_at.map(|at| clock.unix_micros_of(at));
    }

    pub(in crate::room) fn thaw(record: &RoomRecord, clock: &WallClock) -> Self {
        let room = record.room.clone().unwrap_or_default();
        let playout_delay = record.playout_min_ms.map(|min_ms| PlayoutDelay {
            min_ms,
            max_ms: record.playout_max_ms,
        });
        Self {
            told: proto::Room {
                num_participants: record.told_participants,
                num_publishers: record.told_publishers,
                active_recording: record.told_recording,
                ..room.clone()
            },
            room,
            sync_streams: record.sync_streams,
            prefers_regression: record.prefers_regression,
            playout_delay,
            sif_trailer: record.sif_trailer.clone(),
            update_at: record.update_at.map(|at| clock.instant_of(at)),
        }
    }
}

impl Lifecycle {
    pub(in crate::room) fn image(&self, record: &mut RoomRecord, clock: &WallClock) {
        record.empty_since = self.empty_since.map(|at| clock.unix_micros_of(at));
        record.was_joined = self.was_joined;
    }

    pub(in crate::room) fn thaw(record: &RoomRecord, clock: &WallClock) -> Self {
        Self {
            empty_since: record.empty_since.map(|at| clock.instant_of(at)),
            was_joined: record.was_joined,
        }
    }
}
