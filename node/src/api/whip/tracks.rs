//! What an encoder's offer announces, as the `add_track` requests a LiveKit client would send.
//! Pure.

use media::negotiate::{OfferSummary, OfferedSection};
use media::types::{Codec, MediaKind};
use protocol::proto;
use protocol::proto::{AudioTrackFeature, TrackSource, TrackType, VideoQuality};

use super::limits::TRACKS_MAX;

/// One request for each section the client sends on; names are LiveKit's.
pub(super) fn announced(offer: &OfferSummary) -> Vec<proto::AddTrackRequest> {
    let sending = offer.sections.iter().filter(|s| s.direction.sends());
    sending
        .take(TRACKS_MAX)
        .map(|section| match section.kind {
            MediaKind::Audio => audio(section, offer.stereo.contains(&section.mid)),
            MediaKind::Video => video(section),
        })
        .collect()
}

/// Encoders need not name their tracks; the section's name does.
fn cid(section: &OfferedSection) -> String {
    let track = section.track_id.clone();
    track.unwrap_or_else(|| format!("whip-{}", section.mid))
}

fn audio(section: &OfferedSection, stereo: bool) -> proto::AddTrackRequest {
    let features = stereo
        .then(|| AudioTrackFeature::TfStereo.into())
        .into_iter();
    proto::AddTrackRequest {
        cid: cid(section),
        name: "synthesized-microphone".to_owned(),
        r#type: TrackType::Audio.into(),
        source: TrackSource::Microphone.into(),
        audio_features: features.collect(),
        disable_red: !section.codecs.contains(&Codec::Red),
        ..Default::default()
    }
}

fn video(section: &OfferedSection) -> proto::AddTrackRequest {
    let qualities = [VideoQuality::Low, VideoQuality::Medium, VideoQuality::High];
    // One stream is the highest quality; several are told lowest first.
    let layers = match section.rids.len() {
        0 | 1 => &qualities[2..],
        2 => &qualities[..2],
        _ => &qualities[..],
    };
    let layers = layers.iter().map(|quality| proto::VideoLayer {
        quality: (*quality).into(),
        ..Default::default()
    });
    let cid = cid(section);
    let codec = section.codecs.first().map(|codec| proto::SimulcastCodec {
        codec: codec
            .mime()
            .rsplit('/')
            .next()
            .unwrap_or("")
            .to_ascii_lowercase(),
        cid: cid.clone(),
        ..Default::default()
    });
    proto::AddTrackRequest {
        cid,
        name: "synthesized-camera".to_owned(),
        r#type: TrackType::Video.into(),
        source: TrackSource::Camera.into(),
        layers: layers.collect(),
        simulcast_codecs: codec.into_iter().collect(),
        ..Default::default()
    }
}
