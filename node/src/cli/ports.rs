//! `skein ports`: what a firewall has to let through. Text as upstream prints it.

use std::io::{self, Write};

use clap::{ArgMatches, Command};
use serde_json::json;

use super::{CliError, help, print, switch};
use crate::config::cluster::with_port;
use crate::config::{Config, PortRange};

pub(super) fn command() -> Command {
    Command::new("ports")
        .about("List the ports the configuration uses")
        .after_help(help::PORTS)
        .arg(switch("json", "print JSON"))
}

struct Port {
    protocol: &'static str,
    ports: PortRange,
    purpose: &'static str,
}

pub(super) fn list(config: &Config, given: &ArgMatches) -> Result<(), CliError> {
    let ports = used(config);
    if given.get_flag("json") {
        let rows = ports.iter().map(|port| {
            json!({
                "protocol": port.protocol,
                "first": port.ports.start,
                "last": port.ports.end,
                "purpose": port.purpose,
            })
        });
        return print::json(&rows.collect());
    }
    let mut out = io::stdout().lock();
    for protocol in ["TCP", "UDP"] {
        writeln!(out, "{protocol} Ports")?;
        for port in ports.iter().filter(|port| port.protocol == protocol) {
            let PortRange { start, end } = port.ports;
            let purpose = port.purpose;
            if port.ports.is_single() {
                writeln!(out, "{start} - {purpose}")?;
            } else {
                writeln!(out, "{start}-{end} - {purpose} range")?;
            }
        }
    }
    Ok(())
}

fn used(config: &Config) -> Vec<Port> {
    let (rtc, turn) = (&config.rtc, &config.turn);
    let mut ports = Vec::new();
    let mut add = |protocol, ports_used: PortRange, purpose| {
        if !ports_used.is_unset() {
            ports.push(Port {
                protocol,
                ports: ports_used,
                purpose,
            });
        }
    };
    let single = PortRange::single;
    add("TCP", single(config.port), "HTTP service");
    add("TCP", single(rtc.tcp_port), "ICE/TCP");
    add("UDP", rtc.udp_port, "ICE/UDP");
    add("UDP", single(config.port), "STUN");
    if turn.enabled {
        add("TCP", single(turn.tls_port), "TURN/TLS");
        add("UDP", single(turn.udp_port), "TURN/UDP");
        let relay = PortRange {
            start: turn.relay_range_start,
            end: turn.relay_range_end,
        };
        add("UDP", relay, "TURN relay");
    }
    if config.cluster.is_configured() {
        let listen = with_port(&config.cluster.listen);
        let port = listen
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok());
        add("UDP", single(port.unwrap_or(0)), "other nodes");
        add("TCP", single(port.unwrap_or(0)), "other nodes");
    }
    add("TCP", single(config.prometheus.port), "Prometheus metrics");
    add("TCP", single(config.debug_handler.port), "debug handler");
    ports
}
