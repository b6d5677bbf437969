//! Where media would be: takes what rooms tell their shards, and says of each transport that it is
//! connected a moment later. Webhooks and agent jobs go nowhere.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use media::event::TransportState;
use media::types::Fingerprint;
use media::{Command, Event};
use node::room::contract::JobRequest;
use node::room::environment::{
    Endpoint, JobSink, RoomsConfig, Services, ShardSink, Sinks, WebhookSink,
};
use node::rooms::Rooms;
use protocol::proto;
use protocol::token::Keys;

/// ICE and DTLS over a short path.
const CONNECTING: Duration = Duration::from_millis(60);

#[derive(Default)]
struct NoMedia(OnceLock<Rooms>);

impl ShardSink for NoMedia {
    fn send(&self, _: &str, _: usize, command: Command) {
        let (Command::AddTransport { transport, .. }, Some(rooms)) = (command, self.0.get()) else {
            return;
        };
        let rooms = rooms.clone();
        tokio::spawn(async move {
            tokio::time::sleep(CONNECTING).await;
            let state = TransportState::Connected;
            rooms.shard_event(Event::Transport { transport, state });
        });
    }
}

impl WebhookSink for NoMedia {
    fn publish(&self, _: proto::WebhookEvent) {}
}

impl JobSink for NoMedia {
    fn launch(&self, _: JobRequest) {}
    fn terminate(&self, _: &str) {}
}

pub(crate) fn keys() -> Keys {
    Keys::new([("devkey".to_owned(), "s".repeat(32))])
}

/// Real rooms without media. Must be called where actors may start.
pub(crate) fn rooms(name: String, seed: [u8; 32]) -> Rooms {
    let config = RoomsConfig {
        node_id: name,
        seed,
        ..RoomsConfig::default()
    };
    let endpoint = Endpoint {
        candidates: Arc::new([]),
        fingerprint: Fingerprint {
            algorithm: "sha-256".into(),
            digest: vec![0; 32],
        },
        ufrag_prefix: '0',
    };
    let services = Services::new(config, Arc::new(endpoint), keys());
    let nowhere = Arc::new(NoMedia::default());
    let sinks = Sinks {
        shards: nowhere.clone(),
        webhooks: nowhere.clone(),
        jobs: nowhere.clone(),
    };
    let rooms = Rooms::start(Arc::new(services), sinks, Arc::new(|| false));
    let _ = nowhere.0.set(rooms.clone());
    rooms
}
