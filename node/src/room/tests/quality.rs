//! Connection quality: graded from the packet plane's scores, told to oneself and to subscribers.

use media::event::TransportStats;
use protocol::proto::ConnectionQuality::{Excellent, Good, Lost, Poor};

use super::*;

/// The packet plane scores a participant's connection; the second of its two when `second`.
fn scored(house: &mut House, identity: &str, second: bool, score: f32) {
    let number = house.member(identity).number;
    let keys = KeySpace::new(3, number).allocator();
    let first = keys.transport();
    let transport = if second { keys.transport() } else { first };
    let stats = TransportStats {
        score: Some(score),
        ..Default::default()
    };
    house.input(RoomInput::Shard(media::Event::Stats { transport, stats }));
}

/// What was told last, by sid.
fn told(house: &mut House, session: SessionId) -> BTreeMap<String, (i32, f32)> {
    let updates = house.heard(session).into_iter().filter_map(|message| {
        let Message::ConnectionQuality(update) = message else {
            return None;
        };
        Some(update.updates)
    });
    let infos = updates.flatten();
    infos
        .map(|info| (info.participant_sid, (info.quality, info.score)))
        .collect()
}

#[test]
fn the_worst_stream_of_a_participant_is_its_grade() {
    let mut house = House::new();
    let alice = house.enter("alice");
    let sid = house.sid("alice");
    for (first, second, grade) in [
        (100.0, 95.0, Excellent),
        (90.0, 60.0, Good),
        (30.0, 90.0, Poor),
        (20.0, 90.0, Lost),
        (81.0, 100.0, Excellent),
    ] {
        scored(&mut house, "alice", false, first);
        scored(&mut house, "alice", true, second);
        house.wait(5 * S);
        let (told, score) = told(&mut house, alice)[&sid];
        assert_eq!(told, grade as i32, "{first} and {second}");
        assert!((1.0..=4.5).contains(&score), "{score}");
    }
}

#[test]
fn subscribers_hear_of_it_and_others_do_not() {
    let mut house = House::new();
    house.enter("alice");
    let (bob, carol) = (house.enter("bob"), house.enter("carol"));
    let sid = house.sid("alice");
    let subscribes = house.script("bob");
    subscribes.lock().unwrap().subscribes.insert(sid.clone());
    scored(&mut house, "alice", false, 50.0);
    house.wait(5 * S);
    assert_eq!(told(&mut house, bob)[&sid].0, Good as i32);
    assert!(!told(&mut house, carol).contains_key(&sid));
    house.wait(20 * S);
    assert!(
        told(&mut house, bob).is_empty(),
        "the same grade is no news"
    );
}

#[test]
fn clients_that_do_not_know_lost_hear_poor() {
    let mut house = House::new();
    let old = house.attach("old", |attach| attach.client.protocol = 10);
    house.media("old", MediaOutput::Connected);
    scored(&mut house, "old", false, 10.0);
    house.wait(5 * S);
    let sid = house.sid("old");
    assert_eq!(told(&mut house, old)[&sid].0, Poor as i32);
}
