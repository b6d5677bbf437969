//! The node ring: whole nodes (the shipped fabric, membership, detector, rooms, drains) in one
//! thread, people who come and go through any of them, every trouble from one seed. Media is not
//! simulated: what stands for a shard keeps to its contract, standbys and leases included.

mod carrier;
mod client;
mod door;
mod faults;
mod grid;
mod host;
mod judge;
mod lines;
mod machine;
mod numbers;
mod scenario;
mod sdp;
mod shards;
mod socket;
mod told;
mod troubles;
mod watched;
mod wires;
mod world;

pub(crate) use faults::Fault;
pub(crate) use world::run;

/// The mistake of this ring: an event does not reach the app.
pub(crate) const LOST_WEBHOOK: &str = "lost-webhook";
