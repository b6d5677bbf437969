//! The core of webhooks: which event goes to which URL when, what is stored, and when to give up.
//! No IO, no clock; `dispatcher` is its shell.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message;
use protocol::proto::WebhookEvent;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

use super::filter::Filter;
use super::limits::{ATTEMPTS_MAX, COMPLAINTS_MAX, RETRY_WAIT_MAX, RETRY_WAIT_MIN};
use super::queue::{Entry, Queue};

/// Index of a configured URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target(pub(crate) usize);

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Status(u16),
    /// No answer: refused, reset, timed out, TLS.
    NoAnswer,
}

/// Why an event leaves the queue of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Delivered,
    /// The receiver answered that it will never take it.
    Rejected(u16),
    GivenUp,
}

#[derive(Debug)]
pub(crate) enum Input {
    Publish(Box<WebhookEvent>),
    /// Left by an earlier process for these URLs.
    Restored {
        entry: Arc<Entry>,
        targets: Vec<Target>,
    },
    Attempted {
        target: Target,
        entry: Arc<Entry>,
        outcome: Outcome,
    },
    Timeout,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Output {
    /// Write it down; comes before anything is sent.
    Store {
        entry: Arc<Entry>,
        targets: Vec<Target>,
    },
    Send {
        target: Target,
        entry: Arc<Entry>,
    },
    /// The URL is done with the event.
    Settled {
        target: Target,
        entry: Arc<Entry>,
        verdict: Verdict,
    },
    /// The URL's queue has no room for the event.
    Dropped {
        target: Target,
    },
}

pub(crate) struct Delivery {
    filter: Filter,
    requests_per_url: usize,
    rng: ChaCha12Rng,
    next_sequence: u64,
    queues: Vec<Queue>,
    outputs: VecDeque<Output>,
}

impl Delivery {
    /// `next_sequence`: above all that the outbox has seen.
    pub(crate) fn new(
        targets: usize,
        filter: Filter,
        requests_per_url: usize,
        next_sequence: u64,
        seed: u64,
    ) -> Self {
        Self {
            filter,
            requests_per_url,
            rng: ChaCha12Rng::seed_from_u64(seed),
            next_sequence,
            queues: (0..targets).map(|_| Queue::default()).collect(),
            outputs: VecDeque::new(),
        }
    }

    pub(crate) fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Publish(event) => self.publish(*event),
            Input::Restored { entry, targets } => {
                for target in targets {
                    self.enqueue(target, &entry);
                }
            }
            Input::Attempted {
                target,
                entry,
                outcome,
            } => {
                self.attempted(now, target, &entry, outcome);
            }
            Input::Timeout => {}
        }
        for (index, queue) in self.queues.iter_mut().enumerate() {
            queue.wake(now);
            while let Some(entry) = queue.start(self.requests_per_url) {
                self.outputs.push_back(Output::Send {
                    target: Target(index),
                    entry,
                });
            }
        }
    }

    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.queues.iter().filter_map(Queue::deadline).min()
    }

    /// Requests are under way or about to be; what rests until its next try does not count.
    pub(crate) fn is_busy(&self) -> bool {
        self.queues.iter().any(Queue::is_busy)
    }

    /// Undelivered events of a URL.
    pub(crate) fn len(&self, target: Target) -> usize {
        self.queues.get(target.0).map_or(0, Queue::len)
    }

    fn publish(&mut self, event: WebhookEvent) {
        if !self.filter.allows(&event.event) {
            return;
        }
        let bytes = event.encoded_len();
        let sequence = self.next_sequence;
        let entry = Arc::new(Entry {
            sequence,
            event,
            bytes,
        });
        let mut targets = Vec::with_capacity(self.queues.len());
        for index in 0..self.queues.len() {
            let target = Target(index);
            if self.queues[index].is_full(bytes) {
                self.outputs.push_back(Output::Dropped { target });
            } else {
                targets.push(target);
                self.enqueue(target, &entry);
            }
        }
        if !targets.is_empty() {
            self.next_sequence += 1;
            self.outputs.push_back(Output::Store { entry, targets });
        }
    }

    fn enqueue(&mut self, target: Target, entry: &Arc<Entry>) {
        if let Some(queue) = self.queues.get_mut(target.0) {
            queue.push(entry.clone());
        }
    }

    fn attempted(&mut self, now: Instant, target: Target, entry: &Arc<Entry>, outcome: Outcome) {
        let Some(queue) = self.queues.get_mut(target.0) else {
            return;
        };
        let key = entry.key();
        let attempts = queue.attempts(key);
        let verdict = match judge(outcome) {
            Some(verdict) => verdict,
            None if attempts >= ATTEMPTS_MAX => Verdict::GivenUp,
            None if is_complaint(outcome) && queue.complain(key) >= COMPLAINTS_MAX => {
                Verdict::GivenUp
            }
            None => {
                queue.rest(key, now + wait_after(attempts, &mut self.rng));
                return;
            }
        };
        queue.finish(key);
        self.outputs.push_back(Output::Settled {
            target,
            entry: entry.clone(),
            verdict,
        });
    }
}

/// `None` = worth another try: nobody answered, or the receiver says that it is its own trouble.
fn judge(outcome: Outcome) -> Option<Verdict> {
    match outcome {
        Outcome::Status(200..=299) => Some(Verdict::Delivered),
        Outcome::Status(408 | 425 | 429 | 500..) | Outcome::NoAnswer => None,
        Outcome::Status(status) => Some(Verdict::Rejected(status)),
    }
}

/// The receiver is there and stumbles over this event; gateways that miss theirs say 502 to 504.
fn is_complaint(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Status(500 | 501 | 505..))
}

/// Doubles from [`RETRY_WAIT_MIN`] to [`RETRY_WAIT_MAX`], ± 20 % so that the lanes of a receiver
/// that comes back do not all call at once.
fn wait_after(attempts: u32, rng: &mut ChaCha12Rng) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    let wait = RETRY_WAIT_MIN
        .saturating_mul(1 << doublings)
        .min(RETRY_WAIT_MAX);
    wait.mul_f64(rng.random_range(0.8..1.2))
}

#[cfg(test)]
mod tests;
