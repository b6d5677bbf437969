//! The least a forwarding server must do: receive and open a burst; for every subscriber copy,
//! rewrite the header, seal, and send the run with one system call. No state, no decisions.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use skein_node::net::udp::{self, ReceiveSlots, UdpPort};

use crate::{BURST, PACKET_BYTES, PACKETS_PER_ROUND, ROUNDS, cpu};

const HEADER_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const SEALED_BYTES: usize = PACKET_BYTES + TAG_BYTES;
/// Bursts between two emptyings of the receivers: their buffers hold about 180 packets.
const BURSTS_BETWEEN_DRAINS: usize = 12;
/// Bursts on their way at a time: the worker never waits for the next one.
const BURSTS_IN_FLIGHT: usize = 3;
/// A packet that takes longer on loopback is lost.
const PATIENCE: Duration = Duration::from_millis(200);

pub(crate) fn micros_per_packet(subscribers: usize) -> f64 {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = UdpPort::new(udp::open(loopback, false).unwrap()).unwrap();
    let address = server.local();
    let publisher = UdpSocket::bind(loopback).unwrap();
    let receivers: Vec<UdpSocket> = (0..subscribers).map(|_| receiver()).collect();
    let addresses = receivers.iter().map(|socket| socket.local_addr().unwrap());
    let mut minimal = Minimal::new(server, addresses.collect());
    let mut sealed = vec![0_u8; PACKET_BYTES];
    seal(&minimal.publisher_key, &mut sealed, 1);

    let bursts = bursts_per_round(subscribers);
    let mut round = || {
        let mut cost = Duration::ZERO;
        for burst in 0..bursts {
            // Publisher and receivers are no part of the server: filling and emptying is untimed.
            for _ in 0..BURST {
                publisher.send_to(&sealed, address).unwrap();
            }
            let start = cpu();
            minimal.receive();
            minimal.forward();
            cost += cpu() - start;
            if burst % BURSTS_BETWEEN_DRAINS == 0 || burst + 1 == bursts {
                receivers.iter().for_each(|socket| {
                    drain(socket);
                });
            }
        }
        cost
    };
    round(); // warms up
    let mut figures: Vec<Duration> = (0..ROUNDS).map(|_| round()).collect();
    figures.sort();
    let packets = (bursts * BURST * subscribers) as f64;
    figures[ROUNDS / 2].as_nanos() as f64 / 1_000.0 / packets
}

/// Sends bursts to the rooms in turn, a few ahead of what the last receiver of each has seen whole.
pub(crate) fn pump(bursts: usize, rooms: &[&[UdpSocket]], mut send: impl FnMut(usize)) {
    let mut seen = vec![0; rooms.len()];
    let mut await_burst = |burst: usize| {
        let room = burst % rooms.len();
        let wanted = (burst / rooms.len() + 1) * BURST;
        let until = Instant::now() + PATIENCE;
        while seen[room] < wanted && Instant::now() < until {
            seen[room] += drain(rooms[room].last().unwrap());
            std::thread::yield_now();
        }
        seen[room] = wanted.max(seen[room]);
    };
    for burst in 0..bursts {
        (0..BURST).for_each(|_| send(burst % rooms.len()));
        if burst >= BURSTS_IN_FLIGHT {
            await_burst(burst - BURSTS_IN_FLIGHT);
        }
        if burst % BURSTS_BETWEEN_DRAINS == 0 {
            drain_but_the_last(rooms);
        }
    }
    (bursts.saturating_sub(BURSTS_IN_FLIGHT)..bursts).for_each(await_burst);
    drain_but_the_last(rooms);
}

/// The last receiver of each room is counted by.
fn drain_but_the_last(rooms: &[&[UdpSocket]]) {
    for socket in rooms.iter().flat_map(|room| room.iter().rev().skip(1)) {
        drain(socket);
    }
}

pub(crate) fn bursts_per_round(subscribers: usize) -> usize {
    (PACKETS_PER_ROUND / BURST / subscribers).max(2)
}

struct Minimal {
    server: UdpPort,
    addresses: Vec<SocketAddr>,
    keys: Vec<LessSafeKey>,
    publisher_key: LessSafeKey,
    slots: ReceiveSlots,
    opened: Vec<u8>,
    run: Vec<u8>,
    sent: u64,
}

impl Minimal {
    fn new(server: UdpPort, addresses: Vec<SocketAddr>) -> Minimal {
        Minimal {
            server,
            keys: (0..addresses.len()).map(key).collect(),
            publisher_key: key(usize::MAX),
            addresses,
            slots: ReceiveSlots::new(),
            opened: vec![0; BURST * PACKET_BYTES],
            run: vec![0; BURST * SEALED_BYTES],
            sent: 0,
        }
    }

    /// Takes a whole burst, which waits already.
    fn receive(&mut self) {
        let mut count = 0;
        while count < BURST {
            let filled = self.server.receive(&mut self.slots).unwrap();
            for (_, datagram) in self.slots.datagrams(filled) {
                open(&self.publisher_key, datagram, 1);
                self.opened[count * PACKET_BYTES..][..PACKET_BYTES]
                    .copy_from_slice(&datagram[..PACKET_BYTES]);
                count += 1;
            }
        }
    }

    fn forward(&mut self) {
        for (subscriber, address) in self.addresses.iter().enumerate() {
            for (packet, plain) in self.opened.chunks(PACKET_BYTES).enumerate() {
                let out = &mut self.run[packet * SEALED_BYTES..][..SEALED_BYTES];
                out[..PACKET_BYTES].copy_from_slice(plain);
                out[8..12].copy_from_slice(&(subscriber as u32).to_be_bytes());
                seal_in_place(&self.keys[subscriber], out, self.sent + packet as u64);
            }
            self.server.send(*address, &self.run, SEALED_BYTES);
        }
        self.sent += BURST as u64;
    }
}

/// A receiver as a kernel elsewhere would be: no coalescing.
pub(crate) fn receiver() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

pub(crate) fn drain(socket: &UdpSocket) -> usize {
    let mut buffer = [0_u8; 2_048];
    let mut count = 0;
    while socket.recv_from(&mut buffer).is_ok() {
        count += 1;
    }
    count
}

fn key(index: usize) -> LessSafeKey {
    let mut bytes = [7_u8; 16];
    bytes[..8].copy_from_slice(&index.to_le_bytes());
    LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &bytes).unwrap())
}

fn nonce(index: u64) -> Nonce {
    let mut bytes = [3_u8; 12];
    bytes[4..].copy_from_slice(&index.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn seal(key: &LessSafeKey, packet: &mut Vec<u8>, index: u64) {
    packet.resize(PACKET_BYTES + TAG_BYTES, 0);
    seal_in_place(key, packet, index);
}

fn seal_in_place(key: &LessSafeKey, packet: &mut [u8], index: u64) {
    let (header, rest) = packet.split_at_mut(HEADER_BYTES);
    let (body, tail) = rest.split_at_mut(PACKET_BYTES - HEADER_BYTES);
    let tag = key
        .seal_in_place_separate_tag(nonce(index), Aad::from(&*header), body)
        .unwrap();
    tail.copy_from_slice(tag.as_ref());
}

fn open(key: &LessSafeKey, packet: &mut [u8], index: u64) {
    let (header, body) = packet.split_at_mut(HEADER_BYTES);
    key.open_in_place(nonce(index), Aad::from(&*header), body)
        .unwrap();
}
