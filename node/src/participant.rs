//! One participant's media at control rate: peer connections, publications, subscriptions. A core:
//! `room` drives it, `media` carries out its commands. No actor, no socket, no clock.

pub mod contract;
mod media;
pub mod quirks;

pub use self::media::ParticipantMedia;
pub use contract::{
    Environment, KeyAllocator, KeySpace, MediaInput, MediaOutput, ParticipantSettings, Published,
    Source, WallClock,
};
