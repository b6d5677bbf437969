//! The first message of a session and its brother for resumed ones. Reads the room, changes
//! nothing.

use protocol::proto;

use super::ice_preference::IcePreference;
use super::ice_servers::IceServer;
use super::member::Member;
use super::{Room, RoomsConfig};
use crate::participant::quirks;

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
        proto::JoinResponse {
            room: Some(self.room_info()),
            participant: Some(member.info.clone()),
            other_participants: others,
            server_version: COMPATIBLE_VERSION.to_owned(),
            server_region: config.region.clone(),
            server_info: Some(server_info(&self.services.config)),
            ice_servers: self.ice_servers_for(member),
            subscriber_primary: !member.single_peer_connection
                && member.protocol() > 2
                && member.permission().can_subscribe,
            client_configuration: self.client_configuration_for(member),
            ping_timeout: PING_TIMEOUT_S,
            ping_interval: PING_INTERVAL_S,
            sif_trailer: self.facts.sif_trailer.clone(),
            enabled_publish_codecs: quirks::enabled_publish_codecs(
                &self.facts.room.enabled_codecs,
                &member.client,
            ),
            // A client that publishes before it knows its protocol would start on the wrong one.
            fast_publish: member.permission().can_publish
                && self
                    .ice_preferences
                    .peek(self.now, member.identity())
                    .is_none(),
            ..Default::default()
        }
    }

    pub(super) fn reconnect_response(&self, member: &Member) -> proto::ReconnectResponse {
        proto::ReconnectResponse {
            ice_servers: self.ice_servers_for(member),
            client_configuration: self.client_configuration_for(member),
            server_info: Some(server_info(&self.services.config)),
            last_message_seq: member.data.last_sequence,
        }
    }

    fn ice_servers_for(&self, member: &Member) -> Vec<proto::IceServer> {
        let now_s = self.unix_ms() / 1000;
        let told =
            |server: &IceServer| server.told_to(member.sid.as_str(), &member.claims.issuer, now_s);
        let servers = self.services.config.ice_servers.iter();
        if self.is_limited_to_tls(member) {
            let over_tls = servers.filter(|server| server.has_tls());
            return over_tls.map(|server| told(&server.over_tls())).collect();
        }
        servers.map(told).collect()
    }

    fn client_configuration_for(&self, member: &Member) -> Option<proto::ClientConfiguration> {
        let configuration = quirks::client_configuration(&member.client);
        if !self.is_limited_to_tls(member) {
            return configuration;
        }
        Some(proto::ClientConfiguration {
            force_relay: proto::ClientConfigSetting::Enabled.into(),
            ..configuration.unwrap_or_default()
        })
    }

    fn is_limited_to_tls(&self, member: &Member) -> bool {
        self.ice_preferences.peek(self.now, member.identity()) == Some(IcePreference::Tls)
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
