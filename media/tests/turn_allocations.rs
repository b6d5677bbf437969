//! Relaying allocates nothing once its buffers have grown: counted by a global allocator, so this
//! is a test binary of its own with one test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::alloc::System;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use skein_media::transport::stun::Class;
use skein_media::turn::credentials::{Authority, REALM, long_term_key};
use skein_media::turn::message::{Message, Method, Writer, attribute};
use skein_media::turn::peers::{OwnPort, PeerPolicy};
use skein_media::turn::{Config, Input, Output, RelayAddress, RelayId, Server};
use skein_media::types::{Path, Protocol};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn server(now: Instant) -> (Server, Authority) {
    let secrets = BTreeMap::from([("key".to_owned(), "secret".to_owned())]);
    let authority = Authority::new(secrets, Duration::from_secs(300));
    let media = at("10.0.0.5:7882");
    let server = Server::new(Config {
        authority: authority.clone(),
        relay_addresses: vec![RelayAddress {
            bound: media.ip(),
            advertised: media.ip(),
        }],
        relay_ports: 30_000..=30_010,
        allocations_per_user_max: 1,
        allocations_max: 1,
        peers: PeerPolicy {
            own_ports: vec![OwnPort {
                advertised: media,
                bound: media,
            }],
            ..PeerPolicy::default()
        },
        seed: [1; 32],
        started: now,
        started_unix_s: 0,
    });
    (server, authority)
}

/// Asks and returns the answer; opens the socket if one is wanted.
fn exchange(server: &mut Server, now: Instant, path: Path, raw: &[u8]) -> (Vec<u8>, RelayId) {
    let payload = raw;
    server.handle(now, Input::Client { path, payload });
    let mut relay = RelayId {
        index: 0,
        generation: 0,
    };
    let mut answer = Vec::new();
    loop {
        match server.poll() {
            Some(Output::ToClient { payload, .. }) => answer = payload.to_vec(),
            Some(Output::OpenRelay { relay: opened, .. }) => {
                relay = opened;
                server.handle(now, Input::RelayOpened { relay });
            }
            Some(_) => {}
            None => return (answer, relay),
        }
    }
}

#[test]
fn relaying_allocates_nothing_per_packet() {
    let now = Instant::now();
    let (mut server, authority) = server(now);
    let path = Path {
        protocol: Protocol::Udp,
        local: at("10.0.0.5:3478"),
        remote: at("198.51.100.7:5000"),
    };
    let credentials = authority.issue(0, "key", "PA_1").unwrap();
    let key = long_term_key(&credentials.username, REALM, &credentials.password);
    let mut raw = Vec::new();
    Writer::new(&mut raw, Class::Request, Method::Allocate, [0; 12]).fingerprint();
    let (challenge, _) = exchange(&mut server, now, path, &raw);
    let challenge = Message::parse(&challenge).unwrap();
    let nonce = challenge.find(attribute::NONCE).unwrap();
    let request = |method, number: u8| {
        let mut raw = Vec::new();
        Writer::new(&mut raw, Class::Request, method, [number; 12])
            .attribute(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
            .u32(attribute::CHANNEL_NUMBER, 0x4000 << 16)
            .address(attribute::XOR_PEER_ADDRESS, at("10.0.0.5:7882"))
            .attribute(attribute::USERNAME, credentials.username.as_bytes())
            .attribute(attribute::REALM, REALM.as_bytes())
            .attribute(attribute::NONCE, nonce)
            .sign(&key)
            .fingerprint();
        raw
    };
    let (_, relay) = exchange(&mut server, now, path, &request(Method::Allocate, 1));
    let (bound, _) = exchange(&mut server, now, path, &request(Method::ChannelBind, 2));
    assert_eq!(Message::parse(&bound).unwrap().class(), Class::Success);

    let media = [7_u8; 1_200];
    let mut channel = vec![0x40, 0x00, 0x04, 0xb0];
    channel.extend(media);
    let mut indication = Vec::new();
    Writer::new(&mut indication, Class::Indication, Method::Send, [3; 12])
        .address(attribute::XOR_PEER_ADDRESS, at("10.0.0.5:7882"))
        .attribute(attribute::DATA, &media);
    let mut packets = 0;
    let mut turn = |server: &mut Server| {
        for _ in 0..8 {
            for payload in [&channel[..], &indication] {
                server.handle(now, Input::Client { path, payload });
            }
            let (from, payload) = (at("10.0.0.5:7882"), &media[..]);
            server.handle(
                now,
                Input::Peer {
                    relay,
                    from,
                    payload,
                },
            );
        }
        while let Some(output) = server.poll() {
            if let Output::ToClient {
                payload,
                segment_size,
                ..
            }
            | Output::ToPeer {
                payload,
                segment_size,
                ..
            } = output
            {
                packets += payload.len().div_ceil(segment_size);
            }
        }
    };
    turn(&mut server);
    let region = Region::new(ALLOCATOR);
    for _ in 0..100 {
        turn(&mut server);
    }
    let change = region.change();
    assert_eq!(packets, 101 * 8 * 3);
    assert_eq!(change.allocations + change.reallocations, 0);
}
