//! Session descriptions of ours, line by line, in the order LiveKit writes them.

use std::fmt::Write as _;

use crate::limits::SCTP_MAX_MESSAGE_BYTES;
use crate::types::{Fingerprint, IceCredentials, LocalCandidate};

use super::candidates::format_candidate;
use super::codecs::{Format, Payload, rtx_format};
use super::header_extensions::Extension;
use super::section::Sender;

/// Parameters of the `a=setup` line we write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LocalSetup {
    ActPass,
    Active,
    Passive,
}

/// What all sections share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared<'a> {
    pub(super) ice: &'a IceCredentials,
    pub(super) setup: LocalSetup,
    pub(super) candidates: &'a [LocalCandidate],
}

/// Our direction in a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LocalDirection {
    pub(super) send: bool,
    pub(super) receive: bool,
}

/// What one media section says.
#[derive(Debug)]
pub(super) struct MediaSection<'a> {
    pub(super) media: &'a str,
    pub(super) mid: Option<&'a str>,
    pub(super) payloads: &'a [Payload],
    pub(super) extensions: &'a [(u8, Extension)],
    /// Layers we receive.
    pub(super) rids: &'a [String],
    pub(super) sender: Option<&'a Sender>,
    pub(super) direction: LocalDirection,
    /// `a=rtcp-rsize` (RFC 5506): ours to offer, in an answer only what was offered.
    pub(super) reduced_size: bool,
}

#[derive(Debug, Default)]
pub(super) struct SdpWriter {
    text: String,
    /// Candidates go into the first section in use only (BUNDLE).
    candidates_written: bool,
}

impl SdpWriter {
    /// `bundle` = mids of all sections in use; `None` when the offer had no group.
    pub(super) fn session(
        session_id: u64,
        version: u64,
        fingerprint: &Fingerprint,
        extmap_allow_mixed: bool,
        bundle: Option<&[&str]>,
    ) -> Self {
        let mut writer = Self::default();
        writer.line("v=0");
        writer.line(&format!("o=- {session_id} {version} IN IP4 0.0.0.0"));
        writer.line("s=-");
        writer.line("t=0 0");
        writer.line("a=msid-semantic:WMS *");
        let digest: Vec<String> = fingerprint
            .digest
            .iter()
            .map(|b| format!("{b:02X}"))
            .collect();
        writer.line(&format!(
            "a=fingerprint:{} {}",
            fingerprint.algorithm,
            digest.join(":")
        ));
        if extmap_allow_mixed {
            writer.line("a=extmap-allow-mixed");
        }
        if let Some(mids) = bundle {
            writer.line(&format!("a=group:BUNDLE {}", mids.join(" ")));
        }
        writer
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    pub(super) fn rejected(
        &mut self,
        media: &str,
        protocol: &str,
        formats: &str,
        mid: Option<&str>,
    ) {
        self.line(&format!("m={media} 0 {protocol} {formats}"));
        self.line("c=IN IP4 0.0.0.0");
        if let Some(mid) = mid {
            self.line(&format!("a=mid:{mid}"));
        }
        self.line("a=inactive");
    }

    pub(super) fn application(&mut self, protocol: &str, mid: Option<&str>, shared: &Shared<'_>) {
        self.line(&format!("m=application 9 {protocol} webrtc-datachannel"));
        self.head(mid, shared);
        self.line("a=sendrecv");
        self.line("a=sctp-port:5000");
        self.line(&format!("a=max-message-size:{SCTP_MAX_MESSAGE_BYTES}"));
        self.transport(shared);
    }

    pub(super) fn media(
        &mut self,
        section: &MediaSection<'_>,
        protocol: &str,
        shared: &Shared<'_>,
    ) {
        let mut numbers: Vec<String> = Vec::new();
        numbers.extend(section.payloads.iter().map(|p| p.format.pt.to_string()));
        numbers.extend(
            section
                .payloads
                .iter()
                .filter_map(|p| p.rtx_pt)
                .map(|pt| pt.to_string()),
        );
        self.line(&format!(
            "m={} 9 {protocol} {}",
            section.media,
            numbers.join(" ")
        ));
        self.head(section.mid, shared);
        self.transport(shared);
        self.line("a=rtcp-mux");
        if section.reduced_size {
            self.line("a=rtcp-rsize");
        }
        for payload in section.payloads {
            self.format(&payload.format);
        }
        for payload in section.payloads {
            if let Some(pt) = payload.rtx_pt {
                self.format(&rtx_format(pt, payload.format.pt));
            }
        }
        for (number, extension) in section.extensions {
            self.line(&format!("a=extmap:{number} {}", extension.uri()));
        }
        if section.direction.receive && !section.rids.is_empty() {
            for rid in section.rids {
                self.line(&format!("a=rid:{rid} recv"));
            }
            self.line(&format!("a=simulcast:recv {}", section.rids.join(";")));
        }
        if let (true, Some(sender)) = (section.direction.send, section.sender) {
            self.sender(sender, section.payloads.iter().any(|p| p.rtx_pt.is_some()));
        }
        self.line(match (section.direction.send, section.direction.receive) {
            (true, true) => "a=sendrecv",
            (true, false) => "a=sendonly",
            (false, true) => "a=recvonly",
            (false, false) => "a=inactive",
        });
    }

    fn head(&mut self, mid: Option<&str>, shared: &Shared<'_>) {
        self.line("c=IN IP4 0.0.0.0");
        self.line(match shared.setup {
            LocalSetup::ActPass => "a=setup:actpass",
            LocalSetup::Active => "a=setup:active",
            LocalSetup::Passive => "a=setup:passive",
        });
        if let Some(mid) = mid {
            self.line(&format!("a=mid:{mid}"));
        }
    }

    fn transport(&mut self, shared: &Shared<'_>) {
        self.line(&format!("a=ice-ufrag:{}", shared.ice.ufrag));
        self.line(&format!("a=ice-pwd:{}", shared.ice.pwd));
        if !self.candidates_written && !shared.candidates.is_empty() {
            for candidate in shared.candidates {
                self.line(&format!(
                    "a={}",
                    format_candidate(candidate, &shared.ice.ufrag)
                ));
            }
            self.line("a=end-of-candidates");
        }
        self.candidates_written = true;
    }

    fn format(&mut self, format: &Format) {
        let (pt, clock) = (format.pt, format.clock_rate_hz);
        if format.channels > 1 {
            self.line(&format!(
                "a=rtpmap:{pt} {}/{clock}/{}",
                format.name, format.channels
            ));
        } else {
            self.line(&format!("a=rtpmap:{pt} {}/{clock}", format.name));
        }
        if !format.fmtp.is_empty() {
            self.line(&format!("a=fmtp:{pt} {}", format.fmtp));
        }
        for feedback in &format.feedback {
            self.line(&format!("a=rtcp-fb:{pt} {feedback}"));
        }
    }

    fn sender(&mut self, sender: &Sender, with_rtx: bool) {
        let msid = format!("{} {}", sender.config.stream_id, sender.config.track_id);
        let mut ssrcs = vec![sender.ssrc];
        if with_rtx {
            ssrcs.push(sender.rtx_ssrc);
            self.line(&format!(
                "a=ssrc-group:FID {} {}",
                sender.ssrc, sender.rtx_ssrc
            ));
        }
        for ssrc in ssrcs {
            self.line(&format!("a=ssrc:{ssrc} cname:{}", sender.config.stream_id));
            self.line(&format!("a=ssrc:{ssrc} msid:{msid}"));
        }
        self.line(&format!("a=msid:{msid}"));
    }

    fn line(&mut self, line: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{line}\r\n");
    }
}
