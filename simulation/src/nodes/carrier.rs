//! What stands for a shard: transports without packets. Each has a secret whose numbers are used up
//! as those under a key of SRTP are; a standby is told of it as `media::shard` tells one (images,
//! deltas, leases it acknowledges) and goes on behind the lease. The judge sees every number used.
//! Owned by `shards`; rooms give it commands and hear its events.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes};
use media::event::TransportState;
use media::{Command, Event, RoomKey, TransportKey};
use node::room::environment::ShardSink;
use node::rooms::Rooms;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::Mistake;
use super::grid::{Grid, Step};
use super::scenario::PEOPLE;
use super::transports::{Dormant, FREE, Going};
use crate::limits::NUMBERS_A_TURN;
use crate::scenario::Host;

/// ICE and DTLS over a short path; as long until a client keeps its pair to a standby warm.
const CONNECTING: Duration = Duration::from_millis(60);
/// Channels of the people.
const RELIABLE: &str = "_reliable";
const LOSSY: &str = "_lossy";
/// Between two turns of packets.
const TURN: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Table {
    going: BTreeMap<TransportKey, Going>,
    dormant: BTreeMap<TransportKey, Dormant>,
    /// What rooms are to be told.
    said: VecDeque<Event>,
}

pub(crate) struct Carrier {
    grid: Arc<Grid>,
    host: Host,
    rooms: OnceLock<Rooms>,
    table: Mutex<Table>,
    news: Notify,
}

impl Carrier {
    pub(crate) fn new(grid: Arc<Grid>, host: Host) -> Arc<Self> {
        Arc::new(Self {
            grid,
            host,
            rooms: OnceLock::new(),
            table: Mutex::default(),
            news: Notify::new(),
        })
    }

    /// From now on until the process ends.
    pub(crate) fn start(self: &Arc<Self>, rooms: Rooms) {
        // Composed once.
        let _ = self.rooms.set(rooms);
        tokio::spawn(Arc::clone(self).speak());
        tokio::spawn(Arc::clone(self).send_packets());
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In order, as from a thread of its own.
    async fn speak(self: Arc<Self>) {
        loop {
            let said = self.table().said.pop_front();
            match (said, self.rooms.get()) {
                (Some(event), Some(rooms)) => rooms.shard_event(event),
                _ => self.news.notified().await,
            }
        }
    }

    async fn send_packets(self: Arc<Self>) {
        loop {
            sleep(TURN).await;
            let unleased = self.grid.mistake == Some(Mistake::Unleased);
            let mut table = self.table();
            let Table { going, said, .. } = &mut *table;
            for (key, one) in going {
                if one.frozen || !one.connected {
                    continue;
                }
                if self.is_unanswered(one.secret) {
                    let (transport, state) = (*key, TransportState::Failed);
                    one.connected = false;
                    said.push_back(Event::Transport { transport, state });
                    continue;
                }
                let limit = if unleased { FREE } else { one.limit };
                let end = (one.next + NUMBERS_A_TURN).min(limit);
                if one.next < end {
                    let (now, mut judge) = (self.grid.now(), self.grid.judge());
                    judge.used(self.host, one.secret, one.next..end, now);
                    one.next = end;
                }
                said.extend(one.delta(*key));
                self.carry_words(*key, one, said);
            }
            drop(table);
            self.news.notify_one();
        }
    }

    /// Between a transport and its client, in both directions.
    fn carry_words(&self, transport: TransportKey, one: &mut Going, said: &mut VecDeque<Event>) {
        if !self.grid.scenario.words || !self.grid.wires().is_whole(PEOPLE, self.host) {
            return;
        }
        let (now, mut judge) = (self.grid.now(), self.grid.judge());
        while let Some((_, word)) = one.words.front().filter(|(at, _)| *at <= now)
            && judge.hears(self.host, one.secret, word)
        {
            one.words.pop_front();
        }
        let taken = judge.takes(self.host, one.secret, now);
        said.extend(taken.into_iter().map(|payload| Event::Data {
            transport,
            label: RELIABLE.into(),
            payload,
            binary: true,
        }));
    }

    /// Words arrive in order, whatever was lost on the way.
    fn send_word(&self, transport: TransportKey, word: Bytes) {
        let at = self.grid.now() + self.grid.judge().mail.delay();
        if let Some(one) = self.table().going.get_mut(&transport) {
            let last = one.words.back().map(|(last, _)| *last);
            one.words
                .push_back((at.max(last.unwrap_or_default()), word));
        }
    }

    /// Its client is gone.
    fn is_unanswered(&self, secret: u64) -> bool {
        let now = self.grid.now();
        self.grid.judge().consent.is_over(secret, now)
    }

    /// The other end, as the client described it.
    fn meet(&self, transport: TransportKey, ufrag: &str) {
        let secret = self.table().going.get(&transport).map(|one| one.secret);
        if let Some(secret) = secret {
            self.grid.judge().consent.meets(secret, ufrag);
        }
    }

    /// A moment later.
    fn later(self: &Arc<Self>, then: impl FnOnce(&Self) + Send + 'static) {
        let carrier = Arc::clone(self);
        tokio::spawn(async move {
            sleep(CONNECTING).await;
            then(&carrier);
            carrier.news.notify_one();
        });
    }

    fn connect(&self, transport: TransportKey) {
        let mut table = self.table();
        let Table { going, said, .. } = &mut *table;
        let one = going.get_mut(&transport);
        if let Some(one) = one.filter(|one| !one.connected) {
            one.connected = true;
            let state = TransportState::Connected;
            said.push_back(Event::Transport { transport, state });
        }
    }

    fn warm(&self, transport: TransportKey, secret: u64) {
        let mut table = self.table();
        let Table { dormant, said, .. } = &mut *table;
        let one = dormant.get_mut(&transport);
        if let Some(one) = one.filter(|one| one.secret == secret && !one.warm) {
            one.warm = true;
            let ready = one.bound;
            said.push_back(Event::StandbyReady { transport, ready });
        }
    }

    fn freeze(&self, transport: TransportKey) {
        let mut table = self.table();
        let Table { going, said, .. } = &mut *table;
        let Some(one) = going.get_mut(&transport).filter(|one| !one.frozen) else {
            return;
        };
        one.frozen = true;
        if std::mem::take(&mut one.followed) {
            // Its numbers are exact: nothing is used behind it.
            one.offer(one.next);
            said.push_back(one.event(transport, false));
        }
        let snapshot = Bytes::new();
        said.push_back(Event::Frozen {
            transport,
            snapshot,
        });
    }

    fn replicate(&self, transport: TransportKey, on: bool) {
        let mut table = self.table();
        let Table { going, said, .. } = &mut *table;
        let one = going.get_mut(&transport).filter(|one| !one.frozen);
        match one {
            Some(one) if on => {
                said.push_back(one.image(transport));
                said.push_back(Event::InControl {
                    transport,
                    takeovers: 0,
                });
            }
            Some(one) => {
                (one.followed, one.limit, one.offered) = (false, FREE, FREE);
                (one.asked, one.answered) = (None, false);
            }
            None => {}
        }
    }

    fn replicated(&self, transport: TransportKey, version: u32) {
        let mut table = self.table();
        let Table { going, said, .. } = &mut *table;
        let Some(one) = going.get_mut(&transport).filter(|one| !one.frozen) else {
            return;
        };
        let version = version.min(one.version);
        if one.followed && one.offer <= version {
            one.limit = one.offered;
        }
        if !one.answered && one.asked.is_some_and(|asked| asked <= version) {
            one.answered = true;
            said.push_back(one.image(transport));
        }
    }

    /// `None`: an image nobody can read.
    fn stand_by(
        self: &Arc<Self>,
        transport: TransportKey,
        room: RoomKey,
        (probe, mut image): (bool, Bytes),
    ) -> Option<()> {
        let version = image.try_get_u32().ok()?;
        let (end, secret) = (image.try_get_u64().ok()?, image.try_get_u64().ok()?);
        let mut table = self.table();
        if table.going.contains_key(&transport) {
            return None;
        }
        let before = table.dormant.get(&transport);
        if before.is_some_and(|one| version <= one.version) {
            return None;
        }
        let warm = before.is_some_and(|one| one.warm && one.secret == secret);
        let one = Dormant {
            secret,
            room,
            bound: !probe,
            warm,
            end,
            version,
            stale: false,
        };
        let has = one.has(transport);
        table.dormant.insert(transport, one);
        table.said.push_back(has);
        drop(table);
        if !warm {
            self.later(move |carrier| carrier.warm(transport, secret));
        }
        Some(())
    }

    fn update(&self, transport: TransportKey, mut delta: Bytes) -> Option<()> {
        let version = delta.try_get_u32().ok()?;
        let end = delta.try_get_u64().ok()?;
        let mut table = self.table();
        let Table { dormant, said, .. } = &mut *table;
        let one = dormant.get_mut(&transport)?;
        if one.stale || version != one.version + 1 {
            if !std::mem::replace(&mut one.stale, true) {
                said.push_back(Event::StandbyStale { transport });
            }
            return None;
        }
        (one.version, one.end) = (version, end);
        said.push_back(one.has(transport));
        Some(())
    }

    /// The channels of a transport that was taken over.
    fn open_again(&self, transport: TransportKey) {
        let open = |label: &str| Event::ChannelOpen {
            transport,
            label: label.into(),
        };
        self.table().said.extend([RELIABLE, LOSSY].map(open));
    }

    fn take_over(self: &Arc<Self>, transport: TransportKey) {
        let mut table = self.table();
        if table.going.contains_key(&transport) {
            return;
        }
        let one = table.dormant.remove(&transport).filter(|one| one.bound);
        let heard = one.is_some();
        if let Some(one) = one {
            let going = Going::new(one.secret, one.end, true);
            table.going.insert(transport, going);
        }
        table.said.push_back(Event::TakenOver { transport, heard });
        drop(table);
        if heard && self.grid.scenario.words {
            self.later(move |carrier| carrier.open_again(transport));
        }
        self.grid.step_of_takeover(Step::TakesOver, self.host);
    }
}

/// The sink rooms and stand-ins write to.
pub(crate) struct Sink(pub(crate) Arc<Carrier>);

impl ShardSink for Sink {
    fn send(&self, _: &str, _: usize, command: Command) {
        let carrier = &self.0;
        match command {
            Command::AddTransport { transport, .. } => {
                let secret = carrier.grid.judge().mint();
                let going = Going::new(secret, 0, false);
                carrier.table().going.insert(transport, going);
            }
            Command::SetRemote { transport, remote } => {
                carrier.meet(transport, &remote.ice.ufrag);
                carrier.later(move |carrier| carrier.connect(transport));
            }
            Command::CloseTransport { transport } => {
                carrier.table().going.remove(&transport);
            }
            Command::OpenChannel {
                transport, label, ..
            } => {
                let open = Event::ChannelOpen { transport, label };
                carrier.later(move |carrier| carrier.table().said.push_back(open));
            }
            Command::SendData {
                transport,
                label,
                payload,
                ..
            } if label == RELIABLE => carrier.send_word(transport, payload),
            Command::Freeze { transport } => {
                carrier.freeze(transport);
                carrier.grid.step_of_takeover(Step::Freezes, carrier.host);
            }
            Command::Replicate { transport, on, .. } => carrier.replicate(transport, on),
            Command::Replicated { transport, version } => carrier.replicated(transport, version),
            Command::AddStandby {
                transport,
                room,
                probe,
                image,
            } => {
                carrier.stand_by(transport, room, (probe, image));
            }
            Command::DropStandbys { room } => {
                let dormant = &mut carrier.table().dormant;
                dormant.retain(|_, one| one.room != room);
            }
            Command::UpdateStandby { transport, delta } => {
                carrier.update(transport, delta);
            }
            Command::DropStandby { transport } => {
                carrier.table().dormant.remove(&transport);
            }
            Command::TakeOver { transport } => carrier.take_over(transport),
            _ => {}
        }
        carrier.news.notify_one();
    }
}
