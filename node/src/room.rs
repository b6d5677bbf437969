//! One room at control rate: who is in it, what they may do, what they are told. `Room` is a core;
//! `room_actor` is its shell; `rooms` finds the actor of a name.

pub mod contract;

pub use contract::{
    Attach, AttachError, AttachKind, RoomCall, RoomError, RoomInput, RoomOutput, RoomReply,
    SessionId, SessionMessage,
};
