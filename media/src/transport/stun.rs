//! STUN messages as ICE uses them (RFC 8489, RFC 8445): parsing without allocation, integrity and
//! fingerprint, and encoding of binding requests and answers. Called by the ICE agent and `demux`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aws_lc_rs::{constant_time, hmac};

pub const HEADER_BYTES: usize = 20;
const MAGIC_COOKIE: u32 = 0x2112_A442;
const BINDING: u16 = 0x0001;
const FINGERPRINT_XOR: u32 = 0x5354_554e;
const INTEGRITY_BYTES: usize = 20;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802A;
/// libwebrtc's own: a higher value overrides an earlier nomination at a controlled peer.
const NOMINATION: u16 = 0xC001;

/// ERROR-CODE of a role conflict (RFC 8445 §7.3.1.1).
pub const ROLE_CONFLICT: u16 = 487;

pub type TransactionId = [u8; 12];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Request,
    Indication,
    Success,
    Error,
}

/// A view on one well-formed binding message. Its content is hostile until `verify` said otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    raw: &'a [u8],
    class: Class,
    username: Option<&'a str>,
    /// Offset of MESSAGE-INTEGRITY, if any: attributes behind it (but FINGERPRINT) are ignored.
    integrity_at: Option<usize>,
    priority: Option<u32>,
    use_candidate: bool,
    nomination: Option<u32>,
    controlling: Option<u64>,
    controlled: Option<u64>,
    error_code: Option<u16>,
}

impl<'a> Message<'a> {
    /// Reads a binding message; `None` for anything malformed, for other methods and for a wrong
    /// fingerprint.
    pub fn parse(raw: &'a [u8]) -> Option<Message<'a>> {
        let header = raw.get(..HEADER_BYTES)?;
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[4..8] != MAGIC_COOKIE.to_be_bytes()
            || !length.is_multiple_of(4)
            || raw.len() != HEADER_BYTES + length
            || kind & 0xC000 != 0
        {
            return None;
        }
        let method = (kind & 0x000F) | ((kind & 0x00E0) >> 1) | ((kind & 0x3E00) >> 2);
        if method != BINDING {
            return None;
        }
        let class = match (kind & 0x0100 != 0, kind & 0x0010 != 0) {
            (false, false) => Class::Request,
            (false, true) => Class::Indication,
            (true, false) => Class::Success,
            (true, true) => Class::Error,
        };
        let mut message = Message {
            raw,
            class,
            username: None,
            integrity_at: None,
            priority: None,
            use_candidate: false,
            nomination: None,
            controlling: None,
            controlled: None,
            error_code: None,
        };
        message.read_attributes()?;
        Some(message)
    }

    pub fn class(&self) -> Class {
        self.class
    }

    pub fn username(&self) -> Option<&'a str> {
        self.username
    }

    pub fn priority(&self) -> Option<u32> {
        self.priority
    }

    pub fn use_candidate(&self) -> bool {
        self.use_candidate
    }

    /// Value of libwebrtc's NOMINATION attribute.
    pub fn nomination(&self) -> Option<u32> {
        self.nomination
    }

    /// Tie-breaker of a sender that controls.
    pub fn controlling(&self) -> Option<u64> {
        self.controlling
    }

    /// Tie-breaker of a sender that is controlled.
    pub fn controlled(&self) -> Option<u64> {
        self.controlled
    }

    pub fn error_code(&self) -> Option<u16> {
        self.error_code
    }

    pub fn transaction(&self) -> TransactionId {
        let mut id = TransactionId::default();
        id.copy_from_slice(&self.raw[8..HEADER_BYTES]);
        id
    }

    /// Whether MESSAGE-INTEGRITY is present and right for `key`.
    pub fn verify(&self, key: &hmac::Key) -> bool {
        let Some(at) = self.integrity_at else {
            return false;
        };
        // The header's length field counts up to the end of MESSAGE-INTEGRITY (RFC 8489 §14.5).
        let length = (at + 4 + INTEGRITY_BYTES - HEADER_BYTES) as u16;
        let mut context = hmac::Context::with_key(key);
        context.update(&self.raw[..2]);
        context.update(&length.to_be_bytes());
        context.update(&self.raw[4..at]);
        let expected = &self.raw[at + 4..at + 4 + INTEGRITY_BYTES];
        constant_time::verify_slices_are_equal(context.sign().as_ref(), expected).is_ok()
    }

    fn read_attributes(&mut self) -> Option<()> {
        let mut at = HEADER_BYTES;
        while at < self.raw.len() {
            let head = self.raw.get(at..at + 4)?;
            let kind = u16::from_be_bytes([head[0], head[1]]);
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let value = self.raw.get(at + 4..at + 4 + length)?;
            let next = at + 4 + length.next_multiple_of(4);
            if next > self.raw.len() {
                return None;
            }
            if kind == FINGERPRINT {
                // Always last; a wrong one means this is not STUN (RFC 8489 §14.7).
                let crc = crc32fast::hash(&self.raw[..at]) ^ FINGERPRINT_XOR;
                return (value == crc.to_be_bytes() && next == self.raw.len()).then_some(());
            }
            if self.integrity_at.is_none() {
                self.read_attribute(at, kind, value)?;
            }
            at = next;
        }
        Some(())
    }

    fn read_attribute(&mut self, at: usize, kind: u16, value: &'a [u8]) -> Option<()> {
        match kind {
            USERNAME if self.username.is_none() => {
                self.username = Some(std::str::from_utf8(value).ok()?);
            }
            MESSAGE_INTEGRITY => {
                if value.len() != INTEGRITY_BYTES {
                    return None;
                }
                self.integrity_at = Some(at);
            }
            PRIORITY => self.priority = Some(u32::from_be_bytes(value.try_into().ok()?)),
            USE_CANDIDATE => self.use_candidate = true,
            NOMINATION => self.nomination = value.try_into().ok().map(u32::from_be_bytes),
            ICE_CONTROLLING => {
                self.controlling = Some(u64::from_be_bytes(value.try_into().ok()?));
            }
            ICE_CONTROLLED => self.controlled = Some(u64::from_be_bytes(value.try_into().ok()?)),
            ERROR_CODE => {
                let (class, number) = (*value.get(2)?, *value.get(3)?);
                self.error_code = Some(u16::from(class & 7) * 100 + u16::from(number));
            }
            _ => {}
        }
        Some(())
    }
}

/// The key of a password for `Message::verify` and `Builder::finish`.
pub fn integrity_key(password: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())
}

/// Writes one binding message.
#[derive(Debug)]
pub struct Builder {
    raw: Vec<u8>,
}

impl Builder {
    pub fn new(class: Class, transaction: TransactionId) -> Builder {
        let class_bits: u16 = match class {
            Class::Request => 0x0000,
            Class::Indication => 0x0010,
            Class::Success => 0x0100,
            Class::Error => 0x0110,
        };
        let mut raw = Vec::with_capacity(160);
        raw.extend_from_slice(&(BINDING | class_bits).to_be_bytes());
        raw.extend_from_slice(&[0, 0]);
        raw.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
        raw.extend_from_slice(&transaction);
        Builder { raw }
    }

    pub fn username(self, username: &str) -> Builder {
        self.attribute(USERNAME, username.as_bytes())
    }

    pub fn priority(self, priority: u32) -> Builder {
        self.attribute(PRIORITY, &priority.to_be_bytes())
    }

    /// ICE-CONTROLLING or ICE-CONTROLLED with our tie-breaker.
    pub fn role(self, controlling: bool, tie_breaker: u64) -> Builder {
        let kind = if controlling {
            ICE_CONTROLLING
        } else {
            ICE_CONTROLLED
        };
        self.attribute(kind, &tie_breaker.to_be_bytes())
    }

    pub fn use_candidate(self) -> Builder {
        self.attribute(USE_CANDIDATE, &[])
    }

    pub fn nomination(self, value: u32) -> Builder {
        self.attribute(NOMINATION, &value.to_be_bytes())
    }

    pub fn xor_mapped_address(self, address: SocketAddr) -> Builder {
        let cookie = MAGIC_COOKIE.to_be_bytes();
        let port = address.port() ^ (MAGIC_COOKIE >> 16) as u16;
        let mut value = [0u8; 20];
        value[2..4].copy_from_slice(&port.to_be_bytes());
        match address.ip() {
            IpAddr::V4(ip) => {
                value[1] = 1;
                for (i, byte) in ip.octets().into_iter().enumerate() {
                    value[4 + i] = byte ^ cookie[i];
                }
                self.attribute(XOR_MAPPED_ADDRESS, &value[..8])
            }
            IpAddr::V6(ip) => {
                value[1] = 2;
                for (i, byte) in ip.octets().into_iter().enumerate() {
                    value[4 + i] = byte ^ self.raw[4 + i];
                }
                self.attribute(XOR_MAPPED_ADDRESS, &value)
            }
        }
    }

    pub fn error(self, code: u16, reason: &str) -> Builder {
        let mut value = vec![0, 0, (code / 100) as u8, (code % 100) as u8];
        value.extend_from_slice(reason.as_bytes());
        self.attribute(ERROR_CODE, &value)
    }

    /// Adds MESSAGE-INTEGRITY and FINGERPRINT.
    pub fn finish(mut self, key: &hmac::Key) -> Vec<u8> {
        self.set_length(4 + INTEGRITY_BYTES);
        let tag = hmac::sign(key, &self.raw);
        let mut message = self.attribute(MESSAGE_INTEGRITY, tag.as_ref());
        message.set_length(8);
        let crc = crc32fast::hash(&message.raw) ^ FINGERPRINT_XOR;
        message.attribute(FINGERPRINT, &crc.to_be_bytes()).raw
    }

    /// Adds FINGERPRINT only: the answer to a request without credentials (RFC 8489 §6.3.1).
    pub fn finish_plain(mut self) -> Vec<u8> {
        self.set_length(8);
        let crc = crc32fast::hash(&self.raw) ^ FINGERPRINT_XOR;
        self.attribute(FINGERPRINT, &crc.to_be_bytes()).raw
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Builder {
        self.raw.extend_from_slice(&kind.to_be_bytes());
        self.raw
            .extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.raw.extend_from_slice(value);
        self.raw.resize(self.raw.len().next_multiple_of(4), 0);
        self.set_length(0);
        self
    }

    /// Writes the length field as if `ahead` more bytes followed.
    fn set_length(&mut self, ahead: usize) {
        let length = (self.raw.len() - HEADER_BYTES + ahead) as u16;
        self.raw[2..4].copy_from_slice(&length.to_be_bytes());
    }
}

/// XOR-MAPPED-ADDRESS of an answer, for tests and diagnostics.
pub fn mapped_address(raw: &[u8]) -> Option<SocketAddr> {
    let mut at = HEADER_BYTES;
    while let Some(head) = raw.get(at..at + 4) {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = raw.get(at + 4..at + 4 + length)?;
        if u16::from_be_bytes([head[0], head[1]]) == XOR_MAPPED_ADDRESS {
            let port =
                u16::from_be_bytes([*value.get(2)?, *value.get(3)?]) ^ (MAGIC_COOKIE >> 16) as u16;
            let mut bytes = [0u8; 16];
            let octets = value.get(4..)?;
            for (i, byte) in octets.iter().take(16).enumerate() {
                bytes[i] = byte ^ raw[4 + i];
            }
            let ip = match octets.len() {
                4 => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
                16 => IpAddr::V6(Ipv6Addr::from(bytes)),
                _ => return None,
            };
            return Some(SocketAddr::new(ip, port));
        }
        at += 4 + length.next_multiple_of(4);
    }
    None
}

/// Entry of the fuzz target for STUN.
pub fn fuzz_stun(data: &[u8]) {
    if let Some(message) = Message::parse(data) {
        let _ = message.verify(&integrity_key("fuzz"));
    }
    let _ = mapped_address(data);
}

#[cfg(test)]
mod tests;
