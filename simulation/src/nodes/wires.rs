//! What lies between the hosts of the node ring: which directions are cut, who has no power or no
//! process, how much is lost. Decides; sockets and lines obey.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use consensus::splitmix::SplitMix;

use super::scenario::Scenario;
use crate::scenario::Host;

/// What a new connection meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// Nothing answers: no power, or no path.
    Silent,
    /// No process listens.
    Refuses,
    Listens,
}

pub(crate) struct Wires {
    dice: SplitMix,
    /// From, to.
    cuts: BTreeSet<(Host, Host)>,
    dark: BTreeSet<Host>,
    running: BTreeSet<Host>,
    /// When something last happened to a host.
    troubled: BTreeMap<Host, Duration>,
    /// A machine that nothing gets to or from for a while.
    pub(crate) held: Option<Host>,
    pub(crate) loss_per_mille: u64,
    pub(crate) sent: u64,
    pub(crate) lost: u64,
}

impl Wires {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            dice: SplitMix(scenario.seed ^ 0xa1a2),
            cuts: BTreeSet::new(),
            dark: BTreeSet::new(),
            running: scenario.hosts().collect(),
            troubled: BTreeMap::new(),
            held: None,
            loss_per_mille: scenario.loss_per_mille,
            sent: 0,
            lost: 0,
        }
    }

    pub(crate) fn cut(&mut self, from: Host, to: Host) {
        self.cuts.insert((from, to));
    }

    /// Something happens to it now, or ends.
    pub(crate) fn trouble(&mut self, host: Host, now: Duration) {
        self.troubled.insert(host, now);
    }

    /// Nothing has happened to it for `lately`.
    pub(crate) fn is_innocent(&self, host: Host, now: Duration, lately: Duration) -> bool {
        let cut = self
            .cuts
            .iter()
            .any(|(from, to)| [*from, *to].contains(&host));
        let troubled = self.troubled.get(&host).copied().unwrap_or_default();
        self.is_up(host) && !cut && now > troubled + lately
    }

    /// Hosts that something is cut from.
    pub(crate) fn apart(&self) -> BTreeSet<Host> {
        self.cuts
            .iter()
            .flat_map(|(from, to)| [*from, *to])
            .collect()
    }

    pub(crate) fn mend(&mut self) {
        self.cuts.clear();
    }

    /// Its process ended, and with `power` its machine.
    pub(crate) fn stop(&mut self, host: Host, power: bool) {
        self.running.remove(&host);
        if power {
            self.dark.insert(host);
        }
    }

    pub(crate) fn start(&mut self, host: Host) {
        self.running.insert(host);
        self.dark.remove(&host);
    }

    pub(crate) fn is_up(&self, host: Host) -> bool {
        self.running.contains(&host)
    }

    /// Whether nothing gets from one to the other.
    pub(crate) fn is_broken(&self, from: Host, to: Host) -> bool {
        self.cuts.contains(&(from, to)) || self.dark.contains(&from) || self.dark.contains(&to)
    }

    /// Whether something gets there and back at once.
    pub(crate) fn is_whole(&self, one: Host, other: Host) -> bool {
        let held = [Some(one), Some(other)].contains(&self.held);
        !held && !self.is_broken(one, other) && !self.is_broken(other, one)
    }

    /// Whether a datagram arrives; where no process is, it would lie around until one begins.
    pub(crate) fn carries(&mut self, from: Host, to: Host) -> bool {
        self.sent += 1;
        let lost = self.dice.below(1_000) < self.loss_per_mille;
        let carries = !lost && !self.is_broken(from, to) && self.is_up(to);
        self.lost += u64::from(!carries);
        carries
    }

    pub(crate) fn kernel(&self, from: Host, to: Host) -> Kernel {
        if self.is_broken(from, to) || self.is_broken(to, from) {
            Kernel::Silent
        } else if self.running.contains(&to) {
            Kernel::Listens
        } else {
            Kernel::Refuses
        }
    }
}
