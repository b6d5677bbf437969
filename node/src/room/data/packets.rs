//! `DataPacket`s of participants and of `SendData`: who really sent them, who gets them. LiveKit's
//! `participant.handleReceivedDataMessage` and `room.BroadcastDataPacketForRoom` are the model.

#![allow(deprecated)]

use bytes::Bytes;
use prost::Message as _;
use protocol::proto;
use protocol::proto::data_packet::{Kind, Value};
use protocol::proto::data_stream::header::ContentHeader;

use super::Destinations;
use crate::room::Room;
use crate::room::contract::{RoomError, RoomReply};
use crate::room::limits::{NONCE_BYTES, NONCES_MAX};
use crate::room::member::Member;

impl Room {
    pub(super) fn packet_received(&mut self, number: u16, kind: Kind, payload: &[u8]) {
        // Its sequence number alone is not worth a record: a stale one costs a client that resumes
        // some packets sent twice, which receivers drop.
        let Some(member) = self.roster.glance_mut(number) else {
            return;
        };
        if !member.permission().can_publish_data {
            return;
        }
        let Ok(mut packet) = proto::DataPacket::decode(payload) else {
            tracing::debug!(
                identity = member.identity(),
                "data packet cannot be decoded"
            );
            return;
        };
        if kind == Kind::Reliable && packet.sequence > 0 {
            if packet.sequence <= member.data.last_sequence {
                return;
            }
            member.data.last_sequence = packet.sequence;
        }
        packet.kind = kind.into();
        let identity = member.identity().to_owned();
        if packet
            .value
            .as_ref()
            .is_some_and(|value| self.rpc_answered(&identity, value))
        {
            return;
        }
        let Some(member) = self.roster.get(number) else {
            return;
        };
        let Some(for_whom) = assert_sender(member, &mut packet) else {
            return;
        };
        if kind == Kind::Reliable {
            packet.participant_sid = member.sid.0.clone();
        } else {
            packet.participant_sid.clear();
        }
        if member.is_hidden() && packet.sequence == 0 {
            packet.participant_sid.clear();
        }
        self.distribute(Some(number), kind, packet, for_whom);
    }

    fn distribute(
        &mut self,
        from: Option<u16>,
        kind: Kind,
        packet: proto::DataPacket,
        for_whom: Audience,
    ) {
        let destinations = Destinations::of(&packet);
        let payload = Bytes::from(packet.encode_to_vec());
        for number in self.roster.numbers() {
            let Some(member) = self.roster.get(number) else {
                continue;
            };
            let wanted = match for_whom {
                Audience::Others => Some(number) != from && destinations.include(member),
                Audience::Metrics => {
                    let from = from.and_then(|from| self.roster.get(from));
                    member.permission().can_subscribe_metrics
                        && from.is_some_and(|from| {
                            from.number == number || member.media.subscribes_to(&from.sid)
                        })
                }
            };
            if wanted {
                self.send(number, kind, payload.clone());
            }
        }
        // Metrics are for whoever may have them when they are sent.
        let others = matches!(for_whom, Audience::Others);
        if kind == Kind::Reliable && packet.sequence > 0 && others {
            let sid = packet.participant_sid;
            self.data
                .replay
                .keep(self.now, sid, packet.sequence, destinations, payload);
        }
    }

    /// `SendData` of the server API: a packet without a sender.
    pub(in crate::room) fn send_data(
        &mut self,
        request: proto::SendDataRequest,
    ) -> Result<RoomReply, RoomError> {
        if !request.nonce.is_empty() {
            if request.nonce.len() != NONCE_BYTES {
                let message = format!(
                    "nonce should be 16-bytes or not present, got: {} bytes",
                    request.nonce.len()
                );
                return Err(RoomError::InvalidArgument(message));
            }
            if self.data.nonces.contains(&request.nonce) {
                return Ok(RoomReply::Done);
            }
            if self.data.nonces.len() >= NONCES_MAX {
                self.data.nonces.pop_front();
            }
            self.data.nonces.push_back(request.nonce.clone());
        }
        let kind = request.kind();
        let packet = proto::DataPacket {
            kind: kind.into(),
            destination_identities: request.destination_identities.clone(),
            value: Some(Value::User(proto::UserPacket {
                payload: request.data,
                destination_sids: request.destination_sids,
                destination_identities: request.destination_identities,
                topic: request.topic,
                nonce: request.nonce,
                ..Default::default()
            })),
            ..Default::default()
        };
        self.distribute(None, kind, packet, Audience::Others);
        Ok(RoomReply::Done)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audience {
    /// The destinations, or all others.
    Others,
    /// Those who may see metrics of the sender, itself included.
    Metrics,
}

/// Writes the true sender into a packet, where clients of all ages look for it. `None` = not to be
/// forwarded.
fn assert_sender(member: &Member, packet: &mut proto::DataPacket) -> Option<Audience> {
    let mut own = true;
    let mut audience = Audience::Others;
    match packet.value.as_mut()? {
        Value::User(user) => assert_user_sender(member, user, &mut packet.destination_identities),
        Value::Transcription(_) if !member.is_agent() => return None,
        // Agents speak for those whose words they wrote down.
        Value::Transcription(_) => own = false,
        Value::ChatMessage(chat) => own = !(member.is_agent() && chat.generated),
        Value::StreamHeader(header) => {
            let generated = matches!(&header.content_header,
                Some(ContentHeader::TextHeader(text)) if text.generated);
            own = !(member.is_agent() && generated);
        }
        Value::Metrics(_) => audience = Audience::Metrics,
        Value::Speaker(_) => return None,
        _ => {}
    }
    if own {
        packet.participant_identity = if member.is_hidden() {
            String::new()
        } else {
            member.identity().to_owned()
        };
    }
    Some(audience)
}

/// Older SDKs read sender and destinations inside the user packet.
fn assert_user_sender(
    member: &Member,
    user: &mut proto::UserPacket,
    destination_identities: &mut Vec<String>,
) {
    if member.is_hidden() {
        user.participant_sid.clear();
        user.participant_identity.clear();
    } else {
        user.participant_sid = member.sid.0.clone();
        user.participant_identity = member.identity().to_owned();
    }
    if destination_identities.is_empty() {
        destination_identities.clone_from(&user.destination_identities);
    } else {
        user.destination_identities
            .clone_from(destination_identities);
    }
}
