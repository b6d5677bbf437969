//! The checkers of the node ring: the log's own (as in the voters' ring), who runs which room,
//! where rooms are put, who is declared dead, and what people are told. Never asks the code under
//! test.

use std::collections::BTreeMap;
use std::time::Duration;

use consensus::command::{Effect, NodeState, Room};
use consensus::ids::{Epoch, NodeId, RoomName};
use consensus::state::State;
use consensus::testing::Seen;

use super::scenario::Scenario;
use crate::oracle::Oracle;
use crate::scenario::Host;

/// Somebody who uses the cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Person {
    /// In this room, as it was told last.
    pub(crate) room: Option<String>,
    pub(crate) since: Duration,
}

pub(crate) struct Judge {
    pub(crate) log: Oracle,
    peaceful: bool,
    /// By room: who runs it, under which epoch.
    homes: BTreeMap<String, BTreeMap<Host, Epoch>>,
    people: BTreeMap<u64, Person>,
    /// How often somebody came in.
    pub(crate) entries: u64,
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
        }
    }

    pub(crate) fn accuse(&mut self, what: String) {
        self.log.accuse(what);
    }

    /// `Some`: what is to be traced, as nobody applied it before. `innocent`: nothing has happened
    /// to that node lately.
    pub(crate) fn seen(
        &mut self,
        by: NodeId,
        seen: &Seen<'_>,
        innocent: impl Fn(NodeId) -> bool,
    ) -> Option<String> {
        let told = self.log.seen(by, seen)?;
        if let Seen::Command { effects, state, .. } = seen {
            for effect in *effects {
                self.effect(effect, state, &innocent);
            }
        }
        Some(told)
    }

    fn effect(&mut self, effect: &Effect, state: &State, innocent: impl Fn(NodeId) -> bool) {
        match effect {
            Effect::RoomPlaced { name, room } | Effect::RoomMoved { name, room, .. } => {
                self.put(name, room, state);
            }
            Effect::NodeChanged {
                node,
                state: NodeState::Dead,
            } => {
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

    /// A room gets a home that works, if there is one.
    fn put(&mut self, name: &RoomName, room: &Room, state: &State) {
        let takes = |node: &consensus::state::Node| {
            node.state == NodeState::Active && node.info.roles.media
        };
        let home = state.node(room.home);
        if !home.is_some_and(takes) && state.nodes().any(|(_, node)| takes(node)) {
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

    pub(crate) fn ends(&mut self, host: Host, room: &str) {
        let there = self.homes.get_mut(room).and_then(|h| h.remove(&host));
        if there.is_none() {
            self.accuse(format!(
                "{} ended {room}, which it did not run",
                host.name()
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

    pub(crate) fn comes_in(&mut self, number: u64, room: &str, since: Duration) {
        let room = Some(room.to_owned());
        self.people.insert(number, Person { room, since });
        self.entries += 1;
    }

    pub(crate) fn is_out(&mut self, number: u64) {
        self.people.insert(number, Person::default());
    }

    pub(crate) fn people(&self) -> impl Iterator<Item = (u64, &Person)> {
        self.people.iter().map(|(number, person)| (*number, person))
    }
}
