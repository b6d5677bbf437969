//! Lifelines: a bare TCP connection from each node to each it watches, on which nothing is said.
//! When a process ends its kernel closes them, and refuses new ones: seen within a round trip.
//! A connection counts only with a ticket that its owner got over the authenticated fabric, so a
//! stranger can neither hold one nor pass for a node. Sockets are handed in.

mod hold;
mod keep;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

pub use hold::{Holder, Tickets};
pub use keep::{Keeper, News};

use crate::cluster::limits::LIFELINE_KEEP_ALIVE;

/// What the holder of a lifeline shows, and what the other end answers.
pub(crate) const SECRET_BYTES: usize = 16;

/// A permission to open one lifeline, good once and for a moment.
#[derive(Clone, Copy)]
pub struct Ticket {
    pub(crate) shown: [u8; SECRET_BYTES],
    pub(crate) answer: [u8; SECRET_BYTES],
}

impl Ticket {
    pub fn encode(&self) -> Vec<u8> {
        [self.shown, self.answer].concat()
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (shown, answer) = bytes.split_at_checked(SECRET_BYTES)?;
        Some(Self {
            shown: shown.try_into().ok()?,
            answer: answer.try_into().ok()?,
        })
    }
}

/// A TCP connection, or what stands for one in a simulation.
pub trait Line: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Line for T {}

/// Opens connections. A refusal must be `ConnectionRefused`: it is evidence.
pub trait Dial: Send + Sync + 'static {
    fn dial(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Line>>>;
}

/// Who connected, and from where as far as that is known.
pub type Caller = (Box<dyn Line>, Option<IpAddr>);

/// Takes connections.
pub trait Listen: Send + 'static {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Caller>>;
}

/// The system's sockets.
pub struct TcpDial;

impl Dial for TcpDial {
    fn dial(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Line>>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            let keep_alive = socket2::TcpKeepalive::new()
                .with_time(LIFELINE_KEEP_ALIVE)
                .with_interval(LIFELINE_KEEP_ALIVE);
            socket2::SockRef::from(&stream).set_tcp_keepalive(&keep_alive)?;
            Ok(Box::new(stream) as Box<dyn Line>)
        })
    }
}

/// The system's listener.
pub struct TcpListen(TcpListener);

impl TcpListen {
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        TcpListener::bind(address).await.map(Self)
    }

    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Listen for TcpListen {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Caller>> {
        Box::pin(async {
            let (stream, from) = self.0.accept().await?;
            Ok((Box::new(stream) as Box<dyn Line>, Some(from.ip())))
        })
    }
}
