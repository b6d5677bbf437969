//! Asks a running server: Twirp calls as JSON, and Skein's own paths. What goes wrong becomes an
//! error a person can act on.

use std::time::Duration;

use clap::ArgMatches;
use protocol::grants::VideoGrant;
use protocol::token::Keys;
use serde_json::Value;

use super::{CliError, credentials, tokens};
use crate::config::Config;
use crate::doctor::innermost;

/// A server that is up answers within milliseconds; a wrong address must not hang a terminal.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Deleting a large room takes a moment.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Client {
    keys: Keys,
    url: String,
    http: reqwest::Client,
}

impl Client {
    pub(super) fn new(config: &Config, given: &ArgMatches) -> Result<Client, CliError> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .build()?;
        Ok(Client {
            keys: credentials::keys(config, given)?,
            url: credentials::url(config, given)?,
            http,
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(super) async fn room_service(
        &self,
        method: &str,
        grant: VideoGrant,
        body: &Value,
    ) -> Result<Value, CliError> {
        let url = format!("{}/twirp/livekit.RoomService/{method}", self.url);
        let request = self.http.post(url).json(body);
        self.answer(request, grant).await
    }

    pub(super) async fn get(&self, path: &str, grant: VideoGrant) -> Result<Value, CliError> {
        let request = self.http.get(format!("{}{path}", self.url));
        self.answer(request, grant).await
    }

    pub(super) async fn post(&self, path: &str, grant: VideoGrant) -> Result<Value, CliError> {
        let request = self.http.post(format!("{}{path}", self.url));
        self.answer(request, grant).await
    }

    pub(super) async fn post_json(
        &self,
        path: &str,
        grant: VideoGrant,
        body: &Value,
    ) -> Result<Value, CliError> {
        let request = self.http.post(format!("{}{path}", self.url)).json(body);
        self.answer(request, grant).await
    }

    async fn answer(
        &self,
        request: reqwest::RequestBuilder,
        grant: VideoGrant,
    ) -> Result<Value, CliError> {
        let room = grant.room.clone();
        let token = tokens::for_request(&self.keys, grant)?;
        let failed = |error: reqwest::Error| CliError::Unreachable {
            url: self.url.clone(),
            cause: innermost(&error),
        };
        let response = request.bearer_auth(token).send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let body = response.text().await.map_err(failed)?;
        let url = self.url.clone();
        match status {
            200..=299 => serde_json::from_str(&body).map_err(|_| CliError::NotJson { url }),
            401 => Err(CliError::WrongKey {
                url,
                key: self.keys.first().unwrap_or_default().to_owned(),
                answer: message(&body),
            }),
            404 if !room.is_empty() && body.contains("room") => Err(CliError::NoSuchRoom(room)),
            _ => Err(CliError::Refused {
                url,
                status,
                answer: message(&body),
            }),
        }
    }
}

/// The text of a Twirp error, or the first line of what came instead.
fn message(body: &str) -> String {
    let twirp = serde_json::from_str::<Value>(body).ok();
    let text = twirp.and_then(|error| error["msg"].as_str().map(str::to_owned));
    text.unwrap_or_else(|| body.lines().next().unwrap_or_default().to_owned())
}
