//! The query of `/rtc` and `/rtc/v1`, read into what a join means. The two paths have different
//! defaults: an absent `auto_subscribe` is true in the query and false in a join request. Pure.

use std::collections::BTreeMap;

use actix_web::web::Query;
use base64::Engine;
use protocol::proto;
use protocol::proto::client_info::{Capability, Sdk};

use super::join_request::{self, BASE64_URL, JoinRequestError};
use crate::room::contract::AttachKind;

/// The part of an attach that the client chose itself; its token comes on top.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct JoinParams {
    pub(super) kind: AttachKind,
    pub(super) client: proto::ClientInfo,
    pub(super) auto_subscribe: bool,
    pub(super) auto_subscribe_data_track: bool,
    pub(super) adaptive_stream: bool,
    pub(super) subscriber_allow_pause: Option<bool>,
    pub(super) disable_ice_lite: bool,
    pub(super) single_peer_connection: bool,
    /// Suffix of a publish-only twin's identity.
    pub(super) publish: Option<String>,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) metadata: String,
    pub(super) publisher_offer: Option<proto::SessionDescription>,
    pub(super) add_tracks: Vec<proto::AddTrackRequest>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParamsError {
    #[error("cannot parse query")]
    Query,
    #[error("join_request is required")]
    NoJoinRequest,
    #[error(transparent)]
    JoinRequest(#[from] JoinRequestError),
    #[error("cannot base64 decode attributes")]
    AttributesBase64,
    #[error("cannot unmarshal attributes")]
    AttributesJson,
}

/// `join_request` decides which reading applies, on either path; `/rtc/v1` insists on it.
pub(super) fn parse(query: &str, join_request_required: bool) -> Result<JoinParams, ParamsError> {
    let pairs = Query::<Vec<(String, String)>>::from_query(query);
    let pairs = pairs.map_err(|_| ParamsError::Query)?.into_inner();
    let mut first = BTreeMap::new();
    for (name, value) in pairs {
        first.entry(name).or_insert(value);
    }
    match first.get("join_request").filter(|text| !text.is_empty()) {
        Some(text) => Ok(from_join_request(join_request::parse(text)?)),
        None if join_request_required => Err(ParamsError::NoJoinRequest),
        None => from_query(&first),
    }
}

fn from_join_request(request: proto::JoinRequest) -> JoinParams {
    let settings = request.connection_settings.unwrap_or_default();
    let kind = if request.reconnect {
        AttachKind::Resume {
            participant_sid: request.participant_sid,
            reason: request.reconnect_reason,
        }
    } else {
        AttachKind::Join
    };
    JoinParams {
        kind,
        client: request.client_info.unwrap_or_default(),
        auto_subscribe: settings.auto_subscribe,
        auto_subscribe_data_track: settings.auto_subscribe_data_track.unwrap_or(false),
        adaptive_stream: settings.adaptive_stream,
        // The getter of an absent field is false: the configuration's default is for /rtc only.
        subscriber_allow_pause: Some(settings.subscriber_allow_pause.unwrap_or(false)),
        disable_ice_lite: settings.disable_ice_lite,
        single_peer_connection: true,
        publish: None,
        attributes: request.participant_attributes.into_iter().collect(),
        metadata: request.metadata,
        publisher_offer: request.publisher_offer,
        add_tracks: request.add_track_requests,
    }
}

fn from_query(query: &BTreeMap<String, String>) -> Result<JoinParams, ParamsError> {
    let text = |name: &str| query.get(name).map_or("", String::as_str);
    let flag = |name: &str| query.get(name).map(|value| is_true(value));
    let kind = if flag("reconnect").unwrap_or(false) {
        AttachKind::Resume {
            participant_sid: text("sid").to_owned(),
            reason: text("reconnect_reason").parse().unwrap_or(0),
        }
    } else {
        AttachKind::Join
    };
    Ok(JoinParams {
        kind,
        client: client_of(&text),
        auto_subscribe: flag("auto_subscribe").unwrap_or(true),
        // Clients subscribe to data tracks one by one unless they ask for all.
        auto_subscribe_data_track: flag("auto_subscribe_data_track").unwrap_or(false),
        adaptive_stream: flag("adaptive_stream").unwrap_or(false),
        subscriber_allow_pause: flag("subscriber_allow_pause"),
        disable_ice_lite: flag("disable_ice_lite").unwrap_or(false),
        single_peer_connection: false,
        publish: Some(text("publish").to_owned()).filter(|twin| !twin.is_empty()),
        attributes: attributes_of(text("attributes"))?,
        metadata: String::new(),
        publisher_offer: None,
        add_tracks: Vec::new(),
    })
}

fn is_true(value: &str) -> bool {
    value == "1" || value == "true"
}

fn attributes_of(parameter: &str) -> Result<BTreeMap<String, String>, ParamsError> {
    if parameter.is_empty() {
        return Ok(BTreeMap::new());
    }
    let json = BASE64_URL
        .decode(parameter)
        .map_err(|_| ParamsError::AttributesBase64)?;
    serde_json::from_slice(&json).map_err(|_| ParamsError::AttributesJson)
}

fn client_of<'a>(text: &impl Fn(&str) -> &'a str) -> proto::ClientInfo {
    let sdk = match text("sdk") {
        "js" => Sdk::Js,
        "ios" | "swift" => Sdk::Swift,
        "android" => Sdk::Android,
        "flutter" => Sdk::Flutter,
        "go" => Sdk::Go,
        "unity" => Sdk::Unity,
        "reactnative" => Sdk::ReactNative,
        "rust" => Sdk::Rust,
        "python" => Sdk::Python,
        "cpp" => Sdk::Cpp,
        "unityweb" => Sdk::UnityWeb,
        "node" => Sdk::Node,
        "unreal" => Sdk::Unreal,
        "esp32" => Sdk::Esp32,
        "dotnet" => Sdk::Dotnet,
        _ => Sdk::Unknown,
    };
    let capabilities = text("capabilities").split(',');
    let capabilities = capabilities.filter_map(|name| Capability::from_str_name(name.trim()));
    proto::ClientInfo {
        sdk: sdk as i32,
        version: text("version").to_owned(),
        protocol: text("protocol").parse().unwrap_or(0),
        os: text("os").to_owned(),
        os_version: text("os_version").to_owned(),
        device_model: text("device_model").to_owned(),
        browser: text("browser").to_owned(),
        browser_version: text("browser_version").to_owned(),
        address: String::new(),
        network: text("network").to_owned(),
        other_sdks: text("other_sdks").to_owned(),
        client_protocol: text("client_protocol").parse().unwrap_or(0),
        capabilities: capabilities.map(|capability| capability as i32).collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use prost::Message;

    use super::*;

    /// Never empty: an empty message is zero bytes, which nobody can tell from no message.
    fn wrapped(request: &proto::JoinRequest) -> String {
        let client_info = Some(proto::ClientInfo::default());
        let request = proto::JoinRequest {
            client_info,
            ..request.clone()
        };
        let wrapper = proto::WrappedJoinRequest {
            compression: 0,
            join_request: request.encode_to_vec(),
        };
        format!(
            "join_request={}",
            BASE64_URL.encode(wrapper.encode_to_vec())
        )
    }

    #[test]
    fn absent_settings_default_to_true_in_the_query_and_to_false_in_a_join_request() {
        let v0 = parse("protocol=17", false).unwrap();
        assert!(v0.auto_subscribe && !v0.single_peer_connection);
        assert_eq!(v0.subscriber_allow_pause, None);
        let v1 = parse(&wrapped(&proto::JoinRequest::default()), true).unwrap();
        assert!(!v1.auto_subscribe && !v1.auto_subscribe_data_track);
        assert!(v1.single_peer_connection);
        assert_eq!(v1.subscriber_allow_pause, Some(false));
    }

    #[test]
    fn the_query_describes_the_client() {
        let query = "sdk=ios&version=2.0.1&protocol=16&client_protocol=2&os=iOS\
                     &capabilities=CAP_PACKET_TRAILER,NO_SUCH&device_model=iPhone%2015";
        let client = parse(query, false).unwrap().client;
        assert_eq!(client.sdk(), Sdk::Swift);
        assert_eq!((client.protocol, client.client_protocol), (16, 2));
        assert_eq!(client.device_model, "iPhone 15");
        assert_eq!(client.capabilities, [Capability::CapPacketTrailer as i32]);
    }

    #[test]
    fn a_reconnect_names_the_session_to_resume() {
        let resume = AttachKind::Resume {
            participant_sid: "PA_x".into(),
            reason: 1,
        };
        let v0 = parse("reconnect=1&sid=PA_x&reconnect_reason=1", false).unwrap();
        assert_eq!(v0.kind, resume);
        let request = proto::JoinRequest {
            reconnect: true,
            participant_sid: "PA_x".into(),
            reconnect_reason: 1,
            ..Default::default()
        };
        assert_eq!(parse(&wrapped(&request), true).unwrap().kind, resume);
        assert_eq!(parse("reconnect=0", false).unwrap().kind, AttachKind::Join);
    }

    #[test]
    fn a_join_request_counts_on_either_path_and_only_v1_needs_one() {
        let query = wrapped(&proto::JoinRequest::default());
        assert!(parse(&query, false).unwrap().single_peer_connection);
        let missing = parse("protocol=17", true);
        assert_eq!(missing, Err(ParamsError::NoJoinRequest));
    }

    #[test]
    fn attributes_are_base64_of_json() {
        let query = format!("attributes={}", BASE64_URL.encode(br#"{"a":"1"}"#));
        let attributes = parse(&query, false).unwrap().attributes;
        assert_eq!(attributes, BTreeMap::from([("a".into(), "1".into())]));
        let broken = parse("attributes=%25%25%25", false);
        assert_eq!(broken, Err(ParamsError::AttributesBase64));
        let query = format!("attributes={}", BASE64_URL.encode(b"[]"));
        assert_eq!(parse(&query, false), Err(ParamsError::AttributesJson));
    }
}
