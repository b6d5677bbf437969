//! Data tracks: named streams of small lossy packets. Each subscriber knows a track by a handle of
//! its own; the room rewrites the handle in the 12-byte header (livekit/protocol `datatrack`).

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use protocol::ids::DataTrackSid;
use protocol::proto;
use protocol::proto::data_track_subscriber_handles::PublishedDataTrack;
use protocol::proto::request_response::{Reason, Request};
use protocol::proto::signal_response::Message;

use super::DATA_TRACK;
use crate::participant::MediaInput;
use crate::room::limits::{DATA_TRACK_NAME_CHARS_MAX, DATA_TRACKS_MAX, DATA_TRACKS_WANTED_MAX};
use crate::room::member::Member;
use crate::room::updates::Audience;
use crate::room::{Room, permissions};

const HEADER_BYTES: usize = 12;
/// Where a header carries the handle, big-endian.
const HANDLE: std::ops::Range<usize> = 2..4;

pub(super) struct DataTrack {
    sid: String,
    publisher: u16,
    /// The publisher's name for it in packets.
    publisher_handle: u16,
    /// `(subscriber, its handle)`
    subscribers: Vec<(u16, u16)>,
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
        let allowed = self.services.config.data_tracks && member.permission().can_publish_data;
        if let Err((reason, message)) = check(member, &request, allowed) {
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
        self.data.tracks.push(DataTrack {
            sid: info.sid.clone(),
            publisher: number,
            publisher_handle: u16::try_from(info.pub_handle).unwrap_or_default(),
            subscribers: Vec::new(),
        });
        if let Some(member) = self.roster.get_mut(number) {
            member.info.data_tracks.push(info.clone());
            member.info.is_publisher = true;
        }
        let response = proto::PublishDataTrackResponse { info: Some(info) };
        self.tell(number, Message::PublishDataTrackResponse(response));
        self.announce(number, Audience::EverybodyNow);
        self.room_changed();
        for subscriber in self.roster.numbers() {
            self.sync_data_subscriptions(subscriber);
        }
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
        self.forget_data_tracks(|track| track.sid == info.sid);
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
            for track in &mut self.data.tracks {
                track
                    .subscribers
                    .retain(|(subscriber, _)| *subscriber != number);
            }
        }
        if infos.is_empty() {
            return;
        }
        self.forget_data_tracks(|track| track.publisher == number);
        if !leaving {
            for info in infos {
                let response = proto::UnpublishDataTrackResponse { info: Some(info) };
                self.tell(number, Message::UnpublishDataTrackResponse(response));
            }
            self.announce(number, Audience::EverybodyNow);
        }
    }

    fn forget_data_tracks(&mut self, gone: impl Fn(&DataTrack) -> bool) {
        self.data.tracks.retain(|track| !gone(track));
        for subscriber in self.roster.numbers() {
            self.sync_data_subscriptions(subscriber);
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
        let wanted = &mut member.data.wanted_tracks;
        for update in request.updates {
            if !update.subscribe {
                wanted.remove(&update.track_sid);
            } else if wanted.len() < DATA_TRACKS_WANTED_MAX {
                wanted.insert(update.track_sid);
            }
        }
        self.sync_data_subscriptions(number);
    }

    /// Makes the handles of a subscriber what they should be, and tells them if they changed.
    pub(in crate::room) fn sync_data_subscriptions(&mut self, number: u16) {
        let Some(member) = self.roster.get(number) else {
            return;
        };
        let wanted: Vec<String> = self
            .data
            .tracks
            .iter()
            .filter(|track| self.may_have_data_track(member, track))
            .map(|track| track.sid.clone())
            .collect();
        let Some(member) = self.roster.get_mut(number) else {
            return;
        };
        let data = &mut member.data;
        let before = data.handles.clone();
        data.handles.retain(|_, sid| wanted.contains(sid));
        for sid in wanted {
            if !data.handles.values().any(|known| *known == sid) {
                while data.next_handle == 0 || data.handles.contains_key(&data.next_handle) {
                    data.next_handle = data.next_handle.wrapping_add(1);
                }
                data.handles.insert(data.next_handle, sid);
                data.next_handle = data.next_handle.wrapping_add(1);
            }
        }
        if data.handles == before {
            return;
        }
        let handles = data.handles.clone();
        for track in &mut self.data.tracks {
            track
                .subscribers
                .retain(|(subscriber, _)| *subscriber != number);
            let handle = handles.iter().find(|(_, sid)| **sid == track.sid);
            if let Some((handle, _)) = handle {
                track.subscribers.push((number, *handle));
            }
        }
        self.tell_data_handles(number);
    }

    fn may_have_data_track(&self, member: &Member, track: &DataTrack) -> bool {
        let Some(publisher) = self.roster.get(track.publisher) else {
            return false;
        };
        track.publisher != member.number
            && member.permission().can_subscribe
            && (member.data.auto_subscribe_tracks || member.data.wanted_tracks.contains(&track.sid))
            && permissions::allows(publisher, member, &track.sid)
    }

    /// The whole map: clients replace theirs by it.
    pub(in crate::room) fn tell_data_handles(&mut self, number: u16) {
        let Some(member) = self.roster.get(number) else {
            return;
        };
        if member.data.handles.is_empty() && member.data.wanted_tracks.is_empty() {
            return;
        }
        let mut sub_handles = HashMap::new();
        for (handle, sid) in &member.data.handles {
            let track = self.data.tracks.iter().find(|track| track.sid == *sid);
            let publisher = track.and_then(|track| self.roster.get(track.publisher));
            if let Some(publisher) = publisher {
                let entry = PublishedDataTrack {
                    publisher_identity: publisher.identity().to_owned(),
                    publisher_sid: publisher.sid.0.clone(),
                    track_sid: sid.clone(),
                };
                sub_handles.insert(u32::from(*handle), entry);
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
        let track = self
            .data
            .tracks
            .iter()
            .find(|track| track.publisher == number && track.publisher_handle == handle);
        let Some(track) = track else {
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
    if known.len() >= DATA_TRACKS_MAX {
        return Err((Reason::LimitExceeded, "too many data tracks"));
    }
    Ok(())
}
