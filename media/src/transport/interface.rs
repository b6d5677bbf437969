//! What goes into and comes out of a `Transport`: options, received packets, outputs, counters.

use std::net::SocketAddr;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::event::TransportState;
use crate::types::{Path, Protocol};

/// Room a sealed RTP packet needs behind its plaintext, in bytes, whatever the profile.
pub const SRTP_TAIL_BYTES: usize = 16;
/// Room a sealed RTCP packet needs behind its plaintext, in bytes, whatever the profile.
pub const SRTCP_TAIL_BYTES: usize = 20;

/// How a transport behaves; the default suits a server's side.
#[derive(Clone, Debug)]
pub struct TransportOptions {
    /// Take the controlling role from the start.
    pub controlling: bool,
    /// Settles role conflicts; the higher one controls.
    pub tie_breaker: u64,
    /// Own addresses to check remote candidates from. Empty: only answer and check back, which is
    /// all a server on public addresses needs.
    pub local_addresses: SmallVec<[(Protocol, SocketAddr); 4]>,
}

impl Default for TransportOptions {
    fn default() -> TransportOptions {
        TransportOptions {
            controlling: false,
            tie_breaker: u64::MAX,
            local_addresses: SmallVec::new(),
        }
    }
}

/// What became of one datagram.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// A decrypted RTP packet. `replayed`: its index was seen before; Firefox probes bandwidth
    /// with such packets, so they count for feedback but are not forwarded.
    Rtp {
        packet: &'a mut [u8],
        replayed: bool,
    },
    /// A decrypted compound RTCP packet.
    Rtcp {
        packet: &'a mut [u8],
    },
    /// STUN, DTLS or SCTP: results come from `Transport::poll`.
    Consumed,
    Dropped(DropReason),
}

/// Why a datagram was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Not a protocol of ours, or not well-formed.
    Malformed,
    /// From an address that never sent an authenticated check.
    UnknownPath,
    /// Wrong integrity, tag or credentials.
    Unauthenticated,
    /// Media before the handshake is done.
    NotReady,
    /// A duplicate where one is never wanted (RTCP).
    Replayed,
    /// The transport is frozen or closed.
    Silent,
}

/// What a transport wants done or known.
#[derive(Debug)]
pub enum TransportOutput {
    Transmit { path: Path, payload: Bytes },
    Event(TransportEvent),
}

#[derive(Debug, PartialEq, Eq)]
pub enum TransportEvent {
    State(TransportState),
    /// The selected pair changed (first selection included).
    PathSelected(Path),
    /// Open in both directions, ours or the peer's.
    ChannelOpen {
        label: String,
    },
    ChannelClosed {
        label: String,
    },
    Data {
        label: String,
        payload: Bytes,
        binary: bool,
    },
}

/// What became of a message given to `Transport::send_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    Queued,
    /// No open channel of that label.
    NoChannel,
    /// The channel's buffer is full: normal for a lossy channel, counted for a reliable one.
    Congested,
    /// Longer than the peer accepts.
    TooLong,
}

/// Counters since the transport began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransportCounters {
    pub datagrams_in: u64,
    pub bytes_in: u64,
    pub dropped: u64,
    pub unauthenticated: u64,
    pub replayed: u64,
    pub data_dropped: u64,
}

/// A snapshot that cannot be thawed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("snapshot version {0} is not understood")]
    Version(u16),
    #[error("snapshot is damaged")]
    Damaged,
    #[error("a delta before it is missing")]
    Missing,
    #[error("DTLS state in the snapshot is not usable: {0}")]
    Dtls(String),
}
