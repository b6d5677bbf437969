//! What an operator asks of a cluster: who is in it and how each one is, what may be lost now, what
//! is wrong and what to do about it. Gathered where the leader is, else what this node knows.

mod assess;

use std::collections::BTreeMap;
use std::time::Duration;

use consensus::cluster::{Cluster, Role, Status};
use consensus::command::{NodeState, VoterWish};
use consensus::ids::NodeId;
use consensus::state::{Node, State};
use serde::{Deserialize, Serialize};

use super::heartbeat::{Heard, Heartbeats};

/// One node, as whoever made the report sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeReport {
    pub id: u64,
    pub host: String,
    pub address: String,
    pub zone: String,
    pub master: bool,
    pub media: bool,
    /// joining, active, draining, dead; unregistered if only raft knows it.
    pub state: String,
    /// leader, voter, witness, learner, none.
    pub vote: String,
    pub may_vote: bool,
    /// Entries of the log it lacks; only the leader knows.
    pub lag: Option<u64>,
    /// Milliseconds since it last answered; only the leader knows.
    pub silent_ms: Option<u64>,
    /// Whether it answered just now, where nobody leads and this was asked.
    pub answers: Option<bool>,
    pub rooms: Option<u32>,
    pub clients: Option<u32>,
    /// Share of all CPUs in use, 0 to 1.
    pub cpu: Option<f64>,
    pub version: String,
    /// The newest version of the log it takes part in; 0: unknown.
    pub log_version: u16,
}

impl NodeReport {
    fn votes(&self) -> bool {
        matches!(self.vote.as_str(), "leader" | "voter" | "witness")
    }

    /// As far as is known.
    fn lives(&self) -> bool {
        let silent = self.silent_ms.map(Duration::from_millis);
        self.answers
            .unwrap_or_else(|| silent.is_none_or(|silent| silent < SILENT) && self.state != "dead")
    }

    /// How it is called where a person reads it.
    fn name(&self) -> String {
        match self.host.is_empty() {
            true => format!("n{} ({})", self.id, self.address),
            false => format!("{} ({}, n{})", self.host, self.address, self.id),
        }
    }
}

/// Something to do something about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub what: String,
    pub advice: String,
}

/// The cluster at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Who saw it.
    pub node: u64,
    pub leader: Option<u64>,
    pub term: u64,
    /// Voters, how many of them answer, and how many are needed.
    pub voters: usize,
    pub voters_alive: usize,
    pub quorum: usize,
    /// Who votes changes at this moment.
    pub changing: bool,
    /// So many more voters may be lost at once before changes stop.
    pub spare: usize,
    /// The same, in words.
    pub verdict: String,
    pub rooms: usize,
    /// What is proposed to the log: the oldest version of a living node.
    pub log_version: u16,
    pub nodes: Vec<NodeReport>,
    pub problems: Vec<Problem>,
}

/// Raft's heartbeats come 20 times a second.
const SILENT: Duration = Duration::from_secs(3);

/// What this node sees. `answers`: who answered it just now, if it asked.
pub(crate) fn report(
    cluster: &Cluster,
    heard: &Heartbeats,
    answers: &BTreeMap<NodeId, bool>,
) -> Report {
    let status = cluster.status();
    let mut nodes = cluster.read(|state| nodes(&status, state, heard));
    for node in &mut nodes {
        node.answers = answers.get(&NodeId(node.id)).copied();
    }
    let (rooms, log_version) =
        cluster.read(|state| (state.rooms().count(), state.common_version()));
    assess::assess(Report {
        node: status.node.0,
        leader: status.leader.map(|leader| leader.0),
        term: status.term,
        changing: status.changing,
        rooms,
        log_version,
        nodes,
        ..Report::default()
    })
}

fn nodes(status: &Status, state: &State, heard: &Heartbeats) -> Vec<NodeReport> {
    let registered = state.nodes().map(|(node, _)| node);
    let mut all: Vec<NodeId> = registered
        .chain(status.voters.iter().copied())
        .chain(status.learners.iter().copied())
        .collect();
    all.sort();
    all.dedup();
    let mut nodes: Vec<NodeReport> = all
        .into_iter()
        .map(|node| one(node, status, state.node(node), heard.of(node)))
        .collect();
    nodes.sort_by(|a, b| {
        let order = |n: &NodeReport| (!n.master, !n.votes(), n.host.clone(), n.address.clone());
        order(a).cmp(&order(b))
    });
    nodes
}

fn one(node: NodeId, status: &Status, known: Option<&Node>, heard: Option<Heard>) -> NodeReport {
    let leads = status.role == Role::Leader;
    let progress = status.progress.get(&node);
    let own = node == status.node;
    let mut report = NodeReport {
        id: node.0,
        state: "unregistered".into(),
        vote: vote(node, status, known).into(),
        lag: (leads && !own)
            .then(|| progress.and_then(|p| p.lag))
            .flatten(),
        silent_ms: match (own, leads) {
            (true, _) => Some(0),
            (false, true) => {
                let silent = progress.and_then(|p| p.silent_for);
                // Never heard of since this node leads.
                Some(silent.map_or(u64::MAX, |silent| {
                    u64::try_from(silent.as_millis()).unwrap_or(u64::MAX)
                }))
            }
            (false, false) => None,
        },
        ..NodeReport::default()
    };
    if let Some(known) = known {
        report.host = known.info.host.clone();
        report.address = known.info.address.clone();
        report.zone = known.info.zone.clone();
        report.log_version = known.info.version_max;
        report.master = known.info.roles.master;
        report.media = known.info.roles.media;
        report.may_vote = known.wish != VoterWish::Never;
        report.state = match known.state {
            NodeState::Joining => "joining",
            NodeState::Active => "active",
            NodeState::Draining => "draining",
            NodeState::Dead => "dead",
        }
        .into();
    }
    let current = known.map_or(0, |known| known.incarnation.0);
    if let Some(Heard { beat, .. }) = heard.filter(|h| h.age < FIGURES_AGE_MAX) {
        report.version.clone_from(&beat.version);
        if beat.incarnation == current {
            report.rooms = Some(beat.rooms);
            report.clients = Some(beat.clients);
            report.cpu = Some(beat.load().cpu);
        }
    }
    report
}

/// Older figures are not shown.
const FIGURES_AGE_MAX: Duration = Duration::from_secs(5);

fn vote(node: NodeId, status: &Status, known: Option<&Node>) -> &'static str {
    if status.leader == Some(node) {
        return "leader";
    }
    match (status.voters.contains(&node), known) {
        (true, Some(known)) if !known.info.roles.master => "witness",
        (true, _) => "voter",
        (false, _) if status.learners.contains(&node) => "learner",
        (false, _) => "none",
    }
}
