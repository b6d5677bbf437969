//! Which ways of the network a fault takes away. Both rings' `troubles` make it happen.

use crate::scenario::Host;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Two lose each other.
    Pair,
    /// One is not heard by another.
    OneWay,
    /// One loses all others, in one direction or both.
    Isolate,
    /// Two groups.
    Split,
}

/// From, to. Draws the same numbers whatever the cut.
pub(crate) fn ways(
    cut: Cut,
    host: Host,
    hosts: u64,
    mut below: impl FnMut(u64) -> u64,
) -> Vec<(Host, Host)> {
    let other = Host(1 + below(hosts));
    let directions = below(3);
    let group = below(1 << hosts);
    let side = |host: Host| group >> (host.0 - 1) & 1;
    let all = || (1..=hosts).map(Host);
    let mut ways = Vec::new();
    match cut {
        Cut::Pair => ways.extend([(host, other), (other, host)]),
        Cut::OneWay => ways.push((host, other)),
        Cut::Isolate => {
            for other in all() {
                if directions != 1 {
                    ways.push((host, other));
                }
                if directions != 2 {
                    ways.push((other, host));
                }
            }
        }
        Cut::Split => {
            for from in all() {
                let across = all().filter(|to| side(*to) != side(from));
                ways.extend(across.map(|to| (from, to)));
            }
        }
    }
    ways.retain(|(from, to)| from != to);
    ways
}
