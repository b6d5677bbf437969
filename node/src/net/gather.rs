//! From local addresses to the host candidates clients are told: what is bound, what is advertised
//! for it (`node_ip`, `use_external_ip`), and with which priority. Called once at start.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Instant;

use media::transport::stun;
use media::turn::peers::OwnPort;
use media::types::{LocalCandidate, Protocol};

use crate::config::rtc::Rtc;
use crate::limits::{EXTERNAL_ADDRESS_TRIES, EXTERNAL_ADDRESS_WAIT};

/// Priorities as LiveKit's: type preference 126 (UDP host) or 99.6 (passive TCP host), local
/// preference 65535, component 1.
const UDP_PRIORITY: u32 = 2_130_706_431;
const TCP_PRIORITY: u32 = 1_671_430_143;

/// Asked only when `use_external_ip` is set and no `stun_servers` are given, as upstream does.
const DEFAULT_STUN_SERVERS: [&str; 2] = ["stun.l.google.com:19302", "stun1.l.google.com:19302"];

/// A bound address and the addresses clients reach it at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    pub bound: IpAddr,
    pub advertised: Vec<IpAddr>,
}

/// What is advertised for each local address. May ask STUN servers and block for some seconds.
pub fn reaches(local: &[IpAddr], rtc: &Rtc) -> Vec<Reach> {
    let mut external = |ip: IpAddr| external_address(ip, rtc);
    reaches_with(local, rtc, &mut external)
}

fn reaches_with(
    local: &[IpAddr],
    rtc: &Rtc,
    external: &mut dyn FnMut(IpAddr) -> Option<IpAddr>,
) -> Vec<Reach> {
    let advertise = |ip: IpAddr, external: &mut dyn FnMut(IpAddr) -> Option<IpAddr>| {
        let mut advertised = Vec::new();
        let node_ip = match ip {
            IpAddr::V4(_) => rtc.node_ip.ipv4.map(IpAddr::V4),
            IpAddr::V6(_) => rtc.node_ip.ipv6.map(IpAddr::V6),
        };
        // The address the operator named stands for every local one of its family.
        if let Some(node_ip) = node_ip {
            advertised.push(node_ip);
        } else if rtc.use_external_ip && !ip.is_loopback() {
            match external(ip) {
                Some(found) => advertised.push(found),
                None if rtc.external_ip_only => return advertised,
                None => advertised.push(ip),
            }
        } else {
            advertised.push(ip);
        }
        if rtc.advertise_internal_ip && !advertised.contains(&ip) {
            advertised.push(ip);
        }
        advertised
    };
    local
        .iter()
        .map(|ip| Reach {
            bound: *ip,
            advertised: advertise(*ip, external),
        })
        .collect()
}

/// Host candidates of one shard: each advertised address once, UDP before TCP.
pub fn candidates(
    reaches: &[Reach],
    udp_port: u16,
    tcp_port: u16,
    rtc: &Rtc,
) -> Vec<LocalCandidate> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in reaches.iter().flat_map(|reach| &reach.advertised) {
        if !addresses.contains(address) {
            addresses.push(*address);
        }
    }
    let candidate = |protocol, ip: IpAddr, port, priority| LocalCandidate {
        protocol,
        address: SocketAddr::new(ip, port),
        priority,
        foundation: foundation(protocol, ip),
    };
    let mut candidates = Vec::new();
    if udp_port != 0 && !rtc.force_tcp {
        let udp = |ip: &IpAddr| candidate(Protocol::Udp, *ip, udp_port, UDP_PRIORITY);
        candidates.extend(addresses.iter().map(udp));
    }
    if tcp_port != 0 {
        let tcp = |ip: &IpAddr| candidate(Protocol::Tcp, *ip, tcp_port, TCP_PRIORITY);
        candidates.extend(addresses.iter().map(tcp));
    }
    candidates
}

/// A shard's UDP port at every address, with what it is advertised as.
pub fn media_ports(reaches: &[Reach], udp_port: u16) -> impl Iterator<Item = OwnPort> + '_ {
    reaches.iter().flat_map(move |reach| {
        let advertised = reach.advertised.iter();
        advertised.map(move |ip| OwnPort {
            advertised: SocketAddr::new(*ip, udp_port),
            bound: SocketAddr::new(reach.bound, udp_port),
        })
    })
}

/// The same for candidates of the same type, base and protocol (RFC 8445 §5.1.1.3).
fn foundation(protocol: Protocol, ip: IpAddr) -> String {
    let text = format!("host {protocol:?} {ip}");
    crc32fast::hash(text.as_bytes()).to_string()
}

/// Asks STUN servers from a socket on `ip` which address the world sees.
fn external_address(ip: IpAddr, rtc: &Rtc) -> Option<IpAddr> {
    let given: Vec<&str> = rtc.stun_servers.iter().map(String::as_str).collect();
    let servers = if given.is_empty() {
        &DEFAULT_STUN_SERVERS[..]
    } else {
        &given[..]
    };
    let socket = UdpSocket::bind(SocketAddr::new(ip, 0)).ok()?;
    socket.set_read_timeout(Some(EXTERNAL_ADDRESS_WAIT)).ok()?;
    for _ in 0..EXTERNAL_ADDRESS_TRIES {
        for server in servers {
            if let Some(found) = ask(&socket, server, ip) {
                return Some(found);
            }
        }
    }
    tracing::warn!(%ip, ?servers, "no STUN server told the external address");
    None
}

fn ask(socket: &UdpSocket, server: &str, ip: IpAddr) -> Option<IpAddr> {
    use std::net::ToSocketAddrs;

    let mut addresses = server.to_socket_addrs().ok()?;
    let server = addresses.find(|address| address.is_ipv4() == ip.is_ipv4())?;
    let mut transaction = stun::TransactionId::default();
    aws_lc_rs::rand::fill(&mut transaction).ok()?;
    socket
        .send_to(&binding_request(&transaction), server)
        .ok()?;
    let until = Instant::now() + EXTERNAL_ADDRESS_WAIT;
    let mut buffer = [0_u8; 512];
    while Instant::now() < until {
        let (length, from) = socket.recv_from(&mut buffer).ok()?;
        let answer = buffer.get(..length)?;
        if from == server && answer.get(8..20) == Some(&transaction[..]) {
            return stun::mapped_address(answer).map(|address| address.ip());
        }
    }
    None
}

/// A bare binding request (RFC 8489 §5): header without attributes.
fn binding_request(transaction: &stun::TransactionId) -> [u8; stun::HEADER_BYTES] {
    let mut request = [0_u8; stun::HEADER_BYTES];
    request[..8].copy_from_slice(&[0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xA4, 0x42]);
    request[8..].copy_from_slice(transaction);
    request
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::NodeIp;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn advertised(rtc: &Rtc, local: &[&str]) -> Vec<IpAddr> {
        let local: Vec<IpAddr> = local.iter().map(|text| ip(text)).collect();
        let mut external = |_| Some(ip("203.0.113.9"));
        let reaches = reaches_with(&local, rtc, &mut external);
        let candidates = candidates(&reaches, 7882, 0, rtc);
        candidates.iter().map(|one| one.address.ip()).collect()
    }

    #[test]
    fn node_ip_stands_for_all_addresses_of_its_family() {
        let rtc = Rtc {
            node_ip: NodeIp::from(ip("198.51.100.1")),
            ..Rtc::default()
        };
        assert_eq!(
            advertised(&rtc, &["10.0.0.1", "10.0.0.2"]),
            [ip("198.51.100.1")]
        );
    }

    #[test]
    fn the_external_address_replaces_or_joins_the_internal_one() {
        let mut rtc = Rtc {
            use_external_ip: true,
            ..Rtc::default()
        };
        assert_eq!(advertised(&rtc, &["10.0.0.1"]), [ip("203.0.113.9")]);
        rtc.advertise_internal_ip = true;
        assert_eq!(
            advertised(&rtc, &["10.0.0.1"]),
            [ip("203.0.113.9"), ip("10.0.0.1")]
        );
    }

    #[test]
    fn udp_and_tcp_have_the_priorities_of_livekit() {
        let reaches = [Reach {
            bound: ip("10.0.0.1"),
            advertised: vec![ip("10.0.0.1")],
        }];
        let both = candidates(&reaches, 7882, 7881, &Rtc::default());
        let seen: Vec<_> = both
            .iter()
            .map(|one| (one.protocol, one.priority))
            .collect();
        assert_eq!(
            seen,
            [
                (Protocol::Udp, 2_130_706_431),
                (Protocol::Tcp, 1_671_430_143)
            ]
        );
        assert_ne!(both[0].foundation, both[1].foundation);

        let forced = Rtc {
            force_tcp: true,
            ..Rtc::default()
        };
        assert_eq!(candidates(&reaches, 7882, 7881, &forced).len(), 1);
    }
}
