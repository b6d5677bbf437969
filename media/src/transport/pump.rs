//! What moves between the layers of a transport after every input: keys from DTLS to SRTP, SCTP in
//! and out of DTLS records, everything outgoing to its path, states and events to the owner.

use std::time::Instant;

use bytes::Bytes;

use super::dtls::Phase;
use super::ice::IceState;
use super::sctp::Sctp;
use super::{Media, Transport, TransportEvent, TransportOutput};
use crate::event::TransportState;
use crate::types::{DtlsRole, Path};

impl Transport {
    /// Lets every layer act on what the others produced, then collects outputs and events.
    pub(super) fn pump(&mut self, now: Instant) {
        if self.role == Some(DtlsRole::Client) && self.ice.selected().is_some() {
            self.dtls.connect(now);
        }
        self.install_keys(now);
        if self.media.is_some() {
            while let Some(packet) = self.dtls.poll_received() {
                if let Some(sctp) = &mut self.sctp {
                    sctp.handle(now, packet.freeze());
                }
            }
        }
        if let Some(sctp) = &mut self.sctp {
            while let Some(packet) = sctp.poll_transmit() {
                self.dtls.write(now, &packet);
            }
            while let Some(event) = sctp.poll_event() {
                self.out.push_back(TransportOutput::Event(event));
            }
        }
        self.collect_transmits();
        self.report_state();
    }

    /// Once DTLS is done and the peer's certificate is the announced one: keys for media, SCTP.
    fn install_keys(&mut self, now: Instant) {
        if self.media.is_some() || self.dtls.phase() != Phase::Done {
            return;
        }
        let Some(fingerprint) = &self.fingerprint else {
            return;
        };
        let keys = self
            .dtls
            .srtp_keys()
            .filter(|_| self.dtls.is_peer(fingerprint));
        let is_client = self.dtls.is_client();
        self.media =
            keys.and_then(|(profile, material)| Media::new(profile, &material, is_client, 0));
        self.dtls.confirm();
        if self.media.is_none() {
            tracing::warn!("DTLS peer is not the one its description announced");
            self.dtls.close(now);
        } else if let Some(sctp) = &mut self.sctp {
            sctp.start(now, is_client);
        }
    }

    /// The SCTP half, created when the first description or channel asks for it.
    pub(super) fn wants_sctp(&mut self, now: Instant) -> &mut Sctp {
        let connected = self.media.is_some();
        let is_client = self.dtls.is_client();
        self.sctp.get_or_insert_with(|| {
            let mut sctp = Sctp::new();
            if connected {
                sctp.start(now, is_client);
            }
            sctp
        })
    }

    pub(super) fn collect_transmits(&mut self) {
        while let Some((path, payload)) = self.ice.poll_transmit() {
            self.transmit(path, payload.into());
        }
        let selected = self.ice.selected();
        // During the handshake the peer waits where it asked; afterwards the selected pair counts.
        let path = match self.dtls.phase() {
            Phase::Handshaking => self.dtls_path.or(selected),
            _ => selected.or(self.dtls_path),
        };
        let Some(path) = path else {
            return;
        };
        let proved = self.ice.proved(&path);
        while let Some(bytes) = self.dtls.next_transmit_bytes() {
            // What may not go yet goes once the path's owner answers the check that is under way.
            if !proved && !self.unproved.may_send(path, bytes) {
                break;
            }
            if let Some(payload) = self.dtls.poll_transmit() {
                self.transmit(path, payload);
            }
        }
    }

    fn transmit(&mut self, path: Path, payload: Bytes) {
        self.out
            .push_back(TransportOutput::Transmit { path, payload });
    }

    fn report_state(&mut self) {
        if let Some(path) = self.ice.poll_selection() {
            self.out
                .push_back(TransportOutput::Event(TransportEvent::PathSelected(path)));
        }
        let exhausted = |media: &Media| media.rtp_out.is_exhausted();
        let failed = self.ice.state() == IceState::Failed
            || self.dtls.phase() == Phase::Failed
            || self.media.as_deref().is_some_and(exhausted);
        let state = match self.ice.state() {
            _ if failed => Some(TransportState::Failed),
            IceState::Disconnected => Some(TransportState::Disconnected),
            IceState::Connected if self.media.is_some() => Some(TransportState::Connected),
            IceState::Connected => Some(TransportState::Connecting),
            IceState::Checking | IceState::Failed => None,
        };
        if let Some(state) = state {
            self.set_state(state);
        }
    }

    pub(super) fn set_state(&mut self, state: TransportState) {
        if self.state != Some(state) {
            self.state = Some(state);
            self.out
                .push_back(TransportOutput::Event(TransportEvent::State(state)));
        }
    }
}
