//! Time: transport timers, the media tick (NACKs, key-frame requests, feedback, reports) and its
//! pace. Reports of many peers are spread over the second, so that they do not leave as one burst.

use std::time::Instant;

use crate::event::Event;
use crate::limits::{
    FEEDBACK_TICKS, MEDIA_IDLE_AFTER, MEDIA_TICK, MEDIA_TICK_IDLE, REPORT_TICKS, RTT_DEFAULT,
    TIMER_REST,
};
use crate::rtcp::write;
use crate::shard::Shard;

/// When the shard wants to be woken.
#[derive(Debug, Default)]
pub(super) struct Ticker {
    next_tick: Option<Instant>,
    last_media: Option<Instant>,
    /// Start of tick 0.
    origin: Option<Instant>,
    /// Ticks whose spread-out work is done.
    done: u64,
}

impl Ticker {
    pub(super) fn next_tick(&self) -> Option<Instant> {
        self.next_tick
    }

    /// There is something to tick for.
    pub(super) fn watch(&mut self, now: Instant) {
        self.next_tick.get_or_insert(now + MEDIA_TICK_IDLE);
    }

    /// Media or a wish for it: ticks are quick from now on.
    pub(super) fn media(&mut self, now: Instant) {
        self.last_media = Some(now);
        let soon = now + MEDIA_TICK;
        if self.next_tick.is_none_or(|next| next > soon) {
            self.next_tick = Some(soon);
        }
    }

    /// The ticks whose spread-out work is due: a range of counters, a second's worth at most.
    fn advance(&mut self, now: Instant, busy: bool) -> std::ops::Range<u64> {
        let origin = *self.origin.get_or_insert(now);
        let elapsed = now.saturating_duration_since(origin).as_millis() as u64;
        let tick = elapsed / MEDIA_TICK.as_millis() as u64 + 1;
        let from = self.done.max(tick.saturating_sub(REPORT_TICKS));
        self.done = tick;
        let idle = self
            .last_media
            .is_none_or(|last| now.saturating_duration_since(last) > MEDIA_IDLE_AFTER);
        let pace = if idle { MEDIA_TICK_IDLE } else { MEDIA_TICK };
        self.next_tick = busy.then(|| now + pace);
        from..tick
    }
}

impl Shard {
    pub(super) fn timeout(&mut self, now: Instant) {
        self.transport_timers(now);
        self.standby_timers(now);
        if self.ticker.next_tick.is_some_and(|due| due <= now) {
            self.tick(now);
        }
        self.release_paced(now);
    }

    fn transport_timers(&mut self, now: Instant) {
        while let Some((at, index)) = self.timers.take(now) {
            let slot = self.transports.get_mut(index);
            let Some(slot) = slot.filter(|slot| slot.timer == Some(at)) else {
                continue; // it was called earlier
            };
            slot.timer = None;
            if slot.transport.deadline().is_some_and(|due| due <= now) {
                slot.transport.handle_timeout(now);
                self.drain_transport(index);
            }
            self.watch_timer(index);
        }
    }

    /// Notes when a transport wants to be called; a wish that moved back is noticed in time.
    pub(super) fn watch_timer(&mut self, index: u32) {
        let (Some(slot), Some(now)) = (self.transports.get_mut(index), self.now) else {
            return;
        };
        let Some(due) = slot.transport.deadline() else {
            return;
        };
        // A timer that does not move on when it is served must not be served without end.
        let due = if due > now { due } else { now + TIMER_REST };
        if slot.timer.is_none_or(|known| due < known) {
            slot.timer = Some(due);
            self.timers.insert(due, index);
        }
    }

    fn tick(&mut self, now: Instant) {
        let busy = self.transports.iter().next().is_some() || !self.standbys.is_empty();
        let ticks = self.ticker.advance(now, busy);
        self.ask_for_key_frames(now);
        self.ask_publishers(now);
        self.tell_links(now);
        for tick in ticks {
            let feedback = (tick % FEEDBACK_TICKS) as u32;
            for index in (feedback..self.transports.end()).step_by(FEEDBACK_TICKS as usize) {
                self.send_arrivals(index);
                self.distribute(now, index);
                self.tell_standby(now, index, false);
                self.watch_takeover(now, index);
            }
            if tick % FEEDBACK_TICKS == 0 {
                self.watch_layers(now);
            }
            if tick % REPORT_TICKS == 0 {
                self.judge_standbys(now);
            }
            let report = (tick % REPORT_TICKS) as u32;
            for index in (report..self.transports.end()).step_by(REPORT_TICKS as usize) {
                self.report(now, index);
                self.tell_standby(now, index, true);
            }
        }
        self.tell_speakers(now);
    }

    /// Down tracks that miss a key frame ask their layer for one, again and again.
    fn ask_for_key_frames(&mut self, now: Instant) {
        let Shard {
            awaiting,
            down_tracks,
            tracks,
            transports,
            ..
        } = self;
        awaiting.retain(|index| {
            let Some(down) = down_tracks.get_mut(*index) else {
                return false;
            };
            let sender = transports.get(down.transport).map(|slot| &slot.sender);
            let rtt = sender.map_or(RTT_DEFAULT, |sender| sender.rtt_or_default());
            if let Some(wanted) = down.key_frame_wish(now, rtt)
                && let Some(layer) = tracks.get_mut(down.track).and_then(|t| t.layer_mut(wanted))
                && layer.active
            {
                layer.key_frames.request();
            }
            down.selector.wanted_key_frame().is_some()
        });
    }

    /// NACKs and key-frame requests of all layers, one compound per track.
    fn ask_publishers(&mut self, now: Instant) {
        for index in 0..self.tracks.end() {
            let Some(track) = self.tracks.get_mut(index) else {
                continue;
            };
            let Some(slot) = self.transports.get_mut(track.transport) else {
                continue;
            };
            // A publisher reports on nothing of ours: its checks tell the round trip.
            let measured = slot.sender.rtt.or_else(|| slot.transport.rtt());
            let rtt = measured.unwrap_or(RTT_DEFAULT);
            let (transport, sender_ssrc) = (track.transport, slot.feedback_ssrc);
            self.rtcp.clear();
            for (_, layer) in track.layers_mut() {
                if !layer.nack.is_idle() {
                    let asked = layer.nack.due(now, rtt);
                    if !asked.is_empty() {
                        slot.stats.nacks_out += 1;
                        write::nack(&mut self.rtcp, sender_ssrc, layer.ssrc, &asked);
                    }
                }
                if layer.key_frames.due(now) {
                    slot.stats.plis_out += 1;
                    write::picture_loss(&mut self.rtcp, sender_ssrc, layer.ssrc);
                }
            }
            self.send_rtcp(transport);
        }
    }

    /// Transport-wide feedback of one publisher.
    fn send_arrivals(&mut self, index: u32) {
        loop {
            self.rtcp.clear();
            let Some(slot) = self.transports.get_mut(index) else {
                return;
            };
            let (sender, media) = (slot.feedback_ssrc, slot.media_ssrc);
            if !slot.receiver.arrivals.write(&mut self.rtcp, sender, media) {
                return;
            }
            self.send_rtcp(index);
        }
    }

    /// Layers that fell silent.
    fn watch_layers(&mut self, now: Instant) {
        for index in 0..self.tracks.end() {
            let Some(track) = self.tracks.get_mut(index) else {
                continue;
            };
            // The other end of a link says which layers are live, relayed or not.
            let relayed = track.source.is_some();
            let mut silent = 0u8;
            for (number, layer) in track.layers_mut() {
                layer.rates.roll(now);
                if layer.active && !relayed && !layer.is_live(now) {
                    layer.active = false;
                    layer.rates.clear();
                    silent |= 1 << number;
                }
            }
            for number in (0..8).filter(|number| silent & 1 << number != 0) {
                self.layer_changed(index, number, false);
            }
        }
    }

    fn tell_speakers(&mut self, now: Instant) {
        let Shard {
            rooms,
            tracks,
            events,
            config,
            ..
        } = self;
        let settings = &config.audio_level;
        rooms.update(
            now,
            settings.update_interval,
            |index| {
                let track = tracks.get_mut(index)?;
                Some((track.key, track.level.speaking(now, settings)?))
            },
            |room, levels| events.push_back(Event::Speakers { room, levels }),
        );
    }

    /// Seals the compound under construction and queues it.
    pub(super) fn send_rtcp(&mut self, index: u32) {
        if self.rtcp.is_empty() {
            return;
        }
        let Some(slot) = self.transports.get_mut(index) else {
            return;
        };
        let Some(path) = slot.transport.selected_path() else {
            return;
        };
        let len = self.rtcp.len();
        self.rtcp
            .resize(len + crate::transport::SRTCP_TAIL_BYTES, 0);
        if let Some(sealed) = slot.transport.seal_rtcp(&mut self.rtcp, len)
            && let Some(packet) = self.rtcp.get(..sealed)
        {
            slot.stats.bytes_out += sealed as u64;
            self.control
                .push_back((path, bytes::Bytes::copy_from_slice(packet)));
        }
        self.rtcp.clear();
    }
}
