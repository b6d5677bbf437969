//! Plain values shared by negotiation, commands and events: codecs, header extensions, ICE and DTLS
//! parameters, media sections. No behaviour beyond parsing and formatting of single values.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::ids::TrackKey;
use crate::limits::STANDBY_PRIORITY_STEP;

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaKind {
    Audio,
    Video,
}

/// A codec the packet plane knows how to forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    Opus,
    /// RFC 2198 redundancy around Opus.
    Red,
    Pcmu,
    Pcma,
    Vp8,
    Vp9,
    H264,
    H265,
    Av1,
}

impl Codec {
    /// MIME type as LiveKit writes it in `TrackInfo.mime_type`.
    pub fn mime(self) -> &'static str {
        match self {
            Codec::Opus => "audio/opus",
            Codec::Red => "audio/red",
            Codec::Pcmu => "audio/PCMU",
            Codec::Pcma => "audio/PCMA",
            Codec::Vp8 => "video/VP8",
            Codec::Vp9 => "video/VP9",
            Codec::H264 => "video/H264",
            Codec::H265 => "video/H265",
            Codec::Av1 => "video/AV1",
        }
    }

    /// Parses a MIME type or a bare codec name, ignoring case.
    pub fn from_mime(mime: &str) -> Option<Codec> {
        let name = mime.rsplit('/').next().unwrap_or(mime).to_ascii_lowercase();
        Some(match name.as_str() {
            "opus" => Codec::Opus,
            "red" => Codec::Red,
            "pcmu" => Codec::Pcmu,
            "pcma" => Codec::Pcma,
            "vp8" => Codec::Vp8,
            "vp9" => Codec::Vp9,
            "h264" => Codec::H264,
            "h265" | "hevc" => Codec::H265,
            "av1" => Codec::Av1,
            _ => return None,
        })
    }

    pub fn kind(self) -> MediaKind {
        match self {
            Codec::Opus | Codec::Red | Codec::Pcmu | Codec::Pcma => MediaKind::Audio,
            _ => MediaKind::Video,
        }
    }

    /// RTP clock rate in Hz.
    pub fn clock_rate_hz(self) -> u32 {
        match self {
            Codec::Opus | Codec::Red => 48_000,
            Codec::Pcmu | Codec::Pcma => 8_000,
            _ => 90_000,
        }
    }
}

/// One payload type of a media section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadType {
    pub codec: Codec,
    pub pt: u8,
    /// Payload type of its retransmissions (RFC 4588), if negotiated.
    pub rtx_pt: Option<u8>,
    /// The `a=fmtp` parameters as text, without the payload type.
    pub fmtp: String,
    /// `a=rtcp-fb:… nack` was negotiated.
    pub nack: bool,
}

/// Header-extension ids negotiated for a section (RFC 8285); `None` = not negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    pub mid: Option<u8>,
    pub rid: Option<u8>,
    pub repaired_rid: Option<u8>,
    pub audio_level: Option<u8>,
    pub transport_cc: Option<u8>,
    pub abs_send_time: Option<u8>,
    pub abs_capture_time: Option<u8>,
    pub playout_delay: Option<u8>,
    pub dependency_descriptor: Option<u8>,
    pub frame_marking: Option<u8>,
    pub video_orientation: Option<u8>,
}

/// ICE username fragment and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceCredentials {
    pub ufrag: String,
    pub pwd: String,
}

/// What the remote end may be told, or has told us, about its DTLS role (`a=setup`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtlsRole {
    /// We answer `passive`: the client sends the ClientHello.
    Server,
    /// We send the ClientHello.
    Client,
}

/// `a=fingerprint` of the remote certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Hash name in lower case: `sha-256`.
    pub algorithm: String,
    pub digest: Vec<u8>,
}

/// How a candidate is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Udp,
    /// ICE-TCP; we are always passive (RFC 6544), frames per RFC 4571.
    Tcp,
}

/// One local socket address that datagrams arrive at and leave from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    pub protocol: Protocol,
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

/// A host candidate of ours, ready for SDP and trickle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalCandidate {
    pub protocol: Protocol,
    /// Advertised address (differs from the bound one behind 1:1 NAT).
    pub address: SocketAddr,
    pub priority: u32,
    pub foundation: String,
}

/// Priority of a standby's candidate, above the `primary`'s and above all earlier standbys', one of
/// which may be the primary of now (`takeovers` of them were).
pub(crate) fn standby_priority(primary: u32, takeovers: u32) -> u32 {
    let step = STANDBY_PRIORITY_STEP.saturating_mul(takeovers.saturating_add(1));
    primary.saturating_add(step)
}

/// A candidate the client told us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteCandidate {
    pub protocol: Protocol,
    pub address: SocketAddr,
    pub priority: u32,
}

/// What the remote description of one peer connection says about its transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteTransport {
    pub ice: IceCredentials,
    pub fingerprint: Fingerprint,
    /// Our role, decided from `a=setup` of both descriptions.
    pub role: DtlsRole,
    /// The peer's SCTP port and `a=max-message-size`, when there is an application section.
    pub sctp: Option<SctpParameters>,
    pub candidates: Vec<RemoteCandidate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SctpParameters {
    pub port: u16,
    /// 0 = the peer accepts any size.
    pub max_message_size_bytes: u32,
}

/// One SSRC a section announces in SDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SsrcInfo {
    pub ssrc: u32,
    /// `a=ssrc-group:FID` partner: this SSRC carries the retransmissions of that one.
    pub repairs: Option<u32>,
    /// Position within `a=ssrc-group:SIM` (0 = lowest), if any.
    pub layer: Option<u8>,
}

/// A section we receive media on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiveSection {
    pub mid: String,
    pub kind: MediaKind,
    /// Most preferred first.
    pub payload_types: Arc<[PayloadType]>,
    pub extensions: Extensions,
    /// RIDs in the order of SDP, pause marks (`~`) stripped.
    pub rids: Vec<String>,
    pub ssrcs: Vec<SsrcInfo>,
    /// `None` while no AddTrack has claimed the section: its packets are parked briefly.
    pub track: Option<TrackKey>,
}

/// How the layers of a track arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerMode {
    /// One SSRC (or RID) a spatial layer: simulcast, or a single layer.
    OneStreamPerLayer,
    /// All spatial layers in one stream: VP9/AV1 SVC.
    OneStream,
}

/// What the control plane knows about a track that its packets do not tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackConfig {
    pub kind: MediaKind,
    pub layer_mode: LayerMode,
    /// RID of each spatial layer, lowest first; empty without simulcast.
    pub rids: Vec<String>,
    /// Payloads are end-to-end encrypted: only unencrypted headers may be parsed.
    pub encrypted: bool,
    pub screen_share: bool,
    /// Plain Opus is sent as RED to subscribers that take RED.
    pub build_red: bool,
}

/// Quality bounds a subscriber or the room set for one down track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerLimit {
    /// 0 = lowest layer.
    pub max_spatial: u8,
    pub max_temporal: u8,
}

impl LayerLimit {
    pub const HIGHEST: LayerLimit = LayerLimit {
        max_spatial: 2,
        max_temporal: 3,
    };
}

/// How the bandwidth of one subscriber's transport is managed (`rtc.congestion_control`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BandwidthPolicy {
    /// Adapt to the path at all.
    pub enabled: bool,
    /// Video may stop for lack of bandwidth; else every track keeps its smallest picture.
    pub may_pause: bool,
    /// Overrides the estimate, bits per second.
    pub fixed_bps: Option<u64>,
}

impl Default for BandwidthPolicy {
    /// LiveKit's.
    fn default() -> Self {
        BandwidthPolicy {
            enabled: true,
            may_pause: false,
            fixed_bps: None,
        }
    }
}

/// A section we send one track on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendSection {
    pub mid: String,
    pub ssrc: u32,
    pub rtx_ssrc: Option<u32>,
    /// Every codec the subscriber can take on this section, most preferred first.
    pub payload_types: Arc<[PayloadType]>,
    pub extensions: Extensions,
}

/// Reliability of a data channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reliability {
    /// Ordered, retransmitted for ever (`_reliable`).
    Reliable,
    /// Unordered, never retransmitted (`_lossy`, `_data_track`).
    Lossy,
}

/// Bounds of how long receivers hold media back so that it plays evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayoutDelay {
    pub min_ms: u32,
    /// 0 = the receiver's own.
    pub max_ms: u32,
}
