//! Workers, offers and endings in virtual time.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use protocol::proto::{
    AvailabilityResponse, JobState, JobType, MigrateJobRequest, RegisterWorkerRequest, Room,
    UpdateJobStatus, UpdateWorkerStatus, WorkerPing,
};

use protocol::token;

use super::*;
use crate::agent::limits::AVAILABILITY_TIMEOUT;

mod workers;

struct Bench {
    now: Instant,
    jobs: Jobs,
}

fn keys() -> Keys {
    Keys::new([("devkey".to_owned(), "s".repeat(32))])
}

const UNIX_SECONDS: i64 = 1_760_000_000;

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        let config = Config {
            keys: keys(),
            server_info: proto::ServerInfo {
                agent_protocol: 1,
                ..Default::default()
            },
            target_load: 0.7,
            clock: WallClock {
                instant: now,
                unix_micros: UNIX_SECONDS * 1_000_000,
            },
            seed: 7,
        };
        Self {
            now,
            jobs: Jobs::new(config),
        }
    }

    fn give(&mut self, input: Input) -> Vec<Output> {
        self.jobs.handle(self.now, input);
        std::iter::from_fn(|| self.jobs.poll()).collect()
    }

    fn say(&mut self, worker: u64, message: worker_message::Message) -> Vec<Output> {
        self.give(Input::Message {
            connection: Connection(worker),
            message,
        })
    }

    fn connect(&mut self, worker: u64) -> Vec<Output> {
        let api_key = "devkey".to_owned();
        self.give(Input::Connected {
            connection: Connection(worker),
            api_key,
        })
    }

    fn worker(&mut self, worker: u64, name: &str) {
        self.connect(worker);
        let request = RegisterWorkerRequest {
            agent_name: name.into(),
            ..Default::default()
        };
        let outputs = self.say(worker, worker_message::Message::Register(request));
        let [
            Output::Send {
                message: server_message::Message::Register(response),
                ..
            },
        ] = outputs.as_slice()
        else {
            panic!("{outputs:?}")
        };
        assert!(response.worker_id.starts_with("AW_"));
        assert_eq!(response.server_info.as_ref().unwrap().agent_protocol, 1);
    }

    fn load(&mut self, worker: u64, load: f32, status: proto::WorkerStatus) {
        let update = UpdateWorkerStatus {
            load,
            status: Some(status as i32),
            ..Default::default()
        };
        assert!(
            self.say(worker, worker_message::Message::UpdateWorker(update))
                .is_empty()
        );
    }

    fn launch(&mut self, id: &str, name: &str) -> Vec<Output> {
        let job = proto::Job {
            id: id.into(),
            dispatch_id: "AD_1".into(),
            r#type: JobType::JtRoom as i32,
            room: Some(Room {
                name: "room".into(),
                ..Default::default()
            }),
            agent_name: name.into(),
            metadata: "m".into(),
            ..Default::default()
        };
        self.give(Input::Launch(Box::new(JobRequest {
            job,
            deployment: String::new(),
        })))
    }

    fn answer(&mut self, worker: u64, id: &str, available: bool) -> Vec<Output> {
        let answer = AvailabilityResponse {
            job_id: id.into(),
            available,
            participant_identity: "helper".into(),
            participant_name: "Helper".into(),
            ..Default::default()
        };
        self.say(worker, worker_message::Message::Availability(answer))
    }

    fn wait(&mut self, time: Duration) -> Vec<Output> {
        self.now += time;
        self.give(Input::Timeout)
    }
}

fn offered(outputs: &[Output]) -> u64 {
    let [
        Output::Send {
            connection,
            message: server_message::Message::Availability(request),
        },
    ] = outputs
    else {
        panic!("{outputs:?}")
    };
    assert_eq!(request.job.as_ref().unwrap().metadata, "m");
    connection.0
}

fn reported(outputs: &[Output]) -> JobState {
    let reports: Vec<_> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Report(update) => Some(update),
            _ => None,
        })
        .collect();
    let [update] = reports.as_slice() else {
        panic!("{outputs:?}")
    };
    assert_eq!(
        (update.room.as_str(), update.dispatch_id.as_str()),
        ("room", "AD_1")
    );
    update.state.clone()
}

#[test]
fn a_job_is_offered_accepted_and_assigned_with_a_token() {
    let mut bench = Bench::new();
    bench.worker(1, "helper");
    assert_eq!(offered(&bench.launch("AJ_1", "helper")), 1);
    let outputs = bench.answer(1, "AJ_1", true);
    let Output::Send {
        message: server_message::Message::Assignment(assignment),
        ..
    } = &outputs[0]
    else {
        panic!("{outputs:?}")
    };
    let claims = token::verify(&keys(), &assignment.token, UNIX_SECONDS).unwrap();
    assert_eq!(
        (claims.identity.as_str(), claims.kind.as_str()),
        ("helper", "agent")
    );
    assert_eq!(claims.attributes["lk.agent_name"], "helper");
    let video = claims.video.unwrap();
    assert!(video.room_join && video.agent && video.room == "room");
    let state = reported(&outputs);
    assert_eq!(state.status, JobStatus::JsRunning as i32);
    assert_eq!(state.participant_identity, "helper");
    assert!(state.worker_id.starts_with("AW_"));
    assert_eq!(state.started_at, UNIX_SECONDS * 1_000_000_000);
}

#[test]
fn a_job_without_a_worker_is_reported_lost_and_names_none() {
    let mut bench = Bench::new();
    bench.worker(1, "other");
    let state = reported(&bench.launch("AJ_1", "helper"));
    assert_eq!(
        (state.status, state.worker_id.as_str()),
        (JobStatus::JsFailed as i32, "")
    );
}

#[test]
fn a_declined_job_goes_to_the_next_worker_and_never_back() {
    let mut bench = Bench::new();
    bench.worker(1, "helper");
    bench.worker(2, "helper");
    let first = offered(&bench.launch("AJ_1", "helper"));
    let second = offered(&bench.answer(first, "AJ_1", false));
    assert_ne!(first, second);
    let state = reported(&bench.answer(second, "AJ_1", false));
    assert_eq!(state.worker_id, "");
}

#[test]
fn a_worker_that_does_not_answer_in_time_is_passed_over() {
    let mut bench = Bench::new();
    bench.worker(1, "helper");
    bench.worker(2, "helper");
    let first = offered(&bench.launch("AJ_1", "helper"));
    assert!(
        bench
            .wait(AVAILABILITY_TIMEOUT - Duration::from_millis(1))
            .is_empty()
    );
    let second = offered(&bench.wait(Duration::from_millis(1)));
    assert!(bench.answer(first, "AJ_1", true).is_empty(), "too late");
    reported(&bench.answer(second, "AJ_1", true));
    assert_eq!(bench.jobs.deadline(), None);
}

#[test]
fn a_full_worker_is_not_asked() {
    let mut bench = Bench::new();
    bench.worker(1, "helper");
    bench.worker(2, "helper");
    bench.load(1, 0.9, proto::WorkerStatus::WsFull);
    for i in 0..20 {
        assert_eq!(offered(&bench.launch(&format!("AJ_{i}"), "helper")), 2);
    }
}

#[test]
fn terminating_tells_the_worker_and_the_room() {
    let mut bench = Bench::new();
    bench.worker(1, "helper");
    bench.launch("AJ_1", "helper");
    bench.answer(1, "AJ_1", true);
    let outputs = bench.give(Input::Terminate {
        job_id: "AJ_1".into(),
    });
    assert!(matches!(
        &outputs[0],
        Output::Send { message: server_message::Message::Termination(end), .. }
            if end.job_id == "AJ_1"
    ));
    assert_eq!(reported(&outputs).status, JobStatus::JsSuccess as i32);
    assert!(
        bench
            .give(Input::Terminate {
                job_id: "AJ_1".into()
            })
            .is_empty()
    );
}

#[test]
fn terminating_an_offered_job_withdraws_the_offer() {
    let mut bench = Bench::new();
    bench.worker(1, "helper");
    bench.launch("AJ_1", "helper");
    bench.give(Input::Terminate {
        job_id: "AJ_1".into(),
    });
    assert!(bench.answer(1, "AJ_1", true).is_empty());
    assert_eq!(bench.jobs.deadline(), None);
}

#[test]
fn a_worker_ends_its_own_job_and_only_its_own() {
    let mut bench = Bench::new();
    bench.worker(1, "helper");
    bench.worker(2, "other");
    bench.launch("AJ_1", "helper");
    bench.answer(1, "AJ_1", true);
    let update = UpdateJobStatus {
        job_id: "AJ_1".into(),
        status: JobStatus::JsFailed as i32,
        error: "broken".into(),
    };
    assert!(
        bench
            .say(2, worker_message::Message::UpdateJob(update.clone()))
            .is_empty()
    );
    let state = reported(&bench.say(1, worker_message::Message::UpdateJob(update)));
    assert_eq!(
        (state.status, state.error.as_str()),
        (JobStatus::JsFailed as i32, "broken")
    );
    assert!(state.ended_at > 0 && state.worker_id.starts_with("AW_"));
}

#[test]
fn a_simulated_job_comes_back_to_the_worker_and_no_room_hears_of_it() {
    let mut bench = Bench::new();
    bench.worker(1, "helper");
    let request = proto::SimulateJobRequest {
        room: Some(Room {
            name: "room".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let outputs = bench.say(1, worker_message::Message::SimulateJob(request));
    let [
        Output::Send {
            message: server_message::Message::Availability(offer),
            ..
        },
    ] = outputs.as_slice()
    else {
        panic!("{outputs:?}")
    };
    let id = offer.job.as_ref().unwrap().id.clone();
    let outputs = bench.answer(1, &id, true);
    assert_eq!(outputs.len(), 1, "{outputs:?}");
    assert!(bench.give(Input::Closed(Connection(1))).is_empty());
    assert_eq!(bench.jobs.deadline(), None);
}
