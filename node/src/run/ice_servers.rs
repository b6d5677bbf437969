//! Which STUN and TURN servers clients are told of: the embedded one, the operator's; without STUN
//! servers, our own.
//! Called once by `compose`.

use std::net::{IpAddr, SocketAddr};

use media::turn::credentials::Authority;

use crate::config::Config;
use crate::config::rtc::TurnServer;
use crate::config::server::Turn;
use crate::limits::STUN_URLS_MAX;
use crate::room::ice_servers::{Credentials, IceServer};
use crate::shards::Shards;

/// `rtc.turn_servers[].ttl` when it is not given, seconds (LiveKit's default).
const SHARED_SECRET_SECONDS: u32 = 14_400;

/// TURN over TLS is always told to be here: whoever blocks the rest lets HTTPS pass. Where
/// `tls_port` is another, something before us forwards this one to it (LiveKit:
/// pkg/service/roommanager.go).
const TLS_PORT_TOLD: u16 = 443;

pub(super) fn told_to_clients(
    config: &Config,
    shards: &Shards,
    authority: Authority,
) -> Vec<IceServer> {
    let media_ip = shards.media_ports().next().map(|port| port.advertised.ip());
    let mut servers: Vec<IceServer> = embedded(&config.turn, media_ip, authority)
        .into_iter()
        .chain(config.rtc.turn_servers.iter().map(turn))
        .collect();
    let given = config.rtc.stun_servers.iter();
    let mut stun: Vec<String> = given.map(|server| format!("stun:{server}")).collect();
    if stun.is_empty() {
        let own = shards.stun_addresses().iter().take(STUN_URLS_MAX);
        stun.extend(own.map(|address| format!("stun:{address}")));
    }
    if !stun.is_empty() {
        servers.push(IceServer {
            urls: stun,
            credentials: Credentials::None,
        });
    }
    servers
}

/// The server of this node, with credentials made for each participant.
fn embedded(section: &Turn, media_ip: Option<IpAddr>, authority: Authority) -> Option<IceServer> {
    if !section.enabled {
        return None;
    }
    let mut urls = Vec::new();
    if let Some(ip) = media_ip.filter(|_| section.udp_port != 0) {
        let address = SocketAddr::new(ip, section.udp_port);
        urls.push(format!("turn:{address}?transport=udp"));
    }
    if section.tls_port != 0 {
        let domain = &section.domain;
        urls.push(format!("turns:{domain}:{TLS_PORT_TOLD}?transport=tcp"));
    }
    (!urls.is_empty()).then_some(IceServer {
        urls,
        credentials: Credentials::Own(authority),
    })
}

fn turn(server: &TurnServer) -> IceServer {
    let (scheme, transport) = match server.protocol.as_str() {
        "tls" => ("turns", "tcp"),
        "udp" => ("turn", "udp"),
        // TCP when nothing is said, as upstream.
        _ => ("turn", "tcp"),
    };
    let credentials = if server.secret.is_empty() {
        Credentials::Fixed {
            username: server.username.clone(),
            password: server.credential.expose().to_owned(),
        }
    } else {
        Credentials::Shared {
            secret: server.secret.expose().to_owned(),
            seconds: match server.ttl {
                0 => SHARED_SECRET_SECONDS,
                seconds => seconds,
            },
        }
    };
    IceServer {
        urls: vec![format!(
            "{scheme}:{}:{}?transport={transport}",
            server.host, server.port
        )],
        credentials,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_server_is_told_by_address_over_udp_and_by_name_over_tls() {
        let authority = Authority::new([].into(), std::time::Duration::ZERO);
        let urls = |change: fn(&mut Turn)| {
            let mut section = Turn {
                enabled: true,
                domain: "turn.example.com".into(),
                udp_port: 3478,
                tls_port: 5349,
                ..Turn::default()
            };
            change(&mut section);
            let ip = Some(IpAddr::from([203, 0, 113, 9]));
            embedded(&section, ip, authority.clone()).map(|server| server.urls)
        };
        let (udp, tls) = (
            "turn:203.0.113.9:3478?transport=udp".to_owned(),
            "turns:turn.example.com:443?transport=tcp".to_owned(),
        );
        assert_eq!(urls(|_| {}), Some(vec![udp.clone(), tls.clone()]));
        assert_eq!(urls(|turn| turn.tls_port = 0), Some(vec![udp]));
        assert_eq!(urls(|turn| turn.udp_port = 0), Some(vec![tls]));
        assert_eq!(urls(|turn| turn.enabled = false), None);
    }

    #[test]
    fn the_protocol_chooses_scheme_and_transport() {
        let url = |protocol: &str| {
            let server = TurnServer {
                host: "t.example.org".into(),
                port: 443,
                protocol: protocol.into(),
                ..TurnServer::default()
            };
            turn(&server).urls.concat()
        };
        assert_eq!(url("tls"), "turns:t.example.org:443?transport=tcp");
        assert_eq!(url("udp"), "turn:t.example.org:443?transport=udp");
        assert_eq!(url("tcp"), "turn:t.example.org:443?transport=tcp");
        assert_eq!(url(""), "turn:t.example.org:443?transport=tcp");
    }
}
