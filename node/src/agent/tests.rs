//! A worker's life over a WebSocket on loopback.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use actix_web::{App, HttpServer};
use futures_util::{SinkExt, StreamExt};
use prost::Message as _;
use protocol::grants::{Claims, VideoGrant};
use protocol::proto::{ServerMessage, WorkerMessage, server_message, worker_message};
use protocol::token;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::*;
use crate::auth::unix_seconds;

const PATIENCE: Duration = Duration::from_secs(10);

type Worker = WebSocketStream<MaybeTlsStream<TcpStream>>;

fn keys() -> Keys {
    Keys::new([("devkey".to_owned(), "s".repeat(32))])
}

fn start() -> (Agents, String) {
    let settings = Settings {
        message_bytes_max: 0,
        keys: keys(),
        server_info: proto::ServerInfo::default(),
        target_load: 0.7,
        seed: 1,
    };
    let agents = Agents::start(settings);
    let mounted = agents.clone();
    let server = HttpServer::new(move || App::new().configure(|config| mounted.configure(config)));
    let server = server
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .unwrap();
    let url = format!("ws://{}/agent", server.addrs()[0]);
    actix_web::rt::spawn(server.run());
    (agents, url)
}

fn signed(agent: bool) -> String {
    let claims = Claims {
        issuer: "devkey".into(),
        exp: unix_seconds() + 60,
        video: Some(VideoGrant {
            agent,
            ..VideoGrant::default()
        }),
        ..Claims::default()
    };
    token::sign(&keys(), &claims).unwrap()
}

async fn connect(url: &str) -> Worker {
    connect_async(format!("{url}?access_token={}", signed(true)))
        .await
        .unwrap()
        .0
}

async fn say(worker: &mut Worker, message: worker_message::Message, as_json: bool) {
    let message = WorkerMessage {
        message: Some(message),
    };
    let frame = match as_json {
        true => Message::text(serde_json::to_string(&message).unwrap()),
        false => Message::binary(message.encode_to_vec()),
    };
    worker.send(frame).await.unwrap();
}

async fn hear(worker: &mut Worker) -> (server_message::Message, bool) {
    loop {
        let frame = tokio::time::timeout(PATIENCE, worker.next()).await.unwrap();
        match frame.unwrap().unwrap() {
            Message::Binary(bytes) => {
                return (
                    ServerMessage::decode(bytes).unwrap().message.unwrap(),
                    false,
                );
            }
            Message::Text(text) => {
                let message: ServerMessage = serde_json::from_str(&text).unwrap();
                return (message.message.unwrap(), true);
            }
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[actix_web::test]
async fn a_worker_is_answered_in_the_kind_of_frames_it_sends() {
    let (_agents, url) = start();
    for as_json in [false, true] {
        let mut worker = connect(&url).await;
        let request = proto::RegisterWorkerRequest::default();
        say(
            &mut worker,
            worker_message::Message::Register(request),
            as_json,
        )
        .await;
        let (answer, was_json) = hear(&mut worker).await;
        assert!(
            matches!(answer, server_message::Message::Register(_)),
            "{answer:?}"
        );
        assert_eq!(was_json, as_json);
    }
}

#[actix_web::test]
async fn a_job_reaches_the_worker_and_its_state_the_rooms() {
    let (agents, url) = start();
    let (sender, reports) = std_mpsc::channel();
    agents.report_with(move |update| sender.send(update).unwrap());
    let mut worker = connect(&url).await;
    let request = proto::RegisterWorkerRequest::default();
    say(
        &mut worker,
        worker_message::Message::Register(request),
        false,
    )
    .await;
    hear(&mut worker).await;
    let room = proto::Room {
        name: "room".into(),
        ..Default::default()
    };
    let job = proto::Job {
        id: "AJ_1".into(),
        room: Some(room),
        ..Default::default()
    };
    agents.launch(JobRequest {
        job,
        deployment: String::new(),
    });
    let (offer, _) = hear(&mut worker).await;
    assert!(
        matches!(offer, server_message::Message::Availability(_)),
        "{offer:?}"
    );
    let answer = proto::AvailabilityResponse {
        job_id: "AJ_1".into(),
        available: true,
        participant_identity: "helper".into(),
        ..Default::default()
    };
    say(
        &mut worker,
        worker_message::Message::Availability(answer),
        false,
    )
    .await;
    let (assigned, _) = hear(&mut worker).await;
    assert!(
        matches!(assigned, server_message::Message::Assignment(_)),
        "{assigned:?}"
    );
    let report = reports.recv_timeout(PATIENCE).unwrap();
    assert_eq!(report.state.participant_identity, "helper");
    agents.terminate("AJ_1");
    let (ended, _) = hear(&mut worker).await;
    assert!(
        matches!(ended, server_message::Message::Termination(_)),
        "{ended:?}"
    );
}

#[actix_web::test]
async fn only_workers_get_in() {
    let (_agents, url) = start();
    for query in [
        String::new(),
        "?access_token=x".into(),
        format!("?access_token={}", signed(false)),
    ] {
        let Err(tokio_tungstenite::tungstenite::Error::Http(response)) =
            connect_async(format!("{url}{query}")).await
        else {
            panic!("{query:?} was let in")
        };
        assert_eq!(response.status(), 401, "{query:?}");
    }
    let plain = url.replace("ws:", "http:");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = client
        .get(plain)
        .bearer_auth(signed(true))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 404);
}

#[actix_web::test]
async fn a_frame_that_does_not_decode_ends_the_connection() {
    let (_agents, url) = start();
    for frame in [Message::binary(vec![0xff, 0xff]), Message::text("{")] {
        let mut worker = connect(&url).await;
        worker.send(frame).await.unwrap();
        let closed = async {
            while let Some(Ok(frame)) = worker.next().await {
                if matches!(frame, Message::Close(_)) {
                    return;
                }
            }
        };
        assert!(tokio::time::timeout(PATIENCE, closed).await.is_ok());
    }
}
