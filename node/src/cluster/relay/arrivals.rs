//! Relay frames of other nodes on their way in: datagrams that came together are put into one block
//! for each shard and link, and handed to its worker. A worker that is too busy loses them, as a
//! network would.

use bytes::Bytes;
use consensus::ids::NodeId;
use media::relay::Block;
use media::relay::block::MARK_BYTES;

use super::places::{Place, Places};
use crate::cluster::links::TakeDatagrams;
use crate::worker::far::Spares;
use crate::worker::lanes::WorkerHandle;

pub struct Arrivals {
    places: Places,
    workers: Vec<WorkerHandle>,
    spares: Spares,
}

impl Arrivals {
    pub fn new(places: Places, workers: Vec<WorkerHandle>, spares: Spares) -> Self {
        Self {
            places,
            workers,
            spares,
        }
    }

    fn deliver(&self, shard: u8, link: usize, block: Block) -> bool {
        let worker = self.workers.get(usize::from(shard));
        worker.is_some_and(|worker| worker.relay(link, block).is_ok())
    }
}

impl TakeDatagrams for Arrivals {
    fn take(&self, from: NodeId, datagrams: &[Bytes]) {
        let mut open: Vec<(u8, usize, Block)> = Vec::new();
        let mut lost = 0u64;
        for datagram in datagrams {
            let Some((mark, frame)) = datagram.split_first_chunk::<MARK_BYTES>() else {
                lost += 1;
                continue;
            };
            let [shard, theirs] = *mark;
            let place = Place {
                node: from,
                shard: theirs,
            };
            let Some(link) = self.places.index(place) else {
                lost += 1;
                continue;
            };
            let known = open.iter_mut().find(|(s, l, _)| (*s, *l) == (shard, link));
            let fitted = known.is_some_and(|(_, _, block)| block.push_frame(frame));
            if fitted {
                continue;
            }
            // The first of its link, or the block before is full.
            if let Some(at) = open.iter().position(|(s, l, _)| (*s, *l) == (shard, link)) {
                let (_, _, full) = open.remove(at);
                lost += u64::from(!self.deliver(shard, link, full));
            }
            let mut block = self.spares.take();
            match block.push_frame(frame) {
                true => open.push((shard, link, block)),
                false => lost += 1,
            }
        }
        for (shard, link, block) in open {
            lost += u64::from(!self.deliver(shard, link, block));
        }
        metrics::counter!("skein_relay_received_total").increment(datagrams.len() as u64);
        if lost > 0 {
            metrics::counter!("skein_relay_refused_total").increment(lost);
        }
    }
}
