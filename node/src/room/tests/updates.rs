//! What participants learn of each other: versions, batches, metadata, hidden ones, speakers.

use super::*;

#[test]
fn joins_of_subscribers_are_batched_for_three_seconds() {
    let mut house = House::new();
    let alice = house.join("alice");
    house.wait(4 * S);
    house.heard(alice);
    house.join("bob");
    house.join("carol");
    house.wait(S);
    assert!(!kinds(&house.heard(alice)).contains(&"update"));
    house.wait(3 * S);
    let updates: Vec<_> = house
        .heard(alice)
        .into_iter()
        .filter_map(|m| match m {
            Message::Update(update) => Some(update.participants),
            _ => None,
        })
        .collect();
    assert_eq!(updates.len(), 1, "one message for both");
    assert_eq!(updates[0].len(), 2);
}

#[test]
fn a_large_batch_is_split() {
    let mut house = House::with(|config| config.update_batch_target_bytes = 1000, |_| {});
    let alice = house.join("alice");
    house.heard(alice);
    for number in 0..4 {
        house.attach(&format!("p{number}"), |a| {
            a.claims.metadata = "m".repeat(600)
        });
    }
    house.wait(4 * S);
    let heard = house.heard(alice);
    assert!(
        kinds(&heard)
            .iter()
            .filter(|kind| **kind == "update")
            .count()
            >= 4
    );
}

#[test]
fn a_publisher_is_announced_at_once_and_before_its_track_is_offered() {
    let mut house = House::new();
    let alice = house.enter("alice");
    house.enter("bob");
    house.heard(alice);
    house.publish("bob", "TR_1");
    let infos = house.infos(alice, "bob");
    assert_eq!(infos.len(), 1);
    assert!(infos[0].is_publisher && infos[0].tracks[0].sid == "TR_1");
    let script = house.script("alice");
    assert!(matches!(
        script.lock().unwrap().heard.last(),
        Some(MediaInput::SourceChanged(_))
    ));
    house.media("bob", MediaOutput::Unpublished(TrackSid("TR_1".into())));
    assert!(house.infos(alice, "bob")[0].tracks.is_empty());
    assert!(matches!(
        script.lock().unwrap().heard.last(),
        Some(MediaInput::SourceRemoved(_))
    ));
    let names = ["room_started", "participant_joined", "participant_joined"];
    assert_eq!(
        house.events(),
        [names.as_slice(), &["track_published", "track_unpublished"]].concat()
    );
}

#[test]
fn the_own_activation_comes_with_the_batch() {
    let mut house = House::new();
    let alice = house.enter("alice");
    assert!(house.infos(alice, "alice").is_empty());
    house.wait(4 * S);
    let infos = house.infos(alice, "alice");
    assert_eq!(
        infos.last().map(|info| (info.state(), info.version)),
        Some((State::Active, 2))
    );
}

#[test]
fn one_update_of_metadata_makes_three_updates_three_tokens_and_a_response() {
    let mut house = House::new();
    let carol = house.join("carol");
    let alice = house.attach("alice", |a| {
        a.claims.video.as_mut().unwrap().can_update_own_metadata = Some(true);
        a.claims.attributes = [("drop".to_owned(), "1".to_owned())].into();
    });
    house.heard(alice);
    house.heard(carol);
    let request = proto::UpdateParticipantMetadata {
        metadata: "m".into(),
        name: "Ann".into(),
        attributes: [
            ("new".to_owned(), "2".to_owned()),
            ("drop".to_owned(), String::new()),
        ]
        .into(),
        request_id: 7,
    };
    house.signal(alice, SignalRequest::UpdateMetadata(request));
    let heard = house.heard(alice);
    let pair = ["update", "refresh_token"];
    assert_eq!(
        kinds(&heard),
        [pair, pair, pair]
            .concat()
            .into_iter()
            .chain(["request_response"])
            .collect::<Vec<_>>()
    );
    let infos = house.infos(carol, "alice");
    assert_eq!(
        infos.iter().map(|i| i.version).collect::<Vec<_>>(),
        [2, 3, 4]
    );
    let last = infos.last().unwrap();
    assert_eq!((last.name.as_str(), last.metadata.as_str()), ("Ann", "m"));
    assert_eq!(last.attributes.len(), 1);
    assert_eq!(last.attributes["new"], "2");
}

#[test]
fn own_metadata_needs_the_grant_and_respects_limits_and_old_protocols() {
    let mut house = House::new();
    let bob = house.join("bob");
    house.heard(bob);
    let mut request = proto::UpdateParticipantMetadata {
        metadata: "m".into(),
        request_id: 9,
        ..Default::default()
    };
    house.signal(bob, SignalRequest::UpdateMetadata(request.clone()));
    let Some(Message::RequestResponse(response)) = house.heard(bob).pop() else {
        panic!("no response")
    };
    assert_eq!(
        (response.request_id, response.reason()),
        (9, proto::request_response::Reason::NotAllowed)
    );
    let old = house.attach("old", |a| {
        a.client.protocol = 14;
        a.claims.video.as_mut().unwrap().can_update_own_metadata = Some(true);
    });
    house.signal(old, SignalRequest::UpdateMetadata(request.clone()));
    assert!(!kinds(&house.heard(old)).contains(&"request_response"));
    request.name = "n".repeat(300);
    house.signal(old, SignalRequest::UpdateMetadata(request));
    let Some(Message::RequestResponse(response)) = house.heard(old).pop() else {
        panic!("no response")
    };
    assert_eq!(
        response.reason(),
        proto::request_response::Reason::LimitExceeded
    );
}

#[test]
fn a_hidden_participant_is_told_of_to_itself_only() {
    let mut house = House::new();
    let alice = house.join("alice");
    let ghost = house.attach("ghost", |a| a.claims.video.as_mut().unwrap().hidden = true);
    house.media("ghost", MediaOutput::Connected);
    house.wait(4 * S);
    house.input(RoomInput::SessionClosed(ghost));
    house
        .call(RoomCall::RemoveParticipant {
            identity: "ghost".into(),
        })
        .unwrap();
    house.wait(4 * S);
    assert!(house.infos(alice, "ghost").is_empty());
    assert_eq!(
        house.infos(ghost, "ghost").last().unwrap().state(),
        State::Active
    );
}

#[test]
fn counts_are_told_after_five_seconds_and_a_recording_at_once() {
    let mut house = House::new();
    let alice = house.join("alice");
    house.heard(alice);
    house.join("bob");
    assert!(!kinds(&house.heard(alice)).contains(&"room_update"));
    house.wait(6 * S);
    let counted = house.heard(alice).into_iter().any(|m| {
        matches!(m, Message::RoomUpdate(update)
        if update.room.as_ref().unwrap().num_participants == 2)
    });
    assert!(counted);
    house.attach("rec", |a| a.claims.kind = "egress".into());
    let recording = house.heard(alice).into_iter().any(|m| {
        matches!(m, Message::RoomUpdate(update)
        if update.room.as_ref().unwrap().active_recording)
    });
    assert!(recording);
}

#[test]
fn speakers_are_told_in_steps_to_those_who_hear_them() {
    let mut house = House::new();
    let alice = house.enter("alice");
    let bob = house.enter("bob");
    let carol = house.enter("carol");
    let sid = house.sid("alice");
    house
        .script("bob")
        .lock()
        .unwrap()
        .subscribes
        .insert(sid.clone());
    let number = house.member("alice").number;
    let track = KeySpace::new(3, number).allocator().track();
    let room = KeySpace::new(3, 0).room;
    for session in [alice, bob, carol] {
        house.heard(session);
    }
    house.input(RoomInput::Shard(media::Event::Speakers {
        room,
        levels: vec![(track, 0.3)],
    }));
    for session in [alice, bob] {
        let heard = house.heard(session);
        let Some(Message::SpeakersChanged(changed)) = heard.first() else {
            panic!("{heard:?}")
        };
        let speaker = &changed.speakers[0];
        assert_eq!(
            (speaker.sid.as_str(), speaker.level, speaker.active),
            (sid.as_str(), 0.375, true)
        );
    }
    assert!(house.heard(carol).is_empty());
    house.input(RoomInput::Shard(media::Event::Speakers {
        room,
        levels: vec![(track, 0.31)],
    }));
    assert!(house.heard(bob).is_empty(), "the same step is no news");
    house.input(RoomInput::Shard(media::Event::Speakers {
        room,
        levels: Vec::new(),
    }));
    let heard = house.heard(bob);
    assert!(matches!(&heard[0], Message::SpeakersChanged(c) if !c.speakers[0].active));
}

#[test]
fn a_subscription_permission_reaches_the_media_cores_of_others() {
    let mut house = House::new();
    let alice = house.enter("alice");
    house.enter("bob");
    house.enter("carol");
    house.publish("alice", "TR_1");
    let permission = proto::SubscriptionPermission {
        all_participants: false,
        track_permissions: vec![proto::TrackPermission {
            participant_identity: "bob".into(),
            all_tracks: true,
            ..Default::default()
        }],
    };
    house.signal(alice, SignalRequest::SubscriptionPermission(permission));
    for (identity, expected) in [("bob", true), ("carol", false)] {
        let script = house.script(identity);
        let heard = &script.lock().unwrap().heard;
        let Some(MediaInput::SourceChanged(source)) = heard.last() else {
            panic!("{identity}: {heard:?}")
        };
        assert_eq!(source.allowed, expected, "{identity}");
    }
}
