//! Long-term credentials a participant is given for the time of joining, as LiveKit derives them
//! (pkg/service/turn.go): nothing is stored, the name says who and until when, the password is a
//! digest with the API secret. The room makes them, the TURN server checks them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use md5::{Digest, Md5};

use crate::limits::TURN_USERNAME_BYTES_MAX;

/// LiveKit's realm.
pub const REALM: &str = "livekit";

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What a client is told.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, ***)", self.username)
    }
}

/// Makes and checks credentials. Time is seconds since 1970.
#[derive(Clone)]
pub struct Authority {
    /// API key → secret.
    secrets: BTreeMap<String, String>,
    lifetime: Duration,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({:?})", self.secrets.keys())
    }
}

/// A name the authority has made, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claimed {
    pub(super) password: String,
    pub(super) expired: bool,
}

impl Authority {
    pub fn new(secrets: BTreeMap<String, String>, lifetime: Duration) -> Authority {
        Authority { secrets, lifetime }
    }

    /// Credentials of a participant from now on; `None` for an unknown API key.
    pub fn issue(&self, now_s: i64, api_key: &str, participant: &str) -> Option<Credentials> {
        let expires = now_s.saturating_add(self.lifetime.as_secs() as i64);
        Some(Credentials {
            username: base62(format!("{api_key}|{participant}|{expires}").as_bytes()),
            password: password(self.secrets.get(api_key)?, participant, expires),
        })
    }

    /// The password that belongs to a name, if we made the name.
    pub(super) fn look_up(&self, now_s: i64, username: &str) -> Option<Claimed> {
        let text = String::from_utf8(from_base62(username)?).ok()?;
        let mut parts = text.split('|');
        let (api_key, participant) = (parts.next()?, parts.next()?);
        let expires: i64 = parts.next()?.parse().ok()?;
        if parts.next().is_some() {
            return None;
        }
        Some(Claimed {
            password: password(self.secrets.get(api_key)?, participant, expires),
            expired: expires <= now_s,
        })
    }
}

/// The key of long-term credentials (RFC 8489 §9.2.2).
pub fn long_term_key(username: &str, realm: &str, password: &str) -> hmac::Key {
    let digest = Md5::digest(format!("{username}:{realm}:{password}").as_bytes());
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &digest)
}

fn password(secret: &str, participant: &str, expires: i64) -> String {
    let text = format!("{secret}|{participant}|{expires}");
    base62(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

/// A number of many bytes in base 62, shortest first; a leading 1 keeps leading zeros.
fn base62(bytes: &[u8]) -> String {
    let mut number: Vec<u8> = std::iter::once(1).chain(bytes.iter().copied()).collect();
    let mut text = Vec::with_capacity(number.len() * 3 / 2);
    while !number.is_empty() {
        let mut rest: u32 = 0;
        for byte in &mut number {
            let value = rest << 8 | u32::from(*byte);
            (*byte, rest) = ((value / 62) as u8, value % 62);
        }
        let leading = number.iter().take_while(|byte| **byte == 0).count();
        number.drain(..leading);
        text.push(ALPHABET[rest as usize]);
    }
    text.iter().rev().map(|byte| char::from(*byte)).collect()
}

fn from_base62(text: &str) -> Option<Vec<u8>> {
    if text.len() > TURN_USERNAME_BYTES_MAX {
        return None;
    }
    let mut number: Vec<u8> = Vec::with_capacity(text.len());
    for letter in text.bytes() {
        let mut carry = ALPHABET.iter().position(|known| *known == letter)? as u32;
        for byte in number.iter_mut().rev() {
            let value = u32::from(*byte) * 62 + carry;
            (*byte, carry) = (value as u8, value >> 8);
        }
        if carry > 0 {
            number.insert(0, carry as u8);
        }
    }
    (number.first() == Some(&1)).then(|| number.split_off(1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW_S: i64 = 1_700_000_000;

    fn authority() -> Authority {
        let secrets = BTreeMap::from([("devkey".to_owned(), "secret".to_owned())]);
        Authority::new(secrets, Duration::from_secs(300))
    }

    #[test]
    fn base62_is_reversible_and_foreign_text_is_none() {
        for bytes in [&b""[..], b"\0\0", b"devkey|PA_x|1700000300", &[0xff; 40]] {
            assert_eq!(from_base62(&base62(bytes)).unwrap(), bytes);
        }
        for foreign in [
            "",
            "0",
            "ann",
            "-",
            &"z".repeat(TURN_USERNAME_BYTES_MAX + 1),
        ] {
            assert_eq!(from_base62(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_name_brings_back_its_password_and_says_when_it_is_over() {
        let authority = authority();
        let issued = authority.issue(NOW_S, "devkey", "PA_abc").unwrap();
        assert!(issued.username.bytes().all(|b| b.is_ascii_alphanumeric()));
        let at = |seconds: i64| {
            authority
                .look_up(NOW_S + seconds, &issued.username)
                .unwrap()
        };
        assert_eq!(at(299).password, issued.password);
        assert!(!at(299).expired && at(300).expired);
        assert_eq!(authority.issue(NOW_S, "other", "PA_abc"), None);
        let other = authority.issue(NOW_S, "devkey", "PA_abd").unwrap();
        assert_ne!(other.password, issued.password);
    }
}
