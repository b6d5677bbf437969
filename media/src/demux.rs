//! Tells the protocols that share a 5-tuple apart by their first bytes. Called by workers (to find
//! the shard of a first packet) and by `Transport`. Looks, never copies, never fails.

use crate::transport::stun;

/// Protocol of one datagram (RFC 7983, RFC 5761).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketClass {
    Stun,
    Dtls,
    Rtp,
    Rtcp,
    Unknown,
}

/// Classifies a datagram; TURN channel data and ZRTP count as `Unknown`.
pub fn classify(datagram: &[u8]) -> PacketClass {
    let Some(&first) = datagram.first() else {
        return PacketClass::Unknown;
    };
    match first {
        0..=3 if datagram.len() >= stun::HEADER_BYTES => PacketClass::Stun,
        20..=63 if datagram.len() >= 13 => PacketClass::Dtls,
        128..=191 => match datagram.get(1) {
            // RFC 5761 §4: RTCP packet types 192..=223 are not used as RTP payload types.
            Some(192..=223) if datagram.len() >= 8 => PacketClass::Rtcp,
            Some(_) if datagram.len() >= 12 => PacketClass::Rtp,
            _ => PacketClass::Unknown,
        },
        _ => PacketClass::Unknown,
    }
}

/// The receiver's username fragment in a binding request: the part of USERNAME before the colon.
/// Nothing is authenticated by this; it only routes a first packet to its transport.
pub fn stun_local_ufrag(datagram: &[u8]) -> Option<&str> {
    let message = stun::Message::parse(datagram)?;
    if message.class() != stun::Class::Request {
        return None;
    }
    message.username()?.split(':').next()
}

/// Entry of the fuzz target for untrusted first packets.
pub fn fuzz_demux(data: &[u8]) {
    let _ = classify(data);
    let _ = stun_local_ufrag(data);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn classes_follow_rfc_7983_and_5761() {
        let of = |first: u8, second: u8| {
            let mut packet = [0u8; 32];
            (packet[0], packet[1]) = (first, second);
            classify(&packet)
        };
        assert_eq!(of(0, 1), PacketClass::Stun);
        assert_eq!(of(3, 1), PacketClass::Stun);
        assert_eq!(of(22, 254), PacketClass::Dtls);
        assert_eq!(of(63, 0), PacketClass::Dtls);
        assert_eq!(of(0x80, 96), PacketClass::Rtp);
        assert_eq!(of(0x90, 0x80 | 111), PacketClass::Rtp);
        assert_eq!(of(0x80, 200), PacketClass::Rtcp);
        assert_eq!(of(0x81, 206), PacketClass::Rtcp);
        assert_eq!(of(64, 0), PacketClass::Unknown);
        assert_eq!(of(200, 0), PacketClass::Unknown);
        assert_eq!(classify(&[]), PacketClass::Unknown);
        assert_eq!(classify(&[0x80]), PacketClass::Unknown);
        assert_eq!(classify(&[22, 254, 253]), PacketClass::Unknown);
    }
}
