//! A subscriber's turn: its waiting packets are written, sealed and laid into the arena as runs.

use crate::bandwidth::pacer::turn_packets_max;
use crate::downstream::sender::Pending;
use crate::downstream::{Cached, DownTrack, Stamp};
use crate::limits::PACKET_BYTES_MAX;
use crate::rtp::writer::abs_send_time;
use crate::shard::Shard;
use crate::shard::slot::TransportSlot;
use crate::slab::Slab;
use crate::upstream::UpTrack;

/// Room for a packet in clear; the seal needs more behind it.
const PLAIN_BYTES_MAX: usize = PACKET_BYTES_MAX + 64;

impl Shard {
    /// Serves the next transport that has something to send; false when none has.
    pub(super) fn build_turn(&mut self) -> bool {
        self.arena.clear();
        let (Some(now), Some(epoch)) = (self.now, self.epoch) else {
            return false;
        };
        let Some(index) = self.ready.pop_front() else {
            return false;
        };
        let Some(slot) = self.transports.get_mut(index) else {
            return true;
        };
        slot.sender.listed = false;
        let Some(path) = slot.transport.selected_path() else {
            slot.stats.packets_dropped += slot.sender.queue.len() as u64;
            slot.sender.queue.clear();
            return true;
        };
        let since_start_us = now.saturating_duration_since(epoch).as_micros() as u64;
        let stamp = Stamp {
            now,
            abs_send_time: abs_send_time(since_start_us),
        };
        for _ in 0..turn_packets_max() {
            let Some(pending) = slot.sender.queue.pop_front() else {
                break;
            };
            let Some(out) = self.arena.slot() else { break };
            let written = write(
                &self.tracks,
                &mut self.down_tracks,
                slot,
                &stamp,
                &pending,
                out,
            );
            let Written::Packet(len) = written else {
                self.counters.forward_failed += u64::from(matches!(written, Written::Failed));
                continue;
            };
            let Some(sealed) = slot.transport.seal_rtp(out, len) else {
                self.counters.forward_failed += 1;
                continue;
            };
            self.arena.commit(path, sealed);
            slot.stats.packets_out += 1;
            slot.stats.bytes_out += sealed as u64;
            slot.stats.retransmitted += u64::from(pending.repeat);
            self.counters.rtp_out += 1;
            self.counters.retransmitted += u64::from(pending.repeat);
        }
        if !slot.sender.queue.is_empty() {
            // The rest has its turn after everybody else.
            slot.sender.listed = true;
            self.ready.push_back(index);
        }
        true
    }
}

enum Written {
    Packet(usize),
    /// Not meant for this subscriber (a temporal layer, a codec it lacks).
    Unwanted,
    /// The cache has moved on, or it does not fit.
    Failed,
}

fn write(
    tracks: &Slab<UpTrack>,
    down_tracks: &mut Slab<DownTrack>,
    slot: &mut TransportSlot,
    stamp: &Stamp,
    pending: &Pending,
    out: &mut [u8],
) -> Written {
    let Some(down) = down_tracks.get_mut(pending.down_track) else {
        return Written::Unwanted;
    };
    let Some(track) = tracks.get(down.track) else {
        return Written::Unwanted;
    };
    let plain = out.len().min(PLAIN_BYTES_MAX);
    let Some(out) = out.get_mut(..plain) else {
        return Written::Failed;
    };
    let transport_cc = slot.sender.transport_cc;
    let written = if pending.repeat {
        down.sent(pending.sequence).and_then(|sent| {
            let layer = track.layer(sent.layer)?;
            let (info, packet) = layer.cache.get(sent.source_sequence)?;
            let cached = Cached {
                layer: sent.layer,
                info,
                packet,
            };
            down.repeat(stamp, transport_cc, &sent, cached, out)
        })
    } else {
        if down.selector.is_paused() || track.muted {
            return Written::Unwanted;
        }
        let cached = track.layer(pending.layer).and_then(|layer| {
            let (info, packet) = layer.cache.get(pending.sequence)?;
            Some(Cached {
                layer: pending.layer,
                info,
                packet,
            })
        });
        let Some(cached) = cached else {
            return Written::Failed;
        };
        let written = down.forward(stamp, transport_cc, track, cached, out);
        if written.is_none() {
            return Written::Unwanted;
        }
        written
    };
    if down.wants_transport_cc() {
        slot.sender.transport_cc = transport_cc.wrapping_add(1);
    }
    written.map_or(Written::Failed, Written::Packet)
}
