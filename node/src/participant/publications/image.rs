//! Publications as records and back: TrackInfos as others see them, sections and keys of their
//! codecs, and what waits for media.

use media::negotiate::{Direction, OfferedSection};
use media::types::{Codec, MediaKind, ReceiveSection, SsrcInfo};
use media::{RoomKey, TrackKey, TransportKey};
use protocol::ids::TrackSid;

use super::publication::{Publication, PublishedCodec, Stream, add_to_packet_plane};
use super::{Awaited, PendingTrack, Publications};
use crate::participant::contract::Published;
use crate::participant::image::records::{
    MediaRecord, OfferedRecord, PendingRecord, PublicationRecord, PublishedCodecRecord,
    RetiredRecord, StreamRecord,
};
use crate::participant::image::{Rekey, codec_number, codec_of, kind_of, low};
use crate::participant::limits::{PENDING_TRACKS_MAX, PUBLICATIONS_MAX, QUEUED_TRACKS_MAX};
use crate::participant::outputs::Outputs;
use crate::participant::track_info;

impl Publications {
    /// Those others know of.
    pub(crate) fn published(&self) -> Vec<Published> {
        let visible = self.tracks.iter().filter(|track| track.visible);
        visible.map(Publication::published).collect()
    }

    pub(crate) fn image(&self, record: &mut MediaRecord) {
        record.tracks = self.tracks.iter().map(publication_record).collect();
        record.pending = self.pending.waiting().iter().map(pending_record).collect();
        record.queued = self.pending.queued().cloned().collect();
        record.unclaimed = self.unclaimed.iter().map(offered_record).collect();
        let retired = self.retired.iter();
        record.retired = retired
            .map(|(mid, track_id)| RetiredRecord {
                mid: mid.clone(),
                track_id: track_id.clone(),
            })
            .collect();
    }

    pub(crate) fn thaw(&mut self, record: &MediaRecord, rekey: Rekey) {
        let tracks = record.tracks.iter().take(PUBLICATIONS_MAX);
        let prefers_regression = self.prefers_regression;
        self.tracks = tracks
            .filter_map(|one| publication(one, prefers_regression, rekey))
            .collect();
        for one in record.pending.iter().take(PENDING_TRACKS_MAX) {
            if let Some(pending) = pending(one) {
                self.pending.push(pending);
            }
        }
        for request in record.queued.iter().take(QUEUED_TRACKS_MAX) {
            self.pending.queue(request.clone());
        }
        self.unclaimed = record.unclaimed.iter().map(offered).collect();
        let retired = record.retired.iter();
        self.retired = retired
            .map(|one| (one.mid.clone(), one.track_id.clone()))
            .collect();
    }

    /// Explains SSRCs to a new transport: their packets no longer say what they carry.
    pub(crate) fn explain(&self, sections: &mut [ReceiveSection]) {
        for section in sections {
            let mut codecs = self.tracks.iter().flat_map(|track| &track.codecs);
            let Some(codec) = codecs.find(|codec| Some(codec.key) == section.track) else {
                continue;
            };
            let layered = section.rids.len() > 1;
            let primary = |layer: u8| {
                let mut streams = codec.streams.iter();
                streams.find(|one| !one.repair && one.layer == layer)
            };
            for stream in &codec.streams {
                let repairs = stream.repair.then(|| primary(stream.layer)).flatten();
                if stream.repair && repairs.is_none() {
                    continue;
                }
                section.ssrcs.retain(|known| known.ssrc != stream.ssrc);
                section.ssrcs.push(SsrcInfo {
                    ssrc: stream.ssrc,
                    repairs: repairs.map(|primary| primary.ssrc),
                    layer: (layered && !stream.repair).then_some(stream.layer),
                });
            }
        }
    }

    /// Tells the packet plane what it was told before, on another node.
    pub(crate) fn tell_again(&mut self, transport: TransportKey, room: RoomKey, out: &mut Outputs) {
        for track in &mut self.tracks {
            for index in 0..track.codecs.len() {
                if std::mem::take(&mut track.codecs[index].added) {
                    add_to_packet_plane(track, index, transport, room, self.build_red, out);
                }
            }
        }
    }
}

fn publication_record(track: &Publication) -> PublicationRecord {
    PublicationRecord {
        cid: track.cid.clone(),
        info: Some(track.info.clone()),
        visible: track.visible,
        codecs: track.codecs.iter().map(codec_record).collect(),
    }
}

fn codec_record(codec: &PublishedCodec) -> PublishedCodecRecord {
    PublishedCodecRecord {
        key: low(codec.key.0),
        codec: codec_number(codec.codec),
        mid: codec.mid.clone(),
        sdp_cid: codec.sdp_cid.clone(),
        added: codec.added,
        started: codec.started,
        rids: codec.rids.clone(),
        streams: codec.streams.iter().map(stream_record).collect(),
    }
}

fn stream_record(stream: &Stream) -> StreamRecord {
    StreamRecord {
        ssrc: stream.ssrc,
        layer: u32::from(stream.layer),
        repair: stream.repair,
    }
}

fn stream(record: &StreamRecord) -> Option<Stream> {
    Some(Stream {
        ssrc: record.ssrc,
        layer: u8::try_from(record.layer).ok()?,
        repair: record.repair,
    })
}

fn publication(
    record: &PublicationRecord,
    prefers_regression: bool,
    rekey: Rekey,
) -> Option<Publication> {
    let info = record.info.clone()?;
    let kind = track_info::kind_of(info.r#type)?;
    let codec = |one: &PublishedCodecRecord| {
        Some(PublishedCodec {
            key: TrackKey(rekey.key(one.key)),
            codec: codec_of(one.codec)?,
            mid: one.mid.clone(),
            sdp_cid: one.sdp_cid.clone(),
            added: one.added,
            started: one.started,
            rids: one.rids.clone(),
            streams: one.streams.iter().filter_map(stream).collect(),
        })
    };
    Some(Publication {
        sid: TrackSid(info.sid.clone()),
        cid: record.cid.clone(),
        kind,
        codecs: record.codecs.iter().filter_map(codec).collect(),
        visible: record.visible,
        prefers_regression,
        info,
    })
}

fn pending_record(track: &PendingTrack) -> PendingRecord {
    let (info, sid, codec) = match &track.awaited {
        Awaited::Track(info) => (Some((**info).clone()), String::new(), 0),
        Awaited::Codec { sid, codec } => (None, sid.0.clone(), codec_number(*codec)),
    };
    PendingRecord {
        cid: track.cid.clone(),
        info,
        sid,
        codec,
        video: track.kind == MediaKind::Video,
    }
}

fn pending(record: &PendingRecord) -> Option<PendingTrack> {
    let awaited = match &record.info {
        Some(info) => Awaited::Track(Box::new(info.clone())),
        None => Awaited::Codec {
            sid: TrackSid(record.sid.clone()),
            codec: codec_of(record.codec)?,
        },
    };
    Some(PendingTrack {
        cid: record.cid.clone(),
        kind: kind_of(record.video),
        awaited,
    })
}

fn offered_record(section: &OfferedSection) -> OfferedRecord {
    OfferedRecord {
        mid: section.mid.clone(),
        video: section.kind == MediaKind::Video,
        receives: section.direction.receives(),
        track_id: section.track_id.clone(),
        stream_id: section.stream_id.clone(),
        rids: section.rids.clone(),
        codecs: section.codecs.iter().copied().map(codec_number).collect(),
    }
}

/// The client sends on all of them.
fn offered(record: &OfferedRecord) -> OfferedSection {
    let codecs = record.codecs.iter().copied();
    OfferedSection {
        mid: record.mid.clone(),
        kind: kind_of(record.video),
        direction: match record.receives {
            true => Direction::SendRecv,
            false => Direction::SendOnly,
        },
        track_id: record.track_id.clone(),
        stream_id: record.stream_id.clone(),
        rids: record.rids.clone(),
        codecs: codecs.filter_map(codec_of).collect::<Vec<Codec>>(),
        track: None,
    }
}
