//! The shell of the detector: asks over `Links`, keeps lifelines, follows the log for who is there
//! and who leads, and proposes what the detector is sure of. Answers `Service::Liveness`. Decides
//! nothing; `detector` does.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use consensus::cluster::{Change, Cluster, VoterProgress};
use consensus::command::{Action, Effect, NodeState};
use consensus::ids::{Epoch, NodeId};
use futures_util::future::BoxFuture;
use metrics::{counter, gauge};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use crate::cluster::detector::wire::Message;
use crate::cluster::detector::{Cause, Detector, Input, Life, Output, Suspicion};
use crate::cluster::lifeline::{Dial, Holder, Keeper, Listen, News, Tickets};
use crate::cluster::limits::{
    KNOCKS_AT_ONCE_MAX, LIVENESS_INPUTS_MAX, LIVENESS_PATIENCE, VERDICT_PATIENCE, WEDGED,
};
use crate::cluster::links::{Duplex, LinkError, Links, Serve, Service};
use crate::cluster::node::ClusterNode;

/// What it is made of.
pub struct LivenessParts {
    pub cluster: Cluster,
    pub links: Arc<dyn Links>,
    pub dial: Arc<dyn Dial>,
    /// Random and secret; in a simulation it is the seed.
    pub seed: [u8; 32],
}

/// A handle, and what answers `Service::Liveness`. Clones are equal.
#[derive(Clone)]
pub struct Liveness {
    cluster: Cluster,
    links: Arc<dyn Links>,
    dial: Arc<dyn Dial>,
    tickets: Tickets,
    inputs: mpsc::Sender<Input>,
    /// When this node's own thread last ran.
    turned: Arc<Mutex<Instant>>,
}

/// What `Liveness::run` needs.
pub struct Inbox(mpsc::Receiver<Input>);

/// Lets a node watch the others and be watched, until it stops.
pub fn attach(
    node: &ClusterNode,
    dial: Arc<dyn Dial>,
    listener: impl Listen,
    seed: [u8; 32],
) -> Liveness {
    let (liveness, inbox) = Liveness::new(LivenessParts {
        cluster: node.cluster().clone(),
        links: node.links(),
        dial,
        seed,
    });
    let registry = node.registry();
    registry.add(Service::Liveness, Arc::new(liveness.clone()));
    node.keep(tokio::spawn(liveness.clone().run(inbox, listener)));
    liveness
}

impl Liveness {
    /// To be registered as `Service::Liveness`, then run.
    pub fn new(parts: LivenessParts) -> (Self, Inbox) {
        // overflow: lost and counted, as a packet is
        let (inputs, inbox) = mpsc::channel(LIVENESS_INPUTS_MAX);
        let liveness = Self {
            cluster: parts.cluster,
            links: parts.links,
            dial: parts.dial,
            tickets: Tickets::new(parts.seed),
            inputs,
            turned: Arc::new(Mutex::new(Instant::now())),
        };
        (liveness, Inbox(inbox))
    }

    /// Runs until it is dropped; with it end all lifelines.
    pub async fn run(self, inbox: Inbox, listener: impl Listen) {
        let me = self.cluster.node();
        let mut tasks = JoinSet::new();
        tasks.spawn(Holder::new(self.tickets.clone()).run(listener));
        tasks.spawn(self.clone().follow_leader());
        let mut driver = Driver {
            detector: Detector::new(me, Instant::now().into_std()),
            changes: self.cluster.changes(),
            keepers: BTreeMap::new(),
            errands: JoinSet::new(),
            knocks: Arc::new(Semaphore::new(KNOCKS_AT_ONCE_MAX)),
            liveness: self,
        };
        driver.read_roster();
        driver.drive(inbox.0).await;
    }

    /// Tells everybody that this node restarts and has seen to what it had, so that nobody takes
    /// its silence for death. Believed once a life.
    pub async fn say_farewell(&self) {
        let me = self.cluster.node();
        let others: Vec<NodeId> = self.cluster.read(|state| {
            let nodes = state.nodes().map(|(id, _)| id);
            nodes.filter(|id| *id != me).collect()
        });
        let mut calls = JoinSet::new();
        for node in others {
            let liveness = self.clone();
            calls.spawn(async move { liveness.say(node, Message::Farewell).await });
        }
        calls.join_all().await;
    }

    async fn say(&self, to: NodeId, message: Message) -> Result<Bytes, LinkError> {
        let request = Bytes::from(message.encode());
        let call = self
            .links
            .call(to, Service::Liveness, request, LIVENESS_PATIENCE);
        call.await
    }

    fn turned(&self) -> MutexGuard<'_, Instant> {
        self.turned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The detector runs every few milliseconds where rooms run; if it does not, they do not.
    fn is_wedged(&self) -> bool {
        self.turned().elapsed() >= WEDGED
    }

    fn notice(&self, input: Input) {
        if self.inputs.try_send(input).is_err() {
            counter!("skein_liveness_inputs_lost_total").increment(1);
        }
    }

    async fn ask(self, node: NodeId, number: u64) {
        let answered = match self.say(node, Message::Ask).await {
            // Whoever refuses lives.
            Ok(_) | Err(LinkError::Refused { .. }) => true,
            Err(LinkError::Unknown(_) | LinkError::Unreachable { .. } | LinkError::Lost { .. }) => {
                false
            }
        };
        self.notice(match answered {
            true => Input::Answered { node, number },
            false => Input::Failed { node, number },
        });
    }

    /// Whether its kernel takes a connection; nothing is said on it.
    async fn knock(self, node: NodeId) {
        let address = self
            .cluster
            .read(|state| state.node(node).map(|node| node.info.address.clone()));
        let Some(address) = address else {
            return;
        };
        match timeout(LIVENESS_PATIENCE, self.dial.dial(address)).await {
            Ok(Ok(_)) => self.notice(Input::KernelAnswered(node)),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.notice(Input::LifelineRefused(node));
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }

    async fn follow_leader(self) {
        let mut known = self.cluster.status().leader;
        self.notice(Input::Leader(known));
        loop {
            let leader = self.cluster.wait_for(|s| s.leader != known).await.leader;
            if leader == known {
                // Raft stopped.
                return;
            }
            known = leader;
            self.notice(Input::Leader(known));
        }
    }

    /// Only worth something now: not tried again when a quorum comes back later.
    async fn declare(self, suspicion: Suspicion, again: bool) {
        let Suspicion {
            node,
            incarnation,
            cause,
        } = suspicion;
        if !again {
            warn!(%node, %incarnation, ?cause, "a node is dead");
        }
        let verdict = self
            .cluster
            .propose(Action::DeclareDead { node, incarnation });
        match timeout(VERDICT_PATIENCE, verdict).await {
            Ok(Ok(_)) => {
                let label = match cause {
                    Cause::Process => "process",
                    Cause::Silence => "silence",
                };
                counter!("skein_nodes_declared_dead_total", "cause" => label).increment(1);
            }
            // It is tried until it succeeds, or a quorum thinks otherwise.
            _ if again => {}
            Ok(Err(error)) => warn!(%node, %error, "it could not be declared dead"),
            Err(_) => warn!(%node, "it could not be declared dead in time"),
        }
    }

    /// Whoever of them lacks nothing of the log leads from now on.
    async fn step_aside(self, to: Vec<NodeId>) {
        let status = self.cluster.status();
        let votes = |(node, _): &(&NodeId, &VoterProgress)| {
            to.contains(node) && status.voters.contains(node)
        };
        let heirs = status.progress.iter().filter(votes);
        let Some((heir, _)) = heirs.min_by_key(|(_, p)| p.lag.unwrap_or(u64::MAX)) else {
            return;
        };
        warn!(%heir, "this leader alone cannot reach a node: another shall lead");
        counter!("skein_cluster_leaders_stepped_aside_total").increment(1);
        if let Err(error) = self.cluster.transfer_leadership(*heir).await {
            warn!(%error, "nobody took over");
        }
    }

    fn keeper(&self, node: NodeId) -> impl Future<Output = ()> + use<> {
        let keeper = Keeper {
            me: self.cluster.node(),
            node,
            links: self.links.clone(),
            dial: self.dial.clone(),
        };
        let (cluster, told) = (self.cluster.clone(), self.clone());
        let address = move || cluster.read(|s| s.node(node).map(|n| n.info.address.clone()));
        keeper.run(address, move |news| {
            told.notice(match news {
                News::Opened => Input::LifelineOpened(node),
                News::Closed => Input::LifelineClosed(node),
                News::Refused => Input::LifelineRefused(node),
            });
        })
    }
}

impl Serve for Liveness {
    fn call(&self, from: NodeId, request: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            match Message::decode(&request).map_err(|error| error.to_string())? {
                Message::Ask => {
                    if self.is_wedged() {
                        // The network's thread answers for a process that does nothing else: too
                        // late to count, but not never, as each question holds a stream.
                        sleep(LIVENESS_PATIENCE * 2).await;
                        return Err("the rooms of this node stand still".into());
                    }
                }
                Message::Tell(suspicion) => self.notice(Input::Told { from, suspicion }),
                Message::Farewell => self.notice(Input::Farewell(from)),
                Message::Ticket => {
                    let ticket = self.tickets.give(from).ok_or("too many tickets")?;
                    return Ok(ticket.encode().into());
                }
            }
            Ok(Bytes::new())
        })
    }

    fn stream(&self, _from: NodeId, _stream: Duplex) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// The one task that has the detector.
struct Driver {
    liveness: Liveness,
    detector: Detector,
    changes: broadcast::Receiver<Change>,
    keepers: BTreeMap<(NodeId, Epoch), tokio::task::AbortHandle>,
    errands: JoinSet<()>,
    knocks: Arc<Semaphore>,
}

enum Turn {
    Input(Option<Input>),
    Change(Result<Change, RecvError>),
    Tick,
}

impl Driver {
    async fn drive(&mut self, mut inbox: mpsc::Receiver<Input>) {
        loop {
            *self.liveness.turned() = Instant::now();
            while let Some(output) = self.detector.poll() {
                self.act(output);
            }
            while self.errands.try_join_next().is_some() {}
            let deadline = Instant::from_std(self.detector.deadline());
            let turn = tokio::select! {
                biased;
                () = sleep_until(deadline) => Turn::Tick,
                change = self.changes.recv() => Turn::Change(change),
                input = inbox.recv() => Turn::Input(input),
            };
            match turn {
                Turn::Tick => self.handle(Input::Tick),
                Turn::Input(Some(input)) => self.handle(input),
                Turn::Input(None) | Turn::Change(Err(RecvError::Closed)) => return,
                Turn::Change(Err(RecvError::Lagged(_)) | Ok(Change::Replaced { .. })) => {
                    self.read_roster();
                }
                Turn::Change(Ok(Change::Effect { effect, .. })) => {
                    if let Effect::NodeChanged { .. } | Effect::NodeRemoved { .. } = effect {
                        self.read_roster();
                    }
                }
            }
        }
    }

    fn handle(&mut self, input: Input) {
        let rewatch = matches!(input, Input::Leader(_) | Input::Roster(_));
        self.detector.handle(Instant::now().into_std(), input);
        if rewatch {
            self.keep_lifelines();
        }
    }

    fn read_roster(&mut self) {
        let roster = self.liveness.cluster.read(|state| {
            let living = state.nodes().filter(|(_, n)| n.state != NodeState::Dead);
            let life = |(id, node): (NodeId, &consensus::state::Node)| {
                let life = Life {
                    incarnation: node.incarnation,
                    master: node.info.roles.master,
                    media: node.info.roles.media,
                };
                (id, life)
            };
            living.map(life).collect()
        });
        self.handle(Input::Roster(roster));
    }

    /// One to each watched life, none to others.
    fn keep_lifelines(&mut self) {
        let watched = self.detector.watched();
        self.keepers.retain(|(node, life), task| {
            let keep = watched.get(node) == Some(life);
            if !keep {
                task.abort();
            }
            keep
        });
        for (node, life) in watched {
            let (errands, liveness) = (&mut self.errands, &self.liveness);
            self.keepers.entry((node, life)).or_insert_with(|| {
                info!(%node, "watching a node");
                errands.spawn(liveness.keeper(node))
            });
        }
    }

    fn act(&mut self, output: Output) {
        let liveness = self.liveness.clone();
        match output {
            Output::Ask { node, number } => {
                self.errands.spawn(liveness.ask(node, number));
            }
            Output::Knock { node } => {
                // Whoever is left out is knocked at in a moment again.
                if let Ok(permit) = Arc::clone(&self.knocks).try_acquire_owned() {
                    self.errands.spawn(async move {
                        liveness.knock(node).await;
                        drop(permit);
                    });
                }
            }
            Output::Tell { to, suspicion } => {
                self.errands.spawn(async move {
                    let _ = liveness.say(to, Message::Tell(suspicion)).await;
                });
            }
            Output::Dead { suspicion, again } => {
                self.errands.spawn(liveness.declare(suspicion, again));
            }
            Output::Suspected(Suspicion { node, cause, .. }) => {
                info!(%node, ?cause, "a node is suspected");
                self.count_suspects();
            }
            Output::Relieved { node, heard } => {
                info!(%node, heard, "a node is no longer suspected");
                self.count_suspects();
            }
            Output::StepAside { to } => {
                self.errands.spawn(liveness.step_aside(to));
            }
        }
    }

    fn count_suspects(&self) {
        gauge!("skein_nodes_suspected").set(self.detector.suspects().len() as f64);
    }
}
