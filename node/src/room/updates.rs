//! What participants learn about each other: one version a change, at once for publishers, else in
//! batches. LiveKit's `rtc/room.go` `pushAndDequeueUpdates` is the model.

mod image;

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use prost::Message as _;
use protocol::proto;
use protocol::proto::DisconnectReason;
use protocol::proto::signal_response::Message;

use super::Room;
use super::limits::{DEPARTED_AGE_MAX, DEPARTED_MAX, UPDATE_BATCH_INTERVAL};
use super::member::Member;

/// Since this protocol clients take a new sid of an identity for the end of the old one.
const PROTOCOL_WITH_IDENTITY_RECONNECT: i32 = 12;

/// Who hears of a change, and how soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// All but the participant itself; may wait for the batch.
    Others,
    /// All; may wait for the batch.
    Everybody,
    /// All, now.
    EverybodyNow,
}

#[derive(Default)]
pub(super) struct Updates {
    /// Newest info of each identity that waits for the batch, and since when.
    pending: BTreeMap<String, (Instant, proto::ParticipantInfo)>,
    flush_at: Option<Instant>,
    flushed_at: Option<Instant>,
    /// Who left lately, for those whose signal is interrupted.
    departed: VecDeque<(Instant, proto::ParticipantInfo)>,
    /// When the newest of those left that are no longer in `departed`.
    forgotten: Option<Instant>,
}

impl Updates {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.flush_at
    }

    fn defer(&mut self, now: Instant, info: proto::ParticipantInfo) {
        let identity = info.identity.clone();
        self.pending.insert(identity, (now, info));
        self.flush_at.get_or_insert(now + UPDATE_BATCH_INTERVAL);
    }

    /// What waits about an identity is not said any more.
    pub(super) fn withdraw(&mut self, identity: &str) {
        self.pending.remove(identity);
    }

    fn remember_departure(&mut self, now: Instant, mut info: proto::ParticipantInfo) {
        let old = |at: Instant| now.saturating_duration_since(at) > DEPARTED_AGE_MAX;
        while self.departed.len() >= DEPARTED_MAX
            || self.departed.front().is_some_and(|(at, _)| old(*at))
        {
            if let Some((at, _)) = self.departed.pop_front() {
                self.forgotten = Some(at);
            }
        }
        // Nobody needs more of somebody who left than who it was.
        info.metadata.clear();
        info.attributes.clear();
        self.departed.push_back((now, info));
    }

    /// Who left since then, newest information of each; `None` if some are forgotten already.
    pub(super) fn departed_since(&self, since: Instant) -> Option<Vec<proto::ParticipantInfo>> {
        if self.forgotten.is_some_and(|at| at >= since) {
            return None;
        }
        let departed = self.departed.iter().filter(|(at, _)| *at >= since);
        Some(departed.map(|(_, info)| info.clone()).collect())
    }
}

impl Room {
    /// A participant changed: counts its version up and tells whom it concerns. Publishers are
    /// always told of at once; hidden participants are told of to themselves only.
    pub(super) fn announce(&mut self, number: u16, audience: Audience) {
        let Some(member) = self.roster.get_mut(number) else {
            return;
        };
        if member.closing {
            return;
        }
        member.touch();
        let (info, hidden) = (member.info.clone(), member.is_hidden());
        if hidden {
            if audience != Audience::Others {
                self.tell(number, update(vec![info]));
            }
            return;
        }
        // A new session of a publisher shows at once that the tracks of the old one are gone.
        let replaces = info.version <= 1
            && self
                .updates
                .departed
                .iter()
                .any(|(_, gone)| gone.identity == info.identity && gone.is_publisher);
        if audience == Audience::EverybodyNow || info.is_publisher || replaces {
            self.updates.pending.remove(&info.identity);
            let except = (audience == Audience::Others).then_some(number);
            self.broadcast_info(vec![info], except);
        } else {
            self.updates.defer(self.now, info);
        }
    }

    /// A participant was removed from the roster.
    pub(super) fn announce_departure(&mut self, member: &Member, reason: DisconnectReason) {
        let info = member.info.clone();
        if member.is_hidden() {
            return;
        }
        self.updates.remember_departure(self.now, info.clone());
        self.updates.pending.remove(&info.identity);
        if reason == DisconnectReason::DuplicateIdentity {
            for number in self.roster.numbers() {
                let protocol = self.roster.get(number).map_or(0, |other| other.protocol());
                if protocol < PROTOCOL_WITH_IDENTITY_RECONNECT {
                    self.tell(number, update(vec![info.clone()]));
                }
            }
        } else if info.is_publisher {
            self.broadcast_info(vec![info], None);
        } else {
            self.updates.defer(self.now, info);
        }
    }

    pub(super) fn flush_updates_if_due(&mut self) {
        if self.updates.flush_at.is_none_or(|at| at > self.now) {
            return;
        }
        self.updates.flush_at = None;
        self.updates.flushed_at = Some(self.now);
        let pending = std::mem::take(&mut self.updates.pending);
        let infos = pending.into_values().map(|(_, info)| info);
        let target = self.services.config.update_batch_target_bytes;
        for batch in batches(infos, target) {
            self.broadcast_info(batch, None);
        }
    }

    fn broadcast_info(&mut self, infos: Vec<proto::ParticipantInfo>, except: Option<u16>) {
        let message = update(infos);
        for number in self.roster.numbers() {
            if Some(number) != except {
                self.tell(number, message.clone());
            }
        }
    }

    /// Makes sure that a client knows whose media it is about to be offered: hidden publishers are
    /// in no update.
    pub(super) fn introduce_if_hidden(&mut self, publisher: u16, to: u16) {
        if let Some(member) = self.roster.get(publisher)
            && member.is_hidden()
        {
            let info = member.info.clone();
            self.tell(to, update(vec![info]));
        }
    }
}

pub(super) fn update(participants: Vec<proto::ParticipantInfo>) -> Message {
    Message::Update(proto::ParticipantUpdate { participants })
}

/// Groups of infos, each about `target_bytes` when encoded.
fn batches(
    infos: impl Iterator<Item = proto::ParticipantInfo>,
    target_bytes: usize,
) -> Vec<Vec<proto::ParticipantInfo>> {
    let mut batches: Vec<Vec<proto::ParticipantInfo>> = Vec::new();
    let mut bytes = 0;
    for info in infos {
        let size = info.encoded_len();
        match batches.last_mut() {
            Some(batch) if bytes + size <= target_bytes => batch.push(info),
            _ => {
                batches.push(vec![info]);
                bytes = 0;
            }
        }
        bytes += size;
    }
    batches
}
