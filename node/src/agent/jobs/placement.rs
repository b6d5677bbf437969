//! Placing a job: it is offered to one worker after the other until one takes it, and assigned with
//! a token to join the room.

use std::collections::BTreeSet;
use std::time::Instant;

use protocol::proto::{self, JobStatus, server_message};
use protocol::token;

use super::{Connection, Jobs, Output, Phase, Timer, update_of};
use crate::agent::limits::AVAILABILITY_TIMEOUT;
use crate::agent::selection;

impl Jobs {
    /// Asks the next worker that was not asked yet; without one the job is lost.
    pub(super) fn offer_next(&mut self, now: Instant, id: &str) {
        let Some(entry) = self.jobs.get_mut(id) else {
            return;
        };
        let tried = match &mut entry.phase {
            Phase::Offered { until, tried, .. } => {
                self.timers.remove(&(*until, Timer::Job(id.to_owned())));
                std::mem::take(tried)
            }
            Phase::Running(_) | Phase::Orphaned { .. } => BTreeSet::new(),
        };
        let candidates = self
            .workers
            .iter()
            .filter(|(connection, _)| !tried.contains(connection));
        let candidates =
            candidates.filter_map(|(at, worker)| Some((*at, worker.load_for(&entry.key)?)));
        let picked = match entry.simulated {
            true => None,
            false => selection::pick(&mut self.rng, self.config.target_load, candidates),
        };
        match picked {
            Some(connection) => self.offer(now, id, connection, tried),
            None => {
                if let Some(entry) = self.jobs.remove(id) {
                    self.report_lost(entry, now, "no workers available");
                }
            }
        }
    }

    pub(super) fn offer(
        &mut self,
        now: Instant,
        id: &str,
        connection: Connection,
        mut tried: BTreeSet<Connection>,
    ) {
        let nanos = self.unix_nanos(now);
        let (Some(entry), Some(worker)) =
            (self.jobs.get_mut(id), self.workers.get_mut(&connection))
        else {
            return;
        };
        let state = entry.job.state.get_or_insert_default();
        state.worker_id = worker.id.0.clone();
        state.status = JobStatus::JsRunning as i32;
        (state.started_at, state.updated_at) = (nanos, nanos);
        worker.jobs.insert(id.to_owned());
        tried.insert(connection);
        let until = now + AVAILABILITY_TIMEOUT;
        entry.phase = Phase::Offered {
            to: connection,
            until,
            tried,
        };
        self.timers.insert((until, Timer::Job(id.to_owned())));
        let request = proto::AvailabilityRequest {
            job: Some(entry.job.clone()),
            resuming: entry.resuming,
        };
        self.send(connection, server_message::Message::Availability(request));
    }

    pub(super) fn answered(
        &mut self,
        now: Instant,
        connection: Connection,
        answer: proto::AvailabilityResponse,
    ) {
        let id = answer.job_id.clone();
        let Some(entry) = self.jobs.get(&id) else {
            return;
        };
        let Phase::Offered { to, until, .. } = &entry.phase else {
            return;
        };
        if *to != connection {
            return;
        }
        let until = *until;
        if answer.terminate {
            // "Nobody needs to take it": over, and well.
            self.timers.remove(&(until, Timer::Job(id.clone())));
            self.end(now, &id, JobStatus::JsSuccess, "");
        } else if answer.available {
            self.timers.remove(&(until, Timer::Job(id.clone())));
            self.assign(now, connection, answer);
        } else {
            if let Some(worker) = self.workers.get_mut(&connection) {
                worker.jobs.remove(&id);
            }
            self.offer_next(now, &id);
        }
    }

    fn assign(
        &mut self,
        now: Instant,
        connection: Connection,
        answer: proto::AvailabilityResponse,
    ) {
        let nanos = self.unix_nanos(now);
        let id = answer.job_id.clone();
        let (Some(entry), Some(worker)) = (self.jobs.get_mut(&id), self.workers.get(&connection))
        else {
            return;
        };
        let state = entry.job.state.get_or_insert_default();
        state.participant_identity = answer.participant_identity.clone();
        state.updated_at = nanos;
        let room = entry
            .job
            .room
            .as_ref()
            .map(|room| room.name.as_str())
            .unwrap_or_default();
        let claims = worker.claims(room, answer, nanos / 1_000_000_000);
        let token = match token::sign(&self.config.keys, &claims) {
            Ok(token) => token,
            Err(error) => {
                tracing::warn!(%error, "no token for an agent");
                self.end(now, &id, JobStatus::JsFailed, "no token could be signed");
                return;
            }
        };
        entry.phase = Phase::Running(connection);
        let assignment = proto::JobAssignment {
            job: Some(entry.job.clone()),
            url: None,
            token,
        };
        let update = update_of(entry);
        self.send(connection, server_message::Message::Assignment(assignment));
        self.outputs.extend(update.map(Output::Report));
    }
}
