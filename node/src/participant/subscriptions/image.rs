//! Subscriptions as records and back. Sources are the room's to bring: those that were forwarded go
//! on from them, and what else a subscription has follows from both.

use media::types::Codec;
use media::{DownTrackKey, TrackKey};
use protocol::ids::TrackSid;
use protocol::proto::VideoQuality;

use super::binding::{bind, tell_publisher};
use super::{Carrier, Stage, Subscription, Subscriptions};
use crate::participant::contract::{Source, WallClock};
use crate::participant::image::records::{SettingsRecord, SubscriptionRecord};
use crate::participant::image::{Rekey, codec_number, codec_of, low};
use crate::participant::limits::SUBSCRIPTIONS_MAX;
use crate::participant::outputs::Outputs;
use crate::participant::track_settings::{TrackSettings, wanted};

impl Subscriptions {
    /// Those that are more than what everybody has of every track.
    pub(crate) fn image(&self, clock: &WallClock) -> Vec<SubscriptionRecord> {
        let records = self.tracks.iter();
        records
            .map(|(sid, subscription)| (sid, record(subscription, clock)))
            .filter(|(_, record)| *record != SubscriptionRecord::default())
            .map(|(sid, record)| SubscriptionRecord {
                sid: sid.0.clone(),
                ..record
            })
            .collect()
    }

    pub(crate) fn thaw(&mut self, records: &[SubscriptionRecord], clock: &WallClock, rekey: Rekey) {
        for record in records.iter().take(SUBSCRIPTIONS_MAX) {
            let subscription = subscription(record, clock, rekey);
            let sid = TrackSid(record.sid.clone());
            if let Some(at) = subscription.wished_at {
                self.missing.push_back((at, sid.clone()));
            }
            self.tracks.insert(sid, subscription);
        }
        let missing = self.missing.make_contiguous();
        missing.sort_by_key(|(at, _)| *at);
    }

    /// Gives subscriptions their sources without acting on them. Returns those that stand for a
    /// track nobody publishes any more.
    pub(crate) fn seat(&mut self, sources: Vec<Source>) -> Vec<TrackSid> {
        for source in sources {
            let sid = TrackSid(source.info.sid.clone());
            if let Some(subscription) = self.tracks.get_mut(&sid) {
                subscription.source = Some(source);
            } else {
                self.source_changed(source);
            }
        }
        let gone = |s: &Subscription| s.source.is_none() && s.stage != Stage::Idle;
        let gone = self.tracks.iter().filter(|(_, s)| gone(s));
        gone.map(|(sid, _)| sid.clone()).collect()
    }

    /// What was forwarded is forwarded again; publishers hear what is wanted of them.
    pub(crate) fn go_on(&mut self, carrier: &mut Carrier<'_>, out: &mut Outputs) {
        let adaptive_stream = self.rules.adaptive_stream;
        for (sid, subscription) in &mut self.tracks {
            match (&subscription.stage, &subscription.source) {
                (Stage::Bound { down_track, .. }, Some(_)) => {
                    let down_track = *down_track;
                    subscription.section = carrier.negotiator.send_section(down_track);
                    if subscription.section.is_none() {
                        subscription.stage = Stage::Negotiating(down_track);
                        continue;
                    }
                    bind(sid, subscription, carrier.transport, adaptive_stream, out);
                }
                (Stage::Negotiating(_), Some(source)) if subscription.awaited.is_some() => {
                    let want = wanted(&subscription.settings, &source.info, adaptive_stream);
                    tell_publisher(sid, subscription, subscription.awaited, want.quality, out);
                }
                _ => {}
            }
        }
    }
}

fn record(subscription: &Subscription, clock: &WallClock) -> SubscriptionRecord {
    let settings = &subscription.settings;
    let (down_track, track, codec) = match &subscription.stage {
        Stage::Idle => (0, 0, 0),
        Stage::Negotiating(id) => (low(id.0), 0, 0),
        Stage::Bound {
            down_track,
            track,
            codec,
        } => (low(down_track.0), low(track.0), codec_number(*codec)),
    };
    let wished_at = subscription.wished_at;
    SubscriptionRecord {
        sid: String::new(),
        wish: subscription.wish,
        wished_at: wished_at.map(|at| clock.unix_micros_of(at)),
        settings: (*settings != TrackSettings::default()).then(|| SettingsRecord {
            quality: settings.quality.map(i32::from),
            width: settings.width,
            height: settings.height,
            fps: settings.fps,
            priority: u32::from(settings.priority),
            disabled: settings.disabled,
        }),
        told_allowed: subscription.told_allowed,
        unsupported: subscription.unsupported,
        awaited: subscription.awaited.map_or(0, codec_number),
        down_track,
        track,
        codec,
    }
}

fn subscription(record: &SubscriptionRecord, clock: &WallClock, rekey: Rekey) -> Subscription {
    let down_track = DownTrackKey(rekey.key(record.down_track));
    let codec: Option<Codec> = codec_of(record.codec);
    let stage = match (record.down_track, record.track, codec) {
        (0, _, _) => Stage::Idle,
        (_, 0, _) | (_, _, None) => Stage::Negotiating(down_track),
        (_, track, Some(codec)) => Stage::Bound {
            down_track,
            track: TrackKey(rekey.key(track)),
            codec,
        },
    };
    Subscription {
        wish: record.wish,
        wished_at: record.wished_at.map(|at| clock.instant_of(at)),
        settings: record
            .settings
            .map_or_else(TrackSettings::default, settings),
        told_allowed: record.told_allowed,
        unsupported: record.unsupported,
        awaited: codec_of(record.awaited),
        stage,
        ..Subscription::default()
    }
}

fn settings(record: SettingsRecord) -> TrackSettings {
    let quality = record.quality.map(VideoQuality::try_from);
    TrackSettings {
        quality: quality.and_then(Result::ok),
        width: record.width,
        height: record.height,
        fps: record.fps,
        priority: u8::try_from(record.priority).unwrap_or(u8::MAX),
        disabled: record.disabled,
    }
}
