//! Requests to clouds: bounded in time and in what is read, no redirects, and errors that tell what
//! was asked but no secret.

use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode};

use crate::limits::{ANSWER_BYTES_MAX, CLOUD_TIMEOUT, ERROR_CHARS_MAX, METADATA_TIMEOUT};

/// Why a cloud was not told, or did not say.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// No connection, no answer in time.
    #[error("{what}: {reason}")]
    Http { what: String, reason: String },
    #[error("{what}: status {status}: {said}")]
    Status {
        what: String,
        status: u16,
        said: String,
    },
    #[error("{what}: an answer that makes no sense: {said}")]
    Answer { what: String, said: String },
}

impl CloudError {
    pub(crate) fn answer(what: &str, said: &str) -> Self {
        Self::Answer {
            what: what.to_owned(),
            said: beginning(said),
        }
    }

    pub(crate) fn is_status(&self, wanted: StatusCode) -> bool {
        matches!(self, Self::Status { status, .. } if *status == wanted.as_u16())
    }
}

fn http(what: &str, error: &reqwest::Error) -> CloudError {
    // Its text has the URL, which has no secret: tokens travel in headers.
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        reason = format!("{reason}: {error}");
        source = error.source();
    }
    CloudError::Http {
        what: what.to_owned(),
        reason: beginning(&reason),
    }
}

fn beginning(text: &str) -> String {
    text.chars().take(ERROR_CHARS_MAX).collect()
}

/// For APIs of clouds: through the system's proxy if there is one.
pub fn client() -> Result<Client, CloudError> {
    let builder = Client::builder()
        .redirect(Policy::none())
        .timeout(CLOUD_TIMEOUT);
    builder.build().map_err(|error| http("client", &error))
}

/// For the machine's own metadata service, which no proxy reaches.
pub fn metadata_client() -> Result<Client, CloudError> {
    let builder = Client::builder()
        .redirect(Policy::none())
        .timeout(METADATA_TIMEOUT)
        .no_proxy();
    builder.build().map_err(|error| http("client", &error))
}

/// The body of a good answer.
pub(crate) async fn send(what: &str, request: RequestBuilder) -> Result<String, CloudError> {
    let sent = request.send().await.map_err(|error| http(what, &error));
    let mut answer = sent?;
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| http(what, &error))? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            return Err(CloudError::answer(what, "too long"));
        }
    }
    let text = String::from_utf8_lossy(&body).into_owned();
    if status.is_success() {
        return Ok(text);
    }
    Err(CloudError::Status {
        what: what.to_owned(),
        status: status.as_u16(),
        said: beginning(&text),
    })
}
