//! Strangers who knock too often, clients that ask too much or never read: each is refused or
//! dropped and counted, and the node serves everybody else.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};

use serde_json::json;
use socket2::{Domain, Socket, Type};
use tokio_tungstenite::tungstenite::Message;

use crate::asking::{
    create_room, get, join, join_as_text, next_json, room_service_with, scrape, token, upgrade,
};
use crate::server::{PATIENCE, Server};

/// Sends a request without a token from `from`; the status, or `None` if the door was shut.
fn knock(server: &Server, from: [u8; 4]) -> Option<u16> {
    let mut stream = connect_from(server, from)?;
    let request = "GET /rtc/validate HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    std::io::Write::write_all(&mut stream, request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

fn connect_from(server: &Server, from: [u8; 4]) -> Option<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let local = SocketAddr::from((from, 0));
    socket.bind(&local.into()).unwrap();
    let server = SocketAddr::from(([127, 0, 0, 1], server.http));
    socket.connect(&server.into()).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    Some(socket.into())
}

const STRICT: &str = "limit: {stranger_connects_per_second: 1, stranger_connects_burst: 20, \
                      trusted_networks: []}";

#[test]
fn an_address_that_only_knocks_is_shut_out_and_others_are_not() {
    let server = Server::start(STRICT);
    let good = token(&server, "calm", "alice");
    let answers: Vec<_> = (0..100).map(|_| knock(&server, [127, 0, 0, 9])).collect();
    let answered = answers.iter().flatten().count();
    assert!(answers.iter().flatten().all(|status| *status == 401));
    assert!(
        (20..60).contains(&answered),
        "{answered} of 100 got an answer"
    );

    // Clients elsewhere come and go as often as they like.
    for _ in 0..60 {
        let stream = connect_from(&server, [127, 0, 0, 8]).unwrap();
        assert_eq!(upgrade(&server, stream, &good), 101);
    }
    let refused = scrape(&server, "skein_connections_refused_total", "");
    assert_eq!(refused as usize, 100 - answered);
}

#[test]
fn hundreds_of_local_strangers_are_answered_by_default() {
    let server = Server::start("");
    for _ in 0..600 {
        assert_eq!(knock(&server, [127, 0, 0, 1]), Some(401));
    }
    let _alice = join(&server, "open", "alice");
}

#[test]
fn a_client_with_thousands_of_pending_tracks_is_told_so_and_others_go_on() {
    const TRACKS: usize = 3_000;
    let server = Server::start("");
    let mut greedy = join_as_text(&server, "greedy", "mallory");
    for number in 0..TRACKS {
        let kind = if number % 2 == 0 { "AUDIO" } else { "VIDEO" };
        let request = json!({"addTrack": {"cid": format!("c{number}"), "type": kind}});
        greedy.send(Message::text(request.to_string())).unwrap();
    }
    let (mut published, mut refused) = (0, 0);
    // Until each is answered: a ping would be sooner than the last of them.
    while published + refused < TRACKS {
        let answer = next_json(&mut greedy);
        published += usize::from(!answer["trackPublished"].is_null());
        let reason = &answer["requestResponse"]["reason"];
        refused += usize::from(reason == "LIMIT_EXCEEDED");
    }
    assert_eq!(published, 256, "as many as may be pending");
    let _bob = join(&server, "calm", "bob");
}

#[test]
fn a_client_that_never_reads_is_let_go_and_nobody_waits_for_it() {
    let server = Server::start("");
    create_room(&server, "plenary");
    let slow = join(&server, "plenary", "slow");
    let mut quick = join_as_text(&server, "plenary", "quick");
    let admin = server.ask(&["token", "create", "--admin", "--room", "plenary"]);
    let admin = admin.ok();
    // 400 KB for everybody, until more waits for the slow one than a session may owe.
    let mut gone = 0.0;
    for round in 0..300 {
        let metadata = format!("{round}{}", "m".repeat(400_000));
        let body = json!({"room": "plenary", "identity": "quick", "metadata": metadata});
        room_service_with(&server, "UpdateParticipant", &body, admin.trim());
        loop {
            let heard = next_json(&mut quick);
            let about = heard["update"]["participants"].to_string();
            if about.contains(&format!("\"metadata\":\"{round}m")) {
                break;
            }
        }
        gone = scrape(&server, "skein_session_end_total", "cause=\"slow_reader\"");
        if gone > 0.0 {
            break;
        }
    }
    assert_eq!(gone, 1.0);
    assert_eq!(get(&format!("{}/", server.url())).0, 200);
    drop(slow);
}
