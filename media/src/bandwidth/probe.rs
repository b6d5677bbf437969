//! Short bursts of traffic at a rate above the estimate, to learn whether the path takes it:
//! clusters as in libwebrtc's `ProbeBitrateEstimator`, filled up with padding by the shard.

use crate::limits::{
    PROBE_BYTES_MIN, PROBE_INTERVAL_MAX_US, PROBE_INTERVAL_MIN_US, PROBE_LONG_US, PROBE_LOSS_US,
    PROBE_TIME_US,
};

/// Packets that must have arrived for a result.
const ARRIVED_MIN: u32 = 5;
/// Received over sent rate from which the path took everything.
const TOOK_ALL: f64 = 0.9;
/// What is believed of a measured rate: a path driven over its rate measures a little high.
const CAUTION: f64 = 0.95;
/// Wait for feedback of the last packets beyond the round trip.
const FEEDBACK_US: u64 = 400_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Is there room for this rate?
    Rate,
    /// Does more traffic lose a larger share?
    Loss,
    /// Is there room, where a short burst would not show it?
    Long,
    /// The first one: may media start at full rate?
    Start,
}

#[derive(Clone, Copy, Debug, Default)]
struct Span {
    first: i64,
    last: i64,
    first_bytes: u32,
    last_bytes: u32,
}

impl Span {
    fn add(&mut self, at: i64, bytes: u32, first: bool) {
        if first || at < self.first {
            (self.first, self.first_bytes) = (at, bytes);
        }
        if first || at >= self.last {
            (self.last, self.last_bytes) = (at, bytes);
        }
    }
}

#[derive(Debug)]
struct Cluster {
    id: u8,
    aim: Aim,
    rate_bps: u64,
    bytes_left: i64,
    sending: bool,
    sent_packets: u32,
    /// Feedback may come until then.
    until_us: u64,
    arrived: u32,
    arrived_bytes: u64,
    lost: u32,
    by_sending: Span,
    by_arrival: Span,
}

/// What a cluster taught.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) aim: Aim,
    pub(crate) tried_bps: u64,
    /// What the path is believed to take; `None` = too little came back.
    pub(crate) measured_bps: Option<u64>,
    /// Lost share of the cluster, 0.0..=1.0.
    pub(crate) loss: f32,
}

impl Outcome {
    pub(crate) fn took_all(&self) -> bool {
        self.measured_bps.is_some_and(|bps| bps >= self.tried_bps)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Prober {
    cluster: Option<Cluster>,
    last_id: u8,
    not_before_us: u64,
    interval_us: u64,
}

impl Prober {
    /// May a cluster begin?
    pub(crate) fn is_ready(&self, now_us: u64) -> bool {
        self.cluster.is_none() && now_us >= self.not_before_us
    }

    pub(crate) fn begin(&mut self, now_us: u64, aim: Aim, rate_bps: u64) {
        self.last_id = self.last_id.wrapping_add(1).max(1);
        let time_us = match aim {
            Aim::Rate | Aim::Start => PROBE_TIME_US,
            Aim::Loss => PROBE_LOSS_US,
            Aim::Long => PROBE_LONG_US,
        };
        let bytes = rate_bps * time_us / 8_000_000;
        self.cluster = Some(Cluster {
            id: self.last_id,
            aim,
            rate_bps,
            bytes_left: (bytes as i64).max(PROBE_BYTES_MIN),
            sending: true,
            sent_packets: 0,
            until_us: now_us + time_us * 4 + FEEDBACK_US,
            arrived: 0,
            arrived_bytes: 0,
            lost: 0,
            by_sending: Span::default(),
            by_arrival: Span::default(),
        });
    }

    /// Nothing is there to fill it with: what was sent has to do.
    pub(crate) fn stop(&mut self) {
        if let Some(cluster) = &mut self.cluster {
            cluster.sending = false;
        }
    }

    /// The rate to send at while a cluster is being sent.
    pub(crate) fn sending_bps(&self) -> Option<u64> {
        let cluster = self.cluster.as_ref().filter(|cluster| cluster.sending)?;
        Some(cluster.rate_bps)
    }

    /// A packet leaves; returns the cluster it belongs to, 0 = none.
    pub(crate) fn sent(&mut self, now_us: u64, bytes: u32, rtt_us: u64) -> u8 {
        let Some(cluster) = self.cluster.as_mut().filter(|cluster| cluster.sending) else {
            return 0;
        };
        cluster.bytes_left -= i64::from(bytes);
        cluster.sent_packets += 1;
        if cluster.bytes_left <= 0 {
            cluster.sending = false;
            cluster.until_us = now_us + rtt_us + FEEDBACK_US;
        }
        cluster.id
    }

    pub(crate) fn arrived(&mut self, id: u8, sent_us: u64, arrival_us: i64, bytes: u32) {
        let Some(cluster) = self.cluster.as_mut().filter(|c| c.id == id && id != 0) else {
            return;
        };
        let first = cluster.arrived == 0;
        cluster.by_sending.add(sent_us as i64, bytes, first);
        cluster.by_arrival.add(arrival_us, bytes, first);
        cluster.arrived += 1;
        cluster.arrived_bytes += u64::from(bytes);
    }

    pub(crate) fn lost(&mut self, id: u8) {
        if let Some(cluster) = self.cluster.as_mut().filter(|c| c.id == id && id != 0) {
            cluster.lost += 1;
        }
    }

    /// The result, once everything was reported or time is up.
    pub(crate) fn conclude(&mut self, now_us: u64) -> Option<Outcome> {
        let cluster = self.cluster.as_ref()?;
        let told = cluster.arrived + cluster.lost;
        let complete = !cluster.sending && told >= cluster.sent_packets;
        if !complete && now_us < cluster.until_us {
            return None;
        }
        let outcome = Outcome {
            aim: cluster.aim,
            tried_bps: cluster.rate_bps,
            measured_bps: cluster.measured(),
            loss: cluster.lost as f32 / told.max(1) as f32,
        };
        self.cluster = None;
        self.interval_us = match outcome.took_all() {
            true => 0,
            false => (self.interval_us * 2).clamp(PROBE_INTERVAL_MIN_US, PROBE_INTERVAL_MAX_US),
        };
        self.not_before_us = now_us + self.interval_us;
        Some(outcome)
    }

    /// No probe for a while: the path has just shown what it takes.
    pub(crate) fn postpone(&mut self, now_us: u64, by_us: u64) {
        self.cluster = None;
        self.interval_us = 0;
        self.not_before_us = self.not_before_us.max(now_us + by_us);
    }
}

impl Cluster {
    /// Compares the pace of arrivals with the pace of sending over the packets that arrived, so
    /// that losses change nothing.
    fn measured(&self) -> Option<u64> {
        if self.arrived < ARRIVED_MIN {
            return None;
        }
        let rate = |bytes: u64, span: &Span| {
            let time_us = (span.last - span.first) as f64;
            (time_us > 0.0).then(|| bytes as f64 * 8_000_000.0 / time_us)
        };
        let counted = |bytes: u32| self.arrived_bytes - u64::from(bytes);
        let sent = rate(counted(self.by_sending.last_bytes), &self.by_sending)?;
        let arrived = rate(counted(self.by_arrival.first_bytes), &self.by_arrival);
        // All at once: something held them together, which says nothing.
        let ratio = arrived? / sent;
        if !(0.05..=2.0).contains(&ratio) {
            return None;
        }
        // What really left, when the cluster could not be filled in time.
        let tried = sent.min(self.rate_bps as f64);
        if ratio >= TOOK_ALL {
            let whole = tried >= self.rate_bps as f64 * 0.8 || self.lost > 0;
            return Some(if whole { self.rate_bps } else { tried as u64 });
        }
        Some((tried * ratio * CAUTION) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a cluster of `rate` through a link of `link`, every third packet lost if `lossy`.
    fn probe(prober: &mut Prober, rate: u64, link: u64, lossy: bool) -> Option<Outcome> {
        prober.begin(0, Aim::Rate, rate);
        let (mut now, mut free_at, mut count) = (0u64, 0i64, 0);
        while prober.sending_bps().is_some() {
            let bytes = 290u32;
            let id = prober.sent(now, bytes, 50_000);
            count += 1;
            free_at =
                free_at.max(now as i64 + 20_000) + (u64::from(bytes) * 8_000_000 / link) as i64;
            match lossy && count % 3 == 0 {
                true => prober.lost(id),
                false => prober.arrived(id, now, free_at, bytes),
            }
            now += u64::from(bytes) * 8_000_000 / rate;
        }
        prober.conclude(now + 1)
    }

    #[test]
    fn a_rate_the_path_takes_is_believed_whole_even_with_losses() {
        for lossy in [false, true] {
            let outcome = probe(&mut Prober::default(), 2_000_000, 3_000_000, lossy);
            assert_eq!(outcome.and_then(|o| o.measured_bps), Some(2_000_000));
        }
    }

    #[test]
    fn a_rate_beyond_the_path_measures_the_path() {
        let outcome = probe(&mut Prober::default(), 4_000_000, 1_000_000, false);
        let measured = outcome.and_then(|o| o.measured_bps).unwrap_or(0);
        assert!((900_000..=1_000_000).contains(&measured), "{measured}");
    }

    #[test]
    fn failures_space_probes_out_and_success_goes_on_at_once() {
        let mut prober = Prober::default();
        probe(&mut prober, 4_000_000, 1_000_000, false);
        assert!(!prober.is_ready(PROBE_INTERVAL_MIN_US / 2));
        assert!(prober.is_ready(PROBE_INTERVAL_MIN_US * 2));
        probe(&mut prober, 500_000, 1_000_000, false);
        assert!(prober.is_ready(PROBE_INTERVAL_MIN_US));
    }
}
