//! What the standby of a room makes of it: clients go on there, and nobody else notices.

use super::*;

fn resume(join: &proto::JoinResponse) -> AttachKind {
    AttachKind::Resume {
        participant_sid: join.participant.clone().unwrap().sid,
        reason: 0,
    }
}

async fn is_let_back_in(client: &mut Client) {
    match client.signal().await {
        Message::Reconnect(_) => {}
        other => panic!("not resumed: {other:?}"),
    }
}

/// How the room moved, as `at` tells somebody who may join it.
async fn moves(stage: &Stage, at: NodeId) -> serde_json::Value {
    let guest = caller(|video| {
        video.room_join = true;
        video.room = "daily".into();
    });
    let api = &stage.nodes[&at].plane.api;
    let told = api.moves(&guest, "daily").await.unwrap()["moves"].clone();
    let inspected = api.inspect(&admin(), "daily").await.unwrap();
    assert_eq!(inspected["moves"], told);
    told
}

async fn people(stage: &Stage, at: NodeId) -> Vec<(String, String)> {
    let listing = proto::ListParticipantsRequest {
        room: "daily".into(),
    };
    let listed = stage.call::<proto::ListParticipantsResponse>(at, "ListParticipants", &listing);
    let listed = listed.await.unwrap().participants;
    let mut people: Vec<_> = listed.into_iter().map(|p| (p.identity, p.sid)).collect();
    people.sort();
    people
}

#[actix_web::test]
async fn a_home_dies_and_its_clients_go_on_at_the_standby_as_who_they_were() {
    let mut stage = Stage::start().await;
    stage.prefer(B);
    let (mut alice, alices) = stage.join(A, "daily", "alice").await;
    let (mut bob, bobs) = stage.join(C, "daily", "bob").await;
    let before = people(&stage, A).await;
    let standby = stage.standby("daily", 2).await;
    stage.kill(B);
    // Nobody has declared anything dead: the broken stream is enough.
    alice.is_restarted().await;
    bob.is_restarted().await;
    // Back before it is: the gateway waits for the room's new home.
    let mut early = stage.attach(A, "daily", "alice", resume(&alices));
    stage.declare_dead(B).await;
    is_let_back_in(&mut early).await;
    assert_eq!(stage.home(A, "daily").unwrap().0, standby);
    assert_eq!(people(&stage, A).await, before);
    assert_eq!(stage.list(C).await, [("daily".to_owned(), 2)]);
    for at in [A, C] {
        let moves = moves(&stage, at).await;
        let [told] = &moves.as_array().unwrap()[..] else {
            panic!("{moves}");
        };
        assert_eq!(told["from"], format!("host{B}"));
        assert_eq!(told["to"], format!("host{standby}"));
        assert_eq!(told["cause"], "death");
        assert!(told["took_ms"].is_u64(), "{told}");
    }
    let stranger = caller(|video| video.room_join = true);
    let refused = stage.nodes[&A].plane.api.moves(&stranger, "daily").await;
    assert_eq!(refused.unwrap_err().code, Code::Unauthenticated);
    // And through another gateway than the one it left.
    let mut bob = stage.attach(A, "daily", "bob", resume(&bobs));
    is_let_back_in(&mut bob).await;
    // Whoever the standby does not know begins anew.
    let stranger = AttachKind::Resume {
        participant_sid: "PA_unknown".into(),
        reason: 0,
    };
    let mut stranger = stage.attach(C, "daily", "carol", stranger);
    let leave = stranger.hear_leave().await;
    assert_eq!(leave.reason(), proto::DisconnectReason::StateMismatch);
}

#[actix_web::test]
async fn the_room_is_there_at_once_for_callers_and_gets_another_standby() {
    let mut stage = Stage::start().await;
    stage.prefer(B);
    let request = proto::CreateRoomRequest {
        name: "daily".into(),
        metadata: "m".into(),
        ..Default::default()
    };
    let made: proto::Room = stage.call(A, "CreateRoom", &request).await.unwrap();
    let (_alice, _) = stage.join(A, "daily", "alice").await;
    let before = people(&stage, A).await;
    stage.standby("daily", 1).await;
    stage.kill(B);
    stage.declare_dead(B).await;
    assert_eq!(people(&stage, C).await, before);
    let listed: proto::ListRoomsResponse = stage
        .call(A, "ListRooms", &proto::ListRoomsRequest::default())
        .await
        .unwrap();
    let [room] = &listed.rooms[..] else {
        panic!("{listed:?}");
    };
    let known = |room: &proto::Room| (room.sid.clone(), room.metadata.clone(), room.creation_time);
    assert_eq!(known(room), known(&made));
    let next = stage.standby("daily", 1).await;
    assert!(![Some(B), stage.home(A, "daily").map(|h| h.0)].contains(&Some(next)));
}

#[actix_web::test]
async fn a_room_that_moves_to_its_standby_is_resumed_there() {
    let mut stage = Stage::start().await;
    stage.prefer(B);
    let (mut near, nears) = stage.join(B, "daily", "near").await;
    let (mut far, fars) = stage.join(A, "daily", "far").await;
    let standby = stage.standby("daily", 2).await;
    let before = people(&stage, B).await;
    assert_eq!(moves(&stage, A).await, serde_json::json!([]));
    let drain = Action::DrainNode { node: B };
    stage.leader().await.propose(drain).await.unwrap();
    let (_, epoch) = stage.home(A, "daily").unwrap();
    let action = Action::MoveRoom {
        name: "daily".into(),
        epoch,
        home: standby,
        standby: None,
    };
    stage.leader().await.propose(action).await.unwrap();
    near.is_restarted().await;
    far.is_restarted().await;
    for (identity, join) in [("near", nears), ("far", fars)] {
        let mut back = stage.attach(B, "daily", identity, resume(&join));
        is_let_back_in(&mut back).await;
    }
    assert_eq!(people(&stage, B).await, before);
    let moves = moves(&stage, C).await;
    assert_eq!(
        (&moves[0]["cause"], moves.as_array().unwrap().len()),
        (&"drain".into(), 1)
    );
    assert!(moves[0]["took_ms"].is_u64(), "{moves}");
}

#[actix_web::test]
async fn a_client_whose_gateway_died_resumes_through_another() {
    let mut stage = Stage::start().await;
    stage.prefer(B);
    let (_alice, join) = stage.join(A, "daily", "alice").await;
    let mut again = stage.attach(C, "daily", "alice", resume(&join));
    is_let_back_in(&mut again).await;
    assert_eq!(stage.list(C).await, [("daily".to_owned(), 1)]);
    // Its second gateway dies while it resumes through a third: what is noticed late ends nobody.
    let before = people(&stage, B).await;
    let mut third = stage.attach(B, "daily", "alice", resume(&join));
    stage.kill(A);
    stage.kill(C);
    is_let_back_in(&mut third).await;
    let update = proto::UpdateParticipantMetadata {
        request_id: 7,
        ..Default::default()
    };
    third.say(proto::signal_request::Message::UpdateMetadata(update));
    while !matches!(third.signal().await, Message::RequestResponse(told) if told.request_id == 7) {}
    assert_eq!(people(&stage, B).await, before);
}

#[actix_web::test]
async fn where_nobody_stood_by_clients_begin_anew() {
    let mut stage = Stage::start().await;
    stage.prefer(B);
    let (mut alice, alices) = stage.join(A, "daily", "alice").await;
    stage.alone("daily").await;
    stage.kill(B);
    alice.is_sent_back().await;
    stage.declare_dead(B).await;
    let mut resumed = stage.attach(A, "daily", "alice", resume(&alices));
    let leave = resumed.hear_leave().await;
    assert_eq!(leave.reason(), proto::DisconnectReason::StateMismatch);
    stage.join(A, "daily", "alice").await;
}

#[actix_web::test]
async fn where_only_the_way_to_the_home_broke_clients_come_back_as_who_they_were() {
    let mut stage = Stage::start().await;
    stage.prefer(B);
    let (mut alice, alices) = stage.join(A, "daily", "alice").await;
    stage.alone("daily").await;
    stage.links.break_streams(A, B);
    alice.is_restarted().await;
    let mut resumed = stage.attach(A, "daily", "alice", resume(&alices));
    is_let_back_in(&mut resumed).await;
}

#[actix_web::test]
async fn a_standby_that_drains_is_replaced_and_whoever_comes_first_stands_by_a_room_alone() {
    let mut stage = Stage::start().await;
    stage.prefer(B);
    let (_alice, _) = stage.join(A, "daily", "alice").await;
    let first = stage.standby("daily", 1).await;
    let leader = stage.leader().await;
    let drain = Action::DrainNode { node: first };
    leader.propose(drain).await.unwrap();
    let other = if first == A { C } else { A };
    let replaced = async {
        while stage.standby("daily", 1).await != other {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, replaced).await.unwrap();
    let forgot = async {
        while stage.nodes[&first].plane.images.holds("daily") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, forgot).await.unwrap();

    stage.alone("daily").await;
    let back = Action::EndDrain { node: other };
    leader.propose(back).await.unwrap();
    assert_eq!(stage.standby("daily", 1).await, other);
}
