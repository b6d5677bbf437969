//! What one worker counts by itself, and how it is published once a second. Nothing per packet
//! touches the metric registry.

use std::time::{Duration, Instant};

use media::ShardCounters;
use metrics::{counter, gauge};

use crate::net::tcp::TcpCounters;
use rustix::time::{ClockId, clock_gettime};

use crate::net::udp::UdpCounters;

/// CPU time of the calling thread, to the nanosecond (`/proc/thread-self/schedstat` lags by a
/// tick).
pub fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// How much of its core a thread used between two looks.
#[derive(Clone, Copy, Debug)]
pub struct Busy {
    at: Instant,
    cpu: Duration,
}

impl Busy {
    pub fn new(now: Instant) -> Busy {
        Busy {
            at: now,
            cpu: Duration::ZERO,
        }
    }

    /// In thousandths, since the last look; `cpu` = CPU time of the thread so far.
    pub fn permille(&mut self, now: Instant, cpu: Duration) -> u16 {
        let wall = now.saturating_duration_since(self.at).as_secs_f64();
        let used = cpu.saturating_sub(self.cpu).as_secs_f64();
        *self = Busy { at: now, cpu };
        (used * 1_000.0 / wall.max(f64::EPSILON)).min(1_000.0) as u16
    }
}

#[derive(Debug, Default)]
pub struct Counters {
    worker: String,
    pub commands: u64,
    pub command_budget_hit: u64,
    pub output_budget_hit: u64,
    pub receive_budget_hit: u64,
    pub handed_budget_hit: u64,
    /// Turns that waited for more packets.
    pub gathers: u64,
    pub receive_errors: u64,
    pub handed_dropped: u64,
    /// Blocks of relay frames a busy worker could not take.
    pub relay_blocks_dropped: u64,
    /// Runs for a local address without a socket.
    pub no_socket: u64,
    pub events_lost: u64,
    /// Messages of data channels beyond what one connection may send.
    pub data_refused: u64,
    pub orders_lost: u64,
    pub udp: Vec<UdpCounters>,
    pub tcp: TcpCounters,
    pub tcp_connections: usize,
    pub shard: ShardCounters,
}

impl Counters {
    pub fn new(index: usize) -> Counters {
        Counters {
            worker: index.to_string(),
            ..Counters::default()
        }
    }

    pub fn publish(&self) {
        let sum = |of: fn(&UdpCounters) -> u64| self.udp.iter().map(of).sum::<u64>();
        let figures = [
            ("skein_worker_commands_total", self.commands),
            (
                "skein_worker_command_budget_hit_total",
                self.command_budget_hit,
            ),
            (
                "skein_worker_output_budget_hit_total",
                self.output_budget_hit,
            ),
            (
                "skein_worker_receive_budget_hit_total",
                self.receive_budget_hit,
            ),
            (
                "skein_worker_handed_budget_hit_total",
                self.handed_budget_hit,
            ),
            ("skein_worker_gathers_total", self.gathers),
            ("skein_worker_handed_dropped_total", self.handed_dropped),
            (
                "skein_worker_relay_blocks_dropped_total",
                self.relay_blocks_dropped,
            ),
            ("skein_worker_no_socket_total", self.no_socket),
            ("skein_worker_events_lost_total", self.events_lost),
            ("skein_worker_data_refused_total", self.data_refused),
            ("skein_worker_orders_lost_total", self.orders_lost),
            ("skein_udp_receive_errors_total", self.receive_errors),
            ("skein_udp_datagrams_in_total", sum(|udp| udp.datagrams_in)),
            ("skein_udp_bytes_in_total", sum(|udp| udp.bytes_in)),
            ("skein_udp_sends_total", sum(|udp| udp.sends)),
            (
                "skein_udp_datagrams_out_total",
                sum(|udp| udp.datagrams_out),
            ),
            ("skein_udp_bytes_out_total", sum(|udp| udp.bytes_out)),
            ("skein_udp_dropped_full_total", sum(|udp| udp.dropped_full)),
            (
                "skein_udp_dropped_refused_total",
                sum(|udp| udp.dropped_refused),
            ),
            ("skein_relay_frames_in_total", self.shard.relay_in),
            ("skein_relay_packets_out_total", self.shard.relay_out),
            ("skein_relay_refused_total", self.shard.relay_refused),
            ("skein_relay_dropped_total", self.shard.relay_dropped),
            ("skein_tcp_accepted_total", self.tcp.accepted),
            ("skein_tcp_refused_total", self.tcp.refused),
            ("skein_tcp_bytes_in_total", self.tcp.bytes_in),
            ("skein_tcp_bytes_out_total", self.tcp.bytes_out),
            ("skein_tcp_frames_dropped_total", self.tcp.frames_dropped),
        ];
        for (name, value) in figures.into_iter().chain(self.of_shard()) {
            counter!(name, "worker" => self.worker.clone()).absolute(value);
        }
        gauge!("skein_worker_cpu_seconds", "worker" => self.worker.clone())
            .set(thread_cpu().as_secs_f64());
        gauge!("skein_tcp_connections", "worker" => self.worker.clone())
            .set(self.tcp_connections as f64);
    }

    fn of_shard(&self) -> [(&'static str, u64); 14] {
        let shard = &self.shard;
        [
            ("skein_shard_datagrams_in_total", shard.datagrams_in),
            ("skein_shard_unknown_path_total", shard.unknown_path),
            ("skein_shard_refused_total", shard.refused),
            ("skein_shard_rtp_in_total", shard.rtp_in),
            ("skein_shard_rtp_malformed_total", shard.rtp_malformed),
            ("skein_shard_rtp_unknown_total", shard.rtp_unknown),
            ("skein_shard_rtp_too_large_total", shard.rtp_too_large),
            ("skein_shard_rtp_dropped_total", shard.rtp_dropped),
            ("skein_shard_rtcp_in_total", shard.rtcp_in),
            ("skein_shard_rtp_out_total", shard.rtp_out),
            ("skein_shard_runs_out_total", shard.runs_out),
            ("skein_shard_forward_failed_total", shard.forward_failed),
            ("skein_shard_retransmitted_total", shard.retransmitted),
            ("skein_shard_commands_ignored_total", shard.commands_ignored),
        ]
    }
}
