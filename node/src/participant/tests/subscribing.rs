//! Tracks of others on their way to the client, over the connection we offer and over the client's.

use std::time::Duration;

use media::Command;
use media::types::Codec;
use protocol::ids::{ParticipantSid, TrackSid};
use protocol::proto;
use protocol::proto::signal_response::Message;
use protocol::proto::{TrackType, VideoQuality};

use super::stage::{Stage, audio, data, free_audio, settings, source};
use crate::participant::{MediaInput, MediaOutput};

fn mic() -> MediaInput {
    MediaInput::SourceChanged(source("TR_mic", TrackType::Audio, Codec::Opus))
}

fn camera() -> MediaInput {
    MediaInput::SourceChanged(source("TR_cam", TrackType::Video, Codec::Vp8))
}

fn subscribe(sid: &str, subscribed: bool) -> MediaInput {
    MediaInput::Subscribe {
        track: TrackSid(sid.into()),
        subscribed,
    }
}

/// On `/rtc`, its first offer answered and connected.
pub(super) fn active() -> Stage {
    let mut stage = Stage::dual();
    stage.client_answers();
    let transport = stage.transport(0);
    stage.connect(transport);
    stage.clear();
    stage
}

pub(super) fn down_tracks(stage: &Stage) -> usize {
    let added = |c: &&&Command| matches!(c, Command::AddDownTrack { .. });
    stage.commands().iter().filter(added).count()
}

fn removed_down_tracks(stage: &Stage) -> usize {
    let removed = |c: &&&Command| matches!(c, Command::RemoveDownTrack { .. });
    stage.commands().iter().filter(removed).count()
}

fn permission_updates(stage: &Stage) -> Vec<bool> {
    let update = |message: &&Message| match message {
        Message::SubscriptionPermissionUpdate(update) => Some(update.allowed),
        _ => None,
    };
    stage.signals().iter().filter_map(update).collect()
}

#[test]
fn the_first_offer_comes_with_the_join_and_carries_data() {
    let stage = Stage::dual();
    let offer = stage.offers().pop().unwrap();
    assert!(offer.id > 0 && offer.r#type == "offer");
    assert_eq!(offer.sdp.matches("m=").count(), 1);
    assert!(offer.sdp.contains("m=application"));
    let labels: Vec<_> = stage
        .commands()
        .iter()
        .filter_map(|command| match command {
            Command::OpenChannel { label, .. } => Some(label.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(labels, ["_reliable", "_lossy", "_data_track"]);
}

#[test]
fn a_source_is_offered_and_forwarded_once_the_client_answered() {
    let mut stage = active();
    stage.feed(mic());
    assert_eq!(permission_updates(&stage), [true]);
    stage.settle();
    let offer = stage.offers().pop().unwrap();
    assert!(
        offer.sdp.contains("a=msid:PA_alice|TR_mic TR_mic"),
        "{}",
        offer.sdp
    );
    assert_eq!(
        offer.mid_to_track_id.values().collect::<Vec<_>>(),
        ["TR_mic"]
    );
    assert_eq!(down_tracks(&stage), 0);
    stage.client_answers();
    assert_eq!(down_tracks(&stage), 1);
    assert!(stage.has(|output| matches!(
        output,
        MediaOutput::SubscriptionChanged {
            subscribed: true,
            codec: Some(Codec::Opus),
            ..
        }
    )));
    assert!(
        stage
            .media
            .subscribes_to(&ParticipantSid("PA_alice".into()))
    );
}

#[test]
fn only_one_offer_waits_and_what_came_meanwhile_is_offered_next() {
    let mut stage = Stage::dual();
    stage.feed(mic());
    stage.wait(Duration::from_secs(5));
    assert_eq!(stage.offers().len(), 1);
    stage.client_answers();
    stage.settle();
    let offers = stage.offers();
    assert_eq!(offers.len(), 2);
    assert_eq!(offers[1].id, offers[0].id + 1);
    assert!(offers[1].sdp.contains("m=audio"));
}

#[test]
fn an_unanswered_offer_of_a_live_connection_ends_in_a_full_reconnect() {
    let mut stage = active();
    stage.feed(mic());
    stage.wait(Duration::from_secs(16));
    assert!(stage.has(|output| matches!(output, MediaOutput::FullReconnect)));
    let mut silent = Stage::dual();
    silent.wait(Duration::from_secs(60));
    assert!(!silent.has(|output| matches!(output, MediaOutput::FullReconnect)));
}

#[test]
fn unsubscribing_stops_at_once_and_renegotiates_and_subscribing_again_reuses_the_section() {
    let mut stage = active();
    stage.feed(mic());
    stage.settle();
    stage.client_answers();
    stage.clear();
    stage.feed(subscribe("TR_mic", false));
    assert_eq!(removed_down_tracks(&stage), 1);
    stage.settle();
    let offer = stage.offers().pop().unwrap();
    assert!(!offer.sdp.contains("|TR_mic TR_mic"));
    stage.client_answers();
    stage.feed(subscribe("TR_mic", true));
    stage.settle();
    let offer = stage.offers().pop().unwrap();
    assert!(offer.sdp.contains("|TR_mic TR_mic"));
    assert_eq!(offer.sdp.matches("m=audio").count(), 1);
    stage.client_answers();
    assert_eq!(down_tracks(&stage), 1);
}

#[test]
fn without_auto_subscribe_nothing_is_offered_until_asked() {
    let mut quiet = settings(false);
    quiet.auto_subscribe = false;
    let mut stage = Stage::joined(quiet);
    stage.client_answers();
    stage.clear();
    stage.feed(mic());
    stage.settle();
    assert!(stage.offers().is_empty() && permission_updates(&stage).is_empty());
    stage.feed(subscribe("TR_mic", true));
    stage.settle();
    assert!(stage.offers()[0].sdp.contains("TR_mic"));
}

#[test]
fn a_denied_source_waits_for_its_publisher() {
    let mut stage = active();
    let mut denied = source("TR_mic", TrackType::Audio, Codec::Opus);
    denied.allowed = false;
    stage.feed(MediaInput::SourceChanged(denied));
    stage.settle();
    assert_eq!(permission_updates(&stage), [false]);
    assert!(stage.offers().is_empty());
    stage.feed(mic());
    stage.settle();
    assert_eq!(permission_updates(&stage), [false, true]);
    assert_eq!(stage.offers().len(), 1);
}

#[test]
fn the_right_to_subscribe_can_be_taken_and_given_back() {
    let mut stage = active();
    stage.feed(mic());
    stage.settle();
    stage.client_answers();
    for can_subscribe in [false, true] {
        stage.clear();
        let permission = proto::ParticipantPermission {
            can_subscribe,
            ..Default::default()
        };
        stage.feed(MediaInput::Permission(permission));
        stage.settle();
        let offer = stage.offers().pop().unwrap();
        assert_eq!(offer.sdp.contains("|TR_mic TR_mic"), can_subscribe);
        stage.client_answers();
    }
}

#[test]
fn settings_before_the_subscription_count_when_it_is_bound() {
    let mut stage = active();
    let settings = |disabled, quality: VideoQuality| {
        MediaInput::TrackSetting(proto::UpdateTrackSettings {
            track_sids: vec!["TR_cam".into()],
            disabled,
            quality: quality as i32,
            ..Default::default()
        })
    };
    stage.feed(settings(false, VideoQuality::Low));
    stage.feed(camera());
    stage.settle();
    stage.client_answers();
    let limits: Vec<_> = stage
        .commands()
        .iter()
        .filter_map(|command| match command {
            Command::AddDownTrack { limit, paused, .. } => Some((limit.max_spatial, *paused)),
            _ => None,
        })
        .collect();
    assert_eq!(limits, [(0, false)]);
    stage.clear();
    stage.feed(settings(true, VideoQuality::High));
    let paused = |c: &&Command| matches!(c, Command::UpdateDownTrack { paused: true, .. });
    assert!(stage.commands().iter().any(paused));
    assert!(stage.has(|output| matches!(
        output,
        MediaOutput::SubscriptionChanged {
            quality: VideoQuality::Off,
            subscribed: true,
            ..
        }
    )));
}

#[test]
fn a_track_nobody_publishes_is_not_found_after_a_minute() {
    let mut stage = active();
    stage.feed(subscribe("TR_never", true));
    stage.wait(Duration::from_secs(59));
    assert!(stage.signals().is_empty());
    stage.wait(Duration::from_secs(2));
    let not_found = |message: &&Message| match message {
        Message::SubscriptionResponse(response) => {
            response.err() == proto::SubscriptionError::SeTrackNotfound
        }
        _ => false,
    };
    assert!(stage.signals().iter().any(not_found));
}

#[test]
fn a_limit_keeps_later_tracks_waiting_for_room() {
    let mut limited = settings(false);
    limited.subscription_limit_audio = 1;
    let mut stage = Stage::joined(limited);
    stage.client_answers();
    stage.feed(mic());
    stage.feed(MediaInput::SourceChanged(source(
        "TR_other",
        TrackType::Audio,
        Codec::Opus,
    )));
    stage.settle();
    stage.client_answers();
    assert_eq!(down_tracks(&stage), 1);
    stage.feed(MediaInput::SourceRemoved(TrackSid("TR_mic".into())));
    stage.settle();
    stage.client_answers();
    assert_eq!(down_tracks(&stage), 2);
}

#[test]
fn a_source_that_ends_frees_its_section() {
    let mut stage = active();
    stage.feed(mic());
    stage.settle();
    stage.client_answers();
    stage.clear();
    stage.feed(MediaInput::SourceRemoved(TrackSid("TR_mic".into())));
    assert_eq!(removed_down_tracks(&stage), 1);
    stage.settle();
    assert!(!stage.offers()[0].sdp.contains("TR_mic"));
}

#[test]
fn a_single_connection_asks_for_the_sections_it_lacks_and_uses_them() {
    let mut stage = Stage::single();
    stage.client_offers(1, &[data(0)]);
    stage.feed(mic());
    stage.settle();
    assert_eq!(stage.requirements(), [(1, 0)]);
    assert!(stage.offers().is_empty());
    stage.client_offers(2, &[data(0), free_audio(1)]);
    let answer = stage.answers().pop().unwrap();
    assert_eq!(
        answer.mid_to_track_id.get("1").map(String::as_str),
        Some("TR_mic")
    );
    assert!(answer.sdp.contains("a=msid:PA_alice|TR_mic TR_mic"));
    assert_eq!(down_tracks(&stage), 1);
    stage.settle();
    assert_eq!(stage.requirements().len(), 1);
}

#[test]
fn tracks_known_before_the_first_offer_are_in_its_answer() {
    let mut stage = Stage::single();
    stage.feed(mic());
    stage.settle();
    assert!(stage.requirements().is_empty());
    stage.client_offers(1, &[data(0), free_audio(1), free_audio(2)]);
    assert_eq!(stage.answers()[0].mid_to_track_id.len(), 1);
    assert_eq!(down_tracks(&stage), 1);
}

#[test]
fn free_sections_need_a_mere_offer() {
    let mut stage = Stage::single();
    stage.client_offers(1, &[data(0), free_audio(1)]);
    stage.feed(mic());
    stage.settle();
    assert_eq!(stage.requirements(), [(0, 0)]);
    stage.client_offers(2, &[data(0), free_audio(1)]);
    assert_eq!(stage.answers()[1].mid_to_track_id.len(), 1);
}

#[test]
fn a_removal_makes_the_client_of_a_single_connection_offer() {
    let mut stage = Stage::single();
    stage.feed(mic());
    stage.client_offers(1, &[data(0), free_audio(1)]);
    stage.clear();
    stage.feed(subscribe("TR_mic", false));
    assert_eq!(removed_down_tracks(&stage), 1);
    stage.settle();
    assert_eq!(stage.requirements(), [(0, 0)]);
    stage.client_offers(2, &[data(0), free_audio(1)]);
    assert!(stage.answers()[0].mid_to_track_id.is_empty());
}

#[test]
fn one_connection_publishes_and_receives() {
    let mut stage = Stage::single();
    stage.feed(mic());
    stage.add_track("mine", proto::TrackSource::Microphone);
    stage.client_offers(1, &[data(0), audio(1, "mine"), free_audio(2)]);
    let transport = stage.transport(0);
    stage.connect(transport);
    assert_eq!(stage.published()[0].info.mid, "1");
    assert_eq!(
        stage.answers()[0]
            .mid_to_track_id
            .get("2")
            .map(String::as_str),
        Some("TR_mic")
    );
}

#[test]
fn an_announced_backup_codec_is_asked_for_and_waited_for() {
    let mut stage = active();
    let mut cam = source("TR_cam", TrackType::Video, Codec::H265);
    let codec = |mime: &str| proto::SimulcastCodecInfo {
        mime_type: mime.into(),
        ..Default::default()
    };
    let info = std::sync::Arc::make_mut(&mut cam.info);
    info.codecs = vec![codec("video/H265"), codec("video/VP8")];
    stage.feed(MediaInput::SourceChanged(cam.clone()));
    stage.settle();
    stage.client_answers();
    let asked = |stage: &Stage| {
        stage.has(|output| {
            matches!(
                output,
                MediaOutput::SubscriptionChanged {
                    codec: Some(Codec::Vp8),
                    quality: VideoQuality::High,
                    ..
                }
            )
        })
    };
    assert!(
        asked(&stage),
        "the room enables no H265: only the backup will do"
    );
    assert_eq!(down_tracks(&stage), 0);
    stage.clear();
    cam.codecs.push((media::TrackKey(78), Codec::Vp8));
    stage.feed(MediaInput::SourceChanged(cam));
    assert_eq!(down_tracks(&stage), 1);
    let backup = stage
        .commands()
        .iter()
        .any(|c| matches!(c, Command::AddDownTrack { track, .. } if *track == media::TrackKey(78)));
    assert!(backup);
}

#[test]
fn synced_streams_carry_camera_and_microphone_together_for_clients_that_can_play_them() {
    let streams = |browser: &str| {
        let mut settings = settings(false);
        settings.sync_streams = true;
        settings.client.browser = browser.into();
        let mut stage = Stage::new(settings);
        stage.feed(MediaInput::Joined);
        stage.settle();
        stage.client_answers();
        let transport = stage.transport(0);
        stage.connect(transport);
        for (sid, kind, codec) in [
            ("TR_mic", TrackType::Audio, Codec::Opus),
            ("TR_cam", TrackType::Video, Codec::Vp8),
        ] {
            let mut source = source(sid, kind, codec);
            let mut info = (*source.info).clone();
            info.stream = "camera".into();
            source.info = info.into();
            stage.feed(MediaInput::SourceChanged(source));
        }
        stage.settle();
        let sdp = stage.offers().pop().unwrap().sdp;
        sdp.matches("a=msid:PA_alice|camera TR_").count()
    };
    assert_eq!(streams("chrome"), 2);
    assert_eq!(streams("firefox"), 0);
}
