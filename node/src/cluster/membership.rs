//! How a node is a member of the cluster, for as long as it runs: it enters, registers this life of
//! it, and registers anew when it was declared dead. Tries for ever and says what it waits for.

mod addresses;
mod entry;
pub(crate) mod messages;
mod service;
pub(crate) mod store;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use consensus::cluster::{Change, Cluster, Committed, ProposeError};
use consensus::command::{Action, Effect, NodeInfo, NodeState, Outcome, Refusal, VoterWish};
use consensus::ids::{Epoch, NodeId, RequestId, ValueKey};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::cluster::drain::drain_record;
use crate::cluster::fabric::Fabric;
use crate::cluster::heartbeat::Heartbeats;
use crate::cluster::limits::{
    MEMBERSHIP_RETRY, QUIET_WAIT, REPEAT_LOG, RETURN_FORGIVEN, RETURN_PAUSE, RETURN_PAUSE_MAX,
};

pub(crate) use addresses::follow as follow_addresses;
pub use store::{OpenDisks, StoreProblem};

/// What a node is and where it looks for others.
#[derive(Clone, Debug)]
pub struct Settings {
    pub info: NodeInfo,
    /// Addresses of the masters, in the operator's order.
    pub join: Vec<String>,
    pub wish: VoterWish,
    /// Stays, as opposed to what an autoscaler takes away.
    pub long_lived: bool,
}

/// How far this node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not in yet, and why.
    Entering(String),
    /// In, but this life is not registered: rooms may not come.
    Registering(String),
    /// Takes part, in this life.
    Member(Epoch),
    /// The operator took it out; its id does not come back.
    Removed,
    /// Another process has registered under this node's id.
    Replaced,
}

impl Phase {
    /// The epoch of this life.
    pub fn incarnation(&self) -> Option<Epoch> {
        match self {
            Self::Member(epoch) => Some(*epoch),
            _ => None,
        }
    }
}

/// The value in the log that tells clusters with one token apart.
const GENERATION: &str = "cluster/generation";

/// What came of a try to register.
enum Registered {
    Yes(Epoch),
    Again(String),
    Removed,
}

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Dead,
    Removed,
    Replaced,
}

/// Deaths of a process that goes on.
#[derive(Debug, Default)]
struct Deaths(VecDeque<Instant>);

impl Deaths {
    /// How long it waits now before it takes work again.
    fn pause(&mut self, now: Instant) -> Duration {
        while self
            .0
            .front()
            .is_some_and(|at| now.duration_since(*at) >= RETURN_FORGIVEN)
        {
            self.0.pop_front();
        }
        let before = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0.push_back(now);
        let doubled = 2_u32.checked_pow(before).unwrap_or(u32::MAX);
        RETURN_PAUSE.saturating_mul(doubled).min(RETURN_PAUSE_MAX)
    }
}

pub(crate) struct Membership {
    pub(crate) settings: Settings,
    pub(crate) cluster: Cluster,
    pub(crate) fabric: Fabric,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) phase: watch::Sender<Phase>,
    /// The process ends: another life is not begun.
    pub(crate) retiring: AtomicBool,
    /// This node is the first of its list, as far as it knows.
    founder: Mutex<bool>,
    /// This process as a client of the log.
    client: u64,
    /// One is taken in after the other.
    door: tokio::sync::Mutex<()>,
}

impl Membership {
    pub(crate) fn new(
        settings: Settings,
        cluster: Cluster,
        fabric: Fabric,
        heartbeats: Heartbeats,
        client: u64,
    ) -> Arc<Self> {
        let first = settings.join.first();
        let founder = first.is_none_or(|first| *first == settings.info.address);
        let (phase, _) = watch::channel(Phase::Entering("starting".into()));
        Arc::new(Self {
            settings,
            cluster,
            fabric,
            heartbeats,
            phase,
            retiring: AtomicBool::new(false),
            founder: Mutex::new(founder),
            client,
            door: tokio::sync::Mutex::default(),
        })
    }

    fn node(&self) -> NodeId {
        self.cluster.node()
    }

    /// Until the node is removed.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut waiting = Waiting::begin();
        while !self.is_in() {
            match self.try_enter().await {
                Ok(()) => break,
                Err(reason) => {
                    waiting.say("waiting to enter the cluster", &reason);
                    self.phase.send_replace(Phase::Entering(reason));
                    sleep(MEMBERSHIP_RETRY).await;
                }
            }
        }
        let mut deaths = Deaths::default();
        let mut end = End::Removed;
        for life in 0.. {
            let mut changes = self.cluster.changes();
            let Some(incarnation) = self.register(life).await else {
                break;
            };
            tracing::info!(
                node = self.node().0,
                incarnation = incarnation.0,
                "this node takes part in the cluster"
            );
            self.phase.send_replace(Phase::Member(incarnation));
            self.name_cluster().await;
            end = self.ended(&mut changes, incarnation).await;
            if end != End::Dead {
                break;
            }
            if self.retiring.load(Ordering::Relaxed) {
                self.phase.send_replace(Phase::Registering("stops".into()));
                return;
            }
            let pause = deaths.pause(Instant::now());
            let reason = format!("was declared dead; takes work again in {pause:?}");
            tracing::warn!(node = self.node().0, "this node {reason}");
            self.phase.send_replace(Phase::Registering(reason));
            // Its clients are elsewhere by now; what made it silent may come again.
            sleep(pause).await;
        }
        let node = self.node().0;
        if end == End::Replaced {
            tracing::error!(node, "another process registered under this node's id");
            self.phase.send_replace(Phase::Replaced);
        } else {
            tracing::error!(node, "this node was removed from the cluster");
            self.phase.send_replace(Phase::Removed);
        }
    }

    /// Which cluster this node's log is of, once that was written down.
    pub(crate) fn generation(&self) -> Option<String> {
        let key = ValueKey::from(GENERATION);
        self.cluster.read(|state| {
            let value = state.value(&key)?;
            String::from_utf8(value.bytes.clone()).ok()
        })
    }

    /// Whoever is in first writes down which cluster this is.
    async fn name_cluster(&self) {
        if self.generation().is_some() {
            return;
        }
        let action = Action::SetValue {
            key: ValueKey::from(GENERATION),
            value: format!("{:016x}", self.client).into_bytes(),
            // Nobody was faster.
            expected: Some(0),
        };
        if let Err(error) = self.cluster.propose(action).await {
            tracing::debug!(%error, "another node has named the cluster");
        }
    }

    /// `None`: it was removed.
    async fn register(&self, life: u64) -> Option<Epoch> {
        let mut waiting = Waiting::begin();
        let mut refused = 0;
        loop {
            // The same number over all tries of one life: applied once, whatever was lost.
            let number = (life << 32) + refused;
            match self.try_register(number, &mut refused).await {
                Registered::Yes(incarnation) => return Some(incarnation),
                Registered::Removed => return None,
                Registered::Again(reason) => {
                    waiting.say("waiting to register with the cluster", &reason);
                    self.phase.send_replace(Phase::Registering(reason));
                    sleep(MEMBERSHIP_RETRY).await;
                }
            }
        }
    }

    async fn try_register(&self, number: u64, refused: &mut u64) -> Registered {
        let node = self.node();
        let request = RequestId {
            client: self.client,
            number: number * 4,
        };
        let info = self.settings.info.clone();
        let register = Action::RegisterNode { node, info };
        let incarnation = match self.cluster.propose_as(request, register).await {
            Ok(Committed {
                outcome: Outcome::Epoch(incarnation),
                ..
            }) => incarnation,
            Ok(_) => return Registered::Again("an unexpected answer of the log".into()),
            Err(ProposeError::Refused(Refusal::NodeRemoved(_))) => return Registered::Removed,
            Err(ProposeError::Refused(refusal)) => {
                *refused += 1;
                return Registered::Again(refusal.to_string());
            }
            Err(error) => {
                // Whoever has no vote hears of the leader only while that knows of it.
                let votes = self.cluster.status().voters.contains(&node);
                if !votes && let Err(reason) = self.try_enter().await {
                    return Registered::Again(format!("{error}; {reason}"));
                }
                return Registered::Again(error.to_string());
            }
        };
        let wish = self.settings.wish;
        let known = self.cluster.read(|state| state.node(node).map(|n| n.wish));
        if known.is_some_and(|known| known != wish) {
            // The next start tries again.
            let wished = self.cluster.propose(Action::WishVote { node, wish });
            if let Err(error) = wished.await {
                tracing::warn!(%error, "the wish for a vote was not taken");
            }
        }
        if let Err(error) = self.resume_drain().await {
            // Found dead meanwhile: another life begins, not the same one again.
            *refused += u64::from(matches!(error, ProposeError::Refused(_)));
            return Registered::Again(error.to_string());
        }
        let activate = Action::ActivateNode { node, incarnation };
        match self.cluster.propose(activate).await {
            Ok(_) => Registered::Yes(incarnation),
            Err(ProposeError::Refused(refusal)) => {
                *refused += 1;
                Registered::Again(refusal.to_string())
            }
            Err(error) => Registered::Again(error.to_string()),
        }
    }

    /// A drain that somebody asked for outlives the process; one that a process asked for itself as
    /// it was told to stop does not.
    async fn resume_drain(&self) -> Result<(), ProposeError> {
        let node = self.node();
        // Without a quorum there is nothing to propose either.
        let _ = self.cluster.catch_up().await;
        let (drains, wanted) = self.cluster.read(|state| {
            let known = state.node(node).map(|known| known.state);
            let wanted = drain_record(state, node).is_some();
            (known == Some(NodeState::Draining), wanted)
        });
        let action = match (drains, wanted) {
            (true, false) => Action::EndDrain { node },
            (false, true) => Action::DrainNode { node },
            _ => return Ok(()),
        };
        self.cluster.propose(action).await.map(|_| ())
    }

    /// Waits until this life is over.
    async fn ended(
        &self,
        changes: &mut tokio::sync::broadcast::Receiver<Change>,
        incarnation: Epoch,
    ) -> End {
        let node = self.node();
        // What was applied here may be older than the registration.
        let mut registered = false;
        loop {
            match changes.recv().await {
                Ok(Change::Effect { effect, .. }) => match effect {
                    Effect::NodeRemoved { node: removed } if removed == node => {
                        return End::Removed;
                    }
                    Effect::NodeChanged { node: changed, .. } if changed == node => {}
                    _ => continue,
                },
                Ok(Change::Replaced { .. }) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => std::future::pending().await,
            }
            let known = self.cluster.read(|state| {
                let known = state.node(node);
                known.map(|known| (known.incarnation, known.state))
            });
            match known {
                Some((life, _)) if life > incarnation => return End::Replaced,
                Some((life, NodeState::Dead)) if life == incarnation => return End::Dead,
                Some((life, _)) => registered |= life == incarnation,
                // It was in a snapshot.
                None if registered => return End::Removed,
                None => {}
            }
        }
    }
}

/// Says a reason once, and again only after a while or when it is another one.
struct Waiting {
    since: Instant,
    last: Option<(String, Instant)>,
}

impl Waiting {
    fn begin() -> Self {
        Self {
            since: Instant::now(),
            last: None,
        }
    }

    fn say(&mut self, what: &str, reason: &str) {
        let now = Instant::now();
        let again = |(said, at): &(String, Instant)| {
            let pause = if said == reason {
                REPEAT_LOG
            } else {
                Duration::ZERO
            };
            now.duration_since(*at) >= pause
        };
        if self.last.as_ref().is_none_or(again) {
            // Nodes that start together wait for each other a moment: that is no trouble.
            match now.duration_since(self.since) < QUIET_WAIT {
                true => tracing::info!(reason, "{what}"),
                false => tracing::warn!(reason, "{what}"),
            }
            self.last = Some((reason.to_owned(), now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_dies_again_and_again_waits_longer_each_time() {
        let start = Instant::now();
        let mut deaths = Deaths::default();
        let minute = Duration::from_secs(60);
        let mut pause = |minutes: u32| deaths.pause(start + minute * minutes).as_secs();
        assert_eq!([0, 1, 2, 3].map(&mut pause), [5, 10, 20, 40]);
        assert_eq!([10, 11, 12, 13].map(&mut pause), [80, 160, 300, 300]);
        assert_eq!(pause(150), 5, "forgiven");
    }
}
