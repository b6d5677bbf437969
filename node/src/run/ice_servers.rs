//! Which STUN and TURN servers clients are told of: the operator's; without STUN servers, our own.
//! Called once by `compose`.

use crate::config::Config;
use crate::config::rtc::TurnServer;
use crate::limits::STUN_URLS_MAX;
use crate::room::ice_servers::{Credentials, IceServer};
use crate::shards::Shards;

/// `rtc.turn_servers[].ttl` when it is not given, seconds (LiveKit's default).
const SHARED_SECRET_SECONDS: u32 = 14_400;

pub(super) fn told_to_clients(config: &Config, shards: &Shards) -> Vec<IceServer> {
    let mut servers: Vec<IceServer> = config.rtc.turn_servers.iter().map(turn).collect();
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
