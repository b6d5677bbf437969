//! The node ring: whole nodes (the shipped fabric, membership, detector, rooms, drains) in one
//! thread, people who come and go through any of them, every trouble from one seed. Media is not
//! simulated: what stands for a shard keeps to its contract, standbys and leases included.

mod carrier;
mod client;
mod consent;
mod door;
mod faults;
mod grid;
mod host;
mod judge;
mod lines;
mod machine;
mod mail;
mod numbers;
mod operators;
mod scenario;
mod sdp;
mod shards;
mod socket;
mod told;
mod transports;
mod troubles;
mod watched;
mod wires;
mod world;

pub(crate) use faults::Fault;
pub(crate) use world::run;

/// Mistakes of this ring, to see that its checkers find them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// Some events do not reach the app.
    LostWebhook,
    /// Transports use numbers their standby was not told of.
    Unleased,
    /// Some words do not reach their listener.
    LostWord,
}

impl Mistake {
    pub(crate) const ALL: [Self; 3] = [Self::LostWebhook, Self::Unleased, Self::LostWord];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::LostWebhook => "lost-webhook",
            Self::Unleased => "unleased",
            Self::LostWord => "lost-word",
        }
    }
}
