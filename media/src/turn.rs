//! A TURN server (RFC 8656 over UDP, TCP and TLS) for clients whose network lets nothing else pass:
//! allocations, permissions, channels. Sans-IO: `node` owns its sockets, hands in datagrams and the
//! time, and carries out what `poll` returns. Strangers cost no memory; what is relayed is copied
//! once, into the outbox, and allocates nothing.

mod allocate;
mod allocation;
mod authenticate;
pub mod credentials;
pub mod framing;
pub mod message;
mod nonce;
mod outbox;
pub mod peers;
mod relaying;
mod requests;
mod strangers;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Instant;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

use crate::fast_hash::FastMap;
use crate::limits::TURN_SWEEP;
use crate::slab::Slab;
use crate::types::Path;

use allocation::Allocation;
use credentials::Authority;
use nonce::Nonces;
use outbox::Outbox;
use peers::PeerPolicy;
use strangers::Strangers;

/// Where relayed traffic leaves from: the local address of the sockets, and what clients and peers
/// call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayAddress {
    pub bound: IpAddr,
    pub advertised: IpAddr,
}

/// How the server behaves.
#[derive(Clone, Debug)]
pub struct Config {
    pub authority: Authority,
    /// At most one a family; a family without one is refused.
    pub relay_addresses: Vec<RelayAddress>,
    pub relay_ports: RangeInclusive<u16>,
    pub allocations_per_user_max: u32,
    pub allocations_max: usize,
    pub peers: PeerPolicy,
    /// From the operating system; nonces and ports follow from it.
    pub seed: [u8; 32],
    pub started: Instant,
    /// Seconds since 1970 then: credentials end by the wall clock.
    pub started_unix_s: i64,
}

/// Names an allocation's socket. Never used twice, so that a late datagram finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RelayId {
    pub index: u32,
    pub generation: u32,
}

/// What the server is told.
#[derive(Debug)]
pub enum Input<'a> {
    /// A datagram, or a frame of a stream, from a client.
    Client {
        path: Path,
        payload: &'a [u8],
    },
    /// A client's stream has ended.
    Closed {
        path: Path,
    },
    /// The socket asked for is open.
    RelayOpened {
        relay: RelayId,
    },
    /// It cannot be opened.
    RelayFailed {
        relay: RelayId,
    },
    /// A datagram at an allocation's socket.
    Peer {
        relay: RelayId,
        from: SocketAddr,
        payload: &'a [u8],
    },
    Timeout,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<'a> {
    /// Datagrams of `segment_size` bytes, the last may be shorter; on a stream just bytes.
    ToClient {
        path: Path,
        payload: &'a [u8],
        segment_size: usize,
    },
    ToPeer {
        relay: RelayId,
        to: SocketAddr,
        payload: &'a [u8],
        segment_size: usize,
    },
    OpenRelay {
        relay: RelayId,
        address: SocketAddr,
    },
    CloseRelay {
        relay: RelayId,
    },
}

/// Figures since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub allocations_made: u64,
    /// Requests refused for lack of credentials, as every first one is, or for wrong ones.
    pub unauthorized: u64,
    pub refused_quota: u64,
    pub refused_capacity: u64,
    /// Peers that may not be reached.
    pub refused_peers: u64,
    pub packets_to_peers: u64,
    pub bytes_to_peers: u64,
    pub packets_to_clients: u64,
    pub bytes_to_clients: u64,
    /// Not TURN at all, or broken.
    pub dropped_malformed: u64,
    /// Data without allocation, channel or permission.
    pub dropped_unpermitted: u64,
    /// More than the outbox holds.
    pub dropped_full: u64,
    /// Strangers that asked too often.
    pub dropped_strangers: u64,
}

/// See the file header.
#[derive(Debug)]
pub struct Server {
    config: Config,
    allocations: Slab<Allocation>,
    by_client: FastMap<Path, u32>,
    users: HashMap<Box<str>, u32>,
    ports_taken: HashSet<u16>,
    generation: u32,
    nonces: Nonces,
    strangers: Strangers,
    rng: ChaCha12Rng,
    out: Outbox,
    counters: Counters,
    next_sweep: Instant,
}

impl Server {
    pub fn new(config: Config) -> Server {
        let mut rng = ChaCha12Rng::from_seed(config.seed);
        Server {
            nonces: Nonces::new(&rng.random(), config.started),
            strangers: Strangers::new(rng.random(), config.started),
            next_sweep: config.started + TURN_SWEEP,
            allocations: Slab::default(),
            by_client: FastMap::default(),
            users: HashMap::new(),
            ports_taken: HashSet::new(),
            generation: 0,
            out: Outbox::default(),
            counters: Counters::default(),
            rng,
            config,
        }
    }

    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Client { path, payload } => self.client_sent(now, path, payload),
            Input::Peer {
                relay,
                from,
                payload,
            } => self.peer_sent(now, relay, from, payload),
            Input::RelayOpened { relay } => self.relay_opened(now, relay),
            Input::RelayFailed { relay } => self.relay_failed(relay),
            Input::Closed { path } => {
                if let Some(index) = self.by_client.get(&path).copied() {
                    self.end(index);
                }
            }
            Input::Timeout => self.sweep(now),
        }
    }

    /// Drained after every `handle`, or after a few of them.
    pub fn poll(&mut self) -> Option<Output<'_>> {
        self.out.next()
    }

    /// When to call `handle(now, Input::Timeout)`.
    pub fn deadline(&self) -> Option<Instant> {
        (!self.by_client.is_empty()).then_some(self.next_sweep)
    }

    /// Whether a client has shown credentials: streams without are closed after a while.
    pub fn knows(&self, path: &Path) -> bool {
        self.by_client.contains_key(path)
    }

    pub fn allocations(&self) -> usize {
        self.by_client.len()
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn sweep(&mut self, now: Instant) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + TURN_SWEEP;
        for index in 0..self.allocations.end() {
            let Some(allocation) = self.allocations.get_mut(index) else {
                continue;
            };
            if allocation.expires <= now {
                self.end(index);
            } else {
                allocation.contacts.forget_expired(now);
            }
        }
    }

    /// Ends an allocation and gives back what it held.
    fn end(&mut self, index: u32) {
        let Some(allocation) = self.allocations.remove(index) else {
            return;
        };
        self.by_client.remove(&allocation.path);
        self.ports_taken.remove(&allocation.address.port());
        if let Some(count) = self.users.get_mut(&allocation.username) {
            *count -= 1;
            if *count == 0 {
                self.users.remove(&allocation.username);
            }
        }
        self.out.close_relay(RelayId {
            index,
            generation: allocation.generation,
        });
    }

    fn unix_seconds(&self, now: Instant) -> i64 {
        let passed = now.saturating_duration_since(self.config.started);
        self.config
            .started_unix_s
            .saturating_add(passed.as_secs() as i64)
    }

    /// The living allocation of a client.
    fn allocation_of(&self, now: Instant, path: &Path) -> Option<u32> {
        let index = *self.by_client.get(path)?;
        let allocation = self.allocations.get(index)?;
        (allocation.expires > now).then_some(index)
    }

    /// The allocation a socket belongs to, unless another has taken its place since.
    fn allocation_at(&mut self, relay: RelayId) -> Option<&mut Allocation> {
        let allocation = self.allocations.get_mut(relay.index)?;
        (allocation.generation == relay.generation).then_some(allocation)
    }
}

/// Entry of the fuzz target for TURN: views, frames and a server that has never seen the sender.
pub fn fuzz_turn(data: &[u8]) {
    if let Some(message) = message::Message::parse(data) {
        message.peers().count();
        let _ = message.verify(&credentials::long_term_key("a", "b", "c"));
        let _ = (
            message.error_code(),
            message.find_text(message::attribute::NONCE),
        );
    }
    let _ = message::channel_data(data);
    let mut decoder = framing::StreamDecoder::new();
    decoder.push(data);
    while let Ok(Some(_)) = decoder.next_frame() {}
}
