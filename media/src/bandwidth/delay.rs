//! Whether a queue is building up on the way to a subscriber: the trend of one-way delay over
//! groups of packets (GCC's trendline filter and adaptive threshold, draft-ietf-rmcat-gcc-02 §5,
//! constants of libwebrtc) and, beside it, how long the queue stands above the emptiest seen.

use crate::limits::BASE_DELAY_SPAN_US;

/// Packets sent within this time of each other are one group.
const GROUP_US: u64 = 5_000;
/// Groups the trend is fitted over.
const WINDOW: usize = 20;
const SMOOTHING: f64 = 0.9;
const GAIN: f64 = 4.0;
const SAMPLES_MAX: u32 = 60;
const OVERUSE_TIME_MS: f64 = 10.0;
const THRESHOLD_MS: (f64, f64, f64) = (6.0, 12.5, 600.0);
const THRESHOLD_GAIN: (f64, f64) = (0.0087, 0.039);
/// A jump this far above the threshold is a spike that must not move it.
const THRESHOLD_SPIKE_MS: f64 = 15.0;
/// The queue counts as standing at its lowest within this time of arrivals.
const STANDING_US: i64 = 120_000;
/// It drains when it was clearly longer within this time.
const DRAINING_US: i64 = 300_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Usage {
    #[default]
    Normal,
    /// Delay grows: more is sent than the path takes.
    Over,
    /// Delay falls: a queue drains.
    Under,
}

/// Packets sent together.
#[derive(Clone, Copy, Debug)]
struct Group {
    first_sent: u64,
    last_sent: u64,
    first_arrival: i64,
    last_arrival: i64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    arrival_ms: f64,
    smoothed_ms: f64,
    arrival_us: i64,
    /// One-way delay of the group's first packet on two unrelated clocks.
    one_way_us: i64,
}

#[derive(Debug)]
pub(crate) struct DelayDetector {
    current: Option<Group>,
    previous: Option<Group>,
    first_arrival: Option<i64>,
    accumulated_ms: f64,
    smoothed_ms: f64,
    samples: [Sample; WINDOW],
    count: usize,
    groups: u32,
    trend: f64,
    threshold_ms: f64,
    threshold_at: Option<i64>,
    over_ms: f64,
    over_count: u32,
    usage: Usage,
    base: BaseDelay,
}

impl Default for DelayDetector {
    fn default() -> Self {
        DelayDetector {
            current: None,
            previous: None,
            first_arrival: None,
            accumulated_ms: 0.0,
            smoothed_ms: 0.0,
            samples: [Sample::default(); WINDOW],
            count: 0,
            groups: 0,
            trend: 0.0,
            threshold_ms: THRESHOLD_MS.1,
            threshold_at: None,
            over_ms: 0.0,
            over_count: 0,
            usage: Usage::Normal,
            base: BaseDelay::default(),
        }
    }
}

impl DelayDetector {
    /// A packet that arrived, in the order of sending.
    pub(crate) fn packet(&mut self, sent_us: u64, arrival_us: i64) {
        self.base.add(arrival_us, arrival_us - sent_us as i64);
        let Some(group) = &mut self.current else {
            self.current = Some(Group::new(sent_us, arrival_us));
            return;
        };
        if sent_us < group.first_sent {
            return; // late on its way: says nothing about the queue now
        }
        if group.takes(sent_us, arrival_us) {
            group.last_sent = group.last_sent.max(sent_us);
            group.last_arrival = group.last_arrival.max(arrival_us);
            return;
        }
        let done = *group;
        *group = Group::new(sent_us, arrival_us);
        if let Some(previous) = self.previous.replace(done) {
            self.compare(&previous, &done);
        }
    }

    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }

    /// The least queueing delay of the last moments, microseconds.
    pub(crate) fn standing_us(&self) -> i64 {
        let newest = self.sample(0).map_or(0, |sample| sample.arrival_us);
        let recent = (0..self.count.min(WINDOW)).filter_map(|back| {
            let sample = self.sample(back)?;
            let recent = back < 2 || newest - sample.arrival_us < STANDING_US;
            recent.then_some(sample.one_way_us)
        });
        recent
            .min()
            .map_or(0, |lowest| (lowest - self.base.lowest()).max(0))
    }

    /// A queue is there, but it gets shorter.
    pub(crate) fn is_draining(&self) -> bool {
        let Some(newest) = self.sample(0) else {
            return false;
        };
        let recent = (0..self.count.min(WINDOW)).filter_map(|back| {
            let sample = self.sample(back)?;
            let recent = newest.arrival_us - sample.arrival_us < DRAINING_US;
            recent.then_some(sample.one_way_us)
        });
        let base = self.base.lowest();
        let most = recent.max().unwrap_or(base) - base;
        let now = newest.one_way_us - base;
        now < most - (most / 5).max(10_000)
    }

    fn sample(&self, back: usize) -> Option<&Sample> {
        let index = self.count.checked_sub(back + 1)? % WINDOW;
        self.samples.get(index)
    }

    fn compare(&mut self, old: &Group, new: &Group) {
        let sent_ms = (new.last_sent - old.last_sent.min(new.last_sent)) as f64 / 1_000.0;
        let arrived_ms = (new.last_arrival - old.last_arrival) as f64 / 1_000.0;
        self.groups = (self.groups + 1).min(1_000);
        self.accumulated_ms += arrived_ms - sent_ms;
        self.smoothed_ms = SMOOTHING * self.smoothed_ms + (1.0 - SMOOTHING) * self.accumulated_ms;
        let first = *self.first_arrival.get_or_insert(new.last_arrival);
        let sample = Sample {
            arrival_ms: (new.last_arrival - first) as f64 / 1_000.0,
            smoothed_ms: self.smoothed_ms,
            arrival_us: new.first_arrival,
            one_way_us: new.first_arrival - new.first_sent as i64,
        };
        if let Some(slot) = self.samples.get_mut(self.count % WINDOW) {
            *slot = sample;
        }
        self.count += 1;
        let trend = match self.count >= WINDOW {
            true => self.slope().unwrap_or(self.trend),
            false => self.trend,
        };
        self.detect(trend, sent_ms, new.last_arrival);
    }

    /// Least-squares slope of smoothed delay over arrival time.
    fn slope(&self) -> Option<f64> {
        let n = WINDOW as f64;
        let mean = |of: fn(&Sample) -> f64| self.samples.iter().map(of).sum::<f64>() / n;
        let (x, y) = (mean(|s| s.arrival_ms), mean(|s| s.smoothed_ms));
        let (mut above, mut below) = (0.0, 0.0);
        for sample in &self.samples {
            above += (sample.arrival_ms - x) * (sample.smoothed_ms - y);
            below += (sample.arrival_ms - x).powi(2);
        }
        (below > 0.0).then(|| above / below)
    }

    fn detect(&mut self, trend: f64, sent_ms: f64, now_us: i64) {
        let modified = f64::from(self.groups.min(SAMPLES_MAX)) * trend * GAIN;
        if modified > self.threshold_ms {
            self.over_ms += if self.over_count == 0 {
                sent_ms / 2.0
            } else {
                sent_ms
            };
            self.over_count += 1;
            if self.over_ms > OVERUSE_TIME_MS && self.over_count > 1 && trend >= self.trend {
                (self.over_ms, self.over_count) = (0.0, 0);
                self.usage = Usage::Over;
            }
        } else {
            (self.over_ms, self.over_count) = (0.0, 0);
            self.usage = if modified < -self.threshold_ms {
                Usage::Under
            } else {
                Usage::Normal
            };
        }
        self.trend = trend;
        self.adapt_threshold(modified.abs(), now_us);
    }

    fn adapt_threshold(&mut self, modified: f64, now_us: i64) {
        let last = self.threshold_at.replace(now_us).unwrap_or(now_us);
        if modified > self.threshold_ms + THRESHOLD_SPIKE_MS {
            return;
        }
        let gain = if modified < self.threshold_ms {
            THRESHOLD_GAIN.1
        } else {
            THRESHOLD_GAIN.0
        };
        let elapsed_ms = ((now_us - last) as f64 / 1_000.0).clamp(0.0, 100.0);
        self.threshold_ms += gain * (modified - self.threshold_ms) * elapsed_ms;
        self.threshold_ms = self.threshold_ms.clamp(THRESHOLD_MS.0, THRESHOLD_MS.2);
    }
}

impl Group {
    fn new(sent_us: u64, arrival_us: i64) -> Group {
        Group {
            first_sent: sent_us,
            last_sent: sent_us,
            first_arrival: arrival_us,
            last_arrival: arrival_us,
        }
    }

    fn takes(&self, sent_us: u64, arrival_us: i64) -> bool {
        if sent_us - self.first_sent <= GROUP_US {
            return true;
        }
        // Released together by something that stalled (a radio, a busy machine): one group.
        let arrived = arrival_us - self.last_arrival;
        let sent = sent_us.saturating_sub(self.last_sent) as i64;
        arrived - sent < 0 && arrived <= 5_000 && arrival_us - self.first_arrival < 100_000
    }
}

/// The lowest one-way delay of the last spans, so that a new route and drifting clocks are
/// followed.
#[derive(Debug, Default)]
struct BaseDelay {
    began_us: i64,
    current: Option<i64>,
    previous: Option<i64>,
}

impl BaseDelay {
    fn add(&mut self, now_us: i64, one_way_us: i64) {
        if self.current.is_none() || now_us - self.began_us > BASE_DELAY_SPAN_US {
            self.previous = self.current.take();
            self.began_us = now_us;
        }
        let lowest = self.current.map_or(one_way_us, |low| low.min(one_way_us));
        self.current = Some(lowest);
    }

    fn lowest(&self) -> i64 {
        let both = [self.current, self.previous];
        both.into_iter().flatten().min().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets of `bytes` every 10 ms through a link of `bps`; returns usages seen.
    fn run(
        detector: &mut DelayDetector,
        from: u64,
        count: u64,
        bytes: u64,
        bps: u64,
    ) -> Vec<Usage> {
        let mut free_at = 0i64;
        (from..from + count)
            .map(|index| {
                let sent = index * 10_000;
                let start = (sent as i64 + 20_000).max(free_at);
                free_at = start + (bytes * 8_000_000 / bps) as i64;
                detector.packet(sent, free_at);
                detector.usage()
            })
            .collect()
    }

    #[test]
    fn a_growing_queue_is_overuse_and_a_steady_path_is_not() {
        let mut detector = DelayDetector::default();
        let calm = run(&mut detector, 0, 200, 1_000, 2_000_000);
        assert!(calm.iter().all(|usage| *usage == Usage::Normal));
        assert!(detector.standing_us() < 2_000);
        let over = run(&mut detector, 200, 30, 1_000, 500_000);
        let first = over.iter().position(|usage| *usage == Usage::Over);
        assert!(first.is_some_and(|first| first < 20), "{first:?}");
        assert!(detector.standing_us() > 30_000);
    }

    #[test]
    fn a_receiver_that_stalls_now_and_then_is_not_a_full_link() {
        let mut detector = DelayDetector::default();
        for index in 0..1_000u64 {
            let sent = index * 10_000;
            let stalled = sent % 2_000_000 < 150_000;
            let arrival = if stalled {
                sent / 2_000_000 * 2_000_000 + 150_000
            } else {
                sent
            };
            detector.packet(sent, arrival as i64 + 20_000);
            if !stalled && sent % 2_000_000 > 300_000 {
                assert!(detector.standing_us() < 1_000, "{index}");
            }
        }
    }
}
