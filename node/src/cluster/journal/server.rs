//! What other nodes ask and say about journals (`Service::Journal`): homes say what changed in
//! rooms this node stands by for, gateways ask whether a session would go on here, whoever moves a
//! room asks its home for the last of its journal.

use bytes::Bytes;
use consensus::ids::{Epoch, NodeId};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use prost::Message;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::images::{Images, Refused};
use super::standins::StandIns;
use super::wire::{Batch, Extent, FromStandby, Question, Reply, ToStandby, question};
use super::{Heir, Journal};
use crate::cluster::hosting::Homes;
use crate::cluster::limits::STANDBY_WORDS_MAX;
use crate::cluster::links::{Duplex, Serve};
use crate::cluster::session_wire::{WireError, first_frame, frames};

pub struct JournalServer {
    images: Images,
    homes: Homes,
    journal: Journal,
}

impl JournalServer {
    pub fn new(images: Images, homes: Homes, journal: Journal) -> Self {
        Self {
            images,
            homes,
            journal,
        }
    }

    async fn serve(&self, from: NodeId, stream: Duplex) -> Result<(), WireError> {
        let Duplex { mut send, recv } = stream;
        let mut said = std::pin::pin!(frames(recv));
        let Some((kind, body)) = first_frame(&mut said).await? else {
            return Ok(());
        };
        let ToStandby::Hello = ToStandby::decode(kind, body)? else {
            return Err(WireError::Malformed);
        };
        let stream = self.images.stream_began(from);
        let (words, mut spoken) = mpsc::channel(STANDBY_WORDS_MAX);
        if let Some(standins) = self.images.standins() {
            standins.stream_began(from, words);
        }
        loop {
            let frame = tokio::select! {
                word = spoken.recv() => match word {
                    Some(word) => {
                        send.write_all(&word).await?;
                        continue;
                    }
                    // A newer stream took its place, or there are no shards.
                    None => said.next().await,
                },
                frame = said.next() => frame,
            };
            let Some(frame) = frame else {
                return Ok(());
            };
            let (kind, body) = frame?;
            match ToStandby::decode(kind, body)? {
                ToStandby::Batch(mut batch) => {
                    let media = std::mem::take(&mut batch.media);
                    let (room, tenure, ends) = (batch.room.clone(), batch.tenure, batch.ends);
                    if batch.extent == Extent::Begins {
                        self.images.catch_up(tenure).await;
                    }
                    let (seq, refused) = (batch.seq, self.apply(from, stream, batch));
                    if refused.is_none() && !media.is_empty() {
                        let of = (&*room, tenure);
                        self.images.apply_media(from, stream, of, media).await;
                    }
                    if refused.is_none() && ends {
                        self.images
                            .finish(&room, &self.images.mandate(from, tenure));
                    }
                    if let Some(refused) = refused {
                        send.write_all(&refused.encode()).await?;
                    }
                    send.write_all(&FromStandby::Ack(seq).encode()).await?;
                }
                ToStandby::Forget { room, tenure } => self.images.forget(from, &room, tenure),
                ToStandby::Hello => return Err(WireError::Malformed),
            }
        }
    }

    fn apply(&self, from: NodeId, stream: u64, batch: Batch) -> Option<FromStandby> {
        let (room, tenure) = (batch.room.clone(), batch.tenure);
        let applied = match self.homes.is_registered() {
            true => self.images.apply(from, stream, batch),
            // An earlier life may have taken the room over, and its disk have lost that: whatever
            // the home said it might use would be used twice.
            false => Err(Refused::NotOurs),
        };
        let refused = applied.err()?;
        tracing::debug!(room, %from, ?tenure, ?refused, "a batch of a journal was refused");
        Some(FromStandby::Refused { room, tenure })
    }

    async fn answer(&self, question: question::Of) -> Reply {
        match question {
            question::Of::Holds(asked) => {
                let is_home = self.homes.running(&asked.room) == Some(Epoch(asked.epoch));
                let knows =
                    is_home || self.images.holds(&asked.room) || self.homes.knows(&asked.room);
                let standins = self.images.standins();
                let is_warm =
                    |standins: &StandIns| standins.is_warm(&asked.room, &asked.participant_sid);
                let heir = match knows {
                    true if standins.is_some_and(is_warm) => Heir::Warm,
                    true => Heir::Knows,
                    false => Heir::Nobody,
                };
                Reply {
                    holds: heir.to_wire(),
                    ..Reply::default()
                }
            }
            question::Of::Flush(asked) => {
                let flushed = self.journal.flush(&asked).await;
                Reply {
                    flushed: flushed.known,
                    unready: flushed.unready,
                    ..Reply::default()
                }
            }
        }
    }
}

impl Serve for JournalServer {
    fn call(&self, _: NodeId, request: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            let question = Question::decode(request).map_err(|error| error.to_string())?;
            let question = question.of.ok_or("a question of a newer node")?;
            Ok(self.answer(question).await.encode_to_vec().into())
        })
    }

    fn stream(&self, from: NodeId, stream: Duplex) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Err(error) = self.serve(from, stream).await {
                tracing::debug!(%from, %error, "a journal's stream ended");
            }
        })
    }
}
