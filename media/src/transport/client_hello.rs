//! Looks into a DTLS ClientHello for the SRTP profiles it offers. rtc-dtls follows the client's
//! order, browsers put the slow profile first, so the server picks its configuration beforehand.
//! Used by `dtls` on the first datagrams only.

const RECORD_HEADER_BYTES: usize = 13;
const HANDSHAKE_HEADER_BYTES: usize = 12;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const USE_SRTP: u16 = 14;
const AEAD_AES_128_GCM: [u8; 2] = [0, 7];
/// Longer ClientHellos do not exist, post-quantum key shares included.
const MAX_BYTES: usize = 8 * 1024;

/// What is known of a ClientHello that may come in fragments.
#[derive(Debug, Default)]
pub(super) struct ClientHello {
    body: Vec<u8>,
    /// Bytes of `body` received so far, from the start.
    filled: usize,
}

impl ClientHello {
    /// Adds a datagram. `Some(true)`: AEAD is offered, `Some(false)`: it is not (or this is no
    /// ClientHello), `None`: fragments are missing.
    pub(super) fn add(&mut self, datagram: &[u8]) -> Option<bool> {
        let mut rest = datagram;
        while let Some(header) = rest.get(..RECORD_HEADER_BYTES) {
            let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
            let end = RECORD_HEADER_BYTES + length;
            let fragment = rest.get(RECORD_HEADER_BYTES..end);
            let Some(fragment) = fragment.filter(|_| header[0] == HANDSHAKE) else {
                return Some(false);
            };
            if self.add_fragment(fragment).is_none() {
                return Some(false);
            }
            rest = &rest[end..];
        }
        if self.body.is_empty() {
            return Some(false);
        }
        (self.filled == self.body.len()).then(|| offers_aead(&self.body).unwrap_or(false))
    }

    fn add_fragment(&mut self, fragment: &[u8]) -> Option<()> {
        let header = fragment.get(..HANDSHAKE_HEADER_BYTES)?;
        let number = |at: usize| {
            usize::from(header[at]) << 16
                | usize::from(header[at + 1]) << 8
                | usize::from(header[at + 2])
        };
        let (total, offset, length) = (number(1), number(6), number(9));
        let bytes = fragment.get(HANDSHAKE_HEADER_BYTES..HANDSHAKE_HEADER_BYTES + length)?;
        if header[0] != CLIENT_HELLO || total > MAX_BYTES || offset + length > total {
            return None;
        }
        if self.body.len() != total {
            self.body = vec![0; total];
            self.filled = 0;
        }
        self.body[offset..offset + length].copy_from_slice(bytes);
        if offset <= self.filled {
            self.filled = self.filled.max(offset + length);
        }
        Some(())
    }
}

/// Whether the ClientHello's use_srtp extension (RFC 5764 §4.1.1) lists AES-128-GCM.
fn offers_aead(body: &[u8]) -> Option<bool> {
    let mut reader = Reader(body);
    reader.take(2 + 32)?; // version, random
    for _ in 0..2 {
        let bytes = usize::from(reader.take(1)?[0]); // session id, cookie
        reader.take(bytes)?;
    }
    let suites = reader.length()?;
    reader.take(suites)?;
    let compressions = usize::from(reader.take(1)?[0]);
    reader.take(compressions)?;
    let extensions = reader.length()?;
    let mut reader = Reader(reader.take(extensions)?);
    while !reader.0.is_empty() {
        let kind = reader.length()? as u16;
        let bytes = reader.length()?;
        let mut value = Reader(reader.take(bytes)?);
        if kind == USE_SRTP {
            let bytes = value.length()?;
            let profiles = value.take(bytes)?;
            return Some(profiles.chunks(2).any(|p| p == AEAD_AES_128_GCM));
        }
    }
    Some(false)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(bytes)?;
        self.0 = tail;
        Some(head)
    }

    fn length(&mut self) -> Option<usize> {
        let bytes = self.take(2)?;
        Some(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
    }
}

/// Entry of the fuzz target for ClientHellos.
pub fn fuzz_client_hello(data: &[u8]) {
    let mut hello = ClientHello::default();
    for datagram in data.chunks(200) {
        let _ = hello.add(datagram);
    }
    let _ = offers_aead(data);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hello(profiles: &[u16]) -> Vec<u8> {
        let mut body = vec![0xFE, 0xFD];
        body.extend_from_slice(&[1; 32]);
        body.extend_from_slice(&[0, 0, 0, 2, 0xC0, 0x2B, 1, 0]);
        let mut extensions = vec![0, 23, 0, 0];
        extensions.extend_from_slice(&USE_SRTP.to_be_bytes());
        extensions.extend_from_slice(&(profiles.len() as u16 * 2 + 3).to_be_bytes());
        extensions.extend_from_slice(&(profiles.len() as u16 * 2).to_be_bytes());
        for profile in profiles {
            extensions.extend_from_slice(&profile.to_be_bytes());
        }
        extensions.push(0);
        body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
        body.extend_from_slice(&extensions);
        body
    }

    fn datagram(body: &[u8], from: usize, to: usize) -> Vec<u8> {
        let three = |n: usize| [(n >> 16) as u8, (n >> 8) as u8, n as u8];
        let mut handshake = vec![CLIENT_HELLO];
        handshake.extend_from_slice(&three(body.len()));
        handshake.extend_from_slice(&[0, 0]);
        handshake.extend_from_slice(&three(from));
        handshake.extend_from_slice(&three(to - from));
        handshake.extend_from_slice(&body[from..to]);
        let mut record = vec![HANDSHAKE, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0];
        record.extend_from_slice(&(handshake.len() as u16).to_be_bytes());
        record.extend_from_slice(&handshake);
        record
    }

    #[test]
    fn profiles_are_found_in_whole_and_in_fragmented_hellos() {
        for (profiles, expected) in [(&[1u16, 8, 7][..], true), (&[1, 8], false), (&[], false)] {
            let body = hello(profiles);
            let whole = datagram(&body, 0, body.len());
            assert_eq!(ClientHello::default().add(&whole), Some(expected));
            let mut parts = ClientHello::default();
            assert_eq!(parts.add(&datagram(&body, 0, 20)), None);
            assert_eq!(parts.add(&datagram(&body, 20, body.len())), Some(expected));
        }
    }

    #[test]
    fn what_is_no_client_hello_does_not_wait_for_more() {
        assert_eq!(ClientHello::default().add(&[]), Some(false));
        assert_eq!(ClientHello::default().add(&[22; 40]), Some(false));
        let body = hello(&[7]);
        let mut other = datagram(&body, 0, body.len());
        other[RECORD_HEADER_BYTES] = 2;
        assert_eq!(ClientHello::default().add(&other), Some(false));
    }
}
