//! Bounds of webhooks, each with the reason for its size.

use std::time::Duration;

/// Events on their way from rooms to the webhook thread, which only has to write them down.
pub const PUBLISHED_WAITING_MAX: usize = 16_384;
/// Undelivered events for one URL: an hour of a receiver's absence at 10 events a second.
pub const EVENTS_PER_URL_MAX: usize = 36_000;
/// Undelivered events for one URL, in memory and on disk: a dead receiver takes nobody's room.
pub const UNDELIVERED_BYTES_PER_URL_MAX: usize = 64 << 20;

/// First wait before trying again (go-retryablehttp, which upstream uses: the same).
pub const RETRY_WAIT_MIN: Duration = Duration::from_secs(1);
/// Longest wait: a receiver that is back gets its events within a minute.
pub const RETRY_WAIT_MAX: Duration = Duration::from_secs(60);
/// Tries before an event is given up: about a day at the longest wait.
pub const ATTEMPTS_MAX: u32 = 1_440;
/// Tries that a receiver answers with an internal error before the event is given up: about half
/// an hour, as the events of its room wait behind it.
pub const COMPLAINTS_MAX: u32 = 35;
/// Time for connection and answer: a receiver has to store an event, not to act on it.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the connection alone.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Redirects followed for one event: from http to https and to another host.
pub const REDIRECTS_MAX: usize = 3;
/// Lifetime of a request's signature (upstream: the same).
pub const SIGNATURE_SECONDS: i64 = 300;
/// Parallel requests to one URL that a configuration may ask for.
pub const REQUESTS_PER_URL_MAX: usize = 256;

/// One record of the outbox; an event is far smaller, so a longer one is damage.
pub const RECORD_BYTES_MAX: usize = 4 << 20;
/// The outbox is rewritten when this much of it is no longer needed.
pub const GARBAGE_BYTES_MAX: u64 = 8 << 20;
/// What was written reaches the disk within this time; a crash of the process alone loses nothing.
pub const SYNC_INTERVAL: Duration = Duration::from_millis(100);
