//! Who is in the room, found by number, identity, sid or session. Numbers order everybody by
//! arrival; iteration follows them, so that what a room says is the same in every run.

use std::collections::{BTreeMap, HashMap};

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
    }

    pub(super) fn remove(&mut self, number: u16) -> Option<Member> {
        let member = self.members.remove(&number)?;
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

    pub(super) fn get_mut(&mut self, number: u16) -> Option<&mut Member> {
        self.members.get_mut(&number)
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
