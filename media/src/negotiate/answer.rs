//! Answers to the client's offers: which way each section goes, with which payloads, in whose
//! numbers. The client's sections, mids and numbers come back as they came.

use crate::types::{Codec, DtlsRole, MediaKind};

use super::Negotiator;
use super::codecs::{self, Payload, Way};
use super::contract::{
    Direction, LocalDescription, NegotiateError, PeerRole, PublishPreferences, SenderConfig,
};
use super::fmtp;
use super::header_extensions::{self, Extension};
use super::payloads::Payloads;
use super::remote::{RemoteDescription, RemoteSection, SectionKind};
use super::section::LocalSection;
use super::write::{LocalDirection, LocalSetup, MediaSection, SdpWriter, Shared};

impl Negotiator {
    /// Answers the offer accepted last. Senders that waited take the sections it brought.
    pub fn create_answer(&mut self) -> Result<LocalDescription, NegotiateError> {
        let offer = self
            .offer
            .take()
            .ok_or(NegotiateError::WrongState("an answer"))?;
        self.place_waiting_senders(&offer);
        let mut directions = Vec::with_capacity(offer.sections.len());
        for (index, remote) in offer.sections.iter().enumerate() {
            directions.push(self.agree(index, remote));
        }
        self.version += 1;
        let sdp = self.write_answer(&offer, &directions);
        let mut senders = Vec::new();
        for (section, direction) in self.sections.iter_mut().zip(&directions) {
            section.mark_described();
            if let Some(sender) = &mut section.sender {
                sender.live = direction.is_some_and(|d| d.send);
                if sender.live {
                    senders.push((section.mid.clone(), sender.config.id));
                }
            }
        }
        Ok(LocalDescription { sdp, senders })
    }

    /// Gives waiting senders the free sections, those the client does not send on itself first.
    fn place_waiting_senders(&mut self, offer: &RemoteDescription) {
        let reuse = self.reuse_sections();
        let waiting = std::mem::take(&mut self.waiting);
        for config in waiting {
            let free = |section: &LocalSection| section.is_free(config.kind, reuse);
            let fits = |index: usize| {
                let payloads = self.payloads(&offer.sections[index], config.kind, Way::Send);
                payloads.iter().any(|p| config.codecs.contains(&p.codec))
            };
            let best = (0..self.sections.len())
                .filter(|&index| free(&self.sections[index]))
                .min_by_key(|&index| (!fits(index), self.sections[index].direction.sends()));
            match best {
                Some(index) => {
                    let (ssrc, rtx_ssrc) = (self.fresh_ssrc(), self.fresh_ssrc());
                    self.sections[index].bind_sender(config, ssrc, rtx_ssrc);
                }
                None => self.waiting.push(config),
            }
        }
    }

    /// Settles one section; `None` = rejected.
    fn agree(&mut self, index: usize, remote: &RemoteSection) -> Option<LocalDirection> {
        let SectionKind::Media(kind) = remote.kind else {
            let taken = remote.kind == SectionKind::Application && !remote.rejected;
            self.sections[index].rejected = !taken;
            return taken.then_some(LocalDirection {
                send: true,
                receive: true,
            });
        };
        let mut receive_payloads = self.payloads(remote, kind, Way::Receive);
        let mut send_payloads = match self.config.role {
            PeerRole::Single => self.payloads(remote, kind, Way::Send),
            _ => Vec::new(),
        };
        let (receivable, sendable) = (!receive_payloads.is_empty(), !send_payloads.is_empty());
        let policy = self.extension_policy();
        // Chromium drops an extension from later sections when an answer left it out of earlier
        // ones (seen in 156: no RID for a simulcast section), so a section's direction must not
        // decide about them on a connection that carries both.
        let mut wanted: Vec<Extension> = header_extensions::receivable(kind, policy);
        if self.config.role == PeerRole::Single {
            wanted.extend(header_extensions::sendable(kind, policy));
        }
        let section = &mut self.sections[index];
        section.rejected = remote.rejected || !(receivable || sendable);
        let direction = LocalDirection {
            receive: remote.direction.sends() && receivable && !section.rejected,
            send: remote.direction.receives()
                && sendable
                && !section.rejected
                && section.sender.is_some(),
        };
        section.receiving = direction.receive;
        section.extensions =
            header_extensions::accept(&remote.extensions, |extension| wanted.contains(&extension));
        section.rids.clone_from(&remote.rids);
        section.ssrcs.clone_from(&remote.ssrcs);
        let preferences = section.receiver.as_ref().map(|r| r.preferences.clone());
        if direction.send
            && let Some(sender) = &section.sender
        {
            shape_for_source(&mut send_payloads, &sender.config);
        }
        if direction.receive
            && let Some(preferences) = &preferences
        {
            self.shape_for_publisher(&mut receive_payloads, kind, preferences);
        }
        let kept = self.sections.iter();
        let kept = kept.flat_map(|section| [&section.receive_payloads, &section.send_payloads]);
        let receive_payloads = Payloads::new(receive_payloads, kept.clone());
        let send_payloads = Payloads::new(send_payloads, kept);
        let section = &mut self.sections[index];
        section.receive_payloads = receive_payloads;
        section.send_payloads = send_payloads;
        (!self.sections[index].rejected).then_some(direction)
    }

    /// The client's formats we take, with the feedback both know.
    fn payloads(&self, remote: &RemoteSection, kind: MediaKind, way: Way) -> Vec<Payload> {
        let (enabled, disabled) = match way {
            Way::Receive => (
                &self.config.publish_codecs,
                &self.config.quirks.disabled_publish,
            ),
            Way::Send => (
                &self.config.subscribe_codecs,
                &self.config.quirks.disabled_subscribe,
            ),
        };
        let mut payloads =
            codecs::accept(&remote.formats, enabled, way, self.config.retransmission);
        let single = self.config.role == PeerRole::Single;
        let known = codecs::feedback(kind, way, single, self.config.send_side_bandwidth);
        let no_red = self.config.quirks.no_audio_red;
        payloads.retain(|payload| {
            !disabled.contains(&payload.codec) && (payload.codec != Codec::Red || !no_red)
        });
        for payload in &mut payloads {
            let offered = &mut payload.format.feedback;
            // A client without transport-wide feedback adapts to REMB.
            let no_transport_cc = !offered.contains(&"transport-cc");
            offered.retain(|f| known.contains(f) || (no_transport_cc && *f == "goog-remb"));
            offered.retain(|f| kind == MediaKind::Video || *f != "goog-remb");
        }
        payloads
    }

    /// Applies what AddTrack asked for: order of codecs, RED, DTX, stereo.
    fn shape_for_publisher(
        &self,
        payloads: &mut Vec<Payload>,
        kind: MediaKind,
        preferences: &PublishPreferences,
    ) {
        let only_one = self.config.quirks.ignores_codec_order && kind == MediaKind::Video;
        if let Some(codec) = preferences.codec {
            codecs::prefer(payloads, codec);
            if only_one && payloads.first().is_some_and(|p| p.codec == codec) {
                payloads.retain(|p| p.codec == codec);
            }
        }
        if kind == MediaKind::Video {
            return;
        }
        if preferences.red {
            codecs::prefer(payloads, Codec::Red);
        } else {
            payloads.retain(|p| p.codec != Codec::Red);
        }
        let with_red = payloads.first().is_some_and(|p| p.codec == Codec::Red);
        for payload in payloads {
            if with_red {
                // Redundancy replaces retransmission.
                payload.format.feedback.retain(|f| *f != "nack");
            }
            if payload.codec == Codec::Opus {
                shape_opus(&mut payload.format.fmtp, preferences);
            }
        }
    }

    fn write_answer(
        &self,
        offer: &RemoteDescription,
        directions: &[Option<LocalDirection>],
    ) -> String {
        let used = self.sections.iter().filter(|s| !s.rejected);
        let mids: Vec<&str> = used.map(|s| s.mid.as_str()).collect();
        let mut writer = SdpWriter::session(
            self.session_id,
            self.version,
            &self.config.fingerprint,
            offer.extmap_allow_mixed,
            offer.bundled.then_some(&mids),
        );
        let shared = Shared {
            ice: &self.ice,
            setup: match offer.setup.our_role() {
                DtlsRole::Server => LocalSetup::Passive,
                DtlsRole::Client => LocalSetup::Active,
            },
            candidates: &self.config.candidates,
        };
        for ((local, remote), direction) in
            self.sections.iter().zip(&offer.sections).zip(directions)
        {
            let mid = remote.mid_written.then_some(local.mid.as_str());
            match (direction, remote.kind) {
                (Some(_), SectionKind::Application) => {
                    writer.application(&remote.protocol, mid, &shared);
                }
                (Some(direction), SectionKind::Media(_)) => {
                    let payloads = written_payloads(local, *direction, &remote.direction);
                    let section = MediaSection {
                        media: &remote.media,
                        mid,
                        payloads: &payloads,
                        extensions: &local.extensions,
                        rids: &local.rids,
                        sender: local.sender.as_ref(),
                        direction: *direction,
                        reduced_size: remote.reduced_size,
                    };
                    writer.media(&section, &remote.protocol, &shared);
                }
                _ => writer.rejected(&remote.media, &remote.protocol, &remote.format_list, mid),
            }
        }
        writer.finish()
    }
}

/// Puts what the bound source sends first, and says whether it is stereo.
fn shape_for_source(payloads: &mut [Payload], source: &SenderConfig) {
    codecs::order_for_source(payloads, &source.codecs);
    if source.stereo {
        for payload in payloads.iter_mut().filter(|p| p.codec == Codec::Opus) {
            fmtp::set(&mut payload.format.fmtp, "sprop-stereo", "1");
        }
    }
}

/// The payload list of an answered section: what we receive first, then what we only send.
fn written_payloads(
    section: &LocalSection,
    direction: LocalDirection,
    offered: &Direction,
) -> Vec<Payload> {
    let receive = direction.receive || !offered.receives();
    let mut payloads = match receive && !section.receive_payloads.is_empty() {
        true => section.receive_payloads.to_vec(),
        false => Vec::new(),
    };
    if direction.send || payloads.is_empty() {
        for payload in section.send_payloads.iter() {
            match payloads
                .iter_mut()
                .find(|p| p.format.pt == payload.format.pt)
            {
                Some(known) => merge(known, payload),
                None => payloads.push(payload.clone()),
            }
        }
    }
    if payloads.is_empty() {
        payloads.extend_from_slice(&section.receive_payloads);
    }
    payloads
}

/// One payload type used both ways: the feedback of both directions, our sender's properties.
fn merge(known: &mut Payload, sent: &Payload) {
    for feedback in &sent.format.feedback {
        if !known.format.feedback.contains(feedback) {
            known.format.feedback.push(feedback);
        }
    }
    if let Some(stereo) = fmtp::get(&sent.format.fmtp, "sprop-stereo") {
        fmtp::set(&mut known.format.fmtp, "sprop-stereo", stereo);
    }
}

/// The answer's Opus parameters say what we want to be sent (RFC 7587 §7).
fn shape_opus(parameters: &mut String, preferences: &PublishPreferences) {
    fmtp::remove(parameters, "sprop-stereo");
    if preferences.dtx {
        fmtp::set(parameters, "usedtx", "1");
    } else {
        fmtp::remove(parameters, "usedtx");
    }
    if preferences.stereo {
        fmtp::set(parameters, "stereo", "1");
        fmtp::set(parameters, "maxaveragebitrate", "510000");
    } else {
        fmtp::remove(parameters, "stereo");
    }
}
