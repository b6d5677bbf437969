//! A negotiator as plain values: what another node needs so that the next description goes on from
//! the last one, with the same sections, numbers and SSRCs. What follows from the configuration is
//! not in it. The participant's media core writes it down and reads it back.

use rand::SeedableRng as _;
use rand_chacha::ChaCha12Rng;

use crate::ids::TrackKey;
use crate::limits::{SDP_MAX_SECTIONS, SDP_MAX_WAITING_SENDERS};
use crate::types::{Fingerprint, IceCredentials, PayloadType, RemoteTransport, SsrcInfo};

use super::Negotiator;
use super::codecs::{Format, Payload};
use super::contract::{Direction, NegotiatorConfig, PublishPreferences, SenderConfig};
use super::header_extensions::Extension;
use super::payloads::Payloads;
use super::remote::SectionKind;
use super::section::{LocalSection, Receiver, Sender};

/// See the file header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NegotiatorImage {
    pub session_id: u64,
    /// Of the last description of ours.
    pub version: u64,
    pub ice: IceCredentials,
    /// The one the client was told.
    pub fingerprint: Fingerprint,
    /// What the client said last, without its candidates.
    pub remote: Option<RemoteTransport>,
    /// Number of sections in an offer of ours that waits for its answer.
    pub outstanding: Option<usize>,
    pub sections: Vec<SectionImage>,
    /// Senders without a section, oldest first.
    pub waiting: Vec<SenderConfig>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionImage {
    pub mid: String,
    pub kind: SectionKind,
    pub rejected: bool,
    pub direction: Direction,
    pub receiver: Option<(TrackKey, PublishPreferences)>,
    pub sender: Option<SenderImage>,
    pub announced: bool,
    pub used: bool,
    pub receiving: bool,
    pub receive_payloads: Vec<PayloadType>,
    pub send_payloads: Vec<PayloadType>,
    /// Number and `Extension`, by its place in the list of all.
    pub extensions: Vec<(u8, u8)>,
    pub rids: Vec<String>,
    pub ssrcs: Vec<SsrcInfo>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderImage {
    pub config: SenderConfig,
    pub ssrc: u32,
    pub rtx_ssrc: u32,
    pub described: bool,
    pub live: bool,
}

/// What becomes of the transport under a thawed negotiator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThawKind {
    /// It goes on: same credentials and fingerprint.
    Warm,
    /// There is a new one: the client has to restart ICE, and finds another fingerprint.
    Cold,
}

impl Negotiator {
    pub fn image(&self) -> NegotiatorImage {
        let remote = self.remote.clone().map(|remote| RemoteTransport {
            candidates: Vec::new(),
            ..remote
        });
        NegotiatorImage {
            session_id: self.session_id,
            version: self.version,
            ice: self.ice.clone(),
            fingerprint: self.config.fingerprint.clone(),
            remote,
            outstanding: self.outstanding,
            sections: self.sections.iter().map(section_image).collect(),
            waiting: self.waiting.clone(),
        }
    }

    /// Goes on from an image. `config.seed` must be new: what is drawn from it is not what the
    /// frozen one drew. Of `config`, a warm one has its image's fingerprint.
    pub fn thaw(mut config: NegotiatorConfig, image: NegotiatorImage, kind: ThawKind) -> Self {
        if kind == ThawKind::Warm {
            config.fingerprint = image.fingerprint;
        }
        let mut negotiator = Self {
            rng: ChaCha12Rng::from_seed(config.seed),
            config,
            session_id: image.session_id,
            version: image.version,
            ice: image.ice,
            remote: image.remote,
            offer: None,
            outstanding: image.outstanding,
            sections: Vec::new(),
            waiting: image.waiting,
        };
        let sections = image.sections.into_iter().take(SDP_MAX_SECTIONS);
        negotiator.sections = sections.map(local_section).collect();
        negotiator.waiting.truncate(SDP_MAX_WAITING_SENDERS);
        if kind == ThawKind::Cold {
            negotiator.ice = negotiator.fresh_ice();
            negotiator.remote = None;
            negotiator.roll_back_offer();
        }
        negotiator
    }
}

fn section_image(section: &LocalSection) -> SectionImage {
    let receiver = section.receiver.as_ref();
    let sender = section.sender.as_ref();
    let extensions = section.extensions.iter();
    SectionImage {
        mid: section.mid.clone(),
        kind: section.kind,
        rejected: section.rejected,
        direction: section.direction,
        receiver: receiver.map(|receiver| (receiver.track, receiver.preferences.clone())),
        sender: sender.map(|sender| SenderImage {
            config: sender.config.clone(),
            ssrc: sender.ssrc,
            rtx_ssrc: sender.rtx_ssrc,
            described: sender.described,
            live: sender.live,
        }),
        announced: section.announced,
        used: section.used,
        receiving: section.receiving,
        receive_payloads: section.receive_payloads.types().to_vec(),
        send_payloads: section.send_payloads.types().to_vec(),
        extensions: extensions
            .map(|(number, extension)| (*number, extension.place()))
            .collect(),
        rids: section.rids.clone(),
        ssrcs: section.ssrcs.clone(),
    }
}

fn local_section(image: SectionImage) -> LocalSection {
    let receiver = |(track, preferences)| Receiver { track, preferences };
    let sender = |sender: SenderImage| Sender {
        config: sender.config,
        ssrc: sender.ssrc,
        rtx_ssrc: sender.rtx_ssrc,
        described: sender.described,
        live: sender.live,
    };
    let payloads = |types: Vec<PayloadType>| Payloads::of(types.into_iter().map(payload).collect());
    let extensions = image.extensions.into_iter();
    LocalSection {
        receiver: image.receiver.map(receiver),
        sender: image.sender.map(sender),
        rejected: image.rejected,
        direction: image.direction,
        announced: image.announced,
        used: image.used,
        receiving: image.receiving,
        receive_payloads: payloads(image.receive_payloads),
        send_payloads: payloads(image.send_payloads),
        extensions: extensions
            .filter_map(|(number, place)| Some((number, Extension::at(place)?)))
            .collect(),
        rids: image.rids,
        ssrcs: image.ssrcs,
        ..LocalSection::new(image.mid, image.kind)
    }
}

/// What else a payload has is worked out anew with every description.
fn payload(payload: PayloadType) -> Payload {
    let codec = payload.codec;
    let name = codec.mime().rsplit('/').next().unwrap_or_default();
    Payload {
        codec,
        rtx_pt: payload.rtx_pt,
        format: Format {
            pt: payload.pt,
            name: name.to_owned(),
            clock_rate_hz: codec.clock_rate_hz(),
            channels: 1,
            fmtp: payload.fmtp,
            feedback: payload.nack.then_some("nack").into_iter().collect(),
        },
    }
}
