//! The SCTP association of one transport on rtc-sctp (RFC 8831 over DTLS) and its data channels.
//! It accepts the peer's INIT, sends its own when none comes, and survives a restart by the peer,
//! which is how a thawed transport goes on. Owned by `Transport`.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc_sctp::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig,
    EndpointEvent, Event, PayloadProtocolIdentifier as Ppid, ServerConfig, Side, StreamEvent,
    TimerConfig, TransportConfig,
};
use rtc_shared::TransportProtocol;

use super::channels::{Channel, Channels, Delivery, Limit};
use super::guard::guarded;
use super::{SendOutcome, TransportEvent};
use crate::limits::{
    SCTP_INIT_GRACE, SCTP_MAX_CHANNELS, SCTP_MAX_LOSSY_BUFFERED_BYTES, SCTP_MAX_MESSAGE_BYTES,
    SCTP_MAX_RELIABLE_BUFFERED_BYTES, SCTP_RECEIVE_WINDOW_BYTES,
};

mod messages;
mod running;
mod screen;

use running::Running;
use screen::Verdict;

/// The library keys associations by address; ours has one peer (RFC 5737).
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 5000);

pub(super) struct Sctp {
    endpoint: Endpoint,
    transport: Arc<TransportConfig>,
    current: Option<Running>,
    /// A fresh association of a peer that restarted, until its cookie comes back.
    pending: Option<Running>,
    /// How far the library's clock is ahead of ours: its far timers are served early, and its
    /// sense of time must not break over it. All instants in this file are the library's.
    ahead: Duration,
    init_at: Option<Instant>,
    /// Streams go even for the DTLS client, odd for the server; known after the handshake.
    is_client: bool,
    channels: Channels,
    wanted: Vec<(String, Delivery)>,
    /// Streams of channels that are open as soon as an association is up.
    adopted: Vec<u16>,
    max_message_bytes: usize,
    out: VecDeque<Bytes>,
    events: VecDeque<TransportEvent>,
}

impl Sctp {
    pub(super) fn new() -> Sctp {
        let timers = TimerConfig {
            // The library stops retransmitting for good after five; whether the peer is dead is
            // for ICE to say.
            max_t3_rtx_retrans: usize::MAX,
            max_reconfig_retrans: usize::MAX,
            max_ack_retrans: usize::MAX,
            ..TimerConfig::default()
        };
        let transport = TransportConfig::default()
            .with_max_message_size(SCTP_MAX_MESSAGE_BYTES)
            .with_max_receive_buffer_size(SCTP_RECEIVE_WINDOW_BYTES)
            .with_timer_config(timers);
        Sctp {
            endpoint: new_endpoint(&transport),
            transport: Arc::new(transport),
            current: None,
            pending: None,
            ahead: Duration::ZERO,
            init_at: None,
            is_client: false,
            channels: Channels::default(),
            wanted: Vec::new(),
            adopted: Vec::new(),
            max_message_bytes: SCTP_MAX_MESSAGE_BYTES as usize,
            out: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// What the peer's description says; 0 = any size.
    pub(super) fn set_max_message_bytes(&mut self, bytes: u32) {
        let ours = SCTP_MAX_MESSAGE_BYTES as usize;
        self.max_message_bytes = match bytes {
            0 => ours,
            bytes => ours.min(bytes as usize),
        };
    }

    /// The DTLS handshake is done. The DTLS client sends INIT at once, a server when none comes.
    pub(super) fn start(&mut self, now: Instant, is_client: bool) {
        let now = now + self.ahead;
        self.is_client = is_client;
        if is_client {
            let connected = guarded(|| self.connect(now));
            self.survive(connected);
        } else if self.current.is_none() {
            self.init_at = Some(now + SCTP_INIT_GRACE);
        }
    }

    /// Begins anew after a thaw: a fresh association, the channels as they were.
    pub(super) fn restart(&mut self, now: Instant, is_client: bool, channels: Vec<Channel>) {
        let now = now + self.ahead;
        self.is_client = is_client;
        for channel in channels {
            let (stream, open) = (channel.stream, channel.open);
            if self.channels.add(channel) && open {
                // Nothing can be written to it before: whoever does is told when it can.
                self.adopted.push(stream);
            }
        }
        let connected = guarded(|| self.connect(now));
        self.survive(connected);
    }

    pub(super) fn open_channel(&mut self, now: Instant, label: &str, delivery: Delivery) {
        let now = now + self.ahead;
        let wanted = self.wanted.iter().any(|(known, _)| known == label);
        if wanted || self.wanted.len() >= SCTP_MAX_CHANNELS || self.channels.has_label(label) {
            return;
        }
        self.wanted.push((label.to_owned(), delivery));
        let opened = guarded(|| {
            self.open_wanted(now);
            self.flush(now);
        });
        self.survive(opened);
    }

    pub(super) fn send(
        &mut self,
        now: Instant,
        label: &str,
        payload: &Bytes,
        binary: bool,
    ) -> SendOutcome {
        let now = now + self.ahead;
        let outcome = guarded(|| self.write(now, label, payload, binary));
        self.survive(outcome).unwrap_or(SendOutcome::NoChannel)
    }

    fn write(&mut self, now: Instant, label: &str, payload: &Bytes, binary: bool) -> SendOutcome {
        if payload.len() > self.max_message_bytes {
            return SendOutcome::TooLong;
        }
        let Some(channel) = self.channels.open_by_label(label) else {
            return SendOutcome::NoChannel;
        };
        let limit = match channel.delivery.limit {
            Limit::Never => SCTP_MAX_RELIABLE_BUFFERED_BYTES,
            _ => SCTP_MAX_LOSSY_BUFFERED_BYTES,
        };
        let stream = channel.stream;
        let Some(running) = self.current.as_mut().filter(|running| running.established) else {
            return SendOutcome::NoChannel;
        };
        let Ok(mut stream) = running.association.stream(stream) else {
            return SendOutcome::NoChannel;
        };
        if stream.buffered_amount().unwrap_or(0) + payload.len() > limit {
            return SendOutcome::Congested;
        }
        let empty = Bytes::from_static(&[0]);
        let (payload, ppid) = match (binary, payload.is_empty()) {
            (true, false) => (payload, Ppid::Binary),
            (false, false) => (payload, Ppid::String),
            (true, true) => (&empty, Ppid::BinaryEmpty),
            (false, true) => (&empty, Ppid::StringEmpty),
        };
        let written = stream.write_chunk_with_ppi(now, payload, ppid);
        self.flush(now);
        match written {
            Ok(_) => SendOutcome::Queued,
            Err(_) => SendOutcome::NoChannel,
        }
    }

    /// Takes one SCTP packet out of a DTLS record.
    pub(super) fn handle(&mut self, now: Instant, packet: Bytes) {
        let now = now + self.ahead;
        let taken = guarded(|| {
            self.take(now, packet);
            self.flush(now);
        });
        self.survive(taken);
    }

    fn take(&mut self, now: Instant, packet: Bytes) {
        match self.endpoint.handle(now, PEER, None, packet.clone()) {
            Some((handle, DatagramEvent::AssociationEvent(event))) => {
                let running = [&mut self.current, &mut self.pending]
                    .into_iter()
                    .flatten()
                    .find(|running| running.handle == handle);
                let Some(running) = running else { return };
                match running.judge(&packet) {
                    Verdict::Pass => running.association.handle_event(event),
                    Verdict::Drop => tracing::debug!("SCTP packet dropped"),
                    Verdict::GiveUp => self.give_up(),
                }
            }
            Some((handle, DatagramEvent::NewAssociation(association))) => {
                self.accept(handle, association, &packet);
            }
            _ => {}
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let now = now + self.ahead;
        let handled = guarded(|| self.timers(now));
        self.survive(handled);
    }

    fn timers(&mut self, now: Instant) {
        if self.init_at.is_some_and(|at| at <= now) {
            self.init_at = None;
            if self.current.is_none() {
                self.connect(now);
            }
        }
        let impatient = self.current.as_ref().and_then(|r| r.out_of_patience(now));
        if let Some(at) = impatient {
            self.ahead += at - now;
        }
        let now = impatient.unwrap_or(now);
        for running in [&mut self.current, &mut self.pending].into_iter().flatten() {
            running.serve_timers(now);
        }
        self.flush(now);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let timers = [&self.current, &self.pending]
            .into_iter()
            .flatten()
            .filter_map(Running::deadline);
        let next = timers.chain(self.init_at).min()?;
        next.checked_sub(self.ahead)
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Bytes> {
        self.out.pop_front()
    }

    pub(super) fn poll_event(&mut self) -> Option<TransportEvent> {
        self.events.pop_front()
    }

    pub(super) fn channels(&self) -> &Channels {
        &self.channels
    }

    /// Channels of before a restart wait for the peer to begin anew, too.
    pub(super) fn awaits_peer(&self) -> bool {
        let up = self.current.as_ref().is_some_and(|one| one.established);
        !up && !self.adopted.is_empty()
    }

    /// It answered our INIT: it only takes time.
    pub(super) fn is_answered(&self) -> bool {
        self.current.as_ref().is_some_and(|one| one.cookie_echoed)
    }

    /// Tells the peer that the association ends.
    pub(super) fn close(&mut self, now: Instant) {
        let now = now + self.ahead;
        let closed = guarded(|| {
            if let Some(running) = &mut self.current {
                let _ = running.association.abort();
            }
            self.flush(now);
        });
        self.survive(closed);
        self.init_at = None;
    }

    /// After a panic in the library, `result` being `None`, nothing of it is used again.
    fn survive<T>(&mut self, result: Option<T>) -> Option<T> {
        if result.is_none() {
            self.current = None;
            self.pending = None;
            self.endpoint = new_endpoint(&self.transport);
            self.close_channels();
        }
        result
    }

    fn connect(&mut self, now: Instant) {
        self.init_at = None;
        if self.current.is_some() {
            return;
        }
        let config = ClientConfig::new((*self.transport).clone());
        if let Ok((handle, association)) = self.endpoint.connect(now, config, PEER) {
            self.current = Some(Running::new(handle, association));
        }
        self.flush(now);
    }

    /// The peer sent an INIT.
    fn accept(&mut self, handle: AssociationHandle, association: Association, init: &[u8]) {
        self.init_at = None;
        let mut new = Running::new(handle, association);
        new.screen.opened(init);
        let replaced = match &self.current {
            None => self.current.replace(new),
            Some(current) if current.established => self.pending.replace(new),
            // Both called at once. If the peer answered our INIT already, that one comes up;
            // otherwise the DTLS client's does.
            Some(current) if current.cookie_echoed || self.calls_first(current) => Some(new),
            Some(_) => self.current.replace(new),
        };
        if let Some(replaced) = replaced {
            self.forget(replaced);
        }
    }

    fn calls_first(&self, current: &Running) -> bool {
        self.is_client && current.association.side() == Side::Client
    }

    fn forget(&mut self, running: Running) {
        self.endpoint
            .handle_event(running.handle, EndpointEvent::drained());
    }

    /// The association died: channels are closed, a new INIT may come.
    fn give_up(&mut self) {
        for running in [self.current.take(), self.pending.take()]
            .into_iter()
            .flatten()
        {
            self.forget(running);
        }
        self.close_channels();
    }

    fn close_channels(&mut self) {
        for channel in self.channels.drain() {
            if channel.open {
                self.events.push_back(TransportEvent::ChannelClosed {
                    label: channel.label,
                });
            }
        }
    }

    /// Handles what the associations report, then collects what they send, until both are quiet.
    fn flush(&mut self, now: Instant) {
        self.take_over_restarted(now);
        while let Some(event) = self.current.as_mut().and_then(|r| r.association.poll()) {
            self.handle_event(now, event);
        }
        for running in [&mut self.current, &mut self.pending].into_iter().flatten() {
            running.transmit(now, &mut self.out);
            running.note_timers(now);
        }
        let dead = self
            .current
            .as_ref()
            .is_some_and(|running| running.established && running.association.is_closed());
        if dead {
            self.give_up();
        }
    }

    /// A peer that restarted finished the new association's handshake: the old one is history.
    fn take_over_restarted(&mut self, now: Instant) {
        let Some(mut pending) = self.pending.take() else {
            return;
        };
        let mut up = false;
        while let Some(event) = pending.association.poll() {
            up |= matches!(event, Event::Connected);
        }
        if !up {
            self.pending = Some(pending);
            return;
        }
        if let Some(old) = self.current.replace(pending) {
            self.forget(old);
        }
        self.established(now);
    }

    fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Connected => self.established(now),
            Event::HandshakeFailed { .. } => self.give_up(),
            Event::AssociationLost { id, .. } => {
                if let Some(channel) = self.channels.remove(id)
                    && channel.open
                {
                    self.events.push_back(TransportEvent::ChannelClosed {
                        label: channel.label,
                    });
                }
            }
            Event::Stream(StreamEvent::Readable { id }) => self.read(now, id),
            Event::Stream(StreamEvent::Opened { .. }) => {
                if let Some(running) = &mut self.current {
                    while running.association.accept_stream().is_some() {}
                }
            }
            _ => {}
        }
    }

    fn established(&mut self, now: Instant) {
        let Some(running) = &mut self.current else {
            return;
        };
        running.established = true;
        let known: Vec<Channel> = self.channels.iter().cloned().collect();
        for channel in known {
            if self.adopted.contains(&channel.stream) {
                continue;
            }
            running.open_stream(&channel);
            if !channel.open {
                running.send_open(now, &channel);
            }
        }
        self.open_adopted();
        self.open_wanted(now);
        // Data may have overtaken the end of the handshake; nothing could be answered before.
        let mut ids = self
            .current
            .as_ref()
            .map(|running| running.association.stream_ids())
            .unwrap_or_default();
        ids.sort_unstable();
        for id in ids {
            self.read(now, id);
        }
    }
}

fn new_endpoint(transport: &TransportConfig) -> Endpoint {
    let server = Arc::new(ServerConfig::new(transport.clone()));
    let config = Arc::new(EndpointConfig::new());
    Endpoint::new(PEER, TransportProtocol::UDP, config, Some(server))
}
