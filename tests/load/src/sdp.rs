//! Session descriptions as clients write them: offers of publishers, answers to the server's
//! offers; and what a server's description says. Enough for VP8 and Opus with any server that
//! speaks LiveKit's protocol.

use std::fmt::Write as _;
use std::net::SocketAddr;

use media::negotiate::{ParsedCandidate, parse_candidate};
use media::types::{
    DtlsRole, Fingerprint, IceCredentials, MediaKind, RemoteCandidate, RemoteTransport,
    SctpParameters,
};

use crate::inbound::Announced;
use crate::outbound::SendExtensions;

pub(crate) const OPUS: u8 = 111;
pub(crate) const VP8: u8 = 96;
pub(crate) const VP8_RTX: u8 = 97;
/// RIDs of layers, lowest first, as livekit-client names them.
pub(crate) const RIDS: [&str; 3] = ["q", "h", "f"];

const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
const TRANSPORT_CC: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";

/// Our end of a peer connection.
pub(crate) struct Local<'a> {
    pub(crate) ice: &'a IceCredentials,
    pub(crate) fingerprint: &'a Fingerprint,
    pub(crate) address: SocketAddr,
}

impl Local<'_> {
    fn transport_lines(&self, setup: &str) -> String {
        let digest: Vec<String> = self
            .fingerprint
            .digest
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect();
        format!(
            "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:{} {}\r\na=setup:{setup}\r\n",
            self.ice.ufrag,
            self.ice.pwd,
            self.fingerprint.algorithm,
            digest.join(":"),
        )
    }

    fn candidate_line(&self) -> String {
        let (ip, port) = (self.address.ip(), self.address.port());
        format!("a=candidate:1 1 udp 2130706431 {ip} {port} typ host\r\na=end-of-candidates\r\n")
    }
}

/// A track in a publisher's offer.
pub(crate) struct OfferedTrack {
    pub(crate) kind: MediaKind,
    pub(crate) cid: String,
    pub(crate) ssrc: u32,
    pub(crate) rtx_ssrc: u32,
    /// Layers sent with RIDs; one: no simulcast.
    pub(crate) layers: usize,
}

/// The offer of a connection that only sends. Sections have the track's index as mid.
pub(crate) fn offer(local: &Local<'_>, tracks: &[OfferedTrack]) -> String {
    let mids: Vec<String> = (0..tracks.len()).map(|mid| mid.to_string()).collect();
    let mut sdp = format!(
        "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
         a=group:BUNDLE {}\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n",
        mids.join(" ")
    );
    for (mid, track) in tracks.iter().enumerate() {
        let (kind, payloads) = match track.kind {
            MediaKind::Audio => ("audio", format!("{OPUS}")),
            MediaKind::Video => ("video", format!("{VP8} {VP8_RTX}")),
        };
        let _ = write!(
            sdp,
            "m={kind} 9 UDP/TLS/RTP/SAVPF {payloads}\r\nc=IN IP4 0.0.0.0\r\n\
             a=rtcp:9 IN IP4 0.0.0.0\r\n{}a=mid:{mid}\r\na=sendonly\r\na=msid:- {}\r\n\
             a=rtcp-mux\r\na=extmap:3 {TRANSPORT_CC}\r\na=extmap:4 {MID}\r\n",
            local.transport_lines("actpass"),
            track.cid
        );
        match track.kind {
            MediaKind::Audio => {
                let _ = write!(
                    sdp,
                    "a=extmap:1 {AUDIO_LEVEL}\r\na=rtpmap:{OPUS} opus/48000/2\r\n\
                     a=rtcp-fb:{OPUS} transport-cc\r\na=fmtp:{OPUS} minptime=10;useinbandfec=1\r\n\
                     a=ssrc:{0} cname:load\r\na=ssrc:{0} msid:- {1}\r\n",
                    track.ssrc, track.cid
                );
            }
            MediaKind::Video => video_lines(&mut sdp, track),
        }
        sdp.push_str(&local.candidate_line());
    }
    sdp
}

fn video_lines(sdp: &mut String, track: &OfferedTrack) {
    let _ = write!(
        sdp,
        "a=rtcp-rsize\r\na=rtpmap:{VP8} VP8/90000\r\na=rtcp-fb:{VP8} goog-remb\r\n\
         a=rtcp-fb:{VP8} transport-cc\r\na=rtcp-fb:{VP8} ccm fir\r\na=rtcp-fb:{VP8} nack\r\n\
         a=rtcp-fb:{VP8} nack pli\r\na=rtpmap:{VP8_RTX} rtx/90000\r\n\
         a=fmtp:{VP8_RTX} apt={VP8}\r\n"
    );
    if track.layers > 1 {
        let _ = write!(sdp, "a=extmap:10 {RID}\r\na=extmap:11 {REPAIRED_RID}\r\n");
        for rid in &RIDS[..track.layers] {
            let _ = write!(sdp, "a=rid:{rid} send\r\n");
        }
        let _ = write!(
            sdp,
            "a=simulcast:send {}\r\n",
            RIDS[..track.layers].join(";")
        );
    } else {
        let _ = write!(
            sdp,
            "a=ssrc-group:FID {0} {1}\r\na=ssrc:{0} cname:load\r\na=ssrc:{0} msid:- {2}\r\n\
             a=ssrc:{1} cname:load\r\na=ssrc:{1} msid:- {2}\r\n",
            track.ssrc, track.rtx_ssrc, track.cid
        );
    }
}

/// The answer of a connection that only receives: everything the server offered is taken.
pub(crate) fn answer(local: &Local<'_>, offer: &str) -> String {
    let mut sdp = String::with_capacity(offer.len());
    let mut sections = 0;
    for line in offer.lines().map(str::trim_end) {
        let drop = ["a=ssrc", "a=msid:", "a=candidate", "a=end-of-candidates"]
            .iter()
            .chain(&["a=ice-", "a=fingerprint", "a=setup:"])
            .any(|start| line.starts_with(start));
        if drop || line.is_empty() {
            continue;
        }
        if line.starts_with("m=") {
            if sections > 0 {
                sdp.push_str(&local.candidate_line());
            }
            sections += 1;
        }
        sdp.push_str(if line == "a=sendonly" {
            "a=recvonly"
        } else {
            line
        });
        sdp.push_str("\r\n");
        if line.starts_with("a=mid:") {
            sdp.push_str(&local.transport_lines("active"));
        }
    }
    sdp.push_str(&local.candidate_line());
    sdp
}

/// A server's description, as far as a client of ours cares.
#[derive(Debug, Default)]
pub(crate) struct Remote {
    ice: Option<IceCredentials>,
    fingerprint: Option<Fingerprint>,
    setup: String,
    sctp: Option<SctpParameters>,
    candidates: Vec<RemoteCandidate>,
    /// Streams the server sends.
    pub(crate) announced: Vec<Announced>,
    pub(crate) remb: bool,
    /// Extension numbers by section, for what we send.
    pub(crate) extensions: Vec<SendExtensions>,
    /// Whether retransmissions were accepted, by section.
    pub(crate) rtx: Vec<bool>,
}

impl Remote {
    pub(crate) fn read(sdp: &str) -> Remote {
        let mut remote = Remote::default();
        let (mut ufrag, mut pwd) = (String::new(), String::new());
        let session = sdp.split("\nm=").next().unwrap_or(sdp);
        let sections = sdp.split("\nm=").skip(1);
        for part in std::iter::once(session).chain(sections.clone()) {
            for line in part.lines().map(str::trim_end) {
                remote.transport_line(line, &mut ufrag, &mut pwd);
            }
        }
        for section in sections {
            remote.section(section);
        }
        remote.ice = (!ufrag.is_empty()).then_some(IceCredentials { ufrag, pwd });
        remote
    }

    fn transport_line(&mut self, line: &str, ufrag: &mut String, pwd: &mut String) {
        let Some((name, value)) = line.split_once(':') else {
            return;
        };
        match name {
            "a=ice-ufrag" if ufrag.is_empty() => value.clone_into(ufrag),
            "a=ice-pwd" if pwd.is_empty() => value.clone_into(pwd),
            "a=setup" => value.clone_into(&mut self.setup),
            "a=fingerprint" => {
                if let Some((algorithm, digest)) = value.split_once(' ') {
                    let bytes = digest.split(':').map(|b| u8::from_str_radix(b, 16));
                    self.fingerprint = Some(Fingerprint {
                        algorithm: algorithm.to_lowercase(),
                        digest: bytes.flatten().collect(),
                    });
                }
            }
            "a=candidate" => self.candidates.extend(candidate(line)),
            "a=sctp-port" => {
                self.sctp = Some(SctpParameters {
                    port: value.parse().unwrap_or(5000),
                    max_message_size_bytes: 65_536,
                });
            }
            _ => {}
        }
    }

    fn section(&mut self, section: &str) {
        let lines = || section.lines().map(str::trim_end);
        let kind = if section.starts_with("audio") {
            MediaKind::Audio
        } else if section.starts_with("video") {
            MediaKind::Video
        } else {
            return;
        };
        let mut extensions = SendExtensions::default();
        for value in lines().filter_map(|line| line.strip_prefix("a=extmap:")) {
            let Some((id, uri)) = value.split_once(' ') else {
                continue;
            };
            let id = id.split('/').next().and_then(|id| id.parse().ok());
            match uri.split(' ').next().unwrap_or(uri) {
                AUDIO_LEVEL => extensions.audio_level = id,
                TRANSPORT_CC => extensions.transport_cc = id,
                MID => extensions.mid = id,
                RID => extensions.rid = id,
                REPAIRED_RID => extensions.repaired_rid = id,
                _ => {}
            }
        }
        let offers = |feedback: &str| {
            lines().any(|line| line.starts_with("a=rtcp-fb:") && line.ends_with(feedback))
        };
        self.extensions.push(extensions);
        self.rtx.push(section.contains(" rtx/90000"));
        self.remb |= offers(" goog-remb");
        let gone = lines().any(|l| l == "a=inactive" || l == "a=recvonly");
        let ssrcs = lines().filter_map(|line| {
            let value = line.strip_prefix("a=ssrc:")?;
            value.split(' ').next()?.parse::<u32>().ok()
        });
        let pairs: Vec<(u32, u32)> = lines()
            .filter_map(|line| {
                let (media, rtx) = line.strip_prefix("a=ssrc-group:FID ")?.split_once(' ')?;
                Some((media.parse().ok()?, rtx.parse().ok()?))
            })
            .collect();
        let mut seen = Vec::new();
        for ssrc in ssrcs.filter(|_| !gone) {
            if seen.contains(&ssrc) || pairs.iter().any(|(_, rtx)| *rtx == ssrc) {
                continue;
            }
            seen.push(ssrc);
            self.announced.push(Announced {
                kind,
                ssrc,
                rtx_ssrc: pairs.iter().find(|(media, _)| *media == ssrc).map(|p| p.1),
                nack: offers(" nack"),
                transport_cc: extensions.transport_cc.filter(|_| offers(" transport-cc")),
            });
        }
    }

    pub(crate) fn transport(&self) -> Option<RemoteTransport> {
        Some(RemoteTransport {
            ice: self.ice.clone()?,
            fingerprint: self.fingerprint.clone()?,
            role: match self.setup.as_str() {
                "active" => DtlsRole::Server,
                _ => DtlsRole::Client,
            },
            sctp: self.sctp,
            candidates: self.candidates.clone(),
        })
    }
}

/// A UDP candidate of the server.
pub(crate) fn candidate(line: &str) -> Option<RemoteCandidate> {
    match parse_candidate(line) {
        Ok(ParsedCandidate::Usable { candidate, .. }) if line.to_lowercase().contains(" udp ") => {
            Some(candidate)
        }
        _ => None,
    }
}
