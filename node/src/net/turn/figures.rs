//! What the TURN thread publishes once a second; nothing per packet touches the metric registry.

use media::turn::Server;
use metrics::{counter, gauge};

use super::streams::Streams;

pub(super) fn publish(server: &Server, streams: &Streams) {
    let counters = server.counters();
    let figures = [
        (
            "skein_turn_allocations_made_total",
            counters.allocations_made,
        ),
        ("skein_turn_unauthorized_total", counters.unauthorized),
        ("skein_turn_refused_quota_total", counters.refused_quota),
        (
            "skein_turn_refused_capacity_total",
            counters.refused_capacity,
        ),
        ("skein_turn_refused_peers_total", counters.refused_peers),
        (
            "skein_turn_packets_to_peers_total",
            counters.packets_to_peers,
        ),
        ("skein_turn_bytes_to_peers_total", counters.bytes_to_peers),
        (
            "skein_turn_packets_to_clients_total",
            counters.packets_to_clients,
        ),
        (
            "skein_turn_bytes_to_clients_total",
            counters.bytes_to_clients,
        ),
        (
            "skein_turn_dropped_malformed_total",
            counters.dropped_malformed,
        ),
        (
            "skein_turn_dropped_unpermitted_total",
            counters.dropped_unpermitted,
        ),
        (
            "skein_turn_dropped_strangers_total",
            counters.dropped_strangers,
        ),
        ("skein_turn_refused_tls_total", streams.refused_tls),
        (
            "skein_turn_dropped_full_total",
            counters.dropped_full + streams.dropped_full,
        ),
    ];
    for (name, value) in figures {
        counter!(name).absolute(value);
    }
    gauge!("skein_turn_allocations").set(server.allocations() as f64);
    gauge!("skein_turn_streams").set(streams.len() as f64);
}
