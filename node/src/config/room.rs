//! The `room:` and `limit:` sections: what a room is like unless its creator says otherwise, and
//! how much one of anything may be.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_yaml_ng::Value;

use super::section::section;
use super::values::go_duration;

section! {
    Room {
        /// A join creates the room it names.
        auto_create: bool = true,
        enabled_codecs: Vec<CodecSpec> = default_codecs(),
        /// 0 = no limit.
        max_participants: u32 = 0,
        /// Seconds an unused room lives.
        empty_timeout: u32 = 300,
        /// Seconds a room lives after the last one left.
        departure_timeout: u32 = 20,
        /// Admins may unmute tracks of others.
        enable_remote_unmute: bool = false,
        playout_delay: PlayoutDelay = PlayoutDelay::default(),
        sync_streams: bool = false,
        #[serde(with = "go_duration")]
        create_room_timeout: Duration = Duration::from_secs(10),
        create_room_attempts: u32 = 3,
        enable_full_room_in_webhooks: bool = false,
        /// Bytes of participant updates put into one message.
        update_batch_target_size: usize = 131_072,
        /// Named room configurations a token or CreateRoom refers to (`RoomConfiguration` as JSON).
        room_configurations: BTreeMap<String, Value> = BTreeMap::new(),
        /// Legacy names of `limit.*`; 0 = unset.
        max_metadata_size: u32 = 0,
        max_room_name_length: u32 = 0,
        max_participant_identity_length: u32 = 0,
    }
}

section! {
    /// Milliseconds.
    PlayoutDelay {
        enabled: bool = false,
        min: u32 = 0,
        max: u32 = 0,
    }
}

/// A codec the server negotiates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CodecSpec {
    pub mime: String,
    pub fmtp_line: String,
}

/// Codecs a room enables unless it is told otherwise: order and membership of LiveKit's
/// `DefaultConfig`.
pub const DEFAULT_CODECS: [&str; 10] = [
    "audio/PCMU",
    "audio/PCMA",
    "audio/opus",
    "audio/red",
    "video/VP8",
    "video/H264",
    "video/VP9",
    "video/AV1",
    "video/H265",
    "video/rtx",
];

fn default_codecs() -> Vec<CodecSpec> {
    let spec = |name: &str| CodecSpec {
        mime: name.to_owned(),
        fmtp_line: String::new(),
    };
    DEFAULT_CODECS.into_iter().map(spec).collect()
}

fn private_networks() -> Vec<String> {
    let networks = [
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
    ];
    networks.map(str::to_owned).to_vec()
}

section! {
    /// 0 = no limit, everywhere.
    Limit {
        /// Tracks (in and out) beyond which the node takes no new participant.
        num_tracks: u32 = 0,
        bytes_per_sec: f64 = 0.0,
        subscription_limit_video: u32 = 0,
        subscription_limit_audio: u32 = 0,
        /// Bytes.
        max_metadata_size: usize = 512_000,
        max_attributes_size: usize = 64_000,
        /// Bytes of UTF-8, as upstream counts; characters for keys and encodings of data.
        max_room_name_length: usize = 256,
        max_participant_identity_length: usize = 256,
        max_participant_name_length: usize = 256,
        max_data_blob_key_length: usize = 256,
        max_data_blobs_size: usize = 64_000,
        max_data_track_custom_encoding_length: usize = 32,
        signal_message_size_limit: usize = 2 << 20,
        agent_signal_message_size_limit: usize = 2 << 20,
        max_api_request_body_size: usize = 10 << 20,
        /// Ours: HTTP connections a second that one remote address may open without showing a
        /// valid token, and how many at once; 0 = no limit.
        stranger_connects_per_second: u32 = 20,
        stranger_connects_burst: u32 = 1000,
        /// Ours: networks whose connections are not counted: this machine and private ones, where
        /// proxies are.
        trusted_networks: Vec<String> = private_networks(),
    }
}
