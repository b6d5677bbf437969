//! LiveKit's messages, ids, tokens and JSON as Skein speaks them. Depends on nothing of ours and
//! does no IO.

pub mod grants;
pub mod ids;
pub mod json;
pub mod token;
pub mod twirp;
pub mod webhook_event;

/// The protobuf messages, as published by LiveKit.
pub use livekit_protocol as proto;
