//! The versioned snapshot of a transport: what another shard or node needs to go on without a
//! handshake. Counters in it lie behind everything the transport used or, followed, may use.

use std::net::SocketAddr;

use rkyv::rancor;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use super::SnapshotError;

/// Raised with every change of the layout; a node thaws the versions it knows.
pub(super) const VERSION: u16 = 3;
const MAGIC: [u8; 6] = *b"skein\0";
const HEAD_BYTES: usize = 8;

/// A finished DTLS association. Fields and order are those of rtc-dtls 0.21.1's serialized state,
/// so that both convert into each other; `sequence_number` is ours to move.
#[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Eq)]
pub(super) struct DtlsSnapshot {
    pub(super) local_epoch: u16,
    pub(super) remote_epoch: u16,
    pub(super) local_random: [u8; 32],
    pub(super) remote_random: [u8; 32],
    pub(super) cipher_suite_id: u16,
    pub(super) master_secret: Vec<u8>,
    pub(super) sequence_number: u64,
    pub(super) srtp_protection_profile: u16,
    pub(super) peer_certificates: Vec<Vec<u8>>,
    pub(super) identity_hint: Vec<u8>,
    pub(super) is_client: bool,
}

impl DtlsSnapshot {
    pub(super) fn from_library(marshalled: &[u8]) -> Option<DtlsSnapshot> {
        let aligned = align(marshalled);
        rkyv::from_bytes::<DtlsSnapshot, rancor::Error>(&aligned).ok()
    }

    pub(super) fn to_library(&self) -> Result<AlignedVec, String> {
        rkyv::to_bytes::<rancor::Error>(self).map_err(|error| error.to_string())
    }
}

/// The last index used of one SSRC.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamSnapshot {
    pub(super) ssrc: u32,
    pub(super) highest: u64,
}

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(super) struct ChannelSnapshot {
    pub(super) stream: u16,
    pub(super) label: String,
    pub(super) ordered: bool,
    /// 0 = reliable, 1 = number of retransmissions, 2 = lifetime in milliseconds.
    pub(super) limit_kind: u8,
    pub(super) limit: u32,
    pub(super) open: bool,
}

#[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Eq)]
pub(super) struct TransportSnapshot {
    pub(super) local_ufrag: String,
    pub(super) local_pwd: String,
    pub(super) remote_ufrag: String,
    pub(super) remote_pwd: String,
    /// Last NOMINATION value sent; whoever goes on has to exceed it.
    pub(super) nomination: u32,
    /// The client's address on the selected path.
    pub(super) client: Option<SocketAddr>,
    /// The client lets the primary choose its path, and is to be checked by the standby.
    pub(super) led: bool,
    pub(super) dtls: Option<DtlsSnapshot>,
    pub(super) fingerprint_algorithm: String,
    pub(super) fingerprint: Vec<u8>,
    pub(super) rtp_in: Vec<StreamSnapshot>,
    pub(super) rtp_out: Vec<StreamSnapshot>,
    /// First index of outgoing streams that are not listed.
    pub(super) unknown_first: u64,
    /// First SRTCP index to use.
    pub(super) rtcp_out: u32,
    pub(super) sctp: bool,
    pub(super) max_message_bytes: u32,
    pub(super) channels: Vec<ChannelSnapshot>,
}

impl TransportSnapshot {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut raw = Vec::with_capacity(1024);
        raw.extend_from_slice(&MAGIC);
        raw.extend_from_slice(&VERSION.to_le_bytes());
        if let Ok(body) = rkyv::to_bytes::<rancor::Error>(self) {
            raw.extend_from_slice(&body);
        }
        raw
    }

    pub(super) fn decode(raw: &[u8]) -> Result<TransportSnapshot, SnapshotError> {
        let (head, body) = raw
            .split_at_checked(HEAD_BYTES)
            .ok_or(SnapshotError::Damaged)?;
        if head[..MAGIC.len()] != MAGIC {
            return Err(SnapshotError::Damaged);
        }
        let version = u16::from_le_bytes([head[6], head[7]]);
        if version != VERSION {
            return Err(SnapshotError::Version(version));
        }
        rkyv::from_bytes::<TransportSnapshot, rancor::Error>(&align(body))
            .map_err(|_| SnapshotError::Damaged)
    }
}

/// rkyv reads aligned bytes only; what comes from a `Vec` or the network may not be.
fn align(raw: &[u8]) -> AlignedVec {
    let mut aligned = AlignedVec::with_capacity(raw.len());
    aligned.extend_from_slice(raw);
    aligned
}

#[cfg(test)]
mod tests;
