//! Workers that register, fall silent, leave and come back.

use super::*;

#[test]
fn a_lost_worker_loses_its_jobs_after_a_while() {
    let mut bench = Bench::new();
    bench.worker(1, "helper");
    bench.launch("AJ_1", "helper");
    bench.answer(1, "AJ_1", true);
    assert!(bench.give(Input::Closed(Connection(1))).is_empty());
    let at = bench.jobs.deadline().unwrap();
    let state = reported(&bench.wait(at - bench.now));
    assert_eq!(state.error, "agent worker left");
}

#[test]
fn a_worker_that_comes_back_keeps_its_jobs() {
    let mut bench = Bench::new();
    bench.worker(1, "helper");
    bench.launch("AJ_1", "helper");
    bench.answer(1, "AJ_1", true);
    bench.give(Input::Closed(Connection(1)));
    bench.worker(2, "helper");
    let back = MigrateJobRequest {
        job_ids: vec!["AJ_1".into(), "AJ_x".into()],
    };
    assert!(
        bench
            .say(2, worker_message::Message::MigrateJob(back))
            .is_empty()
    );
    assert_eq!(bench.jobs.deadline(), None);
    let outputs = bench.give(Input::Terminate {
        job_id: "AJ_1".into(),
    });
    assert!(matches!(
        outputs[0],
        Output::Send {
            connection: Connection(2),
            ..
        }
    ));
}

#[test]
fn an_offer_survives_the_worker_that_had_it() {
    let mut bench = Bench::new();
    bench.worker(1, "helper");
    bench.worker(2, "helper");
    let first = offered(&bench.launch("AJ_1", "helper"));
    let outputs = bench.give(Input::Closed(Connection(first)));
    assert_ne!(offered(&outputs), first);
}

#[test]
fn a_worker_has_ten_seconds_to_register() {
    let mut bench = Bench::new();
    bench.connect(1);
    let outputs = bench.wait(Duration::from_secs(10));
    assert!(
        matches!(outputs.as_slice(), [Output::Close(Connection(1))]),
        "{outputs:?}"
    );
    bench.worker(2, "helper");
    assert_eq!(bench.jobs.deadline(), None);
}

#[test]
fn an_unknown_job_type_closes_the_connection() {
    let mut bench = Bench::new();
    bench.connect(1);
    let request = RegisterWorkerRequest {
        r#type: 99,
        ..Default::default()
    };
    let outputs = bench.say(1, worker_message::Message::Register(request));
    assert!(
        matches!(outputs.as_slice(), [Output::Close(Connection(1))]),
        "{outputs:?}"
    );
}

#[test]
fn a_ping_is_answered_before_and_after_registering() {
    let mut bench = Bench::new();
    bench.connect(1);
    for _ in 0..2 {
        let ping = worker_message::Message::Ping(WorkerPing { timestamp: 4711 });
        let outputs = bench.say(1, ping);
        let [
            Output::Send {
                message: server_message::Message::Pong(pong),
                ..
            },
        ] = outputs.as_slice()
        else {
            panic!("{outputs:?}")
        };
        assert_eq!(
            (pong.last_timestamp, pong.timestamp),
            (4711, UNIX_SECONDS * 1000)
        );
        let request = RegisterWorkerRequest::default();
        bench.say(1, worker_message::Message::Register(request));
    }
}
