//! Who a node is on the network. The secret of the cluster gives its certificate authority and its
//! id; each node mints its own certificate under it, with its node id in the names. Whoever holds
//! the secret is trusted; certificates do not expire, as a wrong clock must keep nobody out.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::hmac;
use consensus::ids::NodeId;
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::Plane;
use crate::cluster::limits::{ACCEPTED_TOKENS_MAX, TOKEN_CHARS_MIN};

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(
        "cluster.token is shorter than {TOKEN_CHARS_MIN} characters; `skein cluster token` makes one"
    )]
    TokenTooShort,
    #[error("cluster.accepted_tokens are more than {ACCEPTED_TOKENS_MAX}")]
    TooManyTokens,
    #[error("deriving the keys of the cluster failed")]
    Derive,
    #[error("the certificate of this node: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("TLS between nodes: {0}")]
    Tls(#[from] rustls::Error),
    #[error("TLS between nodes: {0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
    #[error("TLS between nodes: {0}")]
    Quic(#[from] NoInitialCipherSuite),
}

/// What the secret of a cluster amounts to.
#[derive(Clone)]
pub struct ClusterSecret {
    keys: Prk,
    /// Others whose certificates count as well, while a secret is exchanged for another.
    accepted: Vec<Prk>,
}

impl ClusterSecret {
    pub fn new(token: &str) -> Result<Self, IdentityError> {
        let token = token.trim();
        if token.chars().count() < TOKEN_CHARS_MIN {
            return Err(IdentityError::TokenTooShort);
        }
        // RFC 5869; the salt separates these keys from any other use of the same secret.
        let salt = Salt::new(HKDF_SHA256, b"skein cluster 1");
        Ok(Self {
            keys: salt.extract(token.as_bytes()),
            accepted: Vec::new(),
        })
    }

    /// Nodes that have only this other one are let in as well, and let this one in. A secret is
    /// exchanged in three rounds of restarts: every node accepts the new one, every node has it and
    /// accepts the old one, every node has the new one alone.
    pub fn accepting(mut self, token: &str) -> Result<Self, IdentityError> {
        if self.accepted.len() >= ACCEPTED_TOKENS_MAX {
            return Err(IdentityError::TooManyTokens);
        }
        self.accepted.push(Self::new(token)?.keys);
        Ok(self)
    }

    /// Nodes of two clusters never mix: stores and certificates carry it.
    pub fn cluster_id(&self) -> Result<u64, IdentityError> {
        cluster_id(&self.keys)
    }

    /// Of the others: a store may still carry one of these.
    pub fn accepted_ids(&self) -> Result<Vec<u64>, IdentityError> {
        self.accepted.iter().map(cluster_id).collect()
    }
}

#[cfg(test)]
impl ClusterSecret {
    /// What nodes have before and after each of the three rounds in which `from` becomes `to`.
    pub(in crate::cluster) fn exchanged(from: &str, to: &str) -> Result<[Self; 4], IdentityError> {
        Ok([
            Self::new(from)?,
            Self::new(from)?.accepting(to)?,
            Self::new(to)?.accepting(from)?,
            Self::new(to)?,
        ])
    }
}

fn cluster_id(keys: &Prk) -> Result<u64, IdentityError> {
    Ok(u64::from_le_bytes(derive(keys, &[b"cluster id"])?))
}

fn derive<const BYTES: usize>(keys: &Prk, info: &[&[u8]]) -> Result<[u8; BYTES], IdentityError> {
    struct Length(usize);
    impl KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut bytes = [0; BYTES];
    let key = keys.expand(info, Length(BYTES));
    let filled = key.and_then(|key| key.fill(&mut bytes));
    filled.map(|()| bytes).map_err(|_| IdentityError::Derive)
}

/// Everything one node shows and checks.
pub struct Identity {
    pub node: NodeId,
    pub cluster: u64,
    /// Its own first.
    authorities: Vec<CertificateDer<'static>>,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
    provider: Arc<CryptoProvider>,
    /// The same over restarts: who still has a connection to the last process is told at once.
    pub(super) reset_key: [u8; 32],
}

impl Identity {
    /// `seed` is random: the private key of this node is made of it.
    pub fn new(
        secret: &ClusterSecret,
        node: NodeId,
        seed: &[u8; 32],
    ) -> Result<Self, IdentityError> {
        let cluster = secret.cluster_id()?;
        let (authority, issuer) = authority(&secret.keys)?;
        let mut authorities = vec![authority];
        for keys in &secret.accepted {
            authorities.push(self::authority(keys)?.0);
        }
        // Whoever has only one of the secrets looks for the name under that one.
        let mut clusters = vec![cluster];
        clusters.extend(secret.accepted_ids()?);
        let key = ed25519(seed)?;
        let certificate = node_params(&clusters, node)?.signed_by(&key, &issuer)?;
        Ok(Self {
            node,
            cluster,
            authorities,
            certificate: certificate.der().clone(),
            key: key.serialize_der(),
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            reset_key: derive(&secret.keys, &[b"reset", &node.0.to_le_bytes()])?,
        })
    }

    pub(super) fn reset_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.reset_key)
    }

    pub(super) fn server(&self) -> Result<QuicServerConfig, IdentityError> {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.roots()?, Arc::clone(&self.provider));
        let builder =
            ServerConfig::builder_with_details(Arc::clone(&self.provider), Arc::new(FixedTime));
        let mut config = builder
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier.build()?)
            .with_single_cert(vec![self.certificate.clone()], self.private_key().into())?;
        config.alpn_protocols = Plane::ALL.map(|plane| plane.alpn().to_vec()).to_vec();
        // A resumed session would skip the proof of who the peer is.
        config.send_tls13_tickets = 0;
        Ok(config.try_into()?)
    }

    pub(super) fn client(&self, plane: Plane) -> Result<QuicClientConfig, IdentityError> {
        let verifier =
            WebPkiServerVerifier::builder_with_provider(self.roots()?, Arc::clone(&self.provider));
        let builder =
            ClientConfig::builder_with_details(Arc::clone(&self.provider), Arc::new(FixedTime));
        let mut config = builder
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_webpki_verifier(verifier.build()?)
            .with_client_auth_cert(vec![self.certificate.clone()], self.private_key().into())?;
        config.alpn_protocols = vec![plane.alpn().to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config.try_into()?)
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, IdentityError> {
        let mut roots = RootCertStore::empty();
        for authority in &self.authorities {
            roots.add(authority.clone())?;
        }
        Ok(Arc::new(roots))
    }

    fn private_key(&self) -> PrivatePkcs8KeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone())
    }
}

/// The name of whichever node of the cluster answers.
pub(super) fn any_name(cluster: u64) -> String {
    format!("c{cluster:016x}.skein")
}

/// The name of one node.
pub(super) fn node_name(cluster: u64, node: NodeId) -> String {
    format!("n{}.{}", node.0, any_name(cluster))
}

/// Which node a verified certificate belongs to.
pub(super) fn node_of(certificate: &CertificateDer<'_>, cluster: u64) -> Option<NodeId> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let suffix = format!(".{}", any_name(cluster));
    let mut names = certificate.valid_dns_names();
    names.find_map(|name| {
        let number = name.strip_suffix(&suffix)?.strip_prefix('n')?;
        number.parse().ok().map(NodeId)
    })
}

fn authority(
    keys: &Prk,
) -> Result<(CertificateDer<'static>, Issuer<'static, KeyPair>), IdentityError> {
    let key = ed25519(&derive::<32>(keys, &[b"authority"])?)?;
    let params = authority_params(cluster_id(keys)?);
    let certificate = params.self_signed(&key)?.der().clone();
    Ok((certificate, Issuer::new(params, key)))
}

fn authority_params(cluster: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    let name = format!("cluster {cluster:016x}");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn node_params(clusters: &[u64], node: NodeId) -> Result<CertificateParams, IdentityError> {
    let names = clusters
        .iter()
        .flat_map(|c| [node_name(*c, node), any_name(*c)]);
    let mut params = CertificateParams::new(names.collect::<Vec<_>>())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    let name = format!("node {}", node.0);
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    Ok(params)
}

/// RFC 8410 §7: a private key without its public half.
fn ed25519(seed: &[u8; 32]) -> Result<KeyPair, rcgen::Error> {
    const HEAD: [u8; 16] = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    let mut der = HEAD.to_vec();
    der.extend_from_slice(seed);
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(der), &rcgen::PKCS_ED25519)
}

/// Certificates are judged as of one moment within their time: see the header.
#[derive(Debug)]
struct FixedTime;

impl TimeProvider for FixedTime {
    fn current_time(&self) -> Option<UnixTime> {
        // 2026-01-01.
        Some(UnixTime::since_unix_epoch(Duration::from_secs(
            1_767_225_600,
        )))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const TOKEN: &str = "an example of a secret that is long enough";

    #[test]
    fn a_secret_gives_the_same_cluster_everywhere_and_another_one_another() {
        let one = ClusterSecret::new(TOKEN).unwrap();
        let same = ClusterSecret::new(&format!(" {TOKEN}\n")).unwrap();
        let other = ClusterSecret::new(&TOKEN.replace("an", "no")).unwrap();
        assert_eq!(one.cluster_id().unwrap(), same.cluster_id().unwrap());
        assert_ne!(one.cluster_id().unwrap(), other.cluster_id().unwrap());
        let first = Identity::new(&one, NodeId(1), &[1; 32]).unwrap();
        let second = Identity::new(&same, NodeId(2), &[2; 32]).unwrap();
        assert_eq!(first.authorities, second.authorities);
        assert!(ClusterSecret::new("short").is_err());
    }

    #[test]
    fn a_node_accepts_a_few_other_secrets() {
        let mut secret = ClusterSecret::new(TOKEN).unwrap();
        for _ in 0..ACCEPTED_TOKENS_MAX {
            secret = secret.accepting(TOKEN).unwrap();
        }
        assert!(secret.accepting(TOKEN).is_err());
    }

    #[test]
    fn a_certificate_names_its_node_within_its_cluster_only() {
        let secret = ClusterSecret::new(TOKEN).unwrap();
        let node = NodeId((1 << 48) - 7);
        let identity = Identity::new(&secret, node, &[1; 32]).unwrap();
        let cluster = identity.cluster;
        assert_eq!(node_of(&identity.certificate, cluster), Some(node));
        assert_eq!(node_of(&identity.certificate, cluster ^ 1), None);
        assert_eq!(node_of(&identity.authorities[0], cluster), None);
    }
}
