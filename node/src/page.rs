//! The room page: embedded files below `/room/`, `POST /room/enter`, which turns an invitation into
//! a token of one's own, and `POST /room/check`, which gives its holder a room to test the line in.
//! An invitation is a signed LiveKit token that names a room and nobody: it cannot join by itself.
//! `net::http` mounts it; the command line prints links to it.

use actix_web::http::header;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use include_dir::{Dir, include_dir};
use protocol::grants::{Claims, VideoGrant};
use protocol::ids;
use protocol::token::{self, DEFAULT_SECONDS, Keys, SignError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::auth::{unix_seconds, vouch};
use crate::limits::STRANGER_BODY_BYTES_MAX;
use crate::net::body;

static FILES: Dir<'_> = include_dir!("$SKEIN_ROOM_PAGE");

/// An invitation in a chat or a calendar should outlive the week.
pub const INVITATION_SECONDS: i64 = 30 * 24 * 3600;
/// A connection test takes a minute at most.
const CHECK_SECONDS: i64 = 600;
/// How the names of rooms for tests begin.
const TEST_ROOM: &str = "connection-test-";
/// Longest name a visitor may choose, in characters; shown on every tile.
const NAME_CHARS_MAX: usize = 64;

pub fn configure(config: &mut ServiceConfig) {
    config
        .route("/room", web::get().to(to_page))
        .route("/room/enter", web::post().to(enter))
        .route("/room/check", web::post().to(check))
        .route("/room/{file:.*}", web::get().to(file));
}

/// The address that lets anybody who has it into `room`, at the server behind `http_url`.
pub fn link(keys: &Keys, http_url: &str, room: &str, now: i64) -> Result<String, SignError> {
    let invitation = Claims {
        issuer: keys.first().unwrap_or_default().to_string(),
        exp: now + INVITATION_SECONDS,
        nbf: now,
        video: Some(VideoGrant {
            room_join: true,
            room: room.to_string(),
            ..VideoGrant::default()
        }),
        ..Claims::default()
    };
    let signed = token::sign(keys, &invitation)?;
    Ok(format!(
        "{}/room/#invite={signed}",
        http_url.trim_end_matches('/')
    ))
}

#[derive(Deserialize)]
struct Enter {
    invite: String,
    name: String,
}

#[derive(Serialize)]
struct Entered {
    token: String,
}

/// What a page posts, which anybody may be.
async fn posted<T: DeserializeOwned>(body: web::Payload) -> Result<T, HttpResponse> {
    let body = body::read(body, STRANGER_BODY_BYTES_MAX).await;
    let body = body.map_err(|error| HttpResponse::BadRequest().body(error.to_string()))?;
    let bad = |error: serde_json::Error| HttpResponse::BadRequest().body(error.to_string());
    serde_json::from_slice(&body).map_err(bad)
}

async fn enter(keys: Data<Keys>, http: HttpRequest, body: web::Payload) -> HttpResponse {
    let request: Enter = match posted(body).await {
        Ok(request) => request,
        Err(refused) => return refused,
    };
    let now = unix_seconds();
    let invitation = match token::verify(&keys, &request.invite, now) {
        Ok(claims) => claims,
        Err(error) => {
            return HttpResponse::Unauthorized()
                .body(format!("this invitation is no good: {error}"));
        }
    };
    let grant = invitation.video.unwrap_or_default();
    if !invitation.identity.is_empty() || !grant.room_join || grant.room.is_empty() {
        return HttpResponse::Forbidden().body("this token is no invitation to a room");
    }
    // A crowd behind one address that opens one link is no flood.
    vouch(&http);
    let name: String = request.name.trim().chars().take(NAME_CHARS_MAX).collect();
    if name.is_empty() {
        return HttpResponse::BadRequest().body("choose a name first");
    }
    let claims = Claims {
        issuer: keys.first().unwrap_or_default().to_string(),
        identity: ids::random(&mut rand::rng(), &format!("{}-", slug(&name))),
        name,
        exp: invitation.exp.min(now + DEFAULT_SECONDS),
        nbf: now,
        video: Some(rights_of_guest(grant)),
        ..Claims::default()
    };
    match token::sign(&keys, &claims) {
        Ok(token) => HttpResponse::Ok().json(Entered { token }),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}

/// What concerns the room and its media. Whatever else an invitation is signed with was not meant
/// for everybody who sees the link.
fn rights_of_guest(invitation: VideoGrant) -> VideoGrant {
    VideoGrant {
        room_join: true,
        room: invitation.room,
        can_publish: invitation.can_publish,
        can_subscribe: invitation.can_subscribe,
        can_publish_data: invitation.can_publish_data,
        can_publish_sources: invitation.can_publish_sources,
        can_update_own_metadata: invitation.can_update_own_metadata,
        ..VideoGrant::default()
    }
}

#[derive(Deserialize)]
struct CheckRequest {
    /// An invitation, or a participant's token: strangers test nothing here.
    invite: String,
}

#[derive(Serialize)]
struct Checked {
    /// Of two participants of one room that nobody else is in.
    tokens: [String; 2],
}

async fn check(keys: Data<Keys>, http: HttpRequest, body: web::Payload) -> HttpResponse {
    let request: CheckRequest = match posted(body).await {
        Ok(request) => request,
        Err(refused) => return refused,
    };
    let now = unix_seconds();
    let shown = match token::verify(&keys, &request.invite, now) {
        Ok(claims) => claims,
        Err(error) => {
            return HttpResponse::Unauthorized().body(format!("this link is no good: {error}"));
        }
    };
    // A token made here would otherwise get another one, for ever.
    let may = |grant: &VideoGrant| grant.room_join && !grant.room.starts_with(TEST_ROOM);
    if !shown.video.as_ref().is_some_and(may) {
        return HttpResponse::Forbidden().body("this token lets nobody into a room");
    }
    vouch(&http);
    let exp = shown.exp.min(now + CHECK_SECONDS);
    let room = ids::random(&mut rand::rng(), TEST_ROOM);
    let sign = |identity: &str| {
        let claims = Claims {
            issuer: keys.first().unwrap_or_default().to_string(),
            identity: identity.to_owned(),
            exp,
            nbf: now,
            video: Some(VideoGrant {
                room_join: true,
                room: room.clone(),
                can_publish: Some(false),
                can_publish_data: Some(true),
                ..VideoGrant::default()
            }),
            ..Claims::default()
        };
        token::sign(&keys, &claims)
    };
    match sign("sender").and_then(|sender| Ok([sender, sign("receiver")?])) {
        Ok(tokens) => HttpResponse::Ok().json(Checked { tokens }),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}

async fn to_page(request: HttpRequest) -> HttpResponse {
    let query = request
        .uri()
        .query()
        .map(|q| format!("?{q}"))
        .unwrap_or_default();
    HttpResponse::PermanentRedirect()
        .insert_header((header::LOCATION, format!("/room/{query}")))
        .finish()
}

/// A file of the page. What Vite puts below `assets/` carries a hash in its name and never changes.
async fn file(path: web::Path<String>) -> HttpResponse {
    // The page chooses by its address what it shows.
    let path = match path.as_str() {
        "" | "check" => "index.html",
        path => path,
    };
    let Some(found) = FILES.get_file(path) else {
        return HttpResponse::NotFound().finish();
    };
    let cache = if path.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    HttpResponse::Ok()
        .content_type(content_type(path))
        .insert_header((header::CACHE_CONTROL, cache))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(found.contents())
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}

/// The readable part of an identity: letters and digits of the name, in lower case.
fn slug(name: &str) -> String {
    let letters = name.chars().filter(|c| c.is_alphanumeric()).take(16);
    let slug: String = letters.flat_map(char::to_lowercase).collect();
    if slug.is_empty() {
        "guest".to_string()
    } else {
        slug
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use actix_web::{App, test};

    use super::*;

    fn keys() -> Keys {
        Keys::new([(
            "devkey".to_string(),
            "secret-secret-secret-secret-secret".to_string(),
        )])
    }

    async fn answer(body: serde_json::Value) -> (u16, Vec<u8>) {
        answer_of("/room/enter", body).await
    }

    async fn answer_of(path: &str, body: serde_json::Value) -> (u16, Vec<u8>) {
        let app = App::new().app_data(Data::new(keys())).configure(configure);
        let app = test::init_service(app).await;
        let request = test::TestRequest::post()
            .uri(path)
            .set_json(body)
            .to_request();
        let response = test::call_service(&app, request).await;
        (
            response.status().as_u16(),
            test::read_body(response).await.to_vec(),
        )
    }

    #[actix_web::test]
    async fn an_invitation_becomes_a_token_for_its_room() {
        let link = link(&keys(), "http://host:7880/", "lobby", unix_seconds()).unwrap();
        let invite = link.strip_prefix("http://host:7880/room/#invite=").unwrap();
        let mut identities = Vec::new();
        for _ in 0..2 {
            let (status, body) =
                answer(serde_json::json!({"invite": invite, "name": " Ann B. "})).await;
            assert_eq!(status, 200);
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let claims =
                token::verify(&keys(), body["token"].as_str().unwrap(), unix_seconds()).unwrap();
            assert_eq!(claims.name, "Ann B.");
            assert_eq!(claims.video.unwrap().room, "lobby");
            identities.push(claims.identity);
        }
        assert!(identities[0].starts_with("annb-") && identities[0] != identities[1]);
    }

    #[actix_web::test]
    async fn whoever_is_invited_may_test_the_line_in_a_room_apart() {
        let link = link(&keys(), "http://h", "lobby", unix_seconds()).unwrap();
        let invite = link.rsplit('=').next().unwrap();
        let (status, body) =
            answer_of("/room/check", serde_json::json!({ "invite": invite })).await;
        assert_eq!(status, 200);
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let claims: Vec<Claims> = (0..2)
            .map(|i| body["tokens"][i].as_str().unwrap())
            .map(|token| token::verify(&keys(), token, unix_seconds()).unwrap())
            .collect();
        let grants: Vec<_> = claims
            .iter()
            .map(|one| one.video.clone().unwrap())
            .collect();
        assert_eq!(grants[0].room, grants[1].room);
        assert!(grants[0].room.starts_with("connection-test-"));
        assert_eq!(grants[0].can_publish, Some(false));
        assert_ne!(claims[0].identity, claims[1].identity);

        let (status, _) =
            answer_of("/room/check", serde_json::json!({ "invite": "nonsense" })).await;
        assert_eq!(status, 401);
        let own = serde_json::json!({ "invite": body["tokens"][0] });
        assert_eq!(answer_of("/room/check", own).await.0, 403);
    }

    #[actix_web::test]
    async fn an_invitation_passes_on_its_media_rights_until_it_expires() {
        let exp = unix_seconds() + 100;
        let invitation = Claims {
            issuer: "devkey".into(),
            exp,
            video: Some(VideoGrant {
                room_join: true,
                room_admin: true,
                room_list: true,
                room: "r".into(),
                can_publish: Some(false),
                ..VideoGrant::default()
            }),
            ..Claims::default()
        };
        let invite = token::sign(&keys(), &invitation).unwrap();
        for (path, tokens) in [("/room/enter", "/token"), ("/room/check", "/tokens/0")] {
            let asked = serde_json::json!({"invite": invite, "name": "Ann"});
            let (status, body) = answer_of(path, asked).await;
            assert_eq!(status, 200);
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let token = body.pointer(tokens).unwrap().as_str().unwrap();
            let claims = token::verify(&keys(), token, unix_seconds()).unwrap();
            assert_eq!(claims.exp, exp);
            let grant = claims.video.unwrap();
            assert!(grant.room_join && !grant.room_admin && !grant.room_list);
            assert_eq!(grant.can_publish, Some(false));
        }
    }

    #[actix_web::test]
    async fn a_participants_token_is_no_invitation() {
        let claims = Claims {
            issuer: "devkey".into(),
            identity: "ann".into(),
            exp: unix_seconds() + 60,
            video: Some(VideoGrant {
                room_join: true,
                room: "r".into(),
                ..VideoGrant::default()
            }),
            ..Claims::default()
        };
        let token = token::sign(&keys(), &claims).unwrap();
        let (status, _) = answer(serde_json::json!({"invite": token, "name": "Eve"})).await;
        assert_eq!(status, 403);
        let (status, _) = answer(serde_json::json!({"invite": "nonsense", "name": "Eve"})).await;
        assert_eq!(status, 401);
    }

    #[actix_web::test]
    async fn an_invitation_cannot_join_by_itself() {
        let link = link(&keys(), "http://h", "lobby", 1_000).unwrap();
        let claims = token::verify(&keys(), link.rsplit('=').next().unwrap(), 1_000).unwrap();
        assert_eq!(
            claims.identity, "",
            "the join needs an identity and refuses without one"
        );
    }
}
