//! What was sent as which sequence number, so that a NACK finds the packet in the layer's cache and
//! is answered with the numbers of the first time. Grows with the rate to about a second.

use std::time::Instant;

use crate::downstream::vp8_munger::Vp8Values;
use crate::limits::{
    CACHE_RETENTION, HISTORY_PACKETS_MAX, HISTORY_PACKETS_MIN, RETRANSMISSIONS_MAX,
};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// Extended number the subscriber saw.
    pub(crate) sequence: u64,
    /// Extended number within the layer.
    pub(crate) source_sequence: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) layer: u8,
    pub(crate) generation: u8,
    pub(crate) repeats: u8,
    /// Added to the frame number of its dependency descriptor.
    pub(crate) frame_offset: u16,
    pub(crate) vp8: Vp8Values,
    /// First sending, or the last repeat.
    pub(crate) at: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct History {
    /// Slot = sequence modulo length, a power of two; empty until something is sent.
    slots: Vec<Option<Sent>>,
}

impl History {
    pub(crate) fn push(&mut self, sent: Sent) {
        if self.slots.is_empty() {
            self.slots.resize(HISTORY_PACKETS_MIN, None);
        }
        let young = self.slot(sent.sequence).is_some_and(|old| {
            old.sequence < sent.sequence
                && sent.at.saturating_duration_since(old.at) < CACHE_RETENTION
        });
        if young && self.slots.len() < HISTORY_PACKETS_MAX {
            let old = std::mem::take(&mut self.slots);
            self.slots.resize(old.len() * 2, None);
            old.into_iter().flatten().for_each(|sent| self.put(sent));
        }
        self.put(sent);
    }

    /// The packet a NACK asks for, unless it was repeated just now or too often.
    pub(crate) fn take_for_repeat(
        &mut self,
        now: Instant,
        sequence: u64,
        interval: std::time::Duration,
    ) -> Option<Sent> {
        let index = sequence as usize & self.slots.len().checked_sub(1)?;
        let sent = self.slots.get_mut(index)?.as_mut()?;
        let rested = sent.repeats == 0 || now.saturating_duration_since(sent.at) >= interval;
        if sent.sequence != sequence || sent.repeats >= RETRANSMISSIONS_MAX || !rested {
            return None;
        }
        sent.repeats += 1;
        sent.at = now;
        Some(*sent)
    }

    pub(crate) fn clear(&mut self) {
        self.slots.iter_mut().for_each(|slot| *slot = None);
    }

    pub(crate) fn get(&self, sequence: u64) -> Option<&Sent> {
        self.slot(sequence).filter(|sent| sent.sequence == sequence)
    }

    fn slot(&self, sequence: u64) -> Option<&Sent> {
        let index = sequence as usize & self.slots.len().checked_sub(1)?;
        self.slots.get(index)?.as_ref()
    }

    fn put(&mut self, sent: Sent) {
        let index = sent.sequence as usize & (self.slots.len().wrapping_sub(1));
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Some(sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn sent(sequence: u64, at: Instant) -> Sent {
        Sent {
            sequence,
            source_sequence: sequence + 7,
            marker: false,
            timestamp: 0,
            layer: 0,
            generation: 0,
            repeats: 0,
            frame_offset: 0,
            vp8: Vp8Values::default(),
            at,
        }
    }

    #[test]
    fn a_packet_is_repeated_three_times_and_not_within_a_round_trip() {
        let start = Instant::now();
        let rtt = Duration::from_millis(100);
        let mut history = History::default();
        history.push(sent(5, start));
        let repeated: Vec<u64> = (0..50u64)
            .map(|tick| tick * 20)
            .filter(|ms| {
                let now = start + Duration::from_millis(*ms);
                history.take_for_repeat(now, 5, rtt).is_some()
            })
            .collect();
        assert_eq!(repeated, [0, 100, 200]);
    }

    #[test]
    fn a_fast_stream_keeps_a_second_and_a_slow_one_stays_small() {
        let start = Instant::now();
        let (mut fast, mut slow) = (History::default(), History::default());
        for sequence in 0..3_000u64 {
            fast.push(sent(sequence, start + Duration::from_millis(sequence * 3)));
            slow.push(sent(
                sequence,
                start + Duration::from_millis(sequence * 100),
            ));
        }
        let end = start + Duration::from_secs(9);
        assert!(
            fast.take_for_repeat(end, 2_999 - 330, Duration::ZERO)
                .is_some()
        );
        assert!(fast.slots.len() <= HISTORY_PACKETS_MAX);
        assert_eq!(slow.slots.len(), HISTORY_PACKETS_MIN);
    }
}
