//! Distributes what a subscriber's path carries among its tracks, ten times a second and at once
//! when the path turns out shorter: asks the allocator, carries out what it says, looks for room
//! with probes while somebody gets less than wanted.

use std::time::Instant;

use crate::bandwidth::allocator::{Candidate, Candidates, Division, Step, Steps, divide};
use crate::bandwidth::estimator::Change;
use crate::downstream::DownTrack;
use crate::downstream::layer_selector::Allowance;
use crate::event::Event;
use crate::ids::TransportKey;
use crate::limits::{NOMINAL_LAYER_BPS, PAUSED_MIN, PRIORITY_CAMERA, PRIORITY_SCREEN, RATE_LAYERS};
use crate::router::list;
use crate::shard::Shard;
use crate::types::{BandwidthPolicy, LayerLimit, LayerMode, MediaKind};
use crate::upstream::{LAYER_NONE, UpTrack};

impl Shard {
    pub(super) fn set_bandwidth_policy(
        &mut self,
        now: Instant,
        key: TransportKey,
        policy: BandwidthPolicy,
    ) -> Option<()> {
        let index = self.find(key)?;
        let slot = self.transports.get_mut(index)?;
        slot.sender.policy = policy;
        if policy.fixed_bps.is_some() || slot.sender.path.is_some() {
            slot.sender.path.get_or_insert_default().fixed_bps = policy.fixed_bps;
        }
        self.ticker.media(now);
        self.distribute(now, index);
        Some(())
    }

    /// A track is about to be sent: if the path is unknown, asks it whether it is a short one.
    pub(super) fn greet_path(&mut self, down_track: u32) {
        let now_us = self.now.map_or(0, |now| self.micros(now));
        let Some(down) = self.down_tracks.get(down_track) else {
            return;
        };
        let numbered = down.wants_transport_cc() && down.rtx_ssrc.is_some();
        let Some(slot) = self.transports.get_mut(down.transport) else {
            return;
        };
        let policy = slot.sender.policy;
        if numbered && slot.open && policy.enabled && slot.sender.path.is_none() {
            let path = slot.sender.path();
            path.fixed_bps = policy.fixed_bps;
            path.greet(now_us);
            list(slot, down.transport, &mut self.ready);
        }
    }

    /// Transport-wide feedback of a subscriber.
    pub(super) fn arrivals_told(&mut self, now: Instant, index: u32, body: &[u8]) {
        let now_us = self.micros(now);
        let change = self.transports.get_mut(index).and_then(|slot| {
            let enabled = slot.sender.policy.enabled;
            let path = slot.sender.path.as_mut().filter(|_| enabled)?;
            Some(path.feedback(now_us, body))
        });
        if change.is_some_and(|change| change != Change::Same) {
            self.distribute(now, index);
        }
    }

    /// REMB of a subscriber.
    pub(super) fn receiver_estimate(&mut self, now: Instant, index: u32, bps: u64) {
        let now_us = self.micros(now);
        let Some(slot) = self.transports.get_mut(index) else {
            return;
        };
        slot.sender.remb_bps = Some(bps);
        if !slot.sender.policy.enabled {
            return;
        }
        let path = slot.sender.path.get_or_insert_default();
        if path.remb(now_us, bps) != Change::Same {
            self.distribute(now, index);
        }
    }

    /// Gives every video track of a transport what its path carries.
    pub(super) fn distribute(&mut self, now: Instant, index: u32) {
        let now_us = self.micros(now);
        let Some(slot) = self.transports.get_mut(index) else {
            return;
        };
        if slot.sender.path.is_none() {
            return;
        }
        let mut tracks = self.candidates(now, index);
        let Some(slot) = self.transports.get_mut(index) else {
            return;
        };
        let policy = slot.sender.policy;
        let Some(path) = slot.sender.path.as_mut() else {
            return;
        };
        path.fixed_bps = policy.fixed_bps;
        let budget_bps = if policy.enabled || policy.fixed_bps.is_some() {
            path.budget_bps(now_us)
        } else {
            u64::MAX >> 1
        };
        let Division {
            full_bps,
            least_bps,
            need_bps,
        } = divide(budget_bps, policy.may_pause, &mut tracks);
        path.forced_bps = Some(least_bps)
            .filter(|least| *least > budget_bps)
            .unwrap_or(0);
        path.constrained = need_bps > 0;
        if path.constrained {
            path.seek(now_us, need_bps, full_bps);
        }
        if path.probe_bps().is_some() {
            list(slot, index, &mut self.ready);
        }
        let sending: u64 = tracks.iter().filter_map(sending_bps).sum();
        let flooded = sending > budget_bps.saturating_mul(FLOOD_PERCENT) / 100;
        for track in &tracks {
            self.allow(now, track, flooded);
        }
    }

    /// The video tracks that are sent, or would be.
    fn candidates(&self, now: Instant, index: u32) -> Candidates {
        let Some(slot) = self.transports.get(index) else {
            return Candidates::new();
        };
        let downs = slot.sender.down_tracks.iter();
        downs
            .filter_map(|down_index| {
                let down = self.down_tracks.get(*down_index)?;
                let track = self.tracks.get(down.track)?;
                let mut candidate = candidate(*down_index, down, track)?;
                let since = down.paused_at.map(|at| now.saturating_duration_since(at));
                candidate.waits = since.is_some_and(|since| since < PAUSED_MIN);
                Some(candidate)
            })
            .collect()
    }

    fn allow(&mut self, now: Instant, track: &Candidate, flooded: bool) {
        let index = track.down_track;
        let Some(down) = self.down_tracks.get_mut(index) else {
            return;
        };
        let chosen = track.chosen.and_then(|step| track.steps.get(step));
        let allowance = match chosen {
            _ if track.is_optimal() => Allowance::All,
            Some(step) => Allowance::UpTo(LayerLimit {
                max_spatial: step.spatial,
                max_temporal: step.temporal,
            }),
            None => Allowance::Paused,
        };
        let before = down.selector.allowance;
        let sent = down.selector.current;
        if before != allowance || flooded {
            down.selector.allow(allowance, flooded);
        }
        let stopped = sent != LAYER_NONE && down.selector.current == LAYER_NONE;
        if before == allowance && !stopped {
            return;
        }
        let (was, is) = (before == Allowance::Paused, allowance == Allowance::Paused);
        if was != is {
            down.paused_at = is.then_some(now);
            self.events.push_back(Event::StreamPaused {
                down_track: down.key,
                paused: is,
            });
        }
        let transport = down.transport;
        if stopped {
            down.forget_sent();
        }
        self.retarget_down_track(index);
        if stopped && let Some(slot) = self.transports.get_mut(transport) {
            slot.sender.drop_waiting(index);
        }
    }
}

/// Sending this much of the budget floods the path: layers above it are left without waiting for
/// a key frame of a smaller one.
const FLOOD_PERCENT: u64 = 150;

/// What the layer being sent costs.
fn sending_bps(track: &Candidate) -> Option<u64> {
    Some(track.steps.get(track.current?)?.bps)
}

fn candidate(index: u32, down: &DownTrack, track: &UpTrack) -> Option<Candidate> {
    let wanted = down.selector.wanted()?;
    if track.config.kind != MediaKind::Video || track.muted {
        return None;
    }
    let steps = steps(track, wanted);
    let last = steps.len().checked_sub(1)?;
    let sent = down.selector.current;
    let at = |spatial: u8, temporal: u8| {
        steps
            .iter()
            .rposition(|step| step.spatial <= spatial && step.temporal <= temporal)
            .unwrap_or(0)
    };
    let current = match down.selector.allowance {
        Allowance::Paused => None,
        Allowance::UpTo(most) => Some(at(most.max_spatial, most.max_temporal)),
        Allowance::All => Some(last),
    };
    // On the way down the layer above is still what is sent.
    let one_stream = track.config.layer_mode == LayerMode::OneStream;
    let current = match sent == LAYER_NONE || one_stream {
        true => current,
        false => current.map(|step| step.max(at(sent, 0))),
    };
    let default = match track.config.screen_share {
        true => PRIORITY_SCREEN,
        false => PRIORITY_CAMERA,
    };
    Some(Candidate {
        down_track: index,
        priority: if down.priority == 0 {
            default
        } else {
            down.priority
        },
        size: wanted.max_spatial,
        steps,
        current,
        waits: false,
        chosen: None,
    })
}

/// Ways to send a track within `wanted`, cheapest first. Fewer frames are a step of their own only
/// for the smallest picture: above it a smaller one in full motion costs less.
fn steps(track: &UpTrack, wanted: LayerLimit) -> Steps {
    let mut steps = Steps::new();
    for spatial in 0..=wanted.max_spatial.min(RATE_LAYERS as u8 - 1) {
        let Some(whole) = cost(track, spatial, wanted.max_temporal) else {
            continue;
        };
        if steps.is_empty() {
            for temporal in 0..wanted.max_temporal {
                let bps = cost(track, spatial, temporal).unwrap_or(whole);
                let cheaper = bps * 100 < whole * 85;
                if cheaper && steps.last().is_none_or(|last: &Step| bps > last.bps) {
                    steps.push(Step {
                        spatial,
                        temporal,
                        bps,
                    });
                }
            }
        } else if steps.last().is_some_and(|last| whole <= last.bps) {
            // Costs no more than the smaller one: it replaces it.
            steps.pop();
        }
        steps.push(Step {
            spatial,
            temporal: wanted.max_temporal,
            bps: whole,
        });
    }
    steps
}

/// Measured, or what clients usually send while nothing is known.
fn cost(track: &UpTrack, spatial: u8, temporal: u8) -> Option<u64> {
    if let Some(bps) = track.bps(spatial, temporal) {
        return (bps > 0).then_some(bps);
    }
    let active = match track.config.layer_mode {
        LayerMode::OneStreamPerLayer => track.layer(spatial).is_some_and(|layer| layer.active),
        LayerMode::OneStream => false,
    };
    active.then(|| {
        let nominal = NOMINAL_LAYER_BPS.get(usize::from(spatial));
        nominal.copied().unwrap_or(NOMINAL_LAYER_BPS[2])
    })
}
