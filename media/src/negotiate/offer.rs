//! Offers of ours and the client's answers to them: the subscriber connection of `/rtc`. Sections
//! only ever grow; a section whose track went carries another one later.

use crate::limits::SDP_MAX_SECTIONS;
use crate::types::{Codec, MediaKind, RemoteTransport};

use super::Negotiator;
use super::codecs::{self, Payload};
use super::contract::{AnswerAccepted, LocalDescription, NegotiateError, PeerRole, SenderConfig};
use super::fmtp;
use super::header_extensions::{self, Extension};
use super::payloads::Payloads;
use super::remote::{RemoteDescription, RemoteSection, SectionKind};
use super::section::LocalSection;
use super::write::{LocalDirection, LocalSetup, MediaSection, SdpWriter, Shared};

const PROTOCOL: &str = "UDP/TLS/RTP/SAVPF";
const DATA_PROTOCOL: &str = "UDP/DTLS/SCTP";

impl Negotiator {
    /// Offers what the senders need (`Subscriber` only); one offer at a time. `ice_restart` changes
    /// [`Negotiator::local_ice`].
    pub fn create_offer(&mut self, ice_restart: bool) -> Result<LocalDescription, NegotiateError> {
        if self.config.role != PeerRole::Subscriber || self.outstanding.is_some() {
            return Err(NegotiateError::WrongState("an offer"));
        }
        if ice_restart {
            self.ice = self.fresh_ice();
        }
        let mut senders = Vec::new();
        for section in &mut self.sections {
            section.mark_described();
            if let Some(sender) = section.sender.as_ref().filter(|_| !section.rejected) {
                senders.push((section.mid.clone(), sender.config.id));
            }
        }
        self.version += 1;
        self.outstanding = Some(self.sections.len());
        Ok(LocalDescription {
            sdp: self.write_offer(),
            senders,
        })
    }

    /// Takes a vacant section or adds one.
    pub(super) fn place_in_own_section(&mut self, config: SenderConfig) -> bool {
        let reuse = self.reuse_sections();
        let vacant = |section: &&mut LocalSection| section.is_vacant(config.kind, reuse);
        let (ssrc, rtx_ssrc) = (self.fresh_ssrc(), self.fresh_ssrc());
        if let Some(section) = self.sections.iter_mut().find(vacant) {
            section.bind_sender(config, ssrc, rtx_ssrc);
            return true;
        }
        if self.sections.len() == SDP_MAX_SECTIONS {
            return false;
        }
        let mid = self.sections.len().to_string();
        let mut section = LocalSection::new(mid, SectionKind::Media(config.kind));
        section.bind_sender(config, ssrc, rtx_ssrc);
        self.sections.push(section);
        true
    }

    /// Everything we could send in a section of this kind.
    fn own_payloads(&self, kind: MediaKind) -> Vec<Payload> {
        let mut payloads = codecs::offered(
            kind,
            &self.config.subscribe_codecs,
            self.config.retransmission,
            self.config.send_side_bandwidth,
        );
        let quirks = &self.config.quirks;
        payloads.retain(|payload| {
            !quirks.disabled_subscribe.contains(&payload.codec)
                && (payload.codec != Codec::Red || !quirks.no_audio_red)
        });
        payloads
    }

    fn own_extensions(&self, kind: MediaKind) -> Vec<(u8, Extension)> {
        header_extensions::sendable(kind, self.extension_policy())
            .into_iter()
            .map(|extension| (extension.offered_number(), extension))
            .collect()
    }

    fn write_offer(&self) -> String {
        let used = self.sections.iter().filter(|s| !s.rejected);
        let mids: Vec<&str> = used.map(|s| s.mid.as_str()).collect();
        let mut writer = SdpWriter::session(
            self.session_id,
            self.version,
            &self.config.fingerprint,
            true,
            Some(&mids),
        );
        let shared = Shared {
            ice: &self.ice,
            setup: LocalSetup::ActPass,
            candidates: &self.config.candidates,
        };
        for section in &self.sections {
            let mid = Some(section.mid.as_str());
            let SectionKind::Media(kind) = section.kind else {
                match section.rejected {
                    false => writer.application(DATA_PROTOCOL, mid, &shared),
                    true => {
                        writer.rejected("application", DATA_PROTOCOL, "webrtc-datachannel", mid)
                    }
                }
                continue;
            };
            let media = match kind {
                MediaKind::Audio => "audio",
                MediaKind::Video => "video",
            };
            if section.rejected {
                writer.rejected(media, PROTOCOL, "0", mid);
                continue;
            }
            let mut payloads = self.own_payloads(kind);
            if let Some(sender) = &section.sender {
                codecs::order_for_source(&mut payloads, &sender.config.codecs);
                mark_stereo(&mut payloads, sender.config.stereo);
            }
            writer.media(
                &MediaSection {
                    media,
                    mid,
                    payloads: &payloads,
                    extensions: &self.own_extensions(kind),
                    rids: &[],
                    sender: section.sender.as_ref(),
                    direction: LocalDirection {
                        send: section.sender.is_some(),
                        receive: false,
                    },
                    reduced_size: true,
                },
                PROTOCOL,
                &shared,
            );
        }
        writer.finish()
    }

    /// Applies the client's answer to our offer. On an error nothing changed: the offer is still
    /// outstanding.
    pub fn accept_answer(&mut self, sdp: &str) -> Result<AnswerAccepted, NegotiateError> {
        let offered = self
            .outstanding
            .ok_or(NegotiateError::WrongState("an answer"))?;
        let answer = RemoteDescription::parse(sdp)?;
        let matches = |(local, remote): (&LocalSection, &RemoteSection)| {
            remote.kind == local.kind && (!remote.mid_written || remote.mid == local.mid)
                || remote.rejected
        };
        if answer.sections.len() != offered
            || !self.sections.iter().zip(&answer.sections).all(matches)
        {
            return Err(NegotiateError::SectionsChanged);
        }
        self.outstanding = None;
        let mut refused = Vec::new();
        for (index, remote) in answer.sections.iter().enumerate() {
            self.settle(index, remote);
            let sender = self.sections[index].sender.as_ref();
            refused.extend(
                sender
                    .filter(|s| s.described && !s.live)
                    .map(|s| s.config.id),
            );
        }
        let remote = RemoteTransport {
            sctp: answer.sctp(),
            ice: answer.ice,
            fingerprint: answer.fingerprint,
            role: answer.setup.our_role(),
            candidates: answer.candidates,
        };
        self.remote = Some(remote.clone());
        Ok(AnswerAccepted { remote, refused })
    }

    /// Narrows one section of ours to what the client answered.
    fn settle(&mut self, index: usize, remote: &RemoteSection) {
        let SectionKind::Media(kind) = self.sections[index].kind else {
            self.sections[index].rejected = remote.rejected;
            return;
        };
        let mut payloads = self.own_payloads(kind);
        payloads.retain_mut(|payload| {
            let answered = |pt: u8, name: &str| {
                let format = remote.formats.iter().find(|f| f.pt == pt);
                format.filter(|f| f.name.eq_ignore_ascii_case(name))
            };
            let Some(format) = answered(payload.format.pt, &payload.format.name) else {
                return false;
            };
            payload.rtx_pt = payload.rtx_pt.filter(|pt| answered(*pt, "rtx").is_some());
            payload
                .format
                .feedback
                .retain(|f| format.feedback.contains(f));
            true
        });
        let own = self.own_extensions(kind);
        let section = &mut self.sections[index];
        section.rejected = remote.rejected;
        section.direction = remote.direction;
        section.extensions = header_extensions::accept(&remote.extensions, |_| true);
        section.extensions.retain(|answered| own.contains(answered));
        let live = remote.direction.receives() && !remote.rejected && !payloads.is_empty();
        if let Some(sender) = &mut section.sender {
            codecs::order_for_source(&mut payloads, &sender.config.codecs);
            sender.live = live && sender.described;
        }
        let others = self.sections.iter().map(|section| &section.send_payloads);
        let payloads = Payloads::new(payloads, others);
        self.sections[index].send_payloads = payloads;
    }
}

/// `sprop-stereo=1`: clients answer `stereo=1` only to this.
fn mark_stereo(payloads: &mut [Payload], stereo: bool) {
    for payload in payloads
        .iter_mut()
        .filter(|p| stereo && p.codec == Codec::Opus)
    {
        fmtp::set(&mut payload.format.fmtp, "sprop-stereo", "1");
    }
}
