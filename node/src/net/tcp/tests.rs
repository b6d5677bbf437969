//! Strangers over real sockets of loopback, in virtual time.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, TcpStream as Client};
use std::time::Duration;

use media::transport::tcp_framing::framed;
use mio::{Events, Poll};

use super::*;
use crate::limits::TCP_STRANGERS_PER_NETWORK_MAX;
use crate::worker::steering::ufrag_prefix;

struct Stage {
    poll: Poll,
    side: TcpSide,
    address: SocketAddr,
    now: Instant,
}

impl Stage {
    fn new() -> Stage {
        let now = Instant::now();
        let poll = Poll::new().unwrap();
        let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let steering = Steering::new(now, 0, 2);
        let side = TcpSide::new(registry, vec![listener], 1, steering).unwrap();
        Stage {
            poll,
            side,
            address,
            now,
        }
    }

    fn connect_from(&self, host: u8) -> Client {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let from = SocketAddr::from(([127, 0, 0, host], 0));
        socket.bind(&from.into()).unwrap();
        socket.connect(&self.address.into()).unwrap();
        socket.into()
    }

    /// Serves until `done`; `knows`: what the shard says of every frame.
    fn serve_until(&mut self, knows: bool, done: impl Fn(&TcpSide, usize) -> bool) {
        let mut events = Events::with_capacity(64);
        let mut frames = 0;
        while !done(&self.side, frames) {
            let wait = Some(Duration::from_millis(10));
            self.poll.poll(&mut events, wait).unwrap();
            for event in &events {
                let (token, writable) = (event.token(), event.is_writable());
                self.side.ready(token, event.is_readable(), writable);
            }
            self.side.turn(self.now, &mut |incoming| {
                frames += usize::from(matches!(incoming, Incoming::Frame { .. }));
                knows
            });
        }
    }
}

fn check() -> Vec<u8> {
    let request = stun::Builder::new(stun::Class::Request, [7; 12]);
    let request = request.username(&format!("{}abc:theirs", ufrag_prefix(0)));
    framed(&request.finish(&stun::integrity_key("whatever"))).to_vec()
}

#[test]
fn a_connection_stays_only_if_its_shard_takes_the_check() {
    for knows in [false, true] {
        let mut stage = Stage::new();
        let mut client = stage.connect_from(1);
        client.write_all(&check()).unwrap();
        stage.serve_until(knows, |_, frames| frames == 1);
        // A second check does not buy time.
        stage.now += TCP_STRANGER_TIMEOUT / 2;
        client.write_all(&check()).unwrap();
        stage.serve_until(knows, |_, frames| frames == 1);
        stage.now += TCP_STRANGER_TIMEOUT / 2;
        stage.side.expire(stage.now);
        assert_eq!(stage.side.connections(), usize::from(knows));
    }
}

#[test]
fn plain_binding_requests_buy_no_time() {
    let mut stage = Stage::new();
    let mut client = stage.connect_from(1);
    let request = framed(&stun::Builder::new(stun::Class::Request, [9; 12]).finish_plain());
    client.write_all(&request).unwrap();
    stage.serve_until(false, |side, _| side.counters.bytes_out > 0);
    stage.now += TCP_STRANGER_TIMEOUT;
    stage.side.expire(stage.now);
    assert_eq!(stage.side.connections(), 0);
}

#[test]
fn one_address_cannot_take_every_strangers_place() {
    let mut stage = Stage::new();
    let most = TCP_STRANGERS_PER_NETWORK_MAX;
    let _held: Vec<Client> = (0..most + 5).map(|_| stage.connect_from(9)).collect();
    stage.serve_until(false, |side, _| side.counters.accepted as usize == most + 5);
    assert_eq!(stage.side.connections(), most);
    assert_eq!(stage.side.counters.refused, 5);
    let mut other = stage.connect_from(8);
    other.write_all(&check()).unwrap();
    stage.serve_until(true, |_, frames| frames == 1);
    // Places are free again when strangers go or become known.
    stage.now += TCP_STRANGER_TIMEOUT;
    stage.side.expire(stage.now);
    assert_eq!(stage.side.connections(), 1);
    let _again = stage.connect_from(9);
    stage.serve_until(false, |side, _| side.connections() == 2);
}
