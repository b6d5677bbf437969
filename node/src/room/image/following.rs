//! Which records have to be said anew: of whoever an input may have changed, and only if what would
//! be said differs from what was said last. Data, figures and pings change nothing here.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use prost::Message as _;
use protocol::proto::signal_request::Message as SignalRequest;

use super::records::RoomRecord;
use crate::participant::WallClock;
use crate::room::Room;
use crate::room::contract::{RoomCall, RoomInput};
use crate::room::journal::{JournalEntry, RecordKey};

/// What a standby was told.
#[derive(Debug)]
pub(in crate::room) struct Following {
    /// Turns instants into what records have; never set again, or their times would move.
    clock: WallClock,
    /// The room's own facts may have changed.
    pub(in crate::room) room_changed: bool,
    /// Of the newest record of each key.
    said: BTreeMap<RecordKey, u64>,
}

impl Following {
    /// The entry that says this, unless it was said last.
    fn say(&mut self, key: RecordKey, record: Option<Vec<u8>>) -> Option<JournalEntry> {
        let Some(record) = record else {
            self.said.remove(&key)?;
            return Some(JournalEntry { key, record: None });
        };
        let mut hasher = DefaultHasher::new();
        record.hash(&mut hasher);
        let digest = hasher.finish();
        if self.said.insert(key, digest) == Some(digest) {
            return None;
        }
        let record = Some(Bytes::from(record));
        Some(JournalEntry { key, record })
    }
}

/// Whether a fact of a shard can change what a record says.
pub(in crate::room) fn is_news(event: &media::Event) -> bool {
    !matches!(
        event,
        media::Event::Data { .. }
            | media::Event::InControl { .. }
            | media::Event::LayerActive { .. }
            | media::Event::LayerSelected { .. }
            | media::Event::PathSelected { .. }
            | media::Event::Speakers { .. }
            | media::Event::StandbyHas { .. }
            | media::Event::StandbyReady { .. }
            | media::Event::StandbyCannot { .. }
            | media::Event::StandbySilent { .. }
            | media::Event::StandbyStale { .. }
            | media::Event::Stats { .. }
            | media::Event::StreamPaused { .. }
            | media::Event::TransportDelta { .. }
            | media::Event::TransportImage { .. }
    )
}

impl Room {
    /// From now on [`Self::journal`] says what changes, and at first everything; or no longer.
    pub fn follow(&mut self, on: bool) {
        self.following = on.then(|| Following {
            clock: self.clock,
            room_changed: true,
            said: BTreeMap::new(),
        });
        self.data.replay.follow(on);
        self.roster.follow(on);
        self.protect(on);
    }

    /// What changed since the last call; belongs together.
    pub fn journal(&mut self) -> Vec<JournalEntry> {
        let Some(mut following) = self.following.take() else {
            return Vec::new();
        };
        let mut entries = Vec::new();
        if std::mem::take(&mut following.room_changed) {
            let record = self.room_record(&following.clock).encode_to_vec();
            entries.extend(following.say(RecordKey::Room, Some(record)));
        }
        for number in self.roster.take_changed() {
            let record = self.roster.get(number).map(|member| {
                let record = self.member_record(member, &following.clock);
                record.encode_to_vec()
            });
            entries.extend(following.say(RecordKey::Member(number), record));
        }
        entries.extend(self.data.replay.journal(self.now, &following.clock));
        self.following = Some(following);
        entries
    }

    pub(in crate::room) fn note_change(&mut self, input: &RoomInput) {
        let Some(following) = &mut self.following else {
            return;
        };
        following.room_changed |= match input {
            RoomInput::Shard(event) => is_news(event),
            RoomInput::StandbySaid { .. }
            | RoomInput::Call {
                request: RoomCall::Moves,
                ..
            } => false,
            RoomInput::Signal { message, .. } => !matches!(
                **message,
                SignalRequest::Ping(_) | SignalRequest::PingReq(_)
            ),
            _ => true,
        };
    }

    fn room_record(&self, clock: &WallClock) -> RoomRecord {
        let mut record = RoomRecord {
            next_number: u32::from(self.roster.next_number()),
            ..Default::default()
        };
        self.facts.image(&mut record, clock);
        self.lifecycle.image(&mut record, clock);
        self.updates.image(self.now, &mut record, clock);
        self.dispatch.image(&mut record);
        self.moves.image(&mut record);
        record
    }
}
