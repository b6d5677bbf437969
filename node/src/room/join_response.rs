//! The first message of a session and its brother for resumed ones. Reads the room, changes
//! nothing.

use protocol::proto;

use super::{Room, RoomsConfig};
use super::client_quirks::Disabled;
use super::member::Member;

/// The LiveKit release whose behaviour this server follows. SDKs switch features by this version
/// (RPC needs 1.8.0), so it is what `version` tells; our own is in `debug_info`.
const COMPATIBLE_VERSION: &str = "1.13.5";
/// LiveKit's `types.CurrentProtocol`.
const SIGNAL_PROTOCOL: i32 = 17;
/// LiveKit's `agent.CurrentProtocol`.
const AGENT_PROTOCOL: i32 = 1;
const PING_INTERVAL_S: i32 = 5;
const PING_TIMEOUT_S: i32 = 15;

impl Room {
    pub(super) fn join_response(&self, member: &Member) -> proto::JoinResponse {
        let others = self
            .roster
            .iter()
            .filter(|other| other.number != member.number && !other.is_hidden())
            .map(|other| other.info.clone())
            .collect();
        let config = &self.services.config;
        let disabled = Disabled::of(&member.client);
        proto::JoinResponse {
            room: Some(self.room_info()),
            participant: Some(member.info.clone()),
            other_participants: others,
            server_version: COMPATIBLE_VERSION.to_owned(),
            server_region: config.region.clone(),
            server_info: Some(server_info(&self.services.config)),
            ice_servers: config.ice_servers.clone(),
            subscriber_primary: !member.single_peer_connection
                && member.protocol() > 2
                && member.permission().can_subscribe,
            client_configuration: disabled.configuration(),
            ping_timeout: PING_TIMEOUT_S,
            ping_interval: PING_INTERVAL_S,
            sif_trailer: self.facts.sif_trailer.clone(),
            enabled_publish_codecs: publish_codecs(&self.facts.room.enabled_codecs, &disabled),
            fast_publish: member.permission().can_publish,
            ..Default::default()
        }
    }

    pub(super) fn reconnect_response(&self, member: &Member) -> proto::ReconnectResponse {
        proto::ReconnectResponse {
            ice_servers: self.services.config.ice_servers.clone(),
            client_configuration: Disabled::of(&member.client).configuration(),
            server_info: Some(server_info(&self.services.config)),
            last_message_seq: member.data.last_sequence,
        }
    }
}

/// What clients and workers are told about this server.
pub(crate) fn server_info(config: &RoomsConfig) -> proto::ServerInfo {
    proto::ServerInfo {
        edition: proto::server_info::Edition::Standard.into(),
        version: COMPATIBLE_VERSION.to_owned(),
        protocol: SIGNAL_PROTOCOL,
        region: config.region.clone(),
        node_id: config.node_id.clone(),
        debug_info: concat!("skein ", env!("CARGO_PKG_VERSION")).to_owned(),
        agent_protocol: AGENT_PROTOCOL,
    }
}

/// Codecs a client may publish: VP8 and H264 first, because the first video codec is its default;
/// video before audio; no retransmission formats.
fn publish_codecs(enabled: &[proto::Codec], disabled: &Disabled) -> Vec<proto::Codec> {
    let mut codecs: Vec<proto::Codec> = enabled
        .iter()
        .filter(|codec| !codec.mime.to_ascii_lowercase().ends_with("/rtx"))
        .filter(|codec| !disabled.for_publishing(&codec.mime))
        .cloned()
        .collect();
    codecs.sort_by_key(|codec| match codec.mime.to_ascii_lowercase().as_str() {
        "video/vp8" => 0,
        "video/h264" => 1,
        mime if mime.starts_with("video/") => 2,
        _ => 3,
    });
    codecs
}
