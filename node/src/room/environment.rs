//! What a room is given by the composition: policy values, the media cores' factory, the token
//! signer, and the sinks its shell writes to. Plain data and traits; nothing here decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use media::TransportKey;
use media::types::{Fingerprint, LocalCandidate, PlayoutDelay};
use protocol::ids::{ParticipantSid, TrackSid};
use protocol::proto;
use protocol::token::Keys;

use super::contract::JobRequest;
use super::ice_servers::IceServer;
use super::image::WarmTransports;
use super::journal::{JournalEntry, MediaEntry, RoomImage};
use super::moves::Arrival;
pub use super::span::RelayIds;
use crate::config::room::DEFAULT_CODECS;
use crate::participant::contract::Kinds;
use crate::participant::image::MediaImage;
use crate::participant::image::records::MediaRecord;
use crate::participant::{
    Environment, MediaInput, MediaOutput, ParticipantMedia, ParticipantSettings, Published,
    WallClock,
};

/// Values of the configuration that rooms obey. Names are those of `livekit.yaml`.
#[derive(Clone, Debug)]
pub struct RoomsConfig {
    pub node_id: String,
    pub region: String,
    /// Seed of sids, trailers and credentials; from the operating system outside of simulations.
    pub seed: [u8; 32],
    /// `room.auto_create`
    pub auto_create: bool,
    /// `room.empty_timeout`, seconds.
    pub empty_timeout_s: u32,
    /// `room.departure_timeout`, seconds.
    pub departure_timeout_s: u32,
    /// `room.max_participants`; 0 = no limit.
    pub max_participants: u32,
    /// `room.enabled_codecs`, in order of preference.
    pub enabled_codecs: Vec<proto::Codec>,
    pub enable_remote_unmute: bool,
    /// `room.sync_streams`
    pub sync_streams: bool,
    /// `room.playout_delay`
    pub playout_delay: Option<PlayoutDelay>,
    pub enable_full_room_in_webhooks: bool,
    /// `room.update_batch_target_size`, bytes.
    pub update_batch_target_bytes: usize,
    /// `room.room_configurations`
    pub presets: BTreeMap<String, proto::RoomConfiguration>,
    /// `video.dynacast_pause_delay`
    pub dynacast_pause_delay: Duration,
    /// `video.codec_regression_threshold`; 0 = no bound.
    pub codec_regression_threshold: u32,
    /// `audio.active_red_encoding`
    pub active_red_encoding: bool,
    /// `agents.enable_user_data_recording`
    pub record_agents: bool,
    /// `rtc.congestion_control.enabled`
    pub congestion_control: bool,
    /// `rtc.congestion_control.allow_pause`
    pub allow_pause: bool,
    /// `limit.subscription_limit_video`; 0 = no limit.
    pub subscription_limit_video: u32,
    /// `limit.subscription_limit_audio`; 0 = no limit.
    pub subscription_limit_audio: u32,
    /// `limit.max_metadata_size`, bytes; 0 = no limit, as in the other `max_` values.
    pub max_metadata_bytes: usize,
    pub max_attributes_bytes: usize,
    pub max_room_name_bytes: usize,
    pub max_name_bytes: usize,
    pub max_data_blob_key_chars: usize,
    pub max_data_blobs_bytes: usize,
    /// `limit.max_data_track_custom_encoding_length`
    pub max_data_encoding_chars: usize,
    /// `enable_data_tracks`
    pub data_tracks: bool,
    /// `enable_participant_data_blob`
    pub data_blobs: bool,
    /// `rtc.shard_participants`; 0 = a room stays on its shard.
    pub shard_participants: u32,
    /// `cluster.room_node_participants`; 0 = a room stays on its node.
    pub node_participants: u32,
    /// Told to clients in Join- and ReconnectResponse.
    pub ice_servers: Vec<IceServer>,
    /// `rtc.allow_tcp_fallback`: what failed over UDP is tried over TCP and TLS.
    pub allow_tcp_fallback: bool,
}

impl Default for RoomsConfig {
    fn default() -> Self {
        Self {
            node_id: String::new(),
            region: String::new(),
            seed: [0; 32],
            auto_create: true,
            empty_timeout_s: 300,
            departure_timeout_s: 20,
            max_participants: 0,
            enabled_codecs: DEFAULT_CODECS
                .iter()
                .map(|mime| proto::Codec {
                    mime: (*mime).to_owned(),
                    fmtp_line: String::new(),
                })
                .collect(),
            enable_remote_unmute: false,
            sync_streams: false,
            playout_delay: None,
            enable_full_room_in_webhooks: false,
            update_batch_target_bytes: 128 * 1024,
            presets: BTreeMap::new(),
            dynacast_pause_delay: Duration::from_secs(5),
            codec_regression_threshold: 5,
            active_red_encoding: false,
            record_agents: true,
            congestion_control: true,
            allow_pause: false,
            subscription_limit_video: 0,
            subscription_limit_audio: 0,
            max_metadata_bytes: 512 * 1024,
            max_attributes_bytes: 64 * 1024,
            max_room_name_bytes: 256,
            max_name_bytes: 256,
            max_data_blob_key_chars: 256,
            max_data_blobs_bytes: 64_000,
            max_data_encoding_chars: 32,
            data_tracks: true,
            data_blobs: false,
            shard_participants: 0,
            node_participants: 0,
            ice_servers: Vec::new(),
            allow_tcp_fallback: true,
        }
    }
}

/// A participant's media core as the room sees it; `ParticipantMedia` in the program, a scripted
/// one in the room's tests.
pub trait MediaCore {
    fn handle(&mut self, now: Instant, input: MediaInput);
    fn poll(&mut self) -> Option<MediaOutput>;
    fn deadline(&self) -> Option<Instant>;
    /// The current TrackInfo of a published or a pending track.
    fn track(&self, sid: &TrackSid) -> Option<Arc<proto::TrackInfo>>;
    /// Receives at least one track of that publisher.
    fn subscribes_to(&self, publisher: &ParticipantSid) -> bool;
    fn publishers(&self) -> BTreeSet<ParticipantSid>;
    /// Tracks being received, audio and video.
    fn subscribed(&self) -> Kinds;
    /// Tracks others may know of.
    fn published(&self) -> Vec<Published>;
    /// Its transports, and whether each is connected.
    fn transports(&self) -> Vec<(TransportKey, bool)>;
    /// What a standby has to know of it; `None`: it cannot be made again.
    fn image(&self, clock: &WallClock) -> Option<MediaRecord>;
}

impl MediaCore for ParticipantMedia {
    fn handle(&mut self, now: Instant, input: MediaInput) {
        self.handle(now, input);
    }

    fn poll(&mut self) -> Option<MediaOutput> {
        self.poll()
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline()
    }

    fn track(&self, sid: &TrackSid) -> Option<Arc<proto::TrackInfo>> {
        self.track(sid)
    }

    fn subscribes_to(&self, publisher: &ParticipantSid) -> bool {
        self.subscribes_to(publisher)
    }

    fn publishers(&self) -> BTreeSet<ParticipantSid> {
        self.publishers()
    }

    fn subscribed(&self) -> Kinds {
        self.subscribed()
    }

    fn published(&self) -> Vec<Published> {
        self.published()
    }

    fn transports(&self) -> Vec<(TransportKey, bool)> {
        self.transports()
    }

    fn image(&self, clock: &WallClock) -> Option<MediaRecord> {
        Some(self.image(clock))
    }
}

/// Makes a media core, or makes one again from its image.
pub type MediaFactory = Arc<
    dyn Fn(ParticipantSettings, Environment, Option<MediaImage>) -> Box<dyn MediaCore>
        + Send
        + Sync,
>;

/// What connections say about the shard that carries them.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub candidates: Arc<[LocalCandidate]>,
    /// Of the certificate the shard's DTLS uses.
    pub fingerprint: Fingerprint,
    /// First character of every local ICE username fragment: names the shard.
    pub ufrag_prefix: char,
    /// Of its spare certificate, for clients who know the first from a connection that is gone.
    pub spare: Option<Fingerprint>,
}

/// The shards rooms may use: this node's, and in a cluster those of others.
pub trait Shards: Send + Sync {
    fn count(&self) -> usize;
    fn endpoint(&self, shard: usize) -> Endpoint;
    /// Share of its core each shard used lately, in thousandths.
    fn busy_permille(&self) -> Vec<u16>;
    /// Shards of other nodes that may take a participant now.
    fn far(&self) -> Vec<FarShard> {
        Vec::new()
    }
}

/// A shard by its number among those of all nodes, as this one counts them, and its load.
#[derive(Clone, Copy, Debug)]
pub struct FarShard {
    pub index: usize,
    pub busy_permille: u16,
}

/// A node of one shard.
impl Shards for Endpoint {
    fn count(&self) -> usize {
        1
    }

    fn endpoint(&self, _shard: usize) -> Endpoint {
        self.clone()
    }

    fn busy_permille(&self) -> Vec<u16> {
        vec![0]
    }
}

/// Takes commands to a shard. Never blocks.
pub trait ShardSink: Send + Sync {
    fn send(&self, room: &str, shard: usize, command: media::Command);
}

/// Takes webhook events for delivery. Never blocks.
pub trait WebhookSink: Send + Sync {
    fn publish(&self, event: proto::WebhookEvent);
}

/// The agent service. Never blocks.
pub trait JobSink: Send + Sync {
    fn launch(&self, job: JobRequest);
    fn terminate(&self, job_id: &str);
}

/// What the cores need.
pub struct Services {
    pub config: RoomsConfig,
    pub shards: Arc<dyn Shards>,
    pub relay_ids: RelayIds,
    pub media: MediaFactory,
    /// Signs the tokens clients come back with.
    pub keys: Keys,
}

impl Services {
    /// Services whose participants have real media cores.
    pub fn new(config: RoomsConfig, shards: Arc<dyn Shards>, keys: Keys) -> Self {
        let media: MediaFactory = Arc::new(|settings, environment, image| {
            Box::new(match image {
                None => ParticipantMedia::new(settings, environment),
                Some(image) => ParticipantMedia::thaw(settings, environment, image),
            })
        });
        Self {
            config,
            shards,
            relay_ids: RelayIds::default(),
            media,
            keys,
        }
    }
}

/// Says that the node takes no new participant (`limit.num_tracks`, `limit.bytes_per_sec`).
pub type IsFull = Arc<dyn Fn() -> bool + Send + Sync>;

/// A room that this node may open.
#[derive(Debug)]
pub struct Opening {
    pub sid: String,
    /// Fencing token: whatever is newer ends it.
    pub epoch: u64,
    /// What it was at its last home.
    pub image: Option<RoomImage>,
    /// Of its transports, those that are ready to go on here.
    pub warm: WarmTransports,
    /// With the image: how it came from there.
    pub arrival: Option<Arrival>,
}

/// What the cluster has to do with this node's rooms; without a cluster there is none.
pub trait Hosting: Send + Sync {
    /// A room is about to be opened. `None`: it is not this node's to open.
    fn begin(&self, room: &str) -> Option<Opening>;
    /// `begin` would tell what the room was: it lives, though nothing runs here.
    fn remembers(&self, room: &str) -> bool;
    /// The room that was opened under this epoch is over, and its name free as far as this node is
    /// concerned.
    fn ended(&self, room: &str, epoch: u64);
    /// This node takes no new room, or not this one: if it was placed here, its place is given
    /// back at once.
    fn decline(&self, room: &str);
}

/// Takes what changes in one room. Never blocks.
pub trait Follower: Send + Sync {
    /// The first time this is everything.
    fn changed(&self, entries: Vec<JournalEntry>);
    /// What the shards say of transports, in their order.
    fn media(&self, entries: Vec<MediaEntry>);
    /// Nothing follows: the standby goes on with the room.
    fn finished(&self);
    /// The standby has acknowledged nothing for a while: soon the room may send nothing any more.
    fn silent(&self);
    /// Names the appointment of the standby it speaks for: under another one, nothing is known yet.
    fn mandate(&self) -> u64;
}

/// What the shells write to.
#[derive(Clone)]
pub struct Sinks {
    pub shards: Arc<dyn ShardSink>,
    pub webhooks: Arc<dyn WebhookSink>,
    pub jobs: Arc<dyn JobSink>,
}
