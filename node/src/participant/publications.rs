//! What a participant publishes: from the AddTrack request over the section its media comes in on
//! to the end of the track. Owns TrackInfos and packet-plane tracks; the connection's SDP is handed
//! in as sections and preferences.

mod image;
mod publication;

use std::collections::BTreeMap;

use media::negotiate::{OfferedSection, PublishPreferences};
use media::types::{Codec, MediaKind, ReceiveSection};
use media::{Command, RoomKey, TrackKey, TransportKey};
use protocol::ids::TrackSid;
use protocol::proto;

use super::contract::{KeyAllocator, MediaOutput};
use super::limits::{PUBLICATIONS_MAX, STREAMS_PER_CODEC_MAX, TRACK_INFOS_BYTES_MAX};
use super::outputs::Outputs;
use super::pending_tracks::{Awaited, PendingTrack, PendingTracks};
pub(crate) use publication::Stream;
use publication::{
    Publication, PublishedCodec, add_to_packet_plane, changed, preferences, set_codec,
    settle_codec, version,
};

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
    /// Opus is to be sent as RED to those who take RED.
    build_red: bool,
    /// One codec a track is preferred, where its publisher leaves that open.
    prefers_regression: bool,
    pub(crate) pending: PendingTracks,
    tracks: Vec<Publication>,
    /// Sections the client sends on that no AddTrack has claimed yet.
    unclaimed: Vec<OfferedSection>,
    /// Section → track id of what it carried when it ended: the client may go on sending for a
    /// while, which must not be taken for a new track.
    retired: BTreeMap<String, Option<String>>,
}

impl Publications {
    pub(crate) fn new(build_red: bool, prefers_regression: bool) -> Self {
        Self {
            build_red,
            prefers_regression,
            ..Self::default()
        }
    }

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
        self.tracks.len() >= PUBLICATIONS_MAX
            || self.pending.is_full()
            || self.infos_bytes() > TRACK_INFOS_BYTES_MAX
    }

    /// What all tracks, those that wait included, weigh in an update.
    fn infos_bytes(&self) -> usize {
        let published = self.tracks.iter().map(|track| &track.info);
        let infos = published.chain(self.pending.infos());
        infos.map(prost::Message::encoded_len).sum()
    }

    /// Of the track with this cid, published or waiting for its media.
    pub(crate) fn info_of_cid(&self, cid: &str) -> Option<&proto::TrackInfo> {
        let published = self.tracks.iter().find(|track| track.cid == cid);
        let waits = || self.pending.info_of_cid(cid);
        published.map(|track| &track.info).or_else(waits)
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
                add_to_packet_plane(track, index, transport, room, self.build_red, out);
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
        let before = track.regressed_to();
        let published = &mut track.codecs[index];
        published.started = true;
        if published.codec != codec {
            set_codec(track, index, codec);
        } else if track.regressed_to() == before {
            return;
        }
        changed(track, unix_micros, out);
    }

    /// What an SSRC carries is known now; the transport knows it already, its successor will not.
    pub(crate) fn learned(&mut self, key: TrackKey, stream: Stream) {
        let codecs = self.tracks.iter_mut().flat_map(|track| &mut track.codecs);
        for codec in codecs.filter(|codec| codec.key == key) {
            codec.streams.retain(|known| known.ssrc != stream.ssrc);
            if codec.streams.len() >= STREAMS_PER_CODEC_MAX {
                codec.streams.remove(0);
            }
            codec.streams.push(stream);
        }
    }

    /// The room became small enough for one codec a track, or too large.
    pub(crate) fn prefer_regression(&mut self, prefer: bool, unix_micros: i64, out: &mut Outputs) {
        self.prefers_regression = prefer;
        for track in &mut self.tracks {
            let before = track.regressed_to();
            track.prefers_regression = prefer;
            if track.regressed_to() != before {
                changed(track, unix_micros, out);
            }
        }
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
                    prefers_regression: self.prefers_regression,
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
            started: false,
            rids: section.rids.clone(),
            streams: Vec::new(),
        });
        Some(Binding {
            mid: section.mid.clone(),
            track: key,
            preferences,
        })
    }
}
