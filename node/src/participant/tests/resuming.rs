//! Resumes, SyncState, data that waits for its channels, and the end.

use std::time::Duration;

use bytes::Bytes;
use media::event::TransportState;
use media::types::Codec;
use media::{Command, Event};
use protocol::ids::{ParticipantSid, TrackSid};
use protocol::proto;
use protocol::proto::TrackSource::{Camera, Microphone};
use protocol::proto::TrackType;
use protocol::proto::signal_response::Message;

use super::stage::{Stage, data, source};
use crate::participant::{MediaInput, MediaOutput};

fn ufrag(sdp: &str) -> &str {
    sdp.lines()
        .find(|line| line.starts_with("a=ice-ufrag:"))
        .unwrap()
}

#[test]
fn a_resume_restarts_ice_of_the_connection_we_offer() {
    let mut stage = Stage::dual();
    let first = stage.offers().pop().unwrap();
    stage.client_answers();
    stage.clear();
    stage.feed(MediaInput::Resumed);
    let again = stage.offers().pop().unwrap();
    assert_ne!(ufrag(&first.sdp), ufrag(&again.sdp));
    assert!(
        ufrag(&again.sdp).starts_with("a=ice-ufrag:a"),
        "the shard's letter"
    );
    assert!(
        stage
            .commands()
            .iter()
            .any(|c| matches!(c, Command::RestartIce { .. }))
    );
    let trickled = |m: &&&Message| matches!(m, Message::Trickle(_));
    assert_eq!(stage.signals().iter().filter(trickled).count(), 2);
    stage.client_answers();
}

#[test]
fn an_offer_lost_with_its_websocket_is_made_again() {
    let mut stage = Stage::dual();
    stage.client_answers();
    let mic = source("TR_mic", TrackType::Audio, Codec::Opus);
    stage.feed(MediaInput::SourceChanged(mic));
    stage.settle();
    let lost = stage.offers().pop().unwrap();
    stage.clear();
    stage.feed(MediaInput::Resumed);
    let again = stage.offers().pop().unwrap();
    assert!(again.id > lost.id && again.sdp.contains("TR_mic"));
    stage.client_answers();
    let bound = |c: &&Command| matches!(c, Command::AddDownTrack { .. });
    assert!(stage.commands().iter().any(bound));
}

#[test]
fn a_single_connection_leaves_the_restart_to_the_client() {
    let mut stage = Stage::single();
    stage.client_offers(1, &[data(0)]);
    stage.clear();
    stage.feed(MediaInput::Resumed);
    stage.settle();
    assert!(stage.signals().is_empty());
}

#[test]
fn a_client_that_restarts_ice_gets_new_credentials_and_candidates() {
    let mut stage = Stage::single();
    stage.client_offers(1, &[data(0)]);
    let first = stage.answers().pop().unwrap();
    stage.clear();
    stage.client_offers(
        2,
        &[data(0).replace("a=ice-ufrag:abcd", "a=ice-ufrag:efgh")],
    );
    let second = stage.answers().pop().unwrap();
    assert_ne!(ufrag(&first.sdp), ufrag(&second.sdp));
    let order: Vec<_> = stage
        .commands()
        .iter()
        .filter_map(|command| match command {
            Command::RestartIce { .. } => Some("restart"),
            Command::SetRemote { .. } => Some("remote"),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["restart", "remote"]);
    assert!(
        stage
            .signals()
            .iter()
            .any(|m| matches!(m, Message::Trickle(t) if t.r#final))
    );
}

#[test]
fn sync_state_of_unknown_tracks_demands_a_full_reconnect() {
    let mut stage = Stage::dual();
    let known = stage.publish("cid", Microphone);
    let state = |sid: &str| {
        MediaInput::SyncState(proto::SyncState {
            publish_tracks: vec![proto::TrackPublishedResponse {
                track: Some(proto::TrackInfo {
                    sid: sid.into(),
                    ..Default::default()
                }),
                ..Default::default()
            }],
            ..Default::default()
        })
    };
    stage.feed(state(known.as_str()));
    assert!(!stage.has(|output| matches!(output, MediaOutput::FullReconnect)));
    stage.feed(state("TR_unknown"));
    assert!(stage.has(|output| matches!(output, MediaOutput::FullReconnect)));
}

#[test]
fn sync_state_pauses_what_the_client_disabled() {
    let mut stage = Stage::dual();
    stage.client_answers();
    let cam = source("TR_cam", TrackType::Video, Codec::Vp8);
    stage.feed(MediaInput::SourceChanged(cam));
    stage.settle();
    stage.client_answers();
    stage.feed(MediaInput::SyncState(proto::SyncState {
        track_sids_disabled: vec!["TR_cam".into()],
        ..Default::default()
    }));
    let paused = |c: &&Command| matches!(c, Command::UpdateDownTrack { paused: true, .. });
    assert!(stage.commands().iter().any(paused));
}

#[test]
fn data_waits_for_the_channels_of_the_primary_connection() {
    let mut stage = Stage::dual();
    stage.client_answers();
    let transport = stage.transport(0);
    stage.connect(transport);
    assert!(stage.has(|output| matches!(output, MediaOutput::Connected)));
    let payload = Bytes::from_static(b"hello");
    stage.feed(MediaInput::SendData {
        label: "_reliable",
        payload,
    });
    let sent = |stage: &Stage| {
        stage
            .commands()
            .iter()
            .any(|c| matches!(c, Command::SendData { .. }))
    };
    assert!(!sent(&stage));
    stage.open_channels(transport);
    assert!(sent(&stage));
    assert!(stage.has(|output| matches!(output, MediaOutput::DataReady)));
}

#[test]
fn subscribers_of_a_camera_decide_what_is_encoded() {
    let mut stage = Stage::dual();
    let track = stage.publish("cam", Camera);
    stage.clear();
    let subscriber = |codec, quality| MediaInput::Subscriber {
        track: track.clone(),
        subscriber: ParticipantSid("PA_bob".into()),
        codec,
        quality,
    };
    stage.feed(subscriber(
        Some(Codec::Vp8),
        Some(proto::VideoQuality::High),
    ));
    let first = stage
        .signals()
        .iter()
        .any(|m| matches!(m, Message::TrackSubscribed(_)));
    assert!(first);
    stage.feed(subscriber(None, None));
    stage.wait(Duration::from_secs(6));
    let updates: Vec<bool> = stage
        .signals()
        .iter()
        .filter_map(|message| match message {
            Message::SubscribedQualityUpdate(update) => Some(
                update.subscribed_codecs[0]
                    .qualities
                    .iter()
                    .any(|q| q.enabled),
            ),
            _ => None,
        })
        .collect();
    assert_eq!(updates, [true, false]);
}

#[test]
fn a_failed_transport_is_reported_and_closing_tears_everything_down() {
    let mut stage = Stage::dual();
    stage.publish("cid", Microphone);
    let transport = stage.transport(0);
    let state = TransportState::Failed;
    stage.feed(MediaInput::Shard(Event::Transport { transport, state }));
    assert!(stage.has(|output| matches!(output, MediaOutput::TransportFailed { .. })));
    stage.clear();
    stage.feed(MediaInput::Close);
    let closed = |c: &&&Command| matches!(c, Command::CloseTransport { .. });
    assert_eq!(stage.commands().iter().filter(closed).count(), 2);
    assert!(stage.signals().is_empty());
    assert_eq!(stage.media.deadline(), None);
    stage.feed(MediaInput::Subscribe {
        track: TrackSid("TR_x".into()),
        subscribed: true,
    });
    assert_eq!(stage.media.deadline(), None);
}
