//! What a subscriber wants of a track, from its settings to layers: dimensions → quality → spatial
//! layer, frames a second → temporal layer. Pure functions; the rules are LiveKit's
//! (`rtc/subscribedtrack.go`, `sfu/buffer/videolayerutils.go`).

use media::types::{LayerLimit, MediaKind};
use protocol::proto;
use protocol::proto::VideoQuality;

use super::track_info;

/// A layer this much smaller than asked for still satisfies.
const LAYER_TOLERANCE: f32 = 0.9;
/// Heights of the layers clients send when they do not say.
const DEFAULT_LAYER_HEIGHTS: [u32; 2] = [180, 360];

/// `UpdateTrackSettings` as it was stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TrackSettings {
    /// `None`: nothing was said about quality.
    pub(crate) quality: Option<VideoQuality>,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) fps: u32,
    /// 0 = not said. Larger comes first, as in upstream's allocator (its protobuf comment says the
    /// opposite).
    pub(crate) priority: u8,
    pub(crate) disabled: bool,
}

impl TrackSettings {
    pub(crate) fn from_request(request: &proto::UpdateTrackSettings) -> Self {
        Self {
            quality: VideoQuality::try_from(request.quality).ok(),
            width: request.width,
            height: request.height,
            fps: request.fps,
            priority: u8::try_from(request.priority).unwrap_or(u8::MAX),
            disabled: request.disabled,
        }
    }
}

/// What the packet plane and the publisher are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) limit: LayerLimit,
    pub(crate) paused: bool,
    pub(crate) priority: u8,
    pub(crate) quality: VideoQuality,
}

/// Without settings a client with adaptive stream starts low (its settings follow as soon as it
/// shows the track), others get everything.
pub(crate) fn wanted(
    settings: &TrackSettings,
    info: &proto::TrackInfo,
    adaptive_stream: bool,
) -> Wanted {
    let paused = settings.disabled;
    if track_info::kind_of(info.r#type) != Some(MediaKind::Video) {
        let quality = if paused {
            VideoQuality::Off
        } else {
            VideoQuality::High
        };
        return Wanted {
            limit: LayerLimit::HIGHEST,
            paused,
            priority: settings.priority,
            quality,
        };
    }
    let quality = match settings.quality {
        _ if settings.width > 0 && settings.height > 0 => {
            quality_for(info, settings.width, settings.height)
        }
        Some(quality) => quality,
        None if adaptive_stream => VideoQuality::Low,
        None => VideoQuality::High,
    };
    let limit = LayerLimit {
        max_spatial: spatial_layer(info, quality),
        max_temporal: temporal_layer(settings.fps),
    };
    let paused = paused || quality == VideoQuality::Off;
    Wanted {
        limit,
        paused,
        priority: settings.priority,
        quality: if paused { VideoQuality::Off } else { quality },
    }
}

/// The lowest quality whose layer is as large as asked for.
#[allow(deprecated)] // `layers` is what every client fills
fn quality_for(info: &proto::TrackInfo, width: u32, height: u32) -> VideoQuality {
    if info.height == 0 {
        return VideoQuality::High;
    }
    let (original, mut asked) = match info.width < info.height {
        true => (info.width, width),
        false => (info.height, height),
    };
    let mut sizes: Vec<u32> = info.layers.iter().map(|layer| layer.height).collect();
    if sizes.is_empty() {
        sizes = vec![DEFAULT_LAYER_HEIGHTS[0], DEFAULT_LAYER_HEIGHTS[1], original];
    } else {
        asked = height;
        sizes.sort_unstable();
    }
    let asked = (asked as f32 * LAYER_TOLERANCE) as u32;
    let satisfies =
        |(index, size): &(usize, &u32)| **size >= asked && sizes.get(index + 1) != Some(*size);
    let index = sizes
        .iter()
        .enumerate()
        .find(satisfies)
        .map_or(sizes.len() - 1, |(i, _)| i);
    match index {
        0 if sizes.len() > 1 => VideoQuality::Low,
        1 if sizes.len() > 2 => VideoQuality::Medium,
        _ => VideoQuality::High,
    }
}

/// Position of the quality's layer among those published: two layers are LOW and the rest.
#[allow(deprecated)]
fn spatial_layer(info: &proto::TrackInfo, quality: VideoQuality) -> u8 {
    let quality = if quality == VideoQuality::Off {
        0
    } else {
        quality as i32
    };
    if info.layers.is_empty() {
        return u8::try_from(quality).unwrap_or(0);
    }
    let within = info
        .layers
        .iter()
        .filter(|layer| layer.quality <= quality)
        .count();
    u8::try_from(within.saturating_sub(1)).unwrap_or(u8::MAX)
}

/// Temporal layers halve the frame rate; 30 a second is what cameras send.
fn temporal_layer(fps: u32) -> u8 {
    match fps {
        0 => LayerLimit::HIGHEST.max_temporal,
        1..=8 => 0,
        9..=15 => 1,
        _ => LayerLimit::HIGHEST.max_temporal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use VideoQuality::{High, Low, Medium, Off};

    #[allow(deprecated)]
    fn camera(layers: &[(VideoQuality, u32)]) -> proto::TrackInfo {
        let layer = |(quality, height): &(VideoQuality, u32)| proto::VideoLayer {
            quality: *quality as i32,
            height: *height,
            width: height * 16 / 9,
            ..Default::default()
        };
        proto::TrackInfo {
            r#type: proto::TrackType::Video as i32,
            width: 1280,
            height: 720,
            layers: layers.iter().map(layer).collect(),
            ..Default::default()
        }
    }

    fn sized(height: u32) -> TrackSettings {
        TrackSettings {
            width: height * 16 / 9,
            height,
            ..Default::default()
        }
    }

    #[test]
    fn dimensions_choose_the_smallest_layer_that_satisfies() {
        let info = camera(&[(Low, 180), (Medium, 360), (High, 720)]);
        for (height, quality, spatial) in [
            (100, Low, 0),
            (200, Low, 0),
            (240, Medium, 1),
            (720, High, 2),
        ] {
            let wanted = wanted(&sized(height), &info, false);
            assert_eq!(
                (wanted.quality, wanted.limit.max_spatial),
                (quality, spatial),
                "{height}"
            );
        }
    }

    #[test]
    fn a_track_of_two_layers_has_no_middle() {
        let info = camera(&[(Low, 180), (High, 720)]);
        let quality = |quality| TrackSettings {
            quality: Some(quality),
            ..Default::default()
        };
        assert_eq!(wanted(&quality(Low), &info, false).limit.max_spatial, 0);
        assert_eq!(wanted(&quality(Medium), &info, false).limit.max_spatial, 0);
        assert_eq!(wanted(&quality(High), &info, false).limit.max_spatial, 1);
    }

    #[test]
    fn adaptive_stream_starts_low_others_high() {
        let info = camera(&[(Low, 180), (Medium, 360), (High, 720)]);
        assert_eq!(wanted(&TrackSettings::default(), &info, true).quality, Low);
        assert_eq!(
            wanted(&TrackSettings::default(), &info, false).quality,
            High
        );
    }

    #[test]
    fn disabled_pauses_and_wants_nothing() {
        let info = camera(&[(High, 720)]);
        let settings = TrackSettings {
            disabled: true,
            quality: Some(High),
            ..Default::default()
        };
        let wanted = wanted(&settings, &info, true);
        assert!(wanted.paused);
        assert_eq!(wanted.quality, Off);
    }

    #[test]
    fn fewer_frames_are_a_lower_temporal_layer() {
        let info = camera(&[(High, 720)]);
        let fps = |fps| {
            wanted(
                &TrackSettings {
                    fps,
                    ..Default::default()
                },
                &info,
                false,
            )
        };
        assert_eq!(fps(5).limit.max_temporal, 0);
        assert_eq!(fps(15).limit.max_temporal, 1);
        assert_eq!(fps(30).limit.max_temporal, 3);
    }
}
