//! One stream a subscriber receives: what arrived, what is missing, when to ask again, and the
//! report blocks an honest receiver sends. Fed by `peer`; it sees headers of all packets and the
//! plaintext of some.

use std::time::{Duration, Instant};

use media::rtcp::{ReportBlock, SenderInfo};
use media::rtp::sequence::SequenceExtender;
use media::types::MediaKind;

/// A gap is asked for when it is this old: less is mostly reordering.
const NACK_AFTER: Duration = Duration::from_millis(10);
const NACK_REPEAT: Duration = Duration::from_millis(100);
const NACK_TRIES: u8 = 10;
/// Numbers missing at once; more is an outage, not loss.
const MISSING_MAX: usize = 2_000;

/// One stream as the server's offer announced it.
#[derive(Clone, Debug)]
pub(crate) struct Announced {
    pub(crate) kind: MediaKind,
    pub(crate) ssrc: u32,
    pub(crate) rtx_ssrc: Option<u32>,
    pub(crate) nack: bool,
    pub(crate) transport_cc: Option<u8>,
}

struct Missing {
    sequence: u64,
    noticed: Instant,
    asked: Option<Instant>,
    tries: u8,
}

pub(crate) struct Inbound {
    pub(crate) announced: Announced,
    extender: SequenceExtender,
    base: Option<u64>,
    highest: u64,
    pub(crate) received: u64,
    pub(crate) repaired: u64,
    missing: Vec<Missing>,
    jitter: f64,
    transit: Option<f64>,
    last_sr: u32,
    sr_arrived: Option<Instant>,
    told_expected: u64,
    told_received: u64,
    /// Timestamp and layer seen last, for scenarios that look at every packet.
    pub(crate) last_timestamp: Option<u32>,
    pub(crate) counted: u32,
    /// When the last packet came, and the longest wait for one, while somebody watches.
    watched: Option<(Instant, Duration)>,
}

impl Inbound {
    pub(crate) fn new(announced: Announced) -> Inbound {
        Inbound {
            announced,
            extender: SequenceExtender::default(),
            base: None,
            highest: 0,
            received: 0,
            repaired: 0,
            missing: Vec::new(),
            jitter: 0.0,
            transit: None,
            last_sr: 0,
            sr_arrived: None,
            told_expected: 0,
            told_received: 0,
            last_timestamp: None,
            counted: 0,
            watched: None,
        }
    }

    /// Silence is measured from now on.
    pub(crate) fn watch(&mut self, now: Instant) {
        self.watched = Some((now, Duration::ZERO));
    }

    /// The longest silence since the watch began, one that lasts included.
    pub(crate) fn longest_gap(&self, now: Instant) -> Duration {
        self.watched.map_or(Duration::ZERO, |(last, longest)| {
            longest.max(now.saturating_duration_since(last))
        })
    }

    pub(crate) fn expected(&self) -> u64 {
        self.base.map_or(0, |base| self.highest - base + 1)
    }

    /// Notes a packet on the media SSRC; `false`: seen before.
    pub(crate) fn arrived(&mut self, now: Instant, sequence: u16, timestamp: u32) -> bool {
        let extended = self.extender.extend(sequence);
        if let Some((last, longest)) = &mut self.watched {
            *longest = (*longest).max(now.saturating_duration_since(*last));
            *last = now;
        }
        self.note_jitter(now, timestamp);
        if self.base.is_none() {
            self.base = Some(extended);
            self.highest = extended;
            self.received += 1;
            return true;
        }
        if extended > self.highest {
            let room = MISSING_MAX.saturating_sub(self.missing.len());
            let gap = (self.highest + 1..extended).take(room);
            self.missing.extend(gap.map(|sequence| Missing {
                sequence,
                noticed: now,
                asked: None,
                tries: 0,
            }));
            self.highest = extended;
            self.received += 1;
            return true;
        }
        let late = self.take_missing(extended);
        self.received += u64::from(late);
        late
    }

    /// A retransmission carried `sequence`; `true`: it was missing.
    pub(crate) fn repaired(&mut self, sequence: u16) -> bool {
        let found = self
            .missing
            .iter()
            .position(|missing| missing.sequence as u16 == sequence);
        if let Some(at) = found {
            self.missing.swap_remove(at);
            self.repaired += 1;
        }
        found.is_some()
    }

    fn take_missing(&mut self, extended: u64) -> bool {
        let found = self.missing.iter().position(|m| m.sequence == extended);
        if let Some(at) = found {
            self.missing.swap_remove(at);
        }
        found.is_some()
    }

    fn note_jitter(&mut self, now: Instant, timestamp: u32) {
        let hz = match self.announced.kind {
            MediaKind::Audio => 48_000.0,
            MediaKind::Video => 90_000.0,
        };
        thread_local! { static START: Instant = Instant::now(); }
        let elapsed = START.with(|start| now.saturating_duration_since(*start));
        let transit = elapsed.as_secs_f64() * hz - f64::from(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            let moved = (transit - before).abs();
            if moved < hz * 10.0 {
                self.jitter += (moved - self.jitter) / 16.0;
            }
        }
    }

    pub(crate) fn heard_sender_report(&mut self, now: Instant, info: &SenderInfo) {
        self.last_sr = (info.ntp >> 16) as u32;
        self.sr_arrived = Some(now);
    }

    /// Sequence numbers to ask for now, ascending; second: something was given up for good.
    pub(crate) fn nacks(&mut self, now: Instant, out: &mut Vec<u16>) -> bool {
        out.clear();
        let mut due: Vec<u64> = Vec::new();
        for missing in &mut self.missing {
            let since = match missing.asked {
                None => now.duration_since(missing.noticed) >= NACK_AFTER,
                Some(asked) => now.duration_since(asked) >= NACK_REPEAT,
            };
            if since {
                missing.asked = Some(now);
                missing.tries += 1;
                due.push(missing.sequence);
            }
        }
        let before = self.missing.len();
        self.missing.retain(|missing| missing.tries <= NACK_TRIES);
        if self.announced.nack {
            due.sort_unstable();
            out.extend(due.iter().map(|sequence| *sequence as u16));
        }
        self.missing.len() < before
    }

    pub(crate) fn has_gaps(&self) -> bool {
        !self.missing.is_empty()
    }

    pub(crate) fn report(&mut self, now: Instant) -> ReportBlock {
        let expected = self.expected();
        let (was_expected, was_received) = (self.told_expected, self.told_received);
        self.told_expected = expected;
        self.told_received = self.received;
        let lately = expected.saturating_sub(was_expected);
        let lost = lately.saturating_sub(self.received - was_received);
        let delay = self
            .sr_arrived
            .map_or(Duration::ZERO, |at| now.duration_since(at));
        ReportBlock {
            ssrc: self.announced.ssrc,
            fraction_lost: (lost * 256).checked_div(lately).unwrap_or(0).min(255) as u8,
            cumulative_lost: (expected as i64 - self.received as i64) as i32,
            highest_sequence: self.highest as u32,
            jitter: self.jitter as u32,
            last_sr: self.last_sr,
            delay_since_last_sr: (delay.as_secs_f64() * 65_536.0) as u32,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn stream() -> Inbound {
        Inbound::new(Announced {
            kind: MediaKind::Video,
            ssrc: 1,
            rtx_ssrc: Some(2),
            nack: true,
            transport_cc: None,
        })
    }

    #[test]
    fn gaps_are_counted_asked_for_and_repaired() {
        let (mut stream, now) = (stream(), Instant::now());
        for sequence in [65_533, 65_534, 1, 65_535] {
            assert!(stream.arrived(now, sequence, 0));
        }
        assert!(!stream.arrived(now, 1, 0), "a duplicate");
        assert_eq!((stream.expected(), stream.received), (5, 4));
        let mut asked = Vec::new();
        stream.nacks(now + Duration::from_millis(5), &mut asked);
        assert!(asked.is_empty(), "too early");
        stream.nacks(now + Duration::from_millis(12), &mut asked);
        assert_eq!(asked, [0]);
        assert!(stream.repaired(0));
        assert!(!stream.repaired(0));
        assert_eq!(stream.repaired, 1);
        assert_eq!(stream.report(now).fraction_lost, 51, "1 of 5");
    }
}
