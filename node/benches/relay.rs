//! What it costs to carry relayed media from one node to another, and how long it takes: blocks of
//! frames from a worker's lane, over QUIC between two real sockets on loopback, to the other
//! worker's inbox. One network thread a node, as in the program.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use consensus::ids::NodeId;
use media::relay::Block;
use media::relay::frame::{Age, MediaHead, Priority, RelayId};
use mio::{Events, Poll, Token};
use quinn::{Runtime, TokioRuntime};
use skein_node::cluster::fabric::{ClusterSecret, Fabric, FabricParts, Identity};
use skein_node::cluster::relay::arrivals::Arrivals;
use skein_node::cluster::relay::carriage::carry;
use skein_node::cluster::relay::places::{Place, Places};
use skein_node::worker::counters::thread_cpu;
use skein_node::worker::far::{self, Far, FarEnd};
use skein_node::worker::lanes::{Inbox, WorkerHandle};
use tokio::runtime::Handle;

/// Of a relayed packet, without the frame's head.
const PACKET_BYTES: usize = 1_200;
/// A worker's turn under load.
const TURN: Duration = Duration::from_millis(1);
const SECONDS: u64 = 4;
const RATES: [u64; 3] = [2_000, 20_000, 50_000];
const TOKEN: &str = "a secret for measurements on loopback only";

/// One node's network thread and what runs on it.
struct Node {
    network: Handle,
    fabric: Fabric,
    places: Places,
    worker: WorkerHandle,
    inbox: Option<(Poll, Inbox)>,
    far: Far,
    end: Option<FarEnd>,
}

impl Node {
    fn new(number: u64) -> Node {
        let network = network();
        let secret = ClusterSecret::new(TOKEN).unwrap();
        let node = NodeId(number);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let started = network.clone();
        let fabric = on(&network, async move {
            let _entered = started.enter();
            let runtime = Arc::new(TokioRuntime);
            Fabric::start(FabricParts {
                identity: Identity::new(&secret, node, &[number as u8; 32]).unwrap(),
                socket: runtime.wrap_udp_socket(socket).unwrap(),
                runtime,
                resolve: Arc::new(|name| Box::pin(async move { Err(std::io::Error::other(name)) })),
                services: Arc::new(|_| None),
                seed: [number as u8; 32],
            })
            .unwrap()
        });
        let poll = Poll::new().unwrap();
        let (worker, inbox) = Inbox::new(&poll, Token(0)).unwrap();
        let (far, end) = far::lane();
        Node {
            network,
            fabric,
            places: Places::new(node),
            worker,
            inbox: Some((poll, inbox)),
            far,
            end: Some(end),
        }
    }

    fn cpu(&self) -> Duration {
        on(&self.network, async { thread_cpu() })
    }
}

fn network() -> Handle {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    handle
}

fn on<T: Send + 'static>(network: &Handle, task: impl Future<Output = T> + Send + 'static) -> T {
    let (done, answer) = mpsc::channel();
    network.spawn(async move { done.send(task.await) });
    answer.recv().unwrap()
}

/// Takes what arrives until nothing has for a while; the latencies in microseconds.
fn receive((mut poll, inbox): (Poll, Inbox), far: Far, start: Instant) -> Vec<u64> {
    let mut events = Events::with_capacity(4);
    let mut latencies = Vec::new();
    loop {
        poll.poll(&mut events, Some(Duration::from_secs(1)))
            .unwrap();
        if events.is_empty() && !latencies.is_empty() {
            return latencies;
        }
        inbox.awake();
        while let Some((_, block)) = inbox.next_block() {
            let now = start.elapsed().as_micros() as u64;
            for frame in block.frames() {
                let stamp = frame.last_chunk().map(|bytes| u64::from_be_bytes(*bytes));
                latencies.push(now.saturating_sub(stamp.unwrap()));
            }
            far.give_back(block);
        }
    }
}

fn fill(block: &mut Block, count: u64, start: Instant) {
    let head = MediaHead {
        relay: RelayId(1),
        layer: 0,
        fresh: false,
        priority: Priority::BaseLayer,
        generation: 0,
        age: Age::default(),
        cycle: 0,
    };
    let mut frame = [0; PACKET_BYTES + 15];
    head.write(&mut frame).unwrap();
    let stamp = start.elapsed().as_micros() as u64;
    *frame.last_chunk_mut().unwrap() = stamp.to_be_bytes();
    for _ in 0..count {
        assert!(block.push_frame(&frame));
    }
}

fn measure(rate: u64) {
    let (mut one, mut two) = (Node::new(1), Node::new(2));
    let at = two.fabric.local_address().unwrap().to_string();
    one.fabric.book().set(NodeId(2), &at);
    let end = two.end.take().unwrap();
    let arrivals = Arrivals::new(two.places.clone(), vec![two.worker.clone()], end.spares);
    two.fabric.take_datagrams(Arc::new(arrivals));
    let end = one.end.take().unwrap();
    let links = Arc::new(one.fabric.clone());
    let (places, workers) = (one.places.clone(), vec![one.worker.clone()]);
    one.network
        .spawn(carry(places, workers, links, end.outgoing));
    let place = Place {
        node: NodeId(2),
        shard: 0,
    };
    let link = one.places.link(place).unwrap();
    let start = Instant::now();
    let inbox = two.inbox.take().unwrap();
    let far = two.far.clone();
    let taker = std::thread::spawn(move || receive(inbox, far, start));
    let (_poll, spares) = one.inbox.take().unwrap();
    // The connection is made by the first frame.
    let mut first = Block::default();
    fill(&mut first, 1, start);
    one.far.relay(0, link, first).unwrap();
    std::thread::sleep(Duration::from_millis(300));

    let before = (one.cpu(), two.cpu());
    let (mut sent, mut next) = (0, Instant::now());
    let a_turn = rate / 1_000;
    while sent < rate * SECONDS {
        // A block holds 26 of them.
        let mut left = a_turn;
        while left > 0 {
            let mut block = spares.spare_block();
            let count = left.min(25);
            fill(&mut block, count, start);
            left -= count;
            if one.far.relay(0, link, block).is_ok() {
                sent += count;
            }
        }
        next += TURN;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    std::thread::sleep(Duration::from_millis(200));
    let used = (one.cpu() - before.0, two.cpu() - before.1);
    let mut latencies = taker.join().unwrap();
    latencies.sort_unstable();
    let at = |permille: usize| latencies[(latencies.len() - 1) * permille / 1_000];
    let got = latencies.len() as u64;
    let each = |used: Duration, count: u64| used.as_secs_f64() * 1e6 / count as f64;
    println!(
        "{rate:>7} {:>8.2} {:>8.2} {:>8} {:>8} {:>8} {:>7.2}%",
        each(used.0, sent),
        each(used.1, got),
        at(500),
        at(990),
        at(999),
        100.0 * (1.0 - got as f64 / (sent + 1) as f64),
    );
}

fn main() {
    println!("relayed packets of {PACKET_BYTES} B between two nodes on loopback, {SECONDS} s each");
    println!("   rate   CPU µs a packet     latency, µs               lost");
    println!("    1/s  sending receiving    p50      p99    p99.9");
    RATES.into_iter().for_each(measure);
}
