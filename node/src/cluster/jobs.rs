//! Agent jobs over nodes: a room's home asks every node which of its workers would take a job,
//! gives it to the best, goes on to the next when nobody there takes it, and hears how it goes. A
//! node that lends its workers remembers whose job it is. `agent` places a job on one node's
//! workers.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use consensus::cluster::Change;
use consensus::command::Effect;
use consensus::ids::{Epoch, NodeId};
use futures_util::future::{BoxFuture, join_all};
use prost::Message;
use protocol::proto;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::directory::{Directory, lives};
use super::limits::{JOB_CALL_TIMEOUT, JOB_UPDATE_RETRY, JOB_UPDATE_TRIES_MAX, JOBS_ELSEWHERE_MAX};
use super::links::{Duplex, Serve, Service};
use super::wire::agent_request::Ask;
use super::wire::{AgentJob, AgentReply, AgentRequest, AgentUpdate};
use crate::agent::Agents;
use crate::room::contract::{JobRequest, JobUpdate};
use crate::room::environment::JobSink;
use crate::rooms::Rooms;

/// Clones are one.
#[derive(Clone)]
pub struct ClusterJobs(Arc<Inner>);

struct Inner {
    directory: Directory,
    agents: Agents,
    rooms: Rooms,
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    /// Jobs of this node's rooms.
    ours: HashMap<String, Ours>,
    /// Jobs of other nodes' rooms that workers of this node were asked to take.
    lent: HashMap<String, Peer>,
    /// Jobs of others' rooms that were ended before they were known here, and until when that is
    /// remembered.
    ended_early: HashMap<String, Instant>,
}

/// One life of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Peer {
    node: NodeId,
    life: Epoch,
}

struct Ours {
    job: JobRequest,
    /// Who has it; `None` while nodes are being asked.
    at: Option<Peer>,
    /// Who may be asked next, best first.
    next: VecDeque<NodeId>,
    /// As last reported.
    state: proto::JobState,
}

impl ClusterJobs {
    /// From now on jobs cross nodes. The task follows the cluster until its changes end.
    pub fn start(directory: Directory, agents: Agents, rooms: Rooms) -> (Self, JoinHandle<()>) {
        let changes = directory.cluster().changes();
        let jobs = Self(Arc::new(Inner {
            directory,
            agents,
            rooms,
            tables: Mutex::default(),
        }));
        let reports = jobs.clone();
        let agents = &jobs.0.agents;
        agents.report_with(move |update| reports.reported(update));
        let task = tokio::spawn(jobs.clone().follow(changes));
        (jobs, task)
    }

    fn node(&self) -> NodeId {
        self.0.directory.node()
    }

    /// A holder that panicked left whole tables: every change is a single step.
    fn locked(&self) -> MutexGuard<'_, Tables> {
        self.0.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks all nodes and gives the job to the best of them.
    async fn place(self, job: JobRequest) {
        let id = job.job.id.clone();
        let question = Ask::Load(message_of(&job));
        let mut bids = self.ask_everybody(question).await;
        // The least loaded worker; among equals this node's, which is one hop less.
        let here = self.node();
        bids.sort_by(|(a, x), (b, y)| x.total_cmp(y).then((*a != here).cmp(&(*b != here))));
        let next = bids.into_iter().map(|(node, _)| node).collect();
        if let Some(ours) = self.locked().ours.get_mut(&id) {
            ours.next = next;
        }
        self.give(&id);
    }

    /// Nodes with a worker for it, and the load of the least loaded one.
    async fn ask_everybody(&self, question: Ask) -> Vec<(NodeId, f32)> {
        let nodes = self.0.directory.living_nodes();
        let asked = nodes.into_iter().map(|node| {
            let question = question.clone();
            async move {
                let reply = self.tell(node, question).await?;
                reply.load.map(|load| (node, load))
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// To the next node; nobody is left: this node says that nobody took it.
    fn give(&self, id: &str) {
        let here = self.node();
        let (node, job) = {
            let mut tables = self.locked();
            let Some(ours) = tables.ours.get_mut(id) else {
                return;
            };
            let next = ours.next.pop_front();
            // A service without workers reports the job as lost, in its usual words.
            let node = next.unwrap_or(here);
            ours.at = Some(self.peer(node));
            (node, ours.job.clone())
        };
        if node == here {
            self.0.agents.launch(job);
            return;
        }
        let jobs = self.clone();
        tokio::spawn(async move {
            if jobs
                .tell(node, Ask::Launch(message_of(&job)))
                .await
                .is_none()
            {
                // It may have heard: two agents for one job are worse than none.
                let id = job.job.id;
                jobs.tell(node, Ask::Terminate(id.clone())).await;
                jobs.give(&id);
            }
        });
    }

    /// Of a worker of this node: about a room of this or of another one.
    fn reported(&self, update: JobUpdate) {
        let over = is_over(&update.state);
        let lender = {
            let mut tables = self.locked();
            match over {
                true => tables.lent.remove(&update.job_id),
                false => tables.lent.get(&update.job_id).copied(),
            }
        };
        match lender {
            Some(home) => {
                let jobs = self.clone();
                tokio::spawn(async move { jobs.send_update(home.node, update).await });
            }
            None => self.happened(self.node(), update),
        }
    }

    /// Boxed, as an answer may begin it.
    fn report(self, home: NodeId, update: JobUpdate) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.send_update(home, update).await })
    }

    async fn send_update(&self, home: NodeId, update: JobUpdate) {
        let told = Ask::Update(AgentUpdate {
            room: update.room,
            job_id: update.job_id,
            dispatch_id: update.dispatch_id,
            state: Some(update.state),
        });
        for _ in 0..JOB_UPDATE_TRIES_MAX {
            if self.tell(home, told.clone()).await.is_some() {
                return;
            }
            tokio::time::sleep(JOB_UPDATE_RETRY).await;
        }
        tracing::warn!(%home, "a room's node was not told about a job");
    }

    /// What became of a job of a room of this node.
    fn happened(&self, at: NodeId, update: JobUpdate) {
        let mut tables = self.locked();
        if let Some(ours) = tables.ours.get_mut(&update.job_id) {
            if ours.at.map(|peer| peer.node) != Some(at) {
                return;
            }
            let lost = update.state.status() == proto::JobStatus::JsFailed
                && update.state.worker_id.is_empty();
            if lost && !ours.next.is_empty() {
                drop(tables);
                self.give(&update.job_id);
                return;
            }
            ours.state = update.state.clone();
            if is_over(&update.state) {
                tables.ours.remove(&update.job_id);
            }
        }
        drop(tables);
        self.0.rooms.job_update(update);
    }

    /// `None`: it did not hear.
    async fn tell(&self, node: NodeId, ask: Ask) -> Option<AgentReply> {
        let request = AgentRequest { ask: Some(ask) };
        if node == self.node() {
            return self.answer(node, request).await.ok();
        }
        let bytes = Bytes::from(request.encode_to_vec());
        let links = self.0.directory.links();
        let told = links.call(node, Service::Agent, bytes, JOB_CALL_TIMEOUT);
        AgentReply::decode(told.await.ok()?).ok()
    }

    async fn answer(&self, from: NodeId, request: AgentRequest) -> Result<AgentReply, String> {
        let mut reply = AgentReply::default();
        match request.ask.ok_or("an empty question")? {
            Ask::Load(job) => {
                let job = job_of(job).ok_or("no job")?;
                reply.load = self.0.agents.load_for(job).await;
            }
            Ask::Launch(job) => {
                let job = job_of(job).ok_or("no job")?;
                let home = self.peer(from);
                let mut tables = self.locked();
                if tables.lent.len() >= JOBS_ELSEWHERE_MAX {
                    return Err("too many jobs".into());
                }
                let ended = tables.ended_early.remove(&job.job.id);
                if ended.is_some_and(|until| until > Instant::now()) {
                    drop(tables);
                    tokio::spawn(self.clone().report(from, ended_before(&job)));
                    return Ok(reply);
                }
                tables.lent.insert(job.job.id.clone(), home);
                drop(tables);
                self.0.agents.launch(job);
            }
            Ask::Terminate(id) => self.end_lent(from, id),
            Ask::Update(told) => self.happened(
                from,
                JobUpdate {
                    room: told.room,
                    job_id: told.job_id,
                    dispatch_id: told.dispatch_id,
                    state: told.state.unwrap_or_default(),
                },
            ),
        }
        Ok(reply)
    }

    /// A room's home ends what it lent from here; it may say so before it says what it lends.
    fn end_lent(&self, from: NodeId, id: String) {
        let now = Instant::now();
        let mut tables = self.locked();
        match tables.lent.get(&id).map(|home| home.node) {
            Some(home) if home == from => {
                drop(tables);
                self.0.agents.terminate(&id);
            }
            Some(_) => {}
            None => {
                tables.ended_early.retain(|_, until| *until > now);
                if tables.ended_early.len() < JOBS_ELSEWHERE_MAX {
                    tables.ended_early.insert(id, now + JOB_CALL_TIMEOUT);
                }
            }
        }
    }

    /// Until it has heard, or is found dead.
    async fn end_there(self, node: NodeId, id: String) {
        for _ in 0..JOB_UPDATE_TRIES_MAX {
            if self.tell(node, Ask::Terminate(id.clone())).await.is_some() {
                return;
            }
            tokio::time::sleep(JOB_UPDATE_RETRY).await;
        }
        tracing::warn!(%node, "a worker's node was not told that a job is over");
    }

    fn peer(&self, node: NodeId) -> Peer {
        let life = self
            .0
            .directory
            .cluster()
            .read(|state| state.node(node).map_or(Epoch(0), |known| known.incarnation));
        Peer { node, life }
    }

    async fn follow(self, mut changes: broadcast::Receiver<Change>) {
        loop {
            match changes.recv().await {
                Ok(Change::Effect { effect, .. }) => match effect {
                    Effect::NodeChanged { .. } | Effect::NodeRemoved { .. } => self.compare(),
                    _ => {}
                },
                Ok(Change::Replaced { .. }) | Err(RecvError::Lagged(_)) => self.compare(),
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Lives, not states: one that drains goes on draining in its next life.
    fn compare(&self) {
        let cluster = self.0.directory.cluster().clone();
        self.end_where(|peer| {
            cluster.read(|state| {
                let life = state.node(peer.node).map(|known| known.incarnation);
                !lives(state, peer.node) || life > Some(peer.life)
            })
        });
    }

    /// Nodes died: what their workers did for rooms here failed, and what workers here do for their
    /// rooms has lost its room.
    fn end_where(&self, died: impl Fn(Peer) -> bool) {
        let here = self.node();
        let died = |peer: Peer| peer.node != here && died(peer);
        let (failed, orphans) = {
            let mut tables = self.locked();
            let failed: Vec<(Peer, JobUpdate)> = tables
                .ours
                .values()
                .filter_map(|ours| Some((ours.at.filter(|at| died(*at))?, failure_of(ours))))
                .collect();
            let lent = tables.lent.iter().filter(|(_, home)| died(**home));
            let orphans: Vec<String> = lent.map(|(id, _)| id.clone()).collect();
            tables.lent.retain(|_, home| !died(*home));
            (failed, orphans)
        };
        for (at, update) in failed {
            self.happened(at.node, update);
        }
        for id in orphans {
            self.0.agents.terminate(&id);
        }
    }
}

impl JobSink for ClusterJobs {
    fn launch(&self, job: JobRequest) {
        let ours = Ours {
            job: job.clone(),
            at: None,
            next: VecDeque::new(),
            state: job.job.state.clone().unwrap_or_default(),
        };
        let mut tables = self.locked();
        if tables.ours.len() >= JOBS_ELSEWHERE_MAX {
            drop(tables);
            // It knows a limit too, and the words for it.
            self.0.agents.launch(job);
            return;
        }
        tables.ours.insert(job.job.id.clone(), ours);
        drop(tables);
        tokio::spawn(self.clone().place(job));
    }

    fn terminate(&self, job_id: &str) {
        let at = self.locked().ours.get(job_id).map(|ours| ours.at);
        match at {
            Some(Some(peer)) if peer.node != self.node() => {
                tokio::spawn(self.clone().end_there(peer.node, job_id.to_owned()));
            }
            // Nobody has it yet: nobody gets it.
            Some(None) => {
                let removed = self.locked().ours.remove(job_id);
                if let Some(ours) = removed {
                    let mut update = failure_of(&ours);
                    update.state.status = proto::JobStatus::JsSuccess as i32;
                    update.state.error.clear();
                    self.0.rooms.job_update(update);
                }
            }
            _ => self.0.agents.terminate(job_id),
        }
    }
}

impl Serve for ClusterJobs {
    fn call(&self, from: NodeId, request: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            let request = AgentRequest::decode(request).map_err(|error| error.to_string())?;
            let reply = self.answer(from, request).await?;
            Ok(reply.encode_to_vec().into())
        })
    }

    fn stream(&self, _: NodeId, _: Duplex) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

fn is_over(state: &proto::JobState) -> bool {
    use proto::JobStatus::{JsFailed, JsSuccess};
    matches!(state.status(), JsFailed | JsSuccess)
}

fn failure_of(ours: &Ours) -> JobUpdate {
    let job = &ours.job.job;
    JobUpdate {
        room: job
            .room
            .as_ref()
            .map(|room| room.name.clone())
            .unwrap_or_default(),
        job_id: job.id.clone(),
        dispatch_id: job.dispatch_id.clone(),
        state: proto::JobState {
            status: proto::JobStatus::JsFailed as i32,
            error: "agent worker left".into(),
            ..ours.state.clone()
        },
    }
}

/// It was over for its room before a worker had it.
fn ended_before(job: &JobRequest) -> JobUpdate {
    let job = &job.job;
    let room = job.room.as_ref();
    JobUpdate {
        room: room.map(|room| room.name.clone()).unwrap_or_default(),
        job_id: job.id.clone(),
        dispatch_id: job.dispatch_id.clone(),
        state: proto::JobState {
            status: proto::JobStatus::JsSuccess as i32,
            ..job.state.clone().unwrap_or_default()
        },
    }
}

fn message_of(job: &JobRequest) -> AgentJob {
    AgentJob {
        job: Some(job.job.clone()),
        deployment: job.deployment.clone(),
    }
}

fn job_of(message: AgentJob) -> Option<JobRequest> {
    Some(JobRequest {
        job: message.job?,
        deployment: message.deployment,
    })
}
