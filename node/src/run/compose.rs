//! From the configuration to the settings of each part, and the parts tied together: what rooms
//! know of the shards, who hears their webhooks, what is mounted on the HTTP server.

mod http;
mod spanning;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use consensus::placement::{self, Selector, SelectorError};
use media::transport::DtlsIdentity;
use media::turn::credentials::Authority;
use media::types::{Fingerprint, PlayoutDelay};
use media::{ShardConfig, shard};
use protocol::ids::NodeId;
use protocol::proto;
use protocol::token::Keys;
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;

pub use http::http_settings;

use super::{RunError, ice_servers, operator};
use crate::agent::{self, Agents};
use crate::api::{Api, whip};
use crate::cluster::drain::Drainage;
use crate::cluster::jobs::ClusterJobs;
use crate::cluster::leaving::Leaving;
use crate::cluster::liveness::Liveness;
use crate::cluster::node::ClusterNode;
use crate::cluster::relay::plane::Span;
use crate::cluster::room_plane::{Parts, RoomPlane};
use crate::cluster::session_server::stage_of;
use crate::config::Config;
use crate::config::server::{NodeSelector, Region, Storage};
use crate::net::http::Routes;
use crate::room::contract::JobRequest;
use crate::room::environment::{
    self, Endpoint, JobSink, RelayIds, RoomsConfig, Services, ShardSink, Sinks,
};
use crate::room::server_info;
use crate::rooms::Rooms;
use crate::shards::Shards;
use crate::signal::{self, Gateway, GatewaySettings};
use crate::status::operators::Operators;
use crate::status::{self, Status};
use crate::telemetry::census::Capacity;
use crate::webhook::{self, Webhooks};
use crate::{debug, page};

/// The running parts that others need.
pub struct Node {
    pub rooms: Rooms,
    pub webhooks: Webhooks,
    pub capacity: Arc<Capacity>,
    gateway: Arc<Gateway>,
    api: Api,
    agents: Agents,
    jobs: Arc<Jobs>,
    /// Once there is a cluster.
    drainage: Option<Drainage>,
    pub leaving: Option<Leaving>,
    span: Span,
    relay_ids: RelayIds,
}

/// Where rooms' jobs go: to workers of this node, or of the whole cluster once there is one.
struct Jobs {
    here: Agents,
    cluster: OnceLock<ClusterJobs>,
}

impl JobSink for Jobs {
    fn launch(&self, job: JobRequest) {
        match self.cluster.get() {
            Some(cluster) => cluster.launch(job),
            None => self.here.launch(job),
        }
    }

    fn terminate(&self, job_id: &str) {
        match self.cluster.get() {
            Some(cluster) => cluster.terminate(job_id),
            None => self.here.terminate(job_id),
        }
    }
}

impl Node {
    /// Everything that is mounted on the HTTP server.
    pub fn routes(
        &self,
        config: &Config,
        status: &Status,
        cluster: Option<&ClusterNode>,
    ) -> Vec<Routes> {
        let (api, agents, status) = (self.api.clone(), self.agents.clone(), status.clone());
        let neighbours = cluster.map(|cluster| whip::Neighbours {
            node: cluster.id(),
            links: cluster.links(),
            answers: cluster.registry(),
        });
        let mut routes: Vec<Routes> = vec![
            signal::routes(Arc::clone(&self.gateway)),
            whip::routes(Arc::clone(&self.gateway), neighbours),
            Arc::new(move |config| api.configure(config)),
            Arc::new(move |config| agents.configure(config)),
            Arc::new(page::configure),
            Arc::new(move |config| status::configure(config, &status)),
        ];
        let cluster = cluster.cloned();
        let operators = Operators::of(config);
        routes.push(Arc::new(move |config| {
            status::cluster::configure(config, cluster.as_ref(), &operators);
        }));
        let drainage = self.drainage.clone();
        routes.push(Arc::new(move |config| {
            status::operator::configure(config, drainage.as_ref());
        }));
        if config.development {
            let rooms = self.rooms.clone();
            routes.push(Arc::new(move |config| debug::configure(config, &rooms)));
        }
        routes
    }

    /// From now on rooms, clients and calls of the whole cluster are this node's business.
    pub fn join_cluster(
        &mut self,
        config: &Config,
        (cluster, liveness): (&ClusterNode, &Liveness),
        status: &Status,
        shards: &Shards,
    ) -> Result<(), RunError> {
        let (endpoints, sink) = self.span.near();
        let parts = Parts {
            cluster: cluster.cluster().clone(),
            links: cluster.links(),
            membership: cluster.phase(),
            figures: Arc::new(cluster.heartbeats().clone()),
            selector: selector(&config.node_selector)?,
            region: config.region.clone(),
            seed: u64::from_le_bytes(entropy()?),
            rooms: self.rooms.clone(),
            api: self.api.clone(),
            agents: self.agents.clone(),
            auto_create: config.room.auto_create,
            endpoints,
            shards: sink,
            stage: stage_of(actix_rt::Arbiter::current()),
        };
        let plane = RoomPlane::start(parts, cluster.registry(), |task| cluster.keep(task));
        self.span_nodes(config, cluster, &plane, shards);
        self.api = self.api.clone().forwarding(plane.api.clone());
        let settings = GatewaySettings::new(config, keys(config));
        self.leaving = Some(Leaving {
            node: cluster.clone(),
            liveness: liveness.clone(),
            lobby: plane.lobby.clone(),
            homes: plane.homes,
        });
        self.gateway = Arc::new(Gateway::new(settings, Arc::new(plane.lobby)));
        status.join_cluster(plane.api);
        let rooms = self.rooms.clone();
        let drainage = operator::start(&config.cluster, cluster, rooms, plane.placing)?;
        self.drainage = Some(drainage);
        // A node joins one cluster in its life.
        let _ = self.jobs.cluster.set(plane.jobs);
        Ok(())
    }
}

/// Starts the control plane; must be called within a running actix system.
pub fn node(
    config: &Config,
    node_id: &str,
    identities: &[Arc<DtlsIdentity>; 2],
    shards: &Arc<Shards>,
    authority: Authority,
) -> Result<Node, RunError> {
    let keys = keys(config);
    let described = Described {
        shards: Arc::clone(shards),
        fingerprint: identities[0].fingerprint().clone(),
        spare: identities[1].fingerprint().clone(),
    };
    let settings = rooms_config(config, node_id, shards, authority)?;
    let agents = Agents::start(agent::Settings {
        keys: keys.clone(),
        server_info: server_info(&settings),
        target_load: config.agents.target_load,
        message_bytes_max: config.limit.agent_signal_message_size_limit,
        seed: u64::from_le_bytes(entropy()?),
    });
    let webhooks = Webhooks::start(webhook_settings(config, &keys)?)?;
    let jobs = Arc::new(Jobs {
        here: agents.clone(),
        cluster: OnceLock::new(),
    });
    let span = Span::new(
        Arc::new(described),
        Arc::clone(shards) as Arc<dyn ShardSink>,
    );
    let sinks = Sinks {
        shards: Arc::new(span.clone()),
        webhooks: Arc::new(webhooks.clone()),
        jobs: jobs.clone(),
    };
    let services = Services::new(settings, Arc::new(span.clone()), keys.clone());
    let relay_ids = services.relay_ids.clone();
    let capacity = Capacity::new(&config.limit);
    let full = Arc::clone(&capacity);
    let rooms = Rooms::start(Arc::new(services), sinks, Arc::new(move || full.is_full()));
    agents.report_to(rooms.clone());
    let gateway = Gateway::new(
        GatewaySettings::new(config, keys.clone()),
        Arc::new(rooms.clone()),
    );
    Ok(Node {
        api: Api::new(rooms.clone(), keys, config.limit.max_api_request_body_size),
        gateway: Arc::new(gateway),
        capacity,
        agents,
        jobs,
        drainage: None,
        leaving: None,
        span,
        relay_ids,
        webhooks,
        rooms,
    })
}

/// `node_selector` as placement takes it.
fn selector(section: &NodeSelector) -> Result<Selector, SelectorError> {
    let region = |region: &Region| placement::Region {
        name: region.name.clone(),
        latitude: region.lat,
        longitude: region.lon,
    };
    Ok(Selector {
        kind: section.kind.parse()?,
        sort_by: section.sort_by.parse()?,
        algorithm: section.algorithm.parse()?,
        sysload_limit: section.sysload_limit,
        cpu_load_limit: section.cpu_load_limit,
        regions: section.regions.iter().map(region).collect(),
    })
}

fn webhook_settings(config: &Config, keys: &Keys) -> Result<webhook::Settings, RunError> {
    let section = &config.webhook;
    Ok(webhook::Settings {
        urls: section.urls.clone(),
        api_key: section.api_key.clone(),
        keys: keys.clone(),
        filter: webhook::Filter {
            include_events: section.filter_params.include_events.clone(),
            exclude_events: section.filter_params.exclude_events.clone(),
        },
        requests_per_url: section.url_notifier.num_workers as usize,
        storage: match (
            config.storage.directory(),
            Storage::default_directory(config.port),
        ) {
            (Some(chosen), _) => webhook::Storage::Required(chosen.join("webhooks")),
            (None, Some(default)) => webhook::Storage::BestEffort(default.join("webhooks")),
            (None, None) => webhook::Storage::Nowhere,
        },
        seed: u64::from_le_bytes(entropy()?),
    })
}

impl ShardSink for Shards {
    fn send(&self, _: &str, shard: usize, command: media::Command) {
        Shards::send(self, shard, command);
    }
}

/// The shards as rooms see them.
struct Described {
    shards: Arc<Shards>,
    /// Of the certificate they share, and of the spare one.
    fingerprint: Fingerprint,
    spare: Fingerprint,
}

impl environment::Shards for Described {
    fn count(&self) -> usize {
        self.shards.count()
    }

    fn endpoint(&self, shard: usize) -> Endpoint {
        let (candidates, ufrag_prefix) = self.shards.endpoint(shard);
        Endpoint {
            candidates,
            fingerprint: self.fingerprint.clone(),
            ufrag_prefix,
            spare: Some(self.spare.clone()),
        }
    }

    fn busy_permille(&self) -> Vec<u16> {
        self.shards.busy_permille()
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

/// Makes the configuration of one shard; each has a seed of its own from the operating system.
pub fn shard_config(
    config: &Config,
    identities: &[Arc<DtlsIdentity>; 2],
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
    let [identity, spare] = identities.clone();
    Ok(move |index: usize| {
        let mut seed = root;
        for (byte, salt) in seed.iter_mut().zip(index.to_le_bytes()) {
            *byte ^= salt;
        }
        ShardConfig {
            audio_level,
            key_frame_throttle,
            packet_buffers,
            spare: Arc::clone(&spare),
            ..ShardConfig::new(seed, Arc::clone(&identity))
        }
    })
}

fn rooms_config(
    config: &Config,
    node_id: &str,
    shards: &Shards,
    authority: Authority,
) -> Result<RoomsConfig, RunError> {
    let (room, limit) = (&config.room, &config.limit);
    let codecs = room.enabled_codecs.iter().map(|codec| proto::Codec {
        mime: codec.mime.clone(),
        fmtp_line: codec.fmtp_line.clone(),
    });
    let mut presets = std::collections::BTreeMap::new();
    for (name, value) in &room.room_configurations {
        let preset = serde_json::to_value(value).and_then(serde_json::from_value);
        let preset = preset.map_err(|error| RunError::Preset {
            name: name.clone(),
            problem: error.to_string(),
        })?;
        presets.insert(name.clone(), preset);
    }
    Ok(RoomsConfig {
        node_id: node_id.to_owned(),
        region: config.region.clone(),
        seed: entropy()?,
        auto_create: room.auto_create,
        empty_timeout_s: room.empty_timeout,
        departure_timeout_s: room.departure_timeout,
        max_participants: room.max_participants,
        enabled_codecs: codecs.collect(),
        enable_remote_unmute: room.enable_remote_unmute,
        sync_streams: room.sync_streams,
        playout_delay: room.playout_delay.enabled.then_some(PlayoutDelay {
            min_ms: room.playout_delay.min,
            max_ms: room.playout_delay.max,
        }),
        enable_full_room_in_webhooks: room.enable_full_room_in_webhooks,
        update_batch_target_bytes: room.update_batch_target_size,
        presets,
        dynacast_pause_delay: config.video.dynacast_pause_delay,
        codec_regression_threshold: config.video.codec_regression_threshold,
        active_red_encoding: config.audio.active_red_encoding,
        record_agents: config.agents.enable_user_data_recording,
        congestion_control: config.rtc.congestion_control.enabled,
        allow_pause: config.rtc.congestion_control.allow_pause,
        subscription_limit_video: limit.subscription_limit_video,
        subscription_limit_audio: limit.subscription_limit_audio,
        max_metadata_bytes: limit.max_metadata_size,
        max_attributes_bytes: limit.max_attributes_size,
        max_room_name_bytes: limit.max_room_name_length,
        max_name_bytes: limit.max_participant_name_length,
        max_data_blob_key_chars: limit.max_data_blob_key_length,
        max_data_blobs_bytes: limit.max_data_blobs_size,
        max_data_encoding_chars: limit.max_data_track_custom_encoding_length,
        data_tracks: config.enable_data_tracks,
        data_blobs: config.enable_participant_data_blob,
        allow_tcp_fallback: config.rtc.allow_tcp_fallback.unwrap_or(true),
        shard_participants: config.rtc.shard_participants,
        node_participants: config.cluster.room_node_participants,
        ice_servers: ice_servers::told_to_clients(config, shards, authority),
    })
}
