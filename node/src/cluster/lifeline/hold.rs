//! The side that others open lifelines to: gives tickets, takes connections that show one and keeps
//! them until they end. Bounded in strangers, in tickets and in what is read.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::constant_time;
use consensus::ids::NodeId;
use consensus::limits::NODES_MAX;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::{Line, Listen, SECRET_BYTES, Ticket};
use crate::cluster::limits::{
    LIFELINE_ACCEPT_PAUSE, LIFELINE_PATIENCE, LIFELINE_STRANGERS_MAX, LIFELINE_TICKET_AGE_MAX,
};
use crate::net::gate::network_of;

/// Tickets that were given and not shown yet, one a node. Clones are equal.
#[derive(Clone)]
pub struct Tickets {
    inner: Arc<Mutex<Given>>,
}

struct Given {
    rng: ChaCha20Rng,
    tickets: BTreeMap<NodeId, (Ticket, Instant)>,
}

impl Tickets {
    /// `seed` is random and secret; in a simulation it is the seed.
    pub fn new(seed: [u8; 32]) -> Self {
        let given = Given {
            rng: ChaCha20Rng::from_seed(seed),
            tickets: BTreeMap::new(),
        };
        Self {
            inner: Arc::new(Mutex::new(given)),
        }
    }

    /// For a node whose certificate was seen; replaces one it had. `None`: there are too many.
    pub fn give(&self, to: NodeId) -> Option<Ticket> {
        let mut given = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        given.tickets.retain(|_, (_, until)| *until > now);
        if given.tickets.len() >= NODES_MAX && !given.tickets.contains_key(&to) {
            return None;
        }
        let (mut shown, mut answer) = ([0; SECRET_BYTES], [0; SECRET_BYTES]);
        given.rng.fill_bytes(&mut shown);
        given.rng.fill_bytes(&mut answer);
        let ticket = Ticket { shown, answer };
        let until = now + LIFELINE_TICKET_AGE_MAX;
        given.tickets.insert(to, (ticket, until));
        Some(ticket)
    }

    /// The answer to a good ticket, which is worth nothing from then on.
    fn redeem(&self, node: NodeId, shown: &[u8; SECRET_BYTES]) -> Option<[u8; SECRET_BYTES]> {
        let mut given = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (ticket, until) = given.tickets.get(&node)?;
        let good = constant_time::verify_slices_are_equal(&ticket.shown, shown).is_ok();
        if !good || *until <= Instant::now() {
            return None;
        }
        let answer = ticket.answer;
        given.tickets.remove(&node);
        Some(answer)
    }
}

/// Takes lifelines until it is dropped; all it holds end with it.
pub struct Holder {
    tickets: Tickets,
    tasks: JoinSet<()>,
    /// The oldest first.
    strangers: VecDeque<(Option<IpAddr>, AbortHandle)>,
    /// One a node: a newer one replaces it.
    held: BTreeMap<NodeId, AbortHandle>,
}

impl Holder {
    pub fn new(tickets: Tickets) -> Self {
        Self {
            tickets,
            tasks: JoinSet::new(),
            strangers: VecDeque::new(),
            held: BTreeMap::new(),
        }
    }

    /// Runs until it is dropped.
    pub async fn run(mut self, mut listener: impl Listen) {
        // overflow: awaited by the strangers' tasks, whose number is bounded
        let (admit, mut admitted) = mpsc::channel(1);
        loop {
            while self.tasks.try_join_next().is_some() {}
            tokio::select! {
                biased;
                Some((node, line)) = admitted.recv() => self.hold(node, line),
                accepted = listener.accept() => match accepted {
                    Ok((line, from)) => self.question(line, from, admit.clone()),
                    Err(error) => {
                        debug!(%error, "no lifeline could be taken");
                        sleep(LIFELINE_ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    fn question(
        &mut self,
        mut line: Box<dyn Line>,
        from: Option<IpAddr>,
        admit: mpsc::Sender<(NodeId, Box<dyn Line>)>,
    ) {
        let from = from.map(|address| network_of(address.to_canonical()));
        self.strangers.retain(|(_, task)| !task.is_finished());
        if self.strangers.len() >= LIFELINE_STRANGERS_MAX {
            self.end_one_of_the_crowd();
        }
        let tickets = self.tickets.clone();
        let task = self.tasks.spawn(async move {
            let node = timeout(LIFELINE_PATIENCE, check(&mut line, &tickets)).await;
            if let Ok(Some(node)) = node {
                let _ = admit.send((node, line)).await;
            }
        });
        self.strangers.push_back((from, task));
    }

    /// The oldest of the network that has most of them: a flood from one place ends its own.
    fn end_one_of_the_crowd(&mut self) {
        let mut counts: BTreeMap<Option<IpAddr>, usize> = BTreeMap::new();
        for (from, _) in &self.strangers {
            *counts.entry(*from).or_default() += 1;
        }
        let crowd = counts.into_iter().max_by_key(|(_, count)| *count);
        let of_crowd = |(from, _): &(Option<IpAddr>, AbortHandle)| {
            crowd.is_some_and(|(crowd, _)| crowd == *from)
        };
        let chosen = self.strangers.iter().position(of_crowd);
        if let Some((_, oldest)) = chosen.and_then(|at| self.strangers.remove(at)) {
            oldest.abort();
        }
    }

    fn hold(&mut self, node: NodeId, mut line: Box<dyn Line>) {
        self.held.retain(|_, task| !task.is_finished());
        let task = self.tasks.spawn(async move {
            // Nothing is ever said on it: the first byte ends it, as does its end.
            let _ = line.read_u8().await;
        });
        if let Some(replaced) = self.held.insert(node, task) {
            replaced.abort();
        }
    }
}

/// Who it is, if it can show a ticket.
async fn check(line: &mut Box<dyn Line>, tickets: &Tickets) -> Option<NodeId> {
    let node = NodeId(line.read_u64().await.ok()?);
    let mut shown = [0; SECRET_BYTES];
    line.read_exact(&mut shown).await.ok()?;
    let answer = tickets.redeem(node, &shown)?;
    line.write_all(&answer).await.ok()?;
    Some(node)
}
