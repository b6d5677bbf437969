//! A standby follows a live transport and goes on in its place: what it takes, and that no number
//! is ever used twice, whoever wakes up late and whatever gets lost between the two.

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::network::{CLIENT, Host, Network, Number, SERVER, address, numbers, rtp_packet};
use crate::event::TransportState;
use crate::transport::delta::Reader;
use crate::transport::{
    SRTCP_TAIL_BYTES, SRTP_TAIL_BYTES, SendOutcome, SnapshotError, Standby, TransportEvent,
    TransportOptions,
};
use crate::types::{Protocol, Reliability, RemoteCandidate};

const AUDIO: u32 = 0xA0D10;
const VIDEO: u32 = 0x51DE0;

fn connected(seed: u64) -> Network {
    let mut network = Network::new(seed);
    let now = network.now;
    let server = &mut network.hosts[SERVER].transport;
    server.open_channel(now, "_reliable", Reliability::Reliable);
    server.open_channel(now, "_lossy", Reliability::Lossy);
    network.connect();
    network.run_until(Duration::from_secs(20), |n| {
        ["_reliable", "_lossy"]
            .iter()
            .all(|label| n.hosts[SERVER].is_open(label) && n.hosts[CLIENT].is_open(label))
    });
    network
}

fn made_at(home: SocketAddr) -> (TransportOptions, [u8; 32]) {
    let options = TransportOptions {
        local_addresses: [(Protocol::Udp, home)].into_iter().collect(),
        ..TransportOptions::default()
    };
    (options, [9; 32])
}

/// Lets a new host follow `primary`, and tells the client its candidate.
fn add_standby(network: &mut Network, primary: usize, version: u32) -> usize {
    let now = network.now;
    let image = network.hosts[primary].transport.follow(now, version);
    let at = network.hosts.len();
    let home = address(&format!("10.0.0.{}:7882", 7 + at));
    let standby = Standby::new(now, &image.unwrap(), made_at(home)).unwrap();
    network.hosts.push(Host::standby(now, standby, home));
    let candidate = RemoteCandidate {
        protocol: Protocol::Udp,
        address: home,
        priority: 2_130_706_431 + at as u32,
    };
    let client = &mut network.hosts[CLIENT].transport;
    client.add_remote_candidate(now, candidate);
    at
}

fn stream(network: &mut Network, server: usize, packets: u16) {
    for _ in 0..packets {
        for ssrc in [AUDIO, VIDEO] {
            let next = network.hosts[server].transport.next_sequence(ssrc, 100);
            network.send_rtp(server, ssrc, next);
        }
        network.run(Duration::from_millis(10));
    }
}

#[test]
fn a_dormant_transport_keeps_its_pair_warm_and_sends_nothing_else() {
    let mut network = connected(60);
    stream(&mut network, SERVER, 20);
    let second = add_standby(&mut network, SERVER, 1);
    network.run(Duration::from_secs(60));
    let host = &network.hosts[second];
    let now = network.now;
    assert!(host.standby.as_ref().unwrap().warm_path(now).is_some());
    let stun = |bytes: &Bytes| bytes[0] < 2;
    assert!(host.sent.iter().all(|(_, bytes)| stun(bytes)));
    let checks = host.sent.iter().filter(|(_, bytes)| bytes[0] == 0).count();
    assert!((50..=90).contains(&checks), "{checks} checks a minute");
    let selected = network.hosts[CLIENT].transport.selected_path().unwrap();
    assert_eq!(selected.remote, network.hosts[SERVER].addresses[0]);
}

#[test]
fn the_client_follows_the_standby_and_sees_nothing() {
    for (seed, loss) in [(61, 0), (62, 5), (63, 20)] {
        println!("seed {seed}, loss {loss} %");
        let mut network = connected(seed);
        stream(&mut network, SERVER, 50);
        let second = add_standby(&mut network, SERVER, 1);
        network.run(Duration::from_secs(5));
        network.hosts[CLIENT].events.clear();
        network.loss_percent = loss;
        network.hosts[SERVER].alive = false;
        let (now, home) = (network.now, network.hosts[second].addresses[0]);
        network.hosts[second].take_over(now);
        assert!(network.hosts[second].transport.awaits_channels());
        let follows =
            |n: &Network| n.hosts[CLIENT].transport.selected_path().map(|p| p.remote) == Some(home);
        network.run_until(Duration::from_secs(2), follows);
        let took = network.now - now;
        assert!(loss > 0 || took <= Duration::from_millis(40), "{took:?}");
        network.loss_percent = 0;
        let before = network.hosts[CLIENT].rtp.len();
        stream(&mut network, second, 20);
        network.run(Duration::from_secs(1));
        assert_eq!(network.hosts[CLIENT].rtp.len() - before, 40);
        channels_go_on(&mut network, second);
        assert!(!network.hosts[second].transport.awaits_channels());
        assert!(!network.hosts[CLIENT].was(TransportState::Disconnected));
    }
}

fn channels_go_on(network: &mut Network, server: usize) {
    network.run(Duration::from_secs(3));
    for label in ["_reliable", "_lossy"] {
        for (from, to) in [(server, CLIENT), (CLIENT, server)] {
            let (now, text) = (network.now, Bytes::from(format!("after {label} to {to}")));
            let transport = &mut network.hosts[from].transport;
            let outcome = transport.send_data(now, label, &text, false);
            assert_eq!(outcome, SendOutcome::Queued, "{label}");
            network.run(Duration::from_secs(1));
            assert_eq!(network.hosts[to].messages(label), [text], "{label}");
        }
    }
    let shut = |event: &TransportEvent| matches!(event, TransportEvent::ChannelClosed { .. });
    assert!(!network.hosts[CLIENT].events.iter().any(shut));
}

#[test]
fn a_client_that_is_told_nothing_is_checked_where_it_is_and_follows() {
    let mut network = connected(66);
    let home = address("10.0.0.9:7882");
    let now = network.now;
    let primary = &mut network.hosts[SERVER].transport;
    primary.sought = true;
    let image = primary.follow(now, 1).unwrap();
    let standby = Standby::new(now, &image, made_at(home)).unwrap();
    network.hosts.push(Host::standby(now, standby, home));
    let second = network.hosts.len() - 1;
    assert_eq!(
        network.hosts[second].sent.len(),
        0,
        "the client still chooses"
    );
    network.run(Duration::from_secs(5));
    assert_eq!(network.hosts[second].sent.len(), 0);
    let now = network.now;
    let primary = &mut network.hosts[SERVER].transport;
    assert!(primary.outgrew_image());
    let image = primary.follow(now, 2).unwrap();
    let standby = network.hosts[second].standby.as_mut().unwrap();
    standby.replace(now, &image, made_at(home)).unwrap();
    network.run(Duration::from_secs(5));
    let (now, host) = (network.now, &mut network.hosts[second]);
    assert!(host.standby.as_ref().unwrap().warm_path(now).is_some());
    // Out of reach for a while, it is looked for with the next image.
    network.dead.push(home);
    network.run(Duration::from_secs(60));
    network.dead.clear();
    network.run(Duration::from_secs(60));
    let now = network.now;
    let standby = network.hosts[second].standby.as_ref().unwrap();
    assert_eq!(standby.warm_path(now), None);
    let primary = &mut network.hosts[SERVER].transport;
    let image = primary.follow(now, 3).unwrap();
    let standby = network.hosts[second].standby.as_mut().unwrap();
    standby.replace(now, &image, made_at(home)).unwrap();
    network.run(Duration::from_secs(5));
    let now = network.now;
    let standby = network.hosts[second].standby.as_ref().unwrap();
    assert!(standby.warm_path(now).is_some());
    network.hosts[SERVER].alive = false;
    network.hosts[second].take_over(now);
    let follows =
        |n: &Network| n.hosts[CLIENT].transport.selected_path().map(|p| p.remote) == Some(home);
    network.run_until(Duration::from_secs(2), follows);
}

#[test]
fn a_client_that_keeps_control_loses_nothing() {
    let mut network = connected(67);
    network.keeps_control = true;
    let now = network.now;
    let primary = &mut network.hosts[SERVER].transport;
    primary.follow(now, 1).unwrap();
    primary.acknowledged(1);
    network.run(Duration::from_secs(60));
    let now = network.now;
    let primary = &mut network.hosts[SERVER].transport;
    assert!(!primary.controls());
    primary.follow(now, 2).unwrap();
    primary.acknowledged(2);
    network.run(Duration::from_secs(60));
    assert!(network.hosts[SERVER].transport.selected_path().is_some());
    let before = network.hosts[CLIENT].rtp.len();
    stream(&mut network, SERVER, 20);
    network.run(Duration::from_secs(1));
    assert_eq!(network.hosts[CLIENT].rtp.len() - before, 40);
    assert!(!network.hosts[SERVER].was(TransportState::Disconnected));
}

#[test]
fn a_standby_without_a_pair_comes_alive_without_a_path() {
    let mut network = connected(64);
    let second = add_standby(&mut network, SERVER, 1);
    network.dead.push(network.hosts[second].addresses[0]);
    network.run(Duration::from_secs(3));
    let now = network.now;
    let standby = network.hosts[second].standby.as_ref().unwrap();
    assert_eq!(standby.warm_path(now), None);
    network.hosts[second].take_over(now);
    assert_eq!(network.hosts[second].transport.selected_path(), None);
}

#[test]
fn images_of_another_version_and_deltas_that_are_damaged_are_refused() {
    let mut network = connected(65);
    let now = network.now;
    let image = network.hosts[SERVER].transport.follow(now, 1).unwrap();
    let mut older = image.clone();
    older[6] = 1;
    let refused = Standby::new(now, &older, Default::default()).map(|_| ());
    assert!(matches!(refused, Err(SnapshotError::Version(1))));
    let mut standby = Standby::new(now, &image, Default::default()).unwrap();
    assert!(standby.update(&mut Reader(&[1, 2, 3])).is_err());
}

/// A primary, the host that follows it, and what is under way between them.
struct Pair {
    primary: usize,
    standby: usize,
    version: u32,
    /// Versions the standby has in turn; a lost one ends that until the next image.
    applied: u32,
    deltas: VecDeque<(u32, bool, Vec<u8>)>,
    acks: VecDeque<u32>,
}

struct Schedule {
    network: Network,
    rng: ChaCha12Rng,
    used: HashSet<Number>,
    sealed: usize,
    refused: usize,
}

impl Schedule {
    fn chance(&mut self, percent: u32) -> bool {
        self.rng.next_u32() % 100 < percent
    }

    /// Seals as a transport that believes it is alive would.
    fn seal(&mut self, host: usize) {
        let ssrc = 1 + self.rng.next_u32() % 5;
        let burst = 1 + self.rng.next_u32() % 120;
        for _ in 0..burst {
            let transport = &mut self.network.hosts[host].transport;
            let sequence = transport.next_sequence(ssrc, 3_000);
            let mut buf = rtp_packet(ssrc, sequence);
            let len = buf.len();
            buf.resize(len + SRTP_TAIL_BYTES, 0);
            let sealed = transport.seal_rtp(&mut buf, len);
            self.note(sealed.map(|_| Number::Srtp(ssrc, sequence)));
        }
        for _ in 0..self.rng.next_u32() % 40 {
            let mut buf = vec![0x80, 201, 0, 1, 0, 0, 0, 7];
            buf.resize(8 + SRTCP_TAIL_BYTES, 0);
            let sealed = self.network.hosts[host].transport.seal_rtcp(&mut buf, 8);
            let index = sealed.map(|len| numbers(&buf[..len])[0]);
            self.note(index);
        }
        let now = self.network.now;
        for _ in 0..self.rng.next_u32() % 20 {
            let transport = &mut self.network.hosts[host].transport;
            transport.send_data(now, "_lossy", &Bytes::from_static(b"x"), true);
        }
        self.network.drain();
    }

    /// Goes on until every lease is used up, as somebody who woke up late might.
    fn exhaust(&mut self, host: usize) {
        for ssrc in 1..=6 {
            let mut sealed = Some(0);
            while sealed.is_some() {
                let transport = &mut self.network.hosts[host].transport;
                let sequence = transport.next_sequence(ssrc, 4_000);
                let mut buf = rtp_packet(ssrc, sequence);
                let len = buf.len();
                buf.resize(len + SRTP_TAIL_BYTES, 0);
                sealed = transport.seal_rtp(&mut buf, len);
                self.note(sealed.map(|_| Number::Srtp(ssrc, sequence)));
            }
        }
    }

    fn note(&mut self, number: Option<Number>) {
        match number {
            Some(number) => {
                self.sealed += 1;
                assert!(self.used.insert(number), "{number:?} was sealed twice");
            }
            None => self.refused += 1,
        }
    }

    /// A tick of the primary, and what arrives at either end.
    fn tick(&mut self, pair: &mut Pair) {
        let now = self.network.now;
        let transport = &mut self.network.hosts[pair.primary].transport;
        let mut delta = Vec::new();
        if transport.outgrew_image() || self.rng.next_u32().is_multiple_of(20) {
            if let Some(image) = transport.follow(now, pair.version + 1) {
                pair.version += 1;
                pair.deltas.push_back((pair.version, true, image));
            }
        } else if transport.write_delta(now, pair.version + 1, &mut delta) {
            pair.version += 1;
            pair.deltas.push_back((pair.version, false, delta));
        }
        while !pair.deltas.is_empty() && self.chance(60) {
            let Some((version, whole, bytes)) = pair.deltas.pop_front() else {
                break;
            };
            if self.chance(3) {
                continue; // lost
            }
            let Some(standby) = &mut self.network.hosts[pair.standby].standby else {
                break;
            };
            if whole {
                standby.replace(now, &bytes, Default::default()).unwrap();
            } else if pair.applied + 1 == version {
                standby.update(&mut Reader(&bytes)).unwrap();
            } else {
                continue;
            }
            pair.applied = version;
            pair.acks.push_back(version);
        }
        while self.chance(50) {
            let Some(version) = pair.acks.pop_front() else {
                break;
            };
            if !self.chance(10) {
                let transport = &mut self.network.hosts[pair.primary].transport;
                transport.acknowledged(version);
            }
        }
    }
}

#[test]
fn no_number_is_used_twice_by_primaries_and_standbys_over_random_schedules() {
    let seeds = std::env::var("SKEIN_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok());
    let first = std::env::var("SKEIN_SEED")
        .ok()
        .and_then(|n| n.parse().ok());
    let first = first.unwrap_or(0u64);
    for seed in first..first + seeds.unwrap_or(25) {
        println!("seed {seed}");
        let network = connected(1_000 + seed);
        let mut schedule = Schedule {
            network,
            rng: ChaCha12Rng::seed_from_u64(seed),
            used: HashSet::new(),
            sealed: 0,
            refused: 0,
        };
        schedule.seal(SERVER);
        let mut living = vec![SERVER];
        for _ in 0..3 {
            let primary = living[living.len() - 1];
            let standby = add_standby(&mut schedule.network, primary, 1);
            let mut pair = Pair {
                primary,
                standby,
                version: 1,
                applied: 1,
                deltas: VecDeque::new(),
                acks: VecDeque::new(),
            };
            for _ in 0..20 + schedule.rng.next_u32() % 60 {
                // Those from before wake up and send, too.
                for host in living.clone() {
                    if host == primary || schedule.chance(10) {
                        schedule.seal(host);
                    }
                }
                schedule.tick(&mut pair);
                schedule.network.run(Duration::from_millis(100));
            }
            let now = schedule.network.now;
            schedule.network.hosts[standby].take_over(now);
            living.push(standby);
            for _ in 0..5 {
                schedule.exhaust(primary);
                for host in living.clone() {
                    schedule.seal(host);
                }
                // A late acknowledgement still reaches the old primary.
                if let Some(version) = pair.acks.pop_front() {
                    let primary = &mut schedule.network.hosts[primary].transport;
                    primary.acknowledged(version);
                }
                schedule.network.run(Duration::from_millis(20));
            }
        }
        assert!(schedule.sealed > 1_000 && schedule.refused > 0);
        records_are_unique(&schedule.network, &living);
    }
}

fn records_are_unique(network: &Network, hosts: &[usize]) {
    let mut used = HashSet::new();
    for host in hosts {
        for (_, datagram) in &network.hosts[*host].sent {
            for number in numbers(datagram) {
                let keyed = matches!(number, Number::Dtls(1.., _));
                assert!(!keyed || used.insert(number), "{number:?} twice");
            }
        }
    }
    assert!(used.len() > 100);
}
