//! The guest's side of rooms that span to this node: gives each part a number of this node's, lets
//! its shard do what the home says and tells the home what the shard says. A part ends with its
//! stream, or when the room has another home; everything it had is closed then.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use consensus::command::NodeState;
use consensus::ids::{Epoch, NodeId, RoomSid};
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};
use media::{Command, Event, TrackKey, TransportKey};
use prost::Message;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::places::Places;
use super::wire::commands::Here;
use super::wire::{Described, Description, Hello, ToGuest, encode_fact, events};
use crate::cluster::directory::{Directory, Place as RoomPlace};
use crate::cluster::limits::{FACTS_WAITING_MAX, PART_LEAVES_INTERVAL, PARTS_MAX, TOLD_BATCH};
use crate::cluster::links::{Duplex, Serve};
use crate::cluster::session_wire::{WireError, first_frame, frames};
use crate::participant::KeySpace;
use crate::room::environment::{IsFull, ShardSink, Shards};
use crate::rooms::ROOM_NUMBERS;
use crate::worker::lanes::is_droppable;

/// Clones are one.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

pub struct Parts {
    pub places: Places,
    pub directory: Directory,
    /// Where commands for this node's shards go,
    pub sink: Arc<dyn ShardSink>,
    /// and what those shards are.
    pub shards: Arc<dyn Shards>,
    pub is_full: IsFull,
}

struct Inner {
    parts: Parts,
    open: Mutex<Numbers>,
    /// Through which parts leave when the node drains, one at a time.
    door: tokio::sync::Mutex<()>,
}

/// Numbers of parts, behind those of this node's own rooms.
#[derive(Default)]
struct Numbers {
    facts: HashMap<u32, mpsc::Sender<Event>>,
    next: u32,
}

impl Numbers {
    fn take(&mut self, facts: mpsc::Sender<Event>) -> Option<u32> {
        if self.facts.len() >= PARTS_MAX {
            return None;
        }
        // There are more numbers than parts.
        loop {
            let number = ROOM_NUMBERS + self.next;
            self.next = (self.next + 1) % ROOM_NUMBERS;
            if let std::collections::hash_map::Entry::Vacant(free) = self.facts.entry(number) {
                free.insert(facts);
                return Some(number);
            }
        }
    }
}

/// Whether a key is of a part of another node's room.
pub fn is_guests(event: &Event) -> bool {
    KeySpace::room_of(event.subject().key()) >= ROOM_NUMBERS
}

impl Host {
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            parts,
            open: Mutex::default(),
            door: tokio::sync::Mutex::default(),
        }))
    }

    fn open(&self) -> MutexGuard<'_, Numbers> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fact of a shard about a part. Never blocks.
    pub fn event(&self, event: Event) {
        let number = KeySpace::room_of(event.subject().key());
        let mut open = self.open();
        let Some(facts) = open.facts.get(&number) else {
            return;
        };
        let droppable = is_droppable(&event);
        // overflow: DROPS what is told again; else the part ends, as its room would not know of it
        if facts.try_send(event).is_err() && !droppable {
            open.facts.remove(&number);
        }
    }

    fn describe(&self) -> Description {
        let shards = &self.0.parts.shards;
        let busy = shards.busy_permille();
        let of = |shard: usize| {
            let busy = busy.get(shard).copied().unwrap_or(0);
            Described::new(&shards.endpoint(shard), busy)
        };
        Description {
            shards: (0..shards.count()).map(of).collect(),
            fingerprint: Some((&shards.endpoint(0).fingerprint).into()),
            full: (self.0.parts.is_full)(),
        }
    }

    async fn serve(&self, from: NodeId, stream: Duplex) -> Result<(), WireError> {
        let Duplex { send, recv } = stream;
        let mut said = std::pin::pin!(frames(recv));
        let Some((kind, body)) = first_frame(&mut said).await? else {
            return Ok(());
        };
        let ToGuest::Hello(hello) = ToGuest::decode(kind, body)? else {
            return Err(WireError::Malformed);
        };
        let Some((mut part, facts)) = self.begin(&hello) else {
            // The stream breaks: its home looks elsewhere.
            return Ok(());
        };
        let place = RoomPlace {
            home: from,
            epoch: Epoch(hello.epoch),
            sid: RoomSid(String::new()),
        };
        tracing::info!(room = hello.room, %from, "carries a part of a room");
        let directory = self.0.parts.directory.clone();
        tokio::select! {
            told = tell(send, facts) => told,
            heard = part.listen(said) => heard,
            () = directory.until_moved(&hello.room, &place) => Ok(()),
            () = self.until_drained() => Ok(()),
        }
    }

    /// Returns when this node drains and it is the caller's turn to leave it.
    async fn until_drained(&self) {
        let directory = &self.0.parts.directory;
        let drains = || {
            directory.cluster().read(|state| {
                let node = state.node(directory.node());
                node.is_some_and(|node| node.state == NodeState::Draining)
            })
        };
        let mut changes = directory.cluster().changes();
        loop {
            if drains() {
                let _turn = self.0.door.lock().await;
                tokio::time::sleep(PART_LEAVES_INTERVAL).await;
                // It may have been called off meanwhile.
                if drains() {
                    return;
                }
            }
            // Whoever fell behind looks again too.
            if let Err(RecvError::Closed) = changes.recv().await {
                return std::future::pending().await;
            }
        }
    }

    fn begin(&self, hello: &Hello) -> Option<(Part, mpsc::Receiver<Event>)> {
        let shard = u8::try_from(hello.shard).ok()?;
        if usize::from(shard) >= self.0.parts.shards.count() {
            return None;
        }
        let (sender, facts) = mpsc::channel(FACTS_WAITING_MAX);
        let number = self.open().take(sender)?;
        let part = Part {
            host: self.clone(),
            room: hello.room.clone(),
            here: Here { number, shard },
            transports: BTreeSet::new(),
            relayed: BTreeSet::new(),
        };
        Some((part, facts))
    }
}

/// Until the part is over.
async fn tell(
    mut send: Box<dyn AsyncWrite + Send + Unpin>,
    mut facts: mpsc::Receiver<Event>,
) -> Result<(), WireError> {
    let mut batch = BytesMut::new();
    let mut waiting = Vec::with_capacity(TOLD_BATCH);
    while facts.recv_many(&mut waiting, TOLD_BATCH).await > 0 {
        batch.clear();
        for fact in waiting.drain(..).filter_map(events::write) {
            batch.extend_from_slice(&encode_fact(&fact));
        }
        send.write_all(&batch).await?;
    }
    Ok(())
}

/// What a part has, so that it can be closed.
struct Part {
    host: Host,
    room: String,
    here: Here,
    transports: BTreeSet<TransportKey>,
    /// Tracks that arrive from elsewhere; others go with their transport.
    relayed: BTreeSet<TrackKey>,
}

impl Part {
    /// Until the home says no more.
    async fn listen(
        &mut self,
        mut said: impl Stream<Item = Result<(u8, Bytes), WireError>> + Unpin,
    ) -> Result<(), WireError> {
        while let Some(frame) = said.next().await {
            let (kind, body) = frame?;
            match ToGuest::decode(kind, body)? {
                ToGuest::Told(told) => {
                    let places = &self.host.0.parts.places;
                    match told.read(self.here, places) {
                        Some(command) => self.carry_out(command),
                        None => metrics::counter!("skein_relay_not_understood_total").increment(1),
                    }
                }
                ToGuest::Hello(_) => return Err(WireError::Malformed),
                ToGuest::Unknown => {}
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, command: Command) {
        match &command {
            Command::AddTransport { transport, .. } => {
                self.transports.insert(*transport);
            }
            Command::CloseTransport { transport } => {
                self.transports.remove(transport);
            }
            Command::AddRelayedTrack { track, .. } => {
                self.relayed.insert(*track);
            }
            Command::RemoveTrack { track } => {
                self.relayed.remove(track);
            }
            _ => {}
        }
        self.send(command);
    }

    fn send(&self, command: Command) {
        let sink = &self.host.0.parts.sink;
        sink.send(&self.room, self.here.shard.into(), command);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        for track in std::mem::take(&mut self.relayed) {
            self.send(Command::RemoveTrack { track });
        }
        for transport in std::mem::take(&mut self.transports) {
            self.send(Command::CloseTransport { transport });
        }
        self.host.open().facts.remove(&self.here.number);
    }
}

impl Serve for Host {
    /// Says what the shards of this node are.
    fn call(&self, _: NodeId, _: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async { Ok(self.describe().encode_to_vec().into()) })
    }

    fn stream(&self, from: NodeId, stream: Duplex) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Err(error) = self.serve(from, stream).await {
                tracing::debug!(%from, %error, "a part of a room ended");
            }
        })
    }
}
