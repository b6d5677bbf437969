//! Which numbers a followed transport may use under a key: those its standby knows to be used, and
//! would start behind. More are asked for early, at the stream's own rate, so that neither a slow
//! acknowledgement nor a standby that is lost holds media up before the cluster notices it.

use std::time::{Duration, Instant};

use crate::limits::{LEASE_RETRY, LEASE_SPAN, NUMBERS_LEASED_MAX, NUMBERS_LEASED_MIN};

/// The lease of one sequence of numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    /// First number that may not be used yet.
    limit: u64,
    /// First number behind what the standby is told; usable once it acknowledged `version`.
    offered: u64,
    version: u32,
    /// Where the last offer found the sequence, and when: its rate.
    from: u64,
    at: Option<Instant>,
    /// A number beyond the limit was wanted.
    starved: bool,
}

impl Lease {
    /// Nobody follows: every number may be used.
    pub(super) const FREE: Lease = Lease {
        limit: u64::MAX,
        offered: u64::MAX,
        version: 0,
        from: 0,
        at: None,
        starved: false,
    };

    /// A sequence no standby was told of: each takes what lies below `end` for used.
    pub(super) fn implied(end: u64) -> Lease {
        Lease {
            limit: end,
            offered: end,
            ..Lease::FREE
        }
    }

    /// Whether `number` may be used.
    pub(super) fn allows(&mut self, number: u64) -> bool {
        let allowed = number < self.limit;
        self.starved |= !allowed;
        allowed
    }

    pub(super) fn is_free(&self) -> bool {
        self.limit == u64::MAX
    }

    /// First number a standby uses that knows all that was offered.
    pub(super) fn end(&self) -> u64 {
        self.offered
    }

    /// Begins a lease with the first image a standby gets. It may be used at once: whoever takes
    /// over has that image, or a later one.
    pub(super) fn begin(&mut self, now: Instant, next: u64) {
        let end = next + NUMBERS_LEASED_MIN * 2;
        *self = Lease {
            from: next,
            at: Some(now),
            ..Lease::implied(end)
        };
    }

    /// Offers anew whatever is under way, for an image that replaces earlier ones.
    pub(super) fn renew(&mut self, now: Instant, next: u64, version: u32) {
        self.offered = self.offered.max(next + self.wanted(now, next));
        self.version = version;
        (self.from, self.at, self.starved) = (next, Some(now), false);
    }

    /// Whether more is to be asked for: less than `share` percent of what suffices is left.
    pub(super) fn is_due(&self, now: Instant, next: u64, share: u64) -> bool {
        let unheard = |at| now.saturating_duration_since(at) >= LEASE_RETRY;
        let settled = self.offered == self.limit || self.at.is_some_and(unheard);
        let left = self.limit.saturating_sub(next);
        settled && (self.starved || left < self.wanted(now, next) * share / 100)
    }

    /// The standby has everything up to `version`.
    pub(super) fn acknowledge(&mut self, version: u32) {
        if self.version <= version {
            self.limit = self.offered;
        }
    }

    /// Numbers that last for `LEASE_SPAN` at the rate since the last offer.
    fn wanted(&self, now: Instant, next: u64) -> u64 {
        let since = self.at.map(|at| now.saturating_duration_since(at));
        let elapsed = since.unwrap_or(LEASE_SPAN).max(Duration::from_millis(100));
        let used = next.saturating_sub(self.from);
        let rate = used.saturating_mul(LEASE_SPAN.as_millis() as u64) / elapsed.as_millis() as u64;
        rate.clamp(NUMBERS_LEASED_MIN, NUMBERS_LEASED_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_renewed_at_half_and_used_when_acknowledged() {
        let start = Instant::now();
        let mut lease = Lease::FREE;
        lease.begin(start, 1_000);
        let (mut next, mut offers) = (1_000u64, Vec::new());
        // 300 a second; each acknowledgement takes 50 ms.
        for tick in 1..=200u64 {
            let now = start + Duration::from_millis(tick * 50);
            let version = offers.len() as u32;
            lease.acknowledge(version);
            for _ in 0..15 {
                assert!(lease.allows(next), "at {tick}");
                next += 1;
            }
            if lease.is_due(now, next, 50) {
                lease.renew(now, next, version + 1);
                offers.push(tick * 50);
            }
        }
        assert!((4..=7).contains(&offers.len()), "{offers:?}");
        assert!(lease.end() - next <= 1_300, "{}", lease.end() - next);
    }

    #[test]
    fn without_acknowledgement_it_ends_where_the_standby_begins() {
        let start = Instant::now();
        let mut lease = Lease::FREE;
        lease.begin(start, 7);
        let end = lease.end();
        lease.renew(start, 900, 1);
        assert!(lease.end() > end);
        let used = (7..).take_while(|number| lease.allows(*number)).count() as u64;
        assert_eq!(used, end - 7);
        lease.acknowledge(1);
        assert!(lease.allows(end));
    }
}
