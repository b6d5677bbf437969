//! What one URL has not taken yet: a lane per room keeps the order of its events, and lanes do not
//! wait for one another. Knows nothing of HTTP or disks; `delivery` owns one for each URL.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use protocol::proto::WebhookEvent;

use super::limits::{EVENTS_PER_URL_MAX, UNDELIVERED_BYTES_PER_URL_MAX};

/// An event with its place in the history of this outbox.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) sequence: u64,
    pub(crate) event: WebhookEvent,
    /// Encoded size, for the limits.
    pub(crate) bytes: usize,
}

impl Entry {
    /// Events of one key stay in order: those of a room, else of a participant, else of a track.
    pub(crate) fn key(&self) -> &str {
        let event = &self.event;
        let ids = [
            event
                .egress_info
                .as_ref()
                .map(|egress| egress.egress_id.as_str()),
            event
                .ingress_info
                .as_ref()
                .map(|ingress| ingress.ingress_id.as_str()),
            event.room.as_ref().map(|room| room.name.as_str()),
            event
                .participant
                .as_ref()
                .map(|participant| participant.identity.as_str()),
            event.track.as_ref().map(|track| track.sid.as_str()),
        ];
        ids.into_iter()
            .flatten()
            .find(|id| !id.is_empty())
            .unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct Lane {
    /// Never empty while the lane exists.
    entries: VecDeque<Arc<Entry>>,
    /// Tries of the first entry so far.
    attempts: u32,
    /// Those among them that the receiver answered with an error of its own.
    complaints: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    lanes: HashMap<String, Lane>,
    /// Lanes whose first entry may be sent, longest waiting first.
    ready: VecDeque<String>,
    /// Lanes whose first entry failed, by the time of the next try.
    resting: BTreeSet<(Instant, String)>,
    in_flight: usize,
    entries: usize,
    /// Of all entries.
    bytes: usize,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.entries
    }

    /// No room for an event of this size.
    pub(crate) fn is_full(&self, bytes: usize) -> bool {
        self.entries >= EVENTS_PER_URL_MAX
            || self.bytes.saturating_add(bytes) > UNDELIVERED_BYTES_PER_URL_MAX
    }

    /// Something is being sent or could be right now.
    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight > 0 || !self.ready.is_empty()
    }

    pub(crate) fn push(&mut self, entry: Arc<Entry>) {
        self.entries += 1;
        self.bytes += entry.bytes;
        let key = entry.key().to_owned();
        let lane = self.lanes.entry(key.clone()).or_default();
        lane.entries.push_back(entry);
        if lane.entries.len() == 1 {
            self.ready.push_back(key);
        }
    }

    /// The next entry to send, if fewer than `limit` are under way.
    pub(crate) fn start(&mut self, limit: usize) -> Option<Arc<Entry>> {
        if self.in_flight >= limit {
            return None;
        }
        let key = self.ready.pop_front()?;
        let lane = self.lanes.get_mut(&key)?;
        let entry = lane.entries.front()?.clone();
        lane.attempts += 1;
        self.in_flight += 1;
        Some(entry)
    }

    /// Tries of the entry under way in this lane, the current one included.
    pub(crate) fn attempts(&self, key: &str) -> u32 {
        self.lanes.get(key).map_or(0, |lane| lane.attempts)
    }

    /// Counts that the receiver stumbled over the entry under way; how often so far.
    pub(crate) fn complain(&mut self, key: &str) -> u32 {
        self.lanes.get_mut(key).map_or(0, |lane| {
            lane.complaints += 1;
            lane.complaints
        })
    }

    /// The entry under way is settled, one way or the other; the lane goes on with the next.
    pub(crate) fn finish(&mut self, key: &str) {
        let Some(lane) = self.lanes.get_mut(key) else {
            return;
        };
        self.in_flight = self.in_flight.saturating_sub(1);
        self.entries = self.entries.saturating_sub(1);
        let done = lane.entries.pop_front();
        self.bytes = self
            .bytes
            .saturating_sub(done.map_or(0, |entry| entry.bytes));
        (lane.attempts, lane.complaints) = (0, 0);
        if lane.entries.is_empty() {
            self.lanes.remove(key);
        } else {
            self.ready.push_back(key.to_owned());
        }
    }

    /// The entry under way failed: its lane rests until `at`.
    pub(crate) fn rest(&mut self, key: &str, at: Instant) {
        if self.lanes.contains_key(key) {
            self.in_flight = self.in_flight.saturating_sub(1);
            self.resting.insert((at, key.to_owned()));
        }
    }

    /// Lanes that have rested enough are ready again.
    pub(crate) fn wake(&mut self, now: Instant) {
        while let Some((at, _)) = self.resting.first()
            && *at <= now
        {
            if let Some((_, key)) = self.resting.pop_first() {
                self.ready.push_back(key);
            }
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.resting.first().map(|(at, _)| *at)
    }
}
