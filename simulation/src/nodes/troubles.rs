//! The troubles of the node ring: what each fault does, and what is undone later.

use std::time::Duration;

use super::faults::Fault;
use super::grid::Order;
use super::scenario::PEOPLE;
use super::world::World;
use crate::cuts::{self, Cut};
use crate::limits::CALM_AFTER_MS;
use crate::scenario::Host;

/// What ends by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Undo {
    Start(Host),
    Cuts,
    Hold(Host),
    Loss,
    Latency,
    Drain(Host),
    /// Not undone: a fault in the middle of a takeover or a move.
    Meet(Host),
}

impl World {
    fn below(&self, bound: u64) -> u64 {
        self.grid.below(bound)
    }

    fn millis(&self, least: u64, more: u64) -> Duration {
        Duration::from_millis(least + self.below(more))
    }

    fn later(&mut self, wait: Duration, undo: Undo) {
        self.undo.push((self.now() + wait, undo));
    }

    fn hosts(&self) -> Vec<Host> {
        self.grid.scenario.hosts().collect()
    }

    fn troubles(&self, host: Host) {
        let now = self.now();
        self.grid.wires().trouble(host, now);
    }

    /// TCP obeys the simulated network, which is told what the wires are like.
    fn rewire(&mut self) {
        let mut hosts = self.hosts();
        hosts.push(PEOPLE);
        for from in &hosts {
            for to in hosts.iter().filter(|to| *to != from) {
                let way = (*from, *to);
                let broken = self.grid.wires().is_broken(*from, *to);
                if broken && self.broken.insert(way) {
                    self.sim.partition_oneway(from.name(), to.name());
                } else if !broken && self.broken.remove(&way) {
                    self.sim.repair_oneway(from.name(), to.name());
                }
            }
        }
    }

    /// Ends a process, or its machine: of that nobody hears.
    pub(crate) fn stop(&mut self, host: Host, power: bool) {
        if !self.grid.wires().is_up(host) {
            return;
        }
        self.grid.wires().stop(host, power);
        self.troubles(host);
        // Before the crash: what the process owns must go with it, in its own world.
        let mut plan = self.grid.plan();
        let cluster = plan.clusters.remove(&host);
        plan.orders.remove(&host);
        plan.views.remove(&host);
        drop(plan);
        drop(cluster);
        if let Some(machine) = self.grid.machines().get(&host) {
            if power {
                machine.lose_power();
            } else {
                machine.kill();
            }
        }
        self.grid.judge().gone(host);
        self.rewire();
        self.sim.crash(host.name());
    }

    pub(crate) fn start(&mut self, host: Host) {
        if self.grid.wires().is_up(host) {
            return;
        }
        self.grid.wires().start(host);
        self.troubles(host);
        self.rewire();
        self.sim.bounce(host.name());
    }

    /// What is left of a process that ended by itself.
    pub(crate) fn bury(&mut self, host: Host) {
        self.tell(format!("{} ended", host.name()));
        self.stop(host, false);
        let wait = self.millis(100, 1_500);
        self.later(wait, Undo::Start(host));
    }

    fn strike(&mut self, host: Host, power: bool) {
        if !self.grid.wires().is_up(host) {
            return;
        }
        if self.calm {
            let now = self.now();
            self.grid.judge().promise(host, now);
        }
        let how = if power { "loses power" } else { "is killed" };
        self.tell(format!("{} {how}", host.name()));
        self.stop(host, power);
        let wait = match self.below(3) {
            0 => self.millis(100, 900),
            1 => self.millis(1_000, 4_000),
            _ => self.millis(5_000, 10_000),
        };
        self.later(wait, Undo::Start(host));
    }

    pub(crate) fn undo_due(&mut self) {
        let now = self.now();
        let all = std::mem::take(&mut self.undo);
        let (due, later): (Vec<_>, Vec<_>) = all.into_iter().partition(|(at, _)| *at <= now);
        self.undo = later;
        for (_, undo) in due {
            self.tell(format!("undo {undo:?}"));
            self.undo(undo);
        }
    }

    fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Start(host) => self.start(host),
            Undo::Cuts => {
                let apart = self.grid.wires().apart();
                for host in apart {
                    self.troubles(host);
                }
                self.grid.wires().mend();
                self.rewire();
            }
            Undo::Hold(host) => self.release(host),
            Undo::Loss => {
                let usual = self.grid.scenario.loss_per_mille;
                self.grid.wires().loss_per_mille = usual;
            }
            Undo::Latency => {
                let usual = self.grid.scenario.latency_max;
                self.sim.set_max_message_latency(usual);
            }
            Undo::Drain(host) => {
                let node = self.grid.plan().ids.get(&host).copied();
                let through = self.somebody_up();
                if let (Some(node), Some(through)) = (node, through) {
                    self.grid.order(through, Order::Undrain(node));
                }
                self.drained.remove(&host);
            }
            Undo::Meet(host) => self.meet(host),
        }
    }

    /// Nothing has happened to anybody for a while.
    pub(crate) fn is_calm(&self) -> bool {
        let (now, lately) = (self.now(), Duration::from_millis(CALM_AFTER_MS));
        let wires = self.grid.wires();
        let mut hosts = self.grid.scenario.hosts();
        let whole = hosts.all(|host| wires.is_innocent(host, now, lately));
        whole
            && self.grid.judge().all_are_there(now, lately)
            && self.drained.is_empty()
            && wires.held.is_none()
            && self.undo.is_empty()
    }

    /// A takeover or a move goes on; sooner or later somebody in it has a trouble of its own.
    pub(crate) fn watch_takeovers(&mut self) {
        let mut steps = std::mem::take(&mut self.grid.plan().steps);
        let logged = std::mem::take(&mut self.grid.judge().steps);
        for (step, node) in logged {
            steps.extend(self.grid.host_of(node).map(|host| (step, host)));
        }
        for (step, host) in steps {
            let Some(left) = self.armed else {
                return;
            };
            self.armed = left.checked_sub(1);
            if left == 0 {
                let leader = self.grid.judge().log.last_leader();
                let leader = leader.and_then(|node| self.grid.host_of(node));
                let host = match self.below(3) {
                    0 => leader.unwrap_or(host),
                    _ => host,
                };
                let wait = Duration::from_millis(self.below(40));
                self.tell(format!("{} is to be met at {step:?}", host.name()));
                self.later(wait, Undo::Meet(host));
            }
        }
    }

    fn meet(&mut self, host: Host) {
        let mut judge = self.grid.judge();
        judge.promise_nothing();
        judge.promise_no_words();
        drop(judge);
        // A home died a moment ago: its rooms may have no standby that knows them yet.
        self.calm = false;
        match self.below(4) {
            0 => self.strike(host, false),
            1 => self.strike(host, true),
            2 => self.cut(Cut::Isolate, host),
            _ => self.hold(host),
        }
    }

    fn home(&self) -> Option<Host> {
        let number = self.below(64);
        self.grid.judge().home(number)
    }

    fn in_takeover(&mut self) {
        self.armed = Some(self.below(12));
        match (self.below(3), self.home()) {
            (0, Some(home)) => {
                let power = self.below(2) == 0;
                self.strike(home, power);
            }
            (1, Some(home)) => self.cut(Cut::Isolate, home),
            _ => self.drain(),
        }
    }

    /// Somebody who can be asked for something.
    fn somebody_up(&self) -> Option<Host> {
        let mut up = self.hosts();
        up.retain(|host| self.grid.wires().is_up(*host) && self.grid.takes_orders(*host));
        let at = usize::try_from(self.below(up.len() as u64)).ok()?;
        up.get(at).copied()
    }

    /// Nothing goes wrong any more, and who is down comes back.
    pub(crate) fn heal(&mut self) {
        self.undo.clear();
        self.armed = None;
        self.grid.judge().promise_nothing();
        let held = self.grid.wires().held;
        if let Some(host) = held {
            self.undo(Undo::Hold(host));
        }
        for undo in [Undo::Cuts, Undo::Loss, Undo::Latency] {
            self.undo(undo);
        }
        self.grid.wires().loss_per_mille = 0;
        for host in self.hosts() {
            self.start(host);
        }
    }

    /// Also those whose operator died before it was done.
    pub(crate) fn undrain_all(&mut self) {
        for host in self.hosts() {
            if !self.grid.scenario.is_master(host) {
                self.undo(Undo::Drain(host));
            }
        }
    }

    /// One fault of those this run may have.
    pub(crate) fn trouble(&mut self) {
        let faults: Vec<Fault> = self.grid.scenario.faults.iter().copied().collect();
        let at = self.below(faults.len() as u64) as usize;
        let Some(fault) = faults.get(at).copied() else {
            return;
        };
        let host = Host(1 + self.below(self.grid.scenario.hosts));
        let power = self.below(2) == 0;
        self.calm = self.is_calm();
        let mut judge = self.grid.judge();
        judge.promise_nothing();
        if !(self.calm && fault.is_a_death()) {
            judge.promise_no_words();
        }
        drop(judge);
        self.tell(format!("fault {} {}", fault.name(), host.name()));
        match fault {
            Fault::Kill => self.strike(host, false),
            Fault::PowerLoss => self.strike(host, true),
            Fault::KillHome => {
                if let Some(home) = self.home() {
                    self.strike(home, power);
                }
            }
            Fault::KillLeader => {
                let leader = self.grid.judge().log.last_leader();
                let leader = leader.and_then(|node| self.grid.host_of(node));
                if let Some(leader) = leader {
                    self.strike(leader, power);
                }
            }
            Fault::KillTwoMasters => {
                let masters = self.grid.scenario.masters;
                let first = self.below(masters);
                let second = (first + 1 + self.below(masters - 1)) % masters;
                for number in [first, second] {
                    self.strike(Host(1 + number), power);
                }
            }
            Fault::CutPair => self.cut(Cut::Pair, host),
            Fault::CutOneWay => self.cut(Cut::OneWay, host),
            Fault::Isolate => self.cut(Cut::Isolate, host),
            Fault::Split => self.cut(Cut::Split, host),
            Fault::Hold => self.hold(host),
            Fault::Loss => {
                self.grid.wires().loss_per_mille = 200;
                let wait = self.millis(500, 4_000);
                self.later(wait, Undo::Loss);
            }
            Fault::Latency => {
                self.sim.set_max_message_latency(Duration::from_millis(80));
                let wait = self.millis(500, 4_000);
                self.later(wait, Undo::Latency);
            }
            Fault::Drain => self.drain(),
            Fault::Restart => {
                // It takes itself out of the cluster: the log says that it is dead.
                self.troubles(host);
                self.grid.order(host, Order::Stop);
            }
            Fault::InTakeover => self.in_takeover(),
        }
    }

    fn cut(&mut self, cut: Cut, host: Host) {
        if self.grid.wires().held.is_some() {
            return;
        }
        let hosts = self.grid.scenario.hosts;
        let ways = cuts::ways(cut, host, hosts, |bound| self.below(bound));
        for (from, to) in ways {
            self.grid.wires().cut(from, to);
        }
        self.rewire();
        let wait = self.millis(200, 6_000);
        self.later(wait, Undo::Cuts);
    }

    /// One machine at a time, and not while anything else is broken: the simulated network keeps
    /// one state a link.
    fn hold(&mut self, host: Host) {
        let wires = self.grid.wires();
        if wires.held.is_some() || !self.broken.is_empty() || !wires.is_up(host) {
            return;
        }
        drop(wires);
        self.troubles(host);
        self.grid.wires().held = Some(host);
        for other in self.hosts() {
            if other != host {
                self.sim.hold(host.name(), other.name());
            }
        }
        self.sim.hold(host.name(), PEOPLE.name());
        let wait = self.millis(50, 2_500);
        self.later(wait, Undo::Hold(host));
    }

    fn release(&mut self, host: Host) {
        self.troubles(host);
        self.grid.wires().held = None;
        for other in self.hosts() {
            if other != host {
                self.sim.release(host.name(), other.name());
            }
        }
        self.sim.release(host.name(), PEOPLE.name());
        // Who lost power meanwhile is silent still.
        self.broken
            .retain(|(from, to)| *from != host && *to != host);
        self.rewire();
    }

    /// A media node, if another one is left.
    fn drain(&mut self) {
        let (masters, hosts) = (self.grid.scenario.masters, self.grid.scenario.hosts);
        let media = hosts - masters;
        let host = Host(masters + 1 + self.below(media));
        if self.drained.len() as u64 + 1 >= media {
            return;
        }
        let node = self.grid.plan().ids.get(&host).copied();
        let through = self.somebody_up();
        let (Some(node), Some(through)) = (node, through) else {
            return;
        };
        if self.drained.insert(host) {
            self.tell(format!("{} is drained", host.name()));
            self.grid.order(through, Order::Drain(node));
            let wait = self.millis(4_000, 8_000);
            self.later(wait, Undo::Drain(host));
        }
    }
}
