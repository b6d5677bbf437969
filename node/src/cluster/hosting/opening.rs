//! What the registry of rooms asks of hosting: whether a room may be opened here and from what, and
//! what it tells when one is over.

use std::sync::atomic::Ordering;

use consensus::command::{NodeState, Room};
use consensus::ids::NodeId;
use consensus::state::{Mandate, State};
use tokio::time::Instant;

use super::{Homes, Hosted, Phase};
use crate::cluster::directory::{lives, serves};
use crate::room::environment::{Hosting, Opening};
use crate::room::{Arrival, MoveCause, WarmTransports};

impl Homes {
    /// How a room came here by what its last home left of it.
    fn arrival(&self, by: &Mandate, known_since: Instant) -> Arrival {
        self.0.cluster.read(|state| Arrival {
            from: name_of(state, by.home),
            to: name_of(state, self.node()),
            cause: match state.node(by.home).map(|node| node.state) {
                _ if !serves(state, by.home, by.epoch) => MoveCause::Death,
                Some(NodeState::Draining) => MoveCause::Drain,
                _ => MoveCause::Order,
            },
            ago: known_since.elapsed(),
        })
    }
}

/// For people: its host, where no other living node is on that; else its id.
fn name_of(state: &State, node: NodeId) -> String {
    let host = state.node(node).map(|node| node.info.host.as_str());
    let named = host.filter(|host| {
        let mut others = state.nodes().filter(|(id, _)| *id != node);
        let shared = others.any(|(id, other)| lives(state, id) && other.info.host == *host);
        !host.is_empty() && !shared
    });
    named.map_or_else(|| node.to_string(), str::to_owned)
}

impl Hosting for Homes {
    fn begin(&self, room: &str) -> Option<Opening> {
        // Under the lock: what the log says later finds the entry and fences it.
        let mut hosted = self.locked();
        let current = self.current(room)?;
        let phase = hosted.get(room).map(|known| known.phase);
        if matches!(phase, Some(Phase::Closing | Phase::Fenced)) {
            return None;
        }
        let legacy = self.0.images.take(room, current.epoch);
        let arrival = legacy.as_ref().map(|legacy| {
            let known_since = match phase {
                Some(Phase::Expected { since, .. }) => since,
                _ => Instant::now(),
            };
            self.arrival(&legacy.mandate, known_since)
        });
        let (image, warm) = match legacy {
            Some(legacy) => (Some(legacy.image), legacy.warm),
            None => (None, WarmTransports::new()),
        };
        let running = Hosted {
            epoch: current.epoch,
            phase: Phase::Running,
            revived: image.is_some(),
        };
        hosted.insert(room.to_owned(), running);
        drop(hosted);
        // Nobody may be following rooms.
        let _ = self.0.news.send(room.to_owned());
        let sid = current.sid.0;
        let epoch = current.epoch.0;
        Some(Opening {
            sid,
            epoch,
            image,
            warm,
            arrival,
        })
    }

    fn remembers(&self, room: &str) -> bool {
        self.0.images.inherits(room) && self.current(room).is_some()
    }

    fn decline(&self, room: &str) {
        let mut hosted = self.locked();
        let Some(Room { epoch, .. }) = self.current(room) else {
            return;
        };
        let known = hosted.get(room).map(|known| known.phase);
        if !matches!(known, None | Some(Phase::Expected { .. })) {
            return;
        }
        let declined = Hosted {
            epoch,
            phase: Phase::Closing,
            revived: false,
        };
        hosted.insert(room.to_owned(), declined);
        drop(hosted);
        self.close(room.to_owned(), epoch);
    }

    fn ended(&self, room: &str, epoch: u64) {
        let mut hosted = self.locked();
        let known = hosted.get_mut(room);
        let Some(known) = known.filter(|known| known.epoch.0 == epoch) else {
            return;
        };
        let epoch = known.epoch;
        let fenced = known.phase == Phase::Fenced || self.0.leaving.load(Ordering::Relaxed);
        if fenced {
            hosted.remove(room);
        } else {
            known.phase = Phase::Closing;
        }
        drop(hosted);
        self.0.changed.send_replace(());
        let _ = self.0.news.send(room.to_owned());
        if fenced {
            // It may have come back here under another epoch meanwhile.
            let current = self.current(room);
            self.settle(room, current.as_ref(), true);
        } else {
            self.close(room.to_owned(), epoch);
        }
    }
}
