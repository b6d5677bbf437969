//! What goes in and out of a [`super::Negotiator`]: its configuration, the caller's wishes for
//! sections, and what a description of the peer turned out to say. No behaviour.

use crate::ids::{DownTrackKey, TrackKey};
use crate::types::{
    Codec, Fingerprint, IceCredentials, LocalCandidate, MediaKind, RemoteTransport,
};

use super::quirks::ClientQuirks;

/// Who offers, and which way media goes, as seen from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerRole {
    /// The client offers and sends (`/rtc`, publisher connection; WHIP).
    Publisher,
    /// We offer and send (`/rtc`, subscriber connection).
    Subscriber,
    /// The client offers, both directions (`/rtc/v1`).
    Single,
}

/// A codec the room enables, optionally narrowed to one format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnabledCodec {
    pub codec: Codec,
    /// `room.enabled_codecs[].fmtp_line`; empty = every format of the codec.
    pub fmtp: String,
}

impl From<Codec> for EnabledCodec {
    fn from(codec: Codec) -> Self {
        Self {
            codec,
            fmtp: String::new(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct NegotiatorConfig {
    pub role: PeerRole,
    /// What the client may send.
    pub publish_codecs: Vec<EnabledCodec>,
    /// What the client may be sent.
    pub subscribe_codecs: Vec<EnabledCodec>,
    /// `video/rtx` is enabled: retransmissions go on their own SSRC (RFC 4588).
    pub retransmission: bool,
    /// Estimate the downstream bandwidth ourselves from transport-wide feedback, where the client
    /// gives it; REMB stays on offer for those that do not.
    pub send_side_bandwidth: bool,
    /// Negotiate the playout-delay extension with subscribers.
    pub playout_delay: bool,
    pub fingerprint: Fingerprint,
    /// Written into every description; [`super::Negotiator::set_candidates`] replaces them.
    pub candidates: Vec<LocalCandidate>,
    pub quirks: ClientQuirks,
    /// First character of every local username fragment: names the shard to the workers.
    pub ufrag_prefix: Option<char>,
    /// Seed of ICE credentials, the session id and SSRCs.
    pub seed: [u8; 32],
}

/// Which way media goes in a section, as seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    /// The client sends media here.
    pub fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// The client receives media here.
    pub fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }
}

/// An audio or video section of the client's offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedSection {
    pub mid: String,
    pub kind: MediaKind,
    /// As the client offered it; a rejected section (port 0) is `Inactive`.
    pub direction: Direction,
    /// Track id of `a=msid`: the client's `cid`, where the client controls it.
    pub track_id: Option<String>,
    pub stream_id: Option<String>,
    /// In the order of SDP, pause marks stripped; empty without RID simulcast.
    pub rids: Vec<String>,
    /// Known codecs as offered, most preferred first, without repetition.
    pub codecs: Vec<Codec>,
    /// Bound by [`super::Negotiator::bind_receive`] in an earlier round.
    pub track: Option<TrackKey>,
}

/// What an accepted offer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferAccepted {
    /// The client restarts ICE: [`super::Negotiator::local_ice`] has changed too.
    pub ice_restart: bool,
    pub remote: RemoteTransport,
    /// Audio and video sections, in the order of SDP.
    pub sections: Vec<OfferedSection>,
    /// The offer has an application section (data channels).
    pub has_data: bool,
}

/// What an offer says before anybody answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferSummary {
    pub ice: IceCredentials,
    /// Audio and video sections, in the order of SDP.
    pub sections: Vec<OfferedSection>,
    /// Mids of sections whose Opus is sent in stereo.
    pub stereo: Vec<String>,
}

/// A local description with what it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalDescription {
    pub sdp: String,
    /// `mid_to_track_id` before sids: the down track every sending section carries.
    pub senders: Vec<(String, DownTrackKey)>,
}

/// What an accepted answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerAccepted {
    pub remote: RemoteTransport,
    /// Senders whose section the client rejected (port 0) or does not receive.
    pub refused: Vec<DownTrackKey>,
}

/// How a publisher wants its section answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishPreferences {
    /// `stereo=1;maxaveragebitrate=510000` in the answer's Opus parameters.
    pub stereo: bool,
    /// `usedtx=1` in the answer's Opus parameters.
    pub dtx: bool,
    /// RED first, if offered; otherwise RED is left out.
    pub red: bool,
    /// The codec announced by AddTrack goes first, so that the client sends it.
    pub codec: Option<Codec>,
}

impl Default for PublishPreferences {
    fn default() -> Self {
        Self {
            stereo: false,
            dtx: true,
            red: true,
            codec: None,
        }
    }
}

/// A track on its way to this client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderConfig {
    pub id: DownTrackKey,
    pub kind: MediaKind,
    /// Codecs of the source, primary first.
    pub codecs: Vec<Codec>,
    /// `PA_x|TR_y` (or `PA_x|camera`): first half of `a=msid`, and the CNAME.
    pub stream_id: String,
    /// `TR_y`: second half of `a=msid`.
    pub track_id: String,
    /// The source is stereo: `sprop-stereo=1`.
    pub stereo: bool,
}

/// Where a new sender ended up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// A section is there: the next description carries the track.
    Ready,
    /// Single connection: every section of this kind is taken. Ask the client for one
    /// ([`super::Negotiator::sections_required`]); the sender takes it when the offer comes.
    NeedsSection,
    /// The connection sends nothing (`Publisher`) or has as many sections as it may have.
    Unavailable,
}

/// Sections a single-connection client has to add before all senders have one: the fields of
/// LiveKit's `media_sections_requirement`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SectionsRequired {
    pub audios: u32,
    pub videos: u32,
}

/// Why a description was refused. The connection goes on as if it had not come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NegotiateError {
    #[error("not a session description: {0}")]
    Malformed(&'static str),
    #[error("session description of more than {limit} {what}")]
    TooLarge { what: &'static str, limit: usize },
    #[error("section {0} has no ICE credentials")]
    NoIce(usize),
    #[error("no usable fingerprint")]
    NoFingerprint,
    #[error("sections that do not share one transport (BUNDLE)")]
    NotBundled,
    #[error("sections changed their order, number or kind since the last description")]
    SectionsChanged,
    #[error("{0} is not possible now")]
    WrongState(&'static str),
    #[error("no section with this mid")]
    UnknownMid,
}
