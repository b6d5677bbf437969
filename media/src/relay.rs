//! Relays: a track that is published on one shard or node and watched on another. Sans-IO: frames
//! in and out as bytes, whatever carries them (a queue between workers, QUIC datagrams). The shard
//! drives it (`shard::relays`); nothing here decides who watches what.
//!
//! ```text
//! publishing side: UpTrack.copies ── media, clocks, state ──▶ watching side: UpTrack.source
//!                                 ◀── wants, key frames, NACKs ──
//! ```

pub mod block;
pub mod frame;
pub(crate) mod link;
pub(crate) mod track;

pub use block::Block;
