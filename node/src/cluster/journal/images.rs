//! What this node knows of rooms it stands by for, by room and epoch, within a bound. Filled by
//! `server` from the homes' journals, emptied by the log and by `hosting`, which opens a room from
//! its image. Decides by the log as applied here who may write.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use consensus::cluster::{Change, Cluster};
use consensus::command::{Effect, Room};
use consensus::ids::{Epoch, NodeId, RoomName};
use metrics::{counter, gauge};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::standins::StandIns;
use super::wire::{Batch, Extent};
use crate::cluster::limits::{JOURNAL_IMAGES_BYTES_MAX, SWEEP_INTERVAL};
use crate::room::WarmTransports;
use crate::room::journal::RoomImage;

/// Why a batch is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The sender is not the room's home, or this node does not stand by for it; a newer epoch says
    /// so.
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

struct Held {
    epoch: Epoch,
    from: NodeId,
    since: Instant,
    /// `None`: everything is on its way for the first time.
    image: Option<RoomImage>,
    /// Everything anew, as far as it came.
    coming: Option<RoomImage>,
    /// Of both.
    bytes: usize,
}

impl Held {
    fn new(epoch: Epoch, from: NodeId) -> Self {
        Self {
            epoch,
            from,
            since: Instant::now(),
            image: None,
            coming: None,
            bytes: 0,
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
}

impl Images {
    /// The task follows the cluster until its changes end.
    pub fn start(cluster: Cluster) -> (Self, JoinHandle<()>) {
        let changes = cluster.changes();
        let images = Self {
            cluster,
            inner: Arc::default(),
            standins: Arc::default(),
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

    /// Transports of a room that is opened here which are ready to go on.
    pub fn take_warm(&self, room: &str) -> WarmTransports {
        let standins = self.standins.get();
        standins.map_or_else(WarmTransports::new, |standins| standins.take(room))
    }

    /// A holder that panicked left whole tables: every change is a single step.
    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn logged(&self, room: &str) -> Option<Room> {
        let name = RoomName::from(room);
        self.cluster.read(|state| state.room(&name).cloned())
    }

    /// Whether `from` may write under this epoch. What this node has not applied yet is believed.
    fn may_write(&self, from: NodeId, room: &str, epoch: Epoch) -> bool {
        self.logged(room).is_none_or(|known| {
            let stands_by = known.home == from && known.standby == Some(self.cluster.node());
            known.epoch < epoch || (known.epoch == epoch && stands_by)
        })
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
        if !self.may_write(from, &batch.room, batch.epoch) {
            return Err(Refused::NotOurs);
        }
        let mut inner = self.locked();
        let inner = &mut *inner;
        if inner.streams.get(&from) != Some(&stream) {
            return Err(Refused::NotOurs);
        }
        if let Some(held) = inner.rooms.get(&batch.room)
            && (held.epoch, held.from) != (batch.epoch, from)
        {
            if held.epoch > batch.epoch {
                return Err(Refused::NotOurs);
            }
            inner.remove(&batch.room);
        }
        let held = match batch.extent {
            Extent::Begins => inner.rooms.entry(batch.room.clone()),
            _ if inner.rooms.contains_key(&batch.room) => inner.rooms.entry(batch.room.clone()),
            _ => return Err(Refused::Unknown),
        };
        let held = held.or_insert_with(|| Held::new(batch.epoch, from));
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
            inner.remove(&batch.room);
            return Err(Refused::Full);
        }
        Ok(())
    }

    /// The home says that it is not followed here any more.
    pub(super) fn forget(&self, from: NodeId, room: &str, epoch: Epoch) {
        let mut inner = self.locked();
        let held = inner.rooms.get(room);
        if held.is_some_and(|held| held.from == from && held.epoch <= epoch) {
            inner.remove(room);
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
        for held in rooms.values_mut().filter(|held| held.from == from) {
            let before = held.bytes;
            held.coming = None;
            *bytes = *bytes + held.weigh() - before;
        }
        rooms.retain(|_, held| held.image.is_some());
        *stream
    }

    /// All of the room is known here.
    pub fn holds(&self, room: &str) -> bool {
        let inner = self.locked();
        let held = inner.rooms.get(room);
        held.is_some_and(|held| held.image.is_some())
    }

    fn has(&self, room: &str) -> bool {
        self.locked().rooms.contains_key(room)
    }

    /// Participants of a room that is known here.
    pub fn members(&self, room: &str) -> Option<usize> {
        let inner = self.locked();
        let image = inner.rooms.get(room)?.image.as_ref()?;
        Some(image.members())
    }

    /// The room as its last home described it, for the node that the log made home under `epoch`.
    pub fn take(&self, room: &str, epoch: Epoch) -> Option<RoomImage> {
        let held = self.locked().remove(room)?;
        held.image.filter(|_| held.epoch < epoch)
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
                        standins.sweep(|room| self.has(room));
                    }
                }
            }
        }
    }

    fn observe(&self, effect: &Effect) {
        match effect {
            Effect::RoomMoved { name, .. }
            | Effect::RoomOrphaned { name, .. }
            | Effect::StandbyChanged { name, .. } => self.review(name.as_str(), false),
            Effect::RoomClosed { name, .. } => self.review(name.as_str(), true),
            _ => {}
        }
    }

    fn compare(&self) {
        let names: Vec<String> = self.locked().rooms.keys().cloned().collect();
        for name in names {
            self.review(&name, false);
        }
    }

    /// Forgets what the log says is not this node's. A room that is absent may have been placed by
    /// an entry that is not applied here yet, unless it was `closed` or that is long ago.
    fn review(&self, room: &str, closed: bool) {
        let known = self.logged(room);
        let node = self.cluster.node();
        let mut inner = self.locked();
        let Some(held) = inner.rooms.get(room) else {
            return;
        };
        let old = held.since.elapsed() >= SWEEP_INTERVAL;
        let keep = match known {
            None => !closed && !old,
            // It is about to be opened from it.
            Some(known) if known.home == node => known.epoch > held.epoch,
            Some(known) if known.epoch == held.epoch => known.standby == Some(node),
            Some(known) => known.epoch < held.epoch,
        };
        if !keep {
            inner.remove(room);
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
