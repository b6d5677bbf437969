//! Workers over real sockets on loopback: whoever the kernel hands a packet to, its shard answers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use media::transport::DtlsIdentity;
use media::transport::stun::{self, Builder, Class, Message};
use media::transport::tcp_framing::framed;
use media::types::IceCredentials;
use media::{Command, RoomKey, Shard, ShardConfig, TransportKey};

use super::lanes::Order;
use super::steering::ufrag_prefix;
use super::*;
use crate::net::{tcp, udp};

const PASSWORD: &str = "a-password-of-enough-characters";
/// Longest wait for an answer that comes within a millisecond.
const PATIENCE: Duration = Duration::from_secs(10);

struct Stage {
    udp: SocketAddr,
    tcp: SocketAddr,
    workers: Vec<WorkerHandle>,
    threads: Vec<std::thread::JoinHandle<()>>,
    _events: lanes::Events,
}

impl Stage {
    /// `count` workers on one UDP port; the first accepts TCP. Each has one transport.
    fn new(count: usize) -> Stage {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let first = udp::open(loopback, true).unwrap();
        let udp = first.local_addr().unwrap();
        let mut sockets = vec![first];
        sockets.extend((1..count).map(|_| udp::open(udp, true).unwrap()));
        let listener = tcp::listen(loopback).unwrap();
        let tcp = listener.local_addr().unwrap();
        let mut listeners = vec![listener];
        let identity = DtlsIdentity::generate().unwrap();
        let (sender, events) = lanes::events(64);
        let mut workers = Vec::new();
        let mut waiting = Vec::new();
        for (index, socket) in sockets.into_iter().enumerate() {
            let config = ShardConfig::new([index as u8; 32], Arc::clone(&identity));
            let (handle, worker) = Worker::new(Parts {
                index,
                shard: Shard::new(config),
                udp: vec![socket],
                tcp: std::mem::take(&mut listeners),
                sharing: count,
                workers: count,
                events: sender.clone(),
                far: far::lane().0,
            })
            .unwrap();
            handle.order(Order::Command(Command::AddTransport {
                transport: TransportKey(index as u64 + 1),
                room: RoomKey(1),
                local: IceCredentials {
                    ufrag: ufrag(index),
                    pwd: PASSWORD.into(),
                },
                spare: false,
            }));
            workers.push(handle);
            waiting.push(worker);
        }
        let start = |mut worker: Worker| {
            worker.meet(workers.clone());
            std::thread::spawn(move || worker.run())
        };
        let threads = waiting.into_iter().map(start).collect();
        Stage {
            udp,
            tcp,
            workers,
            threads,
            _events: events,
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for worker in &self.workers {
            worker.order(Order::Stop);
        }
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

fn ufrag(shard: usize) -> String {
    format!("{}fragment", ufrag_prefix(shard))
}

fn check(shard: usize, transaction: u8) -> Vec<u8> {
    let request = Builder::new(Class::Request, [transaction; 12])
        .username(&format!("{}:theirs", ufrag(shard)))
        .priority(1)
        .role(true, 7);
    request.finish(&stun::integrity_key(PASSWORD))
}

fn udp_client() -> UdpSocket {
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

/// Waits for the success answer to a transaction; other messages (the server's own checks) pass.
fn answered(client: &UdpSocket, transaction: u8) -> Option<SocketAddr> {
    let mut buffer = [0; 2048];
    loop {
        let (length, _) = client.recv_from(&mut buffer).expect("an answer in time");
        let message = Message::parse(&buffer[..length]).expect("STUN");
        if message.class() == Class::Success && message.transaction() == [transaction; 12] {
            return stun::mapped_address(&buffer[..length]);
        }
    }
}

fn read_frame(client: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 2];
    client.read_exact(&mut head).expect("an answer in time");
    let mut frame = vec![0; usize::from(u16::from_be_bytes(head))];
    client.read_exact(&mut frame).unwrap();
    frame
}

#[test]
fn a_client_without_credentials_is_told_its_address() {
    let stage = Stage::new(1);
    let client = udp_client();
    let request = Builder::new(Class::Request, [5; 12]).finish_plain();
    client.send_to(&request, stage.udp).unwrap();
    assert_eq!(answered(&client, 5), Some(client.local_addr().unwrap()));

    let mut client = TcpStream::connect(stage.tcp).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(&framed(&request)).unwrap();
    let answer = read_frame(&mut client);
    assert_eq!(
        stun::mapped_address(&answer),
        Some(client.local_addr().unwrap())
    );
}

#[test]
fn checks_on_a_shared_port_reach_the_shard_they_name() {
    let stage = Stage::new(3);
    for _ in 0..8 {
        // A flow stays with one worker: at most one of its three checks arrives at the right one.
        let client = udp_client();
        for shard in 0..3 {
            let transaction = shard as u8 + 1;
            client
                .send_to(&check(shard, transaction), stage.udp)
                .unwrap();
            assert_eq!(
                answered(&client, transaction),
                Some(client.local_addr().unwrap())
            );
        }
    }
}

#[test]
fn a_tcp_connection_goes_to_the_shard_its_first_packet_names() {
    let stage = Stage::new(2);
    for shard in 0..2 {
        let mut client = TcpStream::connect(stage.tcp).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let transaction = shard as u8 + 1;
        let request = framed(&check(shard, transaction));
        // Cut anywhere: TCP keeps no borders.
        client.write_all(&request[..3]).unwrap();
        client.write_all(&request[3..]).unwrap();
        loop {
            let frame = read_frame(&mut client);
            let message = Message::parse(&frame).expect("STUN");
            if message.class() == Class::Success && message.transaction() == [transaction; 12] {
                break;
            }
        }
    }
}

#[test]
fn a_stranger_that_does_not_speak_ice_is_hung_up_on() {
    let stage = Stage::new(1);
    for first in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 4, 0x80, 0x60, 0, 1]] {
        let mut client = TcpStream::connect(stage.tcp).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(first).unwrap();
        // The end of the stream, or a reset when our bytes were never read.
        assert_eq!(client.read(&mut [0; 8]).unwrap_or(0), 0);
    }
}
