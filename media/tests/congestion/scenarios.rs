//! What must hold on each kind of path. The promises: 90 % of a stable link within ten seconds,
//! back at 80 % five seconds after it widens, a queue of at most 60 ms at the 95th percentile, no
//! picture that stands still for more than a second when it narrows.

use skein_media::types::BandwidthPolicy;

use crate::link::LinkPlan;
use crate::stage::{Plan, Row, Run, run};

fn step() -> LinkPlan {
    LinkPlan {
        rates: vec![(0.0, 3_000), (20.0, 500), (40.0, 3_000)],
        ..LinkPlan::default()
    }
}

fn estimate(row: &Row) -> f64 {
    row.estimate_bps as f64 / row.link_bps as f64
}

/// Seconds from `from` until stream 0 shows `layer`.
fn shows(run: &Run, from: f64, layer: u8) -> f64 {
    let found = run.shown[0]
        .iter()
        .find(|(at, shown)| *at > from && *shown == layer);
    found.map_or(f64::INFINITY, |(at, _)| at - from)
}

#[track_caller]
fn at_most(what: &str, value: f64, most: f64) {
    assert!(value <= most, "{what}: {value:.2} > {most}");
}

#[track_caller]
fn at_least(what: &str, value: f64, least: f64) {
    assert!(value >= least, "{what}: {value:.2} < {least}");
}

#[test]
fn one_camera_steps_down_without_a_long_freeze_and_back_up_in_time() {
    for seed in 1..=3 {
        let run = run(Plan {
            name: "step-one",
            seed,
            link: step(),
            ..Plan::default()
        });
        at_most("first picture", run.shown[0][0].0, 0.6);
        at_most("full size from the start", shows(&run, 0.0, 2), 1.0);
        at_most("freeze at the step down", run.freeze(1.0, 40.0), 1.0);
        at_most("full size after the step up", shows(&run, 40.0, 2), 5.0);
        at_most("p95 of the queue", run.queue_p95_ms(0.0, 60.0), 60.0);
    }
}

#[test]
fn a_gallery_that_may_pause_steps_down_and_up() {
    for seed in 1..=3 {
        let run = run(Plan {
            name: "step-gallery",
            seed,
            link: step(),
            cameras: 6,
            policy: BandwidthPolicy {
                may_pause: true,
                ..BandwidthPolicy::default()
            },
            ..Plan::default()
        });
        at_most(
            "80 % after the step up",
            run.reaches(40.0, 0.8, estimate),
            5.0,
        );
        at_least("use of the wide link", run.used(10.0, 20.0), 0.85);
        // The step itself: 300 ms of queue, then six key frames over half a megabit.
        at_most("p95 of the queue", run.queue_p95_ms(25.0, 60.0), 150.0);
        let states: Vec<bool> = run.paused.iter().map(|(_, paused)| *paused).collect();
        let (paused, resumed) = (
            states.iter().filter(|p| **p).count(),
            states.iter().filter(|p| !**p).count(),
        );
        assert_eq!(paused, resumed, "what was paused goes on: {:?}", run.paused);
    }
}

#[test]
fn a_gallery_uses_a_stable_link() {
    for seed in 1..=3 {
        let run = run(Plan {
            name: "stable-gallery",
            seed,
            cameras: 6,
            ..Plan::default()
        });
        at_most(
            "time to 90 %",
            run.reaches(0.0, 0.9, |row| row.sent_bps as f64 / 3e6),
            10.0,
        );
        at_least("estimate", run.estimated(10.0, 60.0), 0.9);
        at_least("use", run.used(10.0, 60.0), 0.9);
        at_most("p95 of the queue", run.queue_p95_ms(2.0, 60.0), 60.0);
        at_most("freeze", run.freeze(2.0, 60.0), 0.6);
    }
}

#[test]
fn a_local_call_is_never_limited_though_its_receiver_stalls() {
    let run = run(Plan {
        name: "local",
        link: LinkPlan {
            rates: vec![(0.0, 1_000_000)],
            delay_ms: 1,
            jitter_ms: 3,
            stalls: Some((120, 2_300)),
            ..LinkPlan::default()
        },
        cameras: 3,
        ..Plan::default()
    });
    for stream in 0..3 {
        at_most("first picture", run.shown[stream][0].0, 0.4);
        assert_eq!(run.switches(stream), 0, "stream {stream}");
        at_least("full size", run.layer_shares(stream, 1.0, 60.0)[2], 0.99);
    }
}

#[test]
fn a_large_local_gallery_is_shown_in_full_after_a_second() {
    let run = run(Plan {
        name: "local-gallery",
        link: LinkPlan {
            rates: vec![(0.0, 1_000_000)],
            delay_ms: 1,
            ..LinkPlan::default()
        },
        cameras: 16,
        seconds: 20,
        ..Plan::default()
    });
    for stream in 0..16 {
        at_most("first picture", run.shown[stream][0].0, 0.6);
        at_least("full size", run.layer_shares(stream, 2.0, 20.0)[2], 0.99);
    }
}

#[test]
fn loss_that_has_nothing_to_do_with_us_costs_no_layer() {
    for (name, loss_percent, full) in [
        ("loss-1", 1.0, 0.99),
        ("loss-5", 5.0, 0.98),
        ("loss-20", 20.0, 0.8),
    ] {
        let run = run(Plan {
            name,
            link: LinkPlan {
                loss_percent,
                ..LinkPlan::default()
            },
            ..Plan::default()
        });
        at_least(name, run.layer_shares(0, 10.0, 60.0)[2], full);
        // With every fifth packet lost key frames are asked for again and again.
        let most = if loss_percent > 10.0 { 100.0 } else { 60.0 };
        at_most("p95 of the queue", run.queue_p95_ms(0.0, 60.0), most);
    }
}

#[test]
fn bursts_of_loss_cost_no_layer() {
    let run = run(Plan {
        name: "loss-bursts",
        link: LinkPlan {
            bursts: Some((300.0, 8.0)),
            ..LinkPlan::default()
        },
        ..Plan::default()
    });
    at_least("full size", run.layer_shares(0, 5.0, 60.0)[2], 0.95);
    at_most("freeze", run.freeze(1.0, 60.0), 1.0);
}

#[test]
fn a_round_trip_of_two_hundred_milliseconds() {
    let run = run(Plan {
        name: "rtt-200",
        link: LinkPlan {
            delay_ms: 180,
            ..step()
        },
        cameras: 3,
        ..Plan::default()
    });
    at_most(
        "80 % after the step up",
        run.reaches(40.0, 0.8, estimate),
        5.0,
    );
    at_most("freeze", run.freeze(2.0, 60.0), 1.0);
    at_most("p95 of the queue", run.queue_p95_ms(25.0, 60.0), 60.0);
}

#[test]
fn a_bloated_buffer_is_kept_empty() {
    let run = run(Plan {
        name: "bufferbloat",
        link: LinkPlan {
            rates: vec![(0.0, 1_000)],
            queue_ms: 3_000,
            ..LinkPlan::default()
        },
        cameras: 2,
        ..Plan::default()
    });
    at_least("estimate", run.estimated(10.0, 60.0), 0.9);
    at_most("p95 of the queue", run.queue_p95_ms(5.0, 60.0), 60.0);
    at_most("freeze", run.freeze(2.0, 60.0), 0.6);
}

#[test]
fn a_policer_without_a_queue_is_found_by_its_losses() {
    let run = run(Plan {
        name: "policer",
        link: LinkPlan {
            rates: vec![(0.0, 3_000), (20.0, 1_000), (40.0, 3_000)],
            queue_ms: 100,
            policer: true,
            ..LinkPlan::default()
        },
        cameras: 2,
        ..Plan::default()
    });
    at_least("estimate", run.estimated(25.0, 40.0), 0.85);
    at_most("loss", run.mean(25.0, 40.0, |row| row.lost), 0.08);
    at_most("freeze", run.freeze(2.0, 60.0), 2.0);
}

#[test]
fn a_competing_download_leaves_a_fair_share() {
    let run = run(Plan {
        name: "tcp",
        link: LinkPlan {
            tcp: Some((20.0, 45.0)),
            ..LinkPlan::default()
        },
        cameras: 2,
        ..Plan::default()
    });
    at_least("our share", run.used(25.0, 45.0), 0.25);
    at_most("our share", run.used(25.0, 45.0), 0.75);
    at_most("freeze", run.freeze(2.0, 60.0), 1.0);
    at_least("after it", run.used(50.0, 60.0), 0.7);
}

#[test]
fn without_congestion_control_everything_is_sent() {
    let run = run(Plan {
        name: "off",
        link: LinkPlan {
            rates: vec![(0.0, 1_000)],
            ..LinkPlan::default()
        },
        seconds: 10,
        policy: BandwidthPolicy {
            enabled: false,
            ..BandwidthPolicy::default()
        },
        ..Plan::default()
    });
    at_least("sent", run.used(2.0, 10.0), 1.4);
}

#[test]
fn a_limit_from_outside_is_kept() {
    let run = run(Plan {
        name: "fixed",
        seconds: 20,
        policy: BandwidthPolicy {
            fixed_bps: Some(100_000),
            ..BandwidthPolicy::default()
        },
        ..Plan::default()
    });
    at_least("smallest picture", run.layer_shares(0, 5.0, 20.0)[0], 0.99);
    at_most("sent", run.used(5.0, 20.0), 0.1);
}
