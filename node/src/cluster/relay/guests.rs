//! The home's side of parts of its rooms on other nodes: opens a stream for each when the first
//! participant is placed there, carries commands out and facts back, and closes it with the last. A
//! part whose stream breaks is lost, and the room is told.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use media::{Command, TransportKey};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::places::{Place, Places};
use super::wire::commands;
use super::wire::{Hello, ToGuest, VERSION, decode_fact};
use crate::cluster::hosting::Homes;
use crate::cluster::limits::{TOLD_BATCH, TOLD_WAITING_MAX};
use crate::cluster::links::{Duplex, Links, Service};
use crate::cluster::session_wire::frames;
use crate::participant::KeySpace;
use crate::rooms::Rooms;

/// Clones are one.
#[derive(Clone)]
pub struct Guests(Arc<Inner>);

struct Inner {
    places: Places,
    links: Arc<dyn Links>,
    homes: Homes,
    rooms: Rooms,
    /// By the room's number here, and the place.
    open: Mutex<HashMap<(u32, usize), Guest>>,
    next_serial: AtomicU64,
}

struct Guest {
    told: mpsc::Sender<Bytes>,
    transports: BTreeSet<TransportKey>,
    /// Tells it from an earlier one of the same name.
    serial: u64,
}

/// One part, as its task knows it.
struct Part {
    room: String,
    number: u32,
    index: usize,
    place: Place,
    serial: u64,
}

impl Guests {
    pub fn new(places: Places, links: Arc<dyn Links>, homes: Homes, rooms: Rooms) -> Self {
        Self(Arc::new(Inner {
            places,
            links,
            homes,
            rooms,
            open: Mutex::default(),
            next_serial: AtomicU64::new(0),
        }))
    }

    fn open(&self) -> MutexGuard<'_, HashMap<(u32, usize), Guest>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells a part of `room` something. A first transport opens it and the last one closed ends
    /// it; a part that is not open has nothing that could be told anything. Never blocks.
    pub fn send(&self, room: &str, index: usize, command: Command) {
        let mut open = self.open();
        let (opens, closes) = match &command {
            Command::AddTransport { transport, .. } => (Some(*transport), None),
            Command::CloseTransport { transport } => (None, Some(*transport)),
            _ => (None, None),
        };
        let key = (KeySpace::room_of(command.subject().key()), index);
        if let Some(transport) = opens {
            let part = open.get_mut(&key);
            match part {
                Some(guest) => {
                    guest.transports.insert(transport);
                }
                None => {
                    let Some(guest) = self.begin(room, key, transport) else {
                        drop(open);
                        return self.0.rooms.shard_lost(room, index);
                    };
                    open.insert(key, guest);
                }
            }
        }
        let Some(guest) = open.get_mut(&key) else {
            return;
        };
        let Some(told) = commands::write(command, &self.0.places) else {
            tracing::debug!(room, "a command that cannot be told another node");
            return;
        };
        let frame = ToGuest::Told(Box::new(told)).encode();
        // overflow: the part is given up, as its shard would no longer know what the room does
        let full = guest.told.try_send(frame).is_err();
        if let Some(transport) = closes {
            guest.transports.remove(&transport);
        }
        if full || guest.transports.is_empty() {
            open.remove(&key);
        }
        drop(open);
        if full {
            self.0.rooms.shard_lost(room, index);
        }
    }

    /// `None`: the room is not this node's any more, or nobody has that place.
    fn begin(&self, room: &str, key: (u32, usize), first: TransportKey) -> Option<Guest> {
        let (number, index) = key;
        let place = self.0.places.place(index)?;
        let epoch = self.0.homes.running(room)?;
        let (told, waiting) = mpsc::channel(TOLD_WAITING_MAX);
        let serial = self.0.next_serial.fetch_add(1, Ordering::Relaxed);
        let part = Part {
            room: room.to_owned(),
            number,
            index,
            place,
            serial,
        };
        let hello = ToGuest::Hello(Hello {
            version: VERSION,
            room: room.to_owned(),
            epoch: epoch.0,
            shard: place.shard.into(),
        });
        let guests = self.clone();
        tokio::spawn(async move {
            let outcome = guests.carry(&part, hello.encode(), waiting).await;
            guests.ended(&part, outcome);
        });
        Some(Guest {
            told,
            transports: BTreeSet::from([first]),
            serial,
        })
    }

    /// Until nothing more is to be said, or the stream breaks.
    async fn carry(
        &self,
        part: &Part,
        hello: Bytes,
        mut waiting: mpsc::Receiver<Bytes>,
    ) -> Result<(), String> {
        let opened = self.0.links.open(part.place.node, Service::Relay).await;
        let Duplex { mut send, recv } = opened.map_err(|error| error.to_string())?;
        let write = async {
            send.write_all(&hello).await?;
            let mut batch = BytesMut::new();
            let mut frames = Vec::with_capacity(TOLD_BATCH);
            while waiting.recv_many(&mut frames, TOLD_BATCH).await > 0 {
                batch.clear();
                frames
                    .drain(..)
                    .for_each(|frame| batch.extend_from_slice(&frame));
                send.write_all(&batch).await?;
            }
            send.shutdown().await
        };
        let read = async {
            let mut said = std::pin::pin!(frames(recv));
            while let Some(frame) = said.next().await {
                let (kind, body) = frame?;
                self.heard(part, decode_fact(kind, body)?);
            }
            Ok::<(), crate::cluster::session_wire::WireError>(())
        };
        tokio::select! {
            written = write => written.map_err(|error| error.to_string()),
            read = read => match read {
                Ok(()) => Err("it closed the stream".to_owned()),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    fn heard(&self, part: &Part, fact: Option<super::wire::events::Fact>) {
        let room = KeySpace::room_on(KeySpace::new(part.number, 0).room, part.index);
        if let Some(event) = fact.and_then(|fact| fact.read(part.number, room)) {
            self.0.rooms.shard_event(event);
        }
    }

    fn ended(&self, part: &Part, outcome: Result<(), String>) {
        let mut open = self.open();
        let key = (part.number, part.index);
        let current = open.get(&key).map(|guest| guest.serial);
        if current != Some(part.serial) {
            return;
        }
        open.remove(&key);
        drop(open);
        let reason = outcome.err().unwrap_or_default();
        let (room, node) = (&part.room, part.place.node);
        tracing::warn!(room, %node, reason, "lost the part of a room on another node");
        metrics::counter!("skein_relay_parts_lost_total").increment(1);
        self.0.rooms.shard_lost(room, part.index);
    }
}
