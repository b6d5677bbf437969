//! How often strangers may connect: a bucket of tokens for each remote network, taken from by every
//! HTTP connection and given back by the first request that authenticates. A network that only
//! knocks is turned away at the door; its clients with good tokens hardly notice.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use media::turn::peers::Network;

use crate::limits::GATE_NETWORKS_MAX;

/// What the operator allows. A rate of 0 lets everybody in.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    pub connects_per_second: u32,
    pub burst: u32,
    /// Never counted: proxies and load balancers bring everybody from one address.
    pub trusted: Vec<Network>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// The buckets of two generations: when the younger is full the older is forgotten, so that a
/// flood from many addresses costs bounded memory.
#[derive(Debug, Default)]
struct Buckets {
    young: HashMap<IpAddr, Bucket>,
    old: HashMap<IpAddr, Bucket>,
}

/// See the file header. Clones share the buckets.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    terms: Arc<Terms>,
    buckets: Arc<Mutex<Buckets>>,
}

/// A connection that was let in; kept with it until its first good token.
#[derive(Debug)]
pub struct Visitor {
    gate: Gate,
    network: IpAddr,
    vouched: std::sync::atomic::AtomicBool,
}

impl Visitor {
    /// The connection belongs to somebody with a valid token.
    pub fn vouch(&self) {
        if !self
            .vouched
            .swap(true, std::sync::atomic::Ordering::Relaxed)
        {
            self.gate.give_back(self.network);
        }
    }
}

impl Gate {
    pub fn new(terms: Terms) -> Gate {
        Gate {
            terms: Arc::new(terms),
            buckets: Arc::default(),
        }
    }

    /// `Err` = shut the connection. `Ok(None)` = nobody counts it.
    pub fn admit(&self, now: Instant, address: IpAddr) -> Result<Option<Visitor>, Refused> {
        let address = address.to_canonical();
        let trusted = |network: &Network| network.contains(address);
        if self.terms.connects_per_second == 0 || self.terms.trusted.iter().any(trusted) {
            return Ok(None);
        }
        let network = network_of(address);
        if !self.take(now, network) {
            return Err(Refused);
        }
        Ok(Some(Visitor {
            gate: self.clone(),
            network,
            vouched: Default::default(),
        }))
    }

    fn take(&self, now: Instant, network: IpAddr) -> bool {
        let (rate, burst) = (f64::from(self.terms.connects_per_second), self.burst());
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Bucket {
            tokens: burst,
            at: now,
        };
        let mut bucket = buckets.get(network).unwrap_or(fresh);
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * rate).min(burst);
        bucket.at = bucket.at.max(now);
        let admitted = bucket.tokens >= 1.0;
        if admitted {
            bucket.tokens -= 1.0;
        }
        buckets.put(network, bucket);
        admitted
    }

    fn give_back(&self, network: IpAddr) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut bucket) = buckets.get(network) {
            bucket.tokens = (bucket.tokens + 1.0).min(self.burst());
            buckets.put(network, bucket);
        }
    }

    /// At least one connection, or nobody could ever come.
    fn burst(&self) -> f64 {
        f64::from(self.terms.burst.max(1))
    }
}

/// The network has knocked too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl Buckets {
    fn get(&self, network: IpAddr) -> Option<Bucket> {
        let young = self.young.get(&network);
        young.or_else(|| self.old.get(&network)).copied()
    }

    fn put(&mut self, network: IpAddr, bucket: Bucket) {
        if self.young.len() >= GATE_NETWORKS_MAX && !self.young.contains_key(&network) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(network, bucket);
    }
}

/// Whoever has one IPv6 address has the 2^64 of its network.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let network = v6.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    fn gate(connects_per_second: u32, burst: u32, trusted: &[&str]) -> Gate {
        let trusted = trusted.iter().map(|text| Network::parse(text).unwrap());
        Gate::new(Terms {
            connects_per_second,
            burst,
            trusted: trusted.collect(),
        })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn admitted(gate: &Gate, now: Instant, address: &str, tries: usize) -> usize {
        let tries = (0..tries).filter(|_| gate.admit(now, ip(address)).is_ok());
        tries.count()
    }

    #[test]
    fn a_burst_passes_then_the_rate_and_others_are_unaffected() {
        let (gate, now) = (gate(10, 50, &[]), Instant::now());
        assert_eq!(admitted(&gate, now, "192.0.2.1", 1000), 50);
        assert_eq!(admitted(&gate, now, "192.0.2.2", 1), 1);
        let later = now + Duration::from_secs(2);
        assert_eq!(admitted(&gate, later, "192.0.2.1", 1000), 20);
        let much_later = now + Duration::from_secs(3600);
        assert_eq!(admitted(&gate, much_later, "192.0.2.1", 1000), 50);
    }

    #[test]
    fn who_authenticates_gets_its_token_back_once() {
        let (gate, now) = (gate(1, 2, &[]), Instant::now());
        for _ in 0..1000 {
            let visitor = gate.admit(now, ip("192.0.2.1")).unwrap().unwrap();
            visitor.vouch();
            visitor.vouch();
        }
        assert_eq!(admitted(&gate, now, "192.0.2.1", 10), 2);
    }

    #[test]
    fn an_ipv6_network_is_one_stranger_and_mapped_addresses_are_ipv4() {
        let (gate, now) = (gate(1, 3, &[]), Instant::now());
        let admitted_of = |host: u16| admitted(&gate, now, &format!("2001:db8::{host:x}"), 1);
        assert_eq!((0..100).map(admitted_of).sum::<usize>(), 3);
        assert_eq!(admitted(&gate, now, "2001:db8:0:1::1", 1), 1);
        assert_eq!(admitted(&gate, now, "::ffff:192.0.2.1", 2), 2);
        assert_eq!(admitted(&gate, now, "192.0.2.1", 2), 1);
    }

    #[test]
    fn trusted_networks_and_a_rate_of_zero_are_not_counted() {
        let now = Instant::now();
        let trusting = gate(1, 1, &["127.0.0.0/8"]);
        assert_eq!(admitted(&trusting, now, "127.0.0.9", 1000), 1000);
        assert_eq!(admitted(&trusting, now, "192.0.2.1", 1000), 1);
        assert_eq!(admitted(&gate(0, 1, &[]), now, "192.0.2.1", 1000), 1000);
    }

    #[test]
    fn a_flood_from_many_networks_costs_bounded_memory() {
        let (gate, now) = (gate(1, 1, &[]), Instant::now());
        for host in 0..3 * GATE_NETWORKS_MAX {
            let address = Ipv6Addr::from_bits((host as u128) << 64);
            assert!(gate.admit(now, address.into()).is_ok());
        }
        let buckets = gate.buckets.lock().unwrap();
        assert!(buckets.young.len() + buckets.old.len() <= 2 * GATE_NETWORKS_MAX);
    }
}
