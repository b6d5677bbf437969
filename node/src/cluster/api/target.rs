//! Which room a call of the server API is about, read from its body before anybody answers it.

use protocol::proto;

use prost::Message;

/// Whose a call is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Any node answers it alike.
    Anybody,
    /// Every node has a part of the answer.
    Everybody,
    Room {
        name: String,
        /// It makes the room if there is none.
        creates: bool,
        /// Asking twice does no harm.
        repeatable: bool,
    },
}

/// What a call is about; a body that cannot be read is anybody's to complain about.
pub(super) fn target(service: &str, method: &str, body: &[u8], auto_create: bool) -> Target {
    let name = match (service, method) {
        ("RoomService", "ListRooms") => return Target::Everybody,
        ("RoomService", "ForwardParticipant" | "MoveParticipant") => return Target::Anybody,
        ("RoomService", "CreateRoom") => {
            proto::CreateRoomRequest::decode(body).map(|request| request.name)
        }
        ("RoomService", _) => room_of(method, body),
        ("AgentDispatchService", "CreateDispatch") => {
            proto::CreateAgentDispatchRequest::decode(body).map(|request| request.room)
        }
        ("AgentDispatchService", "DeleteDispatch") => {
            proto::DeleteAgentDispatchRequest::decode(body).map(|request| request.room)
        }
        ("AgentDispatchService", "ListDispatch") => {
            proto::ListAgentDispatchRequest::decode(body).map(|request| request.room)
        }
        _ => return Target::Anybody,
    };
    let Ok(name) = name else {
        return Target::Anybody;
    };
    Target::Room {
        name,
        creates: method == "CreateRoom" || (method == "CreateDispatch" && auto_create),
        repeatable: matches!(method, "CreateRoom" | "UpdateRoomMetadata")
            || method.starts_with("List")
            || method.starts_with("Get"),
    }
}

fn room_of(method: &str, body: &[u8]) -> Result<String, prost::DecodeError> {
    Ok(match method {
        "DeleteRoom" => proto::DeleteRoomRequest::decode(body)?.room,
        "UpdateRoomMetadata" => proto::UpdateRoomMetadataRequest::decode(body)?.room,
        "ListParticipants" => proto::ListParticipantsRequest::decode(body)?.room,
        "MutePublishedTrack" => proto::MuteRoomTrackRequest::decode(body)?.room,
        "UpdateParticipant" => proto::UpdateParticipantRequest::decode(body)?.room,
        "UpdateSubscriptions" => proto::UpdateSubscriptionsRequest::decode(body)?.room,
        "SendData" => proto::SendDataRequest::decode(body)?.room,
        "PerformRpc" => proto::PerformRpcRequest::decode(body)?.room,
        // GetParticipant, RemoveParticipant.
        _ => proto::RoomParticipantIdentity::decode(body)?.room,
    })
}
