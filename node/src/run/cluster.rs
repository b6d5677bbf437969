//! This node's part of the cluster on a real machine: real disks, its sockets, the names of the
//! system. What it does is `cluster::node`'s.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;

use consensus::cluster::ClusterOptions;
use consensus::command::{NodeInfo, Roles, VoterWish};
use consensus::disk::RealDisk;
use consensus::store::Disks;
use consensus::wal::WalOptions;
use quinn::Runtime;
use socket2::{Domain, Socket, Type};

use super::RunError;
use super::compose::entropy;
use super::network;
use crate::cluster::fabric::ClusterSecret;
use crate::cluster::heartbeat::{Beat, Pulse};
use crate::cluster::lifeline::{TcpDial, TcpListen};
use crate::cluster::limits::SOCKET_BUFFER_BYTES;
use crate::cluster::liveness::{self, Liveness};
use crate::cluster::membership::Settings;
use crate::cluster::node::{ClusterNode, NodeParts, StartError};
use crate::config::Config;
use crate::config::cluster::with_port;
use crate::config::server::Storage;
use crate::net::interfaces;
use crate::telemetry::census::Capacity;
use crate::telemetry::node_stats::NodeStats;

/// Starts it if the configuration has a `cluster:` section with a token.
pub(super) async fn start(
    config: &Config,
    pulse: Pulse,
) -> Result<Option<(ClusterNode, Liveness)>, RunError> {
    if !config.cluster.is_configured() {
        return Ok(None);
    }
    let section = &config.cluster;
    let mut secret = ClusterSecret::new(section.token.expose()).map_err(StartError::from)?;
    for token in &section.accepted_tokens {
        secret = secret.accepting(token.expose()).map_err(StartError::from)?;
    }
    let socket = listen(&section.listen)?;
    let local = socket.local_addr()?;
    let lifelines = TcpListen::bind(local).await;
    let lifelines = lifelines.map_err(|source| RunError::Listen {
        address: local,
        source,
    })?;
    let address = advertised(config, local)?;
    let directory = directory(config)?;
    tracing::info!(address, directory = %directory.display(), "cluster endpoint");
    let runtime = Arc::new(network::start()?);
    let node = ClusterNode::start(NodeParts {
        settings: settings(config, address),
        secret,
        open_disks: Box::new(move || {
            Ok(Disks {
                log: Box::new(RealDisk::open(&directory.join("log"))?),
                snapshots: Box::new(RealDisk::open(&directory.join("snapshots"))?),
            })
        }),
        wal: WalOptions::default(),
        options: ClusterOptions::default(),
        socket: runtime.wrap_udp_socket(socket)?,
        runtime,
        resolve: Arc::new(|name| {
            Box::pin(async move { Ok(tokio::net::lookup_host(name).await?.collect()) })
        }),
        pulse,
        seed: entropy()?,
    });
    let node = node.await?;
    let liveness = liveness::attach(&node, Arc::new(TcpDial), lifelines, entropy()?);
    Ok(Some((node, liveness)))
}

/// What this node says of itself: what it measures for its own metrics and limits.
pub(super) fn pulse(config: &Config, stats: &NodeStats, capacity: &Arc<Capacity>) -> Pulse {
    let (stats, capacity) = (stats.clone(), Arc::clone(capacity));
    let long_lived = config.cluster.long_lived;
    Arc::new(move || {
        let (load, census) = (stats.load(), capacity.census());
        Beat {
            cpu: f64::from(load.cpu_load),
            average_1min: load.load_avg_1m,
            cpus: u32::try_from(load.cpus).unwrap_or(u32::MAX),
            rooms: census.rooms,
            clients: census.participants,
            tracks: census.tracks,
            bytes_per_second: census.bytes_per_second,
            full: capacity.is_full(),
            long_lived,
            version: env!("CARGO_PKG_VERSION").into(),
            incarnation: 0,
        }
    })
}

fn settings(config: &Config, address: String) -> Settings {
    let section = &config.cluster;
    let host = match section.host.is_empty() {
        true => sysinfo::System::host_name().unwrap_or_default(),
        false => section.host.clone(),
    };
    Settings {
        info: NodeInfo {
            roles: Roles {
                master: section.is_master(),
                media: section.is_media(),
            },
            address,
            host,
            zone: section.zone.clone(),
            region: config.region.clone(),
            version_max: match section.log_version_max {
                0 => consensus::encoding::VERSION,
                held => held,
            },
        },
        join: section.join.iter().map(|a| with_port(a)).collect(),
        wish: match section.witness.as_str() {
            "never" if !section.is_master() => VoterWish::Never,
            _ => VoterWish::Auto,
        },
        long_lived: section.long_lived,
    }
}

fn directory(config: &Config) -> Result<PathBuf, RunError> {
    if !config.cluster.directory.is_empty() {
        return Ok(PathBuf::from(&config.cluster.directory));
    }
    let chosen = config.storage.directory();
    let directory = chosen.or_else(|| Storage::default_directory(config.port));
    let directory = directory.ok_or(RunError::ClusterDirectory)?;
    Ok(directory.join("cluster"))
}

fn listen(address: &str) -> Result<std::net::UdpSocket, RunError> {
    let address: SocketAddr = with_port(address)
        .parse()
        .map_err(|_| RunError::ClusterListen(address.to_owned()))?;
    let open = || -> io::Result<std::net::UdpSocket> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        // As much as the kernel grants.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
        socket.bind(&address.into())?;
        Ok(socket.into())
    };
    open().map_err(|source| RunError::Listen { address, source })
}

/// What others reach this node at: as configured, else the address it listens on, else the one from
/// which it reaches the first master, else the one from which it reaches the world. Which of a
/// machine's addresses others reach is not to be told from a list of them.
fn advertised(config: &Config, local: SocketAddr) -> Result<String, RunError> {
    if !config.cluster.advertise.is_empty() {
        return Ok(with_port(&config.cluster.advertise));
    }
    if !local.ip().is_unspecified() {
        return Ok(local.to_string());
    }
    let masters = config.cluster.join.iter().map(|master| with_port(master));
    let routes = masters.take(1).chain([ANYWHERE.to_owned()]);
    let towards = routes.filter_map(|address| source_towards(&address, local));
    let mut found: Vec<IpAddr> = towards.take(1).collect();
    if found.is_empty() {
        found = interfaces::all_addresses()?;
        found.retain(|ip| match ip {
            IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
            IpAddr::V6(v6) => local.is_ipv6() && !v6.is_loopback() && !v6.is_unicast_link_local(),
        });
    }
    match found[..] {
        [ip] => Ok(SocketAddr::new(ip, local.port()).to_string()),
        _ => Err(RunError::ClusterAdvertise),
    }
}

/// In a network that nobody has (RFC 5737): only the route to it is of interest.
const ANYWHERE: &str = "192.0.2.1:7890";

/// The address of this machine that the kernel would send from. Nothing is sent.
fn source_towards(address: &str, local: SocketAddr) -> Option<IpAddr> {
    let remotes = address.to_socket_addrs().ok()?;
    let mut fitting = remotes.filter(|remote| remote.is_ipv4() || local.is_ipv6());
    let remote = fitting.next()?;
    let any: IpAddr = match remote.is_ipv4() {
        true => Ipv4Addr::UNSPECIFIED.into(),
        false => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = std::net::UdpSocket::bind((any, 0)).ok()?;
    socket.connect(remote).ok()?;
    let source = socket.local_addr().ok()?.ip();
    (!source.is_unspecified()).then_some(source)
}
