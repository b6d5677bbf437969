//! A client comes back on a new WebSocket. The order of what it is told decides whether its
//! session survives (`livekit-surface` §8; LiveKit's `room.ResumeParticipant`).

use protocol::proto;
use protocol::proto::DisconnectReason;
use protocol::proto::leave_request::Action;
use protocol::proto::signal_response::Message;

use super::contract::{Attach, RoomOutput, SessionId, SessionMessage};
use super::limits::{ASKED_DRIFT, ASKED_SLACK, RESUME_CONNECT_TIMEOUT, SIGNAL_SILENCE_MAX};
use super::member::{DropOnResume, Member};
use super::updates::update;
use super::{Room, leave};
use crate::participant::{MediaInput, quirks};

/// First protocol that is told of departures it missed.
const PROTOCOL_WITH_MISSED_DEPARTURES: i32 = 9;

impl Room {
    pub(super) fn resume(&mut self, attach: &Attach) {
        let Some(number) = self.roster.of_identity(&attach.claims.identity) else {
            tracing::debug!(
                room = self.facts.room.name,
                participant = attach.claims.identity,
                "a session is not resumed: nobody is known by that name"
            );
            self.send_away(attach.session, attach.client.protocol);
            return;
        };
        let absent = self.roster.get(number).and_then(|one| one.absent_since);
        // What was said to a dead WebSocket was heard by nobody, however late that was noticed.
        let noticed = absent.unwrap_or(self.now);
        let since = noticed.checked_sub(SIGNAL_SILENCE_MAX).unwrap_or(noticed);
        let missed = self.updates.departed_since(since);
        let resumable = self.is_who_resumes(number, attach) && self.can_resume(number);
        let Some(missed) = missed.filter(|_| resumable) else {
            tracing::debug!(
                room = self.facts.room.name,
                participant = attach.claims.identity,
                resumable,
                "a session is not resumed: it is another one, or missed what is forgotten"
            );
            self.send_away(attach.session, attach.client.protocol);
            return;
        };
        let member = self.roster.get(number);
        if member.is_some_and(|member| self.is_given_up(member, attach)) {
            self.close_session(attach.session);
            return;
        }
        if let Some(old) = self.roster.set_session(number, Some(attach.session)) {
            // No Leave: it would make the client reconnect from scratch.
            self.close_session(old);
        }
        let Some(member) = self.roster.get_mut(number) else {
            return;
        };
        member.asked = member.asked.max(Some(attach.asked));
        member.absent_since = None;
        member.close_at = member
            .transport_failed
            .then_some(self.now + RESUME_CONNECT_TIMEOUT);
        let simulated = member.drop_on_resume.take();
        let other_way = self.fallback_wanted(number);
        if simulated == Some(DropOnResume::BeforeAnything) {
            self.drop_again(number, attach.session);
            return;
        }
        let Some(member) = self.roster.get(number) else {
            return;
        };
        let response = self.reconnect_response(member);
        let tells_departures = member.protocol() >= PROTOCOL_WITH_MISSED_DEPARTURES;
        self.tell(number, Message::Reconnect(response));
        if simulated == Some(DropOnResume::AfterReconnect) {
            self.drop_again(number, attach.session);
            return;
        }
        let missed = self.still_gone(missed);
        if tells_departures && !missed.is_empty() {
            self.tell(number, update(missed));
        }
        self.tell_everything(number);
        self.refresh_token(number);
        if let Some(wanted) = other_way {
            self.move_media(number, wanted);
        }
        self.feed(number, MediaInput::Resumed);
        self.retell_data_handles(number);
        self.settle_speakers_of(number);
        self.came_back(number);
    }

    /// A session goes on under a WebSocket that never closed. Whoever does not fit to what is known
    /// here starts over; whose transports stayed behind resumes.
    pub(super) fn rebind(&mut self, attach: &Attach, sid: &str, missed: bool) {
        let number = self.roster.of_identity(&attach.claims.identity);
        let Some(member) = number.and_then(|number| self.roster.get(number)) else {
            self.send_away(attach.session, attach.client.protocol);
            return;
        };
        if self.is_given_up(member, attach) {
            self.close_session(attach.session);
            return;
        }
        let (number, unheard) = (member.number, member.cold || member.transport_failed);
        let noticed = member.absent_since.unwrap_or(self.now);
        let since = noticed.checked_sub(SIGNAL_SILENCE_MAX).unwrap_or(noticed);
        let departed = match missed {
            true => self.updates.departed_since(since),
            false => Some(Vec::new()),
        };
        let Some(departed) = departed.filter(|_| member.sid.0 == sid) else {
            self.send_away(attach.session, attach.client.protocol);
            return;
        };
        if let Some(old) = self.roster.set_session(number, Some(attach.session)) {
            self.close_session(old);
        }
        if unheard {
            let reason = DisconnectReason::Migration;
            self.end_session(number, reason, Some(Action::Resume));
            return;
        }
        if let Some(member) = self.roster.get_mut(number) {
            (member.absent_since, member.close_at) = (None, None);
            member.asked = member.asked.max(Some(attach.asked));
        }
        self.introduce_standbys_again(number);
        if missed {
            let departed = self.still_gone(departed);
            if !departed.is_empty() {
                self.tell(number, update(departed));
            }
            self.tell_everything(number);
        }
        self.feed(number, MediaInput::Rebound);
        for request in &attach.add_tracks {
            self.feed(number, MediaInput::AddTrackAgain(request.clone()));
        }
        if let Some(offer) = &attach.publisher_offer {
            self.feed(number, MediaInput::Offer(offer.clone()));
        }
        if missed {
            self.retell_data_handles(number);
        }
        self.settle_speakers_of(number);
        self.weigh_arrival(false);
    }

    /// Everybody and the room, as they are now.
    fn tell_everything(&mut self, number: u16) {
        let everybody = self.everybody_for(number);
        self.tell(number, update(everybody));
        let room = Some(self.room_info());
        self.tell(number, Message::RoomUpdate(proto::RoomUpdate { room }));
    }

    fn still_gone(&self, gone: Vec<proto::ParticipantInfo>) -> Vec<proto::ParticipantInfo> {
        gone.into_iter()
            .filter(|gone| self.roster.of_identity(&gone.identity).is_none())
            .collect()
    }

    /// A room that was opened as its standby knew it may have an earlier session of the same
    /// identity: neither its transports nor its id are the client's. LiveKit lets the identity
    /// decide; there a room never goes back.
    fn is_who_resumes(&self, number: u16, attach: &Attach) -> bool {
        let claimed = attach.kind.participant_sid().unwrap_or_default();
        let member = self.roster.get(number);
        claimed.is_empty() || member.is_some_and(|member| member.sid.0 == claimed)
    }

    /// Its client left that WebSocket, and is here by one it asked for later. Of one and the same
    /// the times differ by how long each word of it was under way, and by the clocks of two nodes.
    fn is_given_up(&self, member: &Member, attach: &Attach) -> bool {
        let Some(later) = member.asked.filter(|_| member.session.is_some()) else {
            return false;
        };
        let drift = self.now.saturating_duration_since(later) / ASKED_DRIFT;
        later > attach.asked + ASKED_SLACK + drift
    }

    /// Firefox takes a connection whose certificate changed for connected and plays nothing.
    fn can_resume(&self, number: u16) -> bool {
        let member = self.roster.get(number);
        member.is_some_and(|member| !member.cold || !quirks::is_firefox(&member.client))
    }

    /// Everybody a participant may see, itself included.
    fn everybody_for(&self, number: u16) -> Vec<proto::ParticipantInfo> {
        self.roster
            .iter()
            .filter(|member| member.number == number || !member.is_hidden())
            .map(|member| member.info.clone())
            .collect()
    }

    /// Leave{RECONNECT} as the first message: the only thing that makes a client give up resuming.
    fn send_away(&mut self, session: SessionId, protocol: i32) {
        let message = SessionMessage::Signal(Box::new(leave::state_mismatch(protocol)));
        self.outputs
            .push_back(RoomOutput::Session { session, message });
        self.close_session(session);
    }

    fn close_session(&mut self, session: SessionId) {
        let message = SessionMessage::Close;
        self.outputs
            .push_back(RoomOutput::Session { session, message });
    }

    fn drop_again(&mut self, number: u16, session: SessionId) {
        self.close_session(session);
        self.roster.set_session(number, None);
        if let Some(member) = self.roster.get_mut(number) {
            member.absent_since = Some(self.now);
        }
    }
}
