//! The receiving side of one transport: which SSRC belongs to which track and layer, learned from
//! SDP or from MID and RID extensions (RFC 8843, RFC 8852), and the arrival times a publisher is
//! told.

use std::time::Instant;

use crate::fast_hash::FastMap;
use crate::limits::{SECTIONS_MAX, SSRCS_MAX};
use crate::rtcp::transport_feedback::ArrivalRecorder;
use crate::rtp::{ExtensionMap, HeaderExtensions, RtpHeader};
use crate::slab::Slab;
use crate::types::{MediaKind, ReceiveSection};
use crate::upstream::UpTrack;
use crate::upstream::parked::Parked;

/// What an SSRC carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) track: u32,
    pub(crate) layer: u8,
    /// Retransmissions of the layer (RFC 4588).
    pub(crate) repair: bool,
}

/// What another node had learned an SSRC to be. Clients stop naming section and layer once they
/// know that it was understood, so nobody could learn it anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) ssrc: u32,
    pub(crate) mid: String,
    pub(crate) layer: u8,
    pub(crate) repair: bool,
    pub(crate) video: bool,
}

#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) extensions: ExtensionMap,
    sections: Vec<ReceiveSection>,
    /// Track of each section; `None` while it is not known.
    tracks: Vec<Option<u32>>,
    bindings: FastMap<u32, Binding>,
    /// Bindings of another node, until their sections have tracks here.
    pub(crate) remembered: Vec<Received>,
    pub(crate) parked: Parked,
    pub(crate) arrivals: ArrivalRecorder,
    /// The publisher adjusts to REMB instead of transport-wide feedback.
    pub(crate) wants_remb: bool,
}

impl Receiver {
    pub(crate) fn new(now: Instant) -> Receiver {
        Receiver {
            extensions: ExtensionMap::default(),
            sections: Vec::new(),
            tracks: Vec::new(),
            bindings: FastMap::default(),
            remembered: Vec::new(),
            parked: Parked::default(),
            arrivals: ArrivalRecorder::new(now),
            wants_remb: false,
        }
    }

    pub(crate) fn set_sections(&mut self, mut sections: Vec<ReceiveSection>) {
        sections.truncate(SECTIONS_MAX);
        self.extensions = ExtensionMap::default();
        for section in &sections {
            self.extensions.merge(&section.extensions);
        }
        self.wants_remb = sections.iter().all(|s| s.extensions.transport_cc.is_none())
            && sections
                .iter()
                .any(|s| s.extensions.abs_send_time.is_some());
        self.sections = sections;
    }

    /// Connects sections with tracks after either changed. `find` gives the index of a section's
    /// track if it exists on this transport.
    pub(crate) fn rebind(
        &mut self,
        tracks: &mut Slab<UpTrack>,
        find: impl Fn(&ReceiveSection) -> Option<u32>,
    ) {
        self.tracks = self.sections.iter().map(find).collect();
        let known = &self.tracks;
        self.bindings
            .retain(|_, binding| known.contains(&Some(binding.track)));
        for (section, index) in self.sections.iter().zip(&self.tracks) {
            let Some(index) = *index else { continue };
            let Some(track) = tracks.get_mut(index) else {
                continue;
            };
            track.payload_types.clone_from(&section.payload_types);
            let numbers = section.ssrcs.iter().filter_map(|info| info.layer);
            track.announced_layers = numbers.max().map_or(0, |highest| highest + 1);
            bind_announced(&mut self.bindings, section, index);
            self.remembered.retain(|known| {
                let fits = known.mid == section.mid;
                if fits && self.bindings.len() < SSRCS_MAX {
                    let binding = Binding {
                        track: index,
                        layer: known.layer,
                        repair: known.repair,
                    };
                    self.bindings.insert(known.ssrc, binding);
                }
                !fits
            });
        }
    }

    /// What is known of SSRCs, in their order.
    pub(crate) fn received(&self) -> Vec<Received> {
        let of = |(ssrc, binding): (&u32, &Binding)| {
            let at = self.tracks.iter().position(|t| *t == Some(binding.track))?;
            let section = self.sections.get(at)?;
            Some(Received {
                ssrc: *ssrc,
                mid: section.mid.clone(),
                layer: binding.layer,
                repair: binding.repair,
                video: section.kind == MediaKind::Video,
            })
        };
        let mut received: Vec<Received> = self.bindings.iter().filter_map(of).collect();
        received.extend(self.remembered.iter().cloned());
        received.sort_unstable_by_key(|known| known.ssrc);
        received
    }

    pub(crate) fn forget_track(&mut self, track: u32) {
        self.bindings.retain(|_, binding| binding.track != track);
        for slot in &mut self.tracks {
            if *slot == Some(track) {
                *slot = None;
            }
        }
    }

    pub(crate) fn binding(&self, ssrc: u32) -> Option<Binding> {
        self.bindings.get(&ssrc).copied()
    }

    /// Finds out what a packet of an unknown SSRC belongs to and remembers it.
    pub(crate) fn learn(
        &mut self,
        header: &RtpHeader,
        extensions: &HeaderExtensions,
        packet: &[u8],
        tracks: &Slab<UpTrack>,
    ) -> Option<Binding> {
        let section = self.section_of(header, extensions.mid.of(packet))?;
        let index = (*self.tracks.get(section)?)?;
        let section = self.sections.get(section)?;
        let track = tracks.get(index)?;
        let rid = extensions.rid.of(packet);
        let repaired = extensions.repaired_rid.of(packet);
        let repair = section
            .payload_types
            .iter()
            .any(|pt| pt.rtx_pt == Some(header.payload_type));
        let partner = section.ssrcs.iter().find(|info| info.ssrc == header.ssrc);
        let partner = partner.and_then(|info| self.bindings.get(&info.repairs?));
        let layer = match (rid.is_empty(), repaired.is_empty()) {
            // SDP says whose repairs these are, and that one is known by now (Firefox).
            (true, true) if partner.is_some() => partner?.layer,
            (_, false) => track.layer_of_rid(repaired)?,
            (false, true) => track.layer_of_rid(rid)?,
            (true, true) if track.config.rids.len() < 2 => 0,
            _ => return None, // simulcast without a RID says nothing
        };
        let binding = Binding {
            track: index,
            layer,
            repair,
        };
        if self.bindings.len() >= SSRCS_MAX {
            return None;
        }
        self.bindings.insert(header.ssrc, binding);
        Some(binding)
    }

    /// By MID; without one, by a payload type that only one section has (RFC 8843 §9.2).
    fn section_of(&self, header: &RtpHeader, mid: &[u8]) -> Option<usize> {
        if !mid.is_empty() {
            return self.sections.iter().position(|s| s.mid.as_bytes() == mid);
        }
        let mut fitting = self.sections.iter().enumerate().filter(|(_, section)| {
            section.payload_types.iter().any(|known| {
                known.pt == header.payload_type || known.rtx_pt == Some(header.payload_type)
            })
        });
        let (only, _) = fitting.next()?;
        fitting.next().is_none().then_some(only)
    }
}

/// SSRCs of SDP. Firefox announces the SSRCs of RID layers too, without saying which is which:
/// those are learned from their packets.
fn bind_announced(bindings: &mut FastMap<u32, Binding>, section: &ReceiveSection, track: u32) {
    let layer_of = |ssrc: u32| {
        let info = section.ssrcs.iter().find(|info| info.ssrc == ssrc)?;
        if section.rids.len() > 1 && info.layer.is_none() {
            return None;
        }
        Some(info.layer.unwrap_or(0))
    };
    for info in &section.ssrcs {
        let Some(layer) = layer_of(info.repairs.unwrap_or(info.ssrc)) else {
            continue;
        };
        if bindings.len() >= SSRCS_MAX {
            return;
        }
        bindings.insert(
            info.ssrc,
            Binding {
                track,
                layer,
                repair: info.repairs.is_some(),
            },
        );
    }
}
