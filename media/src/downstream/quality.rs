//! How well the subscriber gets the track, by its own reports.

use std::time::{Duration, Instant};

use crate::downstream::DownTrack;
use crate::quality::{Sample, loss_weight};
use crate::upstream::UpTrack;

impl DownTrack {
    /// As the subscriber reported it last.
    pub(crate) fn jitter(&self) -> Duration {
        let first = self.payload_map.first();
        let clock_hz = first.map_or(1, |first| first.codec.clock_rate_hz());
        let units = u64::from(self.reports.jitter_units);
        Duration::from_micros(units * 1_000_000 / u64::from(clock_hz))
    }

    /// Judges how well the subscriber gets the track; nothing to judge before its first report.
    pub(crate) fn judge_quality(&mut self, now: Instant, track: &UpTrack, rtt: Duration) {
        if self.reports.at.is_none() {
            return;
        }
        let packets = self.reports.packets();
        // What the publisher's path lost is not the subscriber's fault.
        let holes = self.munger.numbers().saturating_sub(packets);
        let first = self.payload_map.first();
        let sample = Sample {
            flow: self.selector.flow(track.muted),
            expected: packets,
            lost: self.reports.lost.saturating_sub(holes),
            rtt,
            jitter: self.jitter(),
            missing_layers: self.selector.missing_layers(),
            reported: self.reports.at,
            loss_weight: loss_weight(first),
        };
        self.scorer.sample(now, &sample, false);
    }
}
