//! Two nodes for the takeover check with a browser (`tests/e2e`): two shards, a socket each, of
//! which the second stands by for the first. It prints its ports and credentials, reads the
//! browser's from
//! standard input, sends it its own video and messages back, and on the line `kill` drops the first
//! shard and lets the second one take over. Nothing is signalled.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io::{BufRead, stdin};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use skein_media::transport::DtlsIdentity;
use skein_media::types::{
    Codec, DtlsRole, Extensions, Fingerprint, IceCredentials, LayerLimit, LayerMode, MediaKind,
    Path, PayloadType, Protocol, ReceiveSection, Reliability, RemoteTransport, SctpParameters,
    SendSection, TrackConfig,
};
use skein_media::{
    Command, DownTrackKey, Event, Input, Output, RoomKey, Shard, ShardConfig, TrackKey,
    TransportKey,
};

const UFRAG: &str = "twonodes";
const PASSWORD: &str = "password-of-two-nodes-0";
const TRANSPORT: TransportKey = TransportKey(1);
const TRACK: TrackKey = TrackKey(2);
const ROOM: RoomKey = RoomKey(4);

struct Node {
    shard: Shard,
    socket: UdpSocket,
    address: SocketAddr,
}

struct Nodes {
    /// The first one is dropped on `kill`.
    list: Vec<Node>,
    killed: Option<Instant>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let identity = DtlsIdentity::generate()?;
    let list = vec![open(1, &identity)?, open(2, &identity)?];
    let digest = &identity.fingerprint().digest;
    let digest: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    println!(
        "{} {} {UFRAG} {PASSWORD} {}",
        list[0].address.port(),
        list[1].address.port(),
        digest.join(":")
    );
    let lines = read_lines();
    let remote = parse_remote(&lines.recv()?)?;
    let mut nodes = Nodes { list, killed: None };
    nodes.begin(remote);
    loop {
        match lines.recv_timeout(Duration::from_millis(1)) {
            Ok(line) if line == "follow" => nodes.command(
                0,
                Command::Replicate {
                    transport: TRANSPORT,
                    on: true,
                    sought: false,
                },
            ),
            Ok(line) if line == "kill" => nodes.kill(),
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        nodes.turn();
    }
}

fn open(seed: u8, identity: &Arc<DtlsIdentity>) -> std::io::Result<Node> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_nonblocking(true)?;
    Ok(Node {
        shard: Shard::new(ShardConfig::new([seed; 32], Arc::clone(identity))),
        address: socket.local_addr()?,
        socket,
    })
}

impl Nodes {
    fn begin(&mut self, remote: RemoteTransport) {
        let transport = TRANSPORT;
        let local = IceCredentials {
            ufrag: UFRAG.to_owned(),
            pwd: PASSWORD.to_owned(),
        };
        let add = Command::AddTransport {
            transport,
            room: ROOM,
            local,
            spare: false,
        };
        let open = Command::OpenChannel {
            transport,
            label: "_reliable".to_owned(),
            reliability: Reliability::Reliable,
        };
        for command in [add, Command::SetRemote { transport, remote }, open] {
            self.command(0, command);
        }
        self.tracks(0);
    }

    /// The browser's video comes back to it.
    fn tracks(&mut self, node: usize) {
        let payload_types: Arc<[_]> = [PayloadType {
            codec: Codec::Vp8,
            pt: 96,
            rtx_pt: None,
            fmtp: String::new(),
            nack: true,
        }]
        .into();
        let section = ReceiveSection {
            mid: "0".to_owned(),
            kind: MediaKind::Video,
            payload_types: payload_types.clone(),
            extensions: Extensions::default(),
            rids: Vec::new(),
            ssrcs: Vec::new(),
            track: Some(TRACK),
        };
        let receive = Command::SetReceive {
            transport: TRANSPORT,
            sections: vec![section],
        };
        let track = Command::AddTrack {
            track: TRACK,
            room: ROOM,
            transport: TRANSPORT,
            config: TrackConfig {
                kind: MediaKind::Video,
                layer_mode: LayerMode::OneStreamPerLayer,
                rids: Vec::new(),
                encrypted: false,
                screen_share: false,
                build_red: false,
            },
        };
        let down = Command::AddDownTrack {
            down_track: DownTrackKey(3),
            track: TRACK,
            transport: TRANSPORT,
            section: SendSection {
                mid: "0".to_owned(),
                ssrc: 1_234,
                rtx_ssrc: None,
                payload_types,
                extensions: Extensions::default(),
            },
            limit: LayerLimit::HIGHEST,
            paused: false,
        };
        for command in [receive, track, down] {
            self.command(node, command);
        }
    }

    fn kill(&mut self) {
        self.list.remove(0);
        self.killed = Some(Instant::now());
        self.command(
            0,
            Command::TakeOver {
                transport: TRANSPORT,
            },
        );
        self.tracks(0);
    }

    fn turn(&mut self) {
        let mut buf = [0u8; 2_048];
        for index in 0..self.list.len() {
            let node = &mut self.list[index];
            let now = Instant::now();
            while let Ok((length, remote)) = node.socket.recv_from(&mut buf) {
                let path = Path {
                    protocol: Protocol::Udp,
                    local: node.address,
                    remote,
                };
                let payload = &mut buf[..length];
                node.shard.handle(now, Input::Datagram { path, payload });
            }
            if node.shard.deadline().is_some_and(|at| at <= now) {
                node.shard.handle(now, Input::Timeout);
            }
            node.shard.flush(now);
            self.drain(index);
        }
    }

    fn command(&mut self, node: usize, command: Command) {
        if let Some(node) = self.list.get_mut(node) {
            node.shard.handle(Instant::now(), Input::Command(command));
        }
    }

    fn drain(&mut self, index: usize) {
        let mut events = Vec::new();
        let node = &mut self.list[index];
        while let Some(output) = node.shard.poll() {
            match output {
                Output::Transmit(transmit) => {
                    for segment in transmit.segments() {
                        let _ = node.socket.send_to(segment, transmit.path.remote);
                    }
                }
                Output::Event(event) => events.push(event),
                Output::Relay { .. } => {}
            }
        }
        for event in events {
            self.on_event(index, event);
        }
    }

    /// Carries what one node says to the other, and messages back to the browser.
    fn on_event(&mut self, index: usize, event: Event) {
        match event {
            Event::TransportImage {
                transport,
                probe,
                image,
                ..
            } => {
                println!("image of {} bytes", image.len());
                let room = ROOM;
                self.command(
                    1,
                    Command::AddStandby {
                        transport,
                        room,
                        probe,
                        image,
                    },
                );
            }
            Event::TransportDelta {
                transport, delta, ..
            } => self.command(1, Command::UpdateStandby { transport, delta }),
            Event::StandbyHas {
                transport, version, ..
            } => {
                self.command(0, Command::Replicated { transport, version });
            }
            Event::Data {
                transport,
                label,
                payload,
                binary,
            } => self.command(
                index,
                Command::SendData {
                    transport,
                    label,
                    payload,
                    binary,
                },
            ),
            Event::TakenOver { heard, .. } => {
                let after = self.killed.map(|at| at.elapsed().as_millis());
                println!("heard {heard} after {} ms", after.unwrap_or(0));
            }
            Event::Stats { .. } => {}
            other => println!("node {index}: {other:?}"),
        }
    }
}

fn read_lines() -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// `UFRAG PASSWORD AA:BB:…` of the browser's answer.
fn parse_remote(line: &str) -> Result<RemoteTransport, Box<dyn Error>> {
    let mut words = line.split_whitespace();
    let mut next = || words.next().ok_or("UFRAG PASSWORD FINGERPRINT");
    let (ufrag, pwd, digest) = (next()?.to_owned(), next()?.to_owned(), next()?);
    let digest: Result<Vec<u8>, _> = digest
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect();
    Ok(RemoteTransport {
        ice: IceCredentials { ufrag, pwd },
        fingerprint: Fingerprint {
            algorithm: "sha-256".to_owned(),
            digest: digest?,
        },
        role: DtlsRole::Server,
        sctp: Some(SctpParameters {
            port: 5_000,
            max_message_size_bytes: 65_535,
        }),
        candidates: Vec::new(),
    })
}
