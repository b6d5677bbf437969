//! A directory of the file system, locked against other processes. Synced with fdatasync; space is
//! reserved by writing zeros, so that a later flush changes no metadata.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::Errno;

use super::{Disk, DiskError};
use crate::limits::DISK_OPEN_FILES_MAX;

/// Zeros written at a time when a file is created.
const ZEROS_BYTES: usize = 256 * 1024;
/// Zeros synced at a time when that is done beside other work: what another sync may have to wait
/// for.
const RESERVE_STEP_BYTES: u64 = 1 << 20;

#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
    /// Holds the lock for as long as the disk lives.
    directory: File,
    open: BTreeMap<String, File>,
    /// Threads that reserve the space of files.
    reserving: BTreeMap<String, JoinHandle<io::Result<()>>>,
}

/// The next process may create files of the same names.
impl Drop for RealDisk {
    fn drop(&mut self) {
        while let Some((_, thread)) = self.reserving.pop_first() {
            let _ = thread.join();
        }
    }
}

impl RealDisk {
    /// Opens `root` for this process alone, creating it and the directories above it. All their
    /// names are durable when it returns.
    pub fn open(root: &Path) -> Result<Self, DiskError> {
        let name = root.display().to_string();
        fs::create_dir_all(root).map_err(|e| DiskError::new("create", &name, e))?;
        // At every open: the process that created them may have died before it synced them.
        for parent in root.ancestors().skip(1) {
            sync_parent(parent).map_err(|e| DiskError::new("sync", &name, e))?;
        }
        let directory = File::open(root).map_err(|e| DiskError::new("open", &name, e))?;
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(DiskError::InUse { name }),
            Err(e) => return Err(DiskError::new("lock", &name, e.into())),
        }
        Ok(Self {
            root: root.to_path_buf(),
            directory,
            open: BTreeMap::new(),
            reserving: BTreeMap::new(),
        })
    }

    fn file(&mut self, name: &str) -> Result<&File, DiskError> {
        if !self.open.contains_key(name) {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .open(self.root.join(name))
                .map_err(|e| DiskError::new("open", name, e))?;
            self.keep(name, file);
        }
        self.open.get(name).ok_or_else(|| DiskError::Missing {
            name: name.to_string(),
        })
    }

    fn create_empty(&self, name: &str) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.root.join(name))
    }

    fn keep(&mut self, name: &str, file: File) {
        if self.open.len() >= DISK_OPEN_FILES_MAX {
            self.open.pop_first();
        }
        self.open.insert(name.to_string(), file);
    }
}

fn sync_parent(parent: &Path) -> io::Result<()> {
    let parent = match parent.as_os_str().is_empty() {
        true => Path::new("."),
        false => parent,
    };
    match File::open(parent).and_then(|directory| directory.sync_all()) {
        // Not ours, or of a file system that is not written to: nothing of it can be new.
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::PermissionDenied
                    | io::ErrorKind::ReadOnlyFilesystem
                    | io::ErrorKind::InvalidInput
            ) =>
        {
            Ok(())
        }
        done => done,
    }
}

fn fill_with_zeros(file: &File, bytes: u64, sync_every: u64) -> io::Result<()> {
    // Reserves first, so that a full disk is told before anything is written; file systems that
    // cannot reserve find out while writing.
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        Err(e) => return Err(e.into()),
    }
    let zeros = vec![0; ZEROS_BYTES];
    let mut at = 0;
    while at < bytes {
        let run = ZEROS_BYTES.min(usize::try_from(bytes - at).unwrap_or(ZEROS_BYTES));
        file.write_all_at(&zeros[..run], at)?;
        at += run as u64;
        if at.is_multiple_of(sync_every) {
            file.sync_data()?;
        }
    }
    Ok(())
}

impl Disk for RealDisk {
    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        let failed = |e| DiskError::new("list", ".", e);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn create(&mut self, name: &str, bytes: u64) -> Result<(), DiskError> {
        let failed = |e| DiskError::new("create", name, e);
        let file = self.create_empty(name).map_err(failed)?;
        if bytes > 0 {
            fill_with_zeros(&file, bytes, u64::MAX).map_err(failed)?;
        }
        self.keep(name, file);
        Ok(())
    }

    fn reserve(&mut self, name: &str, bytes: u64) -> Result<(), DiskError> {
        let failed = |e| DiskError::new("reserve", name, e);
        self.reserved(name)?;
        let file = self.create_empty(name).map_err(failed)?;
        let filled = file.try_clone().map_err(failed)?;
        let fill = move || {
            fill_with_zeros(&filled, bytes, RESERVE_STEP_BYTES)?;
            filled.sync_all()
        };
        let thread = thread::Builder::new().name("reserve".into());
        let thread = thread.spawn(fill).map_err(failed)?;
        self.keep(name, file);
        self.reserving.insert(name.to_string(), thread);
        Ok(())
    }

    fn reserved(&mut self, name: &str) -> Result<(), DiskError> {
        let Some(thread) = self.reserving.remove(name) else {
            return Ok(());
        };
        let died = |_| io::Error::other("the thread that reserved it is gone");
        let filled = thread.join().map_err(died).and_then(|filled| filled);
        filled.map_err(|e| DiskError::new("reserve", name, e))
    }

    fn size(&mut self, name: &str) -> Result<u64, DiskError> {
        let metadata = self.file(name)?.metadata();
        Ok(metadata.map_err(|e| DiskError::new("stat", name, e))?.len())
    }

    fn read(&mut self, name: &str, offset: u64, bytes: usize) -> Result<Vec<u8>, DiskError> {
        let rest = self.size(name)?.saturating_sub(offset);
        let mut data = vec![0; bytes.min(usize::try_from(rest).unwrap_or(bytes))];
        self.file(name)?
            .read_exact_at(&mut data, offset)
            .map_err(|e| DiskError::new("read", name, e))?;
        Ok(data)
    }

    fn write(&mut self, name: &str, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.file(name)?
            .write_all_at(data, offset)
            .map_err(|e| DiskError::new("write", name, e))
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        self.file(name)?
            .sync_data()
            .map_err(|e| DiskError::new("sync", name, e))
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        fs::rename(self.root.join(from), self.root.join(to))
            .map_err(|e| DiskError::new("rename", from, e))?;
        self.open.remove(to);
        if let Some(file) = self.open.remove(from) {
            self.keep(to, file);
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.open.remove(name);
        fs::remove_file(self.root.join(name)).map_err(|e| DiskError::new("remove", name, e))
    }

    fn sync_directory(&mut self) -> Result<(), DiskError> {
        self.directory
            .sync_all()
            .map_err(|e| DiskError::new("sync", ".", e))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_directory_belongs_to_one_disk_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let first = RealDisk::open(root.path()).unwrap();
        let second = RealDisk::open(root.path());
        assert!(matches!(second, Err(DiskError::InUse { .. })), "{second:?}");
        drop(first);
        assert!(RealDisk::open(root.path()).is_ok());
    }

    #[test]
    fn a_directory_deep_in_others_that_do_not_exist_is_created() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("lib/skein/n7/raft");
        RealDisk::open(&path).unwrap().create("file", 10).unwrap();
        assert_eq!(RealDisk::open(&path).unwrap().list().unwrap(), ["file"]);
    }

    #[test]
    fn a_file_is_reserved_beside_other_work() {
        let root = tempfile::tempdir().unwrap();
        let mut disk = RealDisk::open(root.path()).unwrap();
        disk.reserve("next", 3 << 20).unwrap();
        disk.create("now", 10).unwrap();
        disk.reserved("next").unwrap();
        disk.reserved("next").unwrap();
        assert_eq!(disk.size("next").unwrap(), 3 << 20);
        assert_eq!(disk.read("next", 2 << 20, 9).unwrap(), [0; 9]);
        disk.rename("next", "now").unwrap();
        assert_eq!(disk.size("now").unwrap(), 3 << 20);
        disk.reserve("next", 1 << 20).unwrap();
        drop(disk);
        let mut disk = RealDisk::open(root.path()).unwrap();
        assert_eq!(disk.size("next").unwrap(), 1 << 20);
    }
}
