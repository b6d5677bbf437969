//! The rooms of a node of the ring: real, over what stands for their shards (`carrier`). Webhooks
//! go to the judge, agents' jobs nowhere.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use media::types::{Fingerprint, LocalCandidate, Protocol};
use node::room::contract::JobRequest;
use node::room::environment::{
    Endpoint, JobSink, RoomsConfig, Services, ShardSink, Shards, Sinks, WebhookSink,
};
use node::rooms::Rooms;
use protocol::proto;
use protocol::token::Keys;

use super::carrier::{Carrier, Sink};
use super::grid::Grid;
use crate::scenario::Host;

/// Told to clients, used by nobody.
const MEDIA_PORT: u16 = 7_882;

/// Webhooks go to the judge; agent jobs go nowhere.
struct Outside {
    grid: Arc<Grid>,
    host: Host,
}

impl WebhookSink for Outside {
    fn publish(&self, event: proto::WebhookEvent) {
        self.grid.judge().hear(self.host, &event);
    }
}

impl JobSink for Outside {
    fn launch(&self, _: JobRequest) {}
    fn terminate(&self, _: &str) {}
}

pub(crate) fn keys() -> Keys {
    Keys::new([("devkey".to_owned(), "s".repeat(32))])
}

/// Real rooms, and what stands for their shards.
pub(crate) struct Carried {
    pub(crate) rooms: Rooms,
    pub(crate) sink: Arc<dyn ShardSink>,
    pub(crate) shards: Arc<dyn Shards>,
}

/// Must be called where actors may start.
pub(crate) fn rooms(grid: &Arc<Grid>, host: Host) -> Carried {
    let config = RoomsConfig {
        node_id: host.name(),
        seed: grid.seed(),
        ..RoomsConfig::default()
    };
    let last = u8::try_from(host.0).unwrap_or(u8::MAX);
    let ip = IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
    let candidate = LocalCandidate {
        protocol: Protocol::Udp,
        address: SocketAddr::new(ip, MEDIA_PORT),
        priority: 1,
        foundation: "1".into(),
    };
    let endpoint = Endpoint {
        candidates: Arc::new([candidate]),
        fingerprint: Fingerprint {
            algorithm: "sha-256".into(),
            digest: vec![0; 32],
        },
        ufrag_prefix: '0',
        spare: None,
    };
    let shards: Arc<dyn Shards> = Arc::new(endpoint);
    let services = Services::new(config, Arc::clone(&shards), keys());
    let carrier = Carrier::new(Arc::clone(grid), host);
    let sink: Arc<dyn ShardSink> = Arc::new(Sink(Arc::clone(&carrier)));
    let outside = Arc::new(Outside {
        grid: Arc::clone(grid),
        host,
    });
    let sinks = Sinks {
        shards: Arc::clone(&sink),
        webhooks: outside.clone(),
        jobs: outside,
    };
    let rooms = Rooms::start(Arc::new(services), sinks, Arc::new(|| false));
    carrier.start(rooms.clone());
    Carried {
        rooms,
        sink,
        shards,
    }
}
