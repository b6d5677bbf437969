//! Decisions over hours of virtual time, from seeds that are printed: groups converge, rest on a
//! steady load, stay within their bounds and never lose what is needed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn node(id: u64, cpu: f64) -> MediaNode {
    MediaNode {
        node: NodeId(id),
        zone: ["a", "b", "c"][(id % 3) as usize].into(),
        state: NodeState::Active,
        draining: None,
        age: Duration::from_secs(10_000 + id),
        cpu: Some(cpu),
        cpus: 4,
        rooms: 10,
        jobs: 0,
        removable: true,
    }
}

fn view(nodes: Vec<MediaNode>) -> View {
    View {
        nodes,
        quorum: true,
        launching: 0,
        since_out: None,
        since_in: None,
    }
}

fn step(view: &View) -> Step {
    decide(&Settings::default(), view).step
}

#[test]
fn what_is_too_little_grows_at_once() {
    let launch = |count, zone: Option<&str>| Step::Launch {
        count,
        zone: zone.map(Into::into),
    };
    assert_eq!(step(&view(vec![])), launch(1, None), "below the minimum");
    let busy = view(vec![node(1, 0.9), node(2, 0.9)]);
    assert_eq!(step(&busy), launch(2, Some("b")));
    let mut ordered = busy.clone();
    ordered.launching = 2;
    assert_eq!(step(&ordered), Step::Nothing, "machines are coming");
    let mut lately = busy;
    lately.since_out = Some(SECOND * 10);
    assert_eq!(step(&lately), Step::Nothing, "cool-down");
    let full = view((1..=5).map(|id| node(id, 1.0)).collect());
    assert_eq!(step(&full), Step::Nothing, "the maximum");
}

#[test]
fn what_is_too_much_goes_one_by_one_and_gently() {
    let idle = |count| view((1..=count).map(|id| node(id, 0.1)).collect());
    assert!(matches!(step(&idle(4)), Step::Remove { .. }));
    assert_eq!(step(&idle(1)), Step::Nothing, "the minimum");
    let mut draining = idle(4);
    draining.nodes[0].state = NodeState::Draining;
    draining.nodes[0].draining = Some(Draining::ForGood);
    assert_eq!(step(&draining), Step::Nothing, "one at a time");
    let mut silent = idle(4);
    silent.nodes[2].cpu = None;
    assert_eq!(step(&silent), Step::Nothing, "who knows what it carries");
    let mut lately = idle(4);
    lately.since_in = Some(SECOND * 100);
    assert_eq!(step(&lately), Step::Nothing, "cool-down");
    let mut without = idle(4);
    without.quorum = false;
    assert_eq!(step(&without), Step::Nothing, "no quorum");
    let too_many = view((1..=7).map(|id| node(id, 0.45)).collect());
    assert!(
        matches!(step(&too_many), Step::Remove { .. }),
        "the maximum"
    );
}

#[test]
fn the_empty_the_crowded_zones_and_the_young_go_first() {
    let mut nodes: Vec<MediaNode> = (1..=5).map(|id| node(id, 0.05)).collect();
    // Zones: 1 and 4 in b, 2 and 5 in c, 3 in a.
    nodes[4].age = Duration::from_secs(500);
    assert_eq!(step(&view(nodes.clone())), Step::Remove { node: NodeId(5) });
    nodes[0].rooms = 0;
    assert_eq!(step(&view(nodes.clone())), Step::Remove { node: NodeId(1) });
    nodes[0].removable = false;
    assert_eq!(step(&view(nodes.clone())), Step::Remove { node: NodeId(5) });
    for node in &mut nodes {
        node.removable = false;
    }
    let decision = decide(&Settings::default(), &view(nodes));
    assert_eq!(decision.step, Step::Nothing);
    assert!(
        decision.reason.contains("no node may"),
        "{}",
        decision.reason
    );
}

#[test]
fn who_was_to_go_stays_when_load_comes_back() {
    let mut nodes: Vec<MediaNode> = (1..=3).map(|id| node(id, 0.9)).collect();
    nodes[1].state = NodeState::Draining;
    nodes[1].draining = Some(Draining::ToScaleIn);
    assert_eq!(step(&view(nodes.clone())), Step::Keep { node: NodeId(2) });
    nodes[1].draining = Some(Draining::ForGood);
    assert!(matches!(step(&view(nodes)), Step::Launch { .. }));
}

/// A group whose machines take two minutes to come and a while to drain; load spreads evenly.
struct Group {
    rng: ChaCha8Rng,
    settings: Settings,
    nodes: Vec<MediaNode>,
    launches: Vec<Duration>,
    now: Duration,
    out: Option<Duration>,
    gone: Option<Duration>,
    ids: u64,
    steps: Vec<(Duration, Step)>,
}

impl Group {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let nodes_min = rng.random_range(1..4);
        let settings = Settings {
            nodes_min,
            nodes_max: nodes_min + rng.random_range(1..20),
            target_cpu: rng.random_range(0.3..0.8),
            ..Settings::default()
        };
        let count = rng.random_range(0..8);
        let mut nodes: Vec<MediaNode> = (1..=count).map(|id| node(id, 0.0)).collect();
        for node in &mut nodes {
            node.removable = rng.random_bool(0.8);
        }
        Self {
            rng,
            settings,
            nodes,
            launches: Vec::new(),
            now: Duration::ZERO,
            out: None,
            gone: None,
            ids: count,
            steps: Vec::new(),
        }
    }

    /// Ten seconds with so many CPUs in use, give or take.
    fn turn(&mut self, used: f64, noise: f64) {
        self.now += SECOND * 10;
        let now = self.now;
        let come = self.launches.extract_if(.., |at| *at <= now).count();
        for _ in 0..come {
            self.ids += 1;
            let mut new = node(self.ids, 0.0);
            new.age = Duration::ZERO;
            self.nodes.push(new);
        }
        // A drained node goes; a new one gets its share.
        self.nodes
            .retain(|n| n.state != NodeState::Draining || n.rooms > 0);
        let cpus: f64 = self.nodes.iter().map(|n| f64::from(n.cpus)).sum();
        for node in &mut self.nodes {
            let factor = 1.0 + self.rng.random_range(-noise..=noise);
            node.cpu = Some((used * factor / cpus).min(1.0));
            node.age += SECOND * 10;
            if node.state == NodeState::Draining {
                node.rooms = node.rooms.saturating_sub(5);
            }
        }
        let view = View {
            nodes: self.nodes.clone(),
            quorum: true,
            launching: self.launches.len() as u32,
            since_out: self.out.map(|at| now - at),
            since_in: self.gone.map(|at| now - at),
        };
        let step = decide(&self.settings, &view).step;
        self.carry_out(&step);
        if step != Step::Nothing {
            self.steps.push((now, step));
        }
    }

    fn carry_out(&mut self, step: &Step) {
        match step {
            Step::Nothing => {}
            Step::Launch { count, .. } => {
                self.out = Some(self.now);
                for _ in 0..*count {
                    self.launches.push(self.now + SECOND * 120);
                }
            }
            Step::Remove { node } => {
                self.gone = Some(self.now);
                let node = self.nodes.iter_mut().find(|n| n.node == *node).unwrap();
                assert!(node.removable, "a needed node was taken");
                node.state = NodeState::Draining;
                node.draining = Some(Draining::ToScaleIn);
            }
            Step::Keep { node } => {
                let node = self.nodes.iter_mut().find(|n| n.node == *node).unwrap();
                node.state = NodeState::Active;
                node.draining = None;
            }
        }
    }

    fn serving(&self) -> u32 {
        let active = self.nodes.iter().filter(|n| n.state == NodeState::Active);
        active.count() as u32
    }

    fn check_bounds(&self, seed: u64) {
        let all = self.serving() + self.launches.len() as u32;
        let began_above = self.settings.nodes_max.max(8);
        assert!(all <= began_above, "seed {seed}: {all}");
    }
}

#[test]
fn a_steady_load_is_met_and_then_nothing_happens() {
    for seed in 0..200 {
        let mut group = Group::new(seed);
        let used = group.rng.random_range(0.0..30.0);
        let noise = group.rng.random_range(0.0..0.05);
        // Four hours to find its size, four to rest.
        for _ in 0..4 * 360 {
            group.turn(used, noise);
            group.check_bounds(seed);
        }
        let settled = group.steps.len();
        let began = group.now;
        for _ in 0..4 * 360 {
            group.turn(used, noise);
        }
        let late: Vec<_> = group.steps[settled..].iter().collect();
        assert!(late.is_empty(), "seed {seed}: after {began:?}: {late:?}");
        let settings = group.settings;
        let serving = group.serving();
        assert!(serving >= settings.nodes_min, "seed {seed}");
        let cpu = used / (f64::from(serving) * 4.0);
        let at_max = serving >= settings.nodes_max;
        let limit = settings.target_cpu * 1.25;
        assert!(cpu <= limit || at_max, "seed {seed}: {cpu} on {serving}");
        // Not many more than needed, but for those that may not go.
        let stay = group.nodes.iter().filter(|n| !n.removable).count() as u32;
        let least = (used / (settings.target_cpu * SCALE_IN_HEADROOM * 4.0)).ceil() as u32;
        let fair = (least + 1).max(settings.nodes_min).max(stay);
        assert!(serving <= fair, "seed {seed}: {serving} nodes, {fair} do");
    }
}

#[test]
fn waves_of_load_are_followed_within_bounds() {
    for seed in 0..60 {
        let mut group = Group::new(seed);
        let high = group.rng.random_range(5.0..60.0);
        for turn in 0..24 * 360_u32 {
            let hour = f64::from(turn) / 360.0;
            let wave = (1.0 - (hour * std::f64::consts::TAU / 8.0).cos()) / 2.0;
            group.turn(high * wave, 0.05);
            group.check_bounds(seed);
            let joined = group.now > Duration::from_secs(600);
            assert!(
                !joined || group.serving() >= group.settings.nodes_min,
                "seed {seed}"
            );
        }
        // Three waves: a machine is launched and removed a few times, not all the time.
        let span = group.settings.nodes_max as usize;
        let steps = group.steps.len();
        assert!(steps <= 8 * span + 30, "seed {seed}: {steps} steps");
    }
}
