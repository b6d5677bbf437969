//! Requests that change tracks and subscriptions: mute, TrackInfo updates, settings, permissions,
//! SyncState. Each is answered by the parts that own the state.

use std::collections::BTreeSet;
use std::time::Instant;

use media::types::Codec;
use protocol::ids::{ParticipantSid, TrackSid};
use protocol::proto;
use protocol::proto::request_response::{Reason, Request};
use protocol::proto::signal_response::Message;

use super::ParticipantMedia;
use crate::participant::contract::MediaOutput;
use crate::participant::limits::{PENDING_TRACKS_MAX, PUBLICATIONS_MAX, SUBSCRIPTIONS_MAX};
use crate::participant::pending_tracks::Awaited;
use crate::participant::track_settings::TrackSettings;
use crate::participant::{permission, quirks, track_info};

impl ParticipantMedia {
    pub(super) fn mute(&mut self, now: Instant, track: TrackSid, muted: bool, from_admin: bool) {
        let micros = self.micros(now);
        let request = proto::MuteTrackRequest {
            sid: track.0,
            muted,
        };
        if from_admin {
            self.out.signal(Message::Mute(request.clone()));
        }
        if !self
            .publications
            .set_muted(&request.sid, muted, micros, &mut self.out)
            && !from_admin
        {
            self.not_found(Request::Mute(request));
        }
    }

    pub(super) fn update_audio(&mut self, now: Instant, request: proto::UpdateLocalAudioTrack) {
        let (micros, features) = (self.micros(now), request.features.clone());
        let change = |info: &mut proto::TrackInfo| track_info::set_audio_features(info, &features);
        if !self
            .publications
            .update(&request.track_sid, micros, &mut self.out, change)
        {
            self.not_found(Request::UpdateAudioTrack(request));
        }
    }

    pub(super) fn update_video(&mut self, now: Instant, request: proto::UpdateLocalVideoTrack) {
        let (micros, width, height) = (self.micros(now), request.width, request.height);
        let change = |info: &mut proto::TrackInfo| (info.width, info.height) = (width, height);
        if !self
            .publications
            .update(&request.track_sid, micros, &mut self.out, change)
        {
            self.not_found(Request::UpdateVideoTrack(request));
        }
    }

    fn not_found(&mut self, request: Request) {
        self.out.respond(Reason::NotFound, String::new(), request);
    }

    pub(super) fn track_setting(&mut self, now: Instant, request: &proto::UpdateTrackSettings) {
        let settings = TrackSettings::from_request(request);
        let sids: BTreeSet<&String> = request.track_sids.iter().collect();
        for sid in sids.into_iter().take(SUBSCRIPTIONS_MAX) {
            let sid = TrackSid(sid.clone());
            self.subscriptions.set_settings(sid.clone(), settings);
            self.reconcile(now, &[sid]);
        }
    }

    pub(super) fn subscriber_changed(
        &mut self,
        now: Instant,
        track: &TrackSid,
        subscriber: ParticipantSid,
        wanted: Option<(Codec, proto::VideoQuality)>,
    ) {
        let Some(publication) = self.publications.get(track.as_str()) else {
            return;
        };
        let kind = publication.kind;
        self.dynacast
            .subscriber(now, track, kind, subscriber, wanted, &mut self.out);
    }

    /// Tracks that may no longer be published end; subscriptions end or come back.
    pub(super) fn permit(&mut self, now: Instant, permission: proto::ParticipantPermission) {
        let may = |source: i32| permission::may_publish(&permission, source);
        let (mids, sids) = self
            .publications
            .end(|track| !may(track.info.source), &mut self.out);
        self.publications
            .pending
            .retain(|track| match &track.awaited {
                Awaited::Track(info) => may(info.source),
                Awaited::Codec { .. } => true,
            });
        self.publications
            .pending
            .retain_queued(|request| may(request.source));
        if let Some(publisher) = self.publisher.as_mut() {
            for mid in &mids {
                publisher.negotiator.unbind_receive(mid);
            }
            publisher.apply_receive(&mut self.out);
        }
        for sid in &sids {
            self.dynacast.remove(sid);
            self.tell_unpublished(sid);
        }
        self.subscriptions.rules.can_subscribe = permission.can_subscribe;
        self.settings.permission = permission;
        self.reconcile(now, &self.subscriptions.sids());
    }

    fn tell_unpublished(&mut self, sid: &TrackSid) {
        let track_sid = sid.0.clone();
        self.out
            .signal(if quirks::knows_track_unpublished(&self.settings.client) {
                Message::TrackUnpublished(proto::TrackUnpublishedResponse { track_sid })
            } else {
                Message::Mute(proto::MuteTrackRequest {
                    sid: track_sid,
                    muted: true,
                })
            });
    }

    pub(super) fn sync_state(&mut self, now: Instant, state: proto::SyncState) {
        let known = |track: &proto::TrackPublishedResponse| {
            track
                .track
                .as_ref()
                .is_none_or(|info| self.publications.info(&info.sid).is_some())
        };
        let tracks = &state.publish_tracks;
        if tracks.len() > PUBLICATIONS_MAX + PENDING_TRACKS_MAX || !tracks.iter().all(known) {
            self.out.push(MediaOutput::FullReconnect);
            return;
        }
        self.adopt_channels(&state.data_channels);
        for sid in state
            .track_sids_disabled
            .into_iter()
            .take(SUBSCRIPTIONS_MAX)
        {
            self.subscriptions.disable(TrackSid(sid));
        }
        if let Some(subscription) = state.subscription {
            let of_participants = subscription
                .participant_tracks
                .into_iter()
                .flat_map(|tracks| tracks.track_sids);
            let sids = subscription.track_sids.into_iter().chain(of_participants);
            for sid in sids.take(SUBSCRIPTIONS_MAX) {
                self.subscriptions
                    .wish(now, TrackSid(sid), subscription.subscribe);
            }
        }
        self.reconcile(now, &self.subscriptions.sids());
    }
}
