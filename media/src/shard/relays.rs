//! Relays at work: commands that begin and end them, and frames of a link on their way in. What is
//! said to the other end, and repeated because a frame may get lost, is in `telling`.

mod telling;

use std::time::Instant;

use crate::command::Command;
use crate::ids::{LinkKey, RoomKey, TrackKey};
use crate::limits::{LAYERS_MAX, RATE_LAYERS, RELAY_KEY_FRAME_INTERVAL};
use crate::relay::frame::{Age, Frame, LayerState, MediaHead, Numbers, RelayId, State, Wants};
use crate::relay::link::Waiting;
use crate::relay::track::{RelayCopy, RelaySource};
use crate::router::Routed;
use crate::rtp::RtpHeader;
use crate::shard::{KeyFrameThrottle, Shard};
use crate::types::{LayerMode, PayloadType, TrackConfig};
use crate::upstream::layer::Accepted;
use crate::upstream::receiver::Binding;
use crate::upstream::{TRANSPORT_NONE, UpTrack};

/// The publisher's throttle is at the other end of the link.
const THROTTLE: KeyFrameThrottle = KeyFrameThrottle {
    low: RELAY_KEY_FRAME_INTERVAL,
    mid: RELAY_KEY_FRAME_INTERVAL,
    high: RELAY_KEY_FRAME_INTERVAL,
};

impl Shard {
    pub(super) fn carry_out_relay(&mut self, now: Instant, command: Command) -> Option<()> {
        match command {
            Command::RelayTrack { track, link, relay } => self.relay_track(now, track, link, relay),
            Command::StopRelay { track, link } => {
                let index = *self.track_index.get(&track)?;
                let link = self.relays.find(link)?;
                let track = self.tracks.get_mut(index)?;
                let at = track.copies.iter().position(|copy| copy.link == link)?;
                let copy = track.copies.swap_remove(at);
                self.relays.link_mut(link)?.leaving.remove(&copy.relay.0);
                Some(())
            }
            Command::AddRelayedTrack {
                track,
                room,
                link,
                relay,
                config,
                payload_types,
            } => self.add_relayed_track(now, (track, room), (link, relay), config, payload_types),
            Command::SetRelayedPayloadTypes {
                track,
                payload_types,
            } => self.set_relayed_payload_types(track, payload_types),
            _ => None,
        }
    }

    fn relay_track(
        &mut self,
        now: Instant,
        track: TrackKey,
        link: LinkKey,
        relay: RelayId,
    ) -> Option<()> {
        let index = *self.track_index.get(&track)?;
        let link = self.relays.open(link)?;
        let track = self.tracks.get_mut(index)?;
        let known = track.copies.iter().any(|copy| copy.link == link);
        let leaving = &mut self.relays.link_mut(link)?.leaving;
        if known || track.source.is_some() || leaving.contains_key(&relay.0) {
            return None;
        }
        leaving.insert(relay.0, index);
        track.copies.push(RelayCopy::new(link, relay));
        self.ticker.media(now);
        Some(())
    }

    fn add_relayed_track(
        &mut self,
        now: Instant,
        (key, room): (TrackKey, RoomKey),
        (link, relay): (LinkKey, RelayId),
        config: TrackConfig,
        payload_types: Vec<PayloadType>,
    ) -> Option<()> {
        if self.track_index.contains_key(&key) {
            return None;
        }
        let link = self.relays.open(link)?;
        let arriving = &mut self.relays.link_mut(link)?.arriving;
        if arriving.contains_key(&relay.0) {
            return None;
        }
        let mut track = UpTrack::new(key, room, TRANSPORT_NONE, config);
        track.payload_types = payload_types.into();
        track.source = Some(RelaySource::new(link, relay));
        let index = self.tracks.insert(track);
        arriving.insert(relay.0, index);
        self.track_index.insert(key, index);
        self.ticker.media(now);
        self.ask_source(now, index);
        Some(())
    }

    fn set_relayed_payload_types(
        &mut self,
        key: TrackKey,
        payload_types: Vec<PayloadType>,
    ) -> Option<()> {
        let index = *self.track_index.get(&key)?;
        let track = self.tracks.get_mut(index)?;
        track.source.as_ref()?;
        track.payload_types = payload_types.into();
        for subscriber in &track.subscribers {
            if let Some(down) = self.down_tracks.get_mut(subscriber.down_track) {
                down.rebind(track);
            }
        }
        Some(())
    }

    /// A track ends: its names on links are free.
    pub(super) fn unlink_track(&mut self, index: u32) {
        let Some(track) = self.tracks.get_mut(index) else {
            return;
        };
        for copy in track.copies.drain(..) {
            if let Some(link) = self.relays.link_mut(copy.link) {
                link.leaving.remove(&copy.relay.0);
            }
            let gone = State {
                relay: copy.relay,
                muted: false,
                layers: [None; LAYERS_MAX],
            };
            self.relays.say(copy.link, |out| gone.write(out));
        }
        if let Some(source) = track.source.take() {
            if let Some(link) = self.relays.link_mut(source.link) {
                link.arriving.remove(&source.relay.0);
            }
            let nothing = Wants {
                relay: source.relay,
                layers: 0,
                asks: false,
            };
            self.relays.say(source.link, |out| nothing.write(out));
        }
    }

    /// One frame of a link.
    pub(super) fn receive_relay(&mut self, now: Instant, link: LinkKey, bytes: &[u8]) {
        self.counters.relay_in += 1;
        let taken = self.relays.find(link).and_then(|link| {
            let frame = Frame::parse(bytes)?;
            self.take_frame(now, link, frame)
        });
        if taken.is_none() {
            self.counters.relay_refused += 1;
        }
    }

    fn take_frame(&mut self, now: Instant, link: u32, frame: Frame<'_>) -> Option<()> {
        let arriving = |relay: RelayId| self.relays.link(link)?.arriving.get(&relay.0).copied();
        let leaving = |relay: RelayId| self.relays.link(link)?.leaving.get(&relay.0).copied();
        match frame {
            Frame::Media(head, packet) => {
                let track = arriving(head.relay)?;
                self.relayed_packet(now, track, &head, packet)
            }
            Frame::Clock(clock) => {
                let track = arriving(clock.relay)?;
                let layer = self.tracks.get_mut(track)?.layer_mut(clock.layer)?;
                layer
                    .stats
                    .sender_report(before(now, clock.age), clock.info());
                Some(())
            }
            Frame::State(state) => {
                let track = arriving(state.relay)?;
                self.relayed_state(now, track, &state)
            }
            Frame::Wants(wants) => {
                let track = leaving(wants.relay)?;
                self.wanted_elsewhere(now, (link, track), &wants)
            }
            Frame::KeyFrame { relay, layer } => {
                let track = self.tracks.get_mut(leaving(relay)?)?;
                track.layer_mut(layer)?.key_frames.request();
                self.ticker.media(now);
                Some(())
            }
            Frame::Nack {
                relay,
                layer,
                numbers,
            } => {
                let track = leaving(relay)?;
                self.repeat_over_link((link, track), relay, layer, numbers)
            }
        }
    }

    fn relayed_packet(
        &mut self,
        now: Instant,
        index: u32,
        head: &MediaHead,
        packet: &[u8],
    ) -> Option<()> {
        let header = RtpHeader::parse(packet)?;
        let extensions = self.relays.extensions.read(&header, packet);
        let track = self.tracks.get_mut(index)?;
        let codec = track.payload_type(header.payload_type)?.codec;
        let opus_pt = track.recovered_payload_type(codec);
        let buffers = &self.config.packet_buffers;
        let generation = track.layer(head.layer).map(|layer| layer.generation);
        match generation.map(|known| head.generation.wrapping_sub(known)) {
            Some(0) => {}
            // Of a stream that was replaced meanwhile.
            Some(128..) => return Some(()),
            Some(_) | None => {
                let (layer, generation) = (head.layer, head.generation);
                track.place_layer(now, layer, header.ssrc, generation, buffers, &THROTTLE);
            }
        }
        self.ticker.media(now);
        let layer = track.layer_mut(head.layer)?;
        if head.fresh {
            layer.forget_missing();
        }
        let sequence = u32::from(head.cycle) << 16 | u32::from(header.sequence);
        let arrival = before(now, head.age);
        let highest = layer.highest();
        let accepted =
            layer.receive_relayed(arrival, sequence, &header, &extensions, codec, packet);
        let Accepted::Packet {
            sequence,
            key_frame,
        } = accepted
        else {
            self.counters.rtp_dropped += 1;
            return Some(());
        };
        let recovered = match (highest, opus_pt) {
            (Some(highest), Some(pt)) => layer.recover(highest, sequence, packet, pt),
            _ => 0,
        };
        if !std::mem::replace(&mut layer.active, true) {
            self.retarget_track(index);
        }
        let binding = Binding {
            track: index,
            layer: head.layer,
            repair: false,
        };
        self.route_recovered(binding, sequence, recovered);
        let routed = Routed {
            layer: head.layer,
            sequence,
            key_frame,
        };
        self.route(index, routed);
        Some(())
    }

    /// Which layers the publisher sends, whether they are relayed or not.
    fn relayed_state(&mut self, now: Instant, index: u32, state: &State) -> Option<()> {
        let track = self.tracks.get_mut(index)?;
        let before = (track.live_layers(), track.muted);
        track.source.as_mut()?.known = true;
        track.muted = state.muted;
        let simulcast = track.config.layer_mode == LayerMode::OneStreamPerLayer;
        for (number, told) in (0..).zip(&state.layers) {
            let Some(told) = told else {
                if let Some(layer) = track.layer_mut(number) {
                    layer.active = false;
                }
                continue;
            };
            track.announced_layers = track.announced_layers.max(number + 1);
            let known = track.layer(number).map(|layer| layer.generation);
            let newer = known.is_none_or(|known| {
                let ahead = told.generation.wrapping_sub(known);
                (1..128).contains(&ahead)
            });
            if newer {
                let buffers = &self.config.packet_buffers;
                track.place_layer(now, number, 0, told.generation, buffers, &THROTTLE);
            }
            let Some(layer) = track.layer_mut(number) else {
                continue;
            };
            layer.active = true;
            if simulcast {
                layer.rates.tell(rates_of(told));
            }
        }
        if before != (track.live_layers(), track.muted) {
            self.retarget_track(index);
            self.ask_source(now, index);
        }
        Some(())
    }

    /// What subscribers elsewhere want of a track of ours.
    fn wanted_elsewhere(
        &mut self,
        now: Instant,
        (link, index): (u32, u32),
        wants: &Wants,
    ) -> Option<()> {
        let track = self.tracks.get_mut(index)?;
        let copy = track.copies.iter_mut().find(|copy| copy.link == link)?;
        copy.want(wants.layers);
        if wants.asks {
            copy.tell();
            self.tell_copies(now, index);
            for layer in 0..LAYERS_MAX as u8 {
                self.relay_clock(now, index, layer);
            }
        }
        Some(())
    }

    fn repeat_over_link(
        &mut self,
        (link, index): (u32, u32),
        relay: RelayId,
        layer: u8,
        numbers: Numbers<'_>,
    ) -> Option<()> {
        let track = self.tracks.get(index)?;
        let copy = track.copies.iter().find(|copy| copy.link == link)?;
        let source = track.layer(layer)?;
        for number in numbers.iter() {
            let sequence = source.extended(number);
            if track.muted || !copy.has_sent(layer, sequence) || !source.cache.contains(sequence) {
                continue;
            }
            let waiting = Waiting {
                track: index,
                relay,
                layer,
                fresh: false,
                sequence,
            };
            self.relays.push(link, waiting);
        }
        Some(())
    }
}

/// `None`: the other end has not measured them yet.
fn rates_of(state: &LayerState) -> Option<[u64; RATE_LAYERS]> {
    let mut bps = [0; RATE_LAYERS];
    for (slot, kbps) in bps.iter_mut().zip(state.kbps) {
        if kbps == u16::MAX {
            return None;
        }
        *slot = u64::from(kbps) * 1_000;
    }
    Some(bps)
}

/// Instants before the first one there is are that one.
fn before(now: Instant, age: Age) -> Instant {
    now.checked_sub(age.duration()).unwrap_or(now)
}
