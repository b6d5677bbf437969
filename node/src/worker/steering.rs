//! Whose datagram is it? With one port for all shards the kernel hands a flow to any worker: first
//! checks carry their shard in the username fragment, the rest follows by remote address. A core:
//! workers ask, nothing here touches a socket. A check proves nothing until its shard took it:
//! what it claims is a guess, which only serves addresses that nobody has proved to be theirs.

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

/// The shard a prefix names, on the node that gave it.
pub fn shard_of_prefix(prefix: char) -> Option<usize> {
    PREFIXES
        .iter()
        .position(|known| char::from(*known) == prefix)
}

/// The shard of a username fragment on a node with `shards`. A transport that came from a node with
/// more of them keeps its fragment: the rest of the division names its shard.
pub fn shard_of_ufrag(ufrag: &str, shards: usize) -> Option<usize> {
    let first = ufrag.chars().next()?;
    shard_of_prefix(first)?.checked_rem(shards)
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

/// Remote addresses that belong to other shards, in two generations.
#[derive(Debug)]
struct Addresses {
    young: HashMap<SocketAddr, usize>,
    old: HashMap<SocketAddr, usize>,
    turned: Instant,
}

impl Addresses {
    fn new(now: Instant) -> Addresses {
        Addresses {
            young: HashMap::new(),
            old: HashMap::new(),
            turned: now,
        }
    }

    fn find(&mut self, now: Instant, remote: SocketAddr) -> Option<usize> {
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

    fn forget(&mut self, remote: SocketAddr) {
        self.young.remove(&remote);
        self.old.remove(&remote);
    }
}

/// One worker's knowledge of who is where.
#[derive(Debug)]
pub struct Steering {
    here: usize,
    shards: usize,
    /// Their shard took a check from there.
    proved: Addresses,
    /// A check that was passed on claims so: anybody can send one in anybody's name.
    guessed: Addresses,
}

impl Steering {
    /// `shards`: how many share this worker's port; 1 when it has its own.
    pub fn new(now: Instant, here: usize, shards: usize) -> Steering {
        Steering {
            here,
            shards,
            proved: Addresses::new(now),
            guessed: Addresses::new(now),
        }
    }

    /// `is_known`: whether this worker's shard has a proved transport at `remote`; asked only when
    /// the answer matters.
    pub fn owner(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        datagram: &[u8],
        is_known: impl FnOnce() -> bool,
    ) -> Owner {
        if datagram.first().is_some_and(|first| *first < 4)
            && let Some(owner) = self.owner_of_check(now, remote, datagram)
        {
            return owner;
        }
        if self.shards == 1 {
            return Owner::Here;
        }
        if let Some(shard) = self.proved.find(now, remote) {
            return Owner::Shard(shard);
        }
        match self.guessed.find(now, remote) {
            Some(shard) if !is_known() => Owner::Shard(shard),
            _ => Owner::Here,
        }
    }

    /// `shard` took a check from `remote` that this worker had passed on.
    pub fn proved(&mut self, now: Instant, remote: SocketAddr, shard: usize) {
        self.guessed.forget(remote);
        self.proved.learn(now, remote, shard);
    }

    /// This worker's shard took a check from `remote`, which may have been a client of another
    /// shard before.
    pub fn proved_here(&mut self, remote: SocketAddr) {
        self.guessed.forget(remote);
        self.proved.forget(remote);
    }

    /// Whether this worker shares its port with others.
    pub fn is_shared(&self) -> bool {
        self.shards > 1
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
        let shard = shard_of_ufrag(username, self.shards)?;
        if shard == self.here {
            return Some(Owner::Here);
        }
        self.guessed.learn(now, remote, shard);
        Some(Owner::Shard(shard))
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

    /// Where the shard of this worker knows nobody.
    fn owner(steering: &mut Steering, now: Instant, remote: SocketAddr, bytes: &[u8]) -> Owner {
        steering.owner(now, remote, bytes, || false)
    }

    const MEDIA: [u8; 20] = [0x80; 20];

    #[test]
    fn media_follows_the_check_of_its_address() {
        let now = Instant::now();
        let mut steering = Steering::new(now, 0, 2);
        assert_eq!(owner(&mut steering, now, remote(1), &MEDIA), Owner::Here);
        let for_one = check(&format!("{}abc:theirs", ufrag_prefix(1)));
        for bytes in [&for_one[..], &MEDIA] {
            let owner = owner(&mut steering, now, remote(1), bytes);
            assert_eq!(owner, Owner::Shard(1));
        }
        steering.proved(now, remote(1), 1);
        assert_eq!(
            owner(&mut steering, now, remote(1), &MEDIA),
            Owner::Shard(1)
        );
        assert_eq!(owner(&mut steering, now, remote(2), &MEDIA), Owner::Here);

        let for_zero = check(&format!("{}abc:theirs", ufrag_prefix(0)));
        assert_eq!(owner(&mut steering, now, remote(1), &for_zero), Owner::Here);
        steering.proved_here(remote(1));
        assert_eq!(owner(&mut steering, now, remote(1), &MEDIA), Owner::Here);
    }

    #[test]
    fn a_check_in_anothers_name_diverts_nothing() {
        let now = Instant::now();
        let mut steering = Steering::new(now, 0, 4);
        let forged = check(&format!("{}abc:theirs", ufrag_prefix(2)));
        // A client of this very shard.
        owner(&mut steering, now, remote(1), &forged);
        let media = steering.owner(now, remote(1), &MEDIA, || true);
        assert_eq!(media, Owner::Here);
        // A client of another shard.
        steering.proved(now, remote(2), 1);
        owner(&mut steering, now, remote(2), &forged);
        assert_eq!(
            owner(&mut steering, now, remote(2), &MEDIA),
            Owner::Shard(1)
        );
        let for_here = check(&format!("{}abc:theirs", ufrag_prefix(0)));
        owner(&mut steering, now, remote(2), &for_here);
        assert_eq!(
            owner(&mut steering, now, remote(2), &MEDIA),
            Owner::Shard(1)
        );
    }

    #[test]
    fn a_flood_of_checks_evicts_no_client() {
        let now = Instant::now();
        let mut steering = Steering::new(now, 0, 2);
        steering.proved(now, remote(1), 1);
        let forged = check(&format!("{}abc:theirs", ufrag_prefix(1)));
        for host in 0..3 * LEARNED_ADDRESSES_MAX as u32 {
            let somebody = SocketAddr::from((std::net::Ipv4Addr::from(host), 9));
            owner(&mut steering, now, somebody, &forged);
        }
        assert_eq!(
            owner(&mut steering, now, remote(1), &MEDIA),
            Owner::Shard(1)
        );
    }

    #[test]
    fn an_address_in_use_is_remembered_and_a_silent_one_forgotten() {
        let start = Instant::now();
        let mut steering = Steering::new(start, 0, 2);
        steering.proved(start, remote(1), 1);
        steering.proved(start, remote(2), 1);
        for turn in 1..=3 {
            steering.proved(start + LEARNED_GENERATION * turn, remote(1), 1);
        }
        let now = start + LEARNED_GENERATION * 3;
        assert_eq!(
            owner(&mut steering, now, remote(1), &MEDIA),
            Owner::Shard(1)
        );
        assert_eq!(owner(&mut steering, now, remote(2), &MEDIA), Owner::Here);
    }

    #[test]
    fn a_transport_of_a_node_with_more_shards_finds_its_shard() {
        let now = Instant::now();
        let mut steering = Steering::new(now, 0, 2);
        for (there, here) in [(2, Owner::Here), (3, Owner::Shard(1)), (7, Owner::Shard(1))] {
            let request = check(&format!("{}abc:theirs", ufrag_prefix(there)));
            assert_eq!(owner(&mut steering, now, remote(1), &request), here);
        }
        assert_eq!(shard_of_ufrag("Babc", 0), None);
    }

    #[test]
    fn a_request_without_credentials_is_reflected() {
        let now = Instant::now();
        let request = stun::Builder::new(stun::Class::Request, [9; 12]).finish_plain();
        let owner = owner(&mut Steering::new(now, 0, 1), now, remote(1), &request);
        assert_eq!(owner, Owner::Reflect([9; 12]));
    }

    #[test]
    fn garbage_stays_here_to_be_counted() {
        let now = Instant::now();
        let mut steering = Steering::new(now, 0, 4);
        for datagram in [&[][..], &[0; 3], &[1; 40], &[255; 9]] {
            assert_eq!(owner(&mut steering, now, remote(1), datagram), Owner::Here);
        }
        let unknown = check("~:~");
        assert_eq!(owner(&mut steering, now, remote(1), &unknown), Owner::Here);
    }
}
