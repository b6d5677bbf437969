//! WHIP (RFC 9725): publishing with HTTP requests, as encoders do. A session is a participant whose
//! signalling is one offer and one answer with all candidates. Reads and writes HTTP here;
//! `session` is the core, `session_actor` its shell, `directory` finds a session by its resource,
//! `sessions` also where it is another node's.

mod directory;
mod fragment;
mod limits;
mod session;
mod session_actor;
mod sessions;
mod tracks;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use media::negotiate;
use protocol::grants::Claims;
use protocol::proto;
use serde::Deserialize;

use self::limits::{ANSWER_TIMEOUT, FRAGMENT_BYTES_MAX, OFFER_BYTES_MAX};
use self::session::{Created, PatchError, Restarted, Start};
use self::session_actor::SessionActor;
pub use self::sessions::Neighbours;
use self::sessions::{Change, PatchBody, Sessions};
use crate::auth::Caller;
use crate::net::body;
use crate::net::http::Routes;
use crate::room::contract::AttachError;
use crate::signal::{Gateway, Refusal};

const ENDPOINT: &str = "/whip/v1";
const RESOURCE: &str = "/whip/v1/{participant}";
const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// What the handlers share.
struct Whip {
    gateway: Arc<Gateway>,
    sessions: Sessions,
}

type WhipData = web::Data<Whip>;

/// `/whip/v1`, for `net::http::serve`; in a cluster also for requests that other nodes were sent.
pub fn routes(gateway: Arc<Gateway>, neighbours: Option<Neighbours<'_>>) -> Routes {
    let sessions = Sessions::new(gateway.lobby(), neighbours);
    let whip = web::Data::new(Whip { gateway, sessions });
    Arc::new(move |config| {
        config
            .app_data(whip.clone())
            .route(ENDPOINT, web::get().to(HttpResponse::NoContent))
            .route(
                ENDPOINT,
                web::method(actix_web::http::Method::OPTIONS).to(options),
            )
            .route(ENDPOINT, web::post().to(create))
            .route(RESOURCE, web::get().to(HttpResponse::NoContent))
            .route(
                RESOURCE,
                web::method(actix_web::http::Method::OPTIONS).to(options),
            )
            .route(RESOURCE, web::patch().to(patch))
            .route(RESOURCE, web::delete().to(delete));
    })
}

/// An answer other than success: a status and a JSON object with the reason.
#[derive(Debug)]
struct Failure(StatusCode, String);

impl Failure {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self(status, text.into())
    }

    fn bad_request(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no such session")
    }
}

impl From<Failure> for HttpResponse {
    fn from(Failure(status, text): Failure) -> Self {
        HttpResponse::build(status).json(serde_json::json!({ "error": text }))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self(refusal.status, refusal.text)
    }
}

impl From<PatchError> for Failure {
    fn from(error: PatchError) -> Self {
        let status = match error {
            PatchError::OtherGeneration => StatusCode::PRECONDITION_FAILED,
            PatchError::OtherCredentials | PatchError::NoCredentials => StatusCode::BAD_REQUEST,
            PatchError::Refused => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }
}

async fn options() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("Accept-Post", SDP))
        .insert_header(("Access-Control-Allow-Origin", "*"))
        .insert_header(("Access-Control-Allow-Headers", "*"))
        .insert_header((
            "Access-Control-Allow-Methods",
            "PATCH, OPTIONS, GET, POST, DELETE",
        ))
        .insert_header(("Access-Control-Expose-Headers", "*"))
        .finish()
}

async fn create(
    request: HttpRequest,
    caller: Caller,
    body: web::Payload,
    whip: WhipData,
) -> HttpResponse {
    match start(&request, caller, body, &whip).await {
        Ok(created) => {
            let resource = whip.sessions.resource(&created.participant);
            created_response(&created, &resource)
        }
        Err(failure) => failure.into(),
    }
}

/// What the header `X-LiveKit-ClientInfo` may ask for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClientWishes {
    /// Tracks to be sent back, by the identity of their publisher.
    subscribed_participant_track_names: BTreeMap<String, Vec<String>>,
}

async fn start(
    request: &HttpRequest,
    caller: Caller,
    body: web::Payload,
    whip: &Whip,
) -> Result<Created, Failure> {
    require_content_type(request.headers(), SDP)?;
    let attach = whip.gateway.admit_one_shot(request, caller.0)?;
    let body = body::read(body, OFFER_BYTES_MAX).await.unwrap_or_default();
    if body.is_empty() {
        return Err(Failure::bad_request("body does not have SDP offer"));
    }
    let malformed = |error: &dyn std::fmt::Display| {
        Failure::bad_request(format!("malformed SDP offer: {error}"))
    };
    let offer = std::str::from_utf8(&body).map_err(|error| malformed(&error))?;
    let summary = negotiate::read_offer(offer).map_err(|error| malformed(&error))?;
    let wishes = client_wishes(request.headers())?;
    let start = Start {
        offer: offer.to_owned(),
        ice: summary.ice.clone(),
        tracks: tracks::announced(&summary),
        wanted: wishes.subscribed_participant_track_names,
    };
    let lobby = whip.gateway.lobby();
    let created = SessionActor::begin(attach, start, lobby, whip.sessions.directory.clone());
    let unanswered = AttachError::ClosedByMedia;
    match tokio::time::timeout(ANSWER_TIMEOUT, created).await {
        Ok(Ok(Ok(created))) => Ok(created),
        Ok(Ok(Err(error))) => Err(Refusal::from(error).into()),
        Ok(Err(_)) | Err(_) => Err(Refusal::from(unanswered).into()),
    }
}

fn client_wishes(headers: &HeaderMap) -> Result<ClientWishes, Failure> {
    let Some(text) = headers.get("X-LiveKit-ClientInfo") else {
        return Ok(ClientWishes::default());
    };
    serde_json::from_slice(text.as_bytes()).map_err(|error| {
        Failure::bad_request(format!("malformed json in client info header: {error}"))
    })
}

fn created_response(created: &Created, resource: &str) -> HttpResponse {
    let mut response = HttpResponse::Created();
    response
        .content_type(SDP)
        .insert_header((header::LOCATION, format!("{ENDPOINT}/{resource}")));
    for link in created.ice_servers.iter().flat_map(links) {
        response.append_header((header::LINK, link));
    }
    // LiveKit's entity tag is the bare ufrag, without quotes.
    if let Ok(tag) = HeaderValue::from_str(&created.ufrag) {
        response.insert_header((header::ETAG, tag));
    }
    response.body(created.answer.clone())
}

/// RFC 9725 §4.6: one link a server, with its credentials.
fn links(server: &proto::IceServer) -> Vec<String> {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let credentials = match server.username.is_empty() && server.credential.is_empty() {
        true => String::new(),
        false => format!(
            "; username=\"{}\"; credential=\"{}\"",
            escaped(&server.username),
            escaped(&server.credential)
        ),
    };
    let link = |url: &String| format!("<{url}>; rel=\"ice-server\"{credentials}");
    server.urls.iter().map(link).collect()
}

async fn patch(
    request: HttpRequest,
    resource: web::Path<String>,
    caller: Caller,
    body: web::Payload,
    whip: WhipData,
) -> HttpResponse {
    match patched(&request, &resource, caller, body, &whip).await {
        Ok(None) => HttpResponse::NoContent().content_type(FRAGMENT).finish(),
        Ok(Some(restarted)) => {
            let mut response = HttpResponse::Ok();
            response.content_type(FRAGMENT);
            if let Ok(tag) = HeaderValue::from_str(&restarted.ufrag) {
                response.insert_header((header::ETAG, tag));
            }
            response.body(restarted.fragment)
        }
        Err(failure) => failure.into(),
    }
}

async fn patched(
    request: &HttpRequest,
    resource: &str,
    caller: Caller,
    body: web::Payload,
    whip: &Whip,
) -> Result<Option<Restarted>, Failure> {
    require_content_type(request.headers(), FRAGMENT)?;
    let tag = request.headers().get(header::IF_MATCH);
    let tag = tag
        .and_then(|value| value.to_str().ok())
        .unwrap_or("")
        .trim();
    if tag.is_empty() {
        let status = StatusCode::PRECONDITION_REQUIRED;
        return Err(Failure::new(status, "missing entity tag"));
    }
    let change = change_of(caller)?;
    let invalid = || Failure::bad_request("invalid SDP fragment");
    let body = body::read(body, FRAGMENT_BYTES_MAX).await;
    let body = body.map_err(|_| invalid())?;
    let text = std::str::from_utf8(&body).map_err(|_| invalid())?;
    let patch = PatchBody {
        entity_tag: tag.to_owned(),
        fragment: text.to_owned(),
    };
    let patch = Some(patch);
    let change = Change { patch, ..change };
    whip.sessions.change(resource, change).await
}

async fn delete(resource: web::Path<String>, caller: Caller, whip: WhipData) -> HttpResponse {
    let ended = async { whip.sessions.change(&resource, change_of(caller)?).await };
    match ended.await {
        Ok(_) => HttpResponse::Ok().finish(),
        Err(failure) => failure.into(),
    }
}

/// Whose sessions a token may touch: those of its own identity in its own room. As it is, it ends
/// one.
fn change_of(caller: Caller) -> Result<Change, Failure> {
    let claims: Claims = crate::signal::joining(caller.0)?;
    Ok(Change {
        participant: String::new(),
        room: claims.video.map(|video| video.room).unwrap_or_default(),
        identity: claims.identity,
        patch: None,
    })
}

fn require_content_type(headers: &HeaderMap, wanted: &str) -> Result<(), Failure> {
    let value = headers.get(header::CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = value.split(';').next().unwrap_or("").trim();
    if essence.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    Err(Failure::bad_request(format!(
        "unsupported content-type: {value}"
    )))
}
