//! The door of a gateway in a cluster: `signal::Lobby` over all nodes. A room that is here is
//! entered directly; one elsewhere through a stream to its home (`gateway_session`). When a home
//! dies or loses the room, its clients are told at once to come back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::Recipient;
use consensus::cluster::Change;
use consensus::command::{Effect, NodeState};
use consensus::ids::{Epoch, NodeId, RoomName};
use consensus::state::State;
use futures_util::future::LocalBoxFuture;
use protocol::proto::signal_request;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::directory::{Directory, Found, Place, lives, serves};
use super::gateway_session;
use super::hosting::Homes;
use super::journal::{self, Heir};
use super::limits::{KNOW_PATIENCE, SEND_AWAY_OVER, SEND_AWAY_STEPS, SWEEP_INTERVAL};
use super::links::LinkError;
use super::words::{self, Mouth, Word, Words};
use crate::room::contract::{Attach, AttachError, SessionId, ToSession};
use crate::rooms::Rooms;
use crate::signal::Lobby;

/// Clones are one.
#[derive(Clone)]
pub struct ClusterLobby(Arc<Inner>);

struct Inner {
    directory: Directory,
    homes: Homes,
    rooms: Rooms,
    /// `room.auto_create`
    auto_create: bool,
    /// Sessions that are on their way into a room, or whose room is elsewhere; those in rooms of
    /// this node are not in it. As many as the gateway has WebSockets.
    sessions: Mutex<HashMap<SessionId, Entry>>,
    /// Nobody comes in any more.
    closed: AtomicBool,
}

struct Entry {
    room: String,
    /// Where it is, once that is known.
    place: Option<(NodeId, Epoch)>,
    words: Mouth,
}

/// What came of telling a session where it goes.
pub(super) enum Set {
    Yes,
    /// The session is over.
    Over,
    /// By now this node knows better.
    Old,
}

impl ClusterLobby {
    /// The task follows the cluster until its changes end.
    pub fn start(
        directory: Directory,
        homes: Homes,
        rooms: Rooms,
        auto_create: bool,
    ) -> (Self, JoinHandle<()>) {
        let changes = directory.cluster().changes();
        let lobby = Self(Arc::new(Inner {
            directory,
            homes,
            rooms,
            auto_create,
            sessions: Mutex::default(),
            closed: AtomicBool::new(false),
        }));
        let task = tokio::spawn(lobby.clone().follow(changes));
        (lobby, task)
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.0.directory
    }

    pub(super) fn homes(&self) -> &Homes {
        &self.0.homes
    }

    pub(super) fn may_create(&self, attach: &Attach) -> bool {
        let video = attach.claims.video.as_ref();
        self.0.auto_create || video.is_some_and(|video| video.room_create)
    }

    /// A holder that panicked left a whole table: every change is a single step.
    fn locked(&self) -> MutexGuard<'_, HashMap<SessionId, Entry>> {
        self.0
            .sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What can be done for whoever was in the room there: its home is gone, or the room from it,
    /// or only the way there broke. A home may go moments after the log named who stands by, and
    /// this node may have applied neither: that nobody knows the client is said only by whoever
    /// knows the newest log.
    pub(super) async fn heir(&self, room: &str, participant_sid: &str, was: &Place) -> Heir {
        let heir = self.heir_as_known(room, participant_sid, was).await;
        if heir != Heir::Nobody {
            return heir;
        }
        let refreshed = timeout(KNOW_PATIENCE, self.0.directory.refresh()).await;
        if refreshed.is_err() {
            tracing::debug!(room, "no quorum says in time who knows the room");
        }
        let heir = self.heir_as_known(room, participant_sid, was).await;
        if heir != Heir::Nobody {
            return heir;
        }
        self.home_as_known(room, participant_sid, was).await
    }

    /// By the log as applied here.
    async fn heir_as_known(&self, room: &str, participant_sid: &str, was: &Place) -> Heir {
        let name = RoomName::from(room);
        let next = self.0.directory.cluster().read(|state| {
            let known = state.room(&name)?;
            let moved = known.epoch > was.epoch;
            let next = if moved {
                Some(known.home)
            } else {
                known.standby
            };
            next.filter(|node| lives(state, *node))
        });
        let Some(node) = next else {
            return Heir::Nobody;
        };
        let links = &**self.0.directory.links();
        match journal::ask_heir(links, node, room, participant_sid, was.epoch).await {
            Ok(heir) => heir,
            // Busy, or cut off for a moment: coming back in vain costs little.
            Err(LinkError::Lost { .. }) => Heir::Knows,
            Err(_) => Heir::Nobody,
        }
    }

    /// The home itself, where nobody else is known. It has to answer: to wait for one that died
    /// costs more than to begin anew.
    async fn home_as_known(&self, room: &str, participant_sid: &str, was: &Place) -> Heir {
        let name = RoomName::from(room);
        let stays = self.0.directory.cluster().read(|state| {
            let known = state.room(&name);
            known.is_some_and(|known| known.epoch == was.epoch && lives(state, known.home))
        });
        if !stays {
            return Heir::Nobody;
        }
        let links = &**self.0.directory.links();
        match journal::ask_heir(links, was.home, room, participant_sid, was.epoch).await {
            Ok(heir) if heir != Heir::Nobody => Heir::Knows,
            _ => Heir::Nobody,
        }
    }

    /// The session goes to another node.
    pub(super) fn set_place(&self, session: SessionId, place: &Place) -> Set {
        let mut sessions = self.locked();
        let Some(entry) = sessions.get_mut(&session) else {
            return Set::Over;
        };
        // Under the lock: what is applied later finds the entry.
        let is_old = |state: &State| is_old(state, &entry.room, place.home, place.epoch);
        if self.0.directory.cluster().read(is_old) {
            return Set::Old;
        }
        entry.place = Some((place.home, place.epoch));
        Set::Yes
    }

    /// The session goes on in a room of this node: from now on it is spoken to directly.
    pub(super) fn hand_over(
        &self,
        attach: Attach,
        recipient: Recipient<ToSession>,
        words: &mut Words,
    ) {
        let (session, room) = (attach.session, attach.room.clone());
        let mut sessions = self.locked();
        self.0.rooms.attach(attach, recipient);
        sessions.remove(&session);
        drop(sessions);
        for message in words.unanswered.lately(Instant::now()) {
            self.0.rooms.signal(&room, session, message.clone());
        }
        // What was said meanwhile comes after the attach.
        while let Some(word) = words.next() {
            match word {
                Word::Signal(message) => self.0.rooms.signal(&room, session, *message),
                Word::Closed => self.0.rooms.session_closed(&room, session),
                // Rooms of this node end before it does.
                Word::Moved(_) | Word::Resume => {}
            }
        }
    }

    pub(super) fn forget(&self, session: SessionId) {
        self.locked().remove(&session);
    }

    async fn follow(self, mut changes: broadcast::Receiver<Change>) {
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(Change::Effect { effect, .. }) => self.observe(&effect),
                    Ok(Change::Replaced { .. }) | Err(RecvError::Lagged(_)) => self.compare(),
                    Err(RecvError::Closed) => return,
                },
                _ = sweep.tick() => self.compare(),
            }
        }
    }

    /// This gateway stops: nobody comes in any more, and whoever is in a room elsewhere resumes
    /// through another gateway, not all at once.
    pub async fn send_away(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
        let mut left: Vec<SessionId> = self.locked().keys().copied().collect();
        let step = left.len().div_ceil(SEND_AWAY_STEPS as usize).max(1);
        while !left.is_empty() {
            let now = left.split_off(left.len().saturating_sub(step));
            self.ask_to_resume(&now);
            tokio::time::sleep(SEND_AWAY_OVER / SEND_AWAY_STEPS).await;
        }
    }

    fn ask_to_resume(&self, sessions: &[SessionId]) {
        let known = self.locked();
        for entry in sessions.iter().filter_map(|session| known.get(session)) {
            entry.words.say(Word::Resume);
        }
    }

    fn observe(&self, effect: &Effect) {
        match effect {
            Effect::NodeChanged {
                node,
                state: NodeState::Dead | NodeState::Joining,
            }
            | Effect::NodeRemoved { node } => self.end_where(|_, home, _| home == *node),
            Effect::RoomMoved { name, room, .. } | Effect::RoomOrphaned { name, room } => {
                self.end_where(|on, _, epoch| on == name.as_str() && epoch < room.epoch);
            }
            _ => {}
        }
    }

    /// Ends what is not as the log says; a room it does not know was closed, which its home tells.
    fn compare(&self) {
        let places: Vec<(String, NodeId, Epoch)> = {
            let sessions = self.locked();
            let placed = |entry: &Entry| {
                let (home, epoch) = entry.place?;
                Some((entry.room.clone(), home, epoch))
            };
            sessions.values().filter_map(placed).collect()
        };
        let old: std::collections::HashSet<_> = self.0.directory.cluster().read(|state| {
            let old =
                |(name, home, epoch): &(String, NodeId, Epoch)| is_old(state, name, *home, *epoch);
            places.into_iter().filter(old).collect()
        });
        self.end_where(|on, home, epoch| old.contains(&(on.to_owned(), home, epoch)));
    }

    fn end_where(&self, is_old: impl Fn(&str, NodeId, Epoch) -> bool) {
        let mut sessions = self.locked();
        sessions.retain(|_, entry| match entry.place {
            // Full: a sender that is gone means the same.
            Some((home, epoch)) if is_old(&entry.room, home, epoch) => {
                entry.place = None;
                entry.words.say(Word::Moved(epoch))
            }
            _ => true,
        });
    }
}

impl Lobby for ClusterLobby {
    fn attach(&self, attach: Attach, recipient: Recipient<ToSession>) {
        let inner = &*self.0;
        if inner.closed.load(Ordering::Relaxed) {
            recipient.do_send(ToSession(Err(AttachError::ShuttingDown)));
            return;
        }
        if let Found::Placed(place) = inner.directory.find(&attach.room)
            && place.home == inner.directory.node()
            && inner.homes.is_open(&attach.room, place.epoch)
        {
            inner.rooms.attach(attach, recipient);
            return;
        }
        let (words, said) = words::queue();
        let entry = Entry {
            room: attach.room.clone(),
            place: None,
            words,
        };
        self.locked().insert(attach.session, entry);
        tokio::spawn(gateway_session::run(self.clone(), attach, recipient, said));
    }

    fn signal(&self, room: &str, session: SessionId, message: signal_request::Message) {
        let mut sessions = self.locked();
        let Some(entry) = sessions.get(&session) else {
            drop(sessions);
            self.0.rooms.signal(room, session, message);
            return;
        };
        let word = Word::Signal(Box::new(message));
        if !entry.words.say(word) {
            tracing::warn!(room, "a home does not read what a client says");
            // Its task sees the end of the words and sends the client back.
            sessions.remove(&session);
        }
    }

    fn session_closed(&self, room: &str, session: SessionId) {
        let Some(entry) = self.locked().remove(&session) else {
            self.0.rooms.session_closed(room, session);
            return;
        };
        // Dropping the sender says the same, less precisely.
        entry.words.say(Word::Closed);
    }

    fn exists<'a>(&'a self, room: &'a str) -> LocalBoxFuture<'a, bool> {
        Box::pin(async move {
            let found = self.0.directory.find_surely(room).await;
            matches!(found, Ok(Found::Placed(_) | Found::Orphaned))
        })
    }
}

/// Nothing is there any more, whatever the home itself believes. A place that the log does not know
/// yet may be newer than what was applied here.
fn is_old(state: &State, room: &str, home: NodeId, epoch: Epoch) -> bool {
    let newer = state.room(&RoomName::from(room)).map(|room| room.epoch);
    !serves(state, home, epoch) || newer.is_some_and(|newer| newer > epoch)
}
