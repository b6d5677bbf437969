//! Whose media a standby would go on with unnoticed: shards are told to say what it needs, what
//! they say goes out in order, what the standby says comes back to them, and clients learn where
//! it is. Of transports on shards of this node only; a fact of the journal, not of the room.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use media::event::TransportState;
use media::{Command, Event, TransportKey};
use metrics::counter;

use super::contract::RoomOutput;
use super::journal::{MediaChange, MediaEntry, StandbyWord};
use super::limits::{MEDIA_ENTRIES_MAX, WARM_WITHIN};
use super::member::Member;
use super::{KeySpace, Room};
use crate::participant::contract::StandbyPlace;
use crate::participant::{MediaInput, quirks};

#[derive(Debug)]
struct Guarded {
    /// When the standby had last to come to it, or to know it.
    since: Instant,
    /// Where the standby is, and where the client was told that it is.
    addresses: Vec<SocketAddr>,
    told: Vec<SocketAddr>,
    /// The client lets the home choose its path; so many standbys went on with it before.
    in_control: Option<u32>,
    ready: bool,
    /// The standby has dropped it for good.
    refused: bool,
    /// A channel opened or closed since the last image: without it its messages would be lost.
    outgrown: bool,
    /// The standby has everything from this version on.
    needs: Option<u32>,
}

impl Guarded {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            addresses: Vec::new(),
            told: Vec::new(),
            in_control: None,
            ready: false,
            refused: false,
            outgrown: false,
            needs: None,
        }
    }

    /// Its client would not notice the loss of this node.
    fn is_warm(&self) -> bool {
        self.ready && !self.outgrown && self.needs.is_none()
    }

    /// It would, and a little later perhaps not.
    fn is_warming(&self, now: Instant) -> bool {
        let young = now.saturating_duration_since(self.since) < WARM_WITHIN;
        !self.refused && !self.is_warm() && young
    }
}

#[derive(Debug, Default)]
pub(super) struct Protection {
    on: bool,
    transports: BTreeMap<TransportKey, Guarded>,
    entries: VecDeque<MediaEntry>,
    /// Some of them were lost.
    overflowed: bool,
    /// The standby acknowledges nothing.
    silent: bool,
    /// How often clients were told of standbys.
    tellings: u32,
}

/// How a participant would come through the loss of the node that carries its media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protected {
    /// Nobody stands by: it would start over.
    No,
    /// It would be told to resume.
    ByResume,
    /// It would not notice.
    Warm,
}

impl Protected {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::ByResume => "resume",
            Self::Warm => "warm",
        }
    }
}

impl Protection {
    pub(super) fn of(&self, transports: &[(TransportKey, bool)]) -> Protected {
        let ready = |(key, _): &(TransportKey, bool)| {
            let guarded = self.transports.get(key);
            guarded.is_some_and(Guarded::is_warm)
        };
        match self.on {
            false => Protected::No,
            true if !transports.is_empty() && transports.iter().all(ready) => Protected::Warm,
            true => Protected::ByResume,
        }
    }

    fn say(&mut self, transport: TransportKey, change: MediaChange) {
        if self.entries.len() >= MEDIA_ENTRIES_MAX {
            // The standby misses a delta and asks for an image, and is told who is left.
            counter!("skein_journal_media_dropped_total").increment(1);
            self.overflowed = true;
            return;
        }
        let transport = KeySpace::within_room(transport.0);
        self.entries.push_back(MediaEntry { transport, change });
    }

    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    /// Transports the standby was told of, or is about to be.
    pub(super) fn guarded(&self) -> BTreeSet<TransportKey> {
        let guarded = self.transports.iter().filter(|(_, one)| !one.refused);
        guarded.map(|(transport, _)| *transport).collect()
    }

    /// Who is left; what the standby has of others is of no use any more.
    fn say_who_is_left(&mut self) {
        let left = self.transports.keys();
        let left = left.map(|key| KeySpace::within_room(key.0)).collect();
        let (transport, change) = (0, MediaChange::Only(left));
        self.entries.push_back(MediaEntry { transport, change });
    }
}

impl Room {
    /// A standby follows from now on, and knows nothing yet; or nobody does any more.
    pub(super) fn protect(&mut self, on: bool) {
        self.protection.on = on;
        self.protection.entries.clear();
        (self.protection.overflowed, self.protection.silent) = (false, false);
        let guarded = std::mem::take(&mut self.protection.transports);
        if !on {
            for transport in guarded.into_keys() {
                self.replicate(transport, on);
            }
            return;
        }
        for number in self.roster.numbers() {
            let Some(member) = self.roster.get(number) else {
                continue;
            };
            for (transport, connected) in member.media.transports() {
                if connected {
                    self.guard(number, transport);
                }
            }
        }
        self.protection.say_who_is_left();
    }

    fn guard(&mut self, number: u16, transport: TransportKey) {
        if self.protection.on && self.is_near(number) {
            let guarded = Guarded::new(self.now);
            self.protection.transports.insert(transport, guarded);
            self.replicate(transport, true);
        }
    }

    /// Standbys follow transports of this node only: who is carried by another one is lost with it.
    pub(super) fn protected(&self, member: &Member) -> Protected {
        match self.is_near(member.number) {
            true => self.protection.of(&member.media.transports()),
            false => Protected::No,
        }
    }

    /// Some people would notice if the room went elsewhere now, and a little later perhaps not.
    pub fn is_unready(&self) -> bool {
        let warming = |(key, connected): (TransportKey, bool)| {
            let guarded = self.protection.transports.get(&key);
            !connected || guarded.is_some_and(|guarded| guarded.is_warming(self.now))
        };
        let near = self.roster.iter().filter(|one| self.is_near(one.number));
        let mut young = near.map(|member| member.media.transports().into_iter().any(warming));
        self.protection.on && young.any(|young| young)
    }

    fn is_near(&self, number: u16) -> bool {
        self.span.shard(number) < self.services.shards.count()
    }

    /// Its ICE credentials changed: the standby needs them, the client its address under them.
    pub(super) fn guard_again(&mut self, transport: TransportKey) {
        let guarded = self.protection.transports.get_mut(&transport);
        if let Some(guarded) = guarded.filter(|guarded| !guarded.refused) {
            *guarded = Guarded::new(self.now);
            self.replicate(transport, true);
        }
    }

    /// The transport is closed.
    pub(super) fn unguard(&mut self, transport: TransportKey) {
        if self.protection.transports.remove(&transport).is_none() {
            return;
        }
        self.protection.say(transport, MediaChange::Gone);
        let number = KeySpace::participant_of(transport.0);
        let left = self.roster.get(number).map(|one| one.media.transports());
        for (transport, _) in left.into_iter().flatten() {
            // Their images say how many there are.
            let guarded = self.protection.transports.get(&transport);
            if guarded.is_some_and(|guarded| !guarded.refused) {
                self.replicate(transport, true);
            }
        }
    }

    /// What shards say about standing by.
    pub(super) fn hear_of_protection(&mut self, number: u16, event: &Event) {
        match event {
            Event::Transport {
                transport,
                state: TransportState::Connected,
            } if !self.protection.transports.contains_key(transport) => {
                self.guard(number, *transport);
            }
            Event::ChannelOpen { transport, .. } | Event::ChannelClosed { transport, .. } => {
                let guarded = self.protection.transports.get_mut(transport);
                if let Some(guarded) = guarded.filter(|guarded| !guarded.refused) {
                    (guarded.outgrown, guarded.since) = (true, self.now);
                    self.replicate(*transport, true);
                }
            }
            Event::TransportImage {
                transport,
                version,
                probe,
                image,
            } => {
                if let Some(guarded) = self.protection.transports.get_mut(transport)
                    && std::mem::take(&mut guarded.outgrown)
                {
                    guarded.needs = Some(*version);
                }
                self.say_image(number, *transport, (*probe, image));
            }
            Event::TransportDelta {
                transport, delta, ..
            } if self.protection.transports.contains_key(transport) => {
                let delta = MediaChange::Delta(delta.clone());
                self.protection.say(*transport, delta);
            }
            Event::InControl {
                transport,
                takeovers,
            } => {
                if let Some(guarded) = self.protection.transports.get_mut(transport) {
                    guarded.in_control = Some(*takeovers);
                }
                self.introduce_standby(*transport);
            }
            Event::StandbySilent { transport } => {
                counter!("skein_standbys_silent_total").increment(1);
                tracing::debug!(transport = transport.0, "a standby acknowledges nothing");
                self.protection.silent = true;
            }
            Event::TakenOver { transport, heard } => self.note_takeover(number, *transport, *heard),
            _ => {}
        }
    }

    /// The room goes on elsewhere, perhaps for a while already: its transports are silent here from
    /// now on, without a farewell that clients would hear. Says whether the standby was ready.
    pub(super) fn hand_over(&mut self, number: u16) -> bool {
        let Some(member) = self.roster.get(number) else {
            return false;
        };
        let transports = member.media.transports();
        let ready = self.protection.of(&transports) == Protected::Warm;
        for (transport, _) in transports {
            self.tell_shard(Command::Freeze { transport });
        }
        ready
    }

    fn say_image(
        &mut self,
        number: u16,
        transport: TransportKey,
        (probe, image): (bool, &bytes::Bytes),
    ) {
        let Some(member) = self.roster.get(number) else {
            return;
        };
        if !self.protection.transports.contains_key(&transport) {
            return;
        }
        let count = member.media.transports().len();
        let change = MediaChange::Image {
            participant_sid: member.sid.0.clone(),
            transports: u32::try_from(count).unwrap_or(u32::MAX),
            shard: u32::try_from(self.span.shard(number)).unwrap_or_default(),
            probe,
            image: image.clone(),
        };
        self.protection.say(transport, change);
    }

    fn note_takeover(&self, number: u16, transport: TransportKey, heard: bool) {
        let outcome = if heard { "unnoticed" } else { "unheard" };
        counter!("skein_transports_taken_over_total", "outcome" => outcome).increment(1);
        let identity = self.roster.get(number).map(|one| one.identity());
        tracing::info!(
            room = self.facts.room.name,
            participant = identity,
            transport = transport.0,
            heard,
            "a transport was taken over"
        );
    }

    pub(super) fn standby_said(&mut self, transport: u64, word: StandbyWord) {
        let key = TransportKey(KeySpace::new(self.number, 0).room.0 | transport);
        let Some(guarded) = self.protection.transports.get_mut(&key) else {
            return;
        };
        match word {
            StandbyWord::Has {
                version,
                addresses,
                ready,
            } => {
                guarded.ready = ready && !guarded.refused;
                if guarded.needs.is_some_and(|needs| needs <= version) {
                    guarded.needs = None;
                }
                if !addresses.is_empty() {
                    guarded.addresses = addresses;
                }
                let transport = key;
                self.tell_shard(Command::Replicated { transport, version });
                self.introduce_standby(key);
            }
            StandbyWord::Stale if guarded.refused => {}
            StandbyWord::Stale => {
                // Its client may not have taken the address when it was told last.
                guarded.told.clear();
                self.replicate(key, true);
            }
            StandbyWord::Cannot(reason) => {
                counter!("skein_standbys_refused_total").increment(1);
                tracing::debug!(transport, ?reason, "a standby cannot stand by");
                (guarded.refused, guarded.ready) = (true, false);
                // It takes nothing over: every number is free.
                self.replicate(key, false);
            }
            StandbyWord::Ready(ready) => {
                if guarded.ready && !ready {
                    guarded.since = self.now;
                }
                guarded.ready = ready && !guarded.refused;
            }
        }
    }

    /// What a client was told of its standbys while it had no WebSocket is lost.
    pub(super) fn introduce_standbys_again(&mut self, number: u16) {
        let member = self.roster.get(number);
        let transports = member.map(|member| member.media.transports());
        for (transport, _) in transports.into_iter().flatten() {
            if let Some(guarded) = self.protection.transports.get_mut(&transport) {
                guarded.told.clear();
            }
            self.introduce_standby(transport);
        }
    }

    /// Tells the client where the standby is, as soon as it will not go there by itself.
    fn introduce_standby(&mut self, transport: TransportKey) {
        let Some(guarded) = self.protection.transports.get_mut(&transport) else {
            return;
        };
        let Some(takeovers) = guarded.in_control else {
            return;
        };
        if guarded.addresses == guarded.told {
            return;
        }
        guarded.told.clone_from(&guarded.addresses);
        let standby = StandbyPlace {
            addresses: guarded.told.clone(),
            takeovers,
            telling: self.protection.tellings,
        };
        self.protection.tellings = self.protection.tellings.wrapping_add(1);
        let input = MediaInput::StandbyAt { transport, standby };
        self.feed(KeySpace::participant_of(transport.0), input);
    }

    /// What the standby has to be told of transports since the last call.
    pub fn media_journal(&mut self) -> Vec<MediaEntry> {
        let mut entries: Vec<_> = self.protection.entries.drain(..).collect();
        if std::mem::take(&mut self.protection.overflowed) {
            self.protection.say_who_is_left();
            entries.extend(self.protection.entries.drain(..));
        }
        entries
    }

    /// The standby was silent since the last call.
    pub fn take_silence(&mut self) -> bool {
        std::mem::take(&mut self.protection.silent)
    }

    fn replicate(&mut self, transport: TransportKey, on: bool) {
        let number = KeySpace::participant_of(transport.0);
        let member = self.roster.get(number);
        let sought = member.is_some_and(|member| !takes_candidates(member));
        self.tell_shard(Command::Replicate {
            transport,
            on,
            sought,
        });
    }

    fn tell_shard(&mut self, command: Command) {
        let outputs = &mut self.outputs;
        self.span.route(command, &mut |shard, command| {
            outputs.push_back(RoomOutput::Shard { shard, command });
        });
    }
}

/// At any time. Firefox refuses them once it is connected, and a WHIP client cannot be told.
fn takes_candidates(member: &Member) -> bool {
    !member.one_shot && !quirks::is_firefox(&member.client)
}
