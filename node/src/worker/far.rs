//! The lane between workers and whatever carries relay frames to other nodes: whole blocks over
//! bounded queues, both ways, and the empty ones back. No worker ever waits here. Without a cluster
//! nothing takes from it, and nothing is put in.

use std::sync::{Arc, Mutex, PoisonError, mpsc};

use media::LinkKey;
use media::relay::Block;
use tokio::sync::mpsc as lane;

use crate::limits::RELAY_BLOCKS_MAX;

/// A block on its way to another node.
#[derive(Debug)]
pub struct Outbound {
    /// The worker it comes from.
    pub from: usize,
    pub link: LinkKey,
    pub block: Block,
}

/// The workers' end.
#[derive(Clone, Debug)]
pub struct Far {
    outgoing: lane::Sender<Outbound>,
    spares: mpsc::SyncSender<Block>,
}

/// The carriers' end.
#[derive(Debug)]
pub struct FarEnd {
    pub outgoing: lane::Receiver<Outbound>,
    pub spares: Spares,
}

/// Blocks that came back empty; clones share them.
#[derive(Clone, Debug)]
pub struct Spares(Arc<Mutex<mpsc::Receiver<Block>>>);

impl Spares {
    /// An empty block, used before if there is one.
    pub fn take(&self) -> Block {
        let spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spares.try_recv().unwrap_or_default()
    }
}

/// Both ends of one lane for all workers.
pub fn lane() -> (Far, FarEnd) {
    let (outgoing, taken) = lane::channel(RELAY_BLOCKS_MAX);
    let (spares, spare) = mpsc::sync_channel(RELAY_BLOCKS_MAX);
    let far = Far { outgoing, spares };
    let end = FarEnd {
        outgoing: taken,
        spares: Spares(Arc::new(Mutex::new(spare))),
    };
    (far, end)
}

impl Far {
    /// overflow: DROPS, and the block comes back; the shard at the other end asks again for what it
    /// misses.
    pub fn relay(&self, from: usize, link: LinkKey, block: Block) -> Result<(), Block> {
        let outbound = Outbound { from, link, block };
        let sent = self.outgoing.try_send(outbound);
        sent.map_err(|refused| refused.into_inner().block)
    }

    /// Gives back a block that arrived, to be filled again.
    pub fn give_back(&self, mut block: Block) {
        block.clear();
        // overflow: DROPS, there are spare blocks enough
        let _ = self.spares.try_send(block);
    }
}
