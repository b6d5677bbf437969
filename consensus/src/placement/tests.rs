//! Placement by kind, limits and places, and the promise that it never fails while one node lives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn node(id: u64, cpu: f64) -> Candidate {
    Candidate {
        node: NodeId(id),
        host: format!("host{id}"),
        zone: format!("zone{}", id % 2),
        region: String::new(),
        media: true,
        state: NodeState::Active,
        stats_age_ms: Some(800),
        load: Load {
            cpu,
            cpus: 4,
            average_1min: cpu * 4.0,
            ..Load::default()
        },
        full: false,
    }
}

fn home(candidates: &[Candidate], selector: &Selector) -> Placement {
    place(candidates, selector, "", 1).unwrap()
}

#[test]
fn the_least_loaded_node_is_home_and_the_standby_is_in_another_zone() {
    let nodes = [node(1, 0.3), node(2, 0.1), node(3, 0.8), node(4, 0.0)];
    let placed = home(&nodes, &Selector::default());
    assert_eq!(placed.home, NodeId(4));
    assert_eq!(placed.standby, Some(NodeId(1)), "zone 1's least loaded");
    assert_eq!(placed.explanation.standby, StandbyReason::OtherZone);
    let text = placed.explanation.to_string();
    assert!(text.contains("n4: home"), "{text}");
    assert!(text.contains("n1: standby"), "{text}");
    assert!(text.contains("n3: considered"), "{text}");
}

#[test]
fn every_sort_key_is_respected() {
    let mut loaded = node(1, 0.1);
    let mut idle = node(2, 0.2);
    loaded.load = Load {
        rooms: 9,
        clients: 9,
        tracks: 9,
        bytes_per_second: 9.0,
        average_1min: 9.0,
        ..loaded.load
    };
    idle.load.average_1min = 0.1;
    for key in ["rooms", "clients", "tracks", "bytespersec", "sysload"] {
        let selector = Selector {
            kind: "any".parse().unwrap(),
            sort_by: key.parse().unwrap(),
            ..Selector::default()
        };
        let placed = home(&[loaded.clone(), idle.clone()], &selector);
        assert_eq!(placed.home, NodeId(2), "{key}");
    }
    let cpu = home(&[loaded, idle], &Selector::default());
    assert_eq!(cpu.home, NodeId(1));
}

#[test]
fn upstream_s_words_are_understood_and_others_named() {
    for kind in ["any", "random", "", "cpuload", "sysload", "regionaware"] {
        assert!(kind.parse::<Kind>().is_ok(), "{kind}");
    }
    for algorithm in ["lowest", "twochoice"] {
        assert!(algorithm.parse::<Algorithm>().is_ok(), "{algorithm}");
    }
    let error = "cpu".parse::<SortBy>().unwrap_err().to_string();
    assert!(
        error.contains("sort_by") && error.contains("cpuload"),
        "{error}"
    );
}

#[test]
fn nodes_over_the_limit_are_used_only_when_all_are() {
    let nodes = [node(1, 0.95), node(2, 0.89)];
    let mut selector = Selector {
        sort_by: SortBy::Rooms,
        ..Selector::default()
    };
    let mut busy = nodes;
    busy[1].load.rooms = 100;
    assert_eq!(home(&busy, &selector).home, NodeId(2), "rooms come second");
    selector.cpu_load_limit = 0.5;
    let placed = home(&busy, &selector);
    assert_eq!(placed.home, NodeId(1));
    assert_eq!(placed.explanation.concession, Concession::LoadLimits);
}

#[test]
fn the_standby_avoids_the_zone_then_the_machine_then_only_the_process() {
    let mut same_zone = node(3, 0.5);
    same_zone.host = "host9".into();
    let mut neighbour = node(5, 0.0);
    neighbour.host = "host1".into();
    let home_node = node(1, 0.0);
    let selector = Selector::default();
    let pick = |others: &[Candidate]| {
        let mut nodes = vec![home_node.clone()];
        nodes.extend_from_slice(others);
        let (standby, why) = choose_standby(&nodes, NodeId(1), &selector, "", 1);
        (standby.map(|n| n.0), why.standby)
    };
    let others = [same_zone.clone(), neighbour.clone(), node(2, 0.9)];
    assert_eq!(pick(&others), (Some(2), StandbyReason::OtherZone));
    let others = [same_zone, neighbour.clone()];
    assert_eq!(pick(&others), (Some(3), StandbyReason::OtherHost));
    assert_eq!(pick(&[neighbour]), (Some(5), StandbyReason::SameHost));
    assert_eq!(pick(&[]), (None, StandbyReason::NoOther));
}

#[test]
fn a_standby_that_is_heard_is_better_than_a_silent_one_in_another_zone() {
    let selector = Selector::default();
    let pick = |nodes: &[Candidate]| {
        let (standby, why) = choose_standby(nodes, NodeId(1), &selector, "", 1);
        (standby.map(|n| n.0), why.standby)
    };
    let mut silent = node(2, 0.0);
    silent.stats_age_ms = Some(60_000);
    let near = node(3, 0.9);
    let all = [node(1, 0.0), silent.clone(), near.clone()];
    assert_eq!(pick(&all), (Some(3), StandbyReason::OtherHost));
    let mut full = node(4, 0.0);
    full.full = true;
    let all = [node(1, 0.0), full, near];
    assert_eq!(pick(&all), (Some(3), StandbyReason::OtherHost));
    // Better than nobody.
    let all = [node(1, 0.0), silent];
    assert_eq!(pick(&all), (Some(2), StandbyReason::OtherZone));
}

#[test]
fn a_zone_that_nobody_named_is_not_another() {
    let mut unnamed = node(2, 0.0);
    unnamed.zone = String::new();
    let nodes = [node(1, 0.0), unnamed];
    let (standby, why) = choose_standby(&nodes, NodeId(1), &Selector::default(), "", 1);
    assert_eq!(
        (standby, why.standby),
        (Some(NodeId(2)), StandbyReason::OtherHost)
    );
}

#[test]
fn the_nearest_region_wins_and_unknown_regions_do_not_matter() {
    let region = |name: &str, latitude, longitude| Region {
        name: name.into(),
        latitude,
        longitude,
    };
    let selector = Selector {
        kind: Kind::RegionAware,
        regions: vec![
            region("berlin", 52.5, 13.4),
            region("madrid", 40.4, -3.7),
            region("tokyo", 35.7, 139.7),
        ],
        ..Selector::default()
    };
    let mut nodes = [node(1, 0.8), node(2, 0.0), node(3, 0.0)];
    nodes[0].region = "madrid".into();
    nodes[1].region = "tokyo".into();
    nodes[2].region = "nowhere".into();
    let placed = place(&nodes, &selector, "berlin", 1).unwrap();
    assert_eq!(placed.home, NodeId(1), "near, although loaded");
    let placed = place(&nodes, &selector, "unknown", 1).unwrap();
    assert_ne!(placed.home, NodeId(1), "no distance: the load decides");
}

#[test]
fn chance_spreads_equals_and_a_seed_repeats_it() {
    let nodes: Vec<_> = (1..=4).map(|id| node(id, 0.2)).collect();
    for algorithm in [Algorithm::Lowest, Algorithm::TwoChoice] {
        let selector = Selector {
            algorithm,
            ..Selector::default()
        };
        let mut counts = [0; 5];
        for seed in 0..400 {
            let placed = place(&nodes, &selector, "", seed).unwrap();
            assert_eq!(placed, place(&nodes, &selector, "", seed).unwrap());
            counts[placed.home.0 as usize] += 1;
        }
        assert!(
            counts[1..].iter().all(|c| *c > 50),
            "{algorithm:?} {counts:?}"
        );
    }
}

/// Whatever the figures: one living media node is enough, and the choice is never a dead one.
#[test]
fn placement_never_fails_while_one_media_node_lives() {
    for seed in 0..5_000 {
        let mut random = Random(SplitMix(seed));
        let mut nodes = Vec::new();
        for id in 1..=random.below(6) as u64 + 1 {
            let mut n = node(id, random.below(120) as f64 / 100.0);
            n.media = random.below(4) > 0;
            n.full = random.below(3) == 0;
            n.stats_age_ms = [None, Some(100), Some(60_000)][random.below(3)];
            n.host = format!("host{}", random.below(3));
            n.load.rooms = random.below(50) as u32;
            if random.below(3) == 0 {
                let odd = [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0];
                n.load.cpu = odd[random.below(5)];
                n.load.average_1min = odd[random.below(5)];
                n.load.bytes_per_second = odd[random.below(5)];
            }
            n.state = [
                NodeState::Joining,
                NodeState::Active,
                NodeState::Draining,
                NodeState::Dead,
            ][random.below(4)];
            nodes.push(n);
        }
        let lives = nodes.iter().any(Candidate::is_possible);
        let kinds = [Kind::Any, Kind::CpuLoad, Kind::SysLoad, Kind::RegionAware];
        let keys = [
            "random",
            "sysload",
            "cpuload",
            "rooms",
            "clients",
            "tracks",
            "bytespersec",
        ];
        let algorithms = [Algorithm::Lowest, Algorithm::TwoChoice];
        let selector = Selector {
            kind: kinds[random.below(4)],
            sort_by: keys[random.below(7)].parse().unwrap(),
            algorithm: algorithms[random.below(2)],
            ..Selector::default()
        };
        match place(&nodes, &selector, "", seed) {
            Ok(placed) => {
                let by_id = |id| nodes.iter().find(|n| n.node == id).unwrap();
                assert!(by_id(placed.home).is_possible(), "seed {seed}");
                if let Some(standby) = placed.standby {
                    assert_ne!(standby, placed.home, "seed {seed}");
                    assert_eq!(by_id(standby).state, NodeState::Active, "seed {seed}");
                }
                if by_id(placed.home).state == NodeState::Draining {
                    assert!(
                        !nodes
                            .iter()
                            .any(|n| n.media && n.state == NodeState::Active),
                        "seed {seed}: a draining node although another was there"
                    );
                }
            }
            Err(refused) => {
                assert!(!lives, "seed {seed}: {}", refused.explanation);
            }
        }
    }
}
