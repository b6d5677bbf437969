//! One node's disks: who it is, its log, its snapshots. Opening them says what they are worth:
//! nothing yet, ready, or corrupt. A corrupt store never votes again under its id: `abandon` it and
//! join under a new one as learner.

use rkyv::{Archive, Deserialize, Serialize};

use crate::disk::{Disk, DiskError};
use crate::encoding::{Content, EncodingError, decode, encode};
use crate::ids::NodeId;
use crate::snapshot::{SnapshotError, SnapshotStore};
use crate::wal::{Opened, Wal, WalError, WalOptions};

const IDENTITY: &str = "identity";
const IDENTITY_NEW: &str = "identity.new";

/// Who this store belongs to; the node never changes.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Drawn when the cluster was created: nodes of two clusters never mix.
    pub cluster: u64,
    pub node: NodeId,
}

/// The two directories of a node.
pub struct Disks {
    pub log: Box<dyn Disk>,
    pub snapshots: Box<dyn Disk>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk does not work, or not now.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The same, found by raft while it began.
    #[error("{0}")]
    Storage(String),
    /// What it holds cannot be trusted.
    #[error("{0}; this node must come back under a new id")]
    Corrupt(String),
    /// Written by a newer program: nothing is lost, upgrade.
    #[error("{0}")]
    TooNew(String),
    #[error("{0}")]
    Other(String),
}

/// What [`Store::open`] found.
pub enum Found {
    /// Never used; [`Store::create`] takes the disks.
    Nothing(Disks),
    Ready(Box<Store>),
}

pub struct Store {
    pub identity: Identity,
    pub(crate) wal: Wal<Box<dyn Disk>>,
    pub(crate) snapshots: SnapshotStore<Box<dyn Disk>>,
}

impl Store {
    pub fn open(mut disks: Disks, options: WalOptions) -> Result<Found, StoreError> {
        let names = disks.log.list()?;
        let identity = match names.iter().any(|name| name == IDENTITY) {
            true => Some(read_identity(&mut disks.log)?),
            false => None,
        };
        let snapshots = SnapshotStore::open(disks.snapshots)?;
        match (Wal::open(disks.log, options)?, identity) {
            (Opened::Ready(wal), Some(identity)) => Ok(Found::Ready(Box::new(Self {
                identity,
                wal,
                snapshots,
            }))),
            (Opened::Missing(log), None) => Ok(Found::Nothing(Disks {
                log,
                snapshots: snapshots.into_disk(),
            })),
            // Created, but the process died before it knew who it was: nothing was promised yet.
            (Opened::Ready(wal), None) if wal.vote().is_none() && wal.next() == 0 => {
                let mut log = wal.into_disk();
                remove_all(&mut log)?;
                Ok(Found::Nothing(Disks {
                    log,
                    snapshots: snapshots.into_disk(),
                }))
            }
            (Opened::Ready(_), None) => Err(StoreError::Corrupt(
                "the identity of this node is gone".into(),
            )),
            (Opened::Missing(_), Some(_)) => {
                Err(StoreError::Corrupt("the log of this node is gone".into()))
            }
        }
    }

    /// `wal_id` is random.
    pub fn create(
        disks: Disks,
        options: WalOptions,
        identity: Identity,
        wal_id: u64,
    ) -> Result<Self, StoreError> {
        let mut wal = Wal::create(disks.log, options, wal_id)?;
        write_identity(wal.disk(), &identity)?;
        Ok(Self {
            identity,
            wal,
            snapshots: SnapshotStore::open(disks.snapshots)?,
        })
    }

    /// The cluster goes by another number from now on, as its secret was exchanged; log and vote
    /// are the same.
    pub fn rename_cluster(&mut self, cluster: u64) -> Result<(), StoreError> {
        let node = self.identity.node;
        let identity = Identity { cluster, node };
        write_identity(self.wal.disk(), &identity)?;
        self.identity = identity;
        Ok(())
    }

    /// Deletes everything, so that the node can join under a new id. The cluster has what this one
    /// acknowledged; nothing here is needed any more.
    pub fn abandon(disks: &mut Disks) -> Result<(), StoreError> {
        remove_all(&mut disks.log)?;
        remove_all(&mut disks.snapshots)?;
        Ok(())
    }
}

fn remove_all(disk: &mut Box<dyn Disk>) -> Result<(), DiskError> {
    // The identity last: without it the rest is nothing.
    let mut names = disk.list()?;
    names.sort_by_key(|name| name == IDENTITY);
    for name in names {
        disk.remove(&name)?;
        disk.sync_directory()?;
    }
    Ok(())
}

fn write_identity(log: &mut Box<dyn Disk>, identity: &Identity) -> Result<(), StoreError> {
    let bytes = encode(Content::Identity, identity).map_err(other)?;
    let mut sealed = crc32fast::hash(&bytes).to_le_bytes().to_vec();
    sealed.extend_from_slice(&bytes);
    log.create(IDENTITY_NEW, 0)?;
    log.write(IDENTITY_NEW, 0, &sealed)?;
    log.sync(IDENTITY_NEW)?;
    log.rename(IDENTITY_NEW, IDENTITY)?;
    log.sync_directory()?;
    Ok(())
}

fn read_identity(disk: &mut Box<dyn Disk>) -> Result<Identity, StoreError> {
    let bytes = disk.read(IDENTITY, 0, 4_096)?;
    let split = bytes.split_at_checked(4);
    let sealed = split.filter(|(crc, rest)| **crc == crc32fast::hash(rest).to_le_bytes());
    let Some((_, rest)) = sealed else {
        return Err(StoreError::Corrupt("the identity does not verify".into()));
    };
    decode(Content::Identity, rest).map_err(|error| match error {
        EncodingError::TooNew { .. } => StoreError::TooNew(error.to_string()),
        error => StoreError::Corrupt(error.to_string()),
    })
}

fn other(error: impl std::fmt::Display) -> StoreError {
    StoreError::Other(error.to_string())
}

impl From<WalError> for StoreError {
    fn from(error: WalError) -> Self {
        match error {
            WalError::Disk(error) => Self::Disk(error),
            WalError::Corrupt(error) => Self::Corrupt(error.to_string()),
            error => Self::Other(error.to_string()),
        }
    }
}

impl From<SnapshotError> for StoreError {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Disk(error) => Self::Disk(error),
            SnapshotError::Corrupt(error) => Self::Corrupt(error.to_string()),
        }
    }
}
