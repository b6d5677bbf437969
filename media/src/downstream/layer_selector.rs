//! Which layer of a track a subscriber gets. Decides from limits and from what is alive; the switch
//! itself happens on a key frame. A stream that carries several layers (VP9/AV1 SVC) is layer 0
//! here and has `SvcSelector` choose inside it.

use crate::downstream::svc_selector::{SvcSelector, Verdict};
use crate::quality::Flow;
use crate::rtp::FrameInfo;
use crate::rtp::dependency_structure::StructureState;
use crate::types::{LayerLimit, LayerMode, MediaKind, TrackConfig};
use crate::upstream::LAYER_NONE;

/// What the subscriber's bandwidth leaves of a track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// Everything it asks for.
    #[default]
    All,
    UpTo(LayerLimit),
    /// Nothing: it waits for bandwidth.
    Paused,
}

#[derive(Debug)]
pub(crate) struct LayerSelector {
    simulcast: bool,
    audio: bool,
    /// What the subscriber wants.
    limit: LayerLimit,
    paused: bool,
    pub(crate) allowance: Allowance,
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
            allowance: Allowance::All,
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

    /// What the subscriber wants, whatever its bandwidth.
    pub(crate) fn wanted(&self) -> Option<LayerLimit> {
        (!self.paused).then_some(self.limit)
    }

    /// Sets what bandwidth leaves. `stop`: do not wait for a smaller layer's key frame, nothing of
    /// the current one gets through.
    pub(crate) fn allow(&mut self, allowance: Allowance, stop: bool) {
        self.allowance = allowance;
        let above = self.current != LAYER_NONE && self.current > self.bounds().max_spatial;
        if stop && self.simulcast && above || allowance == Allowance::Paused {
            self.current = LAYER_NONE;
        }
    }

    /// What is sent at most.
    fn bounds(&self) -> LayerLimit {
        match self.allowance {
            Allowance::UpTo(most) => LayerLimit {
                max_spatial: self.limit.max_spatial.min(most.max_spatial),
                max_temporal: self.limit.max_temporal.min(most.max_temporal),
            },
            _ => self.limit,
        }
    }

    pub(crate) fn max_temporal(&self) -> u8 {
        let bounds = self.bounds();
        match self.simulcast && self.current != LAYER_NONE && self.current > bounds.max_spatial {
            // On the way down to a smaller picture every frame that can be left out is.
            true if self.allowance != Allowance::All => 0,
            _ => bounds.max_temporal,
        }
    }

    /// Highest spatial layer the subscriber wants.
    pub(crate) fn wanted_spatial(&self) -> Option<u8> {
        (!self.paused).then_some(self.limit.max_spatial)
    }

    pub(crate) fn flow(&self, muted: bool) -> Flow {
        match (self.paused || muted, self.allowance) {
            (true, _) => Flow::Muted,
            (false, Allowance::Paused) => Flow::Paused,
            (false, _) => Flow::On,
        }
    }

    /// Layers between what the subscriber wants of those there are and what it gets.
    pub(crate) fn missing_layers(&self) -> u8 {
        if let Some(svc) = &self.svc {
            return svc.missing_layers(self.limit);
        }
        let within = self.live & mask_up_to(self.limit.max_spatial);
        if !self.simulcast || self.is_paused() || within == 0 {
            return 0;
        }
        let best = 7 - within.leading_zeros() as u8;
        match self.current {
            LAYER_NONE => best + 1,
            current => best.saturating_sub(current),
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused || self.allowance == Allowance::Paused
    }

    /// The same wishes for another track.
    pub(crate) fn for_source(&self, config: &TrackConfig) -> LayerSelector {
        LayerSelector {
            allowance: self.allowance,
            ..LayerSelector::new(config, self.limit, self.paused)
        }
    }

    /// The layer a subscriber means when it asks for a key frame.
    pub(crate) fn key_frame_layer(&self) -> Option<u8> {
        [self.current, self.target]
            .into_iter()
            .find(|layer| *layer != LAYER_NONE)
    }

    /// Whether layers are streams of their own may only show when they are negotiated.
    pub(crate) fn set_simulcast(&mut self, simulcast: bool) {
        self.simulcast = simulcast;
    }

    /// Several layers in one stream.
    pub(crate) fn is_svc(&self) -> bool {
        self.svc.is_some()
    }

    /// Chooses the target anew. Call after anything changed.
    pub(crate) fn update(&mut self, live: u8, muted: bool) {
        self.live = live;
        if self.is_paused() || muted {
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
        let most = self.bounds().max_spatial;
        let within = live & mask_up_to(most);
        self.target = match (within, live) {
            // The best one allowed; else the smallest there is, rather than nothing.
            (1.., _) => 7 - within.leading_zeros() as u8,
            (0, 1..) => live.trailing_zeros() as u8,
            (0, 0) => most,
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
        let bounds = self.bounds();
        let inside = self.svc.is_some_and(|svc| svc.wants_key_frame(bounds));
        let missing = self.current != self.target || inside;
        (self.target != LAYER_NONE && missing).then_some(self.target)
    }

    /// Layers a relay must bring for this subscriber, bit per layer.
    pub(crate) fn needs(&self) -> u8 {
        // What a stream of several layers costs is known only while it arrives.
        let waits = u8::from(self.svc.is_some() && !self.paused);
        let begins = match self.current {
            LAYER_NONE => self.accept(),
            _ => 0,
        };
        [self.current, self.target]
            .into_iter()
            .filter(|layer| *layer != LAYER_NONE)
            .fold(waits | begins, |mask, layer| mask | 1 << layer)
    }

    /// Whether a packet of the current layer is for this subscriber.
    pub(crate) fn judge(&mut self, frame: &FrameInfo, structure: &StructureState) -> Verdict {
        let bounds = self.bounds();
        match &mut self.svc {
            Some(svc) => svc.judge(frame, structure, bounds),
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
            build_red: false,
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
    fn bandwidth_bounds_the_layer_and_too_much_of_one_stops_at_once() {
        let mut selector = simulcast(2);
        selector.update(0b111, false);
        selector.switched(2);
        let most = LayerLimit {
            max_spatial: 0,
            max_temporal: 3,
        };
        selector.allow(Allowance::UpTo(most), false);
        selector.update(0b111, false);
        assert_eq!((selector.current, selector.accept()), (2, 0b001));
        assert_eq!(selector.max_temporal(), 0, "fewer frames until then");
        selector.allow(Allowance::UpTo(most), true);
        selector.update(0b111, false);
        assert_eq!((selector.current, selector.accept()), (LAYER_NONE, 0b001));
        selector.switched(0);
        assert_eq!(selector.max_temporal(), 3);
        selector.allow(Allowance::Paused, false);
        selector.update(0b111, false);
        assert_eq!((selector.accept(), selector.wanted_key_frame()), (0, None));
        selector.allow(Allowance::All, false);
        selector.update(0b111, false);
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
