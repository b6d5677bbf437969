//! Drains over virtual time: paced, in order, stuck with a reason, called off, forced, and taken
//! over by a leader that knows only the log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

const NODE: NodeId = NodeId(7);

fn record(deadline_ms: Option<u64>) -> Record {
    Record {
        cause: Cause::Operator,
        then: Then::Stay,
        started_ms: 1_000,
        deadline_ms,
        rooms: 0,
        done_ms: None,
        forced: false,
    }
}

fn leaving(record: Option<Record>) -> Leaving {
    Leaving {
        state: NodeState::Draining,
        record,
        jobs: 0,
        votes: false,
        vote_may_go: true,
    }
}

fn room(number: u32, participants: u32) -> RoomLeft {
    RoomLeft {
        name: RoomName(format!("room{number}")),
        epoch: Epoch(u64::from(number)),
        home: NODE,
        participants,
    }
}

fn view(rooms: Vec<RoomLeft>, record: Record) -> View {
    View {
        nodes: BTreeMap::from([(NODE, leaving(Some(record)))]),
        rooms,
        takers: 2,
        quorum: true,
    }
}

fn outputs(drains: &mut Drains) -> Vec<Output> {
    std::iter::from_fn(|| drains.poll()).collect()
}

fn names(outputs: &[Output]) -> Vec<&str> {
    let name = |output: &'_ Output| match output {
        Output::Move { .. } | Output::Close { .. } => true,
        Output::Finish { .. } => false,
    };
    let moves = outputs.iter().filter(|o| name(o));
    moves
        .map(|output| match output {
            Output::Move { name, .. } | Output::Close { name, .. } => name.as_str(),
            Output::Finish { .. } => unreachable!(),
        })
        .collect()
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn rooms_leave_at_a_pace_the_empty_ones_first() {
    let mut drains = Drains::new(10.0);
    let mut rooms = vec![room(1, 5), room(2, 0), room(3, 2), room(4, 0)];
    let mut order = Vec::new();
    let mut taken = Vec::new();
    for step in 0..100 {
        let now = ms(step * 10);
        drains.look(now, 5_000, view(rooms.clone(), record(None)));
        for output in outputs(&mut drains) {
            let Output::Move { name, .. } = output else {
                taken.push(step);
                continue;
            };
            rooms.retain(|room| room.name != name);
            order.push((step, name.clone()));
            drains.moved(
                now,
                Moved {
                    name,
                    end: End::Done,
                },
            );
        }
    }
    let names: Vec<&str> = order.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["room2", "room4", "room3", "room1"]);
    let gaps = order.windows(2).map(|pair| pair[1].0 - pair[0].0);
    assert!(gaps.into_iter().all(|gap| gap == 10), "{order:?}");
    assert!(!taken.is_empty(), "it was told to be finished");
}

#[test]
fn rooms_of_which_nobody_spoke_count_for_nobody() {
    let mut drains = Drains::new(1.0);
    let rooms = vec![room(1, UNCOUNTED), room(2, 3), room(3, UNCOUNTED)];
    drains.look(ms(0), 5_000, view(rooms, record(None)));
    let progress = drains.progress();
    assert_eq!(
        (progress[0].rooms_left, progress[0].participants_left),
        (3, 3)
    );
}

#[test]
fn what_failed_is_tried_again_and_said() {
    let mut drains = Drains::new(100.0);
    let rooms = vec![room(1, 1)];
    drains.look(ms(0), 0, view(rooms.clone(), record(None)));
    assert_eq!(names(&outputs(&mut drains)), ["room1"]);
    drains.look(ms(500), 0, view(rooms.clone(), record(None)));
    assert!(outputs(&mut drains).is_empty(), "it is on its way");
    let failed = Moved {
        name: "room1".into(),
        end: End::Failed("no".into()),
    };
    drains.moved(ms(600), failed);
    drains.look(ms(700), 0, view(rooms.clone(), record(None)));
    assert!(outputs(&mut drains).is_empty());
    let progress = drains.progress();
    assert_eq!(progress[0].phase, Phase::Moving);
    assert_eq!(progress[0].stuck, ["room room1: no"]);
    drains.look(ms(2_700), 0, view(rooms, record(None)));
    assert_eq!(names(&outputs(&mut drains)), ["room1"]);
}

#[test]
fn a_room_waits_until_its_people_would_not_notice_but_not_for_ever() {
    let mut drains = Drains::new(100.0);
    let rooms = || vec![room(1, 1)];
    let mut asked = Vec::new();
    for step in 0..1_000 {
        let now = ms(step * 100);
        drains.look(now, 0, view(rooms(), record(None)));
        for output in outputs(&mut drains) {
            let Output::Move { name, patient, .. } = output else {
                panic!("{output:?}");
            };
            asked.push((now, patient));
            if patient {
                drains.moved(
                    now,
                    Moved {
                        name,
                        end: End::Unready,
                    },
                );
                let progress = drains.progress();
                assert!(progress[0].stuck[0].contains("protected"), "{progress:?}");
            }
        }
    }
    let (last, patient) = asked.pop().unwrap();
    assert!(!patient && last >= UNREADY_PATIENCE, "{last:?}");
    assert!(last < UNREADY_PATIENCE + 2 * UNREADY_RETRY, "{last:?}");
    assert!(asked.len() > 100 && asked.iter().all(|(_, patient)| *patient));

    let mut drains = Drains::new(100.0);
    drains.look(ms(0), 9_000, view(rooms(), record(Some(8_000))));
    let forced = outputs(&mut drains);
    assert!(
        matches!(&forced[..], [Output::Move { patient: false, .. }]),
        "{forced:?}"
    );
}

#[test]
fn without_takers_or_quorum_nothing_moves_and_the_reason_is_told() {
    let mut drains = Drains::default();
    let mut alone = view(vec![room(1, 1)], record(None));
    alone.takers = 0;
    drains.look(ms(0), 0, alone);
    assert!(outputs(&mut drains).is_empty());
    assert_eq!(
        drains.progress()[0].stuck,
        ["no other media node takes rooms"]
    );
    let mut cut = view(vec![room(1, 1)], record(None));
    cut.quorum = false;
    drains.look(ms(10), 0, cut);
    assert!(outputs(&mut drains).is_empty());
    assert!(drains.progress()[0].stuck[0].contains("no quorum"));
}

#[test]
fn at_the_deadline_all_goes_at_once() {
    let rooms: Vec<RoomLeft> = (0..50).map(|number| room(number, 3)).collect();
    let mut drains = Drains::new(1.0);
    drains.look(ms(0), 9_999, view(rooms.clone(), record(Some(10_000))));
    assert_eq!(outputs(&mut drains).len(), 1, "not yet");
    drains.look(ms(10), 10_000, view(rooms.clone(), record(Some(10_000))));
    assert_eq!(outputs(&mut drains).len(), 49);
    assert!(drains.progress()[0].forced);

    let mut alone = view(rooms, record(Some(10_000)));
    alone.takers = 0;
    let mut drains = Drains::new(1.0);
    drains.look(ms(0), 10_000, alone);
    let closed = outputs(&mut drains);
    assert_eq!(closed.len(), 50);
    assert!(closed.iter().all(|o| matches!(o, Output::Close { .. })));
}

#[test]
fn jobs_are_waited_for_until_the_deadline_and_votes_for_ever() {
    let mut drains = Drains::default();
    let with = |jobs, votes| {
        let mut leaves = record(Some(10_000));
        leaves.then = Then::Remove;
        let mut view = view(Vec::new(), leaves);
        let node = view.nodes.get_mut(&NODE).unwrap();
        node.jobs = jobs;
        node.votes = votes;
        view
    };
    drains.look(ms(0), 9_000, with(2, false));
    assert!(outputs(&mut drains).is_empty());
    assert_eq!(drains.progress()[0].phase, Phase::Waiting);
    assert_eq!(drains.progress()[0].stuck, ["2 jobs run on it"]);
    drains.look(ms(10), 10_000, with(2, true));
    assert!(outputs(&mut drains).is_empty(), "the quorum comes first");
    drains.look(ms(20), 10_000, with(2, false));
    let end = outputs(&mut drains);
    assert!(matches!(end[..], [Output::Finish { forced: true, .. }]));
    // Told again only if it was not carried out.
    drains.look(ms(30), 10_000, with(2, false));
    assert!(outputs(&mut drains).is_empty());
    drains.look(ms(11_000), 10_000, with(2, false));
    assert_eq!(outputs(&mut drains).len(), 1);
}

#[test]
fn who_stays_may_vote_on() {
    let mut drains = Drains::default();
    let mut voting = view(Vec::new(), record(None));
    voting.nodes.get_mut(&NODE).unwrap().votes = true;
    drains.look(ms(0), 0, voting);
    assert_eq!(drains.progress()[0].phase, Phase::Done);
    assert!(matches!(outputs(&mut drains)[..], [Output::Finish { .. }]));
}

#[test]
fn a_new_leader_goes_on_from_the_log() {
    let mut first = Drains::new(1.0);
    let all: Vec<RoomLeft> = (0..4).map(|number| room(number, 0)).collect();
    let mut noted = record(Some(20_000));
    noted.rooms = 4;
    first.look(ms(0), 2_000, view(all.clone(), noted.clone()));
    assert_eq!(outputs(&mut first).len(), 1);
    // It dies; the log has three rooms left and the record.
    let bytes = noted.encode();
    let mut second = Drains::new(1.0);
    let left = view(all[1..].to_vec(), Record::decode(&bytes).unwrap());
    second.look(ms(70_000), 3_000, left);
    assert_eq!(names(&outputs(&mut second)), ["room1"]);
    let progress = second.progress();
    assert_eq!((progress[0].rooms_total, progress[0].rooms_left), (4, 3));
    assert_eq!(progress[0].deadline_ms, Some(20_000));
}

#[test]
fn a_drain_asked_for_twice_is_one_under_the_stricter_terms() {
    let mut scale_in = record(None);
    scale_in.cause = Cause::ScaleIn;
    let mut cloud = record(Some(9_000));
    cloud.cause = Cause::Cloud;
    cloud.then = Then::Terminate;
    cloud.started_ms = 5_000;
    let [set, drain] = request(NODE, cloud.clone(), Some((scale_in, 12)));
    let consensus::command::Action::SetValue {
        value, expected, ..
    } = set
    else {
        panic!("{set:?}");
    };
    assert_eq!(expected, Some(12));
    let merged = Record::decode(&value).unwrap();
    assert_eq!(merged.cause, Cause::Cloud);
    assert_eq!(merged.then, Then::Terminate);
    assert_eq!(
        (merged.started_ms, merged.deadline_ms),
        (1_000, Some(9_000))
    );
    assert_eq!(drain, consensus::command::Action::DrainNode { node: NODE });
    // After one that is over, it begins anew.
    let over = record(None).done(4_000, false);
    let [set, _] = request(NODE, cloud.clone(), Some((over, 13)));
    let consensus::command::Action::SetValue { value, .. } = set else {
        panic!("{set:?}");
    };
    assert_eq!(Record::decode(&value).unwrap(), cloud);
}

#[test]
fn a_record_that_is_none_is_refused() {
    for bytes in [&b""[..], b"{}", b"[1,2]", &[0xff; 40], &[b' '; 5_000]] {
        assert!(Record::decode(bytes).is_err());
    }
}
