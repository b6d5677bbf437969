//! Everything one core owns: transports, tracks, down tracks, and the buffers packets pass through.
//! A worker thread (or a simulated host) calls it; nothing here blocks, waits or knows a socket.
//!
//! The worker's turn: `handle` every received datagram and command, `flush` once after the batch,
//! then `poll` until `None`. Packets are forwarded per subscriber while `poll` runs, so one
//! subscriber's run sits in the send arena (and in cache) at a time.

mod config;

use std::collections::VecDeque;
use std::time::Instant;

pub use config::{AudioLevelSettings, KeyFrameThrottle, PacketBuffers, ShardConfig};

use crate::command::Command;
use crate::event::Event;
use crate::types::Path;

/// What a shard is told.
#[derive(Debug)]
pub enum Input<'a> {
    /// One datagram (UDP), or one RFC 4571 frame without its length prefix (TCP). Decrypted in
    /// place: the buffer's content is undefined afterwards.
    Datagram {
        path: Path,
        payload: &'a mut [u8],
    },
    Command(Command),
    Timeout,
}

/// What a shard wants done.
#[derive(Debug)]
pub enum Output<'a> {
    Transmit(Transmit<'a>),
    Event(Event),
}

/// Datagrams for one destination, laid end to end: every one has `segment_size` bytes, only the
/// last may be shorter. Fits one `sendmsg` with `UDP_SEGMENT`; over TCP each segment is one frame.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    pub path: Path,
    pub segment_size: usize,
    pub payload: &'a [u8],
}

impl<'a> Transmit<'a> {
    /// The single datagrams, for sockets without segmentation.
    pub fn segments(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.payload.chunks(self.segment_size.max(1))
    }
}

/// See the file header.
#[derive(Debug)]
pub struct Shard {
    #[allow(dead_code, reason = "read by the media paths that land next")]
    config: ShardConfig,
    events: VecDeque<Event>,
}

impl Shard {
    pub fn new(config: ShardConfig) -> Shard {
        Shard {
            config,
            events: VecDeque::new(),
        }
    }

    pub fn handle(&mut self, _now: Instant, input: Input<'_>) {
        match input {
            Input::Datagram { .. } | Input::Command(_) | Input::Timeout => {}
        }
    }

    /// Ends a receive batch: what it brought may be forwarded now.
    pub fn flush(&mut self, _now: Instant) {}

    /// Drain until `None` after `flush` and after `handle(Timeout)`.
    pub fn poll(&mut self) -> Option<Output<'_>> {
        self.events.pop_front().map(Output::Event)
    }

    /// When `handle(now, Input::Timeout)` is due; `None` = only input wakes the shard.
    pub fn deadline(&self) -> Option<Instant> {
        None
    }
}
