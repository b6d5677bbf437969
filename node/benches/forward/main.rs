//! CPU per forwarded 1200-byte packet, end to end: a real worker, real sockets, real handshakes, on
//! loopback; beside what the kernel and the cipher alone cost here (the floor). `--json FILE`
//! writes the figures too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod floor;
mod stage;

use std::alloc::System;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use stage::Stage;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes of a packet before it is sealed.
const PACKET_BYTES: usize = 1_200;
/// Packets a publisher sends at once, and so the length of the runs to its subscribers.
const BURST: usize = 8;
const ROUNDS: usize = 5;
/// Rooms of eight at a time: the share of each subscriber is below the pace of an open path.
const SMALL_ROOMS: usize = 4;
/// Forwarded packets per round.
const PACKETS_PER_ROUND: usize = 192_000;

struct Forwarding {
    micros: f64,
    /// Datagrams per system call.
    run: f64,
    allocations: f64,
    subscriber_kib: f64,
    lost: f64,
}

fn main() {
    let floor8 = floor::micros_per_packet(8);
    let floor1000 = floor::micros_per_packet(1_000);
    let small = forwarding(SMALL_ROOMS, 8);
    let large = forwarding(1, 1_000);
    let machine = machine();
    println!("{machine}; CPU µs per forwarded packet of {PACKET_BYTES} B, median of {ROUNDS}");
    println!(
        "{:<24} {:>8} {:>8} {:>7} {:>9} {:>7}",
        "", "µs", "× floor", "run", "allocs", "lost"
    );
    println!(
        "{:<24} {floor8:>8.3} {:>8.2} {BURST:>7}",
        "floor, fan-out 8", 1.0
    );
    row("forward, fan-out 8", &small, floor8);
    println!(
        "{:<24} {floor1000:>8.3} {:>8.2} {BURST:>7}",
        "floor, fan-out 1000", 1.0
    );
    row("forward, fan-out 1000", &large, floor1000);
    println!(
        "memory per audio+video subscriber: {:.1} KiB",
        large.subscriber_kib
    );

    let mut arguments = std::env::args().skip_while(|argument| argument != "--json");
    if let Some(path) = arguments.nth(1) {
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let figures = serde_json::json!({
            "floor_us": floor8,
            "floor1000_us": floor1000,
            "forward8_us": small.micros,
            "forward1000_us": large.micros,
            "allocations_per_packet": small.allocations.max(large.allocations),
            "subscriber_kib": large.subscriber_kib,
            "run_datagrams": small.run,
            "machine": machine,
            "date": date(seconds),
        });
        std::fs::write(path, serde_json::to_string_pretty(&figures).unwrap()).unwrap();
    }
}

fn row(name: &str, figures: &Forwarding, floor: f64) {
    let Forwarding {
        micros,
        run,
        allocations,
        lost,
        ..
    } = figures;
    println!(
        "{name:<24} {micros:>8.3} {:>8.2} {run:>7.1} {allocations:>9.4} {:>6.2}%",
        micros / floor,
        lost * 100.0
    );
}

fn forwarding(rooms: usize, subscribers: usize) -> Forwarding {
    let mut stage = Stage::new(rooms);
    let before = Region::new(ALLOCATOR);
    stage.admit(subscribers);
    let bursts = floor::bursts_per_round(subscribers);
    let expected = (bursts * BURST * subscribers) as u64;
    stage.load(bursts * (ROUNDS + 1));
    stage.run(bursts); // warms caches, grows buffers
    let mut micros = Vec::new();
    let (mut packets, mut sends, mut lost, mut allocations) = (0, 0, 0, 0);
    for _ in 0..ROUNDS {
        let region = Region::new(ALLOCATOR);
        let start = stage.measure();
        stage.run(bursts);
        let end = stage.measure();
        allocations += region.change().allocations;
        let forwarded = end.udp.datagrams_out - start.udp.datagrams_out;
        packets += forwarded;
        sends += end.udp.sends - start.udp.sends;
        lost += expected.saturating_sub(forwarded);
        micros.push((end.cpu - start.cpu).as_nanos() as f64 / 1_000.0 / forwarded as f64);
    }
    stage.dismiss_clients();
    let held = before.change();
    let bytes = held.bytes_allocated as f64 - held.bytes_deallocated as f64;
    micros.sort_by(f64::total_cmp);
    Forwarding {
        micros: micros[ROUNDS / 2],
        run: packets as f64 / sends as f64,
        allocations: allocations as f64 / packets as f64,
        subscriber_kib: bytes / (rooms * subscribers) as f64 / 1024.0,
        lost: lost as f64 / (packets + lost) as f64,
    }
}

/// CPU time of the calling thread.
fn cpu() -> Duration {
    skein_node::worker::counters::thread_cpu()
}

fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model
        .unwrap_or_default()
        .trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {cores} cores")
}

/// Days of the proleptic Gregorian calendar (Howard Hinnant's algorithm).
fn date(unix_seconds: u64) -> String {
    let days = (unix_seconds / 86_400) as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}
