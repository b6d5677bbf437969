//! Data beside media: where messages of data channels go, and what waits for whom. The channels
//! themselves belong to the media cores.

mod blobs;
mod image;
mod packets;
mod replay;
mod subscribers;
mod tracks;

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use protocol::proto;
use protocol::proto::data_packet::Value;

use self::replay::Replay;
pub(super) use self::subscribers::DataSubscriptions;
use super::Room;
use super::member::Member;
use crate::participant::MediaInput;

pub(super) const RELIABLE: &str = "_reliable";
pub(super) const LOSSY: &str = "_lossy";
pub(super) const DATA_TRACK: &str = "_data_track";

/// Data of the whole room.
#[derive(Default)]
pub(super) struct RoomData {
    pub(in crate::room) replay: Replay,
    /// Nonces of `SendData` seen lately, oldest first.
    nonces: VecDeque<Vec<u8>>,
    tracks: tracks::DataTracks,
}

impl Room {
    /// A message of a client on one of its channels.
    pub(super) fn data_received(&mut self, number: u16, label: &str, payload: Bytes) {
        match label {
            RELIABLE => self.packet_received(number, proto::data_packet::Kind::Reliable, &payload),
            LOSSY => self.packet_received(number, proto::data_packet::Kind::Lossy, &payload),
            DATA_TRACK => self.data_track_received(number, &payload),
            // Labels of an app's own: upstream broadcasts them raw to channels that only old
            // clients open; ours have none.
            _ => tracing::debug!(label, "message on a channel without a meaning"),
        }
    }

    /// The channels of a participant are open: what waited goes out in order.
    pub(super) fn data_ready(&mut self, number: u16) {
        let Some(member) = self.roster.get_mut(number) else {
            return;
        };
        member.data.ready = true;
        member.data.waiting_bytes = 0;
        for (label, payload) in std::mem::take(&mut member.data.waiting) {
            self.feed(number, MediaInput::SendData { label, payload });
        }
    }

    /// Sends now, or keeps it for a participant that is still joining.
    pub(super) fn send_reliable(&mut self, number: u16, payload: Bytes) {
        self.send(number, proto::data_packet::Kind::Reliable, payload);
    }

    fn send(&mut self, number: u16, kind: proto::data_packet::Kind, payload: Bytes) {
        let label = match kind {
            proto::data_packet::Kind::Reliable => RELIABLE,
            proto::data_packet::Kind::Lossy => LOSSY,
        };
        let Some(member) = self.roster.glance_mut(number) else {
            return;
        };
        if member.data.ready {
            self.feed(number, MediaInput::SendData { label, payload });
        } else {
            member.data.keep(label, payload);
        }
    }
}

/// Who a packet is for: nobody named = everybody.
#[derive(Clone, Debug, Default)]
struct Destinations {
    identities: HashSet<String>,
    sids: HashSet<String>,
}

impl Destinations {
    fn of(packet: &proto::DataPacket) -> Self {
        let sids = match &packet.value {
            #[allow(deprecated)] // old clients still name destinations by sid
            Some(Value::User(user)) => user.destination_sids.iter().cloned().collect(),
            _ => HashSet::new(),
        };
        Self {
            identities: packet.destination_identities.iter().cloned().collect(),
            sids,
        }
    }

    fn include(&self, member: &Member) -> bool {
        (self.identities.is_empty() && self.sids.is_empty())
            || self.identities.contains(member.identity())
            || self.sids.contains(&member.sid.0)
    }
}
