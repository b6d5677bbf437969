//! Who is dead: a core that asks peers whether they live, hears what kernels and other nodes say,
//! and gives the verdict where this node leads. A process is dead when its kernel closed its
//! lifeline, refuses a new one and a question stays unanswered; a host when two nodes hear nothing
//! and its kernel takes no connection, and enough others are heard to take over what it had.
//! Its shell is `liveness`. Decides nothing about rooms; a verdict binds one life of a node.

mod aside;
mod awake;
pub mod limits;
mod news;
mod peer;
mod spared;
mod watch;
pub mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use consensus::ids::{Epoch, NodeId};

use awake::Awake;
use limits::{
    ALONE_FACTOR, DECLARE_AGAIN, FIRST_CONTACT, FIRST_CONTACT_MIN, PING_INTERVAL, PING_SPREAD,
    PROBES_AT_ONCE_MAX, PROBES_PER_SECOND_MAX, TELL_INTERVAL, TOLD_MAX,
};
use peer::Peer;
use watch::Roster;

/// A node that the log does not call dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    pub incarnation: Epoch,
    pub master: bool,
    /// Has rooms, and may take over those of others.
    pub media: bool,
}

/// What was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its kernel says that the process ended.
    Process,
    /// Nothing comes from it.
    Silence,
}

/// One observer's opinion of one life of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspicion {
    pub node: NodeId,
    pub incarnation: Epoch,
    pub cause: Cause,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time passed.
    Tick,
    /// All living nodes of the log, this one among them.
    Roster(BTreeMap<NodeId, Life>),
    /// Who leads now, as far as is known.
    Leader(Option<NodeId>),
    LifelineOpened(NodeId),
    /// By the peer's kernel; not because this side gave up.
    LifelineClosed(NodeId),
    /// Its kernel says that nobody listens.
    LifelineRefused(NodeId),
    /// Its kernel took a connection that was only to see whether it would.
    KernelAnswered(NodeId),
    /// The fabric lost its connection: a reason to ask, no proof.
    ConnectionLost(NodeId),
    Answered {
        node: NodeId,
        number: u64,
    },
    /// The question could not be asked, or was refused.
    Failed {
        node: NodeId,
        number: u64,
    },
    /// Another node's opinion.
    Told {
        from: NodeId,
        suspicion: Suspicion,
    },
    /// The peer stops for a restart and has seen to what it had.
    Farewell(NodeId),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask now; the answer comes back as `Answered` or `Failed`.
    Ask { node: NodeId, number: u64 },
    /// See whether its kernel takes a connection; the answer is `KernelAnswered`, `LifelineRefused`
    /// or nothing.
    Knock { node: NodeId },
    /// To the leader.
    Tell { to: NodeId, suspicion: Suspicion },
    /// This node leads and is sure; whether it was before, and the log does not show it.
    Dead { suspicion: Suspicion, again: bool },
    /// This node leads, and is the only one that cannot reach somebody: one of these should lead.
    StepAside { to: Vec<NodeId> },
    /// Its opinion of a node, once; another one of the same node takes its place.
    Suspected(Suspicion),
    /// It suspects the node no more: it hears it, or that life of it is over.
    Relieved { node: NodeId, heard: bool },
}

/// See the file header.
#[derive(Debug)]
pub struct Detector {
    me: NodeId,
    clock: Awake,
    leader: Option<NodeId>,
    roster: Roster,
    /// Since when each life is in the roster.
    known: BTreeMap<NodeId, (Epoch, Duration)>,
    peers: BTreeMap<NodeId, Peer>,
    /// Of whom, by whom: what was told, and when.
    told: BTreeMap<(NodeId, NodeId), (Suspicion, Duration)>,
    /// Media nodes this node called dead because it heard nothing, and when.
    fallen: BTreeMap<NodeId, Duration>,
    /// Since when most media nodes are silent, and some are not.
    many_since: Option<Duration>,
    /// Since when most are, whether others are not; and since when enough are heard again.
    few_since: Option<Duration>,
    well_since: Option<Duration>,
    /// Nobody is heard; and since when somebody is again.
    alone: bool,
    company_since: Option<Duration>,
    /// When it was last said that another should lead.
    aside: Option<Duration>,
    /// What was said of whom.
    suspected: BTreeMap<NodeId, Suspicion>,
    outputs: VecDeque<Output>,
    numbers: u64,
    /// Questions to doubted peers that may be asked at once.
    probes: Probes,
    /// When the next peer is to be looked at.
    due: Option<Duration>,
}

impl Detector {
    pub fn new(me: NodeId, now: Instant) -> Self {
        Self {
            me,
            clock: Awake::new(now),
            leader: None,
            roster: Roster::new(),
            known: BTreeMap::new(),
            peers: BTreeMap::new(),
            told: BTreeMap::new(),
            fallen: BTreeMap::new(),
            many_since: None,
            few_since: None,
            well_since: None,
            alone: false,
            company_since: None,
            aside: None,
            suspected: BTreeMap::new(),
            outputs: VecDeque::new(),
            numbers: 1,
            probes: Probes::default(),
            due: None,
        }
    }

    pub fn handle(&mut self, now: Instant, input: Input) {
        let now = self.clock.advance(now);
        let look = self.take(now, input);
        if look || self.due.is_none_or(|due| due <= now) {
            self.look(now);
        }
    }

    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn deadline(&self) -> Instant {
        self.clock.wake_at(self.due)
    }

    /// Those this node keeps a lifeline to.
    pub fn watched(&self) -> BTreeMap<NodeId, Epoch> {
        let lives = self.peers.iter();
        lives.map(|(id, peer)| (*id, peer.incarnation)).collect()
    }

    /// Whether all peers should be looked at again because of this.
    fn take(&mut self, now: Duration, input: Input) -> bool {
        let next = self.numbers;
        let known = |node: &NodeId| self.peers.contains_key(node);
        match input {
            Input::Tick => return false,
            Input::Roster(roster) => self.enrol(now, roster),
            Input::Leader(leader) => self.follow(now, leader),
            Input::Told { from, suspicion } if known(&suspicion.node) => {
                self.hear(now, from, suspicion);
            }
            Input::Told { .. } => return false,
            Input::Answered { node, number } => {
                self.with(node, |peer| peer.answered(now, number));
                return false;
            }
            Input::LifelineOpened(node) => self.with(node, |peer| peer.opened(now)),
            Input::LifelineClosed(node) => self.with(node, |peer| peer.closed(now, next)),
            Input::LifelineRefused(node) => self.with(node, |peer| peer.refused(now, next)),
            Input::KernelAnswered(node) => {
                self.with(node, |peer| peer.kernel_answered(now));
                return false;
            }
            Input::ConnectionLost(node) => self.ask(now, node),
            Input::Failed { node, number } => self.with(node, |peer| peer.failed(number)),
            Input::Farewell(node) => self.with(node, |peer| peer.says_farewell(now)),
        }
        true
    }

    fn with(&mut self, node: NodeId, f: impl FnOnce(&mut Peer)) {
        if let Some(peer) = self.peers.get_mut(&node) {
            f(peer);
        }
    }

    fn enrol(&mut self, now: Duration, roster: Roster) {
        self.roster = roster;
        let lives = self.roster.iter().map(|(node, life)| {
            let before = self.known.get(node).copied();
            let same = before.filter(|(incarnation, _)| *incarnation == life.incarnation);
            (*node, same.unwrap_or((life.incarnation, now)))
        });
        self.known = lives.collect();
        self.rewatch(now);
        let roster = &self.roster;
        self.told.retain(|(of, by), (suspicion, _)| {
            let life = roster.get(of).map(|life| life.incarnation);
            life == Some(suspicion.incarnation) && roster.contains_key(by)
        });
    }

    fn follow(&mut self, now: Duration, leader: Option<NodeId>) {
        if self.leader == leader {
            return;
        }
        self.leader = leader;
        self.rewatch(now);
        for peer in self.peers.values_mut() {
            // Whoever leads now has heard nothing of it.
            peer.told = None;
            peer.declared = None;
        }
    }

    /// What was known of a peer goes with its life.
    fn rewatch(&mut self, now: Duration) {
        let watched = watch::watched(&self.roster, self.me, self.leads());
        let roster = &self.roster;
        self.peers.retain(|node, peer| {
            let life = roster.get(node).map(|life| life.incarnation);
            watched.contains(node) && life == Some(peer.incarnation)
        });
        for node in watched {
            if let Some((incarnation, since)) = self.known.get(&node) {
                let passed = now.saturating_sub(*since);
                let grace = FIRST_CONTACT.saturating_sub(passed).max(FIRST_CONTACT_MIN);
                let new = || Peer::new(*incarnation, now, grace);
                self.peers.entry(node).or_insert_with(new);
            }
        }
    }

    /// Another's opinion counts if it is of the life that runs now.
    fn hear(&mut self, now: Duration, from: NodeId, suspicion: Suspicion) {
        let Suspicion { node, cause, .. } = suspicion;
        let next = self.numbers;
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let knows = self.roster.contains_key(&from) && from != self.me;
        if peer.incarnation != suspicion.incarnation || !knows {
            return;
        }
        if cause == Cause::Process {
            peer.seen_ending(now, next);
        }
        if self.told.len() < TOLD_MAX || self.told.contains_key(&(node, from)) {
            self.told.insert((node, from), (suspicion, now));
        }
    }

    fn ask(&mut self, now: Duration, node: NodeId) {
        let number = self.numbers;
        if let Some(peer) = self.peers.get_mut(&node) {
            self.numbers += 1;
            peer.ask(now, number);
            self.outputs.push_back(Output::Ask { node, number });
        }
    }

    fn leads(&self) -> bool {
        self.leader == Some(self.me)
    }

    /// Between questions to a healthy peer.
    fn interval(&self) -> Duration {
        let peers = u32::try_from(self.peers.len()).unwrap_or(u32::MAX);
        PING_INTERVAL + PING_SPREAD * peers.saturating_sub(100)
    }

    /// Asks whom it is time to ask, tells or judges whom it suspects.
    fn look(&mut self, now: Duration) {
        let interval = self.interval();
        let nodes: Vec<NodeId> = self.peers.keys().copied().collect();
        self.due = None;
        self.weigh(now, interval);
        for node in nodes {
            let Some(peer) = self.peers.get(&node) else {
                continue;
            };
            if peer.ask_at(now, interval) <= now {
                let usual = peer.ask_at_leisure(interval) <= now;
                if usual || self.probes.take(now) {
                    self.ask(now, node);
                }
            }
            let peer = self.peers.get_mut(&node);
            if peer.is_some_and(|peer| peer.knocks(now, interval)) {
                self.outputs.push_back(Output::Knock { node });
            }
            self.judge(now, node, interval);
            if let Some(peer) = self.peers.get(&node) {
                // Without probes left it is tried again at the next step.
                let next = peer.ask_at(now, interval).max(now + PROBE_PAUSE);
                self.due = Some(self.due.map_or(next, |due| due.min(next)));
            }
        }
        self.step_aside(now, interval);
        self.note_news(now, interval);
    }

    fn judge(&mut self, now: Duration, node: NodeId, interval: Duration) {
        let Some(peer) = self.peers.get(&node) else {
            return;
        };
        let Some(cause) = peer.suspicion(now, interval) else {
            return;
        };
        let suspicion = Suspicion {
            node,
            incarnation: peer.incarnation,
            cause,
        };
        let again = |last: Option<Duration>, after| {
            last.is_none_or(|last| now.saturating_sub(last) >= after)
        };
        let (tell, declare) = (
            again(peer.told, TELL_INTERVAL),
            again(peer.declared, DECLARE_AGAIN),
        );
        match self.leader {
            Some(leader)
                if leader == self.me && declare && self.is_sure(now, suspicion, interval) =>
            {
                let again = peer.declared.is_some();
                self.outputs.push_back(Output::Dead { suspicion, again });
                self.note_fallen(now, suspicion);
                self.with(node, |peer| peer.declared = Some(now));
            }
            Some(to) if tell && to != node && to != self.me => {
                self.outputs.push_back(Output::Tell { to, suspicion });
                self.with(node, |peer| peer.told = Some(now));
            }
            _ => {}
        }
    }

    /// Whether the leader's own suspicion is enough for a verdict.
    fn is_sure(&self, now: Duration, suspicion: Suspicion, interval: Duration) -> bool {
        let node = suspicion.node;
        if suspicion.cause == Cause::Process {
            return true;
        }
        if !self.may_be_given_up(now, node, interval) {
            return false;
        }
        if self.is_seconded(now, node) {
            return true;
        }
        let lives = |node: &NodeId| {
            self.peers
                .get(node)
                .is_some_and(|peer| peer.suspicion(now, interval).is_none())
        };
        if watch::observers(&self.roster, node).iter().any(lives) {
            // Somebody else could say the same, and does not.
            return false;
        }
        let Some(peer) = self.peers.get(&node) else {
            return false;
        };
        let patience = if self.roster.len() <= 2 {
            Duration::ZERO
        } else {
            peer.patience(interval) * ALONE_FACTOR
        };
        peer.silent_for(now) >= patience
    }
}

/// Until probes that ran out are looked at again: at the pace they come back.
const PROBE_PAUSE: Duration = Duration::from_millis(1);

/// What may be asked beyond the usual, over all peers: an outage of many must not become one of
/// this node.
#[derive(Debug, Default)]
struct Probes {
    left: f64,
    at: Duration,
}

impl Probes {
    fn take(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = now;
        self.left = (self.left + passed * PROBES_PER_SECOND_MAX).min(PROBES_AT_ONCE_MAX);
        let may = self.left >= 1.0;
        if may {
            self.left -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests;
