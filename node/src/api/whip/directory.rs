//! The running WHIP sessions of this node, by their resource (the participant's sid). Shared by the
//! HTTP workers and the sessions' actors.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use actix::Addr;
use protocol::proto;
use protocol::proto::signal_request::Message as Request;

use super::session_actor::SessionActor;
use crate::room::contract::SessionId;
use crate::signal::Lobby;

/// Who a session belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) room: String,
    pub(super) identity: String,
}

struct Entry {
    owner: Owner,
    session: SessionId,
    actor: Addr<SessionActor>,
}

/// As many entries as participants: the rooms bound it.
#[derive(Default)]
pub(super) struct Directory {
    entries: Mutex<HashMap<String, Entry>>,
}

/// The right to end a session.
pub(super) struct Leave {
    room: String,
    session: SessionId,
}

impl Leave {
    /// The room is told before the answer to the DELETE leaves: a list asked afterwards is right.
    pub(super) fn tell(self, lobby: &dyn Lobby) {
        let mut leave = proto::LeaveRequest::default();
        leave.set_reason(proto::DisconnectReason::ClientInitiated);
        lobby.signal(&self.room, self.session, Request::Leave(leave));
    }
}

impl Directory {
    pub(super) fn insert(
        &self,
        participant: String,
        owner: Owner,
        session: SessionId,
        actor: Addr<SessionActor>,
    ) {
        let entry = Entry {
            owner,
            session,
            actor,
        };
        self.locked().insert(participant, entry);
    }

    pub(super) fn find(&self, participant: &str, owner: &Owner) -> Option<Addr<SessionActor>> {
        let entries = self.locked();
        let entry = entries.get(participant).filter(|e| e.owner == *owner)?;
        Some(entry.actor.clone())
    }

    pub(super) fn remove(&self, participant: &str, owner: &Owner) -> Option<Leave> {
        let mut entries = self.locked();
        entries.get(participant).filter(|e| e.owner == *owner)?;
        let entry = entries.remove(participant)?;
        Some(Leave {
            room: entry.owner.room,
            session: entry.session,
        })
    }

    /// The session is over.
    pub(super) fn forget(&self, participant: &str) {
        self.locked().remove(participant);
    }

    /// A holder that panicked left a whole table: every change is a single step.
    fn locked(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
