//! A way for STUN and TURN messages: datagrams, frames of ICE-TCP, or a TURN stream.

use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use media::transport::tcp_framing::{FrameDecoder, encode_frame};
use media::turn::framing::StreamDecoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;

use super::dial::Stream;

pub(super) enum Link {
    Udp(UdpSocket),
    /// RFC 4571 framing.
    IceTcp(Box<dyn Stream>, FrameDecoder),
    Turn(Box<dyn Stream>, StreamDecoder),
}

impl Link {
    pub(super) async fn udp(to: SocketAddr) -> io::Result<Link> {
        let any: SocketAddr = if to.is_ipv4() {
            ([0, 0, 0, 0], 0).into()
        } else {
            ([0_u16; 8], 0).into()
        };
        let socket = UdpSocket::bind(any).await?;
        // Only what `to` sends is received, and a refusal (ICMP) is an error.
        socket.connect(to).await?;
        Ok(Link::Udp(socket))
    }

    pub(super) fn ice_tcp(stream: Box<dyn Stream>) -> Link {
        Link::IceTcp(stream, FrameDecoder::new())
    }

    pub(super) fn turn(stream: Box<dyn Stream>) -> Link {
        Link::Turn(stream, StreamDecoder::new())
    }

    /// Whether messages can get lost and have to be repeated.
    pub(super) fn is_lossy(&self) -> bool {
        matches!(self, Link::Udp(_))
    }

    pub(super) async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Link::Udp(socket) => socket.send(message).await.map(|_| ()),
            Link::IceTcp(stream, _) => {
                let mut framed = BytesMut::new();
                encode_frame(message, &mut framed);
                stream.write_all(&framed).await?;
                stream.flush().await
            }
            Link::Turn(stream, _) => {
                stream.write_all(message).await?;
                stream.flush().await
            }
        }
    }

    /// The next message. Safe to give up and call again.
    pub(super) async fn receive(&mut self) -> io::Result<BytesMut> {
        let mut chunk = [0_u8; 4096];
        loop {
            let frame = match self {
                Link::Udp(socket) => {
                    let length = socket.recv(&mut chunk).await?;
                    return Ok(BytesMut::from(chunk.get(..length).unwrap_or_default()));
                }
                Link::IceTcp(_, decoder) => decoder.next_frame().map_err(io::Error::other)?,
                Link::Turn(_, decoder) => decoder.next_frame().map_err(io::Error::other)?,
            };
            if let Some(frame) = frame {
                return Ok(frame);
            }
            let (Link::IceTcp(stream, _) | Link::Turn(stream, _)) = self else {
                continue;
            };
            let length = stream.read(&mut chunk).await?;
            let read = chunk.get(..length).unwrap_or_default();
            match self {
                _ if length == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                Link::IceTcp(_, decoder) => decoder.push(read),
                Link::Turn(_, decoder) => decoder.push(read),
                Link::Udp(_) => {}
            }
        }
    }
}
