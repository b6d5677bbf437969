//! The embedded TURN server as `livekit.yaml`'s `turn:` describes it: checks the section, opens its
//! ports, names the media ports it leads to, starts its thread. `run` calls it; `media::turn` is
//! the protocol and `net::turn` the sockets.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use media::turn::credentials::Authority;
use media::turn::peers::{Network, OwnPort, PeerPolicy};
use media::turn::{self, RelayAddress};

use crate::auth::unix_seconds;
use crate::config::Config;
use crate::config::server::Turn;
use crate::limits::{TURN_CREDENTIALS_MAX, TURN_CREDENTIALS_MIN};
use crate::net::turn::streams::Security;
use crate::net::turn::{Listeners, TurnThread};
use crate::net::{interfaces, tcp, tls, udp};
use crate::run::{RunError, compose};
use crate::shards::Shards;

/// Why the TURN server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    #[error("turn: one of udp_port and tls_port must be given")]
    NoPort,
    #[error("turn.domain must be the host name clients reach tls_port at, not `{0}`")]
    Domain(String),
    #[error("turn.cert_file and turn.key_file: {0}")]
    Certificate(#[from] tls::CertificateError),
    #[error("turn.{key}: `{text}` is not an address or a network such as 10.0.0.0/8")]
    Network { key: &'static str, text: String },
    #[error("turn.bind_addresses: `{0}` is not an IP address")]
    BindAddress(String),
    #[error("turn.relay_range_end is below turn.relay_range_start")]
    RelayRange,
    #[error("turn: listening on {what} {address}: {source}")]
    Listen {
        what: &'static str,
        address: SocketAddr,
        source: io::Error,
    },
    #[error("turn: starting its thread: {0}")]
    Thread(io::Error),
}

/// Makes and checks the credentials of participants; needed by the rooms as well.
pub fn authority(config: &Config) -> Authority {
    let secrets = config.keys.iter();
    let secrets = secrets.map(|(key, secret)| (key.clone(), secret.expose().to_owned()));
    let lifetime = Duration::from_secs(u64::from(config.turn.ttl_seconds));
    Authority::new(
        secrets.collect(),
        lifetime.clamp(TURN_CREDENTIALS_MIN, TURN_CREDENTIALS_MAX),
    )
}

/// Starts the server if it is enabled.
pub fn start(
    config: &Config,
    authority: Authority,
    shards: &Shards,
) -> Result<Option<TurnThread>, RunError> {
    let section = &config.turn;
    if !section.enabled {
        return Ok(None);
    }
    check(section)?;
    let listeners = listen(section)?;
    let settings = settings(config, authority, shards)?;
    tracing::info!(
        udp_port = section.udp_port,
        tls_port = section.tls_port,
        relay_range_start = section.relay_range_start,
        relay_range_end = section.relay_range_end,
        relay_addresses = ?settings.relay_addresses,
        external_tls = section.external_tls,
        "serving TURN"
    );
    let thread = TurnThread::start(turn::Server::new(settings), listeners);
    Ok(Some(thread.map_err(TurnError::Thread)?))
}

fn check(section: &Turn) -> Result<(), TurnError> {
    if section.udp_port == 0 && section.tls_port == 0 {
        return Err(TurnError::NoPort);
    }
    if section.tls_port != 0 && !is_host_name(&section.domain) {
        return Err(TurnError::Domain(section.domain.clone()));
    }
    if section.relay_range_end < section.relay_range_start {
        return Err(TurnError::RelayRange);
    }
    Ok(())
}

/// A name a certificate can be for: dots and labels, not an address.
fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    text.contains('.')
        && text.len() <= 253
        && text.parse::<IpAddr>().is_err()
        && text.split('.').all(label)
}

fn listen(section: &Turn) -> Result<Listeners, TurnError> {
    let mut listeners = Listeners::default();
    let security = match (section.tls_port, section.external_tls) {
        (0, _) | (_, true) => Security::Plain,
        _ => Security::tls(&section.cert_file, &section.key_file)?,
    };
    listeners.security = security;
    for text in &section.bind_addresses {
        let ip: IpAddr = text
            .parse()
            .map_err(|_| TurnError::BindAddress(text.clone()))?;
        let failed = |what, address| {
            move |source| TurnError::Listen {
                what,
                address,
                source,
            }
        };
        if section.udp_port != 0 {
            let address = SocketAddr::new(ip, section.udp_port);
            let socket = udp::open(address, false).map_err(failed("UDP", address))?;
            listeners.udp.push(socket);
        }
        if section.tls_port != 0 {
            let address = SocketAddr::new(ip, section.tls_port);
            let listener = tcp::listen(address).map_err(failed("TCP", address))?;
            listeners.tcp.push(listener);
        }
    }
    Ok(listeners)
}

fn settings(
    config: &Config,
    authority: Authority,
    shards: &Shards,
) -> Result<turn::Config, RunError> {
    let section = &config.turn;
    // Every address of this machine is closed but for its media ports, whether offered or not.
    let own_addresses = interfaces::all_addresses()?;
    Ok(turn::Config {
        authority,
        relay_addresses: relay_addresses(shards),
        relay_ports: section.relay_range_start..=section.relay_range_end,
        allocations_per_user_max: section.per_user_relay_allocation_limit,
        allocations_max: media::limits::TURN_ALLOCATIONS_MAX,
        peers: PeerPolicy {
            own_ports: shards.media_ports().collect(),
            own_addresses,
            allow: networks(
                "allow_restricted_peer_cidrs",
                &section.allow_restricted_peer_cidrs,
            )?,
            deny: networks("deny_peer_cidrs", &section.deny_peer_cidrs)?,
        },
        seed: compose::entropy()?,
        started: Instant::now(),
        started_unix_s: unix_seconds(),
    })
}

/// One address a family: where media goes, relayed data leaves from.
fn relay_addresses(shards: &Shards) -> Vec<RelayAddress> {
    let mut addresses: Vec<RelayAddress> = Vec::new();
    for OwnPort { advertised, bound } in shards.media_ports() {
        let known = |one: &RelayAddress| one.advertised.is_ipv4() == advertised.is_ipv4();
        if !addresses.iter().any(known) {
            addresses.push(RelayAddress {
                bound: bound.ip(),
                advertised: advertised.ip(),
            });
        }
    }
    addresses
}

fn networks(key: &'static str, texts: &[String]) -> Result<Vec<Network>, TurnError> {
    let parse = |text: &String| {
        Network::parse(text).ok_or_else(|| TurnError::Network {
            key,
            text: text.clone(),
        })
    };
    texts.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn section(change: impl FnOnce(&mut Turn)) -> Turn {
        let mut section = Turn {
            enabled: true,
            domain: "turn.example.com".into(),
            udp_port: 3478,
            tls_port: 5349,
            relay_range_start: 30_000,
            relay_range_end: 40_000,
            ..Turn::default()
        };
        change(&mut section);
        section
    }

    #[test]
    fn what_upstream_refuses_is_refused_with_the_key_named() {
        assert!(check(&section(|_| {})).is_ok());
        let problem = |change: fn(&mut Turn)| check(&section(change)).unwrap_err().to_string();
        let nothing = problem(|turn| (turn.udp_port, turn.tls_port) = (0, 0));
        assert!(nothing.contains("udp_port and tls_port"));
        for domain in ["", "10.0.0.1", "localhost", "-a.example", "a..b"] {
            let section = section(|turn| turn.domain = domain.into());
            assert!(check(&section).is_err(), "{domain}");
        }
        let plain = section(|turn| (turn.tls_port, turn.domain) = (0, String::new()));
        assert!(check(&plain).is_ok(), "no name without TLS");
        assert!(problem(|turn| turn.relay_range_end = 1).contains("relay_range_end"));
        let wrong = networks("deny_peer_cidrs", &["10.0.0.0/40".into()]);
        assert!(wrong.unwrap_err().to_string().contains("deny_peer_cidrs"));
    }
}
