//! Snapshots on a [`Disk`]: one file each, complete and durable under a temporary name before it
//! gets its own, older ones deleted after. Contents are opaque; a checksum covers every byte.

use std::io;

use crate::disk::{Disk, DiskError};
use crate::wal::Corruption;

const MAGIC: &[u8; 8] = b"SKEINSNP";
/// magic, checksum, length of meta, length of data.
const HEADER_BYTES: usize = 8 + 4 + 8 + 8;
const PREFIX: &str = "snapshot-";
const TEMPORARY: &str = "snapshot.new";

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Corrupt(#[from] Corruption),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSnapshot {
    pub meta: Vec<u8>,
    pub data: Vec<u8>,
}

#[derive(Debug)]
pub struct SnapshotStore<D> {
    disk: D,
    /// Of the newest file; the next one is higher.
    newest: u64,
    /// A write failed: which snapshot is durable is unknown until the store is opened again.
    stopped: bool,
}

impl<D: Disk> SnapshotStore<D> {
    /// Looks what is there; a half-written one of a crash is removed.
    pub fn open(mut disk: D) -> Result<Self, SnapshotError> {
        let names = disk.list()?;
        if names.iter().any(|name| name == TEMPORARY) {
            disk.remove(TEMPORARY)?;
        }
        // A name that is seen may not be durable, and the log is purged on the strength of it.
        disk.sync_directory()?;
        let newest = names.iter().filter_map(|name| number(name)).max();
        Ok(Self {
            disk,
            newest: newest.unwrap_or(0),
            stopped: false,
        })
    }

    pub fn disk(&mut self) -> &mut D {
        &mut self.disk
    }

    pub fn into_disk(self) -> D {
        self.disk
    }

    /// Durable when it returns; then the older ones are gone or on their way. After an error the
    /// store refuses writes until it is opened again, as the log does.
    pub fn write(&mut self, meta: &[u8], data: &[u8]) -> Result<(), SnapshotError> {
        if self.stopped {
            return Err(SnapshotError::Disk(DiskError::Io {
                operation: "write",
                name: file_name(self.newest + 1),
                source: io::Error::other("an earlier write failed"),
            }));
        }
        let written = self.write_file(meta, data);
        self.stopped = written.is_err();
        written
    }

    fn write_file(&mut self, meta: &[u8], data: &[u8]) -> Result<(), SnapshotError> {
        let header = encode_header(meta, data);
        let size = header.len() + meta.len() + data.len();
        self.disk.create(TEMPORARY, size as u64)?;
        let mut at = 0;
        for part in [&header[..], meta, data] {
            self.disk.write(TEMPORARY, at, part)?;
            at += part.len() as u64;
        }
        self.disk.sync(TEMPORARY)?;
        self.disk.rename(TEMPORARY, &file_name(self.newest + 1))?;
        self.disk.sync_directory()?;
        self.newest += 1;
        for name in self.disk.list()? {
            if number(&name).is_some_and(|n| n < self.newest) {
                self.disk.remove(&name)?;
            }
        }
        Ok(())
    }

    /// The newest one. A damaged one is an error, not a reason to take an older: the log behind it
    /// may be gone.
    pub fn read(&mut self) -> Result<Option<StoredSnapshot>, SnapshotError> {
        if self.newest == 0 {
            return Ok(None);
        }
        let name = file_name(self.newest);
        let size = usize::try_from(self.disk.size(&name)?).unwrap_or(usize::MAX);
        let bytes = self.disk.read(&name, 0, size)?;
        match decode(&bytes) {
            Some(snapshot) => Ok(Some(snapshot)),
            None => Err(Corruption {
                file: name,
                offset: 0,
                what: "a snapshot does not verify",
            }
            .into()),
        }
    }
}

fn encode_header(meta: &[u8], data: &[u8]) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    let (meta_bytes, data_bytes) = (meta.len() as u64, data.len() as u64);
    header.extend_from_slice(&checksum(meta_bytes, data_bytes, meta, data).to_le_bytes());
    header.extend_from_slice(&meta_bytes.to_le_bytes());
    header.extend_from_slice(&data_bytes.to_le_bytes());
    header
}

fn decode(bytes: &[u8]) -> Option<StoredSnapshot> {
    let header = bytes.get(..HEADER_BYTES)?;
    let number = |at: usize| Some(u64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?));
    let crc = u32::from_le_bytes(header.get(8..12)?.try_into().ok()?);
    let (meta_bytes, data_bytes) = (number(12)?, number(20)?);
    let meta_end = HEADER_BYTES.checked_add(usize::try_from(meta_bytes).ok()?)?;
    let data_end = meta_end.checked_add(usize::try_from(data_bytes).ok()?)?;
    let meta = bytes.get(HEADER_BYTES..meta_end)?;
    let data = bytes.get(meta_end..data_end)?;
    let right = header.get(..8)? == MAGIC
        && bytes.len() == data_end
        && crc == checksum(meta_bytes, data_bytes, meta, data);
    right.then(|| StoredSnapshot {
        meta: meta.to_vec(),
        data: data.to_vec(),
    })
}

fn checksum(meta_bytes: u64, data_bytes: u64, meta: &[u8], data: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&meta_bytes.to_le_bytes());
    hasher.update(&data_bytes.to_le_bytes());
    hasher.update(meta);
    hasher.update(data);
    hasher.finalize()
}

fn file_name(number: u64) -> String {
    format!("{PREFIX}{number:016x}")
}

fn number(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_prefix(PREFIX)?, 16).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::disk::SimDisk;

    /// Whatever a crash keeps of a snapshot being written, the one before or the new one is there.
    #[test]
    fn a_crash_while_writing_leaves_the_old_or_the_new_snapshot() {
        let mut kept = [0, 0];
        for seed in 0..300 {
            let disk = SimDisk::new(seed);
            let mut store = SnapshotStore::open(disk.reopen()).unwrap();
            store.write(b"meta 1", &[1; 3_000]).unwrap();
            // The seed chooses the step after which the process dies.
            disk.set_faults(crate::disk::DiskFaults {
                changes_left: Some(seed % 10),
                ..Default::default()
            });
            let written = store.write(b"meta 2", &[2; 5_000]).is_ok();
            disk.set_faults(Default::default());
            disk.crash();
            let mut store = SnapshotStore::open(disk.reopen()).unwrap();
            let found = store.read().unwrap().unwrap();
            let new = found.data == [2; 5_000];
            assert!(new || found.data == [1; 3_000], "seed {seed}");
            assert!(new || !written, "seed {seed}: a written snapshot is gone");
            kept[usize::from(new)] += 1;
        }
        assert!(kept.iter().all(|k| *k > 50), "{kept:?}");
    }

    /// Killed at any step, opened, read (the log is purged up to it now), then power is lost.
    #[test]
    fn a_snapshot_that_was_read_after_a_kill_is_there_after_a_power_loss() {
        for seed in 0..300 {
            let disk = SimDisk::new(seed);
            let mut store = SnapshotStore::open(disk.reopen()).unwrap();
            store.write(b"meta 1", &[1; 3_000]).unwrap();
            disk.set_faults(crate::disk::DiskFaults {
                changes_left: Some(seed % 10),
                ..Default::default()
            });
            if store.write(b"meta 2", &[2; 5_000]).is_err() {
                assert!(store.write(b"meta 3", b"").is_err(), "seed {seed}: goes on");
            }
            disk.set_faults(Default::default());
            disk.kill();
            let found = SnapshotStore::open(disk.reopen()).unwrap().read().unwrap();
            disk.crash();
            let kept = SnapshotStore::open(disk.reopen()).unwrap().read().unwrap();
            assert_eq!(found, kept, "seed {seed}");
        }
    }

    #[test]
    fn damage_to_any_byte_of_a_snapshot_is_found() {
        let disk = SimDisk::new(1);
        let mut store = SnapshotStore::open(disk.reopen()).unwrap();
        store.write(b"meta", &[7; 500]).unwrap();
        let (name, size) = disk.files().pop().unwrap();
        for offset in 0..size {
            let fork = disk.fork();
            fork.corrupt(&name, offset, 0x40);
            let mut store = SnapshotStore::open(fork.reopen()).unwrap();
            assert!(
                matches!(store.read(), Err(SnapshotError::Corrupt(_))),
                "byte {offset}"
            );
        }
    }

    #[test]
    fn only_the_newest_snapshot_is_kept() {
        let disk = SimDisk::new(1);
        let mut store = SnapshotStore::open(disk.reopen()).unwrap();
        assert_eq!(store.read().unwrap(), None);
        for n in 0..5 {
            store.write(&[n], &[n; 10]).unwrap();
        }
        assert_eq!(disk.files().len(), 1);
        assert_eq!(store.read().unwrap().unwrap().meta, [4]);
    }
}
