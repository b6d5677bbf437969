//! The last a room says here before it goes on at its standby: what it was when its home changed,
//! and images of its frozen transports, whose numbers are exact. A moment only; its clients were
//! sent there already, and the standby waits for this.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use media::{Event, TransportKey};
use protocol::proto::DisconnectReason;
use protocol::proto::leave_request::Action;

use super::Room;
use super::contract::{
    Attach, AttachError, AttachKind, RoomError, RoomInput, RoomOutput, SessionId, SessionMessage,
};
use super::limits::LAST_WORDS_PATIENCE;
use crate::participant::KeySpace;

#[derive(Debug)]
pub(super) enum Handover {
    /// Shards have been told to freeze these.
    Freezing {
        left: BTreeSet<TransportKey>,
        until: Instant,
    },
    /// Everything is said; the room ends with its next input.
    Said(Instant),
}

impl Room {
    /// Its transports were told to freeze.
    pub(super) fn begin_handover(&mut self) {
        let left = self.protection.guarded();
        let until = self.now + LAST_WORDS_PATIENCE;
        self.handover = Some(Handover::Freezing { left, until });
        self.conclude_handover(false);
    }

    /// It is another node's, which is told the last of it: nothing else counts any more.
    pub fn hands_over(&self) -> bool {
        self.handover.is_some()
    }

    pub(super) fn handover_deadline(&self) -> Option<Instant> {
        Some(match self.handover.as_ref()? {
            Handover::Freezing { until, .. } => *until,
            Handover::Said(at) => *at,
        })
    }

    pub(super) fn handle_in_handover(&mut self, input: RoomInput) {
        match input {
            RoomInput::Shard(event) => self.hear_last_of(&event),
            RoomInput::Timeout => match self.handover {
                Some(Handover::Freezing { until, .. }) if until > self.now => {}
                Some(Handover::Freezing { .. }) => self.conclude_handover(true),
                _ => self.end_telling(DisconnectReason::Migration, Action::Reconnect),
            },
            RoomInput::Stop => {
                self.conclude_handover(true);
                self.end_telling(DisconnectReason::Migration, Action::Reconnect);
            }
            RoomInput::Attach(attach) => {
                let (session, error) = (attach.session, AttachError::Elsewhere);
                self.outputs
                    .push_back(RoomOutput::Refused { session, error });
            }
            RoomInput::Signal { session, message } => {
                let message = SessionMessage::Unheard(message);
                self.outputs
                    .push_back(RoomOutput::Session { session, message });
            }
            RoomInput::Call { call, .. } => {
                let result = Err(RoomError::Elsewhere);
                self.outputs.push_back(RoomOutput::Reply { call, result });
            }
            _ => {}
        }
    }

    /// How a WebSocket of this node follows its participant to where that goes on.
    pub(super) fn rebinding(&self, number: u16, session: SessionId) -> Option<Box<Attach>> {
        let member = self.roster.get(number)?;
        Some(Box::new(Attach {
            session,
            asked: member.asked.unwrap_or(self.now),
            room: self.facts.room.name.clone(),
            claims: member.claims.clone(),
            kind: AttachKind::Rebind {
                participant_sid: member.sid.0.clone(),
                // What the room says there before it is attached.
                missed: true,
            },
            client: member.client.clone(),
            // Known there, as everything it joined with.
            auto_subscribe: true,
            auto_subscribe_data_track: true,
            adaptive_stream: false,
            subscriber_allow_pause: None,
            disable_ice_lite: false,
            single_peer_connection: member.single_peer_connection,
            attributes: BTreeMap::new(),
            publisher_offer: None,
            add_tracks: Vec::new(),
        }))
    }

    fn hear_last_of(&mut self, event: &Event) {
        match event {
            Event::TransportImage { transport, .. } | Event::TransportDelta { transport, .. } => {
                let number = KeySpace::participant_of(transport.0);
                self.hear_of_protection(number, event);
            }
            Event::Frozen { transport, .. } => {
                if let Some(Handover::Freezing { left, .. }) = &mut self.handover {
                    left.remove(transport);
                }
                self.conclude_handover(false);
            }
            _ => {}
        }
    }

    /// Once nothing is missing, or it is waited for no longer (`late`).
    fn conclude_handover(&mut self, late: bool) {
        if let Some(Handover::Freezing { left, .. }) = &self.handover
            && (left.is_empty() || late)
        {
            let missing = left.len();
            tracing::debug!(
                room = self.facts.room.name,
                missing,
                "a room was handed over"
            );
            self.outputs.push_back(RoomOutput::LastWords);
            self.handover = Some(Handover::Said(self.now));
        }
    }
}
