//! Everything one core owns: transports, tracks, down tracks, and the buffers packets pass through.
//! A worker thread (or a simulated host) calls it; nothing here blocks, waits or knows a socket.
//!
//! The worker's turn: `handle` every received datagram and command, `flush` once after the batch,
//! then `poll` until `None`. Packets are forwarded per subscriber while `poll` runs, so one
//! subscriber's run sits in the send arena (and in cache) at a time.

mod addresses;
mod allocate;
mod arena;
mod commands;
mod config;
mod due;
mod feedback;
mod follow;
mod image;
mod ingest;
mod paths;
mod relays;
mod reports;
mod send;
pub(crate) mod slot;
mod standbys;
mod subscriptions;
pub(crate) mod takeover;
mod ticks;

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;

pub use config::{AudioLevelSettings, KeyFrameThrottle, PacketBuffers, ShardConfig};

pub use paths::PathView;

use crate::command::Command;
use crate::downstream::DownTrack;
use crate::event::Event;
use crate::fast_hash::FastMap;
use crate::ids::{DownTrackKey, LinkKey, TrackKey, TransportKey};
use crate::relay::Block;
use crate::relay::link::Relays;
use crate::shard::arena::Arena;
use crate::shard::due::Due;
use crate::shard::slot::TransportSlot;
use crate::shard::standbys::Standbys;
use crate::shard::ticks::Ticker;
use crate::slab::Slab;
use crate::speakers::Rooms;
use crate::stats::ShardCounters;
use crate::types::Path;
use crate::upstream::UpTrack;

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
    /// One frame of another shard or node.
    Relay {
        link: LinkKey,
        frame: &'a [u8],
    },
    Timeout,
}

/// What a shard wants done.
#[derive(Debug)]
pub enum Output<'a> {
    Transmit(Transmit<'a>),
    Event(Event),
    /// Frames for another shard or node. The block may be swapped for an empty one.
    Relay {
        link: LinkKey,
        block: &'a mut Block,
    },
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
    config: ShardConfig,
    rng: ChaCha12Rng,
    /// Latest instant seen; `abs-send-time` counts from the first.
    now: Option<Instant>,
    epoch: Option<Instant>,

    transports: Slab<TransportSlot>,
    tracks: Slab<UpTrack>,
    down_tracks: Slab<DownTrack>,
    transport_index: BTreeMap<TransportKey, u32>,
    track_index: BTreeMap<TrackKey, u32>,
    down_track_index: BTreeMap<DownTrackKey, u32>,
    /// First packets find their transport by the username fragment, later ones by address.
    ufrags: BTreeMap<String, u32>,
    paths: FastMap<Path, u32>,
    /// Transports that were heard at an address of `paths` another one holds.
    claims: FastMap<Path, u32>,
    standbys: Standbys,
    rooms: Rooms,
    relays: Relays,

    /// Transports with packets to forward, in the order they got them.
    ready: VecDeque<u32>,
    /// Transports whose next packet waits for its pace.
    paced: Due,
    /// When the protocols of a transport want to be called: `TransportSlot::timer`, or earlier.
    timers: Due,
    arena: Arena,
    /// Sealed or plain control datagrams: ICE, DTLS, SCTP, RTCP.
    control: VecDeque<(Path, Bytes)>,
    /// The control datagram last handed out by `poll`.
    handed: Bytes,
    events: VecDeque<Event>,
    /// RTCP under construction.
    rtcp: Vec<u8>,
    /// Down tracks that may miss a key frame.
    awaiting: Vec<u32>,
    ticker: Ticker,
    counters: ShardCounters,
}

impl Shard {
    pub fn new(config: ShardConfig) -> Shard {
        Shard {
            rng: ChaCha12Rng::from_seed(config.seed),
            config,
            now: None,
            epoch: None,
            transports: Slab::default(),
            tracks: Slab::default(),
            down_tracks: Slab::default(),
            transport_index: BTreeMap::new(),
            track_index: BTreeMap::new(),
            down_track_index: BTreeMap::new(),
            ufrags: BTreeMap::new(),
            paths: FastMap::default(),
            claims: FastMap::default(),
            standbys: Standbys::default(),
            rooms: Rooms::default(),
            relays: Relays::default(),
            ready: VecDeque::new(),
            paced: Due::default(),
            timers: Due::default(),
            arena: Arena::new(),
            control: VecDeque::new(),
            handed: Bytes::new(),
            events: VecDeque::new(),
            rtcp: Vec::new(),
            awaiting: Vec::new(),
            ticker: Ticker::default(),
            counters: ShardCounters::default(),
        }
    }

    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        let now = self.advance(now);
        match input {
            Input::Datagram { path, payload } => self.receive(now, path, payload),
            Input::Command(command) => self.command(now, command),
            Input::Relay { link, frame } => self.receive_relay(now, link, frame),
            Input::Timeout => self.timeout(now),
        }
    }

    /// Whether datagrams on `path` belong to a transport that a connectivity check proved.
    pub fn knows(&self, path: &Path) -> bool {
        self.paths.contains_key(path)
    }

    /// Ends a receive batch: what it brought is forwarded by the `poll`s that follow.
    pub fn flush(&mut self, now: Instant) {
        self.advance(now);
    }

    /// Drain until `None` after `flush` and after `handle(Timeout)`.
    pub fn poll(&mut self) -> Option<Output<'_>> {
        // The other shard works while this one serves its own subscribers.
        if self.fill_block() {
            let (link, block) = (self.relays.handed_to, &mut self.relays.handed);
            return Some(Output::Relay { link, block });
        }
        while self.events.is_empty() && self.control.is_empty() && self.arena.is_drained() {
            if !self.build_turn() {
                return None;
            }
        }
        if let Some(event) = self.events.pop_front() {
            return Some(Output::Event(event));
        }
        if let Some((path, payload)) = self.control.pop_front() {
            self.handed = payload;
            return Some(Output::Transmit(Transmit {
                path,
                segment_size: self.handed.len().max(1),
                payload: &self.handed,
            }));
        }
        let run = self.arena.next()?;
        self.counters.runs_out += 1;
        Some(Output::Transmit(Transmit {
            path: run.path,
            segment_size: run.segment_size,
            payload: self.arena.bytes(&run),
        }))
    }

    /// When `handle(now, Input::Timeout)` is due; `None` = only input wakes the shard.
    pub fn deadline(&self) -> Option<Instant> {
        [
            self.timers.next(),
            self.standbys.deadline(),
            self.paced.next(),
            self.ticker.next_tick(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Transports with something to send now.
    pub fn waiting(&self) -> usize {
        self.ready.len()
    }

    /// When the pace of a short path lets its next packet go.
    pub fn pace_deadline(&self) -> Option<Instant> {
        self.paced.next()
    }

    /// Figures of the whole shard.
    pub fn counters(&self) -> ShardCounters {
        ShardCounters {
            relay_dropped: self.relays.dropped,
            ..self.counters
        }
    }

    /// Microseconds since the first instant seen.
    fn micros(&self, now: Instant) -> u64 {
        let epoch = self.epoch.unwrap_or(now);
        now.saturating_duration_since(epoch).as_micros() as u64
    }

    /// Time never goes back, whatever the caller's clock does.
    fn advance(&mut self, now: Instant) -> Instant {
        let now = self.now.map_or(now, |last| last.max(now));
        self.now = Some(now);
        self.epoch.get_or_insert(now);
        now
    }
}
