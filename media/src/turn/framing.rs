//! TURN over a byte stream (RFC 8656 §3.1, §12.5): messages and channel data follow each other, the
//! latter padded to four bytes. Cuts them; sans-IO, used by the sockets for TCP and TLS.

use bytes::{Buf, BytesMut};

use super::message::{CHANNEL_HEADER_BYTES, CHANNELS};
use crate::limits::TURN_STREAM_FRAME_BYTES_MAX;
use crate::transport::stun::HEADER_BYTES;

/// The stream carries something else, or frames nobody needs; its connection has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not TURN, or a frame of {0} bytes")]
pub struct NotTurn(pub usize);

/// Cuts frames out of a byte stream without copying them again.
#[derive(Debug, Default)]
pub struct StreamDecoder {
    buffer: BytesMut,
}

impl StreamDecoder {
    pub fn new() -> StreamDecoder {
        StreamDecoder::default()
    }

    /// Adds bytes read from the socket. Drain `next_frame` before adding more: that bounds the
    /// buffer by one frame and one read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message or channel data, without padding.
    pub fn next_frame(&mut self) -> Result<Option<BytesMut>, NotTurn> {
        let Some(head) = self.buffer.get(..CHANNEL_HEADER_BYTES) else {
            return Ok(None);
        };
        let first = u16::from_be_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let frame = if CHANNELS.contains(&first) {
            CHANNEL_HEADER_BYTES + length
        } else if first < 0x4000 {
            HEADER_BYTES + length
        } else {
            return Err(NotTurn(length));
        };
        if frame > TURN_STREAM_FRAME_BYTES_MAX {
            return Err(NotTurn(frame));
        }
        let padded = frame.next_multiple_of(4);
        if self.buffer.len() < padded {
            return Ok(None);
        }
        let cut = self.buffer.split_to(frame);
        self.buffer.advance(padded - frame);
        Ok(Some(cut))
    }
}
