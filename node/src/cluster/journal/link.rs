//! This node's journals on their way to one standby: one stream for all rooms it stands by for,
//! opened while there are any. After a break everything is said again. Decides nothing that
//! `outbox` does not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use consensus::ids::NodeId;
use futures_util::StreamExt;
use metrics::{counter, gauge};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::Followed;
use super::outbox::{Outbox, Ticket};
use super::wire::{FromStandby, Tenure, ToStandby};
use crate::cluster::limits::JOURNAL_RETRY;
use crate::cluster::links::{Duplex, Links, Service};
use crate::cluster::session_wire::{WireError, frames};
use crate::room::environment::Follower;
use crate::room::journal::{JournalEntry, MediaEntry};

pub(super) struct Link {
    standby: NodeId,
    state: Mutex<State>,
    /// Held while a room is told to follow, or no longer: it does what was decided last.
    telling: Mutex<()>,
    /// There is something to send, or somebody to follow.
    stir: Notify,
    /// Something was acknowledged.
    acked: watch::Sender<()>,
    /// Of rooms whose transports the standby does not acknowledge.
    complaints: mpsc::Sender<Complaint>,
}

/// A room, and under what it was followed.
pub(super) type Complaint = (String, Tenure);

#[derive(Default)]
struct State {
    outbox: Outbox,
    /// A stream is open; rooms are asked for everything when it is.
    connected: bool,
}

/// What one room speaks to.
struct Feed {
    link: Arc<Link>,
    room: String,
    ticket: Ticket,
    tenure: Tenure,
}

impl Follower for Feed {
    fn changed(&self, entries: Vec<JournalEntry>) {
        self.link.with_outbox(|outbox| {
            outbox.changed(Instant::now(), &self.room, self.ticket, entries);
        });
    }

    fn media(&self, entries: Vec<MediaEntry>) {
        self.link.with_outbox(|outbox| {
            outbox.media(Instant::now(), &self.room, self.ticket, entries);
        });
    }

    fn finished(&self) {
        self.link.with_outbox(|outbox| {
            outbox.finish(Instant::now(), &self.room, self.ticket);
        });
    }

    fn silent(&self) {
        // overflow: it says so again
        let _ = self
            .link
            .complaints
            .try_send((self.room.clone(), self.tenure));
    }

    fn mandate(&self) -> u64 {
        self.tenure.since.0
    }
}

impl Link {
    pub(super) fn new(standby: NodeId, complaints: mpsc::Sender<Complaint>) -> Arc<Self> {
        Arc::new(Self {
            standby,
            state: Mutex::default(),
            telling: Mutex::default(),
            stir: Notify::new(),
            acked: watch::channel(()).0,
            complaints,
        })
    }

    /// A holder that panicked left whole tables: every change is a single step.
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes it, and has what comes of that sent.
    fn with_outbox(&self, change: impl FnOnce(&mut Outbox)) {
        let mut state = self.locked();
        let before = state.outbox.dropped();
        change(&mut state.outbox);
        let dropped = state.outbox.dropped() - before;
        let waiting = state.outbox.waiting_bytes();
        drop(state);
        if dropped > 0 {
            counter!("skein_journal_dropped_total").increment(dropped);
        }
        let standby = self.standby.to_string();
        // Far below 2^53.
        gauge!("skein_journal_waiting_bytes", "standby" => standby).set(waiting as f64);
        self.stir.notify_one();
    }

    pub(super) fn follow(self: &Arc<Self>, room: &str, tenure: Tenure, rooms: &dyn Followed) {
        let mut state = self.locked();
        let ticket = state.outbox.follow(room, tenure);
        let connected = state.connected;
        drop(state);
        if connected {
            self.ask(room.to_owned(), ticket, rooms);
        }
        self.stir.notify_one();
    }

    /// Nothing follows the room any more: what its standby had leased is free.
    pub(super) fn forget(&self, room: &str, rooms: &dyn Followed) {
        let _telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        self.with_outbox(|outbox| outbox.forget(room));
        rooms.follow(room, None);
    }

    fn ask(self: &Arc<Self>, room: String, ticket: Ticket, rooms: &dyn Followed) {
        let _telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        let tenure = {
            let state = self.locked();
            let wanted = state.outbox.wants(&room, ticket);
            state.outbox.tenure(&room).filter(|_| wanted)
        };
        let Some(tenure) = tenure else {
            return;
        };
        let feed = Feed {
            link: Arc::clone(self),
            room: room.clone(),
            ticket,
            tenure,
        };
        rooms.follow(&room, Some(Arc::new(feed)));
    }

    /// The standby could go on with the room.
    pub(super) fn could_go_on(&self, room: &str) -> bool {
        self.locked().outbox.could_go_on(room)
    }

    /// Returns once the standby knows all that the room has said so far.
    pub(super) async fn settled(&self, room: &str) {
        let mut acked = self.acked.subscribe();
        while !self.locked().outbox.is_settled(room) {
            if acked.changed().await.is_err() {
                return;
            }
        }
    }

    /// Carries until it is dropped.
    pub(super) async fn carry(self: Arc<Self>, links: Arc<dyn Links>, rooms: Arc<dyn Followed>) {
        loop {
            while self.locked().outbox.is_empty() {
                self.stir.notified().await;
            }
            match links.open(self.standby, Service::Journal).await {
                Ok(stream) => {
                    let ended = self.converse(stream, &*rooms).await;
                    tracing::debug!(standby = %self.standby, ?ended, "a journal's stream ended");
                }
                Err(error) => tracing::debug!(%error, "a standby cannot be reached"),
            }
            self.locked().connected = false;
            tokio::time::sleep(JOURNAL_RETRY).await;
        }
    }

    async fn converse(
        self: &Arc<Self>,
        stream: Duplex,
        rooms: &dyn Followed,
    ) -> Result<(), WireError> {
        let Duplex { mut send, recv } = stream;
        send.write_all(&ToStandby::Hello.encode()).await?;
        let asked = {
            let mut state = self.locked();
            state.connected = true;
            state.outbox.restart()
        };
        for (room, ticket) in asked {
            self.ask(room, ticket, rooms);
        }
        tokio::select! {
            ended = self.write(send, rooms) => ended,
            ended = self.read(recv, rooms) => ended,
        }
    }

    async fn write(
        self: &Arc<Self>,
        mut send: Box<dyn AsyncWrite + Send + Unpin>,
        rooms: &dyn Followed,
    ) -> Result<(), WireError> {
        loop {
            let (frame, again, deadline) = {
                let mut state = self.locked();
                let again = state.outbox.resync(Instant::now());
                let frame = state.outbox.next_frame();
                (frame, again, state.outbox.deadline())
            };
            for (room, ticket) in again {
                counter!("skein_journal_resync_total").increment(1);
                self.ask(room, ticket, rooms);
            }
            match (frame, deadline) {
                (Some(frame), _) => {
                    counter!("skein_journal_sent_bytes_total").increment(frame.len() as u64);
                    counter!("skein_journal_batches_total").increment(1);
                    send.write_all(&frame).await?;
                }
                (None, Some(deadline)) => {
                    // Also when it was dropped for want of space, which acknowledgements make.
                    let deadline = deadline.max(Instant::now() + JOURNAL_RETRY);
                    let _ = tokio::time::timeout_at(deadline, self.stir.notified()).await;
                }
                (None, None) => self.stir.notified().await,
            }
        }
    }

    async fn read(
        &self,
        recv: Box<dyn AsyncRead + Send + Unpin>,
        rooms: &dyn Followed,
    ) -> Result<(), WireError> {
        let mut heard = std::pin::pin!(frames(recv));
        while let Some(frame) = heard.next().await {
            let (kind, body) = frame?;
            match FromStandby::decode(kind, body)? {
                FromStandby::Ack(seq) => {
                    self.with_outbox(|outbox| outbox.acked(seq));
                    self.acked.send_replace(());
                }
                FromStandby::Media {
                    room,
                    tenure,
                    transport,
                    word,
                } => {
                    if self.locked().outbox.tenure(&room) == Some(tenure) {
                        rooms.standby_said(&room, transport, word);
                    }
                }
                FromStandby::Refused { room, tenure } => {
                    tracing::debug!(room, standby = %self.standby, "a standby refused a journal");
                    let now = Instant::now();
                    self.with_outbox(|outbox| outbox.refused(now, &room, tenure));
                }
            }
        }
        Ok(())
    }
}
