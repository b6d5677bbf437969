//! The state under fixed and random commands: what clients and operators rely on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::command::{JobKind, JobState, NodeInfo, NodeState, Roles, VoterWish};
use crate::encoding::VERSION;
use crate::ids::RoomSid;
use crate::splitmix::SplitMix;

struct World {
    state: State,
    index: u64,
}

impl World {
    fn new() -> Self {
        Self {
            state: State::default(),
            index: 0,
        }
    }

    fn with_nodes(count: u64) -> Self {
        let mut world = Self::new();
        for node in 1..=count {
            world.ok(Action::RegisterNode {
                node: NodeId(node),
                info: info(node),
            });
            world.activate(node);
        }
        world
    }

    fn applied(&mut self, action: Action) -> Applied {
        self.index += 1;
        let request = RequestId {
            client: 1,
            number: self.index,
        };
        let index = LogIndex(self.index);
        apply(&mut self.state, index, Command { request, action })
    }

    fn ok(&mut self, action: Action) -> Outcome {
        self.applied(action).answer.unwrap()
    }

    fn refused(&mut self, action: Action) -> Refusal {
        self.applied(action).answer.unwrap_err()
    }

    fn life(&self, node: u64) -> Epoch {
        self.state.node(NodeId(node)).unwrap().incarnation
    }

    fn activate(&mut self, node: u64) {
        let incarnation = self.life(node);
        let node = NodeId(node);
        self.ok(Action::ActivateNode { node, incarnation });
    }

    fn dead(&self, node: u64) -> Action {
        Action::DeclareDead {
            node: NodeId(node),
            incarnation: self.life(node),
        }
    }

    fn start(&mut self, node: u64) -> Epoch {
        let started = self.ok(Action::RegisterNode {
            node: NodeId(node),
            info: info(node),
        });
        match started {
            Outcome::Epoch(incarnation) => incarnation,
            other => panic!("{other:?}"),
        }
    }

    fn place(&mut self, name: &str, home: u64, standby: Option<u64>) -> Room {
        match self.ok(place(name, home, standby)) {
            Outcome::Room { room, .. } => room,
            other => panic!("{other:?}"),
        }
    }
}

fn info(node: u64) -> NodeInfo {
    NodeInfo {
        roles: Roles {
            master: node <= 4,
            media: true,
        },
        address: format!("10.0.0.{node}:7890"),
        host: format!("host{node}"),
        zone: format!("zone{}", node % 2),
        region: String::new(),
        version_max: VERSION,
    }
}

fn place(name: &str, home: u64, standby: Option<u64>) -> Action {
    Action::PlaceRoom {
        name: name.into(),
        sid: RoomSid(format!("RM_{name}")),
        home: NodeId(home),
        standby: standby.map(NodeId),
    }
}

#[test]
fn a_room_is_placed_once_and_its_second_caller_gets_the_first() {
    let mut world = World::with_nodes(3);
    let room = world.place("daily", 1, Some(2));
    match world.ok(place("daily", 3, None)) {
        Outcome::Room {
            room: second,
            created,
        } => {
            assert!(!created);
            assert_eq!(second, room);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn rooms_are_at_media_nodes_only() {
    let mut world = World::with_nodes(3);
    let mut master = info(4);
    master.roles.media = false;
    let (node, info) = (NodeId(4), master);
    world.ok(Action::RegisterNode { node, info });
    world.activate(4);
    let refused = Refusal::NoMediaNode(node);
    assert_eq!(world.refused(place("a", 4, None)), refused);
    assert_eq!(world.refused(place("a", 1, Some(4))), refused);
    let room = world.place("a", 1, None);
    let name = RoomName::from("a");
    let stand_by = Action::SetStandby {
        name: name.clone(),
        epoch: room.epoch,
        standby: Some(node),
    };
    assert_eq!(world.refused(stand_by), refused);
    let over = Action::MoveRoom {
        name,
        epoch: room.epoch,
        home: node,
        standby: None,
    };
    assert_eq!(world.refused(over), refused);
    // Leases and jobs are anybody's.
    world.ok(Action::AcquireLease {
        name: "webhooks".into(),
        owner: node,
        over: None,
    });
}

#[test]
fn a_request_is_known_by_its_id_alone() {
    let mut world = World::with_nodes(1);
    let request = RequestId {
        client: 9,
        number: 1,
    };
    let mut ask = |action| {
        let command = Command { request, action };
        apply(&mut world.state, LogIndex(100), command).answer
    };
    let first = ask(Action::AllocateIds { count: 1 });
    let second = ask(Action::DrainNode { node: NodeId(1) });
    assert_eq!(first, second);
    let state = world.state.node(NodeId(1)).unwrap().state;
    assert_eq!(state, NodeState::Active, "nothing was done");
}

#[test]
fn a_dead_node_s_rooms_move_to_their_standbys_with_new_epochs_in_one_entry() {
    let mut world = World::with_nodes(3);
    let with_standby = world.place("a", 1, Some(2));
    let without = world.place("b", 1, None);
    let elsewhere = world.place("c", 3, Some(1));
    let untouched = world.place("d", 2, Some(3));
    let applied = {
        let death = world.dead(1);
        world.applied(death)
    };
    assert!(applied.answer.is_ok());
    let room = |name: &str| world.state.room(&name.into()).unwrap().clone();
    assert_eq!((room("a").home, room("a").standby), (NodeId(2), None));
    assert!(room("a").epoch > with_standby.epoch);
    assert!(room("b").epoch > without.epoch, "fenced although orphaned");
    assert_eq!(room("c").standby, None);
    assert_eq!(room("c").epoch, elsewhere.epoch, "its home lives on");
    assert_eq!(room("d"), untouched);
    let orphaned = |e: &Effect| matches!(e, Effect::RoomOrphaned { name, .. } if name.0 == "b");
    assert!(applied.effects.iter().any(orphaned));
}

/// A node that was paused through its own funeral wakes up and writes.
#[test]
fn an_owner_with_an_old_epoch_is_refused_everywhere() {
    let mut world = World::with_nodes(3);
    let old = world.place("a", 1, Some(2)).epoch;
    let lease = match world.ok(Action::AcquireLease {
        name: "webhooks".into(),
        owner: NodeId(1),
        over: None,
    }) {
        Outcome::Epoch(epoch) => epoch,
        other => panic!("{other:?}"),
    };
    let job = JobId::from("EG_1");
    world.ok(Action::CreateJob {
        job: job.clone(),
        kind: JobKind::Egress,
        room: Some("a".into()),
        detail: vec![1],
    });
    let Outcome::Epoch(owned) = world.ok(Action::AssignJob {
        job: job.clone(),
        epoch: Epoch(0),
        owner: NodeId(1),
    }) else {
        panic!("no epoch");
    };
    let death = world.dead(1);
    world.ok(death);
    world.ok(Action::AcquireLease {
        name: "webhooks".into(),
        owner: NodeId(2),
        over: None,
    });
    for late in [
        Action::CloseRoom {
            name: "a".into(),
            epoch: old,
        },
        Action::SetStandby {
            name: "a".into(),
            epoch: old,
            standby: None,
        },
        Action::MoveRoom {
            name: "a".into(),
            epoch: old,
            home: NodeId(3),
            standby: None,
        },
        Action::AssertHome {
            name: "a".into(),
            home: NodeId(1),
            epoch: old,
        },
        Action::ReleaseLease {
            name: "webhooks".into(),
            epoch: lease,
        },
        Action::UpdateJob {
            job: job.clone(),
            epoch: owned,
            state: JobState::Complete,
            detail: None,
        },
    ] {
        let refusal = world.refused(late.clone());
        assert!(
            matches!(refusal, Refusal::StaleEpoch { .. }),
            "{late:?}: {refusal:?}"
        );
    }
    assert_eq!(world.state.job(&job).unwrap().state, JobState::Waiting);
}

/// The process died and another began before the cluster noticed.
#[test]
fn a_restart_ends_what_the_last_process_held_and_is_not_ended_by_its_death() {
    let mut world = World::with_nodes(3);
    let (first, death) = (world.life(1), world.dead(1));
    let room = world.place("a", 1, Some(2));
    let alone = world.place("b", 1, None);
    let lease = |owner| Action::AcquireLease {
        name: "duty".into(),
        owner: NodeId(owner),
        over: None,
    };
    let held = world.ok(lease(1));
    let second = world.start(1);
    assert!(second > first);
    world.activate(1);
    assert_eq!(world.state.room(&"a".into()).unwrap().home, NodeId(2));
    assert!(world.state.room(&"a".into()).unwrap().epoch > room.epoch);
    assert!(world.state.room(&"b".into()).unwrap().epoch > alone.epoch);
    assert_ne!(world.ok(lease(1)), held, "a new token for a new process");
    // What was on its way for the first life says nothing of the second.
    let late = world.refused(death);
    assert!(matches!(late, Refusal::StaleEpoch { .. }), "{late:?}");
    let activation = Action::ActivateNode {
        node: NodeId(1),
        incarnation: first,
    };
    let late = world.refused(activation);
    assert!(matches!(late, Refusal::StaleEpoch { .. }), "{late:?}");
}

#[test]
fn a_dead_life_is_not_activated_and_a_restart_does_not_end_a_drain() {
    let mut world = World::with_nodes(2);
    let incarnation = world.life(1);
    let death = world.dead(1);
    world.ok(death);
    let node = NodeId(1);
    let late = world.refused(Action::ActivateNode { node, incarnation });
    assert!(matches!(late, Refusal::NodeState { .. }), "{late:?}");
    world.start(1);
    world.activate(1);
    world.ok(Action::DrainNode { node });
    world.start(1);
    world.activate(1);
    let state = |world: &World| world.state.node(node).unwrap().state;
    assert_eq!(state(&world), NodeState::Draining);
    world.ok(Action::EndDrain { node });
    assert_eq!(state(&world), NodeState::Active);
}

#[test]
fn only_who_has_a_job_or_lease_writes_for_it() {
    let mut world = World::with_nodes(2);
    let job = JobId::from("EG_1");
    world.ok(Action::CreateJob {
        job: job.clone(),
        kind: JobKind::Egress,
        room: None,
        detail: vec![],
    });
    let update = |epoch| Action::UpdateJob {
        job: job.clone(),
        epoch,
        state: JobState::Running,
        detail: None,
    };
    assert_eq!(world.refused(update(Epoch(0))), Refusal::JobWithoutOwner);
    let assign = |epoch, owner| Action::AssignJob {
        job: job.clone(),
        epoch,
        owner: NodeId(owner),
    };
    let Outcome::Epoch(first) = world.ok(assign(Epoch(0), 1)) else {
        panic!("no epoch");
    };
    let Outcome::Epoch(second) = world.ok(assign(first, 2)) else {
        panic!("no epoch");
    };
    let remove = |epoch| Action::RemoveJob {
        job: job.clone(),
        epoch,
    };
    let late = world.refused(remove(first));
    assert!(matches!(late, Refusal::StaleEpoch { .. }), "{late:?}");
    world.ok(remove(second));
    let assert_lease = |owner, epoch| Action::AssertLease {
        name: "duty".into(),
        owner: NodeId(owner),
        epoch,
    };
    let Outcome::Epoch(epoch) = world.ok(Action::AcquireLease {
        name: "duty".into(),
        owner: NodeId(1),
        over: None,
    }) else {
        panic!("no epoch");
    };
    world.ok(assert_lease(1, epoch));
    assert!(world.applied(assert_lease(2, epoch)).answer.is_err());
    let death = world.dead(1);
    world.ok(death);
    assert_eq!(world.refused(assert_lease(1, epoch)), Refusal::NoLease);
}

#[test]
fn a_lease_has_one_owner_and_is_taken_over_only_by_name() {
    let mut world = World::with_nodes(2);
    let acquire = |owner, over| Action::AcquireLease {
        name: "duty".into(),
        owner: NodeId(owner),
        over,
    };
    let Outcome::Epoch(first) = world.ok(acquire(1, None)) else {
        panic!("no epoch");
    };
    assert_eq!(world.ok(acquire(1, None)), Outcome::Epoch(first), "again");
    let held = Refusal::LeaseHeld {
        owner: NodeId(1),
        epoch: first,
    };
    assert_eq!(world.refused(acquire(2, None)), held);
    assert_eq!(world.refused(acquire(2, Some(Epoch(999)))), held);
    let Outcome::Epoch(second) = world.ok(acquire(2, Some(first))) else {
        panic!("no epoch");
    };
    assert!(second > first);
}

#[test]
fn a_removed_node_s_id_never_comes_back() {
    let mut world = World::with_nodes(3);
    world.place("a", 1, None);
    let remove = |node| Action::RemoveNode { node: NodeId(node) };
    for node in [1, 2] {
        let at_work = Refusal::NodeState {
            node: NodeId(node),
            state: NodeState::Active,
        };
        assert_eq!(world.refused(remove(node)), at_work);
        world.ok(Action::DrainNode { node: NodeId(node) });
    }
    let in_use = world.refused(remove(1));
    assert!(matches!(in_use, Refusal::NodeInUse { rooms: 1, .. }));
    world.ok(remove(2));
    world.ok(Action::RemoveNode { node: NodeId(2) });
    let again = Action::RegisterNode {
        node: NodeId(2),
        info: info(2),
    };
    assert_eq!(world.refused(again), Refusal::NodeRemoved(NodeId(2)));
    let Outcome::Ids(next) = world.ok(Action::AllocateIds { count: 2 }) else {
        panic!("no ids");
    };
    assert_eq!(next, 4, "ids of nodes are not handed out again");
    assert_eq!(world.ok(Action::AllocateIds { count: 1 }), Outcome::Ids(6));
}

/// An autoscaler takes nodes away for years; their ids are random.
#[test]
fn ids_do_not_run_out_however_many_nodes_are_removed() {
    let mut world = World::with_nodes(1);
    let mut random = SplitMix(5);
    let mut last = NodeId(0);
    for _ in 0..crate::limits::REMOVED_NODES_MAX * 2 {
        let node = NodeId(random.below(crate::limits::NODE_ID_MAX));
        let info = info(1);
        world.ok(Action::RegisterNode { node, info });
        world.ok(Action::RemoveNode { node });
        last = node;
    }
    let info = info(1);
    let again = Action::RegisterNode { node: last, info };
    assert_eq!(world.refused(again), Refusal::NodeRemoved(last));
    assert_eq!(
        world.state.removed_nodes.len(),
        crate::limits::REMOVED_NODES_MAX
    );
}

#[test]
fn numbers_at_their_end_are_refused_and_none_is_told_twice() {
    let mut world = World::with_nodes(1);
    for node in [NodeId(u64::MAX), NodeId(u64::MAX - 1)] {
        let info = info(1);
        let refusal = world.refused(Action::RegisterNode { node, info });
        assert!(matches!(refusal, Refusal::Full { .. }), "{refusal:?}");
    }
    let none = world.ok(Action::AllocateIds { count: 0 });
    assert_ne!(none, world.ok(Action::AllocateIds { count: 1 }));
    world.state.next_id = u64::MAX;
    let refusal = world.refused(Action::AllocateIds { count: 1 });
    assert!(matches!(refusal, Refusal::Full { .. }), "{refusal:?}");
}

#[test]
fn dead_and_joining_nodes_get_nothing_and_draining_ones_only_if_asked_for() {
    let mut world = World::with_nodes(2);
    world.ok(Action::RegisterNode {
        node: NodeId(3),
        info: info(3),
    });
    assert!(matches!(
        world.refused(place("a", 3, None)),
        Refusal::NodeState {
            state: NodeState::Joining,
            ..
        }
    ));
    let death = world.dead(2);
    world.ok(death);
    assert!(matches!(
        world.refused(place("a", 1, Some(2))),
        Refusal::NodeState { .. }
    ));
    assert!(matches!(
        world.refused(Action::DrainNode { node: NodeId(2) }),
        Refusal::NodeState { .. }
    ));
    world.ok(Action::DrainNode { node: NodeId(1) });
    world.place("a", 1, None);
    assert_eq!(world.refused(place("b", 1, Some(1))), Refusal::SameNode);
    assert_eq!(
        world.refused(place("b", 9, None)),
        Refusal::NoNode(NodeId(9))
    );
}

#[test]
fn values_have_versions_and_bounds() {
    let mut world = World::new();
    let set = |value: Vec<u8>, expected| Action::SetValue {
        key: "keys/devkey".into(),
        value,
        expected,
    };
    let Outcome::Version(first) = world.ok(set(vec![1], Some(0))) else {
        panic!("no version");
    };
    assert!(matches!(
        world.refused(set(vec![2], Some(0))),
        Refusal::Conflict { expected: 0, .. }
    ));
    world.ok(set(vec![2], Some(first)));
    assert!(matches!(
        world.refused(set(vec![0; crate::limits::VALUE_BYTES_MAX + 1], None)),
        Refusal::TooLong { .. }
    ));
    assert_eq!(world.state.values("keys/").count(), 1);
    assert_eq!(world.state.values("other/").count(), 0);
    world.ok(Action::RemoveValue {
        key: "keys/devkey".into(),
        expected: None,
    });
    assert_eq!(world.state.bytes, 0);
}

#[test]
fn all_values_together_are_bounded() {
    let mut world = World::new();
    let mut refused = 0;
    for key in 0..600 {
        let set = Action::SetValue {
            key: ValueKey(format!("{key}")),
            value: vec![0; crate::limits::VALUE_BYTES_MAX],
            expected: None,
        };
        refused += usize::from(world.applied(set).answer.is_err());
    }
    assert_eq!(
        refused,
        600 - STATE_BYTES_MAX / crate::limits::VALUE_BYTES_MAX
    );
}

fn random_action(state: &State, random: &mut SplitMix) -> Action {
    let mut pick = |bound| random.below(bound);
    let node = NodeId(pick(6) + 1);
    // Mostly the life that is, sometimes another.
    let life = state.node(node).map_or(Epoch(0), |n| n.incarnation);
    let incarnation = Epoch(life.0.saturating_sub(pick(8) / 7));
    let standby = Some(pick(7)).filter(|n| *n > 0).map(NodeId);
    let name = RoomName(format!("room{}", pick(8)));
    let epoch = Epoch(pick(120));
    let job = JobId(format!("EG_{}", pick(5)));
    let key = ValueKey(format!("key{}", pick(4)));
    match pick(20) {
        0 => Action::RegisterNode {
            node,
            info: info(node.0),
        },
        1 | 2 => Action::ActivateNode { node, incarnation },
        3 => Action::DrainNode { node },
        4 => Action::DeclareDead { node, incarnation },
        5 => Action::RemoveNode { node },
        6 => Action::WishVote {
            node,
            wish: VoterWish::Never,
        },
        7..=9 => place(&name.0, node.0, standby.map(|s| s.0)),
        10 if epoch.0.is_multiple_of(2) => Action::MoveToStandby {
            since: state.mandate(&name).map_or(LogIndex(1), |m| m.since),
            name,
            epoch,
            standby,
        },
        10 => Action::MoveRoom {
            name,
            epoch,
            home: node,
            standby,
        },
        11 => Action::SetStandby {
            name,
            epoch,
            standby,
        },
        12 => Action::CloseRoom { name, epoch },
        13 => Action::AcquireLease {
            name: LeaseName(key.0),
            owner: node,
            over: Some(epoch).filter(|e| e.0 % 2 == 0),
        },
        14 => Action::ReleaseLease {
            name: LeaseName(key.0),
            epoch,
        },
        15 => Action::CreateJob {
            job,
            kind: JobKind::Agent,
            room: None,
            detail: vec![0; pick(50) as usize],
        },
        16 => Action::AssignJob {
            job,
            epoch: Epoch(epoch.0 % 3),
            owner: node,
        },
        17 => Action::UpdateJob {
            job,
            epoch,
            state: JobState::Complete,
            detail: Some(vec![1; pick(50) as usize]),
        },
        18 => Action::SetValue {
            key,
            value: vec![2; pick(50) as usize],
            expected: None,
        },
        _ => Action::RemoveValue {
            key,
            expected: None,
        },
    }
}

/// What must hold after every command, whatever it was.
fn check_invariants(state: &State, seed: u64) {
    let live = |n: &NodeId| state.node(*n).is_some_and(|n| n.state != NodeState::Dead);
    let mut epochs: BTreeSet<_> = state.nodes().map(|(_, n)| n.incarnation).collect();
    assert_eq!(epochs.len(), state.nodes.len(), "seed {seed}: two lives");
    for (name, room) in state.rooms() {
        assert!(
            epochs.insert(room.epoch),
            "seed {seed}: {name} shares an epoch"
        );
        assert_ne!(Some(room.home), room.standby, "seed {seed}: {name}");
        assert!(room.standby.is_none_or(|s| live(&s)), "seed {seed}: {name}");
        let held = state.mandate(name).map(|m| (m.home, m.epoch, m.standby));
        let known = room.standby.map(|standby| (room.home, room.epoch, standby));
        assert_eq!(held, known, "seed {seed}: {name}");
    }
    for lease in state.leases.values() {
        assert!(
            epochs.insert(lease.epoch),
            "seed {seed}: a lease shares an epoch"
        );
        assert!(live(&lease.owner), "seed {seed}: a dead node holds a lease");
    }
    for (id, job) in state.jobs() {
        let open = job.owner.filter(|_| !job.state.is_over());
        assert!(
            open.is_none_or(|o| live(&o)),
            "seed {seed}: {id} is with a dead node"
        );
        assert!(
            job.epoch.0 == 0 || epochs.insert(job.epoch),
            "seed {seed}: {id} shares an epoch"
        );
    }
    let newest = epochs.last().map_or(0, |e| e.0);
    assert!(newest <= state.epoch, "seed {seed}");
    let details: usize = state.jobs.values().map(|j| j.detail.len()).sum();
    let values: usize = state.values.values().map(|v| v.bytes.len()).sum();
    assert_eq!(state.bytes, (details + values) as u64, "seed {seed}");
}

#[test]
fn random_commands_keep_the_rules_and_give_the_same_bytes_everywhere() {
    for seed in 0..150 {
        let (mut a, mut b) = (World::with_nodes(4), World::with_nodes(4));
        let mut random = SplitMix(seed);
        for step in 0..300 {
            let action = random_action(&a.state, &mut random);
            let mut before = a.state.clone();
            let first = a.applied(action.clone());
            assert_eq!(first, b.applied(action.clone()), "seed {seed} step {step}");
            if first.answer.is_err() {
                before.answers = a.state.answers.clone();
                before.remembered = a.state.remembered.clone();
                assert_eq!(
                    a.state, before,
                    "seed {seed}: {action:?} was refused but did"
                );
            }
            check_invariants(&a.state, seed);
            // The same request again: the same answer, nothing else.
            let request = RequestId {
                client: 1,
                number: a.index,
            };
            let state = a.state.clone();
            let again = apply(&mut a.state, LogIndex(9_999), Command { request, action });
            assert_eq!(again.answer, first.answer, "seed {seed} step {step}");
            assert!(again.effects.is_empty());
            assert_eq!(a.state, state);
        }
        let bytes = encode_state(&a.state).unwrap();
        assert_eq!(bytes, encode_state(&b.state).unwrap(), "seed {seed}");
        let decoded = decode_state(&bytes).unwrap();
        assert_eq!(decoded, a.state, "seed {seed}");
    }
}

/// What the room's standby holds it under, and what its home came to it by.
fn mandates(world: &World) -> (Option<Mandate>, Option<Mandate>) {
    let name = "daily".into();
    (world.state.mandate(&name), world.state.inherited(&name))
}

#[test]
fn a_room_moves_to_its_standby_only_under_the_mandate_that_was_meant() {
    let mut world = World::with_nodes(3);
    let room = world.place("daily", 1, Some(2));
    let name = RoomName::from("daily");
    let since = mandates(&world).0.unwrap().since;
    let move_it = |epoch: Epoch, since: LogIndex| Action::MoveToStandby {
        name: "daily".into(),
        epoch,
        since,
        standby: Some(NodeId(3)),
    };
    for standby in [None, Some(NodeId(3)), Some(NodeId(2))] {
        let (name, epoch) = (name.clone(), room.epoch);
        world.ok(Action::SetStandby {
            name,
            epoch,
            standby,
        });
        let found = mandates(&world).0.map_or(0, |mandate| mandate.since.0);
        let expected = since.0;
        let refused = Refusal::Conflict { expected, found };
        assert_eq!(world.refused(move_it(room.epoch, since)), refused);
    }
    let appointed = mandates(&world).0.unwrap();
    let old = Epoch(room.epoch.0 - 1);
    assert!(matches!(
        world.refused(move_it(old, appointed.since)),
        Refusal::StaleEpoch { .. }
    ));
    world.ok(move_it(room.epoch, appointed.since));
    let moved = world.state.room(&name).unwrap();
    assert_eq!((moved.home, moved.standby), (NodeId(2), Some(NodeId(3))));
    assert!(moved.epoch > room.epoch);
    assert_eq!(mandates(&world).1, Some(appointed));
}

#[test]
fn every_appointment_of_a_standby_is_told_from_every_other() {
    let mut world = World::with_nodes(3);
    let room = world.place("daily", 1, Some(2));
    let set = |world: &mut World, standby: Option<u64>| {
        let (name, standby) = ("daily".into(), standby.map(NodeId));
        let epoch = world.state.room(&name).unwrap().epoch;
        world.ok(Action::SetStandby {
            name,
            epoch,
            standby,
        });
        mandates(world).0
    };
    let first = mandates(&world).0.unwrap();
    assert_eq!((first.home, first.standby), (NodeId(1), NodeId(2)));
    assert_eq!(first.epoch, room.epoch);
    assert_eq!(set(&mut world, Some(2)), Some(first), "nothing changed");
    assert_eq!(set(&mut world, None), None);
    let second = set(&mut world, Some(2)).unwrap();
    assert!(second.since > first.since);
    assert_eq!(second.epoch, first.epoch);

    let death = world.dead(1);
    world.ok(death);
    assert_eq!(mandates(&world), (None, Some(second)));
    let third = set(&mut world, Some(3)).unwrap();
    assert_eq!(third.home, NodeId(2));
    assert_eq!(mandates(&world), (Some(third), Some(second)));
    // Its standby is dead: whoever is appointed next knows nothing of before.
    let death = world.dead(3);
    world.ok(death);
    assert_eq!(mandates(&world), (None, Some(second)));

    // Past its standby.
    let node = NodeId(3);
    world.start(3);
    world.activate(3);
    let fourth = set(&mut world, Some(3)).unwrap();
    world.start(1);
    world.activate(1);
    let epoch = world.state.room(&"daily".into()).unwrap().epoch;
    world.ok(Action::MoveRoom {
        name: "daily".into(),
        epoch,
        home: NodeId(1),
        standby: Some(node),
    });
    let (fifth, inherited) = mandates(&world);
    assert_eq!(inherited, None);
    assert!(fifth.unwrap().since > fourth.since);
    let epoch = world.state.room(&"daily".into()).unwrap().epoch;
    let name = "daily".into();
    world.ok(Action::CloseRoom { name, epoch });
    assert_eq!(mandates(&world), (None, None));
    assert!(world.state.mandates.is_empty());
}

#[test]
fn only_so_many_answers_are_remembered() {
    let mut world = World::new();
    for _ in 0..REQUESTS_REMEMBERED + 10 {
        world.ok(Action::AllocateIds { count: 1 });
    }
    assert_eq!(world.state.answers.len(), REQUESTS_REMEMBERED);
    assert_eq!(world.state.remembered.len(), REQUESTS_REMEMBERED);
}

#[test]
fn programs_of_two_versions_share_a_log_and_the_dead_hold_nobody_back() {
    let mut world = World::with_nodes(2);
    let newer = |node| NodeInfo {
        version_max: VERSION + 1,
        ..info(node)
    };
    let upgrade = |node| Action::RegisterNode {
        node: NodeId(node),
        info: newer(node),
    };
    world.ok(upgrade(1));
    assert_eq!(
        world.state.common_version(),
        VERSION,
        "the other reads no more"
    );
    let incarnation = world.state.node(NodeId(2)).unwrap().incarnation;
    let node = NodeId(2);
    world.ok(Action::DeclareDead { node, incarnation });
    assert_eq!(world.state.common_version(), VERSION + 1);
    world.ok(upgrade(2));
    assert_eq!(world.state.common_version(), VERSION + 1);
}
