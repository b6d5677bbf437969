//! Keys that a LiveKit file may have and nothing here obeys, each with the reason. An operator who
//! sets one to something else than its default is told so once, at the start.

use serde_yaml_ng::Value;

use super::schema;

/// Path of a key or of a section, and why it changes nothing. A key that begins to be obeyed leaves
/// this table (a test holds the two sides together).
const INERT: &[(&str, &str)] = &[
    (
        "api",
        "calls of the server API are answered in this process",
    ),
    ("ingress", "ingress is not available yet"),
    ("logging.item_sample_initial", SAMPLING),
    ("logging.item_sample_interval", SAMPLING),
    ("logging.item_sample_seconds", SAMPLING),
    ("logging.sample", SAMPLING),
    (
        "metric",
        "metrics of participants are forwarded as they come",
    ),
    ("node_stats.stats_max_delay", ONE_NODE),
    (
        "node_stats.stats_rate_measurement_intervals",
        "rates are measured over the update interval",
    ),
    ("psrpc", ONE_NODE),
    ("redis", "Skein needs no Redis and does not connect to it"),
    ("room.create_room_attempts", ONE_NODE),
    ("room.create_room_timeout", ONE_NODE),
    ("signal_relay", ONE_NODE),
    ("sip", "SIP is not available"),
    ("trace", "traces are not exported"),
    ("webhook.resource_url_notifier", OUTBOX),
    ("webhook.url_notifier.queue_size", OUTBOX),
    (
        "agents.enable_user_data_redaction",
        "nothing is recorded here",
    ),
    (
        "audio.enable_loss_proxying",
        "publishers hear of their own loss only",
    ),
    (
        "video.stream_tracker_manager",
        "layers are judged by their packets",
    ),
    ("rtc.allow_udp_unstable_fallback", FALLBACK),
    ("rtc.tcp_fallback_rtt_threshold", FALLBACK),
    (
        "rtc.batch_io",
        "batches are as large as the kernel hands them over",
    ),
    (
        "rtc.congestion_control.expected_usage_threshold",
        CONGESTION,
    ),
    ("rtc.congestion_control.min_channel_capacity", CONGESTION),
    ("rtc.congestion_control.nack_ratio_attenuator", CONGESTION),
    ("rtc.congestion_control.probe_mode", CONGESTION),
    ("rtc.congestion_control.remote_bwe", CONGESTION),
    ("rtc.congestion_control.send_side_bwe", CONGESTION),
    ("rtc.congestion_control.send_side_bwe_pacer", CONGESTION),
    ("rtc.congestion_control.stream_allocator", CONGESTION),
    (
        "rtc.congestion_control.use_send_side_bandwidth_estimation",
        CONGESTION,
    ),
    ("rtc.congestion_control.use_send_side_bwe", CONGESTION),
    (
        "rtc.congestion_control.use_send_side_bwe_interceptor",
        CONGESTION,
    ),
    ("rtc.data_channel_max_buffered_amount", CHANNELS),
    ("rtc.datachannel_data_track_target_latency", CHANNELS),
    ("rtc.datachannel_lossy_target_latency", CHANNELS),
    ("rtc.datachannel_slow_threshold", CHANNELS),
    (
        "rtc.enable_rtp_stream_restart_detection",
        "restarts are always detected",
    ),
    ("rtc.enable_warp", "not implemented"),
    (
        "rtc.forward_stats",
        "the forward path is measured by benchmarks",
    ),
    ("rtc.reconnect_on_data_channel_error", RECONNECT),
    ("rtc.reconnect_on_publication_error", RECONNECT),
    ("rtc.reconnect_on_subscription_error", RECONNECT),
    ("rtc.sctp_cwnd_ca_step", CHANNELS),
    ("rtc.sctp_fast_rtx_wnd", CHANNELS),
    ("rtc.sctp_min_cwnd", CHANNELS),
    (
        "rtc.skip_external_ip_validation",
        "an external address is taken as it is told",
    ),
    ("rtc.strict_acks", "deprecated"),
    ("rtc.use_ice_lite", "ICE is always full"),
    (
        "rtc.use_mdns",
        "addresses are never hidden behind mDNS names",
    ),
    (
        "rtc.use_stun_port_as_ice",
        "the ports of rtc.udp_port are used",
    ),
];

const SAMPLING: &str = "logs are not sampled";
const ONE_NODE: &str = "there is one node and no message bus";
const OUTBOX: &str = "webhooks wait in an outbox on disk, with bounds of its own";
const FALLBACK: &str = "a connection that fails falls back, a slow one does not";
const CONGESTION: &str = "the bandwidth estimator has no such setting";
const CHANNELS: &str = "data channels have fixed bounds";
const RECONNECT: &str = "an error of one track does not end a session";

/// A key the operator set in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inert {
    pub key: String,
    pub reason: &'static str,
}

/// What `given` sets to something else than `defaults` without effect: a section once.
pub(super) fn find(given: &Value, defaults: &Value) -> Vec<Inert> {
    let mut found: Vec<Inert> = Vec::new();
    for (path, value) in schema::leaves(given) {
        let entry = INERT.iter().find(|(inert, _)| is_below(&path, inert));
        let Some((inert, reason)) = entry else {
            continue;
        };
        if schema::get(defaults, &path) == Some(&value) || found.iter().any(|f| f.key == *inert) {
            continue;
        }
        found.push(Inert {
            key: (*inert).to_owned(),
            reason,
        });
    }
    found
}

fn is_below(path: &str, section: &str) -> bool {
    let rest = path.strip_prefix(section);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;
    use crate::config::load::known_scalars;

    fn sources(folder: &Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "config" {
                    sources(&path, text);
                }
            } else if name != "config.rs" {
                text.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }

    /// How: a key is obeyed if the program reads a field of its name outside of `config`, or if
    /// `config::load` turns it into another one. Crude, but a key nobody reads cannot hide.
    #[test]
    fn every_key_is_either_obeyed_or_declared_inert() {
        let mut text = include_str!("load.rs").to_owned();
        sources(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut text,
        );
        let read = |path: &str| {
            let field = format!(".{}", path.rsplit('.').next().unwrap());
            text.match_indices(&field).any(|(at, _)| {
                let next = text[at + field.len()..].chars().next();
                !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
            })
        };
        let declared = |path: &str| INERT.iter().any(|(inert, _)| is_below(path, inert));
        let ignored: Vec<String> = known_scalars()
            .into_iter()
            .map(|key| key.path)
            .filter(|path| !declared(path) && !read(path))
            .collect();
        assert_eq!(
            ignored,
            Vec::<String>::new(),
            "read by nobody, declared nowhere"
        );
    }

    #[test]
    fn every_declared_key_exists() {
        let defaults = serde_yaml_ng::to_value(crate::config::Config::default()).unwrap();
        for (path, _) in INERT {
            assert!(schema::get(&defaults, path).is_some(), "{path}");
        }
    }
}
