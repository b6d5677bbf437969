//! The core of the agent service: workers come and go, rooms launch and end jobs, each job is
//! offered to one worker after the other until one takes it. No IO, no clock: `worker_actor` is
//! its shell. It does not decide which rooms want agents; rooms do.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Instant, SystemTime};

use protocol::ids::JobId;
use protocol::proto::{self, JobStatus, server_message, worker_message};
use protocol::token::Keys;
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;

use super::limits::{JOBS_MAX, SIMULATED_JOBS_MAX};
use super::worker::{Worker, WorkerKey};
use crate::participant::WallClock;
use crate::room::contract::{JobRequest, JobUpdate};

/// One WebSocket of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Connection(pub(crate) u64);

#[derive(Debug)]
pub(crate) enum Input {
    /// A WebSocket with the agent grant; the key its token was signed with.
    Connected {
        connection: Connection,
        api_key: String,
    },
    Message {
        connection: Connection,
        message: worker_message::Message,
    },
    Closed(Connection),
    Launch(Box<JobRequest>),
    Terminate {
        job_id: String,
    },
    Timeout,
}

#[derive(Debug)]
pub(crate) enum Output {
    Send {
        connection: Connection,
        message: server_message::Message,
    },
    Close(Connection),
    Report(JobUpdate),
}

/// What the service is made of besides its workers.
pub(crate) struct Config {
    pub(crate) keys: Keys,
    pub(crate) server_info: proto::ServerInfo,
    pub(crate) target_load: f32,
    pub(crate) clock: WallClock,
    pub(crate) seed: u64,
}

#[derive(Debug)]
struct Entry {
    job: proto::Job,
    key: WorkerKey,
    phase: Phase,
    simulated: bool,
    /// Offered before, to workers that left: the agent may find traces of itself in the room.
    resuming: bool,
}

#[derive(Debug)]
enum Phase {
    Offered {
        to: Connection,
        until: Instant,
        tried: BTreeSet<Connection>,
    },
    Running(Connection),
    /// Its worker is gone; the agent itself may still be in the room.
    Orphaned {
        until: Instant,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Register(Connection),
    Job(String),
}

pub(crate) struct Jobs {
    config: Config,
    rng: ChaCha12Rng,
    workers: BTreeMap<Connection, Worker>,
    jobs: HashMap<String, Entry>,
    timers: BTreeSet<(Instant, Timer)>,
    outputs: VecDeque<Output>,
}

impl Jobs {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            rng: ChaCha12Rng::seed_from_u64(config.seed),
            config,
            workers: BTreeMap::new(),
            jobs: HashMap::new(),
            timers: BTreeSet::new(),
            outputs: VecDeque::new(),
        }
    }

    /// What time of day it is: clocks are set, and stand still in a suspended machine.
    pub(crate) fn set_clock(&mut self, now: Instant, wall: SystemTime) {
        self.config.clock = WallClock::new(now, wall);
    }

    pub(crate) fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Connected {
                connection,
                api_key,
            } => self.connected(now, connection, api_key),
            Input::Message {
                connection,
                message,
            } => self.message(now, connection, message),
            Input::Closed(connection) => self.closed(now, connection),
            Input::Launch(request) => self.launch(now, *request),
            Input::Terminate { job_id } => self.terminate(now, &job_id),
            Input::Timeout => self.timeout(now),
        }
    }

    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    fn send(&mut self, connection: Connection, message: server_message::Message) {
        self.outputs.push_back(Output::Send {
            connection,
            message,
        });
    }

    fn unix_nanos(&self, now: Instant) -> i64 {
        self.config.clock.unix_micros_at(now).saturating_mul(1000)
    }

    /// The load of the least loaded worker that would be offered the job.
    pub(crate) fn load_for(&self, request: &JobRequest) -> Option<f32> {
        let key = key_of(request);
        let workers = self.workers.values();
        let loads = workers.filter_map(|worker| worker.load_for(&key));
        loads.min_by(f32::total_cmp)
    }

    fn launch(&mut self, now: Instant, request: JobRequest) {
        let key = key_of(&request);
        let job = request.job;
        let id = job.id.clone();
        if self.jobs.contains_key(&id) {
            return;
        }
        let entry = Entry {
            job,
            key,
            phase: Phase::Orphaned { until: now },
            simulated: false,
            resuming: false,
        };
        if self.jobs.len() >= JOBS_MAX {
            self.report_lost(entry, now, "too many jobs");
            return;
        }
        self.jobs.insert(id.clone(), entry);
        self.offer_next(now, &id);
    }

    fn simulate(
        &mut self,
        now: Instant,
        connection: Connection,
        request: proto::SimulateJobRequest,
    ) {
        let id = JobId::random(&mut self.rng).0;
        let Some(worker) = self.workers.get(&connection) else {
            return;
        };
        let Some(key) = worker.key().cloned() else {
            return;
        };
        if worker.jobs.len() >= SIMULATED_JOBS_MAX || self.jobs.len() >= JOBS_MAX {
            return;
        }
        let job = proto::Job {
            id: id.clone(),
            r#type: match request.participant {
                Some(_) => proto::JobType::JtPublisher as i32,
                None => proto::JobType::JtRoom as i32,
            },
            room: request.room,
            participant: request.participant,
            agent_name: key.agent_name.clone(),
            ..Default::default()
        };
        let phase = Phase::Orphaned { until: now };
        let entry = Entry {
            job,
            key,
            phase,
            simulated: true,
            resuming: false,
        };
        self.jobs.insert(id.clone(), entry);
        self.offer(now, &id, connection, BTreeSet::new());
    }

    fn update_job(&mut self, now: Instant, connection: Connection, update: proto::UpdateJobStatus) {
        let nanos = self.unix_nanos(now);
        let Some(entry) = self.jobs.get_mut(&update.job_id) else {
            return;
        };
        if !matches!(entry.phase, Phase::Running(by) if by == connection) {
            return;
        }
        match JobStatus::try_from(update.status) {
            Ok(status @ (JobStatus::JsSuccess | JobStatus::JsFailed)) => {
                self.end(now, &update.job_id, status, &update.error);
            }
            Ok(status) => {
                let state = entry.job.state.get_or_insert_default();
                (state.status, state.updated_at) = (status as i32, nanos);
                state.error = update.error;
                let update = update_of(entry);
                self.outputs.extend(update.map(Output::Report));
            }
            Err(_) => {}
        }
    }

    fn terminate(&mut self, now: Instant, id: &str) {
        let Some(entry) = self.jobs.get(id) else {
            return;
        };
        let running = match &entry.phase {
            Phase::Running(connection) => Some(*connection),
            Phase::Offered { until, .. } | Phase::Orphaned { until } => {
                self.timers.remove(&(*until, Timer::Job(id.to_owned())));
                None
            }
        };
        if let Some(connection) = running {
            let termination = proto::JobTermination {
                job_id: id.to_owned(),
            };
            self.send(
                connection,
                server_message::Message::Termination(termination),
            );
        }
        self.end(now, id, JobStatus::JsSuccess, "");
    }

    /// Forgets the job and tells its room how it ended.
    fn end(&mut self, now: Instant, id: &str, status: JobStatus, error: &str) {
        let nanos = self.unix_nanos(now);
        let Some(mut entry) = self.jobs.remove(id) else {
            return;
        };
        if let Phase::Running(connection) | Phase::Offered { to: connection, .. } = entry.phase
            && let Some(worker) = self.workers.get_mut(&connection)
        {
            worker.jobs.remove(id);
        }
        let state = entry.job.state.get_or_insert_default();
        state.status = status as i32;
        state.error = error.to_owned();
        (state.ended_at, state.updated_at) = (nanos, nanos);
        self.outputs.extend(update_of(&entry).map(Output::Report));
    }

    /// Nobody took it: the state names no worker.
    fn report_lost(&mut self, mut entry: Entry, now: Instant, error: &str) {
        let nanos = self.unix_nanos(now);
        let state = entry.job.state.get_or_insert_default();
        *state = proto::JobState {
            status: JobStatus::JsFailed as i32,
            error: error.to_owned(),
            ended_at: nanos,
            updated_at: nanos,
            ..Default::default()
        };
        self.outputs.extend(update_of(&entry).map(Output::Report));
    }

    fn timeout(&mut self, now: Instant) {
        while let Some((at, timer)) = self.timers.first().cloned()
            && at <= now
        {
            self.timers.pop_first();
            match timer {
                Timer::Register(connection) => {
                    tracing::info!("agent worker did not register in time");
                    self.outputs.push_back(Output::Close(connection));
                    self.closed(now, connection);
                }
                Timer::Job(id) => self.overdue(now, &id),
            }
        }
    }

    fn overdue(&mut self, now: Instant, id: &str) {
        let Some(entry) = self.jobs.get(id) else {
            return;
        };
        match &entry.phase {
            Phase::Offered { to, .. } => {
                if let Some(worker) = self.workers.get_mut(to) {
                    worker.jobs.remove(id);
                }
                self.offer_next(now, id);
            }
            Phase::Orphaned { .. } => {
                self.end(now, id, JobStatus::JsFailed, "agent worker left");
            }
            Phase::Running(_) => {}
        }
    }
}

/// Which workers a job may be offered to.
// The namespace is deprecated, yet workers that register one must be told by it.
#[allow(deprecated)]
fn key_of(request: &JobRequest) -> WorkerKey {
    let job = &request.job;
    WorkerKey {
        agent_name: job.agent_name.clone(),
        namespace: job.namespace.clone(),
        deployment: request.deployment.clone(),
        job_type: job.r#type,
    }
}

/// `None` for simulated jobs: no room asked for them.
fn update_of(entry: &Entry) -> Option<JobUpdate> {
    if entry.simulated {
        return None;
    }
    Some(JobUpdate {
        room: entry.job.room.as_ref()?.name.clone(),
        job_id: entry.job.id.clone(),
        dispatch_id: entry.job.dispatch_id.clone(),
        state: entry.job.state.clone().unwrap_or_default(),
    })
}

mod placement;
mod workers;

#[cfg(test)]
mod tests;
