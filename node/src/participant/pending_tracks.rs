//! AddTrack requests that wait for their media, and those that wait for an earlier track with the
//! same cid. Matches the sections of an offer to them; `publications` owns it.

use std::collections::VecDeque;

use media::negotiate::OfferedSection;
use media::types::{Codec, MediaKind};
use protocol::ids::TrackSid;
use protocol::proto;

use super::limits::{PENDING_TRACKS_MAX, QUEUED_TRACKS_MAX};

/// What a section will become once it is matched.
#[derive(Clone, Debug)]
pub(crate) enum Awaited {
    /// A new track.
    Track(Box<proto::TrackInfo>),
    /// One more codec of a track that is known already.
    Codec { sid: TrackSid, codec: Codec },
}

#[derive(Clone, Debug)]
pub(crate) struct PendingTrack {
    /// The client's id of the track, as signalled.
    pub(crate) cid: String,
    pub(crate) kind: MediaKind,
    pub(crate) awaited: Awaited,
}

impl PendingTrack {
    /// The cid is that of the request or of one of its codecs.
    fn has_cid(&self, cid: &str) -> bool {
        self.cid == cid
            || match &self.awaited {
                Awaited::Track(info) => info.codecs.iter().any(|codec| codec.cid == cid),
                Awaited::Codec { .. } => false,
            }
    }
}

#[derive(Debug, Default)]
pub(crate) struct PendingTracks {
    /// In the order of the requests.
    waiting: Vec<PendingTrack>,
    queued: VecDeque<proto::AddTrackRequest>,
}

impl PendingTracks {
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= PENDING_TRACKS_MAX
    }

    pub(crate) fn waiting(&self) -> &[PendingTrack] {
        &self.waiting
    }

    pub(crate) fn queued(&self) -> impl Iterator<Item = &proto::AddTrackRequest> {
        self.queued.iter()
    }

    pub(crate) fn push(&mut self, track: PendingTrack) {
        self.waiting.push(track);
    }

    pub(crate) fn contains_cid(&self, cid: &str) -> bool {
        self.waiting.iter().any(|track| track.cid == cid)
    }

    /// Keeps the request until the track with its cid ends; `false` when too many wait.
    pub(crate) fn queue(&mut self, request: proto::AddTrackRequest) -> bool {
        if self.queued.len() >= QUEUED_TRACKS_MAX {
            return false;
        }
        self.queued.push_back(request);
        true
    }

    /// The oldest queued request whose cid is free now.
    pub(crate) fn unqueue(
        &mut self,
        taken: impl Fn(&str) -> bool,
    ) -> Option<proto::AddTrackRequest> {
        let waiting = &self.waiting;
        let free = |request: &proto::AddTrackRequest| {
            !taken(&request.cid) && !waiting.iter().any(|track| track.cid == request.cid)
        };
        let index = self.queued.iter().position(free)?;
        self.queued.remove(index)
    }

    /// The track whose cid the section names.
    pub(crate) fn take_by_cid(&mut self, section: &OfferedSection) -> Option<PendingTrack> {
        let cid = section.track_id.as_deref()?;
        let matches = |track: &PendingTrack| track.kind == section.kind && track.has_cid(cid);
        let index = self.waiting.iter().position(matches)?;
        Some(self.waiting.remove(index))
    }

    /// The oldest track of the section's kind: some browsers write another id into SDP than
    /// scripts see.
    pub(crate) fn take_by_kind(&mut self, section: &OfferedSection) -> Option<PendingTrack> {
        let index = self
            .waiting
            .iter()
            .position(|track| track.kind == section.kind)?;
        Some(self.waiting.remove(index))
    }

    pub(crate) fn names_cid(&self, cid: &str) -> bool {
        self.waiting.iter().any(|track| track.has_cid(cid))
    }

    pub(crate) fn infos(&self) -> impl Iterator<Item = &proto::TrackInfo> {
        self.waiting
            .iter()
            .filter_map(|track| match &track.awaited {
                Awaited::Track(info) => Some(&**info),
                Awaited::Codec { .. } => None,
            })
    }

    /// The track with this sid that has no media yet.
    pub(crate) fn info(&self, sid: &str) -> Option<&proto::TrackInfo> {
        self.infos().find(|info| info.sid == sid)
    }

    pub(crate) fn info_of_cid(&self, cid: &str) -> Option<&proto::TrackInfo> {
        let named = self.waiting.iter().filter(|track| track.cid == cid);
        named
            .filter_map(|track| match &track.awaited {
                Awaited::Track(info) => Some(&**info),
                Awaited::Codec { .. } => None,
            })
            .next()
    }

    pub(crate) fn info_mut(&mut self, sid: &str) -> Option<&mut proto::TrackInfo> {
        self.waiting
            .iter_mut()
            .find_map(|track| match &mut track.awaited {
                Awaited::Track(info) if info.sid == sid => Some(&mut **info),
                _ => None,
            })
    }

    /// Drops what `keep` refuses: a permission was revoked or a track ended.
    pub(crate) fn retain(&mut self, keep: impl Fn(&PendingTrack) -> bool) {
        self.waiting.retain(keep);
    }

    pub(crate) fn retain_queued(&mut self, keep: impl Fn(&proto::AddTrackRequest) -> bool) {
        self.queued.retain(keep);
    }
}
