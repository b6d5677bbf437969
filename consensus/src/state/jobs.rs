//! Jobs: egress, ingress and agents that are not over, who works on each, and its fencing epoch.

use rkyv::{Archive, Deserialize, Serialize};

use super::{Answer, State, check_epoch, check_length, full};
use crate::command::{Effect, JobKind, JobState, Outcome, Refusal};
use crate::ids::{Epoch, JobId, NodeId, RoomName};
use crate::limits::{JOB_DETAIL_BYTES_MAX, JOBS_MAX, NAME_BYTES_MAX};

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub kind: JobKind,
    pub room: Option<RoomName>,
    pub owner: Option<NodeId>,
    /// Of the current owner; 0 while nobody ever had it.
    pub epoch: Epoch,
    pub state: JobState,
    /// Request and progress, opaque here.
    pub detail: Vec<u8>,
}

impl State {
    pub(super) fn create_job(
        &mut self,
        id: JobId,
        kind: JobKind,
        room: Option<RoomName>,
        detail: Vec<u8>,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        check_length("the job's id", id.0.len(), NAME_BYTES_MAX)?;
        check_length("the job's detail", detail.len(), JOB_DETAIL_BYTES_MAX)?;
        let room_bytes = room.as_ref().map_or(0, |room| room.0.len());
        check_length("the room's name", room_bytes, NAME_BYTES_MAX)?;
        if let Some(job) = self.jobs.get(&id) {
            return Ok(Outcome::Epoch(job.epoch));
        }
        if self.jobs.len() >= JOBS_MAX {
            return Err(full("jobs", JOBS_MAX));
        }
        self.book_bytes(0, detail.len())?;
        let job = Job {
            kind,
            room,
            owner: None,
            epoch: Epoch(0),
            state: JobState::Waiting,
            detail,
        };
        self.put_job(id, job, effects);
        Ok(Outcome::Epoch(Epoch(0)))
    }

    pub(super) fn assign_job(
        &mut self,
        id: JobId,
        epoch: Epoch,
        owner: NodeId,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let mut job = self.open_job(&id, epoch)?;
        self.working_node(owner)?;
        job.owner = Some(owner);
        job.epoch = self.next_epoch();
        let epoch = job.epoch;
        self.put_job(id, job, effects);
        Ok(Outcome::Epoch(epoch))
    }

    pub(super) fn update_job(
        &mut self,
        id: JobId,
        epoch: Epoch,
        state: JobState,
        detail: Option<Vec<u8>>,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let mut job = self.open_job(&id, epoch)?;
        if job.owner.is_none() {
            return Err(Refusal::JobWithoutOwner);
        }
        if let Some(detail) = detail {
            check_length("the job's detail", detail.len(), JOB_DETAIL_BYTES_MAX)?;
            self.book_bytes(job.detail.len(), detail.len())?;
            job.detail = detail;
        }
        job.state = state;
        self.put_job(id, job, effects);
        Ok(Outcome::Done)
    }

    pub(super) fn remove_job(
        &mut self,
        id: JobId,
        epoch: Epoch,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        if let Some(job) = self.jobs.get(&id) {
            check_epoch(epoch, job.epoch)?;
        }
        if let Some(job) = self.jobs.remove(&id) {
            self.book_bytes(job.detail.len(), 0)?;
            effects.push(Effect::JobRemoved { job: id });
        }
        Ok(Outcome::Done)
    }

    /// How many jobs the node has that are not over.
    pub(super) fn jobs_of(&self, node: NodeId) -> u64 {
        let open = |job: &&Job| job.owner == Some(node) && !job.state.is_over();
        self.jobs.values().filter(open).count() as u64
    }

    /// Takes the jobs of a dead node from it; the new epoch fences what it may still write.
    pub(super) fn orphan_jobs_of(&mut self, node: NodeId, effects: &mut Vec<Effect>) {
        let mut jobs = std::mem::take(&mut self.jobs);
        for (id, job) in &mut jobs {
            if job.owner == Some(node) && !job.state.is_over() {
                job.owner = None;
                job.state = JobState::Waiting;
                job.epoch = self.next_epoch();
                effects.push(Effect::JobOrphaned { job: id.clone() });
            }
        }
        self.jobs = jobs;
    }

    fn open_job(&self, id: &JobId, epoch: Epoch) -> Result<Job, Refusal> {
        let job = self.jobs.get(id).ok_or(Refusal::NoJob)?;
        check_epoch(epoch, job.epoch)?;
        if job.state.is_over() {
            return Err(Refusal::JobOver);
        }
        Ok(job.clone())
    }

    fn put_job(&mut self, id: JobId, job: Job, effects: &mut Vec<Effect>) {
        effects.push(Effect::JobChanged {
            job: id.clone(),
            owner: job.owner,
            epoch: job.epoch,
            state: job.state,
        });
        self.jobs.insert(id, job);
    }
}
