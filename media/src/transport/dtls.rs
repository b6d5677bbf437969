//! The DTLS 1.2 association of one transport on rtc-dtls: handshake, application data, exporter,
//! and moving a finished association elsewhere. Owned by `Transport`; SRTP keys come from here.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_dtls::state::State;
use rtc_shared::TransportProtocol;

use super::client_hello::ClientHello;
use super::guard::guarded;
use super::identity::{DtlsIdentity, matches_fingerprint};
use super::lease::Lease;
use super::snapshot::DtlsSnapshot;
use super::srtp::Profile;
use crate::limits::{
    DTLS_EARLY_REPEATS, DTLS_HANDSHAKE_TIMEOUT, DTLS_MAX_FLIGHT_DATAGRAMS,
    DTLS_MAX_RECEIVED_RECORDS,
};
use crate::types::Fingerprint;

mod records;

use records::{RecordFilter, end_of_numbers};

/// The library keys associations by address; ours has one, whatever paths it uses (RFC 5737).
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1);
const SRTP_EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    Handshaking,
    Done,
    Failed,
}

pub(super) struct Dtls {
    identity: Arc<DtlsIdentity>,
    endpoint: Endpoint,
    is_client: bool,
    phase: Phase,
    /// When the handshake began; it has to end in keys within `DTLS_HANDSHAKE_TIMEOUT`.
    since: Option<Instant>,
    /// The peer's certificate is the announced one: keys are in use.
    confirmed: bool,
    /// The library panicked: it is not called again.
    broken: bool,
    /// The last handshake flight, repeated verbatim if nothing comes back soon.
    flight: Vec<Bytes>,
    flight_sent: Option<Instant>,
    repeats: usize,
    /// The ClientHello and its datagrams, held until its SRTP profiles are known.
    hello: Option<(ClientHello, Vec<BytesMut>)>,
    filter: RecordFilter,
    /// The next record number of the epoch with keys, and which may be used.
    pub(super) next_record: u64,
    pub(super) lease: Lease,
    out: VecDeque<Bytes>,
    received: VecDeque<BytesMut>,
}

impl Dtls {
    pub(super) fn new(identity: &Arc<DtlsIdentity>) -> Dtls {
        let server = Arc::clone(identity.config(false));
        Dtls {
            identity: Arc::clone(identity),
            endpoint: Endpoint::new(PEER, TransportProtocol::UDP, Some(server)),
            is_client: false,
            phase: Phase::Idle,
            since: None,
            confirmed: false,
            broken: false,
            flight: Vec::new(),
            flight_sent: None,
            repeats: 0,
            hello: Some((ClientHello::default(), Vec::new())),
            filter: RecordFilter::default(),
            next_record: 0,
            lease: Lease::FREE,
            out: VecDeque::new(),
            received: VecDeque::new(),
        }
    }

    /// Continues an association from `snapshot` with its next record number.
    pub(super) fn thaw(
        now: Instant,
        identity: &Arc<DtlsIdentity>,
        snapshot: &DtlsSnapshot,
    ) -> Result<Dtls, String> {
        let mut dtls = Dtls::new(identity);
        let marshalled = snapshot.to_library()?;
        let mut state = State::new(Arc::clone(identity.provider()), snapshot.is_client);
        state
            .unmarshal_binary(&marshalled)
            .map_err(|error| error.to_string())?;
        let config = Arc::clone(identity.config(snapshot.is_client));
        // `connect` is the only way to hand the library a finished state; the role that counts
        // is the state's own.
        dtls.endpoint
            .connect(now, PEER, config, Some(state))
            .map_err(|error| error.to_string())?;
        dtls.is_client = snapshot.is_client;
        dtls.phase = Phase::Done;
        dtls.confirmed = true;
        dtls.next_record = snapshot.sequence_number;
        Ok(dtls)
    }

    /// State for another shard or node; `None` before the handshake is done.
    pub(super) fn snapshot(&self) -> Option<DtlsSnapshot> {
        if self.phase != Phase::Done {
            return None;
        }
        let marshalled = self.state()?.marshal_binary().ok()?;
        let mut snapshot = DtlsSnapshot::from_library(&marshalled)?;
        if !self.lease.is_free() {
            snapshot.sequence_number = snapshot.sequence_number.max(self.lease.end());
        }
        Some(snapshot)
    }

    /// Sends the ClientHello, unless a handshake is under way.
    pub(super) fn connect(&mut self, now: Instant) {
        if self.phase != Phase::Idle {
            return;
        }
        self.is_client = true;
        self.begin(now);
        let config = Arc::clone(self.identity.config(true));
        let connected = self.library(|endpoint| endpoint.connect(now, PEER, config, None));
        if !matches!(connected, Some(Ok(_))) {
            self.phase = Phase::Failed;
        }
        self.collect(now);
    }

    /// Takes one datagram of DTLS records; `false` if it was of no use.
    pub(super) fn read(&mut self, now: Instant, datagram: &[u8]) -> bool {
        match self.phase {
            Phase::Failed => return false,
            Phase::Idle => self.begin(now),
            Phase::Handshaking | Phase::Done => {}
        }
        let records = self.filter.pass(datagram, self.phase == Phase::Done);
        if records.is_empty() {
            return true;
        }
        if !self.is_client && self.hello.is_some() && self.phase != Phase::Done {
            return self.read_hello(now, records);
        }
        let useful = self.read_records(now, records);
        self.collect(now);
        useful
    }

    /// Holds the first datagrams until the ClientHello tells which configuration suits it.
    fn read_hello(&mut self, now: Instant, records: BytesMut) -> bool {
        let Some((mut hello, mut held)) = self.hello.take() else {
            return false;
        };
        let aead = hello.add(&records);
        held.push(records);
        match aead {
            None if held.len() < DTLS_MAX_FLIGHT_DATAGRAMS => {
                self.hello = Some((hello, held));
                return true;
            }
            Some(true) => {
                let config = Arc::clone(self.identity.aead_config());
                self.endpoint.set_server_config(Some(config));
            }
            _ => {}
        }
        let mut useful = false;
        for records in held {
            useful |= self.read_records(now, records);
        }
        self.collect(now);
        useful
    }

    fn read_records(&mut self, now: Instant, records: BytesMut) -> bool {
        match self.library(|endpoint| endpoint.read(now, PEER, None, records)) {
            Some(Ok(events)) => {
                for event in events {
                    match event {
                        EndpointEvent::HandshakeComplete => self.phase = Phase::Done,
                        EndpointEvent::ApplicationData(data)
                            if self.received.len() < DTLS_MAX_RECEIVED_RECORDS =>
                        {
                            self.received.push_back(data);
                        }
                        _ => {}
                    }
                }
                true
            }
            // A bad record ends nothing: it may be forged, and ICE notices a dead peer.
            Some(Err(error)) => {
                tracing::debug!(%error, "DTLS records dropped");
                false
            }
            None => false,
        }
    }

    /// Queues application data; dropped before the handshake is done, and beyond the lease: SCTP
    /// sends it again.
    pub(super) fn write(&mut self, now: Instant, data: &[u8]) {
        if self.phase == Phase::Done && self.lease.allows(self.next_record) {
            let _ = self.library(|endpoint| endpoint.write(now, PEER, data));
            self.collect(now);
        }
    }

    /// Sends close_notify and forgets the association.
    pub(super) fn close(&mut self, now: Instant) {
        if self.phase == Phase::Done {
            let _ = self.library(|endpoint| endpoint.close(now));
            self.collect(now);
        }
        self.phase = Phase::Failed;
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.end().is_some_and(|at| at <= now) {
            self.phase = Phase::Failed;
        }
        if self.phase != Phase::Handshaking {
            return;
        }
        if self.repeat_at().is_some_and(|at| at <= now) {
            self.repeats += 1;
            // What could not go yet is not repeated.
            if self.out.is_empty() {
                self.out.extend(self.flight.iter().cloned());
            }
        }
        if self.library_deadline().is_some_and(|at| at <= now) {
            let handled = self.library(|endpoint| endpoint.handle_timeout(PEER, now));
            if !matches!(handled, Some(Ok(()))) {
                self.phase = Phase::Failed;
            }
            self.collect(now);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.phase != Phase::Handshaking {
            return self.end();
        }
        [self.library_deadline(), self.repeat_at(), self.end()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Length of what `poll_transmit` would return.
    pub(super) fn next_transmit_bytes(&self) -> Option<usize> {
        self.out.front().map(Bytes::len)
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Bytes> {
        self.out.pop_front()
    }

    pub(super) fn poll_received(&mut self) -> Option<BytesMut> {
        self.received.pop_front()
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn is_client(&self) -> bool {
        self.is_client
    }

    /// Whether the peer's certificate is the one its description announced.
    pub(super) fn is_peer(&self, expected: &Fingerprint) -> bool {
        let certificate = self.state().and_then(|s| s.peer_certificates.first());
        certificate.is_some_and(|der| matches_fingerprint(der, expected))
    }

    /// Profile and keying material for SRTP, once the handshake is done.
    pub(super) fn srtp_keys(&self) -> Option<(Profile, Vec<u8>)> {
        let state = self.state().filter(|_| self.phase == Phase::Done)?;
        let profile = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => Profile::AeadAes128Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => Profile::Aes128CmSha1_80,
            _ => return None,
        };
        let material = state
            .export_keying_material(SRTP_EXPORTER_LABEL, &[], profile.material_bytes())
            .ok()?;
        Some((profile, material.as_ref().to_vec()))
    }

    /// The keys are in use: the handshake's time limit is met.
    pub(super) fn confirm(&mut self) {
        self.confirmed = true;
    }

    fn begin(&mut self, now: Instant) {
        self.phase = Phase::Handshaking;
        self.since = Some(now);
    }

    /// When an association without keys is given up.
    fn end(&self) -> Option<Instant> {
        let running = matches!(self.phase, Phase::Handshaking | Phase::Done);
        let since = self.since.filter(|_| running && !self.confirmed)?;
        Some(since + DTLS_HANDSHAKE_TIMEOUT)
    }

    fn library_deadline(&self) -> Option<Instant> {
        self.endpoint.poll_timeout(&PEER).filter(|_| !self.broken)
    }

    /// Calls the library; a panic in it ends the association.
    fn library<T>(&mut self, call: impl FnOnce(&mut Endpoint) -> T) -> Option<T> {
        if self.broken {
            return None;
        }
        let endpoint = &mut self.endpoint;
        let result = guarded(|| call(endpoint));
        if result.is_none() {
            self.broken = true;
            self.phase = Phase::Failed;
        }
        result
    }

    fn state(&self) -> Option<&State> {
        self.endpoint.get_connection_state(PEER)
    }

    fn repeat_at(&self) -> Option<Instant> {
        let pause = DTLS_EARLY_REPEATS.get(self.repeats)?;
        Some(self.flight_sent? + *pause)
    }

    /// Moves what the library wants sent into `out`, remembering handshake flights.
    fn collect(&mut self, now: Instant) {
        let mut flight = Vec::new();
        while let Some(Some(transmit)) = self.library(Endpoint::poll_transmit) {
            let datagram = transmit.message.freeze();
            let end = end_of_numbers(&datagram);
            self.next_record = self.next_record.max(end);
            // The library repeats flights by itself.
            if end > 0 && !self.lease.allows(end - 1) {
                continue;
            }
            if flight.len() < DTLS_MAX_FLIGHT_DATAGRAMS {
                flight.push(datagram.clone());
            }
            self.out.push_back(datagram);
        }
        match self.phase {
            Phase::Handshaking if flight.is_empty() => {}
            Phase::Handshaking => {
                self.flight = flight;
                self.flight_sent = Some(now);
                self.repeats = 0;
            }
            _ => {
                self.flight = Vec::new();
                self.flight_sent = None;
            }
        }
    }
}
