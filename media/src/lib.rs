//! The packet plane of one core: transports, tracks, forwarding. Sans-IO: no sockets, no clock, no
//! unseeded randomness, no protobuf. `node` drives it and owns every socket.
//!
//! ```text
//! Input::Datagram → demux → transport (ICE, DTLS, SRTP, SCTP) → upstream track → router
//!                 → down track (select, munge, retransmit) → pacer → seal → Output::Transmit
//! Input::Command  → control plane's wishes            Output::Event → facts for the control plane
//! Input::Relay    → tracks of other shards            Output::Relay → our tracks for other shards
//! ```

mod bandwidth;
pub mod command;
pub mod demux;
mod downstream;
pub mod event;
mod fast_hash;
pub mod hostile;
pub mod ids;
pub mod limits;
pub mod negotiate;
mod quality;
pub mod relay;
mod router;
pub mod rtcp;
pub mod rtp;
pub mod shard;
mod slab;
mod speakers;
pub mod stats;
mod subject;
pub mod transport;
pub mod turn;
pub mod types;
mod upstream;

pub use command::Command;
pub use event::Event;
pub use ids::{DownTrackKey, LinkKey, RoomKey, TrackKey, TransportKey};
pub use shard::{Input, Output, Shard, ShardConfig, Transmit};
pub use stats::ShardCounters;
pub use subject::Subject;
