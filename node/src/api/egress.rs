//! `livekit.Egress` while there is no recorder: the grant and the room are checked as they will
//! be, then the caller is told the truth.

use protocol::proto;
use protocol::twirp::Error;

use super::errors::{absent, denied, room as room_error};
use super::{Answer, Api, decode};
use crate::auth::Caller;
use crate::room::contract::RoomCall;

pub(super) async fn call(api: &Api, caller: &Caller, method: &str, request: &[u8]) -> Answer {
    let room = room_of(method, request)?;
    caller.may_record().map_err(denied)?;
    if let Some(room) = room {
        // A room that is not there is the caller's first problem.
        api.rooms
            .call(&room, RoomCall::Describe)
            .await
            .map_err(room_error)?;
    }
    Err(absent("egress"))
}

/// The room a request is about, if it is about one.
fn room_of(method: &str, request: &[u8]) -> Result<Option<String>, Error> {
    let room = match method {
        "StartRoomCompositeEgress" => {
            decode::<proto::RoomCompositeEgressRequest>(request)?.room_name
        }
        "StartParticipantEgress" => decode::<proto::ParticipantEgressRequest>(request)?.room_name,
        "StartTrackCompositeEgress" => {
            decode::<proto::TrackCompositeEgressRequest>(request)?.room_name
        }
        "StartTrackEgress" => decode::<proto::TrackEgressRequest>(request)?.room_name,
        "StartEgress" => decode::<proto::StartEgressRequest>(request)?.room_name,
        _ => String::new(),
    };
    Ok(Some(room).filter(|room| !room.is_empty()))
}
