//! Behaviour of the TURN server in virtual time: a client that speaks the protocol, a server, and
//! what goes back and forth. No sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod allocating;
mod hostile;
mod relaying;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::credentials::{Authority, Credentials, REALM, long_term_key};
use super::message::{Message, Method, Writer, attribute};
use super::peers::{OwnPort, PeerPolicy};
use super::{Config, Input, Output, RelayAddress, RelayId, Server};
use crate::transport::stun::Class;
use crate::types::{Path, Protocol};

const NOW_S: i64 = 1_700_000_000;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// What the server wanted done, with bytes of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Done {
    ToClient(Path, Vec<u8>, usize),
    ToPeer(RelayId, SocketAddr, Vec<u8>, usize),
    Open(RelayId, SocketAddr),
    Close(RelayId),
}

/// A server at a time, and the credentials it would give out.
struct World {
    started: Instant,
    now: Instant,
    server: Server,
    authority: Authority,
    /// Sockets that open at once; else the test opens them.
    opens: bool,
    done: Vec<Done>,
}

impl World {
    fn new() -> World {
        World::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> World {
        let now = Instant::now();
        let secrets = BTreeMap::from([("devkey".to_owned(), "secret".to_owned())]);
        let authority = Authority::new(secrets, Duration::from_secs(300));
        let ours = RelayAddress {
            bound: at("10.0.0.5:0").ip(),
            advertised: at("203.0.113.9:0").ip(),
        };
        let mut config = Config {
            authority: authority.clone(),
            relay_addresses: vec![ours],
            relay_ports: 30_000..=30_099,
            allocations_per_user_max: 2,
            allocations_max: 50,
            peers: PeerPolicy {
                own_ports: vec![OwnPort {
                    advertised: at("203.0.113.9:7882"),
                    bound: at("10.0.0.5:7882"),
                }],
                ..PeerPolicy::default()
            },
            seed: [7; 32],
            started: now,
            started_unix_s: NOW_S,
        };
        change(&mut config);
        World {
            started: now,
            now,
            server: Server::new(config),
            authority,
            opens: true,
            done: Vec::new(),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        while self.server.deadline().is_some_and(|due| due <= self.now) {
            self.handle(Input::Timeout);
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.server.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        let mut opened = Vec::new();
        while let Some(output) = self.server.poll() {
            self.done.push(match output {
                Output::ToClient {
                    path,
                    payload,
                    segment_size,
                } => Done::ToClient(path, payload.to_vec(), segment_size),
                Output::ToPeer {
                    relay,
                    to,
                    payload,
                    segment_size,
                } => Done::ToPeer(relay, to, payload.to_vec(), segment_size),
                Output::OpenRelay { relay, address } => {
                    opened.push(relay);
                    Done::Open(relay, address)
                }
                Output::CloseRelay { relay } => Done::Close(relay),
            });
        }
        if self.opens {
            for relay in opened {
                self.handle(Input::RelayOpened { relay });
            }
        }
    }

    /// What happened since the last look.
    fn take(&mut self) -> Vec<Done> {
        std::mem::take(&mut self.done)
    }

    fn issue(&self, participant: &str) -> Credentials {
        let now_s = NOW_S + (self.now - self.started).as_secs() as i64;
        self.authority.issue(now_s, "devkey", participant).unwrap()
    }

    fn client(&mut self, address: &str) -> Client {
        let credentials = self.issue("PA_1");
        Client::new(Protocol::Udp, address, credentials)
    }

    /// A client with an allocation, and the socket that stands for it.
    fn allocated(&mut self, address: &str) -> (Client, RelayId) {
        let mut client = self.client(address);
        let relay = self.allocate(&mut client);
        (client, relay)
    }

    fn allocate(&mut self, client: &mut Client) -> RelayId {
        client.learn_nonce(self);
        let answer = client.allocate(self);
        assert_eq!(answer.code, 0, "{answer:?}");
        let opened = answer.others.iter().find_map(|one| match one {
            Done::Open(relay, _) => Some(*relay),
            _ => None,
        });
        opened.unwrap()
    }

    fn peer_sends(&mut self, relay: RelayId, from: &str, payload: &[u8]) -> Vec<Done> {
        self.take();
        let from = at(from);
        self.handle(Input::Peer {
            relay,
            from,
            payload,
        });
        self.take()
    }
}

/// An answer: its error code (0 = success), and what else was done.
#[derive(Debug)]
struct Answer {
    code: u16,
    raw: Vec<u8>,
    others: Vec<Done>,
}

impl Answer {
    fn message(&self) -> Message<'_> {
        Message::parse(&self.raw).unwrap()
    }
}

struct Client {
    path: Path,
    credentials: Credentials,
    nonce: Vec<u8>,
    transaction: u8,
}

impl Client {
    fn new(protocol: Protocol, address: &str, credentials: Credentials) -> Client {
        Client {
            path: Path {
                protocol,
                local: at("10.0.0.5:3478"),
                remote: at(address),
            },
            credentials,
            nonce: Vec::new(),
            transaction: 0,
        }
    }

    fn learn_nonce(&mut self, world: &mut World) {
        let answer = self.ask_plainly(world, Method::Allocate);
        assert_eq!(answer.code, 401);
        assert_eq!(
            answer.message().find(attribute::REALM),
            Some(&b"livekit"[..])
        );
        self.nonce = answer.message().find(attribute::NONCE).unwrap().to_vec();
    }

    fn ask_plainly(&mut self, world: &mut World, method: Method) -> Answer {
        let mut raw = Vec::new();
        self.transaction += 1;
        Writer::new(&mut raw, Class::Request, method, [self.transaction; 12]).fingerprint();
        self.exchange(world, &raw)
    }

    fn allocate(&mut self, world: &mut World) -> Answer {
        self.ask(world, Method::Allocate, |writer| {
            writer.attribute(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
        })
    }

    fn refresh(&mut self, world: &mut World, seconds: u32) -> u16 {
        self.ask(world, Method::Refresh, |writer| {
            writer.u32(attribute::LIFETIME, seconds)
        })
        .code
    }

    fn permit(&mut self, world: &mut World, peer: &str) -> u16 {
        self.ask(world, Method::CreatePermission, |writer| {
            writer.address(attribute::XOR_PEER_ADDRESS, at(peer))
        })
        .code
    }

    fn bind(&mut self, world: &mut World, channel: u16, peer: &str) -> u16 {
        self.ask(world, Method::ChannelBind, |writer| {
            writer
                .u32(attribute::CHANNEL_NUMBER, u32::from(channel) << 16)
                .address(attribute::XOR_PEER_ADDRESS, at(peer))
        })
        .code
    }

    /// A signed request.
    fn ask(
        &mut self,
        world: &mut World,
        method: Method,
        write: impl for<'w> FnOnce(Writer<'w>) -> Writer<'w>,
    ) -> Answer {
        self.transaction += 1;
        let raw = self.signed(method, write);
        self.exchange(world, &raw)
    }

    fn signed(
        &self,
        method: Method,
        write: impl for<'w> FnOnce(Writer<'w>) -> Writer<'w>,
    ) -> Vec<u8> {
        let Credentials { username, password } = &self.credentials;
        let mut raw = Vec::new();
        let writer = Writer::new(&mut raw, Class::Request, method, [self.transaction; 12]);
        write(writer)
            .attribute(attribute::USERNAME, username.as_bytes())
            .attribute(attribute::REALM, REALM.as_bytes())
            .attribute(attribute::NONCE, &self.nonce)
            .sign(&long_term_key(username, REALM, password))
            .fingerprint();
        raw
    }

    fn exchange(&self, world: &mut World, raw: &[u8]) -> Answer {
        world.take();
        world.handle(Input::Client {
            path: self.path,
            payload: raw,
        });
        let mut others = world.take();
        let position = others
            .iter()
            .position(|one| matches!(one, Done::ToClient(path, ..) if *path == self.path));
        let Done::ToClient(_, raw, _) = others.remove(position.expect("an answer")) else {
            panic!("an answer");
        };
        let message = Message::parse(&raw).expect("a message");
        let code = message.error_code().unwrap_or(0);
        Answer { code, raw, others }
    }

    /// Data through the allocation; what came of it.
    fn send(&self, world: &mut World, raw: &[u8]) -> Vec<Done> {
        world.take();
        world.handle(Input::Client {
            path: self.path,
            payload: raw,
        });
        world.take()
    }

    fn indication(peer: &str, payload: &[u8]) -> Vec<u8> {
        let mut raw = Vec::new();
        Writer::new(&mut raw, Class::Indication, Method::Send, [9; 12])
            .address(attribute::XOR_PEER_ADDRESS, at(peer))
            .attribute(attribute::DATA, payload);
        raw
    }

    fn channel(number: u16, payload: &[u8]) -> Vec<u8> {
        let mut raw = number.to_be_bytes().to_vec();
        raw.extend((payload.len() as u16).to_be_bytes());
        raw.extend(payload);
        raw
    }
}
