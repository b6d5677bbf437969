//! What a packet costs inside a shard, beside what this machine's ciphers and memory allow. Prints
//! a table of CPU nanoseconds per 1200-byte packet; `--json FILE` writes it too. No sockets: the
//! cost of sending is measured end to end by the node's bench.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]
#![allow(dead_code, reason = "the world is shared with the forwarding tests")]

use std::alloc::System;
use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustix::time::{ClockId, clock_gettime};
use skein_media::demux::classify;
use skein_media::ids::{DownTrackKey, TrackKey};
use skein_media::rtp::writer::Head;
use skein_media::shard::{Input, Output};
use skein_media::transport::SRTP_TAIL_BYTES;
use skein_media::types::{MediaKind, Path, Protocol};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[path = "../tests/forwarding/publisher.rs"]
mod publisher;
#[path = "../tests/forwarding/world.rs"]
mod world;

use publisher::packet;
use world::{
    MID, TRANSPORT_CC, World, audio_section, config, send_section, server_address, video_section,
};

const SHARDS: usize = 1;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const VIDEO: TrackKey = TrackKey(1);
const AUDIO: TrackKey = TrackKey(2);
/// Datagrams the worker hands in before it flushes; also the longest run.
const BATCH: usize = 8;
const PLAIN_BYTES: usize = 1_184;
const ROUNDS: usize = 7;

/// CPU time of this thread. Other work on the machine is not in it, unlike in wall time.
fn cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Median over rounds of CPU nanoseconds per item; `work` returns how many items it did.
fn measure(mut work: impl FnMut() -> usize) -> f64 {
    work(); // warms caches and grows buffers
    let round = |_| {
        let start = cpu();
        let items = work();
        (cpu() - start).as_nanos() as f64 / items as f64
    };
    median((0..ROUNDS).map(round).collect())
}

/// A room with one publisher and `subscribers` viewers, all connected by real handshakes.
struct Room {
    world: World,
    publisher: usize,
    sequence: u16,
    timestamp: u32,
    now: Instant,
}

impl Room {
    fn new(subscribers: usize) -> Room {
        let mut world = World::new(1);
        let publisher = world.connect();
        let sections = [video_section(VIDEO, &[]), audio_section(AUDIO)];
        world.command(skein_media::Command::SetReceive {
            transport: world.clients[publisher].key,
            sections: sections.to_vec(),
        });
        for (track, kind) in [(VIDEO, MediaKind::Video), (AUDIO, MediaKind::Audio)] {
            world.command(skein_media::Command::AddTrack {
                track,
                room: world::ROOM,
                transport: world.clients[publisher].key,
                config: config(kind, &[]),
            });
        }
        for _ in 0..subscribers {
            let subscriber = world.connect();
            world.subscribe(subscriber, VIDEO, send_section(MediaKind::Video, 7_000));
            let down_track = DownTrackKey(1_000_000 + subscriber as u64);
            world.command(skein_media::Command::AddDownTrack {
                down_track,
                track: AUDIO,
                transport: world.clients[subscriber].key,
                section: send_section(MediaKind::Audio, 8_000),
                limit: skein_media::types::LayerLimit::HIGHEST,
                paused: false,
            });
        }
        let now = world.now;
        Room {
            world,
            publisher,
            sequence: 1,
            timestamp: 0,
            now,
        }
    }

    fn path(&self) -> Path {
        Path {
            protocol: Protocol::Udp,
            local: server_address(),
            remote: self.world.clients[self.publisher].address,
        }
    }

    /// Sealed packets of one video stream, as they come off the wire; the first is a key frame's.
    fn batches(&mut self, count: usize) -> Vec<Vec<Vec<u8>>> {
        (0..count)
            .map(|_| (0..BATCH).map(|_| self.sealed()).collect())
            .collect()
    }

    fn sealed(&mut self) -> Vec<u8> {
        let head = Head {
            marker: self.sequence.is_multiple_of(BATCH as u16),
            payload_type: 96,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: 4_242,
        };
        let number = self.sequence.to_be_bytes();
        let key = u8::from(self.sequence != 1);
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(375);
        let mut sealed = packet(&head, &[(MID, b"1"), (TRANSPORT_CC, &number)], &[0x10, key]);
        sealed.resize(PLAIN_BYTES, 0x55);
        sealed.resize(PLAIN_BYTES + SRTP_TAIL_BYTES, 0);
        let transport = &mut self.world.clients[self.publisher].transport;
        let len = transport.seal_rtp(&mut sealed, PLAIN_BYTES).unwrap();
        sealed.truncate(len);
        sealed
    }

    /// Runs batches through the shard; returns how many packets came out.
    fn forward(&mut self, batches: &mut [Vec<Vec<u8>>]) -> usize {
        let path = self.path();
        let mut forwarded = 0;
        for batch in batches {
            self.now += Duration::from_millis(33);
            for payload in batch {
                self.world
                    .shard
                    .handle(self.now, Input::Datagram { path, payload });
            }
            self.world.shard.flush(self.now);
            while let Some(output) = self.world.shard.poll() {
                if let Output::Transmit(transmit) = output {
                    forwarded += transmit.payload.len().div_ceil(transmit.segment_size);
                    black_box(transmit.payload);
                }
            }
        }
        forwarded
    }
}

struct Forwarding {
    ns: f64,
    allocations: f64,
    segments_per_run: f64,
}

fn forwarding(subscribers: usize) -> Forwarding {
    let mut room = Room::new(subscribers);
    let count = (40_000 / subscribers / BATCH).max(4);
    let mut batches = room.batches(count);
    room.forward(&mut batches);
    let runs = room.world.shard.counters();
    let mut allocations = Vec::new();
    let round = |_| {
        let mut batches = room.batches(count);
        let region = Region::new(ALLOCATOR);
        let start = cpu();
        let items = room.forward(&mut batches);
        let spent = cpu() - start;
        let change = region.change();
        // Reading the clock allocates too: about ten times a round, next to tens of thousands.
        let made = change.allocations + change.reallocations;
        allocations.push(made.saturating_sub(20) as f64 / items as f64);
        spent.as_nanos() as f64 / items as f64
    };
    let ns = median((0..ROUNDS).map(round).collect());
    let done = room.world.shard.counters();
    let (packets, runs) = (done.rtp_out - runs.rtp_out, done.runs_out - runs.runs_out);
    Forwarding {
        ns,
        allocations: median(allocations),
        segments_per_run: packets as f64 / runs as f64,
    }
}

/// Memory of the shard per audio+video subscriber after a while of media.
fn subscriber_kib() -> f64 {
    let held = |subscribers: usize| {
        let mut room = Room::new(subscribers);
        let mut batches = room.batches(100);
        room.forward(&mut batches);
        let Room { world, .. } = room;
        let World { shard, .. } = world;
        let region = Region::new(ALLOCATOR);
        drop(shard);
        let change = region.change();
        change.bytes_deallocated as f64 - change.bytes_allocated as f64
    };
    (held(208) - held(8)) / 200.0 / 1024.0
}

fn gcm() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).unwrap())
}

/// The least any forwarder does: copy a packet and seal it, under `keys` keys in turn.
fn copy_and_seal(keys: usize) -> f64 {
    let keys: Vec<LessSafeKey> = (0..keys).map(|_| gcm()).collect();
    let source = vec![0x55u8; PLAIN_BYTES];
    let mut arena = vec![0u8; BATCH * 1_300];
    let mut count = 0u64;
    measure(|| {
        let mut items = 0;
        while items < 40_000 {
            for key in &keys {
                for slot in arena.chunks_mut(1_300) {
                    let packet = &mut slot[..PLAIN_BYTES];
                    packet.copy_from_slice(&source);
                    count += 1;
                    let mut nonce = [0; 12];
                    nonce[4..].copy_from_slice(&count.to_be_bytes());
                    let (header, payload) = packet.split_at_mut(20);
                    let nonce = Nonce::assume_unique_for_key(nonce);
                    let aad = Aad::from(&*header);
                    let tag = key.seal_in_place_separate_tag(nonce, aad, payload).unwrap();
                    slot[PLAIN_BYTES..PLAIN_BYTES + 16].copy_from_slice(tag.as_ref());
                }
                items += BATCH;
            }
        }
        black_box(&arena);
        items
    })
}

fn demux() -> f64 {
    let packet = vec![0x90u8; 1_200];
    measure(|| {
        for _ in 0..1_000_000 {
            black_box(classify(black_box(&packet)));
        }
        1_000_000
    })
}

/// `Transport::handle_datagram` of sealed media.
fn unprotect() -> f64 {
    let mut room = Room::new(0);
    let mut world = World::new(2);
    let publisher = world.connect();
    std::mem::swap(&mut room.world, &mut world);
    room.publisher = publisher;
    // The shard opens them; without sections nothing else happens to a packet but parking.
    let mut spent = Vec::new();
    for _ in 0..ROUNDS {
        let mut batches = room.batches(2_000);
        let start = cpu();
        room.forward(&mut batches);
        spent.push((cpu() - start).as_nanos() as f64 / (2_000 * BATCH) as f64);
    }
    median(spent)
}

fn protect() -> f64 {
    let mut room = Room::new(0);
    let publisher = room.publisher;
    let mut buf = vec![0x55u8; PLAIN_BYTES + SRTP_TAIL_BYTES];
    let mut sequence = 0u16;
    measure(|| {
        for _ in 0..20_000 {
            sequence = sequence.wrapping_add(1);
            buf[0] = 0x80;
            buf[2..4].copy_from_slice(&sequence.to_be_bytes());
            buf[8..12].copy_from_slice(&1u32.to_be_bytes());
            let transport = &mut room.world.clients[publisher].transport;
            black_box(transport.seal_rtp(&mut buf, PLAIN_BYTES));
        }
        20_000
    })
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{model}, {cores} cores")
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let json = arguments
        .iter()
        .position(|a| a == "--json")
        .and_then(|at| arguments.get(at + 1));
    if arguments.iter().any(|argument| argument == "--test") {
        return; // `cargo test --benches`
    }
    let few = forwarding(8);
    let many = forwarding(1_000);
    let rows = [
        ("demux_ns", demux(), "classify a datagram"),
        (
            "unprotect_ns",
            unprotect(),
            "take a datagram in: find, open, park",
        ),
        ("protect_ns", protect(), "seal one packet"),
        (
            "forward8_ns",
            few.ns,
            "per forwarded packet, 8 subscribers, all of the above",
        ),
        (
            "forward1000_ns",
            many.ns,
            "per forwarded packet, 1000 subscribers",
        ),
        ("floor8_ns", copy_and_seal(8), "copy + seal only, 8 keys"),
        (
            "floor1000_ns",
            copy_and_seal(1_000),
            "copy + seal only, 1000 keys",
        ),
        (
            "segments_per_run",
            few.segments_per_run,
            "datagrams per send call",
        ),
        (
            "allocations_per_packet",
            few.allocations.max(many.allocations),
            "in steady state",
        ),
        (
            "subscriber_kib",
            subscriber_kib(),
            "memory per audio+video subscriber",
        ),
    ];
    println!("{}", machine());
    for (name, value, what) in &rows {
        println!("{name:<24}{value:>10.1}   {what}");
    }
    if let Some(file) = json {
        let fields: Vec<String> = rows
            .iter()
            .map(|(name, value, _)| format!("  \"{name}\": {value:.3}"))
            .collect();
        let text = format!(
            "{{\n  \"machine\": {:?},\n{}\n}}\n",
            machine(),
            fields.join(",\n")
        );
        std::fs::write(file, text).unwrap();
    }
}
