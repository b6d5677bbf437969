//! The files of one directory, as the log and the snapshots need them. Everything durable of this
//! crate goes through this trait, so that a simulated disk can tear, lose, corrupt, fill and slow
//! what a real one does rarely. Nothing here knows what the bytes mean.

mod real;
#[cfg(any(test, feature = "testing"))]
mod sim;

use std::io;
use std::time::Duration;

pub use real::RealDisk;
#[cfg(any(test, feature = "testing"))]
pub use sim::{DiskFaults, SimDisk};

/// What a write has promised when it returns: nothing. Contents are durable after [`Disk::sync`],
/// names after [`Disk::sync_directory`].
pub trait Disk: Send + 'static {
    /// Names of all files, in order.
    fn list(&mut self) -> Result<Vec<String>, DiskError>;
    /// A new file of `bytes` zeros whose space is really reserved; replaces a file of that name.
    fn create(&mut self, name: &str, bytes: u64) -> Result<(), DiskError>;
    /// As [`Disk::create`] and [`Disk::sync`] of a file that nobody needs yet; the work may go on
    /// when this returns. The file is left alone until [`Disk::reserved`] was asked.
    fn reserve(&mut self, name: &str, bytes: u64) -> Result<(), DiskError> {
        self.create(name, bytes)?;
        self.sync(name)
    }
    /// Waits for the end of [`Disk::reserve`] and says what came of it.
    fn reserved(&mut self, _name: &str) -> Result<(), DiskError> {
        Ok(())
    }
    /// Length in bytes.
    fn size(&mut self, name: &str) -> Result<u64, DiskError>;
    /// Reads up to `bytes` bytes; fewer at the end of the file.
    fn read(&mut self, name: &str, offset: u64, bytes: usize) -> Result<Vec<u8>, DiskError>;
    /// Writes within or right behind the end of the file.
    fn write(&mut self, name: &str, offset: u64, data: &[u8]) -> Result<(), DiskError>;
    /// Contents and length of one file are durable when this returns.
    fn sync(&mut self, name: &str) -> Result<(), DiskError>;
    /// Replaces `to` if it exists.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError>;
    fn remove(&mut self, name: &str) -> Result<(), DiskError>;
    /// Creations, renames and removals are durable when this returns.
    fn sync_directory(&mut self) -> Result<(), DiskError>;
    /// How long the work since the last call should have taken: a simulated disk is slow in virtual
    /// time, which only its caller can spend. Real disks have already spent it.
    fn take_delay(&mut self) -> Duration {
        Duration::ZERO
    }
}

impl Disk for Box<dyn Disk> {
    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        (**self).list()
    }

    fn create(&mut self, name: &str, bytes: u64) -> Result<(), DiskError> {
        (**self).create(name, bytes)
    }

    fn reserve(&mut self, name: &str, bytes: u64) -> Result<(), DiskError> {
        (**self).reserve(name, bytes)
    }

    fn reserved(&mut self, name: &str) -> Result<(), DiskError> {
        (**self).reserved(name)
    }

    fn size(&mut self, name: &str) -> Result<u64, DiskError> {
        (**self).size(name)
    }

    fn read(&mut self, name: &str, offset: u64, bytes: usize) -> Result<Vec<u8>, DiskError> {
        (**self).read(name, offset, bytes)
    }

    fn write(&mut self, name: &str, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        (**self).write(name, offset, data)
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        (**self).sync(name)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        (**self).rename(from, to)
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        (**self).remove(name)
    }

    fn sync_directory(&mut self) -> Result<(), DiskError> {
        (**self).sync_directory()
    }

    fn take_delay(&mut self) -> Duration {
        (**self).take_delay()
    }
}

/// Why a disk did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("disk full while writing {name}")]
    Full { name: String },
    #[error("no file {name}")]
    Missing { name: String },
    #[error("{name} is in use by another process")]
    InUse { name: String },
    #[error("cannot {operation} {name}: {source}")]
    Io {
        operation: &'static str,
        name: String,
        source: io::Error,
    },
}

impl DiskError {
    /// The medium could not give back what it holds, as opposed to the system lacking something.
    pub fn is_medium(&self) -> bool {
        let code = rustix::io::Errno::IO.raw_os_error();
        matches!(self, Self::Io { source, .. } if source.raw_os_error() == Some(code))
    }

    fn new(operation: &'static str, name: &str, source: io::Error) -> Self {
        let name = name.to_string();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { name },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { name },
            _ => Self::Io {
                operation,
                name,
                source,
            },
        }
    }
}
