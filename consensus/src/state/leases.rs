//! Leases: a duty that exactly one node performs. There is no clock here: a lease ends when it is
//! released, when its owner is declared dead, or when somebody takes it over by naming its epoch.
//! Epochs outlive releases, so an owner that slept through one is refused.

use rkyv::{Archive, Deserialize, Serialize};

use super::{Answer, State, check_epoch, check_length, full};
use crate::command::{Effect, Outcome, Refusal};
use crate::ids::{Epoch, LeaseName, NodeId};
use crate::limits::{LEASES_MAX, NAME_BYTES_MAX};

#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub owner: NodeId,
    pub epoch: Epoch,
}

impl State {
    pub(super) fn acquire_lease(
        &mut self,
        name: LeaseName,
        owner: NodeId,
        over: Option<Epoch>,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        check_length("the lease's name", name.0.len(), NAME_BYTES_MAX)?;
        self.working_node(owner)?;
        match self.leases.get(&name) {
            Some(held) if held.owner == owner && over.is_none() => {
                return Ok(Outcome::Epoch(held.epoch));
            }
            Some(held) if over != Some(held.epoch) => {
                return Err(Refusal::LeaseHeld {
                    owner: held.owner,
                    epoch: held.epoch,
                });
            }
            None if self.leases.len() >= LEASES_MAX => return Err(full("leases", LEASES_MAX)),
            _ => {}
        }
        let epoch = self.next_epoch();
        self.leases.insert(name.clone(), Lease { owner, epoch });
        effects.push(Effect::LeaseChanged {
            name,
            owner: Some(owner),
            epoch,
        });
        Ok(Outcome::Epoch(epoch))
    }

    pub(super) fn release_lease(
        &mut self,
        name: LeaseName,
        epoch: Epoch,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let Some(held) = self.leases.get(&name) else {
            return Ok(Outcome::Done);
        };
        check_epoch(epoch, held.epoch)?;
        self.leases.remove(&name);
        effects.push(Effect::LeaseChanged {
            name,
            owner: None,
            epoch,
        });
        Ok(Outcome::Done)
    }

    /// Answers whether this node still holds it, in the order of all other commands.
    pub(super) fn assert_lease(&self, name: &LeaseName, owner: NodeId, epoch: Epoch) -> Answer {
        let held = self.leases.get(name).ok_or(Refusal::NoLease)?;
        check_epoch(epoch, held.epoch)?;
        if held.owner != owner {
            return Err(Refusal::LeaseHeld {
                owner: held.owner,
                epoch: held.epoch,
            });
        }
        Ok(Outcome::Epoch(held.epoch))
    }

    pub(super) fn end_leases_of(&mut self, node: NodeId, effects: &mut Vec<Effect>) {
        let (ended, kept) = std::mem::take(&mut self.leases)
            .into_iter()
            .partition(|(_, lease)| lease.owner == node);
        self.leases = kept;
        for (name, lease) in ended {
            let epoch = lease.epoch;
            effects.push(Effect::LeaseChanged {
                name,
                owner: None,
                epoch,
            });
        }
    }
}
