//! Getting, keeping and losing an allocation.

use super::*;

#[test]
fn a_participant_gets_an_allocation_with_the_credentials_of_its_join() {
    let mut world = World::new();
    let mut client = world.client("198.51.100.7:5000");
    client.learn_nonce(&mut world);
    let answer = client.allocate(&mut world);
    assert_eq!(answer.code, 0);
    let message = answer.message();
    let relayed = message
        .find_address(attribute::XOR_RELAYED_ADDRESS)
        .unwrap();
    assert_eq!(relayed.ip(), at("203.0.113.9:0").ip());
    assert!((30_000..=30_099).contains(&relayed.port()));
    let mapped = message.find_address(attribute::XOR_MAPPED_ADDRESS);
    assert_eq!(mapped, Some(client.path.remote));
    assert_eq!(message.find_u32(attribute::LIFETIME), Some(600));
    let Credentials { username, password } = &client.credentials;
    assert!(message.verify(&long_term_key(username, REALM, password)));
    let bound = SocketAddr::new(at("10.0.0.5:0").ip(), relayed.port());
    assert!(matches!(answer.others[..], [Done::Open(_, address)] if address == bound));
    assert_eq!(world.server.counters().allocations_made, 1);
}

#[test]
fn wrong_old_or_invented_credentials_get_nothing() {
    let mut world = World::new();
    let mut client = world.client("198.51.100.7:5000");
    client.learn_nonce(&mut world);
    let good = client.credentials.clone();
    client.credentials.password.push('x');
    assert_eq!(client.allocate(&mut world).code, 401);
    client.credentials = Credentials {
        username: "ann".into(),
        ..good.clone()
    };
    assert_eq!(client.allocate(&mut world).code, 401);
    client.credentials = good;
    world.pass(Duration::from_secs(300));
    assert_eq!(client.allocate(&mut world).code, 401);
    assert_eq!(world.server.allocations(), 0);
}

#[test]
fn a_nonce_is_replaced_after_an_hour_and_is_good_at_one_address_only() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("198.51.100.7:5000");
    for _ in 0..59 {
        world.pass(Duration::from_secs(60));
        assert_eq!(client.refresh(&mut world, 600), 0);
    }
    world.pass(Duration::from_secs(60));
    let answer = client.ask(&mut world, Method::Refresh, |writer| writer);
    assert_eq!(answer.code, 438);
    client.nonce = answer.message().find(attribute::NONCE).unwrap().to_vec();
    assert_eq!(client.refresh(&mut world, 600), 0, "with the new nonce");

    let mut other = world.client("198.51.100.8:5000");
    other.nonce = client.nonce.clone();
    assert_eq!(other.allocate(&mut world).code, 438);
}

#[test]
fn an_allocation_outlives_its_credentials_as_long_as_it_is_refreshed() {
    let mut world = World::new();
    let (mut client, relay) = world.allocated("198.51.100.7:5000");
    for _ in 0..4 {
        world.pass(Duration::from_secs(590));
        assert_eq!(client.refresh(&mut world, 600), 0);
    }
    world.take();
    world.pass(Duration::from_secs(601));
    assert_eq!(world.take(), [Done::Close(relay)]);
    assert_eq!(client.refresh(&mut world, 600), 437);
    assert_eq!(
        client.allocate(&mut world).code,
        401,
        "the old credentials begin nothing"
    );
    assert_eq!(world.server.allocations(), 0);
}

#[test]
fn a_refresh_of_zero_and_the_end_of_a_stream_end_the_allocation() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("198.51.100.7:5000");
    assert_eq!(client.refresh(&mut world, 0), 0);
    assert_eq!(world.server.allocations(), 0);
    assert_eq!(client.refresh(&mut world, 600), 437);

    let credentials = client.credentials.clone();
    let mut stream = Client::new(Protocol::Tcp, "198.51.100.7:5001", credentials);
    let relay = world.allocate(&mut stream);
    assert!(world.server.knows(&stream.path));
    world.take();
    world.handle(Input::Closed { path: stream.path });
    assert_eq!(world.take(), [Done::Close(relay)]);
    assert!(!world.server.knows(&stream.path));
}

#[test]
fn a_repeated_request_gets_the_same_answer_and_a_second_one_is_refused() {
    let mut world = World::new();
    let mut client = world.client("198.51.100.7:5000");
    client.learn_nonce(&mut world);
    client.transaction += 1;
    let raw = client.signed(Method::Allocate, |writer| {
        writer.attribute(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
    });
    let first = client.exchange(&mut world, &raw);
    let again = client.exchange(&mut world, &raw);
    assert_eq!((first.code, &first.raw), (0, &again.raw));
    assert_eq!(client.allocate(&mut world).code, 437);
    assert_eq!(world.server.allocations(), 1);
}

#[test]
fn quotas_hold_for_each_participant_and_for_the_node() {
    let mut world = World::with(|config| config.allocations_max = 3);
    world.allocated("198.51.100.7:5000");
    let (mut second, _) = world.allocated("198.51.100.7:5001");
    let mut third = world.client("198.51.100.7:5002");
    third.learn_nonce(&mut world);
    assert_eq!(third.allocate(&mut world).code, 486);
    assert_eq!(second.refresh(&mut world, 0), 0);
    assert_eq!(third.allocate(&mut world).code, 0, "room again");

    for (port, code) in [(5003, 0), (5004, 508)] {
        let mut other = world.client(&format!("198.51.100.7:{port}"));
        other.credentials = world.issue("PA_2");
        other.learn_nonce(&mut world);
        assert_eq!(other.allocate(&mut world).code, code);
    }
}

#[test]
fn nobody_uses_the_allocation_of_somebody_else() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("198.51.100.7:5000");
    client.credentials = world.issue("PA_2");
    assert_eq!(client.refresh(&mut world, 0), 441);
    assert_eq!(client.permit(&mut world, "203.0.113.9:7882"), 441);
    assert_eq!(world.server.allocations(), 1);
}

#[test]
fn a_port_in_use_elsewhere_is_passed_over_and_a_full_range_says_so() {
    let mut world = World::with(|config| config.relay_ports = 30_000..=30_001);
    world.opens = false;
    let mut client = world.client("198.51.100.7:5000");
    client.learn_nonce(&mut world);
    client.transaction += 1;
    let raw = client.signed(Method::Allocate, |writer| {
        writer.attribute(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
    });
    let opened = client.send(&mut world, &raw);
    let [Done::Open(relay, first)] = opened[..] else {
        panic!("{opened:?}");
    };
    assert!(client.send(&mut world, &raw).is_empty(), "still opening");
    world.handle(Input::RelayFailed { relay });
    let [Done::Open(_, second)] = world.take()[..] else {
        panic!("another port");
    };
    assert_ne!(first, second);
    for _ in 0..16 {
        world.handle(Input::RelayFailed { relay });
    }
    let done = world.take();
    assert!(done.contains(&Done::Close(relay)));
    let Some(Done::ToClient(_, raw, _)) = done.last() else {
        panic!("{done:?}");
    };
    assert_eq!(Message::parse(raw).unwrap().error_code(), Some(508));
    assert_eq!(world.server.allocations(), 0);
}

#[test]
fn what_is_not_offered_is_refused_by_its_code() {
    let mut world = World::new();
    let mut client = world.client("198.51.100.7:5000");
    client.learn_nonce(&mut world);
    let udp = [17, 0, 0, 0];
    let transport = attribute::REQUESTED_TRANSPORT;
    for (kind, value, code) in [
        (attribute::LIFETIME, &[0, 0, 1, 0][..], 400),
        (transport, &[6, 0, 0, 0], 442),
        (attribute::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0], 440),
        (attribute::REQUESTED_ADDRESS_FAMILY, &[9, 0, 0, 0], 440),
        (attribute::EVEN_PORT, &[0x80], 508),
        (attribute::RESERVATION_TOKEN, &[1; 8], 508),
        (0x001A, &[], 420),
    ] {
        let answer = client.ask(&mut world, Method::Allocate, |writer| {
            let writer = match (kind, code) {
                (_, 400) | (attribute::REQUESTED_TRANSPORT, _) => writer,
                _ => writer.attribute(transport, &udp),
            };
            writer.attribute(kind, value)
        });
        assert_eq!(answer.code, code, "attribute {kind:#06x}");
        if code == 420 {
            let unknown = answer.message().find(attribute::UNKNOWN_ATTRIBUTES);
            assert_eq!(unknown, Some(&[0x00, 0x1A][..]));
        }
    }
    assert_eq!(world.server.allocations(), 0);
}
