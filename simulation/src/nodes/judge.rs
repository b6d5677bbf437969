//! The checkers of the node ring: the log's own (as in the voters' ring), who runs which room,
//! where rooms are put, who is declared dead, and what people are told. Never asks the code under
//! test.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use consensus::command::{Effect, NodeState, Room};
use consensus::ids::{Epoch, NodeId, RoomName};
use consensus::state::State;
use consensus::testing::Seen;

use protocol::proto::WebhookEvent;

use super::consent::Consent;
use super::grid::Step;
use super::mail::Mail;
use super::numbers::Numbers;
use super::scenario::Scenario;
use super::told::Told;
use crate::limits::{
    KNOWN_AFTER_MS, PROMISE_MS, PROMISED_AFTER_MS, SPOKE_AFTER_MS, WORD_AT_REST_MS,
};
use crate::oracle::Oracle;
use crate::scenario::Host;

/// Somebody who uses the cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Person {
    /// In this room, as it was told last.
    pub(crate) room: Option<String>,
    /// Since when its line is as it is.
    pub(crate) since: Duration,
    /// Identities of the others, as it was told.
    pub(crate) sees: BTreeSet<String>,
    /// Who it is there, and since when.
    participant: Option<(String, Duration)>,
    /// Its home died, and nothing else went wrong: it stays who it is, until then.
    promised: Option<Duration>,
}

pub(crate) struct Judge {
    pub(crate) log: Oracle,
    peaceful: bool,
    /// By room: who runs it, under which epoch.
    homes: BTreeMap<String, BTreeMap<Host, Epoch>>,
    people: BTreeMap<u64, Person>,
    /// How often somebody came in.
    pub(crate) entries: u64,
    pub(crate) numbers: Numbers,
    pub(crate) told: Told,
    pub(crate) consent: Consent,
    pub(crate) mail: Mail,
    /// When a node's state changed last, by the log.
    changed: BTreeMap<NodeId, Duration>,
    /// Nodes that take no part, by the log: one that was taken for dead comes back after a pause.
    away: BTreeSet<NodeId>,
    /// Who stands by for each room, by the log.
    standbys: BTreeMap<RoomName, Option<NodeId>>,
    /// How often a host was begun.
    lives: BTreeMap<Host, u64>,
    /// Promises made.
    pub(crate) promises: u64,
    /// What the log did of takeovers and moves, since the simulator looked last.
    pub(crate) steps: Vec<(Step, NodeId)>,
}

impl Judge {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            log: Oracle::new(),
            peaceful: scenario.peaceful,
            homes: BTreeMap::new(),
            people: (1..=scenario.people)
                .map(|number| (number, Person::default()))
                .collect(),
            entries: 0,
            numbers: Numbers::default(),
            told: Told::default(),
            consent: Consent::default(),
            mail: Mail::new(scenario.seed),
            changed: BTreeMap::new(),
            away: BTreeSet::new(),
            standbys: BTreeMap::new(),
            lives: BTreeMap::new(),
            promises: 0,
            steps: Vec::new(),
        }
    }

    pub(crate) fn accuse(&mut self, what: String) {
        self.log.accuse(what);
    }

    /// `Some`: what is to be traced, as nobody applied it before. `innocent`: nothing has happened
    /// to that node lately.
    pub(crate) fn seen(
        &mut self,
        (by, now): (NodeId, Duration),
        seen: &Seen<'_>,
        innocent: impl Fn(NodeId) -> bool,
    ) -> Option<String> {
        let told = self.log.seen(by, seen)?;
        if let Seen::Command { effects, state, .. } = seen {
            for effect in *effects {
                self.effect(effect, (state, now), &innocent);
            }
        }
        Some(told)
    }

    fn effect(
        &mut self,
        effect: &Effect,
        (state, now): (&State, Duration),
        innocent: impl Fn(NodeId) -> bool,
    ) {
        if let Effect::NodeChanged { node, state } = effect {
            self.changed.insert(*node, now);
            match state {
                NodeState::Active => self.away.remove(node),
                _ => self.away.insert(*node),
            };
        }
        match effect {
            Effect::RoomPlaced { name, room } => {
                self.put(name, room, (state, now));
                self.standbys.insert(name.clone(), room.standby);
            }
            Effect::RoomMoved { name, room, .. } => {
                self.steps.push((Step::Moved, room.home));
                self.put(name, room, (state, now));
                self.standbys.insert(name.clone(), room.standby);
            }
            Effect::StandbyChanged { name, room, .. } => {
                let standby = room.standby;
                self.standbys.insert(name.clone(), standby);
                self.steps
                    .extend(standby.map(|node| (Step::StandsBy, node)));
            }
            Effect::NodeRemoved { node } => _ = self.away.remove(node),
            Effect::NodeChanged {
                node,
                state: NodeState::Dead,
            } => {
                self.steps.push((Step::Found, *node));
                if self.peaceful {
                    self.accuse(format!("{node} was declared dead where nobody dies"));
                } else if innocent(*node) {
                    self.accuse(format!(
                        "{node} was declared dead, and nothing happened to it"
                    ));
                }
            }
            _ => {}
        }
    }

    /// A room gets a home that works, if there is one, as whoever chooses may know: what was
    /// changed a moment ago it may have asked for earlier.
    fn put(&mut self, name: &RoomName, room: &Room, (state, now): (&State, Duration)) {
        let takes = |node: &consensus::state::Node| {
            node.state == NodeState::Active && node.info.roles.media
        };
        let lately = Duration::from_millis(KNOWN_AFTER_MS);
        let settled = |node: NodeId| {
            let at = self.changed.get(&node).copied().unwrap_or_default();
            now.saturating_sub(at) >= lately
        };
        let home = state.node(room.home);
        // Whoever knows the room takes it, and hands it on.
        let knows = self.standbys.get(name) == Some(&Some(room.home));
        let serves = home.is_some_and(|node| node.state == NodeState::Draining);
        if knows && serves {
            return;
        }
        let better = |(id, node): (NodeId, &_)| takes(node) && settled(id);
        if !home.is_some_and(takes) && settled(room.home) && state.nodes().any(better) {
            let how = home.map(|node| node.state);
            self.accuse(format!("{name} was put on {}, which is {how:?}", room.home));
        }
    }

    /// A node runs a room from now on.
    pub(crate) fn opens(&mut self, host: Host, room: &str, epoch: Epoch) {
        let homes = self.homes.entry(room.to_owned()).or_default();
        let other = homes.iter().find(|(_, theirs)| **theirs == epoch);
        let other = other.map(|(other, _)| *other);
        homes.insert(host, epoch);
        if let Some(other) = other {
            let (host, other) = (host.name(), other.name());
            self.accuse(format!("{host} opens {room} under {epoch}, as {other} did"));
        }
    }

    pub(crate) fn ends(&mut self, host: Host, room: &str, epoch: Epoch) {
        let there = self.homes.get_mut(room).and_then(|h| h.remove(&host));
        if there != Some(epoch) {
            let host = host.name();
            self.accuse(format!(
                "{host} ended {room} of {epoch}, which it did not run"
            ));
        }
    }

    /// The process of a node ended.
    pub(crate) fn gone(&mut self, host: Host) {
        for homes in self.homes.values_mut() {
            homes.remove(&host);
        }
    }

    /// How many rooms a node runs.
    pub(crate) fn rooms_of(&self, host: Host) -> u32 {
        let runs = |homes: &&BTreeMap<Host, Epoch>| homes.contains_key(&host);
        u32::try_from(self.homes.values().filter(runs).count()).unwrap_or(u32::MAX)
    }

    /// A node that runs a room with people in it, if any, by number.
    pub(crate) fn home(&self, number: u64) -> Option<Host> {
        let busy: Vec<Host> = self
            .people
            .values()
            .filter_map(|person| {
                let homes = self.homes.get(person.room.as_ref()?)?;
                let newest = homes.iter().max_by_key(|(_, epoch)| **epoch)?;
                Some(*newest.0)
            })
            .collect();
        let at = usize::try_from(number).ok()?.checked_rem(busy.len())?;
        busy.get(at).copied()
    }

    /// Two nodes that run one room.
    pub(crate) fn torn(&self) -> Option<String> {
        let mut homes = self.homes.iter();
        let (room, homes) = homes.find(|(_, homes)| homes.len() > 1)?;
        let names: Vec<String> = homes.keys().map(|host| host.name()).collect();
        Some(format!("{room} runs on {}", names.join(" and ")))
    }

    /// A host begins to run.
    pub(crate) fn begins(&mut self, host: Host) {
        *self.lives.entry(host).or_default() += 1;
        self.log.begins(NodeId(host.0));
    }

    /// A new secret of a transport.
    pub(crate) fn mint(&mut self) -> u64 {
        self.numbers.mint()
    }

    pub(crate) fn used(&mut self, host: Host, secret: u64, numbers: Range<u64>, now: Duration) {
        let life = self.lives.get(&host).copied().unwrap_or_default();
        let wrong = self.numbers.used((host, life), secret, numbers, now);
        if let Some(wrong) = wrong {
            self.accuse(wrong);
        }
    }

    /// An app is told.
    pub(crate) fn hear(&mut self, host: Host, event: &WebhookEvent) {
        if let Some(wrong) = self.told.hear(host, event, self.peaceful) {
            self.accuse(wrong);
        }
    }

    /// What is not as it has to be in the end.
    pub(crate) fn lacks(&self, now: Duration) -> Option<String> {
        let untold = self.peaceful.then(|| self.told.lacks()).flatten();
        let rest = Duration::from_millis(WORD_AT_REST_MS);
        let unheard = || self.mail.unheard(now, rest);
        untold
            .or_else(|| self.numbers.doubled(now))
            .or_else(unheard)
    }

    /// By the log all nodes take part, and did so for `lately`.
    pub(crate) fn all_are_there(&self, now: Duration, lately: Duration) -> bool {
        self.away.is_empty() && self.changed.values().all(|at| *at + lately < now)
    }

    /// The home of people dies while everything else is well: they stay who they are.
    pub(crate) fn promise(&mut self, home: Host, now: Duration) {
        self.mail.a_home_dies(now);
        let settled = Duration::from_millis(PROMISED_AFTER_MS);
        for person in self.people.values_mut() {
            let Some(room) = &person.room else {
                continue;
            };
            let homes = self.homes.get(room);
            let there = homes.is_some_and(|homes| homes.len() == 1 && homes.contains_key(&home));
            let long = |(_, since): &(String, Duration)| *since + settled < now;
            if there && person.participant.as_ref().is_some_and(long) {
                person.promised = Some(now + Duration::from_millis(PROMISE_MS));
                self.promises += 1;
            }
        }
    }

    /// Something else happened: what was said may be lost.
    pub(crate) fn promise_no_words(&mut self) {
        if !self.peaceful {
            self.mail.promises_nothing();
        }
    }

    /// What waits for the home of a transport, if that is this one.
    pub(crate) fn takes(&mut self, host: Host, secret: u64, now: Duration) -> Vec<Bytes> {
        let Some(end) = self.end_at(host, secret) else {
            return Vec::new();
        };
        let long = Duration::from_millis(PROMISED_AFTER_MS);
        let people = &self.people;
        let settled = |room: &str, person: &Person| {
            let participant = person.participant.as_ref();
            person.room.as_deref() == Some(room)
                && participant.is_some_and(|(_, since)| *since + long < now)
        };
        let listeners = |room: &str| match people.get(&end.0) {
            Some(speaker) if settled(room, speaker) => {
                let here = people.iter().filter(|(_, person)| settled(room, person));
                here.map(|(number, _)| *number).collect()
            }
            _ => BTreeSet::new(),
        };
        self.mail.takes(end, now, listeners)
    }

    /// A word gets to the end of a transport. `false`: not from this node any more.
    pub(crate) fn hears(&mut self, host: Host, secret: u64, word: &[u8]) -> bool {
        let Some(end) = self.end_at(host, secret) else {
            return false;
        };
        if let Some(wrong) = self.mail.hears(end, word) {
            self.accuse(wrong);
        }
        true
    }

    /// Who hears this node over a transport.
    fn end_at(&self, host: Host, secret: u64) -> Option<(u64, u64)> {
        let life = self.lives.get(&host).copied().unwrap_or_default();
        let newest = self.numbers.is_newest((host, life), secret);
        self.consent.end(secret).filter(|_| newest)
    }

    /// Something else happened: who is lost is lost.
    pub(crate) fn promise_nothing(&mut self) {
        for person in self.people.values_mut() {
            person.promised = None;
        }
    }

    /// Somebody is in a room, as the participant it was or as a new one.
    pub(crate) fn comes_in(&mut self, number: u64, room: &str, sid: &str, now: Duration) {
        self.entries += 1;
        self.told.came(sid);
        let person = self.people.entry(number).or_default();
        (person.room, person.since) = (Some(room.to_owned()), now);
        let known = person.participant.as_ref();
        if known.is_none_or(|(known, _)| known != sid) {
            person.participant = Some((sid.to_owned(), now));
        }
        person.promised = None;
    }

    /// It was told who else is there.
    pub(crate) fn sees(&mut self, number: u64, others: BTreeSet<String>) {
        self.people.entry(number).or_default().sees = others;
    }

    pub(crate) fn is_out(&mut self, number: u64) {
        let person = self.people.entry(number).or_default();
        person.room = None;
    }

    /// It went of its own accord.
    pub(crate) fn leaves(&mut self, number: u64, now: Duration) {
        let person = self.people.entry(number).or_default();
        person.promised = None;
        self.mail.ends(number);
        if let Some((sid, since)) = person.participant.take() {
            match since + Duration::from_millis(SPOKE_AFTER_MS) < now {
                true => self.told.left(&sid),
                false => self.told.forget(&sid),
            }
        }
    }

    /// It was told to begin anew, or gave up to be who it was.
    pub(crate) fn starts_over(&mut self, number: u64, why: &str, now: Duration) {
        let peaceful = self.peaceful;
        let person = self.people.entry(number).or_default();
        let promised = person.promised.take().is_some_and(|until| now < until);
        self.mail.ends(number);
        let Some((sid, _)) = person.participant.take() else {
            return;
        };
        self.told.forget(&sid);
        if promised {
            self.accuse(format!(
                "c{number} is {sid} no more: {why}; only its home died"
            ));
        } else if peaceful {
            self.accuse(format!("c{number} is {sid} no more: {why}; nobody died"));
        }
    }

    pub(crate) fn people(&self) -> impl Iterator<Item = (u64, &Person)> {
        self.people.iter().map(|(number, person)| (*number, person))
    }
}
