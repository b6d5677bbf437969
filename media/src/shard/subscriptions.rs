//! Commands about down tracks, and keeping every subscriber's choice of layer up to date.

use std::time::Instant;

use rand::RngExt;

use crate::command::Command;
use crate::downstream::DownTrack;
use crate::downstream::playout_delay::PlayoutDelayControl;
use crate::ids::{DownTrackKey, TrackKey, TransportKey};
use crate::router::retarget;
use crate::shard::Shard;
use crate::types::{LayerLimit, SendSection};
use crate::upstream::{LAYER_NONE, Subscriber};

impl Shard {
    pub(super) fn carry_out_subscription(&mut self, now: Instant, command: Command) -> Option<()> {
        match command {
            Command::AddDownTrack {
                down_track,
                track,
                transport,
                section,
                limit,
                paused,
            } => self.add_down_track(now, down_track, (track, transport), section, limit, paused),
            Command::UpdateDownTrack {
                down_track,
                limit,
                paused,
            } => {
                let index = *self.down_track_index.get(&down_track)?;
                let down = self.down_tracks.get_mut(index)?;
                down.selector.set_limit(limit, paused);
                self.ticker.media(now);
                self.retarget_down_track(index);
                self.ask_source_of(now, index);
                Some(())
            }
            Command::SetPriority {
                down_track,
                priority,
            } => {
                let index = *self.down_track_index.get(&down_track)?;
                self.down_tracks.get_mut(index)?.priority = priority;
                Some(())
            }
            Command::SetBandwidthPolicy { transport, policy } => {
                self.set_bandwidth_policy(now, transport, policy)
            }
            Command::SetPlayoutDelay { transport, bounds } => {
                let index = self.find(transport)?;
                let slot = self.transports.get_mut(index)?;
                slot.sender.playout_delay = Some(PlayoutDelayControl::new(bounds));
                Some(())
            }
            Command::SwitchDownTrack { down_track, track } => {
                self.switch_down_track(now, down_track, track)
            }
            Command::RemoveDownTrack { down_track } => {
                let index = *self.down_track_index.get(&down_track)?;
                self.remove_down_track_at(index);
                Some(())
            }
            other => self.carry_out_relay(now, other),
        }
    }

    fn add_down_track(
        &mut self,
        now: Instant,
        key: DownTrackKey,
        (track, transport): (TrackKey, TransportKey),
        section: SendSection,
        limit: LayerLimit,
        paused: bool,
    ) -> Option<()> {
        if self.down_track_index.contains_key(&key) {
            return None;
        }
        let track_index = *self.track_index.get(&track)?;
        let transport_index = self.find(transport)?;
        let track = self.tracks.get_mut(track_index)?;
        let slot = self.transports.get_mut(transport_index)?;
        // A stream that was sent before (a thawed transport, a section used again) goes on behind
        // the numbers that are used up under its key.
        let mut first = |ssrc: u32| slot.transport.next_sequence(ssrc, self.rng.random());
        let first_sequence = first(section.ssrc);
        let first_rtx = section.rtx_ssrc.map_or(0, &mut first);
        let (ssrc, rtx_ssrc) = (section.ssrc, section.rtx_ssrc);
        let mut down = DownTrack::new(
            key,
            track_index,
            track,
            transport_index,
            section,
            limit,
            paused,
            first_sequence,
            first_rtx,
        );
        if let Some(at) = slot.resumed.iter().position(|known| known.ssrc == ssrc) {
            down.go_on(slot.resumed.swap_remove(at));
        }
        down.slot = track.subscribers.len();
        let index = self.down_tracks.insert(down);
        track.subscribers.push(Subscriber {
            down_track: index,
            transport: transport_index,
            current: LAYER_NONE,
            accept: 0,
        });
        slot.sender.add(index, ssrc, rtx_ssrc);
        self.down_track_index.insert(key, index);
        self.ticker.media(now);
        self.retarget_down_track(index);
        self.ask_source_of(now, index);
        self.greet_path(index);
        Some(())
    }

    fn switch_down_track(&mut self, now: Instant, key: DownTrackKey, to: TrackKey) -> Option<()> {
        let index = *self.down_track_index.get(&key)?;
        let to_index = *self.track_index.get(&to)?;
        self.detach(index);
        let down = self.down_tracks.get_mut(index)?;
        let track = self.tracks.get_mut(to_index)?;
        down.switch_source(to_index, track);
        down.slot = track.subscribers.len();
        track.subscribers.push(Subscriber {
            down_track: index,
            transport: down.transport,
            current: LAYER_NONE,
            accept: 0,
        });
        if let Some(slot) = self.transports.get_mut(down.transport) {
            // What waits names layers of the old track.
            slot.sender.drop_waiting(index);
        }
        self.ticker.media(now);
        self.retarget_down_track(index);
        self.ask_source_of(now, index);
        Some(())
    }

    /// Takes a down track off its track's list of subscribers.
    fn detach(&mut self, index: u32) -> Option<()> {
        let down = self.down_tracks.get(index)?;
        let (slot, track) = (down.slot, self.tracks.get_mut(down.track)?);
        if slot < track.subscribers.len() {
            track.subscribers.swap_remove(slot);
        }
        if let Some(source) = &mut track.source {
            source.changed = true;
        }
        if let Some(moved) = track.subscribers.get(slot)
            && let Some(moved) = self.down_tracks.get_mut(moved.down_track)
        {
            moved.slot = slot;
        }
        Some(())
    }

    /// Takes its source away from a down track: nothing is sent until it gets another one.
    pub(super) fn orphan(&mut self, index: u32) {
        self.detach(index);
        self.awaiting.retain(|known| *known != index);
        let Some(down) = self.down_tracks.get_mut(index) else {
            return;
        };
        down.lose_source();
        if let Some(slot) = self.transports.get_mut(down.transport) {
            slot.sender.drop_waiting(index);
        }
    }

    /// Layers may appear inside a stream after its key frame, which no command tells of: who wants
    /// them has to ask for another one.
    pub(super) fn watch_inner_layers(&mut self, transport: u32) {
        let Some(slot) = self.transports.get(transport) else {
            return;
        };
        for index in &slot.sender.down_tracks {
            let down = self.down_tracks.get(*index);
            let wants = down.is_some_and(|down| {
                down.selector.is_svc() && down.selector.wanted_key_frame().is_some()
            });
            if wants && !self.awaiting.contains(index) {
                self.awaiting.push(*index);
            }
        }
    }

    pub(super) fn remove_down_track_at(&mut self, index: u32) {
        self.detach(index);
        let Some(down) = self.down_tracks.remove(index) else {
            return;
        };
        self.down_track_index.remove(&down.key);
        self.awaiting.retain(|known| *known != index);
        if let Some(slot) = self.transports.get_mut(down.transport) {
            slot.sender.remove(index);
        }
    }

    /// A subscriber's transport is up: everything it waits for may start.
    pub(super) fn retarget_transport(&mut self, index: u32) {
        let slot = self.transports.get(index);
        let downs = slot.map(|slot| slot.sender.down_tracks.clone());
        for down in downs.unwrap_or_default() {
            self.retarget_down_track(down);
            self.greet_path(down);
        }
    }

    pub(super) fn retarget_track(&mut self, track_index: u32) {
        let subscribers = self
            .tracks
            .get(track_index)
            .map_or(0, |t| t.subscribers.len());
        for position in 0..subscribers {
            let down = self
                .tracks
                .get(track_index)
                .and_then(|track| Some(track.subscribers.get(position)?.down_track));
            if let Some(down) = down {
                self.retarget_down_track(down);
            }
        }
    }

    pub(super) fn retarget_down_track(&mut self, index: u32) {
        let Some(down) = self.down_tracks.get_mut(index) else {
            return;
        };
        let Some(track) = self.tracks.get_mut(down.track) else {
            return;
        };
        let slot = self.transports.get(down.transport);
        let open = slot.is_some_and(|slot| slot.open);
        let missing = retarget(down, track, open, &mut self.events);
        if missing && !self.awaiting.contains(&index) {
            self.awaiting.push(index);
        }
    }
}
