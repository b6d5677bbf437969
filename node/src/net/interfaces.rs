//! Which addresses of this machine clients may be told: interfaces and addresses filtered as the
//! operator said. Pure but for `local_addresses`; `gather` makes candidates of the result.

use std::net::IpAddr;

use if_addrs::get_if_addrs;

use crate::config::rtc::{NameFilter, Rtc};
use crate::limits::LOCAL_ADDRESSES_MAX;

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub interface: String,
    pub ip: IpAddr,
}

/// The machine's addresses that pass the filters of `rtc`, IPv4 first.
pub fn local_addresses(rtc: &Rtc) -> std::io::Result<Vec<IpAddr>> {
    let all = get_if_addrs()?.into_iter().map(|interface| Address {
        ip: interface.ip(),
        interface: interface.name,
    });
    Ok(select(all, rtc))
}

/// Every address of the machine, whatever its interface.
pub fn all_addresses() -> std::io::Result<Vec<IpAddr>> {
    Ok(get_if_addrs()?
        .iter()
        .map(if_addrs::Interface::ip)
        .collect())
}

fn select(all: impl Iterator<Item = Address>, rtc: &Rtc) -> Vec<IpAddr> {
    let wants_v6 = rtc.node_ip.ipv6.is_some() || rtc.node_ip.is_unset();
    let mut chosen: Vec<IpAddr> = all
        .filter(|address| usable(address.ip, rtc) && (address.ip.is_ipv4() || wants_v6))
        .filter(|address| name_passes(&address.interface, &rtc.interfaces))
        .filter(|address| ip_passes(address.ip, &rtc.ips))
        .map(|address| address.ip)
        .collect();
    chosen.sort_by_key(|ip| (ip.is_ipv6(), *ip));
    chosen.dedup();
    chosen.truncate(LOCAL_ADDRESSES_MAX);
    chosen
}

fn usable(ip: IpAddr, rtc: &Rtc) -> bool {
    if ip.is_loopback() {
        return rtc.enable_loopback_candidate;
    }
    match ip {
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local() && !v6.is_unspecified(),
    }
}

fn name_passes(name: &str, filter: &NameFilter) -> bool {
    let listed = |list: &[String]| list.iter().any(|entry| entry == name);
    (filter.includes.is_empty() || listed(&filter.includes)) && !listed(&filter.excludes)
}

fn ip_passes(ip: IpAddr, filter: &NameFilter) -> bool {
    let listed = |list: &[String]| list.iter().any(|entry| in_network(ip, entry));
    (filter.includes.is_empty() || listed(&filter.includes)) && !listed(&filter.excludes)
}

/// Whether `ip` is within `network`, an address or a prefix such as `10.0.0.0/8`.
pub fn in_network(ip: IpAddr, network: &str) -> bool {
    let (base, length) = match network.split_once('/') {
        Some((base, length)) => (base, length.parse::<u32>().ok()),
        None => (network, None),
    };
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    let Ok(base) = base.parse::<IpAddr>() else {
        return false;
    };
    let ((ip_bits, width), (base_bits, base_width)) = (bits(ip), bits(base));
    let length = length.unwrap_or(width);
    if width != base_width || length > width {
        return false;
    }
    length == 0 || (ip_bits ^ base_bits) >> (128 - length) == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn machine() -> Vec<Address> {
        let address = |interface: &str, ip: &str| Address {
            interface: interface.into(),
            ip: ip.parse().unwrap(),
        };
        vec![
            address("lo", "127.0.0.1"),
            address("eth0", "10.0.0.5"),
            address("eth0", "fe80::1"),
            address("eth0", "2001:db8::5"),
            address("docker0", "172.17.0.1"),
        ]
    }

    fn chosen(rtc: &Rtc) -> Vec<String> {
        let chosen = select(machine().into_iter(), rtc);
        chosen.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn loopback_and_link_local_addresses_are_not_offered() {
        let rtc = Rtc::default();
        assert_eq!(chosen(&rtc), ["10.0.0.5", "172.17.0.1", "2001:db8::5"]);
    }

    #[test]
    fn filters_choose_by_interface_and_by_network() {
        let mut rtc = Rtc::default();
        rtc.interfaces.excludes = vec!["docker0".into()];
        rtc.ips.includes = vec!["10.0.0.0/8".into(), "172.16.0.0/12".into()];
        assert_eq!(chosen(&rtc), ["10.0.0.5"]);

        let mut loopback = Rtc {
            enable_loopback_candidate: true,
            ..Rtc::default()
        };
        loopback.interfaces.includes = vec!["lo".into()];
        assert_eq!(chosen(&loopback), ["127.0.0.1"]);
    }

    #[test]
    fn prefixes_compare_only_their_own_bits_and_family() {
        let within = |ip: &str, network| in_network(ip.parse().unwrap(), network);
        assert!(within("10.1.2.3", "10.0.0.0/8"));
        assert!(!within("11.1.2.3", "10.0.0.0/8"));
        assert!(within("1.2.3.4", "0.0.0.0/0"));
        assert!(!within("::1", "0.0.0.0/0"));
        assert!(within("1.2.3.4", "1.2.3.4"));
        assert!(!within("1.2.3.4", "1.2.3.4/33"));
        assert!(!within("1.2.3.4", "garbage"));
    }
}
