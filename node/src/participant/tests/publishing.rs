//! AddTrack, the sections its media comes on, what others are shown of it, and its end.

use media::types::{Codec, LayerMode};
use media::{Command, Event};
use protocol::proto;
use protocol::proto::TrackSource::{Camera, Microphone};
use protocol::proto::request_response::Reason;
use protocol::proto::signal_response::Message;

use super::stage::{Stage, audio, audio_section, data, free_audio, request, settings, video};
use crate::participant::{MediaInput, MediaOutput};

#[test]
fn a_microphone_is_announced_at_once_and_shown_when_its_media_is_up() {
    let mut stage = Stage::dual();
    stage.add_track("cid", Microphone);
    let info = stage.track_published().pop().unwrap();
    assert!(info.sid.starts_with("TR_AM"));
    assert_eq!(
        (info.stream.as_str(), info.codecs[0].cid.as_str()),
        ("camera", "cid")
    );
    assert!(info.mid.is_empty() && info.mime_type.is_empty());

    stage.client_offers(5, &[data(0), audio(1, "cid")]);
    let answer = stage.answers().pop().unwrap();
    assert_eq!((answer.id, answer.r#type.as_str()), (5, "answer"));
    assert!(stage.published().is_empty(), "no media yet");

    let transport = stage.transport(1);
    stage.connect(transport);
    let shown = stage.published().pop().unwrap();
    assert_eq!(
        (shown.info.mid.as_str(), shown.info.mime_type.as_str()),
        ("1", "audio/red")
    );
    assert_eq!(shown.info.codecs[0].mime_type, "audio/red");
    assert!(shown.info.version.is_some());
    assert_eq!(shown.codecs[0].1, Codec::Red);
}

#[test]
fn the_packet_plane_learns_track_and_sections() {
    let mut stage = Stage::dual();
    stage.add_track("cam", Camera);
    stage.client_offers(1, &[data(0), video(1, "cam")]);
    let mut added = None;
    for command in stage.commands() {
        match command {
            Command::AddTrack { track, config, .. } => added = Some((*track, config.clone())),
            Command::SetReceive { sections, .. } => {
                let (track, config) = added.clone().expect("the track comes first");
                assert_eq!(sections[0].track, Some(track));
                assert_eq!(config.rids, ["q", "h", "f"]);
                assert_eq!(config.layer_mode, LayerMode::OneStreamPerLayer);
            }
            _ => {}
        }
    }
    assert!(added.is_some());
}

#[test]
fn the_trickled_candidates_follow_the_answer_and_the_last_is_final() {
    let mut stage = Stage::dual();
    stage.clear();
    stage.client_offers(1, &[data(0)]);
    let kinds: Vec<_> = stage
        .signals()
        .iter()
        .map(|message| match message {
            Message::Answer(_) => "answer".to_owned(),
            Message::Trickle(t) => format!("{} {}", t.target, t.r#final),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, ["answer", "0 false", "0 true"]);
    stage.clear();
    stage.client_offers(2, &[data(0)]);
    assert_eq!(stage.signals().len(), 1, "told once for each generation");
}

#[test]
fn an_offer_before_its_add_track_waits_for_it() {
    let mut stage = Stage::dual();
    stage.client_offers(1, &[data(0), audio(1, "late")]);
    let transport = stage.transport(1);
    stage.connect(transport);
    assert!(stage.published().is_empty());
    stage.add_track("late", Microphone);
    assert_eq!(stage.published()[0].info.codecs[0].cid, "late");
}

#[test]
fn a_section_with_another_cid_is_matched_by_kind() {
    let mut stage = Stage::dual();
    stage.add_track("signalled", Microphone);
    stage.client_offers(1, &[data(0), audio(1, "{in-sdp}")]);
    let transport = stage.transport(1);
    stage.connect(transport);
    let info = stage.published().pop().unwrap().info;
    assert_eq!(info.codecs[0].cid, "signalled");
    assert_eq!(info.codecs[0].sdp_cid, "{in-sdp}");
}

#[test]
fn what_is_not_permitted_or_known_is_refused() {
    let mut restricted = settings(false);
    restricted.permission.can_publish_sources = vec![Microphone as i32];
    let mut stage = Stage::joined(restricted);
    stage.add_track("v", Camera);
    let mut unknown = request("d", Microphone);
    unknown.r#type = proto::TrackType::Data as i32;
    stage.feed(MediaInput::AddTrack(unknown));
    let mut backup = request("b", Microphone);
    backup.sid = "TR_unknown".into();
    stage.feed(MediaInput::AddTrack(backup));
    let reasons: Vec<_> = stage.responses().iter().map(|r| r.reason()).collect();
    assert_eq!(
        reasons,
        [
            Reason::NotAllowed,
            Reason::UnsupportedType,
            Reason::NotFound
        ]
    );
    assert!(stage.track_published().is_empty());
}

#[test]
fn the_same_cid_is_queued_until_the_earlier_track_ends() {
    let mut stage = Stage::dual();
    let first = stage.publish("cid", Microphone);
    stage.add_track("cid", Microphone);
    assert_eq!(stage.responses()[0].reason(), Reason::Queued);
    assert_eq!(stage.track_published().len(), 1);
    stage.client_offers(2, &[data(0), audio_section(1, "inactive", "")]);
    assert_eq!(stage.unpublished(), [first]);
    assert_eq!(stage.track_published().len(), 2);
}

#[test]
fn the_end_of_the_sender_unpublishes_and_a_new_track_may_take_its_section() {
    let mut stage = Stage::dual();
    let first = stage.publish("one", Microphone);
    stage.client_offers(2, &[data(0), audio_section(1, "inactive", "")]);
    assert_eq!(stage.unpublished(), std::slice::from_ref(&first));
    let removed = |command: &&Command| matches!(command, Command::RemoveTrack { .. });
    assert!(stage.commands().iter().any(removed));
    stage.clear();
    stage.add_track("two", Microphone);
    stage.client_offers(3, &[data(0), audio(1, "two")]);
    let again = stage.published().pop().unwrap();
    assert_ne!(again.info.sid, first.0);
    assert_eq!(again.info.codecs[0].cid, "two");
}

#[test]
fn muting_reaches_pending_and_published_tracks_and_nobody_else() {
    let mut stage = Stage::dual();
    stage.add_track("cid", Microphone);
    let sid = protocol::ids::TrackSid(stage.track_published()[0].sid.clone());
    let mute = |track, muted, from_admin| MediaInput::Mute {
        track,
        muted,
        from_admin,
    };
    stage.feed(mute(sid.clone(), true, false));
    stage.client_offers(1, &[data(0), audio(1, "cid")]);
    let transport = stage.transport(1);
    stage.connect(transport);
    assert!(stage.published()[0].info.muted);
    stage.clear();
    stage.feed(mute(sid.clone(), false, false));
    assert!(!stage.changed()[0].info.muted);
    stage.feed(mute(sid, true, true));
    assert!(
        stage
            .signals()
            .iter()
            .any(|m| matches!(m, Message::Mute(mute) if mute.muted))
    );
    stage.feed(mute(
        protocol::ids::TrackSid("TR_unknown".into()),
        true,
        false,
    ));
    assert_eq!(stage.responses()[0].reason(), Reason::NotFound);
}

#[test]
fn a_revoked_permission_ends_tracks_and_their_lingering_media_is_no_new_track() {
    let mut stage = Stage::dual();
    let sid = stage.publish("cid", Microphone);
    let permission = |can_publish| proto::ParticipantPermission {
        can_subscribe: true,
        can_publish,
        ..Default::default()
    };
    stage.feed(MediaInput::Permission(permission(false)));
    assert_eq!(stage.unpublished(), std::slice::from_ref(&sid));
    let told = |message: &&Message| match message {
        Message::TrackUnpublished(gone) => gone.track_sid == sid.0,
        _ => false,
    };
    assert!(stage.signals().iter().any(told));
    stage.feed(MediaInput::Permission(permission(true)));
    stage.clear();
    stage.add_track("new", Microphone);
    stage.client_offers(2, &[data(0), audio(1, "cid")]);
    assert!(stage.published().is_empty());
    stage.client_offers(3, &[data(0), audio(1, "cid"), audio(2, "new")]);
    assert_eq!(stage.published()[0].info.mid, "2");
}

#[test]
fn a_backup_codec_joins_its_track() {
    let mut stage = Stage::dual();
    let mut cam = request("cam", Camera);
    let codec = |codec: &str, cid: &str| proto::SimulcastCodec {
        codec: codec.into(),
        cid: cid.into(),
        ..Default::default()
    };
    cam.simulcast_codecs = vec![codec("vp9", "cam"), codec("vp8", "")];
    stage.feed(MediaInput::AddTrack(cam));
    stage.client_offers(1, &[data(0), video(1, "cam")]);
    let transport = stage.transport(1);
    stage.connect(transport);
    let shown = stage.published().pop().unwrap();
    assert_eq!(
        (shown.info.mime_type.as_str(), shown.codecs.len()),
        ("video/VP9", 1)
    );

    let mut backup = request("backup", Camera);
    backup.sid.clone_from(&shown.info.sid);
    backup.simulcast_codecs = vec![codec("vp8", "backup")];
    stage.feed(MediaInput::AddTrack(backup));
    stage.client_offers(2, &[data(0), video(1, "cam"), video(2, "backup")]);
    stage.feed(MediaInput::Timeout);
    let info = stage
        .media
        .track(&protocol::ids::TrackSid(shown.info.sid.clone()))
        .unwrap();
    assert_eq!(info.codecs[1].mid, "2");
    let both = stage
        .changed()
        .pop()
        .expect("others learn of the second codec");
    assert_eq!(
        both.codecs.iter().map(|c| c.1).collect::<Vec<_>>(),
        [Codec::Vp9, Codec::Vp8]
    );
}

#[test]
fn the_first_packet_corrects_the_codec() {
    let mut stage = Stage::dual();
    stage.publish("cid", Microphone);
    let track = stage.published()[0].codecs[0].0;
    let started = Event::TrackStarted {
        track,
        codec: Codec::Opus,
        layer: 0,
        ssrc: 1,
    };
    stage.feed(MediaInput::Shard(started));
    let changed = stage.changed().pop().unwrap();
    assert_eq!(changed.info.mime_type, "audio/opus");
    assert_eq!(changed.info.codecs[0].mime_type, "audio/opus");
    assert_eq!(changed.info.codecs.len(), 1);
}

#[test]
fn nonsense_changes_nothing() {
    let mut stage = Stage::dual();
    stage.clear();
    let nonsense = proto::SessionDescription {
        sdp: "nonsense".into(),
        id: 1,
        ..Default::default()
    };
    stage.feed(MediaInput::Offer(nonsense.clone()));
    stage.feed(MediaInput::Answer(nonsense));
    assert!(stage.signals().is_empty());
    let trickle = proto::TrickleRequest {
        candidate_init: "{not json".into(),
        ..Default::default()
    };
    stage.feed(MediaInput::Trickle(trickle));
    assert_eq!(stage.responses()[0].reason(), Reason::UnclassifiedError);
}

#[test]
fn candidates_before_the_description_wait_for_it() {
    let mut stage = Stage::dual();
    let init = r#"{"candidate":"candidate:1 1 udp 1 192.0.2.1 5000 typ host","sdpMid":"0"}"#;
    let trickle = || proto::TrickleRequest {
        candidate_init: init.into(),
        ..Default::default()
    };
    stage.feed(MediaInput::Trickle(trickle()));
    let added = |stage: &Stage| {
        let added = |c: &&&Command| matches!(c, Command::AddRemoteCandidate { .. });
        stage.commands().iter().filter(added).count()
    };
    assert_eq!(added(&stage), 0);
    stage.client_offers(1, &[data(0)]);
    assert_eq!(added(&stage), 1);
    stage.feed(MediaInput::Trickle(trickle()));
    assert_eq!(added(&stage), 2);
}

#[test]
fn a_hundred_thousand_add_tracks_are_bounded() {
    let mut stage = Stage::dual();
    for number in 0..1000 {
        stage.add_track(&format!("cid-{number}"), Microphone);
    }
    let refused = stage.responses();
    assert!(refused.iter().all(|r| r.reason() == Reason::LimitExceeded));
    assert_eq!(refused.len() + stage.track_published().len(), 1000);
    assert!(stage.track_published().len() < 300);
}

#[test]
fn one_connection_connects_and_its_channels_make_data_ready() {
    let mut stage = Stage::single();
    stage.client_offers(1, &[data(0), free_audio(1)]);
    let transport = stage.transport(0);
    stage.connect(transport);
    assert!(stage.has(|output| matches!(output, MediaOutput::Connected)));
    assert!(!stage.has(|output| matches!(output, MediaOutput::DataReady)));
    stage.open_channels(transport);
    assert!(stage.has(|output| matches!(output, MediaOutput::DataReady)));
}

#[test]
fn a_first_offer_without_data_needs_no_channels() {
    let mut stage = Stage::single();
    stage.client_offers(1, &[free_audio(0)]);
    let transport = stage.transport(0);
    stage.connect(transport);
    assert!(stage.has(|output| matches!(output, MediaOutput::DataReady)));
}

#[test]
fn texts_that_everybody_would_be_told_are_short() {
    let mut stage = Stage::dual();
    let mut long = request("cid", Microphone);
    long.name = "x".repeat(2_000);
    stage.feed(MediaInput::AddTrack(long));
    assert!(stage.track_published().is_empty());
    let mut odd = request("cid", Microphone);
    odd.audio_features = [4, 99].repeat(1_000);
    stage.feed(MediaInput::AddTrack(odd));
    assert_eq!(stage.track_published()[0].audio_features, [4]);
}

#[test]
fn clients_that_stop_at_messages_they_do_not_know_get_no_responses() {
    let mut old = settings(false);
    old.client.sdk = proto::client_info::Sdk::Rust as i32;
    old.client.protocol = 9;
    let mut stage = Stage::joined(old);
    stage.feed(MediaInput::Mute {
        track: protocol::ids::TrackSid("TR_none".into()),
        muted: true,
        from_admin: false,
    });
    let responses = stage.signals().into_iter();
    let responses = responses.filter(|signal| matches!(signal, Message::RequestResponse(_)));
    assert_eq!(responses.count(), 0);
}
