//! Outcomes for people (a table beside the floor and another server's) and for programs (JSON).

use serde_json::{Value, json};

use crate::beside::Figures;
use crate::run::{Outcome, Step};
use crate::scenario::Scenario;

/// What is known about the machine of this run.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) date: String,
    pub(crate) load_average: f64,
    /// p50, p99, p99.9 of a plain UDP echo on the server's core, ms.
    pub(crate) echo_ms: [f64; 3],
    /// CPU of the least a forwarding server must do, us per packet, if it was measured.
    pub(crate) floor_us: Option<f64>,
}

const DASH: &str = "-";

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| DASH.into(), |value| format!("{value:.digits$}"))
}

fn pair(values: Option<(f64, f64)>) -> String {
    let rounded = |value: f64| {
        let digits = if value < 10.0 { 2 } else { 0 };
        format!("{value:.digits$}")
    };
    values.map_or_else(
        || DASH.into(),
        |(a, b)| format!("{}/{}", rounded(a), rounded(b)),
    )
}

fn first_two(values: Option<[f64; 3]>) -> Option<(f64, f64)> {
    values.map(|[p50, p99, _]| (p50, p99))
}

/// `beside`: whose figures stand beside.
pub(crate) fn heading(machine: &Machine, beside: &str) -> String {
    let floor = machine.floor_us.map_or_else(
        || "floor not measured".to_owned(),
        |us| format!("floor {us:.2} us per packet (1200 B, runs of 8)"),
    );
    let [p50, p99, p999] = machine.echo_ms;
    format!(
        "{}; {}; load average {:.1}; {floor}\n\
         UDP echo on the server's core: {p50:.2} / {p99:.2} / {p999:.2} ms (p50 / p99 / p99.9)\n\
         beside: {beside}\n\
         {}",
        machine.name,
        machine.date,
        machine.load_average,
        columns()
    )
}

fn columns() -> String {
    format!(
        "{:<30} {:>8} {:>6} {:>7} {:>7} {:>8} {:>6} {:>11} {:>11} {:>11} {:>11} {:>9} {:>7} {:>7} \
         {:>9} {:>6}",
        "scenario",
        "pps",
        "us/pkt",
        "+idle",
        "x floor",
        "beside",
        "times",
        "video ms",
        "beside",
        "audio ms",
        "beside",
        "join ms",
        "loss %",
        "KiB/p",
        "beside",
        "client"
    )
}

/// One line of the table; latencies are p50/p99 with the echo's time in them, as those beside.
pub(crate) fn line(scenario: &Scenario, outcome: &Outcome, machine: &Machine) -> String {
    let us = outcome.us_per_packet.or(outcome.us_per_packet_total);
    let beside: Option<Figures> = scenario.beside;
    let their_us = beside.map(|of| of.us_per_packet).filter(|us| *us > 0.0);
    let times = their_us.zip(us).map(|(theirs, ours)| theirs / ours);
    let floors = us.zip(machine.floor_us).map(|(us, floor)| us / floor);
    let join = outcome.join_ms.map(|[p50, p99]| (p50, p99));
    let mut text = format!(
        "{:<30} {:>8.0} {:>6} {:>7} {:>7} {:>8} {:>6} {:>11} {:>11} {:>11} {:>11} {:>9} {:>7.3} \
         {:>7.0} {:>9} {:>5.0}%",
        format!("{}: {}", outcome.id, outcome.title),
        outcome.pps,
        number(us, 2),
        number(outcome.us_per_packet_total, 2),
        number(floors, 2),
        number(their_us, 1),
        number(times, 1),
        pair(first_two(outcome.video_ms)),
        pair(beside.and_then(|of| of.video_ms)),
        pair(first_two(outcome.audio_ms)),
        pair(beside.and_then(|of| of.audio_ms)),
        pair(join),
        outcome.counts.loss() * 100.0,
        outcome.subscriber_kib,
        beside.map_or_else(|| DASH.into(), |of| format!("{:.0}", of.participant_kib)),
        outcome.client_share * 100.0,
    );
    for remark in remarks(outcome) {
        text.push_str("\n    ");
        text.push_str(&remark);
    }
    text
}

/// Everything that does not fit a column and everything that is wrong.
fn remarks(outcome: &Outcome) -> Vec<String> {
    let mut remarks = Vec::new();
    let counts = &outcome.counts;
    let idle = outcome
        .idle_share
        .filter(|_| outcome.pps == 0.0 && outcome.steps.is_empty());
    if let Some(idle) = idle {
        remarks.push(format!(
            "idle: {:.2} % of a core then {:.2} %, {:.0} KiB a participant",
            idle * 100.0,
            outcome.server_share * 100.0,
            outcome.idle_kib
        ));
    }
    if let (Some([first, first99]), Some([flowing, flowing99])) =
        (outcome.first_packet_ms, outcome.flowing_ms)
    {
        remarks.push(format!(
            "join storm: first packet after {first:.0} / {first99:.0} ms, every track after \
             {flowing:.0} / {flowing99:.0} ms (p50 / p99)"
        ));
    }
    if let Some([p50, p99, _]) = outcome.switch_ms {
        remarks.push(format!(
            "layer switches: {}, after {p50:.0} / {p99:.0} ms (p50 / p99); key frames asked for {}, \
             gaps {}, timestamp leaps {}",
            counts.switches_us.len(),
            counts.key_frames_asked,
            counts.expected.saturating_sub(counts.received),
            counts.timestamp_leaps
        ));
    }
    if counts.dropped > 0 {
        let thrown = counts.dropped as f64;
        remarks.push(format!(
            "thrown away {} ({:.2} %), repaired {}, retransmissions {}, {:.2} a loss",
            counts.dropped,
            thrown / counts.forwarded.max(1) as f64 * 100.0,
            counts.repaired,
            counts.retransmissions,
            counts.retransmissions as f64 / thrown
        ));
    }
    remarks.extend(outcome.steps.iter().map(step_line));
    remarks.extend(defects(outcome));
    remarks
}

fn step_line(step: &Step) -> String {
    format!(
        "offered {:>6.0} pps: arrived {:>6.0}, loss {:>6.3} %, {:.2} us, server {:.0} %, client \
         {:.0} %, p50 {:.2} ms",
        step.offered_pps,
        step.arrived_pps,
        step.loss * 100.0,
        step.us_per_packet,
        step.server_share * 100.0,
        step.client_share * 100.0,
        step.p50_ms
    )
}

/// What makes a figure worth less, or a server wrong.
fn defects(outcome: &Outcome) -> Vec<String> {
    let counts = &outcome.counts;
    let mut found = Vec::new();
    let mut note = |amount: u64, what: &str| {
        if amount > 0 {
            found.push(format!("! {amount} {what}"));
        }
    };
    note(counts.wrong, "packets do not hold what was sent");
    note(counts.unknown, "packets of streams nobody announced");
    note(counts.duplicates, "packets arrived twice");
    note(counts.nacked_by_server, "packets the server missed");
    note(counts.failed, "connections failed");
    note(
        outcome.missing_flows as u64,
        "subscribers never got all their tracks",
    );
    note(outcome.failures.len() as u64, "participants failed");
    if let Some(first) = outcome.failures.first() {
        found.push(format!("! the first: {first}"));
    }
    if outcome.client_share > 0.85 {
        found.push("! the clients' core is full: latencies are theirs".into());
    }
    found
}

fn spread_json(spread: Option<[f64; 3]>, less: f64) -> Value {
    spread.map_or(Value::Null, |[p50, p99, p999]| {
        let of = |value: f64| (value - less).max(0.0);
        json!({"p50": of(p50), "p99": of(p99), "p999": of(p999)})
    })
}

fn two_json(values: Option<[f64; 2]>) -> Value {
    values.map_or(Value::Null, |[p50, p99]| json!({"p50": p50, "p99": p99}))
}

pub(crate) fn json(outcomes: &[Outcome], machine: &Machine) -> Value {
    let scenarios: serde_json::Map<String, Value> = outcomes
        .iter()
        .map(|outcome| (outcome.id.clone(), scenario_json(outcome, machine)))
        .collect();
    json!({
        "machine": machine.name,
        "date": machine.date,
        "load_average": machine.load_average,
        "floor_us": machine.floor_us,
        "echo_ms": spread_json(Some(machine.echo_ms), 0.0),
        "server_version": outcomes.first().map(|o| o.version.as_str()),
        "scenarios": scenarios,
    })
}

fn scenario_json(outcome: &Outcome, machine: &Machine) -> Value {
    let echo = machine.echo_ms[0];
    let counts = &outcome.counts;
    let main = outcome.video_ms.or(outcome.audio_ms);
    let steps = outcome.steps.iter().map(|step| {
        json!({
            "offered_pps": step.offered_pps,
            "arrived_pps": step.arrived_pps,
            "loss": step.loss,
            "cpu_us_per_packet": step.us_per_packet,
            "server_core_share": step.server_share,
            "client_core_share": step.client_share,
            "latency_p50_ms": step.p50_ms,
        })
    });
    json!({
        "title": outcome.title,
        "participants": outcome.participants,
        "pps": outcome.pps,
        "cpu_us_per_packet": outcome.us_per_packet.or(outcome.us_per_packet_total),
        "cpu_us_per_packet_idle_included": outcome.us_per_packet_total,
        "idle_core_share": outcome.idle_share,
        "server_core_share": outcome.server_share,
        "client_core_share": outcome.client_share,
        // Above what a plain echo takes; of video where there is video.
        "latency_ms": spread_json(main, echo),
        "latency_video_ms": spread_json(outcome.video_ms, 0.0),
        "latency_audio_ms": spread_json(outcome.audio_ms, 0.0),
        "join_ms": two_json(outcome.join_ms),
        "join_response_ms": two_json(outcome.answered_ms),
        "first_packet_ms": two_json(outcome.first_packet_ms),
        "all_tracks_ms": two_json(outcome.flowing_ms),
        "switch_ms": spread_json(outcome.switch_ms, 0.0),
        "loss": counts.loss(),
        "repaired": counts.repaired,
        "retransmissions": counts.retransmissions,
        "thrown_away": counts.dropped,
        "wrong_packets": counts.wrong,
        "checked_packets": counts.checked,
        "timestamp_leaps": counts.timestamp_leaps,
        "subscriber_kib": outcome.subscriber_kib,
        "idle_participant_kib": outcome.idle_kib,
        "failures": outcome.failures,
        "subscribers_without_all_tracks": outcome.missing_flows,
        "steps": steps.collect::<Vec<_>>(),
    })
}
