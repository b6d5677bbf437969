//! Connecting and exchanging media and data.

use std::time::Duration;

use bytes::Bytes;

use super::network::{CLIENT, Network, SERVER, address, rtp_packet};
use crate::event::TransportState;
use crate::transport::{DropReason, Profile, Received, SendOutcome, TransportEvent};
use crate::types::{Path, Protocol, Reliability};

#[test]
fn a_client_connects_and_media_flows_both_ways() {
    let mut network = Network::new(1);
    network.connect();
    assert_eq!(
        network.hosts[SERVER].transport.profile(),
        Some(Profile::AeadAes128Gcm)
    );
    for sequence in 0..50 {
        let up = network.send_rtp(CLIENT, 1, sequence);
        let down = network.send_rtp(SERVER, 2, sequence);
        let report = network.send_rtcp(SERVER, 2);
        network.run(Duration::from_millis(20));
        assert_eq!(network.hosts[SERVER].rtp.last(), Some(&up));
        assert_eq!(network.hosts[CLIENT].rtp.last(), Some(&down));
        assert_eq!(network.hosts[CLIENT].rtcp.last(), Some(&report));
    }
    let server = &network.hosts[SERVER];
    assert!(server.was(TransportState::Connected));
    let path = Path {
        protocol: Protocol::Udp,
        local: address("10.0.0.1:7882"),
        remote: address("10.0.0.2:5000"),
    };
    assert_eq!(server.transport.selected_path(), Some(path));
}

#[test]
fn connecting_takes_three_round_trips_without_loss() {
    let mut network = Network::new(2);
    let start = network.now;
    network.connect();
    // Check, ClientHello with cookie, two flights: 10 ms each way.
    assert!(network.now - start <= Duration::from_millis(100));
}

#[test]
fn checks_and_dtls_from_before_the_description_are_not_lost() {
    let mut network = Network::new(3);
    network.introduce_client();
    network.run(Duration::from_millis(500));
    assert!(!network.hosts[SERVER].transport.is_connected());
    network.introduce_server();
    network.run_until(Duration::from_millis(100), |n| n.both_connected());
}

#[test]
fn a_peer_with_another_certificate_fails() {
    let mut network = Network::new(4);
    let mut remote = network.description(
        CLIENT,
        super::network::credentials("client"),
        crate::types::DtlsRole::Server,
    );
    remote.fingerprint.digest[0] ^= 1;
    let now = network.now;
    network.hosts[SERVER].transport.set_remote(now, remote);
    network.introduce_client();
    network.run(Duration::from_secs(2));
    assert!(network.hosts[SERVER].was(TransportState::Failed));
    assert!(!network.hosts[SERVER].transport.is_connected());
}

#[test]
fn connecting_survives_loss_and_reordering() {
    for seed in 100..140 {
        let mut network = Network::new(seed);
        network.loss_percent = (seed % 31) as u32;
        network.jitter_ms = 60;
        println!("seed {seed}, loss {} %", network.loss_percent);
        network.hosts[SERVER].transport.open_channel(
            network.now,
            "_reliable",
            Reliability::Reliable,
        );
        network.connect();
        network.run_until(Duration::from_secs(60), |n| {
            n.hosts[SERVER].is_open("_reliable")
        });
    }
}

#[test]
fn both_ends_open_channels_and_messages_arrive() {
    let mut network = Network::new(5);
    let now = network.now;
    for label in ["_reliable", "_lossy"] {
        let reliability = match label {
            "_reliable" => Reliability::Reliable,
            _ => Reliability::Lossy,
        };
        network.hosts[SERVER]
            .transport
            .open_channel(now, label, reliability);
        let client = format!("client{label}");
        network.hosts[CLIENT]
            .transport
            .open_channel(now, &client, reliability);
    }
    network.connect();
    network.run(Duration::from_secs(2));
    let labels = ["_reliable", "_lossy", "client_reliable", "client_lossy"];
    for label in labels {
        for (from, to) in [(SERVER, CLIENT), (CLIENT, SERVER)] {
            assert!(network.hosts[from].is_open(label), "{label}");
            let now = network.now;
            for (payload, binary) in [(&b"hello"[..], true), (b"text", false), (b"", true)] {
                let payload = Bytes::from_static(payload);
                let outcome = network.hosts[from]
                    .transport
                    .send_data(now, label, &payload, binary);
                assert_eq!(outcome, SendOutcome::Queued);
            }
            network.run(Duration::from_millis(500));
            let got = network.hosts[to].messages(label);
            assert_eq!(got, [&b"hello"[..], b"text", b""], "{label}");
        }
    }
}

#[test]
fn big_messages_and_bursts_arrive_whole_and_in_order() {
    for loss in [0, 5] {
        let mut network = Network::new(6);
        let now = network.now;
        network.hosts[SERVER]
            .transport
            .open_channel(now, "_reliable", Reliability::Reliable);
        network.connect();
        network.run_until(Duration::from_secs(9), |n| {
            n.hosts[SERVER].is_open("_reliable")
        });
        network.loss_percent = loss;
        let sent: Vec<Bytes> = (0..40u8).map(|n| Bytes::from(vec![n; 60_000])).collect();
        for payload in &sent {
            let now = network.now;
            let transport = &mut network.hosts[SERVER].transport;
            assert_eq!(
                transport.send_data(now, "_reliable", payload, true),
                SendOutcome::Queued
            );
        }
        network.run_until(Duration::from_secs(600), |n| {
            n.hosts[CLIENT].messages("_reliable").len() == sent.len()
        });
        assert_eq!(network.hosts[CLIENT].messages("_reliable"), sent);
    }
}

#[test]
fn a_stalled_peer_bounds_what_is_buffered() {
    let mut network = Network::new(7);
    let now = network.now;
    network.hosts[SERVER]
        .transport
        .open_channel(now, "_lossy", Reliability::Lossy);
    network.connect();
    network.run_until(Duration::from_secs(9), |n| {
        n.hosts[SERVER].is_open("_lossy")
    });
    network.hosts[CLIENT].alive = false;
    let payload = Bytes::from(vec![0u8; 10_000]);
    let now = network.now;
    let outcomes: Vec<SendOutcome> = (0..100)
        .map(|_| {
            network.hosts[SERVER]
                .transport
                .send_data(now, "_lossy", &payload, true)
        })
        .collect();
    assert_eq!(outcomes.last(), Some(&SendOutcome::Congested));
    assert_eq!(
        network.hosts[SERVER]
            .transport
            .send_data(now, "none", &payload, true),
        SendOutcome::NoChannel
    );
    let long = Bytes::from(vec![0u8; 70_000]);
    assert_eq!(
        network.hosts[SERVER]
            .transport
            .send_data(now, "_lossy", &long, true),
        SendOutcome::TooLong
    );
}

#[test]
fn silence_disconnects_after_ten_seconds_and_fails_after_fifteen() {
    let mut network = Network::new(8);
    network.connect();
    network.run(Duration::from_secs(30));
    assert!(!network.hosts[SERVER].was(TransportState::Disconnected));
    network.hosts[CLIENT].alive = false;
    network.run(Duration::from_secs(7));
    assert!(!network.hosts[SERVER].was(TransportState::Disconnected));
    network.run(Duration::from_secs(6));
    assert!(network.hosts[SERVER].was(TransportState::Disconnected));
    assert!(!network.hosts[SERVER].was(TransportState::Failed));
    network.run(Duration::from_secs(5));
    assert!(network.hosts[SERVER].was(TransportState::Failed));
}

#[test]
fn a_short_outage_ends_in_connected_again() {
    let mut network = Network::new(9);
    network.connect();
    network.loss_percent = 100;
    network.run(Duration::from_secs(12));
    assert!(network.hosts[SERVER].was(TransportState::Disconnected));
    network.hosts[SERVER].events.clear();
    network.loss_percent = 0;
    network.run(Duration::from_secs(2));
    assert!(network.hosts[SERVER].was(TransportState::Connected));
    network.send_rtp(SERVER, 1, 1);
}

#[test]
fn data_goes_on_soon_after_a_long_outage() {
    let mut network = Network::new(19);
    network.hosts[SERVER]
        .transport
        .open_channel(network.now, "_reliable", Reliability::Reliable);
    network.connect();
    network.run(Duration::from_secs(1));
    network.loss_percent = 100;
    let now = network.now;
    let payload = Bytes::from_static(b"patient");
    let server = &mut network.hosts[SERVER].transport;
    assert_eq!(
        server.send_data(now, "_reliable", &payload, true),
        SendOutcome::Queued
    );
    network.run(Duration::from_secs(12));
    assert!(!network.hosts[SERVER].was(TransportState::Failed));
    network.loss_percent = 0;
    network.run(Duration::from_millis(2_500));
    assert_eq!(network.hosts[CLIENT].messages("_reliable"), [payload]);
}

/// What the peer sends meanwhile arms nearer timers, and is no reason for more patience.
#[test]
fn data_goes_on_soon_after_an_outage_though_the_peer_sends_all_the_time() {
    let mut network = Network::new(20);
    for host in [SERVER, CLIENT] {
        let label = ["_reliable", "chatter"][host];
        let transport = &mut network.hosts[host].transport;
        transport.open_channel(network.now, label, Reliability::Lossy);
    }
    network.connect();
    network.run(Duration::from_secs(1));
    network.loss_percent = 100;
    let payload = Bytes::from_static(b"patient");
    let (now, server) = (network.now, &mut network.hosts[SERVER].transport);
    for _ in 0..3 {
        server.send_data(now, "chatter", &payload, true);
    }
    let reliable = Reliability::Reliable;
    server.open_channel(now, "late", reliable);
    network.run(Duration::from_secs(12));
    network.loss_percent = 0;
    for _ in 0..26 {
        let (now, client) = (network.now, &mut network.hosts[CLIENT].transport);
        client.send_data(now, "chatter", &payload, true);
        network.run(Duration::from_millis(100));
    }
    assert!(network.hosts[CLIENT].is_open("late"));
}

#[test]
fn strangers_and_garbage_are_dropped() {
    let mut network = Network::new(10);
    network.connect();
    let stranger = Path {
        protocol: Protocol::Udp,
        local: address("10.0.0.1:7882"),
        remote: address("6.6.6.6:666"),
    };
    let good = network.hosts[SERVER].transport.selected_path().unwrap();
    let now = network.now;
    let server = &mut network.hosts[SERVER].transport;
    let mut packet = rtp_packet(1, 1);
    assert_eq!(
        server.handle_datagram(now, stranger, &mut packet),
        Received::Dropped(DropReason::UnknownPath)
    );
    assert_eq!(
        server.handle_datagram(now, good, &mut packet),
        Received::Dropped(DropReason::Unauthenticated)
    );
    let mut forged =
        crate::transport::stun::Builder::new(crate::transport::stun::Class::Request, [0; 12])
            .username("serverufrag:x")
            .finish(&crate::transport::stun::integrity_key("guess"));
    assert_eq!(
        server.handle_datagram(now, stranger, &mut forged),
        Received::Dropped(DropReason::Unauthenticated)
    );
    for length in 0..200 {
        for first in [0u8, 22, 23, 0x80, 0x90, 0xFF] {
            let mut garbage = vec![first; length];
            let result = server.handle_datagram(now, good, &mut garbage);
            assert!(!matches!(
                result,
                Received::Rtp { .. } | Received::Rtcp { .. }
            ));
        }
    }
    network.send_rtp(CLIENT, 1, 5);
    network.run(Duration::from_secs(1));
    assert_eq!(network.hosts[SERVER].rtp.len(), 1);
}

#[test]
fn an_old_packet_is_delivered_once_and_marked_when_it_repeats() {
    let mut network = Network::new(11);
    network.connect();
    let mut sealed = Vec::new();
    for sequence in [10u16, 11, 12, 9] {
        let plain = rtp_packet(3, sequence);
        let mut buf = plain.clone();
        buf.resize(plain.len() + 16, 0);
        let client = &mut network.hosts[CLIENT].transport;
        assert!(client.seal_rtp(&mut buf, plain.len()).is_some());
        sealed.push(buf);
    }
    let path = network.hosts[SERVER].transport.selected_path().unwrap();
    let now = network.now;
    let server = &mut network.hosts[SERVER].transport;
    for round in [false, true] {
        for packet in &sealed {
            let mut copy = packet.clone();
            match server.handle_datagram(now, path, &mut copy) {
                Received::Rtp { replayed, .. } => assert_eq!(replayed, round),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(server.counters().replayed, 4);
}

#[test]
fn closing_says_goodbye_and_a_close_notify_does_not_tear_down() {
    let mut network = Network::new(12);
    network.connect();
    let now = network.now;
    network.hosts[CLIENT].transport.close(now);
    network.run(Duration::from_secs(1));
    assert!(network.hosts[CLIENT].was(TransportState::Closed));
    assert!(network.hosts[SERVER].transport.is_connected());
    assert!(!network.hosts[SERVER].was(TransportState::Failed));
    let label = "x".to_owned();
    assert!(
        !network.hosts[SERVER]
            .events
            .contains(&TransportEvent::ChannelClosed { label })
    );
}

#[test]
fn nothing_is_sent_to_an_address_that_stopped_answering() {
    use crate::transport::stun::{Builder, Class, TransactionId, integrity_key};
    let mut network = Network::new(50);
    network.connect();
    let old = network.hosts[SERVER].transport.selected_path().unwrap();
    network.dead.push(address("10.0.0.2:5000"));
    // The peer goes on asking from elsewhere, which keeps the transport alive, and answers nothing.
    let elsewhere = Path {
        remote: address("10.0.0.9:9"),
        ..old
    };
    for _ in 0..35 {
        network.run(Duration::from_secs(1));
        let mut check = Builder::new(Class::Request, TransactionId::default())
            .username("serverufrag:clientufrag")
            .role(true, 7)
            .finish(&integrity_key("server-password-of-enough-length"));
        let now = network.now;
        let server = &mut network.hosts[SERVER].transport;
        let _ = server.handle_datagram(now, elsewhere, &mut check);
    }
    let server = &network.hosts[SERVER];
    assert!(!server.was(TransportState::Failed));
    assert_eq!(server.transport.selected_path(), None);
}

#[test]
fn a_failed_transport_sends_nothing() {
    let mut network = Network::new(51);
    network.connect();
    network.loss_percent = 100;
    network.run(Duration::from_secs(20));
    assert!(network.hosts[SERVER].was(TransportState::Failed));
    assert_eq!(network.hosts[SERVER].transport.selected_path(), None);
}
