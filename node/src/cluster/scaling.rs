//! Scaling carried out: where this node leads, it shows `operator::autoscale` the media nodes and
//! their averaged load, orders machines, and drains the one that goes. Decides nothing.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use consensus::cluster::{Cluster, Role};
use consensus::command::NodeState;
use consensus::ids::{Epoch, NodeId};
use consensus::keeper;
use consensus::state::{Node, State};
use operator::autoscale::{
    Averages, Decision, Draining, MediaNode, Memory, Settings, Step, View, decide,
};
use operator::cloud::{Group, Growth};
use operator::drain::{Cause, Then};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::drain::{Drainage, Terms, drain_record, voters};
use super::heartbeat::Heartbeats;
use super::limits::{SCALING_DECIDE_INTERVAL, SCALING_FIGURES_AGE_MAX, SCALING_LOOK_INTERVAL};
use super::node::ClusterNode;

/// What it is made of.
pub struct ScalingParts {
    pub cluster: Cluster,
    pub heartbeats: Heartbeats,
    pub drainage: Drainage,
    pub group: Arc<dyn Group>,
    pub settings: Settings,
}

/// Runs until it is dropped. `voters` is what the quorum keeper sees.
pub async fn run(parts: ScalingParts, mut voters: impl FnMut() -> Option<keeper::View> + Send) {
    let mut tick = interval(SCALING_LOOK_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let began = Instant::now();
    let mut scaling = Scaling {
        parts,
        averages: Averages::default(),
        memory: None,
        decided: Duration::ZERO,
        told: String::new(),
    };
    loop {
        tick.tick().await;
        let now = began.elapsed();
        scaling.average(now);
        if scaling.parts.cluster.status().role != Role::Leader {
            scaling.memory = None;
        } else if now.saturating_sub(scaling.decided) >= SCALING_DECIDE_INTERVAL {
            scaling.decided = now;
            let voters = voters();
            scaling.turn(now, voters.as_ref()).await;
        }
    }
}

/// Scales where this node leads, until it stops.
pub fn attach(node: &ClusterNode, drainage: Drainage, group: Arc<dyn Group>, settings: Settings) {
    let parts = ScalingParts {
        cluster: node.cluster().clone(),
        heartbeats: node.heartbeats().clone(),
        drainage,
        group,
        settings,
    };
    node.keep(tokio::spawn(run(parts, voters(node))));
}

struct Scaling {
    parts: ScalingParts,
    averages: Averages,
    /// While this node leads.
    memory: Option<Memory>,
    decided: Duration,
    /// The reason that was told last.
    told: String,
}

impl Scaling {
    fn average(&mut self, now: Duration) {
        let cluster = &self.parts.cluster;
        let ids: Vec<NodeId> = cluster.read(|s| s.nodes().map(|(node, _)| node).collect());
        self.averages.retain(|node| ids.contains(&node));
        for node in ids {
            let heard = self.parts.heartbeats.of(node);
            if let Some(heard) = heard.filter(|h| h.age < SCALING_FIGURES_AGE_MAX) {
                self.averages.feed(now, node, heard.beat.load().cpu);
            }
        }
    }

    async fn turn(&mut self, now: Duration, voters: Option<&keeper::View>) {
        // Nothing is decided on what a leader that was cut off believes.
        let quorum = self.parts.cluster.catch_up().await.is_ok();
        let lives: BTreeMap<NodeId, Epoch> = self.parts.cluster.read(|state| {
            let media = state.nodes().filter(|(_, n)| is_media(n));
            media.map(|(id, n)| (id, n.incarnation)).collect()
        });
        let known = lives.clone();
        let memory = self.memory.get_or_insert_with(|| Memory::new(now, known));
        memory.see(now, &lives);
        let seen = (&self.averages, &*memory, &self.parts.heartbeats);
        let cluster = &self.parts.cluster;
        let view = cluster.read(|state| view(state, now, seen, quorum, voters));
        let decision = decide(&self.parts.settings, &view);
        self.carry_out(now, decision, &view).await;
    }

    async fn carry_out(&mut self, now: Duration, decision: Decision, view: &View) {
        let Decision { step, reason } = decision;
        if reason != self.told {
            tracing::info!(?step, reason, "scaling");
            self.told.clone_from(&reason);
        }
        let done = match &step {
            Step::Nothing => return,
            Step::Launch { count, zone } => self.launch(*count, zone.clone(), reason, view).await,
            Step::Remove { node } => self.remove(*node).await,
            Step::Keep { node } => {
                let kept = self.parts.drainage.undrain(*node).await;
                kept.map_err(|error| error.to_string())
            }
        };
        match (done, &mut self.memory) {
            (Ok(()), Some(memory)) => memory.did(now, &step),
            (Ok(()), None) => {}
            (Err(reason), _) => tracing::warn!(?step, reason, "scaling failed"),
        }
    }

    async fn launch(
        &self,
        by: u32,
        zone: Option<String>,
        reason: String,
        view: &View,
    ) -> Result<(), String> {
        let there = u32::try_from(view.nodes.len()).unwrap_or(u32::MAX);
        let to = there.saturating_add(view.launching).saturating_add(by);
        let growth = Growth {
            by,
            to,
            zone,
            reason,
        };
        let grown = self.parts.group.grow(&growth).await;
        grown.map_err(|error| error.to_string())
    }

    async fn remove(&self, node: NodeId) -> Result<(), String> {
        let terms = Terms {
            cause: Cause::ScaleIn,
            then: Then::Terminate,
            deadline_seconds: None,
        };
        let begun = self.parts.drainage.drain(node, &terms).await;
        begun.map_err(|error| error.to_string())
    }
}

fn is_media(node: &Node) -> bool {
    node.info.roles.media && node.state != NodeState::Dead
}

/// What the decision looks at.
fn view(
    state: &State,
    now: Duration,
    (averages, memory, heartbeats): (&Averages, &Memory, &Heartbeats),
    quorum: bool,
    voters: Option<&keeper::View>,
) -> View {
    let mut rooms: BTreeMap<NodeId, u32> = BTreeMap::new();
    for (_, room) in state.rooms() {
        *rooms.entry(room.home).or_default() += 1;
    }
    let mut jobs: BTreeMap<NodeId, u32> = BTreeMap::new();
    for (_, job) in state.jobs().filter(|(_, job)| !job.state.is_over()) {
        if let Some(owner) = job.owner {
            *jobs.entry(owner).or_default() += 1;
        }
    }
    let one = |(node, known): (NodeId, &Node)| {
        let beat = heartbeats.of(node).map(|heard| heard.beat);
        let long_lived = beat.as_ref().is_some_and(|beat| beat.long_lived);
        let may_leave = voters.is_none_or(|view| keeper::may_leave(view, node));
        MediaNode {
            node,
            zone: known.info.zone.clone(),
            state: known.state,
            draining: (known.state == NodeState::Draining).then(|| why(state, node)),
            age: memory.age(now, node),
            cpu: averages.get(now, node, SCALING_FIGURES_AGE_MAX),
            cpus: beat.map_or(1, |beat| beat.cpus),
            rooms: rooms.get(&node).copied().unwrap_or(0),
            jobs: jobs.get(&node).copied().unwrap_or(0),
            removable: !known.info.roles.master && !long_lived && may_leave,
        }
    };
    let media = state.nodes().filter(|(_, n)| is_media(n));
    View {
        nodes: media.map(one).collect(),
        quorum,
        launching: memory.launching(),
        since_out: Some(memory.since_out(now)),
        since_in: Some(memory.since_in(now)),
    }
}

/// Only what was begun to scale in may be called off.
fn why(state: &State, node: NodeId) -> Draining {
    let record = drain_record(state, node);
    let cause = record.filter(|r| r.done_ms.is_none()).map(|r| r.cause);
    match cause {
        Some(Cause::ScaleIn) => Draining::ToScaleIn,
        Some(Cause::Operator | Cause::Cloud) | None => Draining::ForGood,
    }
}
