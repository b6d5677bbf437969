//! Rooms over nodes, put together: places, the home's and the guest's side, and the carriage of
//! frames. Started by `run` once the cluster runs.

use std::sync::{Arc, OnceLock};

use media::Command;
use tokio::task::JoinHandle;

use super::arrivals::Arrivals;
use super::carriage::carry;
use super::guests::Guests;
use super::host::{self, Host, is_guests};
use super::neighbours::Neighbours;
use super::places::{Places, is_near};
use crate::cluster::directory::Directory;
use crate::cluster::hosting::Homes;
use crate::cluster::links::registry::Registry;
use crate::cluster::links::{DatagramLinks, Service, TakeDatagrams};
use crate::room::environment::{Endpoint, FarShard, IsFull, ShardSink, Shards};
use crate::rooms::Rooms;
use crate::worker::far::FarEnd;
use crate::worker::lanes::WorkerHandle;

pub struct Parts {
    pub directory: Directory,
    pub homes: Homes,
    pub rooms: Rooms,
    /// This node's shards, and where commands for them go.
    pub shards: Arc<dyn Shards>,
    pub sink: Arc<dyn ShardSink>,
    pub is_full: IsFull,
    /// Rooms of this node may span: others are asked what they are.
    pub spans: bool,
}

/// The way of frames.
pub struct Ways {
    pub workers: Vec<WorkerHandle>,
    pub far: FarEnd,
    pub links: Arc<dyn DatagramLinks>,
}

pub struct RelayPlane {
    neighbours: Neighbours,
    guests: Guests,
    host: Host,
    places: Places,
}

impl RelayPlane {
    /// `keep` is given what runs along, to end it.
    pub fn start(parts: Parts, answers: &Registry, keep: impl Fn(JoinHandle<()>)) -> Self {
        let directory = parts.directory;
        let places = Places::new(directory.node());
        let neighbours = Neighbours::new(places.clone(), directory.clone());
        if parts.spans {
            keep(tokio::spawn(neighbours.clone().ask()));
        }
        let links = Arc::clone(directory.links());
        let guests = Guests::new(places.clone(), links, parts.homes, parts.rooms);
        let host = Host::new(host::Parts {
            places: places.clone(),
            directory,
            sink: parts.sink,
            shards: parts.shards,
            is_full: parts.is_full,
        });
        answers.add(Service::Relay, Arc::new(host.clone()));
        Self {
            neighbours,
            guests,
            host,
            places,
        }
    }

    /// From now on frames are carried: `carry` runs where the network's own tasks run.
    pub fn carry(
        &self,
        ways: Ways,
    ) -> (
        Arc<dyn TakeDatagrams>,
        impl Future<Output = ()> + Send + 'static,
    ) {
        let Ways {
            workers,
            far,
            links,
        } = ways;
        let arrivals = Arrivals::new(self.places.clone(), workers.clone(), far.spares);
        let carry = carry(self.places.clone(), workers, links, far.outgoing);
        (Arc::new(arrivals), carry)
    }
}

/// What the rest of a node sees of it: before there is a cluster, and without one, there are only
/// the node's own shards.
#[derive(Clone)]
pub struct Span {
    shards: Arc<dyn Shards>,
    sink: Arc<dyn ShardSink>,
    plane: Arc<OnceLock<RelayPlane>>,
}

impl Span {
    pub fn new(shards: Arc<dyn Shards>, sink: Arc<dyn ShardSink>) -> Self {
        Self {
            shards,
            sink,
            plane: Arc::default(),
        }
    }

    pub fn near(&self) -> (Arc<dyn Shards>, Arc<dyn ShardSink>) {
        (Arc::clone(&self.shards), Arc::clone(&self.sink))
    }

    /// A node joins one cluster in its life.
    pub fn join(&self, plane: RelayPlane) {
        let _ = self.plane.set(plane);
    }

    /// Takes facts about parts of other nodes' rooms; gives back all others.
    pub fn take(&self, event: media::Event) -> Option<media::Event> {
        if !is_guests(&event) {
            return Some(event);
        }
        if let Some(plane) = self.plane.get() {
            plane.host.event(event);
        }
        None
    }
}

impl ShardSink for Span {
    fn send(&self, room: &str, shard: usize, command: Command) {
        match self.plane.get() {
            Some(plane) if !is_near(shard) => plane.guests.send(room, shard, command),
            _ => self.sink.send(room, shard, command),
        }
    }
}

impl Shards for Span {
    fn count(&self) -> usize {
        self.shards.count()
    }

    fn endpoint(&self, shard: usize) -> Endpoint {
        let plane = self.plane.get().filter(|_| !is_near(shard));
        let far = plane.and_then(|plane| plane.neighbours.endpoint(shard));
        far.unwrap_or_else(|| self.shards.endpoint(shard))
    }

    fn busy_permille(&self) -> Vec<u16> {
        self.shards.busy_permille()
    }

    fn far(&self) -> Vec<FarShard> {
        let plane = self.plane.get();
        plane.map_or_else(Vec::new, |plane| plane.neighbours.shards())
    }
}
