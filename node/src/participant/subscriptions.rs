//! What a participant receives: wishes, settings and sources of each track, and where its down
//! track stands. Decides what to send and what to stop; the connection that carries it is handed in
//! as its negotiator.

mod binding;
mod image;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use media::negotiate::Negotiator;
use media::types::{Codec, MediaKind, SendSection};
use media::{DownTrackKey, TrackKey, TransportKey};
use protocol::ids::{ParticipantSid, TrackSid};
use protocol::proto;
use protocol::proto::SubscriptionError;
use protocol::proto::signal_response::Message;

use self::binding::{
    apply, follow_source, refuse, release_moved, respond, start, stop, take_section,
};
use super::contract::{KeyAllocator, Kinds, Source};
use super::limits::{NOT_FOUND_TIMEOUT, SID_BYTES_MAX, SUBSCRIPTIONS_MAX};
use super::outputs::Outputs;
use super::track_info;
use super::track_settings::{TrackSettings, Wanted};

/// Where a subscription's down track stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Idle,
    /// The sender waits for its section to be negotiated.
    Negotiating(DownTrackKey),
    Bound {
        down_track: DownTrackKey,
        track: TrackKey,
        codec: Codec,
    },
}

#[derive(Debug, Default)]
struct Subscription {
    /// What was asked for; `None` = the default of the session.
    wish: Option<bool>,
    wished_at: Option<Instant>,
    source: Option<Source>,
    settings: TrackSettings,
    /// The permission the client was told last.
    told_allowed: Option<bool>,
    /// The client can decode none of the source's codecs.
    unsupported: bool,
    /// Announced, but not sent yet: the publisher was asked for it, because the client can decode
    /// nothing that is sent.
    awaited: Option<Codec>,
    stage: Stage,
    /// Where its down track is sent.
    section: Option<SendSection>,
    /// What the packet plane and the publisher were told last.
    applied: Option<Wanted>,
}

impl Subscription {
    fn kind(&self) -> Option<MediaKind> {
        track_info::kind_of(self.source.as_ref()?.info.r#type)
    }
}

/// Facts of the session that decide about every subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) auto_subscribe: bool,
    pub(crate) adaptive_stream: bool,
    pub(crate) can_subscribe: bool,
    /// Tracks of one source share a media stream, so that they play in time.
    pub(crate) sync_streams: bool,
    /// 0 = no limit.
    pub(crate) limit_audio: u32,
    pub(crate) limit_video: u32,
}

impl Rules {
    pub(crate) fn limited(&self) -> bool {
        self.limit_audio > 0 || self.limit_video > 0
    }
}

/// The connection subscriptions are carried on.
pub(crate) struct Carrier<'a> {
    pub(crate) negotiator: &'a mut Negotiator,
    pub(crate) transport: TransportKey,
    pub(crate) keys: &'a KeyAllocator,
}

#[derive(Debug)]
pub(crate) struct Subscriptions {
    pub(crate) rules: Rules,
    tracks: BTreeMap<TrackSid, Subscription>,
    /// Wishes for tracks nobody publishes, oldest first.
    missing: VecDeque<(Instant, TrackSid)>,
}

impl Subscriptions {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            tracks: BTreeMap::new(),
            missing: VecDeque::new(),
        }
    }

    pub(crate) fn source_changed(&mut self, source: Source) -> TrackSid {
        let sid = TrackSid(source.info.sid.clone());
        let subscription = self.tracks.entry(sid.clone()).or_default();
        let codecs = |source: &Source| source.codecs.iter().map(|c| c.1).collect::<Vec<_>>();
        if subscription.source.as_ref().map(codecs) != Some(codecs(&source)) {
            subscription.unsupported = false;
        }
        subscription.source = Some(source);
        sid
    }

    pub(crate) fn wish(&mut self, now: Instant, sid: TrackSid, subscribed: bool) {
        let full = self.missing.len() >= SUBSCRIPTIONS_MAX;
        let Some(subscription) = self.entry(sid.clone()) else {
            return;
        };
        let before = subscription.wish.replace(subscribed);
        if subscribed && subscription.source.is_none() {
            if before != Some(true) && !full {
                subscription.wished_at = Some(now);
                self.missing.push_back((now, sid));
            }
        } else if !subscribed {
            // A later subscription starts enabled, or it would stay dark.
            subscription.settings.disabled = false;
            subscription.unsupported = false;
        }
    }

    /// Stores settings; they apply now or when the track is bound.
    pub(crate) fn set_settings(&mut self, sid: TrackSid, settings: TrackSettings) {
        if let Some(subscription) = self.entry(sid) {
            subscription.settings = settings;
        }
    }

    pub(crate) fn disable(&mut self, sid: TrackSid) {
        if let Some(subscription) = self.entry(sid) {
            subscription.settings.disabled = true;
        }
    }

    pub(crate) fn sids(&self) -> Vec<TrackSid> {
        self.tracks.keys().cloned().collect()
    }

    /// Brings one subscription to where wish, source and permissions want it. `true`: the
    /// connection must be negotiated.
    pub(crate) fn reconcile(
        &mut self,
        sid: &TrackSid,
        carrier: &mut Carrier<'_>,
        out: &mut Outputs,
    ) -> bool {
        self.tell_permission(sid, out);
        let wanted = self.is_wanted(sid);
        let room = self.has_room(sid);
        let Some(subscription) = self.tracks.get_mut(sid) else {
            return false;
        };
        match (&subscription.stage, wanted) {
            (Stage::Idle, true) if room => start(subscription, carrier, self.rules.sync_streams),
            (Stage::Idle, _) => false,
            (Stage::Negotiating(_) | Stage::Bound { .. }, false) => {
                stop(sid, subscription, carrier, out);
                true
            }
            (Stage::Bound { .. }, true) => {
                follow_source(sid, subscription, out);
                apply(sid, subscription, self.rules.adaptive_stream, out);
                false
            }
            (Stage::Negotiating(id), true) => {
                // The codec that was waited for may be there now.
                let section = carrier.negotiator.send_section(*id);
                if let Some(section) = section.filter(|_| subscription.awaited.is_some()) {
                    let adaptive_stream = self.rules.adaptive_stream;
                    take_section(sid, subscription, section, carrier, adaptive_stream, out);
                }
                false
            }
        }
    }

    /// The source is gone; the wish goes with it, for its sid never comes back.
    pub(crate) fn remove(
        &mut self,
        sid: &TrackSid,
        carrier: Option<&mut Carrier<'_>>,
        out: &mut Outputs,
    ) -> bool {
        let Some(mut subscription) = self.tracks.remove(sid) else {
            return false;
        };
        match carrier {
            Some(carrier) if subscription.stage != Stage::Idle => {
                stop(sid, &mut subscription, carrier, out);
                true
            }
            _ => false,
        }
    }

    /// A description was agreed on: senders that have a section now are forwarded. `refused` are
    /// those the client rejected.
    pub(crate) fn negotiated(
        &mut self,
        carrier: &mut Carrier<'_>,
        refused: &[DownTrackKey],
        out: &mut Outputs,
    ) {
        let adaptive_stream = self.rules.adaptive_stream;
        for (sid, subscription) in &mut self.tracks {
            release_moved(subscription, carrier, out);
            let Stage::Negotiating(id) = subscription.stage else {
                continue;
            };
            if refused.contains(&id) {
                refuse(sid, subscription, id, carrier, out);
                continue;
            }
            let Some(section) = carrier.negotiator.send_section(id) else {
                continue;
            };
            take_section(sid, subscription, section, carrier, adaptive_stream, out);
        }
    }

    /// Gives up wishes for tracks that did not appear in time.
    pub(crate) fn expire(&mut self, now: Instant, out: &mut Outputs) {
        while self
            .missing
            .front()
            .is_some_and(|(since, _)| *since + NOT_FOUND_TIMEOUT <= now)
        {
            let Some((since, sid)) = self.missing.pop_front() else {
                return;
            };
            let absent = |s: &Subscription| {
                s.source.is_none() && s.wish == Some(true) && s.wished_at == Some(since)
            };
            if self.tracks.get(&sid).is_some_and(absent) {
                self.tracks.remove(&sid);
                respond(&sid, SubscriptionError::SeTrackNotfound, out);
            }
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.missing
            .front()
            .map(|(since, _)| *since + NOT_FOUND_TIMEOUT)
    }

    pub(crate) fn bound(&self) -> impl Iterator<Item = &TrackSid> {
        let bound = |s: &Subscription| matches!(s.stage, Stage::Bound { .. });
        self.tracks
            .iter()
            .filter(move |(_, s)| bound(s))
            .map(|(sid, _)| sid)
    }

    pub(crate) fn count(&self) -> Kinds {
        let mut kinds = Kinds::default();
        for subscription in self.tracks.values() {
            match (&subscription.stage, subscription.kind()) {
                (Stage::Bound { .. }, Some(MediaKind::Audio)) => kinds.audio += 1,
                (Stage::Bound { .. }, Some(MediaKind::Video)) => kinds.video += 1,
                _ => {}
            }
        }
        kinds
    }

    /// All of those `subscribes_to` is true for.
    pub(crate) fn publishers(&self) -> BTreeSet<ParticipantSid> {
        let bound = |s: &&Subscription| matches!(s.stage, Stage::Bound { .. });
        let sources = self.tracks.values().filter(bound);
        sources
            .filter_map(|s| Some(s.source.as_ref()?.publisher_sid.clone()))
            .collect()
    }

    pub(crate) fn subscribes_to(&self, publisher: &ParticipantSid) -> bool {
        self.tracks.values().any(|s| {
            matches!(s.stage, Stage::Bound { .. })
                && s.source
                    .as_ref()
                    .is_some_and(|source| source.publisher_sid == *publisher)
        })
    }

    /// The track a sender carries: for `mid_to_track_id`.
    pub(crate) fn sid_of(&self, id: DownTrackKey) -> Option<&TrackSid> {
        let carries = |stage: &Stage| match stage {
            Stage::Idle => false,
            Stage::Negotiating(sender) => *sender == id,
            Stage::Bound { down_track, .. } => *down_track == id,
        };
        self.tracks
            .iter()
            .find(|(_, s)| carries(&s.stage))
            .map(|(sid, _)| sid)
    }

    /// The track a sender carries, and whose it is.
    pub(crate) fn owner_of(&self, id: DownTrackKey) -> Option<(&TrackSid, &ParticipantSid)> {
        let sid = self.sid_of(id)?;
        let source = self.tracks.get(sid)?.source.as_ref()?;
        Some((sid, &source.publisher_sid))
    }

    fn entry(&mut self, sid: TrackSid) -> Option<&mut Subscription> {
        let full = self.tracks.len() >= SUBSCRIPTIONS_MAX || sid.0.len() > SID_BYTES_MAX;
        if full && !self.tracks.contains_key(&sid) {
            return None;
        }
        Some(self.tracks.entry(sid).or_default())
    }

    fn wishes(&self, subscription: &Subscription) -> bool {
        let default = self.rules.auto_subscribe;
        self.rules.can_subscribe
            && subscription.wish.unwrap_or(default)
            && !subscription.unsupported
    }

    fn is_wanted(&self, sid: &TrackSid) -> bool {
        self.tracks.get(sid).is_some_and(|subscription| {
            self.wishes(subscription)
                && subscription
                    .source
                    .as_ref()
                    .is_some_and(|source| source.allowed)
        })
    }

    /// One more of its kind is within the limit.
    fn has_room(&self, sid: &TrackSid) -> bool {
        let kind = self.tracks.get(sid).and_then(Subscription::kind);
        let limit = match kind {
            Some(MediaKind::Audio) => self.rules.limit_audio,
            Some(MediaKind::Video) => self.rules.limit_video,
            None => return false,
        };
        let active = |s: &&Subscription| s.stage != Stage::Idle && s.kind() == kind;
        limit == 0 || self.tracks.values().filter(active).count() < limit as usize
    }

    /// Says whether the publisher allows what the client wants, once for each change.
    fn tell_permission(&mut self, sid: &TrackSid, out: &mut Outputs) {
        let wishes = self.tracks.get(sid).is_some_and(|s| self.wishes(s));
        let Some(subscription) = self.tracks.get_mut(sid) else {
            return;
        };
        let Some(source) = subscription.source.as_ref() else {
            return;
        };
        if !wishes {
            subscription.told_allowed = None;
            return;
        }
        if subscription.told_allowed == Some(source.allowed) {
            return;
        }
        subscription.told_allowed = Some(source.allowed);
        out.signal(Message::SubscriptionPermissionUpdate(
            proto::SubscriptionPermissionUpdate {
                participant_sid: source.publisher_sid.0.clone(),
                track_sid: sid.0.clone(),
                allowed: source.allowed,
            },
        ));
    }
}
