//! Whom a command or an event concerns: the key that the control plane finds its owner by. Read by
//! whoever passes commands to shards and events to rooms; holds no state.

use crate::command::Command;
use crate::event::Event;
use crate::ids::{DownTrackKey, RoomKey, TrackKey, TransportKey};

/// See the file header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Transport(TransportKey),
    Track(TrackKey),
    DownTrack(DownTrackKey),
    Room(RoomKey),
}

impl Subject {
    /// As a number, whatever kind of key it is.
    pub fn key(self) -> u64 {
        match self {
            Self::Transport(TransportKey(key))
            | Self::Track(TrackKey(key))
            | Self::DownTrack(DownTrackKey(key))
            | Self::Room(RoomKey(key)) => key,
        }
    }
}

impl Command {
    pub fn subject(&self) -> Subject {
        match *self {
            Self::AddTransport { transport, .. }
            | Self::SetRemote { transport, .. }
            | Self::AddRemoteCandidate { transport, .. }
            | Self::RestartIce { transport, .. }
            | Self::CloseTransport { transport }
            | Self::OpenChannel { transport, .. }
            | Self::AdoptChannel { transport, .. }
            | Self::SendData { transport, .. }
            | Self::SetReceive { transport, .. }
            | Self::AddTrack { transport, .. }
            | Self::SetBandwidthPolicy { transport, .. }
            | Self::SetPlayoutDelay { transport, .. }
            | Self::Freeze { transport }
            | Self::Thaw { transport, .. }
            | Self::Replicate { transport, .. }
            | Self::Replicated { transport, .. }
            | Self::AddStandby { transport, .. }
            | Self::UpdateStandby { transport, .. }
            | Self::TakeOver { transport }
            | Self::DropStandby { transport }
            | Self::Nominate { transport, .. } => Subject::Transport(transport),
            Self::DropStandbys { room } => Subject::Room(room),
            Self::SetTrackMuted { track, .. }
            | Self::RemoveTrack { track }
            | Self::RequestKeyFrame { track }
            | Self::RelayTrack { track, .. }
            | Self::StopRelay { track, .. }
            | Self::AddRelayedTrack { track, .. }
            | Self::SetRelayedPayloadTypes { track, .. } => Subject::Track(track),
            Self::AddDownTrack { down_track, .. }
            | Self::UpdateDownTrack { down_track, .. }
            | Self::SwitchDownTrack { down_track, .. }
            | Self::SetPriority { down_track, .. }
            | Self::RemoveDownTrack { down_track } => Subject::DownTrack(down_track),
        }
    }
}

impl Event {
    pub fn subject(&self) -> Subject {
        match *self {
            Self::Transport { transport, .. }
            | Self::PathSelected { transport, .. }
            | Self::ChannelOpen { transport, .. }
            | Self::ChannelClosed { transport, .. }
            | Self::Data { transport, .. }
            | Self::Stats { transport, .. }
            | Self::InControl { transport, .. }
            | Self::TransportImage { transport, .. }
            | Self::TransportDelta { transport, .. }
            | Self::StandbyHas { transport, .. }
            | Self::StandbyCannot { transport }
            | Self::StandbySilent { transport }
            | Self::StandbyStale { transport }
            | Self::StandbyReady { transport, .. }
            | Self::TakenOver { transport, .. }
            | Self::ChannelsLost { transport }
            | Self::Frozen { transport, .. } => Subject::Transport(transport),
            Self::TrackStarted { track, .. }
            | Self::StreamLearned { track, .. }
            | Self::LayerActive { track, .. } => Subject::Track(track),
            Self::LayerSelected { down_track, .. } | Self::StreamPaused { down_track, .. } => {
                Subject::DownTrack(down_track)
            }
            Self::Speakers { room, .. } => Subject::Room(room),
        }
    }
}
