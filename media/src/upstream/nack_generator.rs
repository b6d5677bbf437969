//! Asks a publisher for packets that are missing from one layer. Sizes and pace are LiveKit's:
//! 100 numbers, 5 tries, 20–400 ms between tries, a quarter longer each time.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::limits::{
    NACK_INTERVAL_MAX, NACK_INTERVAL_MIN, NACK_QUEUE_MAX, NACK_REORDER_DELAY, NACK_TRIES_MAX,
};

#[derive(Clone, Copy, Debug)]
struct Missing {
    sequence: u64,
    due: Instant,
    tries: u8,
}

#[derive(Debug, Default)]
pub(crate) struct NackGenerator {
    highest: Option<u64>,
    /// Ascending.
    missing: Vec<Missing>,
}

impl NackGenerator {
    /// Notes an arrival: gaps before it become missing, a gap it fills is closed.
    pub(crate) fn received(&mut self, now: Instant, sequence: u64) {
        let Some(highest) = self.highest.replace(sequence) else {
            return;
        };
        if sequence <= highest {
            self.highest = Some(highest);
            return self.found(sequence);
        }
        // Of a longer gap only the newest are worth asking for.
        let first = (highest + 1).max(sequence.saturating_sub(NACK_QUEUE_MAX as u64));
        for sequence in first..sequence {
            if self.missing.len() == NACK_QUEUE_MAX {
                self.missing.remove(0);
            }
            self.missing.push(Missing {
                sequence,
                due: now + NACK_REORDER_DELAY,
                tries: 0,
            });
        }
    }

    /// A missing packet is here after all.
    pub(crate) fn found(&mut self, sequence: u64) {
        if let Ok(at) = self.missing.binary_search_by_key(&sequence, |m| m.sequence) {
            self.missing.remove(at);
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.missing.is_empty()
    }

    /// The numbers to ask for now, ascending.
    pub(crate) fn due(&mut self, now: Instant, rtt: Duration) -> SmallVec<[u16; 32]> {
        let mut asked = SmallVec::new();
        for missing in &mut self.missing {
            if missing.due > now {
                continue;
            }
            missing.tries += 1;
            let backoff = 1.25f32.powi(i32::from(missing.tries) - 1);
            let interval = rtt.max(NACK_INTERVAL_MIN).mul_f32(backoff);
            missing.due = now + interval.min(NACK_INTERVAL_MAX);
            asked.push(missing.sequence as u16);
        }
        self.missing
            .retain(|missing| missing.tries < NACK_TRIES_MAX);
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    fn ask(nack: &mut NackGenerator, at: Instant) -> Vec<u16> {
        nack.due(at, RTT).to_vec()
    }

    #[test]
    fn a_gap_is_asked_for_until_it_is_filled() {
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        let mut nack = NackGenerator::default();
        nack.received(start, 10);
        nack.received(start, 13);
        assert_eq!(ask(&mut nack, start), [0u16; 0], "it may only be reordered");
        assert_eq!(ask(&mut nack, ms(15)), [11, 12]);
        assert_eq!(
            ask(&mut nack, ms(30)),
            [0u16; 0],
            "the answer needs a round trip"
        );
        nack.received(ms(40), 11);
        assert_eq!(ask(&mut nack, ms(80)), [12]);
    }

    #[test]
    fn it_gives_up_after_five_tries() {
        let start = Instant::now();
        let mut nack = NackGenerator::default();
        nack.received(start, 1);
        nack.received(start, 3);
        let tries = (0..200)
            .filter(|tick| !ask(&mut nack, start + Duration::from_millis(tick * 20)).is_empty())
            .count();
        assert_eq!(tries, 5);
        assert!(nack.is_idle());
    }

    #[test]
    fn a_huge_gap_keeps_the_newest_hundred() {
        let start = Instant::now();
        let mut nack = NackGenerator::default();
        nack.received(start, 1);
        nack.received(start, 1_000_000_000);
        assert_eq!(nack.missing.len(), NACK_QUEUE_MAX);
        assert_eq!(nack.missing.last().map(|m| m.sequence), Some(999_999_999));
    }
}
