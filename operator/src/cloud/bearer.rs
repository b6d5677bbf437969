//! Access tokens of the machine's own identity, as the metadata services of Azure and Google hand
//! them out: JSON with `access_token` and `expires_in`. Kept until shortly before they end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Client, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::http::send;
use super::{CloudError, Secret};
use crate::limits::CREDENTIALS_RENEW;

const WHAT: &str = "the machine's token";

/// Clones share the token they found.
#[derive(Clone, Debug)]
pub(super) struct Bearer {
    client: Client,
    url: Url,
    /// Without it the service answers nobody: no page of the web can set it.
    header: (&'static str, &'static str),
    /// And until when it is used.
    found: Arc<Mutex<Option<(Secret, Instant)>>>,
}

#[derive(Deserialize)]
struct Token {
    access_token: String,
    expires_in: Seconds,
}

/// A number, or the digits of one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(u64),
    Text(String),
}

impl Bearer {
    pub(super) fn new(client: Client, url: Url, header: (&'static str, &'static str)) -> Self {
        Self {
            client,
            url,
            header,
            found: Arc::default(),
        }
    }

    pub(super) async fn token(&self) -> Result<Secret, CloudError> {
        let mut found = self.found.lock().await;
        if let Some((token, until)) = found.as_ref()
            && Instant::now() < *until
        {
            return Ok(token.clone());
        }
        let (name, value) = self.header;
        let request = self.client.get(self.url.clone()).header(name, value);
        let said = send(WHAT, request).await?;
        // What was said is a secret: only that it made no sense is told.
        let read: Token = serde_json::from_str(&said)
            .map_err(|_| CloudError::answer(WHAT, "not a token and how long it lasts"))?;
        let seconds = match read.expires_in {
            Seconds::Number(seconds) => seconds,
            Seconds::Text(digits) => digits.parse().unwrap_or(0),
        };
        let lasts = Duration::from_secs(seconds).saturating_sub(CREDENTIALS_RENEW);
        let token = Secret::new(read.access_token);
        let until = Instant::now().checked_add(lasts);
        *found = until.map(|until| (token.clone(), until));
        Ok(token)
    }
}

/// `path` below `endpoint`, which ends in a slash.
pub(super) fn below(endpoint: &Url, path: &str) -> Result<Url, CloudError> {
    let url = endpoint.join(path.trim_start_matches('/'));
    url.map_err(|error| CloudError::answer("the address of a cloud", &error.to_string()))
}
