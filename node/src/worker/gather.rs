//! How long a turn waits for more packets before its subscribers are served: a send costs about the
//! same for one packet as for several, so where many subscribers wait, waiting pays, as long as
//! more packets do come. Asked by the worker; time is an argument.

use std::time::Instant;

use crate::limits::{GATHER_MAX, GATHER_MIN, GATHER_PER_SUBSCRIBER};

/// Weight of the newest turn in what is expected of the next.
const WEIGHT: f32 = 1.0 / 16.0;
/// Share of windows that must bring more packets.
const WORTHWHILE: f32 = 0.5;

/// See the file header.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// Subscribers served in one turn, smoothed.
    audience: f32,
    /// Share of windows that brought more packets, or would have, smoothed.
    followed: f32,
    /// When the last turn began, unless it waited.
    last: Option<Instant>,
}

impl Gather {
    /// Packets came, the first of them at `first`: until when to wait for more, if at all.
    pub(super) fn until(&mut self, first: Instant) -> Option<Instant> {
        let window = GATHER_PER_SUBSCRIBER.mul_f32(self.audience).min(GATHER_MAX);
        if let Some(last) = self.last.replace(first) {
            self.learn(first.saturating_duration_since(last) <= window);
        }
        (window >= GATHER_MIN && self.followed >= WORTHWHILE).then(|| first + window)
    }

    /// The turn has waited; `more`: packets came meanwhile.
    pub(super) fn waited(&mut self, more: bool) {
        self.last = None;
        self.learn(more);
    }

    /// So many subscribers are served now.
    pub(super) fn served(&mut self, subscribers: usize) {
        if subscribers > 0 {
            self.audience += (subscribers as f32 - self.audience) * WEIGHT;
        }
    }

    fn learn(&mut self, followed: bool) {
        let seen = if followed { 1.0 } else { 0.0 };
        self.followed += (seen - self.followed) * WEIGHT;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// The waits of `turns` turns with packets `spacing` apart, each for `audience` subscribers.
    fn waits(gather: &mut Gather, audience: usize, spacing: Duration, turns: u32) -> Vec<Duration> {
        let start = Instant::now();
        let mut packets = (0..).map(|number| start + spacing * number).peekable();
        let mut waits = Vec::new();
        for _ in 0..turns {
            let first = packets.next().unwrap_or(start);
            let until = gather.until(first);
            if let Some(until) = until {
                let mut more = false;
                while packets.next_if(|at| *at <= until).is_some() {
                    more = true;
                }
                gather.waited(more);
            }
            waits.push(until.map_or(Duration::ZERO, |until| until - first));
            gather.served(audience);
        }
        waits
    }

    #[test]
    fn a_small_room_is_served_at_once() {
        let close = GATHER_PER_SUBSCRIBER * 20;
        for (audience, served_at_once) in [(8, true), (39, true), (42, false)] {
            let waits = waits(&mut Gather::default(), audience, close, 200);
            let all = waits.iter().all(Duration::is_zero);
            assert_eq!(all, served_at_once, "{audience}: {waits:?}");
        }
    }

    #[test]
    fn a_large_audience_waits_in_proportion_and_never_long() {
        let mut gather = Gather::default();
        let last = waits(&mut gather, 150, MS, 200).pop();
        let wanted = GATHER_PER_SUBSCRIBER * 150;
        assert!(last.is_some_and(|last| last.abs_diff(wanted) < MS / 10));
        assert_eq!(waits(&mut gather, 1_000, MS, 200).pop(), Some(GATHER_MAX));
    }

    #[test]
    fn nobody_waits_for_packets_that_do_not_come() {
        let mut gather = Gather::default();
        waits(&mut gather, 300, MS, 200);
        let rare = waits(&mut gather, 300, MS * 20, 200);
        let waited = rare.iter().filter(|wait| !wait.is_zero()).count();
        assert!(waited < 20, "{waited} of 200 turns waited in vain");
        let dense = waits(&mut gather, 300, MS, 200);
        assert_eq!(dense.last(), Some(&GATHER_MAX));
    }
}
