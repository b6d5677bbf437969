//! Spreads what one subscriber is sent over time: a budget of bytes that refills at the pace and
//! is spent by packets. Bounds the length of a run, so that a burst is short on the wire. Audio and
//! repeats spend without asking.

use crate::limits::{
    PACE_BACKLOG_US, PACE_OPEN_BPS, PACE_RUN_US, PACE_SAVED_US, PACKET_BYTES_MAX, RUN_SEGMENTS_MAX,
    TURN_RUNS_MAX,
};

/// Packets one subscriber may send in one turn of the shard.
pub(crate) fn turn_packets_max() -> usize {
    RUN_SEGMENTS_MAX * TURN_RUNS_MAX
}

#[derive(Debug)]
pub(crate) struct Pacer {
    bps: u64,
    /// Below zero: what was sent ahead of the pace.
    budget_bytes: i64,
    at_us: u64,
}

impl Default for Pacer {
    fn default() -> Self {
        Pacer {
            bps: PACE_OPEN_BPS,
            budget_bytes: 0,
            at_us: 0,
        }
    }
}

impl Pacer {
    /// A new pace: that of a probe, of a short path, or the open one.
    pub(crate) fn set(&mut self, probe_bps: Option<u64>, pace_bps: Option<u64>, waiting: usize) {
        let backlog = (waiting * PACKET_BYTES_MAX) as u64 * 8_000_000 / PACE_BACKLOG_US;
        self.bps = match (probe_bps, pace_bps) {
            (Some(bps), _) => bps,
            (None, Some(bps)) => bps.max(backlog),
            (None, None) => PACE_OPEN_BPS,
        }
        .clamp(1, PACE_OPEN_BPS);
        self.budget_bytes = self.budget_bytes.min(self.saved_bytes_max());
    }

    /// What may leave at once after a while of silence.
    fn saved_bytes_max(&self) -> i64 {
        let saved_us = if self.bps == PACE_OPEN_BPS {
            PACE_RUN_US
        } else {
            PACE_SAVED_US
        };
        (self.bps * saved_us / 8_000_000).max(1) as i64
    }

    pub(crate) fn refill(&mut self, now_us: u64) {
        let elapsed_us = now_us.saturating_sub(self.at_us).min(1_000_000);
        self.at_us = now_us;
        let earned = (self.bps * elapsed_us / 8_000_000) as i64;
        self.budget_bytes = (self.budget_bytes + earned).min(self.saved_bytes_max());
    }

    pub(crate) fn may_send(&self) -> bool {
        self.budget_bytes > 0
    }

    pub(crate) fn spend(&mut self, bytes: usize) {
        self.budget_bytes -= bytes as i64;
    }

    /// When the next packet may leave.
    pub(crate) fn due_us(&self) -> u64 {
        let missing = (1 - self.budget_bytes).max(0) as u64;
        self.at_us + (missing * 8_000_000).div_ceil(self.bps)
    }

    /// Longest run, packets.
    pub(crate) fn run_packets_max(&self) -> usize {
        let bytes = self.bps * PACE_RUN_US / 8_000_000;
        ((bytes / 1_200) as usize).clamp(1, RUN_SEGMENTS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent_in_a_second(pacer: &mut Pacer) -> u64 {
        let mut bytes = 0;
        for ms in 0..1_000u64 {
            pacer.refill(ms * 1_000);
            while pacer.may_send() {
                pacer.spend(1_200);
                bytes += 1_200;
            }
        }
        bytes * 8
    }

    #[test]
    fn a_short_path_is_sent_at_its_pace_packet_by_packet() {
        let mut pacer = Pacer::default();
        pacer.set(None, Some(2_500_000), 0);
        let bps = sent_in_a_second(&mut pacer);
        assert!((2_450_000..2_550_000).contains(&bps), "{bps}");
        assert_eq!(pacer.run_packets_max(), 1);
        pacer.set(Some(800_000), Some(1_000_000), 0);
        assert!(sent_in_a_second(&mut pacer) < 900_000);
    }

    #[test]
    fn an_open_path_takes_whole_runs_half_a_millisecond_apart() {
        let mut pacer = Pacer::default();
        pacer.refill(1_000_000);
        for _ in 0..8 {
            assert!(pacer.may_send());
            pacer.spend(1_250);
        }
        for _ in 0..16 {
            pacer.spend(1_250);
        }
        assert!(!pacer.may_send());
        assert!(pacer.due_us() > 1_000_050 && pacer.due_us() < 1_000_300);
        assert_eq!(pacer.run_packets_max(), RUN_SEGMENTS_MAX);
    }

    #[test]
    fn a_backlog_never_waits_longer_than_it_is_good_for() {
        let mut pacer = Pacer::default();
        pacer.set(None, Some(100_000), 200);
        assert!(sent_in_a_second(&mut pacer) >= 2 * 200 * 1_500 * 8 * 9 / 10);
    }
}
