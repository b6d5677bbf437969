//! The configuration: one YAML file whose top level is LiveKit's own, plus flags and environment.
//! `load` gives a checked value; nothing else of the program reads files, flags or variables.

pub mod cluster;
pub mod inert;
pub mod load;
pub mod media;
pub mod room;
pub mod rtc;
pub(crate) mod schema;
pub(crate) mod section;
pub mod server;
pub mod values;

#[cfg(test)]
mod tests;

use serde_yaml_ng::Value;

pub use load::{Overrides, load, read};
pub use values::{Keys, NodeIp, PortRange, Secret};

use section::section;

section! {
    Config {
        port: u16 = 7880,
        /// Empty = all addresses.
        bind_addresses: Vec<String> = Vec::new(),
        /// Deprecated upstream for `prometheus.port`.
        prometheus_port: u16 = 0,
        prometheus: server::Prometheus = server::Prometheus::default(),
        debug_handler: server::DebugHandler = server::DebugHandler::default(),
        redis: server::Redis = server::Redis::default(),
        region: String = String::new(),
        development: bool = false,
        logging: server::Logging = server::Logging::default(),
        /// Deprecated upstream for `logging.level`.
        log_level: String = String::new(),
        rtc: rtc::Rtc = rtc::Rtc::default(),
        audio: media::Audio = media::Audio::default(),
        video: media::Video = media::Video::default(),
        room: room::Room = room::Room::default(),
        turn: server::Turn = server::Turn::default(),
        ingress: server::Ingress = server::Ingress::default(),
        sip: Value = Value::Null,
        webhook: server::Webhook = server::Webhook::default(),
        node_selector: server::NodeSelector = server::NodeSelector::default(),
        key_file: String = String::new(),
        keys: Keys = Keys::new(),
        signal_relay: server::SignalRelay = server::SignalRelay::default(),
        psrpc: server::Psrpc = server::Psrpc::default(),
        limit: room::Limit = room::Limit::default(),
        agents: server::Agents = server::Agents::default(),
        metric: Value = Value::Null,
        trace: server::Trace = server::Trace::default(),
        node_stats: server::NodeStats = server::NodeStats::default(),
        api: server::Api = server::Api::default(),
        /// Participants may publish data tracks.
        enable_data_tracks: bool = true,
        enable_participant_data_blob: bool = false,
        storage: server::Storage = server::Storage::default(),
        cluster: cluster::Cluster = cluster::Cluster::default(),
        /// Keys that were given and change nothing.
        #[serde(skip)]
        inert: Vec<inert::Inert> = Vec::new(),
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("unknown configuration key `{key}`; did you mean `{nearest}`?")]
    UnknownKey { key: String, nearest: String },
    #[error("the keys below `{0}` must be text")]
    KeyNotText(String),
    #[error("reading {path}: {source}")]
    Read {
        path: String,
        source: std::io::Error,
    },
    #[error("{key}: {source}")]
    Value {
        key: String,
        source: serde_yaml_ng::Error,
    },
    #[error("configuration: {0}")]
    Yaml(#[from] serde_yaml_ng::Error),
    #[error("key file {path} must not be readable by others (chmod 600)")]
    KeyFileMode { path: String },
    #[error("`{0}` is not of the form `key: secret`")]
    KeysFormat(String),
    #[error("one of `keys` and `key_file` must be given (or `--dev` for development)")]
    NoKeys,
    #[error("webhook.api_key `{0}` is not one of `keys`")]
    WebhookKey(String),
    #[error("prometheus.username and prometheus.password must be given together")]
    PrometheusAuth,
    #[error("rtc.turn_servers: {0} has no usable credentials")]
    TurnCredentials(String),
    #[error("{key}: {problem}")]
    Invalid { key: &'static str, problem: String },
}
