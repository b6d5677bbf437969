//! All packet workers of the node: opens their sockets, starts their threads, and says where each
//! is reached and how busy it is. Rooms send commands through it; `run` starts and stops it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use media::turn::peers::OwnPort;
use media::types::LocalCandidate;
use media::{Command, Shard, ShardConfig};
use tokio::sync::Notify;

use crate::config::Config;
use crate::config::rtc::Rtc;
use crate::limits::{EVENTS_WAITING_MAX, SHARDS_MAX};
use crate::net::gather::{self, Reach};
use crate::net::stun::StunPorts;
use crate::net::{interfaces, tcp, udp};
use crate::worker::far::{self, Far, FarEnd};
use crate::worker::lanes::{self, EventSender, Events, Order, WorkerHandle};
use crate::worker::steering::{shard_of_ufrag, ufrag_prefix};
use crate::worker::{Parts, Worker};

/// Why the packet plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("listing network interfaces: {0}")]
    Interfaces(io::Error),
    #[error(
        "no usable network address: set rtc.node_ip, rtc.interfaces or \
         rtc.enable_loopback_candidate"
    )]
    NoAddress,
    #[error("binding {what} {address}: {source}")]
    Bind {
        what: &'static str,
        address: SocketAddr,
        source: io::Error,
    },
    #[error("every port of rtc.udp_port {start}-{end} is in use")]
    PortsInUse { start: u16, end: u16 },
    #[error("starting a worker: {0}")]
    Worker(io::Error),
}

#[derive(Debug)]
struct Running {
    handle: WorkerHandle,
    candidates: Arc<[LocalCandidate]>,
}

/// See the file header.
#[derive(Debug)]
pub struct Shards {
    workers: Vec<Running>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    ended: Arc<Notify>,
    stun: StunPorts,
    media_ports: Vec<OwnPort>,
    far: Mutex<Option<FarEnd>>,
}

/// Makes the configuration of the shard with the given number.
pub type ShardConfigOf<'a> = dyn Fn(usize) -> ShardConfig + 'a;

impl Shards {
    /// Opens the sockets and starts the threads; events of all shards come out of the receiver.
    pub fn start(
        config: &Config,
        shard_config: &ShardConfigOf<'_>,
    ) -> Result<(Shards, Events), StartError> {
        let local = interfaces::local_addresses(&config.rtc).map_err(StartError::Interfaces)?;
        let mut reaches = gather::reaches(&local, &config.rtc);
        reaches.retain(|reach| !reach.advertised.is_empty());
        if reaches.is_empty() {
            return Err(StartError::NoAddress);
        }
        let ports = open_ports(&config.rtc, &reaches)?;
        let listeners = listen(&config.rtc, &reaches)?;
        let mut media_ports: Vec<OwnPort> = Vec::new();
        for set in &ports {
            media_ports.extend(gather::media_ports(&reaches, set.port));
        }
        media_ports.dedup();
        let (sender, receiver) = lanes::events(EVENTS_WAITING_MAX);
        let (far, far_end) = far::lane();
        let ways = Ways {
            events: sender,
            far,
        };
        let mut shards =
            start_workers(&config.rtc, &reaches, ports, listeners, shard_config, &ways)
                .map_err(StartError::Worker)?;
        shards.far = Mutex::new(Some(far_end));
        shards.stun = StunPorts::open(&reaches, config.port);
        shards.media_ports = media_ports;
        Ok((shards, receiver))
    }

    /// Never blocks.
    pub fn send(&self, shard: usize, command: Command) {
        if let Some(worker) = self.workers.get(shard) {
            worker.handle.order(Order::Command(command));
        }
    }

    /// Candidates of a shard, and the first character of its ufrags.
    pub fn endpoint(&self, shard: usize) -> (Arc<[LocalCandidate]>, char) {
        let candidates = self
            .workers
            .get(shard)
            .map(|worker| Arc::clone(&worker.candidates));
        (
            candidates.unwrap_or_else(|| Arc::from([])),
            ufrag_prefix(shard),
        )
    }

    /// The shard that answers checks for `ufrag`, here or on the node it was made on.
    pub fn shard_of_ufrag(&self, ufrag: &str) -> usize {
        shard_of_ufrag(ufrag, self.workers.len()).unwrap_or(0)
    }

    /// Share of its core each worker used lately, in thousandths.
    pub fn busy_permille(&self) -> Vec<u16> {
        let workers = self.workers.iter();
        workers.map(|one| one.handle.busy_permille()).collect()
    }

    pub fn candidates(&self) -> impl Iterator<Item = &LocalCandidate> {
        self.workers
            .iter()
            .flat_map(|worker| worker.candidates.iter())
    }

    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// The end of the lane to other nodes; whoever carries relay frames takes it, once.
    pub fn far(&self) -> Option<FarEnd> {
        let mut far = self.far.lock().unwrap_or_else(PoisonError::into_inner);
        far.take()
    }

    /// The workers, in the order of their shards.
    pub fn workers(&self) -> Vec<WorkerHandle> {
        let workers = self.workers.iter();
        workers.map(|one| one.handle.clone()).collect()
    }

    /// What tells clients their addresses.
    pub fn stun(&mut self) -> &mut StunPorts {
        &mut self.stun
    }

    /// The UDP ports of all shards, bound and advertised.
    pub fn media_ports(&self) -> impl Iterator<Item = OwnPort> + '_ {
        self.media_ports.iter().copied()
    }

    pub fn stun_addresses(&self) -> &[SocketAddr] {
        self.stun.advertised()
    }

    /// Returns when a thread has ended, which none does before `stop`.
    pub async fn worker_ended(&self) {
        self.ended.notified().await;
    }

    /// Ends the threads; blocks until they have.
    pub fn stop(&self) {
        for worker in &self.workers {
            worker.handle.order(Order::Stop);
        }
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker had panicked");
            }
        }
    }
}

/// Tells when a worker's thread ends, by a panic as well.
struct TellsEnd(Arc<Notify>);

impl Drop for TellsEnd {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// What leaves workers other than through sockets.
struct Ways {
    events: EventSender,
    far: Far,
}

/// The UDP sockets of one shard.
struct PortSet {
    port: u16,
    sockets: Vec<std::net::UdpSocket>,
}

/// One set a shard: all on the same port, or each on its own out of the range.
fn open_ports(rtc: &Rtc, reaches: &[Reach]) -> Result<Vec<PortSet>, StartError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let shards = cores.min(SHARDS_MAX);
    let range = rtc.udp_port;
    if range.is_single() {
        let open = || open_port(reaches, range.start, shards > 1);
        return (0..shards).map(|_| open()).collect();
    }
    let mut sets = Vec::new();
    for port in range.iter() {
        if sets.len() == shards {
            break;
        }
        match open_port(reaches, port, false) {
            Ok(set) => sets.push(set),
            Err(error) => tracing::debug!(port, %error, "skipping a port of the range"),
        }
    }
    if sets.is_empty() {
        return Err(StartError::PortsInUse {
            start: range.start,
            end: range.end,
        });
    }
    Ok(sets)
}

fn open_port(reaches: &[Reach], port: u16, shared: bool) -> Result<PortSet, StartError> {
    let open = |reach: &Reach| {
        let address = SocketAddr::new(reach.bound, port);
        udp::open(address, shared).map_err(|source| StartError::Bind {
            what: "UDP",
            address,
            source,
        })
    };
    let sockets = reaches.iter().map(open).collect::<Result<_, _>>()?;
    Ok(PortSet { port, sockets })
}

fn listen(rtc: &Rtc, reaches: &[Reach]) -> Result<Vec<TcpListener>, StartError> {
    if rtc.tcp_port == 0 {
        return Ok(Vec::new());
    }
    let listen = |reach: &Reach| {
        let address = SocketAddr::new(reach.bound, rtc.tcp_port);
        tcp::listen(address).map_err(|source| StartError::Bind {
            what: "TCP",
            address,
            source,
        })
    };
    reaches.iter().map(listen).collect()
}

fn start_workers(
    rtc: &Rtc,
    reaches: &[Reach],
    ports: Vec<PortSet>,
    mut listeners: Vec<TcpListener>,
    shard_config: &ShardConfigOf<'_>,
    ways: &Ways,
) -> io::Result<Shards> {
    let count = ports.len();
    let sharing = if rtc.udp_port.is_single() { count } else { 1 };
    let mut workers = Vec::with_capacity(count);
    let mut waiting = Vec::with_capacity(count);
    for (index, set) in ports.into_iter().enumerate() {
        let mut config = shard_config(index);
        let bound = |reach: &Reach| SocketAddr::new(reach.bound, set.port);
        config.udp_addresses = reaches.iter().map(bound).collect();
        let (handle, worker) = Worker::new(Parts {
            index,
            shard: Shard::new(config),
            udp: set.sockets,
            // The first worker accepts for all: a connection is handed over once.
            tcp: std::mem::take(&mut listeners),
            sharing,
            workers: count,
            events: ways.events.clone(),
            far: ways.far.clone(),
        })?;
        let candidates = gather::candidates(reaches, set.port, rtc.tcp_port, rtc);
        workers.push(Running {
            handle,
            candidates: candidates.into(),
        });
        waiting.push(worker);
    }
    let peers: Vec<WorkerHandle> = workers.iter().map(|one| one.handle.clone()).collect();
    let mut cores = core_affinity::get_core_ids()
        .unwrap_or_default()
        .into_iter();
    let mut threads = Vec::with_capacity(count);
    let ended = Arc::new(Notify::new());
    for (index, mut worker) in waiting.into_iter().enumerate() {
        worker.meet(peers.clone());
        let core = cores.next();
        let end = TellsEnd(Arc::clone(&ended));
        let run = move || {
            let _end = end;
            if let Some(core) = core {
                core_affinity::set_for_current(core);
            }
            worker.run();
        };
        let name = format!("shard-{index}");
        threads.push(std::thread::Builder::new().name(name).spawn(run)?);
    }
    Ok(Shards {
        workers,
        threads: Mutex::new(threads),
        ended,
        stun: StunPorts::default(),
        media_ports: Vec::new(),
        far: Mutex::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_worker_that_panics_is_noticed() {
        let ended = Arc::new(Notify::new());
        let end = TellsEnd(Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            let _end = end;
            std::panic::resume_unwind(Box::new("a defect"));
        });
        ended.notified().await;
        assert!(thread.join().is_err());
    }
}
