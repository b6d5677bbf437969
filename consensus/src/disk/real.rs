//! A directory of the file system. Synced with fdatasync; space is reserved by writing zeros, so
//! that a later flush changes no metadata.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Disk, DiskError};
use crate::limits::DISK_OPEN_FILES_MAX;

/// Zeros written at a time when a file is created.
const ZEROS_BYTES: usize = 256 * 1024;

#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
    directory: File,
    open: BTreeMap<String, File>,
}

impl RealDisk {
    /// Opens `root`, creating it (and making its name durable) if it does not exist.
    pub fn open(root: &Path) -> Result<Self, DiskError> {
        let name = root.display().to_string();
        if !root.is_dir() {
            fs::create_dir_all(root).map_err(|e| DiskError::new("create", &name, e))?;
            if let Some(parent) = root.parent().filter(|p| !p.as_os_str().is_empty()) {
                File::open(parent)
                    .and_then(|d| d.sync_all())
                    .map_err(|e| DiskError::new("sync", &name, e))?;
            }
        }
        let directory = File::open(root).map_err(|e| DiskError::new("open", &name, e))?;
        Ok(Self {
            root: root.to_path_buf(),
            directory,
            open: BTreeMap::new(),
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

    fn keep(&mut self, name: &str, file: File) {
        if self.open.len() >= DISK_OPEN_FILES_MAX {
            self.open.pop_first();
        }
        self.open.insert(name.to_string(), file);
    }
}

fn fill_with_zeros(file: &File, bytes: u64) -> io::Result<()> {
    // Reserves first, so that a full disk is told before anything is written; file systems that
    // cannot reserve find out while writing.
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
        Err(e) => return Err(e.into()),
    }
    let zeros = vec![0; ZEROS_BYTES];
    let mut at = 0;
    while at < bytes {
        let run = ZEROS_BYTES.min(usize::try_from(bytes - at).unwrap_or(ZEROS_BYTES));
        file.write_all_at(&zeros[..run], at)?;
        at += run as u64;
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
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.root.join(name))
            .map_err(failed)?;
        if bytes > 0 {
            fill_with_zeros(&file, bytes).map_err(failed)?;
        }
        self.keep(name, file);
        Ok(())
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
