//! From a packet of a track to the transports that get it: by index, in the order of arrival, with
//! layer switches decided on the way. Only queues references; packets are built per subscriber
//! later.

use std::collections::VecDeque;

use crate::downstream::DownTrack;
use crate::downstream::sender::Pending;
use crate::event::Event;
use crate::limits::KEY_FRAME_FOLLOWERS_MAX;
use crate::relay::link::{Relays, Waiting};
use crate::shard::slot::TransportSlot;
use crate::slab::Slab;
use crate::types::MediaKind;
use crate::upstream::{LAYER_NONE, UpTrack};

/// A packet that is in its layer's cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Routed {
    pub(crate) layer: u8,
    pub(crate) sequence: u64,
    pub(crate) key_frame: bool,
}

/// Everything routing touches besides the track.
#[derive(Debug)]
pub(crate) struct Ports<'a> {
    pub(crate) down_tracks: &'a mut Slab<DownTrack>,
    pub(crate) transports: &'a mut Slab<TransportSlot>,
    /// Transports with something to send, in the order they got it.
    pub(crate) ready: &'a mut VecDeque<u32>,
    pub(crate) events: &'a mut VecDeque<Event>,
    pub(crate) relays: &'a mut Relays,
}

pub(crate) fn route(index: u32, track: &mut UpTrack, packet: Routed, ports: &mut Ports<'_>) {
    if track.muted {
        return;
    }
    let bit = 1u8 << packet.layer;
    for copy in track.copies.iter_mut().filter(|c| c.wants & bit != 0) {
        let waiting = Waiting {
            track: index,
            relay: copy.relay,
            layer: packet.layer,
            fresh: copy.sends(packet.layer, packet.sequence),
            sequence: packet.sequence,
        };
        ports.relays.push(copy.link, waiting);
    }
    let layer = track.layers.get(usize::from(packet.layer));
    let layer = layer.and_then(|layer| layer.as_deref());
    let kind = track.config.kind;
    for subscriber in &mut track.subscribers {
        let begins = subscriber.current != packet.layer;
        if begins {
            if !packet.key_frame || subscriber.accept & bit == 0 {
                continue;
            }
            let Some(down) = ports.down_tracks.get_mut(subscriber.down_track) else {
                continue;
            };
            down.selector.switched(packet.layer);
            subscriber.current = packet.layer;
            subscriber.accept = down.selector.accept();
            if let Some(source) = &mut track.source {
                source.changed = true;
            }
            ports.events.push_back(Event::LayerSelected {
                down_track: down.key,
                spatial: Some(packet.layer),
                temporal: down.selector.max_temporal(),
            });
        }
        let Some(slot) = ports.transports.get_mut(subscriber.transport) else {
            continue;
        };
        let pending = Pending {
            down_track: subscriber.down_track,
            layer: packet.layer,
            repeat: false,
            urgent: kind == MediaKind::Audio,
            sequence: packet.sequence,
        };
        enqueue(slot, subscriber.transport, pending, ports.ready);
        // The first packet of a key frame came late: what follows it was not for this subscriber
        // when it passed, and is now.
        let Some(layer) = layer.filter(|_| begins) else {
            continue;
        };
        let highest = layer.highest().unwrap_or(packet.sequence);
        let last = highest.min(packet.sequence + KEY_FRAME_FOLLOWERS_MAX);
        for sequence in packet.sequence + 1..=last {
            if layer.cache.contains(sequence) {
                let follower = Pending {
                    sequence,
                    ..pending
                };
                enqueue(slot, subscriber.transport, follower, ports.ready);
            }
        }
    }
}

/// Puts a packet on a transport's queue and the transport on the list of those to serve.
pub(crate) fn enqueue(
    slot: &mut TransportSlot,
    index: u32,
    pending: Pending,
    ready: &mut VecDeque<u32>,
) {
    if !slot.sender.push(pending) {
        slot.stats.packets_dropped += 1;
    }
    list(slot, index, ready);
}

/// Puts a transport on the list of those to serve, unless it is there or its pace lists it.
pub(crate) fn list(slot: &mut TransportSlot, index: u32, ready: &mut VecDeque<u32>) {
    let waits = slot.sender.paced.is_some() && !slot.sender.is_due();
    if !slot.sender.listed && !waits {
        slot.sender.listed = true;
        ready.push_back(index);
    }
}

/// Recomputes what one subscriber gets after its limits, its track's layers or a mute changed.
/// `open`: its transport is connected. Returns whether a key frame is missing now.
pub(crate) fn retarget(
    down: &mut DownTrack,
    track: &mut UpTrack,
    open: bool,
    events: &mut VecDeque<Event>,
) -> bool {
    let live = track.live_layers();
    down.selector.set_simulcast(track.is_simulcast());
    if let Some(source) = &mut track.source {
        source.changed = true;
    }
    let Some(subscriber) = track.subscribers.get_mut(down.slot) else {
        return false;
    };
    down.selector.update(live, track.muted || !open);
    if subscriber.current != LAYER_NONE && down.selector.current == LAYER_NONE {
        down.interrupt();
        events.push_back(Event::LayerSelected {
            down_track: down.key,
            spatial: None,
            temporal: 0,
        });
    }
    subscriber.current = down.selector.current;
    subscriber.accept = down.selector.accept();
    down.want_key_frame_now();
    down.selector.wanted_key_frame().is_some()
}
