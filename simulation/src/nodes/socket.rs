//! The cluster endpoint's socket: quinn's `AsyncUdpSocket` over the simulated network. What the
//! process leaves behind when it dies may outlive it in cycles, so the port is given back by a
//! guard that the process holds.

use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use turmoil::net::UdpSocket;

use super::grid::{Grid, PORT, host_at};
use crate::scenario::Host;

type Readable = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

struct Open {
    socket: Arc<UdpSocket>,
    readable: Option<Readable>,
}

pub(crate) struct Socket {
    grid: Arc<Grid>,
    host: Host,
    local: SocketAddr,
    open: Mutex<Option<Open>>,
}

/// Gives the port back.
pub(crate) struct Unbind(Arc<Socket>);

impl Drop for Unbind {
    fn drop(&mut self) {
        drop(self.0.open().take());
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the socket of {}", self.host.name())
    }
}

impl Socket {
    pub(crate) async fn bind(grid: Arc<Grid>, host: Host) -> io::Result<(Arc<Self>, Unbind)> {
        let socket = UdpSocket::bind(("0.0.0.0", PORT)).await?;
        let local = socket.local_addr()?;
        let open = Open {
            socket: Arc::new(socket),
            readable: None,
        };
        let open = Mutex::new(Some(open));
        let socket = Arc::new(Self {
            grid,
            host,
            local,
            open,
        });
        Ok((socket.clone(), Unbind(socket)))
    }

    fn open(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed() -> io::Error {
    io::Error::from(ErrorKind::NotConnected)
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Always)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let to = transmit.destination;
        let Some(there) = host_at(to) else {
            return Ok(());
        };
        if self.grid.wires().carries(self.host, there)
            && let Some(open) = &*self.open()
        {
            // What cannot be sent is lost, as on any network.
            let _ = open.socket.try_send_to(transmit.contents, to);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut open = self.open();
        let open = open.as_mut().ok_or_else(closed)?;
        let (Some(buffer), Some(meta)) = (buffers.first_mut(), meta.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        loop {
            match open.socket.try_recv_from(buffer) {
                Ok((length, from)) => {
                    *meta = RecvMeta::default();
                    (meta.addr, meta.len, meta.stride) = (from, length, length);
                    return Poll::Ready(Ok(1));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            let readable = open.readable.get_or_insert_with(|| {
                let socket = Arc::clone(&open.socket);
                Box::pin(async move { socket.readable().await })
            });
            match readable.as_mut().poll(context) {
                Poll::Ready(_) => open.readable = None,
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// There is always room in the simulated network.
#[derive(Debug)]
struct Always;

impl UdpPoller for Always {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
