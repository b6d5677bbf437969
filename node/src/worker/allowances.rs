//! How much data clients may send through channels: a token bucket for each of their connections,
//! in messages and in bytes. Asked by the worker before an event leaves it, so that a flood costs
//! its own shard and never the rooms. Time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use media::TransportKey;

use crate::limits::{DATA_BURST, DATA_BYTES_PER_SECOND, DATA_MESSAGES_PER_SECOND};

#[derive(Clone, Copy, Debug)]
struct Bucket {
    messages: f64,
    bytes: f64,
    filled_at: Instant,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self {
            messages: DATA_MESSAGES_PER_SECOND * DATA_BURST.as_secs_f64(),
            bytes: DATA_BYTES_PER_SECOND * DATA_BURST.as_secs_f64(),
            filled_at: now,
        }
    }

    fn fill(&mut self, now: Instant) {
        let full = Self::full(now);
        let seconds = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.messages = full
            .messages
            .min(self.messages + seconds * DATA_MESSAGES_PER_SECOND);
        self.bytes = full.bytes.min(self.bytes + seconds * DATA_BYTES_PER_SECOND);
        self.filled_at = now;
    }

    fn take(&mut self, bytes: f64) -> bool {
        let enough = self.messages >= 1.0 && self.bytes >= bytes;
        if enough {
            self.messages -= 1.0;
            self.bytes -= bytes;
        }
        enough
    }
}

/// The buckets of one worker that are not full.
#[derive(Debug, Default)]
pub(super) struct Allowances {
    of_transport: HashMap<TransportKey, Bucket>,
}

impl Allowances {
    /// Whether the event may go on; only data is counted.
    pub(super) fn admit(&mut self, now: Instant, event: &media::Event) -> bool {
        let media::Event::Data {
            transport, payload, ..
        } = event
        else {
            return true;
        };
        let bucket = self
            .of_transport
            .entry(*transport)
            .or_insert_with(|| Bucket::full(now));
        bucket.fill(now);
        bucket.take(payload.len() as f64)
    }

    /// Forgets who has been silent long enough: a full bucket is like none.
    pub(super) fn expire(&mut self, now: Instant) {
        self.of_transport
            .retain(|_, bucket| bucket.filled_at + FULL_AFTER > now);
    }
}

/// However empty, a bucket is full again after this.
const FULL_AFTER: Duration = DATA_BURST;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn data(transport: u64, bytes: usize) -> media::Event {
        media::Event::Data {
            transport: TransportKey(transport),
            label: "_reliable".into(),
            payload: Bytes::from(vec![0; bytes]),
            binary: true,
        }
    }

    /// How many of `messages`, spread evenly over one second, pass.
    fn passed(allowances: &mut Allowances, from: Instant, messages: u32, bytes: usize) -> u32 {
        let event = data(1, bytes);
        let sent = (0..messages).map(|index| from + Duration::from_secs(1) * index / messages);
        let passed = sent.filter(|at| allowances.admit(*at, &event));
        u32::try_from(passed.count()).unwrap_or(u32::MAX)
    }

    #[test]
    fn streams_of_large_chunks_pass_for_as_long_as_they_like() {
        let mut allowances = Allowances::default();
        let start = Instant::now();
        for second in 0..30 {
            let from = start + Duration::from_secs(second);
            // 25 MiB/s in the largest chunks of byte streams.
            assert_eq!(passed(&mut allowances, from, 400, 64 << 10), 400);
        }
    }

    #[test]
    fn a_flood_is_cut_to_its_allowance_and_costs_nobody_else() {
        let mut allowances = Allowances::default();
        let start = Instant::now();
        let mut total = 0;
        for second in 0..10 {
            total += passed(
                &mut allowances,
                start + Duration::from_secs(second),
                50_000,
                20,
            );
        }
        let allowed = DATA_MESSAGES_PER_SECOND * (10.0 + DATA_BURST.as_secs_f64());
        assert!((f64::from(total) - allowed).abs() < 10.0, "{total}");
        let now = start + Duration::from_secs(10);
        assert!(allowances.admit(now, &data(2, 64 << 10)));
    }

    #[test]
    fn silent_connections_are_forgotten() {
        let mut allowances = Allowances::default();
        let start = Instant::now();
        allowances.admit(start, &data(1, 10));
        allowances.expire(start);
        assert_eq!(allowances.of_transport.len(), 1);
        allowances.expire(start + FULL_AFTER);
        assert!(allowances.of_transport.is_empty());
    }
}
