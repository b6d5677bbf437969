//! Which layer of a track a subscriber gets. Decides from limits and from what is alive; the switch
//! itself happens on a key frame. A stream that carries several layers (VP9/AV1 SVC) is layer 0
//! here and has `SvcSelector` choose inside it.

use crate::downstream::svc_selector::{SvcSelector, Verdict};
use crate::rtp::FrameInfo;
use crate::rtp::dependency_structure::StructureState;
use crate::types::{LayerLimit, LayerMode, MediaKind, TrackConfig};
use crate::upstream::LAYER_NONE;

#[derive(Debug)]
pub(crate) struct LayerSelector {
    simulcast: bool,
    audio: bool,
    limit: LayerLimit,
    paused: bool,
    /// Layers packets arrive on, bit per layer.
    live: u8,
    pub(crate) current: u8,
    pub(crate) target: u8,
    /// Present for streams that carry several layers.
    svc: Option<SvcSelector>,
}

impl LayerSelector {
    pub(crate) fn new(config: &TrackConfig, limit: LayerLimit, paused: bool) -> LayerSelector {
        let one_stream =
            config.kind == MediaKind::Video && config.layer_mode == LayerMode::OneStream;
        LayerSelector {
            simulcast: config.layer_mode == LayerMode::OneStreamPerLayer && config.rids.len() > 1,
            audio: config.kind == MediaKind::Audio,
            limit,
            paused,
            live: 0,
            current: LAYER_NONE,
            target: LAYER_NONE,
            svc: one_stream.then(SvcSelector::default),
        }
    }

    pub(crate) fn set_limit(&mut self, limit: LayerLimit, paused: bool) {
        if paused && !self.paused {
            self.current = LAYER_NONE;
        }
        (self.limit, self.paused) = (limit, paused);
    }

    pub(crate) fn max_temporal(&self) -> u8 {
        self.limit.max_temporal
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// The same wishes for another track.
    pub(crate) fn for_source(&self, config: &TrackConfig) -> LayerSelector {
        LayerSelector::new(config, self.limit, self.paused)
    }

    /// The layer a subscriber means when it asks for a key frame.
    pub(crate) fn key_frame_layer(&self) -> Option<u8> {
        [self.current, self.target]
            .into_iter()
            .find(|layer| *layer != LAYER_NONE)
    }

    /// Chooses the target anew. Call after anything changed.
    pub(crate) fn update(&mut self, live: u8, muted: bool) {
        self.live = live;
        if self.paused || muted {
            (self.current, self.target) = (LAYER_NONE, LAYER_NONE);
            return;
        }
        if !self.simulcast {
            self.target = 0;
            if self.audio {
                self.current = 0; // every audio packet is a place to start
            }
            return;
        }
        let within = live & mask_up_to(self.limit.max_spatial);
        self.target = match (within, live) {
            // The best one allowed; else the smallest there is, rather than nothing.
            (1.., _) => 7 - within.leading_zeros() as u8,
            (0, 1..) => live.trailing_zeros() as u8,
            (0, 0) => self.limit.max_spatial,
        };
    }

    /// Layers whose next key frame is switched to, bit per layer.
    pub(crate) fn accept(&self) -> u8 {
        if self.target == LAYER_NONE || self.current == self.target {
            return 0;
        }
        if !self.simulcast {
            return 1;
        }
        if self.current == LAYER_NONE {
            // Anything allowed will do to begin with.
            return mask_up_to(self.target);
        }
        if self.current < self.target {
            mask_up_to(self.target) & !mask_up_to(self.current)
        } else {
            1 << self.target
        }
    }

    /// The layer a key frame is missing of.
    pub(crate) fn wanted_key_frame(&self) -> Option<u8> {
        let inside = self.svc.is_some_and(|svc| svc.wants_key_frame(self.limit));
        let missing = self.current != self.target || inside;
        (self.target != LAYER_NONE && missing).then_some(self.target)
    }

    /// Whether a packet of the current layer is for this subscriber.
    pub(crate) fn judge(&mut self, frame: &FrameInfo, structure: &StructureState) -> Verdict {
        match &mut self.svc {
            Some(svc) => svc.judge(frame, structure, self.limit),
            None => Verdict::Keep {
                ends_picture: false,
            },
        }
    }

    pub(crate) fn switched(&mut self, layer: u8) {
        self.current = layer;
    }
}

fn mask_up_to(layer: u8) -> u8 {
    ((1u16 << (u16::from(layer.min(7)) + 1)) - 1) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simulcast(max_spatial: u8) -> LayerSelector {
        let config = TrackConfig {
            kind: MediaKind::Video,
            layer_mode: LayerMode::OneStreamPerLayer,
            rids: ["q", "h", "f"].map(String::from).to_vec(),
            encrypted: false,
            screen_share: false,
        };
        let limit = LayerLimit {
            max_spatial,
            max_temporal: 3,
        };
        LayerSelector::new(&config, limit, false)
    }

    #[test]
    fn the_best_live_layer_within_the_limit_is_the_target() {
        let mut selector = simulcast(1);
        selector.update(0b111, false);
        assert_eq!((selector.target, selector.accept()), (1, 0b011));
        selector.switched(0);
        assert_eq!(
            (selector.accept(), selector.wanted_key_frame()),
            (0b010, Some(1))
        );
        selector.switched(1);
        assert_eq!((selector.accept(), selector.wanted_key_frame()), (0, None));
    }

    #[test]
    fn a_layer_that_dies_is_left_for_a_living_one() {
        let mut selector = simulcast(2);
        selector.update(0b111, false);
        selector.switched(2);
        selector.update(0b011, false);
        assert_eq!((selector.target, selector.accept()), (1, 0b010));
        selector.switched(1);
        selector.update(0b111, false);
        assert_eq!(
            selector.wanted_key_frame(),
            Some(2),
            "back up when it returns"
        );
    }

    #[test]
    fn too_high_is_better_than_nothing() {
        let mut selector = simulcast(0);
        selector.update(0b100, false);
        assert_eq!((selector.target, selector.accept()), (2, 0b111));
    }

    #[test]
    fn a_paused_or_muted_track_wants_nothing() {
        let mut selector = simulcast(2);
        selector.update(0b111, false);
        selector.switched(2);
        selector.update(0b111, true);
        assert_eq!((selector.current, selector.accept()), (LAYER_NONE, 0));
        selector.set_limit(LayerLimit::HIGHEST, true);
        selector.update(0b111, false);
        assert_eq!((selector.accept(), selector.wanted_key_frame()), (0, None));
    }
}
