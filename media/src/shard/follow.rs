//! The primary's side of standbys: images of followed transports and what changed in them, a few
//! bytes every few seconds, as events; leases are used as far as they are acknowledged.

use std::time::Instant;

use bytes::Bytes;

use crate::downstream::continuation::Continuation;
use crate::event::Event;
use crate::ids::TransportKey;
use crate::limits::{CONTINUATION_RENEWED, IMAGE_PAUSE, PROBE_RETRY, STANDBY_SILENT};
use crate::shard::Shard;
use crate::shard::image::{ShardPart, put_head};
use crate::upstream::receiver::Received;

/// What the standby of a transport was told.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    /// When it got the last image.
    imaged: Option<Instant>,
    /// The control plane wants an image.
    wants_image: bool,
    /// It was told that the client lets this node choose.
    in_control: bool,
    /// It was asked with this version whether it can read images. Before it has answered, nothing
    /// is leased: one that cannot, or does not answer, holds nothing up.
    asked: Option<u32>,
    answered: bool,
    /// The first version it was told since it last acknowledged something, and when.
    unheard: Option<(u32, Instant)>,
    received: Vec<Received>,
    /// With the time of the telling.
    downs: Vec<(Instant, Continuation)>,
}

impl Follower {
    fn told(&mut self, now: Instant, version: u32) {
        self.unheard.get_or_insert((version, now));
    }

    fn heard(&mut self, now: Instant, version: u32, newest: u32) {
        if self.unheard.is_some_and(|(first, _)| first <= version) {
            self.unheard = (version < newest).then_some((version + 1, now));
        }
        self.answered |= self.asked.is_some_and(|asked| asked <= version);
    }

    /// What asked may have come too early, or to a standby that had no room for it then.
    fn asks_again(&self, now: Instant) -> bool {
        let asked = self.imaged.filter(|_| !self.answered);
        asked.is_some_and(|at| now.saturating_duration_since(at) >= PROBE_RETRY)
    }

    /// Says so once per span.
    fn is_silent(&mut self, now: Instant) -> bool {
        let waited = |at| now.saturating_duration_since(at) >= STANDBY_SILENT;
        let silent = self.unheard.is_some_and(|(_, at)| waited(at));
        if let Some((_, at)) = self.unheard.as_mut().filter(|_| silent) {
            *at = now;
        }
        silent
    }
}

impl Shard {
    pub(super) fn replicate(
        &mut self,
        now: Instant,
        key: TransportKey,
        (on, sought): (bool, bool),
    ) -> Option<()> {
        let index = self.find(key)?;
        let slot = self.transports.get_mut(index)?;
        if !on {
            slot.follower = None;
            slot.transport.unfollow();
            return Some(());
        }
        slot.transport.sought = sought;
        let follower = slot.follower.get_or_insert_default();
        (follower.wants_image, follower.in_control) = (true, false);
        self.ticker.watch(now);
        self.tell_standby(now, index, true);
        Some(())
    }

    pub(super) fn replicated(
        &mut self,
        now: Instant,
        key: TransportKey,
        version: u32,
    ) -> Option<()> {
        let index = self.find(key)?;
        let slot = self.transports.get_mut(index)?;
        let newest = slot.followed_version;
        let version = version.min(newest);
        slot.transport.acknowledged(version);
        let follower = slot.follower.as_mut()?;
        let answered = follower.answered;
        follower.heard(now, version, newest);
        if follower.answered && !answered {
            // It was no image to go on with.
            (follower.imaged, follower.wants_image) = (None, true);
            self.tell_standby(now, index, true);
        }
        Some(())
    }

    /// Says once that the client lets this node choose its path.
    pub(super) fn say_control(&mut self, index: u32) {
        let Some(slot) = self.transports.get_mut(index) else {
            return;
        };
        let followed = slot.transport.is_followed() && slot.transport.controls();
        if let Some(follower) = slot
            .follower
            .as_mut()
            .filter(|one| followed && !one.in_control)
        {
            follower.in_control = true;
            let (transport, takeovers) = (slot.key, slot.transport.takeovers());
            self.events.push_back(Event::InControl {
                transport,
                takeovers,
            });
        }
    }

    /// The last image of a followed transport that was frozen: its numbers are exact, so a standby
    /// that has it goes on without a gap.
    pub(super) fn last_image(&mut self, now: Instant, index: u32, body: &[u8]) -> Option<()> {
        let (received, downs) = (self.received(index), self.continuations(index));
        let slot = self.transports.get_mut(index)?;
        slot.follower.take()?;
        slot.followed_version += 1;
        let (transport, version) = (slot.key, slot.followed_version);
        let part = ShardPart {
            wire: slot.sender.next_wire(),
            received: Some(received),
            downs,
        };
        let image = written(now, version, &part, body);
        let probe = false;
        self.events.push_back(Event::TransportImage {
            transport,
            version,
            probe,
            image,
        });
        Some(())
    }

    /// Tells the standby of a transport what changed: leases, and when `thorough` (once a second)
    /// what else there is.
    pub(super) fn tell_standby(&mut self, now: Instant, index: u32, thorough: bool) {
        let Some(slot) = self.transports.get_mut(index) else {
            return;
        };
        let Some(mut follower) = slot.follower.take() else {
            return;
        };
        let outgrown = slot.transport.outgrew_image();
        let (followed, transport) = (slot.transport.is_followed(), slot.key);
        if followed && follower.is_silent(now) {
            self.events.push_back(Event::StandbySilent { transport });
        }
        let rested = |at| now.saturating_duration_since(at) >= IMAGE_PAUSE;
        let wanted = follower.wants_image || outgrown || follower.asks_again(now);
        let event = if wanted {
            let may = follower.imaged.is_none_or(rested);
            may.then(|| self.image(now, index, &mut follower)).flatten()
        } else {
            let delta = followed.then(|| self.delta(now, index, &mut follower, thorough));
            delta.flatten()
        };
        self.events.extend(event);
        if let Some(slot) = self.transports.get_mut(index) {
            slot.follower = Some(follower);
        }
        // Taking control of ICE sends a check.
        self.drain_transport(index);
    }

    fn image(&mut self, now: Instant, index: u32, follower: &mut Follower) -> Option<Event> {
        let (received, downs) = (self.received(index), self.continuations(index));
        let slot = self.transports.get_mut(index)?;
        let version = slot.followed_version + 1;
        let probe = !follower.answered;
        let body = match probe {
            true => slot.transport.probe()?,
            false => slot.transport.follow(now, version)?,
        };
        slot.followed_version = version;
        let part = ShardPart {
            wire: slot.sender.next_wire(),
            received: Some(received.clone()),
            downs: downs.clone(),
        };
        let image = written(now, version, &part, &body);
        follower.told(now, version);
        if probe {
            follower.asked = Some(version);
        }
        (follower.imaged, follower.wants_image) = (Some(now), false);
        follower.received = received;
        follower.downs = downs.into_iter().map(|down| (now, down)).collect();
        Some(Event::TransportImage {
            transport: slot.key,
            version,
            probe,
            image,
        })
    }

    fn delta(
        &mut self,
        now: Instant,
        index: u32,
        follower: &mut Follower,
        thorough: bool,
    ) -> Option<Event> {
        let (mut received, mut downs) = (None, Vec::new());
        if thorough {
            received = Some(self.received(index)).filter(|now| *now != follower.received);
            downs = self.changed_downs(now, index, follower);
        }
        let slot = self.transports.get_mut(index)?;
        let version = slot.followed_version + 1;
        let mut delta = Vec::new();
        put_head(&mut delta, version);
        let leased = slot.transport.write_delta(now, version, &mut delta);
        if !leased && received.is_none() && downs.is_empty() {
            return None;
        }
        slot.followed_version = version;
        follower.told(now, version);
        let part = ShardPart {
            wire: slot.sender.next_wire(),
            received,
            downs,
        };
        part.write(now, &mut delta);
        if let Some(received) = part.received {
            follower.received = received;
        }
        Some(Event::TransportDelta {
            transport: slot.key,
            version,
            delta: delta.into(),
        })
    }

    /// Down tracks whose standing the standby could not guess any more.
    fn changed_downs(
        &self,
        now: Instant,
        index: u32,
        follower: &mut Follower,
    ) -> Vec<Continuation> {
        let mut changed = Vec::new();
        let Some(slot) = self.transports.get(index) else {
            return changed;
        };
        let own = slot.sender.down_tracks.iter();
        for down in own.filter_map(|down| self.down_tracks.get(*down)?.continuation()) {
            let known = follower.downs.iter_mut().find(|(_, d)| d.ssrc == down.ssrc);
            match known {
                Some((at, told)) => {
                    let old = now.saturating_duration_since(*at) >= CONTINUATION_RENEWED
                        && told.timestamp != down.timestamp;
                    if old || down.differs(told) {
                        (*at, *told) = (now, down);
                        changed.push(down);
                    }
                }
                None => {
                    follower.downs.push((now, down));
                    changed.push(down);
                }
            }
        }
        let sender = &slot.sender;
        let own = |(_, down): &(Instant, Continuation)| sender.by_ssrc(down.ssrc).is_some();
        follower.downs.retain(own);
        changed
    }

    fn continuations(&self, index: u32) -> Vec<Continuation> {
        let slot = self.transports.get(index);
        let own = slot.map(|slot| slot.sender.down_tracks.iter());
        let downs = own.into_iter().flatten();
        downs
            .filter_map(|down| self.down_tracks.get(*down)?.continuation())
            .collect()
    }

    fn received(&self, index: u32) -> Vec<Received> {
        let slot = self.transports.get(index);
        slot.map(|slot| slot.receiver.received())
            .unwrap_or_default()
    }
}

fn written(now: Instant, version: u32, part: &ShardPart, body: &[u8]) -> Bytes {
    let mut image = Vec::with_capacity(body.len() + 256);
    put_head(&mut image, version);
    part.write(now, &mut image);
    image.extend_from_slice(body);
    image.into()
}
