//! Divides an estimate among the video tracks of one subscriber: everybody's smallest picture
//! first, then improvements step by step, by priority (screen shares before cameras unless the
//! client says otherwise) and requested size, evenly among equals. Pure arithmetic; the shard
//! gathers the tracks and carries out the result.

use smallvec::SmallVec;

use crate::limits::ALLOCATED_TRACKS_INLINE;

/// A way to forward a track, and what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
    pub(crate) bps: u64,
}

pub(crate) type Steps = SmallVec<[Step; 6]>;
pub(crate) type Candidates = SmallVec<[Candidate; ALLOCATED_TRACKS_INLINE]>;

/// A track that competes for bandwidth.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// Index of the down track.
    pub(crate) down_track: u32,
    /// Larger is served first.
    pub(crate) priority: u8,
    /// Highest layer asked for: larger is served first among equals.
    pub(crate) size: u8,
    /// Ascending; never empty. The last is what the subscriber wants.
    pub(crate) steps: Steps,
    /// The step it has now; `None` = paused.
    pub(crate) current: Option<usize>,
    /// It was paused a moment ago and stays so.
    pub(crate) waits: bool,
    /// The result.
    pub(crate) chosen: Option<usize>,
}

impl Candidate {
    fn cost(&self, step: usize) -> u64 {
        self.steps.get(step).map_or(0, |step| step.bps)
    }

    pub(crate) fn is_optimal(&self) -> bool {
        self.chosen == Some(self.steps.len() - 1)
    }

    /// What going from the step below to `step` costs on top; dearer for a step it does not have
    /// yet, so that a rate that wavers does not switch to and fro.
    fn extra(&self, step: usize) -> u64 {
        let below = step.checked_sub(1).map_or(0, |below| self.cost(below));
        let extra = self.cost(step).saturating_sub(below);
        match self.current {
            Some(current) if step <= current => extra * KEEP_PERCENT / 100,
            None if step == 0 => extra * RESUME_PERCENT / 100,
            _ => extra * RISE_PERCENT / 100,
        }
    }
}

const RISE_PERCENT: u64 = 110;
/// What was paused begins with a key frame.
const RESUME_PERCENT: u64 = 140;
/// An estimate falls to 85 % of what the path carries when a burst queued up: no reason to switch.
const KEEP_PERCENT: u64 = 88;

/// The result as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Division {
    /// Everything that is wanted, bits per second.
    pub(crate) full_bps: u64,
    /// The least that everybody who is sent anything can be given, bits per second: more than the
    /// budget where nobody may be paused.
    pub(crate) least_bps: u64,
    /// The estimate that would let one more track have more; 0 = all have what they want.
    pub(crate) need_bps: u64,
}

pub(crate) fn divide(budget_bps: u64, may_pause: bool, tracks: &mut [Candidate]) -> Division {
    tracks.sort_by_key(|t| (u8::MAX - t.priority, u8::MAX - t.size, t.down_track));
    let mut division = Division::default();
    let mut left = budget_bps as i64;
    let mut need = |left: i64, extra: u64| {
        if division.need_bps == 0 {
            division.need_bps = (budget_bps as i64 - left) as u64 + extra;
        }
    };
    for track in tracks.iter_mut() {
        let extra = track.extra(0);
        let fits = extra as i64 <= left && !track.waits;
        track.chosen = (!may_pause || fits).then_some(0);
        match track.chosen {
            Some(_) => left -= extra as i64,
            None => need(left.max(0), extra),
        }
    }
    for group in tracks.chunk_by_mut(|a, b| a.priority == b.priority) {
        let most = group.iter().map(|t| t.steps.len()).max().unwrap_or(0);
        for step in 1..most {
            for track in group.iter_mut().filter(|t| step < t.steps.len()) {
                if track.chosen != Some(step - 1) {
                    continue;
                }
                let extra = track.extra(step);
                if extra as i64 <= left {
                    left -= extra as i64;
                    track.chosen = Some(step);
                } else {
                    need(left, extra);
                }
            }
        }
    }
    division.full_bps = tracks
        .iter()
        .map(|track| track.cost(track.steps.len() - 1))
        .sum();
    let sent = tracks.iter().filter(|track| track.chosen.is_some());
    division.least_bps = sent.map(|track| track.cost(0)).sum();
    division
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(down_track: u32, priority: u8, current: Option<usize>) -> Candidate {
        let step = |spatial, temporal, kbps: u64| Step {
            spatial,
            temporal,
            bps: kbps * 1_000,
        };
        Candidate {
            down_track,
            priority,
            size: 2,
            steps: [
                step(0, 0, 80),
                step(0, 3, 150),
                step(1, 3, 500),
                step(2, 3, 1_700),
            ]
            .into_iter()
            .collect(),
            current,
            waits: false,
            chosen: None,
        }
    }

    fn chosen(tracks: &[Candidate]) -> Vec<(u32, Option<usize>)> {
        let mut chosen: Vec<_> = tracks.iter().map(|t| (t.down_track, t.chosen)).collect();
        chosen.sort_unstable();
        chosen
    }

    #[test]
    fn equals_rise_together_and_the_rest_goes_to_the_first() {
        let mut tracks = [
            track(1, 1, Some(0)),
            track(2, 1, Some(0)),
            track(3, 1, Some(0)),
        ];
        let division = divide(2_000_000, false, &mut tracks);
        assert_eq!(chosen(&tracks), [(1, Some(2)), (2, Some(2)), (3, Some(2))]);
        assert_eq!(division.full_bps, 5_100_000);
        assert!(division.need_bps > 2_000_000 && division.need_bps < 3_000_000);
    }

    #[test]
    fn a_screen_share_is_served_before_cameras_but_not_instead_of_them() {
        let mut tracks = [track(1, 1, Some(0)), track(2, 9, Some(0))];
        divide(1_950_000, true, &mut tracks);
        assert_eq!(chosen(&tracks), [(1, Some(0)), (2, Some(3))]);
    }

    #[test]
    fn without_leave_to_pause_everybody_keeps_the_smallest_picture() {
        let mut tracks = [track(1, 1, Some(0)), track(2, 1, Some(0))];
        let division = divide(100_000, false, &mut tracks);
        assert_eq!(chosen(&tracks), [(1, Some(0)), (2, Some(0))]);
        assert!(division.need_bps > 100_000);
        assert_eq!(division.least_bps, 160_000, "more than there is");
        let division = divide(100_000, true, &mut tracks);
        assert_eq!(chosen(&tracks), [(1, Some(0)), (2, None)]);
        assert!((100_000..200_000).contains(&division.need_bps));
    }

    #[test]
    fn a_track_keeps_its_layer_while_the_estimate_wavers() {
        for budget in [1_690_000, 1_720_000, 1_650_000] {
            let mut tracks = [track(1, 1, Some(3))];
            divide(budget, false, &mut tracks);
            assert_eq!(tracks[0].chosen, Some(3), "{budget}");
        }
        let mut tracks = [track(1, 1, Some(2))];
        divide(1_750_000, false, &mut tracks);
        assert_eq!(tracks[0].chosen, Some(2), "too close to rise");
    }

    #[test]
    fn what_was_paused_comes_back_with_some_room_and_not_at_once() {
        let mut tracks = [track(1, 1, None)];
        divide(100_000, true, &mut tracks);
        assert_eq!(tracks[0].chosen, None, "a key frame would not fit");
        divide(120_000, true, &mut tracks);
        assert_eq!(tracks[0].chosen, Some(0));
        tracks[0].waits = true;
        let division = divide(120_000, true, &mut tracks);
        assert_eq!((tracks[0].chosen, division.need_bps > 0), (None, true));
    }

    #[test]
    fn with_enough_for_all_nothing_is_needed() {
        let mut tracks = [track(1, 1, None), track(2, 1, None)];
        let division = divide(4_000_000, true, &mut tracks);
        assert!(tracks.iter().all(Candidate::is_optimal));
        assert_eq!(division.need_bps, 0);
    }
}
