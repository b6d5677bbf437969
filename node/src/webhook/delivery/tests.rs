//! Order, retries, limits and filters of deliveries in virtual time.
#![allow(clippy::unwrap_used, clippy::panic)]

use protocol::proto::Room;

use super::*;
use crate::webhook::limits::EVENTS_PER_URL_MAX;

struct Bench {
    now: Instant,
    core: Delivery,
    next: usize,
}

fn event(room: &str, id: &str) -> WebhookEvent {
    WebhookEvent {
        event: "room_started".into(),
        id: id.into(),
        room: Some(Room {
            name: room.into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

impl Bench {
    fn new(targets: usize) -> Self {
        Self::with(targets, Filter::default(), 10)
    }

    fn with(targets: usize, filter: Filter, requests: usize) -> Self {
        let core = Delivery::new(targets, filter, requests, 0, 7);
        Self {
            now: Instant::now(),
            core,
            next: 0,
        }
    }

    fn give(&mut self, input: Input) -> Vec<Output> {
        self.core.handle(self.now, input);
        std::iter::from_fn(|| self.core.poll()).collect()
    }

    fn publish(&mut self, room: &str) -> Vec<Output> {
        self.next += 1;
        let id = format!("EV_{}", self.next);
        self.give(Input::Publish(Box::new(event(room, &id))))
    }

    fn answer(&mut self, target: usize, entry: &Arc<Entry>, outcome: Outcome) -> Vec<Output> {
        self.give(Input::Attempted {
            target: Target(target),
            entry: entry.clone(),
            outcome,
        })
    }

    /// Jumps to the next deadline; how long that took and what came of it.
    fn wait(&mut self) -> (Duration, Vec<Output>) {
        let at = self.core.deadline().unwrap();
        let waited = at - self.now;
        self.now = at;
        (waited, self.give(Input::Timeout))
    }
}

fn sent(outputs: &[Output]) -> Vec<(usize, Arc<Entry>)> {
    let sends = outputs.iter().filter_map(|output| match output {
        Output::Send { target, entry } => Some((target.0, entry.clone())),
        _ => None,
    });
    sends.collect()
}

fn ids(outputs: &[Output]) -> Vec<(usize, String)> {
    sent(outputs)
        .into_iter()
        .map(|(target, entry)| (target, entry.event.id.clone()))
        .collect()
}

fn verdicts(outputs: &[Output]) -> Vec<Verdict> {
    let settled = outputs.iter().filter_map(|output| match output {
        Output::Settled { verdict, .. } => Some(*verdict),
        _ => None,
    });
    settled.collect()
}

#[test]
fn an_event_is_stored_before_it_is_sent_to_every_url() {
    let mut bench = Bench::new(2);
    let outputs = bench.publish("a");
    assert!(matches!(&outputs[0], Output::Store { targets, .. } if targets.len() == 2));
    assert_eq!(
        ids(&outputs[1..]),
        [(0, "EV_1".to_owned()), (1, "EV_1".to_owned())]
    );
}

#[test]
fn events_of_a_room_wait_for_one_another_and_other_rooms_do_not() {
    let mut bench = Bench::new(1);
    let first = sent(&bench.publish("a"));
    assert!(sent(&bench.publish("a")).is_empty());
    assert_eq!(ids(&bench.publish("b")), [(0, "EV_3".to_owned())]);
    let outputs = bench.answer(0, &first[0].1, Outcome::Status(200));
    assert_eq!(verdicts(&outputs), [Verdict::Delivered]);
    assert_eq!(ids(&outputs), [(0, "EV_2".to_owned())]);
}

#[test]
fn a_failed_event_is_tried_again_in_about_a_second_with_the_same_id() {
    let mut bench = Bench::new(1);
    let first = sent(&bench.publish("a"));
    bench.publish("a");
    for failure in [
        Outcome::Status(500),
        Outcome::NoAnswer,
        Outcome::Status(429),
    ] {
        assert!(bench.answer(0, &first[0].1, failure).is_empty());
        let (_, outputs) = bench.wait();
        assert_eq!(
            ids(&outputs),
            [(0, "EV_1".to_owned())],
            "order is kept: {failure:?}"
        );
    }
    let outputs = bench.answer(0, &first[0].1, Outcome::Status(204));
    assert_eq!(ids(&outputs), [(0, "EV_2".to_owned())]);
    let second = sent(&outputs);
    bench.answer(0, &second[0].1, Outcome::Status(503));
    let (waited, _) = bench.wait();
    assert!(
        (0.8..1.2).contains(&waited.as_secs_f64()),
        "a new event starts afresh: {waited:?}"
    );
}

#[test]
fn waits_double_up_to_a_minute_and_a_hopeless_event_is_given_up() {
    let mut bench = Bench::new(1);
    let entry = sent(&bench.publish("a"))[0].1.clone();
    let mut waits = Vec::new();
    for _ in 1..ATTEMPTS_MAX {
        assert!(bench.answer(0, &entry, Outcome::NoAnswer).is_empty());
        let (waited, outputs) = bench.wait();
        assert_eq!(sent(&outputs).len(), 1);
        waits.push(waited.as_secs_f64());
    }
    for (wait, expected) in waits
        .iter()
        .zip([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0])
    {
        assert!(
            (expected * 0.8..expected * 1.2).contains(wait),
            "{wait} for {expected}"
        );
    }
    assert!(waits.iter().sum::<f64>() > 20.0 * 3600.0);
    let outputs = bench.answer(0, &entry, Outcome::NoAnswer);
    assert_eq!(verdicts(&outputs), [Verdict::GivenUp]);
    assert_eq!(
        (bench.core.deadline(), bench.core.len(Target(0))),
        (None, 0)
    );
}

#[test]
fn a_receiver_that_says_no_is_not_asked_again() {
    let mut bench = Bench::new(1);
    let entry = sent(&bench.publish("a"))[0].1.clone();
    let outputs = bench.answer(0, &entry, Outcome::Status(404));
    assert_eq!(verdicts(&outputs), [Verdict::Rejected(404)]);
    assert_eq!(bench.core.deadline(), None);
}

#[test]
fn a_dead_url_delays_nobody_else() {
    let mut bench = Bench::with(2, Filter::default(), 1);
    let first = sent(&bench.publish("a"));
    assert!(bench.answer(0, &first[0].1, Outcome::NoAnswer).is_empty());
    for _ in 0..20 {
        let outputs = bench.publish("a");
        // The first URL rests; only the second is sent to, one request at a time.
        assert!(sent(&outputs).iter().all(|(target, _)| *target == 1));
    }
    let mut entry = first[1].1.clone();
    for expected in 2..=21 {
        let outputs = bench.answer(1, &entry, Outcome::Status(200));
        assert_eq!(ids(&outputs), [(1, format!("EV_{expected}"))]);
        entry = sent(&outputs)[0].1.clone();
    }
    assert_eq!(bench.core.len(Target(0)), 21);
}

#[test]
fn no_more_requests_are_under_way_than_allowed() {
    let mut bench = Bench::with(1, Filter::default(), 2);
    let sent: Vec<_> = (0..5)
        .flat_map(|i| sent(&bench.publish(&format!("room{i}"))))
        .collect();
    assert_eq!(sent.len(), 2);
    let outputs = bench.answer(0, &sent[0].1, Outcome::NoAnswer);
    assert_eq!(
        ids(&outputs),
        [(0, "EV_3".to_owned())],
        "a resting lane leaves its place"
    );
}

#[test]
fn filtered_events_leave_no_trace() {
    let exclude = Filter {
        exclude_events: vec!["room_started".into()],
        ..Filter::default()
    };
    assert!(Bench::with(1, exclude, 10).publish("a").is_empty());
}

#[test]
fn a_full_queue_drops_the_newest_and_says_so() {
    let mut bench = Bench::new(1);
    for _ in 0..EVENTS_PER_URL_MAX {
        bench.publish("a");
    }
    assert_eq!(bench.publish("a"), [Output::Dropped { target: Target(0) }]);
    assert_eq!(bench.core.len(Target(0)), EVENTS_PER_URL_MAX);
}

#[test]
fn what_an_earlier_process_left_goes_to_the_urls_that_lack_it() {
    let mut bench = Bench::new(2);
    let entry = Arc::new(Entry {
        sequence: 3,
        event: event("a", "EV_old"),
        bytes: 10,
    });
    let outputs = bench.give(Input::Restored {
        entry,
        targets: vec![Target(1)],
    });
    assert_eq!(ids(&outputs), [(1, "EV_old".to_owned())]);
    assert!(
        !outputs
            .iter()
            .any(|output| matches!(output, Output::Store { .. }))
    );
}

#[test]
fn busy_means_that_something_can_happen_now() {
    let mut bench = Bench::new(1);
    assert!(!bench.core.is_busy());
    let entry = sent(&bench.publish("a"))[0].1.clone();
    assert!(bench.core.is_busy());
    bench.answer(0, &entry, Outcome::NoAnswer);
    assert!(!bench.core.is_busy(), "resting until the next try");
}

#[test]
fn an_event_the_receiver_stumbles_over_holds_up_its_room_for_half_an_hour() {
    let mut bench = Bench::new(1);
    let start = bench.now;
    let entry = sent(&bench.publish("a"))[0].1.clone();
    bench.publish("a");
    // A receiver that is down for long loses nothing by it.
    for _ in 0..100 {
        bench.answer(0, &entry, Outcome::Status(503));
        bench.wait();
    }
    let down = bench.now;
    let outputs = loop {
        let outputs = bench.answer(0, &entry, Outcome::Status(500));
        if !outputs.is_empty() {
            break outputs;
        }
        bench.wait();
    };
    assert_eq!(verdicts(&outputs), [Verdict::GivenUp]);
    assert_eq!(ids(&outputs), [(0, "EV_2".to_owned())]);
    let waited = (bench.now - down).as_secs() / 60;
    assert!((20..50).contains(&waited), "{waited} minutes");
    assert!(down - start > Duration::from_secs(3600));
}

#[test]
fn what_one_url_has_not_taken_costs_another_no_event() {
    let mut bench = Bench::new(2);
    let mut large = event("a", "EV_large");
    large.room.as_mut().unwrap().metadata = "m".repeat(1 << 20);
    let mut dropped = 0;
    for _ in 0..100 {
        let outputs = bench.give(Input::Publish(Box::new(large.clone())));
        for output in outputs {
            match output {
                Output::Dropped { target } => {
                    assert_eq!(target, Target(0));
                    dropped += 1;
                }
                Output::Send {
                    target: Target(1),
                    entry,
                } => {
                    bench.answer(1, &entry, Outcome::Status(200));
                }
                _ => {}
            }
        }
    }
    assert!((30..40).contains(&dropped), "{dropped}");
}
