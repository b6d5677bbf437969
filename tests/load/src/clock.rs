//! The clocks of a measurement: the monotonic one that stamps packets, and the way from the
//! kernel's receive stamps (wall clock) to it.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// How long one translation between the clocks is trusted: NTP slews them apart by 0.5 µs/ms.
const TRANSLATION_VALID: Duration = Duration::from_millis(200);

fn nanos(time: Timespec) -> i64 {
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// CLOCK_MONOTONIC in nanoseconds.
pub(crate) fn monotonic_ns() -> i64 {
    nanos(clock_gettime(ClockId::Monotonic))
}

/// The wall clock in nanoseconds since the epoch.
pub(crate) fn realtime_ns() -> i64 {
    nanos(clock_gettime(ClockId::Realtime))
}

/// Translates wall-clock stamps to the monotonic clock.
pub(crate) struct Translation {
    offset_ns: i64,
    taken: Instant,
}

impl Translation {
    pub(crate) fn new() -> Translation {
        Translation {
            offset_ns: offset(),
            taken: Instant::now(),
        }
    }

    pub(crate) fn refresh(&mut self, now: Instant) {
        if now.duration_since(self.taken) > TRANSLATION_VALID {
            *self = Translation::new();
        }
    }

    pub(crate) fn monotonic_ns(&self, realtime_ns: i64) -> i64 {
        realtime_ns - self.offset_ns
    }
}

fn offset() -> i64 {
    let before = monotonic_ns();
    let real = realtime_ns();
    let after = monotonic_ns();
    real - before.midpoint(after)
}

/// 32.32 fixed-point seconds since 1900, for sender reports.
pub(crate) fn ntp() -> u64 {
    /// Seconds from 1900 to 1970.
    const EPOCHS_APART_S: u64 = 2_208_988_800;
    let now = u64::try_from(realtime_ns()).unwrap_or_default();
    let (seconds, rest) = (now / 1_000_000_000, now % 1_000_000_000);
    ((seconds + EPOCHS_APART_S) << 32) | ((rest << 32) / 1_000_000_000)
}
