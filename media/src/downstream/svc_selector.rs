//! Which layers inside one stream (VP9 and AV1 SVC) a subscriber gets. Changes of layer happen on
//! key frames, where every mode of scalability lets a decoder start; what is left out leaves no gap
//! because the caller renumbers, and the last kept packet of a picture carries the marker.

use crate::rtp::FrameInfo;
use crate::rtp::dependency_structure::StructureState;
use crate::types::LayerLimit;

/// The layers forwarded since the last key frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Current {
    /// Decode target; `None` for a VP9 stream without dependency descriptor.
    target: Option<u8>,
    spatial: u8,
    temporal: u8,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SvcSelector {
    current: Option<Current>,
    /// Spatial layer a key frame would bring now, and what that was found out for: limits and
    /// decode targets in use. Only where the stream describes itself.
    reachable: Option<(u8, LayerLimit, u32)>,
    /// Highest spatial layer the stream has, as far as seen since its key frame.
    highest: u8,
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Drop,
    /// `ends_picture`: set the marker bit.
    Keep {
        ends_picture: bool,
    },
}

impl SvcSelector {
    /// Whether a key frame would bring the subscriber closer to `limit`.
    pub(crate) fn wants_key_frame(&self, limit: LayerLimit) -> bool {
        let wanted = match self.reachable {
            Some((spatial, known, _)) if known == limit => spatial,
            _ => limit.max_spatial.min(self.highest),
        };
        // A choice above what the stream has is as good as its highest layer.
        self.current
            .is_some_and(|current| current.spatial.min(self.highest) != wanted)
    }

    /// Spatial layers less than the subscriber wants of those there are.
    pub(crate) fn missing_layers(&self, limit: LayerLimit) -> u8 {
        let wanted = limit.max_spatial.min(self.highest);
        self.current
            .map_or(0, |current| wanted.saturating_sub(current.spatial))
    }

    pub(crate) fn judge(
        &mut self,
        frame: &FrameInfo,
        state: &StructureState,
        limit: LayerLimit,
    ) -> Verdict {
        let Some(layered) = frame.layered else {
            return Verdict::Keep {
                ends_picture: false,
            };
        };
        if frame.key_frame {
            self.highest = 0;
            self.current = Some(choose(layered.used_by.is_some(), state, limit));
        }
        self.look_around(layered.used_by.is_some(), frame.key_frame, state, limit);
        self.highest = match layered.used_by {
            Some(_) => state
                .structure
                .as_ref()
                .map_or(0, |s| s.max_spatial(state.active)),
            None => self.highest.max(layered.spatial),
        };
        let Some(current) = self.current else {
            return Verdict::Keep {
                ends_picture: false,
            };
        };
        let kept = match (current.target, layered.used_by) {
            (Some(target), Some(used_by)) => used_by & (1 << target) != 0,
            _ => layered.spatial <= current.spatial && layered.temporal <= current.temporal,
        };
        if !kept {
            return Verdict::Drop;
        }
        Verdict::Keep {
            ends_picture: layered.ends_frame && layered.spatial == current.spatial,
        }
    }

    /// Finds out anew what can be reached when anything it depends on changed.
    fn look_around(
        &mut self,
        described: bool,
        key_frame: bool,
        state: &StructureState,
        limit: LayerLimit,
    ) {
        let known = self.reachable.map(|(_, limit, active)| (limit, active));
        if !described {
            self.reachable = None;
        } else if key_frame || known != Some((limit, state.active)) {
            let spatial = choose(true, state, limit).spatial;
            self.reachable = Some((spatial, limit, state.active));
        }
    }
}

fn choose(described: bool, state: &StructureState, limit: LayerLimit) -> Current {
    let found = state
        .structure
        .as_ref()
        .filter(|_| described)
        .and_then(|structure| {
            structure.target_within(state.active, limit.max_spatial, limit.max_temporal)
        });
    match found {
        Some((target, (spatial, temporal))) => Current {
            target: Some(target),
            spatial,
            temporal,
        },
        None => Current {
            target: None,
            spatial: limit.max_spatial,
            temporal: limit.max_temporal,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::frame::Layered;

    fn vp9(spatial: u8, key_frame: bool, ends_frame: bool) -> FrameInfo {
        let layered = Layered {
            spatial,
            temporal: 0,
            used_by: None,
            ends_frame,
        };
        FrameInfo {
            key_frame,
            layered: Some(layered),
            ..FrameInfo::default()
        }
    }

    fn limit(max_spatial: u8) -> LayerLimit {
        LayerLimit {
            max_spatial,
            max_temporal: 3,
        }
    }

    #[test]
    fn upper_layers_are_dropped_and_the_marker_moves_down() {
        let (mut selector, state) = (SvcSelector::default(), StructureState::default());
        let keep = |ends_picture| Verdict::Keep { ends_picture };
        assert_eq!(
            selector.judge(&vp9(0, true, true), &state, limit(1)),
            keep(false)
        );
        assert_eq!(
            selector.judge(&vp9(1, false, false), &state, limit(1)),
            keep(false)
        );
        assert_eq!(
            selector.judge(&vp9(1, false, true), &state, limit(1)),
            keep(true)
        );
        assert_eq!(
            selector.judge(&vp9(2, false, true), &state, limit(1)),
            Verdict::Drop
        );
        assert!(!selector.wants_key_frame(limit(1)));
    }

    #[test]
    fn a_stream_with_fewer_layers_than_allowed_wants_nothing() {
        let (mut selector, state) = (SvcSelector::default(), StructureState::default());
        for spatial in 0..2 {
            selector.judge(&vp9(spatial, spatial == 0, true), &state, limit(2));
        }
        assert!(!selector.wants_key_frame(limit(2)));
    }

    #[test]
    fn a_new_limit_waits_for_the_next_key_frame() {
        let (mut selector, state) = (SvcSelector::default(), StructureState::default());
        for spatial in 0..3 {
            selector.judge(&vp9(spatial, spatial == 0, true), &state, limit(0));
        }
        assert!(selector.wants_key_frame(limit(2)));
        assert_eq!(
            selector.judge(&vp9(2, false, true), &state, limit(2)),
            Verdict::Drop
        );
        selector.judge(&vp9(0, true, true), &state, limit(2));
        let keep = Verdict::Keep { ends_picture: true };
        assert_eq!(selector.judge(&vp9(2, false, true), &state, limit(2)), keep);
        assert!(!selector.wants_key_frame(limit(2)));
    }
}
