//! The process's DTLS certificate and the handshake configurations made from it. All transports of
//! a process share one. Created by `node` at start.

use std::sync::Arc;

use aws_lc_rs::digest;
use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;

use crate::limits::{DTLS_CLIENT_FLIGHT_INTERVAL, DTLS_SERVER_FLIGHT_INTERVAL};
use crate::types::Fingerprint;

const AEAD: SrtpProtectionProfile = SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm;
const CM: SrtpProtectionProfile = SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80;

/// Why no identity could be made.
#[derive(Debug, thiserror::Error)]
#[error("DTLS identity: {0}")]
pub struct IdentityError(String);

/// A self-signed ECDSA P-256 certificate with its SHA-256 fingerprint.
pub struct DtlsIdentity {
    fingerprint: Fingerprint,
    provider: Arc<dyn RTCCryptoProvider>,
    server: Arc<HandshakeConfig>,
    /// For clients that offer AEAD, whatever they prefer.
    server_aead: Arc<HandshakeConfig>,
    client: Arc<HandshakeConfig>,
}

impl DtlsIdentity {
    /// Makes a fresh certificate (keys come from the operating system, never from a seed).
    pub fn generate() -> Result<Arc<DtlsIdentity>, IdentityError> {
        let provider: Arc<dyn RTCCryptoProvider> = Arc::new(AwsLcRsProvider::new());
        let certificate =
            Certificate::generate_self_signed(vec!["skein".to_owned()], provider.crypto())
                .map_err(|error| IdentityError(error.to_string()))?;
        let der = certificate
            .certificate
            .first()
            .ok_or_else(|| IdentityError("no certificate".to_owned()))?;
        let fingerprint = Fingerprint {
            algorithm: "sha-256".to_owned(),
            digest: sha256(der.as_ref()),
        };
        let both = [AEAD, CM];
        let server = handshake_config(&certificate, &provider, &both, false)?;
        let server_aead = handshake_config(&certificate, &provider, &[AEAD], false)?;
        let client = handshake_config(&certificate, &provider, &both, true)?;
        Ok(Arc::new(DtlsIdentity {
            fingerprint,
            provider,
            server,
            server_aead,
            client,
        }))
    }

    /// `a=fingerprint` of our descriptions.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    pub(super) fn provider(&self) -> &Arc<dyn RTCCryptoProvider> {
        &self.provider
    }

    pub(super) fn config(&self, is_client: bool) -> &Arc<HandshakeConfig> {
        if is_client {
            &self.client
        } else {
            &self.server
        }
    }

    pub(super) fn aead_config(&self) -> &Arc<HandshakeConfig> {
        &self.server_aead
    }
}

impl std::fmt::Debug for DtlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DtlsIdentity")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// Whether `certificate` (DER) hashes to `expected`; unknown hash names never match.
pub(super) fn matches_fingerprint(certificate: &[u8], expected: &Fingerprint) -> bool {
    let algorithm = match expected.algorithm.to_ascii_lowercase().as_str() {
        "sha-256" => &digest::SHA256,
        "sha-384" => &digest::SHA384,
        "sha-512" => &digest::SHA512,
        _ => return false,
    };
    digest::digest(algorithm, certificate).as_ref() == expected.digest.as_slice()
}

fn sha256(data: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, data).as_ref().to_vec()
}

fn handshake_config(
    certificate: &Certificate,
    provider: &Arc<dyn RTCCryptoProvider>,
    profiles: &[SrtpProtectionProfile],
    is_client: bool,
) -> Result<Arc<HandshakeConfig>, IdentityError> {
    let config = ConfigBuilder::default()
        .with_crypto_provider(Arc::clone(provider))
        .with_certificates(vec![certificate.clone()])
        .with_cipher_suites(vec![
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256,
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_256_Cbc_Sha,
        ])
        .with_srtp_protection_profiles(profiles.to_vec())
        .with_flight_interval(if is_client {
            DTLS_CLIENT_FLIGHT_INTERVAL
        } else {
            DTLS_SERVER_FLIGHT_INTERVAL
        })
        // Every WebRTC client has it; without it the session is open to a triple handshake.
        .with_extended_master_secret(ExtendedMasterSecretType::Require)
        .with_client_auth(ClientAuthType::RequireAnyClientCert)
        // Certificates are self-signed: the fingerprint of the description is checked instead.
        .with_insecure_skip_verify(true)
        .build(is_client, None)
        .map_err(|error| IdentityError(error.to_string()))?;
    Ok(Arc::new(config))
}
