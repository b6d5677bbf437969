//! Frames from one node's workers to another's, over links in this process that behave as a
//! network does.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use consensus::ids::NodeId;
use futures_util::future::BoxFuture;
use media::relay::Block;
use media::relay::frame::{MediaHead, Priority, RelayId};
use mio::{Poll, Token};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::arrivals::Arrivals;
use super::carriage::carry;
use super::places::{Place, Places};
use crate::cluster::links::{Broken, DatagramLinks, Datagrams, LinkError, TakeDatagrams};
use crate::worker::far;
use crate::worker::lanes::Inbox;

const PATIENCE: Duration = Duration::from_secs(10);
const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);

/// A network to one taker; closed until it is opened.
struct Wire {
    from: NodeId,
    taker: Mutex<Option<Arc<dyn TakeDatagrams>>>,
    sent: Mutex<Vec<Bytes>>,
    opened: Notify,
    bytes_max: usize,
}

impl Wire {
    fn to(taker: Option<Arc<dyn TakeDatagrams>>) -> Arc<Wire> {
        Arc::new(Wire {
            from: A,
            taker: Mutex::new(taker),
            sent: Mutex::default(),
            opened: Notify::new(),
            bytes_max: 1_312,
        })
    }
}

struct Net(Arc<Wire>);

impl DatagramLinks for Net {
    fn datagrams(&self, _: NodeId) -> BoxFuture<'_, Result<Arc<dyn Datagrams>, LinkError>> {
        Box::pin(async {
            let closed = self.0.taker.lock().unwrap().is_none();
            if closed {
                self.0.opened.notified().await;
            }
            Ok(Arc::new(Net(Arc::clone(&self.0))) as Arc<dyn Datagrams>)
        })
    }
}

impl Datagrams for Net {
    fn bytes_max(&self) -> usize {
        self.0.bytes_max
    }

    fn room(&self) -> usize {
        self.0.bytes_max
    }

    fn send(&self, datagram: Bytes) -> Result<(), Broken> {
        let taker = self.0.taker.lock().unwrap().clone();
        self.0.sent.lock().unwrap().push(datagram.clone());
        taker.ok_or(Broken)?.take(self.0.from, &[datagram]);
        Ok(())
    }

    fn send_when_possible(&self, datagram: Bytes) -> BoxFuture<'_, Result<(), Broken>> {
        let sent = self.send(datagram);
        Box::pin(async move { sent })
    }

    fn send_large(&self, datagram: Bytes) -> BoxFuture<'_, Result<(), Broken>> {
        self.send_when_possible(datagram)
    }

    fn broken(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

struct Deaf;

impl TakeDatagrams for Deaf {
    fn take(&self, _: NodeId, _: &[Bytes]) {}
}

fn frame(priority: Priority, number: u16) -> Vec<u8> {
    let head = MediaHead {
        relay: RelayId(1),
        layer: 0,
        fresh: false,
        priority,
        generation: 0,
        age: Default::default(),
        cycle: number,
    };
    let mut bytes = [0; 64];
    let length = head.write(&mut bytes).unwrap();
    bytes[..length + 10].to_vec()
}

fn block(frames: &[Vec<u8>]) -> Block {
    let mut block = Block::default();
    for frame in frames {
        assert!(block.push_frame(frame));
    }
    block
}

#[tokio::test]
async fn frames_reach_the_shard_they_are_for_under_the_link_they_came_by() {
    let poll = Poll::new().unwrap();
    let (worker, inbox) = Inbox::new(&poll, Token(0)).unwrap();
    let there = Places::new(B);
    let (_, end) = far::lane();
    let arrivals = Arrivals::new(there.clone(), vec![worker], end.spares);
    let wire = Wire::to(Some(Arc::new(arrivals)));
    let here = Places::new(A);
    let (far, end) = far::lane();
    let carried = tokio::spawn(carry(
        here.clone(),
        Vec::new(),
        Arc::new(Net(wire)),
        end.outgoing,
    ));
    let link = here.link(Place { node: B, shard: 0 }).unwrap();
    let frames = [frame(Priority::Audio, 1), frame(Priority::Audio, 2)];
    far.relay(3, link, block(&frames)).unwrap();
    let mut arrived = Vec::new();
    let all = async {
        while arrived.len() < 2 {
            while let Some((from, block)) = inbox.next_block() {
                let place = there.place(from).unwrap();
                assert_eq!((place.node, place.shard), (A, 3));
                arrived.extend(block.frames().map(<[u8]>::to_vec));
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, all).await.unwrap();
    assert_eq!(arrived, frames);
    drop(far);
    timeout(PATIENCE, carried).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_urgent_goes_first_when_the_way_was_closed() {
    let wire = Wire::to(None);
    let places = Places::new(A);
    let (far, end) = far::lane();
    let net = Arc::new(Net(Arc::clone(&wire)));
    let carried = tokio::spawn(carry(places.clone(), Vec::new(), net, end.outgoing));
    let link = places.link(Place { node: B, shard: 0 }).unwrap();
    let mut large = frame(Priority::BaseLayer, 9);
    large.resize(1_400, 0);
    let frames = [
        frame(Priority::UpperLayer, 1),
        large,
        frame(Priority::KeyFrame, 2),
        frame(Priority::Audio, 3),
    ];
    far.relay(0, link, block(&frames)).unwrap();
    // Everything waits for the way by then.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    *wire.taker.lock().unwrap() = Some(Arc::new(Deaf));
    wire.opened.notify_one();
    let sent = || wire.sent.lock().unwrap().clone();
    let all = async {
        while sent().len() < 4 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, all).await.unwrap();
    let order: Vec<u8> = sent().iter().map(|datagram| datagram[16]).collect();
    assert_eq!(order, [3, 2, 9, 1]);
    drop(far);
    timeout(PATIENCE, carried).await.unwrap().unwrap();
}
