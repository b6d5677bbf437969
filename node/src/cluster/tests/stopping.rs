//! Nodes that stop, are full, or have begun anew.

use super::*;
use crate::cluster::directory::Place;
use crate::cluster::lobby::Set;
use consensus::ids::RoomSid;

impl Stage {
    async fn place(&self, room: &str, home: NodeId) {
        let action = Action::PlaceRoom {
            name: room.into(),
            sid: RoomSid(format!("RM_{room}")),
            home,
            standby: None,
        };
        self.leader().await.propose(action).await.unwrap();
    }
}

#[actix_web::test]
async fn a_room_that_was_placed_at_a_node_that_stops_goes_to_another_at_once() {
    let mut stage = Stage::start().await;
    stage.place("daily", B).await;
    stage.nodes[&B].rooms.drain();
    stage.prefer(C);
    let (_alice, _) = stage.join(A, "daily", "alice").await;
    assert_eq!(stage.home(A, "daily").unwrap().0, C);
    // The API too.
    stage.place("other", B).await;
    let request = proto::CreateRoomRequest {
        name: "other".into(),
        ..Default::default()
    };
    let made: Result<proto::Room, _> = stage.call(A, "CreateRoom", &request).await;
    made.unwrap();
    assert_eq!(stage.home(A, "other").unwrap().0, C);
}

#[actix_web::test]
async fn a_gateway_that_stops_sends_its_clients_to_others_and_lets_nobody_in() {
    let mut stage = Stage::start().await;
    stage.prefer(B);
    let (mut alice, _) = stage.join(A, "daily", "alice").await;
    let (_bob, _) = stage.join(C, "daily", "bob").await;
    stage.nodes[&A].plane.lobby.send_away().await;
    alice.is_restarted().await;
    let mut carol = stage.attach(A, "daily", "carol", AttachKind::Join);
    assert_eq!(carol.hear().await.unwrap_err(), AttachError::ShuttingDown);
    let (_carol, _) = stage.join(C, "daily", "carol").await;
}

#[actix_web::test]
async fn rooms_that_are_cut_short_send_their_clients_back_and_stay_in_the_log() {
    let mut stage = Stage::start().await;
    stage.prefer(B);
    let (mut near, _) = stage.join(B, "daily", "near").await;
    let (mut far, _) = stage.join(A, "daily", "far").await;
    let place = stage.home(A, "daily");
    let node = &stage.nodes[&B];
    node.plane.homes.leave();
    node.rooms.stop().await;
    near.is_sent_back().await;
    far.is_sent_back().await;
    assert_eq!(stage.home(A, "daily"), place, "for its heir");
}

#[actix_web::test]
async fn a_session_is_not_sent_to_where_a_room_was() {
    let mut stage = Stage::start().await;
    stage.prefer(B);
    let (_bob, _) = stage.join(B, "daily", "bob").await;
    let (_, epoch) = stage.home(A, "daily").unwrap();
    let old = Place {
        home: B,
        epoch,
        sid: RoomSid(String::new()),
    };
    stage.declare_dead(B).await;
    stage.nodes[&A].cluster.catch_up().await.unwrap();
    for node in [A, B, C] {
        stage.peers.isolate(node);
    }
    // On its way for as long as nobody can place the room.
    let carol = stage.attach(A, "other", "carol", AttachKind::Join);
    let lobby = &stage.nodes[&A].plane.lobby;
    assert!(matches!(lobby.set_place(carol.session, &old), Set::Old));
    let living = Place { home: C, ..old };
    assert!(matches!(lobby.set_place(carol.session, &living), Set::Yes));
    let nobody = SessionId(77);
    assert!(matches!(lobby.set_place(nobody, &living), Set::Over));
}

#[actix_web::test]
async fn a_home_that_begins_anew_gets_its_clients_only_after_its_rooms_were_placed_again() {
    let mut stage = Stage::start().await;
    stage.place("daily", B).await;
    stage.prefer(C);
    let first = stage.leader().await;
    // It restarts faster than anybody notices.
    let incarnation = stage.admit(&first, B).await;
    let member = Phase::Member(incarnation);
    stage.nodes[&B].membership.send_replace(member);
    let (_alice, _) = stage.join(B, "daily", "alice").await;
    assert_eq!(stage.home(B, "daily").unwrap().0, C);
}
