//! One client's session at its gateway, from the first look for its room to its end: finds or
//! places the room, speaks with its home over a stream, looks again while the room moves. When the
//! home is gone, the client comes back: as who it is where the room's next home knows it, else from
//! scratch. Started by `lobby`.

use std::io;

use actix::Recipient;
use futures_util::StreamExt;
use protocol::proto::{DisconnectReason, leave_request, signal_response};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::directory::{Found, Place, PlaceError};
use super::journal::Heir;
use super::limits::{ATTACH_PATIENCE, ATTACH_RETRY};
use super::links::{Duplex, Service};
use super::lobby::{ClusterLobby, Set};
use super::session_wire::{ToGateway, ToHome, frames};
use super::words::{Word, Words};
use crate::room::contract::{Attach, AttachError, AttachKind, SessionMessage, ToSession};
use crate::room::leave;

/// What one try came to.
enum Outcome {
    /// Everything was said.
    Over,
    /// Nothing was said yet, and the home is not, or could not be reached.
    Again(&'static str),
    /// The client was in the room, as this participant; its home is gone, or the room from it.
    Lost { participant_sid: String },
}

pub(super) async fn run(
    lobby: ClusterLobby,
    mut attach: Attach,
    recipient: Recipient<ToSession>,
    mut words: Words,
) {
    let session = attach.session;
    words.unanswered.joins(&attach);
    let mut until = Instant::now() + ATTACH_PATIENCE;
    loop {
        if matches!(attach.kind, AttachKind::Rebind { .. }) {
            // Also what was said to a home that turned out to be none.
            words.unanswered.repeat(&mut attach);
        }
        let place = match resolve(&lobby, &attach).await {
            Ok(place) => place,
            Err(Answer::Refuse(error)) => {
                recipient.do_send(ToSession(Err(error)));
                break;
            }
            Err(Answer::StartOver) => {
                tracing::debug!(room = attach.room, "a session comes back to no room");
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
        let why = match outcome {
            Outcome::Over => break,
            Outcome::Again(why) => why,
            Outcome::Lost { participant_sid } => {
                let heir = lobby.heir(&attach.room, &participant_sid, &place).await;
                tracing::info!(room = attach.room, home = %place.home, ?heir, "the way to a home ended");
                if heir != Heir::Warm {
                    send_back(heir, &attach, &recipient);
                    break;
                }
                attach.kind = AttachKind::Rebind {
                    participant_sid,
                    missed: true,
                };
                until = Instant::now() + ATTACH_PATIENCE;
                "its media is elsewhere"
            }
        };
        tracing::debug!(room = attach.room, home = %place.home, why, "looking for the room again");
        if words.is_closed() || Instant::now() >= until {
            give_up(&attach, &recipient, why);
            break;
        }
        let moved = lobby.directory().until_moved(&attach.room, &place);
        if tokio::time::timeout(ATTACH_RETRY, moved).await.is_err() {
            lobby.directory().refresh().await;
        }
    }
    lobby.forget(session);
}

/// An error of HTTP would keep a client trying to resume.
fn give_up(attach: &Attach, recipient: &Recipient<ToSession>, why: &str) {
    if attach.kind.comes_back() {
        return start_over(attach, recipient);
    }
    let error = AttachError::Unreachable(format!("the room's node: {why}"));
    recipient.do_send(ToSession(Err(error)));
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
    words: &mut Words,
) -> Outcome {
    match lobby.set_place(attach.session, place) {
        Set::Yes => {}
        Set::Over => return Outcome::Over,
        Set::Old => return Outcome::Again("the room moved"),
    }
    let links = lobby.directory().links();
    let opened = tokio::select! {
        opened = links.open(place.home, Service::Session) => opened,
        word = words.other_than_signals() => return match word {
            Some(Word::Moved(_)) => Outcome::Again("the home died"),
            Some(Word::Resume) => {
                // Who rebinds was let in elsewhere.
                let admitted = matches!(attach.kind, AttachKind::Rebind { .. });
                resume(admitted, recipient);
                Outcome::Over
            }
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
    words: &mut Words,
) -> Outcome {
    let Duplex { mut send, recv } = stream;
    let mut known = attach.kind.participant_sid().map(str::to_owned);
    let rebinds = matches!(attach.kind, AttachKind::Rebind { .. });
    if greet(&mut send, place, attach, words).await.is_err() {
        return broke(rebinds, known);
    }
    let mut heard = std::pin::pin!(frames(recv));
    // Who rebinds was let in elsewhere.
    let mut admitted = rebinds;
    // The home hears no more; its last word may be on its way.
    let mut deaf = false;
    loop {
        tokio::select! {
            frame = heard.next() => {
                let decoded = match frame {
                    Some(Ok((kind, body))) => ToGateway::decode(kind, &body),
                    Some(Err(error)) => Err(error),
                    None => return broke(admitted, known),
                };
                let message = match decoded {
                    Ok(ToGateway::NotHere) => return Outcome::Again("not there"),
                    Ok(message) => message,
                    Err(error) => {
                        tracing::debug!(home = %place.home, %error, "a session's stream broke");
                        return broke(admitted, known);
                    }
                };
                admitted = true;
                if let Some(sid) = joined_as(&message) {
                    known = Some(sid);
                }
                if let ToGateway::Signal(response) = &message {
                    words.unanswered.answered(response);
                }
                if !pass_on(message, attach, recipient) {
                    return Outcome::Over;
                }
            }
            word = words.for_one(deaf) => match word {
                Some(Word::Signal(message)) => {
                    let frame = ToHome::Signal(message).encode();
                    deaf = send.write_all(&frame).await.is_err();
                }
                Some(Word::Closed) => {
                    // The end of the stream says so; if it broke, the home knows already.
                    let _ = send.shutdown().await;
                    return Outcome::Over;
                }
                // Said before the room was found here.
                Some(Word::Moved(was)) if was < place.epoch => {}
                Some(Word::Moved(_)) | None => return broke(admitted, known),
                Some(Word::Resume) => {
                    resume(admitted, recipient);
                    let _ = send.shutdown().await;
                    return Outcome::Over;
                }
            }
        }
    }
}

/// Says who comes, and once more what was said to a home that may have died before it heard it.
async fn greet(
    send: &mut (impl AsyncWrite + Unpin),
    place: &Place,
    attach: &Attach,
    words: &Words,
) -> io::Result<()> {
    let hello = ToHome::Hello {
        epoch: place.epoch,
        attach: Box::new(attach.clone()),
    };
    send.write_all(&hello.encode()).await?;
    for message in words.unanswered.lately(Instant::now()) {
        let repeated = ToHome::Signal(Box::new(message.clone()));
        send.write_all(&repeated.encode()).await?;
    }
    Ok(())
}

/// Who the client is from now on.
fn joined_as(message: &ToGateway) -> Option<String> {
    let ToGateway::Signal(response) = message else {
        return None;
    };
    match &response.message {
        Some(signal_response::Message::Join(join)) => Some(join.participant.as_ref()?.sid.clone()),
        _ => None,
    }
}

/// Tells the client what its room's home said, and whether there is more to come.
fn pass_on(message: ToGateway, attach: &Attach, recipient: &Recipient<ToSession>) -> bool {
    let rebinds = matches!(attach.kind, AttachKind::Rebind { .. });
    let (said, more) = match message {
        ToGateway::Signal(message) => (Ok(SessionMessage::Signal(message)), true),
        ToGateway::Close => (Ok(SessionMessage::Close), false),
        ToGateway::Restart => (Ok(SessionMessage::Restart), false),
        // Its client was let in elsewhere, and hears of no refusal.
        ToGateway::Refused(_) | ToGateway::NotHere if rebinds => {
            start_over(attach, recipient);
            return false;
        }
        ToGateway::Refused(error) => (Err(error), false),
        ToGateway::NotHere => (Ok(SessionMessage::Close), false),
    };
    recipient.do_send(ToSession(said));
    more
}

fn broke(admitted: bool, participant_sid: Option<String>) -> Outcome {
    match participant_sid.filter(|_| admitted) {
        Some(participant_sid) => Outcome::Lost { participant_sid },
        None => Outcome::Again("the stream broke"),
    }
}

/// Whoever was in the room comes back, to wherever it is by then.
fn send_back(heir: Heir, attach: &Attach, recipient: &Recipient<ToSession>) {
    if heir != Heir::Nobody {
        return recipient.do_send(ToSession(Ok(SessionMessage::Restart)));
    }
    let protocol = attach.client.protocol;
    let action = leave_request::Action::Reconnect;
    let leave = leave::message(protocol, action, DisconnectReason::Migration);
    finish(leave, recipient);
}

/// Its home goes on; this gateway does not.
fn resume(admitted: bool, recipient: &Recipient<ToSession>) {
    if !admitted {
        recipient.do_send(ToSession(Err(AttachError::ShuttingDown)));
        return;
    }
    recipient.do_send(ToSession(Ok(SessionMessage::Restart)));
}

/// The session is unknown wherever the room is, or will be.
fn start_over(attach: &Attach, recipient: &Recipient<ToSession>) {
    finish(leave::state_mismatch(attach.client.protocol), recipient);
}

fn finish(leave: protocol::proto::SignalResponse, recipient: &Recipient<ToSession>) {
    recipient.do_send(ToSession(Ok(SessionMessage::Signal(Box::new(leave)))));
    recipient.do_send(ToSession(Ok(SessionMessage::Close)));
}
