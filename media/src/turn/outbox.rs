//! What waits to be polled: bytes laid end to end in one reused buffer, and what is to become of
//! them. Data for one destination joins into a run as the kernel can segment it (or, on a stream,
//! into one write).

use std::net::SocketAddr;

use crate::limits::{RUN_SEGMENTS_MAX, TURN_OUTBOX_BYTES_MAX};
use crate::transport::stun::{Class, TransactionId};
use crate::types::{Path, Protocol};

use super::message::{Method, Writer};
use super::{Output, RelayId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Destination {
    Client(Path),
    Peer(RelayId, SocketAddr),
}

#[derive(Clone, Copy, Debug)]
enum Queued {
    Data {
        to: Destination,
        start: usize,
        len: usize,
        segment_size: usize,
    },
    OpenRelay(RelayId, SocketAddr),
    CloseRelay(RelayId),
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    queue: Vec<Queued>,
    polled: usize,
}

impl Outbox {
    pub(super) fn next(&mut self) -> Option<Output<'_>> {
        let Some(queued) = self.queue.get(self.polled).copied() else {
            self.bytes.clear();
            self.queue.clear();
            self.polled = 0;
            return None;
        };
        self.polled += 1;
        Some(match queued {
            Queued::OpenRelay(relay, address) => Output::OpenRelay { relay, address },
            Queued::CloseRelay(relay) => Output::CloseRelay { relay },
            Queued::Data {
                to,
                start,
                len,
                segment_size,
            } => {
                let payload = self.bytes.get(start..start + len).unwrap_or_default();
                match to {
                    Destination::Client(path) => Output::ToClient {
                        path,
                        payload,
                        segment_size,
                    },
                    Destination::Peer(relay, to) => Output::ToPeer {
                        relay,
                        to,
                        payload,
                        segment_size,
                    },
                }
            }
        })
    }

    pub(super) fn open_relay(&mut self, relay: RelayId, address: SocketAddr) {
        self.queue.push(Queued::OpenRelay(relay, address));
    }

    pub(super) fn close_relay(&mut self, relay: RelayId) {
        self.queue.push(Queued::CloseRelay(relay));
    }

    /// Appends a message to a client, written by `write`.
    pub(super) fn message(
        &mut self,
        path: Path,
        class: Class,
        method: Method,
        transaction: TransactionId,
        write: impl FnOnce(Writer<'_>),
    ) -> bool {
        let start = self.bytes.len();
        if start > TURN_OUTBOX_BYTES_MAX {
            return false;
        }
        write(Writer::new(&mut self.bytes, class, method, transaction));
        self.commit(Destination::Client(path), start);
        true
    }

    /// Appends channel data to a client; on a stream padded to four bytes (RFC 8656 §12.5).
    pub(super) fn channel_data(&mut self, path: Path, channel: u16, payload: &[u8]) -> bool {
        let (start, Ok(length)) = (self.bytes.len(), u16::try_from(payload.len())) else {
            return false;
        };
        if start > TURN_OUTBOX_BYTES_MAX {
            return false;
        }
        self.bytes.extend_from_slice(&channel.to_be_bytes());
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(payload);
        if path.protocol == Protocol::Tcp {
            let padding = payload.len().next_multiple_of(4) - payload.len();
            self.bytes.extend_from_slice(&[0; 3][..padding]);
        }
        self.commit(Destination::Client(path), start);
        true
    }

    /// Appends a datagram to a peer.
    pub(super) fn datagram(&mut self, relay: RelayId, to: SocketAddr, payload: &[u8]) -> bool {
        let start = self.bytes.len();
        if start > TURN_OUTBOX_BYTES_MAX {
            return false;
        }
        self.bytes.extend_from_slice(payload);
        self.commit(Destination::Peer(relay, to), start);
        true
    }

    /// What was written since `start` joins the last run or begins one.
    fn commit(&mut self, to: Destination, start: usize) {
        let written = self.bytes.len() - start;
        let is_stream = matches!(to, Destination::Client(path) if path.protocol == Protocol::Tcp);
        let waiting = self.polled < self.queue.len();
        if let Some(Queued::Data {
            to: last,
            len,
            segment_size,
            ..
        }) = self.queue.last_mut()
            && waiting
            && *last == to
        {
            let fits = written <= *segment_size
                && len.is_multiple_of(*segment_size)
                && *len / *segment_size < RUN_SEGMENTS_MAX;
            if is_stream || fits {
                *len += written;
                return;
            }
        }
        self.queue.push(Queued::Data {
            to,
            start,
            len: written,
            segment_size: written.max(1),
        });
    }
}
