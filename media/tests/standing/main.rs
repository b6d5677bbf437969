//! Two nodes and their clients: the second stands by for the first and goes on in its place, and
//! what the clients see of it. Virtual time, real client transports.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]
#![allow(dead_code, reason = "the world is shared with the forwarding tests")]

mod control;
mod silence;
mod takeover;

#[path = "../forwarding/publisher.rs"]
mod publisher;
#[path = "../forwarding/world.rs"]
mod world;

/// Clients are on the first shard; the second one is the standby's.
const SHARDS: usize = 1;
