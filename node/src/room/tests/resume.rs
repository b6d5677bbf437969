//! Coming back: resumes, interrupted signals, failed transports, simulated trouble.

use super::*;
use crate::room::ice_servers::{Credentials, IceServer};

#[test]
fn an_unknown_participant_is_sent_to_reconnect_first() {
    let mut house = House::new();
    let ghost = house.resume("ghost");
    assert!(house.is_closed(ghost));
    let leave = leave_of(&house.heard(ghost));
    assert_eq!(leave.action(), Action::Reconnect);
    assert_eq!(leave.reason(), DisconnectReason::StateMismatch);
    let old = house.attach("old", |a| {
        a.kind = AttachKind::Resume {
            participant_sid: String::new(),
            reason: 0,
        };
        a.client.protocol = 12;
    });
    assert!(leave_of(&house.heard(old)).can_reconnect);
}

#[test]
fn whoever_resumes_as_a_session_that_is_not_known_here_starts_over() {
    let mut house = House::new();
    let alice = house.enter("alice");
    house.heard(alice);
    let other = house.attach("alice", |a| {
        a.kind = AttachKind::Resume {
            participant_sid: "PA_later".into(),
            reason: 1,
        };
    });
    assert!(house.is_closed(other));
    let leave = leave_of(&house.heard(other));
    assert_eq!(leave.action(), Action::Reconnect);
    assert_eq!(leave.reason(), DisconnectReason::StateMismatch);
    assert!(!house.is_closed(alice));
}

/// Its room's former home, or a gateway, takes it along for a WebSocket that the client gave up.
#[test]
fn a_websocket_given_up_for_another_follows_nobody_to_a_new_home() {
    let mut house = House::new();
    let first = house.enter("alice");
    let asked = house.now;
    house.wait(Duration::from_secs(3));
    house.input(RoomInput::SessionClosed(first));
    let again = house.resume("alice");
    house.heard(again);
    let participant_sid = house.sid("alice");
    let kind = AttachKind::Rebind {
        participant_sid,
        missed: true,
    };
    let late = house.attach("alice", |attach| {
        (attach.kind, attach.asked) = (kind.clone(), asked);
    });
    assert!(house.is_closed(late));
    assert!(house.heard(late).is_empty());
    assert!(!house.is_closed(again));
    // The same WebSocket, whose time another node told.
    let current = house.attach("alice", |attach| {
        attach.kind = kind;
        attach.asked -= Duration::from_millis(1_900);
    });
    assert!(!house.is_closed(current));
    assert!(house.is_closed(again));
}

#[test]
fn a_resume_tells_reconnect_then_everybody_then_the_room_then_a_token() {
    let mut house = House::new();
    let alice = house.enter("alice");
    let sid = house.sid("alice");
    house.join("bob");
    house.input(RoomInput::SessionClosed(alice));
    let again = house.resume("alice");
    let heard = house.heard(again);
    assert_eq!(
        kinds(&heard),
        ["reconnect", "update", "room_update", "refresh_token"]
    );
    let Message::Update(update) = &heard[1] else {
        panic!()
    };
    let seen: Vec<_> = update
        .participants
        .iter()
        .map(|p| p.identity.as_str())
        .collect();
    assert_eq!(seen, ["alice", "bob"]);
    assert_eq!(house.sid("alice"), sid);
    let script = house.script("alice");
    assert!(matches!(
        script.lock().unwrap().heard.last(),
        Some(MediaInput::Resumed)
    ));
    assert_eq!(house.events(), ["room_started", "participant_joined"]);
}

#[test]
fn a_live_session_that_is_resumed_elsewhere_is_closed_without_a_leave() {
    let mut house = House::new();
    let alice = house.enter("alice");
    house.heard(alice);
    house.resume("alice");
    assert!(house.is_closed(alice));
    assert!(house.heard(alice).is_empty());
    house.input(RoomInput::SessionClosed(alice));
    assert_eq!(
        house.room.roster.iter().count(),
        1,
        "the old socket's end means nothing"
    );
}

#[test]
fn who_left_meanwhile_is_told_of_on_resume() {
    let mut house = House::new();
    house.enter("bob");
    let alice = house.enter("alice");
    house.input(RoomInput::SessionClosed(alice));
    house.wait(S);
    house
        .call(RoomCall::RemoveParticipant {
            identity: "bob".into(),
        })
        .unwrap();
    house.wait(5 * S);
    let again = house.resume("alice");
    let infos = house.infos(again, "bob");
    assert_eq!(infos[0].state(), State::Disconnected);
}

#[test]
fn a_participant_without_media_goes_with_its_signal_and_one_with_media_stays() {
    let mut house = House::new();
    let alice = house.join("alice");
    let bob = house.enter("bob");
    house.input(RoomInput::SessionClosed(alice));
    house.input(RoomInput::SessionClosed(bob));
    house.wait(10 * S);
    assert!(house.room.roster.of_identity("alice").is_none());
    assert!(house.room.roster.of_identity("bob").is_some());
}

#[test]
fn a_failed_transport_asks_for_a_resume_and_ends_the_session_after_five_seconds() {
    let mut house = House::new();
    let alice = house.enter("alice");
    house.media("alice", MediaOutput::TransportFailed { lived: None });
    assert!(house.is_closed(alice));
    let leave = leave_of(&house.heard(alice));
    assert_eq!(leave.action(), Action::Resume);
    house.wait(4 * S);
    assert!(house.room.roster.of_identity("alice").is_some());
    house.wait(2 * S);
    assert!(house.room.roster.of_identity("alice").is_none());
    let left = house.webhooks.last().unwrap();
    assert_eq!(
        left.participant.as_ref().unwrap().disconnect_reason(),
        DisconnectReason::ConnectionTimeout
    );
}

fn moves_to_tcp(input: &MediaInput) -> bool {
    matches!(
        input,
        MediaInput::SwitchCandidateProtocol(proto::CandidateProtocol::Tcp)
    )
}

fn candidates_of(house: &House, identity: &str) -> Vec<Protocol> {
    let script = house.script(identity);
    let script = script.lock().unwrap();
    script.candidates.iter().map(|one| one.protocol).collect()
}

#[test]
fn media_that_died_while_signalling_lives_comes_back_over_tcp() {
    let mut house = House::new();
    let alice = house.enter("alice");
    let lived = Some(20 * S);
    house.media("alice", MediaOutput::TransportFailed { lived });
    assert_eq!(leave_of(&house.heard(alice)).action(), Action::Resume);
    house.wait(S);
    house.resume("alice");
    // Its other connection fails a moment later of the same cause.
    house.media("alice", MediaOutput::TransportFailed { lived });
    let script = house.script("alice");
    let moves = |script: &Script| script.heard.iter().filter(|one| moves_to_tcp(one)).count();
    assert_eq!(
        moves(&script.lock().unwrap()),
        1,
        "the connection moves once"
    );
    house.resume("alice");
    assert_eq!(moves(&script.lock().unwrap()), 1);
    house.enter("alice");
    assert_eq!(
        candidates_of(&house, "alice"),
        [Protocol::Tcp],
        "and so do later ones"
    );
}

#[test]
fn who_starts_over_at_once_starts_over_tcp() {
    let mut house = House::new();
    house.enter("alice");
    let lived = Some(20 * S);
    house.media("alice", MediaOutput::TransportFailed { lived });
    house.wait(S);
    house.enter("alice");
    assert_eq!(candidates_of(&house, "alice"), [Protocol::Tcp]);
}

#[test]
fn who_lost_the_whole_network_is_offered_everything_again() {
    let mut house = House::new();
    house.enter("alice");
    // Its WebSocket looks alive: nothing tells the server that nobody is there.
    let lived = Some(20 * S);
    house.media("alice", MediaOutput::TransportFailed { lived });
    house.wait(10 * S);
    house.enter("alice");
    assert_eq!(candidates_of(&house, "alice").len(), 2);
}

#[test]
fn an_encoder_whose_transport_failed_may_restart_it_for_five_seconds() {
    let mut house = House::new();
    let encoder = house.attach("encoder", |attach| attach.kind = AttachKind::OneShot);
    house.media("encoder", MediaOutput::Connected);
    house.media("encoder", MediaOutput::TransportFailed { lived: None });
    assert!(!house.is_closed(encoder));
    house.wait(6 * S);
    assert!(house.is_closed(encoder));
    assert!(house.room.roster.of_identity("encoder").is_none());
}

#[test]
fn a_transport_that_comes_back_keeps_the_session() {
    let mut house = House::new();
    house.enter("alice");
    house.media("alice", MediaOutput::TransportFailed { lived: None });
    house.resume("alice");
    let number = house.member("alice").number;
    let transport = KeySpace::new(3, number).allocator().transport();
    let state = media::event::TransportState::Connected;
    house.input(RoomInput::Shard(media::Event::Transport {
        transport,
        state,
    }));
    house.wait(20 * S);
    assert!(house.room.roster.of_identity("alice").is_some());
}

#[test]
fn a_state_that_does_not_fit_demands_a_full_reconnect() {
    let mut house = House::new();
    let alice = house.enter("alice");
    house.heard(alice);
    house.media("alice", MediaOutput::FullReconnect);
    assert!(house.is_closed(alice));
    let leave = leave_of(&house.heard(alice));
    assert_eq!(
        (leave.action(), leave.reason()),
        (Action::Reconnect, DisconnectReason::StateMismatch)
    );
    assert!(house.room.roster.of_identity("alice").is_none());
}

#[test]
fn simulated_loss_on_resume_closes_the_new_socket_once() {
    use proto::simulate_scenario::Scenario;
    let mut house = House::new();
    let alice = house.enter("alice");
    let scenario = Some(Scenario::DisconnectSignalOnResume(true));
    house.signal(
        alice,
        SignalRequest::Simulate(proto::SimulateScenario { scenario }),
    );
    let second = house.resume("alice");
    assert!(house.is_closed(second));
    assert_eq!(kinds(&house.heard(second)), ["reconnect"]);
    let third = house.resume("alice");
    assert!(!house.is_closed(third));
}

#[test]
fn a_client_that_switched_to_tcp_is_offered_tcp_when_it_starts_over() {
    use proto::simulate_scenario::Scenario;
    let mut house = House::new();
    let protocols = |house: &House| -> Vec<Protocol> {
        let script = house.script("alice");
        let script = script.lock().unwrap();
        script.candidates.iter().map(|one| one.protocol).collect()
    };
    let alice = house.enter("alice");
    assert_eq!(protocols(&house), [Protocol::Udp, Protocol::Tcp]);
    let tcp = proto::CandidateProtocol::Tcp as i32;
    let scenario = Some(Scenario::SwitchCandidateProtocol(tcp));
    house.signal(
        alice,
        SignalRequest::Simulate(proto::SimulateScenario { scenario }),
    );
    house.enter("alice");
    assert_eq!(protocols(&house), [Protocol::Tcp]);
}

#[test]
fn a_client_that_switched_to_tls_is_told_to_relay_when_it_starts_over() {
    let turn = |url: &str| IceServer {
        urls: vec![format!("turn:{url}:3478"), format!("turns:{url}:443")],
        credentials: Credentials::None,
    };
    let stun = IceServer {
        urls: vec!["stun:s:1".into()],
        credentials: Credentials::None,
    };
    let mut house = House::with(|values| values.ice_servers = vec![turn("t"), stun], |_| {});
    let alice = house.enter("alice");
    let tls = proto::CandidateProtocol::Tls as i32;
    let scenario = Some(proto::simulate_scenario::Scenario::SwitchCandidateProtocol(
        tls,
    ));
    house.signal(
        alice,
        SignalRequest::Simulate(proto::SimulateScenario { scenario }),
    );
    let again = house.enter("alice");
    let heard = house.heard(again);
    let Message::Join(join) = &heard[0] else {
        panic!("{heard:?}")
    };
    let urls: Vec<_> = join.ice_servers.iter().flat_map(|one| &one.urls).collect();
    assert_eq!(urls, ["turns:t:443"]);
    let configuration = join.client_configuration.as_ref().unwrap();
    let enabled = proto::ClientConfigSetting::Enabled as i32;
    assert_eq!(configuration.force_relay, enabled);
    assert!(!join.fast_publish);
    let script = house.script("alice");
    let candidates = script.lock().unwrap().candidates.clone();
    assert!(candidates.iter().any(|one| one.protocol == Protocol::Udp));
}
