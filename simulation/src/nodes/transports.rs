//! What a carrier keeps of a transport: one that sends, with the numbers it may use and what waits
//! for its client, and one of another node that stands by. Owned by `carrier`.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use media::{Event, RoomKey, TransportKey};

use crate::limits::LEASED_NUMBERS;

/// An offer that was not acknowledged for so long is made again.
const UNHEARD_TURNS: u32 = 25;
/// Nobody follows: every number may be used.
pub(super) const FREE: u64 = u64::MAX;

/// A transport that sends.
#[derive(Debug)]
pub(super) struct Going {
    pub(super) secret: u64,
    pub(super) next: u64,
    /// First number that may not be used yet.
    pub(super) limit: u64,
    /// First number behind what the standby was told; usable once it has `offer`.
    pub(super) offered: u64,
    pub(super) offer: u32,
    /// Turns since then.
    pub(super) unheard: u32,
    pub(super) version: u32,
    pub(super) followed: bool,
    /// The version that asked whether the standby can follow; it has answered.
    pub(super) asked: Option<u32>,
    pub(super) answered: bool,
    pub(super) connected: bool,
    pub(super) frozen: bool,
    /// Words for its client, and when each arrives.
    pub(super) words: VecDeque<(Duration, Bytes)>,
}

impl Going {
    pub(super) fn new(secret: u64, next: u64, connected: bool) -> Self {
        Self {
            secret,
            next,
            limit: FREE,
            offered: FREE,
            offer: 0,
            unheard: 0,
            version: 0,
            followed: false,
            asked: None,
            answered: false,
            connected,
            frozen: false,
            words: VecDeque::new(),
        }
    }

    /// Offers numbers up to `end` with the next version.
    pub(super) fn offer(&mut self, end: u64) {
        self.version += 1;
        (self.offered, self.offer, self.unheard) = (end, self.version, 0);
    }

    pub(super) fn image(&mut self, transport: TransportKey) -> Event {
        if !self.answered {
            self.version += 1;
            self.asked = Some(self.version);
            return self.event(transport, true);
        }
        let end = self.next + LEASED_NUMBERS;
        if self.followed {
            self.offer(self.offered.max(end));
        } else {
            // Whoever takes over has this image, or a later one.
            (self.followed, self.limit) = (true, end + LEASED_NUMBERS);
            self.offer(self.limit);
        }
        self.event(transport, false)
    }

    pub(super) fn event(&self, transport: TransportKey, probe: bool) -> Event {
        let mut image = BytesMut::new();
        image.put_u32(self.version);
        image.put_u64(if probe { self.next } else { self.offered });
        image.put_u64(self.secret);
        Event::TransportImage {
            transport,
            version: self.version,
            probe,
            image: image.freeze(),
        }
    }

    /// More numbers, in time.
    pub(super) fn delta(&mut self, transport: TransportKey) -> Option<Event> {
        self.unheard = self.unheard.saturating_add(1);
        let settled = self.offered == self.limit || self.unheard > UNHEARD_TURNS;
        let left = self.limit.saturating_sub(self.next);
        if !self.followed || !settled || left > LEASED_NUMBERS / 2 {
            return None;
        }
        self.offer(self.offered.max(self.next + LEASED_NUMBERS));
        let mut delta = BytesMut::new();
        delta.put_u32(self.version);
        delta.put_u64(self.offered);
        Some(Event::TransportDelta {
            transport,
            version: self.version,
            delta: delta.freeze(),
        })
    }
}

/// A transport of another node.
#[derive(Debug)]
pub(super) struct Dormant {
    pub(super) secret: u64,
    pub(super) room: RoomKey,
    /// It was told of a lease.
    pub(super) bound: bool,
    /// Its client keeps a pair to it.
    pub(super) warm: bool,
    /// First number that is free here.
    pub(super) end: u64,
    pub(super) version: u32,
    pub(super) stale: bool,
}

impl Dormant {
    pub(super) fn has(&self, transport: TransportKey) -> Event {
        Event::StandbyHas {
            transport,
            version: self.version,
            ready: self.bound && self.warm,
        }
    }
}
