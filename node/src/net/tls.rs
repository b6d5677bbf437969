//! Certificates from PEM files, for whoever ends TLS in this program, and again when the files have
//! changed: certificates are renewed while a node runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::limits::CERTIFICATE_CHECK;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("reading {path}: {source}")]
    Read {
        path: PathBuf,
        source: rustls::pki_types::pem::Error,
    },
    #[error("{0} holds no certificate")]
    Empty(PathBuf),
    #[error(transparent)]
    Unusable(#[from] rustls::Error),
}

/// A certificate with its key, read anew when its file changes.
#[derive(Debug)]
pub struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    config: Arc<ServerConfig>,
    modified: Option<SystemTime>,
    checked: Instant,
}

impl Certificate {
    pub fn load(certificate: &str, key: &str, now: Instant) -> Result<Self, CertificateError> {
        let (certificate, key) = (PathBuf::from(certificate), PathBuf::from(key));
        Ok(Certificate {
            config: load(&certificate, &key)?,
            modified: modified(&certificate),
            checked: now,
            certificate,
            key,
        })
    }

    /// What a new connection is served with.
    pub fn config(&mut self, now: Instant) -> Arc<ServerConfig> {
        if now.saturating_duration_since(self.checked) >= CERTIFICATE_CHECK {
            self.checked = now;
            let modified = modified(&self.certificate);
            if modified != self.modified {
                self.modified = modified;
                match load(&self.certificate, &self.key) {
                    Ok(config) => {
                        tracing::info!(path = ?self.certificate, "read a renewed certificate");
                        self.config = config;
                    }
                    Err(error) => tracing::warn!(%error, "keeping the old certificate"),
                }
            }
        }
        Arc::clone(&self.config)
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, CertificateError> {
    let read = |path: &Path| {
        let path = path.to_owned();
        |source| CertificateError::Read { path, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(read(certificate))?;
    if chain.is_empty() {
        return Err(CertificateError::Empty(certificate.to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(read(key))?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    fn write(folder: &Path) -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["turn.example.com".into()]).unwrap();
        let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        (text(certificate), text(key))
    }

    #[test]
    fn a_renewed_certificate_is_used_without_a_restart_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (path, key) = write(folder.path());
        let mut now = Instant::now();
        let mut certificate = Certificate::load(&path, &key, now).unwrap();
        let first = certificate.config(now);
        let mut later = |change: &dyn Fn(), seconds| {
            change();
            let file = std::fs::File::options().append(true).open(&path).unwrap();
            let modified = SystemTime::now() + Duration::from_secs(seconds);
            file.set_modified(modified).unwrap();
            now += CERTIFICATE_CHECK;
            certificate.config(now)
        };
        let broken = later(&|| std::fs::write(&path, "nonsense").unwrap(), 1);
        assert!(Arc::ptr_eq(&first, &broken), "the old one stays");
        let renewed = later(&|| drop(write(folder.path())), 2);
        assert!(!Arc::ptr_eq(&first, &renewed));
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let (path, key) = write(folder.path());
        let problem = |path: &str, key: &str| {
            let loaded = Certificate::load(path, key, Instant::now());
            loaded.unwrap_err().to_string()
        };
        assert!(problem("/nowhere.pem", &key).contains("/nowhere.pem"));
        assert!(problem(&key, &key).contains("holds no certificate"));
        assert!(problem(&path, &path).contains("cert.pem"));
    }
}
