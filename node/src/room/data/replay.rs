//! Reliable packets of the last moments: for those who resume and say what they got last, and for
//! everybody where a standby takes over, as nobody knows what was on its way. Receivers drop what
//! they have by sequence number.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use prost::Message as _;
use protocol::proto;

use super::{Destinations, RELIABLE};
use crate::participant::{MediaInput, WallClock};
use crate::room::Room;
use crate::room::image::records::PacketRecord;
use crate::room::journal::{JournalEntry, RecordKey, RoomImage};
use crate::room::limits::{REPLAY_AGE_MAX, REPLAY_BYTES_MAX, REPLAY_PACKETS_MAX, RETURN_TIMEOUT};

#[derive(Default)]
pub(in crate::room) struct Replay {
    kept: VecDeque<Kept>,
    bytes: usize,
    /// How many were kept ever: the number of the next.
    next: u64,
    /// What a standby has: from the first of these numbers to before the second.
    said: Option<(u64, u64)>,
    /// What there was when the room came here, for those who come back later; until when.
    before: Option<(Instant, Vec<Kept>)>,
}

#[derive(Clone)]
struct Kept {
    at: Instant,
    publisher_sid: String,
    sequence: u32,
    destinations: Destinations,
    payload: Bytes,
}

impl Replay {
    pub(super) fn keep(
        &mut self,
        now: Instant,
        publisher_sid: String,
        sequence: u32,
        destinations: Destinations,
        payload: Bytes,
    ) {
        self.bytes += payload.len();
        self.next = self.next.saturating_add(1);
        self.kept.push_back(Kept {
            at: now,
            publisher_sid,
            sequence,
            destinations,
            payload,
        });
        self.trim(now);
    }

    fn trim(&mut self, now: Instant) {
        while let Some(oldest) = self.kept.front()
            && (self.bytes > REPLAY_BYTES_MAX
                || self.kept.len() > REPLAY_PACKETS_MAX
                || now.saturating_duration_since(oldest.at) > REPLAY_AGE_MAX)
        {
            self.bytes -= oldest.payload.len();
            self.kept.pop_front();
        }
        if self.before.as_ref().is_some_and(|(until, _)| *until < now) {
            self.before = None;
        }
    }

    fn first(&self) -> u64 {
        self.next.saturating_sub(self.kept.len() as u64)
    }

    /// A standby is told from now on, or no longer.
    pub(in crate::room) fn follow(&mut self, on: bool) {
        let first = self.first();
        self.said = on.then_some((first, first));
    }

    /// What a standby does not know yet.
    pub(in crate::room) fn journal(
        &mut self,
        now: Instant,
        clock: &WallClock,
    ) -> Vec<JournalEntry> {
        self.trim(now);
        let (first, next) = (self.first(), self.next);
        let Some((from, to)) = self.said.replace((first, next)) else {
            self.said = None;
            return Vec::new();
        };
        let gone = (from..first.min(to)).map(|number| (number, None));
        let new = (to.max(first)..).zip(self.kept.iter().skip(to.saturating_sub(first) as usize));
        let new = new.map(|(number, kept)| (number, Some(kept.record(clock))));
        gone.chain(new)
            .map(|(number, record)| JournalEntry {
                key: RecordKey::Packet(number),
                record,
            })
            .collect()
    }

    /// Those of an image that are not too old.
    pub(in crate::room) fn thaw(&mut self, now: Instant, image: &RoomImage, clock: &WallClock) {
        for (key, record) in image.records() {
            let RecordKey::Packet(number) = key else {
                continue;
            };
            let decoded = PacketRecord::decode(&record[..]).ok().and_then(|record| {
                let packet = proto::DataPacket::decode(&record.packet[..]).ok()?;
                Some((record, packet))
            });
            let Some((record, packet)) = decoded else {
                continue;
            };
            let at = clock.instant_of(record.at);
            if now.saturating_duration_since(at) <= REPLAY_AGE_MAX {
                // Numbers go on, so that the next standby is told of none twice.
                self.next = number;
                let (sid, destinations) =
                    (packet.participant_sid.clone(), Destinations::of(&packet));
                self.keep(at, sid, packet.sequence, destinations, record.packet);
            }
        }
        let before = self.kept.iter().cloned().collect();
        self.before = Some((now + RETURN_TIMEOUT, before));
    }

    /// For somebody who says what it got: of what it may lack.
    fn lacked(&self, resyncs: bool) -> impl Iterator<Item = &Kept> {
        let before = self.before.iter().flat_map(|(_, before)| before);
        let now = self.kept.iter().filter(move |_| !resyncs);
        before.filter(move |_| resyncs).chain(now)
    }
}

impl Kept {
    fn record(&self, clock: &WallClock) -> Bytes {
        let record = PacketRecord {
            at: clock.unix_micros_of(self.at),
            packet: self.payload.clone(),
        };
        record.encode_to_vec().into()
    }
}

impl Room {
    /// After a takeover: everything again that a participant may not have got.
    pub(in crate::room) fn replay_all_to(&mut self, number: u16) {
        let Some(member) = self.roster.get(number) else {
            return;
        };
        let joined_micros = member.info.joined_at_ms.saturating_mul(1_000);
        let may_miss = |kept: &&Kept| {
            kept.publisher_sid != member.sid.0
                && kept.destinations.include(member)
                && self.clock.unix_micros_of(kept.at) >= joined_micros
        };
        let kept = self.data.replay.kept.iter().filter(may_miss);
        let payloads: Vec<Bytes> = kept.map(|kept| kept.payload.clone()).collect();
        for payload in payloads {
            let label = RELIABLE;
            self.feed(number, MediaInput::SendData { label, payload });
        }
    }

    /// Sends again what a resumed client has not got; it drops what it has by sequence number.
    /// Where its room moved without it, whatever was said since waits for its channels already, and
    /// comes behind that.
    pub(in crate::room) fn replay_to(
        &mut self,
        number: u16,
        states: &[proto::DataChannelReceiveState],
    ) {
        self.data.replay.trim(self.now);
        let Some(member) = self.roster.glance_mut(number) else {
            return;
        };
        let resyncs = std::mem::take(&mut member.data.resyncs);
        let mut got: HashMap<&str, u32> = HashMap::new();
        for state in states {
            let last = got.entry(&state.publisher_sid).or_insert(state.last_seq);
            *last = state.last_seq.min(*last);
        }
        let missed = |kept: &&Kept| {
            kept.publisher_sid != member.sid.0
                && kept.destinations.include(member)
                && got
                    .get(kept.publisher_sid.as_str())
                    .is_some_and(|last| kept.sequence > *last)
        };
        let lacked = self.data.replay.lacked(resyncs).filter(missed);
        let payloads: Vec<Bytes> = lacked.map(|kept| kept.payload.clone()).collect();
        self.feed(number, MediaInput::SendAgain(payloads));
    }
}
