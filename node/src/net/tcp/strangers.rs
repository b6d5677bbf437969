//! Connections that may be anybody's, counted by network: the places for them are few, and one
//! address must not take them all. `net::tcp` asks before it keeps one.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use crate::limits::{TCP_STRANGERS_MAX, TCP_STRANGERS_PER_NETWORK_MAX};
use crate::net::gate::network_of;

/// How many connections are not known yet, in all and of each network.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    all: usize,
    networks: HashMap<IpAddr, usize>,
}

impl Strangers {
    /// `false` when there are too many.
    pub(super) fn enter(&mut self, remote: SocketAddr) -> bool {
        let network = network_of(remote.ip().to_canonical());
        let of_network = self.networks.get(&network).copied().unwrap_or_default();
        if self.all >= TCP_STRANGERS_MAX || of_network >= TCP_STRANGERS_PER_NETWORK_MAX {
            return false;
        }
        self.all += 1;
        self.networks.insert(network, of_network + 1);
        true
    }

    pub(super) fn leave(&mut self, remote: SocketAddr) {
        let network = network_of(remote.ip().to_canonical());
        self.all = self.all.saturating_sub(1);
        if let Some(count) = self.networks.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.networks.remove(&network);
            }
        }
    }
}
