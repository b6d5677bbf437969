//! RTCP from peers: what a publisher says of its clock, and what a subscriber says it lost, lacks
//! or can take.

use std::time::{Duration, Instant};

use crate::downstream::sender::Pending;
use crate::limits::{KEY_FRAME_QUEUED, RETRANSMISSIONS_PER_NACK_MAX};
use crate::router::enqueue;
use crate::rtcp::{self, Blocks, Packet, ReportBlock, SenderInfo, Words};
use crate::shard::Shard;

impl Shard {
    pub(super) fn receive_rtcp(&mut self, now: Instant, index: u32, compound: &[u8]) {
        self.counters.rtcp_in += 1;
        for packet in rtcp::packets(compound) {
            match packet {
                Packet::SenderReport { ssrc, info, blocks } => {
                    self.sender_report(now, index, ssrc, info);
                    self.receiver_reports(now, index, blocks);
                }
                Packet::ReceiverReport { blocks, .. } => self.receiver_reports(now, index, blocks),
                Packet::Nack { media_ssrc, pairs } => self.nacked(now, index, media_ssrc, pairs),
                Packet::PictureLoss { media_ssrc } => self.key_frame_asked(now, index, media_ssrc),
                Packet::FullIntraRequest { entries } => {
                    if let Some(slot) = self.transports.get_mut(index) {
                        slot.stats.firs_in += 1;
                    }
                    for ssrc in rtcp::fir_targets(entries) {
                        self.key_frame_asked(now, index, ssrc);
                    }
                }
                Packet::Remb { bitrate_bps } => {
                    self.receiver_estimate(now, index, bitrate_bps);
                }
                Packet::TransportFeedback { body } => self.arrivals_told(now, index, body),
                // A stream's end shows in its silence.
                Packet::Bye { .. } => {}
            }
        }
    }

    fn sender_report(&mut self, now: Instant, index: u32, ssrc: u32, info: SenderInfo) {
        let binding = self
            .transports
            .get(index)
            .and_then(|slot| slot.receiver.binding(ssrc))
            .filter(|binding| !binding.repair);
        let Some(binding) = binding else { return };
        let track = self.tracks.get_mut(binding.track);
        if let Some(layer) = track.and_then(|track| track.layer_mut(binding.layer)) {
            layer.stats.sender_report(now, info);
            self.relay_clock(now, binding.track, binding.layer);
        }
    }

    fn receiver_reports(&mut self, now: Instant, index: u32, blocks: Blocks<'_>) {
        let Some(slot) = self.transports.get_mut(index) else {
            return;
        };
        for block in blocks.iter() {
            let block: ReportBlock = block;
            let down = slot.sender.by_ssrc(block.ssrc);
            let Some(down) = down.and_then(|down| self.down_tracks.get_mut(down)) else {
                continue;
            };
            if down.ssrc != block.ssrc {
                continue; // retransmissions lose packets by design
            }
            if let Some(rtt) = down.reports.reported(now, &block) {
                slot.sender.measured_rtt(rtt);
            }
        }
    }

    fn nacked(&mut self, now: Instant, index: u32, ssrc: u32, pairs: Words<'_>) {
        let now_us = self.micros(now);
        let Some(slot) = self.transports.get_mut(index) else {
            return;
        };
        let Some(down_track) = slot.sender.by_ssrc(ssrc) else {
            return;
        };
        let Some(down) = self.down_tracks.get_mut(down_track) else {
            return;
        };
        slot.stats.nacks_in += 1;
        let interval = slot.sender.repeat_interval();
        for sequence in pairs.nacked().take(RETRANSMISSIONS_PER_NACK_MAX) {
            if !slot.sender.may_repeat(now_us) {
                break;
            }
            let Some(sent) = down.take_for_repeat(now, sequence, interval) else {
                continue;
            };
            slot.sender.repeats(now_us);
            let pending = Pending {
                down_track,
                layer: sent.layer,
                repeat: true,
                urgent: false,
                sequence: sent.sequence,
            };
            enqueue(slot, index, pending, &mut self.ready);
        }
    }

    fn key_frame_asked(&mut self, now: Instant, index: u32, ssrc: u32) {
        let now_us = self.micros(now);
        let Some(slot) = self.transports.get_mut(index) else {
            return;
        };
        slot.stats.plis_in += 1;
        let down = slot.sender.by_ssrc(ssrc);
        let Some(down) = down.and_then(|down| self.down_tracks.get_mut(down)) else {
            return;
        };
        let path = slot.sender.path.as_ref();
        let queued = path.is_some_and(|path| path.constrained && path.is_queued(now_us));
        let rest = if queued {
            KEY_FRAME_QUEUED
        } else {
            Duration::ZERO
        };
        if !down.grants_key_frame(now, rest) {
            return;
        }
        let Some(layer) = down.selector.key_frame_layer() else {
            return;
        };
        let track = self.tracks.get_mut(down.track);
        if let Some(layer) = track.and_then(|track| track.layer_mut(layer)) {
            layer.key_frames.request();
        }
    }
}
