//! The checks of `forwarding` once more, in rooms that span two shards: whoever subscribes cannot
//! tell whether a track was published on its own shard. What only relays do is in `relays`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../forwarding/audio.rs"]
mod audio;
#[path = "../forwarding/layers.rs"]
mod layers;
#[path = "../forwarding/loss.rs"]
mod loss;
#[path = "../forwarding/publisher.rs"]
mod publisher;
#[path = "../forwarding/red.rs"]
mod red;
mod relays;
#[path = "../forwarding/subscriber.rs"]
mod subscriber;
#[path = "../forwarding/world.rs"]
mod world;

/// Shards the clients of a world are dealt out to.
const SHARDS: usize = 2;
