//! How good one stream is, 0..=100: loss, delay, jitter and missing layers of five seconds at a
//! time, as LiveKit scores them (sfu/connectionquality/scorer.go). Fed with totals about once a
//! second by the shard; knows no packets and tells nobody.

use std::time::{Duration, Instant};

use crate::limits::{QUALITY_WINDOW, QUALITY_WINDOW_SLACK};
use crate::types::{Codec, PayloadType};

/// Everything is as it should be.
pub(crate) const BEST: f32 = 100.0;
/// At or below: POOR (LiveKit's `qualityTransitionScore`).
const POOR: f32 = 40.0;
/// At or below: LOST.
const LOST: f32 = 20.0;
/// What loss and delay alone can do: from further down the way back would take too long.
const LOWEST: f32 = 30.0;
/// How fast the score follows upwards and downwards.
const RISE: f32 = 0.4;
const FALL: f32 = 0.7;
/// What one layer less than wanted costs: a grade.
const POINTS_PER_LAYER: f32 = 35.0;
/// Share of a window a stream must have flowed for the window to tell something.
const FLOWED_SHARE_MIN: f32 = 0.5;

/// What a stream does by intent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flow {
    #[default]
    On,
    /// Muted, or not wanted by its receiver.
    Muted,
    /// Held back for lack of bandwidth.
    Paused,
}

/// A stream at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) flow: Flow,
    /// Packets that were to arrive, and those of them that did not, since the stream began.
    pub(crate) expected: u64,
    pub(crate) lost: u64,
    /// 0 where the round trip is not the stream's.
    pub(crate) rtt: Duration,
    pub(crate) jitter: Duration,
    /// Spatial layers between what is wanted and what flows.
    pub(crate) missing_layers: u8,
    /// When its other end last said something about it.
    pub(crate) reported: Option<Instant>,
    /// Points that one per cent of loss costs, at full packet rate.
    pub(crate) loss_weight: f32,
}

/// Points a per cent of loss costs: audio is GOOD from 2.5 % on, with redundancy from 5 %, video
/// from 2 %; POOR at three times that.
pub(crate) fn loss_weight(payload_type: Option<&PayloadType>) -> f32 {
    let Some(first) = payload_type else {
        return 0.0;
    };
    let corrected = |weight: f32| match first.fmtp.contains("useinbandfec=1") {
        true => weight / 1.5,
        false => weight,
    };
    match first.codec {
        Codec::Opus | Codec::Pcmu | Codec::Pcma => corrected(8.0),
        Codec::Red => corrected(4.0),
        _ => 10.0,
    }
}

#[derive(Debug)]
struct Window {
    began: Instant,
    expected: u64,
    lost: u64,
    rtt: Duration,
    jitter: Duration,
    missing_layers: u32,
    samples: u32,
}

#[derive(Debug)]
pub(crate) struct Scorer {
    score: f32,
    window: Option<Window>,
    flow: Flow,
    /// Since when it flows again.
    flows_since: Option<Instant>,
    /// Highest packet rate of a window, packets per second.
    top_pps: f32,
}

impl Default for Scorer {
    fn default() -> Self {
        Scorer {
            score: BEST,
            window: None,
            flow: Flow::On,
            flows_since: None,
            top_pps: 0.0,
        }
    }
}

impl Scorer {
    /// 0..=100.
    pub(crate) fn score(&self) -> f32 {
        self.score
    }

    /// Takes in how the stream is doing; scores it when a window is over. `dry`: that nothing was
    /// to arrive says something, because its sender is who is scored.
    pub(crate) fn sample(&mut self, now: Instant, sample: &Sample, dry: bool) {
        self.change_flow(now, sample.flow);
        let fresh = || Window {
            began: now,
            expected: sample.expected,
            lost: sample.lost,
            rtt: Duration::ZERO,
            jitter: Duration::ZERO,
            missing_layers: 0,
            samples: 0,
        };
        let window = self.window.get_or_insert_with(fresh);
        window.rtt = window.rtt.max(sample.rtt);
        window.jitter = window.jitter.max(sample.jitter);
        window.missing_layers += u32::from(sample.missing_layers);
        window.samples += 1;
        let elapsed = now.saturating_duration_since(window.began);
        if elapsed + QUALITY_WINDOW_SLACK < QUALITY_WINDOW {
            return;
        }
        let over = self.window.replace(fresh());
        let flowed = self.flows_since.map_or(elapsed, |since| {
            now.saturating_duration_since(since).min(elapsed)
        });
        let enough = flowed.as_secs_f32() >= elapsed.as_secs_f32() * FLOWED_SHARE_MIN;
        if let Some(window) = over.filter(|_| enough && self.flow == Flow::On) {
            self.close(now, &window, sample, dry);
        }
    }

    /// Silence on purpose is no fault, and a pause is one at once.
    fn change_flow(&mut self, now: Instant, flow: Flow) {
        if flow == self.flow {
            return;
        }
        self.flow = flow;
        match flow {
            // Who mutes while lost is lost all the same.
            Flow::Muted if self.score > LOST => self.score = BEST,
            Flow::Paused => self.score = POOR,
            Flow::Muted => {}
            Flow::On => self.flows_since = Some(now),
        }
    }

    fn close(&mut self, now: Instant, window: &Window, sample: &Sample, dry: bool) {
        let expected = sample.expected.saturating_sub(window.expected);
        let elapsed = now.saturating_duration_since(window.began);
        let silent = sample
            .reported
            .is_some_and(|at| now.saturating_duration_since(at) > elapsed);
        let lost = sample.lost.saturating_sub(window.lost);
        match (expected, dry, silent) {
            // Nobody is there any more.
            (0, true, true) => return self.score = LOST,
            (0, true, false) => return self.score = POOR,
            (0, false, _) => return,
            (1.., false, true) => return self.score = LOST,
            _ => {}
        }
        // Thin streams (discontinuous speech, a still screen) suffer less from loss.
        let pps = expected as f32 / elapsed.as_secs_f32().max(f32::EPSILON);
        self.top_pps = self.top_pps.max(pps);
        let weight = sample.loss_weight * (pps / self.top_pps).sqrt();
        let loss_percent = lost.min(expected) as f32 * 100.0 / expected as f32;
        let packets = BEST - delay_points(window) - loss_percent * weight;
        let missing = window.missing_layers as f32 / window.samples.max(1) as f32;
        let layers = BEST - missing * POINTS_PER_LAYER;
        let score = packets.min(layers).clamp(0.0, BEST);
        let factor = if score < self.score { FALL } else { RISE };
        self.score = (factor * score + (1.0 - factor) * self.score).max(LOWEST);
    }
}

/// What delay costs, by a simplified E-model.
fn delay_points(window: &Window) -> f32 {
    let ms = |duration: Duration| duration.as_secs_f32() * 1_000.0;
    let effective = ms(window.rtt) / 2.0 + ms(window.jitter) * 2.0;
    match effective > 160.0 {
        true => (effective - 120.0) / 10.0,
        false => effective / 40.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A stream of `pps` packets a second, observed once a second in virtual time.
    struct Stream {
        now: Instant,
        scorer: Scorer,
        sample: Sample,
        pps: u64,
        lost_pps: u64,
        dry: bool,
        reports: bool,
    }

    fn stream(pps: u64, loss_weight: f32) -> Stream {
        Stream {
            now: Instant::now(),
            scorer: Scorer::default(),
            sample: Sample {
                loss_weight,
                ..Sample::default()
            },
            pps,
            lost_pps: 0,
            dry: true,
            reports: true,
        }
    }

    impl Stream {
        fn run(&mut self, seconds: u32) -> f32 {
            for _ in 0..seconds {
                self.now += SECOND;
                self.sample.expected += self.pps;
                self.sample.lost += self.lost_pps;
                if self.reports {
                    self.sample.reported = Some(self.now);
                }
                self.scorer.sample(self.now, &self.sample, self.dry);
            }
            self.scorer.score()
        }
    }

    #[test]
    fn a_clean_stream_stays_excellent() {
        let mut stream = stream(50, 8.0);
        stream.sample.rtt = Duration::from_millis(80);
        stream.sample.jitter = Duration::from_millis(3);
        assert!(stream.run(60) > 95.0);
    }

    #[test]
    fn loss_lowers_the_grade_as_its_weight_says() {
        // Video at 100 packets a second: 3 % is GOOD, 8 % is POOR.
        for (lost_pps, grades) in [(1, 80.0..=100.0), (3, 40.0..=80.0), (8, 20.0..=40.0)] {
            let mut video = stream(100, 10.0);
            video.lost_pps = lost_pps;
            let score = video.run(60);
            assert!(grades.contains(&score), "{lost_pps} % lost: {score}");
        }
    }

    #[test]
    fn quality_falls_faster_than_it_rises() {
        let mut stream = stream(100, 10.0);
        stream.run(20);
        stream.lost_pps = 6;
        let bad = stream.run(6);
        assert!(bad < 60.0, "after one window: {bad}");
        stream.lost_pps = 0;
        let better = stream.run(5);
        assert!(better < 85.0, "one good window is not enough: {better}");
        assert!(stream.run(30) > 90.0);
    }

    #[test]
    fn who_sends_nothing_is_poor_and_without_any_sign_lost() {
        let mut stream = stream(50, 8.0);
        stream.run(20);
        stream.pps = 0;
        assert!((stream.run(11) - POOR).abs() < 0.01, "reports still come");
        stream.reports = false;
        assert!((stream.run(11) - LOST).abs() < 0.01);
        (stream.pps, stream.reports) = (50, true);
        assert!(stream.run(60) > 80.0, "it comes back");
    }

    #[test]
    fn a_receiver_that_says_nothing_is_lost_and_one_that_gets_nothing_is_not() {
        let mut stream = stream(50, 8.0);
        stream.dry = false;
        stream.run(20);
        (stream.pps, stream.reports) = (0, false);
        assert!(stream.run(20) > 95.0, "nothing was sent to it");
        stream.pps = 50;
        assert!((stream.run(20) - LOST).abs() < 0.01);
    }

    #[test]
    fn silence_on_purpose_is_no_fault() {
        let mut stream = stream(50, 8.0);
        stream.run(20);
        (stream.pps, stream.sample.flow) = (0, Flow::Muted);
        assert_eq!(stream.run(30), BEST);
        (stream.pps, stream.sample.flow) = (50, Flow::On);
        assert!(stream.run(30) > 95.0);
    }

    #[test]
    fn muting_does_not_hide_that_somebody_is_lost() {
        let mut stream = stream(50, 8.0);
        stream.run(10);
        (stream.pps, stream.reports) = (0, false);
        stream.run(20);
        stream.sample.flow = Flow::Muted;
        assert_eq!(stream.run(10), LOST);
    }

    #[test]
    fn a_window_that_was_mostly_mute_is_not_scored() {
        let mut stream = stream(50, 8.0);
        stream.sample.flow = Flow::Muted;
        stream.pps = 0;
        stream.run(9);
        // Back for two of five seconds, with heavy loss.
        (stream.sample.flow, stream.pps, stream.lost_pps) = (Flow::On, 50, 25);
        assert_eq!(stream.run(2), BEST);
        assert!(stream.run(6) < 80.0);
    }

    #[test]
    fn a_pause_for_bandwidth_is_poor_at_once() {
        let mut stream = stream(50, 10.0);
        stream.run(10);
        stream.sample.flow = Flow::Paused;
        assert_eq!(stream.run(1), POOR);
    }

    #[test]
    fn each_missing_layer_costs_about_a_grade() {
        for (missing_layers, grades) in [(0, 80.0..=100.0), (1, 40.0..=80.0), (2, 20.0..=40.0)] {
            let mut stream = stream(300, 10.0);
            stream.sample.missing_layers = missing_layers;
            let score = stream.run(60);
            assert!(grades.contains(&score), "{missing_layers} missing: {score}");
        }
    }

    #[test]
    fn loss_of_a_thin_stream_weighs_less() {
        let mut thin = stream(50, 8.0);
        thin.run(20);
        (thin.pps, thin.lost_pps) = (2, 1); // discontinuous transmission, half of it lost
        let mut full = stream(50, 8.0);
        full.run(20);
        full.lost_pps = 25;
        assert!(thin.run(5) > full.run(5));
        let mut some = stream(100, 8.0);
        some.run(20);
        (some.pps, some.lost_pps) = (20, 1);
        assert!(some.run(30) > 80.0, "5 % of a fifth of the packets");
    }

    #[test]
    fn a_long_way_costs_little_and_a_very_long_one_more() {
        let mut near = stream(50, 8.0);
        near.sample.rtt = Duration::from_millis(200);
        assert!(near.run(30) > 95.0);
        let mut far = stream(50, 8.0);
        far.sample.rtt = Duration::from_millis(800);
        far.sample.jitter = Duration::from_millis(60);
        assert!(far.run(60) < 65.0);
    }
}
