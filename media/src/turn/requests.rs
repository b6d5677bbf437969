//! The requests of clients but for Allocate: Binding, Refresh, CreatePermission, ChannelBind
//! (RFC 8656 §8, §10, §12).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::limits::{TURN_LIFETIME_DEFAULT, TURN_LIFETIME_MAX, TURN_PERMISSIONS_MAX};
use crate::transport::stun::Class;
use crate::types::Path;

use super::Server;
use super::allocation::Unbound;
use super::authenticate::{ReplyTo, Request, code};
use super::message::{CHANNELS, Message, Method, attribute};

/// Attributes below `OPTIONAL_FROM` that are understood; others make a request void.
const UNDERSTOOD: [u16; 12] = [
    attribute::USERNAME,
    attribute::MESSAGE_INTEGRITY,
    attribute::CHANNEL_NUMBER,
    attribute::LIFETIME,
    attribute::XOR_PEER_ADDRESS,
    attribute::DATA,
    attribute::REALM,
    attribute::NONCE,
    attribute::REQUESTED_ADDRESS_FAMILY,
    attribute::EVEN_PORT,
    attribute::REQUESTED_TRANSPORT,
    attribute::RESERVATION_TOKEN,
];

impl Server {
    pub(super) fn request(&mut self, now: Instant, path: Path, message: &Message<'_>) {
        if message.method() == Method::Binding {
            return self.binding(now, path, message);
        }
        let Some(request) = self.authenticate(now, path, message) else {
            return;
        };
        let reply = ReplyTo::of(&request);
        let unknown: SmallVec<[u8; 16]> = message
            .attributes()
            .map(|(kind, _)| kind)
            .filter(|kind| *kind < attribute::OPTIONAL_FROM && !UNDERSTOOD.contains(kind))
            .take(8)
            .flat_map(u16::to_be_bytes)
            .collect();
        if !unknown.is_empty() {
            let (number, reason) = code::UNKNOWN_ATTRIBUTE;
            return self.reply(&reply, Class::Error, |writer| {
                writer
                    .error(number, reason)
                    .attribute(attribute::UNKNOWN_ATTRIBUTES, &unknown)
            });
        }
        match message.method() {
            Method::Allocate => self.allocate(now, &request, reply),
            Method::Refresh => self.of_allocation(now, &request, &reply, Self::refresh),
            Method::CreatePermission => {
                self.of_allocation(now, &request, &reply, Self::create_permission);
            }
            Method::ChannelBind => self.of_allocation(now, &request, &reply, Self::channel_bind),
            Method::Binding | Method::Send | Method::Data => {
                self.refuse(&reply, code::BAD_REQUEST);
            }
        }
    }

    /// Which address a client has, as plain STUN: nobody has to prove anything.
    fn binding(&mut self, now: Instant, path: Path, message: &Message<'_>) {
        if !self.strangers.may_answer(now, path.remote.ip()) {
            self.counters.dropped_strangers += 1;
            return;
        }
        let reply = ReplyTo::stranger(path, message);
        self.reply(&reply, Class::Success, |writer| {
            writer.address(attribute::XOR_MAPPED_ADDRESS, path.remote)
        });
    }

    /// Runs `act` on the allocation of the asker, if it is theirs.
    fn of_allocation(
        &mut self,
        now: Instant,
        request: &Request<'_>,
        reply: &ReplyTo,
        act: fn(&mut Self, Instant, &Request<'_>, &ReplyTo, u32),
    ) {
        let found = self.allocation_of(now, &request.path);
        let Some((index, allocation)) = found
            .and_then(|index| Some((index, self.allocations.get(index)?)))
            .filter(|(_, allocation)| allocation.opening.is_none())
        else {
            return self.refuse(reply, code::ALLOCATION_MISMATCH);
        };
        if *allocation.username != *request.username {
            return self.refuse(reply, code::WRONG_CREDENTIALS);
        }
        act(self, now, request, reply, index);
    }

    fn refresh(&mut self, now: Instant, request: &Request<'_>, reply: &ReplyTo, index: u32) {
        let Some(allocation) = self.allocations.get_mut(index) else {
            return;
        };
        let family = request.message.find(attribute::REQUESTED_ADDRESS_FAMILY);
        let own = if allocation.relayed.is_ipv4() { 1 } else { 2 };
        if family.is_some_and(|family| family.first() != Some(&own)) {
            return self.refuse(reply, code::FAMILY_MISMATCH);
        }
        let lifetime = lifetime(request.message);
        if lifetime.is_zero() {
            self.end(index);
        } else {
            allocation.expires = now + lifetime;
        }
        self.reply(reply, Class::Success, |writer| {
            writer.u32(attribute::LIFETIME, lifetime.as_secs() as u32)
        });
    }

    fn create_permission(
        &mut self,
        now: Instant,
        request: &Request<'_>,
        reply: &ReplyTo,
        index: u32,
    ) {
        let Some(allocation) = self.allocations.get_mut(index) else {
            return;
        };
        let mut wanted: SmallVec<[SocketAddr; 4]> = SmallVec::new();
        for peer in request.message.peers().take(TURN_PERMISSIONS_MAX) {
            let Some(peer) = peer else {
                return self.refuse(reply, code::BAD_REQUEST);
            };
            if peer.is_ipv4() != allocation.relayed.is_ipv4() {
                return self.refuse(reply, code::FAMILY_MISMATCH);
            }
            if !self.config.peers.permits(peer.ip()) {
                self.counters.refused_peers += 1;
                return self.refuse(reply, code::FORBIDDEN);
            }
            wanted.push(peer);
        }
        if wanted.is_empty() {
            return self.refuse(reply, code::BAD_REQUEST);
        }
        let contacts = &mut allocation.contacts;
        if wanted.iter().all(|peer| contacts.permit(now, peer.ip())) {
            self.reply(reply, Class::Success, |writer| writer);
        } else {
            self.refuse(reply, code::NO_CAPACITY);
        }
    }

    fn channel_bind(&mut self, now: Instant, request: &Request<'_>, reply: &ReplyTo, index: u32) {
        let Some(allocation) = self.allocations.get_mut(index) else {
            return;
        };
        let number = request
            .message
            .find_u32(attribute::CHANNEL_NUMBER)
            .and_then(|value| u16::try_from(value >> 16).ok())
            .filter(|number| CHANNELS.contains(number));
        let (Some(number), Some(Some(peer))) = (number, request.message.peers().next()) else {
            return self.refuse(reply, code::BAD_REQUEST);
        };
        if peer.is_ipv4() != allocation.relayed.is_ipv4() {
            return self.refuse(reply, code::FAMILY_MISMATCH);
        }
        let Some(destination) = self.config.peers.destination(peer) else {
            self.counters.refused_peers += 1;
            return self.refuse(reply, code::FORBIDDEN);
        };
        let contacts = &mut allocation.contacts;
        let bound = contacts.bind(now, number, peer, destination);
        let permitted = bound.is_ok() && contacts.permit(now, peer.ip());
        match bound {
            Ok(()) if permitted => self.reply(reply, Class::Success, |writer| writer),
            Err(Unbound::Taken) => self.refuse(reply, code::BAD_REQUEST),
            _ => self.refuse(reply, code::NO_CAPACITY),
        }
    }
}

/// How long an allocation is to live from now on.
pub(super) fn lifetime(message: &Message<'_>) -> Duration {
    match message.find_u32(attribute::LIFETIME) {
        Some(0) => Duration::ZERO,
        Some(seconds) => {
            Duration::from_secs(u64::from(seconds)).clamp(TURN_LIFETIME_DEFAULT, TURN_LIFETIME_MAX)
        }
        None => TURN_LIFETIME_DEFAULT,
    }
}
