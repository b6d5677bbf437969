//! A stream whose both ends are in this process, with the manners of one between nodes: a writer
//! that is dropped without being shut down is an error to the reader, not an end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::Duplex;
use crate::cluster::limits::PIPE_BYTES_MAX;

/// Both ends of one stream.
pub fn pair() -> (Duplex, Duplex) {
    let (send_there, recv_here) = one_way();
    let (send_here, recv_there) = one_way();
    let here = Duplex {
        send: Box::new(send_here),
        recv: Box::new(recv_here),
    };
    let there = Duplex {
        send: Box::new(send_there),
        recv: Box::new(recv_there),
    };
    (here, there)
}

fn one_way() -> (PipeWriter, PipeReader) {
    let (writer, reader) = tokio::io::duplex(PIPE_BYTES_MAX);
    let ended = Arc::new(AtomicBool::new(false));
    let writer = PipeWriter {
        inner: writer,
        ended: Arc::clone(&ended),
    };
    let reader = PipeReader {
        inner: reader,
        ended,
    };
    (writer, reader)
}

struct PipeWriter {
    inner: DuplexStream,
    /// Shut down by its owner, as opposed to dropped.
    ended: Arc<AtomicBool>,
}

impl AsyncWrite for PipeWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ended.store(true, Ordering::Release);
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

struct PipeReader {
    inner: DuplexStream,
    ended: Arc<AtomicBool>,
}

impl AsyncRead for PipeReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let room = buffer.remaining();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        let nothing = room > 0 && buffer.filled().len() == before;
        if nothing && !self.ended.load(Ordering::Acquire) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn an_end_is_told_from_a_break() {
        let (mut here, mut there) = pair();
        here.send.write_all(b"hello").await.unwrap();
        here.send.shutdown().await.unwrap();
        let mut text = String::new();
        there.recv.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello");

        there.send.write_all(b"half a").await.unwrap();
        drop(there);
        let broken = here.recv.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(broken.kind(), io::ErrorKind::ConnectionReset);
    }
}
