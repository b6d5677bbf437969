//! ICE restarts: media goes on while credentials change.

use std::time::Duration;

use super::network::{CLIENT, Network, SERVER, address, credentials};
use crate::types::{DtlsRole, Path, Protocol};

/// Sends a packet each way every 10 ms for `millis` and counts what arrives.
fn media_for(network: &mut Network, millis: u64, sequence: &mut u16) -> (usize, usize) {
    let before = (
        network.hosts[SERVER].rtp.len(),
        network.hosts[CLIENT].rtp.len(),
    );
    for _ in 0..millis / 10 {
        *sequence += 1;
        network.send_rtp(CLIENT, 1, *sequence);
        network.send_rtp(SERVER, 2, *sequence);
        network.run(Duration::from_millis(10));
    }
    network.run(Duration::from_millis(15));
    (
        network.hosts[SERVER].rtp.len() - before.0,
        network.hosts[CLIENT].rtp.len() - before.1,
    )
}

#[test]
fn media_flows_through_a_restart_by_the_client() {
    let mut network = Network::new(20);
    network.connect();
    let mut sequence = 0;
    assert_eq!(media_for(&mut network, 100, &mut sequence), (10, 10));

    // The client's new offer and our answer, with a round trip of signalling in between.
    let now = network.now;
    let client = &mut network.hosts[CLIENT].transport;
    client.restart_ice(now, credentials("client2"));
    assert_eq!(media_for(&mut network, 100, &mut sequence), (10, 10));
    let offer = network.description(CLIENT, credentials("client2"), DtlsRole::Server);
    let now = network.now;
    let server = &mut network.hosts[SERVER].transport;
    server.set_remote(now, offer);
    server.restart_ice(now, credentials("server2"));
    assert_eq!(media_for(&mut network, 100, &mut sequence), (10, 10));
    let answer = network.description(SERVER, credentials("server2"), DtlsRole::Client);
    let now = network.now;
    network.hosts[CLIENT].transport.set_remote(now, answer);
    assert_eq!(
        media_for(&mut network, 20_000, &mut sequence),
        (2_000, 2_000)
    );
    assert!(network.both_connected());
    assert_eq!(
        network.hosts[SERVER].events.len(),
        3,
        "{:?}",
        network.hosts[SERVER].events
    );
}

#[test]
fn media_flows_through_a_restart_by_the_server_onto_a_new_address() {
    let mut network = Network::new(21);
    network.connect();
    let mut sequence = 0;
    let now = network.now;
    network.hosts[SERVER]
        .transport
        .restart_ice(now, credentials("server2"));
    assert_eq!(media_for(&mut network, 100, &mut sequence), (10, 10));

    // The client answers with new credentials and reaches us at another port only.
    let second = address("10.0.0.1:7999");
    network.hosts[SERVER].addresses.push(second);
    let mut offer = network.description(SERVER, credentials("server2"), DtlsRole::Client);
    offer.candidates.retain(|c| c.address == second);
    let now = network.now;
    let client = &mut network.hosts[CLIENT].transport;
    client.set_remote(now, offer);
    client.restart_ice(now, credentials("client2"));
    let answer = network.description(CLIENT, credentials("client2"), DtlsRole::Server);
    network.hosts[SERVER].transport.set_remote(now, answer);
    assert_eq!(
        media_for(&mut network, 20_000, &mut sequence),
        (2_000, 2_000)
    );
    let expected = Path {
        protocol: Protocol::Udp,
        local: second,
        remote: address("10.0.0.2:5000"),
    };
    assert_eq!(
        network.hosts[SERVER].transport.selected_path(),
        Some(expected)
    );
}

#[test]
fn a_restart_revives_a_failed_transport() {
    let mut network = Network::new(22);
    network.connect();
    network.loss_percent = 100;
    network.run(Duration::from_secs(20));
    network.loss_percent = 0;
    let now = network.now;
    network.hosts[SERVER]
        .transport
        .restart_ice(now, credentials("server2"));
    network.hosts[CLIENT]
        .transport
        .restart_ice(now, credentials("client2"));
    let offer = network.description(SERVER, credentials("server2"), DtlsRole::Client);
    let answer = network.description(CLIENT, credentials("client2"), DtlsRole::Server);
    network.hosts[CLIENT].transport.set_remote(now, offer);
    network.hosts[SERVER].transport.set_remote(now, answer);
    network.hosts[SERVER].events.clear();
    network.run(Duration::from_secs(2));
    assert!(network.hosts[SERVER].was(crate::event::TransportState::Connected));
    let mut sequence = 0;
    assert_eq!(media_for(&mut network, 100, &mut sequence), (10, 10));
}

#[test]
fn the_client_may_move_to_another_address() {
    let mut network = Network::new(23);
    network.connect();
    let moved = address("10.0.0.77:6000");
    network.hosts[CLIENT].addresses.push(moved);
    let path = Path {
        protocol: Protocol::Udp,
        local: moved,
        remote: address("10.0.0.1:7882"),
    };
    let now = network.now;
    network.hosts[CLIENT].transport.nominate(now, path);
    network.run(Duration::from_secs(1));
    assert_eq!(network.hosts[CLIENT].transport.selected_path(), Some(path));
    assert_eq!(
        network.hosts[SERVER]
            .transport
            .selected_path()
            .map(|p| p.remote),
        Some(moved)
    );
    let mut sequence = 0;
    assert_eq!(media_for(&mut network, 100, &mut sequence), (10, 10));
}

#[test]
fn a_client_that_changes_its_mind_is_not_overruled_by_its_old_choice() {
    let mut network = Network::new(24);
    network.connect();
    let first = network.hosts[CLIENT].transport.selected_path().unwrap();
    let second = Path {
        remote: address("10.0.0.1:7999"),
        ..first
    };
    network.hosts[SERVER].addresses.push(second.remote);
    for path in [second, first, second] {
        let now = network.now;
        network.hosts[CLIENT].transport.nominate(now, path);
        network.run(Duration::from_millis(500));
        network.hosts[SERVER].events.clear();
        network.run(Duration::from_secs(40));
        let server = &network.hosts[SERVER];
        assert_eq!(
            server.transport.selected_path().map(|p| p.local),
            Some(path.remote)
        );
        assert_eq!(server.events, []);
    }
}

#[test]
fn a_pair_that_dies_is_left_for_one_that_works() {
    for (seed, server_controls) in [(25, false), (26, true)] {
        let mut network = Network::with_client_at(seed, &["10.0.0.2:5000", "10.0.0.3:5000"]);
        network.connect();
        network.run(Duration::from_secs(3));
        if server_controls {
            let (now, server) = (network.now, &mut network.hosts[SERVER].transport);
            let path = server.selected_path().unwrap();
            server.nominate(now, path);
            network.run(Duration::from_secs(1));
        }
        let used = network.hosts[SERVER].transport.selected_path().unwrap();
        network.dead.push(used.remote);
        network.run(Duration::from_secs(7));
        let now_used = network.hosts[SERVER].transport.selected_path().unwrap();
        assert_ne!(now_used.remote, used.remote);
        let mut sequence = 0;
        assert_eq!(media_for(&mut network, 100, &mut sequence), (10, 10));
    }
}
