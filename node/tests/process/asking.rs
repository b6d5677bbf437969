//! Plain requests to a running server, as a client without an SDK makes them.

use std::net::TcpStream;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::stream::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{Message, WebSocket, connect};

use crate::server::{PATIENCE, Server};

pub(crate) type Socket = WebSocket<MaybeTlsStream<TcpStream>>;

/// Status and body of a GET.
pub(crate) fn get(url: &str) -> (u16, String) {
    block_on(async {
        let response = client().get(url).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    })
}

/// Calls a RoomService method as its admin.
pub(crate) fn room_service(server: &Server, method: &str, body: &Value) -> Value {
    let room = body["name"].as_str().or_else(|| body["room"].as_str());
    let room = room.unwrap_or("any");
    let token = server.ask(&[
        "token", "create", "--create", "--list", "--admin", "--room", room,
    ]);
    let token = token.ok();
    let url = format!("{}/twirp/livekit.RoomService/{method}", server.url());
    block_on(async {
        let request = client().post(url).bearer_auth(token.trim()).json(body);
        let response = request.send().await.unwrap();
        response.json().await.unwrap()
    })
}

pub(crate) fn create_room(server: &Server, name: &str) {
    let room = room_service(server, "CreateRoom", &json!({ "name": name }));
    assert_eq!(room["name"], name);
}

/// Joins as the old clients do, speaking JSON; returns once the room has let it in.
pub(crate) fn join(server: &Server, room: &str, identity: &str) -> Socket {
    let token = server.ask(&["token", "create", "--room", room, "--identity", identity]);
    let token = token.ok();
    let url = format!(
        "ws://127.0.0.1:{}/rtc?protocol=15&access_token={}",
        server.http,
        token.trim()
    );
    let (mut socket, _) = connect(url).unwrap();
    if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let first = socket.read().unwrap();
    assert!(matches!(first, Message::Binary(_)), "{first:?}");
    socket
}

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .timeout(PATIENCE)
        .build()
        .unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}
