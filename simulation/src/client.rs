//! Somebody who uses the cluster through one node: writes, reads and owns things at random, tries
//! again when it does not know what came of it, and tells the checkers everything it was told.

use std::sync::Arc;
use std::time::Duration;

use consensus::cluster::{Cluster, ProposeError};
use consensus::command::{Action, JobKind, JobState};
use consensus::ids::{
    Epoch, JobId, LeaseName, LogIndex, NodeId, RequestId, RoomName, RoomSid, ValueKey,
};
use consensus::splitmix::SplitMix;
use consensus::state::State;

use crate::ring::Ring;

const KEYS: u64 = 12;
const ROOMS: u64 = 6;
const LEASES: u64 = 3;
const JOBS: u64 = 4;
/// A request is tried so often, each time as long as its node is patient.
const TRIES: u32 = 3;

pub(crate) async fn run(ring: Arc<Ring>, cluster: Cluster, number: u64) {
    let seed = ring.dice().next();
    let mut client = Client {
        id: seed,
        dice: SplitMix(seed ^ number),
        requests: 0,
        ring,
        cluster,
    };
    loop {
        let pause = client.ring.scenario.client_pause.as_micros() as u64;
        let pause = Duration::from_micros(client.dice.below(pause));
        tokio::time::sleep(pause).await;
        if !client.ring.plan().quiet {
            client.act().await;
        }
    }
}

struct Client {
    id: u64,
    dice: SplitMix,
    requests: u64,
    ring: Arc<Ring>,
    cluster: Cluster,
}

impl Client {
    async fn act(&mut self) {
        match self.dice.below(10) {
            0..=3 => {
                let action = self.value();
                self.propose(action).await;
            }
            4 | 5 => self.read().await,
            6 | 7 => {
                let action = self.room();
                self.propose(action).await;
            }
            8 => {
                let action = self.duty();
                self.propose(action).await;
            }
            _ => {
                let action = self.node();
                self.propose(action).await;
            }
        }
    }

    async fn propose(&mut self, action: Action) {
        let request = RequestId {
            client: self.id,
            number: self.requests,
        };
        self.requests += 1;
        let floor = self.ring.oracle().floor(self.ring.now());
        for _ in 0..TRIES {
            let answered = self.cluster.propose_as(request, action.clone()).await;
            let answer = match answered {
                Ok(committed) => Ok(committed.outcome),
                Err(ProposeError::Refused(refusal)) => Err(refusal),
                Err(ProposeError::Unavailable { .. }) => continue,
                Err(error) => {
                    let node = self.cluster.node();
                    self.ring.trace.line(node, format!("client: {error}"));
                    return;
                }
            };
            self.ring.oracle().told(request, floor, &answer);
            return;
        }
    }

    async fn read(&mut self) {
        let key = self.key();
        let floor = self.ring.oracle().floor(self.ring.now());
        let Ok(_) = self.cluster.catch_up().await else {
            return;
        };
        let value = self
            .cluster
            .read(|state| state.value(&key).map(|value| value.bytes.clone()));
        let node = self.cluster.node();
        let mut oracle = self.ring.oracle();
        oracle.read(node, floor, &key, value.as_deref());
    }

    fn key(&mut self) -> ValueKey {
        ValueKey(format!("key{}", self.dice.below(KEYS)))
    }

    /// One time in four, what was read here must still be so.
    fn value(&mut self) -> Action {
        let key = self.key();
        let seen = self
            .cluster
            .read(|state| state.value(&key).map_or(0, |v| v.version));
        let expected = (self.dice.below(4) == 0).then_some(seen);
        if self.dice.below(12) == 0 {
            return Action::RemoveValue { key, expected };
        }
        let bytes = 8 + self.dice.below(120);
        let value = (0..bytes).map(|_| self.dice.next() as u8).collect();
        Action::SetValue {
            key,
            value,
            expected,
        }
    }

    /// A node as this one sees them; perhaps a dead one.
    fn any_node(&mut self) -> NodeId {
        let nodes: Vec<NodeId> = self
            .cluster
            .read(|state| state.nodes().map(|(id, _)| id).collect());
        let at = self.dice.below(nodes.len() as u64) as usize;
        nodes
            .get(at)
            .copied()
            .unwrap_or_else(|| self.cluster.node())
    }

    /// What is in force here; often enough, what was before.
    fn epoch(&mut self, current: Option<Epoch>) -> Epoch {
        let back = match self.dice.below(5) {
            0 => 1 + self.dice.below(4),
            _ => 0,
        };
        Epoch(current.unwrap_or_default().0.saturating_sub(back))
    }

    fn room(&mut self) -> Action {
        let name = RoomName(format!("room{}", self.dice.below(ROOMS)));
        let here = self.cluster.read(|state| state.room(&name).cloned());
        let epoch = self.epoch(here.as_ref().map(|room| room.epoch));
        let (home, other) = (self.any_node(), self.any_node());
        let standby = (self.dice.below(3) > 0).then_some(other);
        let Some(room) = here else {
            let sid = RoomSid(format!("RM_{:x}", self.dice.below(1 << 32)));
            return Action::PlaceRoom {
                name,
                sid,
                home,
                standby,
            };
        };
        let since = |state: &State| state.mandate(&name).map_or(LogIndex(0), |m| m.since);
        match self.dice.below(8) {
            0 => Action::CloseRoom { name, epoch },
            1 => Action::MoveToStandby {
                since: self.cluster.read(since),
                name,
                epoch,
                standby,
            },
            2 => Action::MoveRoom {
                name,
                epoch,
                home,
                standby,
            },
            3 => Action::SetStandby {
                name,
                epoch,
                standby,
            },
            _ => Action::AssertHome {
                home: room.home,
                name,
                epoch,
            },
        }
    }

    /// Leases, jobs, ids.
    fn duty(&mut self) -> Action {
        let owner = self.cluster.node();
        if self.dice.below(4) == 0 {
            let count = self.dice.below(5);
            return Action::AllocateIds { count };
        }
        if self.dice.below(2) == 0 {
            return self.job(owner);
        }
        let name = LeaseName(format!("lease{}", self.dice.below(LEASES)));
        let lease = self.cluster.read(|state| state.lease(&name).copied());
        let epoch = self.epoch(lease.map(|lease| lease.epoch));
        match (self.dice.below(4), lease) {
            (0, Some(_)) => Action::ReleaseLease { name, epoch },
            (1, Some(lease)) => Action::AssertLease {
                name,
                owner: lease.owner,
                epoch,
            },
            (2, Some(_)) => Action::AcquireLease {
                name,
                owner,
                over: Some(epoch),
            },
            _ => Action::AcquireLease {
                name,
                owner,
                over: None,
            },
        }
    }

    fn job(&mut self, owner: NodeId) -> Action {
        let job = JobId(format!("EG_{}", self.dice.below(JOBS)));
        let here = self.cluster.read(|state| state.job(&job).cloned());
        let Some(known) = here else {
            return Action::CreateJob {
                job,
                kind: JobKind::Egress,
                room: None,
                detail: vec![0; 32],
            };
        };
        let epoch = self.epoch(Some(known.epoch));
        let states = [JobState::Running, JobState::Ending, JobState::Complete];
        match self.dice.below(4) {
            0 => Action::RemoveJob { job, epoch },
            1 => Action::AssignJob { job, epoch, owner },
            _ => Action::UpdateJob {
                job,
                epoch,
                state: states[self.dice.below(3) as usize],
                detail: None,
            },
        }
    }

    /// Rarely somebody is declared dead, rightly or not; drains come and go.
    fn node(&mut self) -> Action {
        let node = self.any_node();
        let life = |state: &State| state.node(node).map(|node| node.incarnation);
        let life = self.cluster.read(life);
        let incarnation = self.epoch(life);
        match self.dice.below(8) {
            0 | 1 => Action::DeclareDead { node, incarnation },
            2 => Action::DrainNode { node },
            3 => Action::EndDrain { node },
            4 => Action::ActivateNode { node, incarnation },
            _ => self.value(),
        }
    }
}
