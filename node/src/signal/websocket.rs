//! The HTTP side of the gateway: `/rtc`, `/rtc/v1` and their `validate`. A request becomes a
//! session only after the room has spoken; until then every failure is a status and a text.

use std::time::Instant;

use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use metrics::counter;
use protocol::grants::Claims;

use super::limits::{ATTACH_TIMEOUT, FORM_BYTES_MAX, SIGNAL_MESSAGE_BYTES_DEFAULT};
use super::participant_actor::{ParticipantActor, Socket};
use super::validate::{self, Refusal};
use super::{Gateway, client_info, join_params};
use crate::auth::{of_request_with, refusal};
use crate::net::body;
use crate::room::contract::{Attach, AttachError, AttachKind};

type GatewayData = web::Data<Gateway>;

/// Which of the two paths a request came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Path {
    V0,
    V1,
}

pub(super) fn configure(config: &mut web::ServiceConfig, gateway: GatewayData) {
    config
        .app_data(gateway)
        .route("/rtc", web::route().to(connect_v0))
        .route("/rtc/v1", web::route().to(connect_v1))
        .route("/rtc/validate", web::route().to(validate_v0))
        .route("/rtc/v1/validate", web::route().to(validate_v1));
}

async fn connect_v0(
    request: HttpRequest,
    body: web::Payload,
    gateway: GatewayData,
) -> HttpResponse {
    connect(request, body, gateway, Path::V0).await
}

async fn connect_v1(
    request: HttpRequest,
    body: web::Payload,
    gateway: GatewayData,
) -> HttpResponse {
    connect(request, body, gateway, Path::V1).await
}

async fn validate_v0(
    request: HttpRequest,
    body: web::Payload,
    gateway: GatewayData,
) -> HttpResponse {
    let query = parameters(&request, body).await;
    validate_only(&request, &query, &gateway, Path::V0).await
}

async fn validate_v1(
    request: HttpRequest,
    body: web::Payload,
    gateway: GatewayData,
) -> HttpResponse {
    let query = parameters(&request, body).await;
    validate_only(&request, &query, &gateway, Path::V1).await
}

/// Query and, of a posted form, its body, which wins (Go's `Request.FormValue`). A form that is too
/// large or too slow counts as absent.
async fn parameters(request: &HttpRequest, body: web::Payload) -> String {
    let query = request.query_string();
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_form = kind.starts_with("application/x-www-form-urlencoded");
    if request.method() != Method::POST || !is_form {
        return query.to_owned();
    }
    match body::read(body, FORM_BYTES_MAX).await {
        Ok(form) => format!("{}&{query}", String::from_utf8_lossy(&form)),
        Err(_) => query.to_owned(),
    }
}

/// Clients ask here why their WebSocket failed; any page may read the answer.
async fn validate_only(
    request: &HttpRequest,
    query: &str,
    gateway: &Gateway,
    path: Path,
) -> HttpResponse {
    let outcome = match admit(request, query, gateway, path) {
        Ok(attach) => room_exists_or_may(gateway, &attach).await,
        Err(refused) => Err(refused),
    };
    let mut response = match outcome {
        Ok(()) => HttpResponse::Ok()
            .content_type("text/plain; charset=utf-8")
            .body("success"),
        Err(refused) => refusal(refused.status, refused.text),
    };
    let any = HeaderValue::from_static("*");
    response
        .headers_mut()
        .insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any);
    response
}

async fn connect(
    request: HttpRequest,
    body: web::Payload,
    gateway: GatewayData,
    path: Path,
) -> HttpResponse {
    if !wants_websocket(request.headers()) {
        return HttpResponse::NotFound().finish();
    }
    let attach = match admit(&request, request.query_string(), &gateway, path) {
        Ok(attach) => attach,
        Err(refused) => {
            count_join("signal_validation_failed");
            return refusal(refused.status, refused.text);
        }
    };
    // Judged before the room is asked: joining ends another session of this identity. Nothing is
    // sent before the response is returned.
    let (response, sender, receiver) = match actix_ws::handle(&request, body) {
        Ok(upgraded) => upgraded,
        Err(error) => {
            count_join("signal_upgrade_failed");
            return refusal(StatusCode::BAD_REQUEST, error.to_string());
        }
    };
    let starting = ParticipantActor::begin(attach, gateway.rooms.clone());
    let admitted = tokio::time::timeout(ATTACH_TIMEOUT, starting.admitted).await;
    // A room that says nothing in time is, to the client, a connection that media closed.
    let admitted = admitted.unwrap_or(Ok(Err(AttachError::ClosedByMedia)));
    if let Err(error) = admitted.unwrap_or(Err(AttachError::ClosedByMedia)) {
        count_join("signal_failed");
        let refused = Refusal::from(error);
        return refusal(refused.status, refused.text);
    }
    let limit = message_bytes_max(&gateway);
    let receiver = receiver.max_frame_size(limit).aggregate_continuations();
    let receiver = receiver.max_continuation_size(limit);
    if starting.upgraded.send(Socket { sender, receiver }).is_err() {
        count_join("signal_write_initial_response_failed");
        return Refusal::from(AttachError::ClosedByMedia).into_response();
    }
    count_join("signal_connected");
    response
}

impl Refusal {
    fn into_response(self) -> HttpResponse {
        refusal(self.status, self.text)
    }
}

/// Everything that can be judged without the room.
fn admit(
    request: &HttpRequest,
    query: &str,
    gateway: &Gateway,
    path: Path,
) -> Result<Attach, Refusal> {
    let claims = of_request_with(&gateway.settings.keys, request, query)
        .map_err(|error| Refusal::new(StatusCode::UNAUTHORIZED, error.to_string()))?;
    attach_of(request, query, gateway, claims, path)
}

/// The same without parameters, for a request whose token was verified already.
pub(super) fn admit_with(
    request: &HttpRequest,
    gateway: &Gateway,
    claims: Option<Claims>,
) -> Result<Attach, Refusal> {
    attach_of(request, "", gateway, claims, Path::V0)
}

fn attach_of(
    request: &HttpRequest,
    query: &str,
    gateway: &Gateway,
    claims: Option<Claims>,
    path: Path,
) -> Result<Attach, Refusal> {
    let settings = &gateway.settings;
    let claims = validate::joining(claims)?;
    let mut params = join_params::parse(query, path == Path::V1)?;
    let peer = request.peer_addr().map(|address| address.ip());
    client_info::complete(&mut params.client, request.headers(), peer);
    validate::attach(
        (gateway.new_session(), Instant::now()),
        claims,
        params,
        settings,
    )
}

/// `validate` creates no room, yet says whether joining would find one.
async fn room_exists_or_may(gateway: &Gateway, attach: &Attach) -> Result<(), Refusal> {
    let video = attach.claims.video.as_ref();
    let may_create = gateway.settings.auto_create || video.is_some_and(|video| video.room_create);
    // A resume is answered on the WebSocket: an HTTP error would keep clients in resume mode.
    if may_create || attach.kind != AttachKind::Join {
        return Ok(());
    }
    if gateway.rooms.exists(&attach.room).await {
        return Ok(());
    }
    Err(AttachError::RoomNotFound.into())
}

fn message_bytes_max(gateway: &Gateway) -> usize {
    match gateway.settings.signal_message_bytes_max {
        0 => SIGNAL_MESSAGE_BYTES_DEFAULT,
        limit => limit,
    }
}

fn wants_websocket(headers: &HeaderMap) -> bool {
    let names = |header, word: &str| {
        let value = headers
            .get(header)
            .and_then(|value: &HeaderValue| value.to_str().ok());
        let mut words = value.unwrap_or_default().split(',');
        words.any(|named| named.trim().eq_ignore_ascii_case(word))
    };
    names(header::UPGRADE, "websocket") && names(header::CONNECTION, "upgrade")
}

fn count_join(state: &'static str) {
    counter!("livekit_participant_join_total", "state" => state).increment(1);
}
