//! Forwarding seen from outside a shard: real client transports publish and subscribe over an
//! in-memory network in virtual time. Seeds are printed by the assertions that fail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod audio;
mod hostile;
mod layers;
mod lip_sync;
mod loss;
mod playout;
mod publisher;
mod quality;
mod red;
mod subscriber;
mod switching;
mod world;

/// Shards the clients of a world are dealt out to.
const SHARDS: usize = 1;
