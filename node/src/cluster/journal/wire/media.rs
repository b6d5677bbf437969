//! What is said of transports, in both directions. Hostile: a key must name a transport of the room
//! it is said of, and addresses are few and of machines.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use prost::Message;

use super::{FromStandby, WireRoom};
use crate::cluster::limits::STANDBY_ADDRESSES_MAX;
use crate::cluster::session_wire::WireError;
use crate::participant::KeySpace;
use crate::room::journal::{CannotReason, MediaChange, MediaEntry, StandbyWord};

/// A `MediaEntry`: an image, a delta, or neither, when the transport is gone.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WireMedia {
    #[prost(uint64, tag = "1")]
    pub(super) transport: u64,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(super) image: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(super) delta: Option<Bytes>,
    #[prost(string, tag = "4")]
    pub(super) participant_sid: String,
    #[prost(uint32, tag = "5")]
    pub(super) transports: u32,
    #[prost(uint32, tag = "6")]
    pub(super) shard: u32,
    #[prost(bool, tag = "7")]
    pub(super) probe: bool,
    /// It is of no transport, and says which are left.
    #[prost(bool, tag = "8")]
    pub(super) only: bool,
    #[prost(uint64, repeated, tag = "9")]
    pub(super) left: Vec<u64>,
}

impl WireMedia {
    pub(super) fn of(entry: &MediaEntry) -> Self {
        let mut wire = Self {
            transport: entry.transport,
            ..Self::default()
        };
        match &entry.change {
            MediaChange::Image {
                participant_sid,
                transports,
                shard,
                probe,
                image,
            } => {
                wire.participant_sid.clone_from(participant_sid);
                (wire.transports, wire.shard) = (*transports, *shard);
                wire.probe = *probe;
                wire.image = Some(image.clone());
            }
            MediaChange::Delta(delta) => wire.delta = Some(delta.clone()),
            MediaChange::Gone => {}
            MediaChange::Only(left) => {
                wire.only = true;
                wire.left.clone_from(left);
            }
        }
        wire
    }

    /// A transport of this room: a key with a part that names another is refused.
    pub(super) fn entry(self) -> Result<MediaEntry, WireError> {
        if KeySpace::within_room(self.transport) != self.transport {
            return Err(WireError::Malformed);
        }
        let change = match (self.image, self.delta) {
            (Some(image), _) => MediaChange::Image {
                participant_sid: self.participant_sid,
                transports: self.transports,
                shard: self.shard,
                probe: self.probe,
                image,
            },
            (None, Some(delta)) => MediaChange::Delta(delta),
            (None, None) if self.only => MediaChange::Only(self.left),
            (None, None) => MediaChange::Gone,
        };
        Ok(MediaEntry {
            transport: self.transport,
            change,
        })
    }
}

/// A `StandbyWord`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WireWord {
    #[prost(message, required, tag = "1")]
    pub(super) of: WireRoom,
    #[prost(uint64, tag = "2")]
    pub(super) transport: u64,
    #[prost(uint32, optional, tag = "3")]
    pub(super) has: Option<u32>,
    #[prost(string, repeated, tag = "4")]
    pub(super) addresses: Vec<String>,
    #[prost(bool, optional, tag = "5")]
    pub(super) ready: Option<bool>,
    /// 1 full, 2 unreadable; others only a newer node knows.
    #[prost(uint32, optional, tag = "6")]
    pub(super) cannot: Option<u32>,
}

impl WireWord {
    pub(super) fn of(of: WireRoom, transport: u64, word: &StandbyWord) -> Self {
        let mut wire = Self {
            of,
            transport,
            ..Self::default()
        };
        match word {
            StandbyWord::Has {
                version,
                addresses,
                ready,
            } => {
                (wire.has, wire.ready) = (Some(*version), Some(*ready));
                wire.addresses = addresses.iter().map(ToString::to_string).collect();
            }
            StandbyWord::Stale => {}
            StandbyWord::Cannot(reason) => {
                wire.cannot = Some(match reason {
                    CannotReason::Full => 1,
                    CannotReason::Unreadable => 2,
                });
            }
            StandbyWord::Ready(ready) => wire.ready = Some(*ready),
        }
        wire
    }

    pub(super) fn word(self) -> Result<FromStandby, WireError> {
        let addresses = self.addresses.iter().take(STANDBY_ADDRESSES_MAX);
        let addresses = addresses.map(|address| address.parse());
        let addresses: Result<Vec<SocketAddr>, _> = addresses.collect();
        let mut addresses = addresses.map_err(|_| WireError::Malformed)?;
        // Clients send checks there.
        addresses.retain(is_unicast);
        if let Some(reason) = self.cannot {
            let reason = match reason {
                1 => CannotReason::Full,
                _ => CannotReason::Unreadable,
            };
            return Ok(FromStandby::Media {
                tenure: self.of.tenure(),
                room: self.of.room,
                transport: self.transport,
                word: StandbyWord::Cannot(reason),
            });
        }
        let ready = self.ready.unwrap_or_default();
        Ok(FromStandby::Media {
            tenure: self.of.tenure(),
            room: self.of.room,
            transport: self.transport,
            word: match (self.has, self.ready) {
                (Some(version), _) => StandbyWord::Has {
                    version,
                    addresses,
                    ready,
                },
                (None, Some(ready)) => StandbyWord::Ready(ready),
                (None, None) => StandbyWord::Stale,
            },
        })
    }
}

fn is_unicast(address: &SocketAddr) -> bool {
    let ip = address.ip();
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}
