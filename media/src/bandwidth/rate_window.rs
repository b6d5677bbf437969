//! Bits per second over the last fraction of a second, from bytes counted in buckets of 20 ms.
//! Used for what was sent (by send time) and for what was delivered (by arrival time).

const BUCKET_US: i64 = 20_000;
const BUCKETS: usize = 32;

/// Buckets of the quick and of the calm view: 200 ms follows a drop, 600 ms a stream of frames.
pub(crate) const QUICK: usize = 10;
pub(crate) const CALM: usize = 30;

#[derive(Debug, Default)]
pub(crate) struct RateWindow {
    bytes: [u32; BUCKETS],
    /// Bucket numbers since the clock began.
    first: Option<i64>,
    last: i64,
}

impl RateWindow {
    pub(crate) fn add(&mut self, at_us: i64, bytes: u32) {
        let bucket = at_us.div_euclid(BUCKET_US);
        if self.first.is_none() {
            (self.first, self.last) = (Some(bucket), bucket);
        }
        self.advance(bucket);
        if self.last - bucket < BUCKETS as i64
            && let Some(slot) = self
                .bytes
                .get_mut(bucket.rem_euclid(BUCKETS as i64) as usize)
        {
            *slot = slot.saturating_add(bytes);
        }
    }

    /// Time went on to `at_us` without anything to count.
    pub(crate) fn advance_to(&mut self, at_us: i64) {
        if self.first.is_some() {
            self.advance(at_us.div_euclid(BUCKET_US));
        }
    }

    fn advance(&mut self, bucket: i64) {
        let ahead = (bucket - self.last).clamp(0, BUCKETS as i64);
        for step in 0..ahead {
            let index = (bucket - step).rem_euclid(BUCKETS as i64) as usize;
            if let Some(slot) = self.bytes.get_mut(index) {
                *slot = 0;
            }
        }
        self.last = self.last.max(bucket);
    }

    /// Rate over the last `buckets` complete ones, or as many as there were; `None` before 60 ms.
    pub(crate) fn bps(&self, buckets: usize) -> Option<u64> {
        let known = self.last - self.first?;
        let count = known.min(buckets.min(BUCKETS - 1) as i64);
        if count < 3 {
            return None;
        }
        let sum: u64 = (1..=count)
            .filter_map(|back| {
                let index = (self.last - back).rem_euclid(BUCKETS as i64) as usize;
                self.bytes.get(index).map(|bytes| u64::from(*bytes))
            })
            .sum();
        Some(sum * 8 * 1_000_000 / (count * BUCKET_US) as u64)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_the_window_is_told_and_silence_lowers_it() {
        let mut window = RateWindow::default();
        for ms in 0..1_000 {
            window.add(ms * 1_000, 125); // 1 Mbit/s
        }
        assert_eq!(window.bps(QUICK), Some(1_000_000));
        window.advance_to(1_200_000);
        assert_eq!(window.bps(QUICK), Some(0));
        assert!((600_000..700_000).contains(&window.bps(CALM).unwrap()));
        window.add(90_000_000, 1);
        assert_eq!(window.bps(CALM), Some(0));
    }

    #[test]
    fn a_fresh_window_knows_nothing_yet() {
        let mut window = RateWindow::default();
        assert_eq!(window.bps(QUICK), None);
        window.add(5_000, 10_000);
        assert_eq!(window.bps(QUICK), None);
    }
}
