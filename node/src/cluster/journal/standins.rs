//! Transports of other nodes that this node would take over: hands what their homes say to its
//! shards, what shards say back to the homes, and says which of them are ready when a room is
//! opened here. Owned by `images`, which alone decides what may be said, and calls with its own
//! lock held. Reads no image.

mod standing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use consensus::ids::NodeId;
use consensus::state::Mandate;
use media::types::Protocol;
use media::{Command, Event};
use metrics::{counter, gauge};
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::standing::{Standing, Told, Weight};
use super::wire::FromStandby;
use crate::cluster::limits::{STAND_INS_REMEMBERED, STAND_INS_ROOM_MAX, STANDBY_ADDRESSES_MAX};
use crate::participant::KeySpace;
use crate::room::WarmTransports;
use crate::room::environment::{ShardSink, Shards};
use crate::room::journal::{CannotReason, MediaChange, MediaEntry, StandbyWord};
use crate::rooms::{Reservation, Rooms};

/// A number kept for a room; given back when this is dropped, unless another has taken its place or
/// the room is open.
pub(super) struct Reserved {
    rooms: Rooms,
    room: String,
    reservation: Reservation,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.rooms.release(&self.room, self.reservation);
    }
}

/// Transports of a room that are not stood by for any more, as their home was told: nothing of them
/// is taken under that mandate again, for the home uses every number since.
struct Refused {
    mandate: Mandate,
    transports: BTreeSet<u64>,
}

impl Refused {
    /// A home that wants more to be refused than a room has is refused altogether.
    fn contains(&self, transport: u64) -> bool {
        self.transports.len() >= STAND_INS_ROOM_MAX || self.transports.contains(&transport)
    }
}

type Streams = HashMap<NodeId, mpsc::Sender<Bytes>>;

#[derive(Default)]
struct Table {
    rooms: HashMap<String, Standing>,
    refused: HashMap<String, Refused>,
    /// Of all rooms.
    weight: Weight,
    /// To the homes.
    streams: Streams,
    /// Who went on here, of rooms opened lately: gateways ask.
    taken: HashMap<String, (Instant, HashSet<String>)>,
}

impl Table {
    fn remove(&mut self, room: &str) -> Option<Standing> {
        let standing = self.rooms.remove(room)?;
        self.weight = self.weight - standing.weight();
        Some(standing)
    }
}

struct Inner {
    rooms: Rooms,
    shards: Arc<dyn ShardSink>,
    endpoints: Arc<dyn Shards>,
    table: Mutex<Table>,
}

/// Clones are one.
#[derive(Clone)]
pub struct StandIns(Arc<Inner>);

impl StandIns {
    pub fn new(rooms: Rooms, shards: Arc<dyn ShardSink>, endpoints: Arc<dyn Shards>) -> Self {
        Self(Arc::new(Inner {
            rooms,
            shards,
            endpoints,
            table: Mutex::default(),
        }))
    }

    /// A holder that panicked left whole tables: every change is a single step.
    fn locked(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A home has a new stream; what is said to it goes there.
    pub(super) fn stream_began(&self, from: NodeId, words: mpsc::Sender<Bytes>) {
        self.locked().streams.insert(from, words);
    }

    /// Stands by for transports of the room under this mandate.
    pub(super) fn knows(&self, room: &str, mandate: &Mandate) -> bool {
        let table = self.locked();
        let standing = table.rooms.get(room);
        standing.is_some_and(|standing| standing.mandate == *mandate)
    }

    /// A number for the room; `settle` says what becomes of it. `None`: there is none.
    pub(super) async fn reserve(&self, room: &str) -> Option<Reserved> {
        let (inner, name) = (Arc::downgrade(&self.0), room.to_owned());
        let told = Arc::new(move |event: Event| {
            if let Some(inner) = inner.upgrade() {
                Self(inner).hear(&name, &event);
            }
        });
        let reservation = self.0.rooms.reserve(room, told).await?;
        Some(Reserved {
            rooms: self.0.rooms.clone(),
            room: room.to_owned(),
            reservation,
        })
    }

    /// Stands by under this mandate with the number from now on, if that is still `wanted`.
    pub(super) fn settle(&self, room: &str, mandate: &Mandate, reserved: Reserved, wanted: bool) {
        let mut table = self.locked();
        match table.rooms.get_mut(room) {
            // Somebody else was faster, with the same number.
            Some(standing) if !wanted || standing.mandate == *mandate => {
                standing.reserved = reserved;
                return;
            }
            None if !wanted => return,
            _ => {}
        }
        if let Some(before) = table.remove(room) {
            self.drop_all(room, &before, |_| true);
        }
        let known = table.refused.get(room);
        if known.is_some_and(|refused| refused.mandate != *mandate) {
            table.refused.remove(room);
        }
        let standing = Standing::new(*mandate, reserved);
        table.rooms.insert(room.to_owned(), standing);
    }

    /// What a home said of transports of a room.
    pub(super) fn apply(&self, room: &str, mandate: &Mandate, entries: Vec<MediaEntry>) {
        let mut table = self.locked();
        let standing = table.rooms.get(room);
        if standing.is_none_or(|standing| standing.mandate != *mandate) {
            return;
        }
        for entry in entries {
            // Under the lock: whoever forgets the room says so to its shards after this.
            match entry.change {
                MediaChange::Only(left) => self.keep_only(&mut table, room, &left),
                change => self.apply_one(&mut table, room, entry.transport, change),
            }
        }
    }

    fn apply_one(&self, table: &mut Table, room: &str, number: u64, change: MediaChange) {
        let refused = table.refused.get(room);
        if refused.is_some_and(|refused| refused.contains(number)) {
            return;
        }
        let Some(standing) = table.rooms.get_mut(room) else {
            return;
        };
        let before = standing.weight();
        let count = self.0.endpoints.count().max(1);
        let told = standing.apply(number, change, count);
        table.weight = table.weight - before + standing.weight();
        let full = table.weight.is_too_much() || standing.weight().count > STAND_INS_ROOM_MAX;
        match told {
            Told::Nothing => {}
            Told::Unknown => {
                let said = standing.word(room, number, StandbyWord::Stale);
                say(&table.streams, standing, &said);
            }
            Told::Shard(shard, command) => match command {
                Command::DropStandby { .. } => self.0.shards.send(room, shard, command),
                _ if full => self.refuse(table, room, number, CannotReason::Full),
                _ => self.0.shards.send(room, shard, command),
            },
        }
    }

    /// Others were lost on the way.
    fn keep_only(&self, table: &mut Table, room: &str, left: &[u64]) {
        let left: HashSet<u64> = left.iter().copied().collect();
        let known = table.rooms.get(room);
        let known = known.map(|standing| standing.transports.keys().copied().collect::<Vec<_>>());
        for number in known.into_iter().flatten().filter(|n| !left.contains(n)) {
            self.apply_one(table, room, number, MediaChange::Gone);
        }
    }

    /// Drops a transport for as long as this mandate lasts, and then says so.
    fn refuse(&self, table: &mut Table, room: &str, number: u64, reason: CannotReason) {
        let Some(standing) = table.rooms.get_mut(room) else {
            return;
        };
        let before = standing.weight();
        if let Some((shard, command)) = standing.remove(number) {
            self.0.shards.send(room, shard, command);
        }
        table.weight = table.weight - before + standing.weight();
        let mandate = standing.mandate;
        let fresh = || Refused {
            mandate,
            transports: BTreeSet::new(),
        };
        let refused = table.refused.entry(room.to_owned()).or_insert_with(fresh);
        if refused.mandate != mandate {
            *refused = fresh();
        }
        if refused.transports.len() < STAND_INS_ROOM_MAX {
            refused.transports.insert(number);
        }
        counter!("skein_stand_ins_refused_total").increment(1);
        let said = standing.word(room, number, StandbyWord::Cannot(reason));
        say(&table.streams, standing, &said);
    }

    /// What a shard says of a transport it stands by for.
    fn hear(&self, room: &str, event: &Event) {
        let mut table = self.locked();
        let table = &mut *table;
        let key = match event {
            Event::StandbyHas { transport, .. }
            | Event::StandbyStale { transport }
            | Event::StandbyCannot { transport }
            | Event::StandbyReady { transport, .. } => *transport,
            _ => return,
        };
        let number = KeySpace::within_room(key.0);
        let Some(standing) = table.rooms.get_mut(room) else {
            return;
        };
        if standing.key(number) != key {
            return;
        }
        let Some(one) = standing.transports.get_mut(&number) else {
            return;
        };
        let (word, news) = match event {
            Event::StandbyCannot { .. } => {
                return self.refuse(table, room, number, CannotReason::Unreadable);
            }
            Event::StandbyReady { ready, .. } => {
                one.ready = *ready;
                (StandbyWord::Ready(*ready), false)
            }
            Event::StandbyHas { version, ready, .. } => {
                one.ready = *ready;
                let addresses = match one.told {
                    true => Vec::new(),
                    false => udp_addresses(&*self.0.endpoints, one.shard),
                };
                let (version, ready) = (*version, *ready);
                let has = StandbyWord::Has {
                    version,
                    addresses,
                    ready,
                };
                (has, true)
            }
            _ => (StandbyWord::Stale, false),
        };
        let said = standing.word(room, number, word);
        // Full, or gone: the next word of the same transport says as much.
        let told = say(&table.streams, standing, &said);
        if let Some(one) = standing.transports.get_mut(&number).filter(|_| news) {
            one.told |= told;
        }
    }

    /// The room is opened here with what is known of it under `mandate`: of transports known under
    /// the same, those that are ready go on; the rest ends.
    pub(super) fn take(&self, room: &str, mandate: &Mandate) -> WarmTransports {
        let mut table = self.locked();
        let Some(standing) = table.remove(room) else {
            return WarmTransports::new();
        };
        if standing.mandate != *mandate {
            self.drop_all(room, &standing, |_| true);
            return WarmTransports::new();
        }
        let sids = standing.ready();
        table
            .taken
            .retain(|_, (at, _)| at.elapsed() < STAND_INS_REMEMBERED);
        let warm = standing.transports.iter();
        let warm: WarmTransports = warm
            .filter(|(_, one)| sids.contains(&one.participant_sid))
            .map(|(transport, _)| *transport)
            .collect();
        table.taken.insert(room.to_owned(), (Instant::now(), sids));
        self.drop_all(room, &standing, |transport| !warm.contains(&transport));
        warm
    }

    /// Whether the participant's media would go on here, or does.
    pub(super) fn is_warm(&self, room: &str, participant_sid: &str) -> bool {
        let table = self.locked();
        let standing = table.rooms.get(room);
        let taken = table.taken.get(room);
        standing.is_some_and(|standing| standing.ready().contains(participant_sid))
            || taken.is_some_and(|(at, sids)| {
                at.elapsed() < STAND_INS_REMEMBERED && sids.contains(participant_sid)
            })
    }

    /// This node does not stand by for the room any more.
    pub(super) fn forget(&self, room: &str) {
        let mut table = self.locked();
        if let Some(standing) = table.remove(room) {
            self.drop_all(room, &standing, |_| true);
        }
    }

    /// What was refused under mandates that are over counts no longer.
    pub(super) fn forgive(&self, lasts: impl Fn(&str, &Mandate) -> bool) {
        let refused = &mut self.locked().refused;
        refused.retain(|room, refused| lasts(room, &refused.mandate));
    }

    fn drop_all(&self, room: &str, standing: &Standing, which: impl Fn(u64) -> bool) {
        let gone = standing.transports.iter();
        for (transport, one) in gone.filter(|(transport, _)| which(**transport)) {
            let transport = standing.key(*transport);
            let command = Command::DropStandby { transport };
            self.0.shards.send(room, one.shard, command);
        }
    }

    /// How many transports are stood by for.
    pub(super) fn measure(&self) {
        let table = self.locked();
        let all = table.weight.count;
        let ready = table.rooms.values().flat_map(|one| one.transports.values());
        let ready = ready.filter(|one| one.ready).count();
        // Far below 2^53.
        gauge!("skein_standby_transports", "ready" => "true").set(ready as f64);
        gauge!("skein_standby_transports", "ready" => "false").set((all - ready) as f64);
        gauge!("skein_standby_transports_bytes").set(table.weight.bytes as f64);
    }
}

/// To the home; false: it does not hear it.
fn say(streams: &Streams, standing: &Standing, word: &FromStandby) -> bool {
    let stream = streams.get(&standing.mandate.home);
    stream.is_some_and(|stream| stream.try_send(word.encode()).is_ok())
}

fn udp_addresses(endpoints: &dyn Shards, shard: usize) -> Vec<SocketAddr> {
    let endpoint = endpoints.endpoint(shard);
    let udp = endpoint.candidates.iter();
    udp.filter(|one| one.protocol == Protocol::Udp)
        .map(|one| one.address)
        .take(STANDBY_ADDRESSES_MAX)
        .collect()
}
