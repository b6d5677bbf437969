//! Which agents this room wants and which jobs they have. Finding workers is the agent service's
//! business: the room asks for jobs and is told what became of them.

mod image;

use std::collections::{BTreeMap, BTreeSet};

use protocol::ids::{DispatchId, JobId};
use protocol::proto;
use protocol::proto::leave_request::Action;
use protocol::proto::{DisconnectReason, JobStatus, JobType};

use super::Room;
use super::contract::{JobRequest, JobUpdate, RoomError, RoomOutput, RoomReply};
use super::limits::{DISPATCHES_MAX, JOBS_MAX};
use super::member::Member;

#[derive(Default)]
pub(super) struct Dispatches {
    /// In the order of their creation.
    list: Vec<proto::AgentDispatch>,
    /// Jobs asked for or running; those a worker took are in their dispatch's state too.
    jobs: BTreeMap<String, proto::Job>,
    /// Jobs among them that were told to end.
    ending: BTreeSet<String>,
}

impl Dispatches {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }
}

impl Room {
    /// Agents of the options; without any, one implicit dispatch for workers without a name.
    pub(super) fn dispatch_at_creation(&mut self, mut agents: Vec<proto::RoomAgentDispatch>) {
        if agents.is_empty() {
            agents.push(proto::RoomAgentDispatch::default());
        }
        for agent in agents {
            let request = proto::CreateAgentDispatchRequest {
                agent_name: agent.agent_name,
                room: self.facts.room.name.clone(),
                metadata: agent.metadata,
                restart_policy: agent.restart_policy,
                deployment: agent.deployment,
                attributes: agent.attributes,
            };
            if let Err(error) = self.create_dispatch(request) {
                tracing::warn!(%error, "cannot dispatch an agent");
            }
        }
    }

    pub(super) fn create_dispatch(
        &mut self,
        request: proto::CreateAgentDispatchRequest,
    ) -> Result<RoomReply, RoomError> {
        if self.dispatch.list.len() >= DISPATCHES_MAX {
            return Err(RoomError::Unavailable(
                "too many dispatches in this room".into(),
            ));
        }
        let dispatch = proto::AgentDispatch {
            id: DispatchId::random(&mut self.rng).0,
            agent_name: request.agent_name,
            room: self.facts.room.name.clone(),
            metadata: request.metadata,
            state: Some(proto::AgentDispatchState {
                created_at: self.unix_ms() / 1000,
                ..Default::default()
            }),
            restart_policy: request.restart_policy,
            deployment: request.deployment,
            attributes: request.attributes,
        };
        self.dispatch.list.push(dispatch.clone());
        self.launch(&dispatch, JobType::JtRoom, None);
        let present: Vec<_> = self
            .roster
            .iter()
            .filter(|member| member.was_active && !member.is_dependent())
            .map(|member| (member.info.clone(), !member.tracks.is_empty()))
            .collect();
        for (info, publishes) in present {
            self.launch(&dispatch, JobType::JtParticipant, Some(info.clone()));
            if publishes {
                self.launch(&dispatch, JobType::JtPublisher, Some(info));
            }
        }
        Ok(RoomReply::Dispatch(dispatch))
    }

    pub(super) fn delete_dispatch(
        &mut self,
        request: &proto::DeleteAgentDispatchRequest,
    ) -> Result<RoomReply, RoomError> {
        let index = self
            .dispatch
            .list
            .iter()
            .position(|known| known.id == request.dispatch_id);
        let Some(index) = index else {
            return Err(RoomError::NotFound("dispatch ID not found".into()));
        };
        let dispatch = self.dispatch.list.remove(index);
        let agents = self.agents_of(&dispatch.id);
        self.end_jobs(|job| job.dispatch_id == dispatch.id);
        for number in agents {
            let leave = Some(Action::Disconnect);
            self.close_member(number, DisconnectReason::ParticipantRemoved, leave);
        }
        Ok(RoomReply::Dispatch(dispatch))
    }

    /// The participants that running jobs of a dispatch have sent.
    fn agents_of(&self, dispatch_id: &str) -> Vec<u16> {
        let jobs = self.dispatch.jobs.values();
        let states = jobs
            .filter(|job| job.dispatch_id == dispatch_id)
            .filter_map(|job| job.state.as_ref());
        states
            .filter_map(|state| self.find(&state.participant_identity).ok())
            .filter(|number| self.roster.get(*number).is_some_and(Member::is_agent))
            .collect()
    }

    pub(super) fn list_dispatches(&self, request: &proto::ListAgentDispatchRequest) -> RoomReply {
        let wanted = |dispatch: &&proto::AgentDispatch| {
            request.dispatch_id.is_empty() || dispatch.id == request.dispatch_id
        };
        RoomReply::Dispatches(self.dispatch.list.iter().filter(wanted).cloned().collect())
    }

    /// A participant became active.
    pub(super) fn launch_participant_jobs(&mut self, number: u16) {
        self.launch_about(number, JobType::JtParticipant);
    }

    /// A participant published its first track.
    pub(super) fn launch_publisher_jobs(&mut self, number: u16) {
        self.launch_about(number, JobType::JtPublisher);
    }

    fn launch_about(&mut self, number: u16, kind: JobType) {
        let Some(member) = self.roster.get(number) else {
            return;
        };
        if member.is_dependent() {
            return;
        }
        let info = member.info.clone();
        for dispatch in self.dispatch.list.clone() {
            if !self.has_job_about(&dispatch.id, kind, &info.identity) {
                self.launch(&dispatch, kind, Some(info.clone()));
            }
        }
    }

    /// The agent of an identity's earlier session goes on with the next one.
    fn has_job_about(&self, dispatch_id: &str, kind: JobType, identity: &str) -> bool {
        self.dispatch.jobs.values().any(|job| {
            job.dispatch_id == dispatch_id
                && job.r#type() == kind
                && !self.dispatch.ending.contains(&job.id)
                && job
                    .participant
                    .as_ref()
                    .is_some_and(|of| of.identity == identity)
        })
    }

    fn launch(
        &mut self,
        dispatch: &proto::AgentDispatch,
        kind: JobType,
        participant: Option<proto::ParticipantInfo>,
    ) {
        if self.dispatch.jobs.len() >= JOBS_MAX {
            // A request nobody took makes room.
            let idle = self
                .dispatch
                .jobs
                .iter()
                .find(|(_, job)| job.state.is_none());
            match idle.map(|(id, _)| id.clone()) {
                Some(id) => self.dispatch.jobs.remove(&id),
                None => return,
            };
        }
        let job = proto::Job {
            id: JobId::random(&mut self.rng).0,
            dispatch_id: dispatch.id.clone(),
            r#type: kind.into(),
            room: Some(self.room_info()),
            participant,
            metadata: dispatch.metadata.clone(),
            agent_name: dispatch.agent_name.clone(),
            deployment: dispatch.deployment.clone(),
            attributes: dispatch.attributes.clone(),
            enable_recording: self.services.config.record_agents,
            ..Default::default()
        };
        self.dispatch.jobs.insert(job.id.clone(), job.clone());
        let deployment = dispatch.deployment.clone();
        self.outputs
            .push_back(RoomOutput::LaunchJob(Box::new(JobRequest {
                job,
                deployment,
            })));
    }

    /// What the agent service reports: a job a worker took belongs to its dispatch's state.
    pub(super) fn job_updated(&mut self, update: JobUpdate) {
        let Some(job) = self.dispatch.jobs.get_mut(&update.job_id) else {
            return;
        };
        let over = is_over_in(&update.state);
        if over && update.state.worker_id.is_empty() {
            // No worker took it: the dispatch never had that job.
            self.dispatch.jobs.remove(&update.job_id);
            self.dispatch.ending.remove(&update.job_id);
            return;
        }
        job.state = Some(update.state);
        let job = job.clone();
        if over {
            self.dispatch.jobs.remove(&update.job_id);
            self.dispatch.ending.remove(&update.job_id);
        }
        let of_job = self
            .dispatch
            .list
            .iter_mut()
            .find(|known| known.id == job.dispatch_id);
        let Some(state) = of_job.and_then(|dispatch| dispatch.state.as_mut()) else {
            return;
        };
        match state.jobs.iter().position(|known| known.id == job.id) {
            Some(index) => state.jobs[index] = job,
            None => {
                if state.jobs.len() >= JOBS_MAX {
                    // The oldest that is over makes room; those that run are within the bound.
                    let over = state.jobs.iter().position(is_over);
                    state.jobs.remove(over.unwrap_or(0));
                }
                state.jobs.push(job);
            }
        }
    }

    /// Jobs for one participant end with it, and so does the job that sent it.
    pub(super) fn end_jobs_about(&mut self, identity: &str) {
        self.end_jobs(|job| {
            let target = job.participant.as_ref();
            let agent = job.state.as_ref();
            target.is_some_and(|target| target.identity == identity)
                || agent.is_some_and(|state| state.participant_identity == identity)
        });
    }

    pub(super) fn end_all_jobs(&mut self) {
        self.end_jobs(|_| true);
    }

    fn end_jobs(&mut self, which: impl Fn(&proto::Job) -> bool) {
        let ended: Vec<String> = self
            .dispatch
            .jobs
            .values()
            .filter(|job| which(job))
            .map(|job| job.id.clone())
            .collect();
        // They stay until the agent service says how they ended.
        for job_id in ended {
            if !self.dispatch.ending.insert(job_id.clone()) {
                continue;
            }
            self.outputs.push_back(RoomOutput::TerminateJob { job_id });
        }
    }
}

fn is_over(job: &proto::Job) -> bool {
    job.state.as_ref().is_some_and(is_over_in)
}

fn is_over_in(state: &proto::JobState) -> bool {
    matches!(state.status(), JobStatus::JsSuccess | JobStatus::JsFailed)
}
