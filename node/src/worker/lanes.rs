//! What reaches a worker and what leaves it: orders in (must arrive), handed datagrams and blocks
//! of relay frames in (may be dropped), events out (facts; kept for a while when nobody takes
//! them). Nobody is ever blocked.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use media::relay::Block;
use media::types::{Path, Protocol};

use crate::limits::{
    COMMANDS_WAITING_MAX, EVENT_DATA_BYTES_MAX, EVENTS_KEPT_DROPPABLE_MAX, EVENTS_KEPT_MAX,
    HANDED_BATCHES_MAX, RELAY_BLOCKS_MAX,
};
use crate::net::tcp::Introduced;
use crate::net::udp::UdpCounters;

/// What a worker is told.
#[derive(Debug)]
pub enum Order {
    Command(media::Command),
    /// A TCP connection whose first packet named this worker's shard.
    Adopt(Box<Introduced>),
    /// Asks what the worker has used and done so far.
    Measure(mpsc::Sender<Measured>),
    Stop,
}

/// What a worker has used and done since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    /// CPU time of its thread, system calls and what the kernel does within them included.
    pub cpu: Duration,
    pub udp: UdpCounters,
}

/// Datagrams that arrived at one worker and belong to another.
#[derive(Debug)]
pub struct Handed {
    from: usize,
    bytes: Vec<u8>,
    datagrams: Vec<(SocketAddr, SocketAddr, usize)>,
    /// Remote addresses whose checks the other worker passed on, and this one's shard took.
    proved: Vec<SocketAddr>,
}

impl Handed {
    /// `from`: who hands it over.
    pub fn new(from: usize) -> Handed {
        Handed {
            from,
            bytes: Vec::new(),
            datagrams: Vec::new(),
            proved: Vec::new(),
        }
    }

    pub fn from(&self) -> usize {
        self.from
    }

    /// Tells the other worker that `remote` is a client of this one's shard.
    pub fn prove(&mut self, remote: SocketAddr) {
        self.proved.push(remote);
    }

    pub fn proved(&self) -> &[SocketAddr] {
        &self.proved
    }

    pub fn push(&mut self, local: SocketAddr, remote: SocketAddr, datagram: &[u8]) {
        self.bytes.extend_from_slice(datagram);
        self.datagrams.push((local, remote, datagram.len()));
    }

    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty() && self.proved.is_empty()
    }

    /// Calls `each` with every datagram, in the order of their arrival.
    pub fn each(mut self, mut each: impl FnMut(Path, &mut [u8])) {
        let mut rest = self.bytes.as_mut_slice();
        for (local, remote, length) in self.datagrams {
            let Some((datagram, tail)) = rest.split_at_mut_checked(length) else {
                return;
            };
            rest = tail;
            let path = Path {
                protocol: Protocol::Udp,
                local,
                remote,
            };
            each(path, datagram);
        }
    }
}

#[derive(Debug)]
struct Shared {
    orders: mpsc::Sender<Order>,
    handed: mpsc::SyncSender<Handed>,
    /// Relay frames, and the number of the link they come from: another worker's, or a far one.
    relayed: mpsc::SyncSender<(usize, Block)>,
    /// Blocks that come back empty.
    spares: mpsc::SyncSender<Block>,
    waiting: AtomicUsize,
    lost: AtomicU64,
    /// Share of its core the worker used in the last second, in thousandths.
    busy_permille: AtomicU16,
    /// A wake-up is on its way: no need for another system call.
    woken: AtomicBool,
    waker: mio::Waker,
}

/// Speaks to a worker from any thread.
#[derive(Clone, Debug)]
pub struct WorkerHandle(Arc<Shared>);

impl WorkerHandle {
    /// Never blocks.
    pub fn order(&self, order: Order) {
        let shared = &self.0;
        // overflow: counted loss, only at a worker that hangs
        if shared.waiting.fetch_add(1, Ordering::Relaxed) >= COMMANDS_WAITING_MAX {
            shared.waiting.fetch_sub(1, Ordering::Relaxed);
            shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // A worker that has ended needs no orders.
        if shared.orders.send(order).is_ok() {
            self.wake();
        }
    }

    /// Gives datagrams over; `false` when the worker is too busy and they are lost.
    pub fn hand(&self, batch: Handed) -> bool {
        // overflow: DROPS, as a network would
        let taken = self.0.handed.try_send(batch).is_ok();
        self.wake();
        taken
    }

    /// Gives a block of relay frames over. overflow: DROPS, and the block comes back; the shard
    /// asks again for what it misses.
    pub fn relay(&self, from: usize, block: Block) -> Result<(), Block> {
        let refused = self.0.relayed.try_send((from, block)).err();
        self.wake();
        match refused {
            None => Ok(()),
            Some(mpsc::TrySendError::Full((_, block)))
            | Some(mpsc::TrySendError::Disconnected((_, block))) => Err(block),
        }
    }

    /// Gives back a block that was taken, to be filled again; nobody is woken for it.
    pub fn give_back(&self, mut block: Block) {
        block.clear();
        // overflow: DROPS, there are spare blocks enough
        let _ = self.0.spares.try_send(block);
    }

    /// Share of its core the worker used lately, in thousandths.
    pub fn busy_permille(&self) -> u16 {
        self.0.busy_permille.load(Ordering::Relaxed)
    }

    pub fn set_busy_permille(&self, busy: u16) {
        self.0.busy_permille.store(busy, Ordering::Relaxed);
    }

    pub fn lost_orders(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    fn wake(&self) {
        if !self.0.woken.swap(true, Ordering::AcqRel)
            && let Err(error) = self.0.waker.wake()
        {
            tracing::error!(%error, "a worker cannot be woken");
        }
    }
}

/// The worker's end of its `WorkerHandle`.
#[derive(Debug)]
pub struct Inbox {
    shared: Arc<Shared>,
    orders: mpsc::Receiver<Order>,
    handed: mpsc::Receiver<Handed>,
    relayed: mpsc::Receiver<(usize, Block)>,
    spares: mpsc::Receiver<Block>,
}

impl Inbox {
    pub fn new(poll: &mio::Poll, token: mio::Token) -> io::Result<(WorkerHandle, Inbox)> {
        let (order_sender, orders) = mpsc::channel();
        let (handed_sender, handed) = mpsc::sync_channel(HANDED_BATCHES_MAX);
        let (relayed_sender, relayed) = mpsc::sync_channel(RELAY_BLOCKS_MAX);
        let (spares_sender, spares) = mpsc::sync_channel(RELAY_BLOCKS_MAX);
        let shared = Arc::new(Shared {
            orders: order_sender,
            handed: handed_sender,
            relayed: relayed_sender,
            spares: spares_sender,
            waiting: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            busy_permille: AtomicU16::new(0),
            woken: AtomicBool::new(false),
            waker: mio::Waker::new(poll.registry(), token)?,
        });
        let inbox = Inbox {
            shared: Arc::clone(&shared),
            orders,
            handed,
            relayed,
            spares,
        };
        Ok((WorkerHandle(shared), inbox))
    }

    /// Must be called before the lanes are read, so that what comes later wakes again.
    pub fn awake(&self) {
        self.shared.woken.store(false, Ordering::Release);
    }

    pub fn next_order(&self) -> Option<Order> {
        let order = self.orders.try_recv().ok()?;
        self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(order)
    }

    pub fn next_handed(&self) -> Option<Handed> {
        self.handed.try_recv().ok()
    }

    /// Relay frames and the number of the link they come from.
    pub fn next_block(&self) -> Option<(usize, Block)> {
        self.relayed.try_recv().ok()
    }

    /// An empty block, used before if there is one.
    pub fn spare_block(&self) -> Block {
        self.spares.try_recv().unwrap_or_default()
    }

    pub fn has_orders(&self) -> bool {
        self.shared.waiting.load(Ordering::Relaxed) > 0
    }
}

/// The rooms' end of all event lanes.
#[derive(Debug)]
pub struct Events {
    receiver: tokio::sync::mpsc::Receiver<media::Event>,
    data_bytes: Arc<AtomicUsize>,
}

impl Events {
    pub async fn recv(&mut self) -> Option<media::Event> {
        let event = self.receiver.recv().await?;
        self.taken(&event);
        Some(event)
    }

    /// The next one if it is there already.
    pub fn try_recv(&mut self) -> Option<media::Event> {
        let event = self.receiver.try_recv().ok()?;
        self.taken(&event);
        Some(event)
    }

    fn taken(&self, event: &media::Event) {
        let bytes = data_bytes_of(event);
        self.data_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A worker's way to the rooms.
#[derive(Clone, Debug)]
pub struct EventSender {
    sender: tokio::sync::mpsc::Sender<media::Event>,
    /// Payload of data between all workers and the rooms.
    data_bytes: Arc<AtomicUsize>,
}

/// The queue between all workers and the rooms, for `length` events.
pub fn events(length: usize) -> (EventSender, Events) {
    let (sender, receiver) = tokio::sync::mpsc::channel(length);
    let data_bytes = Arc::new(AtomicUsize::new(0));
    let events = Events {
        receiver,
        data_bytes: Arc::clone(&data_bytes),
    };
    (EventSender { sender, data_bytes }, events)
}

fn data_bytes_of(event: &media::Event) -> usize {
    match event {
        media::Event::Data { payload, .. } => payload.len(),
        _ => 0,
    }
}

/// The next one of its kind makes up for the loss, or somebody sends it again.
pub fn is_droppable(event: &media::Event) -> bool {
    use media::Event;
    matches!(
        event,
        Event::Data { .. } | Event::Stats { .. } | Event::Speakers { .. }
    )
}

/// Takes the facts of a shard to the rooms.
#[derive(Debug)]
pub struct EventLane {
    sender: EventSender,
    kept: VecDeque<media::Event>,
    pub lost: u64,
}

impl EventLane {
    pub fn new(sender: EventSender) -> EventLane {
        EventLane {
            sender,
            kept: VecDeque::new(),
            lost: 0,
        }
    }

    pub fn push(&mut self, event: media::Event) {
        let bytes = data_bytes_of(&event);
        let waiting = self.sender.data_bytes.load(Ordering::Relaxed);
        let full = self.kept.len() >= EVENTS_KEPT_DROPPABLE_MAX;
        if full && is_droppable(&event) || bytes > 0 && waiting + bytes > EVENT_DATA_BYTES_MAX {
            // overflow: DROPS, counted; what happened to connections still finds room
            self.lost += 1;
            return;
        }
        if self.kept.len() >= EVENTS_KEPT_MAX
            && let Some(oldest) = self.kept.pop_front()
        {
            // overflow: the oldest DROPS, counted; the rooms have been stuck for seconds by now
            let bytes = data_bytes_of(&oldest);
            self.sender.data_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.lost += 1;
        }
        self.sender.data_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.kept.push_back(event);
    }

    /// Sends what the queue takes; the rest waits, in order.
    pub fn flush(&mut self) {
        while !self.kept.is_empty() {
            let Ok(permit) = self.sender.sender.try_reserve() else {
                return;
            };
            if let Some(event) = self.kept.pop_front() {
                permit.send(event);
            }
        }
    }

    pub fn has_kept(&self) -> bool {
        !self.kept.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;
    use media::TransportKey;
    use media::event::TransportState;

    use super::*;

    const TRANSPORT: TransportKey = TransportKey(1);

    fn data(bytes: usize) -> media::Event {
        media::Event::Data {
            transport: TRANSPORT,
            label: "_lossy".into(),
            payload: Bytes::from(vec![0; bytes]),
            binary: true,
        }
    }

    fn connected() -> media::Event {
        media::Event::Transport {
            transport: TRANSPORT,
            state: TransportState::Connected,
        }
    }

    #[test]
    fn a_flood_of_data_leaves_room_for_what_happens_to_connections() {
        let (sender, _events) = events(1);
        let mut lane = EventLane::new(sender);
        lane.push(connected());
        for _ in 0..2 * EVENTS_KEPT_MAX {
            lane.push(data(1));
        }
        lane.push(connected());
        let states = lane.kept.iter().filter(|event| !is_droppable(event));
        assert_eq!(states.count(), 2);
        assert_eq!(lane.kept.len(), EVENTS_KEPT_DROPPABLE_MAX + 1);
    }

    #[tokio::test]
    async fn data_on_its_way_is_bounded_in_bytes_until_it_is_taken() {
        let (sender, mut events) = events(4);
        let mut lane = EventLane::new(sender);
        lane.push(data(EVENT_DATA_BYTES_MAX));
        lane.push(data(1));
        assert_eq!((lane.kept.len(), lane.lost), (1, 1));
        lane.flush();
        events.recv().await.unwrap();
        lane.push(data(1));
        assert_eq!((lane.kept.len(), lane.lost), (1, 1));
    }
}
