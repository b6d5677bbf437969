//! Rooms over nodes, put together: who is home of what, what standbys know, the gateways' door, the
//! server API and placement, each answering other nodes for its part. Started by `run` once the
//! cluster runs.

use std::sync::Arc;

use consensus::cluster::Cluster;
use consensus::placement::Selector;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::api::ClusterApi;
use super::directory::Directory;
use super::hosting::Homes;
use super::jobs::ClusterJobs;
use super::journal::standins::StandIns;
use super::journal::{Images, Journal, JournalServer};
use super::links::registry::Registry;
use super::links::{Links, Service};
use super::lobby::ClusterLobby;
use super::membership::Phase;
use super::placing::{Figures, Placing, upkeep};
use super::session_server::{SessionServer, Stage};
use crate::agent::Agents;
use crate::api::Api;
use crate::room::environment::{ShardSink, Shards};
use crate::rooms::Rooms;

/// What it is made of.
pub struct Parts {
    pub cluster: Cluster,
    pub links: Arc<dyn Links>,
    /// Whether this process takes part yet.
    pub membership: watch::Receiver<Phase>,
    /// What this node heard in heartbeats, for when it leads.
    pub figures: Arc<dyn Figures>,
    pub selector: Selector,
    /// `region` of this node.
    pub region: String,
    /// From the operating system outside of simulations.
    pub seed: u64,
    /// The rooms of this node,
    pub rooms: Rooms,
    /// and the API that knows no others.
    pub api: Api,
    pub agents: Agents,
    /// `room.auto_create`
    pub auto_create: bool,
    /// Its shards, which stand in for those of others.
    pub shards: Arc<dyn ShardSink>,
    pub endpoints: Arc<dyn Shards>,
    /// Where actors of other nodes' sessions live.
    pub stage: Stage,
}

#[derive(Clone)]
pub struct RoomPlane {
    pub homes: Homes,
    /// Of rooms this node stands by for.
    pub images: Images,
    pub lobby: ClusterLobby,
    pub api: Arc<ClusterApi>,
    pub jobs: ClusterJobs,
    pub placing: Arc<Placing>,
}

impl RoomPlane {
    /// From now on the cluster decides about this node's rooms, and other nodes are answered.
    /// Must be called within a tokio runtime; `keep` is given what runs along, to end it.
    pub fn start(parts: Parts, answers: &Registry, keep: impl Fn(JoinHandle<()>)) -> Self {
        let Parts { cluster, rooms, .. } = parts;
        let (images, task) = Images::start(cluster.clone());
        keep(task);
        let standins = StandIns::new(rooms.clone(), parts.shards, parts.endpoints);
        images.stand_in_with(standins);
        let local = Arc::new(rooms.clone());
        let (homes, task) = Homes::start(cluster.clone(), local, images.clone(), parts.membership);
        keep(task);
        rooms.host_with(Arc::new(homes.clone()));
        let (links, followed) = (Arc::clone(&parts.links), Arc::new(rooms.clone()));
        let (journal, task) = Journal::start(cluster.clone(), links, homes.clone(), followed);
        keep(task);
        homes.ask_heirs(Arc::new(journal.clone()));
        let links = Arc::clone(&parts.links);
        let directory = Directory::new(cluster.clone(), parts.links, parts.region);
        let api = Arc::new(ClusterApi::new(
            parts.api,
            rooms.clone(),
            directory.clone(),
            homes.clone(),
            parts.auto_create,
        ));
        let (jobs, task) = ClusterJobs::start(directory.clone(), parts.agents, rooms.clone());
        keep(task);
        let (lobby, task) =
            ClusterLobby::start(directory, homes.clone(), rooms.clone(), parts.auto_create);
        keep(task);
        let placing = Placing::new(cluster, links, parts.figures, parts.selector, parts.seed);
        let placing = Arc::new(placing);
        keep(tokio::spawn(upkeep::keep(Arc::clone(&placing))));
        let sessions = SessionServer::new(homes.clone(), rooms, parts.stage);
        let journals = JournalServer::new(images.clone(), homes.clone(), journal);
        answers.add(Service::Journal, Arc::new(journals));
        answers.add(Service::Placement, placing.clone());
        answers.add(Service::Session, Arc::new(sessions));
        answers.add(Service::Api, api.clone());
        answers.add(Service::Agent, Arc::new(jobs.clone()));
        Self {
            homes,
            images,
            lobby,
            api,
            jobs,
            placing,
        }
    }
}
