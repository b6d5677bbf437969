//! Data beside media as a record and back. What waits for channels to open, packets kept for those
//! who resume and nonces stay behind: they are worth seconds.

use protocol::proto;

use super::tracks::DataTrack;
use super::{DataSubscriptions, RoomData};
use crate::participant::limits::SID_BYTES_MAX;
use crate::room::image::records::DataRecord;
use crate::room::limits::{DATA_SUBSCRIPTIONS_MAX, DATA_TRACKS_WANTED_MAX};
use crate::room::member::MemberData;
use crate::room::roster::Roster;

impl MemberData {
    pub(in crate::room) fn image(&self) -> DataRecord {
        let mut blobs: Vec<proto::DataBlob> = self.blobs.iter().map(blob).collect();
        blobs.sort_by_cached_key(prost::Message::encode_to_vec);
        let mut record = DataRecord {
            ready: self.ready,
            last_sequence: self.last_sequence,
            blobs,
            ..Default::default()
        };
        self.tracks.image(&mut record);
        record
    }

    pub(in crate::room) fn thaw(record: DataRecord) -> Self {
        let tracks = DataSubscriptions::thaw(&record);
        let blobs = record.blobs.into_iter();
        Self {
            ready: record.ready,
            resyncs: true,
            last_sequence: record.last_sequence,
            tracks,
            blobs: blobs
                .filter_map(|one| Some((one.key?.key?, one.contents)))
                .collect(),
            ..Self::default()
        }
    }
}

fn blob((key, contents): (&proto::data_blob_key::Key, &Vec<u8>)) -> proto::DataBlob {
    let key = Some(key.clone());
    proto::DataBlob {
        key: Some(proto::DataBlobKey { key }),
        contents: contents.clone(),
    }
}

impl DataSubscriptions {
    fn thaw(record: &DataRecord) -> Self {
        let next = u16::try_from(record.next_handle).unwrap_or_default();
        let mut tracks = Self::new(record.auto, next);
        tracks.told = record.told_handles;
        let wishes = record.wishes.iter().take(DATA_TRACKS_WANTED_MAX);
        for (sid, wanted) in wishes.filter(|(sid, _)| sid.len() <= SID_BYTES_MAX) {
            tracks.wish(sid, *wanted);
        }
        for (handle, sid) in record.handles.iter().take(DATA_SUBSCRIPTIONS_MAX) {
            if let Ok(handle) = u16::try_from(*handle) {
                tracks.seat(handle, sid);
            }
        }
        tracks
    }
}

impl RoomData {
    /// The room's data tracks, from what its participants publish and have handles of.
    pub(in crate::room) fn thaw(&mut self, roster: &Roster) {
        for member in roster.iter() {
            for info in &member.info.data_tracks {
                self.tracks.insert(member.number, info);
            }
        }
        for member in roster.iter() {
            for (handle, sid) in member.data.tracks.handles() {
                self.tracks.seat(sid, member.number, handle);
            }
        }
    }
}

impl super::tracks::DataTracks {
    pub(super) fn insert(&mut self, publisher: u16, info: &proto::DataTrackInfo) {
        let publisher_handle = u16::try_from(info.pub_handle).unwrap_or_default();
        let track = DataTrack {
            publisher,
            publisher_handle,
            subscribers: Default::default(),
        };
        self.by_handle
            .insert((publisher, publisher_handle), info.sid.clone());
        self.by_sid.insert(info.sid.clone(), track);
    }

    fn seat(&mut self, sid: &str, subscriber: u16, handle: u16) {
        if let Some(track) = self.by_sid.get_mut(sid) {
            track.subscribers.insert(subscriber, handle);
        }
    }
}
