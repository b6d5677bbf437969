//! Who sends an HTTP request and what they may do: reads the access token, verifies it, checks
//! grants. Used by the WebSocket gateway, the server API, WHIP and the agent service. Decides
//! nothing about rooms.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError, web};
use protocol::grants::{Claims, VideoGrant};
use protocol::token::{self, Keys};

use crate::net::gate::Visitor;

const BEARER: &str = "Bearer ";
const TOKEN_PARAMETER: &str = "access_token";

/// A request without a usable token. The texts are LiveKit's (`service/auth.go`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthorized {
    #[error("invalid authorization header. Must start with Bearer ")]
    NoBearer,
    /// Carries the whole answer: it quotes the token, so it must not be logged.
    #[error("{0}")]
    Token(String),
}

impl ResponseError for Unauthorized {
    fn status_code(&self) -> StatusCode {
        StatusCode::UNAUTHORIZED
    }

    fn error_response(&self) -> HttpResponse {
        refusal(self.status_code(), self.to_string())
    }
}

/// A plain-text refusal as Go's `http.Error` writes it.
pub fn refusal(status: StatusCode, text: impl Into<String>) -> HttpResponse {
    HttpResponse::build(status)
        .content_type("text/plain; charset=utf-8")
        .insert_header(("X-Content-Type-Options", "nosniff"))
        .body(text.into())
}

/// The claims of a request's token; `None` = it carried no token at all. As an argument of a
/// handler it answers 401 to a bad token before the handler runs; needs `Data<Keys>`.
#[derive(Clone, Debug)]
pub struct Caller(pub Option<Claims>);

impl FromRequest for Caller {
    type Error = Unauthorized;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let keys = request.app_data::<web::Data<Keys>>();
        let keys = keys.map_or_else(|| Arc::new(Keys::new([])), |keys| keys.clone().into_inner());
        ready(of_request(&keys, request).map(Caller))
    }
}

/// Verifies the token of a request; with a good one its connection is no stranger's any more.
pub fn of_request(keys: &Keys, request: &HttpRequest) -> Result<Option<Claims>, Unauthorized> {
    of_request_with(keys, request, request.query_string())
}

/// The same where parameters may have come in the body.
pub fn of_request_with(
    keys: &Keys,
    request: &HttpRequest,
    query: &str,
) -> Result<Option<Claims>, Unauthorized> {
    let claims = authenticate(keys, request.headers(), query, unix_seconds())?;
    if claims.is_some() {
        vouch(request);
    }
    Ok(claims)
}

/// The connection of this request belongs to somebody with a valid token.
pub(crate) fn vouch(request: &HttpRequest) {
    if let Some(visitor) = request.conn_data::<Visitor>() {
        visitor.vouch();
    }
}

/// Verifies the token of a request: the `Authorization` header wins over the query.
pub fn authenticate(
    keys: &Keys,
    headers: &HeaderMap,
    query: &str,
    now: i64,
) -> Result<Option<Claims>, Unauthorized> {
    let token = match headers.get(AUTHORIZATION) {
        Some(value) if !value.is_empty() => {
            let bearer = value.to_str().ok().and_then(|v| v.strip_prefix(BEARER));
            bearer.ok_or(Unauthorized::NoBearer)?.to_owned()
        }
        _ => parameter(query, TOKEN_PARAMETER).unwrap_or_default(),
    };
    if token.is_empty() {
        return Ok(None);
    }
    match token::verify(keys, &token, now) {
        Ok(claims) => Ok(Some(claims)),
        Err(error) => Err(Unauthorized::Token(error.answer(&token))),
    }
}

/// The first value of a query parameter, decoded.
fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = web::Query::<Vec<(String, String)>>::from_query(query).ok()?;
    let mut pairs = pairs.into_inner().into_iter();
    pairs.find(|(key, _)| key == name).map(|(_, value)| value)
}

/// Wall clock in seconds since the epoch: what token dates are compared with.
pub fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as i64)
}

/// The same in milliseconds.
pub(crate) fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// The token does not allow what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("permissions denied")]
pub struct PermissionDenied;

type Checked = Result<(), PermissionDenied>;

fn check(allowed: bool) -> Checked {
    if allowed {
        Ok(())
    } else {
        Err(PermissionDenied)
    }
}

/// Grant checks of one caller, one method for each kind of right (LiveKit's `service/auth.go`).
impl Caller {
    fn video(&self) -> Option<&VideoGrant> {
        self.0.as_ref()?.video.as_ref()
    }

    fn has(&self, right: impl Fn(&VideoGrant) -> bool) -> Checked {
        check(self.video().is_some_and(right))
    }

    pub fn may_create_rooms(&self) -> Checked {
        self.has(|video| video.room_create)
    }

    pub fn may_list_rooms(&self) -> Checked {
        self.has(|video| video.room_list)
    }

    pub fn may_record(&self) -> Checked {
        self.has(|video| video.room_record)
    }

    pub fn may_administer_ingress(&self) -> Checked {
        self.has(|video| video.ingress_admin)
    }

    /// Registering as an agent worker.
    pub fn may_work_as_agent(&self) -> Checked {
        self.has(|video| video.agent)
    }

    /// `roomAdmin` is bound to the room of the grant.
    pub fn may_administer(&self, room: &str) -> Checked {
        self.has(|video| video.room_admin && video.room == room)
    }

    /// What anybody in the room may know of it.
    pub fn may_know_of(&self, room: &str) -> Checked {
        self.has(|video| (video.room_join || video.room_admin) && video.room == room)
    }

    /// Forwarding or moving a participant of `room` to `destination`.
    pub fn may_move(&self, room: &str, destination: &str) -> Checked {
        self.may_administer(room)?;
        self.has(|video| video.destination_room == destination)
    }

    pub fn may_administer_sip(&self) -> Checked {
        let sip = self.0.as_ref().and_then(|claims| claims.sip.as_ref());
        check(sip.is_some_and(|sip| sip.admin))
    }

    pub fn may_call_sip(&self) -> Checked {
        let sip = self.0.as_ref().and_then(|claims| claims.sip.as_ref());
        check(sip.is_some_and(|sip| sip.call))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    const NOW: i64 = 1_760_000_000;

    fn keys() -> Keys {
        Keys::new([("devkey".to_owned(), "s".repeat(32))])
    }

    fn token(identity: &str) -> String {
        let claims = Claims {
            issuer: "devkey".into(),
            identity: identity.into(),
            exp: NOW + 60,
            ..Claims::default()
        };
        token::sign(&keys(), &claims).unwrap()
    }

    fn who(header: Option<&str>, query: &str) -> Result<Option<String>, Unauthorized> {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            let name = HeaderName::from_static("authorization");
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        let claims = authenticate(&keys(), &headers, query, NOW)?;
        Ok(claims.map(|claims| claims.identity))
    }

    #[test]
    fn the_authorization_header_wins_over_the_query() {
        let header = format!("Bearer {}", token("alice"));
        let query = format!("access_token={}", token("bob"));
        assert_eq!(who(Some(&header), &query), Ok(Some("alice".into())));
        assert_eq!(who(None, &query), Ok(Some("bob".into())));
        assert!(who(Some("Bearer x"), &query).is_err());
    }

    #[test]
    fn a_header_without_bearer_is_refused_and_no_token_is_no_error() {
        assert_eq!(who(Some(&token("a")), ""), Err(Unauthorized::NoBearer));
        assert_eq!(who(None, "other=1"), Ok(None));
        assert_eq!(who(None, "access_token="), Ok(None));
    }

    #[test]
    fn room_admin_is_bound_to_its_room() {
        let grant = VideoGrant {
            room_admin: true,
            room: "a".into(),
            ..VideoGrant::default()
        };
        let caller = Caller(Some(Claims {
            video: Some(grant),
            ..Claims::default()
        }));
        assert_eq!(caller.may_administer("a"), Ok(()));
        assert_eq!(caller.may_administer("b"), Err(PermissionDenied));
        assert_eq!(caller.may_create_rooms(), Err(PermissionDenied));
        assert_eq!(Caller(None).may_list_rooms(), Err(PermissionDenied));
    }
}
