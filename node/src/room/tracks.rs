//! Published tracks: shown to others, offered to their media cores, withdrawn; and who may
//! subscribe to them.

use std::collections::HashSet;

use media::types::Codec;
use protocol::ids::{ParticipantSid, TrackSid};
use protocol::proto;

use super::Room;
use super::limits::SIDS_PER_REQUEST_MAX;
use super::member::Member;
use super::permissions::{self, Allowed};
use super::updates::Audience;
use crate::participant::limits::SID_BYTES_MAX;
use crate::participant::{MediaInput, Published, Source};

impl Room {
    pub(super) fn track_published(&mut self, number: u16, track: Published) {
        let Some(member) = self.roster.get_mut(number) else {
            return;
        };
        let first = !std::mem::replace(&mut member.has_published, true);
        let info = track.info.clone();
        member.tracks.retain(|known| known.info.sid != info.sid);
        member.tracks.push(track);
        member.info.is_publisher = true;
        // Others must know whose track it is before their media cores offer it.
        self.announce(number, Audience::EverybodyNow);
        self.webhook_about_track("track_published", number, &info);
        self.offer_track(number, &info.sid);
        self.room_changed();
        if first {
            self.launch_publisher_jobs(number);
        }
    }

    pub(super) fn track_changed(&mut self, number: u16, track: Published) {
        let Some(member) = self.roster.get_mut(number) else {
            return;
        };
        let sid = track.info.sid.clone();
        let Some(known) = member.tracks.iter_mut().find(|known| known.info.sid == sid) else {
            return;
        };
        *known = track;
        self.announce(number, Audience::EverybodyNow);
        self.offer_track(number, &sid);
    }

    pub(super) fn track_unpublished(&mut self, number: u16, track: &TrackSid) {
        let Some(member) = self.roster.get_mut(number) else {
            return;
        };
        let Some(index) = member
            .tracks
            .iter()
            .position(|known| known.info.sid == track.0)
        else {
            return;
        };
        let info = member.tracks.remove(index).info;
        for other in self.roster.numbers() {
            if other != number {
                self.feed(other, MediaInput::SourceRemoved(track.clone()));
            }
        }
        self.announce(number, Audience::EverybodyNow);
        self.webhook_about_track("track_unpublished", number, &info);
    }

    /// The participant goes: so do its tracks and data tracks.
    pub(super) fn unpublish_everything(&mut self, number: u16) {
        let sids: Vec<String> = self.roster.get(number).map_or_else(Vec::new, |member| {
            member
                .tracks
                .iter()
                .map(|track| track.info.sid.clone())
                .collect()
        });
        for sid in sids {
            self.track_unpublished(number, &TrackSid(sid));
        }
        self.unpublish_data_tracks(number);
    }

    /// Offers one track to everybody else's media core.
    fn offer_track(&mut self, publisher: u16, track: &str) {
        for subscriber in self.roster.numbers() {
            self.offer_track_to(publisher, track, subscriber);
        }
    }

    fn offer_track_to(&mut self, publisher: u16, track: &str, subscriber: u16) {
        let (Some(from), Some(to)) = (self.roster.get(publisher), self.roster.get(subscriber))
        else {
            return;
        };
        if publisher == subscriber {
            return;
        }
        let Some(published) = from.tracks.iter().find(|known| known.info.sid == track) else {
            return;
        };
        let source = source(from, published, to);
        self.introduce_if_hidden(publisher, subscriber);
        self.feed(subscriber, MediaInput::SourceChanged(source));
    }

    /// Everything others publish, as one participant may see it.
    pub(super) fn sources_for(&self, subscriber: u16) -> Vec<Source> {
        let Some(to) = self.roster.get(subscriber) else {
            return Vec::new();
        };
        let others = self.roster.iter().filter(|from| from.number != subscriber);
        others
            .flat_map(|from| from.tracks.iter().map(move |track| source(from, track, to)))
            .collect()
    }

    /// Offers everything that is published to a newcomer.
    pub(super) fn offer_sources_to(&mut self, subscriber: u16) {
        let tracks: Vec<(u16, String)> = self
            .roster
            .iter()
            .flat_map(|member| {
                member
                    .tracks
                    .iter()
                    .map(|track| (member.number, track.info.sid.clone()))
            })
            .collect();
        for (publisher, track) in tracks {
            self.offer_track_to(publisher, &track, subscriber);
        }
    }

    /// A subscriber's down track was bound, let go, or wants another quality.
    pub(super) fn subscription_changed(
        &mut self,
        subscriber: u16,
        track: TrackSid,
        publisher: &ParticipantSid,
        codec: Option<Codec>,
        quality: Option<proto::VideoQuality>,
    ) {
        let Some(subscriber_sid) = self.roster.get(subscriber).map(|member| member.sid.clone())
        else {
            return;
        };
        if let Some(number) = self.roster.of_sid(publisher.as_str()) {
            let input = MediaInput::Subscriber {
                track,
                subscriber: subscriber_sid,
                codec,
                quality,
            };
            self.feed(number, input);
            self.tell_speaker_to(subscriber, number);
        }
    }

    /// `subscription` of a client or `UpdateSubscriptions` of the API. Sids may be unknown yet.
    pub(super) fn update_subscription(
        &mut self,
        number: u16,
        track_sids: Vec<String>,
        participant_tracks: Vec<proto::ParticipantTracks>,
        subscribed: bool,
    ) {
        let of_participants = participant_tracks
            .into_iter()
            .flat_map(|entry| entry.track_sids);
        // Each once: a sid costs little to send and a look at the connection to serve.
        let mut known = HashSet::new();
        let sids = track_sids
            .into_iter()
            .chain(of_participants)
            .filter(|sid| !sid.is_empty() && sid.len() <= SID_BYTES_MAX)
            .take(SIDS_PER_REQUEST_MAX);
        for sid in sids {
            if known.insert(sid.clone()) {
                let track = TrackSid(sid);
                self.feed(number, MediaInput::Subscribe { track, subscribed });
            }
        }
    }

    /// `subscription_permission`: who may have this publisher's tracks from now on.
    pub(super) fn restrict_subscribers(
        &mut self,
        number: u16,
        permission: proto::SubscriptionPermission,
    ) {
        let Some(member) = self.roster.get_mut(number) else {
            return;
        };
        member.allow =
            (!permission.all_participants).then(|| Allowed::new(permission.track_permissions));
        let tracks: Vec<String> = member
            .tracks
            .iter()
            .map(|track| track.info.sid.clone())
            .collect();
        for track in tracks {
            self.offer_track(number, &track);
        }
        self.sync_data_tracks_of(number);
    }
}

fn source(publisher: &Member, track: &Published, subscriber: &Member) -> Source {
    Source {
        publisher_sid: publisher.sid.clone(),
        publisher_identity: publisher.identity().to_owned(),
        info: track.info.clone(),
        codecs: track.codecs.clone(),
        allowed: permissions::allows(publisher, subscriber, &track.info.sid),
    }
}
