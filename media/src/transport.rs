//! One peer connection's packet path: ICE, DTLS, SRTP and SCTP behind one sans-IO value. A shard
//! owns it, feeds datagrams and time, drains `poll`. It decides nothing about media; hostile bytes
//! are dropped and counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::demux::{PacketClass, classify};
use crate::event::TransportState;
use crate::limits::FIRST_SEQUENCE_SPAN;
use crate::types::{
    DtlsRole, Fingerprint, IceCredentials, Path, Reliability, RemoteCandidate, RemoteTransport,
};

mod channels;
mod client_hello;
pub(crate) mod delta;
mod dtls;
mod follow;
mod fuzzed;
mod guard;
mod ice;
mod identity;
mod interface;
mod lease;
mod migrate;
mod pump;
mod sctp;
mod snapshot;
mod srtcp;
mod srtp;
mod standby;
pub mod stun;
pub mod tcp_framing;
mod unproved;

pub use channels::fuzz_dcep;
pub use client_hello::fuzz_client_hello;
pub use fuzzed::{fuzz_dtls, fuzz_sctp};
pub use identity::{DtlsIdentity, IdentityError};
pub use interface::{
    DropReason, Received, SRTCP_TAIL_BYTES, SRTP_TAIL_BYTES, SendOutcome, SnapshotError,
    TransportCounters, TransportEvent, TransportOptions, TransportOutput,
};
pub use srtp::{CM_TAG_BYTES, GCM_TAG_BYTES, Profile, RtpSealer};
pub use standby::Standby;

use dtls::Dtls;
use ice::Agent;
use sctp::Sctp;
use srtcp::{RtcpOpener, RtcpSealer};
use srtp::{MasterKey, RtpOpener};
use unproved::Unproved;

/// The keyed half of a transport: present once the peer's certificate is verified.
struct Media {
    rtp_in: RtpOpener,
    rtcp_in: RtcpOpener,
    rtp_out: RtpSealer,
    rtcp_out: RtcpSealer,
}

impl Media {
    fn new(
        profile: Profile,
        material: &[u8],
        is_client: bool,
        rtcp_next: u32,
    ) -> Option<Box<Media>> {
        let (remote, local) = MasterKey::split(profile, material, is_client)?;
        Some(Box::new(Media {
            rtp_in: RtpOpener::new(&remote)?,
            rtcp_in: RtcpOpener::new(&remote)?,
            rtp_out: RtpSealer::new(&local)?,
            rtcp_out: RtcpSealer::new(&local, rtcp_next)?,
        }))
    }
}

/// Where the life of a transport stands beside ICE and DTLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Active,
    /// Moved elsewhere or closed: nothing is sent or taken any more.
    Silent,
}

/// One peer connection's packet path.
pub struct Transport {
    ice: Agent,
    dtls: Dtls,
    sctp: Option<Sctp>,
    media: Option<Box<Media>>,
    fingerprint: Option<Fingerprint>,
    role: Option<DtlsRole>,
    max_message_bytes: u32,
    life: Life,
    state: Option<TransportState>,
    /// A standby is told what happens here.
    following: Option<follow::Following>,
    /// The standby has to look for the client by itself.
    pub(crate) sought: bool,
    /// Where the peer's last DTLS records came from: answers go there until a pair is selected.
    dtls_path: Option<Path>,
    unproved: Unproved,
    counters: TransportCounters,
    out: VecDeque<TransportOutput>,
}

impl Transport {
    /// A transport that answers checks for `local`. `seed` feeds transaction ids and the like.
    pub fn new(
        now: Instant,
        local: IceCredentials,
        identity: &Arc<DtlsIdentity>,
        options: TransportOptions,
        seed: [u8; 32],
    ) -> Transport {
        Transport {
            ice: Agent::new(now, local, options, seed),
            dtls: Dtls::new(identity),
            sctp: None,
            media: None,
            fingerprint: None,
            role: None,
            max_message_bytes: 0,
            life: Life::Active,
            state: None,
            following: None,
            sought: false,
            dtls_path: None,
            unproved: Unproved::default(),
            counters: TransportCounters::default(),
            out: VecDeque::new(),
        }
    }

    /// Applies a remote description; other credentials than before are the peer's ICE restart.
    pub fn set_remote(&mut self, now: Instant, remote: RemoteTransport) {
        if self.life == Life::Silent {
            return;
        }
        self.ice.set_remote(now, remote.ice);
        for candidate in remote.candidates {
            self.ice.add_candidate(now, candidate);
        }
        // The association keeps its certificate for life, so the first fingerprint counts.
        self.fingerprint.get_or_insert(remote.fingerprint);
        self.role.get_or_insert(remote.role);
        if let Some(sctp) = remote.sctp {
            self.max_message_bytes = sctp.max_message_size_bytes;
            self.wants_sctp(now)
                .set_max_message_bytes(sctp.max_message_size_bytes);
        }
        self.pump(now);
    }

    pub fn add_remote_candidate(&mut self, now: Instant, candidate: RemoteCandidate) {
        if self.life == Life::Active {
            self.ice.add_candidate(now, candidate);
            self.pump(now);
        }
    }

    /// Our side of an ICE restart: `local` is answered from now on, the old ones until the new
    /// pair carries.
    pub fn restart_ice(&mut self, now: Instant, local: IceCredentials) {
        if self.life == Life::Active {
            self.ice.restart(now, local);
            self.pump(now);
        }
    }

    /// Takes control and moves the peer to `path` (takeover, drain).
    pub fn nominate(&mut self, now: Instant, path: Path) {
        if self.life == Life::Active {
            self.ice.nominate(now, path);
            self.pump(now);
        }
    }

    /// Opens a channel of ours as soon as SCTP is up; a label that exists is left alone.
    pub fn open_channel(&mut self, now: Instant, label: &str, reliability: Reliability) {
        if self.life == Life::Active {
            self.wants_sctp(now)
                .open_channel(now, label, reliability.into());
            self.pump(now);
        }
    }

    /// Uses a channel the peer has from an earlier association, as soon as SCTP is up.
    pub fn adopt_channel(
        &mut self,
        now: Instant,
        stream: u16,
        label: &str,
        reliability: Reliability,
    ) {
        if self.life == Life::Active {
            self.wants_sctp(now)
                .adopt_channel(stream, label, reliability.into());
            self.pump(now);
        }
    }

    /// Sends one message on the open channel called `label`.
    pub fn send_data(
        &mut self,
        now: Instant,
        label: &str,
        payload: &Bytes,
        binary: bool,
    ) -> SendOutcome {
        let Some(sctp) = self.sctp.as_mut().filter(|_| self.life == Life::Active) else {
            return SendOutcome::NoChannel;
        };
        let outcome = sctp.send(now, label, payload, binary);
        if outcome == SendOutcome::Queued {
            self.pump(now);
        } else {
            self.counters.data_dropped += 1;
        }
        outcome
    }

    /// Says good-bye to the peer; nothing is taken or sent afterwards.
    pub fn close(&mut self, now: Instant) {
        if self.life == Life::Silent {
            return;
        }
        if let Some(sctp) = &mut self.sctp {
            sctp.close(now);
        }
        self.pump(now);
        self.dtls.close(now);
        self.collect_transmits();
        self.silence();
        self.set_state(TransportState::Closed);
    }

    /// Takes one datagram. RTP and RTCP are decrypted in place; everything else is consumed and
    /// shows up in `poll`.
    pub fn handle_datagram<'a>(
        &mut self,
        now: Instant,
        path: Path,
        datagram: &'a mut [u8],
    ) -> Received<'a> {
        self.counters.datagrams_in += 1;
        self.counters.bytes_in += datagram.len() as u64;
        let result = if self.life == Life::Silent {
            Err(DropReason::Silent)
        } else {
            self.receive(now, path, datagram)
        };
        match result {
            Ok(Opened::Rtp { len, replayed }) => {
                self.counters.replayed += u64::from(replayed);
                Received::Rtp {
                    packet: &mut datagram[..len],
                    replayed,
                }
            }
            Ok(Opened::Rtcp { len }) => Received::Rtcp {
                packet: &mut datagram[..len],
            },
            Ok(Opened::Control) => {
                self.pump(now);
                Received::Consumed
            }
            Err(reason) => {
                self.counters.dropped += 1;
                self.counters.unauthenticated += u64::from(reason == DropReason::Unauthenticated);
                Received::Dropped(reason)
            }
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.life == Life::Silent {
            return;
        }
        self.ice.handle_timeout(now);
        self.dtls.handle_timeout(now);
        if let Some(sctp) = &mut self.sctp {
            sctp.handle_timeout(now);
        }
        self.pump(now);
    }

    pub fn poll(&mut self) -> Option<TransportOutput> {
        self.out.pop_front()
    }

    /// When `handle_timeout` is due next.
    pub fn deadline(&self) -> Option<Instant> {
        if self.life == Life::Silent {
            return None;
        }
        let sctp = self.sctp.as_ref().and_then(Sctp::deadline);
        [self.ice.deadline(), self.dtls.deadline(), sctp]
            .into_iter()
            .flatten()
            .min()
    }

    /// Where media goes; `None` until a pair is valid.
    pub fn selected_path(&self) -> Option<Path> {
        self.ice.selected()
    }

    /// Whether `path` belongs to this transport: an authenticated check came from it.
    pub fn knows_path(&self, path: &Path) -> bool {
        self.ice.knows(path)
    }

    /// Whether the peer answered a check on `path`: nobody else is at that address.
    pub fn proved_path(&self, path: &Path) -> bool {
        self.ice.proved(path)
    }

    /// Whether `datagram` is an answer this transport waits for on `path`.
    pub fn expects(&self, path: &Path, datagram: &[u8]) -> bool {
        self.ice.expects(path, datagram)
    }

    /// Whether checks for our `ufrag` are answered; after a restart the old one is for a while.
    pub fn answers_to(&self, ufrag: &str) -> bool {
        self.ice.answers_to(ufrag)
    }

    /// ICE and DTLS are done: media may flow.
    pub fn is_connected(&self) -> bool {
        self.media.is_some() && self.ice.selected().is_some()
    }

    /// Round-trip time of the last answered check.
    pub fn rtt(&self) -> Option<Duration> {
        self.ice.rtt()
    }

    /// Whether the peer answered a check on the selected path since `at`.
    pub fn answered_after(&self, at: Instant) -> bool {
        self.ice.answered_after(at)
    }

    /// The negotiated SRTP profile.
    pub fn profile(&self) -> Option<Profile> {
        self.media.as_ref().map(|media| media.rtp_out.profile())
    }

    pub fn counters(&self) -> TransportCounters {
        self.counters
    }

    /// Seals the RTP packet `buf[..len]` in place and returns its new length; `buf` needs
    /// `SRTP_TAIL_BYTES` behind `len`. `None`: not connected, no room, or this packet's index was
    /// sealed before (a retransmission on the same SSRC needs RTX).
    pub fn seal_rtp(&mut self, buf: &mut [u8], len: usize) -> Option<usize> {
        self.media.as_mut()?.rtp_out.seal(buf, len)
    }

    /// Seals the compound RTCP packet `buf[..len]` in place; `buf` needs `SRTCP_TAIL_BYTES` behind.
    pub fn seal_rtcp(&mut self, buf: &mut [u8], len: usize) -> Option<usize> {
        self.media.as_mut()?.rtcp_out.seal(buf, len)
    }

    /// The sealer itself, for a run of packets without a look-up each.
    pub fn sealer(&mut self) -> Option<&mut RtpSealer> {
        self.media.as_mut().map(|media| &mut media.rtp_out)
    }

    /// Sequence number a sender of `ssrc` goes on with, or begins with if nothing was sent under
    /// that SSRC; `random` chooses among those a stream may begin with.
    pub fn next_sequence(&self, ssrc: u32, random: u16) -> u16 {
        match &self.media {
            Some(media) => media.rtp_out.next_sequence(ssrc, random),
            None => random % FIRST_SEQUENCE_SPAN as u16,
        }
    }

    fn receive(
        &mut self,
        now: Instant,
        path: Path,
        datagram: &mut [u8],
    ) -> Result<Opened, DropReason> {
        let class = classify(datagram);
        if class == PacketClass::Stun {
            self.ice.handle(now, path, datagram)?;
            return Ok(Opened::Control);
        }
        if !self.ice.knows(&path) {
            return Err(DropReason::UnknownPath);
        }
        match class {
            PacketClass::Rtp => {
                let media = self.media.as_mut().ok_or(DropReason::NotReady)?;
                let (len, replayed) = media.rtp_in.open(datagram)?;
                Ok(Opened::Rtp { len, replayed })
            }
            PacketClass::Rtcp => {
                let media = self.media.as_mut().ok_or(DropReason::NotReady)?;
                let len = media.rtcp_in.open(datagram)?;
                Ok(Opened::Rtcp { len })
            }
            PacketClass::Dtls => {
                self.dtls_path = Some(path);
                self.unproved.received(path, datagram.len());
                if self.dtls.read(now, datagram) {
                    Ok(Opened::Control)
                } else {
                    // What the library answered still has to go out.
                    self.pump(now);
                    Err(DropReason::Malformed)
                }
            }
            PacketClass::Stun | PacketClass::Unknown => Err(DropReason::Malformed),
        }
    }

    fn silence(&mut self) {
        self.life = Life::Silent;
        self.media = None;
        self.sctp = None;
        self.ice.stop();
    }
}

/// What a datagram turned out to be, with the plaintext's length.
enum Opened {
    Rtp { len: usize, replayed: bool },
    Rtcp { len: usize },
    Control,
}

#[cfg(test)]
mod tests;
