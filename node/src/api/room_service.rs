//! `livekit.RoomService`: who may do what, and which room does it.

use protocol::proto;
use protocol::twirp::{Code, Error};

use super::errors::{denied, room as room_error, unexpected, wrapped};
use super::{Answer, Api, decode, encode};
use crate::auth::Caller;
use crate::room::contract::{RoomCall, RoomReply};

/// Length of a nonce of SendData, in bytes (a UUID).
const NONCE_BYTES: usize = 16;

pub(super) async fn call(api: &Api, caller: &Caller, method: &str, request: &[u8]) -> Answer {
    match method {
        "CreateRoom" => {
            let request: proto::CreateRoomRequest = decode(request)?;
            caller.may_create_rooms().map_err(denied)?;
            encode(&api.rooms.create(request).await.map_err(room_error)?)
        }
        "ListRooms" => {
            let request: proto::ListRoomsRequest = decode(request)?;
            caller.may_list_rooms().map_err(denied)?;
            encode(&proto::ListRoomsResponse {
                rooms: api.rooms.list(&request.names).await,
            })
        }
        "DeleteRoom" => {
            let request: proto::DeleteRoomRequest = decode(request)?;
            caller.may_create_rooms().map_err(denied)?;
            match api
                .rooms
                .call(&request.room, RoomCall::Delete)
                .await
                .map_err(room_error)?
            {
                RoomReply::Done => encode(&proto::DeleteRoomResponse {}),
                other => Err(unexpected(other)),
            }
        }
        "UpdateRoomMetadata" => {
            let request: proto::UpdateRoomMetadataRequest = decode(request)?;
            let call = RoomCall::UpdateRoomMetadata {
                metadata: request.metadata,
            };
            match ask(api, caller, &request.room, call).await? {
                RoomReply::Room(room) => encode(&room),
                other => Err(unexpected(other)),
            }
        }
        "ForwardParticipant" => {
            let request: proto::ForwardParticipantRequest = decode(request)?;
            Err(cannot_move(
                caller,
                &request.room,
                &request.destination_room,
            ))
        }
        "MoveParticipant" => {
            let request: proto::MoveParticipantRequest = decode(request)?;
            Err(cannot_move(
                caller,
                &request.room,
                &request.destination_room,
            ))
        }
        _ => participants(api, caller, method, request).await,
    }
}

/// The RPCs about people in a room.
async fn participants(api: &Api, caller: &Caller, method: &str, request: &[u8]) -> Answer {
    let (room, call) = match method {
        "ListParticipants" => {
            let request: proto::ListParticipantsRequest = decode(request)?;
            (request.room, RoomCall::ListParticipants)
        }
        "GetParticipant" => {
            let request: proto::RoomParticipantIdentity = decode(request)?;
            (
                request.room,
                RoomCall::GetParticipant {
                    identity: request.identity,
                },
            )
        }
        "RemoveParticipant" => {
            let request: proto::RoomParticipantIdentity = decode(request)?;
            (
                request.room,
                RoomCall::RemoveParticipant {
                    identity: request.identity,
                },
            )
        }
        "MutePublishedTrack" => {
            let request: proto::MuteRoomTrackRequest = decode(request)?;
            (request.room.clone(), RoomCall::MutePublishedTrack(request))
        }
        "UpdateParticipant" => {
            let request: proto::UpdateParticipantRequest = decode(request)?;
            (request.room.clone(), RoomCall::UpdateParticipant(request))
        }
        "UpdateSubscriptions" => {
            let request: proto::UpdateSubscriptionsRequest = decode(request)?;
            (request.room.clone(), RoomCall::UpdateSubscriptions(request))
        }
        "SendData" => {
            let request: proto::SendDataRequest = decode(request)?;
            caller.may_administer(&request.room).map_err(denied)?;
            check_nonce(&request.nonce)?;
            (request.room.clone(), RoomCall::SendData(request))
        }
        "PerformRpc" => {
            let request: proto::PerformRpcRequest = decode(request)?;
            (request.room.clone(), RoomCall::PerformRpc(request))
        }
        _ => return Err(wrapped(Code::Unimplemented, "not implemented")),
    };
    match (method, ask(api, caller, &room, call).await?) {
        ("RemoveParticipant", RoomReply::Done) => encode(&proto::RemoveParticipantResponse {}),
        ("UpdateSubscriptions", RoomReply::Done) => encode(&proto::UpdateSubscriptionsResponse {}),
        ("SendData", RoomReply::Done) => encode(&proto::SendDataResponse {}),
        ("ListParticipants", RoomReply::Participants(participants)) => {
            encode(&proto::ListParticipantsResponse { participants })
        }
        ("MutePublishedTrack", RoomReply::Track(track)) => {
            encode(&proto::MuteRoomTrackResponse { track })
        }
        ("GetParticipant" | "UpdateParticipant", RoomReply::Participant(info)) => encode(&info),
        ("PerformRpc", RoomReply::Rpc(response)) => encode(&response),
        (_, other) => Err(unexpected(other)),
    }
}

async fn ask(api: &Api, caller: &Caller, room: &str, call: RoomCall) -> Result<RoomReply, Error> {
    caller.may_administer(room).map_err(denied)?;
    api.rooms.call(room, call).await.map_err(room_error)
}

fn check_nonce(nonce: &[u8]) -> Result<(), Error> {
    if nonce.is_empty() || nonce.len() == NONCE_BYTES {
        return Ok(());
    }
    let length = nonce.len();
    let text = format!("nonce should be 16-bytes or not present, got: {length} bytes");
    Err(Error::new(Code::InvalidArgument, text))
}

/// Upstream's open server has the RPCs and refuses them; so do we.
fn cannot_move(caller: &Caller, room: &str, destination: &str) -> Error {
    if let Err(error) = caller.may_move(room, destination) {
        return denied(error);
    }
    if room == destination {
        let text = "destination room cannot be the same as source room";
        return Error::new(Code::InvalidArgument, text);
    }
    wrapped(Code::Unknown, "not implemented")
}
