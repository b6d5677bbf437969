//! One peer connection's packet path: ICE, DTLS, SRTP and SCTP behind one sans-IO value. A shard
//! owns it, feeds datagrams and time, drains `poll`. It decides nothing about media; hostile bytes
//! are dropped and counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::event::TransportState;
use crate::types::{IceCredentials, Path, Protocol, Reliability, RemoteCandidate, RemoteTransport};

mod identity;
pub mod stun;

pub use identity::{DtlsIdentity, IdentityError};

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
    #[error("DTLS state in the snapshot is not usable: {0}")]
    Dtls(String),
}

/// One peer connection's packet path.
pub struct Transport {
    _identity: Arc<DtlsIdentity>,
}

impl Transport {
    /// A transport that answers checks for `local`. `seed` feeds transaction ids and the like.
    pub fn new(
        local: IceCredentials,
        identity: &Arc<DtlsIdentity>,
        options: TransportOptions,
        seed: [u8; 32],
    ) -> Transport {
        let _ = (local, options, seed);
        Transport {
            _identity: Arc::clone(identity),
        }
    }

    /// Continues a frozen transport without a handshake. Nothing is sent to a path until it is
    /// nominated by `nominate` or by the peer.
    pub fn thaw(
        now: Instant,
        snapshot: &[u8],
        identity: &Arc<DtlsIdentity>,
        options: TransportOptions,
        seed: [u8; 32],
    ) -> Result<Transport, SnapshotError> {
        let _ = (now, snapshot, identity, options, seed);
        Err(SnapshotError::Damaged)
    }

    /// Applies a remote description; other credentials than before are the peer's ICE restart.
    pub fn set_remote(&mut self, now: Instant, remote: RemoteTransport) {
        let _ = (now, remote);
    }

    pub fn add_remote_candidate(&mut self, now: Instant, candidate: RemoteCandidate) {
        let _ = (now, candidate);
    }

    /// Our side of an ICE restart: `local` is answered from now on, the old ones until the new
    /// pair carries.
    pub fn restart_ice(&mut self, now: Instant, local: IceCredentials) {
        let _ = (now, local);
    }

    /// Takes control and moves the peer to `path` (takeover, drain).
    pub fn nominate(&mut self, now: Instant, path: Path) {
        let _ = (now, path);
    }

    pub fn open_channel(&mut self, now: Instant, label: &str, reliability: Reliability) {
        let _ = (now, label, reliability);
    }

    pub fn send_data(
        &mut self,
        now: Instant,
        label: &str,
        payload: Bytes,
        binary: bool,
    ) -> SendOutcome {
        let _ = (now, label, payload, binary);
        SendOutcome::NoChannel
    }

    pub fn close(&mut self, now: Instant) {
        let _ = now;
    }

    /// Everything another shard or node needs to continue; this transport is silent afterwards.
    pub fn freeze(&mut self, now: Instant) -> Bytes {
        let _ = now;
        Bytes::new()
    }

    /// Takes one datagram. RTP and RTCP are decrypted in place; everything else is consumed and
    /// shows up in `poll`.
    pub fn handle_datagram<'a>(
        &mut self,
        now: Instant,
        path: Path,
        datagram: &'a mut [u8],
    ) -> Received<'a> {
        let _ = (now, path, datagram);
        Received::Dropped(DropReason::Malformed)
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    pub fn poll(&mut self) -> Option<TransportOutput> {
        None
    }

    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Where media goes; `None` until a pair is valid.
    pub fn selected_path(&self) -> Option<Path> {
        None
    }

    /// Whether `path` belongs to this transport: an authenticated check came from it.
    pub fn knows_path(&self, path: &Path) -> bool {
        let _ = path;
        false
    }

    /// ICE and DTLS are done.
    pub fn is_connected(&self) -> bool {
        false
    }

    /// Seals the RTP packet `buf[..len]` in place and returns its new length; `buf` needs
    /// `SRTP_TAIL_BYTES` behind `len`. `None`: not connected, no room, or this packet's index was
    /// sealed before (a retransmission on the same SSRC needs RTX).
    pub fn seal_rtp(&mut self, buf: &mut [u8], len: usize) -> Option<usize> {
        let _ = (buf, len);
        None
    }

    /// Seals the compound RTCP packet `buf[..len]` in place; `buf` needs `SRTCP_TAIL_BYTES` behind.
    pub fn seal_rtcp(&mut self, buf: &mut [u8], len: usize) -> Option<usize> {
        let _ = (buf, len);
        None
    }

    /// Sequence number a sender of `ssrc` has to go on with after a thaw.
    pub fn resume_sequence(&self, ssrc: u32) -> Option<u16> {
        let _ = ssrc;
        None
    }

    pub fn counters(&self) -> TransportCounters {
        TransportCounters::default()
    }
}
