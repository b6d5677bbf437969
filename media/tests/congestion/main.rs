//! The packet plane on narrow, lossy, jittery and crowded paths, in virtual time: real transports,
//! a bottleneck with a queue, viewers that answer as libwebrtc does. Every run follows its seed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]
#![allow(dead_code, reason = "the world is shared with the forwarding tests")]

mod camera;
mod link;
#[path = "../forwarding/publisher.rs"]
mod publisher;
mod scenarios;
mod stage;
mod viewer;
#[path = "../forwarding/world.rs"]
mod world;

/// Shards the clients of a world are dealt out to.
const SHARDS: usize = 1;
