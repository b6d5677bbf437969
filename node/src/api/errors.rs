//! Failures of rooms and of missing rights as Twirp errors, with the texts of LiveKit 1.13.5.

use protocol::twirp::{Code, Error};

use crate::auth::PermissionDenied;
use crate::room::contract::{RoomError, RoomReply};

/// Upstream wraps what a room's node answers; callers match on the text behind it.
const PREFIX: &str = "twirp error unknown: ";

/// An error as upstream's room nodes and absent services give it.
pub(super) fn wrapped(code: Code, message: &str) -> Error {
    Error::new(code, format!("{PREFIX}{message}"))
}

/// A token without the right is `unauthenticated`, not `permission_denied`.
pub(super) fn denied(error: PermissionDenied) -> Error {
    Error::new(Code::Unauthenticated, error.to_string())
}

/// Whether a room's node said that the room is another's.
pub(crate) fn is_elsewhere(error: &Error) -> bool {
    let text = error.message.strip_prefix(PREFIX);
    error.code == Code::Unavailable && text == Some(&RoomError::Elsewhere.to_string())
}

pub(crate) fn room(error: RoomError) -> Error {
    let code = match error {
        RoomError::NotFound(_) => Code::NotFound,
        RoomError::InvalidArgument(_) => Code::InvalidArgument,
        RoomError::FailedPrecondition(_) => Code::FailedPrecondition,
        RoomError::PermissionDenied(_) => Code::PermissionDenied,
        RoomError::Canceled(_) => Code::Canceled,
        RoomError::DeadlineExceeded(_) => Code::DeadlineExceeded,
        RoomError::ResourceExhausted(_) => Code::ResourceExhausted,
        RoomError::Unavailable(_) | RoomError::Elsewhere => Code::Unavailable,
        RoomError::Internal(_) => Code::Internal,
    };
    wrapped(code, &error.to_string())
}

/// A room answered something that does not belong to the call: a defect, told to nobody in detail.
pub(super) fn unexpected(reply: RoomReply) -> Error {
    tracing::error!(?reply, "a room answered something else than was asked");
    Error::new(Code::Internal, "internal error")
}

/// The service is known, and nothing stands behind it on this server.
pub(super) fn absent(service: &str) -> Error {
    wrapped(
        Code::Unimplemented,
        &format!("{service} is not available on this server"),
    )
}
