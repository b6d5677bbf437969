//! Shards and their clients on an in-memory network in virtual time: every client is a real
//! transport of this crate (ICE, DTLS, SRTP), every run follows from its seed. Clients are dealt
//! out to `crate::SHARDS` shards, whose links are `spans`' business.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use skein_media::command::Command;
use skein_media::event::Event;
use skein_media::ids::{DownTrackKey, LinkKey, RoomKey, TrackKey, TransportKey};
use skein_media::rtp::RtpHeader;
use skein_media::shard::{Input, Output, Shard, ShardConfig};

use skein_media::transport::{
    DtlsIdentity, Received, SRTCP_TAIL_BYTES, SRTP_TAIL_BYTES, Transport, TransportOptions,
    TransportOutput,
};
use skein_media::types::{
    Codec, DtlsRole, Extensions, IceCredentials, LayerLimit, LayerMode, MediaKind, Path,
    PayloadType, Protocol, ReceiveSection, RemoteCandidate, RemoteTransport, SendSection,
    TrackConfig,
};

#[path = "spans.rs"]
mod spans;

use spans::{Spans, shard_of};

pub(crate) const ROOM: RoomKey = RoomKey(1);
pub(crate) const MID: u8 = 4;
pub(crate) const RID: u8 = 10;
pub(crate) const REPAIRED_RID: u8 = 11;
pub(crate) const AUDIO_LEVEL: u8 = 1;
pub(crate) const TRANSPORT_CC: u8 = 3;
pub(crate) const ABS_SEND_TIME: u8 = 2;

/// One certificate of the node and one of all clients: making them is slow.
pub(crate) fn identity(index: usize) -> &'static Arc<DtlsIdentity> {
    static IDENTITIES: [OnceLock<Arc<DtlsIdentity>>; 2] = [OnceLock::new(), OnceLock::new()];
    IDENTITIES[index].get_or_init(|| DtlsIdentity::generate().unwrap())
}

pub(crate) fn server_address() -> SocketAddr {
    "10.0.0.1:7882".parse().unwrap()
}

/// Where the shard that stands by for the first one is reached.
pub(crate) fn second_home() -> SocketAddr {
    "10.0.0.9:7882".parse().unwrap()
}

pub(crate) fn credentials(name: &str) -> IceCredentials {
    IceCredentials {
        ufrag: format!("{name}ufrag"),
        pwd: format!("{name}-password-of-enough-length"),
    }
}

/// An RTP packet as a client saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) header: RtpHeader,
    pub(crate) packet: Vec<u8>,
}

impl Seen {
    pub(crate) fn payload(&self) -> &[u8] {
        self.header.payload.of(&self.packet)
    }
}

/// A path towards a client that is more than a delay: carries a datagram or loses it.
pub(crate) trait Wire {
    fn carry(&mut self, now: Instant, bytes: usize) -> Option<Instant>;
}

pub(crate) struct Client {
    pub(crate) key: TransportKey,
    pub(crate) transport: Transport,
    pub(crate) address: SocketAddr,
    pub(crate) rtp: Vec<Seen>,
    pub(crate) rtcp: Vec<(Instant, Vec<u8>)>,
    /// Loss on the way to and from this client, percent.
    pub(crate) loss: u32,
    /// Instead of the world's delay, towards this client.
    pub(crate) wire: Option<Box<dyn Wire>>,
}

impl Client {
    /// Packets of one SSRC in the order of arrival.
    pub(crate) fn of(&self, ssrc: u32) -> Vec<&Seen> {
        self.rtp
            .iter()
            .filter(|seen| seen.header.ssrc == ssrc)
            .collect()
    }
}

/// Where a datagram under way goes.
#[derive(Clone, Copy)]
enum To {
    Shard(usize),
    Client(usize),
    /// A frame of a relay, from a shard to another.
    Link(usize, usize),
}

type Flying = (To, Option<Path>, Vec<u8>);

pub(crate) struct World {
    pub(crate) now: Instant,
    /// The first shard; most tests have no other.
    pub(crate) shard: Shard,
    others: Vec<Shard>,
    spans: Spans,
    /// The second shard is another node, which is told what the first one says to standbys.
    pub(crate) follows: bool,
    /// The first shard is dead.
    pub(crate) dead: bool,
    /// Bytes the first shard said to standbys: images, deltas.
    pub(crate) told: (usize, usize),
    /// Loss between shards, percent.
    pub(crate) link_loss: u32,
    /// Frames between shards that arrive with a byte changed, percent.
    pub(crate) link_noise: u32,
    pub(crate) clients: Vec<Client>,
    pub(crate) events: Vec<Event>,
    pub(crate) jitter_ms: u32,
    pub(crate) delay_ms: u64,
    /// Segments of every run the shard sent.
    pub(crate) runs: Vec<usize>,
    rng: ChaCha12Rng,
    flying: BTreeMap<(Instant, u64), Flying>,
    count: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let now = Instant::now();
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let mut shards: Vec<Shard> = (0..crate::SHARDS)
            .map(|_| {
                let mut key = [0u8; 32];
                rng.fill_bytes(&mut key);
                Shard::new(ShardConfig::new(key, Arc::clone(identity(0))))
            })
            .collect();
        let others = shards.split_off(1);
        World {
            now,
            shard: shards.remove(0),
            others,
            spans: Spans::default(),
            follows: false,
            dead: false,
            told: (0, 0),
            link_loss: 0,
            link_noise: 0,
            clients: Vec::new(),
            events: Vec::new(),
            jitter_ms: 0,
            delay_ms: 10,
            runs: Vec::new(),
            rng,
            flying: BTreeMap::new(),
            count: 0,
        }
    }

    pub(crate) fn command(&mut self, command: Command) {
        for (shard, command) in self.spans.route(command) {
            let now = self.now;
            self.shard_at(shard).handle(now, Input::Command(command));
        }
        self.drain_shards();
    }

    /// A world with a second node that stands by for the first one.
    #[allow(dead_code, reason = "not every binary has standbys")]
    pub(crate) fn with_standby(seed: u64) -> World {
        let mut world = World::new(seed);
        let mut key = [0u8; 32];
        world.rng.fill_bytes(&mut key);
        let second = Shard::new(ShardConfig::new(key, Arc::clone(identity(0))));
        world.others = vec![second];
        world.follows = true;
        world
    }

    /// Commands for the second node.
    #[allow(dead_code, reason = "not every binary has standbys")]
    pub(crate) fn command_second(&mut self, command: Command) {
        let now = self.now;
        self.shard_at(1).handle(now, Input::Command(command));
        self.drain_shards();
    }

    pub(crate) fn shard_at(&mut self, index: usize) -> &mut Shard {
        match index {
            0 => &mut self.shard,
            _ => &mut self.others[index - 1],
        }
    }

    fn shards(&mut self) -> impl Iterator<Item = &mut Shard> {
        std::iter::once(&mut self.shard).chain(&mut self.others)
    }

    /// Adds a client and connects it.
    pub(crate) fn connect(&mut self) -> usize {
        let index = self.invite();
        for _ in 0..2000 {
            if self.clients[index].transport.is_connected() {
                // The shard learns of it a flight later.
                self.run(Duration::from_millis(60));
                return index;
            }
            self.run(Duration::from_millis(5));
        }
        panic!("client {index} did not connect");
    }

    /// Adds a client that begins to connect.
    pub(crate) fn invite(&mut self) -> usize {
        let index = self.clients.len();
        let key = TransportKey(100 + index as u64);
        let name = format!("client{index}");
        let server_name = format!("server{index}");
        let address: SocketAddr = format!("10.0.1.{}:{}", index % 250, 5000 + index)
            .parse()
            .unwrap();
        let options = TransportOptions {
            controlling: true,
            tie_breaker: 7,
            local_addresses: [(Protocol::Udp, address)].into_iter().collect(),
        };
        let mut seed = [0u8; 32];
        self.rng.fill_bytes(&mut seed);
        let mut transport =
            Transport::new(self.now, credentials(&name), identity(1), options, seed);
        self.command(Command::AddTransport {
            transport: key,
            room: ROOM,
            local: credentials(&server_name),
            spare: false,
        });
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
        self.command(Command::SetRemote {
            transport: key,
            remote: remote(credentials(&name), identity(1), DtlsRole::Server, address),
        });
        transport.set_remote(
            self.now,
            remote(
                credentials(&server_name),
                identity(0),
                DtlsRole::Client,
                server_address(),
            ),
        );
        self.clients.push(Client {
            key,
            transport,
            address,
            rtp: Vec::new(),
            rtcp: Vec::new(),
            loss: 0,
            wire: None,
        });
        index
    }

    /// Seals and sends a plain RTP packet of a client.
    pub(crate) fn send_rtp(&mut self, client: usize, plain: &[u8]) {
        let mut buf = plain.to_vec();
        buf.resize(plain.len() + SRTP_TAIL_BYTES, 0);
        let sealed = self.clients[client]
            .transport
            .seal_rtp(&mut buf, plain.len());
        if let Some(len) = sealed {
            self.send(client, &buf[..len]);
        }
    }

    pub(crate) fn send_rtcp(&mut self, client: usize, plain: &[u8]) {
        let mut buf = plain.to_vec();
        buf.resize(plain.len() + SRTCP_TAIL_BYTES, 0);
        let len = self.clients[client]
            .transport
            .seal_rtcp(&mut buf, plain.len())
            .unwrap();
        self.send(client, &buf[..len]);
    }

    /// Puts a datagram of a client on the wire, on its selected path.
    pub(crate) fn send(&mut self, client: usize, datagram: &[u8]) {
        let selected = self.clients[client].transport.selected_path();
        let to = selected.map_or_else(server_address, |path| path.remote);
        self.send_to(client, to, datagram);
    }

    fn send_to(&mut self, client: usize, to: SocketAddr, datagram: &[u8]) {
        let path = Path {
            protocol: Protocol::Udp,
            local: to,
            remote: self.clients[client].address,
        };
        let loss = self.clients[client].loss;
        let shard = match to == second_home() {
            true => 1,
            false if self.dead => return,
            false => shard_of(self.clients[client].key.0),
        };
        self.fly(loss, To::Shard(shard), Some(path), datagram);
    }

    fn fly(&mut self, loss: u32, to: To, path: Option<Path>, datagram: &[u8]) {
        if self.rng.next_u32() % 100 < loss {
            return;
        }
        let jitter = match self.jitter_ms {
            0 => 0,
            jitter => self.rng.next_u32() % jitter,
        };
        let at = self.now + Duration::from_millis(self.delay_ms + u64::from(jitter));
        self.count += 1;
        self.flying
            .insert((at, self.count), (to, path, datagram.to_vec()));
    }

    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            self.drain_clients();
            self.drain_shards();
            let arrival = self.flying.first_key_value().map(|(key, _)| key.0);
            let timers = self
                .clients
                .iter()
                .filter_map(|client| client.transport.deadline());
            let shards = std::iter::once(&self.shard).chain(&self.others);
            let due = shards.filter_map(Shard::deadline);
            let next = timers.chain(arrival).chain(due).min();
            match next {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => break,
            }
            self.deliver();
            let now = self.now;
            for shard in self.shards() {
                if shard.deadline().is_some_and(|at| at <= now) {
                    shard.handle(now, Input::Timeout);
                }
            }
            for client in &mut self.clients {
                if client.transport.deadline().is_some_and(|at| at <= self.now) {
                    client.transport.handle_timeout(self.now);
                }
            }
        }
        self.now = end;
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.flying.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (to, path, mut datagram) = entry.remove();
            let now = self.now;
            let to = match (to, path) {
                (To::Link(from, to), _) => {
                    let (link, frame) = (LinkKey(from as u64), datagram.as_slice());
                    self.shard_at(to).handle(now, Input::Relay { link, frame });
                    continue;
                }
                (To::Shard(shard), Some(path)) => {
                    let payload = &mut datagram;
                    self.shard_at(shard)
                        .handle(now, Input::Datagram { path, payload });
                    continue;
                }
                (To::Client(to), Some(path)) => (to, path),
                _ => unreachable!(),
            };
            let (to, path) = to;
            let client = &mut self.clients[to];
            match client.transport.handle_datagram(now, path, &mut datagram) {
                Received::Rtp { packet, .. } => {
                    let header = RtpHeader::parse(packet).expect("what we send is RTP");
                    client.rtp.push(Seen {
                        at: now,
                        header,
                        packet: packet.to_vec(),
                    });
                }
                Received::Rtcp { packet } => client.rtcp.push((now, packet.to_vec())),
                Received::Consumed | Received::Dropped(_) => {}
            }
        }
        let now = self.now;
        self.shards().for_each(|shard| shard.flush(now));
    }

    fn drain_shards(&mut self) {
        (0..=self.others.len()).for_each(|shard| self.drain_shard(shard));
    }

    /// Carries what a node says to the other one about standbys.
    fn carry(&mut self, index: usize, event: &Event) {
        let command = match event {
            Event::TransportImage {
                transport,
                probe,
                image,
                ..
            } if !self.dead => {
                self.told.0 += image.len();
                Command::AddStandby {
                    transport: *transport,
                    room: ROOM,
                    probe: *probe,
                    image: image.clone(),
                }
            }
            Event::TransportDelta {
                transport, delta, ..
            } if !self.dead => {
                self.told.1 += delta.len();
                Command::UpdateStandby {
                    transport: *transport,
                    delta: delta.clone(),
                }
            }
            Event::StandbyHas {
                transport, version, ..
            } => Command::Replicated {
                transport: *transport,
                version: *version,
            },
            _ => return,
        };
        let now = self.now;
        let other = self.shard_at(1 - index);
        other.handle(now, Input::Command(command));
    }

    fn drain_shard(&mut self, index: usize) {
        let (mut sent, mut frames) = (Vec::new(), Vec::new());
        let first_event = self.events.len();
        let shard = match index {
            0 => &mut self.shard,
            _ => &mut self.others[index - 1],
        };
        while let Some(output) = shard.poll() {
            match output {
                Output::Event(event) => self.events.push(event),
                Output::Relay { link, block } => {
                    let to = link.0 as usize;
                    frames.extend(block.frames().map(|frame| (to, frame.to_vec())));
                }
                Output::Transmit(transmit) => {
                    let before = sent.len();
                    sent.extend(transmit.segments().map(|s| (transmit.path, s.to_vec())));
                    self.runs.push(sent.len() - before);
                }
            }
        }
        if self.follows {
            for event in self.events.split_off(first_event) {
                self.carry(index, &event);
                self.events.push(event);
            }
        }
        if self.dead && index == 0 {
            return;
        }
        for (to, mut frame) in frames {
            if self.rng.next_u32() % 100 < self.link_noise {
                let at = self.rng.next_u32() as usize % frame.len();
                frame[at] = self.rng.next_u32() as u8;
            }
            if self.rng.next_u32() % 100 >= self.link_loss {
                self.count += 1;
                let entry = (To::Link(index, to), None, frame);
                self.flying.insert((self.now, self.count), entry);
            }
        }
        for (path, datagram) in sent {
            let to = self
                .clients
                .iter()
                .position(|client| client.address == path.remote);
            let Some(to) = to else { continue };
            let reverse = Path {
                protocol: path.protocol,
                local: path.remote,
                remote: path.local,
            };
            if let Some(wire) = self.clients[to].wire.as_mut() {
                if let Some(at) = wire.carry(self.now, datagram.len() + 28) {
                    self.count += 1;
                    self.flying
                        .insert((at, self.count), (To::Client(to), Some(reverse), datagram));
                }
                continue;
            }
            let loss = self.clients[to].loss;
            self.fly(loss, To::Client(to), Some(reverse), &datagram);
        }
    }

    fn drain_clients(&mut self) {
        for index in 0..self.clients.len() {
            while let Some(output) = self.clients[index].transport.poll() {
                if let TransportOutput::Transmit { path, payload } = output {
                    self.send_to(index, path.remote, &payload);
                }
            }
        }
    }

    /// A track of `client` on a section of its own.
    pub(crate) fn publish(
        &mut self,
        client: usize,
        track: TrackKey,
        section: ReceiveSection,
        config: TrackConfig,
    ) {
        let transport = self.clients[client].key;
        self.command(Command::SetReceive {
            transport,
            sections: vec![section],
        });
        self.command(Command::AddTrack {
            track,
            room: ROOM,
            transport,
            config,
        });
    }

    pub(crate) fn subscribe(
        &mut self,
        client: usize,
        track: TrackKey,
        section: SendSection,
    ) -> DownTrackKey {
        let down_track = DownTrackKey(track.0 * 1000 + client as u64);
        self.command(Command::AddDownTrack {
            down_track,
            track,
            transport: self.clients[client].key,
            section,
            limit: LayerLimit::HIGHEST,
            paused: false,
        });
        down_track
    }
}

pub(crate) fn payload_type(codec: Codec, pt: u8, rtx_pt: Option<u8>) -> PayloadType {
    PayloadType {
        codec,
        pt,
        rtx_pt,
        fmtp: String::new(),
        nack: true,
    }
}

pub(crate) fn publisher_extensions() -> Extensions {
    Extensions {
        mid: Some(MID),
        rid: Some(RID),
        repaired_rid: Some(REPAIRED_RID),
        audio_level: Some(AUDIO_LEVEL),
        transport_cc: Some(TRANSPORT_CC),
        ..Extensions::default()
    }
}

pub(crate) fn video_section(track: TrackKey, rids: &[&str]) -> ReceiveSection {
    ReceiveSection {
        mid: "1".into(),
        kind: MediaKind::Video,
        payload_types: [payload_type(Codec::Vp8, 96, Some(97))].into(),
        extensions: publisher_extensions(),
        rids: rids.iter().map(|rid| rid.to_string()).collect(),
        ssrcs: Vec::new(),
        track: Some(track),
    }
}

pub(crate) fn audio_section(track: TrackKey) -> ReceiveSection {
    ReceiveSection {
        mid: "0".into(),
        kind: MediaKind::Audio,
        payload_types: [
            payload_type(Codec::Red, 63, None),
            payload_type(Codec::Opus, 111, None),
        ]
        .into(),
        extensions: publisher_extensions(),
        rids: Vec::new(),
        ssrcs: Vec::new(),
        track: Some(track),
    }
}

pub(crate) fn config(kind: MediaKind, rids: &[&str]) -> TrackConfig {
    TrackConfig {
        kind,
        layer_mode: LayerMode::OneStreamPerLayer,
        rids: rids.iter().map(|rid| rid.to_string()).collect(),
        encrypted: false,
        screen_share: false,
        build_red: false,
    }
}

/// The subscriber takes this as well, and likes it best.
pub(crate) fn prefer(section: &mut SendSection, payload: PayloadType) {
    let known = section.payload_types.iter().cloned();
    section.payload_types = std::iter::once(payload).chain(known).collect();
}

/// What a subscriber negotiated: other numbers than the publisher's everywhere.
pub(crate) fn send_section(kind: MediaKind, ssrc: u32) -> SendSection {
    let payload_types = match kind {
        MediaKind::Video => [payload_type(Codec::Vp8, 120, Some(121))],
        MediaKind::Audio => [payload_type(Codec::Opus, 109, None)],
    };
    SendSection {
        mid: "7".into(),
        ssrc,
        rtx_ssrc: (kind == MediaKind::Video).then_some(ssrc + 1),
        payload_types: payload_types.into(),
        extensions: Extensions {
            mid: Some(9),
            abs_send_time: Some(ABS_SEND_TIME),
            ..Extensions::default()
        },
    }
}
