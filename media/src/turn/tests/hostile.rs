//! Bytes and habits of attackers.

use super::super::framing::StreamDecoder;
use super::*;
use crate::limits::{TURN_STRANGER_ANSWERS_BURST, TURN_STRANGER_ANSWERS_PER_SECOND};

#[test]
fn what_is_not_turn_is_dropped_and_counted() {
    let mut world = World::new();
    let client = world.client("198.51.100.7:5000");
    let mut wrong_fingerprint = Vec::new();
    Writer::new(
        &mut wrong_fingerprint,
        Class::Request,
        Method::Binding,
        [1; 12],
    )
    .fingerprint();
    *wrong_fingerprint.last_mut().unwrap() ^= 1;
    let mut answer = Vec::new();
    Writer::new(&mut answer, Class::Success, Method::Binding, [1; 12]).fingerprint();
    for raw in [
        &b""[..],
        b"\x16\xfe\xfd",
        b"GET / HTTP/1.1",
        b"\x40\x01\xff\xff",
        &wrong_fingerprint,
        &answer,
    ] {
        assert!(client.send(&mut world, raw).is_empty());
    }
    assert_eq!(world.server.counters().dropped_malformed, 6);
}

#[test]
fn strangers_get_few_answers_a_second_and_cost_no_memory() {
    let mut world = World::new();
    let mut request = Vec::new();
    Writer::new(&mut request, Class::Request, Method::Allocate, [1; 12]).fingerprint();
    let burst = TURN_STRANGER_ANSWERS_BURST as usize;
    let answers = |world: &mut World| {
        world.take();
        for port in 1..=2 * burst as u16 {
            let path = Path {
                protocol: Protocol::Udp,
                local: at("10.0.0.5:3478"),
                remote: SocketAddr::new(at("198.51.100.7:0").ip(), port),
            };
            let payload = &request;
            world.handle(Input::Client { path, payload });
        }
        world.take().len()
    };
    assert_eq!(answers(&mut world), burst);
    world.pass(Duration::from_secs(1));
    assert_eq!(
        answers(&mut world),
        TURN_STRANGER_ANSWERS_PER_SECOND as usize
    );
    assert_eq!(world.server.deadline(), None, "nothing to remember");
    let (mut elsewhere, _) = world.allocated("192.0.2.1:5000");
    assert_eq!(elsewhere.refresh(&mut world, 600), 0, "others are served");
}

#[test]
fn a_client_cannot_collect_peers_without_end() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("198.51.100.7:5000");
    let peer = |number: u16| format!("8.8.{}.{}:1", number / 200, number % 200 + 1);
    let codes: Vec<_> = (0..70)
        .map(|n| client.permit(&mut world, &peer(n)))
        .collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 64);
    assert_eq!(codes.last(), Some(&508));
    let (mut client, _) = world.allocated("198.51.100.7:5001");
    let codes: Vec<_> = (0..70)
        .map(|n| client.bind(&mut world, 0x4000 + n, &peer(n)))
        .collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 64);
}

#[test]
fn a_stream_that_is_not_turn_is_an_error_at_once() {
    for raw in [
        &b"\x80\x00\x00\x00"[..],
        b"\x7f\xff\x00\x01",
        b"\x00\x01\xff\xf0",
        b"GET / HTTP/1.1",
    ] {
        let mut decoder = StreamDecoder::new();
        decoder.push(raw);
        assert!(decoder.next_frame().is_err(), "{raw:?}");
    }
    let mut decoder = StreamDecoder::new();
    decoder.push(&[0x40, 0x00, 0x00]);
    assert_eq!(decoder.next_frame(), Ok(None));
}
