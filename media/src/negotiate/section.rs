//! What we know of one section between descriptions: who is bound to it and what was agreed on.
//! Decides when a section may carry another track.

use crate::ids::TrackKey;
use crate::types::{MediaKind, SsrcInfo};

use super::contract::{Direction, PublishPreferences, SenderConfig};
use super::header_extensions::Extension;
use super::payloads::Payloads;
use super::remote::SectionKind;

/// A track bound to a section we send on.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) config: SenderConfig,
    pub(super) ssrc: u32,
    pub(super) rtx_ssrc: u32,
    /// Part of the description that was written last.
    pub(super) described: bool,
    /// Agreed on: packets may flow.
    pub(super) live: bool,
}

/// A published track bound to a section we receive on.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) track: TrackKey,
    pub(super) preferences: PublishPreferences,
}

#[derive(Debug)]
pub(super) struct LocalSection {
    pub(super) mid: String,
    pub(super) kind: SectionKind,
    /// Port 0 on either side.
    pub(super) rejected: bool,
    /// The client's direction in its last description.
    pub(super) direction: Direction,
    pub(super) receiver: Option<Receiver>,
    pub(super) sender: Option<Sender>,
    /// The last description told of a track here: the client must see it go before the next one.
    pub(super) announced: bool,
    /// Carried a track once.
    pub(super) used: bool,
    /// We receive here, as agreed last.
    pub(super) receiving: bool,
    pub(super) receive_payloads: Payloads,
    pub(super) send_payloads: Payloads,
    pub(super) extensions: Vec<(u8, Extension)>,
    pub(super) rids: Vec<String>,
    pub(super) ssrcs: Vec<SsrcInfo>,
}

impl LocalSection {
    pub(super) fn new(mid: String, kind: SectionKind) -> Self {
        Self {
            mid,
            kind,
            rejected: false,
            direction: Direction::Inactive,
            receiver: None,
            sender: None,
            announced: false,
            used: false,
            receiving: false,
            receive_payloads: Payloads::default(),
            send_payloads: Payloads::default(),
            extensions: Vec::new(),
            rids: Vec::new(),
            ssrcs: Vec::new(),
        }
    }

    pub(super) fn is(&self, kind: MediaKind) -> bool {
        self.kind == SectionKind::Media(kind)
    }

    /// Another track may be bound: none is, and the client knows that none is.
    pub(super) fn is_vacant(&self, kind: MediaKind, reuse: bool) -> bool {
        self.is(kind)
            && !self.rejected
            && self.sender.is_none()
            && !self.announced
            && (reuse || !self.used)
    }

    /// Vacant, and the client is ready to receive on it.
    pub(super) fn is_free(&self, kind: MediaKind, reuse: bool) -> bool {
        self.is_vacant(kind, reuse) && self.direction.receives()
    }

    pub(super) fn bind_sender(&mut self, config: SenderConfig, ssrc: u32, rtx_ssrc: u32) {
        self.used = true;
        self.sender = Some(Sender {
            config,
            ssrc,
            rtx_ssrc,
            described: false,
            live: false,
        });
    }

    /// The client does not know of what is bound here, or not yet that it is gone.
    pub(super) fn is_stale(&self) -> bool {
        match &self.sender {
            Some(sender) => !sender.described,
            None => self.announced,
        }
    }

    /// A description that says what is bound here now is about to leave.
    pub(super) fn mark_described(&mut self) {
        self.announced = self.sender.is_some();
        if let Some(sender) = &mut self.sender {
            sender.described = true;
        }
    }
}
