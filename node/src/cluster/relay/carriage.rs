//! Carries relay frames to other nodes: takes blocks from the workers, makes a datagram of each
//! frame where it lies, queues them by urgency for each node and gives them to the network as fast
//! as that takes them. Runs where the network's own tasks run; knows nothing of rooms.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use consensus::ids::NodeId;
use media::relay::Block;
use media::relay::block::MARK_BYTES;
use media::relay::frame::priority_of;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::places::{Place, Places};
use super::queue::Queue;
use crate::cluster::limits::RELAY_DIAL_RETRY;
use crate::cluster::links::{DatagramLinks, Datagrams};
use crate::worker::far::Outbound;
use crate::worker::lanes::WorkerHandle;

/// Carries until the workers are gone.
pub async fn carry(
    places: Places,
    workers: Vec<WorkerHandle>,
    links: Arc<dyn DatagramLinks>,
    mut outgoing: mpsc::Receiver<Outbound>,
) {
    let mut peers: BTreeMap<NodeId, Arc<Peer>> = BTreeMap::new();
    let mut pumps = JoinSet::new();
    let mut spans = Vec::new();
    while let Some(outbound) = outgoing.recv().await {
        let Some(place) = places.of_link(outbound.link) else {
            continue;
        };
        let peer = peers.entry(place.node).or_insert_with(|| {
            let peer = Arc::new(Peer::default());
            pumps.spawn(pump(Arc::clone(&peer), place.node, Arc::clone(&links)));
            peer
        });
        let worker = workers.get(outbound.from).cloned();
        peer.load(place, outbound, worker, &mut spans);
    }
}

/// What waits for one node.
#[derive(Default)]
struct Peer {
    queue: Mutex<Queue>,
    filled: Notify,
}

impl Peer {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load(
        &self,
        to: Place,
        outbound: Outbound,
        worker: Option<WorkerHandle>,
        spans: &mut Vec<Range<usize>>,
    ) {
        let mut block = outbound.block;
        // Fewer shards than a byte holds: `limits::SHARDS_MAX`.
        block.mark([to.shard, outbound.from as u8], spans);
        let lent = Bytes::from_owner(Lent { block, worker });
        let mut queue = self.queue();
        for span in spans.drain(..) {
            let datagram = lent.slice(span);
            let priority = priority_of(datagram.get(MARK_BYTES..).unwrap_or_default());
            queue.push(priority, datagram);
        }
        let dropped = std::mem::take(&mut queue.dropped);
        drop(queue);
        if dropped > 0 {
            metrics::counter!("skein_relay_dropped_total").increment(dropped);
        }
        self.filled.notify_one();
    }
}

/// A block whose frames are on their way; its worker gets it back when the last has left.
struct Lent {
    block: Block,
    worker: Option<WorkerHandle>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.block.bytes()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(worker) = &self.worker {
            worker.give_back(std::mem::take(&mut self.block));
        }
    }
}

/// Sends what waits for a node. One that cannot be reached gets nothing that is older than it.
async fn pump(peer: Arc<Peer>, to: NodeId, links: Arc<dyn DatagramLinks>) {
    loop {
        peer.filled.notified().await;
        match links.datagrams(to).await {
            Ok(link) => {
                peer.filled.notify_one();
                send_all(&peer, link.as_ref()).await;
            }
            Err(error) => {
                tracing::debug!(%to, %error, "no way for relayed media");
                peer.queue().clear();
                sleep(RELAY_DIAL_RETRY).await;
            }
        }
    }
}

/// Until the link breaks.
async fn send_all(peer: &Peer, link: &dyn Datagrams) {
    let mut sent = 0u64;
    let largest = link.bytes_max();
    loop {
        // Not held over a wait.
        let next = peer.queue().pop();
        let Some(datagram) = next else {
            metrics::counter!("skein_relay_sent_total").increment(std::mem::take(&mut sent));
            tokio::select! {
                () = peer.filled.notified() => continue,
                () = link.broken() => return,
            }
        };
        sent += 1;
        // What comes while one waits is sorted behind it.
        let taken = match datagram.len() {
            length if length > largest => link.send_large(datagram).await,
            length if length > link.room() => link.send_when_possible(datagram).await,
            _ => link.send(datagram),
        };
        if taken.is_err() {
            // What waits is sent on the next connection.
            peer.filled.notify_one();
            return;
        }
    }
}
