//! One codec a track: everybody moves to the backup codec, and back.

use media::types::Codec;
use media::{Command, Event};
use protocol::proto;
use protocol::proto::TrackSource::Camera;
use protocol::proto::TrackType;

use super::stage::{Stage, data, request, source, video};
use super::subscribing::{active, down_tracks};
use crate::participant::{MediaInput, MediaOutput};

/// A camera in VP9 with a VP8 backup, both negotiated; the packet-plane keys of the two.
fn with_backup(policy: proto::BackupCodecPolicy) -> (Stage, [media::TrackKey; 2]) {
    let mut stage = Stage::dual();
    let mut cam = request("cam", Camera);
    let codec = |codec: &str, cid: &str| proto::SimulcastCodec {
        codec: codec.into(),
        cid: cid.into(),
        ..Default::default()
    };
    cam.simulcast_codecs = vec![codec("vp9", "cam"), codec("vp8", "")];
    cam.backup_codec_policy = policy as i32;
    stage.feed(MediaInput::AddTrack(cam));
    stage.client_offers(1, &[data(0), video(1, "cam")]);
    let transport = stage.transport(1);
    stage.connect(transport);
    let shown = stage.published().pop().unwrap();
    let mut backup = request("backup", Camera);
    backup.sid.clone_from(&shown.info.sid);
    backup.simulcast_codecs = vec![codec("vp8", "backup")];
    stage.feed(MediaInput::AddTrack(backup));
    stage.client_offers(2, &[data(0), video(1, "cam"), video(2, "backup")]);
    let both = stage.changed().pop().unwrap().codecs;
    assert_eq!(both.len(), 2, "not before its media is there");
    let keys = [both[0].0, both[1].0];
    stage.clear();
    (stage, keys)
}

fn started(stage: &mut Stage, track: media::TrackKey, codec: Codec) {
    stage.feed(MediaInput::Shard(Event::TrackStarted {
        track,
        codec,
        layer: 0,
        ssrc: 1,
    }));
}

#[test]
fn everybody_moves_to_a_backup_codec_under_regression() {
    use proto::BackupCodecPolicy::{PreferRegression, Regression, Simulcast};
    for policy in [Regression, PreferRegression] {
        let (mut stage, [primary, backup]) = with_backup(policy);
        started(&mut stage, primary, Codec::Vp9);
        assert!(stage.changed().is_empty());
        started(&mut stage, backup, Codec::Vp8);
        let moved = stage.changed().pop().expect("others are told");
        assert_eq!(moved.codecs, [(backup, Codec::Vp8)]);
        assert_eq!(moved.info.codecs.len(), 2, "both are still published");
    }
    let (mut stage, [_, backup]) = with_backup(Simulcast);
    started(&mut stage, backup, Codec::Vp8);
    assert!(
        stage.changed().is_empty(),
        "both codecs for whoever takes them"
    );
}

#[test]
fn preferring_regression_ends_in_a_large_room() {
    let (mut stage, [_, backup]) = with_backup(proto::BackupCodecPolicy::PreferRegression);
    stage.feed(MediaInput::PreferRegression(false));
    started(&mut stage, backup, Codec::Vp8);
    assert!(stage.changed().is_empty());
    stage.feed(MediaInput::PreferRegression(true));
    assert_eq!(stage.changed().pop().unwrap().codecs.len(), 1);
    stage.clear();
    stage.feed(MediaInput::PreferRegression(false));
    assert_eq!(stage.changed().pop().unwrap().codecs.len(), 2);
}

#[test]
fn a_backup_that_ends_gives_the_primary_codec_back() {
    let (mut stage, [primary, backup]) = with_backup(proto::BackupCodecPolicy::Regression);
    started(&mut stage, backup, Codec::Vp8);
    stage.clear();
    let ended = video(2, "backup").replace("a=sendonly", "a=inactive");
    stage.client_offers(3, &[data(0), video(1, "cam"), ended]);
    let back = stage.changed().pop().unwrap();
    assert_eq!(back.codecs, [(primary, Codec::Vp9)]);
}

#[test]
fn a_subscription_follows_its_track_to_another_codec_if_the_client_decodes_it() {
    let mut stage = active();
    let mut cam = source("TR_cam", TrackType::Video, Codec::Vp9);
    stage.feed(MediaInput::SourceChanged(cam.clone()));
    stage.settle();
    stage.client_answers();
    assert_eq!(down_tracks(&stage), 1);
    let first = cam.codecs.clone();
    let switched = |stage: &Stage| {
        let commands = stage.commands();
        commands.iter().rev().find_map(|command| match command {
            Command::SwitchDownTrack { track, .. } => Some(*track),
            _ => None,
        })
    };
    // The room enables no H265, so this client was never asked whether it takes it.
    cam.codecs = vec![(media::TrackKey(79), Codec::H265)];
    stage.feed(MediaInput::SourceChanged(cam.clone()));
    assert_eq!(switched(&stage), None, "it could not decode that");
    cam.codecs = vec![(media::TrackKey(78), Codec::Vp8)];
    stage.feed(MediaInput::SourceChanged(cam.clone()));
    assert_eq!(switched(&stage), Some(media::TrackKey(78)));
    assert!(stage.has(|output| matches!(
        output,
        MediaOutput::SubscriptionChanged {
            codec: Some(Codec::Vp8),
            ..
        }
    )));
    cam.codecs.clone_from(&first);
    stage.feed(MediaInput::SourceChanged(cam));
    assert_eq!(switched(&stage), Some(first[0].0), "and back");
}
