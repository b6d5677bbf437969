//! Whom a client may reach through us. Public addresses, unless denied; nothing private, unless
//! allowed; of our own addresses only the media ports, which are the reason TURN is here.

use std::net::{IpAddr, SocketAddr};

/// An address range, as `10.0.0.0/8`, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    prefix_bits: u32,
}

impl Network {
    pub fn parse(text: &str) -> Option<Network> {
        let (base, prefix) = match text.split_once('/') {
            Some((base, prefix)) => (base, Some(prefix)),
            None => (text, None),
        };
        let base: IpAddr = base.trim().parse().ok()?;
        let width = if base.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match prefix {
            Some(prefix) => prefix.trim().parse().ok()?,
            None => width,
        };
        (prefix_bits <= width).then_some(Network { base, prefix_bits })
    }

    pub fn contains(&self, ip: IpAddr) -> bool {
        let bits = |ip: IpAddr| match ip {
            IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
            IpAddr::V6(v6) => v6.to_bits(),
        };
        self.base.is_ipv4() == ip.is_ipv4()
            && (self.prefix_bits == 0
                || (bits(self.base) ^ bits(ip)) >> (128 - self.prefix_bits) == 0)
    }
}

/// A media port of this node: where it listens, and what clients call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnPort {
    pub advertised: SocketAddr,
    pub bound: SocketAddr,
}

/// See the file header.
#[derive(Clone, Debug, Default)]
pub struct PeerPolicy {
    /// Always reachable. Traffic to the advertised address goes to the bound one, so that a node
    /// behind NAT needs no hairpin.
    pub own_ports: Vec<OwnPort>,
    /// Other addresses of this machine: closed like those of `own_ports`, but for those ports.
    pub own_addresses: Vec<IpAddr>,
    /// Private networks that may be reached nevertheless.
    pub allow: Vec<Network>,
    /// Wins over everything but our own media ports.
    pub deny: Vec<Network>,
}

impl PeerPolicy {
    /// Whether a permission may be made for an address; `destination` still judges every port.
    pub fn permits(&self, ip: IpAddr) -> bool {
        let ours = |own: &OwnPort| own.advertised.ip() == ip || own.bound.ip() == ip;
        self.own_ports.iter().any(ours) || self.is_open(ip)
    }

    /// Where data for `peer` is to be sent, if it may be.
    pub fn destination(&self, peer: SocketAddr) -> Option<SocketAddr> {
        if let Some(own) = self.own_ports.iter().find(|own| own.advertised == peer) {
            return Some(own.bound);
        }
        (self.is_open(peer.ip()) && peer.port() != 0).then_some(peer)
    }

    /// What a client calls the sender of a datagram, if it may hear from it.
    pub fn origin(&self, from: SocketAddr) -> Option<SocketAddr> {
        if let Some(own) = self.own_ports.iter().find(|own| own.bound == from) {
            return Some(own.advertised);
        }
        self.is_open(from.ip()).then_some(from)
    }

    fn is_open(&self, ip: IpAddr) -> bool {
        let listed = |networks: &[Network]| networks.iter().any(|one| one.contains(ip));
        if listed(&self.deny) {
            return false;
        }
        let ours = self.own_addresses.contains(&ip)
            || self
                .own_ports
                .iter()
                .any(|own| own.advertised.ip() == ip || own.bound.ip() == ip);
        listed(&self.allow) || !(ours || is_restricted(ip))
    }
}

/// Not on the public internet (RFC 6890), or not one host.
fn is_restricted(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || first == 0
                // Carrier-grade NAT (RFC 6598), protocol assignments, benchmarks, reserved.
                || (first == 100 && second & 0xC0 == 64)
                || (first, second) == (192, 0) && v4.octets()[2] == 0
                || (first == 198 && second & 0xFE == 18)
                || first >= 240
        }
        IpAddr::V6(v6) => {
            if let Some(v4) = embedded_v4(v6) {
                return is_restricted(IpAddr::V4(v4));
            }
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
                || v6.is_unique_local()
        }
    }
}

/// The IPv4 address a mapped, translated (RFC 6052) or 6to4 address leads to.
fn embedded_v4(v6: std::net::Ipv6Addr) -> Option<std::net::Ipv4Addr> {
    let segments = v6.segments();
    let from =
        |high: u16, low: u16| std::net::Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] => Some(from(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(from(high, low)),
        [0x2002, high, low, ..] => Some(from(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn policy() -> PeerPolicy {
        PeerPolicy {
            own_ports: vec![OwnPort {
                advertised: at("203.0.113.9:7882"),
                bound: at("10.0.0.5:7882"),
            }],
            own_addresses: vec!["203.0.113.9".parse().unwrap()],
            ..PeerPolicy::default()
        }
    }

    #[test]
    fn own_media_ports_are_reached_at_their_bound_address_and_no_other_port_is() {
        let policy = policy();
        let reached = policy.destination(at("203.0.113.9:7882"));
        assert_eq!(reached, Some(at("10.0.0.5:7882")));
        assert_eq!(policy.destination(at("203.0.113.9:3478")), None);
        assert_eq!(policy.destination(at("10.0.0.5:22")), None);
        assert!(policy.permits("203.0.113.9".parse().unwrap()));
        let named = policy.origin(at("10.0.0.5:7882"));
        assert_eq!(named, Some(at("203.0.113.9:7882")));
        assert_eq!(policy.origin(at("10.0.0.5:53")), None);
    }

    #[test]
    fn private_networks_are_closed_and_public_ones_open() {
        let policy = policy();
        for closed in [
            "127.0.0.1:80",
            "10.1.2.3:80",
            "192.168.0.1:80",
            "172.16.0.1:80",
            "169.254.169.254:80",
            "100.64.0.1:80",
            "0.0.0.0:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
            "[::1]:80",
            "[fe80::1]:80",
            "[fd00::1]:80",
            "[::ffff:10.0.0.1]:80",
            "[64:ff9b::a00:1]:80",
            "[2002:7f00:1::]:80",
            "8.8.8.8:0",
        ] {
            assert_eq!(policy.destination(at(closed)), None, "{closed}");
        }
        for open in ["8.8.8.8:53", "[2001:4860::8888]:53"] {
            assert_eq!(policy.destination(at(open)), Some(at(open)));
        }
    }

    #[test]
    fn the_allow_list_opens_private_networks_and_the_deny_list_wins() {
        let mut policy = policy();
        policy.allow = vec![Network::parse("10.0.0.0/8").unwrap()];
        policy.deny = vec![
            Network::parse("10.0.0.0/24").unwrap(),
            Network::parse("8.8.8.8").unwrap(),
        ];
        assert!(policy.destination(at("10.1.0.1:9")).is_some());
        assert!(policy.destination(at("10.0.0.7:9")).is_none());
        assert!(policy.destination(at("8.8.8.8:9")).is_none());
        assert!(policy.destination(at("203.0.113.9:7882")).is_some());
    }

    #[test]
    fn networks_are_read_strictly() {
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/8/8"] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
        assert!(
            Network::parse("0.0.0.0/0")
                .unwrap()
                .contains([1, 2, 3, 4].into())
        );
        assert!(
            !Network::parse("::/0")
                .unwrap()
                .contains([1, 2, 3, 4].into())
        );
    }
}
