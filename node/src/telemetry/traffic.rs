//! Turns the per-transport figures of the shards into LiveKit's packet counters. Fed with every
//! event on its way to the rooms; sees at most one a second and transport.

use std::collections::HashMap;
use std::sync::Arc;

use media::event::{TransportState, TransportStats};
use media::{Event, TransportKey};
use metrics::{counter, histogram};

use super::census::Capacity;

/// Last figures of each live transport, to count only what is new.
#[derive(Debug)]
pub struct Traffic {
    capacity: Arc<Capacity>,
    last: HashMap<TransportKey, TransportStats>,
}

impl Traffic {
    pub fn new(capacity: Arc<Capacity>) -> Traffic {
        Traffic {
            capacity,
            last: HashMap::new(),
        }
    }

    pub fn observe(&mut self, event: &Event) {
        match event {
            Event::Stats { transport, stats } => {
                let before = self.last.insert(*transport, *stats).unwrap_or_default();
                count(&before, stats);
                let carried = |stats: &TransportStats| stats.bytes_in + stats.bytes_out;
                let new = carried(stats).saturating_sub(carried(&before));
                self.capacity.carried(new);
            }
            Event::Transport { transport, state } => match state {
                TransportState::Connected => {
                    counter!("livekit_peer_connection_state", "state" => "fully_established")
                        .increment(1);
                }
                TransportState::Closed => drop(self.last.remove(transport)),
                _ => {}
            },
            _ => {}
        }
    }
}

fn count(before: &TransportStats, now: &TransportStats) {
    let new = |of: fn(&TransportStats) -> u64| of(now).saturating_sub(of(before));
    let retransmitted = new(|stats| stats.retransmitted);
    let initial = new(|stats| stats.packets_out).saturating_sub(retransmitted);
    let packets = [
        ("incoming", "initial", new(|stats| stats.packets_in)),
        ("outgoing", "initial", initial),
        ("outgoing", "retransmit", retransmitted),
    ];
    for (direction, transmission, packets) in packets {
        counter!("livekit_packet_total", "direction" => direction, "transmission" => transmission)
            .increment(packets);
    }
    let bytes = [
        ("incoming", new(|stats| stats.bytes_in)),
        ("outgoing", new(|stats| stats.bytes_out)),
    ];
    for (direction, bytes) in bytes {
        counter!("livekit_packet_bytes", "direction" => direction, "transmission" => "initial")
            .increment(bytes);
    }
    counter!("livekit_nack_total", "direction" => "incoming").increment(new(|s| s.nacks_in));
    counter!("livekit_nack_total", "direction" => "outgoing").increment(new(|s| s.nacks_out));
    counter!("livekit_pli_total", "direction" => "incoming").increment(new(|s| s.plis_in));
    counter!("livekit_pli_total", "direction" => "outgoing").increment(new(|s| s.plis_out));
    counter!("livekit_fir_total", "direction" => "incoming").increment(new(|s| s.firs_in));
    counter!("skein_packets_dropped_total").increment(new(|stats| stats.packets_dropped));
    if new(|stats| stats.packets_in) > 0 {
        let jitter = now.jitter_in.as_secs_f64() * 1e6;
        histogram!("livekit_jitter_us", "direction" => "incoming").record(jitter);
        loss("incoming", now.loss_in);
    }
    if initial > 0 {
        loss("outgoing", now.loss_out);
    }
    if let Some(rtt) = now.rtt {
        histogram!("livekit_rtt_ms").record(rtt.as_secs_f64() * 1_000.0);
    }
}

/// `share` is 0.0..=1.0 of the last second.
fn loss(direction: &'static str, share: f32) {
    let percent = f64::from(share) * 100.0;
    histogram!("livekit_packet_loss_percent", "direction" => direction).record(percent);
}
