//! One client's session at its gateway, from the first look for its room to its end: finds or
//! places the room, speaks with its home over a stream, looks again while the room moves, and
//! tells the client to come back when the home is gone. Started by `lobby`.

use actix::Recipient;
use consensus::ids::NodeId;
use futures_util::StreamExt;
use protocol::proto::{DisconnectReason, leave_request, signal_request};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::directory::{Found, Place, PlaceError};
use super::limits::{ATTACH_PATIENCE, ATTACH_RETRY};
use super::links::{Duplex, Service};
use super::lobby::ClusterLobby;
use super::session_wire::{ToGateway, ToHome, frames};
use crate::room::contract::{Attach, AttachError, SessionMessage, ToSession};
use crate::room::leave;

/// What the lobby passes on.
#[derive(Debug)]
pub(super) enum Word {
    Signal(Box<signal_request::Message>),
    /// The WebSocket is gone.
    Closed,
    /// The room is not where it was.
    Moved,
}

/// What one try came to.
enum Outcome {
    /// Everything was said.
    Over,
    /// Nothing was said yet, and the home is not, or could not be reached.
    Again(&'static str),
}

pub(super) async fn run(
    lobby: ClusterLobby,
    attach: Attach,
    recipient: Recipient<ToSession>,
    mut words: mpsc::Receiver<Word>,
) {
    let session = attach.session;
    let until = Instant::now() + ATTACH_PATIENCE;
    loop {
        let place = match resolve(&lobby, &attach).await {
            Ok(place) => place,
            Err(Answer::Refuse(error)) => {
                recipient.do_send(ToSession(Err(error)));
                break;
            }
            Err(Answer::StartOver) => {
                start_over(&attach, &recipient);
                break;
            }
        };
        let outcome = if place.home == lobby.directory().node() {
            match lobby.homes().enter(&attach.room, place.epoch).await {
                Ok(()) => return lobby.hand_over(attach, recipient, &mut words),
                Err(_) => Outcome::Again("the room moves"),
            }
        } else {
            elsewhere(&lobby, &place, &attach, &recipient, &mut words).await
        };
        let Outcome::Again(why) = outcome else {
            break;
        };
        tracing::debug!(room = attach.room, home = %place.home, why, "looking for the room again");
        if words.is_closed() || Instant::now() >= until {
            let error = AttachError::Unreachable(format!("the room's node: {why}"));
            recipient.do_send(ToSession(Err(error)));
            break;
        }
        if attach.kind.comes_back() {
            // Starting over takes a client less time than waiting for another home, which does
            // not know it.
            start_over(&attach, &recipient);
            break;
        }
        tokio::time::sleep(ATTACH_RETRY).await;
        lobby.directory().refresh().await;
    }
    lobby.forget(session);
}

/// What the client is told instead of a place.
enum Answer {
    Refuse(AttachError),
    StartOver,
}

async fn resolve(lobby: &ClusterLobby, attach: &Attach) -> Result<Place, Answer> {
    let directory = lobby.directory();
    let unreachable =
        |error: PlaceError| Answer::Refuse(AttachError::Unreachable(error.to_string()));
    let known = directory.find(&attach.room);
    if let Found::Placed(place) = known {
        return Ok(place);
    }
    if attach.kind.comes_back() {
        return match directory.find_surely(&attach.room).await {
            Ok(Found::Placed(place)) => Ok(place),
            _ => Err(Answer::StartOver),
        };
    }
    if !lobby.may_create(attach) {
        match directory.find_surely(&attach.room).await {
            Ok(Found::Placed(place)) => return Ok(place),
            // It exists, and needs a home.
            Ok(Found::Orphaned) => {}
            Ok(Found::Absent) => return Err(Answer::Refuse(AttachError::RoomNotFound)),
            Err(error) => return Err(unreachable(error)),
        }
    }
    match directory.place(&attach.room).await {
        Ok(place) => Ok(place),
        Err(PlaceError::Refused(why)) => Err(Answer::Refuse(AttachError::Invalid(why))),
        Err(error) => Err(unreachable(error)),
    }
}

/// The room's home is another node.
async fn elsewhere(
    lobby: &ClusterLobby,
    place: &Place,
    attach: &Attach,
    recipient: &Recipient<ToSession>,
    words: &mut mpsc::Receiver<Word>,
) -> Outcome {
    if !lobby.set_place(attach.session, place) {
        return Outcome::Over;
    }
    let links = lobby.directory().links();
    let opened = tokio::select! {
        opened = links.open(place.home, Service::Session) => opened,
        word = words.recv() => return match word {
            Some(Word::Moved) => Outcome::Again("the home died"),
            _ => Outcome::Over,
        },
    };
    match opened {
        Ok(stream) => converse(stream, place, attach, recipient, words).await,
        Err(error) => {
            tracing::debug!(%error, "the home of a room cannot be reached");
            Outcome::Again("cannot be reached")
        }
    }
}

async fn converse(
    stream: Duplex,
    place: &Place,
    attach: &Attach,
    recipient: &Recipient<ToSession>,
    words: &mut mpsc::Receiver<Word>,
) -> Outcome {
    let Duplex { mut send, recv } = stream;
    let hello = ToHome::Hello {
        epoch: place.epoch,
        attach: Box::new(attach.clone()),
    };
    if send.write_all(&hello.encode()).await.is_err() {
        return Outcome::Again("the stream broke");
    }
    let mut heard = std::pin::pin!(frames(recv));
    let mut admitted = false;
    loop {
        tokio::select! {
            frame = heard.next() => {
                let decoded = match frame {
                    Some(Ok((kind, body))) => ToGateway::decode(kind, &body),
                    Some(Err(error)) => Err(error),
                    None => return broke(place.home, admitted, attach, recipient),
                };
                match decoded {
                    Ok(ToGateway::Signal(message)) => {
                        admitted = true;
                        recipient.do_send(ToSession(Ok(SessionMessage::Signal(message))));
                    }
                    Ok(ToGateway::Close) => {
                        recipient.do_send(ToSession(Ok(SessionMessage::Close)));
                        return Outcome::Over;
                    }
                    Ok(ToGateway::Refused(error)) => {
                        recipient.do_send(ToSession(Err(error)));
                        return Outcome::Over;
                    }
                    Ok(ToGateway::NotHere) => return Outcome::Again("not there"),
                    Err(error) => {
                        tracing::debug!(home = %place.home, %error, "a session's stream broke");
                        return broke(place.home, admitted, attach, recipient);
                    }
                }
            }
            word = words.recv() => match word {
                Some(Word::Signal(message)) => {
                    if send.write_all(&ToHome::Signal(message).encode()).await.is_err() {
                        return broke(place.home, admitted, attach, recipient);
                    }
                }
                Some(Word::Closed) => {
                    // The end of the stream says so; if it broke, the home knows already.
                    let _ = send.shutdown().await;
                    return Outcome::Over;
                }
                Some(Word::Moved) | None => {
                    return broke(place.home, admitted, attach, recipient);
                }
            }
        }
    }
}

/// The home is gone, or the room from it. Whoever was in it comes back, to wherever it is by then.
fn broke(
    home: NodeId,
    admitted: bool,
    attach: &Attach,
    recipient: &Recipient<ToSession>,
) -> Outcome {
    if !admitted {
        return Outcome::Again("the stream broke");
    }
    tracing::info!(room = attach.room, %home, "sending a client back: the room's home is gone");
    let protocol = attach.client.protocol;
    let action = leave_request::Action::Reconnect;
    let leave = leave::message(protocol, action, DisconnectReason::Migration);
    finish(leave, recipient);
    Outcome::Over
}

/// The session is unknown wherever the room is, or will be.
fn start_over(attach: &Attach, recipient: &Recipient<ToSession>) {
    finish(leave::state_mismatch(attach.client.protocol), recipient);
}

fn finish(leave: protocol::proto::SignalResponse, recipient: &Recipient<ToSession>) {
    recipient.do_send(ToSession(Ok(SessionMessage::Signal(Box::new(leave)))));
    recipient.do_send(ToSession(Ok(SessionMessage::Close)));
}
