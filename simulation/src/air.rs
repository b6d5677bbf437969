//! What lies between the hosts: which directions are cut, how much is lost or arrives twice, and
//! the messages themselves, question and answer by datagrams of the simulated network (which gives
//! each its own latency, so that they overtake each other).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use consensus::cluster::Cluster;
use consensus::ids::NodeId;
use consensus::peers::{Call, PeerError, Peers};
use consensus::splitmix::SplitMix;
use tokio::sync::oneshot;
use turmoil::net::UdpSocket;

use crate::limits::DATAGRAM_BYTES_MAX;
use crate::ring::Ring;
use crate::scenario::{Host, Scenario};

/// A question is sent again, as any transport would; it may be answered more than once.
const REPEAT: Duration = Duration::from_millis(150);
const PORT: u16 = 7_890;
const QUESTION: u8 = 1;
const ANSWER: u8 = 2;
/// Kind, number, node it is meant for.
const HEADER_BYTES: usize = 17;

pub(crate) struct Air {
    dice: SplitMix,
    /// From, to.
    cut: BTreeSet<(Host, Host)>,
    pub(crate) loss_per_mille: u64,
    pub(crate) twice_per_mille: u64,
    pub(crate) sent: u64,
    pub(crate) lost: u64,
}

impl Air {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            dice: SplitMix(scenario.seed ^ 0xa1a1),
            cut: BTreeSet::new(),
            loss_per_mille: scenario.loss_per_mille,
            twice_per_mille: scenario.twice_per_mille,
            sent: 0,
            lost: 0,
        }
    }

    pub(crate) fn cut(&mut self, from: Host, to: Host) {
        self.cut.insert((from, to));
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    /// How often a message from one to the other arrives.
    fn copies(&mut self, from: Host, to: Host) -> usize {
        self.sent += 1;
        let lost = self.dice.below(1_000) < self.loss_per_mille;
        let twice = self.dice.below(1_000) < self.twice_per_mille;
        if lost || self.cut.contains(&(from, to)) {
            self.lost += 1;
            return 0;
        }
        1 + usize::from(twice)
    }
}

type Waiting = BTreeMap<u64, oneshot::Sender<Vec<u8>>>;

/// One process's end.
pub(crate) struct Wire {
    ring: Arc<Ring>,
    host: Host,
    node: NodeId,
    socket: UdpSocket,
    /// Numbers of questions: a later life must not take answers meant for an earlier one.
    numbers: AtomicU64,
    waiting: Mutex<Waiting>,
}

impl Wire {
    pub(crate) async fn bind(
        ring: Arc<Ring>,
        host: Host,
        node: NodeId,
        life: u64,
    ) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            socket: UdpSocket::bind(("0.0.0.0", PORT)).await?,
            ring,
            host,
            node,
            numbers: AtomicU64::new(life << 32),
            waiting: Mutex::default(),
        }))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, to: SocketAddr, kind: u8, number: u64, node: NodeId, bytes: &[u8]) {
        let name = turmoil::reverse_lookup(to.ip());
        let Some(there) = name.as_deref().and_then(Host::parse) else {
            return;
        };
        let mut datagram = Vec::with_capacity(HEADER_BYTES + bytes.len());
        datagram.push(kind);
        datagram.extend_from_slice(&number.to_le_bytes());
        datagram.extend_from_slice(&node.0.to_le_bytes());
        datagram.extend_from_slice(bytes);
        for _ in 0..self.ring.air().copies(self.host, there) {
            // What cannot be sent is lost, as on any network.
            let _ = self.socket.try_send_to(&datagram, to);
        }
    }

    /// Answers and takes answers until the process ends.
    pub(crate) async fn serve(self: Arc<Self>, cluster: Cluster) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let Ok((length, from)) = self.socket.recv_from(&mut buffer).await else {
                return;
            };
            let Some((header, bytes)) = buffer[..length].split_at_checked(HEADER_BYTES) else {
                continue;
            };
            let (number, node) = (number_at(header, 1), number_at(header, 9));
            match header.first() {
                Some(&ANSWER) => {
                    if let Some(waiting) = self.waiting().remove(&number) {
                        let _ = waiting.send(bytes.to_vec());
                    }
                }
                // Meant for who this machine was before its disk was found corrupt: nobody now.
                Some(&QUESTION) if node == self.node.0 => {
                    let (this, cluster, question) = (self.clone(), cluster.clone(), bytes.to_vec());
                    tokio::spawn(async move {
                        let answer = cluster.serve(&question).await;
                        this.send(from, ANSWER, number, NodeId(0), &answer);
                    });
                }
                _ => {}
            }
        }
    }
}

fn number_at(header: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(header.iter().skip(at)) {
        *to = *from;
    }
    u64::from_le_bytes(bytes)
}

/// Forgets a question however its wait ends.
struct Asked<'a>(&'a Wire, u64);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.0.waiting().remove(&self.1);
    }
}

impl Peers for Wire {
    fn call(&self, to: NodeId, address: &str, request: Vec<u8>, within: Duration) -> Call<'_> {
        let address = address.to_string();
        Box::pin(async move {
            let failed = |reason: &str| PeerError {
                node: to,
                reason: reason.to_string(),
            };
            if Host::parse(&address).is_none() {
                return Err(failed("no such host"));
            }
            let there = SocketAddr::new(turmoil::lookup(address.as_str()), PORT);
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            let (sender, answer) = oneshot::channel();
            self.waiting().insert(number, sender);
            let _asked = Asked(self, number);
            let asking = async {
                loop {
                    self.send(there, QUESTION, number, to, &request);
                    tokio::time::sleep(REPEAT).await;
                }
            };
            let answered = tokio::time::timeout(within, async {
                tokio::select! {
                    biased;
                    answer = answer => answer.ok(),
                    never = asking => never,
                }
            });
            let answer = answered.await.ok().flatten();
            answer.ok_or_else(|| failed("no answer in time"))
        })
    }
}
