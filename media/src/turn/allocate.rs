//! Allocate (RFC 8656 §7): quotas, a random port of the relay range, and the wait for its socket.

use std::net::SocketAddr;
use std::time::Instant;

use rand::RngExt;

use crate::limits::{TURN_LIFETIME_DEFAULT, TURN_PORT_TRIES};
use crate::transport::stun::Class;

use super::allocation::{Allocation, Contacts, Opening};
use super::authenticate::{ReplyTo, Request, code};
use super::message::{Method, attribute};
use super::requests::lifetime;
use super::{RelayAddress, RelayId, Server};

/// Protocol number of UDP in REQUESTED-TRANSPORT.
const UDP: u8 = 17;
/// Bit of EVEN-PORT that asks for the next port to be kept as well.
const RESERVE: u8 = 0x80;

impl Server {
    pub(super) fn allocate(&mut self, now: Instant, request: &Request<'_>, reply: ReplyTo) {
        if let Some(index) = self.allocation_of(now, &request.path) {
            return self.allocate_again(index, &reply);
        }
        // One that has ended but was not swept yet.
        if let Some(index) = self.by_client.get(&request.path).copied() {
            self.end(index);
        }
        if request.expired {
            return self.challenge(now, &ReplyTo { key: None, ..reply }, code::UNAUTHORIZED);
        }
        let relay = match self.check_allocate(request) {
            Ok(relay) => relay,
            Err(refusal) => return self.refuse(&reply, refusal),
        };
        let even_port = request.message.find(attribute::EVEN_PORT).is_some();
        let Some(port) = self.choose_port(even_port) else {
            self.counters.refused_capacity += 1;
            return self.refuse(&reply, code::NO_CAPACITY);
        };
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let wanted = lifetime(request.message);
        let allocation = Allocation {
            path: request.path,
            generation,
            username: request.username.into(),
            key: request.key.clone(),
            transaction: reply.transaction,
            expires: now + wanted.max(TURN_LIFETIME_DEFAULT),
            lifetime: wanted.max(TURN_LIFETIME_DEFAULT),
            address: SocketAddr::new(relay.bound, port),
            relayed: SocketAddr::new(relay.advertised, port),
            opening: Some(Opening {
                tries: 1,
                even_port,
                fingerprint: reply.fingerprint,
            }),
            contacts: Contacts::default(),
        };
        let address = allocation.address;
        *self.users.entry(allocation.username.clone()).or_insert(0) += 1;
        self.ports_taken.insert(port);
        let index = self.allocations.insert(allocation);
        self.by_client.insert(request.path, index);
        self.out.open_relay(RelayId { index, generation }, address);
    }

    /// What is wrong with a request, or where its allocation is to be.
    fn check_allocate(
        &mut self,
        request: &Request<'_>,
    ) -> Result<RelayAddress, (u16, &'static str)> {
        let message = request.message;
        match message.find(attribute::REQUESTED_TRANSPORT) {
            None => return Err(code::BAD_REQUEST),
            Some(transport) if transport.first() != Some(&UDP) => {
                return Err(code::UNSUPPORTED_TRANSPORT);
            }
            Some(_) => {}
        }
        // Nothing is ever reserved, so no token is ours.
        let even_port = message.find(attribute::EVEN_PORT);
        let reserving =
            even_port.is_some_and(|value| value.first().is_some_and(|v| v & RESERVE != 0));
        if reserving || message.find(attribute::RESERVATION_TOKEN).is_some() {
            self.counters.refused_capacity += 1;
            return Err(code::NO_CAPACITY);
        }
        let family = message.find(attribute::REQUESTED_ADDRESS_FAMILY);
        let wants_v6 = match family.and_then(|family| family.first()) {
            None | Some(1) => false,
            Some(2) => true,
            Some(_) => return Err(code::UNSUPPORTED_FAMILY),
        };
        let mut addresses = self.config.relay_addresses.iter();
        let Some(relay) = addresses.find(|one| one.advertised.is_ipv6() == wants_v6) else {
            return Err(code::UNSUPPORTED_FAMILY);
        };
        let held = self.users.get(request.username).copied().unwrap_or(0);
        if held >= self.config.allocations_per_user_max {
            self.counters.refused_quota += 1;
            return Err(code::QUOTA_REACHED);
        }
        if self.by_client.len() >= self.config.allocations_max {
            self.counters.refused_capacity += 1;
            return Err(code::NO_CAPACITY);
        }
        Ok(*relay)
    }

    /// A repeated request gets the same answer; another one is out of place.
    fn allocate_again(&mut self, index: u32, reply: &ReplyTo) {
        let Some(allocation) = self.allocations.get(index) else {
            return;
        };
        if allocation.transaction != reply.transaction {
            self.refuse(reply, code::ALLOCATION_MISMATCH);
        } else if allocation.opening.is_none() {
            self.confirm(index, reply);
        }
    }

    /// A free port of the range, from a random place on.
    fn choose_port(&mut self, even: bool) -> Option<u16> {
        let range = &self.config.relay_ports;
        let (first, last) = (*range.start(), *range.end());
        let count = u32::from(last.checked_sub(first)?) + 1;
        let start = self.rng.random_range(0..count);
        (0..count)
            .map(|step| first + ((start + step) % count) as u16)
            .filter(|port| !even || port % 2 == 0)
            .find(|port| !self.ports_taken.contains(port))
    }

    pub(super) fn relay_opened(&mut self, now: Instant, relay: RelayId) {
        let Some(allocation) = self.allocation_at(relay) else {
            return;
        };
        let Some(opening) = allocation.opening.take() else {
            return;
        };
        allocation.expires = now + allocation.lifetime;
        let reply = allocation_reply(allocation, opening);
        self.counters.allocations_made += 1;
        self.confirm(relay.index, &reply);
    }

    /// Somebody else holds the port: another one is tried, a few times.
    pub(super) fn relay_failed(&mut self, relay: RelayId) {
        let Some(allocation) = self.allocation_at(relay) else {
            return;
        };
        let Some(opening) = allocation.opening else {
            return;
        };
        let refused = allocation.address.port();
        let next = (opening.tries < TURN_PORT_TRIES)
            .then(|| self.choose_port(opening.even_port))
            .flatten();
        self.ports_taken.remove(&refused);
        let Some(allocation) = self.allocations.get_mut(relay.index) else {
            return;
        };
        let Some(port) = next else {
            let reply = allocation_reply(allocation, opening);
            self.counters.refused_capacity += 1;
            self.end(relay.index);
            return self.refuse(&reply, code::NO_CAPACITY);
        };
        allocation.opening = Some(Opening {
            tries: opening.tries + 1,
            ..opening
        });
        allocation.address.set_port(port);
        allocation.relayed.set_port(port);
        let address = allocation.address;
        self.ports_taken.insert(port);
        self.out.open_relay(relay, address);
    }

    fn confirm(&mut self, index: u32, reply: &ReplyTo) {
        let Some(allocation) = self.allocations.get(index) else {
            return;
        };
        let (relayed, mapped) = (allocation.relayed, allocation.path.remote);
        let seconds = allocation.lifetime.as_secs() as u32;
        self.reply(reply, Class::Success, |writer| {
            writer
                .address(attribute::XOR_RELAYED_ADDRESS, relayed)
                .u32(attribute::LIFETIME, seconds)
                .address(attribute::XOR_MAPPED_ADDRESS, mapped)
                .attribute(attribute::SOFTWARE, b"skein")
        });
    }
}

fn allocation_reply(allocation: &Allocation, opening: Opening) -> ReplyTo {
    ReplyTo {
        path: allocation.path,
        method: Method::Allocate,
        transaction: allocation.transaction,
        fingerprint: opening.fingerprint,
        key: Some(allocation.key.clone()),
    }
}
