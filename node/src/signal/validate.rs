//! May this request join, and as what? Turns a verified token and the query into an `Attach`, or
//! into the status and text clients act on (`service/rtcservice.go` and `utils.go` of LiveKit).
//! Pure: whether the room exists is asked by the caller.

use std::time::Instant;

use actix_web::http::StatusCode;
use protocol::grants::Claims;

use super::GatewaySettings;
use super::join_params::{JoinParams, ParamsError};
use crate::room::contract::{Attach, AttachError, SessionId};

/// An HTTP answer instead of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
        }
    }
}

impl From<ParamsError> for Refusal {
    fn from(error: ParamsError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}

impl From<AttachError> for Refusal {
    fn from(error: AttachError) -> Self {
        let status = match error {
            AttachError::RoomNotFound => StatusCode::NOT_FOUND,
            AttachError::ClosedByMedia => StatusCode::INTERNAL_SERVER_ERROR,
            AttachError::NodeFull
            | AttachError::ShuttingDown
            | AttachError::Elsewhere
            | AttachError::Unreachable(_) => StatusCode::SERVICE_UNAVAILABLE,
            AttachError::Invalid(_) => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string())
    }
}

/// The text a token without any right to the room gets.
const NO_PERMISSIONS: &str = "no permissions to access the room";
/// The text a token without `roomJoin` gets.
const DENIED: &str = "permissions denied";

/// A token that may join at all. Checked before the rest of a request is decoded, so that a
/// stranger without a token costs nothing.
pub(crate) fn joining(claims: Option<Claims>) -> Result<Claims, Refusal> {
    let unauthorized = |text| Refusal::new(StatusCode::UNAUTHORIZED, text);
    let claims = claims.ok_or_else(|| unauthorized(NO_PERMISSIONS))?;
    match &claims.video {
        None => Err(unauthorized(NO_PERMISSIONS)),
        Some(video) if !video.room_join => Err(unauthorized(DENIED)),
        Some(_) => Ok(claims),
    }
}

pub(super) fn attach(
    (session, asked): (SessionId, Instant),
    mut claims: Claims,
    params: JoinParams,
    settings: &GatewaySettings,
) -> Result<Attach, Refusal> {
    let bad = |text: String| Refusal::new(StatusCode::BAD_REQUEST, text);
    check_names(&claims, settings).map_err(bad)?;
    let mut video = claims.video.clone().unwrap_or_default();
    if let Some(twin) = &params.publish {
        if !video.may_publish() {
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, NO_PERMISSIONS));
        }
        video.can_subscribe = Some(false);
        claims.identity = format!("{}#{twin}", claims.identity);
        check_names(&claims, settings).map_err(bad)?;
    }
    let own = !params.attributes.is_empty() || !params.metadata.is_empty();
    if own && !video.may_update_own_metadata() {
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, NO_PERMISSIONS));
    }
    if !params.metadata.is_empty() {
        claims.metadata = params.metadata;
    }
    let room = video.room.clone();
    claims.video = Some(video);
    Ok(Attach {
        session,
        asked,
        room,
        claims,
        kind: params.kind,
        client: params.client,
        auto_subscribe: params.auto_subscribe,
        auto_subscribe_data_track: params.auto_subscribe_data_track,
        adaptive_stream: params.adaptive_stream,
        subscriber_allow_pause: params.subscriber_allow_pause,
        disable_ice_lite: params.disable_ice_lite,
        single_peer_connection: params.single_peer_connection,
        attributes: params
            .attributes
            .into_iter()
            // An empty value removes an attribute, and there is none yet.
            .filter(|(_, value)| !value.is_empty())
            .collect(),
        publisher_offer: params.publisher_offer,
        add_tracks: params.add_tracks,
    })
}

fn check_names(claims: &Claims, settings: &GatewaySettings) -> Result<(), String> {
    let exceeds = |text: &str, limit: usize| limit > 0 && text.len() > limit;
    let room = claims.video.as_ref().map_or("", |video| &video.room);
    if claims.identity.is_empty() {
        return Err("identity cannot be empty".into());
    }
    let limit = settings.max_participant_identity_length;
    if exceeds(&claims.identity, limit) {
        return Err(format!(
            "participant identity length exceeds limits: max length {limit}"
        ));
    }
    let limit = settings.max_room_name_length;
    if exceeds(room, limit) {
        return Err(format!(
            "room name length exceeds limits: max length {limit}"
        ));
    }
    if room.is_empty() {
        return Err("no room name".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use protocol::grants::VideoGrant;
    use protocol::token::Keys;

    use super::super::join_params;
    use super::*;

    fn settings() -> GatewaySettings {
        GatewaySettings {
            keys: Keys::new([]),
            auto_create: true,
            max_room_name_length: 256,
            max_participant_identity_length: 256,
            signal_message_bytes_max: 0,
        }
    }

    fn claims(identity: &str, room: &str) -> Claims {
        Claims {
            identity: identity.into(),
            video: Some(VideoGrant {
                room_join: true,
                room: room.into(),
                ..VideoGrant::default()
            }),
            ..Claims::default()
        }
    }

    fn admitted(claims: Claims, query: &str) -> Result<Attach, (u16, String)> {
        let params = join_params::parse(query, false).unwrap();
        let attach = attach((SessionId(1), Instant::now()), claims, params, &settings());
        attach.map_err(|refusal| (refusal.status.as_u16(), refusal.text))
    }

    fn text(of: Result<Attach, (u16, String)>) -> (u16, String) {
        of.unwrap_err()
    }

    #[test]
    fn names_must_be_given_and_short() {
        let answer = |identity: &str, room: &str| text(admitted(claims(identity, room), ""));
        assert_eq!(answer("", "r"), (400, "identity cannot be empty".into()));
        assert_eq!(answer("a", ""), (400, "no room name".into()));
        let long = "x".repeat(257);
        assert!(
            answer(&long, "r")
                .1
                .starts_with("participant identity length exceeds limits")
        );
        assert!(
            answer("a", &long)
                .1
                .starts_with("room name length exceeds limits")
        );
    }

    #[test]
    fn a_token_without_room_join_is_told_apart_from_one_without_video() {
        let answer = |claims| joining(claims).unwrap_err().text;
        assert_eq!(answer(None), NO_PERMISSIONS);
        assert_eq!(answer(Some(Claims::default())), NO_PERMISSIONS);
        let mut admin = claims("a", "r");
        admin.video.as_mut().unwrap().room_join = false;
        assert_eq!(answer(Some(admin)), DENIED);
    }

    #[test]
    fn a_publish_only_twin_gets_its_own_identity_and_hears_nothing() {
        let twin = admitted(claims("alice", "r"), "publish=screen").unwrap();
        assert_eq!(twin.claims.identity, "alice#screen");
        assert!(!twin.claims.video.unwrap().may_subscribe());
        let long = format!("publish={}", "x".repeat(252));
        assert_eq!(text(admitted(claims("alice", "r"), &long)).0, 400);
        let mut mute = claims("alice", "r");
        mute.video.as_mut().unwrap().can_publish = Some(false);
        assert_eq!(text(admitted(mute, "publish=screen")).0, 401);
    }

    #[test]
    fn own_attributes_need_the_grant() {
        // {"a":"1","b":""}
        let query = "attributes=eyJhIjoiMSIsImIiOiIifQ";
        assert_eq!(text(admitted(claims("a", "r"), query)).0, 401);
        let mut allowed = claims("a", "r");
        allowed.video.as_mut().unwrap().can_update_own_metadata = Some(true);
        let attach = admitted(allowed, query).unwrap();
        assert_eq!(
            attach.attributes.into_iter().collect::<Vec<_>>(),
            [("a".into(), "1".into())]
        );
    }

    #[test]
    fn what_the_room_refuses_becomes_the_status_clients_act_on() {
        let status = |error: AttachError| Refusal::from(error).status.as_u16();
        assert_eq!(status(AttachError::RoomNotFound), 404);
        assert_eq!(status(AttachError::ClosedByMedia), 500);
        assert_eq!(status(AttachError::NodeFull), 503);
        let missing = Refusal::from(AttachError::RoomNotFound);
        assert_eq!(missing.text, "requested room does not exist");
    }
}
