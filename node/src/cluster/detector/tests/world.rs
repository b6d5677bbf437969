//! Detectors of a few nodes in virtual time, over a network that delays and loses from a seed, on
//! hosts whose kernels close and refuse lifelines as Linux does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::{Duration, Instant};

use consensus::ids::{Epoch, NodeId};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::super::{Cause, Detector, Input, Life, Output, Suspicion};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Wake(u64),
    Question {
        from: u64,
        to: u64,
        number: u64,
    },
    Answer {
        from: u64,
        to: u64,
        number: u64,
    },
    Tell {
        from: u64,
        to: u64,
        of: u64,
        incarnation: u64,
        process: bool,
    },
    Opened {
        at: u64,
        of: u64,
    },
    Closed {
        at: u64,
        of: u64,
    },
    Refused {
        at: u64,
        of: u64,
    },
    Kernel {
        at: u64,
        of: u64,
    },
    Elect,
    Applied,
}

struct Node {
    detector: Detector,
    life: Life,
    running: bool,
    host: bool,
    frozen_until: Duration,
}

/// Who was called dead, by whom, when and why.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    pub(super) at: Duration,
    pub(super) by: u64,
    pub(super) of: u64,
    pub(super) cause: Cause,
}

pub(super) struct World {
    epoch: Instant,
    now: Duration,
    rng: ChaCha8Rng,
    nodes: BTreeMap<u64, Node>,
    dead: BTreeSet<u64>,
    leader: Option<u64>,
    queue: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    count: u64,
    cut: BTreeSet<(u64, u64)>,
    pub(super) loss: f64,
    pub(super) latency: Duration,
    pub(super) jitter: Duration,
    pub(super) verdicts: Vec<Verdict>,
    /// By whom, of whom, whether suspected.
    pub(super) news: Vec<(u64, u64, bool)>,
    pub(super) questions: u64,
    asked: BTreeMap<u64, u64>,
}

impl World {
    /// Nodes 1 to `masters` are masters, the first of them leads; then media nodes.
    pub(super) fn new(seed: u64, masters: u64, media: u64) -> Self {
        let epoch = Instant::now();
        let mut nodes = BTreeMap::new();
        for id in 1..=masters + media {
            let life = Life {
                incarnation: Epoch(100 + id),
                master: id <= masters,
                // A cluster with one media node or none has rooms on its masters.
                media: id > masters || media < 2,
            };
            let node = Node {
                detector: Detector::new(NodeId(id), epoch),
                life,
                running: true,
                host: true,
                frozen_until: Duration::ZERO,
            };
            nodes.insert(id, node);
        }
        let mut world = Self {
            epoch,
            now: Duration::ZERO,
            rng: ChaCha8Rng::seed_from_u64(seed),
            nodes,
            dead: BTreeSet::new(),
            leader: Some(1),
            queue: BinaryHeap::new(),
            count: 0,
            cut: BTreeSet::new(),
            loss: 0.0,
            latency: Duration::from_micros(300),
            jitter: Duration::from_micros(200),
            verdicts: Vec::new(),
            news: Vec::new(),
            questions: 0,
            asked: BTreeMap::new(),
        };
        world.publish();
        for id in world.ids() {
            world.push(Duration::from_millis(id), Event::Wake(id));
            for other in world.ids() {
                world.push(
                    Duration::from_millis(20),
                    Event::Opened { at: id, of: other },
                );
            }
        }
        world
    }

    fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    fn push(&mut self, after: Duration, event: Event) {
        self.count += 1;
        self.queue
            .push(Reverse((self.now + after, self.count, event)));
    }

    /// One way; `None` is lost.
    fn travel(&mut self, from: u64, to: u64) -> Option<Duration> {
        if self.cut.contains(&(from, to)) || self.rng.random_bool(self.loss) {
            return None;
        }
        let jitter = self.rng.random_range(0.0..1.0);
        Some(self.latency + self.jitter.mul_f64(jitter))
    }

    /// TCP sends again after 200 ms, 400 ms, …; a cut path never delivers.
    fn travel_tcp(&mut self, from: u64, to: u64) -> Option<Duration> {
        let mut waited = Duration::ZERO;
        let mut timeout = Duration::from_millis(200);
        for _ in 0..6 {
            if let Some(taken) = self.travel(from, to) {
                return Some(waited + taken);
            }
            waited += timeout;
            timeout *= 2;
        }
        None
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(Reverse((at, _, _))) = self.queue.peek() {
            if *at > end {
                break;
            }
            if let Some(Reverse((at, _, event))) = self.queue.pop() {
                self.now = at;
                self.happen(event);
            }
        }
        self.now = end;
    }

    pub(super) fn now(&self) -> Duration {
        self.now
    }

    fn happen(&mut self, event: Event) {
        let (node, input) = match event.clone() {
            Event::Wake(id) => (id, Input::Tick),
            Event::Question { from, to, number } => {
                if let Some(wait) = self.frozen_for(to) {
                    return self.push(wait, event);
                }
                if self.nodes[&to].running
                    && let Some(taken) = self.travel(to, from)
                {
                    let (from, to) = (to, from);
                    self.push(taken, Event::Answer { from, to, number });
                }
                return;
            }
            Event::Answer { from, to, number } => {
                let node = NodeId(from);
                (to, Input::Answered { node, number })
            }
            Event::Tell {
                from,
                to,
                of,
                incarnation,
                process,
            } => {
                let cause = if process {
                    Cause::Process
                } else {
                    Cause::Silence
                };
                let suspicion = Suspicion {
                    node: NodeId(of),
                    incarnation: Epoch(incarnation),
                    cause,
                };
                let from = NodeId(from);
                (to, Input::Told { from, suspicion })
            }
            Event::Opened { at, of } => (at, Input::LifelineOpened(NodeId(of))),
            Event::Closed { at, of } => {
                // It connects again at once.
                if let Some(there) = self.travel_tcp(at, of)
                    && self.nodes[&of].host
                    && let Some(back) = self.travel_tcp(of, at)
                {
                    let event = if self.nodes[&of].running {
                        Event::Opened { at, of }
                    } else {
                        Event::Refused { at, of }
                    };
                    self.push(there + back, event);
                }
                (at, Input::LifelineClosed(NodeId(of)))
            }
            Event::Refused { at, of } => (at, Input::LifelineRefused(NodeId(of))),
            Event::Kernel { at, of } => (at, Input::KernelAnswered(NodeId(of))),
            Event::Elect => return self.elect(),
            Event::Applied => return self.publish(),
        };
        if let Some(wait) = self.frozen_for(node) {
            return self.push(wait, event);
        }
        self.give(node, input);
        if matches!(event, Event::Wake(_)) {
            self.wake(node);
        }
    }

    fn frozen_for(&self, id: u64) -> Option<Duration> {
        let until = self.nodes[&id].frozen_until;
        (until > self.now).then(|| until - self.now)
    }

    fn wake(&mut self, id: u64) {
        if self.nodes[&id].running {
            let at = self.nodes[&id].detector.deadline();
            let wait = at.saturating_duration_since(self.epoch + self.now);
            // A timer is late now and then.
            let late = self.rng.random_range(0..2_000);
            self.push(wait + Duration::from_micros(late), Event::Wake(id));
        }
    }

    fn give(&mut self, id: u64, input: Input) {
        let at = self.epoch + self.now;
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.running) else {
            return;
        };
        node.detector.handle(at, input);
        while let Some(output) = self.nodes.get_mut(&id).and_then(|n| n.detector.poll()) {
            self.act(id, output);
        }
    }

    fn act(&mut self, id: u64, output: Output) {
        match output {
            Output::Ask { node, number } => {
                self.questions += 1;
                *self.asked.entry(id).or_default() += 1;
                if let Some(taken) = self.travel(id, node.0)
                    && self.nodes[&node.0].host
                {
                    let (from, to) = (id, node.0);
                    self.push(taken, Event::Question { from, to, number });
                }
            }
            Output::Knock { node } => {
                let (at, of) = (id, node.0);
                if let Some(there) = self.travel_tcp(at, of)
                    && self.nodes[&of].host
                    && let Some(back) = self.travel_tcp(of, at)
                {
                    let event = match self.nodes[&of].running {
                        true => Event::Kernel { at, of },
                        false => Event::Refused { at, of },
                    };
                    self.push(there + back, event);
                }
            }
            Output::Tell { to, suspicion } => {
                // Over QUIC: late rather than lost.
                if let Some(taken) = self.travel_tcp(id, to.0) {
                    let event = Event::Tell {
                        from: id,
                        to: to.0,
                        of: suspicion.node.0,
                        incarnation: suspicion.incarnation.0,
                        process: suspicion.cause == Cause::Process,
                    };
                    self.push(taken, event);
                }
            }
            Output::Dead { suspicion, .. } => {
                assert_eq!(self.leader, Some(id), "only the leader gives a verdict");
                let verdict = Verdict {
                    at: self.now,
                    by: id,
                    of: suspicion.node.0,
                    cause: suspicion.cause,
                };
                self.verdicts.push(verdict);
                self.dead.insert(suspicion.node.0);
                self.push(Duration::from_millis(2), Event::Applied);
            }
            Output::StepAside { to } => {
                assert_eq!(
                    self.leader,
                    Some(id),
                    "only the leader has something to give"
                );
                self.leader = to.first().map(|node| node.0);
                self.push(Duration::from_millis(2), Event::Applied);
            }
            Output::Suspected(suspicion) => self.news.push((id, suspicion.node.0, true)),
            Output::Relieved { node, .. } => self.news.push((id, node.0, false)),
        }
    }

    pub(super) fn leader(&self) -> Option<u64> {
        self.leader
    }

    /// Everybody learns what the log says.
    fn publish(&mut self) {
        let living = self.nodes.iter().filter(|(id, _)| !self.dead.contains(id));
        let roster: BTreeMap<NodeId, Life> =
            living.map(|(id, node)| (NodeId(*id), node.life)).collect();
        for id in self.ids() {
            self.give(id, Input::Roster(roster.clone()));
            self.give(id, Input::Leader(self.leader.map(NodeId)));
        }
    }

    fn elect(&mut self) {
        let master = |(id, node): (&u64, &Node)| (node.running && node.life.master).then_some(*id);
        self.leader = self.nodes.iter().find_map(master);
        self.publish();
    }

    fn stop(&mut self, id: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.running = false;
        }
        if self.leader == Some(id) {
            self.push(Duration::from_millis(400), Event::Elect);
        }
    }

    /// `kill -9`: its kernel closes what it had open.
    pub(super) fn kill(&mut self, id: u64) {
        self.stop(id);
        for other in self.ids() {
            if let Some(taken) = self.travel_tcp(id, other) {
                self.push(taken, Event::Closed { at: other, of: id });
            }
        }
    }

    /// The power fails.
    pub(super) fn unplug(&mut self, id: u64) {
        self.stop(id);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.host = false;
        }
    }

    /// It is not scheduled; its kernel goes on.
    pub(super) fn freeze(&mut self, id: u64, time: Duration) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.frozen_until = self.now + time;
        }
    }

    /// A middlebox forgets the lifeline between two that live.
    pub(super) fn reset_lifeline(&mut self, at: u64, of: u64) {
        self.push(Duration::ZERO, Event::Closed { at, of });
    }

    pub(super) fn cut(&mut self, one: u64, other: u64) {
        self.cut.insert((one, other));
        self.cut.insert((other, one));
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    pub(super) fn give_to(&mut self, id: u64, input: Input) {
        self.give(id, input);
    }

    pub(super) fn random(&mut self, below: u64) -> u64 {
        self.rng.random_range(0..below)
    }

    pub(super) fn suspects(&self, id: u64) -> BTreeMap<NodeId, Cause> {
        self.nodes[&id].detector.suspects()
    }

    pub(super) fn has_host(&self, id: u64) -> bool {
        self.nodes[&id].host
    }

    pub(super) fn asked_by(&self, id: u64) -> u64 {
        self.asked.get(&id).copied().unwrap_or(0)
    }

    pub(super) fn watched(&self, id: u64) -> usize {
        self.nodes[&id].detector.watched().len()
    }
}
