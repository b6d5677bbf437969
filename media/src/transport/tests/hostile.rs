//! The fuzz entries on pseudo-random and on mutated real input: nothing panics.

use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::network::{CLIENT, Network, SERVER, address};
use crate::demux::fuzz_demux;
use crate::event::TransportState;
use crate::transport::stun::fuzz_stun;
use crate::transport::tcp_framing::fuzz_tcp_framing;
use crate::transport::{Received, fuzz_client_hello, fuzz_dcep};
use crate::types::{Path, Protocol};

#[test]
fn parsers_take_anything() {
    let mut rng = ChaCha12Rng::seed_from_u64(40);
    for round in 0..20_000 {
        let mut data = vec![0u8; (rng.next_u32() % 300) as usize];
        rng.fill_bytes(&mut data);
        if round % 2 == 0 && data.len() > 20 {
            // Close enough to get past the first checks.
            let head = [0, 1, 0, (data.len() - 20) as u8, 0x21, 0x12, 0xA4, 0x42];
            data[..8].copy_from_slice(&head);
        }
        for fuzz in [
            fuzz_demux,
            fuzz_stun,
            fuzz_dcep,
            fuzz_client_hello,
            fuzz_tcp_framing,
        ] {
            fuzz(&data);
        }
    }
}

/// Real datagrams of a connection with bytes changed, cut and lengthened, at every stage.
#[test]
fn a_transport_takes_mutated_datagrams_of_its_own_connection() {
    let mut recorded = Network::new(41);
    recorded.connect();
    recorded.send_rtp(CLIENT, 1, 1);
    recorded.send_rtcp(CLIENT, 1);
    let script = recorded.hosts[CLIENT].sent.clone();

    let mut rng = ChaCha12Rng::seed_from_u64(42);
    for _ in 0..60 {
        let mut network = Network::new(43);
        network.introduce();
        for (path, datagram) in &script {
            let mut copy = datagram.to_vec();
            for _ in 0..rng.next_u32() % 4 {
                let at = rng.next_u32() as usize % copy.len();
                copy[at] = rng.next_u32() as u8;
            }
            match rng.next_u32() % 8 {
                0 => copy.truncate(rng.next_u32() as usize % copy.len()),
                1 => copy.extend_from_slice(&[0xFF; 9]),
                _ => {}
            }
            network.send(CLIENT, *path, &copy);
            network.run(Duration::from_millis(12));
        }
        network.run_until(Duration::from_secs(30), |n| {
            n.hosts[SERVER].transport.selected_path().is_some()
        });
    }
}

/// A DTLS record of `body` in clear.
fn record(kind: u8, epoch: u8, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 0xFE, 0xFD, 0, epoch, 0, 0];
    record.extend_from_slice(&sequence.to_be_bytes());
    record.extend_from_slice(&(body.len() as u16).to_be_bytes());
    record.extend_from_slice(body);
    record
}

/// The library puts fragments together by recursion: 20,000 of one byte ended the process.
#[test]
fn a_message_in_countless_fragments_ends_nothing() {
    for connected in [false, true] {
        let mut network = Network::new(44);
        if connected {
            network.connect();
        } else {
            network.introduce_server();
            network.introduce_client();
            network.run_until(Duration::from_secs(5), |n| {
                n.hosts[SERVER].transport.selected_path().is_some()
            });
        }
        let path = network.hosts[SERVER].transport.selected_path().unwrap();
        let now = network.now;
        let server = &mut network.hosts[SERVER].transport;
        for message in 0..12u8 {
            let total = 16_000u32;
            for offset in (1..total).chain([0]) {
                let mut body = vec![11];
                body.extend_from_slice(&total.to_be_bytes()[1..]);
                body.extend_from_slice(&[0, message]);
                body.extend_from_slice(&offset.to_be_bytes()[1..]);
                body.extend_from_slice(&[0, 0, 1, 0x55]);
                let sequence = 1_000 + u32::from(message) * total + offset;
                let _ = server.handle_datagram(now, path, &mut record(22, 0, sequence, &body));
            }
        }
        if connected {
            assert!(network.hosts[SERVER].transport.is_connected());
            network.send_rtp(CLIENT, 1, 1);
            network.run(Duration::from_secs(1));
            assert_eq!(network.hosts[SERVER].rtp.len(), 1);
        }
    }
}

/// A client that never answers an offer of ours has no announced certificate, so no keys.
#[test]
fn an_association_without_an_announced_certificate_ends() {
    let mut network = Network::new(45);
    network.introduce_client();
    let at_most = crate::limits::DTLS_HANDSHAKE_TIMEOUT + Duration::from_secs(10);
    network.run_until(at_most, |n| n.hosts[SERVER].was(TransportState::Failed));
}

/// A client may go on from another's address in the middle of a handshake: little goes there until
/// its owner answers a check.
#[test]
fn an_address_that_answers_no_check_gets_little() {
    let mut network = Network::new(47);
    network.introduce();
    let is_hello = |datagram: &&Bytes| datagram.first() == Some(&22);
    let hellos = |network: &Network| -> Vec<Bytes> {
        let sent = network.hosts[CLIENT]
            .sent
            .iter()
            .map(|(_, datagram)| datagram);
        sent.filter(is_hello).cloned().collect()
    };
    // The second hello carries the cookie, which proves the client's own address.
    network.run_until(Duration::from_secs(5), |n| hellos(n).len() == 2);
    network.hosts[SERVER].alive = false;
    network.run(Duration::from_millis(20));
    network.hosts[SERVER].alive = true;
    network.loss_percent = 100;

    let victim = Path {
        protocol: Protocol::Udp,
        local: address("10.0.0.1:7882"),
        remote: address("6.6.6.6:666"),
    };
    let now = network.now;
    let mut check = network.hosts[CLIENT].sent[0].1.to_vec();
    let mut hello = hellos(&network)[1].to_vec();
    let received = hello.len();
    let server = &mut network.hosts[SERVER].transport;
    for datagram in [&mut check, &mut hello] {
        assert_eq!(
            server.handle_datagram(now, victim, datagram),
            Received::Consumed
        );
    }
    network.run(Duration::from_secs(20));
    let sent = network.hosts[SERVER].sent.iter();
    let dtls = sent.filter(|(path, datagram)| {
        *path == victim
            && datagram
                .first()
                .is_some_and(|first| (20..64).contains(first))
    });
    let sent: usize = dtls.map(|(_, datagram)| datagram.len()).sum();
    println!("{received} bytes came, {sent} went");
    assert!(sent <= 3 * received);
}
