//! `LeaveRequest` in both of its forms: an action since protocol 13, `can_reconnect` before.

use protocol::proto::{
    DisconnectReason, LeaveRequest, SignalResponse, leave_request, signal_response,
};

/// First protocol that reads `action`.
const PROTOCOL_WITH_ACTION: i32 = 13;

pub(crate) fn message(
    protocol: i32,
    action: leave_request::Action,
    reason: DisconnectReason,
) -> SignalResponse {
    let leave = if protocol >= PROTOCOL_WITH_ACTION {
        LeaveRequest {
            action: action.into(),
            reason: reason.into(),
            ..Default::default()
        }
    } else {
        let can_reconnect = action != leave_request::Action::Disconnect;
        LeaveRequest {
            can_reconnect,
            reason: reason.into(),
            ..Default::default()
        }
    };
    SignalResponse {
        message: Some(signal_response::Message::Leave(leave)),
    }
}

/// What a client that resumes a session unknown here is told; anything else, an HTTP error above
/// all, keeps it trying to resume.
pub(crate) fn state_mismatch(protocol: i32) -> SignalResponse {
    message(
        protocol,
        leave_request::Action::Reconnect,
        DisconnectReason::StateMismatch,
    )
}
