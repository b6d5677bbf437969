//! What a publisher may send when it has no transport-wide feedback: an estimate made of its loss,
//! told as REMB once a second. Called by the shard's reports.

use crate::limits::{REMB_MAX_BPS, REMB_MIN_BPS, REMB_START_BPS};

/// Loss-based receiver estimate (RFC-style AIMD as in GCC's loss controller: grow 8 % a second
/// below 2 % loss, shrink by half the loss above 10 %), told to publishers that have no
/// transport-wide feedback.
#[derive(Debug)]
pub(crate) struct ReceiveEstimate {
    bps: u64,
}

impl Default for ReceiveEstimate {
    fn default() -> Self {
        ReceiveEstimate {
            bps: REMB_START_BPS,
        }
    }
}

impl ReceiveEstimate {
    /// Call once a second with the loss of that second, 0.0..=1.0, and what arrived.
    pub(crate) fn update(&mut self, loss: f32, received_bps: u64) -> u64 {
        let factor = match loss {
            loss if loss < 0.02 => 1.08,
            loss if loss > 0.10 => 1.0 - 0.5 * f64::from(loss),
            _ => 1.0,
        };
        let wanted = (self.bps as f64 * factor) as u64;
        // Growth is only proven by traffic: never far ahead of what really arrives.
        let proven = (received_bps * 3 / 2).max(REMB_START_BPS);
        let ceiling = if wanted > self.bps {
            proven.max(self.bps)
        } else {
            wanted
        };
        self.bps = wanted.min(ceiling).clamp(REMB_MIN_BPS, REMB_MAX_BPS);
        self.bps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_traffic_and_shrinks_with_loss() {
        let mut estimate = ReceiveEstimate::default();
        for _ in 0..60 {
            estimate.update(0.0, 4_000_000);
        }
        let grown = estimate.update(0.0, 4_000_000);
        assert!(grown > REMB_START_BPS && grown <= 6_000_000, "{grown}");
        assert!(estimate.update(0.3, 4_000_000) < grown);
        for _ in 0..100 {
            estimate.update(0.9, 0);
        }
        assert_eq!(estimate.update(0.9, 0), REMB_MIN_BPS);
    }
}
