//! The world's troubles: what each fault does to the ring, and what is undone later.

use std::time::Duration;

use crate::cuts::{self, Cut};
use crate::faults::Fault;
use crate::ring::Order;
use crate::scenario::Host;
use crate::world::World;

/// What ends by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Undo {
    Start(Host),
    Cuts,
    Loss,
    Twice,
    Latency,
    Disk(Host),
}

impl World {
    fn below(&self, bound: u64) -> u64 {
        self.ring.dice().below(bound)
    }

    fn millis(&self, least: u64, more: u64) -> Duration {
        Duration::from_millis(least + self.below(more))
    }

    fn later(&mut self, wait: Duration, undo: Undo) {
        self.undo.push((self.now() + wait, undo));
    }

    fn any_host(&self) -> Host {
        Host(self.below(self.ring.scenario.hosts) + 1)
    }

    fn is_up(&self, host: Host) -> bool {
        self.ring.plan().running.contains(&host)
    }

    /// Ends a process, or the power of its machine.
    pub(crate) fn stop(&mut self, host: Host, power: bool) {
        if !self.ring.plan().running.remove(&host) {
            return;
        }
        // Before the crash: what the process owns must go with it, in its own world.
        self.ring.plan().clusters.remove(&host);
        self.ring.plan().orders.remove(&host);
        if let Some(machine) = self.ring.machines().get_mut(&host) {
            machine.change_faults(|faults| faults.changes_left = None);
            if power {
                machine.lose_power();
            } else {
                machine.kill();
            }
        }
        self.sim.crash(host.name());
        self.doomed.remove(&host);
    }

    pub(crate) fn start(&mut self, host: Host) {
        if self.ring.plan().running.insert(host) {
            self.sim.bounce(host.name());
        }
    }

    /// What is left of a process that ended by itself.
    pub(crate) fn bury(&mut self, host: Host) {
        let power = self.doomed.contains(&host) || self.below(2) == 0;
        let what = if power { ", then its power" } else { "" };
        self.tell(format!("{} ended{what}", host.name()));
        self.stop(host, power);
        let wait = self.millis(20, 400);
        self.later(wait, Undo::Start(host));
    }

    fn strike(&mut self, host: Host, power: bool) {
        if self.is_up(host) {
            self.stop(host, power);
            let wait = match self.below(4) {
                0 => self.millis(1_000, 4_000),
                _ => self.millis(20, 900),
            };
            self.later(wait, Undo::Start(host));
        }
    }

    pub(crate) fn undo_due(&mut self) {
        let now = self.now();
        let (due, later) = std::mem::take(&mut self.undo)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.undo = later;
        let due: Vec<(Duration, Undo)> = due;
        for (_, undo) in due {
            self.tell(format!("undo {undo:?}"));
            self.undo(undo);
        }
    }

    fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Start(host) => self.start(host),
            Undo::Cuts => self.ring.air().heal(),
            Undo::Loss => self.ring.air().loss_per_mille = self.ring.scenario.loss_per_mille,
            Undo::Twice => self.ring.air().twice_per_mille = self.ring.scenario.twice_per_mille,
            Undo::Latency => {
                let usual = self.ring.scenario.latency_max;
                self.sim.set_max_message_latency(usual);
            }
            Undo::Disk(host) => {
                let usual = self.ring.scenario.sync_delay_max;
                if let Some(machine) = self.ring.machines().get_mut(&host) {
                    machine.change_faults(|faults| {
                        faults.sync_delay_max = usual;
                        faults.sync_failure_one_in = 0;
                    });
                }
            }
        }
    }

    /// Nothing goes wrong any more, but who is down stays down.
    pub(crate) fn calm(&mut self) {
        self.undo.clear();
        for undo in [Undo::Cuts, Undo::Loss, Undo::Twice, Undo::Latency] {
            self.undo(undo);
        }
        self.ring.air().loss_per_mille = 0;
        let hosts: Vec<Host> = self.ring.scenario.hosts().collect();
        for host in hosts {
            self.undo(Undo::Disk(host));
        }
    }

    /// One fault of those this run may have.
    pub(crate) fn trouble(&mut self) {
        let faults: Vec<Fault> = self.ring.scenario.faults.iter().copied().collect();
        let at = self.below(faults.len() as u64) as usize;
        let Some(fault) = faults.get(at).copied() else {
            return;
        };
        let host = self.any_host();
        self.tell(format!("fault {} {}", fault.name(), host.name()));
        match fault {
            Fault::PowerLoss => self.strike(host, true),
            Fault::Kill => self.strike(host, false),
            Fault::KillLeader => self.strike_leader(),
            Fault::Blackout => {
                let hosts: Vec<Host> = self.ring.scenario.hosts().collect();
                for host in hosts {
                    self.strike(host, true);
                }
            }
            Fault::StopBetweenWrites | Fault::SlowDisk | Fault::FailedSync => {
                self.trouble_disk(fault, host);
            }
            Fault::Rot => self.rot(host),
            Fault::CutPair => self.cut(Cut::Pair, host),
            Fault::CutOneWay => self.cut(Cut::OneWay, host),
            Fault::Isolate => self.cut(Cut::Isolate, host),
            Fault::Split => self.cut(Cut::Split, host),
            Fault::Loss => {
                self.ring.air().loss_per_mille = 200;
                let wait = self.millis(100, 2_000);
                self.later(wait, Undo::Loss);
            }
            Fault::Twice => {
                self.ring.air().twice_per_mille = 200;
                let wait = self.millis(100, 2_000);
                self.later(wait, Undo::Twice);
            }
            Fault::Latency => {
                self.sim.set_max_message_latency(Duration::from_millis(250));
                let wait = self.millis(100, 2_000);
                self.later(wait, Undo::Latency);
            }
            Fault::Transfer => {
                let to = self.any_host();
                if let Some(leader) = self.leader() {
                    self.ring.order(leader, Order::TransferLeadership(to));
                }
            }
            Fault::Snapshot => self.ring.order(host, Order::TakeSnapshot),
            Fault::Reshape => self.reshape(),
        }
    }

    fn leader(&self) -> Option<Host> {
        let node = self.ring.oracle().last_leader()?;
        self.ring.host_of(node)
    }

    fn strike_leader(&mut self) {
        let power = self.below(2) == 0;
        if let Some(leader) = self.leader() {
            self.strike(leader, power);
        }
    }

    fn trouble_disk(&mut self, fault: Fault, host: Host) {
        let steps = self.below(24);
        let slow = Duration::from_millis(20 + self.below(280));
        if let Some(machine) = self.ring.machines().get_mut(&host) {
            machine.change_faults(|faults| match fault {
                Fault::StopBetweenWrites => faults.changes_left = Some(steps),
                Fault::SlowDisk => faults.sync_delay_max = slow,
                _ => faults.sync_failure_one_in = 10,
            });
        }
        if fault == Fault::StopBetweenWrites {
            self.doomed.insert(host);
        } else {
            let wait = self.millis(200, 3_000);
            self.later(wait, Undo::Disk(host));
        }
    }

    /// One disk at a time, and only once whoever had the last one is replaced: more would be data
    /// lost for good.
    fn rot(&mut self, host: Host) {
        let groups = self.ring.oracle().voters().to_vec();
        let settled = groups.len() == 1
            && groups.iter().all(|group| group.len() >= 3)
            && groups
                .iter()
                .flatten()
                .all(|node| self.ring.host_of(*node).is_some());
        let rotten = self.ring.machines().values().any(|machine| machine.rotten);
        if !settled || rotten || !self.is_up(host) {
            return;
        }
        self.strike(host, false);
        let mut dice = self.ring.dice();
        let rotted = self
            .ring
            .machines()
            .get_mut(&host)
            .and_then(|machine| machine.rot(&mut dice));
        drop(dice);
        if let Some(what) = rotted {
            self.tell(format!("{}: {what} changed", host.name()));
        }
    }

    fn cut(&mut self, cut: Cut, host: Host) {
        let hosts = self.ring.scenario.hosts;
        let ways = cuts::ways(cut, host, hosts, |bound| self.below(bound));
        for (from, to) in ways {
            self.ring.air().cut(from, to);
        }
        let wait = self.millis(100, 4_000);
        self.later(wait, Undo::Cuts);
    }

    /// Other machines shall vote, three at least.
    fn reshape(&mut self) {
        let hosts: Vec<Host> = self.ring.scenario.hosts().collect();
        if self.ring.scenario.voters < 3 {
            return;
        }
        let more = self.below(hosts.len() as u64 - 2);
        let mut left = hosts;
        let mut voters = std::collections::BTreeSet::new();
        while voters.len() < 3 + more as usize && !left.is_empty() {
            let at = self.below(left.len() as u64) as usize;
            voters.insert(left.swap_remove(at));
        }
        self.tell(format!("{voters:?} shall vote"));
        self.ring.plan().voters = voters;
    }
}
