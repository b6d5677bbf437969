//! Packets that came before their section or track was known: the first media of a publication may
//! overtake the command that announces it. Kept briefly and boundedly, then dropped.

use std::collections::VecDeque;
use std::time::Instant;

use crate::limits::{PARKED_BYTES_MAX, PARKED_PACKETS_MAX, PARKED_TIME};

#[derive(Debug, Default)]
pub(crate) struct Parked {
    packets: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
}

impl Parked {
    /// Keeps a copy; false when full, then the newest is the one that goes.
    pub(crate) fn park(&mut self, now: Instant, packet: &[u8]) -> bool {
        self.expire(now);
        let full = self.packets.len() == PARKED_PACKETS_MAX
            || self.bytes + packet.len() > PARKED_BYTES_MAX;
        if !full {
            self.bytes += packet.len();
            self.packets.push_back((now, packet.to_vec()));
        }
        !full
    }

    /// Puts back what still has no owner, without a new lease of life.
    pub(crate) fn park_again(&mut self, arrival: Instant, packet: Vec<u8>) {
        self.bytes += packet.len();
        self.packets.push_back((arrival, packet));
    }

    /// Everything that is still fresh, in order of arrival.
    pub(crate) fn take(&mut self, now: Instant) -> VecDeque<(Instant, Vec<u8>)> {
        self.expire(now);
        self.bytes = 0;
        std::mem::take(&mut self.packets)
    }

    fn expire(&mut self, now: Instant) {
        while let Some((arrival, packet)) = self.packets.front()
            && now.saturating_duration_since(*arrival) > PARKED_TIME
        {
            self.bytes -= packet.len();
            self.packets.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_flood_of_unknown_packets_stays_within_bounds_and_ages_out() {
        let start = Instant::now();
        let mut parked = Parked::default();
        let kept = (0..10_000)
            .filter(|_| parked.park(start, &[0; 1200]))
            .count();
        assert!(kept <= PARKED_PACKETS_MAX);
        assert!(parked.bytes <= PARKED_BYTES_MAX);
        let later = start + PARKED_TIME + Duration::from_millis(1);
        assert!(parked.take(later).is_empty());
        assert!(parked.park(later, &[0; 100]));
        assert_eq!(parked.take(later).len(), 1);
    }
}
