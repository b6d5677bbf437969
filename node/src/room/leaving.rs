//! How participants and rooms end: who is told what, in which order.

use std::time::Duration;

use media::event::TransportState;
use metrics::counter;
use protocol::proto::DisconnectReason;
use protocol::proto::leave_request::Action;
use protocol::proto::participant_info::State;

use super::contract::{RoomOutput, SessionId, SessionMessage};
use super::ice_preference::IcePreference;
use super::limits::{RECONNECT_GRACE, RESUME_CONNECT_TIMEOUT, RETURN_TIMEOUT};
use super::{Room, leave};
use crate::participant::MediaInput;

impl Room {
    /// Ends a participant. `leave` is what its client is told to do; `None` closes in silence.
    pub(super) fn close_member(
        &mut self,
        number: u16,
        reason: DisconnectReason,
        leave: Option<Action>,
    ) {
        let Some(member) = self.roster.get_mut(number) else {
            return;
        };
        if member.closing {
            return;
        }
        member.closing = true;
        self.end_session(number, reason, leave);
        self.feed(number, MediaInput::Close);
        self.settle();
        self.unpublish_everything(number);
        let Some(mut member) = self.roster.remove(number) else {
            return;
        };
        self.span.forget(number);
        member.info.set_state(State::Disconnected);
        member.info.set_disconnect_reason(reason);
        member.info.data_tracks.clear();
        member.touch();
        self.announce_departure(&member, reason);
        let event = if member.was_active {
            "participant_left"
        } else {
            "participant_connection_aborted"
        };
        self.webhook(event, |webhook| {
            webhook.participant = Some(member.info.clone())
        });
        self.rpcs_lose(member.identity());
        self.speakers.forget(number);
        if reason != DisconnectReason::DuplicateIdentity {
            self.end_jobs_about(member.identity());
        }
        self.lifecycle.observe(self.now, self.roster.independent());
        self.weigh_regression();
        self.room_changed();
    }

    /// Says `Leave` if asked to, and closes the WebSocket after it is flushed.
    pub(super) fn end_session(
        &mut self,
        number: u16,
        reason: DisconnectReason,
        leave: Option<Action>,
    ) {
        let protocol = self
            .roster
            .get(number)
            .map_or(0, |member| member.protocol());
        let Some(session) = self.roster.set_session(number, None) else {
            return;
        };
        if let Some(action) = leave {
            let message = leave::message(protocol, action, reason);
            self.outputs.push_back(RoomOutput::Session {
                session,
                message: SessionMessage::Signal(Box::new(message)),
            });
        }
        let message = SessionMessage::Close;
        self.outputs
            .push_back(RoomOutput::Session { session, message });
        if let Some(member) = self.roster.get_mut(number) {
            member.absent_since = Some(self.now);
        }
    }

    /// The WebSocket is gone without a `leave`, or the way to its gateway broke (`lost`). Who never
    /// connected media is gone with the former, and may have come in while the room was on its way
    /// elsewhere with the latter; for the others ICE decides.
    pub(super) fn session_ended(&mut self, session: SessionId, lost: bool) {
        let Some(number) = self.roster.of_session(session) else {
            return;
        };
        self.roster.set_session(number, None);
        let Some(member) = self.roster.get_mut(number) else {
            return;
        };
        member.absent_since = Some(self.now);
        let joining = !member.was_active;
        if joining && !lost {
            self.close_member(number, DisconnectReason::SignalClose, None);
        } else if joining || member.transport_failed {
            member.close_at = Some(self.now + RECONNECT_GRACE);
        }
    }

    /// ICE or DTLS failed: the client is asked to resume, or restarts ICE with a request of its own
    /// (RFC 9725 §4.3), and has a moment to do so.
    /// Who is limited to TURN over TLS from now on learns that only by starting over.
    pub(super) fn transport_failed(&mut self, number: u16, lived: Option<Duration>) {
        let wanted = self.fall_back(number, lived);
        let Some(member) = self.roster.get_mut(number) else {
            return;
        };
        member.transport_failed = true;
        member.close_at = Some(self.now + RECONNECT_GRACE);
        if member.one_shot {
            // It restarts ICE of its own accord, in the session it has (RFC 9725, 4.3.3).
            return;
        }
        self.end_session(
            number,
            DisconnectReason::ConnectionTimeout,
            Some(match wanted {
                Some(Some(IcePreference::Tls)) => Action::Reconnect,
                _ => Action::Resume,
            }),
        );
    }

    /// Whoever has no WebSocket to resume on comes back with an offer.
    pub(super) fn one_shot_restarts(&mut self, number: u16) {
        if let Some(member) = self.roster.get_mut(number)
            && member.one_shot
            && member.transport_failed
        {
            member.close_at = Some(self.now + RESUME_CONNECT_TIMEOUT);
        }
    }

    /// Its transport is here, but its client was not heard: it reaches this node in another way, if
    /// at all.
    pub(super) fn not_taken_over(&mut self, number: u16) {
        let Some(member) = self.roster.get_mut(number) else {
            return;
        };
        member.transport_failed = true;
        member.close_at = Some(self.now + RETURN_TIMEOUT);
        self.end_session(number, DisconnectReason::Migration, Some(Action::Resume));
    }

    /// Its sound and picture went on, its data channels never will: with new connections only.
    pub(super) fn channels_lost(&mut self, number: u16) {
        counter!("skein_channels_not_taken_over_total").increment(1);
        let identity = self.roster.get(number).map(|one| one.identity());
        let room = &self.facts.room.name;
        tracing::info!(room, participant = identity, "data channels did not follow");
        self.close_member(number, DisconnectReason::Migration, Some(Action::Reconnect));
    }

    pub(super) fn transport_changed(&mut self, number: u16, state: TransportState) {
        if state == TransportState::Connected
            && let Some(member) = self.roster.get_mut(number)
        {
            member.transport_failed = false;
            member.cold = false;
            member.close_at = None;
        }
    }

    /// The room is over for everybody.
    pub(super) fn end(&mut self, reason: DisconnectReason) {
        self.end_telling(reason, Action::Disconnect);
    }

    /// The room goes on elsewhere: its clients come back to there, as who they are where that node
    /// knows them, and what it was is no longer this node's to report.
    pub(super) fn fence(&mut self, resume: bool) {
        self.fenced = true;
        self.weigh_arrival(true);
        for number in self.roster.numbers() {
            let goes_on = self.hand_over(number);
            if !resume {
                continue;
            }
            let Some(session) = self.roster.set_session(number, None) else {
                continue;
            };
            let rebinding = self.rebinding(number, session).filter(|_| goes_on);
            let message = rebinding.map_or(SessionMessage::Restart, SessionMessage::Elsewhere);
            self.outputs
                .push_back(RoomOutput::Session { session, message });
        }
        if resume && self.protection.is_on() {
            self.begin_handover();
            return;
        }
        self.end_telling(DisconnectReason::Migration, Action::Reconnect);
    }

    /// Whoever was carried there starts over; the others only lose its tracks.
    pub(super) fn shard_lost(&mut self, shard: usize) {
        for number in self.span.members_on(shard) {
            let reason = DisconnectReason::Migration;
            self.close_member(number, reason, Some(Action::Reconnect));
        }
    }

    pub(super) fn end_telling(&mut self, reason: DisconnectReason, action: Action) {
        self.weigh_arrival(true);
        let numbers = self.roster.numbers();
        // All sessions first: nobody needs to hear how the others go.
        for number in &numbers {
            self.end_session(*number, reason, Some(action));
        }
        for number in numbers {
            self.close_member(number, reason, None);
        }
        self.end_all_jobs();
        self.webhook("room_finished", |_| {});
        self.outputs.push_back(RoomOutput::Ended);
        self.ended = true;
    }
}
