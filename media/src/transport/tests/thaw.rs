//! Moving a live transport with audio, video and data channels to another shard at another address.

use std::time::Duration;

use bytes::Bytes;

use super::network::{CLIENT, Host, Network, Number, SERVER, address, identity};
use crate::event::TransportState;
use crate::transport::{
    DropReason, Received, SendOutcome, SnapshotError, Transport, TransportEvent, TransportOptions,
};
use crate::types::{Path, Protocol, Reliability};

const SECOND: usize = 2;
const AUDIO: u32 = 0xA0D10;
const VIDEO: u32 = 0x51DE0;

/// A network with channels of both kinds open, both ends' own.
fn connected(seed: u64) -> Network {
    let mut network = Network::new(seed);
    let now = network.now;
    let server = &mut network.hosts[SERVER].transport;
    server.open_channel(now, "_reliable", Reliability::Reliable);
    server.open_channel(now, "_lossy", Reliability::Lossy);
    let client = &mut network.hosts[CLIENT].transport;
    client.open_channel(now, "chat", Reliability::Reliable);
    network.connect();
    network.run_until(Duration::from_secs(20), |n| {
        ["_reliable", "_lossy", "chat"]
            .iter()
            .all(|label| n.hosts[SERVER].is_open(label) && n.hosts[CLIENT].is_open(label))
    });
    network
}

/// Freezes the server's transport and thaws it as a host of its own at 10.0.0.9:7882.
fn move_away(network: &mut Network) -> Path {
    let now = network.now;
    let snapshot = network.hosts[SERVER].transport.freeze(now).unwrap();
    network.drain();
    let new_home = address("10.0.0.9:7882");
    let thawed = Transport::thaw(
        now,
        &snapshot,
        identity(SERVER),
        TransportOptions::default(),
        [9; 32],
    )
    .unwrap();
    network.hosts.push(Host::new(thawed, vec![new_home]));
    let path = Path {
        protocol: Protocol::Udp,
        local: new_home,
        remote: address("10.0.0.2:5000"),
    };
    network.hosts[SECOND].transport.nominate(now, path);
    path
}

fn stream_media(network: &mut Network, server: usize, packets: u16, from: (u16, u16, u16)) {
    for n in 0..packets {
        network.send_rtp(server, AUDIO, from.0.wrapping_add(n));
        network.send_rtp(server, VIDEO, from.1.wrapping_add(n));
        network.send_rtp(CLIENT, 0xC11E, from.2.wrapping_add(n));
        if n % 5 == 0 {
            network.send_rtcp(server, AUDIO);
            network.send_rtcp(CLIENT, 0xC11E);
        }
        network.run(Duration::from_millis(10));
    }
}

#[test]
fn a_live_transport_moves_and_no_number_is_used_twice() {
    for (seed, loss) in [(30, 0), (31, 10), (32, 30)] {
        println!("seed {seed}, loss {loss} %");
        let mut network = connected(seed);
        stream_media(&mut network, SERVER, 100, (65_500, 100, 1));
        for n in 0..20 {
            let (now, text) = (network.now, Bytes::from(format!("before {n}")));
            let server = &mut network.hosts[SERVER].transport;
            server.send_data(now, "_reliable", &text, false);
            network.run(Duration::from_millis(5));
        }
        network.run(Duration::from_secs(3));
        network.hosts[CLIENT].events.clear();
        network.loss_percent = loss;

        let path = move_away(&mut network);
        network.run_until(Duration::from_secs(5), |n| {
            n.hosts[SECOND].transport.selected_path() == Some(path)
                && n.hosts[CLIENT].transport.selected_path().map(|p| p.remote) == Some(path.local)
        });
        network.loss_percent = 0;
        let second = &network.hosts[SECOND].transport;
        let audio = second.next_sequence(AUDIO, 0);
        let video = second.next_sequence(VIDEO, 0);
        let before = (
            network.hosts[SECOND].rtp.len(),
            network.hosts[CLIENT].rtp.len(),
        );
        stream_media(&mut network, SECOND, 100, (audio, video, 101));
        network.run(Duration::from_secs(1));
        assert_eq!(network.hosts[SECOND].rtp.len() - before.0, 100);
        assert_eq!(network.hosts[CLIENT].rtp.len() - before.1, 200);
        assert!(network.hosts[SECOND].rtcp.len() >= 20);

        channels_work(&mut network);
        assert!(network.hosts[SECOND].was(TransportState::Connected));
        assert!(!network.hosts[CLIENT].was(TransportState::Disconnected));
        nothing_was_used_twice(&network);
    }
}

/// The channels are the ones from before: nothing opened or closed at the client.
fn channels_work(network: &mut Network) {
    network.run(Duration::from_secs(5));
    for label in ["_reliable", "_lossy", "chat"] {
        for (from, to) in [(SECOND, CLIENT), (CLIENT, SECOND)] {
            let (now, text) = (network.now, Bytes::from(format!("after {label}")));
            let transport = &mut network.hosts[from].transport;
            let outcome = transport.send_data(now, label, &text, false);
            assert_eq!(outcome, SendOutcome::Queued, "{label}");
            network.run(Duration::from_secs(1));
            assert_eq!(network.hosts[to].messages(label), [text], "{label}");
        }
    }
    let signs = network.hosts[CLIENT].events.iter().filter(|event| {
        matches!(
            event,
            TransportEvent::ChannelOpen { .. } | TransportEvent::ChannelClosed { .. }
        )
    });
    assert_eq!(signs.count(), 0);
}

fn nothing_was_used_twice(network: &Network) {
    let first = network.numbers_used(SERVER);
    let second = network.numbers_used(SECOND);
    let (mut srtp, mut srtcp, mut dtls) = (0, 0, 0);
    for (number, count) in &second {
        assert_eq!(*count, 1, "{number:?}");
        assert!(!first.contains_key(number), "{number:?}");
        match number {
            Number::Srtp(..) => srtp += 1,
            Number::Srtcp(_) => srtcp += 1,
            Number::Dtls(epoch, _) => {
                assert_eq!(*epoch, 1);
                dtls += 1;
            }
        }
    }
    assert!(srtp >= 200 && srtcp >= 20 && dtls >= 3);
    // Epoch 0 is the handshake's, whose flights may repeat; it carries no secrets.
    let repeated =
        |(number, count): &(&Number, &usize)| **count > 1 && !matches!(number, Number::Dtls(0, _));
    assert_eq!(first.iter().filter(repeated).count(), 0);
}

#[test]
fn a_frozen_transport_is_silent() {
    let mut network = connected(33);
    let now = network.now;
    let path = network.hosts[SERVER].transport.selected_path().unwrap();
    network.hosts[SERVER].transport.freeze(now).unwrap();
    network.drain();
    let server = &mut network.hosts[SERVER].transport;
    let mut buf = super::network::rtp_packet(1, 1);
    buf.resize(200, 0);
    assert_eq!(server.seal_rtp(&mut buf, 112), None);
    assert_eq!(server.seal_rtcp(&mut buf, 112), None);
    assert_eq!(server.deadline(), None);
    assert_eq!(
        server.handle_datagram(now, path, &mut [0; 100]),
        Received::Dropped(DropReason::Silent)
    );
    server.nominate(now, path);
    server.handle_timeout(now + Duration::from_secs(5));
    assert!(server.poll().is_none());
    assert!(server.freeze(now).is_none(), "it has gone on elsewhere");
}

#[test]
fn a_moved_transport_moves_again() {
    let mut network = connected(34);
    stream_media(&mut network, SERVER, 10, (1, 1, 1));
    move_away(&mut network);
    network.run(Duration::from_secs(2));
    let second = &network.hosts[SECOND].transport;
    let (audio, video) = (
        second.next_sequence(AUDIO, 0),
        second.next_sequence(VIDEO, 0),
    );
    stream_media(&mut network, SECOND, 10, (audio, video, 20));
    let now = network.now;
    let snapshot = network.hosts[SECOND].transport.freeze(now).unwrap();
    network.drain();
    let options = TransportOptions::default();
    let third = Transport::thaw(now, &snapshot, identity(SERVER), options, [8; 32]).unwrap();
    let home = address("10.0.0.10:7882");
    network.hosts.push(Host::new(third, vec![home]));
    let path = Path {
        protocol: Protocol::Udp,
        local: home,
        remote: address("10.0.0.2:5000"),
    };
    network.hosts[3].transport.nominate(now, path);
    network.run(Duration::from_secs(2));
    let client = &network.hosts[CLIENT].transport;
    assert_eq!(client.selected_path().map(|p| p.remote), Some(home));
    assert!(network.hosts[3].transport.is_connected());
    for number in network.numbers_used(3).keys() {
        assert!(!network.numbers_used(SERVER).contains_key(number));
        assert!(!network.numbers_used(SECOND).contains_key(number));
    }
}

#[test]
fn damaged_snapshots_are_refused() {
    let mut network = connected(35);
    let now = network.now;
    let good = network.hosts[SERVER].transport.freeze(now).unwrap();
    let thaw = |raw: &[u8]| {
        let options = TransportOptions::default();
        Transport::thaw(now, raw, identity(SERVER), options, [0; 32]).map(|_| ())
    };
    assert!(thaw(&good).is_ok());
    assert!(matches!(thaw(&[]), Err(SnapshotError::Damaged)));
    let mut newer = good.to_vec();
    newer[6] = 99;
    assert!(matches!(thaw(&newer), Err(SnapshotError::Version(99))));
    for length in (0..good.len()).step_by(13) {
        assert!(thaw(&good[..length]).is_err());
    }
}

#[test]
fn channels_of_an_earlier_association_are_used_without_being_opened() {
    let mut network = Network::new(40);
    let now = network.now;
    for host in [SERVER, CLIENT] {
        let transport = &mut network.hosts[host].transport;
        transport.adopt_channel(now, 2, "_reliable", Reliability::Reliable);
        transport.adopt_channel(now, 0, "_lossy", Reliability::Lossy);
        // What is there already is not opened beside it.
        transport.open_channel(now, "_lossy", Reliability::Lossy);
    }
    network.connect();
    network.run_until(Duration::from_secs(20), |n| {
        [SERVER, CLIENT].iter().all(|host| {
            ["_reliable", "_lossy"]
                .iter()
                .all(|label| n.hosts[*host].is_open(label))
        })
    });
    for (from, to) in [(SERVER, CLIENT), (CLIENT, SERVER)] {
        for label in ["_reliable", "_lossy"] {
            let (now, text) = (network.now, Bytes::from_static(b"as before"));
            let sender = &mut network.hosts[from].transport;
            assert_eq!(
                sender.send_data(now, label, &text, true),
                SendOutcome::Queued
            );
            network.run(Duration::from_secs(1));
            assert_eq!(network.hosts[to].messages(label), [text], "{label} to {to}");
        }
    }
}
