//! The time a detector was awake: a clock that stands still while nobody ran it. Silence is counted
//! in it, so that whoever was stopped, paused or starved does not accuse the others of it.

use std::time::{Duration, Instant};

use super::limits::{LATENESS, STEP_INTERVAL};

#[derive(Clone, Copy, Debug)]
pub(super) struct Awake {
    last: Instant,
    awake: Duration,
}

impl Awake {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            last: now,
            awake: Duration::ZERO,
        }
    }

    /// Takes what passed since the last step, but for what passed while nobody ran this.
    pub(super) fn advance(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.last);
        self.awake += passed.min(STEP_INTERVAL + LATENESS);
        self.last = self.last.max(now);
        self.awake
    }

    /// When to step next; never later than `STEP_INTERVAL`, as lateness is told by it.
    pub(super) fn wake_at(&self, due: Option<Duration>) -> Instant {
        let wait = due.map_or(STEP_INTERVAL, |due| due.saturating_sub(self.awake));
        self.last + wait.min(STEP_INTERVAL)
    }
}
