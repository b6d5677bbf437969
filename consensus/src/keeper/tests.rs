//! What the keeper does in the situations operators fear.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn member(node: u64, master: bool) -> Member {
    Member {
        node: NodeId(node),
        roles: Roles {
            master,
            media: !master,
        },
        zone: format!("zone{}", node % 3),
        state: NodeState::Active,
        wish: VoterWish::Auto,
        silent_for: Duration::ZERO,
        stable_for: Duration::from_secs(60),
        lag: 0,
        long_lived: true,
    }
}

/// Masters are 1 to 4, media nodes come after; node 1 leads.
fn view(masters: u64, media: u64, voters: &[u64]) -> View {
    let members = (1..=masters)
        .map(|id| member(id, true))
        .chain((1..=media).map(|id| member(masters + id, false)));
    View {
        leader: NodeId(1),
        voters: voters.iter().map(|id| NodeId(*id)).collect(),
        changing: false,
        refused: BTreeSet::new(),
        members: members.map(|m| (m.node, m)).collect(),
    }
}

fn voters(decision: Option<Decision>) -> Vec<u64> {
    match decision {
        Some(Decision::SetVoters(voters)) => voters.iter().map(|id| id.0).collect(),
        other => panic!("{other:?}"),
    }
}

/// Carries decisions out until there is none; panics if there is no end.
fn settle(view: &mut View) {
    for _ in 0..10 {
        match decide(view) {
            Some(Decision::SetVoters(voters)) => view.voters = voters,
            Some(Decision::TransferLeadership(to)) => view.leader = to,
            None => return,
        }
    }
    panic!("never content: {view:?}");
}

fn die(view: &mut View, node: u64) {
    view.members.get_mut(&NodeId(node)).unwrap().silent_for = Duration::from_secs(11);
}

#[test]
fn four_masters_get_one_witness_and_three_where_there_are_three() {
    assert_eq!(voters(decide(&view(4, 1, &[1]))), [1, 2, 3, 4, 5]);
    assert_eq!(voters(decide(&view(4, 2, &[1]))), [1, 2, 3, 4, 5]);
    assert_eq!(voters(decide(&view(4, 3, &[1]))).len(), 7);
    let mut without_media = view(4, 0, &[1]);
    assert_eq!(voters(decide(&without_media)).len(), 3, "odd");
    settle(&mut without_media);
    assert_eq!(decide(&view(1, 1, &[1])), None, "one master stays alone");
    assert_eq!(voters(decide(&view(2, 1, &[1]))), [1, 2, 3]);
}

#[test]
fn a_dead_voter_is_replaced_and_a_short_silence_is_not_death() {
    let mut v = view(4, 2, &[1, 2, 3, 4, 5]);
    assert_eq!(decide(&v), None);
    v.members.get_mut(&NodeId(5)).unwrap().silent_for = Duration::from_secs(9);
    assert_eq!(decide(&v), None);
    die(&mut v, 5);
    assert_eq!(voters(decide(&v)), [1, 2, 3, 4, 6], "another witness");
    let mut v = view(4, 2, &[1, 2, 3, 4, 5]);
    die(&mut v, 2);
    let after = voters(decide(&v));
    assert_eq!(after.len() % 2, 1);
    assert!(!after.contains(&2));
}

#[test]
fn a_returning_voter_waits_until_it_is_stable_and_caught_up() {
    let mut v = view(4, 1, &[1, 3, 4]);
    let back = v.members.get_mut(&NodeId(2)).unwrap();
    back.stable_for = Duration::from_secs(3);
    back.lag = 9_000;
    let back_votes = |v: &View| match decide(v) {
        Some(Decision::SetVoters(voters)) => voters.contains(&NodeId(2)),
        _ => false,
    };
    assert!(!back_votes(&v));
    v.members.get_mut(&NodeId(2)).unwrap().stable_for = Duration::from_secs(10);
    assert!(!back_votes(&v), "it still lacks entries");
    v.members.get_mut(&NodeId(2)).unwrap().lag = 10;
    assert!(back_votes(&v));
}

#[test]
fn a_draining_leader_hands_over_before_it_gives_up_its_vote() {
    let mut v = view(4, 2, &[1, 2, 3, 4, 5]);
    v.members.get_mut(&NodeId(1)).unwrap().state = NodeState::Draining;
    let Some(Decision::TransferLeadership(heir)) = decide(&v) else {
        panic!("{:?}", decide(&v));
    };
    assert!(v.members[&heir].roles.master);
    settle(&mut v);
    assert!(!v.voters.contains(&NodeId(1)));
    assert!(v.voters.len() >= 3 && v.voters.len() % 2 == 1);
}

#[test]
fn a_witness_that_was_elected_hands_leadership_to_a_master() {
    let mut v = view(4, 1, &[1, 2, 3, 4, 5]);
    v.leader = NodeId(5);
    v.members.get_mut(&NodeId(1)).unwrap().lag = 1_000;
    assert_eq!(decide(&v), Some(Decision::TransferLeadership(NodeId(2))));
    for master in 1..=4 {
        die(&mut v, master);
    }
    assert_eq!(decide(&v), None, "nobody else: it goes on leading");
}

#[test]
fn voters_never_shrink_below_three_and_never_change_without_a_majority() {
    let mut v = view(3, 0, &[1, 2, 3]);
    die(&mut v, 2);
    assert_eq!(decide(&v), None, "two would survive nothing");
    let mut v = view(4, 3, &[1, 2, 3, 4, 5]);
    for dead in [2, 3, 4] {
        die(&mut v, dead);
    }
    assert_eq!(
        decide(&v),
        None,
        "no majority lives: nothing can be committed"
    );
    let mut v = view(4, 2, &[1, 2, 3, 4, 5]);
    die(&mut v, 2);
    die(&mut v, 3);
    die(&mut v, 4);
    v.changing = true;
    assert_eq!(decide(&v), None, "nor can a change be ended");
}

/// Whoever began it died between its two steps: until somebody ends it, both sets must agree.
#[test]
fn a_change_that_was_left_half_done_is_ended() {
    let mut v = view(4, 1, &[1, 2, 3, 4, 5]);
    assert_eq!(decide(&v), None);
    v.changing = true;
    assert_eq!(voters(decide(&v)), [1, 2, 3, 4, 5]);
}

/// One after the other, with the keeper in between, three of four masters may die.
#[test]
fn masters_that_die_one_after_the_other_leave_a_working_group() {
    let mut v = view(4, 3, &[1, 2, 3, 4, 5]);
    for dead in [2, 3, 4] {
        settle(&mut v);
        die(&mut v, dead);
        let alive = v.voters.iter().filter(|n| !v.members[n].is_dead()).count();
        assert!(alive * 2 > v.voters.len(), "after {dead}: {:?}", v.voters);
    }
    settle(&mut v);
    assert!(v.voters.contains(&NodeId(1)));
}

#[test]
fn the_last_candidate_may_not_be_taken_away() {
    assert!(!may_leave(&view(1, 0, &[1]), NodeId(1)));
    assert!(may_leave(&view(1, 2, &[1]), NodeId(2)), "it does not vote");
    let mut v = view(3, 0, &[1, 2, 3]);
    assert!(may_leave(&v, NodeId(3)));
    die(&mut v, 2);
    assert!(!may_leave(&v, NodeId(3)), "one would be left of two");
}

/// Whatever happens, decisions keep the rules and come to an end.
#[test]
fn random_troubles_never_break_the_rules() {
    let mut seed = 1_u64;
    let mut random = move |bound: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % bound
    };
    for case in 0..3_000 {
        let mut v = view(random(5) + 1, random(5), &[1]);
        settle(&mut v);
        for _ in 0..3 {
            let nodes: Vec<NodeId> = v.members.keys().copied().collect();
            let node = nodes[random(nodes.len() as u64) as usize];
            let m = v.members.get_mut(&node).unwrap();
            match random(5) {
                0 => m.state = NodeState::Draining,
                1 => m.wish = VoterWish::Never,
                2 => m.lag = random(1_000),
                _ if node != v.leader => m.silent_for = Duration::from_secs(random(20)),
                _ => {}
            }
            let before = v.voters.clone();
            let dead_leader = v.members[&v.leader].is_dead();
            if dead_leader {
                break;
            }
            settle(&mut v);
            assert!(!v.voters.is_empty(), "case {case}");
            assert!(v.voters.contains(&v.leader), "case {case}: {v:?}");
            assert!(
                v.voters == before || v.voters.len() % 2 == 1,
                "case {case}: {before:?} became {:?}",
                v.voters
            );
            assert!(v.voters.len() <= VOTERS_MAX, "case {case}");
        }
    }
}

#[test]
fn who_refuses_to_lead_holds_nothing_up() {
    let mut v = view(4, 2, &[1, 2, 3, 4, 5]);
    v.members.get_mut(&NodeId(1)).unwrap().state = NodeState::Draining;
    let to = |v: &View| match decide(v) {
        Some(Decision::TransferLeadership(to)) => to.0,
        other => panic!("{other:?}"),
    };
    assert_eq!(to(&v), 2);
    v.refused.insert(NodeId(2));
    assert_eq!(to(&v), 3);

    // A witness leads, the one master takes over no more, and a voter died.
    let mut v = view(2, 4, &[1, 2, 3]);
    v.leader = NodeId(3);
    die(&mut v, 2);
    assert_eq!(to(&v), 1);
    v.refused.insert(NodeId(1));
    assert_eq!(voters(decide(&v)), [1, 3, 5], "the dead one is replaced");
}

#[test]
fn of_two_that_vote_neither_is_left_alone() {
    let v = view(2, 0, &[1, 2]);
    assert_eq!(decide(&v), None);
}
