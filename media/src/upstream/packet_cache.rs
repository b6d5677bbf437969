//! The packets of one layer, in clear, kept once for all its subscribers: forwarding reads them
//! when a subscriber's run is built, retransmission reads them again. Grows with the bit rate to
//! about a second of media, within a limit; allocates nothing once it has.

use std::time::{Duration, Instant};

use crate::limits::{
    CACHE_BYTES_MAX, CACHE_BYTES_MIN, CACHE_GROWTH_BURST, CACHE_GROWTH_MAX, CACHE_GROWTH_MIN,
    CACHE_GROWTH_SLACK, CACHE_PACKETS_MIN, CACHE_RETENTION,
};
use crate::rtp::{FrameInfo, Span};
use crate::types::Codec;

/// What was parsed of a packet once, for every subscriber.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PacketInfo {
    /// Extended sequence number of its stream.
    pub(crate) sequence: u64,
    pub(crate) timestamp: u32,
    pub(crate) arrival: Instant,
    pub(crate) payload_type: u8,
    pub(crate) codec: Codec,
    pub(crate) marker: bool,
    /// Changes when the layer's stream was replaced or restarted.
    pub(crate) generation: u8,
    /// Lost, and taken out of the redundancy of a later packet.
    pub(crate) recovered: bool,
    /// Empty: padding only, nothing to forward.
    pub(crate) payload: Span,
    pub(crate) frame: FrameInfo,
    pub(crate) abs_capture_time: Span,
    pub(crate) dependency_descriptor: Span,
    pub(crate) video_orientation: Span,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Byte position in the endless stream of stored bytes; older than one turn = overwritten.
    position: u64,
    len: u16,
    info: PacketInfo,
}

#[derive(Debug)]
pub(crate) struct PacketCache {
    /// Slot = sequence modulo length, a power of two.
    entries: Vec<Option<Entry>>,
    entries_max: usize,
    bytes: Vec<u8>,
    head: u64,
    /// Where `head` is at the end of `bytes`; what does not fit before begins the next turn.
    turn_ends: u64,
    /// Arrival of the oldest packet of this turn.
    turn_began: Option<Instant>,
    grown_at: Option<Instant>,
}

impl PacketCache {
    pub(crate) fn new(packets_max: usize) -> PacketCache {
        let entries_max = packets_max.next_power_of_two().max(CACHE_PACKETS_MIN);
        PacketCache {
            entries: vec![None; CACHE_PACKETS_MIN],
            entries_max,
            bytes: vec![0; CACHE_BYTES_MIN],
            head: 0,
            turn_ends: 0,
            turn_began: None,
            grown_at: None,
        }
    }

    pub(crate) fn get(&self, sequence: u64) -> Option<(&PacketInfo, &[u8])> {
        let entry = self.entry(sequence)?;
        let start = (entry.position % self.bytes.len() as u64) as usize;
        let bytes = self.bytes.get(start..start + usize::from(entry.len))?;
        Some((&entry.info, bytes))
    }

    pub(crate) fn contains(&self, sequence: u64) -> bool {
        self.entry(sequence).is_some()
    }

    fn entry(&self, sequence: u64) -> Option<&Entry> {
        let slot = sequence as usize & (self.entries.len() - 1);
        let entry = self.entries.get(slot)?.as_ref()?;
        let kept = entry.position + self.bytes.len() as u64 >= self.head;
        (entry.info.sequence == sequence && kept).then_some(entry)
    }

    /// Stores a packet; larger ones than the cache are not stored.
    pub(crate) fn insert(&mut self, info: PacketInfo, packet: &[u8]) {
        let Ok(len) = u16::try_from(packet.len()) else {
            return;
        };
        self.grow_entries(&info);
        let Some(position) = self.reserve(packet.len(), info.arrival) else {
            return;
        };
        let start = (position % self.bytes.len() as u64) as usize;
        if let Some(bytes) = self.bytes.get_mut(start..start + packet.len()) {
            bytes.copy_from_slice(packet);
        }
        let slot = info.sequence as usize & (self.entries.len() - 1);
        if let Some(slot) = self.entries.get_mut(slot) {
            *slot = Some(Entry {
                position,
                len,
                info,
            });
        }
    }

    /// Takes `len` contiguous bytes at the head, growing when a turn was too quick.
    fn reserve(&mut self, len: usize, now: Instant) -> Option<u64> {
        if len > self.bytes.len() {
            return None;
        }
        let len = len as u64;
        if self.head + len > self.turn_ends {
            let turn = self.turn_began.map(|at| now.saturating_duration_since(at));
            if let Some(turn) = turn
                && turn < CACHE_RETENTION
                && self.bytes.len() < CACHE_BYTES_MAX
            {
                self.grow_bytes(turn, now);
            }
            if self.head + len > self.turn_ends {
                self.head = self.turn_ends;
                self.turn_ends += self.bytes.len() as u64;
                self.turn_began = Some(now);
            }
        }
        let position = self.head;
        self.head += len;
        Some(position)
    }

    /// How much larger: what a turn of the retention takes at the rate of this one. A burst that is
    /// still going on doubles it, so that a key frame is not moved time and again.
    fn growth(&self, turn: Duration, now: Instant) -> f32 {
        let burst = |at| now.saturating_duration_since(at) < CACHE_GROWTH_BURST;
        if self.grown_at.is_some_and(burst) {
            return CACHE_GROWTH_MAX;
        }
        let turn = turn.as_secs_f32().max(f32::MIN_POSITIVE);
        let factor = CACHE_RETENTION.as_secs_f32() / turn * CACHE_GROWTH_SLACK;
        factor.clamp(CACHE_GROWTH_MIN, CACHE_GROWTH_MAX)
    }

    fn grow_bytes(&mut self, turn: Duration, now: Instant) {
        let wanted = self.bytes.len() as f32 * self.growth(turn, now);
        self.grown_at = Some(now);
        let old = std::mem::take(&mut self.bytes);
        let (size, head) = (old.len() as u64, self.head);
        self.bytes = vec![0; (wanted as usize).min(CACHE_BYTES_MAX)];
        // Fresh positions, a turn ahead of everything handed out so far, in the old order: what is
        // not kept is found nowhere.
        let new_size = self.bytes.len() as u64;
        self.head = (head + new_size).next_multiple_of(new_size);
        self.turn_ends = self.head + new_size;
        let mut kept: Vec<&mut Entry> = self
            .entries
            .iter_mut()
            .flatten()
            .filter(|entry| entry.position + size >= head)
            .collect();
        kept.sort_unstable_by_key(|entry| entry.position);
        // The turn goes on behind what is kept: it began with the oldest of it.
        self.turn_began = Some(kept.first().map_or(now, |oldest| oldest.info.arrival));
        for entry in kept {
            let from = (entry.position % size) as usize;
            let to = (self.head % new_size) as usize;
            let len = usize::from(entry.len);
            let source = old.get(from..from + len);
            let target = self.bytes.get_mut(to..to + len);
            if let (Some(source), Some(target)) = (source, target) {
                target.copy_from_slice(source);
                entry.position = self.head;
                self.head += len as u64;
            }
        }
    }

    /// Doubles the slots when the one to be overwritten is still young.
    fn grow_entries(&mut self, info: &PacketInfo) {
        let slot = info.sequence as usize & (self.entries.len() - 1);
        let young = self
            .entries
            .get(slot)
            .copied()
            .flatten()
            .is_some_and(|old| {
                old.info.sequence < info.sequence
                    && info.arrival.saturating_duration_since(old.info.arrival) < CACHE_RETENTION
            });
        if !young || self.entries.len() >= self.entries_max {
            return;
        }
        let old = std::mem::take(&mut self.entries);
        self.entries = vec![None; old.len() * 2];
        for entry in old.into_iter().flatten() {
            let slot = entry.info.sequence as usize & (self.entries.len() - 1);
            if let Some(slot) = self.entries.get_mut(slot) {
                *slot = Some(entry);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn info(sequence: u64, arrival: Instant) -> PacketInfo {
        PacketInfo {
            sequence,
            timestamp: 0,
            arrival,
            payload_type: 96,
            codec: Codec::Vp8,
            marker: false,
            generation: 0,
            recovered: false,
            payload: Span::default(),
            frame: FrameInfo::default(),
            abs_capture_time: Span::default(),
            dependency_descriptor: Span::default(),
            video_orientation: Span::default(),
        }
    }

    /// Content that tells which packet it is.
    fn content(sequence: u64) -> Vec<u8> {
        vec![sequence as u8; 1000 + (sequence % 7) as usize * 40]
    }

    /// So many packets of `bytes`, so far apart.
    fn feed(
        cache: &mut PacketCache,
        start: Instant,
        (count, pause): (u32, Duration),
        bytes: &[u8],
    ) {
        for number in 0..count {
            cache.insert(info(number.into(), start + pause * number), bytes);
        }
    }

    #[test]
    fn a_second_of_media_is_kept_and_never_mixed_up() {
        let start = Instant::now();
        let mut cache = PacketCache::new(500);
        for sequence in 0..5_000u64 {
            let now = start + Duration::from_millis(sequence * 5); // 200 packets a second
            cache.insert(info(sequence, now), &content(sequence));
            for back in 0..600.min(sequence) {
                if let Some((found, bytes)) = cache.get(sequence - back) {
                    assert_eq!(found.sequence, sequence - back);
                    assert_eq!(bytes, content(sequence - back));
                }
            }
            for back in 0..150.min(sequence) {
                assert!(cache.contains(sequence - back), "{sequence} - {back}");
            }
        }
        assert!(cache.bytes.len() <= CACHE_BYTES_MAX);
    }

    #[test]
    fn a_slow_stream_stays_small() {
        let mut cache = PacketCache::new(200);
        let pace = (2_000, Duration::from_millis(20));
        feed(&mut cache, Instant::now(), pace, &[7; 100]);
        assert_eq!(cache.bytes.len(), CACHE_BYTES_MIN);
        assert_eq!(cache.entries.len(), CACHE_PACKETS_MIN);
    }

    #[test]
    fn a_stream_takes_little_more_than_a_second_of_it() {
        for packets_a_second in [50, 90, 250, 400] {
            let mut cache = PacketCache::new(500);
            let pause = Duration::from_secs(1) / packets_a_second;
            let pace = (20 * packets_a_second, pause);
            feed(&mut cache, Instant::now(), pace, &[7; 1_200]);
            let second = 1_200 * packets_a_second as usize;
            let (size, most) = (cache.bytes.len(), second * 3 / 2);
            assert!((second..most).contains(&size), "{size} bytes for {second}");
        }
    }

    #[test]
    fn packets_that_fill_a_turn_exactly_make_it_grow_as_well() {
        let mut cache = PacketCache::new(500);
        let pace = (1_000, Duration::from_millis(10));
        feed(&mut cache, Instant::now(), pace, &[7; 1_024]);
        assert!((0..100).all(|back| cache.contains(999 - back)));
    }

    #[test]
    fn what_does_not_fit_after_the_last_growth_begins_the_next_turn() {
        let start = Instant::now();
        for first in 0..64u64 {
            let mut cache = PacketCache::new(2_048);
            cache.insert(info(0, start), &vec![7; 64 * first as usize + 1]);
            for sequence in 1..4_000u64 {
                let now = start + Duration::from_micros(sequence * 900);
                cache.insert(info(sequence, now), &content(sequence));
                let kept = cache.get(sequence).map(|(_, bytes)| bytes.to_vec());
                assert_eq!(kept, Some(content(sequence)), "{first}: {sequence}");
            }
            assert_eq!(cache.bytes.len(), CACHE_BYTES_MAX);
        }
    }

    #[test]
    fn a_key_frame_after_quiet_moves_what_is_kept_a_few_times_only() {
        let start = Instant::now();
        let mut cache = PacketCache::new(500);
        let pace = (100, Duration::from_millis(70));
        feed(&mut cache, start, pace, &[7; 1_000]);
        let (now, mut sizes) = (start + Duration::from_millis(7_000), Vec::new());
        for sequence in 100..400u64 {
            cache.insert(info(sequence, now), &[7; 1_000]);
            sizes.push(cache.bytes.len());
        }
        sizes.dedup();
        assert!(sizes.len() <= 7, "{sizes:?}");
    }

    #[test]
    fn late_packets_find_their_place() {
        let now = Instant::now();
        let mut cache = PacketCache::new(200);
        for sequence in [1u64, 2, 5, 4, 3] {
            cache.insert(info(sequence, now), &content(sequence));
        }
        assert_eq!(cache.get(4).unwrap().1, content(4));
        assert!(!cache.contains(6));
    }
}
