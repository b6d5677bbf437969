//! One published track: its TrackInfo, the sections its codecs arrive on, and what the packet plane
//! is told of them. `publications` owns the collection and decides when.

use std::sync::Arc;

use media::negotiate::PublishPreferences;
use media::types::{Codec, LayerMode, MediaKind, ReceiveSection, TrackConfig};
use media::{Command, RoomKey, TrackKey, TransportKey};
use protocol::ids::TrackSid;
use protocol::proto;
use protocol::proto::video_layer::Mode;
use protocol::proto::{AudioTrackFeature, BackupCodecPolicy};

use super::super::contract::{MediaOutput, Published};
use super::super::outputs::Outputs;
use super::super::track_info;

/// One codec of a track, on the section it arrives on.
#[derive(Clone, Debug)]
pub(crate) struct PublishedCodec {
    pub(crate) key: TrackKey,
    pub(crate) codec: Codec,
    pub(crate) mid: String,
    /// Track id in the section's `a=msid`.
    pub(super) sdp_cid: Option<String>,
    /// The packet plane was told of it.
    pub(super) added: bool,
    /// Its packets have begun to arrive.
    pub(super) started: bool,
    pub(super) rids: Vec<String>,
    /// What its SSRCs carry, as far as it was learned from packets.
    pub(super) streams: Vec<Stream>,
}

/// An SSRC that SDP does not explain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) ssrc: u32,
    pub(crate) layer: u8,
    /// It carries retransmissions.
    pub(crate) repair: bool,
}

/// A track whose section is negotiated.
#[derive(Clone, Debug)]
pub(crate) struct Publication {
    pub(crate) sid: TrackSid,
    /// The cid of its AddTrack request.
    pub(crate) cid: String,
    pub(crate) kind: MediaKind,
    pub(crate) info: proto::TrackInfo,
    /// In the order of `info.codecs`; only those with a section.
    pub(crate) codecs: Vec<PublishedCodec>,
    /// Others know of it.
    pub(super) visible: bool,
    /// The room is small: where the client leaves it open, one codec for all is better than two.
    pub(super) prefers_regression: bool,
}

impl Publication {
    pub(super) fn published(&self) -> Published {
        Published {
            info: Arc::new(self.info.clone()),
            codecs: self
                .codecs
                .iter()
                .filter(|codec| self.regressed_to().is_none_or(|only| only == codec.key))
                .map(|codec| (codec.key, codec.codec))
                .collect(),
        }
    }

    /// The backup codec everybody gets once its media is there, if the policy is to publish one
    /// codec at a time (LiveKit: rtc/dynacast, codec regression).
    pub(super) fn regressed_to(&self) -> Option<TrackKey> {
        let policy = BackupCodecPolicy::try_from(self.info.backup_codec_policy);
        let regresses = match policy {
            Ok(BackupCodecPolicy::Regression) => true,
            Ok(BackupCodecPolicy::PreferRegression) => self.prefers_regression,
            _ => false,
        };
        let mut backups = self.codecs.iter().skip(1).filter(|codec| codec.started);
        regresses.then(|| backups.next())?.map(|codec| codec.key)
    }
}

/// How the publisher's section is answered.
pub(super) fn preferences(
    info: &proto::TrackInfo,
    kind: MediaKind,
    codec: Option<Codec>,
) -> PublishPreferences {
    match kind {
        MediaKind::Audio => PublishPreferences {
            stereo: track_info::has_feature(info, AudioTrackFeature::TfStereo),
            dtx: !track_info::has_feature(info, AudioTrackFeature::TfNoDtx),
            red: !info.disable_red,
            codec,
        },
        MediaKind::Video => PublishPreferences {
            codec,
            ..PublishPreferences::default()
        },
    }
}

/// Replaces the guess by what the answer really prefers.
pub(super) fn settle_codec(track: &mut Publication, index: usize, sections: &[ReceiveSection]) {
    let Some(published) = track.codecs.get(index).filter(|codec| !codec.added) else {
        return;
    };
    let Some(section) = sections.iter().find(|section| section.mid == published.mid) else {
        return;
    };
    let guessed = published.codec;
    let first = section.payload_types.first().map(|payload| payload.codec);
    let offered = section
        .payload_types
        .iter()
        .any(|payload| payload.codec == guessed);
    let codec = match (track.kind, first) {
        (MediaKind::Video, _) if offered => guessed,
        (_, Some(first)) => first,
        (_, None) => guessed,
    };
    set_codec(track, index, codec);
}

/// Writes codec, mid and SDP cid of a section into the TrackInfo.
pub(super) fn set_codec(track: &mut Publication, index: usize, codec: Codec) {
    let Some(published) = track.codecs.get_mut(index) else {
        return;
    };
    published.codec = codec;
    let entries = &mut track.info.codecs;
    let by_codec = entries
        .iter()
        .position(|c| Codec::from_mime(&c.mime_type) == Some(codec));
    let by_mid = entries.iter().position(|c| c.mid == published.mid);
    let unnamed = entries.iter().position(|c| c.mime_type.is_empty());
    let entry_index = by_mid.or(by_codec).or(unnamed).unwrap_or(0);
    let Some(entry) = entries.get_mut(entry_index) else {
        return;
    };
    entry.mime_type = codec.mime().to_owned();
    entry.mid.clone_from(&published.mid);
    if let Some(sdp_cid) = published.sdp_cid.as_ref().filter(|cid| **cid != entry.cid) {
        entry.sdp_cid.clone_from(sdp_cid);
    }
    if index == 0 {
        track.info.mime_type = codec.mime().to_owned();
        track.info.mid.clone_from(&published.mid);
    }
}

pub(super) fn add_to_packet_plane(
    track: &mut Publication,
    index: usize,
    transport: TransportKey,
    room: RoomKey,
    build_red: bool,
    out: &mut Outputs,
) {
    let config = track
        .codecs
        .get(index)
        .map(|codec| track_config(track, codec, build_red));
    let Some(published) = track.codecs.get_mut(index).filter(|codec| !codec.added) else {
        return;
    };
    let Some(config) = config else { return };
    published.added = true;
    let key = published.key;
    out.command(Command::AddTrack {
        track: key,
        room,
        transport,
        config,
    });
    if track.info.muted {
        out.command(Command::SetTrackMuted {
            track: key,
            muted: true,
        });
    }
}

fn track_config(track: &Publication, published: &PublishedCodec, build_red: bool) -> TrackConfig {
    let entry = track
        .info
        .codecs
        .iter()
        .find(|entry| entry.mid == published.mid);
    let one_stream = entry
        .is_some_and(|entry| entry.video_layer_mode == Mode::MultipleSpatialLayersPerStream as i32);
    TrackConfig {
        kind: track.kind,
        layer_mode: if one_stream {
            LayerMode::OneStream
        } else {
            LayerMode::OneStreamPerLayer
        },
        rids: lowest_first(&published.rids),
        encrypted: track.info.encryption != 0,
        screen_share: track.info.source == proto::TrackSource::ScreenShare as i32,
        build_red: build_red && published.codec == Codec::Opus && !track.info.disable_red,
    }
}

/// RIDs of LiveKit's clients name their layer (`q h f` or `2 1 0`); others are taken in the order
/// of SDP.
fn lowest_first(rids: &[String]) -> Vec<String> {
    const NAMES: [[&str; 3]; 2] = [["q", "h", "f"], ["2", "1", "0"]];
    let mut sorted = rids.to_vec();
    for names in NAMES {
        let layer = |rid: &String| names.iter().position(|name| name == rid);
        if rids.iter().all(|rid| layer(rid).is_some()) {
            sorted.sort_by_key(layer);
            return sorted;
        }
    }
    sorted
}

pub(super) fn changed(track: &mut Publication, unix_micros: i64, out: &mut Outputs) {
    track.info.version = Some(version(unix_micros));
    if track.visible {
        out.push(MediaOutput::TrackChanged(track.published()));
    }
}

pub(super) fn version(unix_micros: i64) -> proto::TimedVersion {
    proto::TimedVersion {
        unix_micro: unix_micros,
        ticks: 0,
    }
}
