//! The in-memory network: delays, loses and reorders datagrams in virtual time.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::event::TransportState;
use crate::transport::stun::{Class, Message};
use crate::transport::{
    DtlsIdentity, Received, Standby, Transport, TransportEvent, TransportOptions, TransportOutput,
};
use crate::types::{
    DtlsRole, IceCredentials, Path, Protocol, RemoteCandidate, RemoteTransport, SctpParameters,
};

pub(super) const SERVER: usize = 0;
pub(super) const CLIENT: usize = 1;

pub(super) fn identity(index: usize) -> &'static Arc<DtlsIdentity> {
    static IDENTITIES: [OnceLock<Arc<DtlsIdentity>>; 2] = [OnceLock::new(), OnceLock::new()];
    IDENTITIES[index].get_or_init(|| DtlsIdentity::generate().unwrap())
}

pub(super) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(super) fn credentials(name: &str) -> IceCredentials {
    IceCredentials {
        ufrag: format!("{name}ufrag"),
        pwd: format!("{name}-password-of-enough-length"),
    }
}

pub(super) struct Host {
    pub(super) transport: Transport,
    /// Instead of `transport`, until it takes over.
    pub(super) standby: Option<Standby>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) alive: bool,
    pub(super) events: Vec<TransportEvent>,
    pub(super) rtp: Vec<Vec<u8>>,
    pub(super) rtcp: Vec<Vec<u8>>,
    pub(super) sent: Vec<(Path, Bytes)>,
}

impl Host {
    pub(super) fn new(transport: Transport, addresses: Vec<SocketAddr>) -> Host {
        Host {
            transport,
            standby: None,
            addresses,
            alive: true,
            events: Vec::new(),
            rtp: Vec::new(),
            rtcp: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// A host that follows another one.
    pub(super) fn standby(now: Instant, standby: Standby, address: SocketAddr) -> Host {
        let options = TransportOptions::default();
        let idle = Transport::new(now, credentials("idle"), identity(SERVER), options, [0; 32]);
        let mut host = Host::new(idle, vec![address]);
        host.standby = Some(standby);
        host
    }

    /// Goes on in the primary's place.
    pub(super) fn take_over(&mut self, now: Instant) {
        let standby = self.standby.take().unwrap();
        self.transport = standby.take_over(now, identity(SERVER)).unwrap();
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.standby {
            Some(standby) => standby.deadline(),
            None => self.transport.deadline(),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match &mut self.standby {
            Some(standby) => standby.handle_timeout(now),
            None => self.transport.handle_timeout(now),
        }
    }

    fn poll(&mut self) -> Option<TransportOutput> {
        let Some(standby) = &mut self.standby else {
            return self.transport.poll();
        };
        let (path, payload) = standby.poll()?;
        let payload = payload.into();
        Some(TransportOutput::Transmit { path, payload })
    }

    pub(super) fn was(&self, state: TransportState) -> bool {
        self.events.contains(&TransportEvent::State(state))
    }

    pub(super) fn is_open(&self, label: &str) -> bool {
        let label = label.to_owned();
        self.events.contains(&TransportEvent::ChannelOpen { label })
    }

    pub(super) fn messages(&self, wanted: &str) -> Vec<Bytes> {
        let of = |event: &TransportEvent| match event {
            TransportEvent::Data { label, payload, .. } if label == wanted => Some(payload.clone()),
            _ => None,
        };
        self.events.iter().filter_map(of).collect()
    }
}

pub(super) struct Network {
    pub(super) now: Instant,
    pub(super) hosts: Vec<Host>,
    pub(super) loss_percent: u32,
    pub(super) jitter_ms: u32,
    /// The client drops checks of who controls, as pion does while it does so itself.
    pub(super) keeps_control: bool,
    /// Addresses nothing reaches or leaves any more.
    pub(super) dead: Vec<SocketAddr>,
    rng: ChaCha12Rng,
    flying: BTreeMap<(Instant, u64), (usize, Path, Vec<u8>)>,
    count: u64,
}

impl Network {
    /// A server on 10.0.0.1:7882 and a controlling client on 10.0.0.2:5000, not yet introduced.
    pub(super) fn new(seed: u64) -> Network {
        Network::with_client_at(seed, &["10.0.0.2:5000"])
    }

    /// The same with a client that has several addresses.
    pub(super) fn with_client_at(seed: u64, addresses: &[&str]) -> Network {
        let now = Instant::now();
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let mut key = [0u8; 32];
        rng.fill_bytes(&mut key);
        let server = Transport::new(
            now,
            credentials("server"),
            identity(SERVER),
            TransportOptions::default(),
            key,
        );
        rng.fill_bytes(&mut key);
        let addresses: Vec<SocketAddr> = addresses.iter().map(|text| address(text)).collect();
        let options = TransportOptions {
            controlling: true,
            tie_breaker: 7,
            local_addresses: addresses.iter().map(|a| (Protocol::Udp, *a)).collect(),
        };
        let client = Transport::new(now, credentials("client"), identity(CLIENT), options, key);
        Network {
            now,
            hosts: vec![
                Host::new(server, vec![address("10.0.0.1:7882")]),
                Host::new(client, addresses),
            ],
            loss_percent: 0,
            jitter_ms: 0,
            keeps_control: false,
            dead: Vec::new(),
            rng,
            flying: BTreeMap::new(),
            count: 0,
        }
    }

    /// Gives both ends the other's description.
    pub(super) fn introduce(&mut self) {
        self.introduce_server();
        self.introduce_client();
    }

    pub(super) fn introduce_server(&mut self) {
        let remote = self.description(CLIENT, credentials("client"), DtlsRole::Server);
        self.hosts[SERVER].transport.set_remote(self.now, remote);
    }

    pub(super) fn introduce_client(&mut self) {
        let remote = self.description(SERVER, credentials("server"), DtlsRole::Client);
        self.hosts[CLIENT].transport.set_remote(self.now, remote);
    }

    /// The description of host `of`, for a peer in role `role`.
    pub(super) fn description(
        &self,
        of: usize,
        ice: IceCredentials,
        role: DtlsRole,
    ) -> RemoteTransport {
        let candidate = |address: &SocketAddr| RemoteCandidate {
            protocol: Protocol::Udp,
            address: *address,
            priority: 2_130_706_431,
        };
        RemoteTransport {
            ice,
            fingerprint: identity(of).fingerprint().clone(),
            role,
            sctp: Some(SctpParameters {
                port: 5000,
                max_message_size_bytes: 65_535,
            }),
            candidates: self.hosts[of].addresses.iter().map(candidate).collect(),
        }
    }

    /// Runs until nothing is due before `duration` from now is over.
    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            self.drain();
            let arrival = self.flying.first_key_value().map(|(key, _)| key.0);
            let timers = self
                .hosts
                .iter()
                .filter(|host| host.alive)
                .filter_map(Host::deadline);
            let next = timers.chain(arrival).min();
            match next {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => break,
            }
            self.deliver();
            for host in self.hosts.iter_mut().filter(|host| host.alive) {
                if host.deadline().is_some_and(|at| at <= self.now) {
                    host.handle_timeout(self.now);
                }
            }
        }
        self.now = end;
    }

    /// Runs in steps until `done`; panics after `limit`.
    pub(super) fn run_until(&mut self, limit: Duration, done: impl Fn(&Network) -> bool) {
        let end = self.now + limit;
        while !done(self) {
            assert!(self.now < end, "not done after {limit:?}");
            self.run(Duration::from_millis(5));
        }
    }

    pub(super) fn connect(&mut self) {
        self.introduce();
        self.run_until(Duration::from_secs(60), |n| n.both_connected());
    }

    pub(super) fn both_connected(&self) -> bool {
        let connected = |h: &Host| h.transport.is_connected();
        connected(&self.hosts[SERVER]) && connected(&self.hosts[CLIENT])
    }

    /// Seals and sends one RTP packet from `from`.
    pub(super) fn send_rtp(&mut self, from: usize, ssrc: u32, sequence: u16) -> Vec<u8> {
        let plain = rtp_packet(ssrc, sequence);
        let mut buf = plain.clone();
        buf.resize(plain.len() + crate::transport::SRTP_TAIL_BYTES, 0);
        let transport = &mut self.hosts[from].transport;
        let len = transport.seal_rtp(&mut buf, plain.len()).expect("sealed");
        self.send_media(from, &buf[..len]);
        plain
    }

    pub(super) fn send_rtcp(&mut self, from: usize, ssrc: u32) -> Vec<u8> {
        let mut plain = vec![0x80, 201, 0, 1];
        plain.extend_from_slice(&ssrc.to_be_bytes());
        let mut buf = plain.clone();
        buf.resize(plain.len() + crate::transport::SRTCP_TAIL_BYTES, 0);
        let transport = &mut self.hosts[from].transport;
        let len = transport.seal_rtcp(&mut buf, plain.len()).expect("sealed");
        self.send_media(from, &buf[..len]);
        plain
    }

    /// Puts `datagram` on the wire of `path` as `from` would.
    pub(super) fn send(&mut self, from: usize, path: Path, datagram: &[u8]) {
        self.hosts[from]
            .sent
            .push((path, Bytes::copy_from_slice(datagram)));
        let dead = self.dead.contains(&path.local) || self.dead.contains(&path.remote);
        if dead || self.rng.next_u32() % 100 < self.loss_percent {
            return;
        }
        let to = self
            .hosts
            .iter()
            .position(|host| host.addresses.contains(&path.remote));
        let Some(to) = to else { return };
        let jitter = match self.jitter_ms {
            0 => 0,
            jitter => self.rng.next_u32() % jitter,
        };
        let at = self.now + Duration::from_millis(10 + u64::from(jitter));
        let reverse = Path {
            protocol: path.protocol,
            local: path.remote,
            remote: path.local,
        };
        self.count += 1;
        self.flying
            .insert((at, self.count), (to, reverse, datagram.to_vec()));
    }

    /// SRTP, SRTCP and DTLS numbers `host` used, each of which may occur once.
    pub(super) fn numbers_used(&self, host: usize) -> HashMap<Number, usize> {
        let mut used = HashMap::new();
        for (_, datagram) in &self.hosts[host].sent {
            for number in numbers(datagram) {
                *used.entry(number).or_default() += 1;
            }
        }
        used
    }

    fn send_media(&mut self, from: usize, datagram: &[u8]) {
        let path = self.hosts[from].transport.selected_path().expect("a path");
        self.send(from, path, datagram);
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.flying.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (to, path, mut datagram) = entry.remove();
            let claims = |m: Message<'_>| m.class() == Class::Request && m.controlling().is_some();
            let refused = self.keeps_control && to == CLIENT;
            if refused && Message::parse(&datagram).is_some_and(claims) {
                continue;
            }
            let host = &mut self.hosts[to];
            if !host.alive {
                continue;
            }
            if let Some(standby) = &mut host.standby {
                standby.handle_datagram(self.now, path, &datagram);
                self.drain();
                continue;
            }
            match host
                .transport
                .handle_datagram(self.now, path, &mut datagram)
            {
                Received::Rtp { packet, replayed } => {
                    assert!(!replayed);
                    host.rtp.push(packet.to_vec());
                }
                Received::Rtcp { packet } => host.rtcp.push(packet.to_vec()),
                Received::Consumed | Received::Dropped(_) => {}
            }
            self.drain();
        }
    }

    pub(super) fn drain(&mut self) {
        for index in 0..self.hosts.len() {
            while let Some(output) = self.hosts[index].poll() {
                match output {
                    TransportOutput::Transmit { path, payload } => {
                        if self.hosts[index].alive {
                            self.send(index, path, &payload);
                        }
                    }
                    TransportOutput::Event(event) => self.hosts[index].events.push(event),
                }
            }
        }
    }
}

/// A number that must not occur twice under one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Number {
    /// SSRC and sequence number; the tests stay within one roll-over.
    Srtp(u32, u16),
    Srtcp(u32),
    /// Epoch and record number.
    Dtls(u16, u64),
}

pub(super) fn numbers(datagram: &[u8]) -> Vec<Number> {
    use crate::demux::{PacketClass, classify};
    let word = |at: usize| u32::from_be_bytes(datagram[at..at + 4].try_into().unwrap());
    match classify(datagram) {
        PacketClass::Rtp => {
            let sequence = u16::from_be_bytes([datagram[2], datagram[3]]);
            vec![Number::Srtp(word(8), sequence)]
        }
        // The tests use AEAD: the index word is at the end.
        PacketClass::Rtcp => vec![Number::Srtcp(word(datagram.len() - 4))],
        PacketClass::Dtls => {
            let mut list = Vec::new();
            let mut rest = datagram;
            while rest.len() >= 13 {
                let epoch = u16::from_be_bytes([rest[3], rest[4]]);
                let mut number = [0u8; 8];
                number[2..].copy_from_slice(&rest[5..11]);
                list.push(Number::Dtls(epoch, u64::from_be_bytes(number)));
                let length = usize::from(u16::from_be_bytes([rest[11], rest[12]]));
                rest = &rest[13 + length..];
            }
            list
        }
        _ => Vec::new(),
    }
}

pub(super) fn rtp_packet(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&[0; 4]);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&[sequence as u8; 100]);
    packet
}
