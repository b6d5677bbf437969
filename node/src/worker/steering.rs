//! Whose datagram is it? With one port for all shards the kernel hands a flow to any worker: first
//! checks carry their shard in the username fragment, the rest follows by remote address. A core:
//! workers ask, nothing here touches a socket. Authenticates nothing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use media::transport::stun;

use crate::limits::{LEARNED_ADDRESSES_MAX, LEARNED_GENERATION, SHARDS_MAX};

/// First characters of username fragments, one a shard.
const PREFIXES: &[u8; SHARDS_MAX] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef";

/// The first character of the username fragments of a shard.
pub fn ufrag_prefix(shard: usize) -> char {
    char::from(PREFIXES[shard % SHARDS_MAX])
}

fn shard_of_ufrag(ufrag: &str) -> Option<usize> {
    let first = ufrag.as_bytes().first()?;
    PREFIXES.iter().position(|prefix| prefix == first)
}

/// What to do with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// It is for this worker's shard.
    Here,
    /// It is for another worker's.
    Shard(usize),
    /// A binding request without credentials: tell the sender its address (RFC 8489).
    Reflect(stun::TransactionId),
}

/// One worker's knowledge of who is where.
#[derive(Debug)]
pub struct Steering {
    here: usize,
    shards: usize,
    /// Remote addresses that belong to other shards, in two generations.
    young: HashMap<SocketAddr, usize>,
    old: HashMap<SocketAddr, usize>,
    turned: Instant,
}

impl Steering {
    /// `shards`: how many share this worker's port; 1 when it has its own.
    pub fn new(now: Instant, here: usize, shards: usize) -> Steering {
        Steering {
            here,
            shards,
            young: HashMap::new(),
            old: HashMap::new(),
            turned: now,
        }
    }

    pub fn owner(&mut self, now: Instant, remote: SocketAddr, datagram: &[u8]) -> Owner {
        if datagram.first().is_some_and(|first| *first < 4)
            && let Some(owner) = self.owner_of_check(now, remote, datagram)
        {
            return owner;
        }
        if self.shards == 1 {
            return Owner::Here;
        }
        self.learned(now, remote).map_or(Owner::Here, Owner::Shard)
    }

    fn owner_of_check(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        datagram: &[u8],
    ) -> Option<Owner> {
        let message = stun::Message::parse(datagram)?;
        if message.class() != stun::Class::Request {
            return None;
        }
        let Some(username) = message.username() else {
            return Some(Owner::Reflect(message.transaction()));
        };
        if self.shards == 1 {
            return Some(Owner::Here);
        }
        let shard = shard_of_ufrag(username).filter(|shard| *shard < self.shards)?;
        if shard == self.here {
            // The address may have belonged to a client of another shard before.
            self.young.remove(&remote);
            self.old.remove(&remote);
            return Some(Owner::Here);
        }
        self.learn(now, remote, shard);
        Some(Owner::Shard(shard))
    }

    fn learned(&mut self, now: Instant, remote: SocketAddr) -> Option<usize> {
        if let Some(shard) = self.young.get(&remote) {
            return Some(*shard);
        }
        let shard = *self.old.get(&remote)?;
        self.learn(now, remote, shard);
        Some(shard)
    }

    fn learn(&mut self, now: Instant, remote: SocketAddr, shard: usize) {
        let full = self.young.len() >= LEARNED_ADDRESSES_MAX;
        if full || now.saturating_duration_since(self.turned) >= LEARNED_GENERATION {
            self.turned = now;
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(remote, shard);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(username: &str) -> Vec<u8> {
        let key = stun::integrity_key("password");
        let request = stun::Builder::new(stun::Class::Request, [7; 12]);
        request.username(username).finish(&key)
    }

    fn remote(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn media_follows_the_check_of_its_address() {
        let now = Instant::now();
        let mut steering = Steering::new(now, 0, 2);
        assert_eq!(steering.owner(now, remote(1), &[0x80; 20]), Owner::Here);
        let for_one = check(&format!("{}abc:theirs", ufrag_prefix(1)));
        assert_eq!(steering.owner(now, remote(1), &for_one), Owner::Shard(1));
        assert_eq!(steering.owner(now, remote(1), &[0x80; 20]), Owner::Shard(1));
        assert_eq!(steering.owner(now, remote(2), &[0x80; 20]), Owner::Here);

        let for_zero = check(&format!("{}abc:theirs", ufrag_prefix(0)));
        assert_eq!(steering.owner(now, remote(1), &for_zero), Owner::Here);
        assert_eq!(steering.owner(now, remote(1), &[0x80; 20]), Owner::Here);
    }

    #[test]
    fn an_address_in_use_is_remembered_and_a_silent_one_forgotten() {
        let start = Instant::now();
        let mut steering = Steering::new(start, 0, 2);
        let for_one = check(&format!("{}x:y", ufrag_prefix(1)));
        steering.owner(start, remote(1), &for_one);
        steering.owner(start, remote(2), &for_one);
        for turn in 1..=3 {
            let now = start + LEARNED_GENERATION * turn;
            steering.owner(now, remote(1), &for_one);
        }
        let now = start + LEARNED_GENERATION * 3;
        assert_eq!(steering.owner(now, remote(1), &[0x80; 20]), Owner::Shard(1));
        assert_eq!(steering.owner(now, remote(2), &[0x80; 20]), Owner::Here);
    }

    #[test]
    fn a_request_without_credentials_is_reflected() {
        let now = Instant::now();
        let request = stun::Builder::new(stun::Class::Request, [9; 12]).finish_plain();
        let owner = Steering::new(now, 0, 1).owner(now, remote(1), &request);
        assert_eq!(owner, Owner::Reflect([9; 12]));
    }

    #[test]
    fn garbage_stays_here_to_be_counted() {
        let now = Instant::now();
        let mut steering = Steering::new(now, 0, 4);
        for datagram in [&[][..], &[0; 3], &[1; 40], &[255; 9]] {
            assert_eq!(steering.owner(now, remote(1), datagram), Owner::Here);
        }
        let unknown = check("~:~");
        assert_eq!(steering.owner(now, remote(1), &unknown), Owner::Here);
    }
}
