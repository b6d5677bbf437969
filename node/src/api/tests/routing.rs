//! What is answered before a service is reached: route, size, token, encoding.

use serde_json::json;

use super::{Server, error, list};
use crate::api::limits::BODY_BYTES_DEFAULT;

#[actix_web::test]
async fn requests_that_lead_nowhere_are_bad_routes() {
    let server = Server::start();
    let get = server
        .client
        .get(format!("{}RoomService/ListRooms", server.url));
    let answer = server.send(get).await;
    assert_eq!(
        answer.json(),
        json!({"code": "bad_route", "msg": "unsupported method \"GET\" (only POST is allowed)",
            "meta": {"twirp_invalid_route": "GET /twirp/livekit.RoomService/ListRooms"}})
    );
    assert_eq!(
        (answer.status, answer.kind.as_str()),
        (404, "application/json")
    );
    for path in [
        "RoomService/Nope",
        "Nope/ListRooms",
        "RoomService",
        "RoomService/List/Rooms",
    ] {
        let message = format!("no handler for path \"/twirp/livekit.{path}\"");
        let answer = server.call(path, json!({}), "").await;
        assert_eq!(answer.error(), error(404, "bad_route", &message));
    }
    for kind in ["text/plain", ""] {
        let answer = server
            .send(server.post("RoomService/ListRooms", kind, "{}"))
            .await;
        let message = format!("unexpected Content-Type: {kind:?}");
        assert_eq!(answer.error(), error(404, "bad_route", &message));
    }
}

#[actix_web::test]
async fn bodies_that_do_not_decode_are_malformed_before_anything_else() {
    let server = Server::start();
    let path = "RoomService/ListRooms";
    for body in ["{", r#"{"names": 3}"#] {
        let answer = server
            .send(server.post(path, "application/json", body))
            .await;
        let expected = error(400, "malformed", "the json request could not be decoded");
        assert_eq!(answer.error(), expected);
    }
    let answer = server
        .send(server.post(path, "application/protobuf", [0xff, 0xff]))
        .await;
    let expected = error(
        400,
        "malformed",
        "the protobuf request could not be decoded",
    );
    assert_eq!(answer.error(), expected);
}

#[actix_web::test]
async fn a_bad_token_is_a_plain_401_and_none_is_a_twirp_error() {
    let server = Server::start();
    let path = "RoomService/ListRooms";
    let answer = server.call(path, json!({}), "").await;
    assert_eq!(
        answer.error(),
        error(401, "unauthenticated", "permissions denied")
    );
    let answer = server.call(path, json!({}), "x").await;
    assert_eq!(
        (answer.status, answer.text()),
        (401, "invalid authorization token")
    );
    let basic = server
        .post(path, "application/json", "{}")
        .header("authorization", "Basic x");
    let answer = server.send(basic).await;
    let expected = "invalid authorization header. Must start with Bearer ";
    assert_eq!((answer.status, answer.text()), (401, expected));
    let query = format!("{path}?access_token={}", list());
    assert_eq!(server.call(&query, json!({}), "").await.status, 200);
}

#[actix_web::test]
async fn an_oversized_body_is_refused_before_the_token_is_looked_at() {
    let server = Server::start();
    let body = vec![b' '; BODY_BYTES_DEFAULT + 1];
    let request = server.post("RoomService/ListRooms", "application/json", body);
    assert_eq!(server.send(request.bearer_auth("x")).await.status, 413);
}
