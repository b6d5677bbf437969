//! A datagram's way in: find its transport, decrypt, find its track and layer, keep it, route it.

use std::time::Instant;

use crate::event::Event;
use crate::limits::PACKET_BYTES_MAX;
use crate::relay::track::RelayCopy;
use crate::router::{Ports, Routed, route};
use crate::rtp::{HeaderExtensions, RtpHeader};
use crate::shard::{AudioLevelSettings, Shard};
use crate::slab::Slab;
use crate::transport::{Received, TransportEvent, TransportOutput};
use crate::types::{Codec, MediaKind, Path};
use crate::upstream::UpTrack;
use crate::upstream::layer::Accepted;
use crate::upstream::receiver::Binding;
use crate::upstream::rtx;

impl Shard {
    pub(super) fn receive(&mut self, now: Instant, path: Path, payload: &mut [u8]) {
        self.counters.datagrams_in += 1;
        let known = self.paths.get(&path).copied();
        let named = self.named(&path, payload);
        // Only what no live transport is known for can be a dormant one's, but for its checks.
        let strange = named.is_none() && (known.is_none() || payload.first() == Some(&0));
        if strange && !self.standbys.is_empty() && self.receive_standby(now, path, payload) {
            return;
        }
        let index = named.or(known);
        let Some((index, slot)) = index.and_then(|i| Some((i, self.transports.get_mut(i)?))) else {
            self.counters.unknown_path += 1;
            return;
        };
        let len = payload.len() as u64;
        match slot.transport.handle_datagram(now, path, payload) {
            Received::Rtp { packet, replayed } => {
                slot.stats.packets_in += 1;
                slot.stats.bytes_in += len;
                self.receive_rtp(now, index, packet, replayed);
            }
            Received::Rtcp { packet } => self.receive_rtcp(now, index, packet),
            Received::Consumed => {
                if known != Some(index) {
                    self.learn_path(index, path, known.is_some());
                }
                self.drain_transport(index);
            }
            Received::Dropped(_) => {
                self.counters.refused += 1;
                slot.stats.packets_dropped += 1;
            }
        }
    }

    /// Takes over what a transport wants sent and told.
    pub(super) fn drain_transport(&mut self, index: u32) {
        let Some(slot) = self.transports.get_mut(index) else {
            return;
        };
        let transport = slot.key;
        while let Some(output) = slot.transport.poll() {
            let event = match output {
                TransportOutput::Transmit { path, payload } => {
                    self.control.push_back((path, payload));
                    continue;
                }
                TransportOutput::Event(event) => event,
            };
            self.events.push_back(match event {
                TransportEvent::State(state) => Event::Transport { transport, state },
                TransportEvent::PathSelected(path) => Event::PathSelected { transport, path },
                TransportEvent::ChannelOpen { label } => Event::ChannelOpen { transport, label },
                TransportEvent::ChannelClosed { label } => {
                    Event::ChannelClosed { transport, label }
                }
                TransportEvent::Data {
                    label,
                    payload,
                    binary,
                } => Event::Data {
                    transport,
                    label,
                    payload,
                    binary,
                },
            });
        }
        if !slot.open && slot.transport.is_connected() {
            slot.open = true;
            self.retarget_transport(index);
        }
        self.say_control(index);
        self.watch_timer(index);
    }

    fn receive_rtp(&mut self, now: Instant, index: u32, packet: &mut [u8], replayed: bool) {
        self.counters.rtp_in += 1;
        self.ticker.media(now);
        if packet.len() > PACKET_BYTES_MAX {
            self.counters.rtp_too_large += 1;
            return;
        }
        let Some(header) = RtpHeader::parse(packet) else {
            self.counters.rtp_malformed += 1;
            return;
        };
        let Some(slot) = self.transports.get_mut(index) else {
            return;
        };
        let extensions = slot.receiver.extensions.read(&header, packet);
        if let Some(sequence) = extensions.transport_cc {
            slot.receiver.arrivals.record(now, sequence);
            slot.media_ssrc = header.ssrc;
        }
        if replayed {
            return;
        }
        let binding = slot.receiver.binding(header.ssrc).or_else(|| {
            let receiver = &mut slot.receiver;
            let learned = receiver.learn(&header, &extensions, packet, &self.tracks);
            learned.inspect(|binding| {
                let event = stream_learned(&self.tracks, *binding, header.ssrc);
                self.events.extend(event);
            })
        });
        match binding {
            Some(binding) => self.deliver(now, binding, header, &extensions, packet),
            None => {
                if !slot.receiver.parked.park(now, packet) {
                    self.counters.rtp_unknown += 1;
                }
            }
        }
    }

    /// Packets that waited for their section or track.
    pub(super) fn deliver_parked(&mut self, now: Instant, index: u32) {
        let Some(slot) = self.transports.get_mut(index) else {
            return;
        };
        for (arrival, mut packet) in slot.receiver.parked.take(now) {
            let Some(slot) = self.transports.get_mut(index) else {
                return;
            };
            let Some(header) = RtpHeader::parse(&packet) else {
                continue;
            };
            let extensions = slot.receiver.extensions.read(&header, &packet);
            let binding = slot.receiver.binding(header.ssrc).or_else(|| {
                let receiver = &mut slot.receiver;
                let learned = receiver.learn(&header, &extensions, &packet, &self.tracks);
                learned.inspect(|binding| {
                    let event = stream_learned(&self.tracks, *binding, header.ssrc);
                    self.events.extend(event);
                })
            });
            match binding {
                Some(binding) => self.deliver(now, binding, header, &extensions, &mut packet),
                None => slot.receiver.parked.park_again(arrival, packet),
            }
        }
    }

    fn deliver(
        &mut self,
        now: Instant,
        binding: Binding,
        header: RtpHeader,
        extensions: &HeaderExtensions,
        packet: &mut [u8],
    ) {
        let Some(track) = self.tracks.get_mut(binding.track) else {
            return;
        };
        let Some((start, header)) = original(track, binding, header, packet) else {
            return; // a probe, or a repair of nothing we know
        };
        let packet = packet.get(start..).unwrap_or_default();
        let payload_type = track.payload_type(header.payload_type);
        let Some((codec, nack)) = payload_type.map(|pt| (pt.codec, pt.nack)) else {
            self.counters.rtp_dropped += 1;
            return;
        };
        if !binding.repair && track.is_taken(now, binding.layer, header.ssrc) {
            self.counters.rtp_dropped += 1;
            return;
        }
        let (buffers, throttle) = (&self.config.packet_buffers, &self.config.key_frame_throttle);
        let started = !binding.repair
            && track.start_layer(now, binding.layer, header.ssrc, buffers, throttle);
        if !binding.repair {
            let settings = &self.config.audio_level;
            observe_level(now, track, settings, extensions, &header, codec);
        }
        let opus_pt = track.recovered_payload_type(codec);
        let Some(layer) = track.layer_mut(binding.layer) else {
            return;
        };
        let before = layer.highest();
        match layer.receive(now, &header, extensions, codec, nack, packet) {
            Accepted::Dropped => self.counters.rtp_dropped += 1,
            Accepted::Packet {
                sequence,
                key_frame,
            } => {
                let woke = !std::mem::replace(&mut layer.active, true);
                let recovered = match (before, opus_pt) {
                    (Some(before), Some(pt)) => layer.recover(before, sequence, packet, pt),
                    _ => 0,
                };
                if started {
                    self.events.push_back(Event::TrackStarted {
                        track: track.key,
                        codec,
                        layer: binding.layer,
                        ssrc: header.ssrc,
                    });
                }
                if woke {
                    self.layer_changed(binding.track, binding.layer, true);
                }
                self.route_recovered(binding, sequence, recovered);
                let routed = Routed {
                    layer: binding.layer,
                    sequence,
                    key_frame,
                };
                self.route(binding.track, routed);
            }
        }
    }

    /// Bit k of `recovered`: the packet k before `sequence`. Oldest first.
    pub(super) fn route_recovered(&mut self, binding: Binding, sequence: u64, recovered: u8) {
        for back in (1..8u64).rev().filter(|back| recovered & 1 << back != 0) {
            let routed = Routed {
                layer: binding.layer,
                sequence: sequence - back,
                key_frame: true, // one can begin anywhere in sound
            };
            self.route(binding.track, routed);
        }
    }

    pub(super) fn route(&mut self, track_index: u32, routed: Routed) {
        let Some(track) = self.tracks.get_mut(track_index) else {
            return;
        };
        let mut ports = Ports {
            down_tracks: &mut self.down_tracks,
            transports: &mut self.transports,
            ready: &mut self.ready,
            events: &mut self.events,
            relays: &mut self.relays,
        };
        route(track_index, track, routed, &mut ports);
    }

    /// A layer came alive or fell silent.
    pub(super) fn layer_changed(&mut self, track_index: u32, layer: u8, active: bool) {
        let Some(track) = self.tracks.get_mut(track_index) else {
            return;
        };
        track.copies.iter_mut().for_each(RelayCopy::tell);
        if track.is_simulcast() {
            self.events.push_back(Event::LayerActive {
                track: track.key,
                layer,
                active,
            });
        }
        self.retarget_track(track_index);
    }
}

/// Where a packet begins and its header, a repair turned back into what it repeats.
fn original(
    track: &UpTrack,
    binding: Binding,
    header: RtpHeader,
    packet: &mut [u8],
) -> Option<(usize, RtpHeader)> {
    if !binding.repair {
        return Some((0, header));
    }
    let ssrc = track.layer(binding.layer)?.ssrc;
    let pt = track.repaired_payload_type(header.payload_type)?.pt;
    rtx::restore(packet, &header, ssrc, pt)
}

/// Feeds the speaker detection; what a muted track sends is not heard.
fn observe_level(
    now: Instant,
    track: &mut UpTrack,
    settings: &AudioLevelSettings,
    extensions: &HeaderExtensions,
    header: &RtpHeader,
    codec: Codec,
) {
    let audible = track.config.kind == MediaKind::Audio && !track.muted;
    if let Some(level) = extensions.audio_level.filter(|_| audible) {
        let hz = codec.clock_rate_hz();
        track
            .level
            .observe(now, settings, level, header.timestamp, hz);
    }
}

/// What the control plane is told when an SSRC is known.
fn stream_learned(tracks: &Slab<UpTrack>, binding: Binding, ssrc: u32) -> Option<Event> {
    let track = tracks.get(binding.track)?.key;
    let (layer, repair) = (binding.layer, binding.repair);
    Some(Event::StreamLearned {
        track,
        layer,
        ssrc,
        repair,
    })
}
