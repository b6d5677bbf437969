//! Agent jobs of rooms on one node for workers that are connected to another.

use proto::server_message::Message as ToWorker;
use proto::worker_message::Message as OfWorker;
use tokio::sync::mpsc;

use super::*;
use crate::room::environment::JobSink;

/// A worker at `node`, registered for agents of that name.
async fn worker(stage: &Stage, node: NodeId, name: &str) -> mpsc::Receiver<ToWorker> {
    let (sender, mut heard) = mpsc::channel(16);
    let agents = &stage.nodes[&node].agents;
    agents.connected_for_test(1, sender);
    let register = proto::RegisterWorkerRequest {
        agent_name: name.into(),
        r#type: proto::JobType::JtRoom as i32,
        ..Default::default()
    };
    agents.said_for_test(1, OfWorker::Register(register));
    let status = proto::UpdateWorkerStatus {
        status: Some(proto::WorkerStatus::WsAvailable as i32),
        load: 0.1,
        ..Default::default()
    };
    agents.said_for_test(1, OfWorker::UpdateWorker(status));
    assert!(matches!(hear(&mut heard).await, ToWorker::Register(_)));
    heard
}

async fn hear(worker: &mut mpsc::Receiver<ToWorker>) -> ToWorker {
    let heard = tokio::time::timeout(PATIENCE, worker.recv()).await;
    heard.expect("something in time").expect("connected")
}

fn job(id: &str, name: &str) -> JobRequest {
    JobRequest {
        job: proto::Job {
            id: id.into(),
            r#type: proto::JobType::JtRoom as i32,
            agent_name: name.into(),
            room: Some(proto::Room {
                name: "daily".into(),
                ..Default::default()
            }),
            ..Default::default()
        },
        deployment: String::new(),
    }
}

fn accept(id: &str) -> OfWorker {
    OfWorker::Availability(proto::AvailabilityResponse {
        job_id: id.into(),
        available: true,
        participant_identity: "agent".into(),
        ..Default::default()
    })
}

#[actix_web::test]
async fn a_job_finds_a_worker_on_another_node_and_ends_with_its_room_or_its_room_s_node() {
    let mut stage = Stage::start().await;
    let mut far = worker(&stage, A, "helper").await;
    let mut other = worker(&stage, C, "somebody else").await;
    let jobs = stage.nodes[&B].plane.jobs.clone();
    for id in ["AJ_1", "AJ_2"] {
        jobs.launch(job(id, "helper"));
        match hear(&mut far).await {
            ToWorker::Availability(asked) => assert_eq!(asked.job.unwrap().id, id),
            heard => panic!("{heard:?}"),
        }
        stage.nodes[&A].agents.said_for_test(1, accept(id));
        match hear(&mut far).await {
            ToWorker::Assignment(assigned) => assert!(!assigned.token.is_empty()),
            heard => panic!("{heard:?}"),
        }
    }
    jobs.terminate("AJ_1");
    match hear(&mut far).await {
        ToWorker::Termination(ended) => assert_eq!(ended.job_id, "AJ_1"),
        heard => panic!("{heard:?}"),
    }
    stage.kill(B);
    stage.declare_dead(B).await;
    match hear(&mut far).await {
        ToWorker::Termination(ended) => assert_eq!(ended.job_id, "AJ_2"),
        heard => panic!("{heard:?}"),
    }
    assert!(other.try_recv().is_err(), "not its kind of job");
}
