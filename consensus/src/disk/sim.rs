//! A disk in memory that fails as real ones do, from a seed: what was not synced is kept, lost or
//! torn by sector at a crash; bytes rot; space runs out; writes are slow. For tests and for
//! `simulation`. Handles opened before a crash can do nothing after it, as a dead process.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Disk, DiskError};
use crate::splitmix::SplitMix;

/// What a disk writes in one piece or not at all (power loss tears between sectors, and on bad
/// disks inside one).
const SECTOR_BYTES: usize = 512;
/// What such a disk may lose as a whole when it is interrupted in one sector: most have physical
/// sectors of this size behind logical ones of 512 bytes.
const BLOCK_BYTES: usize = 4_096;

/// What goes wrong while the disk is in use. All off by default.
#[derive(Clone, Debug, Default)]
pub struct DiskFaults {
    /// Total of all files beyond which the disk is full.
    pub capacity_bytes: Option<u64>,
    /// A sync takes up to this long in virtual time.
    pub sync_delay_max: Duration,
    /// One sync in this many fails (0: none); its data may or may not be durable, and some of it
    /// stays visible but is never written by a later sync (Linux marks such pages clean).
    pub sync_failure_one_in: u64,
    /// Reads fail with this error number, so many more times.
    pub read_failures: Option<(i32, u64)>,
    /// The process dies after this many more changes: a crash between any two steps.
    pub changes_left: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    now: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create(String, u64),
    Rename(String, String),
    Remove(String),
}

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<u64, Contents>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    changes: Vec<NameChange>,
    next_file: u64,
    generation: u64,
    random: SplitMix,
    delay: Duration,
    faults: DiskFaults,
    syncs: u64,
}

/// A handle; [`SimDisk::reopen`] gives the next process its own.
#[derive(Clone, Debug)]
pub struct SimDisk {
    inner: Arc<Mutex<Inner>>,
    generation: u64,
}

impl SimDisk {
    pub fn new(seed: u64) -> Self {
        let inner = Inner {
            random: SplitMix(seed),
            ..Inner::default()
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            generation: 0,
        }
    }

    pub fn set_faults(&self, faults: DiskFaults) {
        self.lock().faults = faults;
    }

    /// How often contents were synced: what group commit is measured by.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Power loss. Every sector not synced is kept, lost or torn; of the changes of names not
    /// synced, the first few happened (file systems journal them in order).
    pub fn crash(&self) {
        let mut inner = self.lock();
        inner.generation += 1;
        let pending = inner.changes.len() as u64;
        let kept = inner.below(pending + 1) as usize;
        let changes: Vec<_> = inner.changes.drain(..).take(kept).collect();
        let mut names = std::mem::take(&mut inner.durable_names);
        for change in changes {
            change.apply(&mut names);
        }
        inner.names = names.clone();
        inner.durable_names = names;
        let live: BTreeSet<u64> = inner.names.values().copied().collect();
        inner.files.retain(|file, _| live.contains(file));
        let mut files = std::mem::take(&mut inner.files);
        for contents in files.values_mut() {
            inner.tear(contents);
        }
        inner.files = files;
    }

    /// The process dies, the machine lives: what was written stays visible, synced or not.
    pub fn kill(&self) {
        self.lock().generation += 1;
    }

    /// The handle of the next process.
    pub fn reopen(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            generation: self.lock().generation,
        }
    }

    /// A copy of the medium: what happens to it does not happen to this one.
    pub fn fork(&self) -> Self {
        let inner = self.lock();
        let copy = Inner {
            files: inner.files.clone(),
            names: inner.names.clone(),
            durable_names: inner.durable_names.clone(),
            changes: inner.changes.clone(),
            faults: inner.faults.clone(),
            ..*inner
        };
        Self {
            generation: copy.generation,
            inner: Arc::new(Mutex::new(copy)),
        }
    }

    /// Zeros a file from `offset` on: a crash that kept exactly that much.
    pub fn cut(&self, name: &str, offset: usize) -> bool {
        self.rot(name, offset, usize::MAX - offset, |_| 0)
    }

    /// Changes one byte on the medium. Returns whether the byte exists.
    pub fn corrupt(&self, name: &str, offset: usize, xor: u8) -> bool {
        self.rot(name, offset, 1, |byte| byte ^ xor)
    }

    /// Fills the sector that `offset` is in with `byte`.
    pub fn corrupt_sector(&self, name: &str, offset: usize, byte: u8) -> bool {
        let start = offset / SECTOR_BYTES * SECTOR_BYTES;
        self.rot(name, start, SECTOR_BYTES, |_| byte)
    }

    /// All files and their lengths, for choosing where to corrupt.
    pub fn files(&self) -> Vec<(String, usize)> {
        let inner = self.lock();
        let size = |file: &u64| inner.files.get(file).map_or(0, |c| c.now.len());
        inner
            .names
            .iter()
            .map(|(name, file)| (name.clone(), size(file)))
            .collect()
    }

    fn rot(&self, name: &str, start: usize, bytes: usize, f: impl Fn(u8) -> u8) -> bool {
        let mut inner = self.lock();
        let Some(contents) = inner.contents(name) else {
            return false;
        };
        let end = (start + bytes).min(contents.now.len());
        for at in start..end {
            contents.now[at] = f(contents.now[at]);
            if let Some(byte) = contents.durable.get_mut(at) {
                *byte = f(*byte);
            }
        }
        start < end
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(
        &self,
        operation: &'static str,
        name: &str,
    ) -> Result<MutexGuard<'_, Inner>, DiskError> {
        let inner = self.lock();
        if inner.generation == self.generation {
            Ok(inner)
        } else {
            Err(dead(operation, name))
        }
    }

    /// As [`Self::live`], for what changes something.
    fn changing(
        &self,
        operation: &'static str,
        name: &str,
    ) -> Result<MutexGuard<'_, Inner>, DiskError> {
        let mut inner = self.live(operation, name)?;
        match &mut inner.faults.changes_left {
            Some(0) => return Err(dead(operation, name)),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(inner)
    }
}

fn dead(operation: &'static str, name: &str) -> DiskError {
    let dead = io::Error::other("the process that opened this disk is dead");
    DiskError::new(operation, name, dead)
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Create(name, file) => {
                names.insert(name, file);
            }
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(&from) {
                    names.insert(to, file);
                }
            }
            Self::Remove(name) => {
                names.remove(&name);
            }
        }
    }
}

impl Inner {
    fn next(&mut self) -> u64 {
        self.random.next()
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn change(&mut self, change: NameChange) {
        change.clone().apply(&mut self.names);
        self.changes.push(change);
    }

    fn contents(&mut self, name: &str) -> Option<&mut Contents> {
        self.files.get_mut(self.names.get(name)?)
    }

    fn file(&mut self, name: &str) -> Result<&mut Contents, DiskError> {
        self.contents(name).ok_or_else(|| DiskError::Missing {
            name: name.to_string(),
        })
    }

    fn has_space(&self, more: usize) -> bool {
        let used: usize = self.files.values().map(|c| c.now.len()).sum();
        let capacity = self.faults.capacity_bytes.unwrap_or(u64::MAX);
        (used + more) as u64 <= capacity
    }

    /// What of an unsynced file a power loss leaves.
    fn tear(&mut self, contents: &mut Contents) {
        let grown = contents.now.len().saturating_sub(contents.durable.len());
        let kept = contents.durable.len() + self.below(grown as u64 + 1) as usize;
        contents.durable.resize(kept, 0);
        let mut garbled = Vec::new();
        for sector in std::mem::take(&mut contents.dirty) {
            let start = sector * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(kept).min(contents.now.len());
            let kept_bytes = match self.below(16) {
                0 => {
                    garbled.push(start / BLOCK_BYTES * BLOCK_BYTES);
                    0
                }
                1..4 => 0,
                4..8 => self.below(SECTOR_BYTES as u64) as usize,
                _ => SECTOR_BYTES,
            };
            let end = end.min(start + kept_bytes);
            if start < end {
                contents.durable[start..end].copy_from_slice(&contents.now[start..end]);
            }
        }
        for start in garbled {
            self.garble(contents, start);
        }
        contents.now = contents.durable.clone();
    }

    /// Power was lost inside a sector: what the whole physical one holds is anything.
    fn garble(&mut self, contents: &mut Contents, start: usize) {
        let end = (start + BLOCK_BYTES).min(contents.durable.len());
        for byte in contents.durable.get_mut(start..end).unwrap_or_default() {
            *byte = self.next() as u8;
        }
    }

    /// A failed sync: some sectors arrived, some did not and are tried again by nobody.
    fn fail_sync(&mut self, contents: &mut Contents) {
        contents.durable.resize(contents.now.len(), 0);
        for sector in std::mem::take(&mut contents.dirty) {
            match self.below(3) {
                0 => {
                    contents.dirty.insert(sector);
                }
                // Visible, clean and not on the medium: lost at the next crash.
                1 => {}
                _ => contents.keep(sector),
            }
        }
    }
}

impl Contents {
    fn keep(&mut self, sector: usize) {
        let start = sector * SECTOR_BYTES;
        let end = (start + SECTOR_BYTES).min(self.now.len());
        self.durable[start..end].copy_from_slice(&self.now[start..end]);
    }
}

impl Disk for SimDisk {
    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        Ok(self.live("list", ".")?.names.keys().cloned().collect())
    }

    fn create(&mut self, name: &str, bytes: u64) -> Result<(), DiskError> {
        let mut inner = self.changing("create", name)?;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if !inner.has_space(bytes) {
            return Err(DiskError::Full {
                name: name.to_string(),
            });
        }
        let file = inner.next_file;
        inner.next_file += 1;
        let contents = Contents {
            now: vec![0; bytes],
            dirty: (0..bytes.div_ceil(SECTOR_BYTES)).collect(),
            durable: Vec::new(),
        };
        inner.files.insert(file, contents);
        inner.change(NameChange::Create(name.to_string(), file));
        Ok(())
    }

    fn size(&mut self, name: &str) -> Result<u64, DiskError> {
        Ok(self.live("stat", name)?.file(name)?.now.len() as u64)
    }

    fn read(&mut self, name: &str, offset: u64, bytes: usize) -> Result<Vec<u8>, DiskError> {
        let mut inner = self.live("read", name)?;
        if let Some((code, left @ 1..)) = &mut inner.faults.read_failures {
            *left -= 1;
            let failed = io::Error::from_raw_os_error(*code);
            return Err(DiskError::new("read", name, failed));
        }
        let now = &inner.file(name)?.now;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(now.len());
        let end = start.saturating_add(bytes).min(now.len());
        Ok(now[start..end].to_vec())
    }

    fn write(&mut self, name: &str, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        let mut inner = self.changing("write", name)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(data.len());
        let grown = end.saturating_sub(inner.file(name)?.now.len());
        if grown > 0 && !inner.has_space(grown) {
            return Err(DiskError::Full {
                name: name.to_string(),
            });
        }
        let contents = inner.file(name)?;
        if start > contents.now.len() {
            let beyond = io::Error::other("write beyond the end");
            return Err(DiskError::new("write", name, beyond));
        }
        if contents.now.len() < end {
            contents.now.resize(end, 0);
        }
        contents.now[start..end].copy_from_slice(data);
        if start < end {
            contents
                .dirty
                .extend(start / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES);
        }
        Ok(())
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        let mut inner = self.changing("sync", name)?;
        inner.syncs += 1;
        let delay_max = u64::try_from(inner.faults.sync_delay_max.as_micros()).unwrap_or(u64::MAX);
        let delay = inner.below(delay_max.saturating_add(1));
        inner.delay += Duration::from_micros(delay);
        let one_in = inner.faults.sync_failure_one_in;
        if one_in > 0 && inner.below(one_in) == 0 {
            let failed = io::Error::other("simulated failure");
            let mut contents = std::mem::take(inner.file(name)?);
            inner.fail_sync(&mut contents);
            *inner.file(name)? = contents;
            return Err(DiskError::new("sync", name, failed));
        }
        let contents = inner.file(name)?;
        contents.durable.resize(contents.now.len(), 0);
        for sector in std::mem::take(&mut contents.dirty) {
            contents.keep(sector);
        }
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut inner = self.changing("rename", from)?;
        inner.file(from)?;
        inner.change(NameChange::Rename(from.to_string(), to.to_string()));
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        let mut inner = self.changing("remove", name)?;
        inner.file(name)?;
        inner.change(NameChange::Remove(name.to_string()));
        Ok(())
    }

    fn sync_directory(&mut self) -> Result<(), DiskError> {
        let mut inner = self.changing("sync", ".")?;
        inner.changes.clear();
        inner.durable_names = inner.names.clone();
        let live: BTreeSet<u64> = inner.names.values().copied().collect();
        inner.files.retain(|file, _| live.contains(file));
        Ok(())
    }

    fn take_delay(&mut self) -> Duration {
        std::mem::take(&mut self.lock().delay)
    }
}
