//! The rate a path towards a subscriber is taken to carry: lowered to what gets through when a
//! queue builds up or loss says so, raised by probes and slowly by itself. As GCC
//! (draft-ietf-rmcat-gcc-02 §4–6), except that a queue must be seen standing before it counts.

use crate::bandwidth::delay::Usage;
use crate::bandwidth::loss;
use crate::limits::{
    DECREASE, DECREASE_EARLY, ESTIMATE_MAX_BPS, ESTIMATE_MIN_BPS, ESTIMATE_START_BPS,
    QUEUE_ACCEPTED_US, QUEUE_CONFIRMS_SHORT_US, QUEUE_CONFIRMS_US, QUEUE_LONG_US, QUEUE_SERIES_US,
    QUEUE_SHARE_LEFT, QUEUE_STANDING_US, QUEUE_STUBBORN, QUEUE_TIME_US, SHORT_TIME_US,
};

/// Growth a second while the limit is far, and added to a round trip: libwebrtc's constants.
const GROWTH: f64 = 1.08;
const RESPONSE_US: u64 = 100_000;
const PACKET_BITS: f64 = 9_600.0;
/// Delivered share of the estimate from which it may grow by itself: else nothing was proven.
const PROVEN: f64 = 0.8;
/// Growth by itself beyond the rate at which the path was full.
const BEYOND: f64 = 1.02;
/// An estimate is never further ahead of what is delivered, unless a probe says so.
const AHEAD: f64 = 1.5;

/// What the last feedback showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signals {
    pub(crate) now_us: u64,
    pub(crate) usage: Usage,
    pub(crate) standing_us: i64,
    pub(crate) draining: bool,
    /// What arrived of late, corrected for loss that is the path's nature.
    pub(crate) delivered_bps: Option<u64>,
    pub(crate) loss: loss::Verdict,
    pub(crate) rtt_us: u64,
    /// A probe of ours may be what the queue consists of.
    pub(crate) probing: bool,
    /// Tracks get less than they want.
    pub(crate) constrained: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Same,
    Up,
    Down,
}

#[derive(Debug)]
pub(crate) struct Estimator {
    target_bps: u64,
    /// Average of what was delivered when the path was full.
    capacity_bps: Option<f64>,
    decreased_us: Option<u64>,
    updated_us: u64,
    /// Since when a queue stands, without a break.
    queue_since_us: Option<u64>,
    /// Decreases in a row that left the queue standing, the estimate before the first, and what
    /// was delivered at the second.
    in_vain: u32,
    before_bps: u64,
    delivered_then_bps: u64,
    /// Until then a queue is others' and not answered.
    accepted_until_us: u64,
}

impl Default for Estimator {
    fn default() -> Self {
        Estimator {
            target_bps: ESTIMATE_START_BPS,
            capacity_bps: None,
            decreased_us: None,
            updated_us: 0,
            queue_since_us: None,
            in_vain: 0,
            before_bps: 0,
            delivered_then_bps: 0,
            accepted_until_us: 0,
        }
    }
}

impl Estimator {
    pub(crate) fn target_bps(&self) -> u64 {
        self.target_bps
    }

    /// The path was full a short while ago.
    pub(crate) fn is_short(&self, now_us: u64) -> bool {
        self.since_decrease(now_us) < SHORT_TIME_US
    }

    pub(crate) fn since_decrease(&self, now_us: u64) -> u64 {
        self.decreased_us
            .map_or(u64::MAX, |at| now_us.saturating_sub(at))
    }

    /// The queue that is answered, microseconds.
    pub(crate) fn tolerated_us(&self, now_us: u64, constrained: bool) -> i64 {
        let own = match constrained || self.is_short(now_us) {
            true => QUEUE_CONFIRMS_SHORT_US,
            false => QUEUE_CONFIRMS_US,
        };
        match now_us < self.accepted_until_us {
            true => i64::MAX / 2,
            false => own,
        }
    }

    pub(crate) fn update(&mut self, signals: &Signals) -> Change {
        let now_us = signals.now_us;
        let elapsed_us = now_us.saturating_sub(self.updated_us).min(1_000_000);
        self.updated_us = now_us;
        let since = self.since_decrease(now_us);
        let settled = since > signals.rtt_us.clamp(10_000, 200_000) + RESPONSE_US;
        let tolerated_us = self.tolerated_us(now_us, signals.constrained);
        if settled && !signals.probing && self.is_full(signals, tolerated_us) {
            self.meet_queue(signals);
            let much = signals.standing_us > tolerated_us + QUEUE_LONG_US;
            let factor = if much { DECREASE } else { DECREASE_EARLY };
            return self.decrease(now_us, signals.delivered_bps, factor);
        }
        if signals.standing_us < QUEUE_CONFIRMS_SHORT_US {
            self.accepted_until_us = 0; // it is gone
        }
        if signals.loss == loss::Verdict::Cut && settled {
            return self.decrease(now_us, signals.delivered_bps, CUT_TO);
        }
        let calm = signals.usage == Usage::Normal
            && signals.standing_us <= tolerated_us
            && signals.loss == loss::Verdict::Fine;
        match calm && signals.constrained {
            true => self.grow(elapsed_us, signals),
            false => Change::Same,
        }
    }

    /// Another rate is known to fit.
    pub(crate) fn proven(&mut self, bps: u64) -> Change {
        if bps <= self.target_bps {
            return Change::Same;
        }
        self.target_bps = bps.min(ESTIMATE_MAX_BPS);
        if self
            .capacity_bps
            .is_some_and(|known| bps as f64 > known * BEYOND)
        {
            self.capacity_bps = None; // the path has changed
        }
        Change::Up
    }

    /// The first probe met a path that takes less than was assumed.
    pub(crate) fn begin_at(&mut self, now_us: u64, bps: u64) -> Change {
        self.decreased_us = Some(now_us);
        self.target_bps = bps.clamp(ESTIMATE_MIN_BPS, self.target_bps);
        Change::Down
    }

    /// The receiver says what it can take.
    pub(crate) fn told(&mut self, now_us: u64, bps: u64) {
        self.decreased_us = Some(now_us);
        self.target_bps = bps.clamp(ESTIMATE_MIN_BPS, self.target_bps);
    }

    fn decrease(&mut self, now_us: u64, delivered_bps: Option<u64>, factor: f64) -> Change {
        let delivered = delivered_bps.unwrap_or(self.target_bps / 2) as f64;
        let capacity = self
            .capacity_bps
            .filter(|known| (0.7..1.3).contains(&(delivered / known)))
            .map_or(delivered, |known| known * 0.8 + delivered * 0.2);
        self.capacity_bps = Some(capacity);
        self.decreased_us = Some(now_us);
        let target = ((delivered * factor) as u64).clamp(ESTIMATE_MIN_BPS, self.target_bps);
        self.target_bps = target;
        Change::Down
    }

    /// More is sent than the path takes: a queue stands and does not get shorter by itself, as it
    /// does behind a key frame.
    fn is_full(&mut self, signals: &Signals, tolerated_us: i64) -> bool {
        if signals.standing_us <= tolerated_us {
            self.queue_since_us = None;
            return false;
        }
        let since_us = *self.queue_since_us.get_or_insert(signals.now_us);
        let stands = signals.now_us - since_us >= QUEUE_TIME_US;
        let long = signals.standing_us > tolerated_us + QUEUE_LONG_US;
        let grows = signals.usage == Usage::Over;
        let falls = signals.usage == Usage::Under || signals.draining;
        let high = signals.standing_us > tolerated_us.max(QUEUE_STANDING_US);
        (stands || long) && (grows || high) && !falls
    }

    /// Notices a queue that does not yield to sending less.
    fn meet_queue(&mut self, signals: &Signals) {
        if self.since_decrease(signals.now_us) > QUEUE_SERIES_US {
            (self.in_vain, self.before_bps) = (0, self.target_bps);
        }
        self.in_vain += 1;
        let delivered = signals.delivered_bps.unwrap_or(0);
        if self.in_vain <= 2 {
            self.delivered_then_bps = delivered;
        }
        // A queue of our own delivers the same however little joins it; one that others fill
        // delivers our share.
        let left = delivered as f64 / self.delivered_then_bps.max(1) as f64;
        if self.in_vain > QUEUE_STUBBORN && left < QUEUE_SHARE_LEFT {
            self.in_vain = 0;
            self.accepted_until_us = signals.now_us + QUEUE_ACCEPTED_US;
            // What was given up was taken by others: half of it is a fair claim.
            self.target_bps = self.target_bps.max(self.before_bps / 2);
            self.capacity_bps = None;
        }
    }

    fn grow(&mut self, elapsed_us: u64, signals: &Signals) -> Change {
        let Some(delivered) = signals.delivered_bps.map(|bps| bps as f64) else {
            return Change::Same;
        };
        let target = self.target_bps as f64;
        if delivered < target * PROVEN {
            return Change::Same;
        }
        let seconds = elapsed_us as f64 / 1_000_000.0;
        let near = self
            .capacity_bps
            .is_some_and(|known| (0.85..1.15).contains(&(target / known)));
        let grown = match near {
            true => {
                let response = (signals.rtt_us + RESPONSE_US) as f64 / 1_000_000.0;
                target + PACKET_BITS / response * seconds
            }
            false => target * GROWTH.powf(seconds),
        };
        // Where the path was full before, only a probe leads further.
        let known = self.capacity_bps.map_or(f64::MAX, |known| known * BEYOND);
        let bound = (delivered * AHEAD).min(known).max(target);
        self.target_bps = (grown.min(bound) as u64).min(ESTIMATE_MAX_BPS);
        Change::Same
    }
}

/// Share of the delivered rate that is sent after heavy loss.
const CUT_TO: f64 = 0.95;

#[cfg(test)]
mod tests {
    use super::*;

    fn signals(now_us: u64) -> Signals {
        Signals {
            now_us,
            usage: Usage::Normal,
            standing_us: 0,
            draining: false,
            delivered_bps: Some(1_000_000),
            loss: loss::Verdict::Fine,
            rtt_us: 50_000,
            probing: false,
            constrained: true,
        }
    }

    #[test]
    fn a_queue_that_stands_lowers_it_to_what_gets_through_once_a_round_trip() {
        let mut estimator = Estimator::default();
        let over = |now_us| Signals {
            usage: Usage::Over,
            standing_us: 80_000,
            ..signals(now_us)
        };
        assert_eq!(estimator.update(&over(1_000_000)), Change::Same);
        assert_eq!(estimator.update(&over(1_200_000)), Change::Down);
        assert_eq!(estimator.target_bps(), 900_000);
        assert_eq!(estimator.update(&over(1_300_000)), Change::Same);
        assert_eq!(estimator.update(&over(1_400_000)), Change::Down);
    }

    #[test]
    fn a_long_queue_is_answered_at_once_and_one_that_drains_is_not() {
        let mut estimator = Estimator::default();
        let long = Signals {
            usage: Usage::Normal,
            standing_us: 400_000,
            ..signals(1_000_000)
        };
        let draining = Signals {
            draining: true,
            ..long
        };
        assert_eq!(estimator.update(&draining), Change::Same);
        assert_eq!(estimator.update(&long), Change::Down);
        assert_eq!(estimator.target_bps(), 850_000);
    }

    #[test]
    fn a_spike_without_a_standing_queue_costs_nothing() {
        let mut estimator = Estimator::default();
        let spike = Signals {
            usage: Usage::Over,
            standing_us: 5_000,
            ..signals(1_000_000)
        };
        assert_eq!(estimator.update(&spike), Change::Same);
        assert_eq!(estimator.target_bps(), ESTIMATE_START_BPS);
    }

    #[test]
    fn it_grows_only_where_traffic_proves_it() {
        let mut estimator = Estimator::default();
        estimator.told(0, 1_000_000);
        for ms in 0..20_000u64 {
            estimator.update(&signals(ms * 1_000));
        }
        let grown = estimator.target_bps();
        assert!((1_200_000..=1_300_000).contains(&grown), "{grown}");
        assert_eq!(estimator.proven(2_000_000), Change::Up);
        assert_eq!(estimator.target_bps(), 2_000_000);
    }

    #[test]
    fn a_queue_that_delivers_ever_less_is_somebody_elses() {
        let mut estimator = Estimator::default();
        estimator.told(0, 4_000_000);
        let mut decreases = 0;
        for step in 1..80u64 {
            let standing = Signals {
                standing_us: 200_000,
                delivered_bps: Some(estimator.target_bps() * 19 / 20),
                ..signals(step * 250_000)
            };
            decreases += u32::from(estimator.update(&standing) == Change::Down);
        }
        assert!(decreases <= 8, "{decreases}");
        assert!(estimator.target_bps() > 1_500_000);
    }
}
