//! SRTCP (RFC 3711 §3.4, RFC 7714 §9): seals and opens compound RTCP packets in place, within
//! leased indexes so that no index is used twice by a transport and its standby.

use aws_lc_rs::aead::Aad;
use subtle::ConstantTimeEq;

use super::lease::Lease;
use super::srtp::{
    CM_TAG_BYTES, Cipher, GCM_TAG_BYTES, MasterKey, RTCP_LABELS, Window, cm_apply, cm_tag,
    gcm_nonce,
};
use crate::limits::SRTP_MAX_STREAMS_IN;
use crate::transport::DropReason;

const HEADER_BYTES: usize = 8;
const INDEX_BYTES: usize = 4;
const ENCRYPTED: u32 = 1 << 31;
const MAX_INDEX: u32 = ENCRYPTED - 1;

pub(super) struct RtcpSealer {
    cipher: Cipher,
    next: u32,
    pub(super) lease: Lease,
}

impl RtcpSealer {
    /// `next` is the first index to use: 0 after a handshake.
    pub(super) fn new(master: &MasterKey<'_>, next: u32) -> Option<RtcpSealer> {
        Some(RtcpSealer {
            cipher: Cipher::new(master, RTCP_LABELS)?,
            next,
            lease: Lease::FREE,
        })
    }

    /// Seals the compound packet `buf[..len]` in place; returns its new length.
    pub(super) fn seal(&mut self, buf: &mut [u8], len: usize) -> Option<usize> {
        if len < HEADER_BYTES || buf.len() < len || self.next > MAX_INDEX {
            return None;
        }
        let ssrc = u32::from_be_bytes([buf[4], buf[5], buf[6], buf[7]]);
        let index = self.next;
        if !self.lease.allows(u64::from(index)) {
            return None;
        }
        let word = (ENCRYPTED | index).to_be_bytes();
        let (packet, tail) = buf.split_at_mut(len);
        match &self.cipher {
            Cipher::Gcm { key, salt } => {
                let tail = tail.get_mut(..GCM_TAG_BYTES + INDEX_BYTES)?;
                let (header, payload) = packet.split_at_mut(HEADER_BYTES);
                let nonce = gcm_nonce(salt, ssrc, u64::from(index));
                let tag = key
                    .seal_in_place_separate_tag(nonce, Aad::from(aad(header, word)), payload)
                    .ok()?;
                tail[..GCM_TAG_BYTES].copy_from_slice(tag.as_ref());
                tail[GCM_TAG_BYTES..].copy_from_slice(&word);
                self.next += 1;
                Some(len + GCM_TAG_BYTES + INDEX_BYTES)
            }
            Cipher::Cm { aes, salt, mac } => {
                let tail = tail.get_mut(..INDEX_BYTES + CM_TAG_BYTES)?;
                cm_apply(
                    aes,
                    salt,
                    ssrc,
                    u64::from(index),
                    &mut packet[HEADER_BYTES..],
                );
                tail[..INDEX_BYTES].copy_from_slice(&word);
                tail[INDEX_BYTES..].copy_from_slice(&cm_tag(mac, [packet, &word]));
                self.next += 1;
                Some(len + INDEX_BYTES + CM_TAG_BYTES)
            }
        }
    }

    /// The next index.
    pub(super) fn next(&self) -> u64 {
        u64::from(self.next)
    }

    /// First index that whoever goes on may use.
    pub(super) fn end(&self) -> u32 {
        let end = match self.lease.is_free() {
            true => self.next(),
            false => self.lease.end(),
        };
        end.min(u64::from(ENCRYPTED)) as u32
    }
}

pub(super) struct RtcpOpener {
    cipher: Cipher,
    /// Replay windows by sender SSRC, least recently added first.
    senders: Vec<(u32, Window<2>)>,
}

impl RtcpOpener {
    pub(super) fn new(master: &MasterKey<'_>) -> Option<RtcpOpener> {
        Some(RtcpOpener {
            cipher: Cipher::new(master, RTCP_LABELS)?,
            senders: Vec::new(),
        })
    }

    /// Opens `packet` in place; returns the plaintext's length.
    pub(super) fn open(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        let overhead = INDEX_BYTES
            + match self.cipher {
                Cipher::Gcm { .. } => GCM_TAG_BYTES,
                Cipher::Cm { .. } => CM_TAG_BYTES,
            };
        let plain = packet
            .len()
            .checked_sub(overhead)
            .filter(|&plain| plain >= HEADER_BYTES)
            .ok_or(DropReason::Malformed)?;
        let ssrc = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        let index = match &self.cipher {
            Cipher::Gcm { key, salt } => {
                let (sealed, word) = packet.split_at_mut(plain + GCM_TAG_BYTES);
                let (word, index) = index_word(word)?;
                let (header, body) = sealed.split_at_mut(HEADER_BYTES);
                let nonce = gcm_nonce(salt, ssrc, index);
                key.open_in_place(nonce, Aad::from(aad(header, word)), body)
                    .map_err(|_| DropReason::Unauthenticated)?;
                index
            }
            Cipher::Cm { aes, salt, mac } => {
                let (body, tail) = packet.split_at_mut(plain);
                let (word, tag) = tail.split_at(INDEX_BYTES);
                let (word, index) = index_word(word)?;
                if !bool::from(cm_tag(mac, [body, &word]).as_slice().ct_eq(tag)) {
                    return Err(DropReason::Unauthenticated);
                }
                cm_apply(aes, salt, ssrc, index, &mut body[HEADER_BYTES..]);
                index
            }
        };
        let window = self.sender(ssrc);
        if !window.is_fresh(index) {
            return Err(DropReason::Replayed);
        }
        window.mark(index);
        Ok(plain)
    }

    fn sender(&mut self, ssrc: u32) -> &mut Window<2> {
        let at = match self.senders.iter().position(|sender| sender.0 == ssrc) {
            Some(at) => at,
            None => {
                if self.senders.len() >= SRTP_MAX_STREAMS_IN {
                    self.senders.remove(0);
                }
                self.senders.push((ssrc, Window::default()));
                self.senders.len() - 1
            }
        };
        &mut self.senders[at].1
    }
}

/// The E flag with the index; packets that are not encrypted are not taken (RFC 8827 §6.5).
fn index_word(word: &[u8]) -> Result<([u8; 4], u64), DropReason> {
    let word: [u8; 4] = word.try_into().map_err(|_| DropReason::Malformed)?;
    let value = u32::from_be_bytes(word);
    if value & ENCRYPTED == 0 {
        return Err(DropReason::Unauthenticated);
    }
    Ok((word, u64::from(value & MAX_INDEX)))
}

/// Associated data of RFC 7714 §9.2: the first eight bytes and the index word.
fn aad(header: &[u8], word: [u8; 4]) -> [u8; HEADER_BYTES + INDEX_BYTES] {
    let mut aad = [0u8; HEADER_BYTES + INDEX_BYTES];
    aad[..HEADER_BYTES].copy_from_slice(header);
    aad[HEADER_BYTES..].copy_from_slice(&word);
    aad
}
