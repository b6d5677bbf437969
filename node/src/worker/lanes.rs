//! What reaches a worker and what leaves it: orders in (must arrive), handed datagrams in (may be
//! dropped), events out (facts; kept for a while when nobody takes them). Nobody is ever blocked.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use media::types::{Path, Protocol};

use crate::limits::{COMMANDS_WAITING_MAX, EVENTS_KEPT_MAX, HANDED_BATCHES_MAX};
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
    waiting: AtomicUsize,
    lost: AtomicU64,
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
}

impl Inbox {
    pub fn new(poll: &mio::Poll, token: mio::Token) -> io::Result<(WorkerHandle, Inbox)> {
        let (order_sender, orders) = mpsc::channel();
        let (handed_sender, handed) = mpsc::sync_channel(HANDED_BATCHES_MAX);
        let shared = Arc::new(Shared {
            orders: order_sender,
            handed: handed_sender,
            waiting: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            woken: AtomicBool::new(false),
            waker: mio::Waker::new(poll.registry(), token)?,
        });
        let inbox = Inbox {
            shared: Arc::clone(&shared),
            orders,
            handed,
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

    pub fn has_orders(&self) -> bool {
        self.shared.waiting.load(Ordering::Relaxed) > 0
    }
}

/// Takes the facts of a shard to the rooms.
#[derive(Debug)]
pub struct EventLane {
    sender: tokio::sync::mpsc::Sender<media::Event>,
    kept: VecDeque<media::Event>,
    pub lost: u64,
}

impl EventLane {
    pub fn new(sender: tokio::sync::mpsc::Sender<media::Event>) -> EventLane {
        EventLane {
            sender,
            kept: VecDeque::new(),
            lost: 0,
        }
    }

    pub fn push(&mut self, event: media::Event) {
        if self.kept.len() >= EVENTS_KEPT_MAX {
            // overflow: the oldest DROPS, counted; the rooms have been stuck for seconds by now
            self.kept.pop_front();
            self.lost += 1;
        }
        self.kept.push_back(event);
    }

    /// Sends what the queue takes; the rest waits, in order.
    pub fn flush(&mut self) {
        while !self.kept.is_empty() {
            let Ok(permit) = self.sender.try_reserve() else {
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
