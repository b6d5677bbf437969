//! The client's description, understood: one transport (BUNDLE) and typed sections. Lenient about
//! what clients differ in, strict about what everything later rests on.

use std::collections::HashSet;

use crate::limits::{
    SDP_MAX_CANDIDATES, SDP_MAX_EXTENSIONS, SDP_MAX_FMTP_BYTES, SDP_MAX_PAYLOAD_TYPES,
    SDP_MAX_TOKEN_BYTES,
};
use crate::types::{
    Codec, DtlsRole, Fingerprint, IceCredentials, MediaKind, RemoteCandidate, SctpParameters,
    SsrcInfo,
};

use super::candidates::{ParsedCandidate, parse_candidate};
use super::codecs::{FEEDBACK, Format};
use super::contract::{Direction, NegotiateError, OfferSummary, OfferedSection};
use super::fingerprint::fingerprint;
use super::fmtp;
use super::header_extensions::{self, Extension};
use super::sdp::{self, Attribute, Description, Section};
use super::simulcast;

/// What a section is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    Media(MediaKind),
    /// Data channels.
    Application,
    /// Something we always reject.
    Unknown,
}

/// `a=setup` (RFC 5763 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setup {
    ActPass,
    Active,
    Passive,
}

impl Setup {
    /// Our role when this is what the client said. Wherever it leaves the choice we are the server:
    /// a restarted or relocated connection can then be met by whoever holds the certificate.
    pub(super) fn our_role(self) -> DtlsRole {
        match self {
            Setup::ActPass | Setup::Active => DtlsRole::Server,
            Setup::Passive => DtlsRole::Client,
        }
    }
}

#[derive(Debug)]
pub(super) struct RemoteSection {
    /// `None`: the client writes none; its position serves as name and is not written back.
    pub(super) mid: String,
    pub(super) mid_written: bool,
    pub(super) kind: SectionKind,
    /// Port 0 outside a bundle, or not part of the bundle at all.
    pub(super) rejected: bool,
    /// The `m=` line's words, to be repeated when we reject the section.
    pub(super) media: String,
    pub(super) protocol: String,
    pub(super) format_list: String,
    pub(super) direction: Direction,
    pub(super) formats: Vec<Format>,
    pub(super) extensions: Vec<(u8, Extension)>,
    pub(super) stream_id: Option<String>,
    pub(super) track_id: Option<String>,
    pub(super) rids: Vec<String>,
    pub(super) ssrcs: Vec<SsrcInfo>,
    pub(super) sctp: Option<SctpParameters>,
    /// `a=rtcp-rsize`: feedback may come without a report (RFC 5506).
    pub(super) reduced_size: bool,
}

impl RemoteSection {
    /// What the caller is told of an audio or video section.
    pub(super) fn offered(&self) -> Option<OfferedSection> {
        let SectionKind::Media(kind) = self.kind else {
            return None;
        };
        let mut codecs = Vec::new();
        for codec in self.formats.iter().filter_map(Format::codec) {
            if !codecs.contains(&codec) {
                codecs.push(codec);
            }
        }
        let sends = self.direction.sends();
        Some(OfferedSection {
            mid: self.mid.clone(),
            kind,
            direction: self.direction,
            track_id: self.track_id.clone().filter(|_| sends),
            stream_id: self.stream_id.clone().filter(|_| sends),
            rids: self.rids.clone(),
            codecs,
            track: None,
        })
    }

    /// RFC 7587 §6.1: the sender says that it sends stereo.
    fn sends_stereo(&self) -> bool {
        self.formats.iter().any(|format| {
            format.codec() == Some(Codec::Opus)
                && fmtp::get(&format.fmtp, "sprop-stereo") == Some("1")
        })
    }
}

/// Reads an offer that nobody answers yet.
pub fn read_offer(sdp: &str) -> Result<OfferSummary, NegotiateError> {
    let offer = RemoteDescription::parse(sdp)?;
    let stereo = offer.sections.iter().filter(|s| s.sends_stereo());
    Ok(OfferSummary {
        stereo: stereo.map(|section| section.mid.clone()).collect(),
        sections: offer
            .sections
            .iter()
            .filter_map(RemoteSection::offered)
            .collect(),
        ice: offer.ice,
    })
}

/// A description with exactly one transport.
#[derive(Debug)]
pub(super) struct RemoteDescription {
    pub(super) ice: IceCredentials,
    pub(super) fingerprint: Fingerprint,
    pub(super) setup: Setup,
    pub(super) candidates: Vec<RemoteCandidate>,
    pub(super) extmap_allow_mixed: bool,
    /// The description has a BUNDLE group: the answer has one too.
    pub(super) bundled: bool,
    pub(super) sections: Vec<RemoteSection>,
}

impl RemoteDescription {
    pub(super) fn parse(text: &str) -> Result<Self, NegotiateError> {
        let description = Description::parse(text)?;
        let bundle = bundle_group(&description);
        let mut sections = Vec::with_capacity(description.sections.len());
        for (index, section) in description.sections.iter().enumerate() {
            sections.push(remote_section(index, section, bundle.as_ref())?);
        }
        let mut mids = HashSet::new();
        if !sections
            .iter()
            .all(|section| mids.insert(section.mid.as_str()))
        {
            return Err(NegotiateError::Malformed("two sections with one mid"));
        }
        let used: Vec<usize> = (0..sections.len())
            .filter(|&index| !sections[index].rejected)
            .collect();
        let &first = used
            .first()
            .ok_or(NegotiateError::Malformed("no section in use"))?;
        if bundle.is_none() && used.len() > 1 {
            return Err(NegotiateError::NotBundled);
        }
        let transport = |index: usize| ice(&description, index).ok_or(NegotiateError::NoIce(index));
        let ice = transport(first)?;
        for &index in &used {
            // Bundle-only sections may leave the credentials to the first one.
            if transport(index).is_ok_and(|other| other != ice) {
                return Err(NegotiateError::NotBundled);
            }
        }
        Ok(Self {
            ice,
            fingerprint: fingerprint(&description, first)?,
            setup: setup(&description, first)?,
            candidates: candidates(&description.sections[first]),
            extmap_allow_mixed: description
                .attributes
                .iter()
                .any(|a| a.name == "extmap-allow-mixed"),
            bundled: bundle.is_some(),
            sections,
        })
    }

    /// Of the application section in use, if there is one.
    pub(super) fn sctp(&self) -> Option<SctpParameters> {
        self.sections
            .iter()
            .filter(|s| !s.rejected && s.kind == SectionKind::Application)
            .find_map(|s| s.sctp)
    }
}

/// Mids of the (first) BUNDLE group.
fn bundle_group<'a>(description: &Description<'a>) -> Option<HashSet<&'a str>> {
    sdp::values(&description.attributes, "group").find_map(|value| {
        let mut words = value.split_ascii_whitespace();
        (words.next() == Some("BUNDLE")).then(|| words.collect())
    })
}

fn remote_section(
    index: usize,
    section: &Section<'_>,
    bundle: Option<&HashSet<&str>>,
) -> Result<RemoteSection, NegotiateError> {
    let written = section.value("mid").filter(|mid| !mid.is_empty());
    let mid = written.map_or_else(|| index.to_string(), str::to_owned);
    if !is_token(&mid) {
        return Err(NegotiateError::Malformed("a mid is no token"));
    }
    let kind = kind(section);
    let bundled = bundle.is_none_or(|mids| mids.contains(mid.as_str()));
    let bundle_only = section.value("bundle-only").is_some();
    let rejected = (section.port == 0 && !bundle_only) || !bundled;
    let direction = if rejected {
        Direction::Inactive
    } else {
        direction(section)
    };
    let (stream_id, track_id) = msid(section);
    Ok(RemoteSection {
        mid_written: written.is_some(),
        mid,
        kind,
        rejected,
        media: section.media.to_owned(),
        protocol: section.protocol.to_owned(),
        format_list: section.formats.to_owned(),
        direction,
        formats: match kind {
            SectionKind::Media(_) => formats(section)?,
            _ => Vec::new(),
        },
        extensions: section
            .values("extmap")
            .filter_map(header_extensions::parse)
            .take(SDP_MAX_EXTENSIONS)
            .collect(),
        stream_id,
        track_id,
        rids: simulcast::rids(section),
        ssrcs: simulcast::ssrcs(section),
        sctp: (kind == SectionKind::Application).then(|| sctp(section)),
        reduced_size: section.value("rtcp-rsize").is_some(),
    })
}

fn kind(section: &Section<'_>) -> SectionKind {
    let secure_rtp =
        section.protocol.ends_with("RTP/SAVPF") || section.protocol.ends_with("RTP/SAVP");
    match section.media {
        "audio" if secure_rtp => SectionKind::Media(MediaKind::Audio),
        "video" if secure_rtp => SectionKind::Media(MediaKind::Video),
        "application"
            if section.protocol.ends_with("DTLS/SCTP")
                && section.formats == "webrtc-datachannel" =>
        {
            SectionKind::Application
        }
        _ => SectionKind::Unknown,
    }
}

fn direction(section: &Section<'_>) -> Direction {
    section
        .attributes
        .iter()
        .find_map(|attribute| match attribute.name {
            "sendrecv" => Some(Direction::SendRecv),
            "sendonly" => Some(Direction::SendOnly),
            "recvonly" => Some(Direction::RecvOnly),
            "inactive" => Some(Direction::Inactive),
            _ => None,
        })
        .unwrap_or(Direction::SendRecv)
}

/// Stream and track id: `a=msid:stream track`, or the same per SSRC.
fn msid(section: &Section<'_>) -> (Option<String>, Option<String>) {
    let per_ssrc = || {
        section
            .values("ssrc")
            .find_map(|value| value.split_once(" msid:").map(|(_, msid)| msid))
    };
    let Some(value) = section.value("msid").or_else(per_ssrc) else {
        return (None, None);
    };
    let mut words = value
        .split_ascii_whitespace()
        .map(|word| (word.len() <= SDP_MAX_TOKEN_BYTES).then(|| word.to_owned()));
    (words.next().flatten(), words.next().flatten())
}

/// Payload types in the order of the `m=` line.
fn formats(section: &Section<'_>) -> Result<Vec<Format>, NegotiateError> {
    let mut formats: Vec<Format> = Vec::new();
    for word in section.formats.split_ascii_whitespace() {
        let pt: u8 = word
            .parse()
            .ok()
            .filter(|pt| *pt < 128)
            .ok_or(NegotiateError::Malformed("a payload type is no number"))?;
        if formats.iter().any(|f| f.pt == pt) {
            continue;
        }
        if formats.len() == SDP_MAX_PAYLOAD_TYPES {
            break;
        }
        // Static numbers may go without `a=rtpmap` (RFC 3551).
        let (name, clock_rate_hz) = match pt {
            0 => ("PCMU", 8_000),
            8 => ("PCMA", 8_000),
            _ => ("", 0),
        };
        formats.push(Format {
            pt,
            name: name.to_owned(),
            clock_rate_hz,
            channels: 1,
            fmtp: String::new(),
            feedback: Vec::new(),
        });
    }
    for attribute in &section.attributes {
        describe(&mut formats, attribute);
    }
    Ok(formats)
}

/// Applies one `a=rtpmap`, `a=fmtp` or `a=rtcp-fb` line; unreadable ones are skipped.
fn describe(formats: &mut [Format], attribute: &Attribute<'_>) {
    let Some((number, value)) = attribute.value.split_once(' ') else {
        return;
    };
    let value = value.trim();
    if attribute.name == "rtcp-fb" {
        let Some(value) = FEEDBACK.into_iter().find(|known| *known == value) else {
            return;
        };
        let all = number == "*";
        for format in formats.iter_mut() {
            if (all || number.parse() == Ok(format.pt)) && !format.feedback.contains(&value) {
                format.feedback.push(value);
            }
        }
        return;
    }
    let Some(format) = formats.iter_mut().find(|f| number.parse() == Ok(f.pt)) else {
        return;
    };
    match attribute.name {
        "rtpmap" => {
            let mut parts = value.split('/');
            format.name = parts.next().unwrap_or("").to_owned();
            format.clock_rate_hz = parts.next().and_then(|p| p.parse().ok()).unwrap_or(0);
            format.channels = parts.next().and_then(|p| p.parse().ok()).unwrap_or(1);
        }
        "fmtp" if value.len() <= SDP_MAX_FMTP_BYTES => format.fmtp = value.to_owned(),
        _ => {}
    }
}

fn sctp(section: &Section<'_>) -> SctpParameters {
    let number = |name: &str| section.value(name).and_then(|value| value.parse().ok());
    SctpParameters {
        port: number("sctp-port")
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(5000),
        // RFC 8841 §6.1: 64 KiB without the attribute.
        max_message_size_bytes: number("max-message-size").unwrap_or(65_536),
    }
}

/// A transport attribute of a section, or of the session as its default.
fn transport_value<'a>(description: &Description<'a>, index: usize, name: &str) -> Option<&'a str> {
    description.sections[index]
        .value(name)
        .or_else(|| sdp::values(&description.attributes, name).next())
}

fn ice(description: &Description<'_>, index: usize) -> Option<IceCredentials> {
    let ufrag = transport_value(description, index, "ice-ufrag")?;
    let pwd = transport_value(description, index, "ice-pwd")?;
    // RFC 8839 §5.4: 4..256 and 22..256 ice-chars.
    let chars = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_' | b'='))
    };
    let fits = (4..=256).contains(&ufrag.len()) && (22..=256).contains(&pwd.len());
    (fits && chars(ufrag) && chars(pwd)).then(|| IceCredentials {
        ufrag: ufrag.to_owned(),
        pwd: pwd.to_owned(),
    })
}

fn setup(description: &Description<'_>, index: usize) -> Result<Setup, NegotiateError> {
    match transport_value(description, index, "setup") {
        None | Some("actpass") => Ok(Setup::ActPass),
        Some("active") => Ok(Setup::Active),
        Some("passive") => Ok(Setup::Passive),
        Some(_) => Err(NegotiateError::Malformed("a=setup")),
    }
}

fn candidates(section: &Section<'_>) -> Vec<RemoteCandidate> {
    section
        .values("candidate")
        .filter_map(|value| match parse_candidate(value) {
            Ok(ParsedCandidate::Usable { candidate, .. }) => Some(candidate),
            _ => None,
        })
        .take(SDP_MAX_CANDIDATES)
        .collect()
}

/// RFC 8866 token, bounded.
fn is_token(text: &str) -> bool {
    (1..=SDP_MAX_TOKEN_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]".contains(&b))
}
