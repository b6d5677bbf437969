//! The token that proves who sent a webhook and that its body is whole. Pure.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protocol::grants::Claims;
use protocol::token::{self, Keys, SignError};

use super::limits::SIGNATURE_SECONDS;

/// Value of the `Authorization` header, without "Bearer": receivers hand it to the verifier as it
/// is. `now` in seconds since the epoch.
pub(crate) fn sign(keys: &Keys, api_key: &str, body: &[u8], now: i64) -> Result<String, SignError> {
    let claims = Claims {
        issuer: api_key.to_owned(),
        iat: now,
        nbf: now,
        exp: now.saturating_add(SIGNATURE_SECONDS),
        sha256: STANDARD.encode(digest(&SHA256, body)),
        ..Claims::default()
    };
    token::sign(keys, &claims)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_token_covers_the_exact_body_and_expires() {
        let keys = Keys::new([("devkey".to_owned(), "s".repeat(32))]);
        let token = sign(&keys, "devkey", b"abc", 1_000_000).unwrap();
        let claims = token::verify(&keys, &token, 1_000_000).unwrap();
        assert_eq!(
            claims.sha256,
            "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="
        );
        assert_eq!((claims.issuer.as_str(), claims.exp), ("devkey", 1_000_300));
        assert!(sign(&keys, "other", b"abc", 0).is_err());
    }
}
