//! Builds the TrackInfo of an AddTrack request and keeps its redundant fields in step. Pure
//! functions; the rules are LiveKit's (`rtc/participant.go` addPendingTrackLocked).

use media::types::{Codec, MediaKind};
use protocol::ids::TrackSid;
use protocol::proto;
use protocol::proto::video_layer::Mode;
use protocol::proto::{
    AudioTrackFeature, BackupCodecPolicy, PacketTrailerFeature, TrackSource, TrackType,
};

use super::limits::{
    CODECS_PER_TRACK_MAX, LAYERS_PER_CODEC_MAX, RID_BYTES_MAX, TRACK_TEXT_BYTES_MAX,
};

/// Audio or video; `None` for anything else.
pub(crate) fn kind_of(track_type: i32) -> Option<MediaKind> {
    match TrackType::try_from(track_type) {
        Ok(TrackType::Audio) => Some(MediaKind::Audio),
        Ok(TrackType::Video) => Some(MediaKind::Video),
        _ => None,
    }
}

/// What the publisher is told at once and others see once media is negotiated. `enabled` are the
/// codecs this client may publish here, most preferred first.
#[allow(deprecated)] // clients still read the deprecated fields
pub(crate) fn from_request(
    request: &proto::AddTrackRequest,
    sid: &TrackSid,
    kind: MediaKind,
    enabled: &[Codec],
) -> proto::TrackInfo {
    let layers = sorted_layers(&request.layers);
    let codecs = codecs_of(request, kind, &layers, enabled);
    let simulcast = !request.simulcast_codecs.is_empty()
        && codecs.first().is_some_and(|primary| {
            primary.layers.len() > 1
                && primary.video_layer_mode != Mode::MultipleSpatialLayersPerStream as i32
        });
    let mut info = proto::TrackInfo {
        sid: sid.0.clone(),
        r#type: request.r#type,
        name: request.name.clone(),
        muted: request.muted,
        width: request.width,
        height: request.height,
        simulcast,
        source: request.source,
        layers,
        codecs,
        disable_red: request.disable_red,
        encryption: request.encryption,
        stream: stream_of(request),
        backup_codec_policy: backup_policy(request, kind) as i32,
        packet_trailer_features: known_features::<PacketTrailerFeature>(
            &request.packet_trailer_features,
        ),
        ..Default::default()
    };
    if kind == MediaKind::Audio {
        // The bools are the client's own here: it may capture two channels and publish one.
        info.stereo = request.stereo;
        info.disable_dtx = request.disable_dtx;
        info.audio_features = merged_features(request);
    }
    info
}

/// Whether the texts of a request are short enough to be told to everybody, again and again.
pub(crate) fn texts_fit(request: &proto::AddTrackRequest) -> bool {
    let rids_fit = |layers: &[proto::VideoLayer]| {
        let rids = layers.iter().map(|layer| layer.rid.len());
        rids.max().is_none_or(|longest| longest <= RID_BYTES_MAX)
    };
    let codecs = &request.simulcast_codecs;
    let own = [&request.cid, &request.name, &request.stream];
    own.into_iter()
        .chain(codecs.iter().map(|codec| &codec.cid))
        .all(|text| text.len() <= TRACK_TEXT_BYTES_MAX)
        && rids_fit(&request.layers)
        && codecs.iter().all(|codec| rids_fit(&codec.layers))
}

/// Each feature once, those we know.
fn known_features<F: TryFrom<i32>>(features: &[i32]) -> Vec<i32> {
    let mut known = Vec::new();
    for feature in features {
        if !known.contains(feature) && F::try_from(*feature).is_ok() {
            known.push(*feature);
        }
    }
    known
}

/// The features count for descriptions, the legacy bools are only shown.
pub(crate) fn has_feature(info: &proto::TrackInfo, feature: AudioTrackFeature) -> bool {
    info.audio_features.contains(&(feature as i32))
}

/// Replaces the features; the legacy bools follow.
#[allow(deprecated)]
pub(crate) fn set_audio_features(info: &mut proto::TrackInfo, features: &[i32]) {
    let features = known_features::<AudioTrackFeature>(features);
    info.stereo = features.contains(&(AudioTrackFeature::TfStereo as i32));
    info.disable_dtx = features.contains(&(AudioTrackFeature::TfNoDtx as i32));
    info.audio_features = features;
}

/// The entry of a codec that comes later, for a track that is known already (`sid` in AddTrack).
/// Returns the codec, or `None` when the request names none.
pub(crate) fn add_backup_codec(
    info: &mut proto::TrackInfo,
    request: &proto::AddTrackRequest,
    enabled: &[Codec],
) -> Option<Codec> {
    let kind = kind_of(info.r#type)?;
    let wanted = request.simulcast_codecs.first()?;
    let codec = enabled_codec(&wanted.codec, kind, enabled);
    let cid = if wanted.cid.is_empty() {
        &request.cid
    } else {
        &wanted.cid
    };
    let layers = if wanted.layers.is_empty() {
        &request.layers
    } else {
        &wanted.layers
    };
    let known = info
        .codecs
        .iter()
        .position(|c| Codec::from_mime(&c.mime_type) == Some(codec));
    let full = info.codecs.len() >= CODECS_PER_TRACK_MAX;
    match known.and_then(|index| info.codecs.get_mut(index)) {
        Some(entry) => {
            entry.cid = cid.clone();
            if !layers.is_empty() {
                entry.layers = sorted_layers(layers);
            }
        }
        None if !full => {
            info.codecs.push(codec_entry(
                codec,
                cid,
                wanted.video_layer_mode,
                sorted_layers(layers),
            ));
        }
        None => return None,
    }
    Some(codec)
}

#[allow(deprecated)]
fn merged_features(request: &proto::AddTrackRequest) -> Vec<i32> {
    let mut features = known_features::<AudioTrackFeature>(&request.audio_features);
    let legacy = [
        (request.stereo, AudioTrackFeature::TfStereo),
        (request.disable_dtx, AudioTrackFeature::TfNoDtx),
    ];
    for (set, feature) in legacy {
        if set && !features.contains(&(feature as i32)) {
            features.push(feature as i32);
        }
    }
    features
}

fn codecs_of(
    request: &proto::AddTrackRequest,
    kind: MediaKind,
    layers: &[proto::VideoLayer],
    enabled: &[Codec],
) -> Vec<proto::SimulcastCodecInfo> {
    if request.simulcast_codecs.is_empty() {
        // Clients that do not name codecs: the media will tell which one it is.
        return vec![proto::SimulcastCodecInfo {
            cid: request.cid.clone(),
            layers: layers.to_vec(),
            video_layer_mode: Mode::OneSpatialLayerPerStream as i32,
            ..Default::default()
        }];
    }
    let mut codecs: Vec<proto::SimulcastCodecInfo> = Vec::new();
    for wanted in request.simulcast_codecs.iter().take(CODECS_PER_TRACK_MAX) {
        let codec = enabled_codec(&wanted.codec, kind, enabled);
        if codecs.iter().any(|c| c.mime_type == codec.mime()) {
            continue;
        }
        let own = sorted_layers(&wanted.layers);
        let layers = if own.is_empty() { layers.to_vec() } else { own };
        codecs.push(codec_entry(
            codec,
            &wanted.cid,
            wanted.video_layer_mode,
            layers,
        ));
    }
    codecs
}

fn codec_entry(
    codec: Codec,
    cid: &str,
    mode: i32,
    layers: Vec<proto::VideoLayer>,
) -> proto::SimulcastCodecInfo {
    let mode = match Mode::try_from(mode) {
        Ok(Mode::Unused) | Err(_) if matches!(codec, Codec::Vp9 | Codec::Av1) => {
            Mode::MultipleSpatialLayersPerStream
        }
        Ok(Mode::Unused) | Err(_) => Mode::OneSpatialLayerPerStream,
        Ok(mode) => mode,
    };
    proto::SimulcastCodecInfo {
        mime_type: codec.mime().to_owned(),
        cid: cid.to_owned(),
        layers,
        video_layer_mode: mode as i32,
        ..Default::default()
    }
}

/// The codec asked for, or the first enabled one of its kind when it is unknown or disabled.
fn enabled_codec(name: &str, kind: MediaKind, enabled: &[Codec]) -> Codec {
    let fallback = match kind {
        MediaKind::Video => Codec::Vp8,
        MediaKind::Audio => Codec::Opus,
    };
    Codec::from_mime(name)
        .filter(|codec| codec.kind() == kind && enabled.contains(codec))
        .or_else(|| enabled.iter().copied().find(|codec| codec.kind() == kind))
        .unwrap_or(fallback)
}

fn sorted_layers(layers: &[proto::VideoLayer]) -> Vec<proto::VideoLayer> {
    let mut sorted: Vec<_> = layers.iter().take(LAYERS_PER_CODEC_MAX).cloned().collect();
    sorted.sort_by_key(|layer| layer.quality);
    sorted
}

/// Tracks of one stream are synchronised by receivers.
fn stream_of(request: &proto::AddTrackRequest) -> String {
    if !request.stream.is_empty() {
        return request.stream.clone();
    }
    match TrackSource::try_from(request.source) {
        Ok(TrackSource::Camera | TrackSource::Microphone) => "camera".to_owned(),
        Ok(TrackSource::ScreenShare | TrackSource::ScreenShareAudio) => "screen".to_owned(),
        _ => String::new(),
    }
}

/// Audio publishes both codecs at once unless regression is demanded.
fn backup_policy(request: &proto::AddTrackRequest, kind: MediaKind) -> BackupCodecPolicy {
    let asked = BackupCodecPolicy::try_from(request.backup_codec_policy)
        .unwrap_or(BackupCodecPolicy::PreferRegression);
    match (kind, asked) {
        (MediaKind::Audio, BackupCodecPolicy::Regression) => BackupCodecPolicy::Regression,
        (MediaKind::Audio, _) => BackupCodecPolicy::Simulcast,
        (MediaKind::Video, asked) => asked,
    }
}
