//! Twirp over HTTP: route, size, token, encoding, in the order in which upstream checks them; then
//! the service. Every failure but a bad token is a Twirp error in JSON.

use std::time::Instant;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use metrics::{counter, histogram};
use protocol::twirp::{Code, Encoding, Error, Method, malformed};

use super::Api;
use crate::auth::{Caller, of_request, refusal};
use crate::limits::STRANGER_BODY_BYTES_MAX;
use crate::net::body::{self, BodyError};

const PREFIX: &str = "/twirp/";

pub(super) fn configure(config: &mut web::ServiceConfig, api: Api) {
    config
        .app_data(web::Data::new(api))
        .route("/twirp/{path:.*}", web::route().to(handle));
}

async fn handle(request: HttpRequest, body: web::Payload, api: web::Data<Api>) -> HttpResponse {
    let started = Instant::now();
    if declared_length(&request).is_some_and(|length| length > api.body_bytes_max) {
        return no_body(BodyError::TooLarge);
    }
    let caller = match of_request(&api.keys, &request) {
        Ok(claims) => Caller(claims),
        Err(error) => return refusal(StatusCode::UNAUTHORIZED, error.to_string()),
    };
    let (method, encoding) = match route(&request) {
        Ok(routed) => routed,
        Err(error) => return failed(&Call::unknown(started), &error),
    };
    let call = Call {
        service: method.service(),
        method: method.name(),
        started,
    };
    let bytes_max = match caller.0 {
        Some(_) => api.body_bytes_max,
        None => api.body_bytes_max.min(STRANGER_BODY_BYTES_MAX),
    };
    // One that breaks off does not decode.
    let body = match body::read(body, bytes_max).await {
        Ok(body) => body,
        Err(error) => return no_body(error),
    };
    let answer = match method.request(encoding, body) {
        // In the protobuf case the service decodes; in both its complaint names the encoding.
        Ok(message) => match api.call(&caller, &method, &message).await {
            Err(error) if error.code == Code::Malformed => Err(malformed(encoding)),
            answer => answer,
        },
        Err(error) => Err(error),
    };
    let answer = answer.and_then(|message| {
        method.answer(encoding, message).map_err(|error| {
            tracing::error!(%error, method = method.name(), "an answer could not be encoded");
            Error::new(Code::Internal, "failed to marshal the response")
        })
    });
    match answer {
        Ok(body) => {
            call.count(StatusCode::OK, "");
            HttpResponse::Ok()
                .content_type(encoding.content_type())
                .body(body)
        }
        Err(error) => failed(&call, &error),
    }
}

/// Which method is meant and how it is spoken to.
fn route(request: &HttpRequest) -> Result<(Method, Encoding), Error> {
    let (verb, path) = (request.method().as_str(), request.path());
    let lost = |message: String| Error::bad_route(message, verb, path);
    if verb != "POST" {
        return Err(lost(format!(
            "unsupported method {verb:?} (only POST is allowed)"
        )));
    }
    let name = path
        .strip_prefix(PREFIX)
        .and_then(|name| name.split_once('/'));
    let method = name.and_then(|(service, method)| Method::find(service, method));
    let method = method.ok_or_else(|| lost(format!("no handler for path {path:?}")))?;
    let kind = request.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let encoding = Encoding::of(kind);
    let encoding = encoding.ok_or_else(|| lost(format!("unexpected Content-Type: {kind:?}")))?;
    Ok((method, encoding))
}

fn declared_length(request: &HttpRequest) -> Option<usize> {
    request
        .headers()
        .get(CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

fn no_body(error: BodyError) -> HttpResponse {
    let status = match error {
        BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        BodyError::TooSlow => StatusCode::REQUEST_TIMEOUT,
    };
    refusal(status, error.to_string())
}

fn failed(call: &Call<'_>, error: &Error) -> HttpResponse {
    let status = StatusCode::from_u16(error.code.status());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    call.count(status, error.code.name());
    HttpResponse::build(status)
        .content_type("application/json")
        .body(error.body())
}

/// A call to be counted. Labels are names of known methods and codes only, so their number is
/// bounded.
struct Call<'a> {
    service: String,
    method: &'a str,
    started: Instant,
}

impl Call<'_> {
    /// A path that is no method.
    fn unknown(started: Instant) -> Self {
        Call {
            service: String::new(),
            method: "",
            started,
        }
    }

    fn count(&self, status: StatusCode, code: &'static str) {
        let family = format!("{}xx", status.as_u16() / 100);
        let mut labels = vec![
            ("service", self.service.clone()),
            ("method", self.method.to_owned()),
            ("status", family),
        ];
        let milliseconds = self.started.elapsed().as_secs_f64() * 1_000.0;
        histogram!("livekit_node_twirp_request_latency_ms", &labels).record(milliseconds);
        labels.push(("code", code.to_owned()));
        counter!("livekit_node_twirp_request_status", &labels).increment(1);
    }
}
