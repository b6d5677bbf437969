//! The thread that sends and receives for every client of a run: one epoll, one timer, all sockets.
//! Orders come from the signalling thread and the orchestrator; nobody else touches a peer.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use media::transport::{DtlsIdentity, Transport, TransportOptions};
use media::types::{IceCredentials, MediaKind, Protocol, RemoteCandidate, RemoteTransport};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::clock::Translation;
use crate::inbound::{Announced, Inbound};
use crate::outbound::{OutStream, Rate, StreamPlan};
use crate::peer::{Around, DATAGRAM_BYTES_MAX, Manners, Peer, Told, Wish};
use crate::tally::{Arrival, Tally};

const WAKER: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);
/// Timers of transports, gaps and reports are looked at so often.
const TICK: Duration = Duration::from_millis(5);
/// So that a burst of a thousand packets is not lost while this thread does something else.
const RECEIVE_BUFFER_BYTES: usize = 2 << 20;
const EVENTS_PER_WAIT: usize = 1_024;
/// Packets taken from one socket before the others get their turn.
const RECEIVE_BUDGET: usize = 128;

/// Handle of a peer within its loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeerKey(pub(crate) u32);

pub(crate) struct NewPeer {
    pub(crate) key: PeerKey,
    pub(crate) socket: UdpSocket,
    pub(crate) local: IceCredentials,
    pub(crate) controlling: bool,
    pub(crate) began: Instant,
    pub(crate) flows_expected: usize,
}

pub(crate) enum Order {
    AddPeer(Box<NewPeer>),
    SetRemote(PeerKey, Box<RemoteTransport>),
    AddCandidate(PeerKey, RemoteCandidate),
    Announce {
        key: PeerKey,
        streams: Vec<Announced>,
        remb: bool,
    },
    AddStream(PeerKey, Box<StreamPlan>),
    /// The peer is gone without a word, and what it sent.
    RemovePeer(PeerKey),
    /// It sends, or is silent.
    Silence(PeerKey, bool),
    /// Publishers send, or stop sending.
    Flow(bool),
    SetRate(Rate),
    Manners(Manners),
    WishLayer(PeerKey, u8),
    Mark(mpsc::Sender<Tally>),
    /// From now on the longest silence of every stream is kept.
    Watch,
    Gaps(mpsc::Sender<Vec<(MediaKind, Duration)>>),
    Arrivals(mpsc::Sender<Vec<Arrival>>),
    Stop,
}

/// Sends orders to the loop.
#[derive(Clone)]
pub(crate) struct LoopHandle {
    orders: mpsc::Sender<Order>,
    waker: Arc<Waker>,
    pub(crate) identity: Arc<DtlsIdentity>,
}

impl LoopHandle {
    pub(crate) fn order(&self, order: Order) {
        // A loop that ended was told to.
        let _ = self.orders.send(order);
        let _ = self.waker.wake();
    }

    pub(crate) fn mark(&self) -> Tally {
        let (sender, answer) = mpsc::channel();
        self.order(Order::Mark(sender));
        answer.recv().unwrap_or_default()
    }

    /// The longest silence of every stream somebody receives, since the watch began.
    pub(crate) fn gaps(&self) -> Vec<(MediaKind, Duration)> {
        let (sender, answer) = mpsc::channel();
        self.order(Order::Gaps(sender));
        answer.recv().unwrap_or_default()
    }

    /// Subscribers only.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        let (sender, answer) = mpsc::channel();
        self.order(Order::Arrivals(sender));
        answer.recv().unwrap_or_default()
    }
}

struct MediaLoop {
    poll: Poll,
    timer: OwnedFd,
    orders: mpsc::Receiver<Order>,
    identity: Arc<DtlsIdentity>,
    peers: Vec<Option<Peer>>,
    streams: Vec<OutStream>,
    owners: Vec<usize>,
    flowing: bool,
    manners: Manners,
    tally: Tally,
    told: Vec<Told>,
    dice_state: u64,
    translation: Translation,
    unfinished: Vec<usize>,
    buffer: Box<[u8; DATAGRAM_BYTES_MAX]>,
    next_tick: Instant,
    stopping: bool,
}

pub(crate) fn start(manners: Manners) -> io::Result<(LoopHandle, JoinHandle<io::Result<()>>)> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
    let source = timer.as_raw_fd();
    poll.registry()
        .register(&mut SourceFd(&source), TIMER, Interest::READABLE)?;
    let identity = DtlsIdentity::generate().map_err(io::Error::other)?;
    let (sender, orders) = mpsc::channel();
    let handle = LoopHandle {
        orders: sender,
        waker,
        identity: Arc::clone(&identity),
    };
    let mut media = MediaLoop {
        poll,
        timer,
        orders,
        identity,
        peers: Vec::new(),
        streams: Vec::new(),
        owners: Vec::new(),
        flowing: false,
        manners,
        tally: Tally::default(),
        told: Vec::new(),
        dice_state: 0x9e37_79b9_7f4a_7c15,
        translation: Translation::new(),
        unfinished: Vec::new(),
        buffer: Box::new([0; DATAGRAM_BYTES_MAX]),
        next_tick: Instant::now(),
        stopping: false,
    };
    let thread = std::thread::Builder::new()
        .name("clients".into())
        .spawn(move || media.run())?;
    Ok((handle, thread))
}

impl MediaLoop {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_WAIT);
        while !self.stopping {
            self.arm_timer()?;
            let wait = (!self.unfinished.is_empty()).then_some(Duration::ZERO);
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            let mut ready = std::mem::take(&mut self.unfinished);
            ready.extend(
                events
                    .iter()
                    .map(|event| event.token().0)
                    .filter(|token| *token < TIMER.0),
            );
            self.translation.refresh(Instant::now());
            for at in ready {
                self.receive(at);
            }
            self.obey()?;
            self.carry_out();
            self.send_due();
            let now = Instant::now();
            if now >= self.next_tick {
                self.next_tick = now + TICK;
                self.tick(now);
            }
        }
        Ok(())
    }

    fn arm_timer(&self) -> io::Result<()> {
        let now = Instant::now();
        let due = self.streams.iter().map(OutStream::due);
        let due = due.filter(|_| self.flowing).min();
        let next = due.map_or(self.next_tick, |due| due.min(self.next_tick));
        // Zero would disarm it.
        let wait = next
            .saturating_duration_since(now)
            .max(Duration::from_nanos(1));
        let value = Timespec {
            tv_sec: wait.as_secs().cast_signed(),
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        let once = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: value,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    fn obey(&mut self) -> io::Result<()> {
        while let Ok(order) = self.orders.try_recv() {
            let now = Instant::now();
            match order {
                Order::AddPeer(new) => self.add_peer(now, *new)?,
                Order::SetRemote(key, remote) => self.with(key, |peer| {
                    peer.transport.set_remote(now, *remote);
                    peer.pump(now);
                }),
                Order::AddCandidate(key, candidate) => self.with(key, |peer| {
                    peer.transport.add_remote_candidate(now, candidate);
                    peer.pump(now);
                }),
                Order::Announce { key, streams, remb } => self.with(key, |peer| {
                    peer.remb |= remb;
                    peer.announce(now, streams);
                }),
                Order::AddStream(key, plan) => {
                    let at = self.streams.len();
                    self.streams.push(OutStream::new(*plan, now));
                    self.owners.push(key.0 as usize);
                    self.with(key, |peer| peer.streams.push(at));
                }
                Order::RemovePeer(key) => self.remove_peer(key),
                Order::Silence(key, silent) => self.with(key, |peer| peer.silent = silent),
                Order::Flow(flowing) => {
                    self.flowing = flowing;
                    // Publishers do not all send their frames at the same moment.
                    for (at, stream) in self.streams.iter_mut().enumerate() {
                        let share = at as f64 * 0.618 % 1.0;
                        stream.resume(now + stream.plan.rate.frame_interval.mul_f64(share));
                    }
                }
                Order::SetRate(rate) => {
                    for stream in &mut self.streams {
                        stream.set_rate(rate);
                    }
                }
                Order::Manners(manners) => self.manners = manners,
                Order::WishLayer(key, layer) => self.with(key, |peer| {
                    let wish = Wish { layer, since: now };
                    peer.wish = (peer.layer != Some(layer)).then_some(wish);
                }),
                Order::Mark(answer) => {
                    let _ = answer.send(self.mark());
                }
                Order::Watch => {
                    let peers = self.peers.iter_mut().flatten();
                    peers.for_each(|peer| peer.inbound.iter_mut().for_each(|i| i.watch(now)));
                }
                Order::Gaps(answer) => {
                    let streams = self.peers.iter().flatten().flat_map(|peer| &peer.inbound);
                    let gap = |i: &Inbound| (i.announced.kind, i.longest_gap(now));
                    let _ = answer.send(streams.map(gap).collect());
                }
                Order::Arrivals(answer) => {
                    let peers = self.peers.iter().flatten();
                    let subscribers = peers.filter(|peer| peer.flows_expected > 0);
                    let _ = answer.send(subscribers.map(|peer| peer.arrival).collect());
                }
                Order::Stop => self.stopping = true,
            }
        }
        Ok(())
    }

    fn with(&mut self, key: PeerKey, act: impl FnOnce(&mut Peer)) {
        if let Some(Some(peer)) = self.peers.get_mut(key.0 as usize) {
            act(peer);
        }
    }

    fn add_peer(&mut self, now: Instant, new: NewPeer) -> io::Result<()> {
        let address = new.socket.local_addr()?;
        new.socket.set_nonblocking(true)?;
        // The kernel stamps what arrives: waiting in our queue is not the server's latency.
        setsockopt(&new.socket, sockopt::ReceiveTimestampns, &true)?;
        // Only the privileged may exceed the system's limit; others get that.
        if setsockopt(&new.socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).is_err() {
            setsockopt(&new.socket, sockopt::RcvBuf, &RECEIVE_BUFFER_BYTES)?;
        }
        let source = new.socket.as_raw_fd();
        let at = new.key.0 as usize;
        self.poll
            .registry()
            .register(&mut SourceFd(&source), Token(at), Interest::READABLE)?;
        let options = TransportOptions {
            controlling: new.controlling,
            tie_breaker: u64::from(new.key.0) + 1,
            local_addresses: [(Protocol::Udp, address)].into_iter().collect(),
        };
        let mut seed = [0x5e; 32];
        seed[..4].copy_from_slice(&new.key.0.to_le_bytes());
        let transport = Transport::new(now, new.local, &self.identity, options, seed);
        if self.peers.len() <= at {
            self.peers.resize_with(at + 1, || None);
        }
        let mut peer = Peer::new(transport, new.socket, address, new.began, new.key.0);
        peer.flows_expected = new.flows_expected;
        self.peers[at] = Some(peer);
        Ok(())
    }

    fn remove_peer(&mut self, key: PeerKey) {
        let gone = key.0 as usize;
        if let Some(peer) = self.peers.get_mut(gone).and_then(Option::take) {
            let source = peer.socket.as_raw_fd();
            let _ = self.poll.registry().deregister(&mut SourceFd(&source));
        }
        let owners = std::mem::take(&mut self.owners);
        let streams = std::mem::take(&mut self.streams);
        for peer in self.peers.iter_mut().flatten() {
            peer.streams.clear();
        }
        for (stream, owner) in streams.into_iter().zip(owners) {
            if owner != gone {
                if let Some(Some(peer)) = self.peers.get_mut(owner) {
                    peer.streams.push(self.streams.len());
                }
                self.streams.push(stream);
                self.owners.push(owner);
            }
        }
    }

    fn receive(&mut self, at: usize) {
        let Some(Some(peer)) = self.peers.get_mut(at) else {
            return;
        };
        let mut around = Around {
            tally: &mut self.tally,
            manners: self.manners,
            streams: &self.streams,
            told: &mut self.told,
            dice_state: &mut self.dice_state,
        };
        let fd = peer.socket.as_raw_fd();
        let mut space = nix::cmsg_space!(nix::sys::time::TimeSpec);
        for _ in 0..RECEIVE_BUDGET {
            let now = Instant::now();
            let mut slices = [IoSliceMut::new(&mut self.buffer[..])];
            let flags = MsgFlags::empty();
            let got = recvmsg::<SockaddrIn>(fd, &mut slices, Some(&mut space), flags);
            // Would block, or an ICMP error of a server that is gone.
            let Ok(message) = got else { return };
            let stamp = message.cmsgs().ok().and_then(|mut all| {
                all.find_map(|one| match one {
                    ControlMessageOwned::ScmTimestampns(time) => Some(time),
                    _ => None,
                })
            });
            let Some(from) = message
                .address
                .map(|from| SocketAddr::V4(SocketAddrV4::new(from.ip(), from.port())))
            else {
                continue;
            };
            let length = message.bytes;
            let stamp_ns = stamp.map_or_else(crate::clock::realtime_ns, |time| {
                time.tv_sec() * 1_000_000_000 + time.tv_nsec()
            });
            let stamp_ns = self.translation.monotonic_ns(stamp_ns);
            peer.receive(now, from, stamp_ns, &mut self.buffer[..length], &mut around);
        }
        self.unfinished.push(at);
    }

    /// Key frames and retransmissions the server asked for.
    fn carry_out(&mut self) {
        let mut told = std::mem::take(&mut self.told);
        for one in told.drain(..) {
            let (Told::KeyFrame { ssrc } | Told::Resend { ssrc, .. }) = one;
            let Some(at) = self.streams.iter().position(|s| s.plan.ssrc == ssrc) else {
                continue;
            };
            let stream = &mut self.streams[at];
            match one {
                Told::KeyFrame { .. } => stream.want_key_frame(),
                Told::Resend { sequence, .. } => {
                    if let Some(Some(peer)) = self.peers.get_mut(self.owners[at]) {
                        let _ = peer.send_rtp(&mut self.buffer[..], |buffer, number| {
                            stream.retransmit(sequence, buffer, number)
                        });
                    }
                }
            }
        }
        self.told = told;
    }

    fn send_due(&mut self) {
        if !self.flowing {
            return;
        }
        let now = Instant::now();
        for (stream, owner) in self.streams.iter_mut().zip(&self.owners) {
            let Some(Some(peer)) = self.peers.get_mut(*owner) else {
                continue;
            };
            if peer.silent {
                stream.resume(now + TICK);
                continue;
            }
            while stream.due() <= now {
                let sent = peer.send_rtp(&mut self.buffer[..], |buffer, number| {
                    stream.next(buffer, number)
                });
                match sent {
                    Ok(true) => self.tally.sent += 1,
                    Ok(false) => {
                        // Not connected yet: the clock of the stream goes on without it.
                        stream.resume(now + TICK);
                        break;
                    }
                    Err(_) => break,
                }
            }
        }
    }

    fn tick(&mut self, now: Instant) {
        let mut around = Around {
            tally: &mut self.tally,
            manners: self.manners,
            streams: &self.streams,
            told: &mut self.told,
            dice_state: &mut self.dice_state,
        };
        for peer in self.peers.iter_mut().flatten() {
            peer.tick(now, &mut around);
        }
    }

    fn mark(&mut self) -> Tally {
        let (mut expected, mut received, mut repaired) = (0, 0, 0);
        for peer in self.peers.iter().flatten() {
            for stream in &peer.inbound {
                expected += stream.expected();
                received += stream.received;
                repaired += stream.repaired;
            }
        }
        self.tally.expected = expected;
        self.tally.received = received;
        self.tally.repaired = repaired;
        let failed = self.peers.iter().flatten().filter(|peer| peer.failed);
        self.tally.failed = failed.count() as u64;
        let told = self.tally.clone();
        self.tally.video_us.clear();
        self.tally.audio_us.clear();
        self.tally.switches_us.clear();
        told
    }
}
