//! Fuzz entries of the protocol libraries behind our filters: a standing SCTP association hears
//! what a peer may say inside the encryption, a DTLS end what a stranger may. Called by `hostile`.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::dtls::Dtls;
use super::identity::DtlsIdentity;
use super::sctp::Sctp;

/// Source and destination port of WebRTC's SCTP packets, which name nothing.
const PORTS: [u8; 4] = [0x13, 0x88, 0x13, 0x88];
const COMMON_HEADER_BYTES: usize = 12;
const INITIAL_TSN: std::ops::Range<usize> = 28..32;
const DATA: u8 = 0;
const FORWARD_TSN: u8 = 192;
/// Packets taken from one input; the rest is of no use to a fuzzer.
const PACKETS_MAX: usize = 64;

/// `data` is packets, each behind its length in two bytes; of SCTP without the common header. The
/// TSN of a chunk of data counts from the peer's first one, or none would pass.
pub fn fuzz_sctp(mut now: Instant, data: &[u8]) {
    let mut server = Sctp::new();
    let Some(peer) = establish(now, &mut server) else {
        return;
    };
    for chunks in pieces(data) {
        server.handle(now, peer.packet(chunks));
        while server.poll_transmit().is_some() {}
        while server.poll_event().is_some() {}
        now += Duration::from_millis(300);
        if server.deadline().is_some_and(|at| at <= now) {
            server.handle_timeout(now);
        }
    }
}

/// `data` is datagrams, each behind its length in two bytes; a server hears them.
pub fn fuzz_dtls(mut now: Instant, data: &[u8]) {
    static IDENTITY: OnceLock<Option<Arc<DtlsIdentity>>> = OnceLock::new();
    let Some(identity) = IDENTITY.get_or_init(|| DtlsIdentity::generate().ok()) else {
        return;
    };
    let mut dtls = Dtls::new(identity);
    for datagram in pieces(data) {
        dtls.read(now, datagram);
        while dtls.poll_transmit().is_some() {}
        while dtls.poll_received().is_some() {}
        now += Duration::from_millis(300);
        dtls.handle_timeout(now);
    }
}

fn pieces(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (head, tail) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*head)).min(tail.len());
        let (piece, left) = tail.split_at(length);
        rest = left;
        Some(piece)
    })
    .take(PACKETS_MAX)
}

/// What makes a packet one of the association's.
struct PeerNumbers {
    tag: [u8; 4],
    first_tsn: u32,
}

impl PeerNumbers {
    fn packet(&self, chunks: &[u8]) -> Bytes {
        let mut packet = BytesMut::with_capacity(COMMON_HEADER_BYTES + chunks.len());
        packet.extend_from_slice(&PORTS);
        packet.extend_from_slice(&self.tag);
        packet.extend_from_slice(&[0; 4]);
        packet.extend_from_slice(chunks);
        let tsn = COMMON_HEADER_BYTES + 4..COMMON_HEADER_BYTES + 8;
        if matches!(chunks.first(), Some(&DATA | &FORWARD_TSN))
            && let Some(word) = packet.get_mut(tsn)
            && let Ok(offset) = <[u8; 4]>::try_from(&*word)
        {
            let absolute = self.first_tsn.wrapping_add(u32::from_be_bytes(offset));
            word.copy_from_slice(&absolute.to_be_bytes());
        }
        let checksum = crc32c(&packet).to_le_bytes();
        packet[8..COMMON_HEADER_BYTES].copy_from_slice(&checksum);
        packet.freeze()
    }
}

/// Brings `server` up with a client that is forgotten afterwards.
fn establish(now: Instant, server: &mut Sctp) -> Option<PeerNumbers> {
    let mut client = Sctp::new();
    server.start(now, false);
    client.start(now, true);
    let mut first_tsn = None;
    let mut tag = None;
    loop {
        let mut quiet = true;
        while let Some(packet) = client.poll_transmit() {
            quiet = false;
            let initial = packet.get(INITIAL_TSN).and_then(|w| w.try_into().ok());
            if first_tsn.is_none() {
                first_tsn = initial.map(u32::from_be_bytes);
            }
            tag = packet.get(4..8).and_then(|w| <[u8; 4]>::try_from(w).ok());
            server.handle(now, packet);
        }
        while let Some(packet) = server.poll_transmit() {
            quiet = false;
            client.handle(now, packet);
        }
        if quiet {
            return Some(PeerNumbers {
                tag: tag?,
                first_tsn: first_tsn?,
            });
        }
    }
}

/// CRC-32C (RFC 9260, appendix A), bit by bit: speed does not matter here.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::super::TransportEvent;
    use super::*;

    /// The entry reaches the library: a channel's opening and a message come through.
    #[test]
    #[allow(clippy::unwrap_used)]
    fn a_sound_packet_gets_through() {
        let now = Instant::now();
        let mut server = Sctp::new();
        let peer = establish(now, &mut server).unwrap();
        // DATA, whole, TSN 0, stream 0, DCEP (50): OPEN, reliable, label "x".
        let mut chunk = vec![0, 3, 0, 29, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 50];
        chunk.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, b'x', 0, 0, 0]);
        server.handle(now, peer.packet(&chunk));
        let events: Vec<_> = std::iter::from_fn(|| server.poll_event()).collect();
        let label = "x".to_owned();
        assert!(
            events.contains(&TransportEvent::ChannelOpen { label }),
            "{events:?}"
        );
    }

    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
