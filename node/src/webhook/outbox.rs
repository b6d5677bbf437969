//! Undelivered events on disk: an append-only file of checksummed records, rewritten when most of
//! it is done with. An event that was stored is restored until each of its URLs is settled, so a
//! restart may repeat a delivery (with the same event id) but never loses one.
//!
//! File: 8 bytes of magic, then records: length, CRC-32 (both u32, little endian), payload.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use protocol::proto::WebhookEvent;

use super::limits::{GARBAGE_BYTES_MAX, RECORD_BYTES_MAX};
use super::queue::Entry;

/// Name and version of the format.
const MAGIC: &[u8; 8] = b"SKNHOOK1";
const FILE: &str = "webhooks.log";
const NEW_FILE: &str = "webhooks.log.new";
const LOCK_FILE: &str = "lock";
const HEAD_BYTES: usize = 8;

/// The outbox cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    #[error("webhook outbox {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("webhook outbox {0} is in use by another process")]
    Locked(PathBuf),
    #[error("webhook outbox {0} was written by another version or another program")]
    Format(PathBuf),
}

/// An event to deliver to `urls`; without an event: `urls` are done with it.
#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(string, repeated, tag = "2")]
    urls: Vec<String>,
    #[prost(message, optional, tag = "3")]
    event: Option<WebhookEvent>,
}

#[derive(Debug)]
struct Pending {
    entry: Arc<Entry>,
    urls: Vec<String>,
    /// Length of its record in the file.
    bytes: u64,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    directory: PathBuf,
    /// Held for the life of the process.
    _lock: File,
    file: File,
    /// Bytes of whole records in the file.
    length: u64,
    /// Bytes of the file that a rewrite would keep, about.
    needed: u64,
    pending: BTreeMap<u64, Pending>,
    unsynced: bool,
}

/// What an earlier process left undone, oldest first.
pub(crate) struct Restored {
    pub(crate) entry: Arc<Entry>,
    pub(crate) urls: Vec<String>,
}

impl Outbox {
    /// Opens or creates the outbox in `directory`. A torn end, as a crash leaves it, is cut off.
    pub(crate) fn open(directory: &Path) -> Result<(Self, Vec<Restored>), OutboxError> {
        let failed = |source| OutboxError::Io {
            path: directory.to_owned(),
            source,
        };
        fs::create_dir_all(directory).map_err(failed)?;
        let lock = open_private(&directory.join(LOCK_FILE)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OutboxError::Locked(directory.to_owned()));
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let path = directory.join(FILE);
        let mut bytes = Vec::new();
        if path.exists() {
            let mut file = File::open(&path).map_err(failed)?;
            file.read_to_end(&mut bytes).map_err(failed)?;
        }
        // A crash can leave an empty file or a part of the magic, never something else.
        if !MAGIC.starts_with(&bytes[..bytes.len().min(MAGIC.len())]) {
            return Err(OutboxError::Format(path));
        }
        let pending = replay(&bytes);
        let restored = pending.values().map(|pending| Restored {
            entry: pending.entry.clone(),
            urls: pending.urls.clone(),
        });
        let restored = restored.collect();
        // Rewriting at once drops what is done with and what is damaged.
        let (file, length) = rewrite(directory, &pending).map_err(failed)?;
        let outbox = Self {
            directory: directory.to_owned(),
            _lock: lock,
            file,
            length,
            needed: length,
            pending,
            unsynced: false,
        };
        Ok((outbox, restored))
    }

    /// Above every sequence number in the outbox.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.pending
            .last_key_value()
            .map_or(0, |(sequence, _)| sequence + 1)
    }

    pub(crate) fn store(&mut self, entry: Arc<Entry>, urls: Vec<String>) -> io::Result<()> {
        let record = record_of(&entry, &urls);
        if record.len() - HEAD_BYTES > RECORD_BYTES_MAX {
            // Read back it would pass for damage and hide all that follow it.
            let problem = format!(
                "an event of {} bytes is delivered but not kept",
                record.len()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        let bytes = record.len() as u64;
        self.pending
            .insert(entry.sequence, Pending { entry, urls, bytes });
        self.needed += bytes;
        self.append(&record)
    }

    /// `url` is done with the event.
    pub(crate) fn settle(&mut self, sequence: u64, url: &str) -> io::Result<()> {
        let Some(pending) = self.pending.get_mut(&sequence) else {
            return Ok(());
        };
        pending.urls.retain(|waiting| waiting != url);
        if pending.urls.is_empty() {
            self.needed = self.needed.saturating_sub(pending.bytes);
            self.pending.remove(&sequence);
        }
        let done = Record {
            sequence,
            urls: vec![url.to_owned()],
            event: None,
        };
        self.append(&frame(&done))?;
        if self.length.saturating_sub(self.needed) > GARBAGE_BYTES_MAX {
            self.compact()?;
        }
        Ok(())
    }

    pub(crate) fn is_unsynced(&self) -> bool {
        self.unsynced
    }

    /// Makes everything stored so far survive a loss of power.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.unsynced = false;
        self.file.sync_data()
    }

    fn append(&mut self, record: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(record) {
            // Half a record would hide all that follow it.
            self.file.set_len(self.length)?;
            return Err(error);
        }
        self.length += record.len() as u64;
        self.unsynced = true;
        Ok(())
    }

    fn compact(&mut self) -> io::Result<()> {
        let (file, length) = rewrite(&self.directory, &self.pending)?;
        (self.file, self.length, self.needed) = (file, length, length);
        self.unsynced = false;
        Ok(())
    }
}

/// Puts a file with just `pending` in the place of the old one, all or nothing.
fn rewrite(directory: &Path, pending: &BTreeMap<u64, Pending>) -> io::Result<(File, u64)> {
    let new = directory.join(NEW_FILE);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = open_private(&new)?;
    let mut length = MAGIC.len() as u64;
    file.write_all(MAGIC)?;
    for Pending { entry, urls, .. } in pending.values() {
        let record = record_of(entry, urls);
        file.write_all(&record)?;
        length += record.len() as u64;
    }
    file.sync_all()?;
    fs::rename(&new, directory.join(FILE))?;
    File::open(directory)?.sync_all()?;
    Ok((file, length))
}

/// Appends; readable by nobody else, for events carry names and metadata of people.
fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn record_of(entry: &Entry, urls: &[String]) -> Vec<u8> {
    let event = Some(entry.event.clone());
    frame(&Record {
        sequence: entry.sequence,
        urls: urls.to_vec(),
        event,
    })
}

fn frame(record: &Record) -> Vec<u8> {
    let payload = record.encode_to_vec();
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut framed = Vec::with_capacity(HEAD_BYTES + payload.len());
    framed.extend_from_slice(&length.to_le_bytes());
    framed.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
    framed.extend_from_slice(&payload);
    framed
}

/// What is still to be delivered according to the records, up to the first damaged one.
fn replay(bytes: &[u8]) -> BTreeMap<u64, Pending> {
    let mut pending = BTreeMap::new();
    let mut rest = bytes.get(MAGIC.len()..).unwrap_or_default();
    while let Some((record, after)) = next_record(rest) {
        let bytes = (rest.len() - after.len()) as u64;
        rest = after;
        let Record {
            sequence,
            urls,
            event,
        } = record;
        match event {
            Some(event) => {
                let entry = Arc::new(Entry {
                    sequence,
                    bytes: event.encoded_len(),
                    event,
                });
                pending.insert(sequence, Pending { entry, urls, bytes });
            }
            None => {
                let Some(known) = pending.get_mut(&sequence) else {
                    continue;
                };
                known.urls.retain(|url| !urls.contains(url));
                if known.urls.is_empty() {
                    pending.remove(&sequence);
                }
            }
        }
    }
    if !rest.is_empty() {
        tracing::warn!(
            bytes = rest.len(),
            "the end of the webhook outbox is damaged: cut off"
        );
    }
    pending
}

fn next_record(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let (length, checksum) = head.split_at_checked(4)?;
    let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
    let checksum = u32::from_le_bytes(checksum.try_into().ok()?);
    if length > RECORD_BYTES_MAX {
        return None;
    }
    let (payload, rest) = rest.split_at_checked(length)?;
    if crc32fast::hash(payload) != checksum {
        return None;
    }
    Some((Record::decode(payload).ok()?, rest))
}

#[cfg(test)]
mod tests;
