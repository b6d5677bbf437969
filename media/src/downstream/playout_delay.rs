//! How long a subscriber shall hold media back so that it plays evenly: the playout-delay header
//! extension within the bounds of the room. Follows the subscriber's jitter as LiveKit does
//! (sfu/playoutdelay.go), with one value for all tracks of a connection: sound and picture must not
//! drift apart.

use std::time::Duration;

use crate::limits::{PLAYOUT_DELAY_MAX_MS, PLAYOUT_DELAY_OPEN_MS, PLAYOUT_DELAY_STEP_MS};
use crate::types::PlayoutDelay;

/// Delay granted for each millisecond of jitter.
const MS_PER_JITTER_MS: u128 = 10;
/// Unit of the extension's two 12-bit numbers, milliseconds.
const UNIT_MS: u32 = 10;

/// What packets say, and which value it is: each is told on some packets only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) version: u32,
    pub(crate) element: [u8; 3],
}

#[derive(Debug)]
pub(crate) struct PlayoutDelayControl {
    min_ms: u32,
    max_ms: u32,
    current_ms: u32,
    version: u32,
}

impl PlayoutDelayControl {
    /// Without an upper bound there is a wide one.
    pub(crate) fn new(bounds: PlayoutDelay) -> PlayoutDelayControl {
        let max_ms = match bounds.max_ms {
            0 if bounds.min_ms > 0 => PLAYOUT_DELAY_OPEN_MS,
            max_ms => max_ms,
        };
        let max_ms = max_ms.min(PLAYOUT_DELAY_MAX_MS);
        let min_ms = bounds.min_ms.min(max_ms);
        PlayoutDelayControl {
            min_ms,
            max_ms,
            current_ms: min_ms,
            version: 1,
        }
    }

    /// Takes in the jitter of the last second.
    pub(crate) fn observe(&mut self, jitter: Duration) {
        let wanted = u32::try_from(jitter.as_millis() * MS_PER_JITTER_MS).unwrap_or(u32::MAX);
        let wanted = wanted.clamp(self.min_ms, self.max_ms);
        let next = wanted.clamp(
            self.current_ms.saturating_sub(PLAYOUT_DELAY_STEP_MS),
            self.current_ms + PLAYOUT_DELAY_STEP_MS,
        );
        if next / UNIT_MS != self.current_ms / UNIT_MS {
            self.version = self.version.wrapping_add(1);
        }
        self.current_ms = next;
    }

    pub(crate) fn told(&self) -> Told {
        let word = ((self.current_ms / UNIT_MS) << 12) | (self.max_ms / UNIT_MS);
        let [_, a, b, c] = word.to_be_bytes();
        Told {
            version: self.version,
            element: [a, b, c],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(min_ms: u32, max_ms: u32) -> PlayoutDelayControl {
        PlayoutDelayControl::new(PlayoutDelay { min_ms, max_ms })
    }

    /// Lower and upper bound as a receiver reads them, milliseconds.
    fn read(control: &PlayoutDelayControl) -> (u32, u32) {
        let [a, b, c] = control.told().element;
        let word = u32::from_be_bytes([0, a, b, c]);
        ((word >> 12) * 10, (word & 0xfff) * 10)
    }

    #[test]
    fn it_starts_at_the_lower_bound_and_follows_jitter_slowly() {
        let mut control = control(100, 2_000);
        assert_eq!(read(&control), (100, 2_000));
        let first = control.told().version;
        control.observe(Duration::from_millis(40));
        assert_eq!(read(&control), (180, 2_000), "80 ms a second at most");
        assert_ne!(control.told().version, first);
        for _ in 0..10 {
            control.observe(Duration::from_millis(40));
        }
        assert_eq!(read(&control), (400, 2_000));
        let settled = control.told();
        control.observe(Duration::from_millis(40));
        assert_eq!(control.told(), settled, "no news");
        for _ in 0..10 {
            control.observe(Duration::ZERO);
        }
        assert_eq!(read(&control), (100, 2_000));
    }

    #[test]
    fn bounds_fit_the_extension() {
        assert_eq!(read(&control(300, 0)), (300, 10_000));
        assert_eq!(read(&control(0, 0)), (0, 0), "as soon as possible");
        assert_eq!(read(&control(500, 200)), (200, 200));
        assert_eq!(read(&control(90_000, 90_000)), (40_950, 40_950));
    }
}
