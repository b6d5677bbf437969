//! The journals of rooms between a home and a standby: frames as a session's, with protobuf in
//! them, so that nodes of neighbouring versions understand each other. And the two questions nodes
//! ask about journals. Golden bytes hold the format.

mod media;
mod questions;

use bytes::Bytes;
use consensus::ids::{Epoch, LogIndex};
use consensus::state::Mandate;
use prost::Message;

use self::media::{WireMedia, WireWord};
pub(super) use self::questions::{Flush, Holds, Question, Reply, question};
use crate::cluster::session_wire::{WireError, frame};
use crate::room::journal::{JournalEntry, MediaEntry, RecordKey, StandbyWord};

/// Of the first frame. A standby refuses others.
const VERSION: u8 = 2;

/// Kinds of frames; on the wire: never reuse one.
mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const BATCH: u8 = 2;
    pub(super) const FORGET: u8 = 3;
    pub(super) const ACK: u8 = 4;
    pub(super) const REFUSED: u8 = 5;
    pub(super) const MEDIA: u8 = 6;
}

/// A `Mandate` between two nodes that know each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tenure {
    /// Under which the sender is the room's home.
    pub epoch: Epoch,
    /// The entry that appointed the standby.
    pub since: LogIndex,
}

impl From<Mandate> for Tenure {
    fn from(mandate: Mandate) -> Self {
        let Mandate { epoch, since, .. } = mandate;
        Self { epoch, since }
    }
}

/// How a batch relates to what the standby has of the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Changes of what it has.
    Change,
    /// The beginning of everything; what it has counts until the last of it.
    Begins,
    /// More of everything.
    Continues,
}

/// Records of one room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// Counts the batches of a stream, from 1.
    pub seq: u64,
    pub room: String,
    pub tenure: Tenure,
    pub extent: Extent,
    /// Nothing of everything is missing any more.
    pub last: bool,
    pub entries: Vec<JournalEntry>,
    pub media: Vec<MediaEntry>,
    /// The room has ended there, to go on elsewhere: nothing follows.
    pub ends: bool,
}

/// What a home says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ToStandby {
    /// Always first.
    Hello,
    Batch(Batch),
    /// The room is followed elsewhere, or nowhere.
    Forget {
        room: String,
        tenure: Tenure,
    },
}

/// What a standby says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FromStandby {
    /// Everything up to this batch is remembered, or was refused.
    Ack(u64),
    /// It keeps nothing of this room.
    Refused { room: String, tenure: Tenure },
    /// Of one of the room's transports.
    Media {
        room: String,
        tenure: Tenure,
        transport: u64,
        word: StandbyWord,
    },
}

#[derive(Clone, PartialEq, Message)]
struct WireBatch {
    #[prost(uint64, tag = "1")]
    seq: u64,
    #[prost(message, required, tag = "2")]
    of: WireRoom,
    /// 0 change, 1 begins, 2 continues.
    #[prost(uint32, tag = "3")]
    extent: u32,
    #[prost(bool, tag = "4")]
    last: bool,
    #[prost(message, repeated, tag = "5")]
    entries: Vec<WireEntry>,
    #[prost(message, repeated, tag = "6")]
    media: Vec<WireMedia>,
    #[prost(bool, tag = "7")]
    ends: bool,
}

#[derive(Clone, PartialEq, Message)]
struct WireRoom {
    #[prost(string, tag = "1")]
    room: String,
    #[prost(uint64, tag = "2")]
    epoch: u64,
    #[prost(uint64, tag = "3")]
    since: u64,
}

impl WireRoom {
    fn tenure(&self) -> Tenure {
        Tenure {
            epoch: Epoch(self.epoch),
            since: LogIndex(self.since),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct WireEntry {
    /// What `number` counts: 0 the room itself, 1 participants. What only a newer node knows is
    /// left out.
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(uint64, tag = "2")]
    number: u64,
    /// Absent: it is gone.
    #[prost(bytes = "bytes", optional, tag = "3")]
    record: Option<Bytes>,
}

fn key_to_wire(key: RecordKey) -> (u32, u64) {
    match key {
        RecordKey::Room => (0, 0),
        RecordKey::Member(number) => (1, number.into()),
        RecordKey::Packet(number) => (2, number),
    }
}

fn key_of_wire(kind: u32, number: u64) -> Option<RecordKey> {
    match kind {
        0 => Some(RecordKey::Room),
        1 => u16::try_from(number).ok().map(RecordKey::Member),
        2 => Some(RecordKey::Packet(number)),
        _ => None,
    }
}

fn wire_room(room: &str, tenure: Tenure) -> WireRoom {
    WireRoom {
        room: room.to_owned(),
        epoch: tenure.epoch.0,
        since: tenure.since.0,
    }
}

impl ToStandby {
    pub(super) fn encode(&self) -> Bytes {
        match self {
            Self::Hello => frame(kind::HELLO, &[VERSION]),
            Self::Batch(batch) => {
                let entry = |entry: &JournalEntry| {
                    let (kind, number) = key_to_wire(entry.key);
                    let record = entry.record.clone();
                    WireEntry {
                        kind,
                        number,
                        record,
                    }
                };
                let body = WireBatch {
                    seq: batch.seq,
                    of: wire_room(&batch.room, batch.tenure),
                    extent: match batch.extent {
                        Extent::Change => 0,
                        Extent::Begins => 1,
                        Extent::Continues => 2,
                    },
                    last: batch.last,
                    entries: batch.entries.iter().map(entry).collect(),
                    media: batch.media.iter().map(WireMedia::of).collect(),
                    ends: batch.ends,
                };
                frame(kind::BATCH, &body.encode_to_vec())
            }
            Self::Forget { room, tenure } => {
                frame(kind::FORGET, &wire_room(room, *tenure).encode_to_vec())
            }
        }
    }

    pub(super) fn decode(kind: u8, body: Bytes) -> Result<Self, WireError> {
        let malformed = |_| WireError::Malformed;
        match kind {
            kind::HELLO => match body.first() {
                Some(&VERSION) => Ok(Self::Hello),
                Some(version) => Err(WireError::Version(*version)),
                None => Err(WireError::Malformed),
            },
            kind::BATCH => {
                let batch = WireBatch::decode(body).map_err(malformed)?;
                let media: Result<_, _> = batch.media.into_iter().map(WireMedia::entry).collect();
                let entry = |entry: WireEntry| {
                    let key = key_of_wire(entry.kind, entry.number)?;
                    let record = entry.record;
                    Some(JournalEntry { key, record })
                };
                Ok(Self::Batch(Batch {
                    seq: batch.seq,
                    tenure: batch.of.tenure(),
                    room: batch.of.room,
                    extent: match batch.extent {
                        0 => Extent::Change,
                        1 => Extent::Begins,
                        2 => Extent::Continues,
                        _ => return Err(WireError::Malformed),
                    },
                    last: batch.last,
                    entries: batch.entries.into_iter().filter_map(entry).collect(),
                    media: media?,
                    ends: batch.ends,
                }))
            }
            kind::FORGET => {
                let of = WireRoom::decode(body).map_err(malformed)?;
                let tenure = of.tenure();
                let room = of.room;
                Ok(Self::Forget { room, tenure })
            }
            _ => Err(WireError::Malformed),
        }
    }
}

impl FromStandby {
    pub(super) fn encode(&self) -> Bytes {
        match self {
            Self::Ack(seq) => frame(kind::ACK, &seq.to_be_bytes()),
            Self::Refused { room, tenure } => {
                frame(kind::REFUSED, &wire_room(room, *tenure).encode_to_vec())
            }
            Self::Media {
                room,
                tenure,
                transport,
                word,
            } => {
                let word = WireWord::of(wire_room(room, *tenure), *transport, word);
                frame(kind::MEDIA, &word.encode_to_vec())
            }
        }
    }

    pub(super) fn decode(kind: u8, body: Bytes) -> Result<Self, WireError> {
        match kind {
            kind::ACK => {
                let seq = <[u8; 8]>::try_from(&body[..]).map_err(|_| WireError::Malformed)?;
                Ok(Self::Ack(u64::from_be_bytes(seq)))
            }
            kind::REFUSED => {
                let of = WireRoom::decode(body).map_err(|_| WireError::Malformed)?;
                let tenure = of.tenure();
                let room = of.room;
                Ok(Self::Refused { room, tenure })
            }
            kind::MEDIA => WireWord::decode(body)
                .map_err(|_| WireError::Malformed)?
                .word(),
            _ => Err(WireError::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::cluster::limits::STANDBY_ADDRESSES_MAX;
    use crate::participant::KeySpace;
    use crate::room::journal::{CannotReason, MediaChange};

    const TENURE: Tenure = Tenure {
        epoch: Epoch(9),
        since: LogIndex(300),
    };

    fn batch() -> Batch {
        let record = Some(Bytes::from_static(b"alice"));
        let key = RecordKey::Member(7);
        let gone = JournalEntry {
            key: RecordKey::Room,
            record: None,
        };
        Batch {
            seq: 3,
            room: "daily".into(),
            tenure: TENURE,
            extent: Extent::Begins,
            last: true,
            entries: vec![JournalEntry { key, record }, gone],
            media: Vec::new(),
            ends: false,
        }
    }

    fn of_media() -> Batch {
        let entry = |change| MediaEntry {
            transport: 7,
            change,
        };
        let image = MediaChange::Image {
            participant_sid: "PA_a".into(),
            transports: 2,
            shard: 1,
            probe: true,
            image: Bytes::from_static(b"image"),
        };
        let delta = MediaChange::Delta(Bytes::from_static(b"delta"));
        Batch {
            extent: Extent::Change,
            entries: Vec::new(),
            media: vec![
                entry(image),
                entry(delta),
                entry(MediaChange::Gone),
                entry(MediaChange::Only(vec![7, 1 << 25])),
            ],
            ends: true,
            ..batch()
        }
    }

    #[test]
    fn what_is_said_is_what_was_meant_and_its_bytes_stay() {
        let said = [
            ToStandby::Hello,
            ToStandby::Batch(batch()),
            ToStandby::Batch(of_media()),
            ToStandby::Forget {
                room: "daily".into(),
                tenure: TENURE,
            },
        ];
        for message in said {
            let bytes = message.encode();
            let heard = ToStandby::decode(bytes[4], bytes.slice(5..)).unwrap();
            assert_eq!(heard, message);
        }
        let answers = [
            FromStandby::Ack(1 << 40),
            FromStandby::Refused {
                room: "daily".into(),
                tenure: TENURE,
            },
        ];
        let words = [
            StandbyWord::Has {
                version: 3,
                addresses: vec![([192, 0, 2, 1], 7882).into()],
                ready: true,
            },
            StandbyWord::Stale,
            StandbyWord::Cannot(CannotReason::Full),
            StandbyWord::Cannot(CannotReason::Unreadable),
            StandbyWord::Ready(false),
        ];
        let of_media = |word| FromStandby::Media {
            room: "daily".into(),
            tenure: TENURE,
            transport: 1 << 25,
            word,
        };
        for message in answers.into_iter().chain(words.map(of_media)) {
            let bytes = message.encode();
            let heard = FromStandby::decode(bytes[4], bytes.slice(5..)).unwrap();
            assert_eq!(heard, message);
        }
        let golden = b"\x00\x00\x00\x23\x02\x08\x03\x12\x0c\x0a\x05daily\x10\x09\x18\xac\x02\
            \x18\x01\x20\x01\x2a\x0b\x08\x01\x10\x07\x1a\x05alice\x2a\x00";
        assert_eq!(&ToStandby::Batch(batch()).encode()[..], golden);
    }

    #[test]
    fn a_standby_sends_clients_to_few_addresses_and_to_machines_only() {
        let hostile = [
            "224.0.0.1:9",
            "255.255.255.255:9",
            "0.0.0.0:9",
            "192.0.2.1:0",
        ];
        let many = (1..20).map(|host| format!("192.0.2.{host}:7882"));
        let addresses = hostile.map(str::to_owned).into_iter().chain(many);
        let word = WireWord {
            of: wire_room("daily", TENURE),
            has: Some(1),
            addresses: addresses.collect(),
            ..WireWord::default()
        };
        let heard = FromStandby::decode(kind::MEDIA, word.encode_to_vec().into()).unwrap();
        let FromStandby::Media {
            word: StandbyWord::Has { addresses, .. },
            ..
        } = heard
        else {
            panic!("{heard:?}");
        };
        assert!(addresses.len() <= STANDBY_ADDRESSES_MAX);
        assert!(
            addresses
                .iter()
                .all(|a| a.to_string().starts_with("192.0.2.") && a.port() > 0)
        );
    }

    #[test]
    fn what_only_a_newer_node_knows_is_left_out_or_refused() {
        let body = WireBatch {
            of: wire_room("daily", TENURE),
            entries: vec![WireEntry {
                kind: 77,
                ..WireEntry::default()
            }],
            ..WireBatch::default()
        };
        let heard = ToStandby::decode(kind::BATCH, body.encode_to_vec().into()).unwrap();
        let ToStandby::Batch(batch) = heard else {
            panic!("{heard:?}");
        };
        assert!(batch.entries.is_empty());
        let newer = ToStandby::decode(kind::HELLO, Bytes::from_static(&[VERSION + 1]));
        assert!(matches!(newer, Err(WireError::Version(_))));
        let of_another_room = WireBatch {
            of: wire_room("daily", TENURE),
            media: vec![WireMedia {
                transport: 1 << KeySpace::ROOM_SHIFT,
                ..WireMedia::default()
            }],
            ..WireBatch::default()
        };
        let body = of_another_room.encode_to_vec();
        assert!(ToStandby::decode(kind::BATCH, body.into()).is_err());
        assert!(ToStandby::decode(99, Bytes::new()).is_err());
        assert!(FromStandby::decode(kind::ACK, Bytes::from_static(b"x")).is_err());
    }
}
