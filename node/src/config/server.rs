//! The sections about the server itself: TURN, webhooks, logging, selection of nodes, and those
//! that upstream has for its Redis and message bus, which are accepted and mean nothing here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_yaml_ng::Value;

use super::section::section;
use super::values::{Secret, go_duration};

section! {
    Prometheus {
        /// 0 = off.
        port: u16 = 0,
        username: String = String::new(),
        password: Secret = Secret::default(),
    }
}

section! {
    DebugHandler {
        port: u16 = 0,
    }
}

section! {
    Logging {
        /// debug, info, warn, error; empty = info (debug in development).
        level: String = String::new(),
        json: bool = false,
        sample: bool = false,
        pion_level: String = "error".into(),
        component_levels: BTreeMap<String, String> = BTreeMap::new(),
        item_sample_seconds: u32 = 0,
        item_sample_initial: u32 = 0,
        item_sample_interval: u32 = 0,
    }
}

section! {
    /// Upstream's shared state. Skein replicates its own.
    Redis {
        address: String = String::new(),
        username: String = String::new(),
        password: Secret = Secret::default(),
        db: u32 = 0,
        use_tls: bool = false,
        tls: Value = Value::Null,
        sentinel_master_name: String = String::new(),
        sentinel_username: String = String::new(),
        sentinel_password: Secret = Secret::default(),
        sentinel_addresses: Vec<String> = Vec::new(),
        cluster_addresses: Vec<String> = Vec::new(),
        max_redirects: Option<i64> = None,
        dial_timeout: u32 = 0,
        read_timeout: u32 = 0,
        write_timeout: u32 = 0,
        pool_timeout: u32 = 0,
        pool_size: u32 = 0,
    }
}

section! {
    /// The embedded TURN server.
    Turn {
        enabled: bool = false,
        domain: String = String::new(),
        cert_file: String = String::new(),
        key_file: String = String::new(),
        tls_port: u16 = 0,
        udp_port: u16 = 0,
        relay_range_start: u16 = 0,
        relay_range_end: u16 = 0,
        external_tls: bool = false,
        bind_addresses: Vec<String> = vec!["0.0.0.0".into()],
        per_user_relay_allocation_limit: u32 = 12,
        ttl_seconds: u32 = 300,
        allow_restricted_peer_cidrs: Vec<String> = Vec::new(),
        deny_peer_cidrs: Vec<String> = Vec::new(),
    }
}

section! {
    Ingress {
        rtmp_base_url: String = String::new(),
        whip_base_url: String = String::new(),
    }
}

section! {
    Webhook {
        urls: Vec<String> = Vec::new(),
        /// Its secret signs the requests.
        api_key: String = String::new(),
        url_notifier: UrlNotifier = UrlNotifier::default(),
        resource_url_notifier: ResourceUrlNotifier = ResourceUrlNotifier::default(),
        filter_params: WebhookFilter = WebhookFilter::default(),
    }
}

section! {
    UrlNotifier {
        num_workers: u32 = 10,
        queue_size: u32 = 100,
    }
}

section! {
    ResourceUrlNotifier {
        #[serde(with = "go_duration")]
        max_age: Duration = Duration::from_secs(30),
        max_depth: u32 = 200,
    }
}

section! {
    WebhookFilter {
        include_events: Vec<String> = Vec::new(),
        exclude_events: Vec<String> = Vec::new(),
    }
}

section! {
    NodeSelector {
        /// any, cpuload, sysload, regionaware. OpenVidu's default; LiveKit's is any.
        kind: String = "cpuload".into(),
        /// random, sysload, cpuload, rooms, clients, tracks, bytespersec. OpenVidu's default;
        /// LiveKit's is random.
        sort_by: String = "cpuload".into(),
        /// lowest, twochoice.
        algorithm: String = "lowest".into(),
        sysload_limit: f64 = 0.9,
        cpu_load_limit: f64 = 0.9,
        regions: Vec<Region> = Vec::new(),
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Region {
    pub name: String,
    /// Degrees.
    pub lat: f64,
    pub lon: f64,
}

section! {
    SignalRelay {
        enabled: bool = true,
        #[serde(with = "go_duration")]
        retry_timeout: Duration = Duration::from_millis(7500),
        #[serde(with = "go_duration")]
        min_retry_interval: Duration = Duration::from_millis(500),
        #[serde(with = "go_duration")]
        max_retry_interval: Duration = Duration::from_secs(4),
        stream_buffer_size: u32 = 1000,
        connect_attempts: u32 = 3,
    }
}

section! {
    Psrpc {
        max_attempts: u32 = 3,
        #[serde(with = "go_duration")]
        timeout: Duration = Duration::from_secs(3),
        #[serde(with = "go_duration")]
        backoff: Duration = Duration::from_secs(2),
        buffer_size: u32 = 1000,
    }
}

section! {
    Agents {
        enable_user_data_recording: bool = true,
        enable_user_data_redaction: bool = false,
        /// Workers above this load get no job while others are below.
        target_load: f32 = 0.7,
    }
}

section! {
    Trace {
        jaeger_url: String = String::new(),
    }
}

section! {
    NodeStats {
        #[serde(with = "go_duration")]
        stats_update_interval: Duration = Duration::from_secs(2),
        stats_rate_measurement_intervals: Value = Value::Null,
        /// Health answers 406 when the figures are older than twice the update interval; rooms are
        /// no longer placed on a node whose figures are older than this.
        #[serde(with = "go_duration")]
        stats_max_delay: Duration = Duration::from_secs(30),
    }
}

section! {
    Api {
        #[serde(with = "go_duration")]
        execution_timeout: Duration = Duration::from_secs(2),
        #[serde(with = "go_duration")]
        check_interval: Duration = Duration::from_millis(100),
        #[serde(with = "go_duration")]
        max_check_interval: Duration = Duration::from_secs(300),
        enable_psrpc_for_get_list_participants: bool = false,
    }
}

section! {
    /// Ours: where the node keeps what must outlive it.
    Storage {
        /// Empty = `$STATE_DIRECTORY` (systemd), else a folder of the user.
        directory: String = String::new(),
    }
}

impl Storage {
    /// What the operator chose.
    pub fn directory(&self) -> Option<PathBuf> {
        if !self.directory.is_empty() {
            return Some(PathBuf::from(&self.directory));
        }
        std::env::var_os("STATE_DIRECTORY")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
    }

    /// Where a server on that port keeps things when nobody chose (XDG base directories).
    pub fn default_directory(port: u16) -> Option<PathBuf> {
        let variable = |name| std::env::var_os(name).filter(|path| !path.is_empty());
        let state = variable("XDG_STATE_HOME").map(PathBuf::from);
        let home = || variable("HOME").map(|home| PathBuf::from(home).join(".local/state"));
        Some(state.or_else(home)?.join("skein").join(port.to_string()))
    }
}
