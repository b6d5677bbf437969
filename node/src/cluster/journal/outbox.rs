//! What one standby still has to be told, for all rooms it stands by for: changes merged by key,
//! batches numbered, what was not acknowledged counted. Sans-IO; `link` moves its frames. A room
//! that goes beyond the bounds is dropped and says everything again later.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use tokio::time::Instant;

use super::wire::{Batch, Extent, Tenure, ToStandby};
use crate::cluster::limits::{
    JOURNAL_BATCH_BYTES, JOURNAL_RESYNC_AFTER, JOURNAL_UNACKED_BYTES_MAX, JOURNAL_WAITING_BYTES_MAX,
};
use crate::room::journal::{JournalEntry, MediaEntry, RecordKey};

/// Names one time a room says everything: what it says for an earlier one comes too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It was asked for everything, or will be.
    Asked,
    /// Everything is on its way; `begun`: some of it was sent.
    Whole { begun: bool },
    /// The standby has it; changes follow.
    Live,
    /// It fell behind, or was refused.
    Dropped { until: Instant },
}

struct Feed {
    tenure: Tenure,
    ticket: Ticket,
    phase: Phase,
    waiting: BTreeMap<RecordKey, Option<Bytes>>,
    /// The standby had all of it when it took no more, perhaps because the room is its own by now.
    known: bool,
    /// Of its transports, in order.
    media: VecDeque<MediaEntry>,
    /// Of what waits.
    bytes: usize,
    /// The room has said its last, which is to be told.
    ends: bool,
    queued: bool,
    /// Its newest batch.
    sent: u64,
}

/// See the file header.
#[derive(Default)]
pub(super) struct Outbox {
    rooms: BTreeMap<String, Feed>,
    /// Rooms that have something to say, each once.
    ready: VecDeque<String>,
    /// Rooms the standby shall forget.
    farewells: VecDeque<(String, Tenure)>,
    waiting_bytes: usize,
    /// Sequence number and size of what was sent.
    unacked: VecDeque<(u64, usize)>,
    unacked_bytes: usize,
    sent: u64,
    acked: u64,
    tickets: u64,
    /// Rooms dropped so far.
    dropped: u64,
}

fn size(record: Option<&Bytes>) -> usize {
    record.map_or(0, Bytes::len) + size_of::<(RecordKey, Option<Bytes>)>()
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// The room is to say everything, with this ticket.
    pub(super) fn follow(&mut self, room: &str, tenure: Tenure) -> Ticket {
        self.discard(room);
        let ticket = self.ticket();
        let before = self.rooms.get(room).filter(|feed| feed.tenure == tenure);
        let feed = Feed {
            known: before.is_some_and(|feed| feed.known),
            tenure,
            ticket,
            phase: Phase::Asked,
            waiting: BTreeMap::new(),
            media: VecDeque::new(),
            bytes: 0,
            ends: false,
            queued: false,
            sent: 0,
        };
        self.rooms.insert(room.to_owned(), feed);
        ticket
    }

    /// Under which it is followed.
    pub(super) fn tenure(&self, room: &str) -> Option<Tenure> {
        self.rooms.get(room).map(|feed| feed.tenure)
    }

    /// What the room says with this ticket is still wanted.
    pub(super) fn wants(&self, room: &str, ticket: Ticket) -> bool {
        let feed = self.rooms.get(room);
        feed.is_some_and(|feed| feed.ticket == ticket)
    }

    /// The standby stands by for it no more.
    pub(super) fn forget(&mut self, room: &str) {
        self.discard(room);
        if let Some(feed) = self.rooms.remove(room)
            && feed.sent > 0
        {
            self.farewells.push_back((room.to_owned(), feed.tenure));
        }
    }

    /// What waits of it is not sent.
    fn discard(&mut self, room: &str) {
        if let Some(feed) = self.rooms.get_mut(room) {
            self.waiting_bytes -= feed.bytes;
            feed.bytes = 0;
            feed.waiting.clear();
            feed.media.clear();
        }
    }

    /// What a room said. The first time under a ticket it is everything.
    pub(super) fn changed(
        &mut self,
        now: Instant,
        room: &str,
        ticket: Ticket,
        entries: Vec<JournalEntry>,
    ) {
        let Some(feed) = self.rooms.get_mut(room).filter(|f| f.ticket == ticket) else {
            return;
        };
        match feed.phase {
            Phase::Asked => feed.phase = Phase::Whole { begun: false },
            Phase::Whole { .. } | Phase::Live => {}
            Phase::Dropped { .. } => return,
        }
        for JournalEntry { key, record } in entries {
            let added = size(record.as_ref());
            let replaced = feed.waiting.insert(key, record);
            let removed = replaced.map_or(0, |old| size(old.as_ref()));
            feed.bytes = feed.bytes + added - removed;
            self.waiting_bytes = self.waiting_bytes + added - removed;
        }
        self.queue(now, room);
    }

    /// What shards said of a room's transports.
    pub(super) fn media(
        &mut self,
        now: Instant,
        room: &str,
        ticket: Ticket,
        entries: Vec<MediaEntry>,
    ) {
        let Some(feed) = self.rooms.get_mut(room).filter(|f| f.ticket == ticket) else {
            return;
        };
        // Its own facts come first.
        if !matches!(feed.phase, Phase::Whole { .. } | Phase::Live) {
            return;
        }
        let added: usize = entries.iter().map(MediaEntry::bytes).sum();
        feed.media.extend(entries);
        feed.bytes += added;
        self.waiting_bytes += added;
        self.queue(now, room);
    }

    /// Nothing follows.
    pub(super) fn finish(&mut self, now: Instant, room: &str, ticket: Ticket) {
        let feed = self.rooms.get_mut(room).filter(|f| f.ticket == ticket);
        if let Some(feed) = feed {
            feed.ends = true;
            self.queue(now, room);
        }
    }

    fn queue(&mut self, now: Instant, room: &str) {
        if self.waiting_bytes > JOURNAL_WAITING_BYTES_MAX {
            self.drop_room(now, room);
            return;
        }
        if let Some(feed) = self.rooms.get_mut(room).filter(|feed| !feed.queued) {
            feed.queued = true;
            self.ready.push_back(room.to_owned());
        }
    }

    fn drop_room(&mut self, now: Instant, room: &str) {
        self.discard(room);
        if let Some(feed) = self.rooms.get_mut(room) {
            let until = now + JOURNAL_RESYNC_AFTER;
            feed.phase = Phase::Dropped { until };
            self.dropped += 1;
        }
    }

    /// The standby does not take it; it may later.
    pub(super) fn refused(&mut self, now: Instant, room: &str, tenure: Tenure) {
        let feed = self.rooms.get_mut(room);
        if let Some(feed) = feed.filter(|feed| feed.tenure == tenure) {
            feed.known |= feed.phase == Phase::Live;
            self.drop_room(now, room);
        }
    }

    /// Rooms whose time has come to say everything again, once there is space for it.
    pub(super) fn resync(&mut self, now: Instant) -> Vec<(String, Ticket)> {
        if self.waiting_bytes > JOURNAL_WAITING_BYTES_MAX / 2 {
            return Vec::new();
        }
        let due = |phase| matches!(phase, Phase::Dropped { until } if until <= now);
        let due = self.rooms.iter().filter(|(_, feed)| due(feed.phase));
        let due: Vec<_> = due
            .map(|(name, feed)| (name.clone(), feed.tenure))
            .collect();
        let again = |(room, tenure): (String, Tenure)| {
            let ticket = self.follow(&room, tenure);
            (room, ticket)
        };
        due.into_iter().map(again).collect()
    }

    /// When the next room may say everything again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let until = |feed: &Feed| match feed.phase {
            Phase::Dropped { until } => Some(until),
            _ => None,
        };
        self.rooms.values().filter_map(until).min()
    }

    /// A new stream: the standby has to be told everything.
    pub(super) fn restart(&mut self) -> Vec<(String, Ticket)> {
        self.ready.clear();
        self.farewells.clear();
        self.unacked.clear();
        self.unacked_bytes = 0;
        self.sent = 0;
        self.acked = 0;
        let rooms = self.rooms.iter();
        let rooms: Vec<_> = rooms
            .map(|(name, feed)| (name.clone(), feed.tenure))
            .collect();
        let again = |(room, tenure): (String, Tenure)| {
            let ticket = self.follow(&room, tenure);
            (room, ticket)
        };
        rooms.into_iter().map(again).collect()
    }

    /// The next frame, unless the standby owes too many acknowledgements.
    pub(super) fn next_frame(&mut self) -> Option<Bytes> {
        if let Some((room, tenure)) = self.farewells.pop_front() {
            return Some(ToStandby::Forget { room, tenure }.encode());
        }
        if self.unacked_bytes >= JOURNAL_UNACKED_BYTES_MAX {
            return None;
        }
        while let Some(room) = self.ready.pop_front() {
            if let Some(batch) = self.batch(&room) {
                let frame = ToStandby::Batch(batch).encode();
                self.unacked.push_back((self.sent, frame.len()));
                self.unacked_bytes += frame.len();
                return Some(frame);
            }
        }
        None
    }

    /// Of one room that had something to say when it was put into the queue.
    fn batch(&mut self, room: &str) -> Option<Batch> {
        let feed = self.rooms.get_mut(room)?;
        feed.queued = false;
        let extent = match feed.phase {
            Phase::Asked | Phase::Dropped { .. } => return None,
            Phase::Whole { begun: false } => Extent::Begins,
            Phase::Whole { begun: true } => Extent::Continues,
            Phase::Live => Extent::Change,
        };
        let nothing_waits = feed.waiting.is_empty() && feed.media.is_empty();
        if nothing_waits && extent == Extent::Change && !feed.ends {
            return None;
        }
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while bytes < JOURNAL_BATCH_BYTES
            && let Some((key, record)) = feed.waiting.pop_first()
        {
            bytes += size(record.as_ref());
            entries.push(JournalEntry { key, record });
        }
        let mut media = Vec::new();
        // What is said of transports belongs to a room the standby has.
        while feed.waiting.is_empty()
            && bytes < JOURNAL_BATCH_BYTES
            && let Some(entry) = feed.media.pop_front()
        {
            bytes += entry.bytes();
            media.push(entry);
        }
        feed.bytes -= bytes;
        self.waiting_bytes -= bytes;
        let last = feed.waiting.is_empty();
        feed.phase = match (extent, last) {
            (Extent::Change, _) | (_, true) => Phase::Live,
            (_, false) => Phase::Whole { begun: true },
        };
        let all = last && feed.media.is_empty();
        let ends = all && std::mem::take(&mut feed.ends);
        if !all {
            feed.queued = true;
            self.ready.push_back(room.to_owned());
        }
        self.sent += 1;
        feed.sent = self.sent;
        Some(Batch {
            seq: self.sent,
            room: room.to_owned(),
            tenure: feed.tenure,
            extent,
            last,
            entries,
            media,
            ends,
        })
    }

    /// What was never sent is not acknowledged.
    pub(super) fn acked(&mut self, seq: u64) {
        if seq > self.sent {
            return;
        }
        self.acked = self.acked.max(seq);
        while let Some((sent, bytes)) = self.unacked.front().copied()
            && sent <= seq
        {
            self.unacked.pop_front();
            self.unacked_bytes -= bytes;
        }
    }

    /// The standby knows all that the room has said so far.
    pub(super) fn is_settled(&self, room: &str) -> bool {
        self.rooms.get(room).is_some_and(|feed| {
            let nothing_waits = feed.waiting.is_empty() && feed.media.is_empty();
            feed.phase == Phase::Live && nothing_waits && feed.sent <= self.acked
        })
    }

    /// The standby could go on with the room, if not from its very last moment; or does so.
    pub(super) fn could_go_on(&self, room: &str) -> bool {
        let feed = self.rooms.get(room);
        feed.is_some_and(|feed| feed.phase == Phase::Live || feed.known)
    }
}

#[cfg(test)]
mod tests;
