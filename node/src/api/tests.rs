//! The server API as its callers see it: over HTTP on loopback, with real rooms without media.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;

use actix_web::{App, HttpServer};
use protocol::grants::{Claims, SipGrant, VideoGrant};
use protocol::{proto, token};
use serde_json::{Value, json};

use super::*;
use crate::auth::unix_seconds;
use crate::room::environment::RoomsConfig;
use crate::rooms::testing::{self, keys};

mod routing;

fn rooms(full: bool) -> Rooms {
    testing::rooms(RoomsConfig::default(), full)
}

struct Server {
    url: String,
    client: reqwest::Client,
}

struct Answer {
    status: u16,
    kind: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn error(&self) -> (u16, String, String) {
        assert_eq!(self.kind, "application/json");
        let body = self.json();
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        (self.status, text("code"), text("msg"))
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

fn error(status: u16, code: &str, message: &str) -> (u16, String, String) {
    (status, code.to_owned(), message.to_owned())
}

impl Server {
    fn start() -> Self {
        Self::serve(rooms(false))
    }

    fn serve(rooms: Rooms) -> Self {
        let api = Api::new(rooms, keys(), 0);
        let server = HttpServer::new(move || App::new().configure(|config| api.configure(config)));
        let server = server
            .workers(1)
            .disable_signals()
            .bind(("127.0.0.1", 0))
            .unwrap();
        let url = format!("http://{}/twirp/livekit.", server.addrs()[0]);
        actix_web::rt::spawn(server.run());
        Self {
            url,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let kind = response.headers().get("content-type");
        Answer {
            status: response.status().as_u16(),
            kind: kind.map_or("", |kind| kind.to_str().unwrap()).to_owned(),
            body: response.bytes().await.unwrap().to_vec(),
        }
    }

    fn post(&self, path: &str, kind: &str, body: impl Into<Vec<u8>>) -> reqwest::RequestBuilder {
        let request = self.client.post(format!("{}{path}", self.url));
        request.header("content-type", kind).body(body.into())
    }

    async fn call(&self, path: &str, body: Value, token: &str) -> Answer {
        let mut request = self.post(path, "application/json", body.to_string());
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        self.send(request).await
    }
}

fn signed(claims: Claims) -> String {
    let claims = Claims {
        issuer: "devkey".into(),
        exp: unix_seconds() + 60,
        ..claims
    };
    token::sign(&keys(), &claims).unwrap()
}

fn video(grant: VideoGrant) -> String {
    signed(Claims {
        video: Some(grant),
        ..Claims::default()
    })
}

fn create() -> String {
    video(VideoGrant {
        room_create: true,
        ..VideoGrant::default()
    })
}

fn list() -> String {
    video(VideoGrant {
        room_list: true,
        ..VideoGrant::default()
    })
}

fn admin(room: &str) -> String {
    video(VideoGrant {
        room_admin: true,
        room: room.into(),
        ..VideoGrant::default()
    })
}

#[actix_web::test]
async fn a_room_lives_in_json_and_in_protobuf() {
    let server = Server::start();
    let wanted = json!({"name": "r", "emptyTimeout": "60", "metadata": "m", "unknown": [1]});
    let made = server
        .call("RoomService/CreateRoom", wanted, &create())
        .await;
    assert_eq!((made.status, made.kind.as_str()), (200, "application/json"));
    let made = made.json();
    assert_eq!(
        (&made["empty_timeout"], &made["metadata"]),
        (&json!(60), &json!("m"))
    );
    assert_eq!(
        (&made["num_participants"], &made["version"]),
        (&json!(0), &json!(null))
    );
    assert!(
        made["creation_time"].is_string(),
        "64-bit numbers are strings"
    );

    let names = proto::ListRoomsRequest {
        names: vec!["r".into(), "other".into()],
    };
    let request = server.post(
        "RoomService/ListRooms",
        "application/protobuf",
        names.encode_to_vec(),
    );
    let listed = server.send(request.bearer_auth(list())).await;
    assert_eq!(
        (listed.status, listed.kind.as_str()),
        (200, "application/protobuf")
    );
    let listed = proto::ListRoomsResponse::decode(listed.body.as_slice()).unwrap();
    assert_eq!(listed.rooms.len(), 1);
    assert_eq!(json!(listed.rooms[0].sid), made["sid"]);

    let update = json!({"room": "r", "metadata": "new"});
    let updated = server
        .call("RoomService/UpdateRoomMetadata", update, &admin("r"))
        .await;
    assert_eq!(updated.json()["metadata"], json!("new"));
    let deleted = server
        .call("RoomService/DeleteRoom", json!({"room": "r"}), &create())
        .await;
    assert_eq!((deleted.status, deleted.json()), (200, json!({})));
    let again = server
        .call("RoomService/DeleteRoom", json!({"room": "r"}), &create())
        .await;
    let expected = "twirp error unknown: requested room does not exist";
    assert_eq!(again.error(), error(404, "not_found", expected));
}

#[actix_web::test]
async fn what_does_not_exist_is_not_found_at_once() {
    let server = Server::start();
    let room = "twirp error unknown: requested room does not exist";
    let participant = "twirp error unknown: participant does not exist";
    for (method, message) in [
        ("GetParticipant", participant),
        ("RemoveParticipant", participant),
        ("UpdateParticipant", participant),
        ("MutePublishedTrack", room),
        ("UpdateSubscriptions", room),
        ("SendData", room),
        ("UpdateRoomMetadata", room),
    ] {
        let body = json!({"room": "r", "identity": "x"});
        let answer = server
            .call(&format!("RoomService/{method}"), body, &admin("r"))
            .await;
        assert_eq!(answer.error(), error(404, "not_found", message), "{method}");
    }
    let body = json!({"room": "r"});
    let answer = server
        .call("RoomService/ListParticipants", body, &admin("r"))
        .await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"participants": []}))
    );
}

#[actix_web::test]
async fn a_nonce_has_sixteen_bytes() {
    let server = Server::start();
    let body = json!({"room": "r", "data": "aGk=", "nonce": "c2hvcnQ="});
    let answer = server.call("RoomService/SendData", body, &admin("r")).await;
    let message = "nonce should be 16-bytes or not present, got: 5 bytes";
    assert_eq!(answer.error(), error(400, "invalid_argument", message));
}

#[actix_web::test]
async fn moving_needs_the_destination_in_the_token_and_is_not_implemented() {
    let server = Server::start();
    for method in [
        "RoomService/MoveParticipant",
        "RoomService/ForwardParticipant",
    ] {
        let body = |to: &str| json!({"room": "r", "identity": "x", "destination_room": to});
        let denied = server.call(method, body("s"), &admin("r")).await;
        assert_eq!(
            denied.error(),
            error(401, "unauthenticated", "permissions denied")
        );
        let to = |room: &str| {
            let destination_room = room.into();
            let room = "r".into();
            video(VideoGrant {
                room_admin: true,
                room,
                destination_room,
                ..Default::default()
            })
        };
        let same = server.call(method, body("r"), &to("r")).await.error();
        assert_eq!((same.0, same.1.as_str()), (400, "invalid_argument"));
        let moved = server.call(method, body("s"), &to("s")).await;
        let expected = error(500, "unknown", "twirp error unknown: not implemented");
        assert_eq!(moved.error(), expected);
    }
}

#[actix_web::test]
async fn dispatches_are_made_listed_and_deleted() {
    let server = Server::start();
    let body = json!({"room": "r", "agent_name": "helper", "metadata": "m"});
    let made = server
        .call("AgentDispatchService/CreateDispatch", body, &admin("r"))
        .await;
    let made = made.json();
    assert_eq!(
        (&made["agent_name"], &made["room"]),
        (&json!("helper"), &json!("r"))
    );
    assert_eq!(made["state"]["jobs"], json!([]));
    assert_eq!(made["restart_policy"], json!("JRP_ON_FAILURE"));
    let id = &made["id"];
    let body = json!({"room": "r", "dispatch_id": id});
    let listed = server
        .call(
            "AgentDispatchService/ListDispatch",
            body.clone(),
            &admin("r"),
        )
        .await;
    assert_eq!(listed.json()["agent_dispatches"][0]["id"], *id);
    let deleted = server
        .call(
            "AgentDispatchService/DeleteDispatch",
            body.clone(),
            &admin("r"),
        )
        .await;
    assert_eq!(deleted.json()["id"], *id);
    let again = server
        .call("AgentDispatchService/DeleteDispatch", body, &admin("r"))
        .await;
    let expected = "twirp error unknown: dispatch ID not found";
    assert_eq!(again.error(), error(404, "not_found", expected));
}

#[actix_web::test]
async fn absent_services_say_that_they_are_absent() {
    let server = Server::start();
    let everything = signed(Claims {
        video: Some(VideoGrant {
            room_record: true,
            ingress_admin: true,
            room_admin: true,
            ..VideoGrant::default()
        }),
        sip: Some(SipGrant {
            admin: true,
            call: true,
        }),
        ..Claims::default()
    });
    for method in Method::all() {
        let service = method.service();
        if !["Egress", "Ingress", "SIP"].contains(&service.as_str()) {
            continue;
        }
        let path = format!("{service}/{}", method.name());
        let denied = server.call(&path, json!({}), &create()).await;
        assert_eq!(
            denied.error(),
            error(401, "unauthenticated", "permissions denied"),
            "{path}"
        );
        let answer = server.call(&path, json!({}), &everything).await;
        let message = format!(
            "twirp error unknown: {} is not available on this server",
            service.to_lowercase()
        );
        assert_eq!(
            answer.error(),
            error(501, "unimplemented", &message),
            "{path}"
        );
    }
    let body = json!({"room_name": "nowhere"});
    let answer = server
        .call("Egress/StartRoomCompositeEgress", body, &everything)
        .await;
    assert_eq!(answer.error().1, "not_found");
}

#[actix_web::test]
async fn every_room_rpc_needs_exactly_its_grant() {
    let server = Server::start();
    let everything = VideoGrant {
        room_create: true,
        room_list: true,
        room_join: true,
        room_admin: true,
        room_record: true,
        ingress_admin: true,
        room: "r".into(),
        ..VideoGrant::default()
    };
    let without_create = video(VideoGrant {
        room_create: false,
        ..everything.clone()
    });
    let without_list = video(VideoGrant {
        room_list: false,
        ..everything.clone()
    });
    let without_admin = video(VideoGrant {
        room_admin: false,
        ..everything.clone()
    });
    let other_room = video(VideoGrant {
        room: "other".into(),
        ..everything
    });
    let mut denied = BTreeSet::new();
    for method in Method::all().filter(|method| method.service() == "RoomService") {
        let path = format!("RoomService/{}", method.name());
        let weak = match method.name() {
            "CreateRoom" | "DeleteRoom" => vec![&without_create],
            "ListRooms" => vec![&without_list],
            _ => vec![&without_admin, &other_room],
        };
        for token in weak {
            let answer = server.call(&path, json!({"room": "r"}), token).await;
            let expected = error(401, "unauthenticated", "permissions denied");
            assert_eq!(answer.error(), expected, "{path}");
            denied.insert(path.clone());
        }
    }
    assert_eq!(denied.len(), 14);
}

#[actix_web::test]
async fn a_full_node_creates_no_room() {
    let server = Server::serve(rooms(true));
    let token = create();
    let body = json!({ "name": "late" });
    let answer = server.call("RoomService/CreateRoom", body, &token).await;
    let (status, code, _) = answer.error();
    assert_eq!((status, code.as_str()), (429, "resource_exhausted"));
}
