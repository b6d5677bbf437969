//! Counts the node's rooms, people and tracks every so often: for dashboards and autoscalers, and
//! for the limits above which the node takes nobody else. Reads the rooms, changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use metrics::gauge;

use crate::config::room::Limit;
use crate::room::contract::Figures;
use crate::rooms::Rooms;

/// `limit.num_tracks` and `limit.bytes_per_sec`, and how much of them is used (LiveKit's
/// `selector.LimitsReached`: tracks and bytes count in both directions).
#[derive(Debug)]
pub struct Capacity {
    tracks_max: u64,
    bytes_per_second_max: f64,
    tracks: AtomicU64,
    /// Carried since the start; written by `traffic`.
    bytes: AtomicU64,
    bytes_per_second: AtomicU64,
    rooms: AtomicU64,
    participants: AtomicU64,
}

/// What the node carries, as last counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Census {
    pub rooms: u32,
    pub participants: u32,
    /// In and out.
    pub tracks: u32,
    /// In and out.
    pub bytes_per_second: f64,
}

impl Capacity {
    pub fn new(limit: &Limit) -> Arc<Capacity> {
        Arc::new(Capacity {
            tracks_max: u64::from(limit.num_tracks),
            bytes_per_second_max: limit.bytes_per_sec,
            tracks: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            bytes_per_second: AtomicU64::new(0),
            rooms: AtomicU64::new(0),
            participants: AtomicU64::new(0),
        })
    }

    /// The node takes no new participant; those who come back are let in.
    pub fn is_full(&self) -> bool {
        let tracks = self.tracks.load(Ordering::Relaxed);
        let rate = self.bytes_per_second.load(Ordering::Relaxed) as f64;
        (self.tracks_max > 0 && tracks >= self.tracks_max)
            || (self.bytes_per_second_max > 0.0 && rate >= self.bytes_per_second_max)
    }

    pub fn census(&self) -> Census {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let small = |figure| u32::try_from(read(figure)).unwrap_or(u32::MAX);
        Census {
            rooms: small(&self.rooms),
            participants: small(&self.participants),
            tracks: small(&self.tracks),
            bytes_per_second: read(&self.bytes_per_second) as f64,
        }
    }

    pub fn carried(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn measured(&self, tracks: u64, bytes_per_second: f64) {
        self.tracks.store(tracks, Ordering::Relaxed);
        let rate = bytes_per_second as u64;
        self.bytes_per_second.store(rate, Ordering::Relaxed);
    }
}

/// Counts for as long as the node runs.
pub async fn count(rooms: Rooms, capacity: Arc<Capacity>, interval: Duration) {
    let mut tick = tokio::time::interval(interval.max(Duration::from_millis(100)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before = (Instant::now(), capacity.bytes());
    loop {
        tick.tick().await;
        let all = rooms.figures().await;
        let mut sum = Figures::default();
        for figures in &all {
            sum += *figures;
        }
        let now = (Instant::now(), capacity.bytes());
        let seconds = now.0.duration_since(before.0).as_secs_f64().max(0.001);
        let rate = now.1.saturating_sub(before.1) as f64 / seconds;
        before = now;
        let (rooms, people) = (&capacity.rooms, &capacity.participants);
        rooms.store(all.len() as u64, Ordering::Relaxed);
        people.store(u64::from(sum.participants), Ordering::Relaxed);
        capacity.measured(sum.published.sum() + sum.subscribed.sum(), rate);
        publish(all.len(), &sum);
    }
}

fn publish(rooms: usize, sum: &Figures) {
    gauge!("livekit_room_total").set(rooms as f64);
    gauge!("livekit_participant_total").set(f64::from(sum.participants));
    for (kind, published, subscribed) in [
        ("AUDIO", sum.published.audio, sum.subscribed.audio),
        ("VIDEO", sum.published.video, sum.subscribed.video),
    ] {
        gauge!("livekit_track_published_total", "kind" => kind).set(f64::from(published));
        gauge!("livekit_track_subscribed_total", "kind" => kind).set(f64::from(subscribed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity(num_tracks: u32, bytes_per_sec: f64) -> Arc<Capacity> {
        Capacity::new(&Limit {
            num_tracks,
            bytes_per_sec,
            ..Limit::default()
        })
    }

    #[test]
    fn a_node_is_full_at_either_limit_and_never_without_one() {
        let tracks = capacity(10, 0.0);
        tracks.measured(9, 1e12);
        assert!(!tracks.is_full());
        tracks.measured(10, 0.0);
        assert!(tracks.is_full());
        let bytes = capacity(0, 1000.0);
        bytes.measured(1_000_000, 999.0);
        assert!(!bytes.is_full());
        bytes.measured(0, 1000.0);
        assert!(bytes.is_full());
        let unlimited = capacity(0, 0.0);
        unlimited.measured(u64::MAX, 1e12);
        assert!(!unlimited.is_full());
    }
}
