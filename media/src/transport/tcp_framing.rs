//! RFC 4571 framing of ICE-TCP connections: a 16-bit length before every packet. Sans-IO; used by
//! `node`'s TCP sockets, whose paths are otherwise like UDP ones.

use bytes::{Buf, Bytes, BytesMut};

use crate::limits::TCP_MAX_FRAME_BYTES;

const LENGTH_BYTES: usize = 2;

/// The stream is not RFC 4571 framing; its connection has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("frame of {0} bytes on an ICE-TCP connection")]
pub struct FrameTooLong(pub usize);

/// Cuts packets out of a byte stream.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: BytesMut,
}

impl FrameDecoder {
    pub fn new() -> FrameDecoder {
        FrameDecoder::default()
    }

    /// Adds bytes read from the socket. Drain `next_frame` before adding more: that bounds the
    /// buffer by one frame and one read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole packet. Empty frames are skipped.
    pub fn next_frame(&mut self) -> Result<Option<BytesMut>, FrameTooLong> {
        loop {
            let Some(head) = self.buffer.get(..LENGTH_BYTES) else {
                return Ok(None);
            };
            let length = usize::from(u16::from_be_bytes([head[0], head[1]]));
            if length > TCP_MAX_FRAME_BYTES {
                return Err(FrameTooLong(length));
            }
            if self.buffer.len() < LENGTH_BYTES + length {
                return Ok(None);
            }
            self.buffer.advance(LENGTH_BYTES);
            let frame = self.buffer.split_to(length);
            if !frame.is_empty() {
                return Ok(Some(frame));
            }
        }
    }

    /// Bytes waiting for the rest of their frame.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }
}

/// Appends `packet` as one frame to `out`; packets longer than a frame can be are left out.
pub fn encode_frame(packet: &[u8], out: &mut BytesMut) {
    if let Some(length) = frame_header(packet.len()) {
        out.reserve(LENGTH_BYTES + packet.len());
        out.extend_from_slice(&length);
        out.extend_from_slice(packet);
    }
}

/// The length prefix of a packet of `bytes` bytes, for vectored writes.
pub fn frame_header(bytes: usize) -> Option<[u8; LENGTH_BYTES]> {
    (bytes <= TCP_MAX_FRAME_BYTES).then(|| (bytes as u16).to_be_bytes())
}

/// Frames `packet` alone.
pub fn framed(packet: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    encode_frame(packet, &mut out);
    out.freeze()
}

/// Entry of the fuzz target for ICE-TCP streams.
pub fn fuzz_tcp_framing(data: &[u8]) {
    let mut decoder = FrameDecoder::new();
    for part in data.chunks(7) {
        decoder.push(part);
        while let Ok(Some(_)) = decoder.next_frame() {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn packets_survive_any_segmentation() {
        let packets: Vec<Vec<u8>> = (1..60usize).map(|n| vec![n as u8; n * 23]).collect();
        let mut stream = BytesMut::new();
        for packet in &packets {
            encode_frame(packet, &mut stream);
        }
        for segment in [1, 2, 3, 100, 1460] {
            let mut decoder = FrameDecoder::new();
            let mut seen = Vec::new();
            for part in stream.chunks(segment) {
                decoder.push(part);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push(frame.to_vec());
                }
            }
            assert_eq!(seen, packets);
            assert_eq!(decoder.buffered(), 0);
        }
    }

    #[test]
    fn a_stream_that_is_not_framed_is_refused() {
        let mut decoder = FrameDecoder::new();
        decoder.push(b"GET / HTTP/1.1\r\n");
        assert_eq!(decoder.next_frame(), Err(FrameTooLong(0x4745)));
        decoder = FrameDecoder::new();
        decoder.push(&[0, 0, 0, 0, 0, 1, 7]);
        assert_eq!(decoder.next_frame().unwrap().unwrap().as_ref(), [7]);
    }
}
