//! The peer's certificate fingerprint in a description (RFC 8122). Called by `remote`; says which
//! one counts, proves nothing.

use crate::types::Fingerprint;

use super::contract::NegotiateError;
use super::sdp::{self, Description};

/// The fingerprint with SHA-256 if there is one, else another SHA-2.
pub(super) fn fingerprint(
    description: &Description<'_>,
    index: usize,
) -> Result<Fingerprint, NegotiateError> {
    let all: Vec<Fingerprint> = description.sections[index]
        .values("fingerprint")
        .chain(sdp::values(&description.attributes, "fingerprint"))
        .filter_map(parse_fingerprint)
        .collect();
    ["sha-256", "sha-384", "sha-512"]
        .iter()
        .find_map(|name| all.iter().find(|f| f.algorithm == *name).cloned())
        .ok_or(NegotiateError::NoFingerprint)
}

fn parse_fingerprint(value: &str) -> Option<Fingerprint> {
    let (algorithm, digest) = value.split_once(' ')?;
    let algorithm = algorithm.to_ascii_lowercase();
    let bytes = match algorithm.as_str() {
        "sha-256" => 32,
        "sha-384" => 48,
        "sha-512" => 64,
        _ => return None,
    };
    let digest: Option<Vec<u8>> = digest
        .trim()
        .split(':')
        .take(bytes + 1)
        .map(|byte| {
            u8::from_str_radix(byte, 16)
                .ok()
                .filter(|_| byte.len() == 2)
        })
        .collect();
    let digest = digest.filter(|digest| digest.len() == bytes)?;
    Some(Fingerprint { algorithm, digest })
}
