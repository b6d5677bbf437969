//! The gateway over real sockets of loopback, with a scripted lobby instead of rooms: what HTTP and
//! WebSocket clients see.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use futures_util::future::Either;
use futures_util::{SinkExt, StreamExt};
use prost::Message as _;
use protocol::grants::{Claims, VideoGrant};
use protocol::proto;
use protocol::proto::signal_response::Message as Response;
use protocol::token;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::*;
use crate::auth::unix_seconds;
use crate::net::gate::Gate;
use crate::net::http::{HttpSettings, serve};
use crate::room::contract::{AttachError, SessionMessage};

/// Upper bound of any wait; nothing here takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lets everybody in with a refresh token, closes on leave, and remembers what it was told.
/// Rooms named after a failure fail that way.
#[derive(Default)]
struct Script {
    told: Mutex<Vec<String>>,
    recipients: Mutex<Vec<(SessionId, Recipient<ToSession>)>>,
}

impl Script {
    fn tell(&self, what: String) {
        self.told.lock().unwrap().push(what);
    }

    fn say(&self, session: SessionId, message: SessionMessage) {
        let recipients = self.recipients.lock().unwrap();
        let (_, recipient) = recipients.iter().find(|(id, _)| *id == session).unwrap();
        recipient.do_send(ToSession(Ok(message)));
    }

    async fn hears(&self, what: &str) {
        let heard = async {
            while !self.told.lock().unwrap().iter().any(|told| told == what) {
                tokio::task::yield_now().await;
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, heard).await;
        let told = self.told.lock().unwrap();
        assert!(outcome.is_ok(), "expected {what:?}, heard {told:?}");
    }
}

impl Lobby for Script {
    fn attach(&self, attach: Attach, recipient: Recipient<ToSession>) {
        let refused = match attach.room.as_str() {
            "full" => Some(AttachError::ClosedByMedia),
            "missing" => Some(AttachError::RoomNotFound),
            "no-node" => Some(AttachError::NodeFull),
            _ => None,
        };
        self.tell(format!("attach {}", attach.claims.identity));
        if let Some(error) = refused {
            recipient.do_send(ToSession(Err(error)));
            return;
        }
        let session = attach.session;
        self.recipients.lock().unwrap().push((session, recipient));
        if attach.room != "silent" {
            let message = Some(Response::RefreshToken("first".into()));
            let first = Box::new(proto::SignalResponse { message });
            self.say(session, SessionMessage::Signal(first));
        }
    }

    fn signal(&self, _: &str, session: SessionId, message: signal_request::Message) {
        self.tell(format!("{message:?}").split('(').next().unwrap().to_owned());
        if matches!(message, signal_request::Message::Leave(_)) {
            self.say(session, SessionMessage::Close);
        }
    }

    fn session_closed(&self, room: &str, _: SessionId) {
        self.tell(format!("closed {room}"));
    }

    fn exists<'a>(&'a self, room: &'a str) -> LocalBoxFuture<'a, bool> {
        Box::pin(async move { room == "live" })
    }
}

struct Server {
    address: SocketAddr,
    script: Arc<Script>,
    handle: ServerHandle,
}

fn keys() -> Keys {
    Keys::new([("devkey".to_owned(), "s".repeat(32))])
}

impl Server {
    fn start(auto_create: bool) -> Self {
        let script = Arc::new(Script::default());
        let settings = GatewaySettings {
            keys: keys(),
            auto_create,
            max_room_name_length: 256,
            max_participant_identity_length: 256,
            signal_message_bytes_max: 1 << 20,
        };
        let gateway = Arc::new(Gateway::new(settings, script.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let http = HttpSettings {
            gate: Gate::default(),
            workers: 1,
            keys: keys(),
            body_bytes_max: 1000,
            healthy: Arc::new(|| true),
        };
        let echo = Arc::new(move |config: &mut web::ServiceConfig| {
            let echo = |body: web::Bytes| async move { body };
            config.route("/echo", web::post().to(echo));
        });
        let server = serve(vec![listener], http, vec![routes(gateway), echo]).unwrap();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self {
            address,
            script,
            handle,
        }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("http://{}{path}", self.address));
        let answer = answer.await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn connect(&self, query: &str) -> Result<Client, Error> {
        let url = format!("ws://{}/rtc?{query}", self.address);
        let (socket, _) = tokio_tungstenite::connect_async(url).await?;
        Ok(Client(socket))
    }

    async fn join(&self, room: &str) -> Client {
        let token = join_token("alice", room);
        let client = self.connect(&format!("access_token={token}")).await;
        let mut client = client.unwrap();
        assert_eq!(client.next().await, Response::RefreshToken("first".into()));
        client
    }

    async fn refusal(&self, room: &str) -> (u16, String) {
        let query = format!("access_token={}", join_token("alice", room));
        match self.connect(&query).await {
            Err(Error::Http(answer)) => {
                let body = answer.body().clone().unwrap_or_default();
                (answer.status().as_u16(), String::from_utf8(body).unwrap())
            }
            other => panic!("expected a refusal, got {:?}", other.is_ok()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The server ends with the test's system; this only stops its workers earlier.
        drop(self.handle.stop(false));
    }
}

struct Client(WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>);

impl Client {
    async fn frame(&mut self) -> Message {
        let frame = tokio::time::timeout(PATIENCE, self.0.next()).await;
        frame.unwrap().unwrap().unwrap()
    }

    async fn next(&mut self) -> Response {
        let response = match self.frame().await {
            Message::Binary(bytes) => proto::SignalResponse::decode(bytes).unwrap(),
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("expected a message, got {other:?}"),
        };
        response.message.unwrap()
    }

    async fn send(&mut self, message: signal_request::Message) {
        let request = proto::SignalRequest {
            message: Some(message),
        };
        let frame = Message::Binary(request.encode_to_vec().into());
        self.0.send(frame).await.unwrap();
    }

    async fn close_code(&mut self) -> CloseCode {
        match self.frame().await {
            Message::Close(Some(frame)) => frame.code,
            other => panic!("expected a close frame, got {other:?}"),
        }
    }
}

fn join_token(identity: &str, room: &str) -> String {
    let claims = Claims {
        issuer: "devkey".into(),
        identity: identity.into(),
        exp: unix_seconds() + 600,
        video: Some(VideoGrant {
            room_join: true,
            room: room.into(),
            ..VideoGrant::default()
        }),
        ..Claims::default()
    };
    token::sign(&keys(), &claims).unwrap()
}

#[actix_web::test]
async fn a_session_lives_from_the_first_message_to_the_normal_close() {
    let server = Server::start(true);
    let mut alice = server.join("r").await;
    alice
        .send(signal_request::Message::PingReq(proto::Ping {
            timestamp: 4711,
            rtt: 0,
        }))
        .await;
    let Response::PongResp(pong) = alice.next().await else {
        panic!("a ping is answered by a pong");
    };
    assert_eq!(pong.last_ping_timestamp, 4711);
    assert!((pong.timestamp / 1000 - unix_seconds()).abs() < 60);
    let leave = signal_request::Message::Leave(proto::LeaveRequest::default());
    alice.send(leave).await;
    assert_eq!(alice.close_code().await, CloseCode::Normal);
    let told = server.script.told.lock().unwrap().clone();
    assert_eq!(told, ["attach alice", "Leave"]);
}

#[actix_web::test]
async fn a_handshake_that_cannot_succeed_does_not_ask_the_room() {
    let server = Server::start(true);
    let token = join_token("alice", "r");
    let url = format!("http://{}/rtc?access_token={token}", server.address);
    let request = |method, version| {
        let request = reqwest::Client::new().request(method, &url);
        let request = request.header("Connection", "Upgrade");
        let request = request.header("Upgrade", "websocket");
        let request = request.header("Sec-WebSocket-Version", version);
        request.header("Sec-WebSocket-Key", "x3JJHMbDL1EzLkh9GBhXDw==")
    };
    for request in [
        request(reqwest::Method::POST, "13"),
        request(reqwest::Method::GET, "7"),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 400);
    }
    assert!(server.script.told.lock().unwrap().is_empty());
}

#[actix_web::test]
async fn what_the_room_refuses_is_an_http_answer() {
    let server = Server::start(true);
    let answers = [
        ("full", 500, "connection closed by media"),
        ("missing", 404, "requested room does not exist"),
        ("no-node", 503, "node has exceeded its configured limit"),
    ];
    for (room, status, text) in answers {
        assert_eq!(server.refusal(room).await, (status, text.to_owned()));
    }
}

#[actix_web::test]
async fn a_lost_line_is_told_to_the_room() {
    let server = Server::start(true);
    let alice = server.join("r").await;
    drop(alice);
    server.script.hears("closed r").await;
}

/// SDKs say leave and hang up in one go; a leave that is lost leaves a ghost for 20 s.
#[actix_web::test]
async fn a_leave_is_heard_even_if_the_line_is_cut_at_once() {
    let server = Server::start(true);
    for number in 0..20 {
        let mut alice = server.join(&format!("r{number}")).await;
        let leave = signal_request::Message::Leave(proto::LeaveRequest::default());
        alice.send(leave).await;
        drop(alice);
        server.script.hears("Leave").await;
        server.script.told.lock().unwrap().clear();
    }
}

#[actix_web::test]
async fn a_client_that_gives_up_waiting_is_told_to_the_room() {
    let server = Server::start(true);
    let query = format!("access_token={}", join_token("alice", "silent"));
    let waiting = Box::pin(server.connect(&query));
    let attached = Box::pin(server.script.hears("attach alice"));
    match futures_util::future::select(waiting, attached).await {
        Either::Left(_) => panic!("nothing was said, so there is no answer"),
        Either::Right(((), waiting)) => drop(waiting),
    }
    server.script.hears("closed silent").await;
}

#[actix_web::test]
async fn garbage_and_oversized_messages_end_the_socket_with_a_code() {
    let server = Server::start(true);
    let mut alice = server.join("r").await;
    let garbage = Message::Binary(vec![0xFF; 4].into());
    alice.0.send(garbage).await.unwrap();
    assert_eq!(alice.close_code().await, CloseCode::Invalid);
    server.script.hears("closed r").await;

    let mut bob = server.join("big").await;
    let big = Message::Text(" ".repeat((1 << 20) + 1).into());
    // The server may close before it has taken everything.
    let _ = bob.0.send(big).await;
    assert_eq!(bob.close_code().await, CloseCode::Size);
    server.script.hears("closed big").await;
}

#[actix_web::test]
async fn validate_answers_what_clients_act_on() {
    let server = Server::start(false);
    let validate = async |room: &str| {
        let token = join_token("alice", room);
        server
            .get(&format!("/rtc/validate?access_token={token}"))
            .await
    };
    assert_eq!(validate("live").await, (200, "success".into()));
    let missing = (404, "requested room does not exist".into());
    assert_eq!(validate("other").await, missing);
    let none = (401, "no permissions to access the room".into());
    assert_eq!(server.get("/rtc/validate").await, none);
    let told = server.script.told.lock().unwrap().clone();
    assert_eq!(told, [""; 0], "validating is not joining");
}

#[actix_web::test]
async fn paths_around_the_gateway_answer_as_livekit() {
    let server = Server::start(true);
    assert_eq!(server.get("/").await, (200, "OK".into()));
    assert_eq!(server.get("//").await, (200, "OK".into()));
    let token = join_token("a", "r");
    let doubled = format!("//rtc/validate?access_token={token}");
    assert_eq!(server.get(&doubled).await, (200, "success".into()));
    assert_eq!(server.get("/rtc").await, (404, String::new()));
    assert_eq!(server.get("/rtc/v2").await.0, 404);
    let url = format!("http://{}/echo", server.address);
    let post = async |bytes: usize| {
        let body = vec![b'x'; bytes];
        let answer = reqwest::Client::new().post(&url).body(body).send().await;
        answer.unwrap().status().as_u16()
    };
    assert_eq!((post(1000).await, post(1001).await), (200, 413));
}

#[actix_web::test]
async fn any_origin_may_read_and_preflight() {
    let server = Server::start(true);
    let client = reqwest::Client::new();
    let origin = "https://app.example";
    let get = |path: &str| {
        let url = format!("http://{}{path}", server.address);
        client.get(url).header("Origin", origin).send()
    };
    let allowed = |answer: reqwest::Response| {
        let value = answer.headers().get("access-control-allow-origin");
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    let reflected = allowed(get("/").await.unwrap());
    assert_eq!(reflected.as_deref(), Some(origin));
    let any = allowed(get("/rtc/validate").await.unwrap());
    assert_eq!(any.as_deref(), Some("*"));
    let preflight = async |method: &'static str| {
        let url = format!("http://{}/rtc/validate", server.address);
        let request = client.request(reqwest::Method::OPTIONS, url);
        let request = request
            .header("Origin", origin)
            .header("Access-Control-Request-Method", method)
            .header("Access-Control-Request-Headers", "authorization,x-custom");
        request.send().await.unwrap()
    };
    let granted = preflight("DELETE").await;
    assert_eq!(granted.status().as_u16(), 204);
    let header = |name: &str| granted.headers()[name].to_str().unwrap();
    assert_eq!(header("access-control-allow-methods"), "DELETE");
    assert_eq!(
        header("access-control-allow-headers"),
        "authorization,x-custom"
    );
    assert_eq!(header("access-control-max-age"), "86400");
    assert_eq!(allowed(preflight("PUT").await), None);
}
