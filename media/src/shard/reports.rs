//! Once a second per peer: sender reports for what it gets, receiver reports and REMB for what it
//! sends, and its figures for the control plane.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::event::Event;
use crate::relay::track::RelayCopy;
use crate::rtcp::{ReportBlock, write};
use crate::shard::Shard;

/// RTCP bytes after which a compound is sent and the next one begun, below any MTU.
const COMPOUND_BYTES_MAX: usize = 1_000;

impl Shard {
    pub(super) fn report(&mut self, now: Instant, index: u32) {
        self.send_sender_reports(now, index);
        self.send_receiver_reports(now, index);
        self.judge_quality(now, index);
        self.watch_inner_layers(index);
        self.tell_stats(index);
    }

    fn send_sender_reports(&mut self, now: Instant, index: u32) {
        self.rtcp.clear();
        let count = self
            .transports
            .get(index)
            .map_or(0, |slot| slot.sender.down_tracks.len());
        for position in 0..count {
            let Some(slot) = self.transports.get(index) else {
                return;
            };
            let down = slot.sender.down_tracks.get(position).copied();
            let Some(down) = down.and_then(|down| self.down_tracks.get_mut(down)) else {
                continue;
            };
            let Some((layer, offset)) = down.source() else {
                continue;
            };
            let layer = self
                .tracks
                .get(down.track)
                .and_then(|track| track.layer(layer));
            let Some((layer, clock)) = layer.and_then(|l| Some((l, l.stats.clock()?))) else {
                continue;
            };
            let hz = layer.codec.clock_rate_hz();
            let info = down.reports.sender_info(now, &clock, offset, hz);
            write::sender_report(&mut self.rtcp, down.ssrc, &info, &[]);
            if self.rtcp.len() > COMPOUND_BYTES_MAX {
                self.send_rtcp(index);
            }
        }
        self.send_rtcp(index);
    }

    fn send_receiver_reports(&mut self, now: Instant, index: u32) {
        let Some(slot) = self.transports.get_mut(index) else {
            return;
        };
        let mut blocks: SmallVec<[ReportBlock; 16]> = SmallVec::new();
        let (mut lost, mut jitter) = (0.0f32, Duration::ZERO);
        for track in &slot.tracks {
            let Some(track) = self.tracks.get_mut(*track) else {
                continue;
            };
            for (_, layer) in track.layers_mut().filter(|(_, layer)| layer.active) {
                if let Some(block) = layer.stats.report(now, layer.ssrc) {
                    lost = lost.max(f32::from(block.fraction_lost) / 256.0);
                    jitter = jitter.max(layer.stats.jitter(layer.codec.clock_rate_hz()));
                    blocks.push(block);
                }
            }
        }
        (slot.stats.loss_in, slot.stats.jitter_in) = (lost, jitter);
        let received_bps = (slot.stats.bytes_in - slot.bytes_reported) * 8;
        slot.bytes_reported = slot.stats.bytes_in;
        let ssrcs: SmallVec<[u32; 16]> = blocks.iter().map(|block| block.ssrc).collect();
        let remb = (slot.receiver.wants_remb && !ssrcs.is_empty())
            .then(|| slot.estimate.update(lost, received_bps));
        let sender_ssrc = slot.feedback_ssrc;
        self.rtcp.clear();
        for chunk in blocks.chunks(write::BLOCKS_MAX) {
            write::receiver_report(&mut self.rtcp, sender_ssrc, chunk);
            if let Some(bps) = remb {
                write::remb(&mut self.rtcp, sender_ssrc, bps, &ssrcs);
            }
            self.send_rtcp(index);
        }
    }

    /// The worst of a peer's streams, in either direction, is what it experiences.
    fn judge_quality(&mut self, now: Instant, index: u32) {
        let Some(slot) = self.transports.get_mut(index) else {
            return;
        };
        let mut worst: Option<f32> = None;
        let mut judged = |score: f32| worst = Some(worst.map_or(score, |least| least.min(score)));
        for track in &slot.tracks {
            let Some(track) = self.tracks.get_mut(*track) else {
                continue;
            };
            let subscribers = track.subscribers.iter();
            let downs = subscribers.filter_map(|one| self.down_tracks.get(one.down_track));
            let wanted = downs
                .filter_map(|down| down.selector.wanted_spatial())
                .chain(track.copies.iter().filter_map(RelayCopy::wanted_spatial))
                .max();
            track.judge_quality(now, wanted);
            judged(track.scorer.score());
        }
        let rtt = slot.sender.rtt.unwrap_or_default();
        let mut jitter = Duration::ZERO;
        for down in &slot.sender.down_tracks {
            let Some(down) = self.down_tracks.get_mut(*down) else {
                continue;
            };
            if let Some(track) = self.tracks.get(down.track) {
                down.judge_quality(now, track, rtt);
            }
            judged(down.scorer.score());
            jitter = jitter.max(down.jitter());
        }
        slot.stats.score = worst;
        if let Some(delay) = &mut slot.sender.playout_delay {
            delay.observe(jitter);
        }
    }

    fn tell_stats(&mut self, index: u32) {
        let Some(slot) = self.transports.get_mut(index) else {
            return;
        };
        let downs = slot.sender.down_tracks.iter();
        let losses = downs.filter_map(|down| Some(self.down_tracks.get(*down)?.reports.loss));
        slot.stats.loss_out = losses.fold(0.0, f32::max);
        slot.stats.rtt = slot.sender.rtt.or_else(|| slot.transport.rtt());
        let path = slot.sender.path.as_ref();
        slot.stats.estimate_bps = path.map(|path| path.target_bps());
        if slot.transport.is_connected() {
            self.events.push_back(Event::Stats {
                transport: slot.key,
                stats: slot.stats,
            });
        }
    }
}
