//! Real rooms without media for tests of what speaks with them: nothing they write arrives
//! anywhere.

use std::sync::Arc;

use media::types::Fingerprint;
use protocol::proto;
use protocol::token::Keys;

use super::Rooms;
use crate::room::contract::JobRequest;
use crate::room::environment::{
    Endpoint, JobSink, RoomsConfig, Services, ShardSink, Shards, Sinks, WebhookSink,
};

pub(crate) struct Nowhere;

impl ShardSink for Nowhere {
    fn send(&self, _: &str, _: usize, _: media::Command) {}
}

impl WebhookSink for Nowhere {
    fn publish(&self, _: proto::WebhookEvent) {}
}

impl JobSink for Nowhere {
    fn launch(&self, _: JobRequest) {}
    fn terminate(&self, _: &str) {}
}

pub(crate) fn keys() -> Keys {
    Keys::new([("devkey".to_owned(), "s".repeat(32))])
}

/// A node of one shard.
pub(crate) fn endpoint() -> Endpoint {
    Endpoint {
        candidates: Arc::new([]),
        fingerprint: Fingerprint {
            algorithm: "sha-256".into(),
            digest: vec![0; 32],
        },
        ufrag_prefix: '0',
        spare: None,
    }
}

/// `full`: nobody new is let in.
pub(crate) fn rooms(config: RoomsConfig, full: bool) -> Rooms {
    rooms_on(config, full, Arc::new(endpoint()), Arc::new(Nowhere))
}

pub(crate) fn rooms_on(
    config: RoomsConfig,
    full: bool,
    shards: Arc<dyn Shards>,
    sink: Arc<dyn ShardSink>,
) -> Rooms {
    let services = Services::new(config, shards, keys());
    let nowhere = Arc::new(Nowhere);
    let sinks = Sinks {
        shards: sink,
        webhooks: nowhere.clone(),
        jobs: nowhere,
    };
    Rooms::start(Arc::new(services), sinks, Arc::new(move || full))
}
