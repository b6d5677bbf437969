//! The path of data: client → channel or Send indication → peer, and back. Nothing here allocates;
//! what may not pass is dropped and counted.

use std::net::SocketAddr;
use std::time::Instant;

use crate::transport::stun::{Class, TransactionId};
use crate::types::Path;

use super::message::{Message, Method, attribute, channel_data};
use super::{RelayId, Server};

/// First two bits of channel data (RFC 8656 §12); STUN begins with 00.
const CHANNEL_BITS: u8 = 0b01;

impl Server {
    pub(super) fn client_sent(&mut self, now: Instant, path: Path, raw: &[u8]) {
        if raw.first().is_some_and(|first| first >> 6 == CHANNEL_BITS) {
            return self.channel_from_client(now, path, raw);
        }
        let Some(message) = Message::parse(raw) else {
            self.counters.dropped_malformed += 1;
            return;
        };
        match (message.class(), message.method()) {
            (Class::Request, _) => self.request(now, path, &message),
            (Class::Indication, Method::Send) => self.send_indication(now, path, &message),
            // A keep-alive.
            (Class::Indication, Method::Binding) => {}
            _ => self.counters.dropped_malformed += 1,
        }
    }

    fn channel_from_client(&mut self, now: Instant, path: Path, raw: &[u8]) {
        let Some((channel, payload)) = channel_data(raw) else {
            self.counters.dropped_malformed += 1;
            return;
        };
        let found = self.open_allocation(now, &path).and_then(|relay| {
            let contacts = &self.allocations.get(relay.index)?.contacts;
            Some((relay, contacts.to_peer(now, channel)?))
        });
        match found {
            Some((relay, destination)) => self.pass_to_peer(relay, destination, payload),
            None => self.counters.dropped_unpermitted += 1,
        }
    }

    fn send_indication(&mut self, now: Instant, path: Path, message: &Message<'_>) {
        let (Some(Some(peer)), Some(payload)) =
            (message.peers().next(), message.find(attribute::DATA))
        else {
            self.counters.dropped_malformed += 1;
            return;
        };
        let permitted = self.open_allocation(now, &path).filter(|relay| {
            let allocation = self.allocations.get(relay.index);
            allocation.is_some_and(|one| one.contacts.permits(now, peer.ip()))
        });
        match permitted.zip(self.config.peers.destination(peer)) {
            Some((relay, destination)) => self.pass_to_peer(relay, destination, payload),
            None => self.counters.dropped_unpermitted += 1,
        }
    }

    fn pass_to_peer(&mut self, relay: RelayId, destination: SocketAddr, payload: &[u8]) {
        if self.out.datagram(relay, destination, payload) {
            self.counters.packets_to_peers += 1;
            self.counters.bytes_to_peers += payload.len() as u64;
        } else {
            self.counters.dropped_full += 1;
        }
    }

    pub(super) fn peer_sent(
        &mut self,
        now: Instant,
        relay: RelayId,
        from: SocketAddr,
        payload: &[u8],
    ) {
        let Some(allocation) = self.allocations.get(relay.index).filter(|one| {
            one.generation == relay.generation && one.expires > now && one.opening.is_none()
        }) else {
            self.counters.dropped_unpermitted += 1;
            return;
        };
        let path = allocation.path;
        let passed = if let Some(channel) = allocation.contacts.channel_of(now, from) {
            self.out.channel_data(path, channel, payload)
        } else {
            let peer = self.config.peers.origin(from);
            let Some(peer) = peer.filter(|peer| allocation.contacts.permits(now, peer.ip())) else {
                self.counters.dropped_unpermitted += 1;
                return;
            };
            let transaction = self.indication_transaction();
            let (class, method) = (Class::Indication, Method::Data);
            self.out
                .message(path, class, method, transaction, |writer| {
                    writer
                        .address(attribute::XOR_PEER_ADDRESS, peer)
                        .attribute(attribute::DATA, payload);
                })
        };
        if passed {
            self.counters.packets_to_clients += 1;
            self.counters.bytes_to_clients += payload.len() as u64;
        } else {
            self.counters.dropped_full += 1;
        }
    }

    /// Nobody answers an indication: its transaction need only differ from the last.
    fn indication_transaction(&mut self) -> TransactionId {
        let mut transaction = TransactionId::default();
        let number = self.counters.packets_to_clients;
        transaction[4..].copy_from_slice(&number.to_be_bytes());
        transaction
    }

    /// The socket of a client's living allocation, once it is open.
    fn open_allocation(&self, now: Instant, path: &Path) -> Option<RelayId> {
        let index = self.allocation_of(now, path)?;
        let allocation = self.allocations.get(index)?;
        allocation.opening.is_none().then_some(RelayId {
            index,
            generation: allocation.generation,
        })
    }
}
