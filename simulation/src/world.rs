//! One run: builds the ring from its seed, makes its faults happen, then heals a quorum and demands
//! progress, then heals everything and demands that all are equal.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use consensus::state::encode_state;
use turmoil::{Builder, Sim};

use crate::entropy;
use crate::host;
use crate::limits::{CONVERGENCE_MS, QUORUM_PROGRESS_MS, SOCKET_MESSAGES_MAX, STEP_MS};
use crate::panics;
use crate::ring::Ring;
use crate::scenario::{Host, Scenario};
use crate::trace::{Digest, LEGEND, Trace};
use crate::troubles::Undo;

/// What came of a run.
pub(crate) struct Verdict {
    pub(crate) wrong: Vec<String>,
    pub(crate) hash: u64,
    pub(crate) lines: u64,
    /// Of the log and of those who used it, in words.
    pub(crate) figures: String,
    pub(crate) tail: Vec<String>,
}

pub(crate) struct World {
    pub(crate) ring: Arc<Ring>,
    pub(crate) sim: Sim<'static>,
    pub(crate) undo: Vec<(Duration, Undo)>,
    /// Their next stop is a loss of power.
    pub(crate) doomed: BTreeSet<Host>,
}

/// Runs a seed from beginning to end.
pub(crate) fn run(seed: u64, printing: bool) -> Verdict {
    entropy::seed(seed);
    let scenario = Scenario::new(seed);
    if printing {
        say(&format!("seed {seed}\n{LEGEND}"));
    }
    let mut world = World::new(scenario, Trace::new(printing));
    let described = world.ring.scenario.describe();
    world.ring.trace.line("sim", described);
    world.chaos();
    world.heal_a_quorum();
    world.heal_all();
    world.verdict()
}

pub(crate) fn say(text: &str) {
    use std::io::Write as _;
    // A closed pipe ends nothing.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

impl World {
    fn new(scenario: Scenario, trace: Trace) -> Self {
        let mut sim = Builder::new()
            .rng_seed(scenario.seed)
            .epoch(std::time::UNIX_EPOCH + Duration::from_secs(1_800_000_000))
            .simulation_duration(Duration::from_secs(3_600))
            .tick_duration(Duration::from_millis(STEP_MS))
            .min_message_latency(scenario.latency_min)
            .max_message_latency(scenario.latency_max)
            .udp_capacity(SOCKET_MESSAGES_MAX)
            .build();
        let ring = Arc::new(Ring::new(scenario, trace));
        for host in ring.scenario.hosts() {
            let ring = ring.clone();
            sim.host(host.name(), move || host::run(ring.clone(), host));
        }
        Self {
            ring,
            sim,
            undo: Vec::new(),
            doomed: BTreeSet::new(),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.sim.elapsed()
    }

    pub(crate) fn tell(&self, what: impl std::fmt::Display) {
        self.ring.trace.line("sim", what);
    }

    fn failed(&self) -> bool {
        !self.ring.oracle().wrong().is_empty()
    }

    /// One step of everybody; then what ended by itself is taken away, and what is due is undone.
    fn step(&mut self) {
        if let Err(error) = self.sim.step() {
            self.ring.oracle().accuse(format!("a host failed: {error}"));
        }
        for panic in panics::take() {
            self.ring.oracle().accuse(format!("panic: {panic}"));
        }
        let now = self.sim.elapsed();
        self.ring.trace.set_now(now);
        entropy::set_now(now);
        let exited = std::mem::take(&mut self.ring.plan().exited);
        for host in exited {
            self.bury(host);
        }
        self.undo_due();
    }

    fn run_until(&mut self, end: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        while self.now() < end && !self.failed() {
            self.step();
            if done(self) {
                return true;
            }
        }
        false
    }

    fn chaos(&mut self) {
        let end = self.ring.scenario.chaos;
        let gap = self.ring.scenario.fault_gap.as_millis() as u64;
        let mut next = Duration::from_millis(600);
        self.run_until(end, |world| {
            if world.now() >= next {
                world.trouble();
                let wait = 10 + world.ring.dice().below(gap);
                next = world.now() + Duration::from_millis(wait);
            }
            false
        });
    }

    /// As many as can go on do; what was begun from now on must be acknowledged.
    fn heal_a_quorum(&mut self) {
        if self.failed() {
            return;
        }
        self.calm();
        let spared = self.expendable();
        if let Some(host) = spared {
            self.stop(host, true);
        }
        self.tell(format!("a quorum heals, without {spared:?}"));
        let hosts: Vec<Host> = self.ring.scenario.hosts().collect();
        for host in hosts {
            if Some(host) != spared {
                self.start(host);
            }
        }
        let begun = self.now();
        let end = begun + Duration::from_millis(QUORUM_PROGRESS_MS);
        let progress = self.run_until(end, |world| world.ring.oracle().last_begun() >= Some(begun));
        if !progress && !self.failed() {
            let what = "a healed quorum made no progress";
            self.ring.oracle().accuse(what.into());
        }
    }

    /// Who may be missing while all groups that may have to agree keep their majority.
    fn expendable(&self) -> Option<Host> {
        let oracle = self.ring.oracle();
        let groups = oracle.voters();
        let wanted = self.ring.plan().voters.len();
        let large = groups.iter().all(|group| group.len() >= 3) && wanted >= 3;
        let mut members = groups.iter().flatten();
        // Damage that nobody has found yet costs its machine's vote as soon as it starts.
        let is_rotten = |host: Host| self.ring.machines().get(&host).is_none_or(|m| m.rotten);
        let sound = |host| !is_rotten(host);
        let present = members.all(|node| self.ring.host_of(*node).is_some_and(sound));
        if !large || !present || groups.is_empty() {
            return None;
        }
        let hosts = self.ring.scenario.hosts;
        Some(Host(self.ring.dice().below(hosts) + 1))
    }

    fn heal_all(&mut self) {
        if self.failed() {
            return;
        }
        self.tell("everything heals");
        let hosts: Vec<Host> = self.ring.scenario.hosts().collect();
        for host in hosts {
            self.start(host);
        }
        let busy_until = self.now() + Duration::from_millis(500);
        self.run_until(busy_until, |_| false);
        self.ring.plan().quiet = true;
        let end = self.now() + Duration::from_millis(CONVERGENCE_MS);
        let mut equal_since = None;
        let done = self.run_until(end, |world| {
            let equal = world.lacks().is_none();
            let now = world.now();
            equal_since = equal.then(|| equal_since.unwrap_or(now));
            equal_since.is_some_and(|since| now >= since + Duration::from_millis(300))
        });
        if self.failed() {
            return;
        }
        if !done {
            let lacks = self.lacks().unwrap_or_default();
            self.ring
                .oracle()
                .accuse(format!("everything healed, but {lacks}"));
            return;
        }
        self.compare_states();
    }

    /// What is not yet as it must be in the end.
    fn lacks(&self) -> Option<String> {
        let oracle = self.ring.oracle();
        let end = oracle.end_of_log();
        for host in self.ring.scenario.hosts() {
            let node = self.ring.node(host);
            let applied = oracle.applied(node);
            if applied != end {
                return Some(format!("{node} has applied {applied} of {end}"));
            }
        }
        let wanted: BTreeSet<_> = self
            .ring
            .plan()
            .voters
            .iter()
            .map(|host| self.ring.node(*host))
            .collect();
        let voters = oracle.voters();
        (voters != [wanted.clone()]).then(|| format!("{voters:?} vote instead of {wanted:?}"))
    }

    fn compare_states(&self) {
        let mut first: Option<(Host, Digest)> = None;
        let clusters = self.ring.plan().clusters.clone();
        for (host, cluster) in clusters {
            let Ok(bytes) = cluster.read(encode_state) else {
                continue;
            };
            let digest = Digest::new().bytes(&bytes);
            let (other, expected) = *first.get_or_insert((host, digest));
            if expected.0 != digest.0 {
                let what = format!("{host:?} and {other:?} end with different states");
                self.ring.oracle().accuse(what);
            }
        }
    }

    fn verdict(self) -> Verdict {
        let oracle = self.ring.oracle();
        let wrong = oracle.wrong().to_vec();
        let figures = format!(
            "{} entries, {} acknowledged, {} terms led",
            oracle.end_of_log(),
            oracle.acked(),
            oracle.terms()
        );
        drop(oracle);
        for what in &wrong {
            self.tell(format!("WRONG: {what}"));
        }
        let told = {
            let air = self.ring.air();
            format!("end: {} messages, {} lost", air.sent, air.lost)
        };
        self.tell(told);
        let (hash, lines) = self.ring.trace.finish();
        Verdict {
            wrong,
            hash,
            lines,
            figures,
            tail: self.ring.trace.tail(),
        }
    }
}
