//! The ways for media, each tried as a client would: UDP and TCP to the media ports, and through
//! the TURN servers the join named. All at once: the slowest decides how long it takes.

use std::net::{IpAddr, SocketAddr};

use media::types::Protocol;
use protocol::proto;

use super::dial::{self, DialError};
use super::link::Link;
use super::measure::{Measured, Way, measure};
use super::signal::Joined;
use super::turn_client::{TurnClient, TurnClientError};
use super::{Check, name};

/// Addresses of a server that are tried; a node offers a handful.
const ADDRESSES_MAX: usize = 8;

/// One row each for UDP, TCP, TURN/UDP, TURN/TLS.
pub async fn examine_paths(joined: &Joined) -> Vec<Check> {
    let of = |protocol| {
        let candidates = joined.candidates.iter();
        let fitting = candidates.filter(move |candidate| candidate.protocol == protocol);
        let addresses = fitting.map(|candidate| candidate.address);
        addresses.take(ADDRESSES_MAX).collect::<Vec<SocketAddr>>()
    };
    let (udp, tcp) = (of(Protocol::Udp), of(Protocol::Tcp));
    let urls = turn_urls(&joined.ice_servers);
    let peer = udp.first().copied();
    let find = |is_tls| {
        let found = urls.iter().find(|url| url.is_tls == is_tls);
        relay(found, is_tls, peer)
    };
    let (over_udp, over_tls) = (find(false), find(true));
    let (udp, tcp, over_udp, over_tls) =
        tokio::join!(direct_udp(&udp), direct_tcp(&tcp), over_udp, over_tls);
    vec![udp, tcp, over_udp, over_tls]
}

async fn direct_udp(addresses: &[SocketAddr]) -> Check {
    if addresses.is_empty() {
        return Check::warning(name::UDP, "the server offers no UDP port")
            .advise("set rtc.udp_port, and unset rtc.force_tcp");
    }
    let probes = addresses.iter().map(|address| async move {
        let mut link = Link::udp(*address).await.ok()?;
        measure(Way::Direct(&mut link)).await
    });
    let measured = futures_util::future::join_all(probes).await;
    summary(name::UDP, addresses, &measured, |port| {
        format!(
            "open UDP {port} (rtc.udp_port) from clients to the server; until then media takes \
             TCP or TURN, which stutter when packets are lost"
        )
    })
}

async fn direct_tcp(addresses: &[SocketAddr]) -> Check {
    if addresses.is_empty() {
        return Check::warning(name::TCP, "the server offers no TCP port")
            .advise("set rtc.tcp_port: 7881, for people whose network lets no UDP pass");
    }
    let probes = addresses.iter().map(|address| async move {
        let host = address.ip().to_string();
        let stream = dial::tcp(&host, address.port()).await.ok()?;
        let mut link = Link::ice_tcp(Box::new(stream));
        measure(Way::Direct(&mut link)).await
    });
    let measured = futures_util::future::join_all(probes).await;
    summary(name::TCP, addresses, &measured, |port| {
        format!(
            "open TCP {port} (rtc.tcp_port) from clients to the server, for people whose network \
             lets no UDP pass"
        )
    })
}

/// What the addresses of a server answered together.
fn summary(
    name: &'static str,
    addresses: &[SocketAddr],
    measured: &[Option<Measured>],
    open: impl Fn(u16) -> String,
) -> Check {
    let list = |answered: bool| {
        let pairs = addresses.iter().zip(measured);
        let fitting = pairs.filter(|(_, measured)| measured.is_some() == answered);
        let texts: Vec<String> = fitting.map(|(address, _)| address.to_string()).collect();
        texts.join(", ")
    };
    let best = measured.iter().flatten().min_by_key(|one| one.round_trip);
    let Some(best) = best else {
        let detail = format!("{} does not answer", list(false));
        let first = addresses.first();
        let advice = open(first.map_or(0, SocketAddr::port));
        let private = addresses.iter().all(|address| is_private(address.ip()));
        let advice = if private {
            format!(
                "{advice}. The server offers private addresses only: where clients come from the \
                 internet, set rtc.node_ip or rtc.use_external_ip"
            )
        } else {
            advice
        };
        return Check::failed(name, detail).advise(advice);
    };
    let mut detail = format!("{} answers", list(true));
    if measured.iter().any(Option::is_none) {
        detail.push_str(&format!("; {} does not", list(false)));
    }
    Check::ok(name, detail).measured(best)
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local(),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct TurnUrl {
    text: String,
    host: String,
    port: u16,
    is_tls: bool,
    username: String,
    password: String,
}

fn turn_urls(servers: &[proto::IceServer]) -> Vec<TurnUrl> {
    let parse = |server: &proto::IceServer, text: &str| {
        let (scheme, rest) = text.split_once(':')?;
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let is_tls = match (scheme, query) {
            ("turns", _) => true,
            ("turn", "" | "transport=udp") => false,
            // TURN over plain TCP passes where TLS does, or not at all.
            _ => return None,
        };
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (address, if is_tls { 5349 } else { 3478 }),
        };
        Some(TurnUrl {
            text: text.to_owned(),
            host: host.to_owned(),
            port,
            is_tls,
            username: server.username.clone(),
            password: server.credential.clone(),
        })
    };
    let each = |server| {
        let server: &proto::IceServer = server;
        server
            .urls
            .iter()
            .filter_map(move |text| parse(server, text))
    };
    servers.iter().flat_map(each).collect()
}

async fn relay(url: Option<&TurnUrl>, is_tls: bool, peer: Option<SocketAddr>) -> Check {
    let name = if is_tls {
        name::TURN_TLS
    } else {
        name::TURN_UDP
    };
    let Some(url) = url else {
        let missing = Check::warning(name, "the server offers none");
        return missing.advise(if is_tls {
            "for people whose network lets only 443 pass: turn.enabled, turn.domain, \
             turn.cert_file, turn.key_file and turn.tls_port: 443"
        } else {
            "for people whose network lets only some UDP ports pass: turn.enabled and \
             turn.udp_port: 3478"
        });
    };
    let Some(peer) = peer else {
        return Check::skipped(name, "the server offers no UDP port to relay to");
    };
    let link = match reach(url).await {
        Ok(link) => link,
        Err(error) => {
            let key = "turn.tls_port, or what forwards to it";
            let advice = error.advice(url.port, key);
            return Check::failed(name, error.to_string()).advise(advice);
        }
    };
    let credentials = (url.username.as_str(), url.password.as_str());
    let mut client = match TurnClient::connect(link, credentials, peer).await {
        Ok(client) => client,
        Err(error) => return refused(name, url, &error),
    };
    let measured = measure(Way::Relayed(&mut client)).await;
    client.close().await;
    match measured {
        Some(measured) => Check::ok(name, format!("{} relays", url.text)).measured(&measured),
        None => Check::failed(
            name,
            format!("{} takes data and brings none back", url.text),
        )
        .advise(format!(
            "let the TURN server reach {peer}: for a server elsewhere, open its relay ports \
                 to UDP {} and allow this address as a peer",
            peer.port()
        )),
    }
}

async fn reach(url: &TurnUrl) -> Result<Link, DialError> {
    if url.is_tls {
        return Ok(Link::turn(dial::tls(&url.host, url.port).await?));
    }
    let host = url.host.trim_start_matches('[').trim_end_matches(']');
    let unresolved = |source| DialError::Name {
        host: url.host.clone(),
        source,
    };
    let mut found = tokio::net::lookup_host((host, url.port))
        .await
        .map_err(unresolved)?;
    let Some(address) = found.next() else {
        return Err(unresolved(std::io::ErrorKind::NotFound.into()));
    };
    Link::udp(address)
        .await
        .map_err(|source| DialError::Refused {
            address: address.to_string(),
            source,
        })
}

/// The server answered, or did not, but gave no way through.
fn refused(name: &'static str, url: &TurnUrl, error: &TurnClientError) -> Check {
    let TurnUrl { text, port, .. } = url;
    let advice = match error {
        TurnClientError::Silent | TurnClientError::Io(_) if !url.is_tls => {
            format!("open UDP {port} (turn.udp_port) from clients to the server")
        }
        TurnClientError::Refused { code: 401, .. } => {
            "the TURN server does not know these credentials: check its secret, and its clock"
                .into()
        }
        TurnClientError::Refused { code: 403, .. } => {
            "the TURN server may not reach the media port: allow its address as a peer".into()
        }
        TurnClientError::Refused { code: 486, .. } => {
            "this participant has too many allocations: turn.per_user_relay_allocation_limit".into()
        }
        TurnClientError::Refused { code: 508, .. } => {
            "no relay port is free: widen turn.relay_range_start and turn.relay_range_end".into()
        }
        _ => "something else than a TURN server answers there, or a proxy before it".into(),
    };
    Check::failed(name, format!("{text}: {error}")).advise(advice)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_of_turn_servers_are_read_as_clients_read_them() {
        let server = proto::IceServer {
            urls: [
                "stun:1.2.3.4:3478",
                "turn:1.2.3.4:3478?transport=udp",
                "turns:t.example.org:443?transport=tcp",
                "turn:[2001:db8::1]:5000",
                "turns:t.example.org",
                "turn:t.example.org:80?transport=tcp",
            ]
            .map(String::from)
            .to_vec(),
            username: "u".into(),
            credential: "p".into(),
        };
        let urls = turn_urls(&[server]);
        let seen: Vec<_> = urls
            .iter()
            .map(|url| (url.host.as_str(), url.port, url.is_tls))
            .collect();
        let expected = [
            ("1.2.3.4", 3478, false),
            ("t.example.org", 443, true),
            ("[2001:db8::1]", 5000, false),
            ("t.example.org", 5349, true),
        ];
        assert_eq!(seen, expected);
        assert!(
            urls.iter()
                .all(|url| url.username == "u" && url.password == "p")
        );
    }
}
