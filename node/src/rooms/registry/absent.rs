//! Answers about rooms that do not exist.

use crate::room::contract::{RoomCall, RoomError, RoomReply};
use crate::rooms::{NO_SUCH_PARTICIPANT, NO_SUCH_ROOM};

/// What 1.13.5 says about rooms that do not exist, save that nobody waits 3 s for `unavailable`.
pub(super) fn answer_of_absent_room(request: &RoomCall) -> Result<RoomReply, RoomError> {
    match request {
        RoomCall::ListParticipants => Ok(RoomReply::Participants(Vec::new())),
        RoomCall::ListDispatch(_) => Ok(RoomReply::Dispatches(Vec::new())),
        RoomCall::GetParticipant { .. }
        | RoomCall::RemoveParticipant { .. }
        | RoomCall::UpdateParticipant(_) => Err(RoomError::NotFound(NO_SUCH_PARTICIPANT.into())),
        RoomCall::PerformRpc(request) if request.destination_identity.is_empty() => Err(
            RoomError::InvalidArgument("destination identity is required".into()),
        ),
        _ => Err(RoomError::NotFound(NO_SUCH_ROOM.into())),
    }
}
