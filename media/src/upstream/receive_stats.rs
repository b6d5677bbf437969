//! Loss, jitter and clock of one received stream (RFC 3550 §6.4.1, appendix A), and the report
//! block made of them.

use std::time::{Duration, Instant};

use crate::rtcp::{ReportBlock, SenderInfo};

/// The publisher's two clocks, and ours when it told us.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClockReference {
    pub(crate) info: SenderInfo,
    pub(crate) arrival: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct ReceiveStats {
    base: Option<u64>,
    /// Where the cycle of the first packet begins: cycles are counted from there (RFC 3550 A.1).
    origin: u64,
    highest: u64,
    received: u64,
    expected_reported: u64,
    received_reported: u64,
    /// In 1/16 units of the media clock, as in RFC 3550 A.8.
    jitter_16: u32,
    last_transit: Option<i64>,
    epoch: Option<Instant>,
    clock: Option<ClockReference>,
    /// Lost share of the last reported interval, 1/256ths.
    pub(crate) fraction_lost: u8,
}

impl ReceiveStats {
    pub(crate) fn received(&mut self, now: Instant, sequence: u64, timestamp: u32, clock_hz: u32) {
        if self.base.is_none() {
            self.origin = sequence & !0xFFFF;
        }
        let base = *self.base.get_or_insert(sequence);
        if sequence < base {
            self.base = Some(sequence);
        }
        self.received += 1;
        if sequence <= self.highest {
            return; // reordering says nothing about jitter
        }
        self.highest = sequence;
        let epoch = *self.epoch.get_or_insert(now);
        let arrival = now.saturating_duration_since(epoch).as_micros() as i64 * i64::from(clock_hz)
            / 1_000_000;
        let transit = i64::from((arrival as u32).wrapping_sub(timestamp) as i32);
        if let Some(last) = self.last_transit.replace(transit) {
            let change = (transit as i32).wrapping_sub(last as i32).unsigned_abs();
            // A jump of seconds is a new clock, not jitter.
            if change < clock_hz * 2 {
                let decay = (self.jitter_16 + 8) >> 4;
                self.jitter_16 = (self.jitter_16 + change).saturating_sub(decay);
            }
        }
    }

    pub(crate) fn sender_report(&mut self, now: Instant, info: SenderInfo) {
        self.clock = Some(ClockReference { info, arrival: now });
    }

    pub(crate) fn clock(&self) -> Option<ClockReference> {
        self.clock
    }

    pub(crate) fn jitter(&self, clock_hz: u32) -> Duration {
        let units = u64::from(self.jitter_16 >> 4);
        Duration::from_micros(units * 1_000_000 / u64::from(clock_hz.max(1)))
    }

    /// Packets that were to arrive, and those of them that did not.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let expected = self.base.map_or(0, |base| self.highest - base + 1);
        (expected, expected.saturating_sub(self.received))
    }

    /// The block for the next report; `None` before the first packet.
    pub(crate) fn report(&mut self, now: Instant, ssrc: u32) -> Option<ReportBlock> {
        let expected = self.highest - self.base? + 1;
        let expected_now = expected - self.expected_reported.min(expected);
        let received_now = self.received - self.received_reported;
        (self.expected_reported, self.received_reported) = (expected, self.received);
        let lost_now = expected_now.saturating_sub(received_now);
        self.fraction_lost = (lost_now * 256)
            .checked_div(expected_now)
            .map_or(0, |share| share.min(255) as u8);
        let lost = expected as i64 - self.received as i64;
        let (last_sr, delay) = self.clock.map_or((0, 0), |clock| {
            let elapsed = now.saturating_duration_since(clock.arrival).as_micros() as u64;
            (
                (clock.info.ntp >> 16) as u32,
                (elapsed * 65_536 / 1_000_000) as u32,
            )
        });
        Some(ReportBlock {
            ssrc,
            fraction_lost: self.fraction_lost,
            cumulative_lost: lost.clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_sequence: self.highest.saturating_sub(self.origin) as u32,
            jitter: self.jitter_16 >> 4,
            last_sr,
            delay_since_last_sr: delay,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_report_tells_loss_of_its_interval_and_of_all_time() {
        let start = Instant::now();
        let mut stats = ReceiveStats::default();
        for sequence in (65_536..65_636).filter(|sequence| sequence % 4 != 0) {
            stats.received(start, sequence, 0, 90_000);
        }
        stats.received(start, 65_636, 0, 90_000);
        let block = stats.report(start, 7).unwrap();
        assert_eq!(block.cumulative_lost, 24);
        assert_eq!(block.fraction_lost, (24 * 256 / 100) as u8);
        assert_eq!(stats.report(start, 7).unwrap().fraction_lost, 0);
    }

    #[test]
    fn cycles_are_counted_from_the_first_packet() {
        let start = Instant::now();
        for first in [0x1_FFF0u64, 0x5_FFF0] {
            let mut stats = ReceiveStats::default();
            stats.received(start, first, 0, 90_000);
            assert_eq!(stats.report(start, 7).unwrap().highest_sequence, 0xFFF0);
            stats.received(start, first + 0x20, 0, 90_000);
            assert_eq!(stats.report(start, 7).unwrap().highest_sequence, 0x1_0010);
        }
    }

    #[test]
    fn jitter_follows_uneven_arrival() {
        let start = Instant::now();
        let (mut even, mut uneven) = (ReceiveStats::default(), ReceiveStats::default());
        for index in 0..200u32 {
            let timestamp = index * 1800; // 20 ms
            let at = start + Duration::from_millis(u64::from(index) * 20);
            even.received(at, u64::from(index) + 1, timestamp, 90_000);
            let late = at + Duration::from_millis(u64::from(index % 2) * 10);
            uneven.received(late, u64::from(index) + 1, timestamp, 90_000);
        }
        assert_eq!(even.jitter(90_000), Duration::ZERO);
        let jitter = uneven.jitter(90_000);
        assert!((9..=11).contains(&jitter.as_millis()), "{jitter:?}");
    }

    #[test]
    fn the_report_refers_to_the_last_sender_report() {
        let start = Instant::now();
        let mut stats = ReceiveStats::default();
        stats.received(start, 1, 0, 90_000);
        stats.sender_report(
            start,
            SenderInfo {
                ntp: 0x1111_2222_3333_4444,
                ..Default::default()
            },
        );
        let block = stats.report(start + Duration::from_millis(500), 7).unwrap();
        assert_eq!(block.last_sr, 0x2222_3333);
        assert_eq!(block.delay_since_last_sr, 32_768);
    }
}
