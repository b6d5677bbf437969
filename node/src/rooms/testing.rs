//! Real rooms without media for tests of what speaks with them: nothing they write arrives
//! anywhere.

use std::sync::Arc;

use media::types::Fingerprint;
use protocol::proto;
use protocol::token::Keys;

use super::Rooms;
use crate::room::contract::JobRequest;
use crate::room::environment::{
    Endpoint, JobSink, RoomsConfig, Services, ShardSink, Sinks, WebhookSink,
};

struct Nowhere;

impl ShardSink for Nowhere {
    fn send(&self, _: usize, _: media::Command) {}
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

/// `full`: nobody new is let in.
pub(crate) fn rooms(config: RoomsConfig, full: bool) -> Rooms {
    let endpoint = Endpoint {
        candidates: Arc::new([]),
        fingerprint: Fingerprint {
            algorithm: "sha-256".into(),
            digest: vec![0; 32],
        },
        ufrag_prefix: '0',
    };
    let services = Services::new(config, Arc::new(endpoint), keys());
    let nowhere = Arc::new(Nowhere);
    let sinks = Sinks {
        shards: nowhere.clone(),
        webhooks: nowhere.clone(),
        jobs: nowhere,
    };
    Rooms::start(Arc::new(services), sinks, Arc::new(move || full))
}
