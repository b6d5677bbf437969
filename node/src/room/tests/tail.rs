//! Reliable packets where a standby takes over: nobody knows which of the last ones arrived, so
//! they are sent again, and none is lost while the channels come up. Receivers drop what they have.

use super::hall::Hall;
use super::thaw::{come_back_with, reliable};
use super::*;

fn hall() -> Hall {
    let mut hall = Hall::new();
    for (identity, single) in [("alice", true), ("bob", true), ("dave", false)] {
        hall.join(identity, single);
        hall.offer(identity);
        hall.wait(Duration::from_millis(100));
    }
    hall
}

fn sent_to(hall: &Hall, identity: &str) -> Vec<u32> {
    let number = hall.member(identity).number;
    let to = hall.packets_sent.iter().filter(|(to, _)| *to == number);
    to.map(|(_, sequence)| *sequence).collect()
}

/// The room's last words reached its standby.
fn move_room(hall: &mut Hall, warm: bool) {
    hall.wait(Duration::from_millis(100));
    hall.packets_sent.clear();
    hall.thaw(warm);
    hall.rebind();
}

#[test]
fn packets_of_the_last_moments_are_sent_again_in_order_to_all_but_their_sender() {
    let mut hall = hall();
    for sequence in 1..=3 {
        reliable(&mut hall, sequence);
    }
    assert_eq!(sent_to(&hall, "alice"), [1, 2, 3]);
    move_room(&mut hall, true);
    assert_eq!(sent_to(&hall, "alice"), [1, 2, 3]);
    assert_eq!(sent_to(&hall, "dave"), [1, 2, 3]);
    assert_eq!(sent_to(&hall, "bob"), [0_u32; 0]);
    reliable(&mut hall, 4);
    assert_eq!(sent_to(&hall, "alice"), [1, 2, 3, 4]);
}

#[test]
fn packets_go_on_to_the_next_standby() {
    let mut hall = hall();
    reliable(&mut hall, 1);
    move_room(&mut hall, true);
    reliable(&mut hall, 2);
    move_room(&mut hall, true);
    assert_eq!(sent_to(&hall, "alice"), [1, 2]);
}

#[test]
fn old_packets_are_not_sent_again() {
    let mut hall = hall();
    reliable(&mut hall, 1);
    hall.wait(Duration::from_millis(2_500));
    reliable(&mut hall, 2);
    move_room(&mut hall, true);
    assert_eq!(sent_to(&hall, "alice"), [2]);
}

#[test]
fn who_joined_later_is_not_sent_what_was_said_before() {
    let mut hall = hall();
    reliable(&mut hall, 1);
    hall.wait(Duration::from_millis(10));
    hall.join("carol", true);
    hall.offer("carol");
    move_room(&mut hall, true);
    assert_eq!(sent_to(&hall, "alice"), [1]);
    assert_eq!(sent_to(&hall, "carol"), [0_u32; 0]);
}

#[test]
fn who_resumes_says_itself_what_it_lacks() {
    let mut hall = hall();
    reliable(&mut hall, 1);
    move_room(&mut hall, false);
    assert_eq!(sent_to(&hall, "alice"), [0_u32; 0]);
}

#[test]
fn what_somebody_who_resumes_lacks_comes_before_what_was_said_since_the_move() {
    let mut hall = hall();
    reliable(&mut hall, 1);
    reliable(&mut hall, 2);
    move_room(&mut hall, false);
    reliable(&mut hall, 3);
    assert_eq!(sent_to(&hall, "alice"), [0_u32; 0]);
    let publisher_sid = hall.member("bob").sid.0.clone();
    let got = proto::DataChannelReceiveState {
        publisher_sid,
        last_seq: 1,
    };
    come_back_with(&mut hall, "alice", vec![got]);
    assert_eq!(sent_to(&hall, "alice"), [2, 3]);
    // Who is not there yet hears it as soon as it is.
    assert_eq!(sent_to(&hall, "dave"), [0_u32; 0]);
    come_back_with(&mut hall, "dave", Vec::new());
    assert_eq!(sent_to(&hall, "dave"), [3]);
}

#[test]
fn somebody_who_comes_back_late_lacks_nothing() {
    let mut hall = hall();
    reliable(&mut hall, 1);
    reliable(&mut hall, 2);
    move_room(&mut hall, false);
    for sequence in 3..=12 {
        hall.wait(Duration::from_secs(1));
        reliable(&mut hall, sequence);
    }
    let publisher_sid = hall.member("bob").sid.0.clone();
    let got = |last_seq| proto::DataChannelReceiveState {
        publisher_sid: publisher_sid.clone(),
        last_seq,
    };
    come_back_with(&mut hall, "alice", vec![got(1)]);
    let all: Vec<u32> = (2..=12).collect();
    assert_eq!(sent_to(&hall, "alice"), all);
    // Resumed once more, with nothing lost meanwhile but what was on its way.
    reliable(&mut hall, 13);
    hall.packets_sent.clear();
    come_back_with(&mut hall, "alice", vec![got(12)]);
    assert_eq!(sent_to(&hall, "alice"), [13]);
}

#[test]
fn what_is_said_before_the_channels_are_up_waits_for_them() {
    let mut hall = hall();
    hall.channels_come_up = false;
    move_room(&mut hall, true);
    reliable(&mut hall, 1);
    assert_eq!(sent_to(&hall, "alice"), [0_u32; 0], "no channel is up");
    hall.channels_are_up();
    assert_eq!(sent_to(&hall, "alice"), [1]);
}
