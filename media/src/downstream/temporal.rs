//! Drops temporal layers above a subscriber's limit. Down at any frame, up where the stream says a
//! decoder may (key frames, VP8 layer-sync frames).

use crate::rtp::FrameInfo;

#[derive(Debug)]
pub(crate) struct TemporalFilter {
    current: u8,
}

impl Default for TemporalFilter {
    fn default() -> Self {
        TemporalFilter { current: u8::MAX }
    }
}

impl TemporalFilter {
    /// Only VP8 is filtered: other codecs' layers need the dependency descriptor rewritten.
    pub(crate) fn passes(&mut self, frame: &FrameInfo, max: u8) -> bool {
        let Some(vp8) = &frame.vp8 else {
            return true;
        };
        if frame.key_frame {
            self.current = max;
        } else if vp8.frame_start {
            if max < self.current {
                self.current = max;
            } else if vp8.layer_sync && frame.temporal > self.current && frame.temporal <= max {
                self.current = frame.temporal;
            }
        }
        frame.temporal <= self.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::vp8::Vp8Descriptor;

    fn frame(temporal: u8, layer_sync: bool, key_frame: bool) -> FrameInfo {
        let tid = temporal << 6 | u8::from(layer_sync) << 5;
        FrameInfo {
            key_frame,
            temporal,
            vp8: Vp8Descriptor::parse(&[0x90, 0x20, tid, 1]),
            layered: None,
        }
    }

    #[test]
    fn layers_fall_at_once_and_rise_at_sync_points() {
        let mut filter = TemporalFilter::default();
        assert!(filter.passes(&frame(0, false, true), 3));
        assert!(filter.passes(&frame(2, false, false), 3));
        assert!(!filter.passes(&frame(2, false, false), 0));
        assert!(filter.passes(&frame(0, false, false), 0));
        assert!(
            !filter.passes(&frame(2, false, false), 3),
            "no sync point yet"
        );
        assert!(filter.passes(&frame(1, true, false), 3));
        assert!(!filter.passes(&frame(2, false, false), 3));
        assert!(filter.passes(&frame(2, true, false), 3));
    }
}
