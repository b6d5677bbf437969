//! A transport of another node that this one would take over: it answers checks, keeps the client's
//! pairs here warm and knows what the primary's deltas said. It sends no media and nominates
//! nothing until `take_over` makes a live transport of it.

use std::sync::Arc;
use std::time::Instant;

use super::delta::{Reader, TransportDelta};
use super::ice::Agent;
use super::snapshot::TransportSnapshot;
use super::{DtlsIdentity, SnapshotError, Transport, TransportOptions};
use crate::demux::{PacketClass, classify};
use crate::types::{IceCredentials, Path, Protocol};

/// See the file header.
pub struct Standby {
    ice: Agent,
    snapshot: Box<TransportSnapshot>,
    /// Datagrams of the client, and those of them that were no valid check.
    datagrams_in: u64,
    dropped: u64,
}

impl Standby {
    /// `options` has the addresses of this node.
    pub fn new(
        now: Instant,
        image: &[u8],
        (options, seed): (TransportOptions, [u8; 32]),
    ) -> Result<Standby, SnapshotError> {
        let snapshot = Box::new(TransportSnapshot::decode(image)?);
        Ok(Standby {
            ice: agent(now, &snapshot, options, seed),
            snapshot,
            datagrams_in: 0,
            dropped: 0,
        })
    }

    /// A new image replaces what was known; pairs stay unless its credentials are others.
    pub fn replace(
        &mut self,
        now: Instant,
        image: &[u8],
        (options, seed): (TransportOptions, [u8; 32]),
    ) -> Result<(), SnapshotError> {
        let snapshot = Box::new(TransportSnapshot::decode(image)?);
        let old = &self.snapshot;
        if (&old.local_ufrag, &old.remote_ufrag) != (&snapshot.local_ufrag, &snapshot.remote_ufrag)
        {
            self.ice = agent(now, &snapshot, options, seed);
        } else {
            seek(&mut self.ice, now, &snapshot);
        }
        self.snapshot = snapshot;
        Ok(())
    }

    /// Takes the transport's part of a delta.
    pub(crate) fn update(&mut self, reader: &mut Reader<'_>) -> Result<(), SnapshotError> {
        self.snapshot.apply(&TransportDelta::read(reader)?);
        Ok(())
    }

    /// Takes one datagram; only checks over UDP are answered.
    pub fn handle_datagram(&mut self, now: Instant, path: Path, datagram: &[u8]) {
        self.datagrams_in += 1;
        let check = classify(datagram) == PacketClass::Stun && path.protocol == Protocol::Udp;
        if !check || self.ice.handle(now, path, datagram).is_err() {
            self.dropped += 1;
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.ice.handle_timeout(now);
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.ice.deadline()
    }

    /// Checks and answers to send.
    pub fn poll(&mut self) -> Option<(Path, Vec<u8>)> {
        self.ice.poll_transmit()
    }

    /// Username fragment that the client's checks carry.
    pub fn local_ufrag(&self) -> &str {
        &self.ice.local().ufrag
    }

    pub fn knows_path(&self, path: &Path) -> bool {
        self.ice.knows(path)
    }

    /// The path a takeover would use; `None`: the client cannot be taken over silently.
    pub fn warm_path(&self, now: Instant) -> Option<Path> {
        self.ice.warm_path(now, self.snapshot.client)
    }

    /// Datagrams that came, and how many of them were no valid checks.
    pub fn counters(&self) -> (u64, u64) {
        (self.datagrams_in, self.dropped)
    }

    /// Goes on in the primary's place: nominates the warm pair, uses it, and begins behind every
    /// lease the primary was granted.
    pub fn take_over(
        mut self,
        now: Instant,
        identity: &Arc<DtlsIdentity>,
    ) -> Result<Transport, SnapshotError> {
        let path = self.warm_path(now);
        self.ice.set_nomination(self.snapshot.nomination);
        self.ice.take_over(now, path);
        Transport::from_snapshot(now, self.ice, &self.snapshot, identity)
    }
}

fn seek(ice: &mut Agent, now: Instant, snapshot: &TransportSnapshot) {
    ice.set_nomination(snapshot.nomination);
    if let Some(client) = snapshot.client.filter(|_| snapshot.led) {
        ice.seek(now, client);
    }
}

fn agent(
    now: Instant,
    snapshot: &TransportSnapshot,
    options: TransportOptions,
    seed: [u8; 32],
) -> Agent {
    let local = IceCredentials {
        ufrag: snapshot.local_ufrag.clone(),
        pwd: snapshot.local_pwd.clone(),
    };
    let mut ice = Agent::new(now, local, options, seed);
    ice.set_remote(
        now,
        IceCredentials {
            ufrag: snapshot.remote_ufrag.clone(),
            pwd: snapshot.remote_pwd.clone(),
        },
    );
    ice.become_dormant();
    seek(&mut ice, now, snapshot);
    ice
}
