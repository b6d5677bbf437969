//! Reads the body of an HTTP request: bounded in bytes and in time, because whoever sends it may be
//! anybody. Handlers that check a token do so before they call this.

use actix_web::web;
use futures_util::StreamExt;

use crate::limits::HTTP_BODY_TIMEOUT;

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("request body too large")]
    TooLarge,
    #[error("request body took too long")]
    TooSlow,
}

/// The whole body. One that breaks off reads as what arrived.
pub async fn read(body: web::Payload, bytes_max: usize) -> Result<Vec<u8>, BodyError> {
    let whole = tokio::time::timeout(HTTP_BODY_TIMEOUT, collect(body, bytes_max));
    whole.await.unwrap_or(Err(BodyError::TooSlow))
}

async fn collect(mut body: web::Payload, bytes_max: usize) -> Result<Vec<u8>, BodyError> {
    let mut bytes = Vec::new();
    while let Some(Ok(chunk)) = body.next().await {
        if bytes.len() + chunk.len() > bytes_max {
            return Err(BodyError::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
