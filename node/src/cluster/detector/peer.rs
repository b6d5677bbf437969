//! What is known of one watched peer: when it was last heard, how long its answers take, what its
//! kernel said about its lifeline. All times are of the observer's awake clock.

use std::collections::VecDeque;
use std::time::Duration;

use consensus::ids::Epoch;

use super::Cause;
use super::limits::{
    CONFIRM_MIN, FAREWELL, IN_FLIGHT_MAX, KNOCK_INTERVAL, PING_INTERVAL, PROBE_FOR, PROBE_INTERVAL,
    PROBES_UNANSWERED_FOR, PROBES_UNANSWERED_MAX, ROUND_TRIP_FIRST, ROUND_TRIP_MAX, ROUND_TRIP_MIN,
    SILENCE, SILENCE_CLOSED, STALLED,
};

/// The TCP connection that the peer's kernel closes when its process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lifeline {
    Absent,
    Open,
    /// Its kernel closed it. Answers to questions from `first` on prove that it lives all the same.
    Closed {
        at: Duration,
        first: u64,
        /// Its kernel also refused a new one: the host lives, nobody listens.
        refused: bool,
        /// A question asked since failed at once.
        failed: bool,
    },
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) incarnation: Epoch,
    watched_since: Duration,
    /// What its first answer may take beyond the usual.
    grace: Duration,
    heard: Option<Duration>,
    asked: Option<Duration>,
    in_flight: VecDeque<(u64, Duration)>,
    round_trip: RoundTrip,
    lifeline: Lifeline,
    /// Its listener was reached once in this life: a refusal means something.
    met: bool,
    farewell: Option<Duration>,
    /// When its kernel last took a connection.
    kernel: Option<Duration>,
    knocked: Option<Duration>,
    pub(super) told: Option<Duration>,
    pub(super) declared: Option<Duration>,
}

impl Peer {
    pub(super) fn new(incarnation: Epoch, now: Duration, grace: Duration) -> Self {
        Self {
            incarnation,
            watched_since: now,
            grace,
            heard: None,
            asked: None,
            in_flight: VecDeque::new(),
            round_trip: RoundTrip::default(),
            lifeline: Lifeline::Absent,
            met: false,
            farewell: None,
            kernel: None,
            knocked: None,
            told: None,
            declared: None,
        }
    }

    pub(super) fn ask(&mut self, now: Duration, number: u64) {
        self.asked = Some(now);
        self.in_flight.push_back((number, now));
        if self.in_flight.len() > IN_FLIGHT_MAX {
            self.in_flight.pop_front();
        }
    }

    pub(super) fn answered(&mut self, now: Duration, number: u64) {
        if let Some(at) = self.in_flight.iter().position(|(n, _)| *n == number)
            && let Some((_, sent)) = self.in_flight.remove(at)
        {
            self.round_trip.sample(now.saturating_sub(sent));
        }
        if let Lifeline::Closed { first, .. } = self.lifeline {
            if number < first {
                // It may have answered before it died.
                return;
            }
            self.lifeline = Lifeline::Absent;
        }
        self.is_heard(now);
    }

    /// The question could not be asked, or was refused.
    pub(super) fn failed(&mut self, number: u64) {
        self.in_flight.retain(|(n, _)| *n != number);
        if let Lifeline::Closed { first, failed, .. } = &mut self.lifeline {
            *failed |= number >= *first;
        }
    }

    pub(super) fn opened(&mut self, now: Duration) {
        self.lifeline = Lifeline::Open;
        self.met = true;
        self.farewell = None;
        self.is_heard(now);
    }

    /// `next` is the number of the next question.
    pub(super) fn closed(&mut self, now: Duration, next: u64) {
        if self.lifeline == Lifeline::Open {
            self.mark_closed(now, next, false);
        }
    }

    /// Its kernel refuses a lifeline.
    pub(super) fn refused(&mut self, now: Duration, next: u64) {
        match &mut self.lifeline {
            Lifeline::Closed { refused, .. } => *refused = true,
            Lifeline::Absent if self.met => self.mark_closed(now, next, true),
            Lifeline::Absent | Lifeline::Open => {}
        }
    }

    /// Somebody else saw its process end. Our own open lifeline says otherwise, for now.
    pub(super) fn seen_ending(&mut self, now: Duration, next: u64) {
        self.met |= self.heard.is_some();
        self.refused(now, next);
    }

    fn mark_closed(&mut self, at: Duration, first: u64, refused: bool) {
        self.lifeline = Lifeline::Closed {
            at,
            first,
            refused,
            failed: false,
        };
        // The question that confirms it goes out at once.
        self.asked = None;
    }

    /// It will be away for a moment; believed once a life.
    pub(super) fn says_farewell(&mut self, now: Duration) {
        self.farewell.get_or_insert(now);
    }

    fn is_heard(&mut self, now: Duration) {
        self.heard = Some(now);
        self.told = None;
        self.declared = None;
    }

    /// A connection was taken: its host lives, whatever its process does.
    pub(super) fn kernel_answered(&mut self, now: Duration) {
        self.kernel = Some(now);
    }

    /// Whether its kernel should be asked now.
    pub(super) fn knocks(&mut self, now: Duration, interval: Duration) -> bool {
        let rested = |last: Duration| now.saturating_sub(last) >= KNOCK_INTERVAL;
        let due = self.is_doubted(now, interval) && self.knocked.is_none_or(rested);
        if due {
            self.knocked = Some(now);
        }
        due
    }

    pub(super) fn is_doubted(&self, now: Duration, interval: Duration) -> bool {
        let usual = interval + self.round_trip.bound();
        let closed = matches!(self.lifeline, Lifeline::Closed { .. });
        self.heard.is_some() && (self.silent_for(now) > usual || closed)
    }

    pub(super) fn was_heard(&self) -> bool {
        self.heard.is_some()
    }

    pub(super) fn silent_for(&self, now: Duration) -> Duration {
        now.saturating_sub(self.heard.unwrap_or(self.watched_since))
    }

    /// The silence after which it is suspected; `interval` is that of questions to healthy peers.
    pub(super) fn patience(&self, interval: Duration) -> Duration {
        let stretched = SILENCE + interval.saturating_sub(PING_INTERVAL) * 3;
        let first = if self.heard.is_none() {
            self.grace
        } else {
            Duration::ZERO
        };
        stretched + self.round_trip.bound() + first
    }

    pub(super) fn suspicion(&self, now: Duration, interval: Duration) -> Option<Cause> {
        let excused = |since: Duration| now.saturating_sub(since) < FAREWELL;
        if self.farewell.is_some_and(excused) {
            return None;
        }
        if let Lifeline::Closed {
            at,
            refused,
            failed,
            ..
        } = self.lifeline
        {
            let waited = now.saturating_sub(at);
            if refused && (failed || waited >= self.round_trip.bound().max(CONFIRM_MIN)) {
                return Some(Cause::Process);
            }
            let patience = SILENCE_CLOSED + self.round_trip.bound();
            if waited >= self.unless_stalled(now, patience) {
                return Some(Cause::Silence);
            }
        }
        let patience = self.unless_stalled(now, self.patience(interval));
        (self.silent_for(now) >= patience).then_some(Cause::Silence)
    }

    /// A process whose host lives gets more time: it may only be starved of its CPU.
    fn unless_stalled(&self, now: Duration, patience: Duration) -> Duration {
        let fresh = |at: Duration| now.saturating_sub(at) < patience;
        if self.kernel.is_some_and(fresh) {
            return patience.max(STALLED);
        }
        patience
    }

    /// When the next question is due.
    pub(super) fn ask_at(&self, now: Duration, interval: Duration) -> Duration {
        let Some(asked) = self.asked else {
            return now;
        };
        let young =
            |(_, sent): &&(u64, Duration)| now.saturating_sub(*sent) < PROBES_UNANSWERED_FOR;
        let answers_come = self.in_flight.iter().filter(young).count() < PROBES_UNANSWERED_MAX;
        if answers_come && self.is_doubted(now, interval) && self.silent_for(now) < PROBE_FOR {
            asked + PROBE_INTERVAL
        } else {
            asked + interval
        }
    }

    /// As if it were healthy.
    pub(super) fn ask_at_leisure(&self, interval: Duration) -> Duration {
        self.asked.map_or(Duration::ZERO, |asked| asked + interval)
    }
}

/// RFC 6298, section 2.
#[derive(Clone, Copy, Debug, Default)]
struct RoundTrip {
    estimate: Option<(Duration, Duration)>,
}

impl RoundTrip {
    fn sample(&mut self, took: Duration) {
        let (mean, deviation) = self.estimate.unwrap_or((took, took / 2));
        let off = took.abs_diff(mean);
        self.estimate = Some(((mean * 7 + took) / 8, (deviation * 3 + off) / 4));
    }

    /// Hardly any answer takes longer.
    fn bound(&self) -> Duration {
        let usual = |(mean, deviation): (Duration, Duration)| mean + deviation * 4;
        self.estimate
            .map_or(ROUND_TRIP_FIRST, usual)
            .clamp(ROUND_TRIP_MIN, ROUND_TRIP_MAX)
    }
}
