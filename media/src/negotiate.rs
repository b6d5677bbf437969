//! SDP of one peer connection: offers answered, offers made, sections bound to tracks. Pure and
//! synchronous; the participant's media core calls it at control rate and turns the results into
//! commands. It knows no sids, no signalling ids and no sockets.
//!
//! ```text
//! client offers: accept_offer → bind_receive, add_sender… → create_answer → receive/send_sections
//! we offer:      add_sender, remove_sender… → create_offer → accept_answer → send_section
//! ```

mod candidates;
mod contract;
mod quirks;

pub use candidates::{CandidateError, ParsedCandidate, format_candidate, parse_candidate};
pub use contract::{
    AnswerAccepted, Direction, EnabledCodec, LocalDescription, NegotiateError, NegotiatorConfig,
    OfferAccepted, OfferedSection, PeerRole, Placement, PublishPreferences, SectionsRequired,
    SenderConfig,
};
pub use quirks::{Client, ClientQuirks};

use crate::ids::{DownTrackKey, TrackKey};
use crate::types::{
    IceCredentials, LocalCandidate, MediaKind, ReceiveSection, RemoteTransport, SendSection,
};

/// The descriptions of one peer connection.
#[derive(Debug)]
pub struct Negotiator {
    config: NegotiatorConfig,
    ice: IceCredentials,
}

impl Negotiator {
    pub fn new(config: NegotiatorConfig) -> Self {
        let ice = IceCredentials {
            ufrag: String::new(),
            pwd: String::new(),
        };
        Self { config, ice }
    }

    /// Applies an offer of the client; `create_answer` must follow. On an error nothing changed.
    pub fn accept_offer(&mut self, sdp: &str) -> Result<OfferAccepted, NegotiateError> {
        let _ = sdp;
        Err(NegotiateError::WrongState("an offer"))
    }

    /// Claims a section the client sends on for a published track. Holds until the client stops
    /// sending on it, or `unbind_receive`.
    pub fn bind_receive(
        &mut self,
        mid: &str,
        track: TrackKey,
        preferences: PublishPreferences,
    ) -> Result<(), NegotiateError> {
        let _ = (mid, track, preferences);
        Err(NegotiateError::UnknownMid)
    }

    pub fn unbind_receive(&mut self, mid: &str) {
        let _ = mid;
    }

    /// Answers the offer accepted last.
    pub fn create_answer(&mut self) -> Result<LocalDescription, NegotiateError> {
        Err(NegotiateError::WrongState("an answer"))
    }

    /// Offers what the senders need (`Subscriber` only); one offer at a time. `ice_restart` changes
    /// [`Negotiator::local_ice`].
    pub fn create_offer(&mut self, ice_restart: bool) -> Result<LocalDescription, NegotiateError> {
        let _ = ice_restart;
        Err(NegotiateError::WrongState("an offer"))
    }

    /// Applies the client's answer to our offer. On an error nothing changed: the offer is still
    /// outstanding.
    pub fn accept_answer(&mut self, sdp: &str) -> Result<AnswerAccepted, NegotiateError> {
        let _ = sdp;
        Err(NegotiateError::WrongState("an answer"))
    }

    /// Forgets an offer whose answer will never come (the signalling broke); sections stay.
    pub fn roll_back_offer(&mut self) {}

    /// An offer of ours waits for its answer.
    pub fn offer_outstanding(&self) -> bool {
        false
    }

    /// Something changed that the client has not been told in a description.
    pub fn needs_negotiation(&self) -> bool {
        false
    }

    /// Wishes a track to be sent. Subscriber: takes a section at once. Single: takes one when the
    /// next answer is written.
    pub fn add_sender(&mut self, sender: SenderConfig) -> Placement {
        let _ = sender;
        Placement::NeedsSection
    }

    /// Takes the track back; its section is free for another one after the next negotiation.
    pub fn remove_sender(&mut self, id: DownTrackKey) {
        let _ = id;
    }

    /// Sections of the last offer that a sender of this kind could take (Single).
    pub fn free_sections(&self, kind: MediaKind) -> u32 {
        let _ = kind;
        0
    }

    /// `Some` while senders wait for an offer: the client must offer again, with so many more
    /// sections than it has (0/0: what it has suffices).
    pub fn sections_required(&self) -> Option<SectionsRequired> {
        None
    }

    /// All sections the client sends on, as negotiated last; for `Command::SetReceive`.
    pub fn receive_sections(&self) -> Vec<ReceiveSection> {
        Vec::new()
    }

    /// The section a sender was negotiated on, with the codecs the client takes, those of the
    /// source first; `None` before that, and when the client refused it.
    pub fn send_section(&self, id: DownTrackKey) -> Option<SendSection> {
        let _ = id;
        None
    }

    pub fn local_ice(&self) -> &IceCredentials {
        &self.ice
    }

    /// What the last remote description said.
    pub fn remote(&self) -> Option<&RemoteTransport> {
        None
    }

    /// Replaces the candidates of later descriptions (switch to TCP).
    pub fn set_candidates(&mut self, candidates: Vec<LocalCandidate>) {
        self.config.candidates = candidates;
    }

    /// `candidate:…` lines for trickling, in order of preference.
    pub fn trickle_candidates(&self) -> Vec<String> {
        Vec::new()
    }

    /// Mid of the first section: what trickled candidates name.
    pub fn first_mid(&self) -> &str {
        "0"
    }
}
