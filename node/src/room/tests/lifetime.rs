//! How long a room lives, and what its end says.

use super::*;

/// How: a hundred come, are woken, fail, resume and go in an order drawn from a seed; after every
/// input (see `House::drain`) the room's deadline is compared with that of everybody.
#[test]
fn the_deadline_of_a_crowd_is_that_of_its_most_impatient() {
    use rand::{RngExt, SeedableRng};

    let mut rng = ChaCha12Rng::seed_from_u64(5);
    let mut house = House::new();
    let mut sessions = Vec::new();
    for number in 0..100 {
        let identity = format!("p{number}");
        sessions.push((identity.clone(), house.join(&identity)));
    }
    for _ in 0..400 {
        let (identity, session) = sessions[rng.random_range(0..sessions.len())].clone();
        let present = house.room.roster.of_identity(&identity).is_some();
        match rng.random_range(0..6) {
            0 if present => house.media(&identity, MediaOutput::Connected),
            1 if present => house.media(&identity, MediaOutput::TransportFailed { lived: None }),
            2 => house.input(RoomInput::SessionClosed(session)),
            3 => drop(house.resume(&identity)),
            4 => drop(house.join(&identity)),
            _ => house.wait(Duration::from_millis(rng.random_range(0..20_000))),
        }
        if house.ended {
            break;
        }
    }
    house.check_deadlines();
    assert!(house.room.deadline().is_some() || house.ended);
}

#[test]
fn a_room_nobody_joins_ends_after_its_empty_timeout() {
    let mut house = House::with(|_| {}, |options| options.empty_timeout_s = 5);
    house.wait(4 * S);
    assert!(!house.ended);
    house.wait(2 * S);
    assert!(house.ended);
    assert_eq!(house.events(), ["room_started", "room_finished"]);
}

#[test]
fn a_room_everybody_left_ends_after_its_departure_timeout_and_a_return_keeps_it() {
    let mut house = House::with(|_| {}, |options| options.departure_timeout_s = 3);
    let alice = house.enter("alice");
    house.wait(400 * S);
    house.signal(alice, SignalRequest::Leave(Default::default()));
    house.wait(2 * S);
    let alice = house.enter("alice");
    house.wait(10 * S);
    assert!(!house.ended);
    house.signal(alice, SignalRequest::Leave(Default::default()));
    house.wait(4 * S);
    assert!(house.ended);
}

#[test]
fn an_agent_alone_does_not_keep_the_room() {
    let mut house = House::with(|_| {}, |options| options.departure_timeout_s = 2);
    let agent = house.attach("agent", |a| a.claims.kind = "agent".into());
    let alice = house.enter("alice");
    house.signal(alice, SignalRequest::Leave(Default::default()));
    house.wait(3 * S);
    assert!(house.ended);
    assert_eq!(
        leave_of(&house.heard(agent)).reason(),
        DisconnectReason::RoomClosed
    );
}

#[test]
fn the_reason_of_a_leaving_client_reaches_others_and_the_webhook() {
    let mut house = House::new();
    let watcher = house.join("watcher");
    for (identity, reason) in [
        ("a", DisconnectReason::UserUnavailable),
        ("b", DisconnectReason::UserRejected),
        ("c", DisconnectReason::ClientInitiated),
    ] {
        let session = house.enter(identity);
        let leave = proto::LeaveRequest {
            reason: reason.into(),
            ..Default::default()
        };
        house.signal(session, SignalRequest::Leave(leave));
        assert!(house.is_closed(session));
        let webhook = house.webhooks.last().unwrap();
        assert_eq!(webhook.event, "participant_left");
        assert_eq!(
            webhook.participant.as_ref().unwrap().disconnect_reason(),
            reason
        );
        house.wait(4 * S);
        let gone = house.infos(watcher, identity).pop().unwrap();
        assert_eq!(
            (gone.state(), gone.disconnect_reason()),
            (State::Disconnected, reason)
        );
    }
}

#[test]
fn tracks_are_unpublished_before_their_publisher_left() {
    let mut house = House::new();
    let alice = house.enter("alice");
    house.publish("alice", "TR_1");
    house.signal(alice, SignalRequest::Leave(Default::default()));
    let tail: Vec<_> = house
        .events()
        .into_iter()
        .skip(2)
        .map(str::to_owned)
        .collect();
    assert_eq!(
        tail,
        ["track_published", "track_unpublished", "participant_left"]
    );
    let track = &house.webhooks[3];
    assert_eq!(
        track.room.as_ref().unwrap().creation_time,
        0,
        "only sid and name"
    );
    assert_eq!(track.participant.as_ref().unwrap().identity, "alice");
    let ids: BTreeSet<_> = house.webhooks.iter().map(|webhook| &webhook.id).collect();
    assert_eq!(ids.len(), house.webhooks.len());
}

#[test]
fn a_stopping_node_tells_everybody() {
    let mut house = House::new();
    let alice = house.enter("alice");
    house.input(RoomInput::Stop);
    assert_eq!(
        leave_of(&house.heard(alice)).reason(),
        DisconnectReason::ServerShutdown
    );
    assert!(house.ended);
}

#[test]
fn the_same_inputs_make_the_same_room() {
    let sids = || {
        let mut house = House::new();
        house.enter("alice");
        (house.room.facts.room.sid.clone(), house.sid("alice"))
    };
    assert_eq!(sids(), sids());
}

#[test]
fn a_token_configures_the_room_it_creates_and_unknown_fields_are_ignored() {
    let config = RoomsConfig::default();
    let claims = Claims {
        room_config: Some(serde_json::json!({
            "emptyTimeout": 77, "departure_timeout": 66, "maxParticipants": 5,
            "metadata": "from token", "agents": [{"agentName": "helper"}], "notYetKnown": true,
        })),
        ..Default::default()
    };
    let options = RoomOptions::from_claims("house", &claims, &config).unwrap();
    let chosen = (
        options.empty_timeout_s,
        options.departure_timeout_s,
        options.max_participants,
    );
    assert_eq!(chosen, (77, 66, 5));
    assert_eq!(options.metadata, "from token");
    assert_eq!(options.agents[0].agent_name, "helper");
    let unknown = Claims {
        room_preset: "nosuch".into(),
        ..Default::default()
    };
    assert!(RoomOptions::from_claims("house", &unknown, &config).is_err());
}

#[test]
fn a_fenced_room_sends_everybody_back_and_reports_nothing() {
    for resume in [false, true] {
        let mut house = House::with(|_| {}, |options| options.sid = Some("RM_given".into()));
        let alice = house.enter("alice");
        let before = house.webhooks.len();
        assert_eq!(house.room.room_info().sid, "RM_given");
        house.input(RoomInput::Fence { resume });
        let heard = house.heard(alice);
        if resume {
            assert!(!heard.iter().any(|m| matches!(m, Message::Leave(_))));
        } else {
            let leave = leave_of(&heard);
            assert_eq!(leave.action(), Action::Reconnect);
            assert_eq!(leave.reason(), DisconnectReason::Migration);
        }
        assert!(house.ended);
        assert_eq!(
            house.webhooks.len(),
            before,
            "the new home speaks for the room"
        );
    }
}
