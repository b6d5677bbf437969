//! A machine of the node ring: its disks, which outlive processes.

use std::time::Duration;

use consensus::disk::{DiskFaults, SimDisk};
use consensus::store::Disks;
use consensus::wal::WalOptions;

/// Small, so that a run rotates.
pub(crate) const WAL: WalOptions = WalOptions {
    segment_bytes: 256 * 1024,
    record_bytes_max: 64 * 1024,
};

pub(crate) struct Machine {
    log: SimDisk,
    snapshots: SimDisk,
    /// Processes so far.
    pub(crate) lives: u64,
}

impl Machine {
    pub(crate) fn new(seed: u64, sync_delay_max: Duration) -> Self {
        let (log, snapshots) = (SimDisk::new(seed), SimDisk::new(seed ^ 0xff));
        for disk in [&log, &snapshots] {
            disk.set_faults(DiskFaults {
                sync_delay_max,
                ..DiskFaults::default()
            });
        }
        Self {
            log,
            snapshots,
            lives: 0,
        }
    }

    /// For a process that begins.
    pub(crate) fn disks(&self) -> Disks {
        Disks {
            log: Box::new(self.log.reopen()),
            snapshots: Box::new(self.snapshots.reopen()),
        }
    }

    pub(crate) fn lose_power(&self) {
        self.log.crash();
        self.snapshots.crash();
    }

    pub(crate) fn kill(&self) {
        self.log.kill();
        self.snapshots.kill();
    }
}
