//! One subscriber's path: remembers what was sent, takes its feedback apart, and keeps estimate,
//! probes and loss together. The shard calls it per packet sent, per feedback, and when it
//! distributes the estimate.

use crate::bandwidth::delay::{DelayDetector, Usage};
use crate::bandwidth::estimator::{Change, Estimator, Signals};
use crate::bandwidth::loss::{LossTracker, Verdict};
use crate::bandwidth::probe::{Aim, Outcome, Prober};
use crate::bandwidth::rate_window::{CALM, QUICK, RateWindow};
use crate::bandwidth::sent_packets::{Fate, SentPacket, SentPackets};
use crate::limits::{
    DATAGRAM_OVERHEAD_BYTES, ESTIMATE_MAX_BPS, ESTIMATE_MIN_BPS, LOSS_SUSPECT, PACE_FORCED_PERCENT,
    PACE_LOSSY_PERCENT, PACE_QUEUED_PERCENT, PACE_SHORT_PERCENT, PROBE_FACTOR, PROBE_LOSSY_PERCENT,
    PROBE_LOSSY_REST_MAX_US, PROBE_LOSSY_REST_US, PROBE_REST_US, PROBE_START_BPS, QUEUE_LONG_US,
    QUEUED_BUDGET_PERCENT, REMB_CONFIRMS, REMB_PROBE_PERCENT, REPEATS_PERCENT,
    REPEATS_QUEUED_PERCENT, REPEATS_SAVED_MS, SHORT_TIME_US,
};
use crate::rtcp::arrivals::{ArrivalClock, Arrivals};

/// More than now by which a probe looks for losses.
const LOSS_PROBE: f64 = 1.3;
/// A probe goes this far beyond what is wanted, per cent (LiveKit's `probe_overage_pct`).
const PROBE_OVERAGE_PERCENT: u64 = 120;
/// The least a probe adds (LiveKit's `probe_min_bps`).
const PROBE_STEP_BPS: u64 = 200_000;
/// A packet that is repeated, about.
const PACKET_BITS: i64 = 9_600;
/// Growth by itself after which tracks are looked at again: with less nothing changes.
const WORTH_PERCENT: u64 = 103;

#[derive(Debug, Default)]
pub(crate) struct SendSide {
    packets: SentPackets,
    clock: ArrivalClock,
    delay: DelayDetector,
    sent: RateWindow,
    delivered: RateWindow,
    loss: LossTracker,
    prober: Prober,
    estimator: Estimator,
    rtt_us: u64,
    first_sent_us: Option<u64>,
    /// Feedback on single packets comes: the receiver's own estimate is of no interest.
    is_reported: bool,
    /// Estimates of the receiver below what is sent, in a row.
    low_estimates: u32,
    last_probe_us: u64,
    /// The path lost what it did not carry, without a queue, until then.
    lossy_until_us: u64,
    lossy_rest_us: u64,
    /// Bits that repeats may use, and since when they were counted.
    repeat_bits: i64,
    repeats_at_us: u64,
    repeated: RateWindow,
    /// Set by whoever distributes the estimate.
    pub(crate) constrained: bool,
    /// What is sent although it is more than the estimate, because nothing smaller exists: holding
    /// it back would only make it late. 0: nothing is.
    pub(crate) forced_bps: u64,
    /// An estimate set from outside (`SimulateScenario.subscriber_bandwidth`).
    pub(crate) fixed_bps: Option<u64>,
}

impl SendSide {
    /// The transport-wide number the next packet is to carry.
    pub(crate) fn next_wire(&self) -> u16 {
        self.packets.next_wire()
    }

    /// Goes on from another node's numbers.
    pub(crate) fn begin_at(&mut self, wire: u16) {
        self.packets.begin_at(wire);
    }

    /// A numbered packet of `bytes` (sealed) leaves.
    pub(crate) fn sent(&mut self, now_us: u64, bytes: usize) {
        let bytes = (bytes as u16).saturating_add(DATAGRAM_OVERHEAD_BYTES);
        let probe = match self.prober.sending_bps() {
            None => 0,
            Some(_) => {
                self.last_probe_us = now_us;
                self.prober.sent(now_us, u32::from(bytes), self.rtt_us)
            }
        };
        self.first_sent_us.get_or_insert(now_us);
        self.packets.push(SentPacket {
            at_us: now_us,
            bytes,
            probe,
            fate: Fate::Flying,
        });
        self.sent.add(now_us as i64, u32::from(bytes));
        self.repeated.advance_to(now_us as i64);
    }

    /// A packet leaves that nobody will report on: a receiver that estimates by itself.
    pub(crate) fn sent_unnumbered(&mut self, now_us: u64, bytes: usize) {
        self.first_sent_us.get_or_insert(now_us);
        self.sent.add(now_us as i64, bytes as u32);
        if self.prober.sending_bps().is_some() {
            self.prober.sent(now_us, bytes as u32, self.rtt_us);
        }
    }

    /// Whether one more packet may be repeated now.
    pub(crate) fn may_repeat(&mut self, now_us: u64) -> bool {
        let Some(bps) = self.short_bps(now_us) else {
            return true;
        };
        let percent = match self.is_long_queued(now_us) {
            true => REPEATS_QUEUED_PERCENT,
            false => REPEATS_PERCENT,
        };
        let share = bps * percent / 100;
        let elapsed_us = now_us.saturating_sub(self.repeats_at_us).min(1_000_000);
        self.repeats_at_us = now_us;
        let most = (share * REPEATS_SAVED_MS / 1_000) as i64;
        let earned = (share * elapsed_us / 1_000_000) as i64;
        self.repeat_bits = (self.repeat_bits + earned).min(most);
        self.repeat_bits > 0
    }

    /// A packet is repeated.
    pub(crate) fn repeats(&mut self, now_us: u64) {
        self.repeat_bits -= PACKET_BITS;
        self.repeated.add(now_us as i64, PACKET_BITS as u32 / 8);
    }

    pub(crate) fn stop_probe(&mut self) {
        self.prober.stop();
    }

    /// Looks whether the path is a short one before media floods it.
    pub(crate) fn greet(&mut self, now_us: u64) {
        self.prober.begin(now_us, Aim::Start, PROBE_START_BPS);
    }

    /// What tracks may use together, bits per second.
    pub(crate) fn target_bps(&self) -> u64 {
        self.fixed_bps
            .unwrap_or_else(|| self.estimator.target_bps())
    }

    pub(crate) fn probe_bps(&self) -> Option<u64> {
        self.prober.sending_bps()
    }

    /// The estimate, while the path is known or suspected to be short.
    pub(crate) fn short_bps(&self, now_us: u64) -> Option<u64> {
        let short =
            self.fixed_bps.is_none() && (self.constrained || self.estimator.is_short(now_us));
        short.then(|| self.estimator.target_bps())
    }

    /// A queue stands on the way to the subscriber.
    pub(crate) fn is_queued(&self, now_us: u64) -> bool {
        let tolerated = self.estimator.tolerated_us(now_us, self.constrained);
        self.delay.standing_us() > tolerated
    }

    /// What may be distributed now, bits per second.
    pub(crate) fn budget_bps(&self, now_us: u64) -> u64 {
        if let Some(fixed) = self.fixed_bps {
            return fixed;
        }
        let target = self.estimator.target_bps();
        if !self.constrained {
            return target;
        }
        let repeated = self.repeated.bps(CALM).unwrap_or(0).min(target / 2);
        let percent = match self.is_long_queued(now_us) {
            true => QUEUED_BUDGET_PERCENT,
            false => 100,
        };
        (target - repeated) * percent / 100
    }

    fn is_long_queued(&self, now_us: u64) -> bool {
        let tolerated = self.estimator.tolerated_us(now_us, true);
        self.delay.standing_us() > tolerated.saturating_add(QUEUE_LONG_US)
    }

    /// The pace of packets, while it matters.
    pub(crate) fn pace_bps(&self, now_us: u64) -> Option<u64> {
        let short = self.short_bps(now_us)?;
        let percent = match self.is_queued(now_us) {
            true => PACE_QUEUED_PERCENT,
            false if self.loss.average() > LOSS_SUSPECT => PACE_LOSSY_PERCENT,
            false => PACE_SHORT_PERCENT,
        };
        Some((short * percent / 100).max(self.forced_bps * PACE_FORCED_PERCENT / 100))
    }

    pub(crate) fn sent_bps(&mut self, now_us: u64) -> u64 {
        self.sent.advance_to(now_us as i64);
        self.sent.bps(CALM).unwrap_or(0)
    }

    /// Takes in a feedback packet's body.
    pub(crate) fn feedback(&mut self, now_us: u64, body: &[u8]) -> Change {
        let Some(arrivals) = Arrivals::new(body, &mut self.clock) else {
            return Change::Same;
        };
        self.is_reported = true;
        let (mut received, mut lost, mut newest) = (0, 0, None);
        for told in arrivals {
            let Some(packet) = self.packets.get_mut(told.sequence) else {
                continue;
            };
            match (told.arrival_us, packet.fate) {
                (Some(arrival_us), Fate::Flying | Fate::Lost) => {
                    if packet.fate == Fate::Lost {
                        self.loss.uncount();
                    }
                    packet.fate = Fate::Arrived;
                    received += 1;
                    newest = Some(packet.at_us);
                    let bytes = u32::from(packet.bytes);
                    self.delivered.add(arrival_us, bytes);
                    self.prober
                        .arrived(packet.probe, packet.at_us, arrival_us, bytes);
                    self.delay.packet(packet.at_us, arrival_us);
                }
                (None, Fate::Flying) => {
                    packet.fate = Fate::Lost;
                    lost += 1;
                    self.prober.lost(packet.probe);
                }
                _ => {}
            }
        }
        if let Some(sent_us) = newest {
            let rtt_us = now_us.saturating_sub(sent_us);
            self.rtt_us = match self.rtt_us {
                0 => rtt_us,
                old => (old * 7 + rtt_us) / 8,
            };
        }
        self.loss.count(received, lost);
        self.conclude(now_us)
    }

    fn conclude(&mut self, now_us: u64) -> Change {
        let mut verdict = self.loss.judge(now_us);
        let outcome = self.prober.conclude(now_us);
        let mut raised = Change::Same;
        match outcome {
            Some(outcome) if outcome.aim == Aim::Loss => {
                verdict = self.loss.probed(outcome.loss, LOSS_PROBE as f32);
            }
            Some(outcome) => raised = self.probed(now_us, outcome),
            None => {}
        }
        if verdict == Verdict::Suspect && self.prober.is_ready(now_us) && !self.is_queued(now_us) {
            let sent = self.sent_bps(now_us).max(ESTIMATE_MIN_BPS);
            self.prober
                .begin(now_us, Aim::Loss, (sent as f64 * LOSS_PROBE) as u64);
            raised = Change::Up; // whoever distributes wakes the pacer
        }
        let before = self.estimator.target_bps();
        if raised == Change::Down {
            return raised;
        }
        let change = self.estimator.update(&Signals {
            now_us,
            usage: self.delay.usage(),
            standing_us: self.delay.standing_us(),
            draining: self.delay.is_draining(),
            delivered_bps: self.delivered_bps(),
            loss: verdict,
            rtt_us: self.rtt_us,
            probing: self.is_aftermath(now_us),
            constrained: self.constrained,
        });
        match change {
            Change::Down => {
                let rest_us = if verdict == Verdict::Cut {
                    let again = now_us < self.lossy_until_us;
                    let rest_us = if again { self.lossy_rest_us * 2 } else { 0 };
                    self.lossy_rest_us =
                        rest_us.clamp(PROBE_LOSSY_REST_US, PROBE_LOSSY_REST_MAX_US);
                    self.lossy_until_us = now_us + SHORT_TIME_US + self.lossy_rest_us;
                    self.lossy_rest_us
                } else {
                    PROBE_REST_US
                };
                self.loss.forget();
                self.prober.postpone(now_us, rest_us);
                Change::Down
            }
            Change::Up => Change::Up,
            Change::Same if self.estimator.target_bps() > before * WORTH_PERCENT / 100 => {
                Change::Up
            }
            Change::Same => raised,
        }
    }

    fn probed(&mut self, now_us: u64, outcome: Outcome) -> Change {
        let Some(measured) = outcome.measured_bps else {
            return Change::Same;
        };
        if outcome.aim == Aim::Start && !outcome.took_all() {
            return self.estimator.begin_at(now_us, measured);
        }
        let lossy = outcome.loss > self.loss.average() + LOSS_SUSPECT / 2.0;
        if lossy || self.estimator.since_decrease(now_us) < PROBE_REST_US {
            return Change::Same;
        }
        self.estimator.proven(measured)
    }

    /// The delivered rate, with what the path loses by nature put back.
    fn delivered_bps(&self) -> Option<u64> {
        let bps = self.delivered.bps(QUICK)? as f64;
        Some((bps / f64::from(1.0 - self.loss.inherent())) as u64)
    }

    /// A queue may still be what our probe left behind.
    fn is_aftermath(&self, now_us: u64) -> bool {
        let after_us = self.rtt_us + 100_000;
        let recent = self.last_probe_us > 0 && now_us < self.last_probe_us + after_us;
        recent && self.delay.standing_us() < 100_000
    }

    /// Looks for room, if it is time: `need_bps` would let the next track have more, `full_bps` is
    /// all that is wanted. True when a probe begins.
    pub(crate) fn seek(&mut self, now_us: u64, need_bps: u64, full_bps: u64) -> bool {
        self.prober.conclude(now_us);
        let target = self.estimator.target_bps();
        let tolerated = self.estimator.tolerated_us(now_us, true);
        let calm = self.delay.usage() != Usage::Over && self.delay.standing_us() < tolerated;
        let known = self
            .first_sent_us
            .is_some_and(|first| now_us > first + PROBE_REST_US / 2);
        let rested = self.estimator.since_decrease(now_us) > PROBE_REST_US;
        let free = self.fixed_bps.is_none() && self.prober.is_ready(now_us);
        if !(calm && known && rested && free) {
            return false;
        }
        let most = full_bps.max(need_bps) * PROBE_OVERAGE_PERCENT / 100;
        if now_us < self.lossy_until_us {
            let rate = target * PROBE_LOSSY_PERCENT / 100;
            self.prober.begin(now_us, Aim::Long, rate);
            return true;
        }
        if !self.is_reported {
            // A receiver that estimates by itself needs more to notice.
            let rate = (target * REMB_PROBE_PERCENT / 100).min(most);
            self.prober.begin(now_us, Aim::Long, rate);
            return true;
        }
        let rate = (target * PROBE_FACTOR)
            .min(most)
            .max(target + PROBE_STEP_BPS)
            .min(ESTIMATE_MAX_BPS);
        self.prober.begin(now_us, Aim::Rate, rate);
        true
    }

    /// The receiver's own estimate (REMB): it counts where it is below what is sent, and while
    /// the path is short; above that it only says that nothing more was tried.
    pub(crate) fn remb(&mut self, now_us: u64, bps: u64) -> Change {
        if self.is_reported {
            return Change::Same;
        }
        // It follows what arrives: one that lags behind a growing stream says nothing.
        let low = bps < self.sent_bps(now_us) * 95 / 100;
        self.low_estimates = if low { self.low_estimates + 1 } else { 0 };
        if self.low_estimates >= REMB_CONFIRMS {
            self.estimator.told(now_us, bps);
            return Change::Down;
        }
        match self.constrained {
            true => self.estimator.proven(bps),
            false => Change::Same,
        }
    }

    pub(crate) fn loss(&self) -> f32 {
        self.loss.average()
    }

    pub(crate) fn rtt_us(&self) -> Option<u64> {
        (self.rtt_us > 0).then_some(self.rtt_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_that_estimates_by_itself_is_followed_where_it_is_below_what_is_sent() {
        let mut path = SendSide::default();
        for ms in 0..1_000 {
            path.sent_unnumbered(ms * 1_000, 250); // 2 Mbit/s
        }
        assert_eq!(path.remb(1_000_000, 5_000_000), Change::Same);
        let told: Vec<Change> = (0..3).map(|_| path.remb(1_000_000, 1_000_000)).collect();
        assert_eq!(told, [Change::Same, Change::Same, Change::Down]);
        assert_eq!(path.target_bps(), 1_000_000);
        path.constrained = true;
        assert_eq!(path.remb(1_900_000, 1_400_000), Change::Up);
        assert!(
            path.seek(5_000_000, 1_700_000, 1_700_000),
            "padding raises it"
        );
        assert_eq!(path.probe_bps(), Some(2_040_000));
    }

    #[test]
    fn what_cannot_be_made_smaller_is_not_made_late() {
        let mut path = SendSide {
            constrained: true,
            ..SendSide::default()
        };
        path.estimator.told(1_000_000, 1_000_000);
        assert_eq!(path.pace_bps(1_000_000), Some(2_500_000));
        path.forced_bps = 4_000_000;
        assert_eq!(path.pace_bps(1_000_000), Some(6_000_000));
    }

    #[test]
    fn repeats_are_bounded_on_a_short_path_only() {
        let mut path = SendSide::default();
        assert!((0..1_000).all(|_| path.may_repeat(0)));
        path.constrained = true;
        let mut repeated = 0;
        for ms in 0..1_000 {
            while path.may_repeat(ms * 1_000) {
                path.repeats(ms * 1_000);
                repeated += 1;
            }
        }
        let bps = repeated * 9_600;
        assert!((2_700_000..3_600_000).contains(&bps), "{bps}");
    }
}
