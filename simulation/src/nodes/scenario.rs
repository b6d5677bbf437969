//! What a seed stands for in the node ring: how many nodes and people, what network and disks they
//! have, and which faults this run may have at all.

use std::collections::BTreeSet;
use std::time::Duration;

use consensus::splitmix::SplitMix;

use super::faults::Fault;
use crate::scenario::{Host, pick, some};

/// Where the people are: one host of the simulated network, which nothing happens to.
pub(crate) const PEOPLE: Host = Host(0);

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    /// Hosts 1 to this; the others carry rooms.
    pub(crate) masters: u64,
    pub(crate) hosts: u64,
    pub(crate) people: u64,
    pub(crate) rooms: u64,
    /// Nobody dies and no path breaks: whatever is declared dead was not.
    pub(crate) peaceful: bool,
    pub(crate) chaos: Duration,
    /// Between two faults, at most.
    pub(crate) fault_gap: Duration,
    pub(crate) faults: BTreeSet<Fault>,
    pub(crate) sync_delay_max: Duration,
    pub(crate) latency_min: Duration,
    pub(crate) latency_max: Duration,
    pub(crate) loss_per_mille: u64,
    /// People say words to each other.
    pub(crate) words: bool,
}

impl Scenario {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = SplitMix(seed ^ 0x0de5_0de5);
        let peaceful = dice.below(5) == 0;
        let masters = 4;
        let mut faults: BTreeSet<Fault> = match peaceful {
            true => Fault::PEACEFUL.into(),
            false => some(&mut dice, &Fault::ALL),
        };
        if faults.is_empty() {
            faults.insert(Fault::KillHome);
        }
        Self {
            seed,
            masters,
            hosts: masters + pick(&mut dice, &[2, 3, 3, 4]),
            people: 4 + dice.below(5),
            rooms: 2 + dice.below(3),
            peaceful,
            chaos: Duration::from_secs(8 + dice.below(13)),
            fault_gap: Duration::from_millis(pick(&mut dice, &[1_500, 3_000, 8_000])),
            faults,
            sync_delay_max: Duration::from_millis(pick(&mut dice, &[0, 1, 8])),
            latency_min: Duration::from_micros(200),
            latency_max: Duration::from_millis(pick(&mut dice, &[1, 2, 5, 20])),
            loss_per_mille: pick(&mut dice, &[0, 0, 5, 30]),
            words: dice.below(4) != 0,
        }
    }

    pub(crate) fn hosts(&self) -> impl Iterator<Item = Host> + use<> {
        (1..=self.hosts).map(Host)
    }

    pub(crate) fn is_master(&self, host: Host) -> bool {
        host.0 <= self.masters
    }

    pub(crate) fn describe(&self) -> String {
        let faults: Vec<&str> = self.faults.iter().map(|fault| fault.name()).collect();
        format!(
            "{} masters, {} media nodes, {} people, {} rooms, chaos {:?}, latency to {:?}, \
             loss {}/1000, disks to {:?}{}{}; faults: {}",
            self.masters,
            self.hosts - self.masters,
            self.people,
            self.rooms,
            self.chaos,
            self.latency_max,
            self.loss_per_mille,
            self.sync_delay_max,
            if self.words { ", words" } else { "" },
            if self.peaceful { ", nobody dies" } else { "" },
            faults.join(" ")
        )
    }
}
