//! The node ring: whole nodes (the shipped fabric, membership, detector, rooms, drains) in one
//! thread, people who come and go through any of them, every trouble from one seed. Media is not
//! simulated: a shard says that transports are connected and takes what it is told.

mod client;
mod door;
mod faults;
mod grid;
mod host;
mod judge;
mod lines;
mod machine;
mod scenario;
mod shards;
mod socket;
mod troubles;
mod watched;
mod wires;
mod world;

pub(crate) use faults::Fault;
pub(crate) use world::run;
