//! What is written down of a participant's media core, as protobuf: two versions of the program
//! understand each other as long as numbers of fields are never given to something else. Keys are
//! without their room's part; instants are Unix microseconds. What can be worked out is not here.

use media::negotiate::ThawKind;
use protocol::proto;

/// A participant's media.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MediaRecord {
    /// Bits of `session`.
    #[prost(uint32, tag = "1")]
    pub session: u32,
    /// Keys issued so far.
    #[prost(uint32, tag = "2")]
    pub keys: u32,
    #[prost(uint64, optional, tag = "3")]
    pub fixed_bps: Option<u64>,
    #[prost(message, optional, tag = "4")]
    pub publisher: Option<ConnectionRecord>,
    #[prost(message, optional, tag = "5")]
    pub subscriber: Option<ConnectionRecord>,
    /// Of the next offer of ours.
    #[prost(uint32, tag = "6")]
    pub next_offer: u32,
    /// Of the one that waits for its answer; 0 = none.
    #[prost(uint32, tag = "7")]
    pub outstanding_offer: u32,
    /// Sections asked for since the client's last offer.
    #[prost(uint32, tag = "8")]
    pub asked_audios: u32,
    #[prost(uint32, tag = "9")]
    pub asked_videos: u32,
    // 10 named open data channels.
    #[prost(message, repeated, tag = "11")]
    pub tracks: Vec<PublicationRecord>,
    #[prost(message, repeated, tag = "12")]
    pub pending: Vec<PendingRecord>,
    #[prost(message, repeated, tag = "13")]
    pub queued: Vec<proto::AddTrackRequest>,
    #[prost(message, repeated, tag = "14")]
    pub unclaimed: Vec<OfferedRecord>,
    #[prost(message, repeated, tag = "15")]
    pub retired: Vec<RetiredRecord>,
    #[prost(message, repeated, tag = "16")]
    pub subscriptions: Vec<SubscriptionRecord>,
    #[prost(message, repeated, tag = "17")]
    pub dynacast: Vec<DynacastRecord>,
}

/// Facts of a session, one bit each.
pub(in crate::participant) mod session {
    pub(in crate::participant) const AUTO_SUBSCRIBE: u32 = 1;
    pub(in crate::participant) const ADAPTIVE_STREAM: u32 = 1 << 1;
    pub(in crate::participant) const ALLOW_PAUSE: u32 = 1 << 2;
    pub(in crate::participant) const SUBSCRIBER_PRIMARY: u32 = 1 << 3;
    pub(in crate::participant) const JOINED: u32 = 1 << 4;
    pub(in crate::participant) const CONNECTED: u32 = 1 << 5;
    pub(in crate::participant) const DATA_READY: u32 = 1 << 6;
    pub(in crate::participant) const WITHOUT_DATA: u32 = 1 << 7;
    pub(in crate::participant) const SPENT: u32 = 1 << 8;
    /// The client has offered: sections may be asked for.
    pub(in crate::participant) const OFFERED: u32 = 1 << 9;
    /// An offer was asked for and has not come.
    pub(in crate::participant) const ASKED: u32 = 1 << 10;
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ConnectionRecord {
    #[prost(uint64, tag = "1")]
    pub key: u64,
    #[prost(message, optional, tag = "2")]
    pub negotiator: Option<NegotiatorRecord>,
    /// 0 none, 1 connecting, 2 connected, 3 disconnected, 4 failed, 5 closed.
    #[prost(uint32, tag = "3")]
    pub state: u32,
    #[prost(bool, tag = "4")]
    pub was_connected: bool,
    #[prost(sint64, optional, tag = "5")]
    pub connected_at: Option<i64>,
    /// The client knows candidates of the current ICE generation.
    #[prost(bool, tag = "6")]
    pub trickled: bool,
    /// Of its transport, so far.
    #[prost(uint32, tag = "7")]
    pub takeovers: u32,
}

impl ConnectionRecord {
    /// Once thawed.
    pub fn takeovers_after(&self, kind: ThawKind) -> u32 {
        match kind {
            ThawKind::Warm => self.takeovers.saturating_add(1),
            ThawKind::Cold => 0,
        }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct NegotiatorRecord {
    #[prost(uint64, tag = "1")]
    pub session_id: u64,
    #[prost(uint64, tag = "2")]
    pub version: u64,
    #[prost(string, tag = "3")]
    pub ufrag: String,
    #[prost(string, tag = "4")]
    pub pwd: String,
    #[prost(message, optional, tag = "5")]
    pub fingerprint: Option<FingerprintRecord>,
    #[prost(message, optional, tag = "6")]
    pub remote: Option<RemoteRecord>,
    /// Sections of the offer that waits for its answer.
    #[prost(uint32, optional, tag = "7")]
    pub outstanding: Option<u32>,
    #[prost(message, repeated, tag = "8")]
    pub sections: Vec<SectionRecord>,
    #[prost(message, repeated, tag = "9")]
    pub waiting: Vec<SenderRecord>,
    /// Every payload type of any section, once.
    #[prost(message, repeated, tag = "10")]
    pub payloads: Vec<PayloadRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct FingerprintRecord {
    #[prost(string, tag = "1")]
    pub algorithm: String,
    #[prost(bytes = "vec", tag = "2")]
    pub digest: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RemoteRecord {
    #[prost(string, tag = "1")]
    pub ufrag: String,
    #[prost(string, tag = "2")]
    pub pwd: String,
    #[prost(message, optional, tag = "3")]
    pub fingerprint: Option<FingerprintRecord>,
    /// We send the ClientHello.
    #[prost(bool, tag = "4")]
    pub dtls_client: bool,
    /// 0 = no data channels.
    #[prost(uint32, tag = "5")]
    pub sctp_port: u32,
    #[prost(uint32, tag = "6")]
    pub max_message_bytes: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SectionRecord {
    #[prost(string, tag = "1")]
    pub mid: String,
    /// 0 audio, 1 video, 2 application, 3 unknown.
    #[prost(uint32, tag = "2")]
    pub kind: u32,
    /// Bits of `section`.
    #[prost(uint32, tag = "3")]
    pub flags: u32,
    #[prost(message, optional, tag = "4")]
    pub receiver: Option<ReceiverRecord>,
    #[prost(message, optional, tag = "5")]
    pub sender: Option<SenderRecord>,
    /// Places in `NegotiatorRecord::payloads`.
    #[prost(uint32, repeated, tag = "6")]
    pub receive_payloads: Vec<u32>,
    #[prost(uint32, repeated, tag = "7")]
    pub send_payloads: Vec<u32>,
    /// Number and extension, one byte each.
    #[prost(bytes = "vec", tag = "8")]
    pub extensions: Vec<u8>,
    #[prost(string, repeated, tag = "9")]
    pub rids: Vec<String>,
    #[prost(message, repeated, tag = "10")]
    pub ssrcs: Vec<SsrcRecord>,
}

/// Facts of a section, one bit each.
pub(in crate::participant) mod section {
    pub(in crate::participant) const REJECTED: u32 = 1;
    /// The client's direction.
    pub(in crate::participant) const SENDS: u32 = 1 << 1;
    pub(in crate::participant) const RECEIVES: u32 = 1 << 2;
    pub(in crate::participant) const ANNOUNCED: u32 = 1 << 3;
    pub(in crate::participant) const USED: u32 = 1 << 4;
    pub(in crate::participant) const RECEIVING: u32 = 1 << 5;
    /// Of its sender.
    pub(in crate::participant) const DESCRIBED: u32 = 1 << 6;
    pub(in crate::participant) const LIVE: u32 = 1 << 7;
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ReceiverRecord {
    #[prost(uint64, tag = "1")]
    pub track: u64,
    #[prost(bool, tag = "2")]
    pub stereo: bool,
    #[prost(bool, tag = "3")]
    pub no_dtx: bool,
    #[prost(bool, tag = "4")]
    pub no_red: bool,
    /// See `super::codec_number`; 0 = none.
    #[prost(uint32, tag = "5")]
    pub codec: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SenderRecord {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(bool, tag = "2")]
    pub video: bool,
    #[prost(uint32, repeated, tag = "3")]
    pub codecs: Vec<u32>,
    #[prost(string, tag = "4")]
    pub stream_id: String,
    /// Empty: the stream's id ends with it.
    #[prost(string, tag = "5")]
    pub track_id: String,
    #[prost(bool, tag = "6")]
    pub stereo: bool,
    #[prost(fixed32, tag = "7")]
    pub ssrc: u32,
    #[prost(fixed32, tag = "8")]
    pub rtx_ssrc: u32,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PayloadRecord {
    #[prost(uint32, tag = "1")]
    pub codec: u32,
    #[prost(uint32, tag = "2")]
    pub pt: u32,
    #[prost(uint32, optional, tag = "3")]
    pub rtx_pt: Option<u32>,
    #[prost(string, tag = "4")]
    pub fmtp: String,
    #[prost(bool, tag = "5")]
    pub nack: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SsrcRecord {
    #[prost(fixed32, tag = "1")]
    pub ssrc: u32,
    #[prost(fixed32, optional, tag = "2")]
    pub repairs: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    pub layer: Option<u32>,
}

/// A published track.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PublicationRecord {
    #[prost(string, tag = "1")]
    pub cid: String,
    #[prost(message, optional, tag = "2")]
    pub info: Option<proto::TrackInfo>,
    #[prost(bool, tag = "3")]
    pub visible: bool,
    #[prost(message, repeated, tag = "4")]
    pub codecs: Vec<PublishedCodecRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PublishedCodecRecord {
    #[prost(uint64, tag = "1")]
    pub key: u64,
    #[prost(uint32, tag = "2")]
    pub codec: u32,
    #[prost(string, tag = "3")]
    pub mid: String,
    #[prost(string, optional, tag = "4")]
    pub sdp_cid: Option<String>,
    #[prost(bool, tag = "5")]
    pub added: bool,
    #[prost(bool, tag = "6")]
    pub started: bool,
    #[prost(string, repeated, tag = "7")]
    pub rids: Vec<String>,
    #[prost(message, repeated, tag = "8")]
    pub streams: Vec<StreamRecord>,
}

/// What an SSRC carries.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct StreamRecord {
    #[prost(fixed32, tag = "1")]
    pub ssrc: u32,
    #[prost(uint32, tag = "2")]
    pub layer: u32,
    #[prost(bool, tag = "3")]
    pub repair: bool,
}

/// An AddTrack whose media has not come.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PendingRecord {
    #[prost(string, tag = "1")]
    pub cid: String,
    /// A new track; else one more codec.
    #[prost(message, optional, tag = "2")]
    pub info: Option<proto::TrackInfo>,
    #[prost(string, tag = "3")]
    pub sid: String,
    #[prost(uint32, tag = "4")]
    pub codec: u32,
    #[prost(bool, tag = "5")]
    pub video: bool,
}

/// A section the client sends on that no AddTrack has claimed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OfferedRecord {
    #[prost(string, tag = "1")]
    pub mid: String,
    #[prost(bool, tag = "2")]
    pub video: bool,
    #[prost(bool, tag = "3")]
    pub receives: bool,
    #[prost(string, optional, tag = "4")]
    pub track_id: Option<String>,
    #[prost(string, optional, tag = "5")]
    pub stream_id: Option<String>,
    #[prost(string, repeated, tag = "6")]
    pub rids: Vec<String>,
    #[prost(uint32, repeated, tag = "7")]
    pub codecs: Vec<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RetiredRecord {
    #[prost(string, tag = "1")]
    pub mid: String,
    #[prost(string, optional, tag = "2")]
    pub track_id: Option<String>,
}

/// A track of somebody else, if it is more than what everybody has by default.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SubscriptionRecord {
    #[prost(string, tag = "1")]
    pub sid: String,
    #[prost(bool, optional, tag = "2")]
    pub wish: Option<bool>,
    #[prost(sint64, optional, tag = "3")]
    pub wished_at: Option<i64>,
    #[prost(message, optional, tag = "4")]
    pub settings: Option<SettingsRecord>,
    #[prost(bool, optional, tag = "5")]
    pub told_allowed: Option<bool>,
    #[prost(bool, tag = "6")]
    pub unsupported: bool,
    #[prost(uint32, tag = "7")]
    pub awaited: u32,
    /// 0 = it has none.
    #[prost(uint64, tag = "8")]
    pub down_track: u64,
    /// What is forwarded; 0 = nothing yet.
    #[prost(uint64, tag = "9")]
    pub track: u64,
    #[prost(uint32, tag = "10")]
    pub codec: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SettingsRecord {
    #[prost(int32, optional, tag = "1")]
    pub quality: Option<i32>,
    #[prost(uint32, tag = "2")]
    pub width: u32,
    #[prost(uint32, tag = "3")]
    pub height: u32,
    #[prost(uint32, tag = "4")]
    pub fps: u32,
    #[prost(uint32, tag = "5")]
    pub priority: u32,
    #[prost(bool, tag = "6")]
    pub disabled: bool,
}

/// What a publisher was told of the qualities of one of its tracks.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DynacastRecord {
    #[prost(string, tag = "1")]
    pub sid: String,
    #[prost(bool, tag = "2")]
    pub told_subscribed: bool,
    #[prost(sint64, optional, tag = "3")]
    pub lower_at: Option<i64>,
    #[prost(message, repeated, tag = "4")]
    pub told: Vec<ToldQualityRecord>,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ToldQualityRecord {
    #[prost(uint32, tag = "1")]
    pub codec: u32,
    #[prost(int32, tag = "2")]
    pub quality: i32,
}
