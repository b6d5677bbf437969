//! What a Skein cluster agrees on: a durable log, the state its entries add up to, and the rules
//! that choose from it. `node` composes it and hands it disks and peers; nothing here opens a
//! socket, and the state and its rules know no clock and no randomness. The map is in README.md.

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
mod splitmix;
pub mod state;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod wal;
