//! Access tokens: verifying what clients and servers sign, and signing our own. HS256 only; the
//! caller says what time it is. Error texts are LiveKit's, because clients show and match them.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;

use crate::grants::Claims;

/// Clocks of clients and servers may differ by this much.
pub const LEEWAY_SECONDS: i64 = 60;
/// A refreshed token lives at least this long: time enough for every reconnect attempt of an SDK.
pub const REFRESH_SECONDS_MIN: i64 = 10 * 60;
/// Lifetime of a token whose maker names none, as in LiveKit's SDKs.
pub const DEFAULT_SECONDS: i64 = 6 * 3600;
/// Longest token worth looking at: LiveKit's 512 KiB of metadata plus 64 KiB of attributes, in
/// Base64, with room for the grants.
pub const TOKEN_BYTES_MAX: usize = 1 << 20;

/// API keys and their secrets: the first one signs. Of a configuration that is the first by name.
#[derive(Clone)]
pub struct Keys(Vec<Entry>);

#[derive(Clone)]
struct Entry {
    name: String,
    key: hmac::Key,
}

impl Keys {
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let entry = |(name, secret): (String, String)| Entry {
            name,
            key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
        };
        Self(pairs.into_iter().map(entry).collect())
    }

    /// The key that signs what the server issues; `None` when no key is configured.
    pub fn first(&self) -> Option<&str> {
        self.0.first().map(|entry| entry.name.as_str())
    }

    pub fn contains(&self, name: &str) -> bool {
        self.key(name).is_some()
    }

    fn key(&self, name: &str) -> Option<&hmac::Key> {
        let entry = self.0.iter().find(|entry| entry.name == name);
        entry.map(|entry| &entry.key)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|entry| entry.name.as_str());
        f.debug_list().entries(names).finish()
    }
}

/// Why a token is worth nothing. The display is the reason alone; see [`VerifyError::answer`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error("invalid authorization token")]
    Malformed,
    #[error("invalid API key: {0}")]
    UnknownKey(String),
    #[error("token signature is invalid: signing method {0} is invalid")]
    Algorithm(String),
    #[error("token signature is invalid: signature is invalid")]
    Signature,
    #[error("token has invalid claims: token is expired")]
    Expired,
    #[error("token has invalid claims: token is not valid yet")]
    NotYetValid,
    #[error("token has invalid claims: token is missing required claim: exp claim is required")]
    NoExpiry,
}

impl VerifyError {
    /// The text of the HTTP answer, which quotes the token where LiveKit does.
    pub fn answer(&self, token: &str) -> String {
        match self {
            Self::Malformed | Self::UnknownKey(_) => self.to_string(),
            _ => format!("invalid token: {token}, error: {self}"),
        }
    }
}

/// No key is configured, or not the one asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no API key {0:?} to sign with")]
pub struct SignError(String);

#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    alg: String,
}

/// The claims of `token` if one of `keys` signed it and it is valid at `now`, in seconds since the
/// epoch. The identity falls back to `jti`, as in LiveKit's `auth/verifier.go`.
pub fn verify(keys: &Keys, token: &str, now: i64) -> Result<Claims, VerifyError> {
    let (header, claims) = decode(token)?;
    let key = keys
        .key(&claims.issuer)
        .ok_or_else(|| VerifyError::UnknownKey(claims.issuer.clone()))?;
    if header.alg != "HS256" {
        return Err(VerifyError::Algorithm(header.alg));
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(VerifyError::Malformed)?;
    let signature = from_base64(signature).ok_or(VerifyError::Signature)?;
    hmac::verify(key, signed.as_bytes(), &signature).map_err(|_| VerifyError::Signature)?;
    if claims.exp == 0 {
        return Err(VerifyError::NoExpiry);
    }
    if now >= claims.exp.saturating_add(LEEWAY_SECONDS) {
        return Err(VerifyError::Expired);
    }
    if now < claims.nbf.saturating_sub(LEEWAY_SECONDS) {
        return Err(VerifyError::NotYetValid);
    }
    Ok(claims)
}

/// Signs `claims` with the key they name as issuer.
pub fn sign(keys: &Keys, claims: &Claims) -> Result<String, SignError> {
    let claims_value = serde_json::to_value(claims).map_err(|e| SignError(e.to_string()))?;
    sign_value(keys, &claims.issuer, &claims_value)
}

/// A token like `claims`, signed by the first key: valid from `now` on for as long as the original
/// and never for less than [`REFRESH_SECONDS_MIN`]. Clients reconnect with it.
pub fn refresh(keys: &Keys, claims: &Claims, now: i64) -> Result<String, SignError> {
    let issuer = keys.first().ok_or_else(|| SignError(String::new()))?;
    let fresh = Claims {
        issuer: issuer.to_owned(),
        nbf: now,
        iat: 0,
        exp: claims.exp.max(now.saturating_add(REFRESH_SECONDS_MIN)),
        ..claims.clone()
    };
    let mut value = serde_json::to_value(&fresh).map_err(|e| SignError(e.to_string()))?;
    if let Value::Object(object) = &mut value {
        // 1.13.5 repeats the identity under its own name; some servers of apps read it there.
        object.insert("identity".into(), Value::String(fresh.identity));
    }
    sign_value(keys, issuer, &value)
}

fn sign_value(keys: &Keys, issuer: &str, claims: &Value) -> Result<String, SignError> {
    let key = keys
        .key(issuer)
        .ok_or_else(|| SignError(issuer.to_owned()))?;
    let mut token = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(claims.to_string()));
    let tag = hmac::sign(key, token.as_bytes());
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(tag));
    Ok(token)
}

/// Header and claims, not yet to be trusted.
fn decode(token: &str) -> Result<(Header, Claims), VerifyError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(VerifyError::Malformed);
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(VerifyError::Malformed);
    };
    let bytes = |part| from_base64(part).ok_or(VerifyError::Malformed);
    let header = serde_json::from_slice(&bytes(header)?).map_err(|_| VerifyError::Malformed)?;
    let claims = serde_json::from_slice(&bytes(claims)?).map_err(|_| VerifyError::Malformed)?;
    let claims = parse_claims(claims).ok_or(VerifyError::Malformed)?;
    Ok((header, claims))
}

/// Claims as LiveKit's Go reads them: null means absent, dates may have fractions.
fn parse_claims(mut value: Value) -> Option<Claims> {
    let object = value.as_object_mut()?;
    let jti = object.remove("jti");
    for name in ["exp", "nbf", "iat"] {
        if let Some(date) = object.get_mut(name)
            && let Some(seconds) = date.as_f64()
        {
            *date = Value::from(seconds as i64);
        }
    }
    drop_nulls(&mut value);
    let mut claims: Claims = serde_json::from_value(value).ok()?;
    if claims.identity.is_empty()
        && let Some(Value::String(id)) = jti
    {
        claims.identity = id;
    }
    Some(claims)
}

/// Depth is bounded by the JSON parser's own limit.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, member| !member.is_null());
            object.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let decoded = URL_SAFE_NO_PAD.decode(text);
    decoded.or_else(|_| URL_SAFE.decode(text)).ok()
}

#[cfg(test)]
mod tests;
