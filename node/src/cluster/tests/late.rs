//! A gateway that hears that a home is gone before its own log tells it who stood by there.

use super::*;

#[actix_web::test]
async fn a_gateway_that_is_behind_the_log_sends_nobody_away_whom_a_standby_knows() {
    let mut stage = Stage::start().await;
    stage.prefer(B);
    let leader = stage.leader().await;
    let (gateway, next) = if leader.node() == C { (A, C) } else { (C, A) };
    let (mut alice, _) = stage.join(gateway, "daily", "alice").await;
    stage.alone("daily").await;
    // From now on the gateway hears nothing of what is decided.
    stage.peers.isolate(gateway);
    leader
        .propose(Action::EndDrain { node: next })
        .await
        .unwrap();
    assert_eq!(stage.standby("daily", 1).await, next);
    let name = RoomName::from("daily");
    let known = |state: &consensus::state::State| state.room(&name).unwrap().standby;
    assert_eq!(stage.nodes[&gateway].cluster.read(known), None);
    stage.kill(B);
    stage.peers.heal();
    alice.is_restarted().await;
}

#[actix_web::test]
async fn where_no_quorum_says_who_stands_by_clients_begin_anew_after_a_while() {
    let mut stage = Stage::start().await;
    stage.prefer(B);
    let (mut alice, _) = stage.join(C, "daily", "alice").await;
    stage.alone("daily").await;
    for node in [A, B, C] {
        stage.peers.isolate(node);
    }
    stage.kill(B);
    alice.is_sent_back().await;
}
