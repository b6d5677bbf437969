//! The server API through any node.

use super::*;

fn create(name: &str) -> proto::CreateRoomRequest {
    proto::CreateRoomRequest {
        name: name.into(),
        metadata: "m".into(),
        ..Default::default()
    }
}

fn delete(room: &str) -> proto::DeleteRoomRequest {
    proto::DeleteRoomRequest { room: room.into() }
}

#[actix_web::test]
async fn rooms_are_made_found_and_ended_through_any_node_and_names_are_free_at_once() {
    let mut stage = Stage::start().await;
    let mut sids = std::collections::BTreeSet::new();
    for round in 0..6 {
        stage.prefer([A, B, C][round % 3]);
        let (first, second, third) = match round % 2 {
            0 => (A, C, B),
            _ => (C, B, A),
        };
        let made: proto::Room = stage
            .call(first, "CreateRoom", &create("daily"))
            .await
            .unwrap();
        assert_eq!(made.metadata, "m");
        assert!(sids.insert(made.sid.clone()), "a new life has a new sid");
        let again: proto::Room = stage
            .call(second, "CreateRoom", &create("daily"))
            .await
            .unwrap();
        assert_eq!(again.sid, made.sid);
        assert_eq!(stage.list(third).await, [("daily".to_owned(), 0)]);
        let (mut alice, join) = stage.join(third, "daily", "alice").await;
        assert_eq!(join.room.unwrap().sid, made.sid);
        let listing = proto::ListParticipantsRequest {
            room: "daily".into(),
        };
        let there: proto::ListParticipantsResponse = stage
            .call(second, "ListParticipants", &listing)
            .await
            .unwrap();
        assert_eq!(there.participants[0].identity, "alice");
        let _: proto::DeleteRoomResponse = stage
            .call(second, "DeleteRoom", &delete("daily"))
            .await
            .unwrap();
        let leave = alice.hear_leave().await;
        assert_eq!(leave.reason(), proto::DisconnectReason::RoomDeleted);
        assert!(stage.list(first).await.is_empty(), "round {round}");
    }
}

#[actix_web::test]
async fn absent_rooms_and_missing_rights_are_answered_as_by_a_single_node() {
    let stage = Stage::start().await;
    let nobody = caller(|_| {});
    let code = |answer: Result<proto::Room, Error>| answer.unwrap_err().code;
    let denied = stage
        .call_as(A, "CreateRoom", &create("daily"), &nobody)
        .await;
    assert_eq!(code(denied), Code::Unauthenticated);
    assert_eq!(stage.home(A, "daily"), None, "nothing was placed");
    let unnamed = stage.call(B, "CreateRoom", &create("")).await;
    assert_eq!(code(unnamed), Code::InvalidArgument);
    let absent: Result<proto::DeleteRoomResponse, _> =
        stage.call(C, "DeleteRoom", &delete("daily")).await;
    let error = absent.unwrap_err();
    assert_eq!(error.code, Code::NotFound);
    assert_eq!(
        error.message,
        "twirp error unknown: requested room does not exist"
    );
    let listing = proto::ListRoomsRequest::default();
    let denied: Result<proto::ListRoomsResponse, _> =
        stage.call_as(A, "ListRooms", &listing, &nobody).await;
    assert_eq!(denied.unwrap_err().code, Code::Unauthenticated);
}

#[actix_web::test]
async fn errors_of_a_room_elsewhere_arrive_as_they_were_and_operators_see_everything() {
    let mut stage = Stage::start().await;
    stage.prefer(B);
    let (_alice, _) = stage.join(B, "daily", "alice").await;
    let nobody = proto::RoomParticipantIdentity {
        room: "daily".into(),
        identity: "nobody".into(),
        ..Default::default()
    };
    let ask = |at| {
        let stage = &stage;
        let nobody = &nobody;
        async move {
            let answer = stage.call::<proto::ParticipantInfo>(at, "GetParticipant", nobody);
            answer.await.unwrap_err()
        }
    };
    let there = ask(B).await;
    assert_eq!(there.code, Code::NotFound);
    assert_eq!(ask(A).await, there);
    let near = stage.nodes[&B]
        .plane
        .api
        .inspect(&admin(), "daily")
        .await
        .unwrap();
    let far = stage.nodes[&C]
        .plane
        .api
        .inspect(&admin(), "daily")
        .await
        .unwrap();
    assert_eq!(near["sid"], far["sid"]);
    let told = stage.nodes[&C].plane.api.directory().explain("daily").await;
    let told = told.unwrap();
    assert_eq!(
        (told.home.as_str(), Some(told.sid.as_str())),
        ("n2", near["sid"].as_str())
    );
    assert!(told.why.unwrap().contains("n2: home"));
    assert_eq!(
        stage.nodes[&C].plane.api.directory().explain("other").await,
        None
    );
}

#[actix_web::test]
async fn a_room_whose_people_are_on_their_way_back_is_there_and_can_be_ended() {
    let mut stage = Stage::start().await;
    // Its heir hears nothing of it.
    stage.links.cut(B, C);
    stage.prefer(B);
    let (_alice, _) = stage.join(A, "daily", "alice").await;
    stage.prefer(C);
    let (_, epoch) = stage.home(A, "daily").unwrap();
    let name = RoomName::from("daily");
    let heir = Action::SetStandby {
        name: name.clone(),
        epoch,
        standby: Some(C),
    };
    stage.leader().await.propose(heir).await.unwrap();
    stage.kill(B);
    stage.declare_dead(B).await;
    assert_eq!(stage.list(A).await, [("daily".to_owned(), 0)]);
    let metadata = proto::UpdateRoomMetadataRequest {
        room: "daily".into(),
        metadata: "m".into(),
    };
    let told: Result<proto::Room, _> = stage.call(A, "UpdateRoomMetadata", &metadata).await;
    assert_eq!(told.unwrap_err().code, Code::Unavailable);
    let _: proto::DeleteRoomResponse = stage.call(A, "DeleteRoom", &delete("daily")).await.unwrap();
    assert_eq!(stage.home(C, "daily"), None);
    assert!(stage.list(C).await.is_empty());

    // The same where nobody stood by.
    stage.prefer(C);
    let (_bob, _) = stage.join(A, "daily", "bob").await;
    let (_, epoch) = stage.home(A, "daily").unwrap();
    let alone = Action::SetStandby {
        name,
        epoch,
        standby: None,
    };
    let leader = stage.leader().await;
    leader.propose(alone).await.unwrap();
    // Its process lives on; only the log says otherwise.
    stage.declare_dead(C).await;
    assert_eq!(stage.list(A).await, [("daily".to_owned(), 0)]);
    let _: proto::DeleteRoomResponse = stage.call(A, "DeleteRoom", &delete("daily")).await.unwrap();
    assert_eq!(stage.home(A, "daily"), None);
}

#[actix_web::test]
async fn nothing_is_placed_for_who_may_not_create_rooms() {
    let stage = Stage::start().await;
    let administers = caller(|video| {
        video.room_admin = true;
        video.room = "daily".into();
    });
    let denied: Result<proto::Room, _> = stage
        .call_as(A, "CreateRoom", &create("daily"), &administers)
        .await;
    assert_eq!(denied.unwrap_err().code, Code::Unauthenticated);
    assert_eq!(stage.home(A, "daily"), None);
}

#[actix_web::test]
async fn a_room_is_placed_over_another_master_where_the_path_to_the_leader_is_broken() {
    let stage = Stage::start().await;
    let leader = stage.leader().await.node();
    let others: Vec<NodeId> = [A, B, C].into_iter().filter(|n| *n != leader).collect();
    let (asks, home) = (others[0], others[1]);
    stage.links.cut(asks, leader);
    stage.links.cut(leader, asks);
    stage.prefer(home);
    let directory = stage.nodes[&asks].plane.api.directory();
    let place = directory.place("daily").await.unwrap();
    assert_eq!(place.home, home);
}
