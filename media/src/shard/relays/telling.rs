//! What the shard says over links: blocks of packets, what a publisher sends, what subscribers
//! want. Called by `poll`, by the media tick, and where something just changed.

use std::time::Instant;

use crate::limits::{LAYERS_MAX, RELAY_RTT};
use crate::relay::Block;
use crate::relay::frame::{
    Age, Clock, LayerState, MediaHead, RATES, State, Wants, write_key_frame, write_nack,
};
use crate::relay::link::{Waiting, write_rtp};
use crate::shard::Shard;
use crate::slab::Slab;
use crate::upstream::UpTrack;
use crate::upstream::layer::Layer;

impl Shard {
    /// Makes the next block of frames; false when none is due.
    pub(in crate::shard) fn fill_block(&mut self) -> bool {
        let Shard {
            relays,
            tracks,
            counters,
            now,
            ..
        } = self;
        let Some(now) = *now else { return false };
        relays.fill(
            |link, block, waiting| match write(tracks, link, block, now, waiting) {
                Some(()) => counters.relay_out += 1,
                None => counters.forward_failed += 1,
            },
        )
    }

    /// The tick of relays: requests back to publishing sides, and what is due to be repeated.
    pub(in crate::shard) fn tell_links(&mut self, now: Instant) {
        for index in 0..self.tracks.end() {
            let Some(track) = self.tracks.get(index) else {
                continue;
            };
            if track.source.is_some() {
                self.ask_source(now, index);
            } else if !track.copies.is_empty() {
                self.tell_copies(now, index);
            }
        }
    }

    /// A subscriber wants something else: no need to wait for the tick.
    pub(in crate::shard) fn ask_source_of(&mut self, now: Instant, down_track: u32) {
        if let Some(down) = self.down_tracks.get(down_track) {
            self.ask_source(now, down.track);
        }
    }

    /// What the publishing side of a relayed track is to send: layers, key frames, repeats.
    pub(super) fn ask_source(&mut self, now: Instant, index: u32) {
        let Some(track) = self.tracks.get_mut(index) else {
            return;
        };
        let Some(source) = &mut track.source else {
            return;
        };
        let (link, relay) = (source.link, source.relay);
        if source.is_due(now) {
            let downs = &self.down_tracks;
            let needs = track
                .subscribers
                .iter()
                .filter_map(|subscriber| downs.get(subscriber.down_track))
                .fold(0, |mask, down| mask | down.selector.needs());
            if source.asks(now, needs) {
                let wants = Wants {
                    relay,
                    layers: needs,
                    asks: !source.known,
                };
                self.relays.say(link, |out| wants.write(out));
            }
        }
        for (number, layer) in track.layers_mut() {
            if !layer.nack.is_idle() {
                let asked = layer.nack.due(now, RELAY_RTT);
                if !asked.is_empty() {
                    self.relays
                        .say(link, |out| write_nack(out, relay, number, &asked));
                }
            }
            if layer.key_frames.due(now) {
                self.relays
                    .say(link, |out| write_key_frame(out, relay, number));
            }
        }
    }

    /// Tells every link a track leaves over what its publisher sends, when it is due.
    pub(super) fn tell_copies(&mut self, now: Instant, index: u32) {
        let Some(track) = self.tracks.get_mut(index) else {
            return;
        };
        let (muted, layers) = (track.muted, layers_of(track));
        for copy in track.copies.iter_mut() {
            if copy.is_due(now) {
                let state = State {
                    relay: copy.relay,
                    muted,
                    layers,
                };
                self.relays.say(copy.link, |out| state.write(out));
            }
        }
    }

    /// Passes the publisher's clocks of a layer on.
    pub(in crate::shard) fn relay_clock(&mut self, now: Instant, index: u32, layer: u8) {
        let Shard { tracks, relays, .. } = self;
        let Some(track) = tracks.get(index) else {
            return;
        };
        let clock = track.layer(layer).and_then(|layer| layer.stats.clock());
        let Some(clock) = clock else { return };
        for copy in &track.copies {
            let clock = Clock {
                relay: copy.relay,
                layer,
                age: Age::new(now.saturating_duration_since(clock.arrival)),
                ntp: clock.info.ntp,
                rtp_timestamp: clock.info.rtp_timestamp,
            };
            relays.say(copy.link, |out| clock.write(out));
        }
    }
}

/// Lays a waiting packet into a block; `None`: it is gone, or not to be sent any more.
fn write(
    tracks: &mut Slab<UpTrack>,
    link: u32,
    block: &mut Block,
    now: Instant,
    waiting: &Waiting,
) -> Option<()> {
    let track = tracks.get_mut(waiting.track)?;
    let UpTrack {
        layers,
        copies,
        config,
        ..
    } = track;
    let mut here = copies.iter_mut().filter(|copy| copy.link == link);
    let copy = here.find(|copy| copy.relay == waiting.relay)?;
    let layer: &Layer = layers.get(usize::from(waiting.layer))?.as_deref()?;
    let (info, packet) = layer.cache.get(waiting.sequence)?;
    if info.recovered {
        return Some(()); // the other end takes it out of the same redundancy
    }
    let (number, starts) = (waiting.layer, info.frame.key_frame);
    let head = MediaHead {
        relay: waiting.relay,
        layer: number,
        fresh: waiting.fresh,
        priority: copy.priority(config.kind, number, info.timestamp, starts),
        generation: info.generation,
        age: Age::new(now.saturating_duration_since(info.arrival)),
        cycle: (waiting.sequence >> 16) as u16,
    };
    let written = block.push(|out| {
        let at = head.write(out)?;
        let len = write_rtp(out.get_mut(at..)?, layer.ssrc, info, packet)?;
        Some(at + len)
    });
    written.then_some(())
}

fn layers_of(track: &UpTrack) -> [Option<LayerState>; LAYERS_MAX] {
    let mut layers = [None; LAYERS_MAX];
    for (slot, layer) in layers.iter_mut().zip(&track.layers) {
        *slot = layer.as_deref().filter(|l| l.active).map(|layer| {
            let mut kbps = [u16::MAX; RATES];
            for (temporal, slot) in (0..).zip(&mut kbps) {
                if let Some(bps) = layer.rates.bps(0, temporal) {
                    let told = u16::try_from(bps.div_ceil(1_000)).unwrap_or(u16::MAX - 1);
                    *slot = told.min(u16::MAX - 1);
                }
            }
            LayerState {
                generation: layer.generation,
                kbps,
            }
        });
    }
    layers
}
