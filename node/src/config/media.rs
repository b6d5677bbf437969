//! The `audio:` and `video:` sections: loudness, dynacast, layer trackers.

use std::time::Duration;

use serde_yaml_ng::Value;

use super::section::section;
use super::values::go_duration;

section! {
    Audio {
        /// Loudest level that still counts as speaking, in -dBov (0 = loudest).
        active_level: u8 = 35,
        /// Share of a measuring interval that must be active, in percent.
        min_percentile: u8 = 40,
        /// Milliseconds between two speaker updates.
        update_interval: u32 = 400,
        /// Number of intervals the level is averaged over.
        smooth_intervals: u32 = 2,
        active_red_encoding: bool = false,
        enable_loss_proxying: bool = false,
    }
}

section! {
    Video {
        /// How long a layer nobody wants goes on before its publisher may stop it.
        #[serde(with = "go_duration")]
        dynacast_pause_delay: Duration = Duration::from_secs(5),
        stream_tracker_manager: StreamTrackerManager = StreamTrackerManager::default(),
        codec_regression_threshold: u32 = 5,
    }
}

section! {
    StreamTrackerManager {
        video: StreamTracker = StreamTracker::default(),
        screenshare: StreamTracker = StreamTracker {
            stream_tracker_type: "packet".into(),
            ..StreamTracker::default()
        },
    }
}

section! {
    StreamTracker {
        stream_tracker_type: String = "packet".into(),
        bitrate_report_interval: Value = Value::Null,
        packet_tracker: Value = Value::Null,
        frame_tracker: Value = Value::Null,
    }
}
