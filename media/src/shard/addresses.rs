//! Which transport a datagram is for: by the addresses transports are known at and the user name
//! fragments of their checks. A transport that only says it is at an address does not take it from
//! another: its peer has to answer there.

use crate::demux::stun_local_ufrag;
use crate::limits::ICE_MAX_PAIRS;
use crate::shard::Shard;
use crate::types::Path;

/// First byte of a STUN answer (RFC 8489 §5: class bit 0x100).
const STUN_ANSWER: u8 = 1;

impl Shard {
    /// The transport a STUN message names. A port may be reused by another connection: credentials
    /// and awaited answers outrank the address.
    pub(super) fn named(&self, path: &Path, payload: &[u8]) -> Option<u32> {
        match *payload.first()? {
            0 => self.ufrags.get(stun_local_ufrag(payload)?).copied(),
            STUN_ANSWER => {
                let claimant = self.claims.get(path).copied()?;
                let slot = self.transports.get(claimant)?;
                slot.transport.expects(path, payload).then_some(claimant)
            }
            _ => None,
        }
    }

    /// An authenticated message of the transport came from `path`, which may be `taken`.
    pub(super) fn learn_path(&mut self, index: u32, path: Path, taken: bool) {
        let Some(slot) = self.transports.get(index) else {
            return;
        };
        if slot.transport.proved_path(&path) || !taken && slot.transport.knows_path(&path) {
            self.keep_path(index, path);
        } else if slot.transport.knows_path(&path) && self.claims.len() < self.paths.len() {
            self.claims.insert(path, index);
        }
    }

    /// Datagrams from `path` are for the transport from now on.
    pub(super) fn keep_path(&mut self, index: u32, path: Path) {
        self.claims.remove(&path);
        let Some(slot) = self.transports.get_mut(index) else {
            return;
        };
        if !slot.paths.contains(&path) {
            if slot.paths.len() >= ICE_MAX_PAIRS {
                self.drop_unknown_paths(index);
            }
            if let Some(slot) = self.transports.get_mut(index) {
                slot.paths.push(path);
            }
        }
        self.paths.insert(path, index);
    }

    /// A check that names `ufrag` is for the transport; names it no longer answers to are dropped.
    pub(super) fn learn_ufrag(&mut self, index: u32, ufrag: String) -> Option<()> {
        let slot = self.transports.get_mut(index)?;
        let (transport, names) = (&slot.transport, &mut self.ufrags);
        slot.ufrags.retain(|name| {
            let answers = transport.answers_to(name);
            if !answers {
                names.remove(name);
            }
            answers && *name != ufrag
        });
        slot.ufrags.push(ufrag.clone());
        self.ufrags.insert(ufrag, index);
        Some(())
    }

    pub(super) fn forget_addresses(&mut self, index: u32) {
        let Some(slot) = self.transports.get_mut(index) else {
            return;
        };
        for path in std::mem::take(&mut slot.paths) {
            if self.paths.get(&path) == Some(&index) {
                self.paths.remove(&path);
            }
        }
        for ufrag in std::mem::take(&mut slot.ufrags) {
            self.ufrags.remove(&ufrag);
        }
        self.claims.retain(|_, claimant| *claimant != index);
    }

    /// Makes room: paths the transport has no pair for any more, else the oldest.
    fn drop_unknown_paths(&mut self, index: u32) {
        let Some(slot) = self.transports.get_mut(index) else {
            return;
        };
        let transport = &slot.transport;
        let (mut kept, mut dropped): (Vec<Path>, Vec<Path>) = slot
            .paths
            .drain(..)
            .partition(|path| transport.knows_path(path));
        if dropped.is_empty() && !kept.is_empty() {
            dropped.push(kept.remove(0));
        }
        slot.paths = kept;
        for path in dropped {
            if self.paths.get(&path) == Some(&index) {
                self.paths.remove(&path);
            }
        }
    }
}
