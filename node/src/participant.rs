//! One participant's media at control rate: peer connections, publications, subscriptions. A core:
//! `room` drives it, `media` carries out its commands. No actor, no socket, no clock.

mod add_track;
mod bandwidth;
mod candidates;
mod codecs;
mod connection;
pub mod contract;
mod data_channels;
mod dynacast;
pub mod image;
pub(crate) mod limits;
mod media;
mod offer_pacing;
mod outputs;
mod pending_tracks;
mod permission;
mod publications;
mod publisher_connection;
pub mod quirks;
mod section_requests;
mod subscriber_connection;
mod subscriptions;
mod track_info;
mod track_settings;

#[cfg(test)]
pub(crate) mod tests;

pub use self::contract::{
    Environment, KeyAllocator, KeySpace, MediaInput, MediaOutput, ParticipantSettings, Published,
    Source, WallClock,
};
pub use self::media::ParticipantMedia;
