//! The room as a value: it says what changed of it in records, and is made again from the newest of
//! each, on a node that never heard of it. `journal` names the records; the cluster carries them.

mod following;
mod member;
pub(super) mod records;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use prost::Message as _;

use self::records::{MemberRecord, RoomRecord};
use super::environment::Services;
use super::journal::{RecordKey, RoomImage};
use super::{Founding, Room, dispatch, facts, moves, roster, updates};
use crate::participant::image::ThawKind;
use crate::participant::{MediaInput, WallClock};

pub(super) use self::following::{Following, is_news};

/// Why a room cannot be made from its records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThawError {
    #[error("there is no record of the room itself")]
    NoRoom,
    #[error("the record of the room cannot be read")]
    Malformed,
}

/// Transports that are already here and only have to go live, as
/// [`KeySpace::within_room`](crate::participant::KeySpace::within_room) of their keys. A
/// participant goes on with them if all of its transports are among them.
pub type WarmTransports = BTreeSet<u64>;

impl Room {
    /// Makes a room again. What it says next is what its shards have to be told. Its participants
    /// have no session: those whose transports are `warm` go on, the others have to resume.
    pub fn thaw(
        now: Instant,
        wall: SystemTime,
        number: u32,
        image: &RoomImage,
        warm: &WarmTransports,
        services: Arc<Services>,
    ) -> Result<Self, ThawError> {
        let record = image.record(RecordKey::Room).ok_or(ThawError::NoRoom)?;
        let record = RoomRecord::decode(&record[..]).map_err(|_| ThawError::Malformed)?;
        let mut room = Self::from_record(now, wall, number, &record, services);
        let mut deferred = Vec::new();
        for (key, bytes) in image.records() {
            let RecordKey::Member(member) = key else {
                continue;
            };
            match MemberRecord::decode(&bytes[..]) {
                Ok(record) => {
                    let since = record.deferred_at;
                    deferred.extend(since.map(|at| (member, room.clock.instant_of(at))));
                    room.thaw_member(member, record, warm);
                }
                // It comes back as somebody new.
                Err(error) => tracing::warn!(%error, member, "a participant cannot be thawed"),
            }
        }
        let clock = room.clock;
        room.data.replay.thaw(now, image, &clock);
        room.go_on(deferred);
        Ok(room)
    }

    fn from_record(
        now: Instant,
        wall: SystemTime,
        number: u32,
        record: &RoomRecord,
        services: Arc<Services>,
    ) -> Self {
        let clock = WallClock::new(now, wall);
        let rng = super::generator(&services.config.seed, number, wall);
        let facts = facts::RoomFacts::thaw(record, &clock);
        let mut roster = roster::Roster::default();
        roster.set_next_number(u16::try_from(record.next_number).unwrap_or_default());
        let founding = Founding {
            lifecycle: facts::Lifecycle::thaw(record, &clock),
            roster,
            updates: updates::Updates::thaw(now, record, &clock),
            dispatch: dispatch::Dispatches::thaw(record, &facts.room),
            facts,
        };
        let mut room = Self::found((now, clock), number, rng, founding, services);
        room.moves = moves::Moves::thaw(record);
        room
    }

    /// Everybody is here: tracks first, then who receives them, then what was under way.
    fn go_on(&mut self, deferred: Vec<(u16, Instant)>) {
        let numbers = self.roster.numbers();
        self.fed.extend(&numbers);
        self.settle();
        let Self { data, roster, .. } = self;
        data.thaw(roster);
        for number in &numbers {
            let sources = self.sources_for(*number);
            self.feed(*number, MediaInput::Sources(sources));
        }
        self.settle();
        for number in numbers {
            if self.roster.get(number).is_some_and(|one| !one.cold) {
                self.replay_all_to(number);
            }
        }
        for (number, since) in deferred {
            self.defer_again(number, since);
        }
        self.lifecycle.observe(self.now, self.roster.independent());
        self.launch_again();
        self.roster.refresh_deadlines();
    }
}

/// Whether a participant goes on as if nothing had happened. Who has no transport yet does.
fn thaw_kind(record: &MemberRecord, warm: &WarmTransports) -> ThawKind {
    let media = record.media.as_ref();
    let mut transports = media.into_iter().flat_map(|media| media.transports());
    match transports.all(|transport| warm.contains(&transport)) {
        true => ThawKind::Warm,
        false => ThawKind::Cold,
    }
}
