//! Transports of other nodes that this shard would take over: dormant until the control plane says
//! that their primary is gone. They answer checks and keep the clients' pairs warm; nothing else of
//! the shard sees them.

use std::collections::BTreeMap;
use std::time::Instant;

use rand::RngExt;

use crate::demux::stun_local_ufrag;
use crate::event::{Event, TransportState};
use crate::fast_hash::FastMap;
use crate::ids::{RoomKey, TransportKey};
use crate::limits::{ICE_MAX_PAIRS_DORMANT, STANDBY_GRACE, STANDBY_RETRY, TIMER_REST};
use crate::rtcp::write;
use crate::shard::Shard;
use crate::shard::due::Due;
use crate::shard::image::{ShardPart, read_head};
use crate::shard::takeover::Takeover;
use crate::slab::Slab;
use crate::transport::delta::Reader;
use crate::transport::{SnapshotError, Standby, TransportOptions};
use crate::types::{Path, Protocol};

struct StandbySlot {
    key: TransportKey,
    room: RoomKey,
    /// Its primary uses no number beyond what is known here. Before, nothing is taken over.
    bound: bool,
    standby: Standby,
    part: ShardPart,
    /// All images and deltas up to this are in.
    version: u32,
    /// A delta was missing or damaged: the next image counts.
    stale: bool,
    /// What was said of it last.
    ready: Option<bool>,
    since: Instant,
    /// When its client was looked for last.
    sought: Instant,
    timer: Option<Instant>,
    ufrag: String,
    paths: Vec<Path>,
}

impl std::fmt::Debug for StandbySlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StandbySlot")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// All dormant transports of a shard.
#[derive(Debug, Default)]
pub(super) struct Standbys {
    slots: Slab<Box<StandbySlot>>,
    index: BTreeMap<TransportKey, u32>,
    ufrags: BTreeMap<String, u32>,
    paths: FastMap<Path, u32>,
    timers: Due,
}

impl Standbys {
    pub(super) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The dormant transport a datagram is for: a check by the name it carries, the rest by its
    /// address.
    fn find(&self, path: &Path, payload: &[u8]) -> Option<u32> {
        match payload.first() {
            Some(0) => self.ufrags.get(stun_local_ufrag(payload)?).copied(),
            _ => self.paths.get(path).copied(),
        }
    }

    /// Unless it is another's: who had the name first keeps it.
    fn forget_ufrag(&mut self, index: u32, ufrag: &str) {
        if self.ufrags.get(ufrag) == Some(&index) {
            self.ufrags.remove(ufrag);
        }
    }

    fn remove(&mut self, key: TransportKey) -> Option<Box<StandbySlot>> {
        let index = self.index.remove(&key)?;
        self.timers.forget(index);
        let slot = self.slots.remove(index)?;
        self.forget_ufrag(index, &slot.ufrag);
        self.paths.retain(|_, owner| *owner != index);
        Some(slot)
    }
}

impl Shard {
    /// Begins to stand by for a transport, or takes a new image of one. One that only asks
    /// (`probe`) is kept as any other, and never taken over with.
    pub(super) fn add_standby(
        &mut self,
        now: Instant,
        key: TransportKey,
        room: RoomKey,
        image: (bool, &[u8]),
    ) -> Option<()> {
        if self.find(key).is_some() {
            return None;
        }
        if let Err(error) = self.take_image(now, key, room, image) {
            tracing::warn!(%error, "cannot stand by for a transport");
            self.standbys.remove(key);
            let transport = key;
            self.events.push_back(Event::StandbyCannot { transport });
        }
        Some(())
    }

    fn take_image(
        &mut self,
        now: Instant,
        key: TransportKey,
        room: RoomKey,
        (probe, image): (bool, &[u8]),
    ) -> Result<(), SnapshotError> {
        let mut reader = Reader(image);
        let version = read_head(&mut reader)?;
        let part = ShardPart::read(now, &mut reader)?;
        let made = (self.standby_options(), self.rng.random());
        let index = match self.standbys.index.get(&key).copied() {
            Some(index) => {
                let slot = self.standbys.slots.get_mut(index);
                let slot = slot.ok_or(SnapshotError::Damaged)?;
                if version <= slot.version {
                    // What was acknowledged since is behind what it says.
                    return Ok(());
                }
                slot.standby.replace(now, reader.0, made)?;
                (slot.part, slot.version, slot.stale) = (part, version, false);
                slot.bound = !probe;
                index
            }
            None => {
                let standby = Standby::new(now, reader.0, made)?;
                let slot = StandbySlot {
                    key,
                    room,
                    bound: !probe,
                    standby,
                    part,
                    version,
                    stale: false,
                    ready: None,
                    since: now,
                    sought: now,
                    timer: None,
                    ufrag: String::new(),
                    paths: Vec::new(),
                };
                let index = self.standbys.slots.insert(Box::new(slot));
                self.standbys.index.insert(key, index);
                index
            }
        };
        self.rename_standby(index);
        self.ticker.watch(now);
        self.drain_standby(now, index);
        self.say_standby_has(now, index);
        Ok(())
    }

    fn standby_options(&self) -> TransportOptions {
        let own = self.config.udp_addresses.iter();
        TransportOptions {
            local_addresses: own.map(|own| (Protocol::Udp, *own)).collect(),
            ..TransportOptions::default()
        }
    }

    fn say_standby_has(&mut self, now: Instant, index: u32) {
        if let Some(slot) = self.standbys.slots.get(index) {
            self.events.push_back(Event::StandbyHas {
                transport: slot.key,
                version: slot.version,
                ready: slot.is_ready(now),
            });
        }
    }

    /// Its checks carry the name of the image.
    fn rename_standby(&mut self, index: u32) {
        let Some(slot) = self.standbys.slots.get_mut(index) else {
            return;
        };
        let ufrag = slot.standby.local_ufrag().to_owned();
        if ufrag != slot.ufrag {
            let before = std::mem::replace(&mut slot.ufrag, ufrag.clone());
            self.standbys.forget_ufrag(index, &before);
            self.standbys.ufrags.entry(ufrag).or_insert(index);
        }
    }

    pub(super) fn update_standby(
        &mut self,
        now: Instant,
        key: TransportKey,
        delta: &[u8],
    ) -> Option<()> {
        let index = *self.standbys.index.get(&key)?;
        let slot = self.standbys.slots.get_mut(index)?;
        match slot.update(now, delta) {
            Ok(()) => self.say_standby_has(now, index),
            Err(error) => {
                tracing::debug!(%error, "a delta of a followed transport is of no use");
                if !std::mem::replace(&mut slot.stale, true) {
                    let transport = key;
                    self.events.push_back(Event::StandbyStale { transport });
                }
            }
        }
        Some(())
    }

    pub(super) fn drop_standby(&mut self, key: TransportKey) -> Option<()> {
        self.standbys.remove(key).map(|_| ())
    }

    pub(super) fn drop_standbys(&mut self, room: RoomKey) -> Option<()> {
        let of_room = |index: &u32| {
            let slot = self.standbys.slots.get(*index);
            slot.filter(|slot| slot.room == room).map(|slot| slot.key)
        };
        let gone: Vec<_> = self.standbys.index.values().filter_map(of_room).collect();
        for key in gone {
            self.standbys.remove(key);
        }
        Some(())
    }

    /// Whether a datagram was for a dormant transport, which has it then.
    pub(super) fn receive_standby(&mut self, now: Instant, path: Path, payload: &[u8]) -> bool {
        let Some(index) = self.standbys.find(&path, payload) else {
            return false;
        };
        let Some(slot) = self.standbys.slots.get_mut(index) else {
            return false;
        };
        slot.standby.handle_datagram(now, path, payload);
        if slot.standby.knows_path(&path) && !slot.paths.contains(&path) {
            if slot.paths.len() >= ICE_MAX_PAIRS_DORMANT {
                let oldest = slot.paths.remove(0);
                self.standbys.paths.remove(&oldest);
            }
            slot.paths.push(path);
            self.standbys.paths.insert(path, index);
        }
        self.drain_standby(now, index);
        true
    }

    pub(super) fn standby_timers(&mut self, now: Instant) {
        while let Some((at, index)) = self.standbys.timers.take(now) {
            let slot = self.standbys.slots.get_mut(index);
            let Some(slot) = slot.filter(|slot| slot.timer == Some(at)) else {
                continue; // it was called earlier
            };
            slot.timer = None;
            slot.standby.handle_timeout(now);
            self.drain_standby(now, index);
        }
    }

    fn drain_standby(&mut self, now: Instant, index: u32) {
        let Some(slot) = self.standbys.slots.get_mut(index) else {
            return;
        };
        while let Some((path, payload)) = slot.standby.poll() {
            self.control.push_back((path, payload.into()));
        }
        let deadline = slot.standby.deadline();
        if let Some(due) = deadline.map(|due| due.max(now + TIMER_REST))
            && slot.timer.is_none_or(|known| due < known)
        {
            slot.timer = Some(due);
            self.standbys.timers.insert(due, index);
        }
        self.judge_standby(now, index);
    }

    /// Says whether the client could be taken over without noticing, when that changed.
    fn judge_standby(&mut self, now: Instant, index: u32) {
        let Some(slot) = self.standbys.slots.get_mut(index) else {
            return;
        };
        let ready = slot.is_ready(now);
        let waits = slot.ready.is_none()
            && !ready
            && now.saturating_duration_since(slot.since) < STANDBY_GRACE;
        if slot.ready != Some(ready) && !waits {
            slot.ready = Some(ready);
            let transport = slot.key;
            self.events
                .push_back(Event::StandbyReady { transport, ready });
        }
    }

    /// Once a second: those whose client never came, or left.
    pub(super) fn judge_standbys(&mut self, now: Instant) {
        for index in 0..self.standbys.slots.end() {
            self.judge_standby(now, index);
            let slot = self.standbys.slots.get_mut(index);
            if let Some(slot) = slot.filter(|slot| slot.is_missed(now)) {
                slot.sought = now;
                let transport = slot.key;
                self.events.push_back(Event::StandbyStale { transport });
            }
        }
    }

    pub(super) fn take_over(&mut self, now: Instant, key: TransportKey) -> Option<()> {
        if self.find(key).is_some() {
            return None;
        }
        let Some(slot) = self.standbys.remove(key).filter(|slot| slot.bound) else {
            // It was dropped, or stands on another shard: its client has to resume.
            let (transport, heard) = (key, false);
            self.events.push_back(Event::TakenOver { transport, heard });
            return Some(());
        };
        let warm = slot.standby.warm_path(now).is_some();
        let transport = match slot.standby.take_over(now, &self.config.identity) {
            Ok(transport) => transport,
            Err(error) => {
                tracing::warn!(%error, "a followed transport cannot go on here");
                self.events.push_back(Event::Transport {
                    transport: key,
                    state: TransportState::Failed,
                });
                return Some(());
            }
        };
        self.insert_transport(now, key, slot.ufrag, transport);
        let index = self.find(key)?;
        for path in slot.paths {
            self.keep_path(index, path);
        }
        self.resume_parts(now, index, slot.part);
        if warm {
            self.transports.get_mut(index)?.takeover = Some(Takeover::Unheard(now));
        } else {
            let transport = key;
            let heard = false;
            self.events.push_back(Event::TakenOver { transport, heard });
        }
        Some(())
    }

    /// What SSRCs mean and where down tracks stood; publishers send a key frame of everything.
    fn resume_parts(&mut self, now: Instant, index: u32, part: ShardPart) {
        let Some(slot) = self.transports.get_mut(index) else {
            return;
        };
        slot.receiver.remembered = part.received.unwrap_or_default();
        slot.resumed = part.downs;
        if part.wire > 0 {
            let wire = part.wire.wrapping_add(crate::limits::TRANSPORT_CC_STEP);
            slot.sender.first_wire = Some(wire);
        }
        let sender_ssrc = slot.feedback_ssrc;
        self.rtcp.clear();
        for known in &slot.receiver.remembered {
            if known.video && !known.repair {
                slot.stats.plis_out += 1;
                write::picture_loss(&mut self.rtcp, sender_ssrc, known.ssrc);
            }
        }
        self.send_rtcp(index);
        self.ticker.media(now);
    }
}

impl StandbySlot {
    /// Its client could be taken over without noticing.
    fn is_ready(&self, now: Instant) -> bool {
        self.bound && self.standby.warm_path(now).is_some()
    }

    fn is_missed(&self, now: Instant) -> bool {
        let looked = now.saturating_duration_since(self.sought);
        self.bound && !self.is_ready(now) && looked >= STANDBY_RETRY
    }

    fn update(&mut self, now: Instant, delta: &[u8]) -> Result<(), SnapshotError> {
        let mut reader = Reader(delta);
        let version = read_head(&mut reader)?;
        if self.stale || Some(version) != self.version.checked_add(1) {
            return Err(SnapshotError::Missing);
        }
        self.standby.update(&mut reader)?;
        self.part.apply(ShardPart::read(now, &mut reader)?);
        self.version = version;
        Ok(())
    }
}
