//! One media socket: receives batches (recvmmsg, GRO) and sends runs (UDP GSO). Driven by a worker;
//! knows nothing of what is inside a datagram. A full send buffer drops, as a network would.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

use crate::limits::{RECEIVE_SLOT_BYTES, SEGMENTATION_REST, SOCKET_BUFFER_BYTES};

/// Figures of a socket since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpCounters {
    pub datagrams_in: u64,
    pub bytes_in: u64,
    pub sends: u64,
    pub datagrams_out: u64,
    pub bytes_out: u64,
    /// Datagrams the kernel had no room for.
    pub dropped_full: u64,
    /// Datagrams the kernel refused for another reason (unreachable, too long).
    pub dropped_refused: u64,
}

impl std::iter::Sum for UdpCounters {
    fn sum<I: Iterator<Item = UdpCounters>>(all: I) -> UdpCounters {
        all.fold(UdpCounters::default(), |sum, one| UdpCounters {
            datagrams_in: sum.datagrams_in + one.datagrams_in,
            bytes_in: sum.bytes_in + one.bytes_in,
            sends: sum.sends + one.sends,
            datagrams_out: sum.datagrams_out + one.datagrams_out,
            bytes_out: sum.bytes_out + one.bytes_out,
            dropped_full: sum.dropped_full + one.dropped_full,
            dropped_refused: sum.dropped_refused + one.dropped_refused,
        })
    }
}

/// Opens a socket for media. `shared`: other workers bind the same port (`SO_REUSEPORT`).
pub fn open(address: SocketAddr, shared: bool) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if shared {
        socket.set_reuse_port(true)?;
    }
    // The kernel caps both at its own limits; less than asked for is not an error.
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// A media socket of one worker.
#[derive(Debug)]
pub struct UdpPort {
    socket: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    /// When segmentation is tried again after the kernel refused it.
    segments_again: Option<Instant>,
    pub counters: UdpCounters,
}

impl UdpPort {
    pub fn new(socket: std::net::UdpSocket) -> io::Result<UdpPort> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let local = socket.local_addr()?;
        Ok(UdpPort {
            socket: UdpSocket::from_std(socket),
            state,
            local,
            segments_again: None,
            counters: UdpCounters::default(),
        })
    }

    /// Called now and then. The kernel refuses segmentation of a run that a path's MTU or a device
    /// has no room for; quinn-udp then never tries again, which one such path must not cause.
    pub fn tend(&mut self, now: Instant) {
        if self.state.max_gso_segments() > 1 {
            return;
        }
        match self.segments_again {
            None => self.segments_again = Some(now + SEGMENTATION_REST),
            Some(at) if at > now => {}
            Some(_) => {
                self.segments_again = None;
                if let Ok(state) = UdpSocketState::new(UdpSockRef::from(&self.socket)) {
                    self.state = state;
                }
            }
        }
    }

    /// For registration with a poll.
    pub fn source(&mut self) -> &mut UdpSocket {
        &mut self.socket
    }

    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// One receive call. `Ok(0)` when nothing waits; else the number of filled slots.
    pub fn receive(&mut self, slots: &mut ReceiveSlots) -> io::Result<usize> {
        let ReceiveSlots { bytes, meta } = slots;
        let mut chunks = bytes.chunks_mut(RECEIVE_SLOT_BYTES);
        let mut buffers: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let socket = UdpSockRef::from(&self.socket);
        let filled = match self.state.recv(socket, &mut buffers, meta) {
            Ok(filled) => filled,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error),
        };
        for meta in slots.meta.iter().take(filled) {
            self.counters.bytes_in += meta.len as u64;
            self.counters.datagrams_in += meta.len.div_ceil(meta.stride.max(1)) as u64;
        }
        Ok(filled)
    }

    /// Sends a run of datagrams of `segment_size` bytes (the last may be shorter). Segmented by
    /// the kernel where it can.
    pub fn send(&mut self, to: SocketAddr, payload: &[u8], segment_size: usize) {
        self.send_as(None, to, payload, segment_size);
    }

    /// The same, from one of the addresses a wildcard stands for.
    pub fn send_from(&mut self, from: IpAddr, to: SocketAddr, payload: &[u8], segment_size: usize) {
        self.send_as(Some(from), to, payload, segment_size);
    }

    fn send_as(
        &mut self,
        from: Option<IpAddr>,
        to: SocketAddr,
        payload: &[u8],
        segment_size: usize,
    ) {
        let segment_size = segment_size.max(1);
        let most = self.state.max_gso_segments().max(1) * segment_size;
        for run in payload.chunks(most.max(segment_size)) {
            self.send_run(from, to, run, segment_size, true);
        }
    }

    fn send_run(
        &mut self,
        from: Option<IpAddr>,
        to: SocketAddr,
        run: &[u8],
        segment_size: usize,
        retry: bool,
    ) {
        let datagrams = run.len().div_ceil(segment_size) as u64;
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: run,
            segment_size: (datagrams > 1).then_some(segment_size),
            src_ip: from,
        };
        self.counters.sends += 1;
        match self
            .state
            .try_send(UdpSockRef::from(&self.socket), &transmit)
        {
            Ok(()) => {
                self.counters.datagrams_out += datagrams;
                self.counters.bytes_out += run.len() as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.counters.dropped_full += datagrams;
            }
            // The state has just learnt that segmentation is refused here: send one by one.
            Err(_) if retry && datagrams > 1 && self.state.max_gso_segments() == 1 => {
                for datagram in run.chunks(segment_size) {
                    self.send_run(from, to, datagram, segment_size, false);
                }
            }
            Err(_) => self.counters.dropped_refused += datagrams,
        }
    }
}

/// The buffers a worker receives into, shared by its sockets.
#[derive(Debug)]
pub struct ReceiveSlots {
    bytes: Vec<u8>,
    meta: [RecvMeta; BATCH_SIZE],
}

impl ReceiveSlots {
    pub fn new() -> ReceiveSlots {
        ReceiveSlots {
            bytes: vec![0; RECEIVE_SLOT_BYTES * BATCH_SIZE],
            meta: [RecvMeta::default(); BATCH_SIZE],
        }
    }

    /// The datagrams of the first `filled` slots with their senders.
    pub fn datagrams(&mut self, filled: usize) -> impl Iterator<Item = (SocketAddr, &mut [u8])> {
        self.arrivals(filled)
            .map(|arrival| (arrival.remote, arrival.payload))
    }

    /// The same with everything the kernel tells of them.
    pub fn arrivals(&mut self, filled: usize) -> impl Iterator<Item = Arrival<'_>> {
        let slots = self.bytes.chunks_mut(RECEIVE_SLOT_BYTES);
        slots
            .zip(self.meta.iter())
            .take(filled)
            .flat_map(|(slot, meta)| {
                let run = slot.get_mut(..meta.len).unwrap_or_default();
                let stride = meta.stride.max(1);
                run.chunks_mut(stride).map(|payload| Arrival {
                    remote: meta.addr,
                    to: meta.dst_ip,
                    stamp: meta.timestamp,
                    payload,
                })
            })
    }
}

/// One received datagram.
#[derive(Debug)]
pub struct Arrival<'a> {
    pub remote: SocketAddr,
    /// The address it was sent to, where the kernel tells.
    pub to: Option<IpAddr>,
    /// When the kernel took it, since the Unix epoch.
    pub stamp: Option<Duration>,
    pub payload: &'a mut [u8],
}

impl Default for ReceiveSlots {
    fn default() -> Self {
        Self::new()
    }
}
