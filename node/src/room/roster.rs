//! Who is in the room, found by number, identity, sid or session. Numbers order everybody by
//! arrival; iteration follows them, so that what a room says is the same in every run.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use super::contract::SessionId;
use super::limits::PARTICIPANTS_MAX;
use super::member::Member;

#[derive(Default)]
pub(super) struct Roster {
    members: BTreeMap<u16, Member>,
    by_identity: HashMap<String, u16>,
    by_sid: HashMap<String, u16>,
    by_session: HashMap<SessionId, u16>,
    next_number: u16,
    deadlines: Deadlines,
    /// Who came, changed or went since it was asked last; `None`: nobody asks.
    changed: Option<BTreeSet<u16>>,
}

/// When each member wants to be woken up. Looking at everybody after every input would make a room
/// of thousands pay for each of them; only those who were touched are looked at again.
#[derive(Default)]
struct Deadlines {
    touched: BTreeSet<u16>,
    of: HashMap<u16, Instant>,
    earliest: BTreeSet<(Instant, u16)>,
}

impl Deadlines {
    fn set(&mut self, number: u16, deadline: Option<Instant>) {
        if let Some(old) = self.of.remove(&number) {
            self.earliest.remove(&(old, number));
        }
        if let Some(deadline) = deadline {
            self.of.insert(number, deadline);
            self.earliest.insert((deadline, number));
        }
    }
}

impl Roster {
    /// A number for somebody new; `None` when the room cannot hold more.
    pub(super) fn reserve(&mut self) -> Option<u16> {
        if self.members.len() >= PARTICIPANTS_MAX {
            return None;
        }
        while self.members.contains_key(&self.next_number) {
            self.next_number = self.next_number.wrapping_add(1);
        }
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        Some(number)
    }

    pub(super) fn insert(&mut self, member: Member) {
        let number = member.number;
        self.by_identity
            .insert(member.identity().to_owned(), number);
        self.by_sid.insert(member.sid.0.clone(), number);
        if let Some(session) = member.session {
            self.by_session.insert(session, number);
        }
        self.members.insert(number, member);
        self.mark(number);
        self.deadlines.touched.insert(number);
    }

    pub(super) fn remove(&mut self, number: u16) -> Option<Member> {
        let member = self.members.remove(&number)?;
        self.mark(number);
        self.deadlines.set(number, None);
        self.by_identity.remove(member.identity());
        self.by_sid.remove(&member.sid.0);
        if let Some(session) = member.session {
            self.by_session.remove(&session);
        }
        Some(member)
    }

    /// Puts a member on another WebSocket, or on none; returns the one it had.
    pub(super) fn set_session(
        &mut self,
        number: u16,
        session: Option<SessionId>,
    ) -> Option<SessionId> {
        let member = self.members.get_mut(&number)?;
        let old = std::mem::replace(&mut member.session, session);
        if let Some(old) = old {
            self.by_session.remove(&old);
        }
        if let Some(session) = session {
            self.by_session.insert(session, number);
        }
        old
    }

    pub(super) fn get(&self, number: u16) -> Option<&Member> {
        self.members.get(&number)
    }

    /// For changing a member: its deadline is looked at again, and a standby hears of it.
    pub(super) fn get_mut(&mut self, number: u16) -> Option<&mut Member> {
        self.mark(number);
        self.glance_mut(number)
    }

    /// For what no standby needs to know.
    pub(super) fn glance_mut(&mut self, number: u16) -> Option<&mut Member> {
        let member = self.members.get_mut(&number)?;
        self.deadlines.touched.insert(number);
        Some(member)
    }

    fn mark(&mut self, number: u16) {
        if let Some(changed) = &mut self.changed {
            changed.insert(number);
        }
    }

    /// From now on it is kept who changes; at first that is everybody.
    pub(super) fn follow(&mut self, on: bool) {
        self.changed = on.then(|| self.members.keys().copied().collect());
    }

    pub(super) fn take_changed(&mut self) -> BTreeSet<u16> {
        self.changed
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    pub(super) fn next_number(&self) -> u16 {
        self.next_number
    }

    pub(super) fn set_next_number(&mut self, number: u16) {
        self.next_number = number;
    }

    /// Called after every input, before anybody asks for the deadline.
    pub(super) fn refresh_deadlines(&mut self) {
        while let Some(number) = self.deadlines.touched.pop_first() {
            let deadline = self.members.get(&number).and_then(Member::deadline);
            self.deadlines.set(number, deadline);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.earliest.first().map(|(at, _)| *at)
    }

    /// Members whose time has come, by number.
    pub(super) fn due(&self, now: Instant) -> BTreeSet<u16> {
        let due = self.deadlines.earliest.iter();
        due.take_while(|(at, _)| *at <= now)
            .map(|(_, number)| *number)
            .collect()
    }

    pub(super) fn of_identity(&self, identity: &str) -> Option<u16> {
        self.by_identity.get(identity).copied()
    }

    pub(super) fn of_sid(&self, sid: &str) -> Option<u16> {
        self.by_sid.get(sid).copied()
    }

    pub(super) fn of_session(&self, session: SessionId) -> Option<u16> {
        self.by_session.get(&session).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub(super) fn numbers(&self) -> Vec<u16> {
        self.members.keys().copied().collect()
    }

    /// Participants that count: not agents, not recorders.
    pub(super) fn independent(&self) -> usize {
        self.iter().filter(|member| !member.is_dependent()).count()
    }
}
