//! `livekit.AgentDispatchService`: which agents a room wants. The room keeps its dispatches.

use protocol::proto;
use protocol::twirp::Code;

use super::errors::{denied, room as room_error, unexpected, wrapped};
use super::{Answer, Api, decode, encode};
use crate::auth::Caller;
use crate::room::contract::{RoomCall, RoomReply};

pub(super) async fn call(api: &Api, caller: &Caller, method: &str, request: &[u8]) -> Answer {
    let (room, call) = match method {
        "CreateDispatch" => {
            let request: proto::CreateAgentDispatchRequest = decode(request)?;
            (request.room.clone(), RoomCall::CreateDispatch(request))
        }
        "DeleteDispatch" => {
            let request: proto::DeleteAgentDispatchRequest = decode(request)?;
            (request.room.clone(), RoomCall::DeleteDispatch(request))
        }
        "ListDispatch" => {
            let request: proto::ListAgentDispatchRequest = decode(request)?;
            (request.room.clone(), RoomCall::ListDispatch(request))
        }
        _ => return Err(wrapped(Code::Unimplemented, "not implemented")),
    };
    caller.may_administer(&room).map_err(denied)?;
    match api.rooms.call(&room, call).await.map_err(room_error)? {
        RoomReply::Dispatch(dispatch) => encode(&dispatch),
        RoomReply::Dispatches(agent_dispatches) => {
            encode(&proto::ListAgentDispatchResponse { agent_dispatches })
        }
        other => Err(unexpected(other)),
    }
}
