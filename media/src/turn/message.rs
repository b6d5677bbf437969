//! TURN messages (RFC 8656 on RFC 8489): a view on hostile bytes without allocation, and a writer
//! that appends to a buffer it is given. Channel data is cut here too. Called by the TURN server
//! and by the client that the connection test uses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aws_lc_rs::{constant_time, hmac};

use crate::transport::stun::{Class, HEADER_BYTES, TransactionId};

const MAGIC_COOKIE: u32 = 0x2112_A442;
const FINGERPRINT_XOR: u32 = 0x5354_554e;
const INTEGRITY_BYTES: usize = 20;
pub const CHANNEL_HEADER_BYTES: usize = 4;
/// Channels a client may bind (RFC 5766; RFC 8656 narrowed the range, older clients use all of it).
pub const CHANNELS: std::ops::RangeInclusive<u16> = 0x4000..=0x7FFE;

/// Attribute types (RFC 8489 §18.3, RFC 8656 §18).
pub mod attribute {
    pub const USERNAME: u16 = 0x0006;
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub const ERROR_CODE: u16 = 0x0009;
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
    pub const CHANNEL_NUMBER: u16 = 0x000C;
    pub const LIFETIME: u16 = 0x000D;
    pub const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub const DATA: u16 = 0x0013;
    pub const REALM: u16 = 0x0014;
    pub const NONCE: u16 = 0x0015;
    pub const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    pub const EVEN_PORT: u16 = 0x0018;
    pub const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub const RESERVATION_TOKEN: u16 = 0x0022;
    pub const SOFTWARE: u16 = 0x8022;
    pub const FINGERPRINT: u16 = 0x8028;

    /// Below this an attribute must be understood or the request refused.
    pub const OPTIONAL_FROM: u16 = 0x8000;
}

/// What a message is about (RFC 8656 §17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Binding,
    Allocate,
    Refresh,
    Send,
    Data,
    CreatePermission,
    ChannelBind,
}

const METHODS: [(u16, Method); 7] = [
    (0x001, Method::Binding),
    (0x003, Method::Allocate),
    (0x004, Method::Refresh),
    (0x006, Method::Send),
    (0x007, Method::Data),
    (0x008, Method::CreatePermission),
    (0x009, Method::ChannelBind),
];

impl Method {
    fn number(self) -> u16 {
        let found = METHODS.iter().find(|(_, method)| *method == self);
        found.map_or(0, |(number, _)| *number)
    }
}

/// Cuts channel data: the channel and what it carries. Padding behind it is ignored.
pub fn channel_data(raw: &[u8]) -> Option<(u16, &[u8])> {
    let head = raw.get(..CHANNEL_HEADER_BYTES)?;
    let channel = u16::from_be_bytes([head[0], head[1]]);
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let payload = raw.get(CHANNEL_HEADER_BYTES..CHANNEL_HEADER_BYTES + length)?;
    CHANNELS.contains(&channel).then_some((channel, payload))
}

/// A view on one well-formed message. Its content is hostile until `verify` said otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    raw: &'a [u8],
    class: Class,
    method: Method,
    /// End of the attributes that count: those behind MESSAGE-INTEGRITY do not.
    end: usize,
    integrity_at: Option<usize>,
    fingerprint: bool,
}

impl<'a> Message<'a> {
    /// Reads a message; `None` for anything malformed, for other methods and for a wrong
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
        let number = (kind & 0x000F) | ((kind & 0x00E0) >> 1) | ((kind & 0x3E00) >> 2);
        let (_, method) = METHODS.into_iter().find(|(known, _)| *known == number)?;
        let class = match (kind & 0x0100 != 0, kind & 0x0010 != 0) {
            (false, false) => Class::Request,
            (false, true) => Class::Indication,
            (true, false) => Class::Success,
            (true, true) => Class::Error,
        };
        let mut message = Message {
            raw,
            class,
            method,
            end: raw.len(),
            integrity_at: None,
            fingerprint: false,
        };
        message.check_attributes()?;
        Some(message)
    }

    /// Walks all attributes once: lengths, integrity, fingerprint.
    fn check_attributes(&mut self) -> Option<()> {
        let mut at = HEADER_BYTES;
        while at < self.raw.len() {
            let (kind, value, next) = attribute_at(self.raw, at)?;
            match kind {
                attribute::FINGERPRINT => {
                    let crc = crc32fast::hash(&self.raw[..at]) ^ FINGERPRINT_XOR;
                    self.fingerprint = value == crc.to_be_bytes() && next == self.raw.len();
                    self.end = self.end.min(at);
                    return self.fingerprint.then_some(());
                }
                attribute::MESSAGE_INTEGRITY if self.integrity_at.is_none() => {
                    if value.len() != INTEGRITY_BYTES {
                        return None;
                    }
                    (self.integrity_at, self.end) = (Some(at), at);
                }
                _ => {}
            }
            at = next;
        }
        Some(())
    }

    pub fn class(&self) -> Class {
        self.class
    }

    pub fn method(&self) -> Method {
        self.method
    }

    pub fn has_fingerprint(&self) -> bool {
        self.fingerprint
    }

    pub fn has_integrity(&self) -> bool {
        self.integrity_at.is_some()
    }

    pub fn transaction(&self) -> TransactionId {
        let mut id = TransactionId::default();
        id.copy_from_slice(&self.raw[8..HEADER_BYTES]);
        id
    }

    /// The first attribute of a type.
    pub fn find(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes()
            .find_map(|(found, value)| (found == kind).then_some(value))
    }

    pub fn find_text(&self, kind: u16) -> Option<&'a str> {
        std::str::from_utf8(self.find(kind)?).ok()
    }

    pub fn find_u32(&self, kind: u16) -> Option<u32> {
        self.find(kind)?.try_into().ok().map(u32::from_be_bytes)
    }

    pub fn find_address(&self, kind: u16) -> Option<SocketAddr> {
        read_address(self.find(kind)?, self.raw)
    }

    /// Every XOR-PEER-ADDRESS; `None` in place of one that cannot be read.
    pub fn peers(&self) -> impl Iterator<Item = Option<SocketAddr>> + use<'a> {
        let raw = self.raw;
        self.attributes()
            .filter(|(kind, _)| *kind == attribute::XOR_PEER_ADDRESS)
            .map(move |(_, value)| read_address(value, raw))
    }

    /// Number of an ERROR-CODE.
    pub fn error_code(&self) -> Option<u16> {
        let value = self.find(attribute::ERROR_CODE)?;
        let (class, number) = (*value.get(2)?, *value.get(3)?);
        Some(u16::from(class & 7) * 100 + u16::from(number))
    }

    pub fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let (raw, end) = (self.raw, self.end);
        let mut at = HEADER_BYTES;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let (kind, value, next) = attribute_at(raw, at)?;
            at = next;
            Some((kind, value))
        })
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
}

fn attribute_at(raw: &[u8], at: usize) -> Option<(u16, &[u8], usize)> {
    let head = raw.get(at..at + 4)?;
    let kind = u16::from_be_bytes([head[0], head[1]]);
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let value = raw.get(at + 4..at + 4 + length)?;
    let next = at + 4 + length.next_multiple_of(4);
    (next <= raw.len()).then_some((kind, value, next))
}

/// Undoes the XOR of an address (RFC 8489 §14.2); `raw` begins with the header of its message.
fn read_address(value: &[u8], raw: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes([*value.get(2)?, *value.get(3)?]) ^ (MAGIC_COOKIE >> 16) as u16;
    let mut bytes = [0u8; 16];
    let octets = value.get(4..)?;
    for (index, octet) in octets.iter().take(16).enumerate() {
        bytes[index] = octet ^ raw.get(4 + index)?;
    }
    let ip = match (*value.get(1)?, octets.len()) {
        (1, 4) => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
        (2, 16) => IpAddr::V6(Ipv6Addr::from(bytes)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Appends one message to a buffer. The length field is right after every attribute.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Writer<'a> {
    pub fn new(
        out: &'a mut Vec<u8>,
        class: Class,
        method: Method,
        transaction: TransactionId,
    ) -> Writer<'a> {
        let class_bits: u16 = match class {
            Class::Request => 0x0000,
            Class::Indication => 0x0010,
            Class::Success => 0x0100,
            Class::Error => 0x0110,
        };
        let number = method.number();
        let method_bits = (number & 0x0F) | ((number & 0x70) << 1) | ((number & 0xF80) << 2);
        let start = out.len();
        out.extend_from_slice(&(method_bits | class_bits).to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
        out.extend_from_slice(&transaction);
        Writer { out, start }
    }

    /// Goes on with the message that a buffer holds and nothing else.
    pub fn resume(out: &'a mut Vec<u8>) -> Writer<'a> {
        Writer { out, start: 0 }
    }

    pub fn attribute(self, kind: u16, value: &[u8]) -> Writer<'a> {
        self.out.extend_from_slice(&kind.to_be_bytes());
        self.out
            .extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.out.extend_from_slice(value);
        let padding = value.len().next_multiple_of(4) - value.len();
        self.out.extend_from_slice(&[0; 3][..padding]);
        self.with_length(0)
    }

    pub fn u32(self, kind: u16, value: u32) -> Writer<'a> {
        self.attribute(kind, &value.to_be_bytes())
    }

    pub fn address(self, kind: u16, address: SocketAddr) -> Writer<'a> {
        let mut value = [0u8; 20];
        let port = address.port() ^ (MAGIC_COOKIE >> 16) as u16;
        value[2..4].copy_from_slice(&port.to_be_bytes());
        let octets = match address.ip() {
            IpAddr::V4(ip) => {
                value[1] = 1;
                value[4..8].copy_from_slice(&ip.octets());
                4
            }
            IpAddr::V6(ip) => {
                value[1] = 2;
                value[4..].copy_from_slice(&ip.octets());
                16
            }
        };
        let mask = &self.out[self.start + 4..self.start + 4 + octets];
        for (octet, mask) in value[4..4 + octets].iter_mut().zip(mask) {
            *octet ^= mask;
        }
        self.attribute(kind, &value[..4 + octets])
    }

    pub fn error(self, code: u16, reason: &str) -> Writer<'a> {
        let mut value = vec![0, 0, (code / 100) as u8, (code % 100) as u8];
        value.extend_from_slice(reason.as_bytes());
        self.attribute(attribute::ERROR_CODE, &value)
    }

    /// Adds MESSAGE-INTEGRITY.
    pub fn sign(self, key: &hmac::Key) -> Writer<'a> {
        let ahead = self.with_length(4 + INTEGRITY_BYTES);
        let tag = hmac::sign(key, &ahead.out[ahead.start..]);
        ahead.attribute(attribute::MESSAGE_INTEGRITY, tag.as_ref())
    }

    /// Adds FINGERPRINT; nothing may follow.
    pub fn fingerprint(self) {
        let ahead = self.with_length(8);
        let crc = crc32fast::hash(&ahead.out[ahead.start..]) ^ FINGERPRINT_XOR;
        ahead.u32(attribute::FINGERPRINT, crc);
    }

    /// Writes the length field as if `ahead` more bytes followed.
    fn with_length(self, ahead: usize) -> Writer<'a> {
        let length = (self.out.len() - self.start - HEADER_BYTES + ahead) as u16;
        self.out[self.start + 2..self.start + 4].copy_from_slice(&length.to_be_bytes());
        self
    }
}
