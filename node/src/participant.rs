//! One participant's media at control rate: peer connections, publications, subscriptions. A core:
//! `room` drives it, `media` carries out its commands. No actor, no socket, no clock.

pub mod contract;

pub use contract::{MediaInput, MediaOutput, ParticipantSettings, Published, Source};
