//! What a participant publishes: from the AddTrack request over the section its media comes in on
//! to the end of the track. Owns TrackInfos and packet-plane tracks; the connection's SDP is handed
//! in as sections and preferences.

use std::collections::BTreeMap;
use std::sync::Arc;

use media::negotiate::{OfferedSection, PublishPreferences};
use media::types::{Codec, LayerMode, MediaKind, ReceiveSection, TrackConfig};
use media::{Command, RoomKey, TrackKey, TransportKey};
use protocol::ids::TrackSid;
use protocol::proto;
use protocol::proto::AudioTrackFeature;
use protocol::proto::video_layer::Mode;

use super::contract::{KeyAllocator, MediaOutput, Published};
use super::limits::PUBLICATIONS_MAX;
use super::outputs::Outputs;
use super::pending_tracks::{Awaited, PendingTrack, PendingTracks};
use super::track_info;

/// One codec of a track, on the section it arrives on.
#[derive(Clone, Debug)]
pub(crate) struct PublishedCodec {
    pub(crate) key: TrackKey,
    pub(crate) codec: Codec,
    pub(crate) mid: String,
    /// Track id in the section's `a=msid`.
    sdp_cid: Option<String>,
    /// The packet plane was told of it.
    added: bool,
    rids: Vec<String>,
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
    visible: bool,
}

impl Publication {
    fn published(&self) -> Published {
        Published {
            info: Arc::new(self.info.clone()),
            codecs: self
                .codecs
                .iter()
                .map(|codec| (codec.key, codec.codec))
                .collect(),
        }
    }
}

/// A section a track was found for; the negotiator must bind it.
#[derive(Debug)]
pub(crate) struct Binding {
    pub(crate) mid: String,
    pub(crate) track: TrackKey,
    pub(crate) preferences: PublishPreferences,
}

/// What an offer changed.
#[derive(Debug, Default)]
pub(crate) struct Matched {
    pub(crate) bound: Vec<Binding>,
    /// Sections that no longer carry their track.
    pub(crate) released: Vec<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Publications {
    pub(crate) pending: PendingTracks,
    tracks: Vec<Publication>,
    /// Sections the client sends on that no AddTrack has claimed yet.
    unclaimed: Vec<OfferedSection>,
    /// Section → track id of what it carried when it ended: the client may go on sending for a
    /// while, which must not be taken for a new track.
    retired: BTreeMap<String, Option<String>>,
}

impl Publications {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Publication> {
        self.tracks.iter()
    }

    pub(crate) fn get(&self, sid: &str) -> Option<&Publication> {
        self.tracks.iter().find(|track| track.sid.as_str() == sid)
    }

    /// Negotiated or still waiting for media.
    pub(crate) fn info(&self, sid: &str) -> Option<&proto::TrackInfo> {
        let negotiated = self.get(sid).map(|track| &track.info);
        negotiated.or_else(|| self.pending.info(sid))
    }

    pub(crate) fn info_mut(&mut self, sid: &str) -> Option<&mut proto::TrackInfo> {
        let negotiated = self
            .tracks
            .iter_mut()
            .find(|track| track.sid.as_str() == sid);
        match negotiated {
            Some(track) => Some(&mut track.info),
            None => self.pending.info_mut(sid),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.tracks.len() >= PUBLICATIONS_MAX || self.pending.is_full()
    }

    /// A track with this cid is published or waits for its media.
    pub(crate) fn cid_taken(&self, cid: &str) -> bool {
        self.pending.contains_cid(cid) || self.tracks.iter().any(|track| track.cid == cid)
    }

    /// The next queued request whose turn has come.
    pub(crate) fn unqueue(&mut self) -> Option<proto::AddTrackRequest> {
        let tracks = &self.tracks;
        self.pending
            .unqueue(|cid| tracks.iter().any(|track| track.cid == cid))
    }

    /// Changes a TrackInfo, published or pending, and tells others. `false`: no such track.
    pub(crate) fn update(
        &mut self,
        sid: &str,
        unix_micros: i64,
        out: &mut Outputs,
        change: impl FnOnce(&mut proto::TrackInfo),
    ) -> bool {
        if let Some(info) = self.pending.info_mut(sid) {
            change(info);
            return true;
        }
        let Some(track) = self
            .tracks
            .iter_mut()
            .find(|track| track.sid.as_str() == sid)
        else {
            return false;
        };
        change(&mut track.info);
        changed(track, unix_micros, out);
        true
    }

    pub(crate) fn set_muted(
        &mut self,
        sid: &str,
        muted: bool,
        unix_micros: i64,
        out: &mut Outputs,
    ) -> bool {
        let keys: Vec<TrackKey> = self
            .get(sid)
            .map(|track| track.codecs.iter().map(|codec| codec.key).collect())
            .unwrap_or_default();
        for track in keys {
            out.command(Command::SetTrackMuted { track, muted });
        }
        self.update(sid, unix_micros, out, |info| info.muted = muted)
    }

    /// Finds the tracks of an offer's sections and ends those the client sends no more.
    pub(crate) fn match_offer(
        &mut self,
        sections: &[OfferedSection],
        keys: &KeyAllocator,
        unix_micros: i64,
        out: &mut Outputs,
    ) -> Matched {
        let mut matched = Matched::default();
        self.release_ended(sections, unix_micros, &mut matched, out);
        let carries = |tracks: &[Publication], mid: &str| {
            tracks
                .iter()
                .flat_map(|track| &track.codecs)
                .any(|codec| codec.mid == mid)
        };
        let free = sections
            .iter()
            .filter(|section| section.direction.sends() && !carries(&self.tracks, &section.mid));
        self.unclaimed = free.cloned().collect();
        matched.bound = self.claim(keys);
        matched
    }

    /// Gives unclaimed sections to the tracks that wait: by cid, then by kind.
    pub(crate) fn claim(&mut self, keys: &KeyAllocator) -> Vec<Binding> {
        let mut bound = Vec::new();
        for by_kind in [false, true] {
            for section in std::mem::take(&mut self.unclaimed) {
                let pending = if !by_kind {
                    self.pending.take_by_cid(&section)
                } else if self.retired.get(&section.mid) == Some(&section.track_id) {
                    None
                } else {
                    self.pending.take_by_kind(&section)
                };
                match pending.and_then(|pending| self.bind(&section, pending, keys.track())) {
                    Some(binding) => bound.push(binding),
                    None => self.unclaimed.push(section),
                }
            }
        }
        bound
    }

    /// The answer is written: now the codec of each new section is known. Tells the packet plane,
    /// and others when a track they know got one more codec.
    pub(crate) fn negotiated(
        &mut self,
        transport: TransportKey,
        room: RoomKey,
        sections: &[ReceiveSection],
        unix_micros: i64,
        out: &mut Outputs,
    ) {
        for track in &mut self.tracks {
            let new = track.codecs.iter().filter(|codec| !codec.added).count();
            for index in 0..track.codecs.len() {
                settle_codec(track, index, sections);
                add_to_packet_plane(track, index, transport, room, out);
            }
            if new > 0 && track.visible {
                changed(track, unix_micros, out);
            }
        }
    }

    /// The connection is up: what is negotiated becomes visible to others.
    pub(crate) fn show(&mut self, unix_micros: i64, out: &mut Outputs) {
        for track in self.tracks.iter_mut().filter(|track| !track.visible) {
            track.visible = true;
            track.info.version = Some(version(unix_micros));
            out.push(MediaOutput::Published(track.published()));
        }
    }

    /// The first packet tells what the client really sends.
    pub(crate) fn started(
        &mut self,
        key: TrackKey,
        codec: Codec,
        unix_micros: i64,
        out: &mut Outputs,
    ) {
        let position = |track: &Publication| track.codecs.iter().position(|c| c.key == key);
        let found = self
            .tracks
            .iter_mut()
            .find_map(|track| position(track).map(|i| (track, i)));
        let Some((track, index)) = found else { return };
        if track.codecs[index].codec == codec {
            return;
        }
        set_codec(track, index, codec);
        changed(track, unix_micros, out);
    }

    /// Ends tracks `ended` chooses. Returns the sections they leave and their sids.
    pub(crate) fn end(
        &mut self,
        ended: impl Fn(&Publication) -> bool,
        out: &mut Outputs,
    ) -> (Vec<String>, Vec<TrackSid>) {
        let (mut mids, mut sids) = (Vec::new(), Vec::new());
        let (gone, kept) = std::mem::take(&mut self.tracks)
            .into_iter()
            .partition(|t| ended(t));
        self.tracks = kept;
        let gone: Vec<Publication> = gone;
        for track in gone {
            for codec in &track.codecs {
                out.command(Command::RemoveTrack { track: codec.key });
                self.retired
                    .insert(codec.mid.clone(), codec.sdp_cid.clone());
                mids.push(codec.mid.clone());
            }
            self.after_end(&track, out);
            sids.push(track.sid);
        }
        (mids, sids)
    }

    fn after_end(&mut self, track: &Publication, out: &mut Outputs) {
        self.pending.retain(
            |pending| !matches!(&pending.awaited, Awaited::Codec { sid, .. } if *sid == track.sid),
        );
        if track.visible {
            out.push(MediaOutput::Unpublished(track.sid.clone()));
        }
    }

    /// Lets go of sections the client stopped sending on, or sends another announced track on.
    fn release_ended(
        &mut self,
        sections: &[OfferedSection],
        unix_micros: i64,
        matched: &mut Matched,
        out: &mut Outputs,
    ) {
        self.retired.retain(|mid, cid| {
            sections
                .iter()
                .any(|s| s.mid == *mid && s.direction.sends() && s.track_id == *cid)
        });
        let pending = &self.pending;
        let goes_on = |codec: &PublishedCodec| {
            let section = sections.iter().find(|section| section.mid == codec.mid);
            section.is_some_and(|section| {
                let other = section
                    .track_id
                    .as_deref()
                    .filter(|_| section.track_id != codec.sdp_cid);
                section.direction.sends() && !other.is_some_and(|cid| pending.names_cid(cid))
            })
        };
        for track in &mut self.tracks {
            let before = track.codecs.len();
            for codec in track.codecs.iter().filter(|codec| !goes_on(codec)) {
                out.command(Command::RemoveTrack { track: codec.key });
                matched.released.push(codec.mid.clone());
            }
            track.codecs.retain(|codec| goes_on(codec));
            if track.codecs.len() < before && !track.codecs.is_empty() {
                changed(track, unix_micros, out);
            }
        }
        self.end(|track| track.codecs.is_empty(), out);
    }

    fn bind(
        &mut self,
        section: &OfferedSection,
        pending: PendingTrack,
        key: TrackKey,
    ) -> Option<Binding> {
        let PendingTrack { cid, kind, awaited } = pending;
        let (index, codec) = match awaited {
            Awaited::Track(info) => {
                let first = info
                    .codecs
                    .first()
                    .and_then(|c| Codec::from_mime(&c.mime_type));
                self.tracks.push(Publication {
                    sid: TrackSid(info.sid.clone()),
                    cid,
                    kind,
                    info: *info,
                    codecs: Vec::new(),
                    visible: false,
                });
                (self.tracks.len() - 1, first)
            }
            Awaited::Codec { sid, codec } => (
                self.tracks.iter().position(|track| track.sid == sid)?,
                Some(codec),
            ),
        };
        let track = self.tracks.get_mut(index)?;
        let preferences = preferences(&track.info, kind, codec);
        track.codecs.push(PublishedCodec {
            key,
            codec: codec
                .or_else(|| section.codecs.first().copied())
                .unwrap_or(match kind {
                    MediaKind::Audio => Codec::Opus,
                    MediaKind::Video => Codec::Vp8,
                }),
            mid: section.mid.clone(),
            sdp_cid: section.track_id.clone(),
            added: false,
            rids: section.rids.clone(),
        });
        Some(Binding {
            mid: section.mid.clone(),
            track: key,
            preferences,
        })
    }
}

/// How the publisher's section is answered.
fn preferences(
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
fn settle_codec(track: &mut Publication, index: usize, sections: &[ReceiveSection]) {
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
fn set_codec(track: &mut Publication, index: usize, codec: Codec) {
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

fn add_to_packet_plane(
    track: &mut Publication,
    index: usize,
    transport: TransportKey,
    room: RoomKey,
    out: &mut Outputs,
) {
    let config = track
        .codecs
        .get(index)
        .map(|codec| track_config(track, codec));
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

fn track_config(track: &Publication, published: &PublishedCodec) -> TrackConfig {
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

fn changed(track: &mut Publication, unix_micros: i64, out: &mut Outputs) {
    track.info.version = Some(version(unix_micros));
    if track.visible {
        out.push(MediaOutput::TrackChanged(track.published()));
    }
}

fn version(unix_micros: i64) -> proto::TimedVersion {
    proto::TimedVersion {
        unix_micro: unix_micros,
        ticks: 0,
    }
}
