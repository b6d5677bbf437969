//! The cluster plane of a node: how nodes reach each other, who is a member, where rooms are and
//! what happens when a node dies. Composed by `run`; the rules are `consensus`'s, the packets
//! `media`'s.

pub mod api;
pub mod detector;
pub mod directory;
pub mod drain;
pub mod fabric;
mod gateway_session;
pub mod heartbeat;
pub mod hosting;
pub mod jobs;
pub mod journal;
pub mod leaving;
pub mod lifeline;
pub mod limits;
pub mod links;
pub mod liveness;
pub mod lobby;
pub mod membership;
pub mod node;
pub mod notices;
pub mod placing;
mod quorum;
pub mod relay;
pub mod report;
pub mod room_plane;
pub mod scaling;
pub mod session_server;
pub mod session_wire;
mod unanswered;
pub mod wire;
mod words;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
