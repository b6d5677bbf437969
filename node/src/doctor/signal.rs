//! The ways to the server itself: HTTP, clocks, a token, the WebSocket; and what a join tells of
//! the ways for media.

use std::time::{Duration, SystemTime};

use actix_web::http::header::HttpDate;
use futures_util::{SinkExt, StreamExt};
use media::negotiate::{ParsedCandidate, parse_candidate};
use media::types::RemoteCandidate;
use prost::Message as _;
use protocol::grants::{Claims, VideoGrant};
use protocol::ids;
use protocol::proto::{self, signal_request, signal_response};
use protocol::token::{self, Keys};
use reqwest::Url;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::dial::{self, Stream};
use super::{ANSWER_WAIT, Check, name};
use crate::auth::unix_seconds;

/// Tokens are good for minutes; clocks further apart than this refuse some.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(30);
/// How long candidates are collected after the first.
const CANDIDATES_WAIT: Duration = Duration::from_millis(500);
/// How long the room for the test may stay.
const TOKEN_SECONDS: i64 = 300;

/// How to get in.
#[derive(Clone, Debug)]
pub enum Token {
    /// Made by somebody else.
    Given(String),
    /// To be made, for a room of the test's own.
    SignedWith(Keys),
}

impl Token {
    fn text(&self) -> Result<String, token::SignError> {
        let keys = match self {
            Token::Given(text) => return Ok(text.clone()),
            Token::SignedWith(keys) => keys,
        };
        let now = unix_seconds();
        let room = ids::random(&mut rand::rng(), "connection-test-");
        let claims = Claims {
            issuer: keys.first().unwrap_or_default().to_owned(),
            identity: "skein-doctor".into(),
            nbf: now - CLOCK_SKEW_MAX.as_secs() as i64,
            exp: now + TOKEN_SECONDS,
            video: Some(VideoGrant {
                room_join: true,
                hidden: true,
                can_publish: Some(false),
                room,
                ..VideoGrant::default()
            }),
            ..Claims::default()
        };
        token::sign(keys, &claims)
    }
}

/// Whether an HTTP server answers, and what time it has.
pub(super) async fn server(url: &str) -> Vec<Check> {
    let client = reqwest::Client::builder().timeout(ANSWER_WAIT).build();
    let asked = SystemTime::now();
    let answer = match client {
        Ok(client) => client.get(url).send().await,
        Err(error) => Err(error),
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let port = port_of(url);
            let why = innermost(&error);
            let failed = Check::failed(name::SERVER, format!("{url} does not answer: {why}"));
            let advice = format!("start the server, or open TCP {port} (port) from here to it");
            return vec![
                failed.advise(advice),
                Check::skipped(name::CLOCK, "the server has to answer first"),
            ];
        }
    };
    let status = answer.status();
    let server = match status.as_u16() {
        200 => Check::ok(name::SERVER, format!("{url} answers")),
        406 => Check::warning(name::SERVER, format!("{url} answers that it is not well"))
            .advise("look at the load of the node: `skein node status`"),
        _ => Check::failed(name::SERVER, format!("{url} answers {status}"))
            .advise("something else answers at this address, or a proxy before the server does"),
    };
    let date = answer
        .headers()
        .get("date")
        .and_then(|date| date.to_str().ok());
    vec![server, clock(asked, date)]
}

fn clock(here: SystemTime, date: Option<&str>) -> Check {
    let Some(there) = date.and_then(|date| date.parse::<HttpDate>().ok()) else {
        return Check::warning(name::CLOCK, "the server does not say what time it has");
    };
    let there = SystemTime::from(there);
    let skew = here
        .duration_since(there)
        .unwrap_or_else(|_| there.duration_since(here).unwrap_or_default());
    let detail = format!("{} s from the server's", skew.as_secs());
    if skew > CLOCK_SKEW_MAX {
        let advice = "let both machines take their time from NTP: tokens are valid by the clock";
        return Check::failed(name::CLOCK, detail).advise(advice);
    }
    Check::ok(name::CLOCK, detail)
}

/// What a join tells of the ways for media.
pub struct Joined {
    pub(super) ice_servers: Vec<proto::IceServer>,
    pub(super) candidates: Vec<RemoteCandidate>,
    socket: WebSocketStream<Box<dyn Stream>>,
}

impl Joined {
    pub(super) async fn leave(mut self) {
        let leave = signal_request::Message::Leave(proto::LeaveRequest::default());
        let request = proto::SignalRequest {
            message: Some(leave),
        };
        // The server notices the end of the connection as well.
        let _ = self
            .socket
            .send(Message::binary(request.encode_to_vec()))
            .await;
        let _ = self.socket.close(None).await;
    }
}

/// Signs in as a client does and listens for the server's candidates.
pub(super) async fn join(url: &str, token: &Token) -> (Check, Option<Joined>) {
    let failed =
        |detail: String, advice: &str| (Check::failed(name::SIGNAL, detail).advise(advice), None);
    let token = match token.text() {
        Ok(token) => token,
        Err(error) => return failed(format!("signing a token: {error}"), "check the API secret"),
    };
    let started = Instant::now();
    let mut socket = match open(url, &token).await {
        Ok(socket) => socket,
        Err(OpenError::Dial(error)) => {
            let advice = error.advice(port_of(url), "port");
            return failed(error.to_string(), &advice);
        }
        Err(OpenError::Socket(error)) => {
            let (detail, advice) = refusal(&error);
            // Some servers repeat the token; a report is shown around.
            let detail = detail.replace(&token, "…");
            return failed(detail, advice);
        }
    };
    let mut joined = None;
    let mut candidates: Vec<RemoteCandidate> = Vec::new();
    let mut end = started + ANSWER_WAIT;
    while let Ok(Some(Ok(frame))) = timeout_at(end, socket.next()).await {
        let Message::Binary(bytes) = frame else {
            continue;
        };
        let response = proto::SignalResponse::decode(bytes);
        let before = candidates.len();
        match response.ok().and_then(|response| response.message) {
            Some(signal_response::Message::Join(join)) => joined = Some(join),
            Some(signal_response::Message::Offer(offer)) => {
                let lines = offer.sdp.lines();
                collect(
                    &mut candidates,
                    lines.filter(|l| l.starts_with("a=candidate:")),
                );
            }
            Some(signal_response::Message::Trickle(trickle)) => {
                let init: serde_json::Value =
                    serde_json::from_str(&trickle.candidate_init).unwrap_or_default();
                collect(&mut candidates, init["candidate"].as_str().into_iter());
            }
            _ => {}
        }
        if before == 0 && !candidates.is_empty() {
            end = end.min(Instant::now() + CANDIDATES_WAIT);
        }
    }
    let Some(join) = joined else {
        let advice = "a proxy before the server has to pass WebSockets on";
        return failed("the WebSocket opens but nobody speaks".into(), advice);
    };
    let version = join
        .server_info
        .map(|info| format!("{} ({})", info.version, info.debug_info));
    let detail = format!("signed in, server {}", version.unwrap_or_default());
    let check = Check::ok(name::SIGNAL, detail);
    let joined = Joined {
        ice_servers: join.ice_servers,
        candidates,
        socket,
    };
    (check, Some(joined))
}

fn collect<'a>(candidates: &mut Vec<RemoteCandidate>, lines: impl Iterator<Item = &'a str>) {
    for line in lines {
        if let Ok(ParsedCandidate::Usable { candidate, .. }) = parse_candidate(line)
            && !candidates
                .iter()
                .any(|known| known.address == candidate.address)
        {
            candidates.push(candidate);
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Dial(#[from] dial::DialError),
    #[error(transparent)]
    Socket(Box<Error>),
}

async fn open(url: &str, token: &str) -> Result<WebSocketStream<Box<dyn Stream>>, OpenError> {
    let wrong = || {
        OpenError::Socket(Box::new(Error::Url(
            tokio_tungstenite::tungstenite::error::UrlError::UnsupportedUrlScheme,
        )))
    };
    let parsed = Url::parse(url).map_err(|_| wrong())?;
    let (host, port) = parsed
        .host_str()
        .zip(parsed.port_or_known_default())
        .ok_or_else(wrong)?;
    let is_tls = parsed.scheme() == "https";
    let stream: Box<dyn Stream> = if is_tls {
        dial::tls(host, port).await?
    } else {
        Box::new(dial::tcp(host, port).await?)
    };
    let scheme = if is_tls { "wss" } else { "ws" };
    let path = parsed.path().trim_end_matches('/');
    let request = format!(
        "{scheme}://{host}:{port}{path}/rtc?access_token={token}&auto_subscribe=0&protocol=16\
         &sdk=rust&version=1"
    );
    let opening = tokio_tungstenite::client_async(request, stream);
    match timeout(ANSWER_WAIT, opening).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(error)) => Err(OpenError::Socket(Box::new(error))),
        Err(_) => {
            let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
            Err(OpenError::Socket(Box::new(Error::Io(late))))
        }
    }
}

fn port_of(url: &str) -> u16 {
    let parsed = Url::parse(url).ok();
    let port = parsed.and_then(|url| url.port_or_known_default());
    port.unwrap_or(443)
}

/// Why the server did not take the WebSocket.
fn refusal(error: &Error) -> (String, &'static str) {
    let Error::Http(answer) = error else {
        let advice = "a proxy before the server has to pass WebSockets on";
        return (format!("the WebSocket does not open: {error}"), advice);
    };
    let status = answer.status().as_u16();
    let body = answer.body().as_deref().unwrap_or_default();
    let said = String::from_utf8_lossy(body);
    let said = said.lines().next().unwrap_or_default().to_owned();
    let advice = match status {
        401 | 403 => "use the API key and secret the server runs with, and check both clocks",
        404 => "the room is not made by a join here (room.auto_create): give --token for one",
        502..=504 => "the proxy before the server does not reach it",
        _ => "look at the server's log",
    };
    (format!("the server answers {status}: {said}"), advice)
}

/// "connection refused" rather than the layers around it.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn clocks_that_are_apart_are_named() {
        let date = "Tue, 14 Nov 2023 22:13:20 GMT";
        let at =
            |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds);
        assert_eq!(clock(at(2), Some(date)).state, State::Ok);
        let slow = clock(at(120), Some(date));
        assert_eq!(
            (slow.state, slow.detail.as_str()),
            (State::Failed, "120 s from the server's")
        );
        assert!(slow.advice.is_some_and(|advice| advice.contains("NTP")));
        assert_eq!(clock(at(0), None).state, State::Warning);
    }
}
