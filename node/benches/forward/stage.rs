//! One worker with a publisher and many subscribers. The clients live in this thread: real
//! transports that have shaken hands, on sockets of their own; packets are sealed beforehand.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use media::rtp::writer::{Head, write_head};
use media::transport::{
    DtlsIdentity, SRTP_TAIL_BYTES, Transport, TransportOptions, TransportOutput,
};
use media::types::{
    Codec, DtlsRole, Extensions, IceCredentials, LayerLimit, LayerMode, MediaKind, Path,
    PayloadType, Protocol, ReceiveSection, RemoteCandidate, RemoteTransport, SendSection,
    TrackConfig,
};
use media::{Command, DownTrackKey, RoomKey, Shard, ShardConfig, TrackKey, TransportKey};
use skein_node::net::udp;
use skein_node::worker::lanes::{Events, Measured, Order, WorkerHandle, events};
use skein_node::worker::steering::ufrag_prefix;
use skein_node::worker::{Parts, Worker, far};

use crate::floor::{drain, pump, receiver};
use crate::{BURST, PACKET_BYTES};

const ROOM: RoomKey = RoomKey(1);
const VIDEO: TrackKey = TrackKey(1);
const AUDIO: TrackKey = TrackKey(2);
const MID_ID: u8 = 4;

struct Client {
    key: TransportKey,
    transport: Transport,
    socket: UdpSocket,
    address: SocketAddr,
}

pub(crate) struct Stage {
    server: SocketAddr,
    worker: WorkerHandle,
    thread: Option<JoinHandle<()>>,
    identities: [Arc<DtlsIdentity>; 2],
    /// The publisher first.
    clients: Vec<Client>,
    /// Sealed packets not sent yet, the next one last.
    sealed: Vec<Vec<u8>>,
    sequence: u16,
    timestamp: u32,
    events: Events,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        let identities = [(); 2].map(|()| DtlsIdentity::generate().unwrap());
        let socket = udp::open(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), false).unwrap();
        let server = socket.local_addr().unwrap();
        let (sender, events) = events(1 << 16);
        let (worker, mut thread) = Worker::new(Parts {
            index: 0,
            shard: Shard::new(ShardConfig::new([1; 32], Arc::clone(&identities[0]))),
            udp: vec![socket],
            tcp: Vec::new(),
            sharing: 1,
            workers: 1,
            events: sender,
            far: far::lane().0,
        })
        .unwrap();
        thread.meet(vec![worker.clone()]);
        let mut stage = Stage {
            server,
            worker,
            thread: Some(std::thread::spawn(move || thread.run())),
            identities,
            clients: Vec::new(),
            sealed: Vec::new(),
            sequence: 1,
            timestamp: 0,
            events,
        };
        stage.connect();
        stage.publish();
        stage
    }

    fn command(&self, command: Command) {
        self.worker.order(Order::Command(command));
    }

    pub(crate) fn measure(&self) -> Measured {
        let (sender, answer) = mpsc::channel();
        self.worker.order(Order::Measure(sender));
        answer.recv().unwrap()
    }

    fn publish(&self) {
        let transport = self.clients[0].key;
        let section = |mid: &str, kind, codec, pt, track| ReceiveSection {
            mid: mid.into(),
            kind,
            payload_types: [payload_type(codec, pt)].into(),
            extensions: Extensions {
                mid: Some(MID_ID),
                ..Extensions::default()
            },
            rids: Vec::new(),
            ssrcs: Vec::new(),
            track: Some(track),
        };
        let sections = vec![
            section("0", MediaKind::Audio, Codec::Opus, 111, AUDIO),
            section("1", MediaKind::Video, Codec::Vp8, 96, VIDEO),
        ];
        self.command(Command::SetReceive {
            transport,
            sections,
        });
        for (track, kind) in [(AUDIO, MediaKind::Audio), (VIDEO, MediaKind::Video)] {
            let config = TrackConfig {
                kind,
                layer_mode: LayerMode::OneStreamPerLayer,
                rids: Vec::new(),
                encrypted: false,
                screen_share: false,
                build_red: false,
            };
            self.command(Command::AddTrack {
                track,
                room: ROOM,
                transport,
                config,
            });
        }
    }

    /// Connects subscribers and lets them see and hear the publisher.
    pub(crate) fn admit(&mut self, count: usize) {
        for number in 0..count {
            self.connect();
            let client = self.clients.last().unwrap();
            for (track, kind) in [(AUDIO, MediaKind::Audio), (VIDEO, MediaKind::Video)] {
                self.command(Command::AddDownTrack {
                    down_track: DownTrackKey((track.0 << 32) + number as u64),
                    track,
                    transport: client.key,
                    section: send_section(kind, 10 * number as u32 + 10 * track.0 as u32),
                    limit: LayerLimit::HIGHEST,
                    paused: false,
                });
            }
            if number % 64 == 63 {
                self.keep_alive();
            }
        }
        self.keep_alive();
    }

    /// Adds a client and shakes hands.
    fn connect(&mut self) {
        let number = self.clients.len();
        let socket = receiver();
        let address = socket.local_addr().unwrap();
        let key = TransportKey(number as u64 + 1);
        let ice = |side: &str| IceCredentials {
            ufrag: format!("{}{side}{number}", ufrag_prefix(0)),
            pwd: format!("{side}-{number}-password-of-enough-length"),
        };
        let remote = |ice, identity: &DtlsIdentity, role, address| RemoteTransport {
            ice,
            fingerprint: identity.fingerprint().clone(),
            role,
            sctp: None,
            candidates: vec![RemoteCandidate {
                protocol: Protocol::Udp,
                address,
                priority: 2_130_706_431,
            }],
        };
        let [ours, theirs] = &self.identities;
        let options = TransportOptions {
            controlling: true,
            tie_breaker: 7,
            local_addresses: [(Protocol::Udp, address)].into_iter().collect(),
        };
        let now = Instant::now();
        let mut seed = [9; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        let mut transport = Transport::new(now, ice("client"), theirs, options, seed);
        self.command(Command::AddTransport {
            transport: key,
            room: ROOM,
            local: ice("server"),
            spare: false,
        });
        self.command(Command::SetRemote {
            transport: key,
            remote: remote(ice("client"), theirs, DtlsRole::Server, address),
        });
        transport.set_remote(
            now,
            remote(ice("server"), ours, DtlsRole::Client, self.server),
        );
        let mut client = Client {
            key,
            transport,
            socket,
            address,
        };
        let until = now + Duration::from_secs(20);
        while !client.transport.is_connected() {
            assert!(Instant::now() < until, "client {number} did not connect");
            client.turn(self.server);
            std::thread::yield_now();
        }
        client.turn(self.server);
        self.clients.push(client);
    }

    /// Answers checks and timers of everybody.
    fn keep_alive(&mut self) {
        for client in &mut self.clients {
            client.turn(self.server);
        }
        while self.events.try_recv().is_some() {}
    }

    /// Seals the packets of `bursts` bursts: one video frame each, the first one a key frame.
    pub(crate) fn load(&mut self, bursts: usize) {
        let mut packets = Vec::with_capacity(bursts * BURST);
        for burst in 0..bursts {
            self.timestamp = self.timestamp.wrapping_add(3_000);
            for part in 0..BURST {
                packets.push(self.packet(burst as u16, burst == 0, part));
            }
        }
        packets.reverse();
        self.sealed = packets;
    }

    fn packet(&mut self, picture: u16, key: bool, part: usize) -> Vec<u8> {
        let head = Head {
            marker: part + 1 == BURST,
            payload_type: 96,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: 0x1234_5678,
        };
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = vec![0xAA_u8; PACKET_BYTES + SRTP_TAIL_BYTES];
        let length = write_head(&mut packet, &head, &[(MID_ID, b"1")]).unwrap();
        let [high, low] = (0x8000 | (picture & 0x7fff)).to_be_bytes();
        let start = if part == 0 { 0x10 } else { 0 };
        let descriptor = [0x80 | start, 0x80, high, low, u8::from(!key)];
        packet[length..length + descriptor.len()].copy_from_slice(&descriptor);
        let sealed = self.clients[0]
            .transport
            .seal_rtp(&mut packet, PACKET_BYTES)
            .unwrap();
        packet.truncate(sealed);
        packet
    }

    /// Sends the next bursts.
    pub(crate) fn run(&mut self, bursts: usize) {
        let publisher = &self.clients[0].socket;
        let receivers: Vec<&UdpSocket> = self.clients[1..]
            .iter()
            .map(|client| &client.socket)
            .collect();
        let (server, sealed) = (self.server, &mut self.sealed);
        pump(bursts, &receivers, || {
            let packet = sealed.pop().expect("enough packets were loaded");
            publisher.send_to(&packet, server).unwrap();
        });
        drain(publisher);
    }

    /// Frees everything on the clients' side; the server's side stays as it is.
    pub(crate) fn dismiss_clients(&mut self) {
        self.clients.truncate(1);
        self.sealed = Vec::new();
        while self.events.try_recv().is_some() {}
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.worker.order(Order::Stop);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Client {
    fn turn(&mut self, server: SocketAddr) {
        let path = Path {
            protocol: Protocol::Udp,
            local: self.address,
            remote: server,
        };
        let now = Instant::now();
        let mut buffer = [0_u8; 2_048];
        while let Ok((length, _)) = self.socket.recv_from(&mut buffer) {
            self.transport
                .handle_datagram(now, path, &mut buffer[..length]);
        }
        if self
            .transport
            .deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.transport.handle_timeout(now);
        }
        while let Some(output) = self.transport.poll() {
            if let TransportOutput::Transmit { payload, .. } = output {
                self.socket.send_to(&payload, server).unwrap();
            }
        }
    }
}

fn payload_type(codec: Codec, pt: u8) -> PayloadType {
    PayloadType {
        codec,
        pt,
        rtx_pt: None,
        fmtp: String::new(),
        nack: true,
    }
}

fn send_section(kind: MediaKind, ssrc: u32) -> SendSection {
    let payload_types = match kind {
        MediaKind::Video => [payload_type(Codec::Vp8, 120)],
        MediaKind::Audio => [payload_type(Codec::Opus, 109)],
    };
    SendSection {
        mid: "7".into(),
        ssrc,
        rtx_ssrc: None,
        payload_types: payload_types.into(),
        extensions: Extensions {
            mid: Some(9),
            ..Extensions::default()
        },
    }
}
