//! The journals of rooms between a home and a standby: frames as a session's, with protobuf in
//! them, so that nodes of neighbouring versions understand each other. And the two questions nodes
//! ask about journals. Golden bytes hold the format.

use bytes::Bytes;
use consensus::ids::Epoch;
use prost::Message;

use crate::cluster::session_wire::{WireError, frame};
use crate::room::journal::{JournalEntry, RecordKey};

/// Of the first frame. A standby refuses a newer one.
const VERSION: u8 = 1;

/// Kinds of frames; on the wire: never reuse one.
mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const BATCH: u8 = 2;
    pub(super) const FORGET: u8 = 3;
    pub(super) const ACK: u8 = 4;
    pub(super) const REFUSED: u8 = 5;
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
    /// Under which the sender is its home.
    pub epoch: Epoch,
    pub extent: Extent,
    /// Nothing of everything is missing any more.
    pub last: bool,
    pub entries: Vec<JournalEntry>,
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
        epoch: Epoch,
    },
}

/// What a standby says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FromStandby {
    /// Everything up to this batch is remembered, or was refused.
    Ack(u64),
    /// It keeps nothing of this room under this epoch.
    Refused { room: String, epoch: Epoch },
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
}

#[derive(Clone, PartialEq, Message)]
struct WireRoom {
    #[prost(string, tag = "1")]
    room: String,
    #[prost(uint64, tag = "2")]
    epoch: u64,
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
    }
}

fn key_of_wire(kind: u32, number: u64) -> Option<RecordKey> {
    match kind {
        0 => Some(RecordKey::Room),
        1 => u16::try_from(number).ok().map(RecordKey::Member),
        _ => None,
    }
}

fn wire_room(room: &str, epoch: Epoch) -> WireRoom {
    WireRoom {
        room: room.to_owned(),
        epoch: epoch.0,
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
                    of: wire_room(&batch.room, batch.epoch),
                    extent: match batch.extent {
                        Extent::Change => 0,
                        Extent::Begins => 1,
                        Extent::Continues => 2,
                    },
                    last: batch.last,
                    entries: batch.entries.iter().map(entry).collect(),
                };
                frame(kind::BATCH, &body.encode_to_vec())
            }
            Self::Forget { room, epoch } => {
                frame(kind::FORGET, &wire_room(room, *epoch).encode_to_vec())
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
                let entry = |entry: WireEntry| {
                    let key = key_of_wire(entry.kind, entry.number)?;
                    let record = entry.record;
                    Some(JournalEntry { key, record })
                };
                Ok(Self::Batch(Batch {
                    seq: batch.seq,
                    room: batch.of.room,
                    epoch: Epoch(batch.of.epoch),
                    extent: match batch.extent {
                        0 => Extent::Change,
                        1 => Extent::Begins,
                        2 => Extent::Continues,
                        _ => return Err(WireError::Malformed),
                    },
                    last: batch.last,
                    entries: batch.entries.into_iter().filter_map(entry).collect(),
                }))
            }
            kind::FORGET => {
                let of = WireRoom::decode(body).map_err(malformed)?;
                let (room, epoch) = (of.room, Epoch(of.epoch));
                Ok(Self::Forget { room, epoch })
            }
            _ => Err(WireError::Malformed),
        }
    }
}

impl FromStandby {
    pub(super) fn encode(&self) -> Bytes {
        match self {
            Self::Ack(seq) => frame(kind::ACK, &seq.to_be_bytes()),
            Self::Refused { room, epoch } => {
                frame(kind::REFUSED, &wire_room(room, *epoch).encode_to_vec())
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
                let (room, epoch) = (of.room, Epoch(of.epoch));
                Ok(Self::Refused { room, epoch })
            }
            _ => Err(WireError::Malformed),
        }
    }
}

/// A call of `Service::Journal`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Question {
    #[prost(oneof = "question::Of", tags = "1, 2")]
    pub of: Option<question::Of>,
}

pub(super) mod question {
    /// What is asked.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(in super::super) enum Of {
        /// Would a session of this room go on there?
        #[prost(message, tag = "1")]
        Holds(super::Holds),
        /// To the home: tell when the standby knows everything.
        #[prost(message, tag = "2")]
        Flush(super::Flush),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Holds {
    #[prost(string, tag = "1")]
    pub room: String,
    #[prost(string, tag = "2")]
    pub participant_sid: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Flush {
    #[prost(string, tag = "1")]
    pub room: String,
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    #[prost(uint64, tag = "3")]
    pub standby: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Reply {
    /// `Holds`: 0 no, 1 the room is known, 2 the participant's media is kept warm, too.
    #[prost(uint32, tag = "1")]
    pub holds: u32,
    /// `Flush`: the standby has acknowledged everything.
    #[prost(bool, tag = "2")]
    pub flushed: bool,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

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
            epoch: Epoch(9),
            extent: Extent::Begins,
            last: true,
            entries: vec![JournalEntry { key, record }, gone],
        }
    }

    #[test]
    fn what_is_said_is_what_was_meant_and_its_bytes_stay() {
        let said = [
            ToStandby::Hello,
            ToStandby::Batch(batch()),
            ToStandby::Forget {
                room: "daily".into(),
                epoch: Epoch(9),
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
                epoch: Epoch(2),
            },
        ];
        for message in answers {
            let bytes = message.encode();
            let heard = FromStandby::decode(bytes[4], bytes.slice(5..)).unwrap();
            assert_eq!(heard, message);
        }
        let golden = b"\x00\x00\x00\x20\x02\x08\x03\x12\x09\x0a\x05daily\x10\x09\x18\x01\x20\x01\
            \x2a\x0b\x08\x01\x10\x07\x1a\x05alice\x2a\x00";
        assert_eq!(&ToStandby::Batch(batch()).encode()[..], golden);
    }

    #[test]
    fn what_only_a_newer_node_knows_is_left_out_or_refused() {
        let body = WireBatch {
            of: wire_room("daily", Epoch(1)),
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
        assert!(ToStandby::decode(99, Bytes::new()).is_err());
        assert!(FromStandby::decode(kind::ACK, Bytes::from_static(b"x")).is_err());
    }
}
