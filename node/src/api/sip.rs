//! `livekit.SIP` while there is no telephony: grants are checked per RPC, then the caller is told
//! the truth.

use protocol::proto;

use super::errors::{absent, denied};
use super::{Answer, decode};
use crate::auth::Caller;

pub(super) fn call(caller: &Caller, method: &str, request: &[u8]) -> Answer {
    match method {
        "CreateSIPParticipant" => caller.may_call_sip().map_err(denied)?,
        "TransferSIPParticipant" => {
            let request: proto::TransferSipParticipantRequest = decode(request)?;
            caller.may_call_sip().map_err(denied)?;
            caller.may_administer(&request.room_name).map_err(denied)?;
        }
        _ => caller.may_administer_sip().map_err(denied)?,
    }
    Err(absent("sip"))
}
