//! Sessions through any gateway, and what they are told when homes die or rooms move.

use super::*;

#[actix_web::test]
async fn a_client_of_any_gateway_meets_the_others_at_the_room_s_home() {
    let mut stage = Stage::start().await;
    stage.prefer(B);
    let (mut alice, first) = stage.join(A, "daily", "alice").await;
    assert_eq!(stage.home(A, "daily").unwrap().0, B);
    let (bob, second) = stage.join(C, "daily", "bob").await;
    let (_carol, third) = stage.join(B, "daily", "carol").await;
    let sid = |join: &proto::JoinResponse| join.room.clone().unwrap().sid;
    assert_eq!((sid(&first), sid(&first)), (sid(&second), sid(&third)));
    let known = stage.nodes[&A].cluster.read(|state| {
        let room = state.room(&RoomName::from("daily"));
        room.unwrap().sid.0.clone()
    });
    assert_eq!(sid(&first), known, "the log's sid is the room's");
    assert_eq!(second.other_participants.len(), 1, "alice");

    // What a client says reaches its room, in order, and what the room says reaches the client.
    let update = proto::UpdateParticipantMetadata {
        request_id: 5,
        ..Default::default()
    };
    alice.say(proto::signal_request::Message::UpdateMetadata(update));
    while !matches!(alice.signal().await, Message::RequestResponse(told) if told.request_id == 5) {}
    for at in [A, B, C] {
        assert_eq!(stage.list(at).await, [("daily".to_owned(), 3)], "{at}");
    }
    bob.say(proto::signal_request::Message::Leave(Default::default()));
    let mut bob = bob;
    while !matches!(bob.hear().await, Ok(SessionMessage::Close)) {}
    assert_eq!(stage.list(A).await, [("daily".to_owned(), 2)]);
    // Never connected: the room forgets it with its WebSocket.
    alice.hang_up();
    let gone = async {
        while stage.list(C).await != [("daily".to_owned(), 1)] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
}

#[actix_web::test]
async fn people_come_back_to_a_created_room_where_joining_makes_none() {
    let mut stage = Stage::start_with(false).await;
    stage.prefer(B);
    let mut stranger = stage.attach(A, "daily", "alice", AttachKind::Join);
    assert_eq!(
        stranger.hear().await.unwrap_err(),
        AttachError::RoomNotFound
    );
    let request = proto::CreateRoomRequest {
        name: "daily".into(),
        ..Default::default()
    };
    let made: Result<proto::Room, _> = stage.call(A, "CreateRoom", &request).await;
    made.unwrap();
    stage.alone("daily").await;
    let (mut alice, _) = stage.join(A, "daily", "alice").await;
    stage.kill(B);
    alice.is_sent_back().await;
    stage.declare_dead(B).await;
    stage.join(A, "daily", "alice").await;
    assert_ne!(stage.home(A, "daily").unwrap().0, B);
}

#[actix_web::test]
async fn a_home_that_lost_its_room_sends_everybody_to_the_new_one() {
    let mut stage = Stage::start().await;
    stage.prefer(B);
    let (mut near, _) = stage.join(B, "daily", "near").await;
    let (mut far, _) = stage.join(A, "daily", "far").await;
    stage.alone("daily").await;
    let (_, epoch) = stage.home(A, "daily").unwrap();
    let action = Action::MoveRoom {
        name: "daily".into(),
        epoch,
        home: C,
        standby: None,
    };
    stage.leader().await.propose(action).await.unwrap();
    near.is_sent_back().await;
    far.is_sent_back().await;
    let (_near, _) = stage.join(B, "daily", "near").await;
    let (_far, _) = stage.join(A, "daily", "far").await;
    assert_eq!(stage.home(B, "daily").unwrap().0, C);
    assert_eq!(stage.list(B).await, [("daily".to_owned(), 2)]);
}

#[actix_web::test]
async fn without_a_quorum_rooms_with_a_place_are_joined_and_new_ones_fail_to_be_tried_again() {
    let mut stage = Stage::start().await;
    stage.prefer(B);
    let (_alice, _) = stage.join(A, "daily", "alice").await;
    // Raft is cut everywhere; nodes still reach each other's rooms.
    for node in [A, B, C] {
        stage.peers.isolate(node);
    }
    let (_bob, _) = stage.join(C, "daily", "bob").await;
    assert_eq!(stage.list(A).await, [("daily".to_owned(), 2)]);
    let mut carol = stage.attach(A, "other", "carol", AttachKind::Join);
    match carol.hear().await {
        Err(AttachError::Unreachable(why)) => assert!(why.contains("quorum"), "{why}"),
        other => panic!("{other:?}"),
    }
    stage.peers.heal();
    let (_carol, _) = stage.join(A, "other", "carol").await;
}

#[actix_web::test]
async fn an_unknown_session_starts_over_and_an_orphaned_room_gets_a_new_home() {
    let mut stage = Stage::start().await;
    let resume = || AttachKind::Resume {
        participant_sid: "PA_unknown".into(),
        reason: 0,
    };
    let mut nowhere = stage.attach(A, "daily", "alice", resume());
    assert_eq!(
        nowhere.hear_leave().await.reason(),
        proto::DisconnectReason::StateMismatch
    );
    stage.prefer(B);
    let (_bob, _) = stage.join(B, "daily", "bob").await;
    let mut elsewhere = stage.attach(A, "daily", "alice", resume());
    assert_eq!(
        elsewhere.hear_leave().await.reason(),
        proto::DisconnectReason::StateMismatch
    );
    stage.alone("daily").await;
    stage.kill(B);
    stage.declare_dead(B).await;
    stage.prefer(C);
    let (_alice, _) = stage.join(A, "daily", "alice").await;
    assert_eq!(stage.home(A, "daily").unwrap().0, C);
}
