//! The thread of the TURN server: its ports, a socket for every allocation, and `media::turn`
//! between them. Waits, hands in, carries out; decides nothing. Started by `crate::turn`.

mod figures;
pub mod streams;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use media::turn::{Input, Output, RelayId, Server};
use media::types::{Path, Protocol};
use mio::{Events, Interest, Poll, Registry, Token, Waker};

use crate::limits::{COUNTERS_INTERVAL, RECEIVE_CALLS_PER_TURN, WORKER_WAIT_MAX};
use crate::net::udp::{self, Arrival, ReceiveSlots, UdpPort};

use streams::{Happened, Security, Streams};

const WAKE: Token = Token(0);
const FIRST_UDP: usize = 1;
/// Sockets of allocations, by their index; streams come behind.
const FIRST_RELAY: usize = 1 << 10;
const FIRST_STREAM: usize = 1 << 20;

/// Open ports, and what guards the streams.
#[derive(Debug, Default)]
pub struct Listeners {
    pub udp: Vec<std::net::UdpSocket>,
    pub tcp: Vec<std::net::TcpListener>,
    pub security: Security,
}

/// A running TURN server.
#[derive(Debug)]
pub struct TurnThread {
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl TurnThread {
    pub fn start(server: Server, listeners: Listeners) -> io::Result<TurnThread> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut turner = Turner::new(server, poll, listeners, Arc::clone(&stop))?;
        let thread = std::thread::Builder::new()
            .name("turn".into())
            .spawn(move || turner.run())?;
        Ok(TurnThread {
            stop,
            waker,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Ends the thread; blocks until it has.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        // It looks at least twice a second anyway.
        let _ = self.waker.wake();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the TURN server had panicked");
        }
    }
}

#[derive(Debug)]
struct Port {
    port: UdpPort,
    /// The kernel may hold more: polls report only changes.
    unread: bool,
}

impl Port {
    fn open(registry: &Registry, socket: std::net::UdpSocket, token: Token) -> io::Result<Port> {
        let mut port = UdpPort::new(socket)?;
        registry.register(port.source(), token, Interest::READABLE)?;
        Ok(Port { port, unread: true })
    }
}

/// The socket of an allocation.
#[derive(Debug)]
struct Relay {
    id: RelayId,
    port: Port,
}

/// What carries out the server's wishes.
#[derive(Debug)]
struct Sockets {
    registry: Registry,
    ports: Vec<Port>,
    /// By the index of their allocation.
    relays: Vec<Option<Relay>>,
    /// Those that may hold unread datagrams.
    unread: Vec<u32>,
    streams: Streams,
}

#[derive(Debug)]
struct Turner {
    server: Server,
    poll: Poll,
    sockets: Sockets,
    slots: ReceiveSlots,
    stop: Arc<AtomicBool>,
    next_report: Instant,
}

impl Turner {
    fn new(
        server: Server,
        poll: Poll,
        listeners: Listeners,
        stop: Arc<AtomicBool>,
    ) -> io::Result<Turner> {
        let registry = poll.registry().try_clone()?;
        let mut ports = Vec::with_capacity(listeners.udp.len());
        for (number, socket) in listeners.udp.into_iter().enumerate() {
            ports.push(Port::open(&registry, socket, Token(FIRST_UDP + number))?);
        }
        let streams = Streams::new(
            registry.try_clone()?,
            listeners.tcp,
            listeners.security,
            FIRST_STREAM,
        )?;
        Ok(Turner {
            server,
            poll,
            sockets: Sockets {
                registry,
                ports,
                relays: Vec::new(),
                unread: Vec::new(),
                streams,
            },
            slots: ReceiveSlots::new(),
            stop,
            next_report: Instant::now() + COUNTERS_INTERVAL,
        })
    }

    fn run(&mut self) {
        let mut events = Events::with_capacity(1_024);
        while !self.stop.load(Ordering::Relaxed) {
            let wait = self.wait();
            if let Err(error) = self.poll.poll(&mut events, Some(wait))
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "the TURN server cannot wait for its sockets");
                return;
            }
            for event in &events {
                self.sockets.ready(event);
            }
            let now = Instant::now();
            self.receive_from_clients(now);
            self.receive_from_peers(now);
            self.serve_streams(now);
            if self.server.deadline().is_some_and(|due| due <= now) {
                self.server.handle(now, Input::Timeout);
                self.carry_out(now);
            }
            if self.next_report <= now {
                self.next_report = now + COUNTERS_INTERVAL;
                self.expire_streams(now);
                figures::publish(&self.server, &self.sockets.streams);
            }
        }
    }

    fn wait(&self) -> Duration {
        if self.sockets.has_work() {
            return Duration::ZERO;
        }
        let now = Instant::now();
        let due = self.server.deadline().unwrap_or(now + WORKER_WAIT_MAX);
        due.min(self.next_report)
            .saturating_duration_since(now)
            .min(WORKER_WAIT_MAX)
    }

    fn receive_from_clients(&mut self, now: Instant) {
        for index in 0..self.sockets.ports.len() {
            for _ in 0..RECEIVE_CALLS_PER_TURN {
                let Some(Port { port, unread }) = self.sockets.ports.get_mut(index) else {
                    return;
                };
                if !*unread {
                    break;
                }
                // An error concerns one earlier datagram (ICMP): the next call goes on.
                let filled = port.receive(&mut self.slots).unwrap_or(0);
                *unread = filled > 0;
                let bound = port.local();
                for arrival in self.slots.arrivals(filled) {
                    let Arrival {
                        remote,
                        to,
                        payload,
                        ..
                    } = arrival;
                    let path = Path {
                        protocol: Protocol::Udp,
                        local: SocketAddr::new(to.unwrap_or_else(|| bound.ip()), bound.port()),
                        remote,
                    };
                    self.server.handle(now, Input::Client { path, payload });
                }
                self.carry_out(now);
            }
        }
    }

    fn receive_from_peers(&mut self, now: Instant) {
        for index in std::mem::take(&mut self.sockets.unread) {
            let relay = self.sockets.relays.get_mut(index as usize);
            let Some(Relay { id, port: socket }) = relay.and_then(Option::as_mut) else {
                continue;
            };
            let filled = socket.port.receive(&mut self.slots).unwrap_or(0);
            socket.unread = filled > 0;
            if socket.unread {
                self.sockets.unread.push(index);
            }
            let relay = *id;
            for (from, payload) in self.slots.datagrams(filled) {
                let payload = &*payload;
                let input = Input::Peer {
                    relay,
                    from,
                    payload,
                };
                self.server.handle(now, input);
            }
            self.carry_out(now);
        }
    }

    fn serve_streams(&mut self, now: Instant) {
        let server = &mut self.server;
        self.sockets
            .streams
            .turn(now, &mut |happened| match happened {
                Happened::Frame { path, payload } => {
                    server.handle(now, Input::Client { path, payload });
                }
                Happened::Closed { path } => server.handle(now, Input::Closed { path }),
            });
        self.carry_out(now);
    }

    /// Streams that have shown no credentials in time.
    fn expire_streams(&mut self, now: Instant) {
        let server = &self.server;
        self.sockets.streams.expire(now, |path| server.knows(path));
    }

    fn carry_out(&mut self, now: Instant) {
        let mut opened: Option<(RelayId, bool)> = None;
        loop {
            if let Some((relay, is_open)) = opened.take() {
                let input = if is_open {
                    Input::RelayOpened { relay }
                } else {
                    Input::RelayFailed { relay }
                };
                self.server.handle(now, input);
            }
            match self.server.poll() {
                None => return,
                Some(Output::OpenRelay { relay, address }) => {
                    opened = Some((relay, self.sockets.open(relay, address)));
                }
                Some(Output::CloseRelay { relay }) => self.sockets.close(relay),
                Some(Output::ToPeer {
                    relay,
                    to,
                    payload,
                    segment_size,
                }) => {
                    if let Some(socket) = self.sockets.relay(relay) {
                        socket.port.send(to, payload, segment_size);
                    }
                }
                Some(Output::ToClient {
                    path,
                    payload,
                    segment_size,
                }) => self.sockets.deliver(path, payload, segment_size),
            }
        }
    }
}

impl Sockets {
    fn has_work(&self) -> bool {
        let unread = self.ports.iter().any(|port| port.unread);
        unread || !self.unread.is_empty() || self.streams.has_work()
    }

    fn ready(&mut self, event: &mio::event::Event) {
        match event.token() {
            WAKE => {}
            Token(token) if token >= FIRST_STREAM => {
                let (readable, writable) = (event.is_readable(), event.is_writable());
                self.streams.ready(event.token(), readable, writable);
            }
            Token(token) if token >= FIRST_RELAY => {
                let index = token - FIRST_RELAY;
                if let Some(relay) = self.relays.get_mut(index).and_then(Option::as_mut)
                    && !relay.port.unread
                {
                    relay.port.unread = true;
                    self.unread.push(index as u32);
                }
            }
            Token(token) => {
                if let Some(port) = self.ports.get_mut(token - FIRST_UDP) {
                    port.unread = true;
                }
            }
        }
    }

    fn open(&mut self, relay: RelayId, address: SocketAddr) -> bool {
        let token = Token(FIRST_RELAY + relay.index as usize);
        let opened =
            udp::open(address, false).and_then(|socket| Port::open(&self.registry, socket, token));
        match opened {
            Ok(port) => {
                let index = relay.index as usize;
                if self.relays.len() <= index {
                    self.relays.resize_with(index + 1, || None);
                }
                self.unread.push(relay.index);
                if let Some(slot) = self.relays.get_mut(index) {
                    *slot = Some(Relay { id: relay, port });
                }
                true
            }
            Err(error) => {
                tracing::debug!(%address, %error, "passing over a port of the relay range");
                false
            }
        }
    }

    fn relay(&mut self, id: RelayId) -> Option<&mut Port> {
        let relay = self.relays.get_mut(id.index as usize)?.as_mut()?;
        (relay.id == id).then_some(&mut relay.port)
    }

    fn close(&mut self, id: RelayId) {
        if self.relay(id).is_some()
            && let Some(slot) = self.relays.get_mut(id.index as usize)
        {
            *slot = None;
        }
    }

    fn deliver(&mut self, path: Path, payload: &[u8], segment_size: usize) {
        if path.protocol == Protocol::Tcp {
            return self.streams.send(&path, payload);
        }
        let takes = |port: &&mut Port| {
            let local = port.port.local();
            local == path.local
                || (local.ip().is_unspecified() && local.is_ipv4() == path.local.is_ipv4())
        };
        if let Some(Port { port, .. }) = self.ports.iter_mut().find(takes) {
            // Behind a wildcard the answer must come from the address that was asked.
            port.send_from(path.local.ip(), path.remote, payload, segment_size);
        }
    }
}
