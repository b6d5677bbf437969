//! Grants as `ParticipantPermission` and back, and who may subscribe to whose tracks. Pure
//! functions; LiveKit's `auth/grants.go` and `rtc/uptrackmanager.go` are the model.

#![allow(deprecated)]

use protocol::grants::{Claims, VideoGrant};
use protocol::proto;
use protocol::proto::TrackSource;
use protocol::proto::participant_info::{Kind, KindDetail};

use super::member::Member;

/// Source names of tokens.
const SOURCES: [(&str, TrackSource); 4] = [
    ("camera", TrackSource::Camera),
    ("microphone", TrackSource::Microphone),
    ("screen_share", TrackSource::ScreenShare),
    ("screen_share_audio", TrackSource::ScreenShareAudio),
];

pub(super) fn from_claims(claims: &Claims) -> proto::ParticipantPermission {
    let none = VideoGrant::default();
    let video = claims.video.as_ref().unwrap_or(&none);
    let source = |name: &String| {
        SOURCES
            .iter()
            .find(|(known, _)| *known == name.to_ascii_lowercase())
            .map(|(_, source)| i32::from(*source))
    };
    proto::ParticipantPermission {
        can_subscribe: video.may_subscribe(),
        can_publish: video.may_publish(),
        can_publish_data: video.may_publish_data(),
        can_publish_sources: video
            .can_publish_sources
            .iter()
            .filter_map(source)
            .collect(),
        hidden: video.hidden,
        recorder: video.recorder,
        can_update_metadata: video.may_update_own_metadata(),
        agent: video.agent,
        can_subscribe_metrics: video.may_subscribe_metrics(),
        can_manage_agent_session: video.can_manage_agent_session.unwrap_or(false),
    }
}

/// Writes a permission set by the API into the claims, so that the next token carries it.
pub(super) fn into_claims(permission: &proto::ParticipantPermission, claims: &mut Claims) {
    let video = claims.video.get_or_insert_default();
    video.can_subscribe = Some(permission.can_subscribe);
    video.can_publish = Some(permission.can_publish);
    video.can_publish_data = Some(permission.can_publish_data);
    video.can_publish_sources = permission
        .can_publish_sources
        .iter()
        .filter_map(|source| {
            SOURCES
                .iter()
                .find(|(_, known)| i32::from(*known) == *source)
        })
        .map(|(name, _)| (*name).to_owned())
        .collect();
    video.can_update_own_metadata = Some(permission.can_update_metadata);
    video.can_subscribe_metrics = Some(permission.can_subscribe_metrics);
    video.can_manage_agent_session = Some(permission.can_manage_agent_session);
    video.hidden = permission.hidden;
    video.recorder = permission.recorder;
    video.agent = permission.agent;
}

pub(super) fn kind(name: &str) -> Kind {
    match name.to_ascii_lowercase().as_str() {
        "ingress" => Kind::Ingress,
        "egress" => Kind::Egress,
        "sip" => Kind::Sip,
        "agent" => Kind::Agent,
        "connector" => Kind::Connector,
        "bridge" => Kind::Bridge,
        _ => Kind::Standard,
    }
}

pub(super) fn kind_detail(name: &str) -> Option<i32> {
    KindDetail::from_str_name(&name.to_ascii_uppercase()).map(i32::from)
}

/// Whether `publisher` lets `subscriber` have `track`. Recorders are exempt.
pub(super) fn allows(publisher: &Member, subscriber: &Member, track: &str) -> bool {
    let Some(entries) = &publisher.allow else {
        return true;
    };
    subscriber.is_recorder()
        || entries.iter().any(|entry| {
            let named = (!entry.participant_sid.is_empty()
                && entry.participant_sid == subscriber.sid.0)
                || (!entry.participant_identity.is_empty()
                    && entry.participant_identity == subscriber.identity());
            named && (entry.all_tracks || entry.track_sids.iter().any(|sid| sid == track))
        })
}
