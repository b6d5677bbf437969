//! What this node knows of rooms it stands by for, each under the mandate by which it does. Filled
//! by `server` from the homes' journals, emptied by the log and by `hosting`, which opens a room
//! from its image. The log as applied here decides who may write; nothing is taken on trust that it
//! does not know. Transports (`standins`) come and go with their room.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use consensus::cluster::{Change, Cluster};
use consensus::command::{Effect, NodeState};
use consensus::ids::{Epoch, NodeId, RoomName};
use consensus::state::Mandate;
use metrics::{counter, gauge};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, timeout};

use super::standins::StandIns;
use super::wire::{Batch, Extent, Tenure};
use crate::cluster::limits::{
    JOURNAL_IMAGES_BYTES_MAX, JOURNAL_LOG_PATIENCE, LAST_WORDS_LOOK, LAST_WORDS_PATIENCE,
    SWEEP_INTERVAL,
};
use crate::room::WarmTransports;
use crate::room::journal::{MediaEntry, RoomImage};

/// Why a batch is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The log knows of no such mandate, or of a later one.
    NotOurs,
    /// Images take all the memory they may.
    Full,
    /// Changes of something this node does not have.
    Unknown,
}

impl Refused {
    fn label(self) -> &'static str {
        match self {
            Self::NotOurs => "not_ours",
            Self::Full => "full",
            Self::Unknown => "unknown",
        }
    }
}

/// What a home left of a room to this node.
pub struct Legacy {
    pub image: RoomImage,
    /// Transports that are ready to go on here.
    pub warm: WarmTransports,
    /// By which it was followed here.
    pub mandate: Mandate,
}

struct Held {
    mandate: Mandate,
    /// `None`: everything is on its way for the first time.
    image: Option<RoomImage>,
    /// Everything anew, as far as it came.
    coming: Option<RoomImage>,
    /// Of both.
    bytes: usize,
    /// The home said that nothing follows.
    finished: bool,
    /// Since when the home does not follow it to here any more.
    left: Option<Instant>,
}

impl Held {
    fn new(mandate: Mandate) -> Self {
        Self {
            mandate,
            image: None,
            coming: None,
            bytes: 0,
            finished: false,
            left: None,
        }
    }

    fn weigh(&mut self) -> usize {
        let bytes = |image: &Option<RoomImage>| image.as_ref().map_or(0, RoomImage::bytes);
        self.bytes = bytes(&self.image) + bytes(&self.coming);
        self.bytes
    }
}

#[derive(Default)]
struct Inner {
    rooms: HashMap<String, Held>,
    bytes: usize,
    /// The newest stream of each home; at most as many as nodes were in the cluster.
    streams: HashMap<NodeId, u64>,
}

impl Inner {
    fn remove(&mut self, room: &str) -> Option<Held> {
        let held = self.rooms.remove(room)?;
        self.bytes -= held.bytes;
        Some(held)
    }
}

/// Clones are one.
#[derive(Clone)]
pub struct Images {
    cluster: Cluster,
    inner: Arc<Mutex<Inner>>,
    /// Their transports, where there are shards.
    standins: Arc<OnceLock<StandIns>>,
    /// A home said its last of a room.
    finished: watch::Sender<()>,
}

impl Images {
    /// The task follows the cluster until its changes end.
    pub fn start(cluster: Cluster) -> (Self, JoinHandle<()>) {
        let changes = cluster.changes();
        let images = Self {
            cluster,
            inner: Arc::default(),
            standins: Arc::default(),
            finished: watch::channel(()).0,
        };
        let task = tokio::spawn(images.clone().follow(changes));
        (images, task)
    }

    /// From now on transports are stood by for, too.
    pub fn stand_in_with(&self, standins: StandIns) {
        // Composed once.
        let _ = self.standins.set(standins);
    }

    pub(super) fn standins(&self) -> Option<&StandIns> {
        self.standins.get()
    }

    /// A holder that panicked left whole tables: every change is a single step.
    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As a home under `tenure` would have appointed this node.
    pub(super) fn mandate(&self, from: NodeId, tenure: Tenure) -> Mandate {
        Mandate {
            home: from,
            epoch: tenure.epoch,
            standby: self.cluster.node(),
            since: tenure.since,
        }
    }

    /// Whoever appoints this node may have applied that before this node has.
    pub(super) async fn catch_up(&self, tenure: Tenure) {
        let _ = timeout(JOURNAL_LOG_PATIENCE, self.cluster.applied(tenure.since)).await;
    }

    fn is_in_force(&self, room: &str, mandate: &Mandate) -> bool {
        let name = RoomName::from(room);
        self.cluster.read(|s| s.mandate(&name)) == Some(*mandate)
    }

    /// The room came, or comes, to this node by it.
    fn is_inherited(&self, room: &str, mandate: &Mandate) -> bool {
        let name = RoomName::from(room);
        self.cluster.read(|s| s.inherited(&name)) == Some(*mandate)
    }

    /// Forgets a room and its transports in one step.
    fn drop_room(&self, inner: &mut Inner, room: &str) {
        inner.remove(room);
        if let Some(standins) = self.standins() {
            standins.forget(room);
        }
    }

    /// `stream`: as `stream_began` named it.
    pub(super) fn apply(&self, from: NodeId, stream: u64, batch: Batch) -> Result<(), Refused> {
        let applied = self.try_apply(from, stream, batch);
        if let Err(why) = applied {
            counter!("skein_journal_refused_total", "reason" => why.label()).increment(1);
        }
        applied
    }

    fn try_apply(&self, from: NodeId, stream: u64, batch: Batch) -> Result<(), Refused> {
        let mandate = self.mandate(from, batch.tenure);
        let mut inner = self.locked();
        let inner = &mut *inner;
        if inner.streams.get(&from) != Some(&stream) {
            return Err(Refused::NotOurs);
        }
        let known = inner.rooms.get(&batch.room).map(|held| held.mandate);
        let in_force = self.is_in_force(&batch.room, &mandate);
        // The last words of a home whose room comes here, unless it was opened already.
        let goes_on = known == Some(mandate) && self.is_inherited(&batch.room, &mandate);
        if !in_force && !goes_on {
            return Err(Refused::NotOurs);
        }
        if known.is_some_and(|known| known != mandate) {
            self.drop_room(inner, &batch.room);
        }
        let held = match batch.extent {
            Extent::Begins => inner.rooms.entry(batch.room.clone()),
            _ if inner.rooms.contains_key(&batch.room) => inner.rooms.entry(batch.room.clone()),
            _ => return Err(Refused::Unknown),
        };
        let held = held.or_insert_with(|| Held::new(mandate));
        if batch.extent == Extent::Begins {
            held.left = None;
        }
        let target = match batch.extent {
            Extent::Begins => Some(held.coming.insert(RoomImage::default())),
            Extent::Continues => held.coming.as_mut(),
            Extent::Change => held.image.as_mut(),
        };
        let Some(target) = target else {
            return Err(Refused::Unknown);
        };
        for entry in batch.entries {
            target.apply(entry);
        }
        if batch.last
            && let Some(whole) = held.coming.take_if(|_| batch.extent != Extent::Change)
        {
            held.image = Some(whole);
        }
        let before = held.bytes;
        inner.bytes = inner.bytes + held.weigh() - before;
        if inner.bytes > JOURNAL_IMAGES_BYTES_MAX {
            self.drop_room(inner, &batch.room);
            return Err(Refused::Full);
        }
        Ok(())
    }

    /// What a home said of transports of a room that `apply` took something of.
    pub(super) async fn apply_media(
        &self,
        from: NodeId,
        stream: u64,
        (room, tenure): (&str, Tenure),
        entries: Vec<MediaEntry>,
    ) {
        let Some(standins) = self.standins() else {
            return;
        };
        let mandate = self.mandate(from, tenure);
        let reserved = match standins.knows(room, &mandate) {
            true => None,
            false => match standins.reserve(room).await {
                Some(reserved) => Some(reserved),
                // It is open here, or there are too many.
                None => return,
            },
        };
        let inner = self.locked();
        // Much may have changed while the number was asked for.
        let held = inner.rooms.get(room);
        let wanted = inner.streams.get(&from) == Some(&stream)
            && held.is_some_and(|held| held.mandate == mandate);
        if let Some(reserved) = reserved {
            standins.settle(room, &mandate, reserved, wanted);
        }
        if wanted {
            standins.apply(room, &mandate, entries);
        }
    }

    /// The home says that it is not followed here any more.
    pub(super) fn forget(&self, from: NodeId, room: &str, tenure: Tenure) {
        let mandate = self.mandate(from, tenure);
        let mut inner = self.locked();
        let held = inner.rooms.get_mut(room);
        if let Some(held) = held.filter(|held| held.mandate == mandate) {
            // It may say so because the room comes here, which the log has not told here yet.
            held.left = Some(Instant::now());
        }
    }

    /// A new stream of a home: what was on its way on an older one comes from the beginning, and
    /// what is still in that is old.
    pub(super) fn stream_began(&self, from: NodeId) -> u64 {
        let mut inner = self.locked();
        let Inner {
            rooms,
            bytes,
            streams,
        } = &mut *inner;
        let stream = streams.entry(from).or_default();
        *stream += 1;
        for held in rooms.values_mut().filter(|held| held.mandate.home == from) {
            let before = held.bytes;
            held.coming = None;
            *bytes = *bytes + held.weigh() - before;
        }
        let stream = *stream;
        let began = rooms.iter().filter(|(_, held)| {
            let theirs = held.mandate.home == from;
            theirs && held.image.is_none()
        });
        let began: Vec<String> = began.map(|(room, _)| room.clone()).collect();
        for room in began {
            self.drop_room(&mut inner, &room);
        }
        stream
    }

    /// All of the room is known here.
    pub fn holds(&self, room: &str) -> bool {
        let inner = self.locked();
        let held = inner.rooms.get(room);
        held.is_some_and(|held| held.image.is_some())
    }

    /// All of the room is known here, and the log has it go on here with that.
    pub fn inherits(&self, room: &str) -> bool {
        let inner = self.locked();
        let held = inner.rooms.get(room).filter(|held| held.image.is_some());
        held.is_some_and(|held| self.is_inherited(room, &held.mandate))
    }

    /// The room comes here from a home that lives and has not said its last of it.
    pub fn expects_more(&self, room: &str) -> bool {
        let inner = self.locked();
        let held = inner.rooms.get(room);
        let Some(held) = held.filter(|held| held.image.is_some() && !held.finished) else {
            return false;
        };
        let Mandate { home, epoch, .. } = held.mandate;
        let lives = self.cluster.read(|state| {
            let home = state.node(home);
            home.is_some_and(|n| n.state != NodeState::Dead && n.incarnation < epoch)
        });
        lives && self.is_inherited(room, &held.mandate)
    }

    /// Waits until nothing more is expected of it, or for as long as that is worth it. Nothing is
    /// expected then.
    pub async fn last_words(&self, room: &str) {
        let mut finished = self.finished.subscribe();
        let said = async {
            while self.expects_more(room) {
                // The log may say in between that nothing is to be expected.
                let _ = timeout(LAST_WORDS_LOOK, finished.changed()).await;
            }
        };
        let in_time = timeout(LAST_WORDS_PATIENCE, said).await.is_ok();
        let outcome = if in_time { "heard" } else { "missed" };
        counter!("skein_journal_last_words_total", "outcome" => outcome).increment(1);
        if let Some(held) = self.locked().rooms.get_mut(room) {
            held.finished = true;
        }
    }

    pub(super) fn finish(&self, room: &str, mandate: &Mandate) {
        let mut inner = self.locked();
        let held = inner.rooms.get_mut(room);
        if let Some(held) = held.filter(|held| held.mandate == *mandate) {
            held.finished = true;
            self.finished.send_replace(());
        }
    }

    /// Participants of a room that is known here.
    pub fn members(&self, room: &str) -> Option<usize> {
        let inner = self.locked();
        let image = inner.rooms.get(room)?.image.as_ref()?;
        Some(image.members())
    }

    /// The room as its last home described it, for the node that the log made home under `epoch`,
    /// and those of its transports that are ready to go on with that: what was known under the very
    /// mandate by which the room came here, or nothing.
    pub fn take(&self, room: &str, epoch: Epoch) -> Option<Legacy> {
        let mut inner = self.locked();
        let name = RoomName::from(room);
        let by = self.cluster.read(|state| {
            let current = state.room(&name).is_some_and(|known| known.epoch == epoch);
            state.inherited(&name).filter(|_| current)
        });
        let held = inner.remove(room);
        let held = held.filter(|held| by == Some(held.mandate));
        let taken = held.and_then(|held| Some((held.image?, held.mandate)));
        let standins = self.standins();
        let Some((image, mandate)) = taken else {
            if let Some(standins) = standins {
                standins.forget(room);
            }
            return None;
        };
        let warm = standins.map(|standins| standins.take(room, &mandate));
        let warm = warm.unwrap_or_default();
        Some(Legacy {
            image,
            warm,
            mandate,
        })
    }

    async fn follow(self, mut changes: broadcast::Receiver<Change>) {
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(Change::Effect { effect, .. }) => self.observe(&effect),
                    Ok(Change::Replaced { .. }) | Err(RecvError::Lagged(_)) => self.compare(),
                    Err(RecvError::Closed) => return,
                },
                _ = sweep.tick() => {
                    self.compare();
                    self.measure();
                    if let Some(standins) = self.standins() {
                        standins.measure();
                    }
                }
            }
        }
    }

    fn observe(&self, effect: &Effect) {
        match effect {
            Effect::RoomMoved { name, .. }
            | Effect::RoomOrphaned { name, .. }
            | Effect::StandbyChanged { name, .. }
            | Effect::RoomClosed { name, .. } => self.review(name.as_str()),
            _ => {}
        }
    }

    fn compare(&self) {
        if let Some(standins) = self.standins() {
            standins.forgive(|room, mandate| self.is_in_force(room, mandate));
        }
        let names: Vec<String> = self.locked().rooms.keys().cloned().collect();
        for name in names {
            self.review(&name);
        }
    }

    /// Forgets what is held under a mandate that is over, unless the room comes here by it.
    fn review(&self, room: &str) {
        let mut inner = self.locked();
        let Some(held) = inner.rooms.get(room) else {
            return;
        };
        let mandate = held.mandate;
        let left = held.left.is_some_and(|at| at.elapsed() >= SWEEP_INTERVAL);
        let stands_by = self.is_in_force(room, &mandate) && !left;
        if !stands_by && !self.is_inherited(room, &mandate) {
            self.drop_room(&mut inner, room);
        }
    }

    /// What all this costs.
    fn measure(&self) {
        let inner = self.locked();
        let of_image = |held: &Held| held.image.as_ref().map_or(0, RoomImage::members);
        let members: usize = inner.rooms.values().map(of_image).sum();
        let per_member = inner.bytes.checked_div(members).unwrap_or(0);
        // Counts far below 2^53.
        gauge!("skein_journal_images").set(inner.rooms.len() as f64);
        gauge!("skein_journal_image_participants").set(members as f64);
        gauge!("skein_journal_image_bytes").set(inner.bytes as f64);
        gauge!("skein_journal_image_bytes_per_participant").set(per_member as f64);
    }
}
