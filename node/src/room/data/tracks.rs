//! Data tracks: named streams of small lossy packets. Each subscriber knows a track by a handle of
//! its own; the room rewrites the handle in the 12-byte header (livekit/protocol `datatrack`).

use std::collections::{BTreeMap, HashMap};

use bytes::{Bytes, BytesMut};
use protocol::ids::DataTrackSid;
use protocol::proto;
use protocol::proto::data_track_frame_encoding::Value as FrameEncoding;
use protocol::proto::data_track_schema_encoding::Value as SchemaEncoding;
use protocol::proto::data_track_subscriber_handles::PublishedDataTrack;
use protocol::proto::request_response::{Reason, Request};
use protocol::proto::signal_response::Message;

use super::DATA_TRACK;
use crate::participant::MediaInput;
use crate::room::limits::{
    DATA_TRACK_NAME_CHARS_MAX, DATA_TRACKS_BYTES_MAX, DATA_TRACKS_MAX, SIDS_PER_REQUEST_MAX,
};
use crate::room::member::Member;
use crate::room::updates::Audience;
use crate::room::{Room, permissions};

const HEADER_BYTES: usize = 12;
/// Where a header carries the handle, big-endian.
const HANDLE: std::ops::Range<usize> = 2..4;

pub(super) struct DataTrack {
    pub(super) publisher: u16,
    /// The publisher's name for it in packets.
    pub(super) publisher_handle: u16,
    /// Handle of each subscriber.
    pub(super) subscribers: BTreeMap<u16, u16>,
}

/// The data tracks of a room.
#[derive(Default)]
pub(super) struct DataTracks {
    pub(super) by_sid: BTreeMap<String, DataTrack>,
    /// Sid by publisher and its handle.
    pub(super) by_handle: HashMap<(u16, u16), String>,
}

impl Room {
    pub(in crate::room) fn publish_data_track(
        &mut self,
        number: u16,
        request: proto::PublishDataTrackRequest,
    ) {
        let Some(member) = self.roster.get(number) else {
            return;
        };
        let config = &self.services.config;
        let allowed = config.data_tracks && member.permission().can_publish_data;
        let checked = check(member, &request, allowed)
            .and_then(|()| check_schema(&request, config.max_data_encoding_chars));
        if let Err((reason, message)) = checked {
            let echo = Some(Request::PublishDataTrack(request));
            self.respond(number, 0, reason, message, echo);
            return;
        }
        let info = proto::DataTrackInfo {
            pub_handle: request.pub_handle,
            sid: DataTrackSid::random(&mut self.rng).0,
            name: request.name,
            encryption: request.encryption,
            frame_encoding: request.frame_encoding,
            schema: request.schema,
        };
        let sid = info.sid.clone();
        self.data.tracks.insert(number, &info);
        if let Some(member) = self.roster.get_mut(number) {
            member.info.data_tracks.push(info.clone());
            member.info.is_publisher = true;
        }
        let response = proto::PublishDataTrackResponse { info: Some(info) };
        self.tell(number, Message::PublishDataTrackResponse(response));
        self.announce(number, Audience::EverybodyNow);
        self.room_changed();
        self.sync_data_tracks(&[sid]);
    }

    pub(in crate::room) fn unpublish_data_track(
        &mut self,
        number: u16,
        request: &proto::UnpublishDataTrackRequest,
    ) {
        let Some(member) = self.roster.get_mut(number) else {
            return;
        };
        let tracks = &mut member.info.data_tracks;
        let Some(index) = tracks
            .iter()
            .position(|info| info.pub_handle == request.pub_handle)
        else {
            let echo = Some(Request::UnpublishDataTrack(*request));
            self.respond(number, 0, Reason::NotFound, "", echo);
            return;
        };
        let info = tracks.remove(index);
        self.forget_data_track(&info.sid);
        let response = proto::UnpublishDataTrackResponse { info: Some(info) };
        self.tell(number, Message::UnpublishDataTrackResponse(response));
        self.announce(number, Audience::EverybodyNow);
    }

    /// The publisher leaves or may no longer publish data.
    pub(in crate::room) fn unpublish_data_tracks(&mut self, number: u16) {
        let Some(member) = self.roster.get_mut(number) else {
            return;
        };
        let infos = std::mem::take(&mut member.info.data_tracks);
        let leaving = member.closing;
        if leaving {
            for (_, sid) in member.data.tracks.handles() {
                if let Some(track) = self.data.tracks.by_sid.get_mut(sid) {
                    track.subscribers.remove(&number);
                }
            }
        }
        if infos.is_empty() {
            return;
        }
        for info in &infos {
            self.forget_data_track(&info.sid);
        }
        if !leaving {
            for info in infos {
                let response = proto::UnpublishDataTrackResponse { info: Some(info) };
                self.tell(number, Message::UnpublishDataTrackResponse(response));
            }
            self.announce(number, Audience::EverybodyNow);
        }
    }

    fn forget_data_track(&mut self, sid: &str) {
        let tracks = &mut self.data.tracks;
        if let Some(track) = tracks.by_sid.remove(sid) {
            let key = (track.publisher, track.publisher_handle);
            tracks.by_handle.remove(&key);
        }
        for number in self.roster.numbers() {
            let Some(member) = self.roster.get_mut(number) else {
                continue;
            };
            let was_full = member.data.tracks.is_full();
            if !member.data.tracks.forget(sid) {
                continue;
            }
            if was_full {
                // One that did not fit may follow.
                self.sync_all_data_tracks(number);
            }
            self.tell_data_handles(number);
        }
    }

    pub(in crate::room) fn update_data_subscription(
        &mut self,
        number: u16,
        request: proto::UpdateDataSubscription,
    ) {
        let Some(member) = self.roster.get_mut(number) else {
            return;
        };
        let mut updates = request.updates;
        updates.truncate(SIDS_PER_REQUEST_MAX);
        for update in &updates {
            member.data.tracks.wish(&update.track_sid, update.subscribe);
        }
        let mut changed = false;
        for update in &updates {
            changed |= self.sync_data_track(&update.track_sid, number);
        }
        if changed {
            self.tell_data_handles(number);
        }
    }

    /// Makes the handles of a subscriber what they should be, and tells them if they changed.
    pub(in crate::room) fn sync_data_subscriptions(&mut self, number: u16) {
        if self.sync_all_data_tracks(number) {
            self.tell_data_handles(number);
        }
    }

    /// The same for everybody's handles of one publisher's tracks.
    pub(in crate::room) fn sync_data_tracks_of(&mut self, publisher: u16) {
        let sids: Vec<String> = self.roster.get(publisher).map_or_else(Vec::new, |member| {
            let infos = member.info.data_tracks.iter();
            infos.map(|info| info.sid.clone()).collect()
        });
        self.sync_data_tracks(&sids);
    }

    fn sync_data_tracks(&mut self, sids: &[String]) {
        if sids.is_empty() {
            return;
        }
        for number in self.roster.numbers() {
            let mut changed = false;
            for sid in sids {
                changed |= self.sync_data_track(sid, number);
            }
            if changed {
                self.tell_data_handles(number);
            }
        }
    }

    fn sync_all_data_tracks(&mut self, number: u16) -> bool {
        let sids: Vec<String> = self.data.tracks.by_sid.keys().cloned().collect();
        let mut changed = false;
        for sid in sids {
            changed |= self.sync_data_track(&sid, number);
        }
        changed
    }

    /// One track and one subscriber; `true` if its handle came or went.
    fn sync_data_track(&mut self, sid: &str, number: u16) -> bool {
        let (Some(track), Some(member)) =
            (self.data.tracks.by_sid.get(sid), self.roster.get(number))
        else {
            return false;
        };
        let wanted = self.may_have_data_track(member, sid, track);
        let has = member.data.tracks.handle_of(sid).is_some();
        if wanted == has {
            return false;
        }
        let (Some(track), Some(member)) = (
            self.data.tracks.by_sid.get_mut(sid),
            self.roster.get_mut(number),
        ) else {
            return false;
        };
        if !wanted {
            track.subscribers.remove(&number);
            return member.data.tracks.release(sid);
        }
        let Some(handle) = member.data.tracks.take(sid) else {
            return false;
        };
        track.subscribers.insert(number, handle);
        true
    }

    fn may_have_data_track(&self, member: &Member, sid: &str, track: &DataTrack) -> bool {
        let Some(publisher) = self.roster.get(track.publisher) else {
            return false;
        };
        track.publisher != member.number
            && !member.closing
            && member.permission().can_subscribe
            && member.data.tracks.wants(sid)
            && permissions::allows(publisher, member, sid)
    }

    /// For a client that is back: handles may have come or gone while it was away.
    pub(in crate::room) fn retell_data_handles(&mut self, number: u16) {
        let ever = |member: &Member| member.data.tracks.told || member.data.tracks.has_wishes();
        if self.roster.get(number).is_some_and(ever) {
            self.tell_data_handles(number);
        }
    }

    /// The whole map: clients replace theirs by it.
    fn tell_data_handles(&mut self, number: u16) {
        let Some(member) = self.roster.get_mut(number) else {
            return;
        };
        member.data.tracks.told = true;
        let Some(member) = self.roster.get(number) else {
            return;
        };
        let mut sub_handles = HashMap::new();
        for (handle, sid) in member.data.tracks.handles() {
            let track = self.data.tracks.by_sid.get(sid);
            let publisher = track.and_then(|track| self.roster.get(track.publisher));
            if let Some(publisher) = publisher {
                let entry = PublishedDataTrack {
                    publisher_identity: publisher.identity().to_owned(),
                    publisher_sid: publisher.sid.0.clone(),
                    track_sid: sid.to_owned(),
                };
                sub_handles.insert(u32::from(handle), entry);
            }
        }
        let handles = proto::DataTrackSubscriberHandles { sub_handles };
        self.tell(number, Message::DataTrackSubscriberHandles(handles));
    }

    /// One packet of a data track, forwarded as it is but for the handle.
    pub(super) fn data_track_received(&mut self, number: u16, payload: &[u8]) {
        if payload.len() < HEADER_BYTES {
            return;
        }
        let handle = u16::from_be_bytes([payload[HANDLE.start], payload[HANDLE.start + 1]]);
        let tracks = &self.data.tracks;
        let sid = tracks.by_handle.get(&(number, handle));
        let Some(track) = sid.and_then(|sid| tracks.by_sid.get(sid)) else {
            return;
        };
        for (subscriber, handle) in track.subscribers.clone() {
            let mut packet = BytesMut::from(payload);
            packet[HANDLE].copy_from_slice(&handle.to_be_bytes());
            let payload: Bytes = packet.freeze();
            self.feed(
                subscriber,
                MediaInput::SendData {
                    label: DATA_TRACK,
                    payload,
                },
            );
        }
    }
}

/// Whether a data track may be published; messages are LiveKit's.
fn check(
    member: &Member,
    request: &proto::PublishDataTrackRequest,
    allowed: bool,
) -> Result<(), (Reason, &'static str)> {
    let known = &member.info.data_tracks;
    if !allowed {
        return Err((
            Reason::NotAllowed,
            "does not have permission to publish data",
        ));
    }
    if request.pub_handle == 0 || request.pub_handle > u32::from(u16::MAX) {
        return Err((Reason::InvalidHandle, "handle should be > 0 AND < 65536"));
    }
    let chars = request.name.chars().count();
    if chars == 0 || chars > DATA_TRACK_NAME_CHARS_MAX {
        let message = "name should not be empty and should not exceed 256 characters";
        return Err((Reason::InvalidName, message));
    }
    if known
        .iter()
        .any(|info| info.pub_handle == request.pub_handle)
    {
        return Err((
            Reason::DuplicateHandle,
            "a data track with same handle already exists",
        ));
    }
    if known.iter().any(|info| info.name == request.name) {
        return Err((
            Reason::DuplicateName,
            "a data track with same name already exists",
        ));
    }
    if known.len() >= DATA_TRACKS_MAX || member.data_tracks_bytes() > DATA_TRACKS_BYTES_MAX {
        return Err((Reason::LimitExceeded, "too many data tracks"));
    }
    Ok(())
}

/// The lengths the protocol sets for schemas and custom encodings (`livekit_models.proto`).
/// Everybody is told them again with every change of their publisher.
fn check_schema(
    request: &proto::PublishDataTrackRequest,
    encoding_chars_max: usize,
) -> Result<(), (Reason, &'static str)> {
    let long = |text: &str| {
        let chars = text.chars().count();
        chars == 0 || encoding_chars_max > 0 && chars > encoding_chars_max
    };
    let frames = request.frame_encoding.as_ref();
    if let Some(FrameEncoding::Custom(name)) = frames.and_then(|of| of.value.as_ref())
        && long(name)
    {
        return Err((Reason::InvalidRequest, "invalid custom frame encoding"));
    }
    let Some(schema) = &request.schema else {
        return Ok(());
    };
    let chars = schema.name.chars().count();
    if chars == 0 || chars > DATA_TRACK_NAME_CHARS_MAX {
        return Err((Reason::InvalidRequest, "invalid schema name"));
    }
    let encoding = schema.encoding.as_ref().and_then(|of| of.value.as_ref());
    match encoding {
        Some(SchemaEncoding::Custom(name)) if long(name) => {
            Err((Reason::InvalidRequest, "invalid custom schema encoding"))
        }
        _ => Ok(()),
    }
}
