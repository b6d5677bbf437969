//! One peer connection of a load client: a socket, a transport, what it sends and what it receives.
//! Driven by `media_loop` on one thread; answers RTCP as an honest client does.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use media::event::TransportState;
use media::rtcp::transport_feedback::ArrivalRecorder;
use media::rtcp::{self, Packet, SenderInfo, write};
use media::rtp::{ExtensionMap, RtpHeader};
use media::transport::{
    Received, SRTCP_TAIL_BYTES, SRTP_TAIL_BYTES, Transport, TransportEvent, TransportOutput,
};
use media::types::{Extensions, MediaKind, Path, Protocol};

use crate::clock;
use crate::inbound::{Announced, Inbound};
use crate::outbound::OutStream;
use crate::payload;
use crate::tally::{Arrival, Tally};

/// The longest datagram a client meets.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 2_048;
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
const FEEDBACK_INTERVAL: Duration = Duration::from_millis(100);
const KEY_FRAME_WISH_INTERVAL: Duration = Duration::from_millis(500);

/// How receivers behave in a scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    /// One packet in so many is decrypted and checked.
    pub(crate) check_every: u32,
    /// Share of media packets thrown away on arrival.
    pub(crate) loss: f64,
    pub(crate) nack: bool,
    /// What REMB claims.
    pub(crate) remb_bps: u64,
}

/// A layer wished for, until its first packet is here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) layer: u8,
    pub(crate) since: Instant,
}

pub(crate) struct Peer {
    pub(crate) transport: Transport,
    pub(crate) socket: UdpSocket,
    pub(crate) address: SocketAddr,
    path: Option<Path>,
    pub(crate) inbound: Vec<Inbound>,
    last_inbound: usize,
    pub(crate) streams: Vec<usize>,
    pub(crate) arrival: Arrival,
    /// Streams that must flow before the join counts as done.
    pub(crate) flows_expected: usize,
    pub(crate) remb: bool,
    pub(crate) wish: Option<Wish>,
    pub(crate) layer: Option<u8>,
    /// Which extension carries the transport-wide number.
    arrivals: Option<(ExtensionMap, ArrivalRecorder)>,
    transport_sequence: u16,
    next_report: Instant,
    next_feedback: Instant,
    next_key_wish: Instant,
    rtcp: Vec<u8>,
    sequences: Vec<u16>,
    ssrc: u32,
    pub(crate) failed: bool,
    /// Its tracks are muted.
    pub(crate) silent: bool,
}

/// What a datagram means for the streams of the whole client.
pub(crate) enum Told {
    KeyFrame { ssrc: u32 },
    Resend { ssrc: u32, sequence: u16 },
}

impl Peer {
    pub(crate) fn new(
        transport: Transport,
        socket: UdpSocket,
        address: SocketAddr,
        began: Instant,
        number: u32,
    ) -> Peer {
        // Reports of a thousand receivers are spread over their second.
        let spread = Duration::from_millis(u64::from(number) * 37 % 1_000);
        Peer {
            transport,
            socket,
            address,
            path: None,
            inbound: Vec::new(),
            last_inbound: 0,
            streams: Vec::new(),
            arrival: Arrival {
                began,
                connected: None,
                first_packet: None,
                flowing: None,
            },
            flows_expected: 0,
            remb: false,
            wish: None,
            layer: None,
            arrivals: None,
            transport_sequence: 0,
            next_report: began + spread,
            next_feedback: began + spread / 10,
            next_key_wish: began,
            rtcp: Vec::new(),
            sequences: Vec::new(),
            ssrc: 0x5000_0000 | number,
            failed: false,
            silent: false,
        }
    }

    /// Streams the server's latest offer announced; those that were known go on.
    pub(crate) fn announce(&mut self, now: Instant, announced: Vec<Announced>) {
        for stream in announced {
            if let Some(id) = stream.transport_cc {
                let mut map = ExtensionMap::default();
                map.merge(&Extensions {
                    transport_cc: Some(id),
                    ..Extensions::default()
                });
                self.arrivals
                    .get_or_insert_with(|| (map, ArrivalRecorder::new(now)));
            }
            if !self.inbound.iter().any(|i| i.announced.ssrc == stream.ssrc) {
                self.inbound.push(Inbound::new(stream));
            }
        }
    }

    /// Takes one datagram; `stamp_ns` is when the kernel had it, on the monotonic clock.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        from: SocketAddr,
        stamp_ns: i64,
        datagram: &mut [u8],
        around: &mut Around<'_>,
    ) {
        let rtp = matches!(datagram, [first, second, ..]
            if *first >> 6 == 2 && !(192..=223).contains(second));
        if rtp {
            self.receive_rtp(now, from, stamp_ns, datagram, around);
            return;
        }
        let path = self.path_from(from);
        if let Received::Rtcp { packet } = self.transport.handle_datagram(now, path, datagram) {
            for packet in rtcp::packets(packet) {
                hear(&mut self.inbound, now, packet, around);
            }
        } else {
            self.pump(now);
        }
    }

    fn path_from(&self, remote: SocketAddr) -> Path {
        Path {
            protocol: Protocol::Udp,
            local: self.address,
            remote,
        }
    }

    fn receive_rtp(
        &mut self,
        now: Instant,
        from: SocketAddr,
        stamp_ns: i64,
        datagram: &mut [u8],
        around: &mut Around<'_>,
    ) {
        let Some(header) = RtpHeader::parse(datagram) else {
            around.tally.unknown += 1;
            return;
        };
        let Some((at, repair)) = self.find(header.ssrc) else {
            around.tally.unknown += 1;
            return;
        };
        around.tally.forwarded += 1;
        around.tally.bytes += datagram.len() as u64;
        around.tally.retransmissions += u64::from(repair);
        if around.manners.loss > 0.0 && around.dice() < around.manners.loss {
            around.tally.dropped += 1;
            return;
        }
        if let Some((map, recorder)) = &mut self.arrivals
            && let Some(number) = map.read(&header, datagram).transport_cc
        {
            recorder.record(now, number);
        }
        let path = self.path_from(from);
        if repair {
            let opened = self.transport.handle_datagram(now, path, datagram);
            let original = original_sequence(&opened);
            if let Some(sequence) = original {
                self.inbound[at].repaired(sequence);
            }
            return;
        }
        let stream = &mut self.inbound[at];
        if !stream.arrived(now, header.sequence, header.timestamp) {
            around.tally.duplicates += 1;
            return;
        }
        stream.counted += 1;
        let due = stream.counted % around.manners.check_every == 1 % around.manners.check_every;
        let kind = stream.announced.kind;
        let first = stream.received == 1;
        if first {
            self.note_flow(now);
        }
        if due {
            let opened = self.transport.handle_datagram(now, path, datagram);
            self.check(at, kind, &header, stamp_ns, opened_tail(&opened), around);
        }
    }

    fn check(
        &mut self,
        at: usize,
        kind: MediaKind,
        header: &RtpHeader,
        stamp_ns: i64,
        tail: Option<payload::Tail>,
        around: &mut Around<'_>,
    ) {
        around.tally.checked += 1;
        let Some(tail) = tail else {
            around.tally.wrong += 1;
            return;
        };
        let micros = (stamp_ns - tail.sent_ns) / 1_000;
        around.tally.latency(kind, micros);
        if kind == MediaKind::Audio {
            return;
        }
        if self.wish.is_some_and(|wish| wish.layer == tail.layer) {
            let waited = self.wish.take().map(|wish| wish.since.elapsed());
            let micros = waited.unwrap_or_default().as_micros();
            let micros = u32::try_from(micros).unwrap_or(u32::MAX);
            around.tally.switches_us.push(micros);
        }
        self.layer = Some(tail.layer);
        if around.manners.check_every == 1 {
            /// A second of video: two frames never lie further apart here.
            const LEAP: u32 = 90_000;
            let last = self.inbound[at].last_timestamp.replace(header.timestamp);
            let leapt = last.is_some_and(|last| header.timestamp.wrapping_sub(last) > LEAP);
            around.tally.timestamp_leaps += u64::from(leapt);
        }
    }

    fn note_flow(&mut self, now: Instant) {
        self.arrival.first_packet.get_or_insert(now);
        let flowing = self.inbound.iter().filter(|i| i.received > 0).count();
        if flowing >= self.flows_expected {
            self.arrival.flowing.get_or_insert(now);
        }
    }

    /// The stream of an SSRC, and whether it is its retransmissions'.
    fn find(&mut self, ssrc: u32) -> Option<(usize, bool)> {
        if let Some(last) = self.inbound.get(self.last_inbound)
            && last.announced.ssrc == ssrc
        {
            return Some((self.last_inbound, false));
        }
        let at = self
            .inbound
            .iter()
            .position(|i| i.announced.ssrc == ssrc || i.announced.rtx_ssrc == Some(ssrc))?;
        let repair = self.inbound[at].announced.ssrc != ssrc;
        self.last_inbound = at;
        Some((at, repair))
    }

    /// Carries out what the transport wants.
    pub(crate) fn pump(&mut self, now: Instant) {
        while let Some(output) = self.transport.poll() {
            match output {
                TransportOutput::Transmit { path, payload } => {
                    // A full socket is a lost datagram, as on any network.
                    let _ = self.socket.send_to(&payload, path.remote);
                }
                TransportOutput::Event(TransportEvent::PathSelected(path)) => {
                    self.path = Some(path);
                }
                TransportOutput::Event(TransportEvent::State(state)) => {
                    if state == TransportState::Connected {
                        self.arrival.connected.get_or_insert(now);
                    }
                    self.failed |= state == TransportState::Failed;
                }
                TransportOutput::Event(_) => {}
            }
        }
    }

    /// Timers, gaps and reports.
    pub(crate) fn tick(&mut self, now: Instant, around: &mut Around<'_>) {
        if self.transport.deadline().is_some_and(|at| at <= now) {
            self.transport.handle_timeout(now);
            self.pump(now);
        }
        if self.path.is_none() || !self.transport.is_connected() {
            return;
        }
        self.ask_again(now, around);
        if now >= self.next_feedback {
            self.next_feedback = now + FEEDBACK_INTERVAL;
            self.send_feedback();
        }
        if now >= self.next_report {
            self.next_report = now + REPORT_INTERVAL;
            self.send_reports(now, around);
        }
    }

    fn ask_again(&mut self, now: Instant, around: &Around<'_>) {
        let mut rtcp = std::mem::take(&mut self.rtcp);
        rtcp.clear();
        for stream in self.inbound.iter_mut().filter(|i| i.has_gaps()) {
            let gave_up = stream.nacks(now, &mut self.sequences);
            if around.manners.nack && !self.sequences.is_empty() {
                write::nack(
                    &mut rtcp,
                    self.ssrc,
                    stream.announced.ssrc,
                    &self.sequences[..self.sequences.len().min(200)],
                );
            }
            let video = stream.announced.kind == MediaKind::Video;
            if gave_up && video && now >= self.next_key_wish {
                self.next_key_wish = now + KEY_FRAME_WISH_INTERVAL;
                write::picture_loss(&mut rtcp, self.ssrc, stream.announced.ssrc);
            }
        }
        self.rtcp = rtcp;
        self.send_rtcp();
    }

    fn send_feedback(&mut self) {
        if let Some((_, recorder)) = &mut self.arrivals {
            self.rtcp.clear();
            let ssrc = self.inbound.first().map_or(0, |i| i.announced.ssrc);
            recorder.write(&mut self.rtcp, self.ssrc, ssrc);
            self.send_rtcp();
        }
    }

    fn send_reports(&mut self, now: Instant, around: &Around<'_>) {
        let reports = self
            .inbound
            .iter_mut()
            .filter(|i| i.received > 0)
            .map(|i| i.report(now));
        let blocks: Vec<_> = reports.collect();
        for blocks in blocks.chunks(write::BLOCKS_MAX) {
            self.rtcp.clear();
            write::receiver_report(&mut self.rtcp, self.ssrc, blocks);
            if self.remb {
                let ssrcs: Vec<u32> = blocks.iter().map(|block| block.ssrc).collect();
                write::remb(&mut self.rtcp, self.ssrc, around.manners.remb_bps, &ssrcs);
            }
            self.send_rtcp();
        }
        for stream in self.streams.clone() {
            let Some(stream) = around.streams.get(stream).filter(|s| s.packets > 0) else {
                continue;
            };
            let info = SenderInfo {
                ntp: clock::ntp(),
                rtp_timestamp: stream.timestamp(),
                packets: stream.packets,
                octets: stream.octets,
            };
            self.rtcp.clear();
            write::sender_report(&mut self.rtcp, stream.plan.ssrc, &info, &[]);
            self.send_rtcp();
        }
    }

    fn send_rtcp(&mut self) {
        let length = self.rtcp.len();
        let Some(path) = self.path.filter(|_| length > 0) else {
            return;
        };
        self.rtcp.resize(length + SRTCP_TAIL_BYTES, 0);
        if let Some(sealed) = self.transport.seal_rtcp(&mut self.rtcp, length) {
            let _ = self.socket.send_to(&self.rtcp[..sealed], path.remote);
        }
        self.rtcp.clear();
    }

    /// Sends what `write` puts into the buffer, once the connection stands.
    pub(crate) fn send_rtp(
        &mut self,
        buffer: &mut [u8],
        write: impl FnOnce(&mut [u8], u16) -> Option<usize>,
    ) -> io::Result<bool> {
        let Some(path) = self.path.filter(|_| self.transport.is_connected()) else {
            return Ok(false);
        };
        let Some(length) = write(buffer, self.transport_sequence) else {
            return Ok(false);
        };
        self.transport_sequence = self.transport_sequence.wrapping_add(1);
        let room = (length + SRTP_TAIL_BYTES).min(buffer.len());
        let Some(sealed) = self.transport.seal_rtp(&mut buffer[..room], length) else {
            return Ok(false);
        };
        self.socket.send_to(&buffer[..sealed], path.remote)?;
        Ok(true)
    }
}

fn hear(inbound: &mut [Inbound], now: Instant, packet: Packet<'_>, around: &mut Around<'_>) {
    match packet {
        Packet::SenderReport { ssrc, info, .. } => {
            if let Some(stream) = inbound.iter_mut().find(|i| i.announced.ssrc == ssrc) {
                stream.heard_sender_report(now, &info);
            }
        }
        Packet::PictureLoss { media_ssrc } => {
            around.tally.key_frames_asked += 1;
            around.told.push(Told::KeyFrame { ssrc: media_ssrc });
        }
        Packet::FullIntraRequest { entries } => {
            let wishes = rtcp::fir_targets(entries).map(|ssrc| Told::KeyFrame { ssrc });
            around.told.extend(wishes);
        }
        Packet::Nack { media_ssrc, pairs } => {
            let resend = pairs.nacked().map(|sequence| Told::Resend {
                ssrc: media_ssrc,
                sequence,
            });
            let before = around.told.len();
            around.told.extend(resend);
            around.tally.nacked_by_server += (around.told.len() - before) as u64;
        }
        _ => {}
    }
}

fn original_sequence(received: &Received<'_>) -> Option<u16> {
    let Received::Rtp { packet, .. } = received else {
        return None;
    };
    let header = RtpHeader::parse(packet)?;
    let bytes: &[u8; 2] = header.payload.of(packet).first_chunk()?;
    Some(u16::from_be_bytes(*bytes))
}

fn opened_tail(received: &Received<'_>) -> Option<payload::Tail> {
    let Received::Rtp { packet, .. } = received else {
        return None;
    };
    let header = RtpHeader::parse(packet)?;
    payload::check(header.payload.of(packet))
}

/// What a peer shares with all others of its thread.
pub(crate) struct Around<'a> {
    pub(crate) tally: &'a mut Tally,
    pub(crate) manners: Manners,
    pub(crate) streams: &'a [OutStream],
    pub(crate) told: &'a mut Vec<Told>,
    /// State of the dice that lose packets.
    pub(crate) dice_state: &'a mut u64,
}

impl Around<'_> {
    /// Uniform in [0, 1): xorshift64*, good enough to lose packets with.
    fn dice(&mut self) -> f64 {
        let state = &mut *self.dice_state;
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        let mixed = state.wrapping_mul(0x2545_f491_4f6c_dd1d);
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}
