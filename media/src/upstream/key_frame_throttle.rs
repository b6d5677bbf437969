//! Limits how often one layer is asked for a key frame: each costs the publisher a burst, and every
//! subscriber may want one at the same time. A request within the limit is remembered, not lost.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct RequestThrottle {
    interval: Duration,
    last: Option<Instant>,
    wanted: bool,
}

impl RequestThrottle {
    pub(crate) fn new(interval: Duration) -> RequestThrottle {
        RequestThrottle {
            interval,
            last: None,
            wanted: false,
        }
    }

    pub(crate) fn request(&mut self) {
        self.wanted = true;
    }

    /// A key frame arrived: whoever asked has it.
    pub(crate) fn satisfied(&mut self) {
        self.wanted = false;
    }

    /// True when a request is to be sent now.
    pub(crate) fn due(&mut self, now: Instant) -> bool {
        let rested = self
            .last
            .is_none_or(|last| now.saturating_duration_since(last) >= self.interval);
        let due = self.wanted && rested;
        if due {
            self.wanted = false;
            self.last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_wishes_make_one_request_per_interval() {
        let start = Instant::now();
        let mut throttle = RequestThrottle::new(Duration::from_millis(500));
        let sent: Vec<u64> = (0..150u64)
            .map(|tick| tick * 10)
            .filter(|ms| {
                throttle.request();
                throttle.due(start + Duration::from_millis(*ms))
            })
            .collect();
        assert_eq!(sent, [0, 500, 1000]);
    }

    #[test]
    fn a_wish_within_the_interval_is_served_at_its_end() {
        let start = Instant::now();
        let mut throttle = RequestThrottle::new(Duration::from_millis(500));
        throttle.request();
        assert!(throttle.due(start));
        throttle.request();
        assert!(!throttle.due(start + Duration::from_millis(499)));
        assert!(throttle.due(start + Duration::from_millis(500)));
    }
}
