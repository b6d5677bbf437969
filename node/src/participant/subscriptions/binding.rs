//! One subscription and its down track: started, given a section, bound to a codec of the source,
//! moved, stopped. Called by `subscriptions`, which decides when; tells the packet plane, the
//! client and the publisher.

use media::negotiate::{Placement, SenderConfig};
use media::types::{Codec, SendSection};
use media::{Command, DownTrackKey, TrackKey, TransportKey};
use protocol::ids::TrackSid;
use protocol::proto;
use protocol::proto::signal_response::Message;
use protocol::proto::{AudioTrackFeature, SubscriptionError, VideoQuality};

use super::{Carrier, Stage, Subscription};
use crate::participant::contract::{MediaOutput, Source};
use crate::participant::outputs::Outputs;
use crate::participant::track_info;
use crate::participant::track_settings::wanted;

/// A subscription that is forwarded.
struct Bound<'a> {
    down_track: DownTrackKey,
    track: TrackKey,
    codec: Codec,
    source: &'a Source,
}

fn bound(subscription: &Subscription) -> Option<Bound<'_>> {
    match (&subscription.stage, &subscription.source) {
        (
            Stage::Bound {
                down_track,
                track,
                codec,
            },
            Some(source),
        ) => Some(Bound {
            down_track: *down_track,
            track: *track,
            codec: *codec,
            source,
        }),
        _ => None,
    }
}

/// What the client plays together: a track alone, or with `sync_streams` everything of one source
/// (camera and microphone, screen and its sound).
fn stream_id(source: &Source, sync_streams: bool) -> String {
    let stream = match source.info.stream.as_str() {
        "" => &source.info.sid,
        _ if !sync_streams => &source.info.sid,
        stream => stream,
    };
    format!("{}|{stream}", source.publisher_sid)
}

pub(super) fn start(
    subscription: &mut Subscription,
    carrier: &mut Carrier<'_>,
    sync_streams: bool,
) -> bool {
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
        stream_id: stream_id(source, sync_streams),
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

pub(super) fn stop(
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
pub(super) fn take_section(
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

pub(super) fn refuse(
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
pub(super) fn release_moved(
    subscription: &mut Subscription,
    carrier: &Carrier<'_>,
    out: &mut Outputs,
) {
    let Stage::Bound { down_track, .. } = subscription.stage else {
        return;
    };
    if carrier.negotiator.send_section(down_track) != subscription.section {
        out.command(Command::RemoveDownTrack { down_track });
        subscription.stage = Stage::Negotiating(down_track);
        subscription.section = None;
    }
}

/// The first codec of the source the client takes. The forwarder unpacks RED for those without it,
/// unless it is encrypted.
fn choose(source: &Source, section: &SendSection) -> Option<(TrackKey, Codec)> {
    let takes = |codec: Codec| section.payload_types.iter().any(|p| p.codec == codec);
    source
        .codecs
        .iter()
        .copied()
        .find(|(_, codec)| match codec {
            Codec::Red => takes(Codec::Red) || takes(Codec::Opus) && source.info.encryption == 0,
            codec => takes(*codec),
        })
}

pub(super) fn bind(
    sid: &TrackSid,
    subscription: &mut Subscription,
    transport: TransportKey,
    adaptive_stream: bool,
    out: &mut Outputs,
) {
    let (Some(to), Some(section)) = (bound(subscription), &subscription.section) else {
        return;
    };
    let codec = to.codec;
    let want = wanted(&subscription.settings, &to.source.info, adaptive_stream);
    out.command(Command::AddDownTrack {
        down_track: to.down_track,
        track: to.track,
        transport,
        section: section.clone(),
        limit: want.limit,
        paused: want.paused,
    });
    if want.priority > 0 {
        out.command(Command::SetPriority {
            down_track: to.down_track,
            priority: want.priority,
        });
    }
    subscription.applied = Some(want);
    tell_publisher(sid, subscription, Some(codec), want.quality, out);
}

/// The source's packets come from another track of the packet plane now (a codec ended).
pub(super) fn follow_source(sid: &TrackSid, subscription: &mut Subscription, out: &mut Outputs) {
    let Some(Bound {
        down_track,
        track,
        codec,
        source,
    }) = bound(subscription)
    else {
        return;
    };
    let now = source.codecs.iter().copied().find(|(key, _)| *key == track);
    let same_codec = source
        .codecs
        .iter()
        .copied()
        .find(|(_, other)| *other == codec);
    // Whoever cannot decode what everybody moves to stays with what there was.
    let section = subscription.section.as_ref();
    let other = || choose(source, section?);
    let Some((key, codec)) = now.or(same_codec).or_else(other) else {
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
pub(super) fn apply(
    sid: &TrackSid,
    subscription: &mut Subscription,
    adaptive_stream: bool,
    out: &mut Outputs,
) {
    let Some(to) = bound(subscription) else {
        return;
    };
    let (down_track, codec) = (to.down_track, to.codec);
    let want = wanted(&subscription.settings, &to.source.info, adaptive_stream);
    let before = subscription.applied.replace(want);
    if before == Some(want) {
        return;
    }
    out.command(Command::UpdateDownTrack {
        down_track,
        limit: want.limit,
        paused: want.paused,
    });
    if before.is_some_and(|before| before.priority != want.priority) {
        out.command(Command::SetPriority {
            down_track,
            priority: want.priority,
        });
    }
    if before.map(|before| before.quality) != Some(want.quality) {
        tell_publisher(sid, subscription, Some(codec), want.quality, out);
    }
}

pub(super) fn tell_publisher(
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

pub(super) fn respond(sid: &TrackSid, error: SubscriptionError, out: &mut Outputs) {
    out.signal(Message::SubscriptionResponse(proto::SubscriptionResponse {
        track_sid: sid.0.clone(),
        err: error as i32,
    }));
}
