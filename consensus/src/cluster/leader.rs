//! How a node that does not lead asks the one that does: itself, or over another voter where only
//! the path between the two is broken. One hop; nobody hands on what was handed on to it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use tokio::time::Instant;

use super::Inner;
use crate::encoding::{Content, decode, encode};
use crate::ids::NodeId;
use crate::limits::DETOUR_MS;
use crate::raft::PeerAddress;
use crate::raft::network;
use crate::raft::wire::{Reply, Request};

/// The leader that this node cannot reach itself.
#[derive(Debug, Default)]
pub(super) struct Detour(Mutex<Option<Taken>>);

#[derive(Debug)]
struct Taken {
    leader: NodeId,
    until: Instant,
    /// Which of the other voters is asked.
    turn: usize,
}

impl Detour {
    fn lock(&self) -> MutexGuard<'_, Option<Taken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which of the other voters, and whether it is asked before the leader itself.
    fn turn(&self, leader: NodeId) -> (usize, bool) {
        match &*self.lock() {
            Some(taken) if taken.leader == leader => (taken.turn, Instant::now() < taken.until),
            _ => (0, false),
        }
    }

    /// That one reaches it, or does not: then the leader itself is tried again, and then the next.
    fn learn(&self, leader: NodeId, turn: usize, reaches: bool) {
        let now = Instant::now();
        *self.lock() = Some(match reaches {
            true => Taken {
                leader,
                until: now + Duration::from_millis(DETOUR_MS),
                turn,
            },
            false => Taken {
                leader,
                until: now,
                turn: turn.wrapping_add(1),
            },
        });
    }
}

impl Inner {
    /// `Err`: nobody leads, or whoever does cannot be reached, or says why not.
    pub(super) async fn ask_leader(
        &self,
        request: &Request,
        within: Duration,
    ) -> Result<Reply, String> {
        let (leader, address) = self.leader_elsewhere().ok_or("nobody leads")?;
        let (turn, taken) = self.detour.turn(leader);
        let over = self.voter_beside(leader, turn);
        if !taken || over.is_none() {
            match network::exchange(&*self.peers, leader, &address, request, within).await {
                Ok(reply) => return named(leader, reply),
                Err(reason) if over.is_none() => return Err(reason),
                Err(_) => {}
            }
        }
        let (over, address) = over.ok_or("nobody else votes")?;
        let request = encode(Content::Message, request).map_err(|error| error.to_string())?;
        let request = Request::HandOn { request };
        let replied = network::exchange(&*self.peers, over, &address, &request, within * 2).await;
        let replied = replied.and_then(|reply| named(over, reply));
        let reaches = matches!(&replied, Ok(reply) if *reply != Reply::NotLeader);
        self.detour.learn(leader, turn, reaches);
        replied
    }

    /// For a node that cannot reach the leader; `None`: this is the one.
    pub(super) async fn hand_on(&self, request: &[u8]) -> Option<Reply> {
        if self.raft.is_leader() {
            return None;
        }
        let reply = match decode::<Request>(Content::Message, request) {
            Ok(request) if request.is_for_leader() => {
                // Both as this node sees them: it may know a newer one.
                let leader = self.leader_elsewhere();
                let within = self.options.election_timeout_max * 2;
                match leader {
                    Some((to, address)) => {
                        network::exchange(&*self.peers, to, &address, &request, within).await
                    }
                    None => Err("nobody leads".into()),
                }
            }
            Ok(_) => Err("only what is for the leader is handed on".into()),
            Err(error) => Err(error.to_string()),
        };
        Some(reply.unwrap_or_else(Reply::Failed))
    }

    pub(super) fn leader_elsewhere(&self) -> Option<(NodeId, String)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics
            .current_leader
            .filter(|leader| *leader != self.node)?;
        let address = metrics.membership_config.get_node(&leader);
        Some((leader, address.map(|PeerAddress(a)| a.clone())?))
    }

    /// One of the voters that are neither this node nor the leader.
    fn voter_beside(&self, leader: NodeId, turn: usize) -> Option<(NodeId, String)> {
        if self.replica.read(|state| state.common_version()) < Request::HAND_ON_SINCE {
            return None;
        }
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let voters = metrics.membership_config.voter_ids();
        let others: Vec<NodeId> = voters.filter(|v| *v != leader && *v != self.node).collect();
        let over = *others.get(turn.checked_rem(others.len())?)?;
        let address = metrics.membership_config.get_node(&over);
        Some((over, address.map(|PeerAddress(a)| a.clone())?))
    }
}

fn named(of: NodeId, reply: Reply) -> Result<Reply, String> {
    match reply {
        Reply::Failed(reason) => Err(format!("{of}: {reason}")),
        reply => Ok(reply),
    }
}
