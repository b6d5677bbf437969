//! The settings of QUIC between nodes: time-outs, windows, and everything random drawn from the
//! seed that was handed in, so that a simulation repeats.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use quinn::congestion::CubicConfig;
use quinn::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig, IdleTimeout, ServerConfig,
    TransportConfig, VarInt,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;

use super::Plane;
use super::identity::{Identity, IdentityError};
use crate::cluster::limits::{
    CONNECTION_WINDOW_BYTES, HANDSHAKES_MAX, IDLE_TIMEOUT, INITIAL_RTT, KEEP_ALIVE,
    RELAY_LARGE_MAX, RELAY_PACKET_BYTES, RELAY_RECEIVE_BYTES, RELAY_SEND_BYTES, RELAY_WINDOW_BYTES,
    STREAM_WINDOW_BYTES, STREAMS_AT_FIRST,
};

/// Random bytes of one node, from its seed.
#[derive(Clone)]
pub(super) struct Entropy(Arc<Mutex<ChaCha12Rng>>);

impl Entropy {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self(Arc::new(Mutex::new(ChaCha12Rng::from_seed(seed))))
    }

    pub(super) fn bytes<const BYTES: usize>(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        let mut rng = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rng.fill_bytes(&mut bytes);
        bytes
    }
}

pub(super) fn endpoint(identity: &Identity, entropy: &Entropy) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(identity.reset_key()));
    config.rng_seed(Some(entropy.bytes()));
    let entropy = entropy.clone();
    config.cid_generator(move || Box::new(Ids(entropy.clone())));
    // A restarted node answers everybody who still talks to its last process.
    config.min_reset_interval(Duration::from_millis(1));
    config
}

pub(super) fn server(
    identity: &Identity,
    entropy: &Entropy,
) -> Result<ServerConfig, IdentityError> {
    let token_key = Salt::new(HKDF_SHA256, b"").extract(&entropy.bytes::<32>());
    let mut config = ServerConfig::new(Arc::new(identity.server()?), Arc::new(token_key));
    config.transport_config(Arc::new(transport(STREAMS_AT_FIRST)));
    config.max_incoming(HANDSHAKES_MAX);
    // Addresses of nodes do not wander; whose does registers anew.
    config.migration(false);
    config.validation_token.sent(0);
    Ok(config)
}

pub(super) fn client(
    identity: &Identity,
    entropy: &Entropy,
    plane: Plane,
) -> Result<ClientConfig, IdentityError> {
    let mut config = ClientConfig::new(Arc::new(identity.client(plane)?));
    let transport = match plane {
        Plane::Relay => relay(),
        Plane::Raft | Plane::Rpc | Plane::Live => transport(STREAMS_AT_FIRST),
    };
    config.transport_config(Arc::new(transport));
    let entropy = entropy.clone();
    config.initial_dst_cid_provider(Arc::new(move || ConnectionId::new(&entropy.bytes::<20>())));
    Ok(config)
}

fn transport(streams: u32) -> TransportConfig {
    let mut config = TransportConfig::default();
    let idle_ms = u32::try_from(IDLE_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    config
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(idle_ms))))
        .initial_rtt(INITIAL_RTT)
        .max_concurrent_bidi_streams(VarInt::from_u32(streams))
        .max_concurrent_uni_streams(VarInt::from_u32(RELAY_LARGE_MAX))
        .datagram_receive_buffer_size(Some(RELAY_RECEIVE_BYTES))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES));
    config
}

/// Of connections that carry datagrams, and streams only of what is larger: packets are never
/// made smaller than a relayed one needs, and what waits does so in a queue of ours, sorted by
/// urgency. Congestion control is a circuit breaker here: media has its own.
fn relay() -> TransportConfig {
    let mut config = transport(0);
    let mut cubic = CubicConfig::default();
    cubic.initial_window(RELAY_WINDOW_BYTES);
    config
        .initial_mtu(RELAY_PACKET_BYTES)
        .min_mtu(RELAY_PACKET_BYTES)
        .mtu_discovery_config(None)
        .datagram_send_buffer_size(RELAY_SEND_BYTES)
        .congestion_controller_factory(Arc::new(cubic));
    config
}

/// Eight random bytes, as quinn's own, from the node's seed.
struct Ids(Entropy);

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&self.0.bytes::<8>())
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
