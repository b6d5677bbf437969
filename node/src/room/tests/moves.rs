//! What a room says of its moves from node to node: to operators and who asks, not to its clients.

use protocol::proto::signal_response::Message;
use serde_json::Value;

use super::hall::Hall;
use super::*;
use crate::room::{Arrival, MoveCause};

fn arrives(hall: &mut Hall, cause: MoveCause, ago_ms: u64) {
    hall.room.arrived(Arrival {
        from: "n1".into(),
        to: "n2".into(),
        cause,
        ago: Duration::from_millis(ago_ms),
    });
}

/// As an operator and as a participant are told.
fn moves(hall: &mut Hall) -> Vec<Value> {
    hall.replies.clear();
    hall.call(RoomCall::Inspect);
    hall.call(RoomCall::Moves);
    let mut told = hall.replies.drain(..).map(|reply| match reply.unwrap() {
        RoomReply::Inspection(value) => value["moves"].as_array().unwrap().clone(),
        other => panic!("{other:?}"),
    });
    let (inspected, asked) = (told.next().unwrap(), told.next().unwrap());
    assert_eq!(inspected, asked);
    inspected
}

fn taken_over(hall: &mut Hall, identity: &str, heard: bool) {
    for (transport, _) in hall.member(identity).media.transports() {
        let event = media::Event::TakenOver { transport, heard };
        hall.input(RoomInput::Shard(event));
    }
}

fn resume(hall: &mut Hall, identity: &str) {
    let participant_sid = hall.member(identity).sid.0.clone();
    let kind = AttachKind::Resume {
        participant_sid,
        reason: 0,
    };
    hall.attach(identity, kind);
}

fn with_two() -> Hall {
    let mut hall = Hall::new();
    hall.join("alice", false);
    hall.join("bob", false);
    hall
}

/// Everybody is back, as far as the room knows.
fn is_settled(hall: &Hall) -> bool {
    hall.room.moves.deadline().is_none()
}

#[test]
fn a_takeover_lasts_until_the_first_client_is_heard_and_is_told_to_nobody() {
    let mut hall = with_two();
    assert_eq!(moves(&mut hall), Vec::<Value>::new());
    hall.thaw(true);
    let began = hall.now - Duration::from_millis(40);
    let began = hall.room.clock.unix_micros_of(began) / 1000;
    arrives(&mut hall, MoveCause::Death, 40);
    assert_eq!(moves(&mut hall)[0]["took_ms"], Value::Null);
    hall.wait(Duration::from_millis(60));
    taken_over(&mut hall, "bob", true);
    hall.wait(Duration::from_millis(200));
    taken_over(&mut hall, "alice", true);
    assert!(!is_settled(&hall), "their gateways may have died, too");
    hall.rebind();
    assert!(is_settled(&hall));
    let told = serde_json::json!({
        "from": "n1", "to": "n2", "cause": "death", "took_ms": 100, "at": began,
    });
    assert_eq!(moves(&mut hall), [told]);

    let mut other = with_two();
    other.thaw(true);
    other.wait(Duration::from_millis(260));
    other.rebind();
    for (identity, client) in &hall.clients {
        let kinds =
            |heard: &[Message]| heard.iter().map(std::mem::discriminant).collect::<Vec<_>>();
        assert_eq!(kinds(&client.heard), kinds(&other.clients[identity].heard));
    }
}

#[test]
fn where_nobody_can_be_taken_over_a_move_lasts_until_the_first_resume() {
    let mut hall = with_two();
    hall.thaw(false);
    arrives(&mut hall, MoveCause::Order, 0);
    hall.wait(Duration::from_millis(300));
    assert_eq!(moves(&mut hall)[0]["took_ms"], Value::Null);
    resume(&mut hall, "alice");
    assert_eq!(moves(&mut hall)[0]["took_ms"], 300);
    assert!(!is_settled(&hall));
    hall.wait(Duration::from_millis(300));
    resume(&mut hall, "bob");
    assert!(is_settled(&hall));
    assert_eq!(moves(&mut hall)[0]["took_ms"], 300);
}

#[test]
fn a_resume_counts_only_when_no_client_is_awaited_that_was_taken_over() {
    let mut hall = with_two();
    hall.thaw(true);
    arrives(&mut hall, MoveCause::Drain, 0);
    taken_over(&mut hall, "alice", false);
    hall.wait(Duration::from_millis(50));
    resume(&mut hall, "alice");
    assert_eq!(moves(&mut hall)[0]["took_ms"], Value::Null);
    hall.wait(Duration::from_millis(50));
    taken_over(&mut hall, "bob", false);
    assert_eq!(moves(&mut hall)[0]["took_ms"], 50);
}

#[test]
fn where_nobody_comes_back_no_time_is_told() {
    let mut hall = with_two();
    hall.thaw(false);
    arrives(&mut hall, MoveCause::Death, 0);
    hall.wait(Duration::from_secs(9));
    assert!(!is_settled(&hall));
    hall.wait(Duration::from_secs(2));
    assert!(is_settled(&hall));
    resume(&mut hall, "alice");
    assert_eq!(moves(&mut hall)[0]["took_ms"], Value::Null);
}

#[test]
fn the_last_moves_go_along_with_the_room() {
    let mut hall = with_two();
    for number in 0..10 {
        hall.thaw(true);
        arrives(&mut hall, MoveCause::Drain, 0);
        hall.wait(Duration::from_millis(number));
        taken_over(&mut hall, "alice", true);
        taken_over(&mut hall, "bob", true);
        hall.rebind();
    }
    let told = moves(&mut hall);
    let took: Vec<_> = told
        .iter()
        .map(|one| one["took_ms"].as_u64().unwrap())
        .collect();
    assert_eq!(took, [2, 3, 4, 5, 6, 7, 8, 9]);
}
