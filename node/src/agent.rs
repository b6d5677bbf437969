//! The agent service: workers connect at `/agent`, rooms hand it jobs, it places each job on a
//! worker and reports back. `jobs` decides; the rest carries. Composed by `run`.

pub(crate) mod jobs;
pub mod limits;
pub(crate) mod selection;
mod websocket;
pub(crate) mod worker;
mod worker_actor;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use actix::{Actor, Addr};
use actix_web::web;
use protocol::proto;
use protocol::token::Keys;

use self::jobs::{Config, Connection, Input, Jobs};
use self::limits::MESSAGE_BYTES_DEFAULT;
use self::worker_actor::{Handle, LoadFor, ReportTo, WorkerActor};
use crate::participant::WallClock;
use crate::room::contract::{JobRequest, JobUpdate};
use crate::room::environment::JobSink;
use crate::rooms::Rooms;

/// What the service needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Check the workers' tokens and sign those of their agents.
    pub keys: Keys,
    /// Told to workers at registration; `agent_protocol` is filled in here.
    pub server_info: proto::ServerInfo,
    /// `agents.target_load`: workers above get jobs only when all are.
    pub target_load: f32,
    /// `limit.agent_signal_message_size_limit`; 0 = the default, as nothing is unlimited.
    pub message_bytes_max: usize,
    /// Seed of ids and choices; from the operating system outside of simulations.
    pub seed: u64,
}

/// Version of the worker protocol (upstream's `agent.CurrentProtocol`).
const AGENT_PROTOCOL: i32 = 1;

/// A handle to the agent service of this node.
#[derive(Clone)]
pub struct Agents {
    actor: Addr<WorkerActor>,
    keys: Keys,
    message_bytes_max: usize,
    next_connection: Arc<AtomicU64>,
}

impl Agents {
    /// Starts the service; must be called within a running actix system.
    pub fn start(settings: Settings) -> Self {
        let server_info = proto::ServerInfo {
            agent_protocol: AGENT_PROTOCOL,
            ..settings.server_info
        };
        let config = Config {
            keys: settings.keys.clone(),
            server_info,
            target_load: settings.target_load,
            clock: WallClock::new(Instant::now(), SystemTime::now()),
            seed: settings.seed,
        };
        Self {
            actor: WorkerActor::new(Jobs::new(config)).start(),
            keys: settings.keys,
            message_bytes_max: match settings.message_bytes_max {
                0 => MESSAGE_BYTES_DEFAULT,
                bytes => bytes,
            },
            next_connection: Arc::default(),
        }
    }

    /// Says where the states of jobs go. Rooms are started with this handle as their sink, so they
    /// come second.
    pub fn report_to(&self, rooms: Rooms) {
        self.report_with(move |update| rooms.job_update(update));
    }

    /// The load of the least loaded worker that would be offered this job; `None`: there is none.
    pub(crate) async fn load_for(&self, job: JobRequest) -> Option<f32> {
        // A service that is gone has no workers.
        self.actor.send(LoadFor(Box::new(job))).await.ok().flatten()
    }

    pub(crate) fn report_with(&self, report: impl Fn(JobUpdate) + Send + Sync + 'static) {
        self.actor.do_send(ReportTo(Box::new(report)));
    }

    /// The routes of the service.
    pub fn configure(&self, config: &mut web::ServiceConfig) {
        websocket::configure(config, self.clone());
    }

    fn new_connection(&self) -> Connection {
        Connection(self.next_connection.fetch_add(1, Ordering::Relaxed))
    }
}

/// A worker without a WebSocket.
#[cfg(test)]
impl Agents {
    pub(crate) fn connected_for_test(&self, connection: u64, sender: worker_actor::ToWorker) {
        self.actor.do_send(worker_actor::Connected {
            connection: Connection(connection),
            api_key: "devkey".into(),
            sender,
        });
    }

    pub(crate) fn said_for_test(&self, connection: u64, said: proto::worker_message::Message) {
        self.actor.do_send(Handle(Input::Message {
            connection: Connection(connection),
            message: said,
        }));
    }
}

impl JobSink for Agents {
    fn launch(&self, job: JobRequest) {
        self.actor.do_send(Handle(Input::Launch(Box::new(job))));
    }

    fn terminate(&self, job_id: &str) {
        self.actor.do_send(Handle(Input::Terminate {
            job_id: job_id.to_owned(),
        }));
    }
}
