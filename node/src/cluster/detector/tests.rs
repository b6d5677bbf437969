//! Nobody who lives is called dead, and whoever is dead is called so in time: in virtual time, over
//! bad networks, from seeds that are printed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod world;

use std::time::Duration;

use consensus::ids::{Epoch, NodeId};

use super::*;
use world::World;

const SEEDS: u64 = 40;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A fifth of all packets is lost, the rest comes up to 50 ms late.
fn bad(mut world: World) -> World {
    world.loss = 0.2;
    world.latency = ms(2);
    world.jitter = ms(50);
    world
}

#[test]
fn nobody_alive_is_accused_on_a_bad_network() {
    for seed in 0..SEEDS {
        let mut world = bad(World::new(seed, 2, 3));
        for _ in 0..8 {
            world.run_for(ms(2_000));
            // A middlebox forgets a lifeline.
            let (at, of) = (1 + world.random(5), 1 + world.random(5));
            if at != of {
                world.reset_lifeline(at, of);
            }
        }
        assert!(
            world.verdicts.is_empty(),
            "seed {seed}: {:?}",
            world.verdicts
        );
    }
}

#[test]
fn a_leader_that_was_not_scheduled_accuses_nobody() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed, 1, 3);
        for stall in [60, 300, 450, 2_000, 30_000] {
            world.run_for(ms(1_000));
            world.freeze(1, ms(stall));
            world.run_for(ms(stall + 1_000));
        }
        // Starved: it runs for a moment now and then.
        for _ in 0..40 {
            world.freeze(1, ms(150));
            world.run_for(ms(151));
        }
        assert!(
            world.verdicts.is_empty(),
            "seed {seed}: {:?}",
            world.verdicts
        );
    }
}

#[test]
fn a_starved_process_is_not_a_dead_host() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed, 2, 3);
        for stall in [100, 300, 500, 800, 900] {
            world.run_for(ms(1_000));
            let victim = 2 + world.random(4);
            world.freeze(victim, ms(stall));
            world.run_for(ms(stall));
        }
        world.run_for(ms(1_000));
        assert!(
            world.verdicts.is_empty(),
            "seed {seed}: {:?}",
            world.verdicts
        );
    }
}

#[test]
fn a_stopped_process_is_dead_after_a_second() {
    let stop = |world: &mut World, victim| world.freeze(victim, ms(30_000));
    let times = detection(2, 3, 4, |w| w, stop);
    assert!(times[0] >= ms(900), "{times:?}");
    assert!(times[times.len() - 1] <= ms(1_300), "{times:?}");
}

/// The time from `kill` or `unplug` to the verdict, over all seeds.
fn detection(
    masters: u64,
    media: u64,
    victim: u64,
    network: fn(World) -> World,
    end: fn(&mut World, u64),
) -> Vec<Duration> {
    let mut times = Vec::new();
    for seed in 0..SEEDS {
        let mut world = network(World::new(seed, masters, media));
        let settle = 3_000 + world.random(200);
        world.run_for(ms(settle));
        let began = world.now();
        end(&mut world, victim);
        world.run_for(ms(20_000));
        let verdict = world.verdicts.first().copied();
        let verdict = verdict.unwrap_or_else(|| panic!("seed {seed}: nobody noticed"));
        assert_eq!(verdict.of, victim, "seed {seed}: {verdict:?}");
        assert_ne!(verdict.by, victim, "seed {seed}: {verdict:?}");
        // A host that lost its power says nothing through its kernel.
        let by_kernel = verdict.cause == Cause::Process;
        assert!(
            !by_kernel || world.has_host(victim),
            "seed {seed}: {verdict:?}"
        );
        assert_eq!(world.verdicts.len(), 1, "seed {seed}: {:?}", world.verdicts);
        times.push(verdict.at - began);
    }
    times.sort();
    times
}

#[test]
fn the_end_of_a_process_is_noticed_within_60_ms() {
    let times = detection(2, 3, 4, |w| w, World::kill);
    assert!(times[times.len() - 1] <= ms(60), "{times:?}");
}

#[test]
fn the_end_of_a_process_is_noticed_soon_on_a_bad_network() {
    let times = detection(2, 3, 4, bad, World::kill);
    assert!(times[times.len() / 2] <= ms(450), "{times:?}");
    assert!(times[times.len() - 1] <= ms(1_000), "{times:?}");
}

#[test]
fn the_end_of_a_host_is_noticed_within_400_ms() {
    for (masters, media, victim) in [(1, 1, 2), (1, 3, 3), (4, 3, 6), (4, 0, 2)] {
        let times = detection(masters, media, victim, |w| w, World::unplug);
        assert!(times[times.len() - 1] <= ms(400), "{times:?}");
        assert!(times[0] >= ms(180), "{times:?}");
    }
}

#[test]
fn the_end_of_a_host_is_noticed_within_a_second_on_a_bad_network() {
    let times = detection(2, 3, 4, bad, World::unplug);
    assert!(times[times.len() / 2] <= ms(550), "{times:?}");
    assert!(times[times.len() - 1] <= ms(1_000), "{times:?}");
}

#[test]
fn a_dead_leader_is_called_dead_by_the_next() {
    for end in [World::kill, World::unplug] {
        // It takes 400 ms to elect one.
        let times = detection(4, 2, 1, |w| w, end);
        assert!(times[times.len() - 1] <= ms(460), "{times:?}");
    }
}

#[test]
fn a_broken_path_between_two_is_not_a_death() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed, 1, 3);
        world.run_for(ms(2_000));
        world.cut(1, 3);
        world.run_for(ms(5_000));
        assert!(world.suspects(1).contains_key(&NodeId(3)), "seed {seed}");
        world.heal();
        world.run_for(ms(1_000));
        assert!(world.suspects(1).is_empty(), "seed {seed}");
        assert!(
            world.verdicts.is_empty(),
            "seed {seed}: {:?}",
            world.verdicts
        );
    }
}

#[test]
fn a_suspicion_is_said_once_when_it_begins_and_once_when_it_ends() {
    for seed in 0..SEEDS {
        // Nobody seconds it, so there is no verdict either.
        let mut world = World::new(seed, 2, 3);
        world.run_for(ms(2_000));
        world.cut(2, 4);
        world.run_for(ms(3_000));
        world.heal();
        world.run_for(ms(1_000));
        let mut news = world.news.clone();
        news.retain(|(by, of, _)| (*by, *of) == (2, 4));
        assert_eq!(news, [(2, 4, true), (2, 4, false)], "seed {seed}");
        // One that is called dead is nobody's suspect any more.
        world.kill(5);
        world.run_for(ms(1_000));
        assert!(world.verdicts.iter().any(|v| v.of == 5), "seed {seed}");
        let said = |begins| world.news.iter().filter(move |n| (n.1, n.2) == (5, begins));
        assert!(said(true).count() > 0, "seed {seed}");
        assert_eq!(said(true).count(), said(false).count(), "seed {seed}");
        assert!(world.suspects(1).is_empty(), "seed {seed}");
    }
}

#[test]
fn a_leader_that_alone_misses_a_node_lets_another_lead() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed, 3, 3);
        world.run_for(ms(2_000));
        world.cut(1, 4);
        world.cut(2, 6);
        world.run_for(ms(4_000));
        assert_eq!(world.leader(), Some(1), "seed {seed}: it may pass");
        world.run_for(ms(3_000));
        assert_eq!(world.leader(), Some(3), "seed {seed}: who hears everybody");
        world.run_for(ms(60_000));
        assert_eq!(world.leader(), Some(3), "seed {seed}");
        assert!(
            world.verdicts.is_empty(),
            "seed {seed}: {:?}",
            world.verdicts
        );
    }
}

#[test]
fn leadership_does_not_wander_where_every_master_misses_somebody() {
    let mut world = World::new(11, 2, 4);
    world.run_for(ms(2_000));
    world.cut(1, 3);
    world.cut(2, 4);
    let mut leaders = Vec::new();
    for _ in 0..120 {
        world.run_for(ms(1_000));
        leaders.push(world.leader());
    }
    leaders.dedup();
    assert_eq!(leaders.len(), 1, "{leaders:?}");
}

#[test]
fn a_leader_that_hears_nobody_waits() {
    let mut world = World::new(7, 1, 3);
    world.run_for(ms(2_000));
    for other in 2..=4 {
        world.cut(1, other);
    }
    world.run_for(ms(60_000));
    assert!(world.verdicts.is_empty(), "{:?}", world.verdicts);
    world.heal();
    world.run_for(ms(2_000));
    assert!(world.verdicts.is_empty(), "{:?}", world.verdicts);
}

/// A node that enters the log meanwhile was not heard either; and of those that are heard again one
/// is the first.
#[test]
fn a_leader_that_heard_nobody_for_a_moment_waits_for_everybody() {
    let (start, me) = (Instant::now(), NodeId(1));
    let life = |id: u64| {
        let master = id <= 3;
        let incarnation = Epoch(id);
        let life = Life {
            incarnation,
            master,
            media: !master,
        };
        (NodeId(id), life)
    };
    let mut detector = Detector::new(me, start);
    let (mut verdicts, mut at) = (Vec::new(), start);
    let mut run = |detector: &mut Detector, answers: fn(NodeId) -> bool, time: u64| {
        for _ in 0..time / 20 {
            at += ms(20);
            detector.handle(at, Input::Tick);
            while let Some(output) = detector.poll() {
                match output {
                    Output::Ask { node, number } if answers(node) => {
                        detector.handle(at, Input::Answered { node, number });
                    }
                    Output::Dead { suspicion, .. } => verdicts.push(suspicion.node),
                    _ => {}
                }
            }
        }
        verdicts.clone()
    };
    detector.handle(start, Input::Roster((1..=5).map(life).collect()));
    detector.handle(start, Input::Leader(Some(me)));
    run(&mut detector, |_| true, 2_000);
    run(&mut detector, |_| false, 600);
    let all = Input::Roster((1..=6).map(life).collect());
    detector.handle(start + ms(2_600), all);
    run(&mut detector, |_| false, 100);
    run(&mut detector, |node| node == NodeId(6), 100);
    assert_eq!(run(&mut detector, |_| true, 2_000), []);
}

#[test]
fn masters_that_are_cut_off_from_all_media_nodes_take_no_room_from_them() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed, 4, 4);
        world.run_for(ms(2_000));
        for (master, media) in (1..=4).flat_map(|m| (5..=8).map(move |n| (m, n))) {
            world.cut(master, media);
        }
        world.run_for(ms(30_000));
        world.heal();
        world.run_for(ms(2_000));
        assert!(
            world.verdicts.is_empty(),
            "seed {seed}: {:?}",
            world.verdicts
        );
    }
}

#[test]
fn most_media_nodes_are_given_up_only_after_a_while() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed, 1, 6);
        world.run_for(ms(6_000));
        // The master and one media node are on this side, the others on that one.
        for other in 3..=7 {
            world.cut(1, other);
            world.cut(2, other);
        }
        world.run_for(ms(8_000));
        assert!(
            world.verdicts.is_empty(),
            "seed {seed}: {:?}",
            world.verdicts
        );
        world.run_for(ms(4_000));
        let mut found: Vec<u64> = world.verdicts.iter().map(|v| v.of).collect();
        found.sort_unstable();
        assert_eq!(found, [3, 4, 5, 6, 7], "seed {seed}");
    }
}

#[test]
fn questions_do_not_grow_with_the_outage() {
    let mut world = World::new(1, 1, 150);
    world.run_for(ms(2_000));
    for other in 2..=120 {
        world.cut(1, other);
    }
    let before = world.asked_by(1);
    world.run_for(ms(2_000));
    let asked = world.asked_by(1) - before;
    assert!(asked <= 2 * (5_000 + 2_000) + 500, "{asked} in two seconds");
}

#[test]
fn hosts_that_die_together_are_all_found() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed, 1, 6);
        // Long enough for everybody to be well known.
        world.run_for(ms(6_000));
        let began = world.now();
        for victim in [2, 3, 4] {
            world.unplug(victim);
        }
        world.run_for(ms(10_000));
        let mut found: Vec<u64> = world.verdicts.iter().map(|v| v.of).collect();
        found.sort_unstable();
        assert_eq!(found, [2, 3, 4], "seed {seed}");
        let last = world.verdicts.last().unwrap().at - began;
        assert!(last <= ms(1_200), "seed {seed}: {last:?}");
    }
}

#[test]
fn who_says_farewell_is_not_accused_for_a_while() {
    let mut world = World::new(3, 1, 2);
    world.run_for(ms(2_000));
    world.give_to(1, Input::Farewell(NodeId(2)));
    world.kill(2);
    world.run_for(ms(15_000));
    assert!(world.verdicts.is_empty(), "{:?}", world.verdicts);
    world.run_for(ms(10_000));
    assert_eq!(world.verdicts.len(), 1, "it does not come back");
}

#[test]
fn a_new_life_is_not_accused_of_the_last() {
    let start = Instant::now();
    let (me, other) = (NodeId(1), NodeId(2));
    let life = |incarnation, master| Life {
        incarnation: Epoch(incarnation),
        master,
        media: true,
    };
    let mut detector = Detector::new(me, start);
    let roster =
        |incarnation| BTreeMap::from([(me, life(1, true)), (other, life(incarnation, false))]);
    detector.handle(start, Input::Roster(roster(2)));
    detector.handle(start, Input::Leader(Some(me)));
    detector.handle(start, Input::LifelineOpened(other));
    detector.handle(start + ms(10), Input::LifelineClosed(other));
    detector.handle(start + ms(11), Input::LifelineRefused(other));
    detector.handle(start + ms(12), Input::Roster(roster(3)));
    for step in 0..50 {
        detector.handle(start + ms(20 + step * 20), Input::Tick);
    }
    let verdict = std::iter::from_fn(|| detector.poll()).find(|o| matches!(o, Output::Dead { .. }));
    assert_eq!(verdict, None);
}

#[test]
fn an_answer_from_before_the_end_proves_nothing() {
    let start = Instant::now();
    let (me, other) = (NodeId(1), NodeId(2));
    let life = |incarnation| Life {
        incarnation: Epoch(incarnation),
        master: true,
        media: true,
    };
    let mut detector = Detector::new(me, start);
    let roster = BTreeMap::from([(me, life(1)), (other, life(2))]);
    detector.handle(start, Input::Roster(roster));
    detector.handle(start, Input::Leader(Some(me)));
    detector.handle(start, Input::LifelineOpened(other));
    let asked = std::iter::from_fn(|| detector.poll()).last().unwrap();
    let Output::Ask { number, .. } = asked else {
        panic!("{asked:?}");
    };
    let answered = |number| Input::Answered {
        node: other,
        number,
    };
    detector.handle(start + ms(5), answered(number));
    detector.handle(start + ms(6), Input::LifelineClosed(other));
    detector.handle(start + ms(7), Input::LifelineRefused(other));
    detector.handle(start + ms(8), answered(number));
    for step in 0..5 {
        detector.handle(start + ms(20 + step * 20), Input::Tick);
    }
    let verdict = std::iter::from_fn(|| detector.poll()).find(|o| matches!(o, Output::Dead { .. }));
    assert!(verdict.is_some());
}

#[test]
fn a_large_cluster_is_not_asked_by_the_square() {
    let mut world = World::new(1, 4, 60);
    world.run_for(ms(1_000));
    for media in 5..=64 {
        // Two before it in the ring, and itself among the ring's wrap.
        assert!(world.watched(media) <= 10, "{}", world.watched(media));
    }
    let per_second = world.questions;
    world.run_for(ms(5_000));
    let each = (world.questions - per_second) / 5;
    assert!(each <= 64 * 6 * 15, "{each} questions a second");
    assert!(world.verdicts.is_empty());
}

#[test]
fn told_opinions_of_strangers_and_of_past_lives_do_not_count() {
    let mut world = World::new(5, 1, 2);
    world.run_for(ms(2_000));
    world.cut(1, 2);
    for _ in 0..100 {
        for (from, incarnation) in [(9, 102), (3, 7), (1, 102)] {
            let suspicion = Suspicion {
                node: NodeId(2),
                incarnation: Epoch(incarnation),
                cause: Cause::Process,
            };
            let from = NodeId(from);
            world.give_to(1, Input::Told { from, suspicion });
        }
        world.run_for(ms(20));
    }
    assert!(world.verdicts.is_empty(), "{:?}", world.verdicts);
}
