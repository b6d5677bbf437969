//! The server API on a live room. Grants were checked before; messages are LiveKit's.

use protocol::ids::TrackSid;
use protocol::proto;
use protocol::proto::DisconnectReason;
use protocol::proto::TrackType;
use protocol::proto::leave_request::Action;

use super::Room;
use super::contract::{CallId, Figures, RoomCall, RoomError, RoomOutput, RoomReply};
use super::options::exceeds;
use crate::participant::MediaInput;

const NO_SUCH_PARTICIPANT: &str = "participant does not exist";

impl Room {
    pub(super) fn call(&mut self, call: CallId, request: RoomCall) {
        let result = match request {
            RoomCall::Describe => Ok(RoomReply::Room(self.room_info())),
            RoomCall::Delete => {
                // In this order: whoever hears that the room is gone may create it anew at once.
                self.end(DisconnectReason::RoomDeleted);
                self.reply(call, Ok(RoomReply::Done));
                return;
            }
            RoomCall::ListParticipants => Ok(RoomReply::Participants(self.participants())),
            RoomCall::GetParticipant { identity } => self.participant(&identity),
            RoomCall::RemoveParticipant { identity } => self.remove_participant(&identity),
            RoomCall::MutePublishedTrack(request) => self.mute_published_track(&request),
            RoomCall::UpdateParticipant(request) => self.update_participant(request),
            RoomCall::UpdateSubscriptions(request) => self.update_subscriptions(request),
            RoomCall::SendData(request) => self.send_data(request),
            RoomCall::UpdateRoomMetadata { metadata } => self.update_room_metadata(metadata),
            RoomCall::PerformRpc(request) => {
                self.perform_rpc(call, request);
                return;
            }
            RoomCall::CreateDispatch(request) => self.create_dispatch(request),
            RoomCall::DeleteDispatch(request) => self.delete_dispatch(&request),
            RoomCall::ListDispatch(request) => Ok(self.list_dispatches(&request)),
            RoomCall::Figures => Ok(RoomReply::Figures(self.figures())),
            RoomCall::Inspect => Ok(RoomReply::Inspection(self.inspection())),
            RoomCall::Moves => {
                let moves = serde_json::json!({ "moves": self.moves.view() });
                Ok(RoomReply::Inspection(moves))
            }
        };
        self.reply(call, result);
    }

    pub(super) fn reply(&mut self, call: CallId, result: Result<RoomReply, RoomError>) {
        self.outputs.push_back(RoomOutput::Reply { call, result });
    }

    /// The participant of an identity, or the error every call gives without one.
    pub(super) fn find(&self, identity: &str) -> Result<u16, RoomError> {
        self.roster
            .of_identity(identity)
            .ok_or_else(|| RoomError::NotFound(NO_SUCH_PARTICIPANT.into()))
    }

    fn participants(&self) -> Vec<proto::ParticipantInfo> {
        self.roster
            .iter()
            .map(|member| member.info.clone())
            .collect()
    }

    fn participant(&self, identity: &str) -> Result<RoomReply, RoomError> {
        let number = self.find(identity)?;
        let info = self.roster.get(number).map(|member| member.info.clone());
        Ok(RoomReply::Participant(info.unwrap_or_default()))
    }

    fn remove_participant(&mut self, identity: &str) -> Result<RoomReply, RoomError> {
        let number = self.find(identity)?;
        let leave = Some(Action::Disconnect);
        self.close_member(number, DisconnectReason::ParticipantRemoved, leave);
        Ok(RoomReply::Done)
    }

    fn mute_published_track(
        &mut self,
        request: &proto::MuteRoomTrackRequest,
    ) -> Result<RoomReply, RoomError> {
        let number = self.find(&request.identity)?;
        let track = TrackSid(request.track_sid.clone());
        if !request.muted && !self.services.config.enable_remote_unmute {
            return Err(RoomError::FailedPrecondition(
                "remote unmute not enabled".into(),
            ));
        }
        if self.track_info(number, &track).is_none() {
            return Ok(RoomReply::Track(None));
        }
        let input = MediaInput::Mute {
            track: track.clone(),
            muted: request.muted,
            from_admin: true,
        };
        self.feed(number, input);
        self.settle();
        Ok(RoomReply::Track(self.track_info(number, &track)))
    }

    fn track_info(&self, number: u16, track: &TrackSid) -> Option<proto::TrackInfo> {
        let info = self.roster.get(number)?.media.track(track)?;
        Some((*info).clone())
    }

    fn update_participant(
        &mut self,
        request: proto::UpdateParticipantRequest,
    ) -> Result<RoomReply, RoomError> {
        let number = self.find(&request.identity)?;
        self.check_limits(
            number,
            &request.name,
            &request.metadata,
            &request.attributes,
        )?;
        self.set_metadata(number, request.name, request.metadata, request.attributes);
        if let Some(permission) = request.permission {
            self.set_permission(number, permission);
            self.settle();
        }
        self.participant(&request.identity)
    }

    fn update_subscriptions(
        &mut self,
        request: proto::UpdateSubscriptionsRequest,
    ) -> Result<RoomReply, RoomError> {
        let number = self.find(&request.identity)?;
        self.update_subscription(
            number,
            request.track_sids,
            request.participant_tracks,
            request.subscribe,
        );
        Ok(RoomReply::Done)
    }

    fn update_room_metadata(&mut self, metadata: String) -> Result<RoomReply, RoomError> {
        exceeds(
            "metadata size",
            metadata.len(),
            self.services.config.max_metadata_bytes,
        )?;
        self.facts.room.metadata = metadata;
        self.room_changed();
        Ok(RoomReply::Room(self.room_info()))
    }

    fn figures(&self) -> Figures {
        let mut figures = Figures::default();
        for member in self.roster.iter() {
            figures.participants += u32::from(!member.is_dependent());
            figures.subscribed += member.media.subscribed();
            for track in &member.tracks {
                match track.info.r#type() {
                    TrackType::Audio => figures.published.audio += 1,
                    TrackType::Video => figures.published.video += 1,
                    TrackType::Data => {}
                }
            }
        }
        figures
    }

    /// Everything an operator may want to see; a view for people, not a format.
    fn inspection(&self) -> serde_json::Value {
        let members: Vec<_> = self
            .roster
            .iter()
            .map(|member| {
                serde_json::json!({
                    "number": member.number,
                    "sid": member.sid.as_str(),
                    "identity": member.identity(),
                    "state": member.state().as_str_name(),
                    "version": member.info.version,
                    "session": member.session.map(|session| session.0),
                    "single_peer_connection": member.single_peer_connection,
                    "protocol": member.protocol(),
                    "sdk": member.client.sdk().as_str_name(),
                    "tracks": member.tracks.iter().map(|t| &t.info.sid).collect::<Vec<_>>(),
                    "data_ready": member.data.ready,
                    "data_waiting_bytes": member.data.waiting_bytes,
                    "transport_failed": member.transport_failed,
                    "protected": self.protected(member).as_str(),
                })
            })
            .collect();
        serde_json::json!({
            "number": self.number,
            "name": self.facts.room.name,
            "sid": self.facts.room.sid,
            "participants": members,
            "dispatches": self.dispatch.len(),
            "pending_rpcs": self.rpcs.len(),
            "moves": self.moves.view(),
        })
    }
}
