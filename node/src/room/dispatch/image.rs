//! Dispatches and their jobs as a record and back. A job that is in its dispatch's state is not
//! written twice, and the room in it follows from the room.

use protocol::proto;

use super::{Dispatches, is_over};
use crate::room::Room;
use crate::room::contract::{JobRequest, RoomOutput};
use crate::room::image::records::RoomRecord;
use crate::room::limits::{DISPATCHES_MAX, JOBS_MAX};

impl Dispatches {
    pub(in crate::room) fn image(&self, record: &mut RoomRecord) {
        let written = |job: &proto::Job| {
            let of_job = self.list.iter().find(|known| known.id == job.dispatch_id);
            let state = of_job.and_then(|dispatch| dispatch.state.as_ref());
            state.is_some_and(|state| state.jobs.iter().any(|known| known == job))
        };
        let jobs = self.jobs.values().filter(|job| !written(job));
        record.jobs = jobs.map(without_room).collect();
        record.dispatches = self.list.clone();
        let states = record.dispatches.iter_mut();
        for state in states.filter_map(|dispatch| dispatch.state.as_mut()) {
            for job in &mut state.jobs {
                job.room = None;
            }
        }
        record.ending = self.ending.iter().cloned().collect();
    }

    pub(in crate::room) fn thaw(record: &RoomRecord, room: &proto::Room) -> Self {
        let with_room = |job: &proto::Job| proto::Job {
            room: Some(room.clone()),
            ..job.clone()
        };
        let mut list: Vec<_> = record
            .dispatches
            .iter()
            .take(DISPATCHES_MAX)
            .cloned()
            .collect();
        for state in list
            .iter_mut()
            .filter_map(|dispatch| dispatch.state.as_mut())
        {
            state.jobs = state.jobs.iter().map(with_room).collect();
        }
        let states = list.iter().filter_map(|dispatch| dispatch.state.as_ref());
        let running = states
            .flat_map(|state| &state.jobs)
            .filter(|job| !is_over(job));
        let jobs = running.cloned().chain(record.jobs.iter().map(with_room));
        Self {
            jobs: jobs
                .take(JOBS_MAX)
                .map(|job| (job.id.clone(), job))
                .collect(),
            list,
            ending: record.ending.iter().cloned().collect(),
        }
    }
}

fn without_room(job: &proto::Job) -> proto::Job {
    proto::Job {
        room: None,
        ..job.clone()
    }
}

impl Room {
    /// After a thaw: who was asked to find a worker for these died with its node.
    pub(in crate::room) fn launch_again(&mut self) {
        let jobs = self.dispatch.jobs.values();
        let open =
            jobs.filter(|job| job.state.is_none() && !self.dispatch.ending.contains(&job.id));
        for job in open {
            self.outputs
                .push_back(RoomOutput::LaunchJob(Box::new(JobRequest {
                    job: job.clone(),
                    deployment: job.deployment.clone(),
                })));
        }
    }
}
