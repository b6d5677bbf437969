//! TURN over TCP and TLS: accepts, opens TLS, cuts frames, writes. A connection that shows no
//! credentials in time is closed. Driven by the TURN thread.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::time::Instant;

use bytes::{Buf, BufMut, BytesMut};
use media::turn::framing::StreamDecoder;
use media::types::{Path, Protocol};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use rustls::ServerConnection;

use crate::limits::{
    TCP_ACCEPTS_PER_TURN, TCP_READ_BYTES_PER_TURN, TCP_UNSENT_BYTES_MAX, TCP_USER_TIMEOUT,
    TURN_STRANGER_TIMEOUT, TURN_STRANGERS_MAX, TURN_STREAMS_MAX,
};
use crate::net::tls::{Certificate, CertificateError};

/// What guards the streams.
#[derive(Debug, Default)]
pub enum Security {
    /// Somebody before us ends TLS (`external_tls`).
    #[default]
    Plain,
    Tls(Box<Certificate>),
}

impl Security {
    pub fn tls(certificate: &str, key: &str) -> Result<Security, CertificateError> {
        let loaded = Certificate::load(certificate, key, Instant::now())?;
        Ok(Security::Tls(Box::new(loaded)))
    }
}

/// What a stream brought.
#[derive(Debug)]
pub enum Happened<'a> {
    Frame { path: Path, payload: &'a [u8] },
    Closed { path: Path },
}

#[derive(Debug)]
struct Stream {
    socket: TcpStream,
    tls: Option<Box<ServerConnection>>,
    path: Path,
    inbound: StreamDecoder,
    /// What the socket has not taken yet, sealed.
    outbound: BytesMut,
    /// Since when its client has been unknown to the server; `None` while it is known.
    stranger_since: Option<Instant>,
}

/// See the file header.
#[derive(Debug)]
pub struct Streams {
    registry: Registry,
    listeners: Vec<(Token, TcpListener)>,
    security: Security,
    streams: HashMap<Token, Stream>,
    by_path: HashMap<Path, Token>,
    unread: Vec<Token>,
    closed: Vec<Path>,
    pending_accepts: bool,
    next_token: usize,
    strangers: usize,
    /// Frames a slow client had no room for.
    pub dropped_full: u64,
    /// Connections that ended over TLS: a certificate the client does not trust, an old client.
    pub refused_tls: u64,
}

impl Streams {
    /// Tokens from `first_token` on are the streams'.
    pub fn new(
        registry: Registry,
        listeners: Vec<std::net::TcpListener>,
        security: Security,
        first_token: usize,
    ) -> io::Result<Streams> {
        let mut streams = Streams {
            registry,
            listeners: Vec::new(),
            security,
            streams: HashMap::new(),
            by_path: HashMap::new(),
            unread: Vec::new(),
            closed: Vec::new(),
            pending_accepts: false,
            next_token: first_token,
            strangers: 0,
            dropped_full: 0,
            refused_tls: 0,
        };
        for listener in listeners {
            let mut listener = TcpListener::from_std(listener);
            let token = streams.token();
            streams
                .registry
                .register(&mut listener, token, Interest::READABLE)?;
            streams.listeners.push((token, listener));
        }
        Ok(streams)
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    pub fn len(&self) -> usize {
        self.streams.len()
    }

    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    pub fn has_work(&self) -> bool {
        self.pending_accepts || !self.unread.is_empty() || !self.closed.is_empty()
    }

    /// A poll reported `token`.
    pub fn ready(&mut self, token: Token, readable: bool, writable: bool) {
        if self.listeners.iter().any(|(known, _)| *known == token) {
            self.pending_accepts = true;
            return;
        }
        if writable && let Some(stream) = self.streams.get_mut(&token) {
            // A write error shows as an end of file at the next read.
            let _ = stream.write_out();
        }
        if readable && !self.unread.contains(&token) {
            self.unread.push(token);
        }
    }

    /// Accepts and reads within the budgets of a turn.
    pub fn turn(&mut self, now: Instant, each: &mut dyn FnMut(Happened<'_>)) {
        if self.pending_accepts {
            self.accept(now);
        }
        for token in std::mem::take(&mut self.unread) {
            let Some(stream) = self.streams.get_mut(&token) else {
                continue;
            };
            match stream.read_in(each) {
                Reading::Drained => {}
                Reading::More => self.unread.push(token),
                Reading::Over => self.close(token),
                Reading::Refused(error) => {
                    self.refused_tls += 1;
                    let remote = stream.path.remote;
                    tracing::debug!(%remote, %error, "TLS to the TURN server failed");
                    self.close(token);
                }
            }
        }
        for path in self.closed.drain(..) {
            each(Happened::Closed { path });
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
                let Ok((socket, _)) = listener.accept() else {
                    break;
                };
                if self.strangers < TURN_STRANGERS_MAX && self.streams.len() < TURN_STREAMS_MAX {
                    self.add(now, socket);
                }
            }
        }
    }

    /// A connection that cannot be served is dropped, which closes it.
    fn add(&mut self, now: Instant, mut socket: TcpStream) {
        let tls = match &mut self.security {
            Security::Plain => None,
            Security::Tls(certificate) => match ServerConnection::new(certificate.config(now)) {
                Ok(tls) => Some(Box::new(tls)),
                Err(_) => return,
            },
        };
        let (Ok(local), Ok(remote)) = (socket.local_addr(), socket.peer_addr()) else {
            return;
        };
        // Media does not wait for fuller segments; a vanished client frees its buffers soon.
        let _ = socket.set_nodelay(true);
        let _ = socket2::SockRef::from(&socket).set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
        let token = self.token();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self
            .registry
            .register(&mut socket, token, interest)
            .is_err()
        {
            return;
        }
        let path = Path {
            protocol: Protocol::Tcp,
            local,
            remote,
        };
        self.strangers += 1;
        self.by_path.insert(path, token);
        let stream = Stream {
            socket,
            tls,
            path,
            inbound: StreamDecoder::new(),
            outbound: BytesMut::new(),
            stranger_since: Some(now),
        };
        self.streams.insert(token, stream);
        self.unread.push(token);
    }

    fn close(&mut self, token: Token) {
        let Some(mut stream) = self.streams.remove(&token) else {
            return;
        };
        self.by_path.remove(&stream.path);
        self.strangers -= usize::from(stream.stranger_since.is_some());
        // Only a descriptor that is gone already cannot be deregistered.
        let _ = self.registry.deregister(&mut stream.socket);
        self.closed.push(stream.path);
    }

    /// Writes whole frames, or drops them when a slow client has too much unsent. Messages get more
    /// room than data: nobody repeats them on a stream.
    pub fn send(&mut self, path: &Path, frames: &[u8]) {
        let token = self.by_path.get(path);
        let Some(stream) = token.and_then(|token| self.streams.get_mut(token)) else {
            return;
        };
        let is_message = frames.first().is_some_and(|first| first >> 6 == 0);
        let room = TCP_UNSENT_BYTES_MAX * if is_message { 2 } else { 1 };
        if stream.outbound.len() + frames.len() > room {
            self.dropped_full += 1;
            return;
        }
        // An error shows as an end of file at the next read.
        let _ = stream.write(frames);
    }

    /// Closes streams that have been strangers for too long; called about once a second.
    pub fn expire(&mut self, now: Instant, is_known: impl Fn(&Path) -> bool) {
        let mut over = Vec::new();
        self.strangers = 0;
        for (token, stream) in &mut self.streams {
            if is_known(&stream.path) {
                stream.stranger_since = None;
                continue;
            }
            self.strangers += 1;
            let since = *stream.stranger_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= TURN_STRANGER_TIMEOUT {
                over.push(*token);
            }
        }
        for token in over {
            self.close(token);
        }
    }
}

/// How a turn of reading ended.
#[derive(Debug)]
enum Reading {
    Drained,
    /// The kernel may hold more.
    More,
    Over,
    /// TLS failed, and why.
    Refused(rustls::Error),
}

/// Why bytes of the socket could not be opened.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

impl Stream {
    fn read_in(&mut self, each: &mut dyn FnMut(Happened<'_>)) -> Reading {
        let mut chunk = [0_u8; 16 << 10];
        let mut read = 0;
        while read < TCP_READ_BYTES_PER_TURN {
            match self.socket.read(&mut chunk) {
                Ok(0) => return Reading::Over,
                Ok(length) => {
                    read += length;
                    let bytes = chunk.get(..length).unwrap_or_default();
                    match self.open(bytes) {
                        Ok(()) if self.cut_frames(each) => {}
                        Err(OpenError::Tls(error)) => return Reading::Refused(error),
                        _ => return Reading::Over,
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Reading::Drained,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Reading::Over,
            }
        }
        Reading::More
    }

    /// From the bytes of the socket to those of TURN.
    fn open(&mut self, mut sealed: &[u8]) -> Result<(), OpenError> {
        let Some(tls) = &mut self.tls else {
            self.inbound.push(sealed);
            return Ok(());
        };
        let mut plain = [0_u8; 16 << 10];
        let mut outcome = Ok(());
        while !sealed.is_empty() && outcome.is_ok() {
            tls.read_tls(&mut sealed)?;
            outcome = tls.process_new_packets().map(|_| ());
            loop {
                match tls.reader().read(&mut plain) {
                    Ok(0) => break,
                    Ok(length) => self.inbound.push(plain.get(..length).unwrap_or_default()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        // Handshake messages, or the alert that says what was wrong.
        self.write(&[])?;
        Ok(outcome?)
    }

    /// `false`: the stream is not TURN.
    fn cut_frames(&mut self, each: &mut dyn FnMut(Happened<'_>)) -> bool {
        loop {
            match self.inbound.next_frame() {
                Ok(Some(frame)) => each(Happened::Frame {
                    path: self.path,
                    payload: &frame,
                }),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Seals and sends; what the socket does not take waits in `outbound`.
    fn write(&mut self, plain: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            None => self.outbound.extend_from_slice(plain),
            Some(tls) => {
                tls.writer().write_all(plain)?;
                while tls.wants_write() {
                    tls.write_tls(&mut (&mut self.outbound).writer())?;
                }
            }
        }
        self.write_out()
    }

    fn write_out(&mut self) -> io::Result<()> {
        while !self.outbound.is_empty() {
            match self.socket.write(&self.outbound) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => self.outbound.advance(length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
