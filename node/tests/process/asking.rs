//! Plain requests to a running server, as a client without an SDK makes them.

use std::net::TcpStream;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::stream::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{
    Error, HandshakeError, Message, WebSocket, client as client_handshake, connect,
};

use crate::server::{PATIENCE, Server};

pub(crate) type Socket = WebSocket<MaybeTlsStream<TcpStream>>;

/// Status and body of a GET.
pub(crate) fn get(url: &str) -> (u16, String) {
    block_on(async {
        let response = client().get(url).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    })
}

/// The value of the first series of that name that has `label`; 0 without one.
pub(crate) fn scrape(server: &Server, name: &str, label: &str) -> f64 {
    let (_, text) = get(&format!("http://127.0.0.1:{}/metrics", server.metrics));
    let wanted = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains(label);
    let line = text.lines().find(wanted);
    let value = line.and_then(|line| line.rsplit_once(' '));
    value.map_or(0.0, |(_, value)| value.parse().unwrap())
}

/// A token that lets `identity` into `room`.
pub(crate) fn token(server: &Server, room: &str, identity: &str) -> String {
    let flags = ["token", "create", "--room", room, "--identity", identity];
    server.ask(&flags).ok().trim().to_owned()
}

/// Calls a RoomService method as its admin.
pub(crate) fn room_service(server: &Server, method: &str, body: &Value) -> Value {
    let room = body["name"].as_str().or_else(|| body["room"].as_str());
    let room = room.unwrap_or("any");
    let rights = ["--create", "--list", "--admin", "--room", room];
    let token = server.ask(&[&["token", "create"], &rights[..]].concat());
    room_service_with(server, method, body, token.ok().trim())
}

pub(crate) fn room_service_with(server: &Server, method: &str, body: &Value, token: &str) -> Value {
    let url = format!("{}/twirp/livekit.RoomService/{method}", server.url());
    block_on(async {
        let request = client().post(url).bearer_auth(token).json(body);
        let response = request.send().await.unwrap();
        response.json().await.unwrap()
    })
}

/// Posts a form; status and text.
pub(crate) fn post_form(url: &str, form: &str) -> (u16, String) {
    block_on(async {
        let kind = "application/x-www-form-urlencoded";
        let request = client().post(url).header("content-type", kind);
        let response = request.body(form.to_owned()).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    })
}

pub(crate) fn create_room(server: &Server, name: &str) {
    let room = room_service(server, "CreateRoom", &json!({ "name": name }));
    assert_eq!(room["name"], name);
}

/// Joins as the old clients do; returns once the room has let it in.
pub(crate) fn join(server: &Server, room: &str, identity: &str) -> Socket {
    let token = token(server, room, identity);
    let (mut socket, _) = connect(join_url(server, &token)).unwrap();
    if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let first = socket.read().unwrap();
    assert!(matches!(first, Message::Binary(_)), "{first:?}");
    socket
}

/// The same, answered in JSON from now on.
pub(crate) fn join_as_text(server: &Server, room: &str, identity: &str) -> Socket {
    let mut socket = join(server, room, identity);
    socket.send(Message::text(r#"{"ping":"0"}"#)).unwrap();
    while next_json(&mut socket)["pong"].is_null() {}
    socket
}

/// The next message that came as JSON.
pub(crate) fn next_json(socket: &mut Socket) -> Value {
    loop {
        if let Message::Text(text) = socket.read().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

/// The status of a WebSocket request on a connection of one's own.
pub(crate) fn upgrade(server: &Server, stream: TcpStream, token: &str) -> u16 {
    match client_handshake(join_url(server, token), stream) {
        Ok((_, response)) => response.status().as_u16(),
        Err(HandshakeError::Failure(Error::Http(response))) => response.status().as_u16(),
        Err(error) => panic!("{error}"),
    }
}

fn join_url(server: &Server, token: &str) -> String {
    let port = server.http;
    format!("ws://127.0.0.1:{port}/rtc?protocol=15&access_token={token}")
}

fn client() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
    client.build().unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}
