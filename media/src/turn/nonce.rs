//! Nonces that need no table: the time of their making and a tag over it and over whom they were
//! given to. Strangers therefore cost no memory.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;

use crate::limits::TURN_NONCE_LIFETIME;

/// Bytes of the tag that are shown: 2^80 guesses within an hour are out of reach.
const TAG_BYTES: usize = 10;

#[derive(Debug)]
pub(super) struct Nonces {
    key: hmac::Key,
    started: Instant,
}

impl Nonces {
    pub(super) fn new(secret: &[u8; 32], started: Instant) -> Nonces {
        Nonces {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            started,
        }
    }

    pub(super) fn make(&self, now: Instant, client: IpAddr) -> String {
        let seconds = now.saturating_duration_since(self.started).as_secs();
        self.of(seconds, client)
    }

    /// Whether `nonce` is ours, was given to `client`, and is not too old.
    pub(super) fn is_fresh(&self, now: Instant, client: IpAddr, nonce: &[u8]) -> bool {
        let Some(seconds) = nonce
            .get(..16)
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
        else {
            return false;
        };
        let age = now
            .saturating_duration_since(self.started)
            .checked_sub(Duration::from_secs(seconds));
        age.is_some_and(|age| age < TURN_NONCE_LIFETIME)
            && self.of(seconds, client).as_bytes() == nonce
    }

    fn of(&self, seconds: u64, client: IpAddr) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&seconds.to_be_bytes());
        match client {
            IpAddr::V4(ip) => context.update(&ip.octets()),
            IpAddr::V6(ip) => context.update(&ip.octets()),
        }
        let tag = context.sign();
        let mut text = format!("{seconds:016x}");
        for byte in tag.as_ref().iter().take(TAG_BYTES) {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}
