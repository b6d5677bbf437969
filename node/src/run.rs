//! Puts the node together and takes it apart: telemetry, packet workers, rooms, HTTP; then waits
//! for a signal. Decides nothing about media or rooms.

mod cluster;
pub mod compose;
mod files;
mod ice_servers;
mod network;
mod operator;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use media::transport::{DtlsIdentity, IdentityError};
use socket2::{Domain, Socket, Type};

use crate::cluster::node::ClusterNode;
use crate::cluster::relay::plane::Span;
use crate::config::{Config, Secret};
use crate::limits::STOP_GRACE;
use crate::net::{http, stun};
use crate::rooms::Rooms;
use crate::shards::{Shards, StartError};
use crate::telemetry::node_stats::NodeStats;
use crate::telemetry::traffic::Traffic;
use crate::telemetry::{census, logs, metrics};
use crate::worker::lanes::Events;
use crate::{debug, page, shutdown, status, turn, webhook};

/// Why the node cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Shards(#[from] StartError),
    #[error("listening on {address}: {source}")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("limit.trusted_networks: `{0}` is neither an IP address nor a network")]
    TrustedNetwork(String),
    #[error("bind_addresses: `{0}` is not an IP address")]
    BindAddress(String),
    #[error("a media worker ended unexpectedly; its rooms are lost, so the node ends")]
    WorkerEnded,
    #[error("the operating system gives no randomness")]
    NoEntropy,
    #[error("room.room_configurations.{name}: {problem}")]
    Preset { name: String, problem: String },
    #[error(transparent)]
    Turn(#[from] turn::TurnError),
    #[error(transparent)]
    Webhooks(#[from] webhook::StartError),
    #[error(transparent)]
    Cluster(#[from] crate::cluster::node::StartError),
    #[error("cluster.listen: `{0}` is not an IP address with a port")]
    ClusterListen(String),
    #[error(
        "cluster.advertise is missing: which address of this machine others reach cannot be told"
    )]
    ClusterAdvertise,
    #[error("cluster.directory is missing: there is no folder of the user")]
    ClusterDirectory,
    #[error(transparent)]
    Selector(#[from] consensus::placement::SelectorError),
    #[error("cluster.autoscale: {0}")]
    Autoscale(String),
    #[error("{0}")]
    ClusterEnded(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Connections waiting to be accepted; a burst of reconnecting clients fits.
const BACKLOG: i32 = 1024;

/// As many bytes as the digest that is made with it (RFC 7518 §3.2).
const SECRET_BYTES_MIN: usize = 32;

/// Runs a node until a signal ends it.
pub fn run(config: Config) -> Result<(), RunError> {
    logs::start(&config);
    for inert in &config.inert {
        let (key, reason) = (&inert.key, inert.reason);
        tracing::warn!(key, reason, "this key of the configuration changes nothing");
    }
    warn_of_short_secrets(&config);
    files::raise_limit();
    let config = Arc::new(config);
    actix_rt::System::new().block_on(serve(config))
}

/// Whoever guesses a secret signs tokens of their own; upstream complains about the same length.
fn warn_of_short_secrets(config: &Config) {
    let short = |(_, secret): &(&String, &Secret)| secret.expose().len() < SECRET_BYTES_MIN;
    for (key, _) in config.keys.iter().filter(short) {
        if !config.development {
            tracing::warn!(
                key,
                "this API secret is too short: use {SECRET_BYTES_MIN} characters"
            );
        }
    }
}

/// Metrics and the debug handler, each on ports of its own.
fn serve_beside(
    config: &Config,
    prometheus: Option<metrics_exporter_prometheus::PrometheusHandle>,
    rooms: &Rooms,
) -> Result<Vec<ServerHandle>, RunError> {
    let mut handles = Vec::new();
    if let Some(handle) = prometheus {
        actix_rt::spawn(metrics::keep_small(handle.clone()));
        for listener in listen_all(&config.bind_addresses, config.prometheus.port)? {
            let server = metrics::serve(listener, handle.clone(), &config.prometheus)?;
            handles.push(server.handle());
            actix_rt::spawn(server);
        }
    }
    if config.debug_handler.port != 0 {
        for listener in listen_all(&config.bind_addresses, config.debug_handler.port)? {
            let server = debug::serve(listener, rooms.clone())?;
            handles.push(server.handle());
            actix_rt::spawn(server);
        }
    }
    Ok(handles)
}

async fn serve(config: Arc<Config>) -> Result<(), RunError> {
    let node_id = compose::node_id()?.to_string();
    // Without a reader nothing is recorded.
    let prometheus = (config.prometheus.port != 0).then(|| metrics::install(&node_id));
    let prometheus = prometheus.flatten();
    let stats = NodeStats::start(config.node_stats.stats_update_interval)?;
    let identities = [DtlsIdentity::generate()?, DtlsIdentity::generate()?];
    let listeners = listen_all(&config.bind_addresses, config.port)?;

    let shard_config = compose::shard_config(&config, &identities)?;
    let (mut shards, events) = Shards::start(&config, &shard_config)?;
    stun::start(shards.stun().take())?;
    let shards = Arc::new(shards);
    let authority = turn::authority(&config);
    let turner = turn::start(&config, authority.clone(), &shards)?;
    let mut node = compose::node(&config, &node_id, &identities, &shards, authority)?;
    let pulse = cluster::pulse(&config, &stats, &node.capacity);
    let joined = cluster::start(&config, pulse).await?;
    let traffic = Traffic::new(Arc::clone(&node.capacity));
    actix_rt::spawn(forward_events(
        events,
        node.rooms.clone(),
        node.span(),
        traffic,
    ));
    actix_rt::spawn(census::count(
        node.rooms.clone(),
        Arc::clone(&node.capacity),
        config.node_stats.stats_update_interval,
    ));

    let status = status::Status::new(&config, &node_id, node.rooms.clone(), stats.clone());
    if let Some((cluster, liveness)) = &joined {
        node.join_cluster(&config, (cluster, liveness), &status, &shards)?;
    }
    let cluster = joined.map(|(cluster, _)| cluster);
    let server = http::serve(
        listeners,
        compose::http_settings(&config, stats, &status)?,
        node.routes(&config, &status, cluster.as_ref()),
    )?;
    let mut handles = vec![server.handle()];
    actix_rt::spawn(server);
    handles.extend(serve_beside(&config, prometheus, &node.rooms)?);
    announce(&config, &node_id, &shards)?;

    tokio::select! {
        waited = shutdown::wait(&node.rooms, &status, node.leaving.as_ref()) => waited?,
        reason = cluster_ended(cluster.as_ref()) => {
            shutdown::abandon(&node.rooms, node.leaving.as_ref()).await;
            node.webhooks.stop(STOP_GRACE).await;
            return Err(RunError::ClusterEnded(reason));
        }
        // A room on a dead shard would neither work nor end: a supervisor starts us anew.
        () = shards.worker_ended() => return Err(RunError::WorkerEnded),
    }
    stop(handles, shards).await;
    if let Some(turner) = turner {
        turner.stop();
    }
    node.webhooks.stop(STOP_GRACE).await;
    if let Some(cluster) = cluster {
        cluster.stop().await;
    }
    Ok(())
}

/// Why this node can take part in its cluster no longer; a supervisor starts it anew.
async fn cluster_ended(cluster: Option<&ClusterNode>) -> String {
    match cluster {
        Some(cluster) => cluster.failed().await,
        None => std::future::pending().await,
    }
}

/// Facts of the shards, on their way to the rooms.
async fn forward_events(mut events: Events, rooms: Rooms, span: Span, mut traffic: Traffic) {
    while let Some(event) = events.recv().await {
        traffic.observe(&event);
        if let Some(event) = span.take(event) {
            rooms.shard_event(event);
        }
    }
}

async fn stop(handles: Vec<ServerHandle>, shards: Arc<Shards>) {
    for handle in handles {
        handle.stop(false).await;
    }
    // Workers answer within a turn; joining them here may block, nothing else runs any more.
    shards.stop();
    tracing::info!("stopped");
}

fn listen_all(addresses: &[String], port: u16) -> Result<Vec<TcpListener>, RunError> {
    if addresses.iter().all(String::is_empty) {
        let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let mut listeners = vec![listen(v4)?];
        // A host without IPv6 serves on IPv4 alone.
        listeners.extend(listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).ok());
        return Ok(listeners);
    }
    let mut listeners = Vec::with_capacity(addresses.len());
    for text in addresses {
        let ip: IpAddr = text
            .parse()
            .map_err(|_| RunError::BindAddress(text.clone()))?;
        match listen(SocketAddr::new(ip, port)) {
            Ok(listener) => listeners.push(listener),
            // The development default names ::1 too, which not every machine has.
            Err(error) if ip == IpAddr::V6(Ipv6Addr::LOCALHOST) && !listeners.is_empty() => {
                tracing::debug!(%error, "serving on IPv4 only");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(listeners)
}

fn listen(address: SocketAddr) -> Result<TcpListener, RunError> {
    let open = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    open().map_err(|source| RunError::Listen { address, source })
}

/// Says where the node is; in development also how to get in.
fn announce(config: &Config, node_id: &str, shards: &Shards) -> Result<(), RunError> {
    let mut candidates: Vec<String> = shards
        .candidates()
        .map(|candidate| format!("{:?} {}", candidate.protocol, candidate.address))
        .collect();
    candidates.sort();
    candidates.dedup();
    tracing::info!(
        node_id,
        version = env!("CARGO_PKG_VERSION"),
        port = config.port,
        bind = ?config.bind_addresses,
        shards = shards.count(),
        ?candidates,
        "serving"
    );
    if !config.development {
        return Ok(());
    }
    let keys = compose::keys(config);
    let url = format!("http://localhost:{}", config.port);
    let mut out = io::stdout().lock();
    writeln!(out, "server    ws://localhost:{}", config.port)?;
    for (key, secret) in &config.keys {
        writeln!(out, "API key   {key}\nsecret    {}", secret.expose())?;
    }
    match page::link(&keys, &url, "first", crate::auth::unix_seconds()) {
        Ok(link) => writeln!(out, "room      {link}")?,
        Err(error) => tracing::warn!(%error, "no invitation"),
    }
    Ok(out.flush()?)
}
