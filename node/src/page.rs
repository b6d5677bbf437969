//! The room page: embedded files below `/room/`, `POST /room/enter`, which turns an invitation into
//! a token of one's own, and `POST /room/check`, which gives its holder a room to test the line in.
//! An invitation is a signed LiveKit token that names a room and nobody: it cannot join by itself.
//! `net::http` mounts it; the command line prints links to it.

use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::http::header;
use actix_web::web::{self, Data, Json, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use include_dir::{Dir, include_dir};
use protocol::grants::{Claims, VideoGrant};
use protocol::ids;
use protocol::token::{self, DEFAULT_SECONDS, Keys, SignError};
use serde::{Deserialize, Serialize};

static FILES: Dir<'_> = include_dir!("$SKEIN_ROOM_PAGE");

/// An invitation in a chat or a calendar should outlive the week.
pub const INVITATION_SECONDS: i64 = 30 * 24 * 3600;
/// A connection test takes a minute at most.
const CHECK_SECONDS: i64 = 600;
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

async fn enter(keys: Data<Keys>, request: Json<Enter>) -> HttpResponse {
    let now = seconds_now();
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
    let name: String = request.name.trim().chars().take(NAME_CHARS_MAX).collect();
    if name.is_empty() {
        return HttpResponse::BadRequest().body("choose a name first");
    }
    let claims = Claims {
        issuer: keys.first().unwrap_or_default().to_string(),
        identity: ids::random(&mut rand::rng(), &format!("{}-", slug(&name))),
        name,
        exp: now + DEFAULT_SECONDS,
        nbf: now,
        video: Some(grant),
        ..Claims::default()
    };
    match token::sign(&keys, &claims) {
        Ok(token) => HttpResponse::Ok().json(Entered { token }),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
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

async fn check(keys: Data<Keys>, request: Json<CheckRequest>) -> HttpResponse {
    let now = seconds_now();
    match token::verify(&keys, &request.invite, now) {
        Ok(claims) if claims.video.as_ref().is_some_and(|grant| grant.room_join) => {}
        Ok(_) => return HttpResponse::Forbidden().body("this token lets nobody into a room"),
        Err(error) => {
            return HttpResponse::Unauthorized().body(format!("this link is no good: {error}"));
        }
    }
    let room = ids::random(&mut rand::rng(), "connection-test-");
    let sign = |identity: &str| {
        let claims = Claims {
            issuer: keys.first().unwrap_or_default().to_string(),
            identity: identity.to_owned(),
            exp: now + CHECK_SECONDS,
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

fn seconds_now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
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
        let link = link(&keys(), "http://host:7880/", "lobby", seconds_now()).unwrap();
        let invite = link.strip_prefix("http://host:7880/room/#invite=").unwrap();
        let mut identities = Vec::new();
        for _ in 0..2 {
            let (status, body) =
                answer(serde_json::json!({"invite": invite, "name": " Ann B. "})).await;
            assert_eq!(status, 200);
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let claims =
                token::verify(&keys(), body["token"].as_str().unwrap(), seconds_now()).unwrap();
            assert_eq!(claims.name, "Ann B.");
            assert_eq!(claims.video.unwrap().room, "lobby");
            identities.push(claims.identity);
        }
        assert!(identities[0].starts_with("annb-") && identities[0] != identities[1]);
    }

    #[actix_web::test]
    async fn whoever_is_invited_may_test_the_line_in_a_room_apart() {
        let link = link(&keys(), "http://h", "lobby", seconds_now()).unwrap();
        let invite = link.rsplit('=').next().unwrap();
        let (status, body) =
            answer_of("/room/check", serde_json::json!({ "invite": invite })).await;
        assert_eq!(status, 200);
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let claims: Vec<Claims> = (0..2)
            .map(|i| body["tokens"][i].as_str().unwrap())
            .map(|token| token::verify(&keys(), token, seconds_now()).unwrap())
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
    }

    #[actix_web::test]
    async fn a_participants_token_is_no_invitation() {
        let claims = Claims {
            issuer: "devkey".into(),
            identity: "ann".into(),
            exp: seconds_now() + 60,
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
