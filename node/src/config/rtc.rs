//! The `rtc:` section: ports, addresses, candidates, bandwidth. Defaults are those of LiveKit's
//! code (pkg/config/config.go, mediatransportutil/rtcconfig), not of its sample file.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_yaml_ng::Value;

use super::section::section;
use super::values::{NodeIp, PortRange, Secret, go_duration};

section! {
    /// Everything about reaching clients over UDP and TCP.
    Rtc {
        /// One port for all clients, or a range of which each shard takes one.
        udp_port: PortRange = PortRange::default(),
        port_range_start: u16 = 0,
        port_range_end: u16 = 0,
        /// ICE-TCP; 0 = off.
        tcp_port: u16 = 7881,
        use_stun_port_as_ice: bool = false,
        node_ip: NodeIp = NodeIp::default(),
        use_external_ip: bool = false,
        external_ip_only: bool = false,
        advertise_internal_ip: bool = false,
        skip_external_ip_validation: bool = false,
        /// `host:port` of servers that tell us our external address.
        stun_servers: Vec<String> = Vec::new(),
        use_ice_lite: bool = false,
        interfaces: NameFilter = NameFilter::default(),
        ips: NameFilter = NameFilter::default(),
        enable_loopback_candidate: bool = false,
        use_mdns: bool = false,
        batch_io: BatchIo = BatchIo::default(),
        sctp_min_cwnd: u32 = 0,
        sctp_fast_rtx_wnd: u32 = 0,
        sctp_cwnd_ca_step: u32 = 0,
        force_tcp: bool = false,
        turn_servers: Vec<TurnServer> = Vec::new(),
        /// Deprecated upstream: sets both sizes below.
        packet_buffer_size: u32 = 0,
        /// Packets kept for retransmission, per video track.
        packet_buffer_size_video: u32 = 500,
        packet_buffer_size_audio: u32 = 200,
        pli_throttle: PliThrottle = PliThrottle::default(),
        congestion_control: CongestionControl = CongestionControl::default(),
        /// Unset counts as true.
        allow_tcp_fallback: Option<bool> = None,
        /// Milliseconds; 0 = off.
        tcp_fallback_rtt_threshold: u32 = 0,
        allow_udp_unstable_fallback: bool = false,
        reconnect_on_publication_error: Option<bool> = None,
        reconnect_on_subscription_error: Option<bool> = None,
        reconnect_on_data_channel_error: Option<bool> = None,
        data_channel_max_buffered_amount: u64 = 0,
        datachannel_slow_threshold: u64 = 0,
        #[serde(with = "go_duration")]
        datachannel_lossy_target_latency: Duration = Duration::ZERO,
        #[serde(with = "go_duration")]
        datachannel_data_track_target_latency: Duration = Duration::from_millis(100),
        forward_stats: ForwardStats = ForwardStats::default(),
        /// Ours: participants of one room on one shard before newcomers go to another; 0 = a room
        /// stays on its shard, 1 spreads every room over all of them.
        shard_participants: u32 = 150,
        enable_rtp_stream_restart_detection: bool = false,
        enable_warp: bool = false,
        strict_acks: Option<bool> = None,
    }
}

section! {
    /// Names or CIDRs that are looked at, and those that are not. Excludes win.
    NameFilter {
        includes: Vec<String> = Vec::new(),
        excludes: Vec<String> = Vec::new(),
    }
}

section! {
    BatchIo {
        batch_size: u32 = 128,
        #[serde(with = "go_duration")]
        max_flush_interval: Duration = Duration::from_millis(2),
    }
}

section! {
    /// Least time between two key-frame requests of one layer.
    PliThrottle {
        #[serde(with = "go_duration")]
        low_quality: Duration = Duration::from_millis(500),
        #[serde(with = "go_duration")]
        mid_quality: Duration = Duration::from_secs(1),
        #[serde(with = "go_duration")]
        high_quality: Duration = Duration::from_secs(1),
    }
}

section! {
    CongestionControl {
        enabled: bool = true,
        allow_pause: bool = false,
        stream_allocator: StreamAllocator = StreamAllocator::default(),
        remote_bwe: Value = Value::Null,
        use_send_side_bwe_interceptor: bool = false,
        use_send_side_bwe: bool = false,
        send_side_bwe_pacer: String = String::new(),
        send_side_bwe: Value = Value::Null,
        // Names of older releases, still met in files.
        nack_ratio_attenuator: f64 = 0.0,
        expected_usage_threshold: f64 = 0.0,
        probe_mode: String = String::new(),
        min_channel_capacity: i64 = 0,
        use_send_side_bandwidth_estimation: bool = false,
    }
}

section! {
    StreamAllocator {
        /// Bits per second.
        min_channel_capacity: u64 = 0,
        // The spelling is upstream's.
        disable_etimation_unmanaged_tracks: bool = false,
        probe_mode: String = "padding".into(),
        probe_overage_pct: u32 = 120,
        probe_min_bps: u64 = 200_000,
        #[serde(with = "go_duration")]
        paused_min_wait: Duration = Duration::from_secs(5),
    }
}

section! {
    ForwardStats {
        #[serde(with = "go_duration")]
        summary_interval: Duration = Duration::ZERO,
        #[serde(with = "go_duration")]
        report_interval: Duration = Duration::ZERO,
        #[serde(with = "go_duration")]
        report_window: Duration = Duration::ZERO,
    }
}

/// A TURN server of the operator's, handed to clients.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TurnServer {
    pub host: String,
    pub port: u16,
    /// `udp`, `tcp` or `tls`.
    pub protocol: String,
    pub username: String,
    pub credential: Secret,
    /// Shared secret of coturn's REST credentials, instead of username and credential.
    pub secret: Secret,
    pub secret_file: String,
    /// Seconds the generated credentials are valid; 0 = 14400.
    pub ttl: u32,
}
