//! Deliveries over real sockets on loopback.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc as std_mpsc;

use base64::Engine;
use protocol::proto::Room;
use protocol::token;

use super::*;
use crate::room::environment::WebhookSink;
use crate::webhook::{Filter, Webhooks};

const WAIT: Duration = Duration::from_secs(20);

fn keys() -> Keys {
    Keys::new([("devkey".to_owned(), "s".repeat(32))])
}

fn settings(urls: Vec<String>, directory: Option<&Path>) -> Settings {
    Settings {
        urls,
        api_key: "devkey".into(),
        keys: keys(),
        filter: Filter::default(),
        requests_per_url: 10,
        storage: directory.map_or(Storage::Nowhere, |path| Storage::Required(path.to_owned())),
        seed: 1,
    }
}

fn event(room: &str, id: &str) -> WebhookEvent {
    WebhookEvent {
        event: "room_started".into(),
        id: id.into(),
        room: Some(Room {
            name: room.into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

struct Request {
    head: String,
    body: Vec<u8>,
}

impl Request {
    fn id(&self) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        json["id"].as_str().unwrap().to_owned()
    }

    fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .unwrap()
    }
}

/// Answers one connection after the other with the statuses given, then with 200.
fn receiver(statuses: Vec<u16>) -> (String, std_mpsc::Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, requests) = std_mpsc::channel();
    std::thread::spawn(move || {
        let mut statuses = statuses.into_iter();
        for stream in listener.incoming() {
            let request = read(stream.unwrap(), statuses.next().unwrap_or(200));
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    (url, requests)
}

fn read(stream: TcpStream, status: u16) -> Request {
    read_and_say(stream, &format!("{status} X"))
}

/// `head_out`: status, its text and more header lines.
fn read_and_say(mut stream: TcpStream, head_out: &str) -> Request {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut chunk).unwrap();
        bytes.extend_from_slice(&chunk[..read]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let request = Request {
            head,
            body: bytes[end + 4..].to_vec(),
        };
        let length: usize = request.header("content-length").parse().unwrap();
        if request.body.len() == length {
            let answer = "\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
            write!(stream, "HTTP/1.1 {head_out}{answer}").unwrap();
            return request;
        }
    }
}

#[test]
fn a_delivery_is_signed_over_its_exact_body() {
    let (url, requests) = receiver(vec![]);
    let webhooks = Webhooks::start(settings(vec![url], None)).unwrap();
    webhooks.publish(event("a", "EV_1"));
    let request = requests.recv_timeout(WAIT).unwrap();
    assert!(request.head.starts_with("POST /hook "));
    assert_eq!(request.header("content-type"), "application/webhook+json");
    let token = request.header("authorization");
    assert!(
        request.head.contains("\r\nAuthorization: "),
        "as Go writes it: {}",
        request.head
    );
    let claims = token::verify(&keys(), token, unix_seconds()).unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &request.body);
    assert_eq!(
        claims.sha256,
        base64::engine::general_purpose::STANDARD.encode(digest)
    );
    assert_eq!(request.id(), "EV_1");
}

#[test]
fn a_failed_delivery_comes_again_and_later_events_wait_for_it() {
    let (url, requests) = receiver(vec![500]);
    let webhooks = Webhooks::start(settings(vec![url], None)).unwrap();
    webhooks.publish(event("a", "EV_1"));
    webhooks.publish(event("a", "EV_2"));
    let ids: Vec<_> = (0..3)
        .map(|_| requests.recv_timeout(WAIT).unwrap().id())
        .collect();
    assert_eq!(ids, ["EV_1", "EV_1", "EV_2"]);
}

#[test]
fn what_a_dead_receiver_missed_is_delivered_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (alive, requests) = receiver(vec![]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let urls = vec![format!("http://{address}/hook"), alive];
    let webhooks = Webhooks::start(settings(urls.clone(), Some(folder.path()))).unwrap();
    webhooks.publish(event("a", "EV_1"));
    assert_eq!(
        requests.recv_timeout(WAIT).unwrap().id(),
        "EV_1",
        "the other URL does not wait"
    );
    runtime.block_on(webhooks.stop(Duration::from_secs(5)));

    let listener = TcpListener::bind(address).unwrap();
    let _webhooks = Webhooks::start(settings(urls, Some(folder.path()))).unwrap();
    let (stream, _) = listener.accept().unwrap();
    assert_eq!(read(stream, 200).id(), "EV_1");
    assert!(
        requests.try_recv().is_err(),
        "delivered once where it was taken"
    );
}

#[test]
fn what_was_left_for_a_url_that_is_gone_is_given_up() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = format!("http://{}/hook", listener.local_addr().unwrap());
    drop(listener);
    let webhooks = Webhooks::start(settings(vec![dead], Some(folder.path()))).unwrap();
    webhooks.publish(event("a", "EV_1"));
    runtime.block_on(webhooks.stop(WAIT));

    let (alive, _requests) = receiver(vec![]);
    let webhooks = Webhooks::start(settings(vec![alive], Some(folder.path()))).unwrap();
    runtime.block_on(webhooks.stop(WAIT));
    drop(webhooks);
    let left = loop {
        // The thread lets go of the directory a moment after it said that it stopped.
        match Outbox::open(folder.path()) {
            Ok((_, left)) => break left,
            Err(OutboxError::Locked(_)) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(left.len(), 0);
}

#[test]
fn a_redirect_that_would_lose_the_event_is_no_delivery() {
    let (elsewhere, requests) = receiver(vec![]);
    for (status, arrives) in [(302, false), (308, true)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let webhooks = Webhooks::start(settings(vec![url], None)).unwrap();
        webhooks.publish(event("a", "EV_1"));
        let (stream, _) = listener.accept().unwrap();
        let head = format!("{status} Moved\r\nLocation: {elsewhere}");
        assert_eq!(read_and_say(stream, &head).id(), "EV_1");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(webhooks.stop(WAIT));
        // Its receiver answers before it tells us.
        let patience = if arrives { WAIT } else { Duration::ZERO };
        let redirected = requests.recv_timeout(patience).map(|request| request.id());
        assert_eq!(redirected.is_ok(), arrives, "{status}: {redirected:?}");
    }
}

#[test]
fn a_directory_in_use_stops_the_start_only_where_the_operator_chose_it() {
    let folder = tempfile::tempdir().unwrap();
    let (_held, _) = Outbox::open(folder.path()).unwrap();
    let urls = vec!["http://127.0.0.1:9/".to_owned()];
    let chosen = settings(urls.clone(), Some(folder.path()));
    assert!(matches!(
        Webhooks::start(chosen),
        Err(StartError::Outbox(_))
    ));
    let storage = Storage::BestEffort(folder.path().to_owned());
    assert!(
        Webhooks::start(Settings {
            storage,
            ..settings(urls, None)
        })
        .is_ok()
    );
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let start = |url: &str| {
        Webhooks::start(settings(vec![url.to_owned()], None))
            .err()
            .unwrap()
    };
    assert!(matches!(start("ftp://x/"), StartError::Scheme(_)));
    assert!(matches!(start("nonsense"), StartError::Scheme(_)));
    let unsigned = Settings {
        api_key: "other".into(),
        ..settings(vec!["http://x/".into()], None)
    };
    assert!(matches!(Webhooks::start(unsigned), Err(StartError::Key(_))));
}
