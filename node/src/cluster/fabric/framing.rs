//! What stands on a QUIC stream between nodes: two bytes that say which service and whether it is
//! a call or a stream, one byte that says whether it was taken, and then what is said.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use quinn::{RecvStream, SendStream, VarInt};
use tokio::io::AsyncWrite;

use super::Plane;
use crate::cluster::limits::{LIVE_MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX, REFUSAL_BYTES_MAX};
use crate::cluster::links::{Duplex, Service};

const CALL: u8 = 0;
const STREAM: u8 = 1;
const TAKEN: u8 = 0;
const REFUSED: u8 = 1;
/// On a stream whose writer was dropped before it was done.
const BROKEN: VarInt = VarInt::from_u32(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Stream,
}

/// Why no answer was read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Broken(String),
}

fn broken(error: impl std::fmt::Display) -> FrameError {
    FrameError::Broken(error.to_string())
}

/// Largest request or answer.
pub(super) fn bytes_max(service: Service) -> usize {
    match Plane::of(service) {
        Plane::Raft => consensus::limits::MESSAGE_BYTES_MAX,
        Plane::Rpc | Plane::Relay => MESSAGE_BYTES_MAX,
        Plane::Live => LIVE_MESSAGE_BYTES_MAX,
    }
}

pub(super) async fn write_head(
    writer: &mut Writer,
    service: Service,
    kind: Kind,
) -> Result<(), FrameError> {
    let kind = match kind {
        Kind::Call => CALL,
        Kind::Stream => STREAM,
    };
    let head = [service as u8, kind];
    writer.send.write_all(&head).await.map_err(broken)
}

/// `None`: of a newer node, or damaged.
pub(super) async fn read_head(recv: &mut RecvStream) -> Option<(Service, Kind)> {
    let mut head = [0; 2];
    recv.read_exact(&mut head).await.ok()?;
    let kind = match head[1] {
        CALL => Kind::Call,
        STREAM => Kind::Stream,
        _ => return None,
    };
    Some((Service::from_wire(head[0])?, kind))
}

pub(super) async fn write_request(writer: &mut Writer, request: Bytes) -> Result<(), FrameError> {
    writer.send.write_chunk(request).await.map_err(broken)?;
    writer.ended = true;
    writer.send.finish().map_err(broken)
}

pub(super) async fn read_request(recv: &mut RecvStream, service: Service) -> Option<Bytes> {
    read_rest(recv, bytes_max(service)).await.ok()
}

pub(super) async fn write_answer(send: &mut SendStream, answer: Result<Bytes, String>) {
    let written = async {
        match answer {
            Ok(bytes) => {
                send.write_all(&[TAKEN]).await?;
                send.write_chunk(bytes).await
            }
            Err(mut reason) => {
                let mut end = REFUSAL_BYTES_MAX.min(reason.len());
                while !reason.is_char_boundary(end) {
                    end -= 1;
                }
                reason.truncate(end);
                send.write_all(&[REFUSED]).await?;
                send.write_chunk(reason.into()).await
            }
        }
    };
    // Who asked may be gone.
    if written.await.is_ok() {
        let _ = send.finish();
    }
}

pub(super) async fn read_answer(
    recv: &mut RecvStream,
    service: Service,
) -> Result<Bytes, FrameError> {
    read_taken(recv).await?;
    read_rest(recv, bytes_max(service)).await
}

/// Everything up to the end, in order. Not `read_to_end`: after ordered reads quinn-proto 0.11.19
/// gives it bytes a second time that arrived twice before they were first read.
async fn read_rest(recv: &mut RecvStream, bytes_max: usize) -> Result<Bytes, FrameError> {
    let mut rest = BytesMut::new();
    while let Some(chunk) = recv.read_chunk(usize::MAX, true).await.map_err(broken)? {
        if rest.len() + chunk.bytes.len() > bytes_max {
            return Err(broken("the message is too long"));
        }
        rest.extend_from_slice(&chunk.bytes);
    }
    Ok(rest.freeze())
}

pub(super) async fn write_taken(send: &mut SendStream) -> bool {
    send.write_all(&[TAKEN]).await.is_ok()
}

pub(super) async fn read_taken(recv: &mut RecvStream) -> Result<(), FrameError> {
    let mut taken = [0];
    recv.read_exact(&mut taken).await.map_err(broken)?;
    if taken[0] == TAKEN {
        return Ok(());
    }
    let reason = read_rest(recv, REFUSAL_BYTES_MAX).await?;
    Err(FrameError::Refused(
        String::from_utf8_lossy(&reason).into_owned(),
    ))
}

pub(super) fn duplex(writer: Writer, recv: RecvStream) -> Duplex {
    Duplex {
        send: Box::new(writer),
        recv: Box::new(recv),
    }
}

/// Quinn ends a stream that is dropped; here that breaks it, so that half a request whose caller
/// gave up is never taken for a whole one.
pub(super) struct Writer {
    send: SendStream,
    ended: bool,
}

impl Writer {
    pub(super) fn new(send: SendStream) -> Self {
        Self { send, ended: false }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.send), context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.send), context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ended = true;
        AsyncWrite::poll_shutdown(Pin::new(&mut self.send), context)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.send.reset(BROKEN);
        }
    }
}
