//! Connections as a browser makes them: TCP, and TLS whose certificate the system's authorities
//! must vouch for. Used by the checks of the connection test.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::ANSWER_WAIT;

/// A stream of bytes, sealed or not.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Why there is no connection, in words for an operator.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("the name {host} cannot be resolved: {source}")]
    Name { host: String, source: io::Error },
    #[error("nothing answers at {0}: the port is filtered on the way, or the host is down")]
    Silent(String),
    #[error("{address}: {source}")]
    Refused { address: String, source: io::Error },
    #[error("TLS with {host}: {source}")]
    Tls { host: String, source: io::Error },
}

impl DialError {
    /// What an operator can do about it.
    pub fn advice(&self, port: u16, key: &str) -> String {
        match self {
            DialError::Name { host, .. } => {
                format!("make the name {host} lead to the server in DNS")
            }
            DialError::Silent(_) => {
                format!("open TCP {port} ({key}) from clients to the server")
            }
            DialError::Refused { .. } => {
                format!("nothing listens on TCP {port} ({key}), or a firewall refuses it")
            }
            DialError::Tls { host, .. } => {
                format!("use a certificate for {host} that browsers trust, with its whole chain")
            }
        }
    }
}

/// The first address of a name that accepts.
pub(super) async fn tcp(host: &str, port: u16) -> Result<TcpStream, DialError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let resolved: Vec<SocketAddr> = match tokio::net::lookup_host((bare, port)).await {
        Ok(found) => found.collect(),
        Err(source) => {
            let host = host.to_owned();
            return Err(DialError::Name { host, source });
        }
    };
    let address = format!("{host}:{port}");
    let mut last = DialError::Silent(address.clone());
    for to in resolved {
        match timeout(ANSWER_WAIT, TcpStream::connect(to)).await {
            Ok(Ok(stream)) => {
                // Probes are small and wait for nothing.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(source)) => {
                let address = address.clone();
                last = DialError::Refused { address, source };
            }
            Err(_) => last = DialError::Silent(address.clone()),
        }
    }
    Err(last)
}

pub(super) async fn tls(host: &str, port: u16) -> Result<Box<dyn Stream>, DialError> {
    let stream = tcp(host, port).await?;
    let failed = |source| DialError::Tls {
        host: host.to_owned(),
        source,
    };
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_platform_verifier())
        .map_err(|error| failed(io::Error::other(error)))?
        .with_no_client_auth();
    let name =
        ServerName::try_from(host.to_owned()).map_err(|error| failed(io::Error::other(error)))?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    match timeout(ANSWER_WAIT, connecting).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => Err(failed(error)),
        Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
    }
}
