//! Where people come into a node: stands for its WebSocket, and speaks as one node does to another
//! about a session (`session_wire`). Answers pings; the rest is the lobby's.

use std::io;
use std::time::Duration;

use actix::{Actor, Context, Handler};
use futures_util::StreamExt;
use node::cluster::lobby::ClusterLobby;
use node::cluster::session_wire::{ToGateway, ToHome, WireError, frames};
use node::room::contract::{AttachError, SessionId, SessionMessage, ToSession};
use node::signal::Lobby;
use protocol::proto::{SignalResponse, signal_request, signal_response};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use turmoil::net::{TcpListener, TcpStream};

use super::grid::DOOR;
use crate::limits::SESSION_MESSAGES_MAX;

const HELLO_PATIENCE: Duration = Duration::from_secs(3);

/// Until the process ends.
pub(crate) async fn serve(lobby: ClusterLobby) -> io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", DOOR)).await?;
    let mut sessions = 0;
    loop {
        let (line, _) = listener.accept().await?;
        sessions += 1;
        let (lobby, session) = (lobby.clone(), SessionId(sessions));
        tokio::task::spawn_local(async move {
            // A line that breaks ends its session, as any end does.
            let _ = attend(lobby, session, line).await;
        });
    }
}

async fn attend(lobby: ClusterLobby, session: SessionId, line: TcpStream) -> Result<(), WireError> {
    let (read, mut write) = line.into_split();
    let mut said = std::pin::pin!(frames(read));
    let hello = tokio::time::timeout(HELLO_PATIENCE, said.next()).await;
    let Ok(Some(hello)) = hello else {
        return Ok(());
    };
    let (kind, body) = hello?;
    let ToHome::Hello { attach, .. } = ToHome::decode(kind, &body, session)? else {
        return Err(WireError::Malformed);
    };
    let room = attach.room.clone();
    // overflow: ends the session, as the program does with a client that does not read
    let (told, mut heard) = mpsc::channel(SESSION_MESSAGES_MAX);
    let recipient = Ear(told).start().recipient();
    lobby.attach(*attach, recipient.clone());
    let carried = async {
        loop {
            tokio::select! {
                biased;
                message = heard.recv() => match message {
                    Some(Ok(SessionMessage::Signal(message))) => {
                        write.write_all(&ToGateway::Signal(message).encode()).await?;
                    }
                    Some(Ok(SessionMessage::Close)) | None => {
                        write.write_all(&ToGateway::Close.encode()).await?;
                        return Ok(());
                    }
                    Some(Ok(SessionMessage::Elsewhere(attach))) => {
                        lobby.attach(*attach, recipient.clone());
                    }
                    Some(Ok(SessionMessage::Unheard(message))) => {
                        lobby.signal(&room, session, *message);
                    }
                    Some(Ok(SessionMessage::Restart)) => {
                        write.write_all(&ToGateway::Restart.encode()).await?;
                        return Ok(());
                    }
                    Some(Err(error)) => {
                        write.write_all(&ToGateway::Refused(error).encode()).await?;
                        return Ok(());
                    }
                },
                frame = said.next() => {
                    let Some(frame) = frame else {
                        return Ok(());
                    };
                    let (kind, body) = frame?;
                    match ToHome::decode(kind, &body, session)? {
                        ToHome::Signal(message) => match *message {
                            signal_request::Message::Ping(at) => {
                                write.write_all(&pong(at).encode()).await?;
                            }
                            message => lobby.signal(&room, session, message),
                        },
                        ToHome::Hello { .. } => return Err(WireError::Malformed),
                    }
                }
            }
        }
    };
    let carried = carried.await;
    lobby.session_closed(&room, session);
    carried
}

fn pong(at: i64) -> ToGateway {
    ToGateway::Signal(Box::new(SignalResponse {
        message: Some(signal_response::Message::Pong(at)),
    }))
}

/// Hears what a session is told.
struct Ear(mpsc::Sender<Result<SessionMessage, AttachError>>);

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<ToSession> for Ear {
    type Result = ();

    fn handle(&mut self, ToSession(message): ToSession, _: &mut Self::Context) {
        let _ = self.0.try_send(message);
    }
}
