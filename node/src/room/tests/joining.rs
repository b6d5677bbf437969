//! Getting in: the first messages, older sessions, full rooms, limits.

use super::*;
use crate::room::ice_servers::{Credentials, IceServer};

fn join_of(messages: &[Message]) -> proto::JoinResponse {
    match &messages[0] {
        Message::Join(join) => join.clone(),
        other => panic!("the first message was {other:?}"),
    }
}

#[test]
fn the_join_response_is_first_and_a_token_follows() {
    let mut house = House::new();
    let alice = house.join("alice");
    let heard = house.heard(alice);
    assert_eq!(kinds(&heard), ["join", "refresh_token"]);
    let join = join_of(&heard);
    let me = join.participant.unwrap();
    assert_eq!(
        (me.identity.as_str(), me.state(), me.version),
        ("alice", State::Joining, 0)
    );
    assert_eq!(
        (me.joined_at, me.joined_at_ms),
        (1_700_000_000, 1_700_000_000_000)
    );
    assert!(join.other_participants.is_empty() && join.subscriber_primary && join.fast_publish);
    assert!(!join.sif_trailer.is_empty());
    assert_eq!(join.server_version, join.server_info.unwrap().version);
}

#[test]
fn others_are_listed_but_hidden_ones_are_not() {
    let mut house = House::new();
    house.join("alice");
    house.attach("ghost", |a| a.claims.video.as_mut().unwrap().hidden = true);
    let bob = house.join("bob");
    let others = join_of(&house.heard(bob)).other_participants;
    let seen: Vec<_> = others
        .iter()
        .map(|o| (o.identity.as_str(), o.state(), o.version))
        .collect();
    assert_eq!(seen, [("alice", State::Joined, 1)]);
}

#[test]
fn sources_are_offered_before_the_media_core_may_offer() {
    let mut house = House::new();
    house.enter("alice");
    house.publish("alice", "TR_1");
    house.join("bob");
    let script = house.script("bob");
    let heard = &script.lock().unwrap().heard;
    assert!(matches!(&heard[0], MediaInput::SourceChanged(source)
        if source.info.sid == "TR_1" && source.allowed));
    assert!(matches!(heard[1], MediaInput::Joined));
}

#[test]
fn a_second_session_ends_the_first_and_third_parties_see_only_the_new_sid() {
    let mut house = House::new();
    let carol = house.join("carol");
    let first = house.join("alice");
    let old_sid = house.sid("alice");
    house.wait(4 * S);
    house.heard(carol);
    let second = house.join("alice");
    let leave = leave_of(
        &house.told[&first]
            .iter()
            .flatten()
            .cloned()
            .collect::<Vec<_>>(),
    );
    assert_eq!(leave.reason(), DisconnectReason::DuplicateIdentity);
    assert_eq!(leave.action(), Action::Disconnect);
    assert!(house.is_closed(first) && !house.is_closed(second));
    house.wait(4 * S);
    let infos = house.infos(carol, "alice");
    assert!(!infos.is_empty());
    assert!(
        infos
            .iter()
            .all(|info| info.sid != old_sid && info.state() == State::Joined)
    );
}

/// Its gateway died while it waited for the room, and its client came in by another.
#[test]
fn a_join_that_waited_does_not_replace_one_that_was_asked_for_after_it() {
    let mut house = House::new();
    house.join("carol");
    let asked = house.now;
    house.wait(S);
    let alice = house.join("alice");
    house.wait(S);
    house.attach("alice", |attach| attach.asked = asked);
    assert_eq!(house.refused, [AttachError::ClosedByMedia]);
    assert!(!house.is_closed(alice));
    // Both waited, and the newer one is let in last.
    let after = asked + S + S / 2;
    let newer = house.attach("alice", |attach| attach.asked = after);
    assert!(house.is_closed(alice) && !house.is_closed(newer));
}

#[test]
fn clients_of_old_protocols_are_told_that_the_old_session_is_gone() {
    let mut house = House::new();
    let carol = house.attach("carol", |a| a.client.protocol = 11);
    house.join("alice");
    house.heard(carol);
    house.join("alice");
    let gone = house.infos(carol, "alice").into_iter().next().unwrap();
    assert_eq!(gone.state(), State::Disconnected);
}

#[test]
fn a_full_room_refuses_others_but_takes_its_own_back_and_does_not_count_agents() {
    let mut house = House::with(|_| {}, |options| options.max_participants = 1);
    house.join("alice");
    house.join("bob");
    assert_eq!(house.refused, [AttachError::ClosedByMedia]);
    house.attach("agent", |a| a.claims.kind = "agent".into());
    house.attach("EG_1", |a| a.claims.kind = "egress".into());
    house.join("alice");
    assert_eq!(house.refused.len(), 1);
    assert_eq!(house.room.roster.iter().count(), 3);
}

#[test]
fn oversized_metadata_of_a_token_is_refused() {
    let mut house = House::new();
    house.attach("alice", |a| a.claims.metadata = "x".repeat(513 * 1024));
    assert_eq!(house.refused, [AttachError::ClosedByMedia]);
}

#[test]
fn attributes_of_the_request_are_merged_and_empty_ones_dropped() {
    let mut house = House::new();
    house.attach("alice", |a| {
        a.claims.attributes = [("b".to_owned(), "2".to_owned())].into();
        a.attributes = [
            ("a".to_owned(), "1".to_owned()),
            ("empty".to_owned(), String::new()),
        ]
        .into();
    });
    let attributes: BTreeMap<_, _> = house
        .member("alice")
        .info
        .attributes
        .clone()
        .into_iter()
        .collect();
    let expected = [
        ("a".to_owned(), "1".to_owned()),
        ("b".to_owned(), "2".to_owned()),
    ];
    assert_eq!(attributes, expected.into());
}

#[test]
fn a_participant_whose_media_never_connects_is_removed_after_a_minute() {
    let mut house = House::new();
    let alice = house.join("alice");
    house.wait(59 * S);
    assert!(!house.is_closed(alice));
    house.wait(2 * S);
    assert!(house.is_closed(alice));
    let heard = house.heard(alice);
    assert_eq!(leave_of(&heard).reason(), DisconnectReason::JoinFailure);
    assert_eq!(
        house.events(),
        ["room_started", "participant_connection_aborted"]
    );
}

/// A gateway that looks for the room elsewhere is no client that goes.
#[test]
fn whoever_never_connected_may_come_back_where_its_gateway_was_lost() {
    let mut house = House::new();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| house.join(name));
    for session in [alice, bob] {
        house.input(RoomInput::SessionLost(session));
    }
    house.input(RoomInput::SessionClosed(carol));
    house.wait(4 * S);
    let again = house.resume("alice");
    assert_eq!(kinds(&house.heard(again))[0], "reconnect");
    house.wait(2 * S);
    let is_here = |name| house.room.roster.of_identity(name).is_some();
    assert_eq!(["alice", "bob", "carol"].map(is_here), [true, false, false]);
}

#[test]
fn tokens_are_refreshed_every_five_minutes() {
    let mut house = House::new();
    let alice = house.enter("alice");
    house.heard(alice);
    house.wait(301 * S);
    let heard = house.heard(alice);
    assert_eq!(
        kinds(&heard)
            .iter()
            .filter(|kind| **kind == "refresh_token")
            .count(),
        1
    );
}

#[test]
fn turn_credentials_are_the_participants_own_at_join_and_at_resume() {
    let mut house = House::with(
        |values| {
            values.ice_servers = vec![IceServer {
                urls: vec!["turn:t:1?transport=udp".into()],
                credentials: Credentials::Shared {
                    secret: "north".into(),
                    seconds: 60,
                },
            }];
        },
        |_| {},
    );
    let alice = house.enter("alice");
    let join = join_of(&house.heard(alice));
    let sid = join.participant.unwrap().sid;
    assert_eq!(join.ice_servers[0].username, format!("1700000060:{sid}"));
    assert!(!join.ice_servers[0].credential.is_empty());
    house.input(RoomInput::SessionClosed(alice));
    let again = house.resume("alice");
    let heard = house.heard(again);
    let Message::Reconnect(reconnect) = &heard[0] else {
        panic!("{heard:?}")
    };
    let told = &reconnect.ice_servers[0].username;
    assert!(told.ends_with(&format!(":{sid}")), "{told}");
}
