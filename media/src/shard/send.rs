//! A subscriber's turn: its waiting packets are written, sealed and laid into the arena as runs, as
//! far as its pace allows; a probe is filled up with padding.

use std::time::{Duration, Instant};

use crate::bandwidth::pacer::turn_packets_max;
use crate::downstream::sender::{Pending, Sender};
use crate::downstream::{Cached, DownTrack, Stamp};
use crate::limits::{DATAGRAM_BYTES_MAX, PACKET_BYTES_MAX, PADDING_BYTES_MAX};
use crate::router::list;
use crate::rtp::writer::abs_send_time;
use crate::shard::Shard;
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
            slot.stats.packets_dropped += slot.sender.drop_all() as u64;
            return true;
        };
        let now_us = now.saturating_duration_since(epoch).as_micros() as u64;
        let stamp = Stamp {
            now,
            abs_send_time: abs_send_time(now_us),
            playout_delay: slot.sender.playout_delay.as_ref().map(|delay| delay.told()),
        };
        slot.sender.set_pace(now_us);
        self.arena.limit_runs(slot.sender.pacer.run_packets_max());
        for _ in 0..turn_packets_max() {
            let run_ends = self.arena.run_ends();
            let Some(out) = self.arena.slot() else { break };
            let (written, repeat) = match slot.sender.next(run_ends) {
                Some(pending) => {
                    let (tracks, downs) = (&self.tracks, &mut self.down_tracks);
                    let written = write(tracks, downs, &slot.sender, &stamp, &pending, out);
                    (written, pending.repeat)
                }
                None => match pad(&mut self.down_tracks, &slot.sender, &stamp, out) {
                    Some(written) => (written, false),
                    None => {
                        if slot.sender.is_idle() && slot.sender.pacer.may_send() {
                            slot.sender.stop_probe();
                        }
                        break;
                    }
                },
            };
            let Written::Packet { len, numbered } = written else {
                self.counters.forward_failed += u64::from(matches!(written, Written::Failed));
                continue;
            };
            let Some(sealed) = slot.transport.seal_rtp(out, len) else {
                self.counters.forward_failed += 1;
                continue;
            };
            if sealed > DATAGRAM_BYTES_MAX {
                self.counters.rtp_too_large += 1;
                continue;
            }
            self.arena.commit(path, sealed);
            slot.sender.sent(now_us, sealed, numbered);
            slot.stats.packets_out += 1;
            slot.stats.bytes_out += sealed as u64;
            slot.stats.retransmitted += u64::from(repeat);
            self.counters.rtp_out += 1;
            self.counters.retransmitted += u64::from(repeat);
        }
        self.end_turn(index, epoch);
        true
    }

    /// What could not leave yet has its turn after everybody else, or when its pace allows.
    fn end_turn(&mut self, index: u32, epoch: Instant) {
        let Some(slot) = self.transports.get_mut(index) else {
            return;
        };
        if slot.sender.is_due() {
            return list(slot, index, &mut self.ready);
        }
        let probing = slot.sender.probe_bps().is_some();
        if slot.sender.is_idle() && !probing {
            return;
        }
        let due = epoch + Duration::from_micros(slot.sender.pacer.due_us());
        if slot.sender.paced.is_none_or(|known| due < known) {
            slot.sender.paced = Some(due);
            self.paced.insert(due, index);
        }
    }

    /// Lists the transports whose next packet may leave now.
    pub(super) fn release_paced(&mut self, now: Instant) {
        let Some(epoch) = self.epoch else {
            return;
        };
        while let Some((at, index)) = self.paced.take(now) {
            let slot = self.transports.get_mut(index);
            let Some(slot) = slot.filter(|slot| slot.sender.paced == Some(at)) else {
                continue; // an earlier entry took its place
            };
            // Audio may have spent some of its pace meanwhile.
            let due = epoch + Duration::from_micros(slot.sender.pacer.due_us());
            if due > now {
                slot.sender.paced = Some(due);
                self.paced.insert(due, index);
                continue;
            }
            slot.sender.paced = None;
            list(slot, index, &mut self.ready);
        }
    }
}

enum Written {
    /// `numbered`: it carries a transport-wide number.
    Packet { len: usize, numbered: bool },
    /// Not meant for this subscriber (a temporal layer, a codec it lacks).
    Unwanted,
    /// The cache has moved on, or it does not fit.
    Failed,
}

fn write(
    tracks: &Slab<UpTrack>,
    down_tracks: &mut Slab<DownTrack>,
    sender: &Sender,
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
    let transport_cc = sender.next_wire();
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
    let numbered = down.wants_transport_cc();
    written.map_or(Written::Failed, |len| Written::Packet { len, numbered })
}

/// Padding while a probe is under way and nothing else may leave; `None`: none is needed, or the
/// subscriber has no stream that can carry it.
fn pad(
    down_tracks: &mut Slab<DownTrack>,
    sender: &Sender,
    stamp: &Stamp,
    out: &mut [u8],
) -> Option<Written> {
    sender.probe_bps()?;
    if !sender.pacer.may_send() {
        return None;
    }
    let carriers = sender.down_tracks.iter().copied();
    let wire = sender.next_wire();
    for down in carriers {
        let Some(down) = down_tracks.get_mut(down) else {
            continue;
        };
        let numbered = down.wants_transport_cc();
        if let Some(len) = down.pad(stamp, wire, PADDING_BYTES_MAX, out) {
            return Some(Written::Packet { len, numbered });
        }
    }
    None
}
