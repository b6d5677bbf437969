//! How many answers strangers get: a token bucket for each of a fixed number of groups of networks.
//! Sender addresses can be forged, and an answer is longer than its request.

use std::hash::Hasher;
use std::net::IpAddr;
use std::time::Instant;

use crate::fast_hash::FastHasher;
use crate::limits::{
    TURN_STRANGER_ANSWERS_BURST, TURN_STRANGER_ANSWERS_PER_SECOND, TURN_STRANGER_BUCKETS,
};

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: u32,
    filled: Instant,
}

#[derive(Debug)]
pub(super) struct Strangers {
    buckets: Vec<Bucket>,
    /// Keeps outsiders from choosing whom they share a bucket with.
    salt: u64,
}

impl Strangers {
    pub(super) fn new(salt: u64, now: Instant) -> Strangers {
        let full = Bucket {
            tokens: TURN_STRANGER_ANSWERS_BURST,
            filled: now,
        };
        Strangers {
            buckets: vec![full; TURN_STRANGER_BUCKETS],
            salt,
        }
    }

    /// Whether one more answer may go to `client`.
    pub(super) fn may_answer(&mut self, now: Instant, client: IpAddr) -> bool {
        let mut hasher = FastHasher::default();
        hasher.write_u64(self.salt);
        hasher.write_u64(match client {
            IpAddr::V4(ip) => u64::from(ip.to_bits() >> 8),
            IpAddr::V6(ip) => (ip.to_bits() >> 80) as u64,
        });
        let index = hasher.finish() as usize % TURN_STRANGER_BUCKETS;
        let Some(bucket) = self.buckets.get_mut(index) else {
            return false;
        };
        let seconds = now.saturating_duration_since(bucket.filled).as_secs();
        if seconds > 0 {
            let gained = u64::from(TURN_STRANGER_ANSWERS_PER_SECOND).saturating_mul(seconds);
            let tokens = u64::from(bucket.tokens).saturating_add(gained);
            bucket.tokens = tokens.min(u64::from(TURN_STRANGER_ANSWERS_BURST)) as u32;
            bucket.filled = now;
        }
        if bucket.tokens == 0 {
            return false;
        }
        bucket.tokens -= 1;
        true
    }
}
