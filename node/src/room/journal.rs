//! What a standby knows of a room: records, the newest of each key, from which `Room::thaw` makes
//! the room again. The room writes them, the cluster carries them; neither reads the other's part.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;

/// What a record describes. The order is the order of thawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordKey {
    /// The room itself: metadata, limits, clocks, dispatches, who left lately.
    Room,
    /// One participant, by its number in the room.
    Member(u16),
    /// A reliable packet of the last moments, by the order in which the room passed them on.
    Packet(u64),
}

/// A change of the journal. A record replaces the earlier one of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    pub key: RecordKey,
    /// `None`: what it described is gone.
    pub record: Option<Bytes>,
}

/// What a standby has to know of one transport, to go on with it. These are not merged: their
/// order counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaEntry {
    /// Its key, as [`KeySpace::within_room`](crate::participant::KeySpace::within_room).
    pub transport: u64,
    pub change: MediaChange,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaChange {
    /// `media::Event::TransportImage`, and whose it is.
    Image {
        participant_sid: String,
        /// How many transports the participant has: all of them go on, or none.
        transports: u32,
        /// The shard at home.
        shard: u32,
        /// It asks whether the standby can read it, and no more.
        probe: bool,
        image: Bytes,
    },
    /// `media::Event::TransportDelta`.
    Delta(Bytes),
    Gone,
    /// Those that are left, of the whole room: what was said of others may have been lost. Of no
    /// transport.
    Only(Vec<u64>),
}

/// Why a standby stands by for a transport no longer; it takes nothing more of it, whatever the
/// home sends before it hears so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CannotReason {
    /// It has as much as it may keep.
    Full,
    /// It does not understand images of this node.
    Unreadable,
}

impl MediaEntry {
    /// What it occupies, about.
    pub fn bytes(&self) -> usize {
        let body = match &self.change {
            MediaChange::Image { image, .. } => image.len(),
            MediaChange::Delta(delta) => delta.len(),
            MediaChange::Gone => 0,
            MediaChange::Only(left) => size_of_val(&**left),
        };
        body + size_of::<Self>()
    }
}

/// What a standby says of a transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StandbyWord {
    /// It knows everything up to this version; where its client would reach it over UDP.
    Has {
        version: u32,
        addresses: Vec<SocketAddr>,
        /// As [`Self::Ready`], of which one may be lost.
        ready: bool,
    },
    /// It missed something.
    Stale,
    /// It has dropped it.
    Cannot(CannotReason),
    /// Whether it could take the client over unnoticed.
    Ready(bool),
}

/// A room as its journal described it so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomImage(BTreeMap<RecordKey, Bytes>);

impl RoomImage {
    pub fn apply(&mut self, entry: JournalEntry) {
        match entry.record {
            Some(record) => self.0.insert(entry.key, record),
            None => self.0.remove(&entry.key),
        };
    }

    pub fn record(&self, key: RecordKey) -> Option<&Bytes> {
        self.0.get(&key)
    }

    /// In the order of their keys.
    pub fn records(&self) -> impl Iterator<Item = (RecordKey, &Bytes)> {
        self.0.iter().map(|(key, record)| (*key, record))
    }

    /// Participants in it.
    pub fn members(&self) -> usize {
        let is_member = |key: &&RecordKey| matches!(key, RecordKey::Member(_));
        self.0.keys().filter(is_member).count()
    }

    /// What it occupies, about.
    pub fn bytes(&self) -> usize {
        let of = |record: &Bytes| record.len() + size_of::<(RecordKey, Bytes)>();
        self.0.values().map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: RecordKey, body: &'static [u8]) -> JournalEntry {
        let record = Some(Bytes::from_static(body));
        JournalEntry { key, record }
    }

    #[test]
    fn the_newest_record_of_a_key_counts_until_it_is_gone() {
        let mut image = RoomImage::default();
        image.apply(put(RecordKey::Member(2), b"old"));
        image.apply(put(RecordKey::Room, b"room"));
        image.apply(put(RecordKey::Member(2), b"new"));
        image.apply(put(RecordKey::Member(1), b"gone"));
        let key = RecordKey::Member(1);
        image.apply(JournalEntry { key, record: None });
        let records: Vec<_> = image.records().collect();
        let new = Bytes::from_static(b"new");
        let room = Bytes::from_static(b"room");
        let expected = vec![(RecordKey::Room, &room), (RecordKey::Member(2), &new)];
        assert_eq!(records, expected);
    }
}
