//! What standbys know of rooms. At a home: each room that has a standby is followed, and its
//! journal carried there over one stream per standby (`link`, `outbox`). At a standby: images of
//! rooms (`images`), from which `hosting` opens them when the log makes this node their home.
//! `server` answers other nodes. Reads nothing of what records say.

mod images;
mod link;
mod outbox;
mod server;
pub mod standins;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use consensus::cluster::{Change, Cluster};
use consensus::command::{Action, Effect};
use consensus::ids::{Epoch, NodeId, RoomName};
use consensus::state::{Mandate, State};
use futures_util::future::BoxFuture;
use metrics::counter;
use prost::Message;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

pub use self::images::Images;
use self::link::{Complaint, Link};
pub use self::server::JournalServer;
use self::wire::{Flush, Holds, Question, Reply, Tenure, question};
use super::hosting::{Heirs, Homes, Hosts};
use super::limits::{COMPLAINTS_MAX, JOURNAL_ASK_PATIENCE, JOURNAL_FLUSH_PATIENCE};
use super::links::{LinkError, Links, Service};
use crate::room::environment::Follower;
use crate::room::journal::StandbyWord;

/// The rooms of this node as their journals are followed: `rooms::Rooms` in the program.
pub trait Followed: Send + Sync + 'static {
    /// The room says everything to `follower`, and from then on what changes; `None`: to nobody. A
    /// room that is not there says nothing.
    fn follow(&self, room: &str, follower: Option<Arc<dyn Follower>>);
    /// What the standby said of one of its transports.
    fn standby_said(&self, room: &str, transport: u64, word: StandbyWord);
    /// Resolves when the room has said what changed so far. `true`: some of its people would notice
    /// a move, and a little later perhaps not.
    fn flush<'a>(&'a self, room: &'a str) -> BoxFuture<'a, bool>;
}

impl Followed for crate::rooms::Rooms {
    fn follow(&self, room: &str, follower: Option<Arc<dyn Follower>>) {
        self.follow(room, follower);
    }

    fn standby_said(&self, room: &str, transport: u64, word: StandbyWord) {
        self.standby_said(room, transport, word);
    }

    fn flush<'a>(&'a self, room: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(self.flush_journal(room))
    }
}

/// Of a room that is about to move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// The standby knows all of it.
    pub known: bool,
    /// Some of its people would notice the move, and a little later perhaps not.
    pub unready: bool,
}

impl Flushed {
    /// The standby does not know it in time, and may a little later.
    const LATE: Self = Self {
        known: false,
        unready: true,
    };
}

/// What a node can do for a session whose room's home is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heir {
    /// It would begin anew.
    Nobody,
    /// It can be resumed there.
    Knows,
    /// Its media goes on there by itself: the client need not be told anything.
    Warm,
}

impl Heir {
    fn to_wire(self) -> u32 {
        match self {
            Self::Nobody => 0,
            Self::Knows => 1,
            Self::Warm => 2,
        }
    }

    fn from_wire(number: u32) -> Self {
        match number {
            0 => Self::Nobody,
            2 => Self::Warm,
            _ => Self::Knows,
        }
    }
}

#[derive(Default)]
struct Table {
    /// Under which each is followed.
    rooms: HashMap<String, Mandate>,
    links: BTreeMap<NodeId, Arc<Link>>,
    carriers: JoinSet<()>,
    /// Rooms whose standbys are being dismissed.
    dismissing: BTreeSet<String>,
}

struct Inner {
    cluster: Cluster,
    links: Arc<dyn Links>,
    homes: Homes,
    rooms: Arc<dyn Followed>,
    table: Mutex<Table>,
    /// Something in `table` changed.
    changed: watch::Sender<()>,
    complaints: mpsc::Sender<Complaint>,
}

/// The home's side. Clones are one.
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

impl Journal {
    /// The task follows the cluster, and the rooms of this node, until the cluster's changes end.
    pub fn start(
        cluster: Cluster,
        links: Arc<dyn Links>,
        homes: Homes,
        rooms: Arc<dyn Followed>,
    ) -> (Self, JoinHandle<()>) {
        let (changes, news) = (cluster.changes(), homes.news());
        // overflow: dropped, rooms complain again
        let (complaints, complained) = mpsc::channel(COMPLAINTS_MAX);
        let journal = Self(Arc::new(Inner {
            cluster,
            links,
            homes,
            rooms,
            table: Mutex::default(),
            changed: watch::channel(()).0,
            complaints,
        }));
        let task = tokio::spawn(journal.clone().run(changes, news, complained));
        (journal, task)
    }

    /// A holder that panicked left whole tables: every change is a single step.
    fn locked(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(
        self,
        mut changes: broadcast::Receiver<Change>,
        mut news: broadcast::Receiver<String>,
        mut complained: mpsc::Receiver<Complaint>,
    ) {
        loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(Change::Effect { effect, .. }) => self.observe(&effect),
                    Ok(Change::Replaced { .. }) | Err(RecvError::Lagged(_)) => self.compare(),
                    Err(RecvError::Closed) => return,
                },
                news = news.recv() => match news {
                    Ok(room) => self.settle(&room),
                    Err(RecvError::Lagged(_)) => self.compare(),
                    Err(RecvError::Closed) => return,
                },
                Some((room, tenure)) = complained.recv() => self.dismiss(room, tenure),
            }
        }
    }

    /// A standby that acknowledges nothing is dismissed in the log, and only then is what it was
    /// granted free: it may be alive, and what the log says by now is not known here. Whoever keeps
    /// places appoints another. A home that is cut off from a quorum and from its standby therefore
    /// falls silent when its leases end: it cannot tell that from having been taken over.
    fn dismiss(&self, room: String, tenure: Tenure) {
        let mut table = self.locked();
        let known = table.rooms.get(&room).copied().map(Tenure::from);
        if known != Some(tenure) || !table.dismissing.insert(room.clone()) {
            return;
        }
        tracing::info!(
            room,
            "the room's standby acknowledges nothing and is dismissed"
        );
        counter!("skein_standbys_dismissed_total").increment(1);
        let journal = self.clone();
        table.carriers.spawn(async move {
            let action = Action::SetStandby {
                name: RoomName::from(room.as_str()),
                epoch: tenure.epoch,
                standby: None,
            };
            let appointed = |state: &State| state.mandate(&RoomName::from(room.as_str()));
            // Another one may have been appointed meanwhile.
            let current = journal.0.cluster.read(appointed).map(Tenure::from);
            if current == Some(tenure)
                && let Err(error) = journal.0.cluster.propose(action).await
            {
                tracing::debug!(room, %error, "a silent standby was not dismissed");
            }
            journal.locked().dismissing.remove(&room);
        });
    }

    fn observe(&self, effect: &Effect) {
        match effect {
            Effect::RoomPlaced { name, .. }
            | Effect::RoomMoved { name, .. }
            | Effect::StandbyChanged { name, .. } => self.settle(name.as_str()),
            Effect::NodeRemoved { node } => {
                // Its task ends with the process; without rooms it does nothing.
                self.locked().links.remove(node);
            }
            _ => {}
        }
    }

    fn compare(&self) {
        let mut names = self.0.homes.names();
        names.extend(self.locked().rooms.keys().cloned());
        for name in names {
            self.settle(&name);
        }
    }

    /// Follows the room as the log says by now.
    fn settle(&self, room: &str) {
        let wanted = match self.0.homes.hosts(room) {
            // What its clients are told depends on who followed it.
            Hosts::Fenced => return,
            Hosts::Nothing => None,
            Hosts::Running(epoch) => {
                let name = RoomName::from(room);
                let known = self.0.cluster.read(|state| {
                    let room = state.room(&name)?;
                    Some((room.epoch, state.mandate(&name)))
                });
                let Some((_, mandate)) = known.filter(|(known, _)| *known == epoch) else {
                    // It will be fenced.
                    return;
                };
                mandate
            }
        };
        let mut table = self.locked();
        let now = table.rooms.get(room).copied();
        if now == wanted {
            return;
        }
        // Also if the next one cannot be reached: nobody else acknowledges anything.
        match now.map(|was| table.links.get(&was.standby)) {
            Some(Some(link)) => link.forget(room, &*self.0.rooms),
            _ => self.0.rooms.follow(room, None),
        }
        match wanted {
            Some(mandate) => {
                table.rooms.insert(room.to_owned(), mandate);
                let link = self.link(&mut table, mandate.standby);
                link.follow(room, mandate.into(), &*self.0.rooms);
            }
            None => {
                table.rooms.remove(room);
            }
        }
        drop(table);
        self.0.changed.send_replace(());
    }

    fn link(&self, table: &mut Table, standby: NodeId) -> Arc<Link> {
        let Table {
            links, carriers, ..
        } = table;
        let start = || {
            let link = Link::new(standby, self.0.complaints.clone());
            let (links, rooms) = (Arc::clone(&self.0.links), Arc::clone(&self.0.rooms));
            carriers.spawn(Arc::clone(&link).carry(links, rooms));
            link
        };
        Arc::clone(links.entry(standby).or_insert_with(start))
    }

    /// Says whether that standby knows the whole room, waiting for it for a while.
    async fn flush(&self, asked: &Flush) -> Flushed {
        let (room, epoch) = (asked.room.as_str(), Epoch(asked.epoch));
        let standby = NodeId(asked.standby);
        if self.0.homes.hosts(room) != Hosts::Running(epoch) {
            return Flushed::default();
        }
        let mut changed = self.0.changed.subscribe();
        let link = || {
            let table = self.locked();
            let followed = table.rooms.get(room);
            let wanted = |by: &Mandate| {
                let same = asked.since == 0 || by.since.0 == asked.since;
                same && (by.standby, by.epoch) == (standby, epoch)
            };
            followed
                .is_some_and(wanted)
                .then(|| table.links.get(&standby).cloned())
                .flatten()
        };
        let flushed = async {
            let link = loop {
                match link() {
                    Some(link) => break link,
                    None => changed.changed().await.ok()?,
                }
            };
            let unready = self.0.rooms.flush(room).await;
            link.settled(room).await;
            let known = true;
            Some(Flushed { known, unready })
        };
        let flushed = tokio::time::timeout(JOURNAL_FLUSH_PATIENCE, flushed).await;
        flushed.ok().flatten().unwrap_or(Flushed::LATE)
    }
}

impl Heirs for Journal {
    fn is_heir(&self, room: &str, node: NodeId) -> bool {
        let table = self.locked();
        let followed = table.rooms.get(room).map(|mandate| mandate.standby);
        let link = followed.filter(|standby| *standby == node);
        let link = link.and_then(|standby| table.links.get(&standby));
        link.is_some_and(|link| link.could_go_on(room))
    }
}

async fn ask(
    links: &dyn Links,
    node: NodeId,
    question: question::Of,
    within: std::time::Duration,
) -> Result<Reply, LinkError> {
    let question = Question { of: Some(question) };
    let request = Bytes::from(question.encode_to_vec());
    let answer = links.call(node, Service::Journal, request, within).await?;
    Reply::decode(answer).map_err(|error| LinkError::Refused {
        node,
        reason: error.to_string(),
    })
}

/// What `node` could do for a session that was in the room under `epoch`.
pub(super) async fn ask_heir(
    links: &dyn Links,
    node: NodeId,
    room: &str,
    participant_sid: &str,
    epoch: Epoch,
) -> Result<Heir, LinkError> {
    let question = question::Of::Holds(Holds {
        room: room.to_owned(),
        participant_sid: participant_sid.to_owned(),
        epoch: epoch.0,
    });
    let reply = ask(links, node, question, JOURNAL_ASK_PATIENCE).await?;
    Ok(Heir::from_wire(reply.holds))
}

/// Has the home tell the standby everything.
pub(super) async fn ask_flush(links: &dyn Links, room: &str, mandate: &Mandate) -> Flushed {
    let question = question::Of::Flush(Flush {
        room: room.to_owned(),
        epoch: mandate.epoch.0,
        standby: mandate.standby.0,
        since: mandate.since.0,
    });
    let within = 2 * JOURNAL_FLUSH_PATIENCE;
    match ask(links, mandate.home, question, within).await {
        Ok(reply) => Flushed {
            known: reply.flushed,
            unready: reply.unready,
        },
        Err(error) => {
            tracing::debug!(room, %error, "the home of a room was not asked for its journal");
            match error {
                LinkError::Refused { .. } => Flushed::default(),
                _ => Flushed::LATE,
            }
        }
    }
}

/// What tests of other parts play.
#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// Of a home whose standby knows everything.
    pub(in crate::cluster) fn flushed_reply() -> Bytes {
        let reply = Reply {
            flushed: true,
            ..Reply::default()
        };
        reply.encode_to_vec().into()
    }

    /// Of a node that goes on with everybody unnoticed.
    pub(in crate::cluster) fn warm_reply() -> Bytes {
        let reply = Reply {
            holds: Heir::Warm.to_wire(),
            ..Reply::default()
        };
        reply.encode_to_vec().into()
    }
}
