//! What a Skein cluster agrees on: a durable log, the state its entries add up to, and the rules
//! that choose from it. `node` composes it and hands it disks and peers; nothing here opens a
//! socket, and the state and its rules know no clock and no randomness. The map is in README.md.

/// A mistake of `testing::Mutation`, if it is switched on; in production there is none.
#[cfg(any(test, feature = "testing"))]
macro_rules! mutated {
    ($name:ident) => {
        crate::testing::mutated(crate::testing::Mutation::$name)
    };
}
#[cfg(not(any(test, feature = "testing")))]
macro_rules! mutated {
    ($name:ident) => {
        false
    };
}

pub mod cluster;
pub mod command;
pub mod disk;
pub mod encoding;
#[cfg(test)]
mod golden;
pub mod ids;
pub mod keeper;
pub mod limits;
pub mod peers;
pub mod placement;
mod raft;
pub mod snapshot;
pub mod splitmix;
pub mod state;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod wal;
