//! From the configuration to the settings of each part, and the parts tied together: which room
//! lives on which shard, who hears its webhooks, what is mounted on the HTTP server.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use media::transport::DtlsIdentity;
use media::{ShardConfig, shard};
use metrics::gauge;
use protocol::ids::NodeId;
use protocol::proto;
use protocol::token::Keys;
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;

use super::RunError;
use crate::config::Config;
use crate::net::http::{HttpSettings, Routes};
use crate::room::contract::{Attach, JobRequest, SessionId, ToSession};
use crate::room::environment::{
    Endpoint, EndpointOf, JobSink, RoomsConfig, Services, ShardSink, Sinks, WebhookSink,
};
use crate::rooms::Rooms;
use crate::shards::Shards;
use crate::signal::{self, Gateway, GatewaySettings, Lobby};
use crate::status::{self, Status};
use crate::telemetry::node_stats::NodeStats;
use crate::page;

/// The running parts that others need.
pub struct Node {
    pub rooms: Rooms,
    gateway: Arc<Gateway>,
}

impl Node {
    /// Everything that is mounted on the HTTP server.
    pub fn routes(&self, status: &Status) -> Vec<Routes> {
        let gateway = Arc::clone(&self.gateway);
        let status = status.clone();
        vec![
            Arc::new(move |config| signal::configure(config, &gateway)),
            Arc::new(page::configure),
            Arc::new(move |config| status::configure(config, &status)),
        ]
    }
}

/// Starts the control plane; must be called within a running actix system.
pub fn node(
    config: &Config,
    node_id: &str,
    identity: &Arc<DtlsIdentity>,
    shards: &Arc<Shards>,
) -> Result<Node, RunError> {
    let keys = keys(config);
    let endpoint: EndpointOf = {
        let (shards, fingerprint) = (Arc::clone(shards), identity.fingerprint().clone());
        Arc::new(move |room| {
            let (candidates, ufrag_prefix) = shards.endpoint(room);
            Endpoint {
                candidates,
                fingerprint: fingerprint.clone(),
                ufrag_prefix,
            }
        })
    };
    let settings = rooms_config(config, node_id, shards)?;
    let services = Services::new(settings, endpoint, keys.clone());
    let sinks = Sinks {
        shards: Arc::clone(shards) as Arc<dyn ShardSink>,
        webhooks: Arc::new(Unheard),
        jobs: Arc::new(Unheard),
    };
    let rooms = Rooms::start(Arc::new(services), sinks);
    let settings = GatewaySettings {
        keys,
        auto_create: config.room.auto_create,
        max_room_name_length: config.limit.max_room_name_length,
        max_participant_identity_length: config.limit.max_participant_identity_length,
        signal_message_bytes_max: config.limit.signal_message_size_limit,
    };
    let gateway = Arc::new(Gateway::new(settings, Arc::new(rooms.clone())));
    Ok(Node { rooms, gateway })
}

impl ShardSink for Shards {
    fn send(&self, room: media::RoomKey, command: media::Command) {
        Shards::send(self, room, command);
    }
}

/// Stands in where nobody listens.
struct Unheard;

impl WebhookSink for Unheard {
    fn publish(&self, _: proto::WebhookEvent) {}
}

impl JobSink for Unheard {
    fn launch(&self, _: JobRequest) {}
    fn terminate(&self, _: &str, _: &str) {}
}

impl Lobby for Rooms {
    fn attach(&self, attach: Attach, recipient: actix::Recipient<ToSession>) {
        Rooms::attach(self, attach, recipient);
    }

    fn signal(&self, room: &str, session: SessionId, message: proto::signal_request::Message) {
        Rooms::signal(self, room, session, message);
    }

    fn session_closed(&self, room: &str, session: SessionId) {
        Rooms::session_closed(self, room, session);
    }

    fn exists<'a>(&'a self, room: &'a str) -> LocalBoxFuture<'a, bool> {
        Box::pin(async move { !self.list(&[room.to_owned()]).await.is_empty() })
    }
}

/// Names this node for as long as it runs.
pub fn node_id() -> Result<NodeId, RunError> {
    Ok(NodeId::random(&mut ChaCha12Rng::from_seed(entropy()?)))
}

pub(crate) fn entropy<const BYTES: usize>() -> Result<[u8; BYTES], RunError> {
    let mut bytes = [0; BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| RunError::NoEntropy)?;
    Ok(bytes)
}

pub fn keys(config: &Config) -> Keys {
    let pairs = config.keys.iter();
    Keys::new(pairs.map(|(key, secret)| (key.clone(), secret.expose().to_owned())))
}

pub fn http_settings(config: &Config, stats: NodeStats) -> HttpSettings {
    HttpSettings {
        workers: std::thread::available_parallelism().map_or(1, usize::from),
        keys: keys(config),
        body_bytes_max: config.limit.max_api_request_body_size,
        healthy: Arc::new(move || stats.healthy()),
    }
}

/// Makes the configuration of one shard; each has a seed of its own from the operating system.
pub fn shard_config(
    config: &Config,
    identity: &Arc<DtlsIdentity>,
) -> Result<impl Fn(usize) -> ShardConfig, RunError> {
    let root: [u8; 32] = entropy()?;
    let audio = &config.audio;
    let audio_level = shard::AudioLevelSettings {
        active_level_dbov: audio.active_level,
        min_percentile: audio.min_percentile,
        update_interval: Duration::from_millis(audio.update_interval.into()),
        smooth_intervals: audio.smooth_intervals,
    };
    let throttle = &config.rtc.pli_throttle;
    let key_frame_throttle = shard::KeyFrameThrottle {
        low: throttle.low_quality,
        mid: throttle.mid_quality,
        high: throttle.high_quality,
    };
    let packet_buffers = shard::PacketBuffers {
        video_packets: config.rtc.packet_buffer_size_video as usize,
        audio_packets: config.rtc.packet_buffer_size_audio as usize,
    };
    let identity = Arc::clone(identity);
    Ok(move |index: usize| {
        let mut seed = root;
        for (byte, salt) in seed.iter_mut().zip(index.to_le_bytes()) {
            *byte ^= salt;
        }
        let _ = &identity;
        ShardConfig {
            audio_level,
            key_frame_throttle,
            packet_buffers,
            ..ShardConfig::new(seed)
        }
    })
}

fn rooms_config(
    config: &Config,
    node_id: &str,
    shards: &Shards,
) -> Result<RoomsConfig, RunError> {
    let (room, limit) = (&config.room, &config.limit);
    let codecs = room.enabled_codecs.iter().map(|codec| proto::Codec {
        mime: codec.mime.clone(),
        fmtp_line: codec.fmtp_line.clone(),
    });
    let mut presets = std::collections::BTreeMap::new();
    for (name, value) in &room.room_configurations {
        let preset = serde_json::to_value(value).and_then(serde_json::from_value);
        let preset = preset.map_err(|error| {
            RunError::Preset {
                name: name.clone(),
                problem: error.to_string(),
            }
        })?;
        presets.insert(name.clone(), preset);
    }
    Ok(RoomsConfig {
        node_id: node_id.to_owned(),
        region: config.region.clone(),
        seed: u64::from_le_bytes(entropy()?),
        auto_create: room.auto_create,
        empty_timeout_s: room.empty_timeout,
        departure_timeout_s: room.departure_timeout,
        max_participants: room.max_participants,
        enabled_codecs: codecs.collect(),
        enable_remote_unmute: room.enable_remote_unmute,
        enable_full_room_in_webhooks: room.enable_full_room_in_webhooks,
        update_batch_target_bytes: room.update_batch_target_size,
        presets,
        allow_pause: config.rtc.congestion_control.allow_pause,
        subscription_limit_video: limit.subscription_limit_video,
        subscription_limit_audio: limit.subscription_limit_audio,
        max_metadata_bytes: limit.max_metadata_size,
        max_attributes_bytes: limit.max_attributes_size,
        max_room_name_chars: limit.max_room_name_length,
        max_identity_chars: limit.max_participant_identity_length,
        max_name_chars: limit.max_participant_name_length,
        max_data_blob_key_chars: limit.max_data_blob_key_length,
        max_data_blobs_bytes: limit.max_data_blobs_size,
        data_tracks: config.enable_data_tracks,
        data_blobs: config.enable_participant_data_blob,
        ice_servers: ice_servers(config, shards),
    })
}

/// The operator's TURN servers; without any, our own media ports, which answer STUN.
fn ice_servers(config: &Config, shards: &Shards) -> Vec<proto::IceServer> {
    let mut servers: Vec<proto::IceServer> = Vec::new();
    for server in &config.rtc.turn_servers {
        let (scheme, transport) = match server.protocol.as_str() {
            "tls" => ("turns", "tcp"),
            "tcp" => ("turn", "tcp"),
            _ => ("turn", "udp"),
        };
        servers.push(proto::IceServer {
            urls: vec![format!(
                "{scheme}:{}:{}?transport={transport}",
                server.host, server.port
            )],
            username: server.username.clone(),
            credential: server.credential.expose().to_owned(),
        });
    }
    if servers.is_empty() {
        let mut urls: Vec<String> = shards
            .candidates()
            .filter(|candidate| candidate.protocol == media::types::Protocol::Udp)
            .map(|candidate| format!("stun:{}", candidate.address))
            .collect();
        urls.dedup();
        urls.truncate(1);
        if !urls.is_empty() {
            servers.push(proto::IceServer {
                urls,
                ..proto::IceServer::default()
            });
        }
    }
    servers
}

/// Publishes how many rooms and people there are, for dashboards and autoscalers.
pub async fn count_rooms(rooms: Rooms, interval: Duration) {
    let mut tick = tokio::time::interval(interval.max(Duration::from_millis(100)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let rooms = rooms.list(&[]).await;
        let people: u32 = rooms.iter().map(|room| room.num_participants).sum();
        gauge!("livekit_room_total").set(rooms.len() as f64);
        gauge!("livekit_participant_total").set(f64::from(people));
    }
}
