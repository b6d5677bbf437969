//! What a participant receives: wishes, settings and sources of each track, and where its down
//! track stands. Decides what to send and what to stop; the connection that carries it is handed in
//! as its negotiator.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use media::negotiate::{Negotiator, Placement, SenderConfig};
use media::types::{Codec, MediaKind, SendSection};
use media::{Command, DownTrackKey, TrackKey, TransportKey};
use protocol::ids::{ParticipantSid, TrackSid};
use protocol::proto;
use protocol::proto::signal_response::Message;
use protocol::proto::{AudioTrackFeature, SubscriptionError, VideoQuality};

use super::contract::{KeyAllocator, MediaOutput, Source};
use super::limits::{NOT_FOUND_TIMEOUT, SUBSCRIPTIONS_MAX};
use super::outputs::Outputs;
use super::track_info;
use super::track_settings::{TrackSettings, Wanted, wanted};

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
            (Stage::Idle, true) if room => start(subscription, carrier),
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

    fn entry(&mut self, sid: TrackSid) -> Option<&mut Subscription> {
        if self.tracks.len() >= SUBSCRIPTIONS_MAX && !self.tracks.contains_key(&sid) {
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

fn start(subscription: &mut Subscription, carrier: &mut Carrier<'_>) -> bool {
    let Some(source) = subscription.source.as_ref() else {
        return false;
    };
    let Some(kind) = track_info::kind_of(source.info.r#type) else {
        return false;
    };
    let id = carrier.keys.down_track();
    let placement = carrier.negotiator.add_sender(SenderConfig {
        id,
        kind,
        codecs: source.codecs.iter().map(|(_, codec)| *codec).collect(),
        stream_id: format!("{}|{}", source.publisher_sid, source.info.sid),
        track_id: source.info.sid.clone(),
        stereo: track_info::has_feature(&source.info, AudioTrackFeature::TfStereo),
    });
    if placement == Placement::Unavailable {
        tracing::debug!(
            sid = source.info.sid,
            "no section is left for a subscription"
        );
        return false;
    }
    subscription.stage = Stage::Negotiating(id);
    true
}

fn stop(
    sid: &TrackSid,
    subscription: &mut Subscription,
    carrier: &mut Carrier<'_>,
    out: &mut Outputs,
) {
    match std::mem::take(&mut subscription.stage) {
        Stage::Idle => {}
        Stage::Negotiating(id) => {
            carrier.negotiator.remove_sender(id);
            if subscription.awaited.take().is_some() {
                tell_publisher(sid, subscription, None, VideoQuality::Off, out);
            }
        }
        Stage::Bound { down_track, .. } => {
            out.command(Command::RemoveDownTrack { down_track });
            carrier.negotiator.remove_sender(down_track);
            tell_publisher(sid, subscription, None, VideoQuality::Off, out);
        }
    }
    subscription.applied = None;
    subscription.section = None;
}

/// Forwards the first codec the client takes; asks the publisher for one it announced, if there is
/// none yet (a backup codec is only sent once somebody wants it).
fn take_section(
    sid: &TrackSid,
    subscription: &mut Subscription,
    section: SendSection,
    carrier: &mut Carrier<'_>,
    adaptive_stream: bool,
    out: &mut Outputs,
) {
    let (Stage::Negotiating(id), Some(source)) = (&subscription.stage, &subscription.source) else {
        return;
    };
    let id = *id;
    if let Some((track, codec)) = choose(source, &section) {
        subscription.stage = Stage::Bound {
            down_track: id,
            track,
            codec,
        };
        subscription.section = Some(section);
        subscription.awaited = None;
        bind(sid, subscription, carrier.transport, adaptive_stream, out);
        return;
    }
    let takes = |codec: &Codec| section.payload_types.iter().any(|p| p.codec == *codec);
    let mut announced = source.info.codecs.iter();
    let backup = announced.find_map(|c| Codec::from_mime(&c.mime_type).filter(takes));
    match backup {
        Some(codec) if subscription.awaited == Some(codec) => {}
        Some(codec) => {
            let want = wanted(&subscription.settings, &source.info, adaptive_stream);
            subscription.awaited = Some(codec);
            tell_publisher(sid, subscription, Some(codec), want.quality, out);
        }
        None => refuse(sid, subscription, id, carrier, out),
    }
}

fn refuse(
    sid: &TrackSid,
    subscription: &mut Subscription,
    id: DownTrackKey,
    carrier: &mut Carrier<'_>,
    out: &mut Outputs,
) {
    carrier.negotiator.remove_sender(id);
    subscription.stage = Stage::Idle;
    subscription.unsupported = true;
    if subscription.awaited.take().is_some() {
        tell_publisher(sid, subscription, None, VideoQuality::Off, out);
    }
    respond(sid, SubscriptionError::SeCodecUnsupported, out);
}

/// A client that takes its section back, or renumbers it, makes the down track start over on
/// another one.
fn release_moved(subscription: &mut Subscription, carrier: &Carrier<'_>, out: &mut Outputs) {
    let Stage::Bound { down_track, .. } = subscription.stage else {
        return;
    };
    if carrier.negotiator.send_section(down_track) != subscription.section {
        out.command(Command::RemoveDownTrack { down_track });
        subscription.stage = Stage::Negotiating(down_track);
        subscription.section = None;
    }
}

/// The first codec of the source the client takes. The forwarder unpacks RED for those without it.
fn choose(source: &Source, section: &SendSection) -> Option<(TrackKey, Codec)> {
    let takes = |codec: Codec| section.payload_types.iter().any(|p| p.codec == codec);
    source
        .codecs
        .iter()
        .copied()
        .find(|(_, codec)| match codec {
            Codec::Red => takes(Codec::Red) || takes(Codec::Opus),
            codec => takes(*codec),
        })
}

fn bind(
    sid: &TrackSid,
    subscription: &mut Subscription,
    transport: TransportKey,
    adaptive_stream: bool,
    out: &mut Outputs,
) {
    let Stage::Bound {
        down_track,
        track,
        codec,
    } = subscription.stage
    else {
        return;
    };
    let Some(source) = subscription.source.as_ref() else {
        return;
    };
    let Some(section) = subscription.section.as_ref() else {
        return;
    };
    let want = wanted(&subscription.settings, &source.info, adaptive_stream);
    out.command(Command::AddDownTrack {
        down_track,
        track,
        transport,
        section: section.clone(),
        limit: want.limit,
        paused: want.paused,
    });
    subscription.applied = Some(want);
    tell_publisher(sid, subscription, Some(codec), want.quality, out);
}

/// The source's packets come from another track of the packet plane now (a codec ended).
fn follow_source(sid: &TrackSid, subscription: &mut Subscription, out: &mut Outputs) {
    let Stage::Bound {
        down_track,
        track,
        codec,
    } = subscription.stage
    else {
        return;
    };
    let Some(source) = subscription.source.as_ref() else {
        return;
    };
    let now = source.codecs.iter().copied().find(|(key, _)| *key == track);
    let same_codec = source
        .codecs
        .iter()
        .copied()
        .find(|(_, other)| *other == codec);
    let Some((key, codec)) = now
        .or(same_codec)
        .or_else(|| source.codecs.first().copied())
    else {
        return;
    };
    if (key, Some(codec)) == (track, now.map(|(_, codec)| codec)) {
        subscription.stage = Stage::Bound {
            down_track,
            track,
            codec,
        };
        return;
    }
    out.command(Command::SwitchDownTrack {
        down_track,
        track: key,
    });
    subscription.stage = Stage::Bound {
        down_track,
        track: key,
        codec,
    };
    let quality = subscription
        .applied
        .map_or(VideoQuality::High, |applied| applied.quality);
    tell_publisher(sid, subscription, Some(codec), quality, out);
}

/// Settings or layers may have changed what is wanted.
fn apply(
    sid: &TrackSid,
    subscription: &mut Subscription,
    adaptive_stream: bool,
    out: &mut Outputs,
) {
    let Stage::Bound {
        down_track, codec, ..
    } = subscription.stage
    else {
        return;
    };
    let Some(source) = subscription.source.as_ref() else {
        return;
    };
    let want = wanted(&subscription.settings, &source.info, adaptive_stream);
    let before = subscription.applied.replace(want);
    if before == Some(want) {
        return;
    }
    out.command(Command::UpdateDownTrack {
        down_track,
        limit: want.limit,
        paused: want.paused,
    });
    if before.map(|before| before.quality) != Some(want.quality) {
        tell_publisher(sid, subscription, Some(codec), want.quality, out);
    }
}

fn tell_publisher(
    sid: &TrackSid,
    subscription: &Subscription,
    codec: Option<Codec>,
    quality: VideoQuality,
    out: &mut Outputs,
) {
    let Some(source) = subscription.source.as_ref() else {
        return;
    };
    out.push(MediaOutput::SubscriptionChanged {
        track: sid.clone(),
        publisher: source.publisher_sid.clone(),
        subscribed: codec.is_some(),
        codec,
        quality,
    });
}

fn respond(sid: &TrackSid, error: SubscriptionError, out: &mut Outputs) {
    out.signal(Message::SubscriptionResponse(proto::SubscriptionResponse {
        track_sid: sid.0.clone(),
        err: error as i32,
    }));
}
