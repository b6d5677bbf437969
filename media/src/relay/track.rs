//! What a track keeps about its relays: one copy for each link it leaves over, or the link it
//! arrives over. Filled in by `shard::relays`.

use std::time::{Duration, Instant};

use crate::limits::{LAYERS_MAX, RELAY_ASK_INTERVAL, RELAY_REPEAT_INTERVAL};
use crate::relay::frame::{Priority, RelayId};
use crate::types::MediaKind;

/// A track on its way over one link: sent once, however many watch it there.
#[derive(Debug)]
pub(crate) struct RelayCopy {
    /// Index of the link.
    pub(crate) link: u32,
    pub(crate) relay: RelayId,
    /// Layers the other end wants, bit per layer.
    pub(crate) wants: u8,
    /// Those of them whose next packet is the first after a while.
    fresh: u8,
    /// The first packet sent since then: nothing before it is repeated.
    since: [u64; LAYERS_MAX],
    /// Timestamp of the key frame each layer is in.
    key_frame: [Option<u32>; LAYERS_MAX],
    /// When the other end was told the track's state; `None` = it changed.
    told_at: Option<Instant>,
}

impl RelayCopy {
    pub(crate) fn new(link: u32, relay: RelayId) -> RelayCopy {
        RelayCopy {
            link,
            relay,
            wants: 0,
            fresh: 0,
            since: [u64::MAX; LAYERS_MAX],
            key_frame: [None; LAYERS_MAX],
            told_at: None,
        }
    }

    /// Takes over what the other end wants from now on.
    pub(crate) fn want(&mut self, layers: u8) {
        self.fresh |= layers & !self.wants;
        self.fresh &= layers;
        self.wants = layers;
    }

    /// The highest spatial layer wanted there, where each is a stream of its own.
    pub(crate) fn wanted_spatial(&self) -> Option<u8> {
        7u8.checked_sub(self.wants.leading_zeros() as u8)
    }

    /// The state is to be told anew; after a mute nothing before is missed.
    pub(crate) fn changed(&mut self) {
        self.fresh = self.wants;
        self.told_at = None;
    }

    /// A layer came or went.
    pub(crate) fn tell(&mut self) {
        self.told_at = None;
    }

    /// Whether the state is to be told now. Marks it as told.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let due = is_over(self.told_at, now, RELAY_REPEAT_INTERVAL);
        if due {
            self.told_at = Some(now);
        }
        due
    }

    /// Notes that a packet is sent; whether it is the first after a while.
    pub(crate) fn sends(&mut self, layer: u8, sequence: u64) -> bool {
        let bit = 1u8 << layer;
        let fresh = self.fresh & bit != 0;
        if fresh {
            self.fresh &= !bit;
            if let Some(since) = self.since.get_mut(usize::from(layer)) {
                *since = sequence;
            }
        }
        fresh
    }

    /// Whether the other end may ask for a packet again.
    pub(crate) fn has_sent(&self, layer: u8, sequence: u64) -> bool {
        self.wants & 1 << layer != 0
            && self
                .since
                .get(usize::from(layer))
                .is_some_and(|since| sequence >= *since)
    }

    /// `starts`: the packet is the first of a key frame.
    pub(crate) fn priority(
        &mut self,
        kind: MediaKind,
        layer: u8,
        timestamp: u32,
        starts: bool,
    ) -> Priority {
        if kind == MediaKind::Audio {
            return Priority::Audio;
        }
        let Some(key_frame) = self.key_frame.get_mut(usize::from(layer)) else {
            return Priority::UpperLayer;
        };
        if starts {
            *key_frame = Some(timestamp);
        }
        match *key_frame == Some(timestamp) {
            true => Priority::KeyFrame,
            false if layer == 0 => Priority::BaseLayer,
            false => Priority::UpperLayer,
        }
    }
}

/// The link a track arrives over.
#[derive(Debug)]
pub(crate) struct RelaySource {
    /// Index of the link.
    pub(crate) link: u32,
    pub(crate) relay: RelayId,
    /// The other end has told the track's state.
    pub(crate) known: bool,
    /// What its subscribers want may have changed.
    pub(crate) changed: bool,
    /// Layers asked for last, and when.
    pub(crate) asked: u8,
    asked_at: Option<Instant>,
}

impl RelaySource {
    pub(crate) fn new(link: u32, relay: RelayId) -> RelaySource {
        RelaySource {
            link,
            relay,
            known: false,
            changed: true,
            asked: 0,
            asked_at: None,
        }
    }

    /// Whether to look at what subscribers want: it may have changed, or is to be repeated.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.changed || self.is_repeated(now)
    }

    /// Whether these wishes are news, or due again. Marks them as told.
    pub(crate) fn asks(&mut self, now: Instant, layers: u8) -> bool {
        self.changed = false;
        if layers == self.asked && !self.is_repeated(now) {
            return false;
        }
        (self.asked, self.asked_at) = (layers, Some(now));
        true
    }

    fn is_repeated(&self, now: Instant) -> bool {
        let interval = match self.known {
            true => RELAY_REPEAT_INTERVAL,
            false => RELAY_ASK_INTERVAL,
        };
        is_over(self.asked_at, now, interval)
    }
}

fn is_over(since: Option<Instant>, now: Instant, interval: Duration) -> bool {
    since.is_none_or(|at| now.saturating_duration_since(at) >= interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_sent_is_not_repeated() {
        let mut copy = RelayCopy::new(0, RelayId(1));
        assert!(!copy.has_sent(1, 100));
        copy.want(0b010);
        assert!(copy.sends(1, 100), "the first is fresh");
        assert!(!copy.sends(1, 101));
        assert!(copy.has_sent(1, 100) && !copy.has_sent(1, 99));
        copy.want(0b001);
        assert!(!copy.has_sent(1, 100), "not wanted any more");
        copy.want(0b011);
        assert!(copy.sends(1, 500), "fresh again");
        assert!(!copy.has_sent(1, 101));
    }

    #[test]
    fn all_packets_of_a_key_frame_go_before_others() {
        let mut copy = RelayCopy::new(0, RelayId(1));
        let mut of = |layer, timestamp, starts| {
            let video = MediaKind::Video;
            copy.priority(video, layer, timestamp, starts)
        };
        assert_eq!(of(1, 10, true), Priority::KeyFrame);
        assert_eq!(of(1, 10, false), Priority::KeyFrame);
        assert_eq!(of(0, 10, false), Priority::BaseLayer);
        assert_eq!(of(1, 20, false), Priority::UpperLayer);
    }

    #[test]
    fn wishes_are_repeated_often_until_they_are_heard() {
        let start = Instant::now();
        let mut source = RelaySource::new(0, RelayId(1));
        let asked = |source: &mut RelaySource| {
            (0..200u32)
                .map(|tick| start + Duration::from_millis(10) * tick)
                .filter(|at| source.is_due(*at) && source.asks(*at, 1))
                .count()
        };
        assert_eq!(asked(&mut source), 40);
        let mut source = RelaySource::new(0, RelayId(1));
        source.known = true;
        assert_eq!(asked(&mut source), 2);
    }
}
