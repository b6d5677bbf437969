//! Transports of other nodes that this node would take over: hands what their homes say to its
//! shards, what shards say back to the homes, and says which of them are ready when a room is
//! opened here. Owned by `images`, fed by `server`. Reads no image.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use consensus::ids::{Epoch, NodeId};
use media::types::Protocol;
use media::{Command, Event, TransportKey};
use metrics::gauge;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::wire::FromStandby;
use crate::cluster::limits::{STAND_INS_REMEMBERED, STAND_INS_ROOM_MAX};
use crate::participant::KeySpace;
use crate::room::WarmTransports;
use crate::room::environment::{ShardSink, Shards};
use crate::room::journal::{MediaChange, MediaEntry, StandbyWord};
use crate::rooms::Rooms;

struct StandIn {
    participant_sid: String,
    /// How many transports the participant has.
    of: u32,
    shard: usize,
    ready: bool,
    /// The home was told where its client would reach this node.
    told: bool,
}

struct Standing {
    epoch: Epoch,
    from: NodeId,
    /// The room's part of every key.
    number: u32,
    transports: BTreeMap<u64, StandIn>,
}

impl Standing {
    /// Participants all of whose transports are ready.
    fn ready(&self) -> HashSet<String> {
        let mut counts: HashMap<&str, (u32, u32)> = HashMap::new();
        for one in self.transports.values() {
            let count = counts.entry(&one.participant_sid).or_default();
            *count = (count.0 + u32::from(one.ready), one.of);
        }
        let all = counts
            .into_iter()
            .filter(|(_, (ready, of))| ready == of && *of > 0);
        all.map(|(sid, _)| sid.to_owned()).collect()
    }

    fn key(&self, transport: u64) -> TransportKey {
        TransportKey(KeySpace::new(self.number, 0).room.0 | transport)
    }
}

#[derive(Default)]
struct Table {
    rooms: HashMap<String, Standing>,
    /// To the homes.
    streams: HashMap<NodeId, mpsc::Sender<Bytes>>,
    /// Who went on here, of rooms opened lately: gateways ask.
    taken: HashMap<String, (Instant, HashSet<String>)>,
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

    /// What a home said of a room that this node stands by for.
    pub(super) async fn apply(
        &self,
        from: NodeId,
        room: &str,
        epoch: Epoch,
        entries: Vec<MediaEntry>,
    ) {
        let known = {
            let table = self.locked();
            let standing = table.rooms.get(room);
            standing.is_some_and(|standing| standing.epoch == epoch && standing.from == from)
        };
        if !known {
            self.forget(room);
            let (inner, name) = (Arc::downgrade(&self.0), room.to_owned());
            let told = Arc::new(move |event: Event| {
                if let Some(inner) = inner.upgrade() {
                    Self(inner).hear(&name, &event);
                }
            });
            let Some(number) = self.0.rooms.reserve(room, told).await else {
                return;
            };
            let standing = Standing {
                epoch,
                from,
                number,
                transports: BTreeMap::new(),
            };
            self.locked().rooms.insert(room.to_owned(), standing);
        }
        for entry in entries {
            self.apply_one(room, entry);
        }
    }

    fn apply_one(&self, room: &str, entry: MediaEntry) {
        let count = self.0.endpoints.count().max(1);
        let mut table = self.locked();
        let Some(standing) = table.rooms.get_mut(room) else {
            return;
        };
        let transport = standing.key(entry.transport);
        let known = standing.transports.get(&entry.transport);
        let known = known.map(|one| one.shard);
        let (shard, command) = match entry.change {
            MediaChange::Image {
                participant_sid,
                transports,
                shard,
                image,
            } => {
                if known.is_none() && standing.transports.len() >= STAND_INS_ROOM_MAX {
                    return;
                }
                let shard = known.unwrap_or(shard as usize % count);
                let one = StandIn {
                    participant_sid,
                    of: transports,
                    shard,
                    ready: false,
                    told: false,
                };
                let before = standing.transports.insert(entry.transport, one);
                if let (Some(before), Some(now)) =
                    (before, standing.transports.get_mut(&entry.transport))
                {
                    // A shard says it once, however many images follow.
                    now.ready = before.ready;
                }
                let room = KeySpace::room_on(KeySpace::new(standing.number, 0).room, shard);
                let command = Command::AddStandby {
                    transport,
                    room,
                    image,
                };
                (shard, command)
            }
            MediaChange::Delta(delta) => match known {
                Some(shard) => (shard, Command::UpdateStandby { transport, delta }),
                None => return,
            },
            MediaChange::Gone => {
                standing.transports.remove(&entry.transport);
                match known {
                    Some(shard) => (shard, Command::DropStandby { transport }),
                    None => return,
                }
            }
        };
        drop(table);
        self.0.shards.send(room, shard, command);
    }

    /// What a shard says of a transport it stands by for.
    fn hear(&self, room: &str, event: &Event) {
        let mut table = self.locked();
        let Table { rooms, streams, .. } = &mut *table;
        let Some(standing) = rooms.get_mut(room) else {
            return;
        };
        let (key, of) = match event {
            Event::StandbyHas { transport, version } => (transport, Some(*version)),
            Event::StandbyStale { transport } | Event::StandbyReady { transport, .. } => {
                (transport, None)
            }
            _ => return,
        };
        let transport = KeySpace::within_room(key.0);
        let Some(one) = standing.transports.get_mut(&transport) else {
            return;
        };
        let word = match (event, of) {
            (Event::StandbyReady { ready, .. }, _) => {
                one.ready = *ready;
                StandbyWord::Ready(*ready)
            }
            (_, Some(version)) => {
                let addresses = match one.told {
                    true => Vec::new(),
                    false => udp_addresses(&*self.0.endpoints, one.shard),
                };
                one.told = true;
                StandbyWord::Has { version, addresses }
            }
            _ => StandbyWord::Stale,
        };
        let said = FromStandby::Media {
            room: room.to_owned(),
            epoch: standing.epoch,
            transport,
            word,
        };
        if let Some(stream) = streams.get(&standing.from) {
            // Full, or gone: the home asks again with its next image.
            let _ = stream.try_send(said.encode());
        }
    }

    /// The room is opened here: what is ready goes on, the rest ends.
    pub(super) fn take(&self, room: &str) -> WarmTransports {
        let mut table = self.locked();
        let Some(standing) = table.rooms.remove(room) else {
            return WarmTransports::new();
        };
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
        drop(table);
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
        let Some(standing) = self.locked().rooms.remove(room) else {
            return;
        };
        self.drop_all(room, &standing, |_| true);
        self.0.rooms.release(room);
    }

    fn drop_all(&self, room: &str, standing: &Standing, which: impl Fn(u64) -> bool) {
        let gone = standing.transports.iter();
        for (transport, one) in gone.filter(|(transport, _)| which(**transport)) {
            let transport = standing.key(*transport);
            let command = Command::DropStandby { transport };
            self.0.shards.send(room, one.shard, command);
        }
    }

    /// Forgets rooms that are not `kept`, and says how many transports are stood by for.
    pub(super) fn sweep(&self, kept: impl Fn(&str) -> bool) {
        let gone: Vec<String> = {
            let table = self.locked();
            let all: usize = table.rooms.values().map(|one| one.transports.len()).sum();
            let ready = table.rooms.values().flat_map(|one| one.transports.values());
            let ready = ready.filter(|one| one.ready).count();
            // Far below 2^53.
            gauge!("skein_standby_transports", "ready" => "true").set(ready as f64);
            gauge!("skein_standby_transports", "ready" => "false").set((all - ready) as f64);
            let gone = table.rooms.keys().filter(|room| !kept(room));
            gone.cloned().collect()
        };
        for room in gone {
            self.forget(&room);
        }
    }
}

fn udp_addresses(endpoints: &dyn Shards, shard: usize) -> Vec<SocketAddr> {
    let endpoint = endpoints.endpoint(shard);
    let udp = endpoint.candidates.iter();
    udp.filter(|one| one.protocol == Protocol::Udp)
        .map(|one| one.address)
        .collect()
}
