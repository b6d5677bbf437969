//! The actix shell of `Jobs`: hands it what arrives, sends what it says, wakes it up in time.
//! Decides nothing.

use std::collections::HashMap;
use std::time::{Instant, SystemTime};

use actix::{Actor, Context, Handler, Message, MessageResult};
use protocol::proto::server_message;
use tokio::sync::mpsc;

use super::jobs::{Connection, Input, Jobs, Output};
use crate::alarm::{Alarm, Alarmed};
use crate::room::contract::{JobRequest, JobUpdate};

/// What the WebSocket of a worker is told; a dropped sender = close.
pub(crate) type ToWorker = mpsc::Sender<server_message::Message>;

#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Handle(pub(crate) Input);

/// A worker's WebSocket is up.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Connected {
    pub(crate) connection: Connection,
    pub(crate) api_key: String,
    pub(crate) sender: ToWorker,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ReportTo(pub(crate) Box<dyn Fn(JobUpdate) + Send + Sync>);

#[derive(Message)]
#[rtype(result = "Option<f32>")]
pub(crate) struct LoadFor(pub(crate) Box<JobRequest>);

pub(crate) struct WorkerActor {
    jobs: Jobs,
    senders: HashMap<Connection, ToWorker>,
    report: Option<ReportTo>,
    alarm: Alarm,
}

impl WorkerActor {
    pub(crate) fn new(jobs: Jobs) -> Self {
        Self {
            jobs,
            senders: HashMap::new(),
            report: None,
            alarm: Alarm::default(),
        }
    }

    fn step(&mut self, input: Input, ctx: &mut Context<Self>) {
        if let Input::Closed(connection) = &input {
            self.senders.remove(connection);
        }
        let now = Instant::now();
        self.jobs.set_clock(now, SystemTime::now());
        self.jobs.handle(now, input);
        while let Some(output) = self.jobs.poll() {
            self.carry_out(output);
        }
        self.alarm.set(self.jobs.deadline(), ctx);
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send {
                connection,
                message,
            } => {
                let sender = self.senders.get(&connection);
                // A worker that does not read its messages is as good as gone: its WebSocket
                // closes and tells so.
                if sender.is_some_and(|sender| sender.try_send(message).is_err()) {
                    self.senders.remove(&connection);
                }
            }
            Output::Close(connection) => {
                self.senders.remove(&connection);
            }
            Output::Report(update) => {
                if let Some(ReportTo(report)) = &self.report {
                    report(update);
                }
            }
        }
    }
}

impl Alarmed for WorkerActor {
    fn alarm(&mut self) -> &mut Alarm {
        &mut self.alarm
    }

    fn wake(&mut self, ctx: &mut Context<Self>) {
        self.step(Input::Timeout, ctx);
    }
}

impl Actor for WorkerActor {
    type Context = Context<Self>;
}

impl Handler<Handle> for WorkerActor {
    type Result = ();

    fn handle(&mut self, Handle(input): Handle, ctx: &mut Self::Context) {
        self.step(input, ctx);
    }
}

impl Handler<Connected> for WorkerActor {
    type Result = ();

    fn handle(&mut self, message: Connected, ctx: &mut Self::Context) {
        let Connected {
            connection,
            api_key,
            sender,
        } = message;
        self.senders.insert(connection, sender);
        self.step(
            Input::Connected {
                connection,
                api_key,
            },
            ctx,
        );
    }
}

impl Handler<ReportTo> for WorkerActor {
    type Result = ();

    fn handle(&mut self, report: ReportTo, _: &mut Self::Context) {
        self.report = Some(report);
    }
}

impl Handler<LoadFor> for WorkerActor {
    type Result = MessageResult<LoadFor>;

    fn handle(&mut self, LoadFor(job): LoadFor, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.jobs.load_for(&job))
    }
}
