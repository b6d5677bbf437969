//! The thread that drives one `media::Shard`: wait, receive, carry out orders, flush, send. Every
//! phase has a budget and a counter. Decides nothing: the shard and `steering` do.

mod allowances;
pub mod counters;
pub mod far;
mod gather;
mod intake;
pub mod lanes;
pub mod steering;

#[cfg(test)]
mod tests;

use std::io;
use std::time::{Duration, Instant};

use media::types::{Path, Protocol};
use media::{Input, LinkKey, Output, Shard};
use mio::{Events, Interest, Poll, Token};

use crate::limits::{
    COMMANDS_PER_TURN, COUNTERS_INTERVAL, LOCAL_ADDRESSES_MAX, OUTPUTS_PER_TURN,
    RELAY_BLOCKS_PER_TURN, WORKER_WAIT_MAX,
};
use crate::net::tcp::TcpSide;
use crate::net::udp::{ReceiveSlots, UdpPort};

use allowances::Allowances;
use counters::{Busy, Counters};
use far::Far;
use gather::Gather;
use lanes::{EventLane, EventSender, Handed, Inbox, Measured, Order, WorkerHandle};
use steering::Steering;

const WAKE: Token = Token(0);
const FIRST_UDP: usize = 1;
const FIRST_TCP: usize = FIRST_UDP + LOCAL_ADDRESSES_MAX;

/// Everything a worker is made of; assembled by `shards`.
#[derive(Debug)]
pub struct Parts {
    pub index: usize,
    pub shard: Shard,
    pub udp: Vec<std::net::UdpSocket>,
    pub tcp: Vec<std::net::TcpListener>,
    /// Workers that share this one's UDP port, itself included; 1 = the port is its own.
    pub sharing: usize,
    /// All workers: any of them may accept the TCP connection of another's client.
    pub workers: usize,
    pub events: EventSender,
    /// Where frames for shards of other nodes go.
    pub far: Far,
}

/// See the file header.
#[derive(Debug)]
pub struct Worker {
    index: usize,
    shard: Shard,
    poll: Poll,
    udp: Vec<Port>,
    tcp: TcpSide,
    slots: ReceiveSlots,
    steering: Steering,
    inbox: Inbox,
    peers: Vec<WorkerHandle>,
    handed: Vec<Handed>,
    events: EventLane,
    far: Far,
    allowances: Allowances,
    gather: Gather,
    counters: Counters,
    busy: Busy,
    next_report: Instant,
    /// The last turn ended before the shard had said everything.
    more_output: bool,
    /// The last turn left blocks of other workers for this one.
    more_relayed: bool,
}

#[derive(Debug)]
struct Port {
    port: UdpPort,
    /// The kernel may hold more: polls report only changes.
    unread: bool,
}

impl Worker {
    pub fn new(parts: Parts) -> io::Result<(WorkerHandle, Worker)> {
        let now = Instant::now();
        let poll = Poll::new()?;
        let (handle, inbox) = Inbox::new(&poll, WAKE)?;
        let mut udp = Vec::with_capacity(parts.udp.len());
        for (number, socket) in parts.udp.into_iter().enumerate() {
            let mut port = UdpPort::new(socket)?;
            let token = Token(FIRST_UDP + number);
            poll.registry()
                .register(port.source(), token, Interest::READABLE)?;
            udp.push(Port { port, unread: true });
        }
        let tcp_steering = Steering::new(now, parts.index, parts.workers);
        let registry = poll.registry().try_clone()?;
        let worker = Worker {
            index: parts.index,
            shard: parts.shard,
            udp,
            tcp: TcpSide::new(registry, parts.tcp, FIRST_TCP, tcp_steering)?,
            poll,
            slots: ReceiveSlots::new(),
            steering: Steering::new(now, parts.index, parts.sharing),
            inbox,
            peers: Vec::new(),
            handed: (0..parts.workers)
                .map(|_| Handed::new(parts.index))
                .collect(),
            events: EventLane::new(parts.events),
            far: parts.far,
            allowances: Allowances::default(),
            gather: Gather::default(),
            counters: Counters::new(parts.index),
            busy: Busy::new(now),
            next_report: now + COUNTERS_INTERVAL,
            more_output: false,
            more_relayed: false,
        };
        Ok((handle, worker))
    }

    /// Introduces the other workers, in the order of their shards.
    pub fn meet(&mut self, peers: Vec<WorkerHandle>) {
        self.peers = peers;
    }

    /// Runs until told to stop.
    pub fn run(mut self) {
        let mut events = Events::with_capacity(256);
        loop {
            let wait = self.wait(Instant::now());
            match self.poll.poll(&mut events, Some(wait)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::error!(worker = self.index, %error, "polling failed");
                    return;
                }
            }
            for event in &events {
                self.mark_ready(event);
            }
            if !self.turn(Instant::now()) {
                return;
            }
        }
    }

    /// Zero while work is left over from the last turn.
    fn wait(&self, now: Instant) -> Duration {
        let busy = self.more_output
            || self.more_relayed
            || self.tcp.has_work()
            || self.inbox.has_orders()
            || self.udp.iter().any(|port| port.unread);
        if busy {
            return Duration::ZERO;
        }
        let mut wait = self.next_report.saturating_duration_since(now);
        if let Some(deadline) = self.shard.deadline() {
            wait = wait.min(deadline.saturating_duration_since(now));
        }
        if self.events.has_kept() {
            // The rooms' queue was full: try again soon.
            wait = wait.min(Duration::from_millis(5));
        }
        wait.min(WORKER_WAIT_MAX)
    }

    fn mark_ready(&mut self, event: &mio::event::Event) {
        match event.token() {
            WAKE => {}
            Token(number) if number < FIRST_TCP => {
                if let Some(port) = self.udp.get_mut(number - FIRST_UDP) {
                    port.unread = true;
                }
            }
            token => {
                let closed = event.is_read_closed() || event.is_error();
                let readable = event.is_readable() || closed;
                self.tcp.ready(token, readable, event.is_writable());
            }
        }
    }

    /// One turn; `false` when the worker was told to stop.
    fn turn(&mut self, now: Instant) -> bool {
        self.inbox.awake();
        let running = self.carry_out_orders(now);
        // First, as it says whose are the datagrams that wait.
        self.take_handed(now);
        let first = self.receive(now);
        let now = self.gather_more(now, first);
        self.receive_tcp(now);
        self.hand_over();
        self.take_relayed(now);
        if self
            .shard
            .deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.shard.handle(now, Input::Timeout);
        }
        self.shard.flush(now);
        self.gather.served(self.shard.waiting());
        self.drain(now);
        self.events.flush();
        if now >= self.next_report {
            self.next_report = now + COUNTERS_INTERVAL;
            self.tcp.expire(now);
            self.allowances.expire(now);
            self.report(now);
        }
        running
    }

    fn carry_out_orders(&mut self, now: Instant) -> bool {
        for _ in 0..COMMANDS_PER_TURN {
            match self.inbox.next_order() {
                Some(Order::Command(command)) => {
                    self.counters.commands += 1;
                    self.shard.handle(now, Input::Command(command));
                }
                Some(Order::Adopt(connection)) => self.tcp.adopt(*connection),
                Some(Order::Measure(answer)) => {
                    let udp = self.udp.iter().map(|port| port.port.counters).sum();
                    let cpu = counters::thread_cpu();
                    // Whoever asked may have given up.
                    let _ = answer.send(Measured { cpu, udp });
                }
                Some(Order::Stop) => return false,
                None => return true,
            }
        }
        self.counters.command_budget_hit += 1;
        true
    }

    /// Frames of other shards: of this node's, each a link of its worker's number, and of others'.
    fn take_relayed(&mut self, now: Instant) {
        self.more_relayed = false;
        for _ in 0..RELAY_BLOCKS_PER_TURN {
            let Some((from, block)) = self.inbox.next_block() else {
                return;
            };
            let link = LinkKey(from as u64);
            for frame in block.frames() {
                self.shard.handle(now, Input::Relay { link, frame });
            }
            match self.peers.get(from) {
                Some(peer) => peer.give_back(block),
                None => self.far.give_back(block),
            }
        }
        self.more_relayed = true;
    }

    fn drain(&mut self, now: Instant) {
        self.more_output = false;
        let Self {
            shard,
            udp,
            tcp,
            events,
            allowances,
            counters,
            inbox,
            peers,
            far,
            index,
            ..
        } = self;
        for _ in 0..OUTPUTS_PER_TURN {
            match shard.poll() {
                None => return,
                Some(Output::Event(event)) if allowances.admit(now, &event) => events.push(event),
                Some(Output::Event(_)) => counters.data_refused += 1,
                Some(Output::Relay { link, block }) => {
                    let full = std::mem::replace(block, inbox.spare_block());
                    let sent = match peers.get(link.0 as usize) {
                        Some(peer) => peer.relay(*index, full),
                        None => far.relay(*index, link, full),
                    };
                    if let Err(refused) = sent {
                        *block = refused;
                        counters.relay_blocks_dropped += 1;
                    }
                }
                Some(Output::Transmit(transmit)) => {
                    let Path {
                        protocol,
                        local,
                        remote,
                    } = transmit.path;
                    if protocol == Protocol::Tcp {
                        tcp.send(transmit.path, transmit.payload, transmit.segment_size);
                        continue;
                    }
                    match udp.iter_mut().find(|port| port.port.local() == local) {
                        Some(Port { port, .. }) => {
                            port.send(remote, transmit.payload, transmit.segment_size);
                        }
                        None => counters.no_socket += 1,
                    }
                }
            }
        }
        self.counters.output_budget_hit += 1;
        self.more_output = true;
    }

    fn report(&mut self, now: Instant) {
        for Port { port, unread } in &mut self.udp {
            port.tend(now);
            // An error may have ended a receive call before the last datagram.
            *unread = true;
        }
        self.counters.udp = self.udp.iter().map(|port| port.port.counters).collect();
        self.counters.tcp = self.tcp.counters;
        self.counters.shard = self.shard.counters();
        self.counters.tcp_connections = self.tcp.connections();
        self.counters.events_lost = self.events.lost;
        let own = self.peers.get(self.index);
        self.counters.orders_lost = own.map_or(0, WorkerHandle::lost_orders);
        let busy = self.busy.permille(now, counters::thread_cpu());
        if let Some(own) = own {
            own.set_busy_permille(busy);
        }
        self.counters.publish();
    }
}
