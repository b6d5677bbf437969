//! Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01):
//! notes when a publisher's packets arrived and tells it, so that it ramps up.

use std::collections::VecDeque;
use std::time::Instant;

use crate::limits::{FEEDBACK_MAX_DELTAS, FEEDBACK_MAX_PENDING};
use crate::rtcp::write::{begin, finish};
use crate::rtcp::{FMT_TRANSPORT_CC, TRANSPORT_FEEDBACK};
use crate::rtp::sequence::SequenceExtender;

/// Unit of arrival deltas.
const TICK_US: i64 = 250;
/// Reference time unit, in ticks: 64 ms.
const REFERENCE_TICKS: i64 = 256;

/// Arrivals of one transport's packets since the last feedback.
#[derive(Debug)]
pub struct ArrivalRecorder {
    epoch: Instant,
    extender: SequenceExtender,
    /// Transport sequence number of the first slot.
    base: u64,
    /// Ticks since `epoch`, or not received.
    arrivals: VecDeque<Option<i64>>,
    feedback_count: u8,
    /// Scratch: status of each slot told.
    statuses: Vec<u8>,
}

impl ArrivalRecorder {
    pub fn new(now: Instant) -> ArrivalRecorder {
        ArrivalRecorder {
            epoch: now,
            extender: SequenceExtender::default(),
            base: 0,
            arrivals: VecDeque::new(),
            feedback_count: 0,
            statuses: Vec::new(),
        }
    }

    pub fn record(&mut self, now: Instant, sequence: u16) {
        let sequence = self.extender.extend(sequence);
        if self.arrivals.is_empty() && sequence >= self.base {
            // Gaps between two feedbacks are reported as losses, absurd ones are a restart.
            if self.base == 0 || sequence - self.base > FEEDBACK_MAX_PENDING as u64 {
                self.base = sequence;
            }
        }
        let Some(index) = sequence.checked_sub(self.base) else {
            return; // reported as lost already
        };
        let index = index as usize;
        if index >= FEEDBACK_MAX_PENDING {
            return;
        }
        if index >= self.arrivals.len() {
            self.arrivals.resize(index + 1, None);
        }
        let micros = now.saturating_duration_since(self.epoch).as_micros() as i64;
        if let Some(slot @ None) = self.arrivals.get_mut(index) {
            *slot = Some(micros / TICK_US);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// Appends one feedback packet for what is pending; false when nothing is left to say.
    pub fn write(&mut self, out: &mut Vec<u8>, sender_ssrc: u32, media_ssrc: u32) -> bool {
        let first = self.arrivals.iter().position(Option::is_some);
        let Some(first) = first else {
            return false;
        };
        let start = self.arrivals.get(first).copied().flatten().unwrap_or(0);
        let reference = start.div_euclid(REFERENCE_TICKS);
        let count = self.fitting(reference * REFERENCE_TICKS);

        let at = begin(out, TRANSPORT_FEEDBACK, FMT_TRANSPORT_CC);
        out.extend_from_slice(&sender_ssrc.to_be_bytes());
        out.extend_from_slice(&media_ssrc.to_be_bytes());
        out.extend_from_slice(&(self.base as u16).to_be_bytes());
        out.extend_from_slice(&(count as u16).to_be_bytes());
        let [.., a, b, c] = reference.to_be_bytes();
        out.extend_from_slice(&[a, b, c, self.feedback_count]);
        self.write_statuses(out, reference * REFERENCE_TICKS, count);
        self.write_deltas(out, reference * REFERENCE_TICKS, count);
        finish(out, at);

        self.feedback_count = self.feedback_count.wrapping_add(1);
        self.base += count as u64;
        self.arrivals.drain(..count);
        true
    }

    /// How many slots one packet can tell: a delta has 16 bits, a packet has an MTU.
    fn fitting(&self, reference: i64) -> usize {
        let mut last = reference;
        let mut told = 0;
        for (index, arrival) in self.arrivals.iter().enumerate() {
            let Some(arrival) = arrival else { continue };
            let delta = arrival - last;
            if i16::try_from(delta).is_err() || told == FEEDBACK_MAX_DELTAS {
                return index;
            }
            told += 1;
            last = *arrival;
        }
        self.arrivals.len()
    }

    /// Run lengths for eight equal statuses and more, two-bit vectors of seven otherwise.
    fn write_statuses(&mut self, out: &mut Vec<u8>, reference: i64, count: usize) {
        let mut last = reference;
        self.statuses.clear();
        for arrival in self.arrivals.iter().take(count) {
            self.statuses.push(match arrival {
                None => 0,
                Some(arrival) => {
                    let delta = arrival - last;
                    last = *arrival;
                    if (0..=255).contains(&delta) { 1 } else { 2 }
                }
            });
        }
        let mut rest = self.statuses.as_slice();
        while let Some(&first) = rest.first() {
            let run = rest.iter().take_while(|status| **status == first).count();
            let run = run.min(0x1fff);
            if run >= 8 || run == rest.len() {
                out.extend_from_slice(&(u16::from(first) << 13 | run as u16).to_be_bytes());
                rest = rest.get(run..).unwrap_or_default();
                continue;
            }
            let mut chunk = 0xc000u16;
            for (index, status) in rest.iter().take(7).enumerate() {
                chunk |= u16::from(*status) << (12 - 2 * index);
            }
            out.extend_from_slice(&chunk.to_be_bytes());
            rest = rest.get(7..).unwrap_or_default();
        }
    }

    fn write_deltas(&self, out: &mut Vec<u8>, reference: i64, count: usize) {
        let mut last = reference;
        for arrival in self.arrivals.iter().take(count).flatten() {
            let delta = arrival - last;
            last = *arrival;
            match u8::try_from(delta) {
                Ok(small) => out.push(small),
                Err(_) => out.extend_from_slice(&(delta as i16).to_be_bytes()),
            }
        }
    }
}
