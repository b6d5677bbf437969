//! The bottleneck in front of a viewer: a rate that changes by schedule, a queue with a bound, a
//! delay, losses that are random or come in bursts, and optionally a TCP flow in the same queue.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::world::Wire;

#[derive(Clone, Debug)]
pub(crate) struct LinkPlan {
    /// From that second on, kilobits a second.
    pub(crate) rates: Vec<(f64, u64)>,
    /// Longest wait the queue allows, milliseconds of its current rate.
    pub(crate) queue_ms: u64,
    /// Packets beyond the rate are dropped, none waits: the queue is the burst it allows.
    pub(crate) policer: bool,
    /// One way, milliseconds.
    pub(crate) delay_ms: u64,
    /// Uneven radio: each packet up to this much later, in order, milliseconds.
    pub(crate) jitter_ms: u64,
    pub(crate) loss_percent: f64,
    /// Mean packets between bursts of loss, and mean length of one.
    pub(crate) bursts: Option<(f64, f64)>,
    /// Seconds between which a TCP flow competes.
    pub(crate) tcp: Option<(f64, f64)>,
    /// The receiver reads nothing for this long, this often (milliseconds).
    pub(crate) stalls: Option<(u64, u64)>,
}

impl Default for LinkPlan {
    fn default() -> Self {
        LinkPlan {
            rates: vec![(0.0, 3_000)],
            queue_ms: 300,
            policer: false,
            delay_ms: 20,
            jitter_ms: 0,
            loss_percent: 0.0,
            bursts: None,
            tcp: None,
            stalls: None,
        }
    }
}

/// How one of our packets fared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed {
    pub(crate) at: Instant,
    pub(crate) bytes: usize,
    /// Wait before its own transmission began.
    pub(crate) queued: Duration,
    pub(crate) lost: bool,
}

/// Reno with slow start; segments of 1250 bytes, every one acknowledged.
#[derive(Debug, Default)]
struct Tcp {
    window: f64,
    threshold: f64,
    flying: f64,
    /// When acknowledgements (or news of a loss) come back.
    returns: BTreeMap<(Instant, u64), bool>,
    count: u64,
    cut_until: Option<Instant>,
    pub(crate) delivered: u64,
}

pub(crate) struct Link {
    plan: LinkPlan,
    began: Instant,
    rng: ChaCha12Rng,
    free_at: Instant,
    last_arrival: Instant,
    bursting: bool,
    tcp: Tcp,
    pub(crate) log: Vec<Passed>,
    pub(crate) tcp_bytes: u64,
}

const SEGMENT: usize = 1_250;

impl Link {
    pub(crate) fn new(now: Instant, plan: LinkPlan, seed: u64) -> Link {
        Link {
            plan,
            began: now,
            rng: ChaCha12Rng::seed_from_u64(seed),
            free_at: now,
            last_arrival: now,
            bursting: false,
            tcp: Tcp {
                window: 4.0,
                threshold: 1_000.0,
                ..Tcp::default()
            },
            log: Vec::new(),
            tcp_bytes: 0,
        }
    }

    fn seconds(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.began).as_secs_f64()
    }

    pub(crate) fn bps(&self, at: Instant) -> u64 {
        let seconds = self.seconds(at);
        let rates = self.plan.rates.iter();
        let passed = rates.take_while(|(from, _)| *from <= seconds);
        passed.last().map_or(1, |(_, kbps)| kbps * 1_000)
    }

    fn chance(&mut self) -> f64 {
        f64::from(self.rng.next_u32()) / f64::from(u32::MAX)
    }

    fn loses(&mut self) -> bool {
        if let Some((between, length)) = self.plan.bursts {
            let turn = self.chance();
            self.bursting = match self.bursting {
                true => turn > 1.0 / length,
                false => turn < 1.0 / between,
            };
            if self.bursting {
                return true;
            }
        }
        self.chance() * 100.0 < self.plan.loss_percent
    }

    /// Takes a packet into the queue; when its last bit has left, `None` if the queue is full.
    fn enqueue(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let wait = self.free_at.saturating_duration_since(now);
        if wait > Duration::from_millis(self.plan.queue_ms) {
            return None;
        }
        let start = self.free_at.max(now);
        // The rate may change while it waits: step through what is ahead of it coarsely.
        let bps = self.bps(start);
        self.free_at = start + Duration::from_nanos(bytes as u64 * 8_000_000_000 / bps);
        Some(self.free_at)
    }

    fn run_tcp(&mut self, now: Instant) {
        let Some((from, until)) = self.plan.tcp else {
            return;
        };
        let start = self.began + Duration::from_secs_f64(from);
        if now < start {
            return;
        }
        if self.tcp.count == 0 {
            self.fill_window(start);
        }
        while let Some((&(at, _), &arrived)) = self.tcp.returns.first_key_value() {
            if at > now {
                break;
            }
            self.tcp.returns.pop_first();
            self.tcp.flying -= 1.0;
            let tcp = &mut self.tcp;
            if arrived {
                tcp.delivered += SEGMENT as u64;
                tcp.window += match tcp.window < tcp.threshold {
                    true => 1.0,
                    false => 1.0 / tcp.window,
                };
            } else if tcp.cut_until.is_none_or(|until| at > until) {
                tcp.window = (tcp.window / 2.0).max(2.0);
                tcp.threshold = tcp.window;
                tcp.cut_until = Some(at + Duration::from_millis(2 * self.plan.delay_ms + 100));
            }
            if self.seconds(at) < until {
                self.fill_window(at);
            }
        }
        self.tcp_bytes = self.tcp.delivered;
    }

    fn fill_window(&mut self, at: Instant) {
        while self.tcp.flying < self.tcp.window {
            let sent = self.enqueue(at, SEGMENT);
            let lost = self.loses();
            let back = sent.unwrap_or(self.free_at) + 2 * Duration::from_millis(self.plan.delay_ms);
            self.tcp.count += 1;
            self.tcp.flying += 1.0;
            let key = (back, self.tcp.count);
            self.tcp.returns.insert(key, sent.is_some() && !lost);
        }
    }
}

/// The handle a world carries datagrams with.
pub(crate) struct Carrier(pub(crate) Rc<RefCell<Link>>);

impl Wire for Carrier {
    fn carry(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let mut link = self.0.borrow_mut();
        link.run_tcp(now);
        let mut queued = link.free_at.saturating_duration_since(now);
        let mut left = link.enqueue(now, bytes);
        if link.plan.policer {
            queued = Duration::ZERO;
            left = left.map(|_| now);
        }
        let lost = link.loses() || left.is_none();
        let passed = Passed {
            at: now,
            bytes,
            queued,
            lost,
        };
        link.log.push(passed);
        let left = left.filter(|_| !lost)?;
        let jitter = match link.plan.jitter_ms {
            0 => 0,
            jitter => u64::from(link.rng.next_u32()) % (jitter * 1_000),
        };
        let mut arrival =
            left + Duration::from_millis(link.plan.delay_ms) + Duration::from_micros(jitter);
        if let Some((length, every)) = link.plan.stalls {
            let since = arrival.duration_since(link.began).as_millis() as u64 % every;
            if since < length {
                arrival += Duration::from_millis(length - since);
            }
        }
        arrival = arrival.max(link.last_arrival);
        link.last_arrival = arrival;
        Some(arrival)
    }
}
