//! Grants as `ParticipantPermission` and back, and who may subscribe to whose tracks. Pure
//! functions; LiveKit's `auth/grants.go` and `rtc/uptrackmanager.go` are the model.

#![allow(deprecated)]

use std::collections::{HashMap, HashSet};

use protocol::grants::{Claims, VideoGrant};
use protocol::proto;
use protocol::proto::TrackSource;
use protocol::proto::participant_info::{Kind, KindDetail};

use super::limits::{PERMISSION_ENTRIES_MAX, PERMISSION_SIDS_MAX};
use super::member::Member;

/// The source a token names. An unknown name stays in the list as UNKNOWN, as upstream has it: an
/// empty list would allow everything.
fn source_of(name: &str) -> TrackSource {
    TrackSource::from_str_name(&name.to_ascii_uppercase()).unwrap_or_default()
}

/// Its name in tokens.
pub(crate) fn source_name(source: i32) -> String {
    let source = TrackSource::try_from(source).unwrap_or_default();
    source.as_str_name().to_ascii_lowercase()
}

pub(super) fn from_claims(claims: &Claims) -> proto::ParticipantPermission {
    let none = VideoGrant::default();
    let video = claims.video.as_ref().unwrap_or(&none);
    proto::ParticipantPermission {
        can_subscribe: video.may_subscribe(),
        can_publish: video.may_publish(),
        can_publish_data: video.may_publish_data(),
        can_publish_sources: video
            .can_publish_sources
            .iter()
            .map(|name| i32::from(source_of(name)))
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
        .map(|source| source_name(*source))
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

/// Whom a publisher lets have which of its tracks: asked for each of its tracks and subscribers
/// whenever a track changes.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    by_sid: HashMap<String, Tracks>,
    by_identity: HashMap<String, Tracks>,
}

#[derive(Debug, Default)]
struct Tracks {
    all: bool,
    sids: HashSet<String>,
}

impl Tracks {
    fn have(&self, track: &str) -> bool {
        self.all || self.sids.contains(track)
    }
}

impl Allowed {
    /// What is beyond the bounds is not allowed.
    pub(super) fn new(entries: Vec<proto::TrackPermission>) -> Self {
        let mut allowed = Self::default();
        let mut left = PERMISSION_SIDS_MAX;
        for entry in entries.into_iter().take(PERMISSION_ENTRIES_MAX) {
            let sids: Vec<String> = entry.track_sids.into_iter().take(left).collect();
            left -= sids.len();
            for (map, name) in [
                (&mut allowed.by_sid, entry.participant_sid),
                (&mut allowed.by_identity, entry.participant_identity),
            ] {
                if !name.is_empty() {
                    let tracks = map.entry(name).or_default();
                    tracks.all |= entry.all_tracks;
                    tracks.sids.extend(sids.iter().cloned());
                }
            }
        }
        allowed
    }

    /// The same as entries, in an order of their own.
    pub(super) fn entries(&self) -> Vec<proto::TrackPermission> {
        let entry = |tracks: &Tracks| {
            let mut track_sids: Vec<String> = tracks.sids.iter().cloned().collect();
            track_sids.sort_unstable();
            proto::TrackPermission {
                all_tracks: tracks.all,
                track_sids,
                ..Default::default()
            }
        };
        let by_sid = self
            .by_sid
            .iter()
            .map(|(sid, tracks)| proto::TrackPermission {
                participant_sid: sid.clone(),
                ..entry(tracks)
            });
        let by_identity = self.by_identity.iter();
        let by_identity = by_identity.map(|(identity, tracks)| proto::TrackPermission {
            participant_identity: identity.clone(),
            ..entry(tracks)
        });
        let mut entries: Vec<_> = by_sid.chain(by_identity).collect();
        let name = |one: &proto::TrackPermission| {
            (
                one.participant_sid.clone(),
                one.participant_identity.clone(),
            )
        };
        entries.sort_by_cached_key(name);
        entries
    }

    fn lets(&self, subscriber: &Member, track: &str) -> bool {
        let by_sid = self.by_sid.get(&subscriber.sid.0);
        let by_identity = self.by_identity.get(subscriber.identity());
        let either = [by_sid, by_identity].into_iter().flatten();
        either.into_iter().any(|tracks| tracks.have(track))
    }
}

/// Whether `publisher` lets `subscriber` have `track`. Recorders are exempt.
pub(super) fn allows(publisher: &Member, subscriber: &Member, track: &str) -> bool {
    let Some(allowed) = &publisher.allow else {
        return true;
    };
    subscriber.is_recorder() || allowed.lets(subscriber, track)
}
