//! WHIP over HTTP with a scripted lobby instead of rooms: what encoders see, what rooms are told.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Mutex;
use std::time::Instant;

use actix::Recipient;
use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceResponse};
use actix_web::http::Method;
use actix_web::test as http;
use actix_web::{App, Error};
use futures_util::future::LocalBoxFuture;
use protocol::grants::VideoGrant;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use protocol::token::{self, Keys};

use consensus::ids::NodeId;

use super::fragment::Fragment;
use super::limits::RESTARTS_WAITING_MAX;
use super::session::{PatchId, SessionInput, SessionOutput, WhipSession};
use super::*;
use crate::auth::unix_seconds;
use crate::cluster::links::registry::Registry;
use crate::cluster::links::testing::Hub;
use crate::room::contract::{Attach, SessionId, SessionMessage, ToSession};
use crate::signal::{GatewaySettings, Lobby};

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    a=fingerprint:sha-256 AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:\
AB:AB:AB:AB:AB:AB:AB:AB\r\na=setup:actpass\r\na=ice-ufrag:abcd\r\n\
    a=ice-pwd:abcdefghijklmnopqrstuvwx\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
    a=sendonly\r\na=msid:s cid\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n\
    a=fmtp:111 sprop-stereo=1\r\n";
const ANSWER: &str = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:ours";

fn signal(message: Response) -> SessionMessage {
    let message = Some(message);
    SessionMessage::Signal(Box::new(proto::SignalResponse { message }))
}

fn join() -> proto::JoinResponse {
    let track = proto::TrackInfo {
        sid: "TR_c".into(),
        name: "camera".into(),
        ..Default::default()
    };
    proto::JoinResponse {
        participant: Some(proto::ParticipantInfo {
            sid: "PA_x".into(),
            ..Default::default()
        }),
        other_participants: vec![proto::ParticipantInfo {
            sid: "PA_a".into(),
            identity: "alice".into(),
            tracks: vec![track],
            ..Default::default()
        }],
        ice_servers: vec![proto::IceServer {
            urls: vec!["turn:a.example?transport=udp".into()],
            username: "u".into(),
            credential: "p\"w".into(),
        }],
        ..Default::default()
    }
}

fn answer(id: u32, ufrag: &str) -> Response {
    Response::Answer(proto::SessionDescription {
        r#type: "answer".into(),
        sdp: ANSWER.replace("ours", ufrag),
        id,
        ..Default::default()
    })
}

/// Answers offers, closes on leave, remembers what it was told; `full` refuses.
#[derive(Default)]
struct Script {
    told: Mutex<Vec<String>>,
    session: Mutex<Option<Recipient<ToSession>>>,
}

impl Script {
    fn tell(&self, what: impl Into<String>) {
        self.told.lock().unwrap().push(what.into());
    }

    fn say(&self, message: SessionMessage) {
        let session = self.session.lock().unwrap();
        session.as_ref().unwrap().do_send(ToSession(Ok(message)));
    }
}

impl Lobby for Script {
    fn attach(&self, attach: Attach, recipient: Recipient<ToSession>) {
        assert!(attach.single_peer_connection && !attach.auto_subscribe);
        if attach.room == "full" {
            recipient.do_send(ToSession(Err(AttachError::NodeFull)));
            return;
        }
        self.tell(format!("attach {}", attach.claims.identity));
        *self.session.lock().unwrap() = Some(recipient);
        self.say(signal(Response::Join(join())));
    }

    fn signal(&self, _: &str, _: SessionId, message: Request) {
        match message {
            Request::AddTrack(track) => self.tell(format!("add {} {}", track.cid, track.name)),
            Request::Subscription(wish) => {
                self.tell(format!(
                    "subscribe {:?}",
                    wish.participant_tracks[0].track_sids
                ));
            }
            Request::Offer(offer) => {
                self.tell(format!("offer {}", offer.id));
                self.say(signal(answer(offer.id, &format!("ours{}", offer.id))));
            }
            Request::Trickle(trickle) => self.tell(format!("trickle {}", trickle.candidate_init)),
            Request::Leave(_) => {
                self.tell("leave");
                self.say(SessionMessage::Close);
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    fn session_closed(&self, _: &str, _: SessionId) {
        self.tell("closed");
    }

    fn exists<'a>(&'a self, _: &'a str) -> LocalBoxFuture<'a, bool> {
        Box::pin(async { true })
    }
}

fn keys() -> Keys {
    Keys::new([("devkey".to_owned(), "s".repeat(32))])
}

fn bearer(identity: &str, room: &str) -> (&'static str, String) {
    let claims = Claims {
        issuer: "devkey".into(),
        identity: identity.into(),
        exp: unix_seconds() + 60,
        video: Some(VideoGrant {
            room_join: true,
            room: room.into(),
            ..VideoGrant::default()
        }),
        ..Claims::default()
    };
    (
        "Authorization",
        format!("Bearer {}", token::sign(&keys(), &claims).unwrap()),
    )
}

/// The routes of an HTTP worker, with the lobby behind them.
macro_rules! server {
    ($script:expr) => {
        server!($script, None)
    };
    ($script:expr, $neighbours:expr) => {{
        let settings = GatewaySettings {
            keys: keys(),
            auto_create: true,
            max_room_name_length: 256,
            max_participant_identity_length: 256,
            signal_message_bytes_max: 0,
        };
        let routes = routes(
            Arc::new(Gateway::new(settings, $script.clone())),
            $neighbours,
        );
        let app = App::new()
            .app_data(web::Data::new(keys()))
            .configure(|config| routes(config));
        http::init_service(app).await
    }};
}

macro_rules! ask {
    ($server:expr, $method:expr, $path:expr, $headers:expr, $body:expr) => {
        asked(
            $server,
            http::TestRequest::to_request,
            $method,
            $path,
            $headers,
            $body,
        )
        .await
    };
}

/// `R` is a type of actix-http, which this crate cannot name.
async fn asked<S, R, B>(
    server: &S,
    finish: fn(http::TestRequest) -> R,
    method: Method,
    path: &str,
    headers: &[(&'static str, String)],
    body: &'static str,
) -> ServiceResponse<B>
where
    S: Service<R, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    let request = http::TestRequest::with_uri(path).method(method);
    let mut request = request.set_payload(body);
    for (name, value) in headers {
        request = request.insert_header((*name, value.as_str()));
    }
    http::call_service(server, finish(request)).await
}

fn header_of<'a, B>(response: &'a ServiceResponse<B>, name: &str) -> &'a str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().unwrap())
}

fn sdp() -> (&'static str, String) {
    ("Content-Type", SDP.to_owned())
}

fn fragment() -> (&'static str, String) {
    ("Content-Type", FRAGMENT.to_owned())
}

const RESTART: &str = "a=ice-ufrag:efgh\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\nm=audio 9 X 0\r\n\
    a=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\n";

#[actix_web::test]
async fn a_session_is_created_patched_and_deleted() {
    let script = Arc::new(Script::default());
    let server = server!(script);
    let wishes = r#"{"subscribedParticipantTrackNames":{"alice":["camera"]}}"#;
    let me = bearer("encoder", "r");
    let wishes = ("X-LiveKit-ClientInfo", wishes.to_owned());
    let headers = [sdp(), me.clone(), wishes];
    let created = ask!(&server, Method::POST, ENDPOINT, &headers, OFFER);
    assert_eq!(created.status(), 201);
    assert_eq!(header_of(&created, "Location"), "/whip/v1/PA_x");
    assert_eq!(header_of(&created, "ETag"), "ours1");
    assert_eq!(header_of(&created, "Content-Type"), SDP);
    assert_eq!(
        header_of(&created, "Link"),
        "<turn:a.example?transport=udp>; rel=\"ice-server\"; username=\"u\"; \
         credential=\"p\\\"w\""
    );
    assert!(http::read_body(created).await.starts_with(b"v=0"));
    let told = script.told.lock().unwrap().clone();
    let order = [
        "attach encoder",
        "subscribe [\"TR_c\"]",
        "add cid synthesized-microphone",
        "offer 1",
    ];
    assert_eq!(told, order);
}

#[actix_web::test]
async fn a_live_session_takes_candidates_restarts_and_ends() {
    let script = Arc::new(Script::default());
    let server = server!(script);
    let me = bearer("encoder", "r");
    let created = ask!(&server, Method::POST, ENDPOINT, &[sdp(), me.clone()], OFFER);
    assert_eq!(created.status(), 201);
    let resource = "/whip/v1/PA_x";
    let tag = |tag: &str| ("If-Match", tag.to_owned());
    let patch = |headers: Vec<(&'static str, String)>, body| {
        let server = &server;
        async move { ask!(server, Method::PATCH, resource, &headers, body) }
    };
    let candidate = "m=audio 9 X 0\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\n";
    let status = patch(vec![fragment(), me.clone(), tag("\"ours1\"")], candidate)
        .await
        .status();
    assert_eq!(status, 204);
    assert!(
        script
            .told
            .lock()
            .unwrap()
            .last()
            .unwrap()
            .starts_with("trickle {\"candidate\"")
    );
    let status = patch(vec![fragment(), me.clone()], candidate)
        .await
        .status();
    assert_eq!(status, 428);
    let status = patch(vec![fragment(), me.clone(), tag("other")], candidate)
        .await
        .status();
    assert_eq!(status, 412);
    let status = patch(vec![sdp(), me.clone(), tag("*")], RESTART)
        .await
        .status();
    assert_eq!(status, 400);
    let status = patch(vec![fragment(), bearer("mallory", "r"), tag("*")], RESTART)
        .await
        .status();
    assert_eq!(status, 404, "another identity's session");
    let restarted = patch(vec![fragment(), me.clone(), tag("*")], RESTART).await;
    assert_eq!(restarted.status(), 200);
    assert_eq!(header_of(&restarted, "ETag"), "ours2");
    let body = http::read_body(restarted).await;
    assert!(body.ends_with(b"a=mid:0\r\na=ice-ufrag:ours2\r\n"));

    let gone = |headers: Vec<(&'static str, String)>| {
        let server = &server;
        async move { ask!(server, Method::DELETE, resource, &headers, "").status() }
    };
    assert_eq!(gone(vec![]).await, 401);
    assert_eq!(gone(vec![bearer("mallory", "r")]).await, 404);
    assert_eq!(gone(vec![me.clone()]).await, 200);
    assert_eq!(script.told.lock().unwrap().last().unwrap(), "leave");
    assert_eq!(gone(vec![me]).await, 404);
}

fn neighbours<'a>(hub: &Hub, node: NodeId, answers: &'a Registry) -> Neighbours<'a> {
    let links = hub.join(node, answers.services());
    Neighbours {
        node,
        links,
        answers,
    }
}

#[actix_web::test]
async fn a_session_is_restarted_and_ended_at_whichever_node_is_asked() {
    let (hub, near, far) = (Hub::new(), Registry::default(), Registry::default());
    let (script, other) = (Arc::new(Script::default()), Arc::new(Script::default()));
    let home = server!(script, Some(neighbours(&hub, NodeId(1), &near)));
    let asked = server!(other, Some(neighbours(&hub, NodeId(2), &far)));
    let me = bearer("encoder", "r");
    let created = ask!(&home, Method::POST, ENDPOINT, &[sdp(), me.clone()], OFFER);
    let resource = header_of(&created, "Location").to_owned();
    assert_eq!(resource, "/whip/v1/PA_x@1");

    let any = ("If-Match", "*".to_owned());
    let headers = [fragment(), me.clone(), any.clone()];
    let restarted = ask!(&asked, Method::PATCH, &resource, &headers, RESTART);
    assert_eq!(restarted.status(), 200);
    assert_eq!(header_of(&restarted, "ETag"), "ours2");
    let body = http::read_body(restarted).await;
    assert!(body.ends_with(b"a=mid:0\r\na=ice-ufrag:ours2\r\n"));
    let headers = [fragment(), me.clone(), ("If-Match", "old".to_owned())];
    let refused = ask!(&asked, Method::PATCH, &resource, &headers, RESTART);
    assert_eq!(refused.status(), 412, "as the node itself says it");

    let headers = [bearer("mallory", "r")];
    let denied = ask!(&asked, Method::DELETE, &resource, &headers, "");
    assert_eq!(denied.status(), 404);
    let headers = [me];
    let ended = ask!(&asked, Method::DELETE, &resource, &headers, "");
    assert_eq!(ended.status(), 200);
    assert_eq!(script.told.lock().unwrap().last().unwrap(), "leave");
    let again = ask!(&home, Method::DELETE, &resource, &headers, "");
    assert_eq!(again.status(), 404);
    let nowhere = ask!(&home, Method::DELETE, "/whip/v1/PA_x@9", &headers, "");
    assert_eq!(nowhere.status(), 503, "nobody answers there");
    assert!(other.told.lock().unwrap().is_empty());
}

#[actix_web::test]
async fn what_is_no_offer_or_not_allowed_is_refused() {
    let script = Arc::new(Script::default());
    let server = server!(script);
    let me = || bearer("encoder", "r");
    let refused = async |headers: &[(&'static str, String)], body: &'static str| {
        let response = ask!(&server, Method::POST, ENDPOINT, headers, body);
        let status = response.status().as_u16();
        let body: serde_json::Value = http::read_body_json(response).await;
        (status, body["error"].as_str().unwrap().to_owned())
    };
    assert_eq!(refused(&[sdp()], OFFER).await.0, 401);
    let text = ("Content-Type", "text/plain".to_owned());
    assert_eq!(refused(&[text, me()], OFFER).await.0, 400);
    assert_eq!(refused(&[sdp(), me()], "").await.0, 400);
    let (status, error) = refused(&[sdp(), me()], "v=0").await;
    assert_eq!(status, 400);
    assert!(error.starts_with("malformed SDP offer"), "{error}");
    assert_eq!(refused(&[sdp(), bearer("", "r")], OFFER).await.0, 400);
    assert_eq!(refused(&[sdp(), bearer("e", "")], OFFER).await.0, 400);
    let broken = ("X-LiveKit-ClientInfo", "{".to_owned());
    assert_eq!(refused(&[sdp(), me(), broken], OFFER).await.0, 400);
    assert_eq!(refused(&[sdp(), bearer("e", "full")], OFFER).await.0, 503);
    assert!(script.told.lock().unwrap().is_empty(), "nobody was let in");
}

#[actix_web::test]
async fn reserved_methods_answer_without_a_session() {
    let server = server!(Arc::new(Script::default()));
    for path in [ENDPOINT, "/whip/v1/PA_x"] {
        let response = ask!(&server, Method::GET, path, &[], "");
        assert_eq!(response.status(), 204);
        let response = ask!(&server, Method::OPTIONS, path, &[], "");
        assert_eq!(response.status(), 200);
        assert_eq!(header_of(&response, "Accept-Post"), SDP);
    }
}

fn start() -> Start {
    let summary = negotiate::read_offer(OFFER).unwrap();
    Start {
        offer: OFFER.to_owned(),
        tracks: tracks::announced(&summary),
        ice: summary.ice,
        wanted: BTreeMap::new(),
    }
}

fn drained(session: &mut WhipSession) -> Vec<SessionOutput> {
    std::iter::from_fn(|| session.poll()).collect()
}

#[test]
fn an_offer_announces_its_tracks_as_a_client_would() {
    let track = &start().tracks[0];
    assert_eq!(
        (track.cid.as_str(), track.source()),
        ("cid", proto::TrackSource::Microphone)
    );
    let stereo: i32 = proto::AudioTrackFeature::TfStereo.into();
    assert!(track.audio_features == [stereo] && track.disable_red);
    let video = OFFER
        .replace("m=audio", "m=video")
        .replace("opus/48000/2", "H264/90000")
        .replace("a=msid:s cid\r\n", "a=simulcast:send q;h\r\n");
    let summary = negotiate::read_offer(&video).unwrap();
    let track = &tracks::announced(&summary)[0];
    assert_eq!((track.cid.as_str(), track.layers.len()), ("whip-0", 2));
    assert_eq!(track.simulcast_codecs[0].codec, "h264");
}

#[test]
fn a_session_nobody_answers_ends_at_its_deadline() {
    let now = Instant::now();
    let mut session = WhipSession::new(now, start());
    let deadline = session.deadline().unwrap();
    session.handle(now, SessionInput::Timeout);
    assert!(drained(&mut session).is_empty());
    session.handle(deadline, SessionInput::Timeout);
    assert_eq!(
        drained(&mut session),
        [SessionOutput::Ended { by_room: false }]
    );
    assert_eq!(session.deadline(), None);
}

#[test]
fn restarts_nobody_answers_make_room_for_others() {
    let mut now = Instant::now();
    let mut session = WhipSession::new(now, start());
    let room = |response| SessionInput::Room(signal(response));
    session.handle(now, room(Response::Join(join())));
    session.handle(now, room(answer(1, "ours")));
    let restart = |id: u64| SessionInput::Restart {
        id: PatchId(id),
        fragment: Fragment {
            ufrag: Some(format!("abc{id}")),
            pwd: Some("abcdefghijklmnopqrstuvwx".into()),
            ..Fragment::default()
        },
    };
    drained(&mut session);
    for round in 0..3 {
        let ids = round * 10..round * 10 + RESTARTS_WAITING_MAX as u64;
        for id in ids.clone() {
            session.handle(now, restart(id));
            let outputs = drained(&mut session);
            assert!(matches!(&outputs[..], [SessionOutput::Request(_)]));
        }
        now = session.deadline().unwrap();
        session.handle(now, SessionInput::Timeout);
        let refused = |id| SessionOutput::Patched(PatchId(id), Err(PatchError::Refused));
        assert_eq!(drained(&mut session), ids.map(refused).collect::<Vec<_>>());
    }
    assert_eq!(session.deadline(), None);
}

#[test]
fn candidates_of_other_credentials_are_refused() {
    let now = Instant::now();
    let mut session = WhipSession::new(now, start());
    let room = |response| SessionInput::Room(signal(response));
    session.handle(now, room(Response::Join(join())));
    session.handle(now, room(answer(1, "ours")));
    drained(&mut session);
    let trickle = |ufrag: &str| SessionInput::Trickle {
        id: PatchId(1),
        generation: "ours".into(),
        fragment: Fragment {
            ufrag: Some(ufrag.into()),
            ..Fragment::default()
        },
    };
    session.handle(now, trickle("wrong"));
    let refused = Err(PatchError::OtherCredentials);
    assert_eq!(
        drained(&mut session),
        [SessionOutput::Patched(PatchId(1), refused)]
    );
    session.handle(now, trickle("abcd"));
    assert_eq!(
        drained(&mut session),
        [SessionOutput::Patched(PatchId(1), Ok(None))]
    );
}
