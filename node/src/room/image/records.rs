//! What is written down of a room and of each participant, as protobuf: two versions of the program
//! understand each other as long as numbers of fields are never given to something else. LiveKit's
//! messages are nested as they are; instants are Unix microseconds.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::proto;

use crate::participant::image::records::MediaRecord;

/// The room itself.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::room) struct RoomRecord {
    #[prost(message, optional, tag = "1")]
    pub(in crate::room) room: Option<proto::Room>,
    #[prost(bool, tag = "2")]
    pub(in crate::room) sync_streams: bool,
    #[prost(bool, tag = "3")]
    pub(in crate::room) prefers_regression: bool,
    #[prost(uint32, optional, tag = "4")]
    pub(in crate::room) playout_min_ms: Option<u32>,
    #[prost(uint32, tag = "5")]
    pub(in crate::room) playout_max_ms: u32,
    #[prost(bytes = "vec", tag = "6")]
    pub(in crate::room) sif_trailer: Vec<u8>,
    /// What the last `room_update` said.
    #[prost(uint32, tag = "7")]
    pub(in crate::room) told_participants: u32,
    #[prost(uint32, tag = "8")]
    pub(in crate::room) told_publishers: u32,
    #[prost(bool, tag = "9")]
    pub(in crate::room) told_recording: bool,
    #[prost(sint64, optional, tag = "10")]
    pub(in crate::room) update_at: Option<i64>,
    #[prost(sint64, optional, tag = "11")]
    pub(in crate::room) empty_since: Option<i64>,
    #[prost(bool, tag = "12")]
    pub(in crate::room) was_joined: bool,
    /// Of the next participant.
    #[prost(uint32, tag = "13")]
    pub(in crate::room) next_number: u32,
    /// When the batch of updates was told last.
    #[prost(sint64, optional, tag = "14")]
    pub(in crate::room) flushed_at: Option<i64>,
    /// Who left lately, oldest first.
    #[prost(message, repeated, tag = "15")]
    pub(in crate::room) departed: Vec<DepartedRecord>,
    /// When the newest of those left that are not among them.
    #[prost(sint64, optional, tag = "16")]
    pub(in crate::room) forgotten: Option<i64>,
    #[prost(message, repeated, tag = "17")]
    pub(in crate::room) dispatches: Vec<proto::AgentDispatch>,
    /// Jobs that are not in their dispatch's state as they are.
    #[prost(message, repeated, tag = "18")]
    pub(in crate::room) jobs: Vec<proto::Job>,
    /// Jobs that were told to end.
    #[prost(string, repeated, tag = "19")]
    pub(in crate::room) ending: Vec<String>,
    /// When the next batch of updates is due.
    #[prost(sint64, optional, tag = "20")]
    pub(in crate::room) flush_at: Option<i64>,
    /// From node to node, oldest first.
    #[prost(message, repeated, tag = "21")]
    pub(in crate::room) moves: Vec<MoveRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::room) struct MoveRecord {
    #[prost(string, tag = "1")]
    pub(in crate::room) from: String,
    #[prost(string, tag = "2")]
    pub(in crate::room) to: String,
    #[prost(string, tag = "3")]
    pub(in crate::room) cause: String,
    /// When the new home learnt of it.
    #[prost(sint64, tag = "4")]
    pub(in crate::room) at: i64,
    /// Unless nobody was heard.
    #[prost(uint64, optional, tag = "5")]
    pub(in crate::room) took_ms: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::room) struct DepartedRecord {
    #[prost(sint64, tag = "1")]
    pub(in crate::room) at: i64,
    #[prost(message, optional, tag = "2")]
    pub(in crate::room) info: Option<proto::ParticipantInfo>,
    /// The others were not told yet.
    #[prost(bool, tag = "3")]
    pub(in crate::room) pending: bool,
}

/// One participant.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::room) struct MemberRecord {
    /// Without its tracks: they are its media's.
    #[prost(message, optional, tag = "1")]
    pub(in crate::room) info: Option<proto::ParticipantInfo>,
    /// Without what is the same in `info`.
    #[prost(bytes = "vec", tag = "2")]
    pub(in crate::room) claims_json: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    pub(in crate::room) client: Option<proto::ClientInfo>,
    /// Bits of [`facts`].
    #[prost(uint32, tag = "4")]
    pub(in crate::room) facts: u32,
    #[prost(sint64, tag = "5")]
    pub(in crate::room) refresh_at: i64,
    #[prost(sint64, optional, tag = "6")]
    pub(in crate::room) join_deadline: Option<i64>,
    #[prost(sint64, optional, tag = "7")]
    pub(in crate::room) absent_since: Option<i64>,
    /// When a change of it was left to the next batch of updates.
    #[prost(sint64, optional, tag = "8")]
    pub(in crate::room) deferred_at: Option<i64>,
    /// Who may have its tracks, if not everybody.
    #[prost(message, repeated, tag = "9")]
    pub(in crate::room) allowed: Vec<proto::TrackPermission>,
    /// 0 none, 1 ICE over TCP, 2 TURN over TLS.
    #[prost(uint32, tag = "10")]
    pub(in crate::room) ice_preference: u32,
    #[prost(message, optional, tag = "11")]
    pub(in crate::room) data: Option<DataRecord>,
    #[prost(message, optional, tag = "12")]
    pub(in crate::room) media: Option<MediaRecord>,
    #[prost(uint32, tag = "13")]
    pub(in crate::room) shard: u32,
}

/// Facts of a participant, one bit each.
pub(super) mod facts {
    pub(in crate::room) const SINGLE: u32 = 1;
    pub(in crate::room) const ONE_SHOT: u32 = 1 << 1;
    pub(in crate::room) const WAS_ACTIVE: u32 = 1 << 2;
    pub(in crate::room) const HAS_PUBLISHED: u32 = 1 << 3;
    pub(in crate::room) const TOKEN_CUT: u32 = 1 << 4;
    /// Some may not have its tracks.
    pub(in crate::room) const RESTRICTS: u32 = 1 << 5;
    /// Name, metadata and attributes of the claims are those of the info.
    pub(in crate::room) const CLAIMS_AS_INFO: u32 = 1 << 6;
}

/// A reliable packet that some may not have got.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::room) struct PacketRecord {
    /// Unix time at which the room passed it on, in microseconds.
    #[prost(int64, tag = "1")]
    pub(in crate::room) at: i64,
    /// `DataPacket`, as receivers get it.
    #[prost(bytes = "bytes", tag = "2")]
    pub(in crate::room) packet: Bytes,
}

/// Data of a participant beside media.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::room) struct DataRecord {
    #[prost(bool, tag = "1")]
    pub(in crate::room) ready: bool,
    /// Highest sequence number of its reliable packets.
    #[prost(uint32, tag = "2")]
    pub(in crate::room) last_sequence: u32,
    /// Data tracks nobody asked about are subscribed too.
    #[prost(bool, tag = "3")]
    pub(in crate::room) auto: bool,
    #[prost(btree_map = "string, bool", tag = "4")]
    pub(in crate::room) wishes: BTreeMap<String, bool>,
    #[prost(btree_map = "uint32, string", tag = "5")]
    pub(in crate::room) handles: BTreeMap<u32, String>,
    #[prost(uint32, tag = "6")]
    pub(in crate::room) next_handle: u32,
    #[prost(bool, tag = "7")]
    pub(in crate::room) told_handles: bool,
    #[prost(message, repeated, tag = "8")]
    pub(in crate::room) blobs: Vec<proto::DataBlob>,
}
