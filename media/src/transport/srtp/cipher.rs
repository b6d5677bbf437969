//! Key derivation and the two ciphers of SRTP and SRTCP (RFC 3711 §4, RFC 7714).

use aes::Aes128Enc;
use aes::cipher::{InnerIvInit, KeyInit, KeyIvInit, StreamCipher, StreamCipherCoreWrapper};
use aws_lc_rs::aead::{AES_128_GCM, LessSafeKey, Nonce, UnboundKey};
use ctr::{CtrCore, flavors};
use hmac::{Hmac, Mac};
use sha1::Sha1;

use super::{CM_TAG_BYTES, MASTER_KEY_BYTES, Profile};

/// Master key and salt of one direction.
#[derive(Clone)]
pub(in crate::transport) struct MasterKey<'a> {
    pub(in crate::transport) profile: Profile,
    key: &'a [u8],
    salt: &'a [u8],
}

impl<'a> MasterKey<'a> {
    /// Keys of what we receive and of what we send; `None` if `material` has the wrong length.
    pub(in crate::transport) fn split(
        profile: Profile,
        material: &'a [u8],
        is_client: bool,
    ) -> Option<(MasterKey<'a>, MasterKey<'a>)> {
        let salt_bytes = profile.salt_bytes();
        let (client_key, rest) = material.split_at_checked(MASTER_KEY_BYTES)?;
        let (server_key, rest) = rest.split_at_checked(MASTER_KEY_BYTES)?;
        let (client_salt, server_salt) = rest.split_at_checked(salt_bytes)?;
        if server_salt.len() != salt_bytes {
            return None;
        }
        let of = |key, salt| MasterKey { profile, key, salt };
        let client = of(client_key, client_salt);
        let server = of(server_key, server_salt);
        Some(if is_client {
            (server, client)
        } else {
            (client, server)
        })
    }

    /// Session key for `label` (RFC 3711 §4.3.1 with a key derivation rate of 0).
    pub(in crate::transport) fn derive(&self, label: u8, out: &mut [u8]) -> Option<()> {
        let mut iv = [0u8; 16];
        iv.get_mut(..self.salt.len())?.copy_from_slice(self.salt);
        iv[7] ^= label;
        out.fill(0);
        ctr::Ctr128BE::<aes::Aes128>::new_from_slices(self.key, &iv)
            .ok()?
            .apply_keystream(out);
        Some(())
    }
}

/// Labels of the derivation for RTP and RTCP.
#[derive(Clone, Copy)]
pub(in crate::transport) struct Labels {
    encryption: u8,
    authentication: u8,
    salt: u8,
}

pub(in crate::transport) const RTP_LABELS: Labels = Labels {
    encryption: 0,
    authentication: 1,
    salt: 2,
};
pub(in crate::transport) const RTCP_LABELS: Labels = Labels {
    encryption: 3,
    authentication: 4,
    salt: 5,
};

/// A session's keyed ciphers; building one costs, using it does not allocate.
pub(in crate::transport) enum Cipher {
    Gcm {
        key: LessSafeKey,
        salt: [u8; 12],
    },
    Cm {
        aes: Box<Aes128Enc>,
        salt: [u8; 14],
        mac: Hmac<Sha1>,
    },
}

impl Cipher {
    pub(in crate::transport) fn new(master: &MasterKey<'_>, labels: Labels) -> Option<Cipher> {
        let mut key = [0u8; 16];
        master.derive(labels.encryption, &mut key)?;
        match master.profile {
            Profile::AeadAes128Gcm => {
                let mut salt = [0u8; 12];
                master.derive(labels.salt, &mut salt)?;
                let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).ok()?);
                Some(Cipher::Gcm { key, salt })
            }
            Profile::Aes128CmSha1_80 => {
                let mut salt = [0u8; 14];
                master.derive(labels.salt, &mut salt)?;
                let mut authentication = [0u8; 20];
                master.derive(labels.authentication, &mut authentication)?;
                Some(Cipher::Cm {
                    aes: Box::new(Aes128Enc::new(&key.into())),
                    salt,
                    mac: <Hmac<Sha1> as Mac>::new_from_slice(&authentication).ok()?,
                })
            }
        }
    }
}

/// Nonce of RFC 7714 §8.1 and §9.1; `index` is 48 bits for RTP, 31 bits for RTCP.
pub(in crate::transport) fn gcm_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> Nonce {
    let mut iv = [0u8; 12];
    iv[2..6].copy_from_slice(&ssrc.to_be_bytes());
    iv[6..].copy_from_slice(&index.to_be_bytes()[2..]);
    for (byte, salt) in iv.iter_mut().zip(salt) {
        *byte ^= salt;
    }
    Nonce::assume_unique_for_key(iv)
}

/// Applies the keystream of RFC 3711 §4.1.1 to `data`.
pub(in crate::transport) fn cm_apply(
    aes: &Aes128Enc,
    salt: &[u8; 14],
    ssrc: u32,
    index: u64,
    data: &mut [u8],
) {
    let mut iv = [0u8; 16];
    iv[..14].copy_from_slice(salt);
    for (byte, ssrc) in iv[4..8].iter_mut().zip(ssrc.to_be_bytes()) {
        *byte ^= ssrc;
    }
    for (byte, index) in iv[8..14].iter_mut().zip(&index.to_be_bytes()[2..]) {
        *byte ^= index;
    }
    let core = CtrCore::<_, flavors::Ctr128BE>::inner_iv_init(aes, &iv.into());
    StreamCipherCoreWrapper::from_core(core).apply_keystream(data);
}

/// `HMAC_SHA1_80` over the concatenation of `parts`.
pub(in crate::transport) fn cm_tag(mac: &Hmac<Sha1>, parts: [&[u8]; 2]) -> [u8; CM_TAG_BYTES] {
    let mut mac = mac.clone();
    for part in parts {
        mac.update(part);
    }
    let full = mac.finalize().into_bytes();
    let mut tag = [0u8; CM_TAG_BYTES];
    tag.copy_from_slice(&full[..CM_TAG_BYTES]);
    tag
}
