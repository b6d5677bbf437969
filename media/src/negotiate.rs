//! SDP of one peer connection: offers answered, offers made, sections bound to tracks. Pure and
//! synchronous; the participant's media core calls it at control rate and turns the results into
//! commands. It knows no sids, no signalling ids and no sockets.
//!
//! ```text
//! client offers: accept_offer → bind_receive, add_sender… → create_answer → receive/send_sections
//! we offer:      add_sender, remove_sender… → create_offer → accept_answer → send_section
//! ```

mod answer;
mod candidates;
mod codecs;
mod contract;
mod fingerprint;
mod fmtp;
mod header_extensions;
mod image;
mod offer;
mod payloads;
mod quirks;
mod remote;
mod sdp;
mod section;
mod simulcast;
mod write;

#[cfg(test)]
mod tests;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;

pub use candidates::{
    CandidateError, ParsedCandidate, candidates_after, format_candidate, parse_candidate,
    standby_candidates,
};
pub use contract::{
    AnswerAccepted, Direction, EnabledCodec, LocalDescription, NegotiateError, NegotiatorConfig,
    OfferAccepted, OfferSummary, OfferedSection, PeerRole, Placement, PublishPreferences,
    SectionsRequired, SenderConfig,
};
pub use image::{NegotiatorImage, SectionImage, SenderImage, ThawKind};
pub use quirks::{Client, ClientQuirks};
pub use remote::{SectionKind, read_offer};

use crate::ids::{DownTrackKey, TrackKey};
use crate::limits::{SDP_MAX_SECTIONS, SDP_MAX_WAITING_SENDERS};
use crate::types::{
    IceCredentials, LocalCandidate, MediaKind, ReceiveSection, RemoteTransport, SendSection,
};

use header_extensions::ExtensionPolicy;
use remote::{RemoteDescription, RemoteSection};
use section::{LocalSection, Receiver, Sender};

/// The descriptions of one peer connection.
#[derive(Debug)]
pub struct Negotiator {
    config: NegotiatorConfig,
    rng: ChaCha12Rng,
    session_id: u64,
    version: u64,
    ice: IceCredentials,
    remote: Option<RemoteTransport>,
    /// An offer of the client that waits for our answer.
    offer: Option<RemoteDescription>,
    /// Number of sections in an offer of ours that waits for its answer.
    outstanding: Option<usize>,
    sections: Vec<LocalSection>,
    /// Senders without a section, oldest first (`Single`).
    waiting: Vec<SenderConfig>,
}

impl Negotiator {
    pub fn new(config: NegotiatorConfig) -> Self {
        let mut negotiator = Self {
            rng: ChaCha12Rng::from_seed(config.seed),
            config,
            session_id: 0,
            version: 0,
            ice: IceCredentials {
                ufrag: String::new(),
                pwd: String::new(),
            },
            remote: None,
            offer: None,
            outstanding: None,
            sections: Vec::new(),
            waiting: Vec::new(),
        };
        // RFC 8829 §5.2.1: 62 bits, so that it fits signed numbers.
        negotiator.session_id = negotiator.rng.next_u64() >> 2;
        negotiator.ice = negotiator.fresh_ice();
        if negotiator.config.role == PeerRole::Subscriber {
            let data = LocalSection::new("0".to_owned(), SectionKind::Application);
            negotiator.sections.push(data);
        }
        negotiator
    }

    /// Applies an offer of the client; `create_answer` must follow. On an error nothing changed.
    pub fn accept_offer(&mut self, sdp: &str) -> Result<OfferAccepted, NegotiateError> {
        if self.config.role == PeerRole::Subscriber {
            return Err(NegotiateError::WrongState("an offer"));
        }
        let offer = RemoteDescription::parse(sdp)?;
        let same_kind = |(local, remote): (&LocalSection, &RemoteSection)| {
            local.kind == remote.kind || local.rejected || remote.rejected
        };
        if offer.sections.len() < self.sections.len()
            || !self.sections.iter().zip(&offer.sections).all(same_kind)
        {
            return Err(NegotiateError::SectionsChanged);
        }
        let ice_restart = self.remote.as_ref().is_some_and(|r| r.ice != offer.ice);
        if ice_restart {
            self.ice = self.fresh_ice();
        }
        for (index, remote) in offer.sections.iter().enumerate() {
            self.track_section(index, remote);
        }
        let remote = RemoteTransport {
            ice: offer.ice.clone(),
            fingerprint: offer.fingerprint.clone(),
            role: offer.setup.our_role(),
            sctp: offer.sctp(),
            candidates: offer.candidates.clone(),
        };
        self.remote = Some(remote.clone());
        let accepted = OfferAccepted {
            ice_restart,
            has_data: remote.sctp.is_some(),
            remote,
            sections: self.offered_sections(&offer),
        };
        self.offer = Some(offer);
        Ok(accepted)
    }

    /// Keeps our section beside the client's; a recycled one (RFC 8829 §5.2.2) starts anew.
    fn track_section(&mut self, index: usize, remote: &RemoteSection) {
        if index == self.sections.len() {
            let section = LocalSection::new(remote.mid.clone(), remote.kind);
            self.sections.push(section);
        }
        let section = &mut self.sections[index];
        if section.mid != remote.mid || section.kind != remote.kind || remote.rejected {
            let fresh = LocalSection::new(remote.mid.clone(), remote.kind);
            let old = std::mem::replace(section, fresh);
            self.waiting.extend(old.sender.map(|sender| sender.config));
        }
        let section = &mut self.sections[index];
        section.direction = remote.direction;
        section.rejected = remote.rejected;
        if !remote.direction.receives() {
            // The client took its section back: the sender waits for another one.
            let sender = section.sender.take();
            section.announced = false;
            self.waiting.extend(sender.map(|sender| sender.config));
        }
    }

    fn offered_sections(&self, offer: &RemoteDescription) -> Vec<OfferedSection> {
        let both = self.sections.iter().zip(&offer.sections);
        both.filter_map(|(local, remote)| {
            Some(OfferedSection {
                track: local.receiver.as_ref().map(|r| r.track),
                ..remote.offered()?
            })
        })
        .collect()
    }

    /// Claims a section of the client for a published track, until `unbind_receive` or until the
    /// client gives the section up for good (port 0). Before `create_answer` the preferences shape
    /// the answer; later they count for the next one.
    pub fn bind_receive(
        &mut self,
        mid: &str,
        track: TrackKey,
        preferences: PublishPreferences,
    ) -> Result<(), NegotiateError> {
        let section = self
            .sections
            .iter_mut()
            .find(|s| s.mid == mid && matches!(s.kind, SectionKind::Media(_)) && !s.rejected)
            .ok_or(NegotiateError::UnknownMid)?;
        section.receiver = Some(Receiver { track, preferences });
        Ok(())
    }

    pub fn unbind_receive(&mut self, mid: &str) {
        if let Some(section) = self.sections.iter_mut().find(|s| s.mid == mid) {
            section.receiver = None;
        }
    }

    /// Forgets an offer whose answer will never come (the signalling broke); sections stay, since
    /// the client may have seen them.
    pub fn roll_back_offer(&mut self) {
        if self.outstanding.take().is_some() {
            for section in &mut self.sections {
                if let Some(sender) = section.sender.as_mut().filter(|s| !s.live) {
                    sender.described = false;
                }
            }
        }
    }

    /// An offer of ours waits for its answer.
    pub fn offer_outstanding(&self) -> bool {
        self.outstanding.is_some()
    }

    /// Something changed that the client has not been told in a description.
    pub fn needs_negotiation(&self) -> bool {
        !self.waiting.is_empty() || self.sections.iter().any(LocalSection::is_stale)
    }

    /// Wishes a track to be sent. Subscriber: takes a section at once. Single: takes one when the
    /// next answer is written.
    pub fn add_sender(&mut self, sender: SenderConfig) -> Placement {
        match self.config.role {
            PeerRole::Publisher => Placement::Unavailable,
            PeerRole::Subscriber => match self.place_in_own_section(sender) {
                true => Placement::Ready,
                false => Placement::Unavailable,
            },
            PeerRole::Single if self.waiting.len() >= SDP_MAX_WAITING_SENDERS => {
                Placement::Unavailable
            }
            PeerRole::Single => {
                let kind = sender.kind;
                self.waiting.push(sender);
                match self.missing_sections(kind) {
                    0 => Placement::Ready,
                    _ => Placement::NeedsSection,
                }
            }
        }
    }

    /// Takes the track back; its section is free for another one after the next negotiation.
    pub fn remove_sender(&mut self, id: DownTrackKey) {
        self.waiting.retain(|sender| sender.id != id);
        for section in &mut self.sections {
            if section.sender.as_ref().is_some_and(|s| s.config.id == id) {
                section.sender = None;
            }
        }
    }

    /// Sections of the last offer that a sender of this kind could take (`Single`).
    pub fn free_sections(&self, kind: MediaKind) -> u32 {
        let reuse = self.reuse_sections();
        let free = self.sections.iter().filter(|s| s.is_free(kind, reuse));
        count(free)
    }

    fn missing_sections(&self, kind: MediaKind) -> u32 {
        let waiting = self.waiting.iter().filter(|sender| sender.kind == kind);
        count(waiting).saturating_sub(self.free_sections(kind))
    }

    /// `Some` while the client must offer again before everything is as wished, with so many more
    /// sections than it has (0/0: what it has suffices). `Single` only.
    pub fn sections_required(&self) -> Option<SectionsRequired> {
        let asks = self.config.role == PeerRole::Single && self.needs_negotiation();
        asks.then(|| SectionsRequired {
            audios: self.missing_sections(MediaKind::Audio),
            videos: self.missing_sections(MediaKind::Video),
        })
    }

    /// All sections the client sends on, as negotiated last; for `Command::SetReceive`.
    pub fn receive_sections(&self) -> Vec<ReceiveSection> {
        let receiving = self.sections.iter().filter(|s| s.receiving && !s.rejected);
        receiving
            .filter_map(|section| {
                let SectionKind::Media(kind) = section.kind else {
                    return None;
                };
                Some(ReceiveSection {
                    mid: section.mid.clone(),
                    kind,
                    payload_types: section.receive_payloads.types(),
                    extensions: header_extensions::numbers(&section.extensions),
                    rids: section.rids.clone(),
                    ssrcs: section.ssrcs.clone(),
                    track: section.receiver.as_ref().map(|r| r.track),
                })
            })
            .collect()
    }

    /// The section a sender was negotiated on, with the codecs the client takes, those of the
    /// source first; `None` before that, and when the client refused it.
    pub fn send_section(&self, id: DownTrackKey) -> Option<SendSection> {
        let (section, sender) = self.sections.iter().find_map(|section| {
            let sender = section.sender.as_ref().filter(|s| s.config.id == id)?;
            Some((section, sender))
        })?;
        let payload_types = section.send_payloads.types();
        let retransmits = payload_types.iter().any(|p| p.rtx_pt.is_some());
        // What is numbered for the client's own media must not go on ours: a packet with a
        // transport-wide number makes libwebrtc stop sending REMB.
        let ours = header_extensions::sendable(sender.config.kind, self.extension_policy());
        let extensions =
            header_extensions::accept(&section.extensions, |extension| ours.contains(&extension));
        sender.live.then(|| SendSection {
            mid: section.mid.clone(),
            ssrc: sender.ssrc,
            rtx_ssrc: retransmits.then_some(sender.rtx_ssrc),
            payload_types,
            extensions: header_extensions::numbers(&extensions),
        })
    }

    pub fn local_ice(&self) -> &IceCredentials {
        &self.ice
    }

    /// What the last remote description said.
    pub fn remote(&self) -> Option<&RemoteTransport> {
        self.remote.as_ref()
    }

    /// Replaces the candidates of later descriptions (switch to TCP).
    pub fn set_candidates(&mut self, candidates: Vec<LocalCandidate>) {
        self.config.candidates = candidates;
    }

    /// `candidate:…` lines for trickling, in order of preference.
    pub fn trickle_candidates(&self) -> Vec<String> {
        let candidates = self.config.candidates.iter();
        candidates
            .map(|candidate| format_candidate(candidate, &self.ice.ufrag))
            .collect()
    }

    /// Mid of the first section in use: what trickled candidates name.
    pub fn first_mid(&self) -> &str {
        let first = self.sections.iter().find(|s| !s.rejected);
        first.map_or("0", |section| section.mid.as_str())
    }

    /// At the limit of sections even quirky clients must reuse them.
    fn reuse_sections(&self) -> bool {
        !self.config.quirks.no_section_reuse || self.sections.len() >= SDP_MAX_SECTIONS / 2
    }

    fn extension_policy(&self) -> ExtensionPolicy {
        ExtensionPolicy {
            single: self.config.role == PeerRole::Single,
            send_side_bandwidth: self.config.send_side_bandwidth,
            playout_delay: self.config.playout_delay,
        }
    }

    /// RFC 8839 §5.4 asks for 24 and 128 bits; a longer fragment also keeps the fragments of all
    /// transports of a shard apart, which share one socket.
    fn fresh_ice(&mut self) -> IceCredentials {
        let mut ufrag = self.fresh_text(16);
        if let Some(prefix) = self.config.ufrag_prefix {
            ufrag.insert(0, prefix);
        }
        IceCredentials {
            ufrag,
            pwd: self.fresh_text(32),
        }
    }

    fn fresh_text(&mut self, length: usize) -> String {
        const CHARS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789ab";
        (0..length)
            .map(|_| char::from(CHARS[(self.rng.next_u32() % 64) as usize]))
            .collect()
    }

    /// An SSRC no sender of this connection has; 0 is left to padding and probes.
    fn fresh_ssrc(&mut self) -> u32 {
        loop {
            let ssrc = self.rng.next_u32();
            let senders = self.sections.iter().filter_map(|s| s.sender.as_ref());
            let taken = |sender: &Sender| sender.ssrc == ssrc || sender.rtx_ssrc == ssrc;
            if ssrc != 0 && !senders.into_iter().any(taken) {
                return ssrc;
            }
        }
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
