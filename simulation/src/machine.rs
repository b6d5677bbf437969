//! A machine of the ring: its disks, which outlive processes, and who it is in the cluster.

use std::time::Duration;

use consensus::disk::{DiskFaults, SimDisk};
use consensus::ids::NodeId;
use consensus::splitmix::SplitMix;
use consensus::store::{Disks, Found, Identity, Store, StoreError};
use consensus::wal::WalOptions;

use crate::scenario::Host;

/// Small, so that a run rotates often.
const WAL: WalOptions = WalOptions {
    segment_bytes: 256 * 1024,
    record_bytes_max: 16 * 1024,
};
const CLUSTER: u64 = 7;
/// Ids of a machine differ by this: n2, n102, n202.
const GENERATION: u64 = 100;

pub(crate) struct Machine {
    log: SimDisk,
    snapshots: SimDisk,
    host: Host,
    generation: u64,
    /// While a process runs; a start is spared, or the double fault that the log's README excludes
    /// would be simulated.
    faults: DiskFaults,
    /// Processes so far.
    pub(crate) lives: u64,
    /// Its store was created, so that a store that is missing later was lost.
    created: bool,
    /// Something on its disks was changed by a fault.
    pub(crate) rotten: bool,
}

/// What a start found.
pub(crate) enum Started {
    Fresh(Store),
    Known(Store),
}

impl Machine {
    pub(crate) fn new(host: Host, seed: u64, sync_delay_max: Duration) -> Self {
        Self {
            log: SimDisk::new(seed),
            snapshots: SimDisk::new(seed ^ 0xff),
            host,
            generation: 0,
            faults: DiskFaults {
                sync_delay_max,
                ..DiskFaults::default()
            },
            lives: 0,
            created: false,
            rotten: false,
        }
    }

    pub(crate) fn node(&self) -> NodeId {
        NodeId(self.host.0 + self.generation * GENERATION)
    }

    fn disks(&self) -> Disks {
        Disks {
            log: Box::new(self.log.reopen()),
            snapshots: Box::new(self.snapshots.reopen()),
        }
    }

    /// The next process opens what is there.
    pub(crate) fn start(&mut self, dice: &mut SplitMix) -> Result<Started, StoreError> {
        self.lives += 1;
        self.set_faults(DiskFaults::default());
        let started = match Store::open(self.disks(), WAL)? {
            Found::Ready(store) => Started::Known(*store),
            Found::Nothing(_) if self.created => {
                return Err(StoreError::Corrupt("the store is gone".into()));
            }
            Found::Nothing(disks) => {
                let identity = Identity {
                    cluster: CLUSTER,
                    node: self.node(),
                };
                let store = Store::create(disks, WAL, identity, dice.next())?;
                self.created = true;
                Started::Fresh(store)
            }
        };
        self.set_faults(self.faults.clone());
        Ok(started)
    }

    /// Its disks are no longer to be trusted: everything is deleted, and it is somebody new.
    pub(crate) fn abandon(&mut self) -> Result<(), StoreError> {
        Store::abandon(&mut self.disks())?;
        self.generation += 1;
        self.created = false;
        self.rotten = false;
        Ok(())
    }

    pub(crate) fn lose_power(&self) {
        self.log.crash();
        self.snapshots.crash();
    }

    pub(crate) fn kill(&self) {
        self.log.kill();
        self.snapshots.kill();
    }

    /// How its disks fail from now on.
    pub(crate) fn change_faults(&mut self, change: impl FnOnce(&mut DiskFaults)) {
        change(&mut self.faults);
        self.set_faults(self.faults.clone());
    }

    fn set_faults(&self, faults: DiskFaults) {
        self.log.set_faults(faults.clone());
        self.snapshots.set_faults(DiskFaults {
            // One count for both would stop whichever comes first; the log is the one that matters.
            changes_left: None,
            ..faults
        });
    }

    /// Changes one byte that was flushed long ago: of a snapshot, or of a segment of the log that
    /// has a successor. `None`: there is none.
    pub(crate) fn rot(&mut self, dice: &mut SplitMix) -> Option<String> {
        let mut logs: Vec<(String, usize)> = self.log.files();
        logs.retain(|(name, _)| name.starts_with("log-") && !name.ends_with(".new"));
        logs.pop();
        let mut snapshots = self.snapshots.files();
        snapshots.retain(|(name, bytes)| *bytes > 0 && !name.ends_with(".new"));
        let count = (logs.len() + snapshots.len()) as u64;
        if count == 0 {
            return None;
        }
        let at = usize::try_from(dice.below(count)).ok()?;
        let (disk, (name, bytes)) = match logs.get(at) {
            Some(file) => (&self.log, file),
            None => (&self.snapshots, snapshots.get(at - logs.len())?),
        };
        let offset = usize::try_from(dice.below(*bytes as u64)).ok()?;
        let bit = 1 << dice.below(8);
        self.rotten |= disk.corrupt(name, offset, bit);
        Some(format!("byte {offset} of {name}"))
    }
}
