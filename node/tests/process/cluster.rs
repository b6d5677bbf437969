//! Seven processes that are one cluster: four masters, three media nodes. Any two masters may die
//! at once, and come back.

use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::asking::room_service;
use crate::server::{PATIENCE, Server};

const MASTERS: usize = 4;
const NODES: usize = 7;
/// A learner is watched for ten seconds before it votes; the rest is for a busy machine.
const SETTLE: Duration = Duration::from_secs(180);
/// An election takes half a second where nothing else runs; a refused call is made again.
const COMMIT: Duration = Duration::from_secs(20);

/// A port that is free for UDP and TCP.
fn port() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            return (udp, tcp);
        }
    }
}

fn start() -> Vec<Server> {
    let held: Vec<_> = (0..NODES).map(|_| port()).collect();
    let address = |at: usize| held[at].0.local_addr().unwrap().to_string();
    let addresses: Vec<String> = (0..NODES).map(address).collect();
    drop(held);
    let join = addresses[..MASTERS].join(", ");
    let one = |(at, address): (usize, &String)| {
        let role = if at < MASTERS { "master" } else { "media" };
        Server::start(&format!(
            "cluster:\n  token: a-secret-of-more-than-thirty-two-characters\n  \
             listen: {address}\n  join: [{join}]\n  roles: [{role}]\n  host: host{at}"
        ))
    };
    addresses.iter().enumerate().map(one).collect()
}

fn status(of: &Server) -> Value {
    of.ask(&["cluster", "status", "--json"]).json()
}

/// Polls what a node says of its cluster until it is as wished.
fn wait_for(of: &Server, what: &str, within: Duration, wished: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + within;
    loop {
        let now = status(of);
        if wished(&now) {
            return now;
        }
        assert!(Instant::now() < until, "never {what}: {now:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn nodes(status: &Value) -> &[Value] {
    status["nodes"].as_array().unwrap()
}

fn active(status: &Value) -> usize {
    let active = |node: &&Value| node["state"] == "active";
    nodes(status).iter().filter(active).count()
}

/// All there, five vote, one of them a media node, and two may go.
fn is_whole(status: &Value) -> bool {
    let witness = |node: &Value| node["vote"] == "witness" && node["media"] == true;
    active(status) == NODES
        && status["voters"] == 5
        && status["spare"] == 2
        && nodes(status).iter().any(witness)
}

fn ids(status: &Value) -> Vec<u64> {
    let mut ids: Vec<u64> = nodes(status)
        .iter()
        .map(|node| node["id"].as_u64().unwrap())
        .collect();
    ids.sort();
    ids
}

#[test]
fn any_two_of_four_masters_may_die_and_come_back() {
    let mut servers = start();
    let whole = wait_for(&servers[0], "whole", SETTLE, is_whole);
    let before = ids(&whole);

    // The leader and the next: the worst two.
    let leader = nodes(&whole).iter().find(|node| node["vote"] == "leader");
    let leader = leader.unwrap()["host"].as_str().unwrap();
    let first: usize = leader.strip_prefix("host").unwrap().parse().unwrap();
    let (first, second) = (first % MASTERS, (first + 1) % MASTERS);
    let survivor = (second + 1) % MASTERS;
    servers[first].kill();
    servers[second].kill();

    // A room is opened through a survivor, as a backend would ask it to.
    let killed = Instant::now();
    let body = json!({ "name": "after" });
    let mut room = json!({});
    while !room["sid"].is_string() {
        assert!(killed.elapsed() < COMMIT, "{room}");
        room = room_service(&servers[survivor], "CreateRoom", &body);
    }
    let took = killed.elapsed();
    println!("a room was opened {took:?} after two masters were killed");
    // And what the operator says is committed through a media node.
    servers[MASTERS].ask(&["node", "drain", "host6"]).ok();
    servers[MASTERS].ask(&["node", "undrain", "host6"]).ok();

    // What is wrong is said, with what to do.
    let told = wait_for(&servers[survivor], "told", PATIENCE, |status| {
        status["problems"].as_array().is_some_and(|p| p.len() >= 2)
    });
    assert!(
        told["problems"][0]["advice"]
            .as_str()
            .unwrap()
            .contains("start it")
    );

    servers[first].start_again();
    servers[second].start_again();
    let again = wait_for(&servers[first], "whole again", SETTLE, is_whole);
    assert_eq!(
        ids(&again),
        before,
        "a node that comes back is the same node"
    );
}
