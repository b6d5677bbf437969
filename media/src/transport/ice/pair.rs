//! One candidate pair: where it leads, how it stands, when it is checked next.

use std::time::{Duration, Instant};

use super::local_priority;
use crate::limits::{ICE_CHECK_MAX, ICE_CHECK_MIN, ICE_CONSENT, ICE_MAX_UNANSWERED};
use crate::types::{Path, Protocol};

#[derive(Clone, Debug)]
pub(in crate::transport) struct Pair {
    pub(in crate::transport) path: Path,
    /// Belongs to the credentials from before a restart.
    pub(super) old: bool,
    /// An authenticated message came from the peer's address.
    pub(in crate::transport) heard: bool,
    /// The peer answered a check of ours: we may send media here.
    pub(super) valid: bool,
    pub(super) remote_priority: u32,
    /// The controlling peer wants this pair; the value orders its wishes.
    pub(super) nominated_by_peer: Option<u32>,
    pub(super) last_request: Option<Instant>,
    pub(super) last_heard: Instant,
    /// Last answered check, or when the pair was learnt: the peer's consent to media here.
    pub(super) consent: Instant,
    pub(super) rtt: Option<Duration>,
    pub(super) next_check: Option<Instant>,
    unanswered: u32,
    interval: Duration,
}

impl Pair {
    pub(super) fn new(now: Instant, path: Path, remote_priority: u32, old: bool) -> Pair {
        Pair {
            path,
            old,
            heard: false,
            valid: false,
            remote_priority,
            nominated_by_peer: None,
            last_request: None,
            last_heard: now,
            consent: now,
            rtt: None,
            next_check: None,
            unanswered: 0,
            interval: ICE_CHECK_MIN,
        }
    }

    /// Pair priority (RFC 8445 §6.1.2.3), TCP always below UDP.
    pub(super) fn priority(&self, controlling: bool) -> (bool, u64) {
        let local = u64::from(local_priority(self.path.protocol));
        let remote = u64::from(self.remote_priority);
        let (g, d) = if controlling {
            (local, remote)
        } else {
            (remote, local)
        };
        let priority = (g.min(d) << 32) + 2 * g.max(d) + u64::from(g > d);
        (self.path.protocol == Protocol::Udp, priority)
    }

    /// The same addresses after a restart: the pair has to prove itself anew, while media stays.
    pub(super) fn renew(&mut self) {
        self.old = false;
        self.valid = false;
        self.nominated_by_peer = None;
    }

    pub(super) fn check_soon(&mut self, now: Instant) {
        self.unanswered = 0;
        self.interval = ICE_CHECK_MIN;
        self.next_check = Some(now);
    }

    /// The peer is known to be there: check back, unless a check is due soon anyway.
    pub(super) fn triggered(&mut self, now: Instant) {
        if !self.valid && self.next_check.is_none_or(|at| at > now) {
            self.check_soon(now);
        }
    }

    /// Plans the next check after one was sent.
    pub(super) fn check_sent(&mut self, now: Instant, selected: bool, pause: Duration) {
        self.unanswered += 1;
        if self.valid && self.unanswered == 1 {
            self.next_check = Some(now + pause);
            return;
        }
        if self.unanswered > ICE_MAX_UNANSWERED && !selected {
            self.valid = false;
            self.next_check = None;
            return;
        }
        self.next_check = Some(now + self.interval);
        self.interval = (self.interval * 2).min(ICE_CHECK_MAX);
    }

    /// The next check is sent at `at`, whether or not the last one was answered.
    pub(super) fn hasten(&mut self, at: Instant) {
        self.next_check = Some(at);
        (self.unanswered, self.interval) = (1, ICE_CHECK_MIN);
    }

    /// A check was answered; the next one follows after `pause`.
    pub(super) fn answered(&mut self, now: Instant, rtt: Duration, pause: Duration) {
        self.valid = true;
        self.heard = true;
        self.last_heard = now;
        self.consent = now;
        self.rtt = Some(rtt);
        self.unanswered = 0;
        self.interval = ICE_CHECK_MIN;
        self.next_check = Some(now + pause);
    }

    /// When the peer's consent ends (RFC 7675 §5.1).
    pub(super) fn consent_ends(&self) -> Instant {
        self.consent + ICE_CONSENT
    }

    /// Several checks in a row went unanswered.
    pub(super) fn is_doubtful(&self) -> bool {
        self.unanswered > 2
    }
}
