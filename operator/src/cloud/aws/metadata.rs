//! The instance metadata service, version 2: a token by PUT, then paths by GET. Its address is the
//! link-local one unless configured.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Client, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::cloud::http::send;
use crate::cloud::sigv4::Credentials;
use crate::cloud::{CloudError, Secret};
use crate::limits::{CREDENTIALS_RENEW, METADATA_TOKEN_SECONDS};

/// Role credentials last hours; asked for again after this at the latest.
const CREDENTIALS_AGE_MAX: Duration = Duration::from_secs(900);

/// Clones share the credentials they found.
#[derive(Clone, Debug)]
pub struct Metadata {
    client: Client,
    endpoint: Url,
    found: Arc<Mutex<Option<(Credentials, Instant)>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RoleCredentials {
    access_key_id: String,
    secret_access_key: String,
    token: String,
}

impl Metadata {
    pub fn new(client: Client, endpoint: Url) -> Self {
        Self {
            client,
            endpoint,
            found: Arc::default(),
        }
    }

    /// Of the machine this runs on.
    pub fn here(client: Client) -> Result<Self, CloudError> {
        let endpoint = Url::parse("http://169.254.169.254/");
        let endpoint = endpoint.map_err(|e| CloudError::answer("metadata", &e.to_string()))?;
        Ok(Self::new(client, endpoint))
    }

    /// Below `/latest/meta-data/`.
    pub async fn get(&self, path: &str) -> Result<String, CloudError> {
        let token = self.client.put(self.at("latest/api/token")?);
        let lasts = METADATA_TOKEN_SECONDS.to_string();
        let token = token.header("x-aws-ec2-metadata-token-ttl-seconds", lasts);
        let token = send("metadata token", token).await?;
        let request = self
            .client
            .get(self.at(&format!("latest/meta-data/{path}"))?);
        let request = request.header("x-aws-ec2-metadata-token", token.trim());
        send(path, request).await
    }

    /// Of the instance's role; kept for a while.
    pub async fn credentials(&self) -> Result<Credentials, CloudError> {
        let mut found = self.found.lock().await;
        let limit = CREDENTIALS_AGE_MAX.min(CREDENTIALS_RENEW * 3);
        if let Some((credentials, at)) = found.as_ref()
            && at.elapsed() < limit
        {
            return Ok(credentials.clone());
        }
        let base = "iam/security-credentials/";
        let roles = self.get(base).await?;
        let Some(role) = roles.lines().next().filter(|role| !role.is_empty()) else {
            return Err(CloudError::answer(base, "the instance has no role"));
        };
        let answer = self.get(&format!("{base}{role}")).await?;
        // What was said is a secret: only that it made no sense is told.
        let read: RoleCredentials = serde_json::from_str(&answer)
            .map_err(|_| CloudError::answer(base, "not the credentials of a role"))?;
        let credentials = Credentials {
            access_key: read.access_key_id,
            secret_key: Secret::new(read.secret_access_key),
            session_token: Some(Secret::new(read.token)),
        };
        *found = Some((credentials.clone(), Instant::now()));
        Ok(credentials)
    }

    fn at(&self, path: &str) -> Result<Url, CloudError> {
        let url = self.endpoint.join(path);
        url.map_err(|error| CloudError::answer("metadata", &error.to_string()))
    }
}
