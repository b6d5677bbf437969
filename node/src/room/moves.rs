//! The room's moves between nodes: how it came to this one, how long that took, and who noticed.
//! Operators are told by a line of the log, metrics and `Inspect`; whoever may join, by `Moves`.
//! Clients are told nothing: for them nothing happened.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use media::TransportKey;
use metrics::{counter, histogram};
use serde_json::{Value, json};

use super::Room;
use super::image::records::{MoveRecord, RoomRecord};
use super::limits::{ARRIVAL_PATIENCE, MOVES_MAX};

/// Why a room left its former home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveCause {
    /// The log declared that node dead: it died, or stopped with people in its rooms.
    Death,
    /// That node was being drained.
    Drain,
    /// It was moved away from a node that goes on serving.
    Order,
}

impl MoveCause {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Death => "death",
            Self::Drain => "drain",
            Self::Order => "order",
        }
    }
}

/// A room that lived on another node goes on here. A move takes from when this node learnt of it,
/// by the entry of the log that made it the home, until it heard the first client on a transport it
/// took over, or, where nobody could be taken over, let the first one resume. Only this node's
/// clock counts. Left out is what came before: until the loss of the former home was found out and
/// committed, or until that home, in a planned move, heard of it and froze; and, for who resumes,
/// the new connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The host of that node, where it is the only one there; else its id.
    pub from: String,
    pub to: String,
    pub cause: MoveCause,
    /// How long this node has known.
    pub ago: Duration,
}

/// What became of a participant that came along.
#[derive(Debug)]
enum Came {
    /// Taken over; those of its transports on which its client was not heard yet.
    TakenOver(BTreeSet<TransportKey>),
    /// It has to resume.
    Cut,
    Resumed,
}

#[derive(Debug)]
struct Arriving {
    cause: MoveCause,
    since: Instant,
    until: Instant,
    came: BTreeMap<u16, Came>,
    /// When the first client was heard, and the first let in again.
    heard: Option<Instant>,
    resumed: Option<Instant>,
}

impl Arriving {
    /// `None`: nobody was heard so far. A resume counts where none is awaited that would be before.
    fn took(&self, late: bool) -> Option<Duration> {
        let silent = |came: &Came| matches!(came, Came::TakenOver(silent) if !silent.is_empty());
        let awaited = !late && self.came.values().any(silent);
        let end = self.heard.or_else(|| self.resumed.filter(|_| !awaited))?;
        Some(end.saturating_duration_since(self.since))
    }
}

#[derive(Debug, Default)]
pub(super) struct Moves {
    /// Oldest first.
    told: VecDeque<MoveRecord>,
    /// The last of them, until everybody who came along is back.
    arriving: Option<Arriving>,
}

impl Moves {
    pub(super) fn thaw(record: &RoomRecord) -> Self {
        let told = record.moves.iter().rev().take(MOVES_MAX).rev();
        Self {
            told: told.cloned().collect(),
            arriving: None,
        }
    }

    pub(super) fn image(&self, record: &mut RoomRecord) {
        record.moves = self.told.iter().cloned().collect();
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        Some(self.arriving.as_ref()?.until)
    }

    /// For people: `took_ms` is null where nobody was heard, `at` Unix time in milliseconds.
    pub(super) fn view(&self) -> Vec<Value> {
        let view = |one: &MoveRecord| {
            json!({
                "from": one.from,
                "to": one.to,
                "cause": one.cause,
                "took_ms": one.took_ms,
                "at": one.at / 1000,
            })
        };
        self.told.iter().map(view).collect()
    }
}

impl Room {
    /// Said once, of a room that was thawed just now.
    pub fn arrived(&mut self, arrival: Arrival) {
        let since = self.now.checked_sub(arrival.ago).unwrap_or(self.now);
        let came = self.roster.iter().map(|member| {
            let transports = member.media.transports().into_iter();
            let came = match member.cold {
                true => Came::Cut,
                false => Came::TakenOver(transports.map(|(key, _)| key).collect()),
            };
            (member.number, came)
        });
        self.moves.arriving = Some(Arriving {
            cause: arrival.cause,
            since,
            until: self.now + ARRIVAL_PATIENCE,
            came: came.collect(),
            heard: None,
            resumed: None,
        });
        if self.moves.told.len() >= MOVES_MAX {
            self.moves.told.pop_front();
        }
        self.moves.told.push_back(MoveRecord {
            from: arrival.from,
            to: arrival.to,
            cause: arrival.cause.as_str().to_owned(),
            at: self.clock.unix_micros_of(since),
            took_ms: None,
        });
        self.weigh_arrival(false);
    }

    /// A transport was taken over, and its client heard on it or not.
    pub(super) fn arrived_on(&mut self, number: u16, transport: TransportKey, heard: bool) {
        let Some(arriving) = &mut self.moves.arriving else {
            return;
        };
        if heard {
            arriving.heard.get_or_insert(self.now);
        }
        match arriving.came.get_mut(&number) {
            Some(Came::TakenOver(silent)) if heard => _ = silent.remove(&transport),
            Some(came @ Came::TakenOver(_)) => *came = Came::Cut,
            _ => {}
        }
        self.weigh_arrival(false);
    }

    /// A client resumed.
    pub(super) fn came_back(&mut self, number: u16) {
        let Some(arriving) = &mut self.moves.arriving else {
            return;
        };
        if let Some(came) = arriving.came.get_mut(&number) {
            *came = Came::Resumed;
            arriving.resumed.get_or_insert(self.now);
        }
        self.weigh_arrival(false);
    }

    pub(super) fn arrival_timer(&mut self) {
        if self.moves.deadline().is_some_and(|at| at <= self.now) {
            self.weigh_arrival(true);
        }
    }

    /// Notes how long the move took once that is known, and tells of it once it is known of
    /// everybody who came along how they got through, or that is waited for no longer (`late`).
    pub(super) fn weigh_arrival(&mut self, late: bool) {
        let Some(arriving) = self.moves.arriving.take() else {
            return;
        };
        let took = arriving.took(late);
        if let Some(told) = self.moves.told.back_mut() {
            let millis = took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
            told.took_ms = told.took_ms.or(millis);
        }
        let mut left = arriving.came.iter();
        if late || left.all(|(number, came)| self.is_settled(*number, came)) {
            self.tell_of_move(&arriving, took);
        } else {
            self.moves.arriving = Some(arriving);
        }
    }

    /// It is known how the participant got through. Whoever is gone is missed by nobody.
    fn is_settled(&self, number: u16, came: &Came) -> bool {
        matches!(came, Came::Resumed)
            || self.roster.get(number).is_none()
            || self.is_unaware(number, came)
    }

    /// Its media goes on, and so does its WebSocket.
    fn is_unaware(&self, number: u16, came: &Came) -> bool {
        let member = self.roster.get(number);
        let heard = matches!(came, Came::TakenOver(silent) if silent.is_empty());
        heard && member.is_some_and(|member| member.session.is_some())
    }

    fn tell_of_move(&self, arriving: &Arriving, took: Option<Duration>) {
        let Some(told) = self.moves.told.back() else {
            return;
        };
        let unnoticed = arriving.came.iter();
        let unnoticed = unnoticed.filter(|(number, came)| self.is_unaware(**number, came));
        let resumed = arriving.came.values();
        let resumed = resumed.filter(|came| matches!(came, Came::Resumed));
        tracing::info!(
            room = self.facts.room.name,
            from = told.from,
            to = told.to,
            cause = told.cause,
            took_ms = told.took_ms,
            participants = arriving.came.len(),
            unnoticed = unnoticed.count(),
            resumed = resumed.count(),
            "a room moved"
        );
        let cause = arriving.cause.as_str();
        counter!("skein_rooms_moved_total", "cause" => cause).increment(1);
        if let Some(took) = took {
            let millis = took.as_secs_f64() * 1_000.0;
            histogram!("skein_room_move_ms", "cause" => cause).record(millis);
        }
    }
}
