//! What the room is, apart from who is in it: its `Room` message, its secrets, the counts clients
//! were last told, and how long it lives without anybody.

mod image;

use std::time::{Duration, Instant};

use media::types::PlayoutDelay;
use protocol::ids::RoomSid;
use protocol::proto;
use protocol::proto::signal_response::Message;
use rand::{Rng, RngExt};

use super::Room;
use super::limits::ROOM_UPDATE_INTERVAL;
use super::options::RoomOptions;
use crate::participant::{MediaInput, WallClock};

pub(super) struct RoomFacts {
    /// Counts are filled when the message is made, see [`Room::room_info`].
    pub(super) room: proto::Room,
    pub(super) sync_streams: bool,
    /// The room is below `video.codec_regression_threshold`.
    pub(super) prefers_regression: bool,
    pub(super) playout_delay: Option<PlayoutDelay>,
    /// Appended to frames the server injects into encrypted tracks.
    pub(super) sif_trailer: Vec<u8>,
    /// What the last `room_update` said.
    told: proto::Room,
    update_at: Option<Instant>,
}

const SECRET_CHARS: usize = 32;
const SIF_TRAILER_BYTES: usize = 12;

impl RoomFacts {
    pub(super) fn new(
        now: Instant,
        clock: &WallClock,
        options: &RoomOptions,
        enabled_codecs: Vec<proto::Codec>,
        rng: &mut impl Rng,
    ) -> Self {
        let created_ms = clock.unix_micros_at(now) / 1000;
        let secret: String = (0..SECRET_CHARS)
            .map(|_| char::from(rng.sample(rand::distr::Alphanumeric)))
            .collect();
        let room = proto::Room {
            sid: options
                .sid
                .clone()
                .unwrap_or_else(|| RoomSid::random(rng).0),
            name: options.name.clone(),
            empty_timeout: options.empty_timeout_s,
            departure_timeout: options.departure_timeout_s,
            max_participants: options.max_participants,
            creation_time: created_ms / 1000,
            creation_time_ms: created_ms,
            turn_password: secret,
            enabled_codecs,
            metadata: options.metadata.clone(),
            ..Default::default()
        };
        let mut sif_trailer = vec![0; SIF_TRAILER_BYTES];
        rng.fill_bytes(&mut sif_trailer);
        Self {
            told: room.clone(),
            room,
            sync_streams: options.sync_streams,
            prefers_regression: true,
            playout_delay: options.playout_delay,
            sif_trailer,
            update_at: None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.update_at
    }
}

impl Room {
    /// The room as everybody may see it now.
    pub(super) fn room_info(&self) -> proto::Room {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        proto::Room {
            num_participants: count(self.roster.independent()),
            num_publishers: count(self.roster.iter().filter(|m| m.info.is_publisher).count()),
            active_recording: self.roster.iter().any(|m| m.is_recorder()),
            ..self.facts.room.clone()
        }
    }

    /// Somebody came or went: in a small room all move to a backup codec, in a large one only those
    /// who need it.
    pub(super) fn weigh_regression(&mut self) {
        let threshold = self.services.config.codec_regression_threshold as usize;
        let prefer = threshold == 0 || self.roster.independent() < threshold;
        if std::mem::replace(&mut self.facts.prefers_regression, prefer) == prefer {
            return;
        }
        for number in self.roster.numbers() {
            self.feed(number, MediaInput::PreferRegression(prefer));
        }
    }

    /// Somebody came, went or began to publish: counts are told later, a recording at once.
    pub(super) fn room_changed(&mut self) {
        let info = self.room_info();
        if info.active_recording != self.facts.told.active_recording
            || info.metadata != self.facts.told.metadata
        {
            self.tell_room(info);
        } else if info != self.facts.told {
            self.facts
                .update_at
                .get_or_insert(self.now + ROOM_UPDATE_INTERVAL);
        }
    }

    pub(super) fn room_timers(&mut self) {
        if self.facts.update_at.is_some_and(|at| at <= self.now) {
            self.facts.update_at = None;
            let info = self.room_info();
            if info != self.facts.told {
                self.tell_room(info);
            }
        }
    }

    fn tell_room(&mut self, info: proto::Room) {
        self.facts.told = info.clone();
        self.facts.update_at = None;
        self.tell_all(&Message::RoomUpdate(proto::RoomUpdate { room: Some(info) }));
    }
}

/// When a room without participants ends: agents and recorders do not keep it.
pub(super) struct Lifecycle {
    empty_since: Option<Instant>,
    /// Somebody was here: the departure timeout counts, no longer the empty one.
    was_joined: bool,
}

impl Lifecycle {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            empty_since: Some(now),
            was_joined: false,
        }
    }

    /// Called after every change of the membership.
    pub(super) fn observe(&mut self, now: Instant, independent: usize) {
        if independent > 0 {
            self.was_joined = true;
            self.empty_since = None;
        } else {
            self.empty_since.get_or_insert(now);
        }
    }

    pub(super) fn deadline(&self, room: &proto::Room) -> Option<Instant> {
        let timeout_s = if self.was_joined {
            room.departure_timeout
        } else {
            room.empty_timeout
        };
        Some(self.empty_since? + Duration::from_secs(u64::from(timeout_s)))
    }
}
