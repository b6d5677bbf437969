//! Asks a running server: Twirp calls as JSON, and Skein's own paths.

use protocol::grants::VideoGrant;
use serde_json::Value;

use super::{CliError, tokens};
use crate::config::Config;

pub(super) struct Client<'a> {
    config: &'a Config,
    url: String,
    http: reqwest::Client,
}

impl<'a> Client<'a> {
    /// `url` as given by the user, or where the configuration says the server listens.
    pub(super) fn new(config: &'a Config, url: Option<&String>) -> Client<'a> {
        let url = url.cloned().unwrap_or_else(|| {
            let host = config.bind_addresses.first().map(String::as_str);
            let host = match host {
                None | Some("" | "0.0.0.0" | "::") => "127.0.0.1".to_owned(),
                Some(v6) if v6.contains(':') => format!("[{v6}]"),
                Some(host) => host.to_owned(),
            };
            format!("http://{host}:{}", config.port)
        });
        let url = url
            .replacen("ws://", "http://", 1)
            .replacen("wss://", "https://", 1);
        Client {
            config,
            url: url.trim_end_matches('/').to_owned(),
            http: reqwest::Client::new(),
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
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

    async fn answer(
        &self,
        request: reqwest::RequestBuilder,
        grant: VideoGrant,
    ) -> Result<Value, CliError> {
        let token = tokens::for_request(self.config, grant)?;
        let response = request.bearer_auth(token).send().await?;
        let status = response.status();
        let body = response.text().await?;
        if !status.is_success() {
            return Err(CliError::Refused {
                status: status.as_u16(),
                body,
            });
        }
        Ok(serde_json::from_str(&body)?)
    }
}
