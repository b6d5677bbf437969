//! The duty itself: one task a node, at work only where it leads and holds the lease. A leader that
//! takes over finds everything in the log.

use std::collections::BTreeSet;
use std::time::Duration;

use consensus::cluster::{Role, Status};
use consensus::command::{Action, Outcome, Refusal};
use consensus::ids::{Epoch, LeaseName, LogIndex, NodeId, RoomName};
use consensus::keeper;
use consensus::state::Mandate;
use operator::drain::{Drains, End, Moved, Output, Record, Then};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::messages::{Question, decode, encode};
use super::{Drainage, view};
use crate::cluster::journal::{Flushed, ask_flush};
use crate::cluster::limits::{
    DRAIN_COUNT_INTERVAL, DRAIN_LOOK_INTERVAL, DRAIN_MOVE_PATIENCE, DRAIN_PATIENCE,
    DRAIN_RESULTS_MAX,
};
use crate::cluster::links::Service;

const LEASE: &str = "operator";

/// Runs until it is dropped. `voters` is what the quorum keeper sees; without it every vote may go.
pub async fn run(drainage: Drainage, mut voters: impl FnMut() -> Option<keeper::View> + Send) {
    // overflow: awaited by the moves' tasks, whose number the core bounds
    let (results, mut moved) = mpsc::channel(DRAIN_RESULTS_MAX);
    let mut duty = Duty::new(drainage, results);
    loop {
        tokio::select! {
            biased;
            Some(result) = moved.recv() => duty.moved(result),
            () = sleep(duty.wait()) => duty.look(&mut voters).await,
        }
        while duty.errands.try_join_next().is_some() {}
        duty.act();
    }
}

struct Duty {
    drainage: Drainage,
    drains: Drains,
    results: mpsc::Sender<Moved>,
    errands: JoinSet<()>,
    began: Instant,
    /// The epoch under which this node does it.
    lease: Option<Epoch>,
    counts: view::Counts,
    counted: Option<Instant>,
}

impl Duty {
    fn new(drainage: Drainage, results: mpsc::Sender<Moved>) -> Self {
        let pace = drainage.parts.moves_per_second;
        Self {
            drainage,
            drains: Drains::new(pace),
            results,
            errands: JoinSet::new(),
            began: Instant::now(),
            lease: None,
            counts: view::Counts::new(),
            counted: None,
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn wait(&self) -> Duration {
        let due = self.drains.deadline().filter(|_| self.lease.is_some());
        let wait = due.map(|due| due.saturating_sub(self.now()));
        wait.map_or(DRAIN_LOOK_INTERVAL, |wait| wait.min(DRAIN_LOOK_INTERVAL))
            .max(Duration::from_millis(1))
    }

    fn moved(&mut self, moved: Moved) {
        let now = self.now();
        self.drains.moved(now, moved);
    }

    async fn look(&mut self, voters: &mut (impl FnMut() -> Option<keeper::View> + Send)) {
        let cluster = self.drainage.parts.cluster.clone();
        let status = cluster.status();
        let idle = cluster.read(view::is_idle);
        if status.role != Role::Leader || idle || !self.holds_lease(&status).await {
            self.rest();
            return;
        }
        self.count().await;
        let votes = voters();
        let may_go = |node| votes.as_ref().is_none_or(|v| keeper::may_leave(v, node));
        let seen = cluster.read(|s| view::view(s, &status.voters, &self.counts, may_go));
        let wall_ms = (self.drainage.parts.wall_ms)();
        let now = self.now();
        self.drains.look(now, wall_ms, seen);
        self.drainage.publish(self.drains.progress());
    }

    /// Another leads, or nothing drains.
    fn rest(&mut self) {
        if self.lease.take().is_some() {
            self.drains = Drains::new(self.drainage.parts.moves_per_second);
            self.errands.abort_all();
        }
        self.drainage.publish(Vec::new());
    }

    /// The leader takes the duty over from whoever had it when they led.
    async fn holds_lease(&mut self, status: &Status) -> bool {
        let cluster = &self.drainage.parts.cluster;
        let (name, owner) = (LeaseName::from(LEASE), status.node);
        let held = cluster.read(|state| state.lease(&name).copied());
        if let Some(held) = held.filter(|held| held.owner == owner) {
            self.lease = Some(held.epoch);
            return true;
        }
        let over = held.map(|held| held.epoch);
        let take = Action::AcquireLease { name, owner, over };
        let taken = timeout(DRAIN_PATIENCE, cluster.propose(take)).await;
        if let Ok(Ok(committed)) = taken
            && let Outcome::Epoch(epoch) = committed.outcome
        {
            self.lease = Some(epoch);
            return true;
        }
        false
    }

    /// Asks the homes that drain who is in their rooms, now and then.
    async fn count(&mut self) {
        let fresh = |at: Instant| at.elapsed() < DRAIN_COUNT_INTERVAL;
        if self.counted.is_some_and(fresh) {
            return;
        }
        let parts = &self.drainage.parts;
        let homes: BTreeSet<NodeId> = parts.cluster.read(|state| {
            let draining = |id: &NodeId| state.node(*id).is_some_and(|n| !n.takes_work());
            let homes = state.rooms().map(|(_, room)| room.home);
            homes.filter(draining).collect()
        });
        let asked = homes.into_iter().map(|home| {
            let question = encode(&Question::Rooms);
            parts
                .links
                .call(home, Service::Operator, question, DRAIN_PATIENCE)
        });
        let answers = futures_util::future::join_all(asked).await;
        let known = answers.into_iter().filter_map(Result::ok);
        let rooms = known.filter_map(|answer| decode::<Vec<(String, u32)>>(&answer).ok());
        let rooms = rooms.flatten();
        self.counts = rooms.map(|(name, count)| (RoomName(name), count)).collect();
        self.counted = Some(Instant::now());
    }

    fn act(&mut self) {
        while let Some(output) = self.drains.poll() {
            let (drainage, results) = (self.drainage.clone(), self.results.clone());
            match output {
                Output::Move {
                    name,
                    epoch,
                    patient,
                } => {
                    self.errands.spawn(async move {
                        let end = drainage.move_room(&name, epoch, patient).await;
                        let end = end.unwrap_or_else(End::Failed);
                        let _ = results.send(Moved { name, end }).await;
                    });
                }
                Output::Close { name, epoch } => {
                    self.errands.spawn(async move {
                        let room = name.clone();
                        let close = drainage.carry_out(Action::CloseRoom { name: room, epoch });
                        let end = close.await.map_or_else(End::Failed, |()| End::Done);
                        let _ = results.send(Moved { name, end }).await;
                    });
                }
                Output::Finish {
                    node,
                    record,
                    forced,
                } => {
                    self.errands.spawn(async move {
                        drainage.finish(node, record, forced).await;
                    });
                }
            }
        }
    }
}

impl Drainage {
    /// Its next home knows all of it before it is that, so that its clients go on there.
    async fn move_room(&self, name: &RoomName, epoch: Epoch, patient: bool) -> Result<End, String> {
        let parts = &self.parts;
        let room = parts.cluster.read(|s| s.room(name).cloned());
        let Some(room) = room.filter(|room| room.epoch == epoch) else {
            return Ok(End::Done);
        };
        let from = room.home;
        let chosen = parts.choose.elsewhere(from, room.standby);
        let (home, standby) = chosen.ok_or("no other node takes it")?;
        if room.standby != Some(home) {
            let action = Action::SetStandby {
                name: name.clone(),
                epoch,
                standby: Some(home),
            };
            self.carry_out(action).await?;
        }
        let appointed = self.appointed(name, epoch, (from, home))?;
        let Flushed { known, unready } = ask_flush(&*parts.links, &name.0, &appointed).await;
        if unready && patient {
            return Ok(End::Unready);
        }
        let action = if known && appointed.since != LogIndex(0) {
            Action::MoveToStandby {
                name: name.clone(),
                epoch,
                since: appointed.since,
                standby,
            }
        } else {
            // Nobody knows it, or nobody can say since when: it moves as it is.
            Action::MoveRoom {
                name: name.clone(),
                epoch,
                home,
                standby,
            }
        };
        self.carry_out(action).await?;
        tracing::info!(room = %name, %from, to = %home, known, "room moved off a draining node");
        Ok(End::Done)
    }

    /// Under which its next home stands by. Without an entry where the log does not name it: old
    /// nodes among these, or the room is from before mandates.
    fn appointed(
        &self,
        name: &RoomName,
        epoch: Epoch,
        (home, standby): (NodeId, NodeId),
    ) -> Result<Mandate, &'static str> {
        let (room, mandate, common) = self.parts.cluster.read(|state| {
            let room = state.room(name).cloned();
            (room, state.mandate(name), state.common_version())
        });
        let stands = room.is_some_and(|room| (room.epoch, room.standby) == (epoch, Some(standby)));
        if !stands {
            return Err("another node was made its standby");
        }
        let named = mandate.filter(|_| common >= Action::TO_STANDBY_SINCE);
        Ok(named.unwrap_or(Mandate {
            home,
            epoch,
            standby,
            since: LogIndex(0),
        }))
    }

    async fn carry_out(&self, action: Action) -> Result<(), String> {
        use consensus::cluster::ProposeError::Refused;
        let proposed = self.parts.cluster.propose(action);
        match timeout(DRAIN_MOVE_PATIENCE, proposed).await {
            // Somebody was faster: the next look sees what is left.
            Ok(Ok(_) | Err(Refused(Refusal::StaleEpoch { .. } | Refusal::NoRoom))) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no quorum answered in time".into()),
        }
    }

    async fn finish(&self, node: NodeId, record: Record, forced: bool) {
        tracing::info!(%node, forced, "a node is drained");
        let then = record.then;
        let done = match then {
            Then::Stay => self.note_done(node, record, forced).await,
            Then::Remove | Then::Terminate => self.let_go(node, then).await,
        };
        if let Err(reason) = done {
            // It is told again.
            tracing::warn!(%node, reason, "the end of a drain was not carried out");
        }
    }

    /// Its machine first: as long as the log has the node, whoever leads tries again.
    async fn let_go(&self, node: NodeId, then: Then) -> Result<(), String> {
        let cluster = &self.parts.cluster;
        let host = cluster.read(|s| s.node(node).map(|n| n.info.host.clone()));
        if let (Then::Terminate, Some(machines), Some(host)) = (then, &self.parts.machines, host) {
            let gone = machines.terminate(&host).await;
            gone.map_err(|error| error.to_string())?;
        }
        self.carry_out(Action::RemoveNode { node }).await?;
        let key = Record::key(node);
        let forget = Action::RemoveValue {
            key,
            expected: None,
        };
        self.carry_out(forget).await
    }
}
