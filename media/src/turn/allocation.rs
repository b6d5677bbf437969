//! One client's allocation: its relay address, whom it may talk to, and by which channel. Bounded
//! lists that are searched in order: a client has a handful of peers.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use smallvec::SmallVec;

use crate::limits::{
    TURN_CHANNEL_LIFETIME, TURN_CHANNELS_MAX, TURN_PERMISSION_LIFETIME, TURN_PERMISSIONS_MAX,
};
use crate::transport::stun::TransactionId;
use crate::types::Path;

#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) path: Path,
    pub(super) generation: u32,
    pub(super) username: Box<str>,
    /// Of the credentials it was made with; they stay good for its life, however long.
    pub(super) key: hmac::Key,
    /// The request that made it: its repetition gets the same answer.
    pub(super) transaction: TransactionId,
    pub(super) lifetime: Duration,
    pub(super) expires: Instant,
    /// Where its socket is bound.
    pub(super) address: SocketAddr,
    pub(super) relayed: SocketAddr,
    /// Sockets tried so far; `None` once one is open.
    pub(super) opening: Option<Opening>,
    pub(super) contacts: Contacts,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    pub(super) tries: u32,
    pub(super) even_port: bool,
    pub(super) fingerprint: bool,
}

#[derive(Clone, Copy, Debug)]
struct Permission {
    ip: IpAddr,
    expires: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Channel {
    number: u16,
    /// As the client calls it.
    peer: SocketAddr,
    /// Where its data goes, and comes from.
    destination: SocketAddr,
    expires: Instant,
}

/// Why a channel cannot be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unbound {
    /// The number or the peer is bound otherwise.
    Taken,
    Full,
}

/// Permissions and channels of one allocation.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    permissions: SmallVec<[Permission; 4]>,
    channels: SmallVec<[Channel; 4]>,
}

impl Contacts {
    /// Makes or renews a permission; `false` when there is no room.
    pub(super) fn permit(&mut self, now: Instant, ip: IpAddr) -> bool {
        let expires = now + TURN_PERMISSION_LIFETIME;
        if let Some(known) = self.permissions.iter_mut().find(|one| one.ip == ip) {
            known.expires = expires;
            return true;
        }
        self.forget_expired(now);
        if self.permissions.len() >= TURN_PERMISSIONS_MAX {
            return false;
        }
        self.permissions.push(Permission { ip, expires });
        true
    }

    pub(super) fn permits(&self, now: Instant, ip: IpAddr) -> bool {
        self.permissions
            .iter()
            .any(|one| one.ip == ip && one.expires > now)
    }

    /// Binds a channel or renews it.
    pub(super) fn bind(
        &mut self,
        now: Instant,
        number: u16,
        peer: SocketAddr,
        destination: SocketAddr,
    ) -> Result<(), Unbound> {
        self.forget_expired(now);
        let expires = now + TURN_CHANNEL_LIFETIME;
        let full = self.channels.len() >= TURN_CHANNELS_MAX;
        let same = |one: &&mut Channel| one.number == number || one.peer == peer;
        match self.channels.iter_mut().find(same) {
            Some(known) if known.number == number && known.peer == peer => {
                known.expires = expires;
                Ok(())
            }
            Some(_) => Err(Unbound::Taken),
            None if full => Err(Unbound::Full),
            None => {
                self.channels.push(Channel {
                    number,
                    peer,
                    destination,
                    expires,
                });
                Ok(())
            }
        }
    }

    /// Where the data of a channel goes.
    pub(super) fn to_peer(&self, now: Instant, number: u16) -> Option<SocketAddr> {
        let channel = self.channels.iter().find(|one| one.number == number)?;
        (channel.expires > now && self.permits(now, channel.peer.ip()))
            .then_some(channel.destination)
    }

    /// The channel that data from `from` belongs to.
    pub(super) fn channel_of(&self, now: Instant, from: SocketAddr) -> Option<u16> {
        let channel = self.channels.iter().find(|one| one.destination == from)?;
        (channel.expires > now && self.permits(now, channel.peer.ip())).then_some(channel.number)
    }

    pub(super) fn forget_expired(&mut self, now: Instant) {
        self.permissions.retain(|one| one.expires > now);
        self.channels.retain(|one| one.expires > now);
    }
}
