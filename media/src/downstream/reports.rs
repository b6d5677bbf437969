//! RTCP of one down track: sender reports made from the publisher's clock, and what the subscriber
//! reports back.

use std::time::{Duration, Instant};

use crate::downstream::munger::units;
use crate::rtcp::{ReportBlock, SenderInfo};
use crate::upstream::receive_stats::ClockReference;

/// Sender reports a receiver may still refer to.
const REMEMBERED: usize = 4;

#[derive(Debug, Default)]
pub(crate) struct Reports {
    packets: u64,
    octets: u64,
    /// Middle bits of the NTP time told, and when it was told.
    told: [Option<(u32, Instant)>; REMEMBERED],
    next: usize,
    /// Lost share the subscriber reported last, 0.0..=1.0.
    pub(crate) loss: f32,
    /// What it says it never got, and how uneven the rest came, in units of the media clock.
    pub(crate) lost: u64,
    pub(crate) jitter_units: u32,
    /// When it last reported.
    pub(crate) at: Option<Instant>,
}

impl Reports {
    pub(crate) fn sent(&mut self, payload_bytes: usize) {
        self.packets += 1;
        self.octets += payload_bytes as u64;
    }

    pub(crate) fn packets(&self) -> u64 {
        self.packets
    }

    /// The publisher's clock carried on to `now`, with its timestamps shifted as the packets were:
    /// so audio and video of one publisher stay in sync at the subscriber.
    pub(crate) fn sender_info(
        &mut self,
        now: Instant,
        clock: &ClockReference,
        timestamp_offset: u32,
        clock_hz: u32,
    ) -> SenderInfo {
        let elapsed = now.saturating_duration_since(clock.arrival);
        let ntp = clock
            .info
            .ntp
            .wrapping_add(((elapsed.as_micros() << 32) / 1_000_000) as u64);
        if let Some(slot) = self.told.get_mut(self.next) {
            *slot = Some(((ntp >> 16) as u32, now));
        }
        self.next = (self.next + 1) % REMEMBERED;
        SenderInfo {
            ntp,
            rtp_timestamp: clock
                .info
                .rtp_timestamp
                .wrapping_add(timestamp_offset)
                .wrapping_add(units(elapsed, clock_hz)),
            packets: self.packets as u32,
            octets: self.octets as u32,
        }
    }

    /// Takes a report block about this track; the round trip if it tells one.
    pub(crate) fn reported(&mut self, now: Instant, block: &ReportBlock) -> Option<Duration> {
        self.loss = f32::from(block.fraction_lost) / 256.0;
        self.lost = u64::try_from(block.cumulative_lost).unwrap_or(0);
        self.jitter_units = block.jitter;
        self.at = Some(now);
        if block.last_sr == 0 {
            return None;
        }
        let (_, told) = self
            .told
            .iter()
            .flatten()
            .find(|(ntp, _)| *ntp == block.last_sr)?;
        let held_us = u64::from(block.delay_since_last_sr) * 1_000_000 / 65_536;
        now.saturating_duration_since(*told)
            .checked_sub(Duration::from_micros(held_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_publishers_clock_runs_on_and_the_round_trip_is_found() {
        let start = Instant::now();
        let clock = ClockReference {
            info: SenderInfo {
                ntp: 5 << 32,
                rtp_timestamp: 1_000,
                ..SenderInfo::default()
            },
            arrival: start,
        };
        let mut reports = Reports::default();
        let told = start + Duration::from_millis(500);
        let info = reports.sender_info(told, &clock, 7, 90_000);
        assert_eq!(info.ntp, (5 << 32) + (1 << 31));
        assert_eq!(info.rtp_timestamp, 1_000 + 7 + 45_000);
        let block = ReportBlock {
            fraction_lost: 64,
            last_sr: (info.ntp >> 16) as u32,
            delay_since_last_sr: 65_536 / 10,
            ..ReportBlock::default()
        };
        let rtt = reports.reported(told + Duration::from_millis(140), &block);
        assert!(
            rtt.is_some_and(|rtt| (39..=41).contains(&rtt.as_millis())),
            "{rtt:?}"
        );
        assert!((reports.loss - 0.25).abs() < 0.001);
    }
}
