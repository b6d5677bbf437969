//! The worker side of `Jobs`: connecting, registering, reporting, leaving and coming back.

use std::time::Instant;

use protocol::ids::WorkerId;
use protocol::proto::{self, server_message, worker_message};

use super::{Connection, Jobs, Output, Phase, Timer};
use crate::agent::limits::{ADOPTION_TIMEOUT, JOBS_MAX, REGISTER_TIMEOUT, WORKERS_MAX};
use crate::agent::worker::Worker;

impl Jobs {
    pub(super) fn connected(&mut self, now: Instant, connection: Connection, api_key: String) {
        if self.workers.len() >= WORKERS_MAX {
            self.outputs.push_back(Output::Close(connection));
            return;
        }
        let register_by = now + REGISTER_TIMEOUT;
        let worker = Worker::new(WorkerId::random(&mut self.rng), api_key, register_by);
        self.workers.insert(connection, worker);
        self.timers
            .insert((register_by, Timer::Register(connection)));
    }

    pub(super) fn message(
        &mut self,
        now: Instant,
        connection: Connection,
        message: worker_message::Message,
    ) {
        use worker_message::Message;
        let Some(worker) = self.workers.get_mut(&connection) else {
            return;
        };
        let registered = worker.key().is_some();
        match message {
            Message::Ping(ping) => {
                let timestamp = self.config.clock.unix_micros_at(now) / 1000;
                let pong = proto::WorkerPong {
                    last_timestamp: ping.timestamp,
                    timestamp,
                };
                self.send(connection, server_message::Message::Pong(pong));
            }
            Message::Register(request) if !registered => self.register(connection, request),
            Message::UpdateWorker(update) if registered => worker.update(&update),
            Message::Availability(answer) if registered => self.answered(now, connection, answer),
            Message::UpdateJob(update) if registered => self.update_job(now, connection, update),
            Message::SimulateJob(request) if registered => {
                self.simulate(now, connection, request);
            }
            Message::MigrateJob(request) if registered => self.adopt(connection, request),
            // Out of turn: a worker that registers twice, or talks before it registered.
            _ => {}
        }
    }

    fn register(&mut self, connection: Connection, request: proto::RegisterWorkerRequest) {
        let Some(worker) = self.workers.get_mut(&connection) else {
            return;
        };
        if let Err(error) = worker.register(request) {
            tracing::info!(%error, "agent worker refused");
            self.outputs.push_back(Output::Close(connection));
            return;
        }
        self.timers
            .remove(&(worker.register_by, Timer::Register(connection)));
        tracing::info!(worker = %worker.id, key = ?worker.key(), "agent worker registered");
        let response = proto::RegisterWorkerResponse {
            worker_id: worker.id.0.clone(),
            server_info: Some(self.config.server_info.clone()),
            ..Default::default()
        };
        self.send(connection, server_message::Message::Register(response));
    }

    pub(super) fn closed(&mut self, now: Instant, connection: Connection) {
        let Some(worker) = self.workers.remove(&connection) else {
            return;
        };
        self.timers
            .remove(&(worker.register_by, Timer::Register(connection)));
        for id in worker.jobs {
            let Some(entry) = self.jobs.get_mut(&id) else {
                continue;
            };
            match &entry.phase {
                Phase::Offered { .. } => {
                    entry.resuming = true;
                    self.offer_next(now, &id);
                }
                _ if entry.simulated => {
                    self.jobs.remove(&id);
                }
                _ => self.orphan(now, &id),
            }
        }
    }

    /// The worker is gone while its agent may play on: until it is claimed the job waits.
    fn orphan(&mut self, now: Instant, id: &str) {
        let until = now + ADOPTION_TIMEOUT;
        if let Some(entry) = self.jobs.get_mut(id) {
            entry.phase = Phase::Orphaned { until };
            self.timers.insert((until, Timer::Job(id.to_owned())));
        }
    }

    /// A worker that came back names what it still runs (upstream's open server ignores it).
    fn adopt(&mut self, connection: Connection, request: proto::MigrateJobRequest) {
        let Some(worker) = self.workers.get_mut(&connection) else {
            return;
        };
        for id in request.job_ids.into_iter().take(JOBS_MAX) {
            let Some(entry) = self.jobs.get_mut(&id) else {
                continue;
            };
            if let Phase::Orphaned { until } = entry.phase
                && worker.key() == Some(&entry.key)
            {
                self.timers.remove(&(until, Timer::Job(id.clone())));
                entry.phase = Phase::Running(connection);
                if let Some(state) = &mut entry.job.state {
                    state.worker_id = worker.id.0.clone();
                }
                worker.jobs.insert(id);
            }
        }
    }
}
