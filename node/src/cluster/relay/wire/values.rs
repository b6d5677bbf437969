//! Values of the packet plane as nodes say them to each other. What is missing or makes no sense
//! has no value here: whoever reads drops what needs it.

use std::net::SocketAddr;

use media::relay::frame::RelayId;
use media::types::{
    BandwidthPolicy, Codec, DtlsRole, Extensions, Fingerprint, IceCredentials, LayerLimit,
    LayerMode, LocalCandidate, MediaKind, Path, PayloadType, PlayoutDelay, Protocol,
    ReceiveSection, RemoteCandidate, RemoteTransport, SctpParameters, SendSection, SsrcInfo,
    TrackConfig,
};

use crate::cluster::relay::places::Place;
use crate::participant::KeySpace;

/// A key without the room's number, which each node has its own of: never 0.
pub(super) fn bare(key: u64) -> u64 {
    key & ((1 << KeySpace::ROOM_SHIFT) - 1)
}

/// A key in the room with that number; `None`: none was said, or it names a room.
pub(super) fn in_room(number: u32, key: u64) -> Option<u64> {
    let sane = key != 0 && key == bare(key);
    sane.then(|| u64::from(number) << KeySpace::ROOM_SHIFT | key)
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PlaceOnWire {
    #[prost(uint64, tag = "1")]
    node: u64,
    #[prost(uint32, tag = "2")]
    shard: u32,
}

impl From<Place> for PlaceOnWire {
    fn from(place: Place) -> Self {
        Self {
            node: place.node.0,
            shard: place.shard.into(),
        }
    }
}

impl PlaceOnWire {
    pub(super) fn read(&self) -> Option<Place> {
        Some(Place {
            node: consensus::ids::NodeId(self.node),
            shard: u8::try_from(self.shard).ok()?,
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Credentials {
    #[prost(string, tag = "1")]
    ufrag: String,
    #[prost(string, tag = "2")]
    pwd: String,
}

impl From<&IceCredentials> for Credentials {
    fn from(given: &IceCredentials) -> Self {
        Self {
            ufrag: given.ufrag.clone(),
            pwd: given.pwd.clone(),
        }
    }
}

impl Credentials {
    pub(super) fn read(self) -> IceCredentials {
        IceCredentials {
            ufrag: self.ufrag,
            pwd: self.pwd,
        }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Digest {
    #[prost(string, tag = "1")]
    algorithm: String,
    #[prost(bytes = "vec", tag = "2")]
    digest: Vec<u8>,
}

impl From<&Fingerprint> for Digest {
    fn from(given: &Fingerprint) -> Self {
        Self {
            algorithm: given.algorithm.clone(),
            digest: given.digest.clone(),
        }
    }
}

impl Digest {
    pub(super) fn read(self) -> Fingerprint {
        Fingerprint {
            algorithm: self.algorithm,
            digest: self.digest,
        }
    }
}

/// Of either side.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Candidate {
    #[prost(bool, tag = "1")]
    tcp: bool,
    #[prost(string, tag = "2")]
    address: String,
    #[prost(uint32, tag = "3")]
    priority: u32,
    #[prost(string, tag = "4")]
    foundation: String,
}

impl From<&RemoteCandidate> for Candidate {
    fn from(given: &RemoteCandidate) -> Self {
        Self {
            tcp: given.protocol == Protocol::Tcp,
            address: given.address.to_string(),
            priority: given.priority,
            foundation: String::new(),
        }
    }
}

impl From<&LocalCandidate> for Candidate {
    fn from(given: &LocalCandidate) -> Self {
        Self {
            tcp: given.protocol == Protocol::Tcp,
            address: given.address.to_string(),
            priority: given.priority,
            foundation: given.foundation.clone(),
        }
    }
}

fn protocol(tcp: bool) -> Protocol {
    match tcp {
        true => Protocol::Tcp,
        false => Protocol::Udp,
    }
}

impl Candidate {
    pub(super) fn remote(&self) -> Option<RemoteCandidate> {
        Some(RemoteCandidate {
            protocol: protocol(self.tcp),
            address: self.address.parse().ok()?,
            priority: self.priority,
        })
    }

    pub(super) fn local(self) -> Option<LocalCandidate> {
        Some(LocalCandidate {
            protocol: protocol(self.tcp),
            address: self.address.parse().ok()?,
            priority: self.priority,
            foundation: self.foundation,
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Remote {
    #[prost(message, optional, tag = "1")]
    ice: Option<Credentials>,
    #[prost(message, optional, tag = "2")]
    fingerprint: Option<Digest>,
    /// We send the ClientHello.
    #[prost(bool, tag = "3")]
    dtls_client: bool,
    #[prost(uint32, optional, tag = "4")]
    sctp_port: Option<u32>,
    #[prost(uint32, tag = "5")]
    sctp_message_bytes_max: u32,
    #[prost(message, repeated, tag = "6")]
    candidates: Vec<Candidate>,
}

impl From<&RemoteTransport> for Remote {
    fn from(given: &RemoteTransport) -> Self {
        Self {
            ice: Some((&given.ice).into()),
            fingerprint: Some((&given.fingerprint).into()),
            dtls_client: given.role == DtlsRole::Client,
            sctp_port: given.sctp.map(|sctp| sctp.port.into()),
            sctp_message_bytes_max: given.sctp.map_or(0, |sctp| sctp.max_message_size_bytes),
            candidates: given.candidates.iter().map(Candidate::from).collect(),
        }
    }
}

impl Remote {
    pub(super) fn read(self) -> Option<RemoteTransport> {
        let sctp = self.sctp_port.and_then(|port| u16::try_from(port).ok());
        Some(RemoteTransport {
            ice: self.ice?.read(),
            fingerprint: self.fingerprint?.read(),
            role: match self.dtls_client {
                true => DtlsRole::Client,
                false => DtlsRole::Server,
            },
            sctp: sctp.map(|port| SctpParameters {
                port,
                max_message_size_bytes: self.sctp_message_bytes_max,
            }),
            candidates: self
                .candidates
                .iter()
                .filter_map(Candidate::remote)
                .collect(),
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Payload {
    /// MIME type.
    #[prost(string, tag = "1")]
    codec: String,
    #[prost(uint32, tag = "2")]
    pt: u32,
    #[prost(uint32, optional, tag = "3")]
    rtx_pt: Option<u32>,
    #[prost(string, tag = "4")]
    fmtp: String,
    #[prost(bool, tag = "5")]
    nack: bool,
}

impl From<&PayloadType> for Payload {
    fn from(given: &PayloadType) -> Self {
        Self {
            codec: given.codec.mime().to_owned(),
            pt: given.pt.into(),
            rtx_pt: given.rtx_pt.map(u32::from),
            fmtp: given.fmtp.clone(),
            nack: given.nack,
        }
    }
}

impl Payload {
    fn read(self) -> Option<PayloadType> {
        Some(PayloadType {
            codec: Codec::from_mime(&self.codec)?,
            pt: u8::try_from(self.pt).ok()?,
            rtx_pt: self.rtx_pt.and_then(|pt| u8::try_from(pt).ok()),
            fmtp: self.fmtp,
            nack: self.nack,
        })
    }
}

pub(super) fn payloads(given: &[PayloadType]) -> Vec<Payload> {
    given.iter().map(Payload::from).collect()
}

/// A codec that only a newer node knows is left out.
pub(super) fn read_payloads(given: Vec<Payload>) -> Vec<PayloadType> {
    given.into_iter().filter_map(Payload::read).collect()
}

/// Ids of header extensions in an order of our own; 0 = not negotiated.
fn extensions(given: &Extensions) -> Vec<u8> {
    let ids = [
        given.mid,
        given.rid,
        given.repaired_rid,
        given.audio_level,
        given.transport_cc,
        given.abs_send_time,
        given.abs_capture_time,
        given.playout_delay,
        given.dependency_descriptor,
        given.frame_marking,
        given.video_orientation,
    ];
    ids.map(|id| id.unwrap_or(0)).to_vec()
}

fn read_extensions(ids: &[u8]) -> Extensions {
    let id = |at: usize| ids.get(at).copied().filter(|id| *id != 0);
    Extensions {
        mid: id(0),
        rid: id(1),
        repaired_rid: id(2),
        audio_level: id(3),
        transport_cc: id(4),
        abs_send_time: id(5),
        abs_capture_time: id(6),
        playout_delay: id(7),
        dependency_descriptor: id(8),
        frame_marking: id(9),
        video_orientation: id(10),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Ssrc {
    #[prost(uint32, tag = "1")]
    ssrc: u32,
    #[prost(uint32, optional, tag = "2")]
    repairs: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    layer: Option<u32>,
}

/// A section media is received on.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Receive {
    #[prost(string, tag = "1")]
    mid: String,
    #[prost(bool, tag = "2")]
    video: bool,
    #[prost(message, repeated, tag = "3")]
    payload_types: Vec<Payload>,
    #[prost(bytes = "vec", tag = "4")]
    extensions: Vec<u8>,
    #[prost(string, repeated, tag = "5")]
    rids: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    ssrcs: Vec<Ssrc>,
    #[prost(uint64, tag = "7")]
    track: u64,
}

fn kind(video: bool) -> MediaKind {
    match video {
        true => MediaKind::Video,
        false => MediaKind::Audio,
    }
}

impl From<&ReceiveSection> for Receive {
    fn from(given: &ReceiveSection) -> Self {
        let ssrc = |ssrc: &SsrcInfo| Ssrc {
            ssrc: ssrc.ssrc,
            repairs: ssrc.repairs,
            layer: ssrc.layer.map(u32::from),
        };
        Self {
            mid: given.mid.clone(),
            video: given.kind == MediaKind::Video,
            payload_types: payloads(&given.payload_types),
            extensions: extensions(&given.extensions),
            rids: given.rids.clone(),
            ssrcs: given.ssrcs.iter().map(ssrc).collect(),
            track: given.track.map_or(0, |track| bare(track.0)),
        }
    }
}

impl Receive {
    pub(super) fn read(self, number: u32) -> ReceiveSection {
        let ssrc = |ssrc: Ssrc| SsrcInfo {
            ssrc: ssrc.ssrc,
            repairs: ssrc.repairs,
            layer: ssrc.layer.and_then(|layer| u8::try_from(layer).ok()),
        };
        ReceiveSection {
            mid: self.mid,
            kind: kind(self.video),
            payload_types: read_payloads(self.payload_types).into(),
            extensions: read_extensions(&self.extensions),
            rids: self.rids,
            ssrcs: self.ssrcs.into_iter().map(ssrc).collect(),
            track: in_room(number, self.track).map(media::TrackKey),
        }
    }
}

/// A section a track is sent on.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Send {
    #[prost(string, tag = "1")]
    mid: String,
    #[prost(uint32, tag = "2")]
    ssrc: u32,
    #[prost(uint32, optional, tag = "3")]
    rtx_ssrc: Option<u32>,
    #[prost(message, repeated, tag = "4")]
    payload_types: Vec<Payload>,
    #[prost(bytes = "vec", tag = "5")]
    extensions: Vec<u8>,
}

impl From<&SendSection> for Send {
    fn from(given: &SendSection) -> Self {
        Self {
            mid: given.mid.clone(),
            ssrc: given.ssrc,
            rtx_ssrc: given.rtx_ssrc,
            payload_types: payloads(&given.payload_types),
            extensions: extensions(&given.extensions),
        }
    }
}

impl Send {
    pub(super) fn read(self) -> SendSection {
        SendSection {
            mid: self.mid,
            ssrc: self.ssrc,
            rtx_ssrc: self.rtx_ssrc,
            payload_types: read_payloads(self.payload_types).into(),
            extensions: read_extensions(&self.extensions),
        }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Track {
    #[prost(bool, tag = "1")]
    video: bool,
    /// All spatial layers in one stream.
    #[prost(bool, tag = "2")]
    one_stream: bool,
    #[prost(string, repeated, tag = "3")]
    rids: Vec<String>,
    #[prost(bool, tag = "4")]
    encrypted: bool,
    #[prost(bool, tag = "5")]
    screen_share: bool,
    #[prost(bool, tag = "6")]
    build_red: bool,
}

impl From<&TrackConfig> for Track {
    fn from(given: &TrackConfig) -> Self {
        Self {
            video: given.kind == MediaKind::Video,
            one_stream: given.layer_mode == LayerMode::OneStream,
            rids: given.rids.clone(),
            encrypted: given.encrypted,
            screen_share: given.screen_share,
            build_red: given.build_red,
        }
    }
}

impl Track {
    pub(super) fn read(self) -> TrackConfig {
        TrackConfig {
            kind: kind(self.video),
            layer_mode: match self.one_stream {
                true => LayerMode::OneStream,
                false => LayerMode::OneStreamPerLayer,
            },
            rids: self.rids,
            encrypted: self.encrypted,
            screen_share: self.screen_share,
            build_red: self.build_red,
        }
    }
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Limit {
    #[prost(uint32, tag = "1")]
    spatial: u32,
    #[prost(uint32, tag = "2")]
    temporal: u32,
}

impl From<LayerLimit> for Limit {
    fn from(given: LayerLimit) -> Self {
        Self {
            spatial: given.max_spatial.into(),
            temporal: given.max_temporal.into(),
        }
    }
}

impl Limit {
    pub(super) fn read(self) -> LayerLimit {
        let small = |value: u32| u8::try_from(value).unwrap_or(u8::MAX);
        LayerLimit {
            max_spatial: small(self.spatial),
            max_temporal: small(self.temporal),
        }
    }
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Policy {
    #[prost(bool, tag = "1")]
    enabled: bool,
    #[prost(bool, tag = "2")]
    may_pause: bool,
    #[prost(uint64, optional, tag = "3")]
    fixed_bps: Option<u64>,
}

impl From<BandwidthPolicy> for Policy {
    fn from(given: BandwidthPolicy) -> Self {
        Self {
            enabled: given.enabled,
            may_pause: given.may_pause,
            fixed_bps: given.fixed_bps,
        }
    }
}

impl Policy {
    pub(super) fn read(self) -> BandwidthPolicy {
        BandwidthPolicy {
            enabled: self.enabled,
            may_pause: self.may_pause,
            fixed_bps: self.fixed_bps,
        }
    }
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Delay {
    #[prost(uint32, tag = "1")]
    min_ms: u32,
    #[prost(uint32, tag = "2")]
    max_ms: u32,
}

impl From<PlayoutDelay> for Delay {
    fn from(given: PlayoutDelay) -> Self {
        Self {
            min_ms: given.min_ms,
            max_ms: given.max_ms,
        }
    }
}

impl Delay {
    pub(super) fn read(self) -> PlayoutDelay {
        PlayoutDelay {
            min_ms: self.min_ms,
            max_ms: self.max_ms,
        }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Route {
    #[prost(bool, tag = "1")]
    tcp: bool,
    #[prost(string, tag = "2")]
    local: String,
    #[prost(string, tag = "3")]
    remote: String,
}

impl From<Path> for Route {
    fn from(given: Path) -> Self {
        Self {
            tcp: given.protocol == Protocol::Tcp,
            local: given.local.to_string(),
            remote: given.remote.to_string(),
        }
    }
}

impl Route {
    pub(super) fn read(&self) -> Option<Path> {
        let address = |text: &str| text.parse::<SocketAddr>().ok();
        Some(Path {
            protocol: protocol(self.tcp),
            local: address(&self.local)?,
            remote: address(&self.remote)?,
        })
    }
}

/// What names a relayed track, and the place at the link's other end.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Relayed {
    #[prost(message, optional, tag = "1")]
    place: Option<PlaceOnWire>,
    #[prost(uint64, tag = "2")]
    id: u64,
}

impl Relayed {
    pub(super) fn new(place: Place, RelayId(id): RelayId) -> Self {
        let place = Some(place.into());
        Self { place, id }
    }

    pub(super) fn read(&self) -> Option<(Place, RelayId)> {
        Some((self.place.as_ref()?.read()?, RelayId(self.id)))
    }
}
