//! STUN for clients (RFC 8489): a socket of its own that says which address a client is seen at.
//! Opened with the shards, served by `run`. Never a media port: libwebrtc takes every datagram
//! from an address it was told as STUN server for an answer of that server (`UDPPort::OnReadPacket`
//! in p2p/base/stun_port.cc), so that media from there would never arrive.

use std::io;
use std::net::SocketAddr;

use media::transport::stun::{Builder, Class, Message};
use tokio::net::UdpSocket;

use super::gather::Reach;
use crate::limits::STUN_ERROR_PAUSE;

/// Sockets that answer, and where clients reach them.
#[derive(Debug, Default)]
pub struct StunPorts {
    sockets: Vec<std::net::UdpSocket>,
    advertised: Vec<SocketAddr>,
}

impl StunPorts {
    /// One socket per local address on `port`, the number clients know already; another one where
    /// that is taken. An address without any is left out: clients do without.
    pub fn open(reaches: &[Reach], port: u16) -> StunPorts {
        let mut ports = StunPorts::default();
        for reach in reaches {
            let opened = open(SocketAddr::new(reach.bound, port))
                .or_else(|_| open(SocketAddr::new(reach.bound, 0)));
            let (socket, port) = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    tracing::warn!(address = %reach.bound, %error, "no STUN for clients");
                    continue;
                }
            };
            ports.sockets.push(socket);
            for ip in &reach.advertised {
                let address = SocketAddr::new(*ip, port);
                if !ports.advertised.contains(&address) {
                    ports.advertised.push(address);
                }
            }
        }
        ports
    }

    /// Where clients reach the sockets.
    pub fn advertised(&self) -> &[SocketAddr] {
        &self.advertised
    }

    /// The sockets to be served; none the second time.
    pub fn take(&mut self) -> Vec<std::net::UdpSocket> {
        std::mem::take(&mut self.sockets)
    }
}

fn open(address: SocketAddr) -> io::Result<(std::net::UdpSocket, u16)> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    let port = socket.local_addr()?.port();
    Ok((socket, port))
}

/// Answers on a thread of its own until the program ends: whoever floods these sockets delays
/// nobody else.
pub fn start(sockets: Vec<std::net::UdpSocket>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let all = async move {
        let servers = sockets.into_iter().map(serve);
        for ended in futures_util::future::join_all(servers).await {
            if let Err(error) = ended {
                tracing::error!(%error, "a STUN socket cannot be served");
            }
        }
    };
    let thread = std::thread::Builder::new().name("stun".into());
    thread.spawn(move || runtime.block_on(all))?;
    Ok(())
}

async fn serve(socket: std::net::UdpSocket) -> io::Result<()> {
    let socket = UdpSocket::from_std(socket)?;
    // A binding request has 20 bytes, with all attributes clients add well under 200.
    let mut buffer = [0_u8; 576];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // Of an ICMP message about an earlier answer, or of a kernel without memory: the
            // socket stays good.
            Err(error) => {
                tracing::debug!(%error, "receiving at a STUN socket");
                tokio::time::sleep(STUN_ERROR_PAUSE).await;
                continue;
            }
        };
        if let Some(answer) = buffer.get(..length).and_then(|raw| answer(raw, from)) {
            // A full send buffer or an unreachable client loses an answer, as any network may.
            let _lost = socket.send_to(&answer, from).await;
        }
    }
}

/// The answer to a binding request without credentials, twice as long at most: nobody gains from
/// asking in another's name.
fn answer(raw: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    let message = Message::parse(raw)?;
    if message.class() != Class::Request || message.username().is_some() {
        return None;
    }
    let answer = Builder::new(Class::Success, message.transaction());
    Some(answer.xor_mapped_address(from).finish_plain())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use media::transport::stun::mapped_address;

    use super::*;

    fn reach() -> Reach {
        Reach {
            bound: "127.0.0.1".parse().unwrap(),
            advertised: vec!["127.0.0.1".parse().unwrap()],
        }
    }

    #[tokio::test]
    async fn a_client_learns_its_address() {
        let mut ports = StunPorts::open(&[reach()], 0);
        let server = ports.advertised()[0];
        for socket in ports.take() {
            tokio::spawn(serve(socket));
        }
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let request = Builder::new(Class::Request, [7; 12]).finish_plain();
        client.send_to(b"no STUN", server).await.unwrap();
        client.send_to(&request, server).await.unwrap();
        let mut buffer = [0; 128];
        let (length, from) = client.recv_from(&mut buffer).await.unwrap();
        assert_eq!(from, server);
        assert_eq!(
            mapped_address(&buffer[..length]),
            Some(client.local_addr().unwrap())
        );
    }

    #[test]
    fn a_taken_port_is_replaced_by_another() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let ports = StunPorts::open(&[reach()], port);
        assert_ne!(ports.advertised()[0].port(), port);
    }
}
