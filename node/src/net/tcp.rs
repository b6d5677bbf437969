//! ICE-TCP, passive (RFC 6544): accepts, cuts frames (RFC 4571), writes frames. The first packet of
//! a connection names the shard it goes to. Driven by a worker. Until its shard has taken a check a
//! connection is a stranger's: those are few, of each network too, and short-lived.

mod counters;
mod strangers;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use bytes::{Buf, BytesMut};
use media::demux::{PacketClass, classify};
use media::transport::stun;
use media::transport::tcp_framing::{FrameDecoder, encode_frame};
use media::types::{Path, Protocol};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Socket, Type};

use crate::limits::{
    TCP_ACCEPTS_PER_TURN, TCP_CONNECTIONS_MAX, TCP_IDLE_TIMEOUT, TCP_READ_BYTES_PER_TURN,
    TCP_STRANGER_TIMEOUT, TCP_STRANGERS_MAX, TCP_UNSENT_BYTES_MAX,
};
use crate::worker::steering::{Owner, Steering};

pub use counters::TcpCounters;
use strangers::Strangers;

/// Opens a listener for ICE-TCP.
pub fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(TCP_STRANGERS_MAX).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// A connection on its way to the worker of its shard, with what was read already.
#[derive(Debug)]
pub struct Introduced {
    stream: TcpStream,
    path: Path,
    inbound: FrameDecoder,
    /// The packet that told the shard.
    first: Option<BytesMut>,
    accepted: Instant,
}

/// What a connection brought.
#[derive(Debug)]
pub enum Incoming<'a> {
    Frame {
        path: Path,
        payload: &'a mut [u8],
    },
    Foreign {
        shard: usize,
        connection: Introduced,
    },
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    path: Path,
    inbound: FrameDecoder,
    first: Option<BytesMut>,
    outbound: BytesMut,
    /// The shard took a check from here.
    known: bool,
    /// A stranger's: when it was accepted. Else when it was heard last.
    last: Instant,
}

/// What to do with a connection after its turn.
#[derive(PartialEq, Eq)]
enum Verdict {
    Keep,
    /// More may be waiting in the kernel.
    Unread,
    Close,
    GiveTo(usize),
}

/// What a stranger's packet says.
enum Introduction {
    Here,
    Answered,
    GiveTo(usize),
    Close,
}

/// The TCP half of a worker.
#[derive(Debug)]
pub struct TcpSide {
    registry: Registry,
    listeners: Vec<(Token, TcpListener)>,
    pending_accepts: bool,
    connections: HashMap<Token, Connection>,
    by_path: HashMap<Path, Token>,
    strangers: Strangers,
    next_token: usize,
    unread: Vec<Token>,
    steering: Steering,
    pub counters: TcpCounters,
}

impl TcpSide {
    /// Tokens from `first_token` on are this side's.
    pub fn new(
        registry: Registry,
        listeners: Vec<std::net::TcpListener>,
        first_token: usize,
        steering: Steering,
    ) -> io::Result<TcpSide> {
        let mut side = TcpSide {
            registry,
            listeners: Vec::new(),
            pending_accepts: false,
            connections: HashMap::new(),
            by_path: HashMap::new(),
            strangers: Strangers::default(),
            next_token: first_token,
            unread: Vec::new(),
            steering,
            counters: TcpCounters::default(),
        };
        for listener in listeners {
            let mut listener = TcpListener::from_std(listener);
            let token = side.token();
            side.registry
                .register(&mut listener, token, Interest::READABLE)?;
            side.listeners.push((token, listener));
        }
        Ok(side)
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    /// A poll reported `token`.
    pub fn ready(&mut self, token: Token, readable: bool, writable: bool) {
        if self
            .listeners
            .iter()
            .any(|(listener, _)| *listener == token)
        {
            self.pending_accepts = true;
            return;
        }
        if writable && let Some(connection) = self.connections.get_mut(&token) {
            // A write error shows as an end of file at the next read.
            let _ = connection.write_out(&mut self.counters);
        }
        if readable && !self.unread.contains(&token) {
            self.unread.push(token);
        }
    }

    pub fn has_work(&self) -> bool {
        self.pending_accepts || !self.unread.is_empty()
    }

    /// Accepts and reads within the budgets of a turn. `each` says whether the shard knows the path
    /// of the frame it was given.
    pub fn turn(&mut self, now: Instant, each: &mut dyn FnMut(Incoming<'_>) -> bool) {
        if self.pending_accepts {
            self.accept(now);
        }
        for token in std::mem::take(&mut self.unread) {
            let Some(connection) = self.connections.get_mut(&token) else {
                continue;
            };
            let was_known = connection.known;
            let verdict = connection.read_in(now, &mut self.steering, &mut self.counters, each);
            if connection.known && !was_known {
                self.strangers.leave(connection.path.remote);
            }
            match verdict {
                Verdict::Keep => {}
                Verdict::Unread => self.unread.push(token),
                Verdict::Close => drop(self.remove(token)),
                Verdict::GiveTo(shard) => {
                    if let Some(connection) = self.remove(token) {
                        each(Incoming::Foreign { shard, connection });
                    }
                }
            }
        }
    }

    fn accept(&mut self, now: Instant) {
        self.pending_accepts = false;
        for index in 0..self.listeners.len() {
            for round in 0.. {
                if round == TCP_ACCEPTS_PER_TURN {
                    self.pending_accepts = true;
                    break;
                }
                let Some((_, listener)) = self.listeners.get(index) else {
                    return;
                };
                let Ok((stream, remote)) = listener.accept() else {
                    break;
                };
                let Ok(local) = listener.local_addr() else {
                    break;
                };
                self.counters.accepted += 1;
                let path = Path {
                    protocol: Protocol::Tcp,
                    local,
                    remote,
                };
                self.add(now, stream, path);
            }
        }
    }

    /// `false` when there is no room for it.
    fn add(&mut self, accepted: Instant, mut stream: TcpStream, path: Path) -> bool {
        if self.connections.len() >= TCP_CONNECTIONS_MAX || !self.strangers.enter(path.remote) {
            self.counters.refused += 1;
            return false;
        }
        // Media does not wait for fuller segments; a socket that refuses is slower, not broken.
        let _ = stream.set_nodelay(true);
        let token = self.token();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self.registry.register(&mut stream, token, interest);
        if registered.is_err() {
            self.counters.refused += 1;
            self.strangers.leave(path.remote);
            return false;
        }
        self.by_path.insert(path, token);
        self.connections.insert(
            token,
            Connection {
                stream,
                path,
                inbound: FrameDecoder::new(),
                first: None,
                outbound: BytesMut::new(),
                known: false,
                last: accepted,
            },
        );
        self.unread.push(token);
        true
    }

    fn remove(&mut self, token: Token) -> Option<Introduced> {
        let mut connection = self.connections.remove(&token)?;
        self.by_path.remove(&connection.path);
        if !connection.known {
            self.strangers.leave(connection.path.remote);
        }
        // Only a descriptor that is gone already cannot be deregistered.
        let _ = self.registry.deregister(&mut connection.stream);
        Some(Introduced {
            stream: connection.stream,
            path: connection.path,
            inbound: connection.inbound,
            first: connection.first,
            accepted: connection.last,
        })
    }

    /// Goes on with a connection another worker accepted.
    pub fn adopt(&mut self, introduced: Introduced) {
        let Introduced {
            stream,
            path,
            inbound,
            first,
            accepted,
        } = introduced;
        if self.add(accepted, stream, path)
            && let Some(token) = self.by_path.get(&path)
            && let Some(connection) = self.connections.get_mut(token)
        {
            (connection.inbound, connection.first) = (inbound, first);
        }
    }

    /// Sends the segments of a run, one frame each. A connection with too much unsent drops them.
    pub fn send(&mut self, path: Path, payload: &[u8], segment_size: usize) {
        let Some(connection) = self
            .by_path
            .get(&path)
            .and_then(|token| self.connections.get_mut(token))
        else {
            self.counters.frames_dropped += 1;
            return;
        };
        for frame in payload.chunks(segment_size.max(1)) {
            if connection.outbound.len() + frame.len() > TCP_UNSENT_BYTES_MAX {
                self.counters.frames_dropped += 1;
                continue;
            }
            encode_frame(frame, &mut connection.outbound);
        }
        // A write error shows as an end of file at the next read.
        let _ = connection.write_out(&mut self.counters);
    }

    /// Closes strangers that said nothing and connections that fell silent.
    pub fn expire(&mut self, now: Instant) {
        let limit = |known| {
            if known {
                TCP_IDLE_TIMEOUT
            } else {
                TCP_STRANGER_TIMEOUT
            }
        };
        let silent = |connection: &Connection| {
            now.saturating_duration_since(connection.last) >= limit(connection.known)
        };
        let expired = self
            .connections
            .iter()
            .filter(|(_, connection)| silent(connection));
        let expired: Vec<Token> = expired.map(|(token, _)| *token).collect();
        for token in expired {
            self.counters.refused += 1;
            self.remove(token);
        }
    }

    pub fn connections(&self) -> usize {
        self.connections.len()
    }
}

impl Connection {
    fn read_in(
        &mut self,
        now: Instant,
        steering: &mut Steering,
        counters: &mut TcpCounters,
        each: &mut dyn FnMut(Incoming<'_>) -> bool,
    ) -> Verdict {
        let mut read = 0;
        let mut chunk = [0_u8; 8192];
        let mut end = None;
        while end.is_none() && read < TCP_READ_BYTES_PER_TURN {
            match self.stream.read(&mut chunk) {
                Ok(0) => end = Some(Verdict::Close),
                Ok(length) => {
                    read += length;
                    self.inbound.push(chunk.get(..length).unwrap_or_default());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    end = Some(Verdict::Keep);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => end = Some(Verdict::Close),
            }
        }
        counters.bytes_in += read as u64;
        let end = end.unwrap_or(Verdict::Unread);
        match self.cut_frames(now, steering, counters, each) {
            Verdict::Keep => end,
            other => other,
        }
    }

    /// Takes the whole frames off the front of what was read.
    fn cut_frames(
        &mut self,
        now: Instant,
        steering: &mut Steering,
        counters: &mut TcpCounters,
        each: &mut dyn FnMut(Incoming<'_>) -> bool,
    ) -> Verdict {
        loop {
            let frame = match self.first.take() {
                Some(first) => Ok(Some(first)),
                None => self.inbound.next_frame(),
            };
            let Ok(frame) = frame else {
                counters.refused += 1;
                return Verdict::Close;
            };
            let Some(mut frame) = frame else {
                return Verdict::Keep;
            };
            if !self.known {
                match self.introduce(now, &frame, steering, counters) {
                    Introduction::Here => {}
                    Introduction::Answered => continue,
                    Introduction::GiveTo(shard) => {
                        self.first = Some(frame);
                        return Verdict::GiveTo(shard);
                    }
                    Introduction::Close => return Verdict::Close,
                }
            }
            let path = self.path;
            let payload = &mut frame;
            self.known |= each(Incoming::Frame { path, payload });
            if self.known {
                self.last = now;
            }
        }
    }

    /// Looks at a stranger's packet: only a connectivity check may make it known.
    fn introduce(
        &mut self,
        now: Instant,
        frame: &[u8],
        steering: &mut Steering,
        counters: &mut TcpCounters,
    ) -> Introduction {
        if classify(frame) != PacketClass::Stun {
            counters.refused += 1;
            return Introduction::Close;
        }
        // What other connections said of this address is nothing to this one.
        match steering.owner(now, self.path.remote, frame, || true) {
            Owner::Here => Introduction::Here,
            Owner::Shard(shard) => Introduction::GiveTo(shard),
            Owner::Reflect(transaction) => {
                let answer = stun::Builder::new(stun::Class::Success, transaction);
                let answer = answer.xor_mapped_address(self.path.remote).finish_plain();
                encode_frame(&answer, &mut self.outbound);
                match self.write_out(counters) {
                    Ok(()) if self.outbound.len() < TCP_UNSENT_BYTES_MAX => Introduction::Answered,
                    _ => Introduction::Close,
                }
            }
        }
    }

    fn write_out(&mut self, counters: &mut TcpCounters) -> io::Result<()> {
        while !self.outbound.is_empty() {
            match self.stream.write(&self.outbound) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => {
                    counters.bytes_out += length as u64;
                    self.outbound.advance(length);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
