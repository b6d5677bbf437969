//! One worker with rooms of a publisher and many subscribers. The clients live in this thread: real
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

const MID_ID: u8 = 4;

struct Client {
    key: TransportKey,
    transport: Transport,
    address: SocketAddr,
}

/// What a publisher sends next.
#[derive(Default)]
struct Stream {
    sequence: u16,
    timestamp: u32,
}

pub(crate) struct Stage {
    server: SocketAddr,
    worker: WorkerHandle,
    thread: Option<JoinHandle<()>>,
    identities: [Arc<DtlsIdentity>; 2],
    /// The publisher of each room first, then subscribers, room by room.
    clients: Vec<Client>,
    /// As many; apart, so that receivers are slices.
    sockets: Vec<UdpSocket>,
    /// Sealed packets not sent yet, the next one last.
    sealed: Vec<Vec<u8>>,
    streams: Vec<Stream>,
    events: Events,
}

impl Stage {
    pub(crate) fn new(rooms: usize) -> Stage {
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
            sockets: Vec::new(),
            sealed: Vec::new(),
            streams: (0..rooms).map(|_| Stream::default()).collect(),
            events,
        };
        for room in 0..rooms {
            stage.connect(room);
            stage.publish(room);
        }
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

    fn publish(&self, room: usize) {
        let transport = self.clients[room].key;
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
        let [audio, video] = tracks(room);
        let sections = vec![
            section("0", MediaKind::Audio, Codec::Opus, 111, audio),
            section("1", MediaKind::Video, Codec::Vp8, 96, video),
        ];
        self.command(Command::SetReceive {
            transport,
            sections,
        });
        for (track, kind) in [(audio, MediaKind::Audio), (video, MediaKind::Video)] {
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
                room: room_key(room),
                transport,
                config,
            });
        }
    }

    /// Connects so many subscribers to each room and lets them see and hear its publisher.
    pub(crate) fn admit(&mut self, count: usize) {
        for number in 0..count * self.streams.len() {
            let room = number / count;
            self.connect(room);
            let [audio, video] = tracks(room);
            let client = self.clients.last().unwrap();
            for (track, kind) in [(audio, MediaKind::Audio), (video, MediaKind::Video)] {
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
    fn connect(&mut self, room: usize) {
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
            room: room_key(room),
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
            address,
        };
        let until = now + Duration::from_secs(20);
        while !client.transport.is_connected() {
            assert!(Instant::now() < until, "client {number} did not connect");
            client.turn(&socket, self.server);
            std::thread::yield_now();
        }
        client.turn(&socket, self.server);
        self.clients.push(client);
        self.sockets.push(socket);
    }

    /// Answers checks and timers of everybody.
    fn keep_alive(&mut self) {
        for (client, socket) in self.clients.iter_mut().zip(&self.sockets) {
            client.turn(socket, self.server);
        }
        while self.events.try_recv().is_some() {}
    }

    /// Seals the packets of `bursts` bursts, one video frame each, to the rooms in turn; the first
    /// of each is a key frame.
    pub(crate) fn load(&mut self, bursts: usize) {
        let mut packets = Vec::with_capacity(bursts * BURST);
        for burst in 0..bursts {
            let rooms = self.streams.len();
            let (room, picture) = (burst % rooms, burst / rooms);
            let stream = &mut self.streams[room];
            stream.timestamp = stream.timestamp.wrapping_add(3_000);
            for part in 0..BURST {
                packets.push(self.packet(room, picture as u16, picture == 0, part));
            }
        }
        packets.reverse();
        self.sealed = packets;
    }

    fn packet(&mut self, room: usize, picture: u16, key: bool, part: usize) -> Vec<u8> {
        let stream = &mut self.streams[room];
        stream.sequence = stream.sequence.wrapping_add(1);
        let head = Head {
            marker: part + 1 == BURST,
            payload_type: 96,
            sequence: stream.sequence,
            timestamp: stream.timestamp,
            ssrc: 0x1234_5678,
        };
        let mut packet = vec![0xAA_u8; PACKET_BYTES + SRTP_TAIL_BYTES];
        let length = write_head(&mut packet, &head, &[(MID_ID, b"1")]).unwrap();
        let [high, low] = (0x8000 | (picture & 0x7fff)).to_be_bytes();
        let start = if part == 0 { 0x10 } else { 0 };
        let descriptor = [0x80 | start, 0x80, high, low, u8::from(!key)];
        packet[length..length + descriptor.len()].copy_from_slice(&descriptor);
        let sealed = self.clients[room]
            .transport
            .seal_rtp(&mut packet, PACKET_BYTES)
            .unwrap();
        packet.truncate(sealed);
        packet
    }

    /// Sends the next bursts.
    pub(crate) fn run(&mut self, bursts: usize) {
        let (publishers, receivers) = self.sockets.split_at(self.streams.len());
        let rooms: Vec<&[UdpSocket]> = receivers
            .chunks(receivers.len() / publishers.len())
            .collect();
        let (server, sealed) = (self.server, &mut self.sealed);
        pump(bursts, &rooms, |room| {
            let packet = sealed.pop().expect("enough packets were loaded");
            publishers[room].send_to(&packet, server).unwrap();
        });
        publishers.iter().for_each(|publisher| {
            drain(publisher);
        });
    }

    /// Frees everything on the clients' side; the server's side stays as it is.
    pub(crate) fn dismiss_clients(&mut self) {
        self.clients.truncate(self.streams.len());
        self.sockets.truncate(self.streams.len());
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
    fn turn(&mut self, socket: &UdpSocket, server: SocketAddr) {
        let path = Path {
            protocol: Protocol::Udp,
            local: self.address,
            remote: server,
        };
        let now = Instant::now();
        let mut buffer = [0_u8; 2_048];
        while let Ok((length, _)) = socket.recv_from(&mut buffer) {
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
                socket.send_to(&payload, server).unwrap();
            }
        }
    }
}

fn room_key(room: usize) -> RoomKey {
    RoomKey(room as u64 + 1)
}

/// The sound and the picture of a room's publisher.
fn tracks(room: usize) -> [TrackKey; 2] {
    [0, 1].map(|kind| TrackKey(2 * room as u64 + kind + 1))
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
