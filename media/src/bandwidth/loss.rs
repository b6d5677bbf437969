//! Tells loss of a full path from loss a path simply has. Loss that grows with what is sent is
//! congestion; loss that stays the same when more is sent (a probe says so) is taken as given and
//! not answered by sending less.

use crate::limits::{LOSS_CUT, LOSS_INHERENT_MAX, LOSS_SUSPECT};

/// Packets and time one observation covers.
const OBSERVED_PACKETS: u32 = 20;
const OBSERVED_US: u64 = 200_000;
/// Heavy losses in a row that are no burst any more: 600 ms.
const HEAVY: u32 = 3;
/// Weight of the newest observation.
const NEWEST: f32 = 0.4;
/// Loss above what is inherent that is noise.
const NOISE: f32 = 0.03;

/// Share of the inherent loss that is still believed after an observation: half after 7 s.
const KEPT: f32 = 0.98;

/// What the loss of the last moments calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fine,
    /// Neither growing nor shrinking is called for.
    Hold,
    /// Find out by a probe whether more traffic loses more.
    Suspect,
    /// Most likely a full path without much of a queue: send what gets through.
    Cut,
}

#[derive(Debug, Default)]
pub(crate) struct LossTracker {
    received: u32,
    lost: u32,
    began_us: u64,
    average: f32,
    observations: u32,
    /// Observations in a row that were worth a cut: a burst is one or two.
    heavy: u32,
    /// Share that is lost whatever is sent.
    inherent: f32,
}

impl LossTracker {
    pub(crate) fn count(&mut self, received: u32, lost: u32) {
        self.received += received;
        self.lost += lost;
    }

    /// A packet counted as lost arrived after all.
    pub(crate) fn uncount(&mut self) {
        self.lost = self.lost.saturating_sub(1);
    }

    /// Lost share of late, 0.0..=1.0.
    pub(crate) fn average(&self) -> f32 {
        self.average
    }

    pub(crate) fn inherent(&self) -> f32 {
        self.inherent
    }

    /// A probe with more traffic than before lost this share.
    pub(crate) fn probed(&mut self, probe_loss: f32, overage: f32) -> Verdict {
        // A full path delivers no more, so the share lost of more would be larger.
        let full = 1.0 - (1.0 - self.average) / overage;
        if probe_loss > (self.average + full) / 2.0 {
            return Verdict::Cut;
        }
        self.inherent = self.average.max(probe_loss).min(LOSS_INHERENT_MAX);
        Verdict::Fine
    }

    /// Less is sent now: what was observed before says nothing.
    pub(crate) fn forget(&mut self) {
        (self.received, self.lost, self.observations, self.heavy) = (0, 0, 0, 0);
        self.average = self.inherent;
    }

    pub(crate) fn judge(&mut self, now_us: u64) -> Verdict {
        let total = self.received + self.lost;
        let elapsed = now_us.saturating_sub(self.began_us);
        if total >= OBSERVED_PACKETS && elapsed >= OBSERVED_US {
            let share = self.lost as f32 / total as f32;
            self.average = match self.observations {
                0 => share,
                _ => NEWEST * share + (1.0 - NEWEST) * self.average,
            };
            self.observations += 1;
            let heavy = share - self.inherent > LOSS_CUT;
            self.heavy = if heavy { self.heavy + 1 } else { 0 };
            (self.received, self.lost, self.began_us) = (0, 0, now_us);
            // Forgotten slowly, so that it is looked into again.
            self.inherent = self.inherent.min(self.average + NOISE) * KEPT;
        }
        let excess = self.average - self.inherent;
        match excess {
            _ if self.observations == 0 => Verdict::Fine,
            _ if self.heavy >= HEAVY => Verdict::Cut,
            excess if excess > LOSS_SUSPECT && self.observations >= 3 => Verdict::Suspect,
            excess if excess > NOISE => Verdict::Hold,
            _ => Verdict::Fine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observe(tracker: &mut LossTracker, start: u64, rounds: u64, lost: u32) -> Verdict {
        let mut verdict = Verdict::Fine;
        for round in start..start + rounds {
            tracker.count(100 - lost, lost);
            verdict = tracker.judge(round * 250_000);
        }
        verdict
    }

    #[test]
    fn loss_that_does_not_grow_with_traffic_is_accepted() {
        let mut tracker = LossTracker::default();
        assert_eq!(observe(&mut tracker, 1, 5, 20), Verdict::Suspect);
        assert_eq!(tracker.probed(0.22, 1.3), Verdict::Fine);
        assert_eq!(observe(&mut tracker, 6, 5, 21), Verdict::Fine);
        assert_eq!(observe(&mut tracker, 11, 9, 0), Verdict::Fine);
        assert!(tracker.inherent() < 0.1, "it is forgotten when it ends");
        assert_eq!(observe(&mut tracker, 20, 5, 20), Verdict::Suspect);
    }

    #[test]
    fn loss_of_a_full_path_is_answered() {
        let mut tracker = LossTracker::default();
        assert_eq!(observe(&mut tracker, 1, 5, 20), Verdict::Suspect);
        assert_eq!(tracker.probed(0.38, 1.3), Verdict::Cut);
        assert_eq!(observe(&mut tracker, 6, 4, 70), Verdict::Cut);
    }

    #[test]
    fn a_little_loss_is_fine() {
        let mut tracker = LossTracker::default();
        assert_eq!(observe(&mut tracker, 1, 20, 1), Verdict::Fine);
        assert_eq!(observe(&mut tracker, 21, 20, 6), Verdict::Hold);
    }
}
