//! One run of the node ring: nodes gather, people come, faults happen, everything heals; then
//! everybody must be in a room again, nodes must agree on who is where, and nothing may be wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use turmoil::{Builder, Sim};

use super::Mistake;
use super::client;
use super::grid::Grid;
use super::host;
use super::scenario::{PEOPLE, Scenario};
use super::troubles::Undo;
use crate::entropy;
use crate::limits::{
    BACK_IN_MS, GATHERING_MS, SETTLED_MS, SOCKET_MESSAGES_MAX, STEP_MS, TCP_SEGMENTS_MAX,
    WEBHOOKS_A_LOSS, WELL_MS, WORD_MS,
};
use crate::panics;
use crate::scenario::Host;
use crate::trace::Trace;
use crate::world::Verdict;

pub(crate) const LEGEND: &str = "\
# time in virtual seconds, then who, then what
#   sim       the simulator: faults, phases, what it found
#   host2     a machine: raft, what it is, rooms it opens; the first four are masters
#   #57 t3    an entry applied for the first time anywhere: index, term, command -> answer
#   c3        somebody: where it comes in, what it is told";

pub(crate) struct World {
    pub(crate) grid: Arc<Grid>,
    pub(crate) sim: Sim<'static>,
    pub(crate) undo: Vec<(Duration, Undo)>,
    /// Directions the simulated network does not carry now.
    pub(crate) broken: BTreeSet<(Host, Host)>,
    pub(crate) drained: BTreeSet<Host>,
    /// After so many more steps of takeovers and moves something else happens.
    pub(crate) armed: Option<u64>,
    /// Everything was well when the fault of this step began.
    pub(crate) calm: bool,
}

/// Runs a seed from beginning to end.
pub(crate) fn run(seed: u64, printing: bool, mistake: Option<Mistake>) -> Verdict {
    entropy::seed(seed);
    entropy::begin_monotonic();
    let trace = Trace::new(printing);
    if printing {
        crate::world::say(&format!("seed {seed}\n{LEGEND}"));
    }
    let mut world = World::new(Scenario::new(seed), trace, mistake);
    let described = world.grid.scenario.describe();
    world.tell(described);
    if mistake == Some(Mistake::LostWebhook) {
        world.grid.judge().told.lose_one_in = Some(WEBHOOKS_A_LOSS);
    }
    world.grid.judge().mail.loses = mistake == Some(Mistake::LostWord);
    world.gather();
    world.chaos();
    world.recover();
    world.verdict()
}

impl World {
    fn new(scenario: Scenario, trace: Trace, mistake: Option<Mistake>) -> Self {
        let mut sim = Builder::new()
            .rng_seed(scenario.seed)
            .epoch(std::time::UNIX_EPOCH + Duration::from_secs(1_800_000_000))
            .simulation_duration(Duration::from_secs(3_600))
            .tick_duration(Duration::from_millis(STEP_MS))
            .min_message_latency(scenario.latency_min)
            .max_message_latency(scenario.latency_max)
            .udp_capacity(SOCKET_MESSAGES_MAX)
            .tcp_capacity(TCP_SEGMENTS_MAX)
            .build();
        let grid = Arc::new(Grid::new(scenario, trace, mistake));
        for host in grid.scenario.hosts() {
            let grid = grid.clone();
            sim.host(host.name(), move || host::run(grid.clone(), host));
        }
        let crowd = grid.clone();
        sim.host(PEOPLE.name(), move || {
            let grid = crowd.clone();
            async move {
                for number in 1..=grid.scenario.people {
                    tokio::task::spawn_local(client::run(grid.clone(), number));
                }
                std::future::pending().await
            }
        });
        Self {
            grid,
            sim,
            undo: Vec::new(),
            broken: BTreeSet::new(),
            drained: BTreeSet::new(),
            armed: None,
            calm: false,
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.sim.elapsed()
    }

    pub(crate) fn tell(&self, what: impl std::fmt::Display) {
        self.grid.trace.line("sim", what);
    }

    fn accuse(&self, what: String) {
        self.grid.judge().accuse(what);
    }

    fn failed(&self) -> bool {
        !self.grid.judge().log.wrong().is_empty()
    }

    /// One step of everybody; then what ended by itself is taken away, and what is due is undone.
    fn step(&mut self) {
        if let Err(error) = self.sim.step() {
            self.accuse(format!("a host failed: {error}"));
        }
        for panic in panics::take() {
            self.accuse(format!("panic: {panic}"));
        }
        let now = self.sim.elapsed();
        self.grid.trace.set_now(now);
        entropy::set_now(now);
        let exited = std::mem::take(&mut self.grid.plan().exited);
        for host in exited {
            self.bury(host);
        }
        self.watch_words();
        self.watch_takeovers();
        self.undo_due();
    }

    /// Now and then.
    fn watch_words(&self) {
        let now = self.now();
        if !self.grid.scenario.words || !now.as_millis().is_multiple_of(100) {
            return;
        }
        let calm = self.grid.scenario.peaceful || self.is_calm();
        let mut judge = self.grid.judge();
        judge.mail.owing |= calm;
        if let Some(late) = judge.mail.overdue(now) {
            judge.accuse(late);
        }
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

    /// Within `limit`, or what is still missing then is wrong.
    fn demand(&mut self, what: &str, limit_ms: u64, lacks: impl Fn(&Self) -> Option<String>) {
        if self.failed() {
            return;
        }
        let begun = self.now();
        let end = begun + Duration::from_millis(limit_ms);
        if self.run_until(end, |world| lacks(world).is_none()) {
            let took = self.now() - begun;
            self.tell(format!("{what} after {took:?}"));
        } else if !self.failed() {
            let missing = lacks(self).unwrap_or_default();
            self.accuse(format!("{what}: not within {limit_ms} ms: {missing}"));
        }
    }

    fn gather(&mut self) {
        self.grid.plan().looking = true;
        self.demand("all nodes are in", GATHERING_MS, Self::absent);
        let mut plan = self.grid.plan();
        (plan.looking, plan.open) = (false, true);
    }

    fn chaos(&mut self) {
        let end = self.now() + self.grid.scenario.chaos;
        let gap = self.grid.scenario.fault_gap.as_millis() as u64;
        let mut next = self.now() + Duration::from_millis(3_000);
        self.run_until(end, |world| {
            if world.now() >= next {
                world.trouble();
                let wait = 100 + world.grid.below(gap);
                // Else the next trouble would excuse whatever a death lost.
                let waits = world.calm && world.grid.judge().mail.owes();
                let wait = if waits { wait.max(WORD_MS) } else { wait };
                next = world.now() + Duration::from_millis(wait);
            }
            false
        });
    }

    fn recover(&mut self) {
        if self.failed() {
            return;
        }
        self.tell("everything heals");
        self.heal();
        self.grid.plan().quiet = true;
        self.demand("everybody is in a room", BACK_IN_MS, Self::outside);
        self.undrain_all();
        self.grid.plan().views.clear();
        self.grid.plan().looking = true;
        self.demand("nothing is wrong, and all agree", WELL_MS, |world| {
            world.ill().or_else(|| world.disagreement())
        });
        self.demand("nothing is left over", SETTLED_MS, |world| {
            world.grid.judge().lacks(world.now())
        });
    }

    /// Somebody who is in no room.
    fn outside(&self) -> Option<String> {
        let judge = self.grid.judge();
        let mut people = judge.people();
        let (number, _) = people.find(|(_, person)| person.room.is_none())?;
        Some(format!("c{number} is outside"))
    }

    /// Somebody who is no member yet, or knows no leader.
    fn absent(&self) -> Option<String> {
        let plan = self.grid.plan();
        let mut hosts = self.grid.scenario.hosts();
        let in_it = |host: &Host| plan.views.get(host).is_some_and(|view| view.is_led);
        let absent = hosts.find(|host| !in_it(host))?;
        Some(format!("{} is not in", absent.name()))
    }

    /// What a node says is wrong, or that one says nothing.
    fn ill(&self) -> Option<String> {
        let plan = self.grid.plan();
        for host in self.grid.scenario.hosts() {
            let name = host.name();
            match plan.views.get(&host) {
                None => return Some(format!("{name} says nothing")),
                Some(view) if !view.problems.is_empty() => {
                    return Some(format!("{name} says: {}", view.problems.join("; ")));
                }
                Some(_) => {}
            }
        }
        None
    }

    /// Every node knows who is in which room, and every room has one home.
    fn disagreement(&self) -> Option<String> {
        if let Some(outside) = self.outside() {
            return Some(outside);
        }
        let judge = self.grid.judge();
        if let Some(torn) = judge.torn() {
            return Some(torn);
        }
        let mut expected: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut newest = Duration::ZERO;
        for (number, person) in judge.people() {
            let room = person.room.clone().unwrap_or_default();
            let identity = format!("c{number}.{room}");
            expected.entry(room).or_default().insert(identity);
            newest = newest.max(person.since);
        }
        for (number, person) in judge.people() {
            let room = person.room.clone().unwrap_or_default();
            let mut others = expected.get(&room).cloned().unwrap_or_default();
            others.remove(&format!("c{number}.{room}"));
            if person.sees != others {
                let sees = &person.sees;
                return Some(format!("c{number} sees {sees:?}, in {room} are {others:?}"));
            }
        }
        drop(judge);
        let plan = self.grid.plan();
        for (host, view) in &plan.views {
            let mut rooms = view.rooms.clone();
            rooms.retain(|_, people| !people.is_empty());
            if view.at <= newest || rooms != expected {
                let name = host.name();
                return Some(format!("{name} has {rooms:?}, people are in {expected:?}"));
            }
        }
        None
    }

    fn verdict(self) -> Verdict {
        let judge = self.grid.judge();
        let wrong = judge.log.wrong().to_vec();
        let log = &judge.log;
        let figures = format!(
            "{} entries, {} terms led, {} sessions, {} takeovers of transports, {} promises, \
             {} webhooks, {} words heard, {} dropped",
            log.end_of_log(),
            log.terms(),
            judge.entries,
            judge.numbers.taken_over,
            judge.promises,
            judge.told.events,
            judge.mail.heard,
            judge.mail.again
        );
        drop(judge);
        for what in &wrong {
            self.tell(format!("WRONG: {what}"));
        }
        let told = {
            let wires = self.grid.wires();
            format!("end: {} datagrams, {} lost", wires.sent, wires.lost)
        };
        self.tell(told);
        let (hash, lines) = self.grid.trace.finish();
        Verdict {
            wrong,
            hash,
            lines,
            figures,
            tail: self.grid.trace.tail(),
        }
    }
}
