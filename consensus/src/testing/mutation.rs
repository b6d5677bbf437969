//! Mistakes that can be switched on in this process, to prove that checkers find them. Compiled for
//! tests and simulations only.

use std::sync::atomic::{AtomicU8, Ordering};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mutation {
    /// A fence lets through the epoch before the one in force.
    StaleEpoch = 1,
    /// Entries are acknowledged before they are on the disk.
    EarlyAck = 2,
    /// A vote is given before it is on the disk.
    EarlyVote = 3,
    /// A request that is tried again is applied again.
    AppliedTwice = 4,
    /// A read does not ask a quorum who leads.
    StaleRead = 5,
    /// Rooms of a node that was found dead keep their epoch.
    UnfencedDeath = 6,
}

impl Mutation {
    pub const ALL: [Self; 6] = [
        Self::StaleEpoch,
        Self::EarlyAck,
        Self::EarlyVote,
        Self::AppliedTwice,
        Self::StaleRead,
        Self::UnfencedDeath,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::StaleEpoch => "stale-epoch",
            Self::EarlyAck => "early-ack",
            Self::EarlyVote => "early-vote",
            Self::AppliedTwice => "applied-twice",
            Self::StaleRead => "stale-read",
            Self::UnfencedDeath => "unfenced-death",
        }
    }
}

static MUTATION: AtomicU8 = AtomicU8::new(0);

/// Switches one mistake on, for the whole process.
pub fn mutate(mutation: Mutation) {
    MUTATION.store(mutation as u8, Ordering::Relaxed);
}

pub(crate) fn mutated(mutation: Mutation) -> bool {
    MUTATION.load(Ordering::Relaxed) == mutation as u8
}
