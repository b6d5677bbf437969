//! The publisher's side of a track: its layers as they arrive, what is known of them, and who is
//! subscribed. Driven by the shard; says nothing to sockets or the control plane by itself.

pub(crate) mod key_frame_throttle;
pub(crate) mod layer;
pub(crate) mod layer_rates;
pub(crate) mod nack_generator;
pub(crate) mod packet_cache;
pub(crate) mod parked;
pub(crate) mod receive_stats;
pub(crate) mod receiver;
pub(crate) mod rtx;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ids::{RoomKey, TrackKey};
use crate::limits::{LAYER_SILENCE, LAYER_SILENCE_SCREEN, LAYER_TAKEOVER, LAYERS_MAX};
use crate::quality::{Flow, Sample, Scorer, loss_weight};
use crate::relay::track::{RelayCopy, RelaySource};
use crate::shard::{KeyFrameThrottle, PacketBuffers};
use crate::speakers::AudioLevel;
use crate::types::{Codec, LayerMode, MediaKind, PayloadType, TrackConfig};
use crate::upstream::layer::Layer;

/// One down track as the router sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscriber {
    pub(crate) down_track: u32,
    pub(crate) transport: u32,
    /// Layer that is forwarded; `LAYER_NONE` = none.
    pub(crate) current: u8,
    /// Bit per layer whose next key frame the subscriber switches to.
    pub(crate) accept: u8,
}

pub(crate) const LAYER_NONE: u8 = u8::MAX;
/// The index of no track: a subscription whose source ended and which waits for another one.
pub(crate) const TRACK_NONE: u32 = u32::MAX;
/// In place of the transport of a track that arrives over a link.
pub(crate) const TRANSPORT_NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct UpTrack {
    pub(crate) key: TrackKey,
    pub(crate) room: RoomKey,
    pub(crate) transport: u32,
    pub(crate) config: TrackConfig,
    pub(crate) muted: bool,
    /// Layers that SDP announces as SSRCs of one group (`ssrc-group:SIM`).
    pub(crate) announced_layers: u8,
    /// Of the section the track is received on.
    pub(crate) payload_types: Arc<[PayloadType]>,
    pub(crate) layers: [Option<Box<Layer>>; LAYERS_MAX],
    pub(crate) subscribers: Vec<Subscriber>,
    pub(crate) level: AudioLevel,
    pub(crate) scorer: Scorer,
    /// Links it is sent over.
    pub(crate) copies: Vec<RelayCopy>,
    /// The link it arrives over instead of a transport.
    pub(crate) source: Option<RelaySource>,
}

impl UpTrack {
    pub(crate) fn new(key: TrackKey, room: RoomKey, transport: u32, config: TrackConfig) -> Self {
        UpTrack {
            key,
            room,
            transport,
            config,
            muted: false,
            announced_layers: 0,
            payload_types: Arc::default(),
            layers: [const { None }; LAYERS_MAX],
            subscribers: Vec::new(),
            level: AudioLevel::default(),
            scorer: Scorer::default(),
            copies: Vec::new(),
            source: None,
        }
    }

    /// Every layer is a stream of its own, and there are several.
    pub(crate) fn is_simulcast(&self) -> bool {
        self.config.layer_mode == LayerMode::OneStreamPerLayer
            && (self.config.rids.len() > 1 || self.announced_layers > 1)
    }

    /// Layer of a RID; without configured RIDs, or when one stream has them all, everything is one.
    pub(crate) fn layer_of_rid(&self, rid: &[u8]) -> Option<u8> {
        if self.config.layer_mode == LayerMode::OneStream {
            return Some(0);
        }
        let position = self
            .config
            .rids
            .iter()
            .position(|known| known.as_bytes() == rid);
        match position {
            Some(position) if position < LAYERS_MAX => Some(position as u8),
            None if self.config.rids.is_empty() => Some(0),
            _ => None,
        }
    }

    /// Whether another SSRC than `ssrc` is sending on a layer. Each change costs every subscriber
    /// a new start, so it has to fall silent first.
    pub(crate) fn is_taken(&self, now: Instant, layer: u8, ssrc: u32) -> bool {
        self.layer(layer).is_some_and(|current| {
            current.ssrc != ssrc
                && now.saturating_duration_since(current.last_packet()) < LAYER_TAKEOVER
        })
    }

    /// Starts a layer, or replaces its stream; true when `ssrc` is new to it.
    pub(crate) fn start_layer(
        &mut self,
        now: Instant,
        layer: u8,
        ssrc: u32,
        buffers: &PacketBuffers,
        throttle: &KeyFrameThrottle,
    ) -> bool {
        let old = self.layer(layer);
        if old.is_some_and(|old| old.ssrc == ssrc) {
            return false;
        }
        let generation = old.map_or(0, |old| old.generation.wrapping_add(1));
        self.place_layer(now, layer, ssrc, generation, buffers, throttle)
    }

    /// The same for a layer of another shard: it says which generation this is.
    pub(crate) fn place_layer(
        &mut self,
        now: Instant,
        layer: u8,
        ssrc: u32,
        generation: u8,
        buffers: &PacketBuffers,
        throttle: &KeyFrameThrottle,
    ) -> bool {
        let codec = self.payload_types.first().map_or(Codec::Vp8, |pt| pt.codec);
        let silence = self.silence();
        let Some(slot) = self.layers.get_mut(usize::from(layer)) else {
            return false;
        };
        let packets = match self.config.kind {
            MediaKind::Audio => buffers.audio_packets,
            MediaKind::Video => buffers.video_packets,
        };
        let interval = match layer {
            0 => throttle.low,
            1 => throttle.mid,
            _ => throttle.high,
        };
        *slot = Some(Box::new(Layer::new(
            now, ssrc, codec, packets, interval, silence, generation,
        )));
        true
    }

    fn silence(&self) -> Duration {
        if self.config.screen_share || !self.is_simulcast() {
            LAYER_SILENCE_SCREEN
        } else {
            LAYER_SILENCE
        }
    }

    pub(crate) fn layer(&self, layer: u8) -> Option<&Layer> {
        self.layers.get(usize::from(layer))?.as_deref()
    }

    pub(crate) fn layer_mut(&mut self, layer: u8) -> Option<&mut Layer> {
        self.layers.get_mut(usize::from(layer))?.as_deref_mut()
    }

    /// What forwarding up to these layers costs, bits per second; `None`: not known, or not sent.
    pub(crate) fn bps(&self, spatial: u8, temporal: u8) -> Option<u64> {
        let (layer, row) = match self.config.layer_mode {
            LayerMode::OneStreamPerLayer => (self.layer(spatial)?, 0),
            LayerMode::OneStream => (self.layer(0)?, spatial),
        };
        layer.rates.bps(row, temporal).filter(|_| layer.active)
    }

    /// Layers in ascending order, with their index.
    pub(crate) fn layers_mut(&mut self) -> impl Iterator<Item = (u8, &mut Layer)> {
        (0..)
            .zip(&mut self.layers)
            .filter_map(|(index, layer)| Some((index, layer.as_deref_mut()?)))
    }

    /// Judges how well the track arrives; `wanted`: the highest spatial layer anybody wants.
    pub(crate) fn judge_quality(&mut self, now: Instant, wanted: Option<u8>) {
        let mut sample = Sample::default();
        let (mut seen, mut live) = (None, None);
        for (index, layer) in (0u8..).zip(&self.layers) {
            let Some(layer) = layer else { continue };
            let mut known = self.payload_types.iter();
            sample.loss_weight = loss_weight(known.find(|known| known.codec == layer.codec));
            let (expected, lost) = layer.stats.totals();
            sample.expected += expected;
            sample.lost += lost;
            let jitter = layer.stats.jitter(layer.codec.clock_rate_hz());
            sample.jitter = sample.jitter.max(jitter);
            let reported = layer.stats.clock().map(|clock| clock.arrival);
            sample.reported = sample.reported.max(reported);
            seen = Some(index);
            live = if layer.active { Some(index) } else { live };
        }
        let Some(seen) = seen else {
            return; // nothing arrived yet
        };
        if let (Some(wanted), Some(live)) = (wanted, live) {
            sample.missing_layers = wanted.min(seen).saturating_sub(live);
        }
        // A picture nobody wants may stop.
        let unwanted = self.config.kind == MediaKind::Video && wanted.is_none() && live.is_none();
        if self.muted || unwanted {
            sample.flow = Flow::Muted;
        }
        self.scorer.sample(now, &sample, true);
    }

    /// Bit per layer that packets arrive on.
    pub(crate) fn live_layers(&self) -> u8 {
        self.layers
            .iter()
            .enumerate()
            .filter(|(_, layer)| layer.as_ref().is_some_and(|layer| layer.active))
            .fold(0, |mask, (index, _)| mask | 1 << index)
    }

    /// The payload type a packet was sent with.
    pub(crate) fn payload_type(&self, pt: u8) -> Option<&PayloadType> {
        self.payload_types.iter().find(|known| known.pt == pt)
    }

    /// What packets taken out of a RED packet's redundancy are sent as; `None`: nothing is.
    pub(crate) fn recovered_payload_type(&self, codec: Codec) -> Option<u8> {
        if codec != Codec::Red || self.config.encrypted {
            return None;
        }
        let mut known = self.payload_types.iter();
        Some(known.find(|known| known.codec == Codec::Opus)?.pt)
    }

    /// The payload type whose retransmissions use `rtx_pt`.
    pub(crate) fn repaired_payload_type(&self, rtx_pt: u8) -> Option<&PayloadType> {
        self.payload_types
            .iter()
            .find(|known| known.rtx_pt == Some(rtx_pt))
    }
}
