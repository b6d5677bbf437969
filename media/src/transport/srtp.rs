//! SRTP on keys from the DTLS exporter (RFC 3711, RFC 7714, RFC 5764): seals and opens RTP in
//! place, without allocation in steady state. Used by `Transport` on every media packet.

use aws_lc_rs::aead::Aad;
use subtle::ConstantTimeEq;

use crate::limits::{SRTP_MAX_STREAMS_IN, SRTP_MAX_STREAMS_OUT};
use crate::transport::DropReason;

mod cipher;
mod leasing;
mod window;

pub(super) use cipher::{Cipher, MasterKey, RTCP_LABELS, cm_apply, cm_tag, gcm_nonce};
pub(super) use window::Window;

use cipher::RTP_LABELS;
use leasing::OutStream;
pub(super) use leasing::Unknown;

/// Bytes of an AES-GCM tag.
pub const GCM_TAG_BYTES: usize = 16;
/// Bytes of an `HMAC_SHA1_80` tag.
pub const CM_TAG_BYTES: usize = 10;
const MASTER_KEY_BYTES: usize = 16;
const RTP_HEADER_BYTES: usize = 12;
const MAX_ROC: u64 = u32::MAX as u64;

/// Protection profile agreed in the DTLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    AeadAes128Gcm,
    Aes128CmSha1_80,
}

impl Profile {
    /// Bytes a sealed RTP packet is longer than its plaintext.
    pub fn tag_bytes(self) -> usize {
        match self {
            Profile::AeadAes128Gcm => GCM_TAG_BYTES,
            Profile::Aes128CmSha1_80 => CM_TAG_BYTES,
        }
    }

    pub(super) fn salt_bytes(self) -> usize {
        match self {
            Profile::AeadAes128Gcm => 12,
            Profile::Aes128CmSha1_80 => 14,
        }
    }

    /// Length of the exported keying material (RFC 5764 §4.2).
    pub(super) fn material_bytes(self) -> usize {
        2 * (MASTER_KEY_BYTES + self.salt_bytes())
    }
}

/// Length of the RTP header with CSRCs and extension; `None` if `packet` is shorter.
pub(super) fn rtp_header_bytes(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    if first >> 6 != 2 || packet.len() < RTP_HEADER_BYTES {
        return None;
    }
    let mut length = RTP_HEADER_BYTES + 4 * usize::from(first & 0x0F);
    if first & 0x10 != 0 {
        let words = packet.get(length + 2..length + 4)?;
        length += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    }
    (length <= packet.len()).then_some(length)
}

fn ssrc_and_sequence(packet: &[u8]) -> (u32, u16) {
    (
        u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]]),
        u16::from_be_bytes([packet[2], packet[3]]),
    )
}

/// The 48-bit index of `sequence` next to `highest` (RFC 3711 §3.3.1).
fn estimate_index(highest: Option<u64>, sequence: u16) -> u64 {
    let sequence = u64::from(sequence);
    let Some(highest) = highest else {
        return sequence;
    };
    let (roc, last) = (highest >> 16, highest & 0xFFFF);
    let roc = if last < 0x8000 && sequence > last + 0x8000 {
        roc.saturating_sub(1)
    } else if last >= 0x8000 && sequence + 0x8000 < last && roc < MAX_ROC {
        roc + 1
    } else {
        roc
    };
    roc << 16 | sequence
}

/// One outgoing stream as a snapshot carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamIndex {
    pub(super) ssrc: u32,
    pub(super) highest: u64,
}

/// Seals what we send. An index is never sealed twice under the key.
pub struct RtpSealer {
    cipher: Cipher,
    profile: Profile,
    /// Sorted by SSRC. Streams are never forgotten: that would forget which indexes were used.
    streams: Vec<OutStream>,
    last: usize,
    /// Where streams begin that nobody was told of.
    unknown: Unknown,
    /// A stream found no room any more.
    exhausted: bool,
}

/// Indexes of a stream we send that may be sealed late: a second of a fast stream, so that what a
/// publisher's retransmission brings still goes out.
type SendWindow = Window<16>;
/// Indexes of a stream we receive; later ones count as repeats.
type ReceiveWindow = Window<16>;

impl RtpSealer {
    pub(super) fn new(master: &MasterKey<'_>) -> Option<RtpSealer> {
        Some(RtpSealer {
            cipher: Cipher::new(master, RTP_LABELS)?,
            profile: master.profile,
            streams: Vec::new(),
            last: 0,
            unknown: Unknown::default(),
            exhausted: false,
        })
    }

    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Seals the packet `buf[..len]` in place; returns its new length. `None`: malformed, no room
    /// for the tag, or an index that was sealed before.
    pub fn seal(&mut self, buf: &mut [u8], len: usize) -> Option<usize> {
        let header = rtp_header_bytes(buf.get(..len)?)?;
        let sealed = len + self.profile.tag_bytes();
        if buf.len() < sealed {
            return None;
        }
        let (ssrc, sequence) = ssrc_and_sequence(buf);
        let stream = self.stream(ssrc)?;
        let index = estimate_index(stream.window.highest(), sequence);
        if !stream.window.is_fresh(index) || !stream.lease.allows(index) {
            return None;
        }
        stream.window.mark(index);
        let (packet, tail) = buf.split_at_mut(len);
        match &self.cipher {
            Cipher::Gcm { key, salt } => {
                let (header, payload) = packet.split_at_mut(header);
                let nonce = gcm_nonce(salt, ssrc, index);
                let tag = key
                    .seal_in_place_separate_tag(nonce, Aad::from(&*header), payload)
                    .ok()?;
                tail[..GCM_TAG_BYTES].copy_from_slice(tag.as_ref());
            }
            Cipher::Cm { aes, salt, mac } => {
                cm_apply(aes, salt, ssrc, index, &mut packet[header..]);
                let roc = ((index >> 16) as u32).to_be_bytes();
                tail[..CM_TAG_BYTES].copy_from_slice(&cm_tag(mac, [packet, &roc]));
            }
        }
        Some(sealed)
    }

    /// A new stream cannot be sent: the keys have to be replaced.
    pub(super) fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    fn stream(&mut self, ssrc: u32) -> Option<&mut OutStream> {
        if self.streams.get(self.last).is_none_or(|s| s.ssrc != ssrc) {
            self.last = match self.streams.binary_search_by_key(&ssrc, |s| s.ssrc) {
                Ok(at) => at,
                Err(_) if self.streams.len() >= SRTP_MAX_STREAMS_OUT => {
                    self.exhausted = true;
                    return None;
                }
                Err(at) => {
                    self.streams.insert(at, self.unknown.stream(ssrc));
                    at
                }
            };
        }
        self.streams.get_mut(self.last)
    }
}

struct InStream {
    ssrc: u32,
    window: ReceiveWindow,
    used: u64,
    /// What the standby knows of `window`.
    told: u64,
}

/// Opens what we receive.
pub(super) struct RtpOpener {
    cipher: Cipher,
    profile: Profile,
    streams: Vec<InStream>,
    last: usize,
    clock: u64,
}

impl RtpOpener {
    pub(super) fn new(master: &MasterKey<'_>) -> Option<RtpOpener> {
        Some(RtpOpener {
            cipher: Cipher::new(master, RTP_LABELS)?,
            profile: master.profile,
            streams: Vec::new(),
            last: 0,
            clock: 0,
        })
    }

    /// Opens `packet` in place; returns the plaintext's length and whether its index was seen
    /// before.
    pub(super) fn open(&mut self, packet: &mut [u8]) -> Result<(usize, bool), DropReason> {
        let header = rtp_header_bytes(packet).ok_or(DropReason::Malformed)?;
        let plain = packet
            .len()
            .checked_sub(self.profile.tag_bytes())
            .filter(|&plain| plain >= header)
            .ok_or(DropReason::Malformed)?;
        let (ssrc, sequence) = ssrc_and_sequence(packet);
        let known = self.find(ssrc);
        let highest = known.and_then(|at| self.streams[at].window.highest());
        let index = estimate_index(highest, sequence);
        match &self.cipher {
            Cipher::Gcm { key, salt } => {
                let (header, sealed) = packet.split_at_mut(header);
                let nonce = gcm_nonce(salt, ssrc, index);
                key.open_in_place(nonce, Aad::from(&*header), sealed)
                    .map_err(|_| DropReason::Unauthenticated)?;
            }
            Cipher::Cm { aes, salt, mac } => {
                let (packet, tag) = packet.split_at_mut(plain);
                let roc = ((index >> 16) as u32).to_be_bytes();
                if !bool::from(cm_tag(mac, [packet, &roc]).as_slice().ct_eq(tag)) {
                    return Err(DropReason::Unauthenticated);
                }
                cm_apply(aes, salt, ssrc, index, &mut packet[header..]);
            }
        }
        let at = known.unwrap_or_else(|| self.insert(ssrc, Window::default()));
        self.last = at;
        self.clock += 1;
        let stream = &mut self.streams[at];
        stream.used = self.clock;
        let replayed = !stream.window.is_fresh(index);
        stream.window.mark(index);
        Ok((plain, replayed))
    }

    pub(super) fn indexes(&self) -> Vec<StreamIndex> {
        let of = |stream: &InStream| {
            stream.window.highest().map(|highest| StreamIndex {
                ssrc: stream.ssrc,
                highest,
            })
        };
        self.streams.iter().filter_map(of).collect()
    }

    pub(super) fn restore(&mut self, streams: &[StreamIndex]) {
        for stream in streams.iter().take(SRTP_MAX_STREAMS_IN) {
            let mut window = Window::default();
            window.mark(stream.highest);
            self.insert(stream.ssrc, window);
        }
    }

    fn find(&self, ssrc: u32) -> Option<usize> {
        if self.streams.get(self.last).is_some_and(|s| s.ssrc == ssrc) {
            return Some(self.last);
        }
        self.streams.iter().position(|stream| stream.ssrc == ssrc)
    }

    fn insert(&mut self, ssrc: u32, window: ReceiveWindow) -> usize {
        let stream = InStream {
            ssrc,
            window,
            used: self.clock,
            told: 0,
        };
        if self.streams.len() < SRTP_MAX_STREAMS_IN {
            self.streams.push(stream);
            return self.streams.len() - 1;
        }
        let oldest = (0..self.streams.len()).min_by_key(|&i| self.streams[i].used);
        let at = oldest.unwrap_or(0);
        self.streams[at] = stream;
        at
    }
}

#[cfg(test)]
mod tests;
