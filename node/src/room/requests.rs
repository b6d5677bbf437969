//! What clients say, one arm a message. Media is the media cores' business; pings are answered by
//! the gateway; what has no handler is accepted in silence.

use protocol::ids::TrackSid;
use protocol::proto;
use protocol::proto::request_response::{Reason, Request};
use protocol::proto::signal_request::Message as SignalRequest;
use protocol::proto::signal_response::Message;
use protocol::proto::{DisconnectReason, RequestResponse};

use super::Room;
use super::contract::SessionId;
use super::limits::DATA_TRACKS_MAX;
use crate::participant::MediaInput;

/// First protocol that wants to hear of requests that went well.
const PROTOCOL_WITH_OK_RESPONSES: i32 = 15;

impl Room {
    #[allow(deprecated)] // `update_layers` still arrives
    pub(super) fn request(&mut self, session: SessionId, message: SignalRequest) {
        let Some(number) = self.roster.of_session(session) else {
            return;
        };
        match message {
            SignalRequest::Offer(offer) => {
                self.one_shot_restarts(number);
                self.feed(number, MediaInput::Offer(offer));
            }
            SignalRequest::Answer(answer) => self.feed(number, MediaInput::Answer(answer)),
            SignalRequest::Trickle(trickle) => self.feed(number, MediaInput::Trickle(trickle)),
            SignalRequest::AddTrack(request) => self.feed(number, MediaInput::AddTrack(request)),
            SignalRequest::Mute(request) => {
                let track = TrackSid(request.sid);
                let input = MediaInput::Mute {
                    track,
                    muted: request.muted,
                    from_admin: false,
                };
                self.feed(number, input);
            }
            SignalRequest::Subscription(request) => self.update_subscription(
                number,
                request.track_sids,
                request.participant_tracks,
                request.subscribe,
            ),
            SignalRequest::TrackSetting(settings) => {
                self.feed(number, MediaInput::TrackSetting(settings));
            }
            SignalRequest::UpdateAudioTrack(request) => {
                self.feed(number, MediaInput::UpdateAudioTrack(request));
            }
            SignalRequest::UpdateVideoTrack(request) => {
                self.feed(number, MediaInput::UpdateVideoTrack(request));
            }
            SignalRequest::Leave(leave) => {
                self.close_member(number, reason_of(&leave), None);
            }
            SignalRequest::SubscriptionPermission(permission) => {
                self.restrict_subscribers(number, permission);
            }
            SignalRequest::SyncState(state) => self.sync_state(number, state),
            SignalRequest::Simulate(scenario) => self.simulate(number, &scenario),
            SignalRequest::UpdateMetadata(request) => self.update_own_metadata(number, request),
            SignalRequest::PublishDataTrackRequest(request) => {
                self.publish_data_track(number, request);
            }
            SignalRequest::UnpublishDataTrackRequest(request) => {
                self.unpublish_data_track(number, &request);
            }
            SignalRequest::UpdateDataSubscription(request) => {
                self.update_data_subscription(number, request);
            }
            SignalRequest::StoreDataBlobRequest(request) => self.store_blob(number, request),
            SignalRequest::GetDataBlobRequest(request) => self.read_blob(number, request),
            SignalRequest::Ping(_) | SignalRequest::PingReq(_) | SignalRequest::UpdateLayers(_) => {
            }
        }
    }

    /// The outcome of a request, for clients that can read it.
    pub(super) fn respond(
        &mut self,
        number: u16,
        request_id: u32,
        reason: Reason,
        message: &str,
        request: Option<Request>,
    ) {
        let Some(member) = self.roster.get(number) else {
            return;
        };
        if !member.reads_request_response()
            || reason == Reason::Ok && member.protocol() < PROTOCOL_WITH_OK_RESPONSES
        {
            return;
        }
        let response = RequestResponse {
            request_id,
            reason: reason.into(),
            message: message.to_owned(),
            request,
        };
        self.tell(number, Message::RequestResponse(response));
    }

    /// What a resumed client believes. An unknown data track means that it must start over, as an
    /// unknown media track does in its media core.
    fn sync_state(&mut self, number: u16, state: proto::SyncState) {
        let Some(member) = self.roster.get(number) else {
            return;
        };
        let known = |track: &proto::PublishDataTrackResponse| {
            track.info.as_ref().is_none_or(|info| {
                member
                    .info
                    .data_tracks
                    .iter()
                    .any(|known| known.sid == info.sid)
            })
        };
        let tracks = &state.publish_data_tracks;
        if tracks.len() > DATA_TRACKS_MAX || !tracks.iter().all(known) {
            let leave = Some(proto::leave_request::Action::Reconnect);
            self.close_member(number, DisconnectReason::StateMismatch, leave);
            return;
        }
        if let Some(subscription) = &state.data_subscription {
            self.update_data_subscription(number, subscription.clone());
        }
        self.replay_to(number, &state.datachannel_receive_states);
        self.feed(number, MediaInput::SyncState(state));
    }
}

/// Reasons a client may give for its own leave.
fn reason_of(leave: &proto::LeaveRequest) -> DisconnectReason {
    match leave.reason() {
        reason @ (DisconnectReason::UserUnavailable
        | DisconnectReason::UserRejected
        | DisconnectReason::AgentError) => reason,
        _ => DisconnectReason::ClientInitiated,
    }
}
