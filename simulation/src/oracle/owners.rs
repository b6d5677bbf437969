//! One owner per epoch: rooms, leases, jobs and lives of nodes, from the effects that are told. A
//! write of an owner must name the epoch that was told last.

use std::collections::BTreeMap;
use std::fmt::Display;

use consensus::command::{Action, Effect, Outcome, Refusal, Room};
use consensus::ids::{Epoch, JobId, LeaseName, NodeId, RoomName};

struct Job {
    owner: Option<NodeId>,
    epoch: Epoch,
    over: bool,
    /// Its owner died: what is in force now is higher, and was not told.
    orphaned: bool,
}

#[derive(Default)]
pub(crate) struct Owners {
    highest: Epoch,
    rooms: BTreeMap<RoomName, Room>,
    leases: BTreeMap<LeaseName, (NodeId, Epoch)>,
    jobs: BTreeMap<JobId, Job>,
    lives: BTreeMap<NodeId, Epoch>,
}

impl Owners {
    /// What is wrong with what a command did.
    pub(crate) fn apply(
        &mut self,
        action: &Action,
        answer: &Result<Outcome, Refusal>,
        effects: &[Effect],
    ) -> Option<String> {
        if answer.is_err() {
            return (!effects.is_empty()).then(|| "a refusal changed something".to_string());
        }
        let fenced = self.fence(action);
        let mut found = fenced;
        for effect in effects {
            let wrong = self.effect(effect);
            found = found.or(wrong);
        }
        let left = match action {
            Action::RegisterNode { node, .. } => {
                if let Ok(Outcome::Epoch(life)) = answer {
                    let wrong = self.fresh(*life, node);
                    found = found.or(wrong);
                    self.lives.insert(*node, *life);
                }
                Some((*node, effects))
            }
            Action::DeclareDead { node, .. } if !effects.is_empty() => Some((*node, effects)),
            _ => None,
        };
        found.or_else(|| left.and_then(|(node, effects)| self.left_to(node, effects)))
    }

    /// An epoch that an owner got: higher than all before.
    fn fresh(&mut self, epoch: Epoch, of: &impl Display) -> Option<String> {
        let before = self.highest;
        self.highest = before.max(epoch);
        (epoch <= before).then(|| format!("{of} got {epoch}, not above {before}"))
    }

    /// An accepted write of an owner names what was in force.
    fn fence(&self, action: &Action) -> Option<String> {
        let (what, presented, current) = match action {
            Action::MoveRoom { name, epoch, .. }
            | Action::MoveToStandby { name, epoch, .. }
            | Action::SetStandby { name, epoch, .. }
            | Action::CloseRoom { name, epoch } => {
                let Some(room) = self.rooms.get(name) else {
                    return Some(format!("there is no {name}"));
                };
                (name.to_string(), *epoch, room.epoch)
            }
            Action::AssertHome { name, home, epoch } => {
                let Some(room) = self.rooms.get(name) else {
                    return Some(format!("there is no {name}"));
                };
                if room.home != *home {
                    return Some(format!("{name} is at {}, not at {home}", room.home));
                }
                (name.to_string(), *epoch, room.epoch)
            }
            Action::ReleaseLease { name, epoch } => {
                (name.to_string(), *epoch, self.leases.get(name)?.1)
            }
            Action::AssertLease { name, owner, epoch } => {
                let Some((holder, current)) = self.leases.get(name) else {
                    return Some(format!("nobody holds {name}"));
                };
                if holder != owner {
                    return Some(format!("{name} is held by {holder}, not by {owner}"));
                }
                (name.to_string(), *epoch, *current)
            }
            Action::AssignJob { job, epoch, .. }
            | Action::UpdateJob { job, epoch, .. }
            | Action::RemoveJob { job, epoch } => {
                let known = self.jobs.get(job)?;
                if known.orphaned {
                    return (*epoch <= known.epoch)
                        .then(|| format!("{job}: {epoch} of a dead owner was let through"));
                }
                (job.to_string(), *epoch, known.epoch)
            }
            Action::DeclareDead { node, incarnation }
            | Action::ActivateNode { node, incarnation } => {
                (node.to_string(), *incarnation, *self.lives.get(node)?)
            }
            _ => return None,
        };
        (presented != current)
            .then(|| format!("{what}: {presented} was let through, {current} is in force"))
    }

    fn effect(&mut self, effect: &Effect) -> Option<String> {
        match effect {
            Effect::RoomPlaced { name, room } => {
                let there = self.rooms.insert(name.clone(), room.clone()).is_some();
                self.fresh(room.epoch, name)
                    .or_else(|| there.then(|| format!("{name} was placed twice")))
            }
            Effect::RoomMoved { name, from, room } => {
                let old = self.rooms.insert(name.clone(), room.clone());
                let home = old.map(|old| old.home);
                self.fresh(room.epoch, name).or_else(|| {
                    (home != Some(*from)).then(|| format!("{name} was at {home:?}, not {from}"))
                })
            }
            Effect::RoomOrphaned { name, room } => {
                self.rooms.insert(name.clone(), room.clone());
                self.fresh(room.epoch, name)
            }
            Effect::StandbyChanged { name, room } => {
                let old = self.rooms.insert(name.clone(), room.clone());
                let same = old.is_some_and(|old| old.epoch == room.epoch && old.home == room.home);
                (!same).then(|| format!("{name} changed more than its standby"))
            }
            Effect::RoomClosed { name, .. } => {
                let there = self.rooms.remove(name).is_some();
                (!there).then(|| format!("{name} was closed twice"))
            }
            Effect::LeaseChanged { name, owner, epoch } => {
                let Some(owner) = owner else {
                    self.leases.remove(name);
                    return None;
                };
                self.leases.insert(name.clone(), (*owner, *epoch));
                self.fresh(*epoch, name)
            }
            Effect::JobChanged {
                job,
                owner,
                epoch,
                state,
            } => {
                let new = Job {
                    owner: *owner,
                    epoch: *epoch,
                    over: state.is_over(),
                    orphaned: false,
                };
                self.job_changed(job, new)
            }
            Effect::JobOrphaned { job } => {
                if let Some(job) = self.jobs.get_mut(job) {
                    job.owner = None;
                    job.orphaned = true;
                }
                None
            }
            Effect::JobRemoved { job } => {
                self.jobs.remove(job);
                None
            }
            Effect::NodeRemoved { node } => {
                self.lives.remove(node);
                None
            }
            Effect::NodeChanged { .. }
            | Effect::ValueChanged { .. }
            | Effect::ValueRemoved { .. } => None,
        }
    }

    fn job_changed(&mut self, job: &JobId, new: Job) -> Option<String> {
        let epoch = new.epoch;
        let old = self.jobs.insert(job.clone(), new);
        let changed = old.is_some_and(|old| old.epoch != epoch);
        changed.then(|| self.fresh(epoch, job)).flatten()
    }

    /// A life ended: nothing is that life's any more.
    fn left_to(&self, node: NodeId, effects: &[Effect]) -> Option<String> {
        let touched = |name: &RoomName| {
            effects.iter().any(|effect| match effect {
                Effect::RoomOrphaned { name: other, .. }
                | Effect::RoomMoved { name: other, .. } => name == other,
                _ => false,
            })
        };
        let room = self.rooms.iter().find(|(name, room)| {
            (room.home == node && !touched(name)) || room.standby == Some(node)
        });
        if let Some((name, _)) = room {
            return Some(format!("{name} is still with the last life of {node}"));
        }
        let lease = self.leases.iter().find(|(_, (owner, _))| *owner == node);
        if let Some((name, _)) = lease {
            return Some(format!("{name} is still with the last life of {node}"));
        }
        let mut jobs = self.jobs.iter();
        let job = jobs.find(|(_, job)| job.owner == Some(node) && !job.over);
        job.map(|(job, _)| format!("{job} is still with the last life of {node}"))
    }
}
