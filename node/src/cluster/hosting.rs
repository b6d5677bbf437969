//! The rooms this node is home of, between the log and the registry: a room is opened only under
//! the epoch that made this life of this node its home, from what its last home told of it if this
//! node stood by, stopped at once when another epoch is in force, and closed in the log when it is
//! over. A place that nobody claims is given back.

mod awaited;
mod opening;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use consensus::cluster::{Change, Cluster, ProposeError};
use consensus::command::{Action, Effect, Room};
use consensus::ids::{Epoch, NodeId, RoomName};
use consensus::state::State;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::directory::serves;
use super::journal::Images;
use super::limits::{
    CLOSE_RETRY, HOSTING_NEWS_MAX, KNOW_PATIENCE, SWEEP_INTERVAL, UNCLAIMED_LASTS,
};
use super::membership::Phase as Membership;

/// What hosting does to local rooms: `rooms::Rooms` in the program.
pub trait LocalRooms: Send + Sync {
    /// The room that was opened under `epoch` lives elsewhere from now on; `resume`: its clients
    /// can go on there.
    fn fence(&self, room: &str, epoch: Epoch, resume: bool);
    /// The room is here from now on and was elsewhere before: it is opened from its image.
    fn revive(&self, room: &str);
}

impl LocalRooms for crate::rooms::Rooms {
    fn fence(&self, room: &str, epoch: Epoch, resume: bool) {
        self.fence(room, epoch.0, resume);
    }

    fn revive(&self, room: &str) {
        self.revive(room);
    }
}

/// Who knows the rooms of this node besides it.
pub trait Heirs: Send + Sync {
    /// `node` has followed the room and could go on with it.
    fn is_heir(&self, room: &str, node: NodeId) -> bool;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Placed here; nobody came yet.
    Expected {
        since: Instant,
        /// It was another node's: its people come back.
        moved: bool,
    },
    Running,
    /// It is over; the log is being told.
    Closing,
    /// It is somebody else's and has been told to stop.
    Fenced,
}

#[derive(Clone, Copy, Debug)]
struct Hosted {
    epoch: Epoch,
    phase: Phase,
    /// Opened from an image: sessions of its last home are known.
    revived: bool,
}

impl Hosted {
    fn expected(epoch: Epoch, moved: bool) -> Self {
        Self {
            epoch,
            phase: Phase::Expected {
                since: Instant::now(),
                moved,
            },
            revived: false,
        }
    }
}

/// What this node has of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// Nothing that runs.
    Nothing,
    Running(Epoch),
    /// It is somebody else's and has been told to stop.
    Fenced,
}

/// This node is not the room's home under that epoch or a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHere;

/// Clones are one.
#[derive(Clone)]
pub struct Homes(Arc<Inner>);

struct Inner {
    cluster: Cluster,
    rooms: Arc<dyn LocalRooms>,
    /// Whether this process takes part, and since when.
    membership: watch::Receiver<Membership>,
    /// The process ends: what it has is its heirs' and stays in the log.
    leaving: AtomicBool,
    /// Of rooms this node stands by for.
    images: Images,
    heirs: OnceLock<Arc<dyn Heirs>>,
    hosted: Mutex<HashMap<String, Hosted>>,
    /// Something in `hosted` changed.
    changed: watch::Sender<()>,
    /// Rooms that began or ended here.
    news: broadcast::Sender<String>,
}

impl Homes {
    /// The task follows the cluster until its changes end.
    pub fn start(
        cluster: Cluster,
        rooms: Arc<dyn LocalRooms>,
        images: Images,
        membership: watch::Receiver<Membership>,
    ) -> (Self, JoinHandle<()>) {
        let changes = cluster.changes();
        let homes = Self(Arc::new(Inner {
            cluster,
            rooms,
            membership,
            leaving: AtomicBool::new(false),
            images,
            heirs: OnceLock::new(),
            hosted: Mutex::new(HashMap::new()),
            changed: watch::channel(()).0,
            news: broadcast::channel(HOSTING_NEWS_MAX).0,
        }));
        let task = tokio::spawn(homes.clone().follow(changes));
        (homes, task)
    }

    /// Asked when a room goes elsewhere; until then nobody is taken to know it.
    pub(super) fn ask_heirs(&self, heirs: Arc<dyn Heirs>) {
        // Composed once.
        let _ = self.0.heirs.set(heirs);
    }

    /// Names of rooms that begin or end here, as they do.
    pub(super) fn news(&self) -> broadcast::Receiver<String> {
        self.0.news.subscribe()
    }

    pub(super) fn hosts(&self, room: &str) -> Hosts {
        let hosted = self.locked();
        match hosted.get(room).map(|known| (known.phase, known.epoch)) {
            Some((Phase::Running, epoch)) => Hosts::Running(epoch),
            Some((Phase::Fenced, _)) => Hosts::Fenced,
            Some((Phase::Expected { .. } | Phase::Closing, _)) | None => Hosts::Nothing,
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.locked().keys().cloned().collect()
    }

    /// Sessions that the room had at its last home are known here.
    pub(super) fn knows(&self, room: &str) -> bool {
        let hosted = self.locked();
        let known = hosted.get(room);
        known.is_some_and(|known| known.revived && known.phase == Phase::Running)
    }

    fn node(&self) -> NodeId {
        self.0.cluster.node()
    }

    /// A holder that panicked left a whole table: every change is a single step.
    fn locked(&self) -> MutexGuard<'_, HashMap<String, Hosted>> {
        self.0.hosted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under which epoch this node runs the room; `None`: it does not.
    pub fn running(&self, room: &str) -> Option<Epoch> {
        let hosted = self.locked();
        let known = hosted.get(room)?;
        matches!(known.phase, Phase::Running).then_some(known.epoch)
    }

    /// The log as applied here says that the room is here, under `epoch` or a later one, and
    /// nothing of an earlier life is left.
    pub fn is_open(&self, room: &str, epoch: Epoch) -> bool {
        let hosted = self.locked();
        let ready = hosted
            .get(room)
            .is_none_or(|known| matches!(known.phase, Phase::Expected { .. } | Phase::Running));
        ready
            && self.current(room).is_some_and(|known| known.epoch >= epoch)
            && !self.0.images.expects_more(room)
    }

    fn is_ending(&self, room: &str) -> bool {
        let hosted = self.locked();
        let phase = hosted.get(room).map(|known| known.phase);
        matches!(phase, Some(Phase::Closing | Phase::Fenced))
    }

    /// Its former home has something to say yet.
    fn is_coming(&self, room: &str) -> bool {
        self.0.images.expects_more(room)
    }

    /// This life of this node is in the log. A process that has not registered knows only what an
    /// earlier one left on its disk; one whose id another process registered meanwhile has nothing
    /// any more.
    pub(super) fn is_registered(&self) -> bool {
        let (node, life) = (self.node(), self.0.membership.borrow().incarnation());
        let known = |state: &State| state.node(node).map(|node| node.incarnation);
        life.is_some() && self.0.cluster.read(known) == life
    }

    /// The room's entry in the log, if this life of this node is its home.
    fn current(&self, room: &str) -> Option<Room> {
        let name = RoomName::from(room);
        let known = self.0.cluster.read(|state| state.room(&name).cloned());
        known.filter(|known| self.is_ours(known))
    }

    fn is_ours(&self, room: &Room) -> bool {
        let serves = |state: &State| serves(state, room.home, room.epoch);
        room.home == self.node() && self.is_registered() && self.0.cluster.read(serves)
    }

    /// From now on rooms end here without being over.
    pub fn leave(&self) {
        self.0.leaving.store(true, Ordering::Relaxed);
    }

    /// Waits until this node knows what the asker knew, and until an earlier life of the room is
    /// over; says whether the room is here then.
    pub async fn enter(&self, room: &str, epoch: Epoch) -> Result<(), NotHere> {
        if self.is_open(room, epoch) {
            return Ok(());
        }
        let mut changed = self.0.changed.subscribe();
        let ended = async {
            while self.is_ending(room) || self.is_coming(room) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        let waited = tokio::time::timeout(KNOW_PATIENCE, async {
            ended.await;
            if !self.is_open(room, epoch) {
                // Without a quorum nobody can have placed it here since.
                let _ = self.0.cluster.catch_up().await;
            }
        });
        let _ = waited.await;
        match self.is_open(room, epoch) {
            true => Ok(()),
            false => Err(NotHere),
        }
    }

    async fn follow(self, mut changes: broadcast::Receiver<Change>) {
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut membership = self.0.membership.clone();
        loop {
            tokio::select! {
                Ok(()) = membership.changed() => self.compare(),
                change = changes.recv() => match change {
                    Ok(change) => self.observe(&change),
                    Err(RecvError::Lagged(_)) => self.compare(),
                    Err(RecvError::Closed) => return,
                },
                _ = sweep.tick() => {
                    self.compare();
                    self.give_back();
                }
            }
        }
    }

    fn observe(&self, change: &Change) {
        let Change::Effect { effect, .. } = change else {
            return self.compare();
        };
        match effect {
            Effect::RoomMoved { name, room, .. } => self.settle(name.as_str(), Some(room), true),
            Effect::RoomPlaced { name, room } | Effect::RoomOrphaned { name, room } => {
                self.settle(name.as_str(), Some(room), false);
            }
            Effect::RoomClosed { name, .. } => self.settle(name.as_str(), None, false),
            // Another life of this node began, or its own is over.
            Effect::NodeChanged { node, .. } if *node == self.node() => self.compare(),
            _ => {}
        }
    }

    /// Everything this node believes to have, and everything the log says it has.
    fn compare(&self) {
        let believed: Vec<String> = self.locked().keys().cloned().collect();
        let node = self.node();
        let (ours, known) = self.0.cluster.read(|state| {
            let ours = state.rooms().filter(|(_, room)| room.home == node);
            let ours: Vec<_> = ours.map(|(n, r)| (n.0.clone(), Some(r.clone()))).collect();
            let room = |name: &String| state.room(&RoomName(name.clone())).cloned();
            let known: Vec<_> = believed.iter().map(|n| (n.clone(), room(n))).collect();
            (ours, known)
        });
        for (name, room) in ours.into_iter().chain(known) {
            self.settle(&name, room.as_ref(), false);
        }
    }

    /// What the log said of a room; what it says by now may be newer, and only that counts.
    fn settle(&self, name: &str, said: Option<&Room>, moved: bool) {
        let mut hosted = self.locked();
        if !hosted.contains_key(name) && said.is_none_or(|room| room.home != self.node()) {
            return;
        }
        let current = self.current(name);
        let Some(known) = hosted.get_mut(name) else {
            if let Some(room) = current {
                hosted.insert(name.to_owned(), Hosted::expected(room.epoch, moved));
                self.revive(name);
            }
            return;
        };
        if current
            .as_ref()
            .is_some_and(|room| room.epoch == known.epoch)
        {
            return;
        }
        match (known.phase, current) {
            (Phase::Running, _) => {
                tracing::info!(room = name, epoch = %known.epoch, "the room is another node's now");
                known.phase = Phase::Fenced;
                self.0.rooms.fence(name, known.epoch, self.heir_takes(name));
            }
            // Its registry has not said yet that it is over.
            (Phase::Fenced, _) => {}
            (Phase::Expected { .. } | Phase::Closing, Some(room)) => {
                *known = Hosted::expected(room.epoch, moved);
                self.revive(name);
            }
            (Phase::Expected { .. } | Phase::Closing, None) => {
                hosted.remove(name);
            }
        }
        drop(hosted);
        self.0.changed.send_replace(());
    }

    /// Opens it at once if it is known here: its clients, and lists, find it as it was.
    fn revive(&self, room: &str) {
        if !self.0.images.inherits(room) {
            return;
        }
        if !self.is_coming(room) {
            self.0.rooms.revive(room);
            return;
        }
        let (homes, room) = (self.clone(), room.to_owned());
        tokio::spawn(async move {
            homes.0.images.last_words(&room).await;
            homes.0.rooms.revive(&room);
            homes.0.changed.send_replace(());
        });
    }

    /// Whoever the log made home of a room of this node knows it.
    fn heir_takes(&self, room: &str) -> bool {
        let name = RoomName::from(room);
        let home = self.0.cluster.read(|s| s.room(&name).map(|room| room.home));
        let heirs = self.0.heirs.get();
        home.is_some_and(|home| heirs.is_some_and(|heirs| heirs.is_heir(room, home)))
    }

    /// Closes what was placed here and never opened.
    fn give_back(&self) {
        let now = Instant::now();
        let mut unclaimed = Vec::new();
        for (name, known) in self.locked().iter_mut() {
            let Phase::Expected { since, .. } = known.phase else {
                continue;
            };
            if now.duration_since(since) >= UNCLAIMED_LASTS {
                known.phase = Phase::Closing;
                unclaimed.push((name.clone(), known.epoch));
            }
        }
        for (name, epoch) in unclaimed {
            self.close(name, epoch);
        }
    }

    /// Tells the log until it has answered; the entry goes when the answer is applied here.
    fn close(&self, name: String, epoch: Epoch) {
        let homes = self.clone();
        tokio::spawn(async move {
            loop {
                let name = RoomName::from(name.as_str());
                let proposed = homes.0.cluster.propose(Action::CloseRoom { name, epoch });
                match proposed.await {
                    Ok(_) | Err(ProposeError::Refused(_)) => break,
                    Err(ProposeError::Stopped(_)) => return,
                    Err(error) => {
                        tracing::debug!(%error, "a room could not be closed in the log yet");
                        tokio::time::sleep(CLOSE_RETRY).await;
                    }
                }
            }
            // The effect may have come before the table said that it was closing.
            let _ = homes.0.cluster.catch_up().await;
            homes.settle(&name, None, false);
        });
    }
}

#[cfg(test)]
mod tests;
