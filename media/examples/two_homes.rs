//! One echo peer with two sockets, for the takeover check with a browser (`tests/e2e`). It prints
//! its ports and credentials, reads the browser's from standard input, echoes media and messages;
//! on the line `move` it freezes its transport and thaws it on the second socket.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io::{BufRead, stdin};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use skein_media::transport::{
    DtlsIdentity, Received, SRTP_TAIL_BYTES, Transport, TransportEvent, TransportOptions,
    TransportOutput,
};
use skein_media::types::{
    DtlsRole, Fingerprint, IceCredentials, Path, Protocol, Reliability, RemoteTransport,
    SctpParameters,
};

const UFRAG: &str = "twohomes";
const PASSWORD: &str = "password-of-two-homes-0";
/// The echo is a stream of its own.
const ECHO_SSRC: u32 = 1_234;

struct Home {
    socket: UdpSocket,
    address: SocketAddr,
}

impl Home {
    fn open() -> std::io::Result<Home> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Home { socket, address })
    }
}

struct Peer {
    identity: Arc<DtlsIdentity>,
    transport: Transport,
    homes: [Home; 2],
    /// Homes before this one are gone; before the move both answer checks.
    home: usize,
    moved: Option<Instant>,
    sequence: u16,
}

fn main() -> Result<(), Box<dyn Error>> {
    let homes = [Home::open()?, Home::open()?];
    let identity = DtlsIdentity::generate()?;
    let digest = &identity.fingerprint().digest;
    let digest: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    let ports = homes.each_ref().map(|home| home.address.port());
    println!(
        "{} {} {UFRAG} {PASSWORD} {}",
        ports[0],
        ports[1],
        digest.join(":")
    );
    let lines = read_lines();
    let remote = parse_remote(&lines.recv()?)?;
    let now = Instant::now();
    let local = IceCredentials {
        ufrag: UFRAG.to_owned(),
        pwd: PASSWORD.to_owned(),
    };
    let options = TransportOptions {
        controlling: true,
        ..TransportOptions::default()
    };
    let mut transport = Transport::new(now, local, &identity, options, [1; 32]);
    transport.set_remote(now, remote);
    transport.open_channel(now, "_reliable", Reliability::Reliable);
    let mut peer = Peer {
        identity,
        transport,
        homes,
        home: 0,
        moved: None,
        sequence: 1,
    };
    loop {
        match lines.recv_timeout(Duration::from_millis(1)) {
            Ok(line) if line == "move" => peer.move_home()?,
            Ok(_) | Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
        }
        peer.turn();
    }
}

impl Peer {
    fn move_home(&mut self) -> Result<(), Box<dyn Error>> {
        let now = Instant::now();
        let remote = self.transport.selected_path().ok_or("no path")?.remote;
        let snapshot = self.transport.freeze(now).ok_or("it was closed")?;
        let options = TransportOptions::default();
        self.transport = Transport::thaw(now, &snapshot, &self.identity, options, [2; 32])?;
        self.home = 1;
        self.moved = Some(now);
        self.sequence = self.transport.next_sequence(ECHO_SSRC, 1);
        let path = Path {
            protocol: Protocol::Udp,
            local: self.homes[1].address,
            remote,
        };
        self.transport.nominate(now, path);
        Ok(())
    }

    fn turn(&mut self) {
        self.transmit();
        let mut buf = [0u8; 2_048];
        for home in self.home..self.homes.len() {
            while let Ok((length, remote)) = self.homes[home].socket.recv_from(&mut buf) {
                self.receive(home, remote, &mut buf[..length]);
                self.transmit();
            }
        }
        if self
            .transport
            .deadline()
            .is_some_and(|at| at <= Instant::now())
        {
            self.transport.handle_timeout(Instant::now());
        }
    }

    fn receive(&mut self, home: usize, remote: SocketAddr, datagram: &mut [u8]) {
        let path = Path {
            protocol: Protocol::Udp,
            local: self.homes[home].address,
            remote,
        };
        let received = self
            .transport
            .handle_datagram(Instant::now(), path, datagram);
        let Received::Rtp { packet, .. } = received else {
            return;
        };
        if let Some(moved) = self.moved.take() {
            println!("media after {} ms", moved.elapsed().as_millis());
        }
        let mut echo = packet.to_vec();
        echo[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        echo[8..12].copy_from_slice(&ECHO_SSRC.to_be_bytes());
        echo.resize(packet.len() + SRTP_TAIL_BYTES, 0);
        let sealed = self.transport.seal_rtp(&mut echo, packet.len());
        if let (Some(length), Some(path)) = (sealed, self.transport.selected_path()) {
            self.sequence = self.sequence.wrapping_add(1);
            self.send(path, &echo[..length]);
        }
    }

    fn transmit(&mut self) {
        while let Some(output) = self.transport.poll() {
            match output {
                TransportOutput::Transmit { path, payload } => self.send(path, &payload),
                TransportOutput::Event(TransportEvent::Data {
                    label,
                    payload,
                    binary,
                }) => {
                    let now = Instant::now();
                    self.transport.send_data(now, &label, &payload, binary);
                }
                TransportOutput::Event(event) => println!("{event:?}"),
            }
        }
    }

    /// Sends from the home the path begins at; one that is gone sends nothing.
    fn send(&self, path: Path, datagram: &[u8]) {
        let alive = &self.homes[self.home..];
        if let Some(home) = alive.iter().find(|home| home.address == path.local) {
            let _ = home.socket.send_to(datagram, path.remote);
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
        .map(|b| u8::from_str_radix(b, 16))
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
