//! What an operator asks a node over HTTP, beyond LiveKit's API: its own state, and everything
//! about one room. Needs a token with `roomList`, or `roomAdmin` of the room; how it moved between
//! nodes, one that lets its holder into the room.

pub mod cluster;
pub mod operator;
pub mod operators;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Path};
use serde_json::json;

use crate::auth::{Caller, PermissionDenied, refusal};
use crate::cluster::api::ClusterApi;
use crate::config::Config;
use crate::room::contract::{RoomCall, RoomError, RoomReply};
use crate::rooms::Rooms;
use crate::telemetry::node_stats::NodeStats;

const ALONE: &str = "this node is in no cluster";

struct Inner {
    node_id: String,
    region: String,
    started: Instant,
    draining: AtomicBool,
    rooms: Rooms,
    stats: NodeStats,
    /// Rooms of other nodes.
    cluster: OnceLock<Arc<ClusterApi>>,
}

/// The node's own state, shared.
#[derive(Clone)]
pub struct Status(Arc<Inner>);

impl Status {
    pub fn new(config: &Config, node_id: &str, rooms: Rooms, stats: NodeStats) -> Status {
        Status(Arc::new(Inner {
            node_id: node_id.to_owned(),
            region: config.region.clone(),
            started: Instant::now(),
            draining: AtomicBool::new(false),
            rooms,
            stats,
            cluster: OnceLock::new(),
        }))
    }

    /// From now on rooms of other nodes are seen too.
    pub fn join_cluster(&self, api: Arc<ClusterApi>) {
        // A node joins one cluster in its life.
        let _ = self.0.cluster.set(api);
    }

    pub fn set_draining(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// It drains, and clients may come to another node instead.
    pub fn is_leaving(&self) -> bool {
        self.0.cluster.get().is_some() && self.0.draining.load(Ordering::Relaxed)
    }
}

/// Mounts the paths.
pub fn configure(config: &mut web::ServiceConfig, status: &Status) {
    config
        .app_data(Data::new(status.clone()))
        .route("/skein/node", web::get().to(node))
        .route("/skein/rooms/{room}", web::get().to(room))
        .route("/skein/rooms/{room}/moves", web::get().to(moves))
        .route("/skein/rooms/{room}/place", web::get().to(place));
}

async fn node(caller: Caller, status: Data<Status>) -> HttpResponse {
    if let Err(denied) = caller.may_list_rooms() {
        return refused(&denied);
    }
    let status = &status.0;
    let rooms = status.rooms.list(&[]).await;
    let participants: u32 = rooms.iter().map(|room| room.num_participants).sum();
    let publishers: u32 = rooms.iter().map(|room| room.num_publishers).sum();
    HttpResponse::Ok().json(json!({
        "node_id": status.node_id,
        "region": status.region,
        "version": env!("CARGO_PKG_VERSION"),
        "state": if status.draining.load(Ordering::Relaxed) { "SHUTTING_DOWN" } else { "SERVING" },
        "uptime_seconds": status.started.elapsed().as_secs(),
        "rooms": rooms.len(),
        "participants": participants,
        "publishers": publishers,
        "load": status.stats.load(),
    }))
}

async fn room(caller: Caller, status: Data<Status>, name: Path<String>) -> HttpResponse {
    if let Err(denied) = caller.may_administer(&name) {
        return refused(&denied);
    }
    if let Some(cluster) = status.0.cluster.get() {
        return told(cluster.inspect(&caller, &name).await);
    }
    match status.0.rooms.call(&name, RoomCall::Inspect).await {
        Ok(RoomReply::Inspection(inspection)) => HttpResponse::Ok().json(inspection),
        Err(RoomError::NotFound(text)) => refusal(StatusCode::NOT_FOUND, text),
        Ok(_) => refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            "unexpected answer of the room",
        ),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// How a room went from node to node. The room page asks this every few seconds.
async fn moves(caller: Caller, status: Data<Status>, name: Path<String>) -> HttpResponse {
    if let Err(denied) = caller.may_know_of(&name) {
        return refused(&denied);
    }
    match status.0.cluster.get() {
        Some(cluster) => told(cluster.moves(&caller, &name).await),
        None => refusal(StatusCode::NOT_FOUND, ALONE),
    }
}

fn told(answer: Result<serde_json::Value, protocol::twirp::Error>) -> HttpResponse {
    match answer {
        Ok(told) => HttpResponse::Ok().json(told),
        Err(error) => {
            let status = StatusCode::from_u16(error.code.status());
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            refusal(status, error.message)
        }
    }
}

/// Where a room is, and why there.
async fn place(caller: Caller, status: Data<Status>, name: Path<String>) -> HttpResponse {
    if let Err(denied) = caller.may_administer(&name) {
        return refused(&denied);
    }
    let Some(cluster) = status.0.cluster.get() else {
        return refusal(StatusCode::NOT_FOUND, ALONE);
    };
    match cluster.directory().explain(&name).await {
        Some(told) => HttpResponse::Ok().json(told),
        None => refusal(StatusCode::NOT_FOUND, crate::rooms::NO_SUCH_ROOM),
    }
}

fn refused(_: &PermissionDenied) -> HttpResponse {
    refusal(StatusCode::UNAUTHORIZED, "permissions denied")
}
