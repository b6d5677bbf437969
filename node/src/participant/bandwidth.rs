//! The bandwidth of what a participant receives: how its packet plane may manage it, and what the
//! client is told when a track waits for bandwidth.

use media::types::BandwidthPolicy;
use media::{Command, DownTrackKey};
use protocol::proto;
use protocol::proto::StreamState;
use protocol::proto::signal_response::Message;

use super::media::ParticipantMedia;

impl ParticipantMedia {
    /// Tells the packet plane the policy; again whenever the connection or the policy is new.
    pub(super) fn set_bandwidth_policy(&mut self) {
        let connection = match self.settings.single_peer_connection {
            true => self.publisher.as_ref(),
            false => self.subscriber.as_ref(),
        };
        let Some(transport) = connection.map(|connection| connection.key) else {
            return;
        };
        let policy = BandwidthPolicy {
            enabled: self.settings.congestion_control,
            may_pause: self.settings.allow_pause,
            fixed_bps: self.fixed_bps,
        };
        self.out
            .command(Command::SetBandwidthPolicy { transport, policy });
        if let Some(bounds) = self.settings.playout_delay {
            self.out
                .command(Command::SetPlayoutDelay { transport, bounds });
        }
    }

    /// A client's test of its own: from now on its path is taken to carry this much. `None` ends
    /// it.
    pub(super) fn limit_bandwidth(&mut self, bps: Option<u64>) {
        self.fixed_bps = bps;
        self.set_bandwidth_policy();
    }

    /// A track waits for bandwidth, or goes on.
    pub(super) fn stream_paused(&mut self, down_track: DownTrackKey, paused: bool) {
        let Some((sid, publisher)) = self.subscriptions.owner_of(down_track) else {
            return;
        };
        let state = if paused {
            StreamState::Paused
        } else {
            StreamState::Active
        };
        let info = proto::StreamStateInfo {
            participant_sid: publisher.0.clone(),
            track_sid: sid.0.clone(),
            state: state as i32,
        };
        self.out
            .signal(Message::StreamStateUpdate(proto::StreamStateUpdate {
                stream_states: vec![info],
            }));
    }
}
