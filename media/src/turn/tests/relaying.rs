//! Data on its way: permissions, channels, indications, runs.

use super::*;

#[test]
fn data_goes_to_a_media_port_and_back_by_indications() {
    let mut world = World::new();
    let (mut client, relay) = world.allocated("198.51.100.7:5000");
    let raw = Client::indication("203.0.113.9:7882", b"check");
    assert!(
        client.send(&mut world, &raw).is_empty(),
        "no permission yet"
    );
    assert_eq!(client.permit(&mut world, "203.0.113.9:7882"), 0);
    let bound = at("10.0.0.5:7882");
    assert_eq!(
        client.send(&mut world, &raw),
        [Done::ToPeer(relay, bound, b"check".to_vec(), 5)]
    );
    let done = world.peer_sends(relay, "10.0.0.5:7882", b"answer");
    let [Done::ToClient(path, raw, _)] = &done[..] else {
        panic!("{done:?}");
    };
    let message = Message::parse(raw).unwrap();
    assert_eq!((*path, message.method()), (client.path, Method::Data));
    assert_eq!(message.class(), Class::Indication);
    let peer = message.find_address(attribute::XOR_PEER_ADDRESS);
    assert_eq!(peer, Some(at("203.0.113.9:7882")), "as the client knows it");
    assert_eq!(message.find(attribute::DATA), Some(&b"answer"[..]));
}

#[test]
fn a_channel_carries_four_bytes_more_and_ends_after_ten_minutes() {
    let mut world = World::new();
    let (mut client, relay) = world.allocated("198.51.100.7:5000");
    assert_eq!(client.bind(&mut world, 0x4001, "203.0.113.9:7882"), 0);
    let raw = Client::channel(0x4001, b"media");
    let bound = at("10.0.0.5:7882");
    assert_eq!(
        client.send(&mut world, &raw),
        [Done::ToPeer(relay, bound, b"media".to_vec(), 5)]
    );
    assert_eq!(
        world.peer_sends(relay, "10.0.0.5:7882", b"media"),
        [Done::ToClient(client.path, raw.clone(), 9)]
    );
    world.pass(Duration::from_secs(299));
    assert_eq!(client.refresh(&mut world, 3_600), 0);
    assert_eq!(client.send(&mut world, &raw).len(), 1);
    world.pass(Duration::from_secs(2));
    assert!(
        client.send(&mut world, &raw).is_empty(),
        "the permission is over"
    );
    assert_eq!(client.permit(&mut world, "203.0.113.9:1"), 0);
    assert_eq!(client.send(&mut world, &raw).len(), 1);
    world.pass(Duration::from_secs(299));
    assert_eq!(client.permit(&mut world, "203.0.113.9:1"), 0);
    assert!(
        client.send(&mut world, &raw).is_empty(),
        "the channel is over"
    );
    assert_eq!(
        client.bind(&mut world, 0x4002, "203.0.113.9:7882"),
        0,
        "and free"
    );
}

#[test]
fn a_channel_and_a_peer_belong_together() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("198.51.100.7:5000");
    assert_eq!(client.bind(&mut world, 0x4001, "203.0.113.9:7882"), 0);
    assert_eq!(
        client.bind(&mut world, 0x4001, "203.0.113.9:7882"),
        0,
        "renewed"
    );
    assert_eq!(client.bind(&mut world, 0x4001, "8.8.8.8:7882"), 400);
    assert_eq!(client.bind(&mut world, 0x4002, "203.0.113.9:7882"), 400);
    assert_eq!(client.bind(&mut world, 0x3fff, "8.8.8.8:7882"), 400);
    assert_eq!(client.bind(&mut world, 0x7fff, "8.8.8.8:7882"), 400);
}

#[test]
fn private_peers_and_other_ports_of_this_machine_are_out_of_reach() {
    let mut world = World::new();
    let (mut client, relay) = world.allocated("198.51.100.7:5000");
    for peer in ["10.0.0.6:80", "127.0.0.1:80", "169.254.169.254:80"] {
        assert_eq!(client.permit(&mut world, peer), 403, "{peer}");
        assert_eq!(client.bind(&mut world, 0x4001, peer), 403, "{peer}");
    }
    assert_eq!(client.bind(&mut world, 0x4001, "203.0.113.9:22"), 403);
    assert_eq!(client.permit(&mut world, "[2001:db8::1]:1"), 443);
    assert_eq!(client.permit(&mut world, "10.0.0.5:7882"), 0);
    let raw = Client::indication("10.0.0.5:22", b"knock");
    assert!(client.send(&mut world, &raw).is_empty());
    assert!(world.peer_sends(relay, "10.0.0.5:53", b"spoof").is_empty());
    assert_eq!(world.server.counters().refused_peers, 7);
}

#[test]
fn strangers_do_not_reach_a_client() {
    let mut world = World::new();
    let (mut client, relay) = world.allocated("198.51.100.7:5000");
    assert!(world.peer_sends(relay, "8.8.8.8:53", b"spam").is_empty());
    assert_eq!(client.permit(&mut world, "8.8.8.8:53"), 0);
    assert_eq!(world.peer_sends(relay, "8.8.8.8:99", b"any port").len(), 1);
    let late = RelayId {
        generation: relay.generation + 1,
        ..relay
    };
    assert!(
        world
            .peer_sends(late, "8.8.8.8:53", b"other socket")
            .is_empty()
    );
    assert_eq!(world.server.counters().dropped_unpermitted, 2);
}

#[test]
fn a_batch_leaves_in_runs_of_equal_datagrams() {
    let mut world = World::new();
    let (mut client, relay) = world.allocated("198.51.100.7:5000");
    assert_eq!(client.bind(&mut world, 0x4001, "203.0.113.9:7882"), 0);
    world.take();
    for length in [100, 100, 60, 100] {
        let input = Input::Peer {
            relay,
            from: at("10.0.0.5:7882"),
            payload: &[1; 200][..length],
        };
        world.server.handle(world.now, input);
    }
    world.drain();
    let sizes: Vec<_> = world.take().iter().map(size).collect();
    assert_eq!(sizes, [(104 + 104 + 64, 104), (104, 104)]);
}

#[test]
fn on_a_stream_channel_data_is_padded_and_written_at_once() {
    let mut world = World::new();
    let credentials = world.issue("PA_1");
    let mut client = Client::new(Protocol::Tcp, "198.51.100.7:5000", credentials);
    let relay = world.allocate(&mut client);
    assert_eq!(client.bind(&mut world, 0x4001, "203.0.113.9:7882"), 0);
    world.take();
    for payload in [&b"hello"[..], b"a longer one"] {
        let from = at("10.0.0.5:7882");
        let input = Input::Peer {
            relay,
            from,
            payload,
        };
        world.server.handle(world.now, input);
    }
    world.drain();
    let done = world.take();
    let [Done::ToClient(_, bytes, _)] = &done[..] else {
        panic!("{done:?}");
    };
    let mut decoder = super::super::framing::StreamDecoder::new();
    decoder.push(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next_frame().unwrap() {
        frames.push(frame.to_vec());
    }
    let expected = [b"hello".to_vec(), b"a longer one".to_vec()];
    assert_eq!(
        frames,
        expected.map(|payload| Client::channel(0x4001, &payload))
    );
}

fn size(done: &Done) -> (usize, usize) {
    match done {
        Done::ToClient(_, bytes, segment) | Done::ToPeer(_, _, bytes, segment) => {
            (bytes.len(), *segment)
        }
        _ => (0, 0),
    }
}
