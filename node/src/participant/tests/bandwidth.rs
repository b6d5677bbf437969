//! What a participant's bandwidth means on the signal: streams that wait for it, a limit the client
//! asked for itself, priorities.

use media::types::{BandwidthPolicy, Codec, PlayoutDelay};
use media::{Command, DownTrackKey, Event};
use protocol::proto;
use protocol::proto::signal_response::Message;
use protocol::proto::{StreamState, TrackType};

use super::stage::{Stage, settings, source};
use crate::participant::MediaInput;

/// On `/rtc`, receiving a camera; also the key of its down track.
fn watching(allow_pause: bool) -> (Stage, DownTrackKey) {
    let mut settings = settings(false);
    settings.allow_pause = allow_pause;
    let mut stage = Stage::joined(settings);
    stage.client_answers();
    let transport = stage.transport(0);
    stage.connect(transport);
    stage.feed(MediaInput::TrackSetting(proto::UpdateTrackSettings {
        track_sids: vec!["TR_cam".into()],
        priority: 7,
        ..Default::default()
    }));
    let camera = source("TR_cam", TrackType::Video, Codec::Vp8);
    stage.feed(MediaInput::SourceChanged(camera));
    stage.settle();
    stage.client_answers();
    let key = stage.commands().iter().find_map(|command| match command {
        Command::AddDownTrack { down_track, .. } => Some(*down_track),
        _ => None,
    });
    (stage, key.unwrap())
}

fn policies(stage: &Stage) -> Vec<BandwidthPolicy> {
    let policy = |command: &&Command| match command {
        Command::SetBandwidthPolicy { policy, .. } => Some(*policy),
        _ => None,
    };
    stage.commands().iter().filter_map(policy).collect()
}

#[test]
fn a_stream_that_waits_for_bandwidth_is_told_and_so_is_its_return() {
    let (mut stage, down_track) = watching(true);
    for (paused, state) in [(true, StreamState::Paused), (false, StreamState::Active)] {
        stage.clear();
        stage.feed(MediaInput::Shard(Event::StreamPaused {
            down_track,
            paused,
        }));
        let told = stage
            .signals()
            .into_iter()
            .find_map(|message| match message {
                Message::StreamStateUpdate(update) => update.stream_states.first().cloned(),
                _ => None,
            });
        let told = told.unwrap();
        assert_eq!((told.track_sid.as_str(), told.state()), ("TR_cam", state));
        assert_eq!(told.participant_sid, "PA_alice");
    }
}

#[test]
fn the_packet_plane_knows_the_policy_and_the_clients_own_limit() {
    let (mut stage, _) = watching(true);
    let first = policies(&stage)[0];
    assert_eq!(
        (first.enabled, first.may_pause, first.fixed_bps),
        (true, true, None)
    );
    stage.clear();
    stage.feed(MediaInput::LimitBandwidth(Some(100_000)));
    stage.feed(MediaInput::LimitBandwidth(None));
    let limits: Vec<_> = policies(&stage).iter().map(|p| p.fixed_bps).collect();
    assert_eq!(limits, [Some(100_000), None]);
}

#[test]
fn a_priority_set_before_the_subscription_counts() {
    let (stage, down_track) = watching(false);
    let commands = stage.commands();
    let set = commands.iter().filter_map(|command| match command {
        Command::SetPriority {
            down_track,
            priority,
        } => Some((*down_track, *priority)),
        _ => None,
    });
    assert_eq!(set.collect::<Vec<_>>(), [(down_track, 7)]);
}

#[test]
fn the_rooms_playout_delay_is_negotiated_and_handed_to_the_packet_plane() {
    for bounds in [
        None,
        Some(PlayoutDelay {
            min_ms: 200,
            max_ms: 900,
        }),
    ] {
        let mut settings = settings(false);
        settings.playout_delay = bounds;
        let mut stage = Stage::joined(settings);
        stage.client_answers();
        let transport = stage.transport(0);
        stage.connect(transport);
        let camera = source("TR_cam", TrackType::Video, Codec::Vp8);
        stage.feed(MediaInput::SourceChanged(camera));
        stage.settle();
        let offer = stage.offers().pop().unwrap();
        assert_eq!(offer.sdp.contains("/playout-delay"), bounds.is_some());
        let commands = stage.commands();
        let told = commands.iter().find_map(|command| match command {
            Command::SetPlayoutDelay { bounds, .. } => Some(*bounds),
            _ => None,
        });
        assert_eq!(told, bounds);
    }
}
