//! What a seed stands for: how many nodes, what disks and network they have, and which faults this
//! run may have at all (a run with few kinds of faults goes deeper into each).

use std::collections::BTreeSet;
use std::time::Duration;

use consensus::splitmix::SplitMix;

use crate::faults::Fault;

/// A machine of the ring, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Host(pub(crate) u64);

impl Host {
    pub(crate) fn name(self) -> String {
        format!("host{}", self.0)
    }

    /// By the name above.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        name.strip_prefix("host")?.parse().ok().map(Self)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    /// Hosts 1 to this vote.
    pub(crate) voters: u64,
    /// Voters, then those that only follow.
    pub(crate) hosts: u64,
    pub(crate) chaos: Duration,
    /// Between two faults, at most.
    pub(crate) fault_gap: Duration,
    pub(crate) faults: BTreeSet<Fault>,
    pub(crate) sync_delay_max: Duration,
    pub(crate) latency_min: Duration,
    pub(crate) latency_max: Duration,
    pub(crate) loss_per_mille: u64,
    pub(crate) twice_per_mille: u64,
    /// The clock of a host, in thousandths of true speed.
    pub(crate) clocks: Vec<u64>,
    pub(crate) snapshot_entries: u64,
    pub(crate) log_entries_kept: u64,
    pub(crate) clients_per_host: u64,
    /// Between two operations of a client, at most.
    pub(crate) client_pause: Duration,
}

/// One of these.
pub(crate) fn pick(dice: &mut SplitMix, of: &[u64]) -> u64 {
    of[dice.below(of.len() as u64) as usize]
}

/// Each of these, or not.
pub(crate) fn some<T: Copy + Ord>(dice: &mut SplitMix, of: &[T]) -> BTreeSet<T> {
    let kept = |_: &T| dice.below(5) > 1;
    of.iter().copied().filter(kept).collect()
}

impl Scenario {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = SplitMix(seed ^ 0x5ce0_a710);
        let voters = [3, 3, 3, 4, 5, 5, 1][dice.below(7) as usize];
        let hosts = voters + dice.below(3);
        let skewed = dice.below(2) == 0;
        let clock = |dice: &mut SplitMix| match skewed {
            true => 850 + dice.below(301),
            false => 1_000,
        };
        let clocks = (0..hosts).map(|_| clock(&mut dice)).collect();
        let latency_max = [1, 3, 3, 15, 60][dice.below(5) as usize];
        let often = dice.below(3) == 0;
        Self {
            seed,
            voters,
            hosts,
            chaos: Duration::from_secs(8 + dice.below(13)),
            fault_gap: Duration::from_millis(pick(&mut dice, &[300, 1_000, 2_500])),
            faults: some(&mut dice, &Fault::ALL),
            sync_delay_max: Duration::from_millis(pick(&mut dice, &[0, 1, 8, 20])),
            latency_min: Duration::from_micros(200),
            latency_max: Duration::from_millis(latency_max),
            loss_per_mille: pick(&mut dice, &[0, 0, 2, 30]),
            twice_per_mille: pick(&mut dice, &[0, 0, 10]),
            clocks,
            snapshot_entries: pick(&mut dice, &[40, 200, 5_000]),
            log_entries_kept: pick(&mut dice, &[0, 10, 100]),
            clients_per_host: 1 + dice.below(3),
            client_pause: Duration::from_millis(if often { 20 } else { 120 }),
        }
    }

    pub(crate) fn hosts(&self) -> impl Iterator<Item = Host> + use<> {
        (1..=self.hosts).map(Host)
    }

    pub(crate) fn voters(&self) -> BTreeSet<Host> {
        (1..=self.voters).map(Host).collect()
    }

    /// In thousandths.
    pub(crate) fn clock(&self, host: Host) -> u64 {
        let at = usize::try_from(host.0).unwrap_or(1).saturating_sub(1);
        self.clocks.get(at).copied().unwrap_or(1_000)
    }

    /// What the top of a trace says of it.
    pub(crate) fn describe(&self) -> String {
        let faults: Vec<&str> = self.faults.iter().map(|fault| fault.name()).collect();
        format!(
            "{} voters of {} hosts, chaos {:?}, latency to {:?}, loss {}/1000, disks to {:?}, \
             clocks {:?}, snapshot every {}, {} clients a host; faults: {}",
            self.voters,
            self.hosts,
            self.chaos,
            self.latency_max,
            self.loss_per_mille,
            self.sync_delay_max,
            self.clocks,
            self.snapshot_entries,
            self.clients_per_host,
            faults.join(" ")
        )
    }
}
